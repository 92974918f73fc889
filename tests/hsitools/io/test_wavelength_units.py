"""One wavelength in every unit that files state, and widths as what lies between a band's edges."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from hsitools.io.wavelengths import NANOMETRES, RECIPROCAL, Conversion, from_names, to_nm, width_to_nm

#: 500 nm by what the names of a unit begin with; c is 299 792 458 m/s.
HALF_MICROMETRE = {
    r"nms?$|nano|millimic": 500.0, r"nm[-^⁻]|1/nm": 0.002,
    r"um$|µm?$|μm$|mum|mic": 0.5, r"mm$|millim(?!ic)": 5e-4, r"cm$|centi": 5e-5,
    r"m$|met": 5e-7, r"a$|å|ang|ång": 5000.0, r"wave|cm.|1/cm|kayser": 20000.0, r"[uµ]m.|1/[uµ]m": 2.0,
    r"m-1|1/m": 2e6, r"thz|tera": 599.584916, r"ghz|giga": 599584.916, r"mhz|mega": 599584916.0,
    r"hz|hertz": 5.99584916e14,
}  # fmt: skip


@pytest.mark.parametrize("unit", [*NANOMETRES, *RECIPROCAL])
def test_half_a_micrometre_in_every_unit(unit):
    (number,) = (number for names, number in HALF_MICROMETRE.items() if re.match(names, unit))
    found = to_nm([number, 0.8 * number], unit, "x")
    assert found[0] == pytest.approx(500, rel=1e-9)
    assert found[1] == pytest.approx(625 if unit in RECIPROCAL else 400, rel=1e-9)


@pytest.mark.parametrize(
    ("of_width", "of_centre"), list(itertools.product(["nm", "um", "å", "cm-1", "THz", "1/um"], repeat=2))
)
def test_a_width_is_what_lies_between_the_edges(of_width, of_centre):
    """Whatever the two units: of bands at 500 and 800 nm that are 2 nm and 5 nm wide."""
    centre, width = np.array([500.0, 800.0]), np.array([2.0, 5.0])

    def stored(values_nm, unit):
        name = unit.lower()
        return RECIPROCAL[name] / values_nm if name in RECIPROCAL else values_nm / NANOMETRES[name]

    widths = np.abs(stored(centre + width / 2, of_width) - stored(centre - width / 2, of_width))
    centres = stored(centre, of_centre)
    found = width_to_nm(widths, of_width, Conversion.of(centres, of_centre, "x"), centres, "x")
    np.testing.assert_allclose(found, width, rtol=1e-4)


@pytest.mark.parametrize(
    ("form", "factor"),
    [
        ("Band 7 ({:.1f} Nanometers)", 1), ("{:.0f}nm", 1), ("b_{:.0f}-nm", 1), ("exp 20 ms {:.0f} nm", 1),
        ("2021-03-04 {:.0f} nm", 1), ("{:.4f} µm", 1e-3), ("{:.0f} Å", 10), ("{:.0f} Ångström", 10), ("wl_{:.0f}", 1),
        ("Rrs_{:.0f}", 1), ("rhos {:.2f}", 1), ("Wavelength: {:.0f}", 1), ("{:.2f}", 1),
        # numbers before a hyphen that are no ends of a band
        ("Band 2-{:.0f} nm", 1), ("100 - {:.0f}nm", 1),
    ],
)  # fmt: skip
def test_wavelengths_in_names(form, factor):
    nm = np.array([443.0, 560.0, 865.0])
    np.testing.assert_allclose(from_names([form.format(value * factor) for value in nm]), nm)


def test_a_band_by_its_ends_is_in_the_middle():
    np.testing.assert_allclose(from_names(["445-455 nm", "0.55 – 0.57 µm", "850 to 880 nm"]), [450, 560, 865])


@pytest.mark.parametrize("names", [["R101", "R104", "R120"], ["wl_1", "wl_2", "wl_3"], ["a450", "b560", "c865"]])
def test_other_numbers_in_names_are_no_wavelengths(names):
    assert from_names(names) is None
