"""Tables of values over wavelength: units, heads, and what is no table."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from calibration.inversion import curves
from hsitools.errors import FormatError
from hsitools.io.tables import read_table, unit_of
from hsitools.sensor.presets import from_table

GRID = np.arange(400.0, 701.0, 10.0)
#: One band, its mean at 550 nm.
BAND = np.exp(-0.5 * ((GRID - 550) / 30) ** 2)


def table(path, wavelength, head, values=BAND):
    rows = "".join(f"{place:.10g},{value:.10g}\n" for place, value in zip(wavelength, values, strict=True))
    path.write_text(f"{head}\n{rows}" if head else rows)
    return path


@pytest.mark.parametrize(
    ("head", "stored"),
    [
        ("wavelength_nm,b", GRID), ("nm,b", GRID), ("", GRID), ("\ufeffwavelength,b", GRID),
        ("wavelength_um,b", GRID / 1000),
        ("wavelength [µm],b", GRID / 1000), ("wavelength/um,b", GRID / 1000), ("wavelength,b", GRID / 1000),
        ("", GRID / 1000), ("lambda_angstrom,b", GRID * 10), ("wavenumber (cm-1),b", 1e7 / GRID),
        ("wavenumber_um-1,b", 1e3 / GRID),
    ],
)  # fmt: skip
def test_the_unit_is_what_the_head_says(tmp_path, head, stored):
    """A sensor made of micrometres had its bands at .45 nm, without a word."""
    path = table(tmp_path / "t.csv", stored, head)
    assert_allclose(read_table(path, "lamp").wavelength_nm, GRID, rtol=1e-8)
    assert_allclose(from_table(path).response.wavelength_nm, [550], atol=1e-3)
    assert_allclose(curves.curve(path, GRID, "lamp"), BAND, rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "wavelength_nm\tv\n400\t1\n500\t2\n", "400\t1\n500\t2\n", "wavelength,v,\n400,1,\n500,2,\n",
        '"wavelength (µm)","v"\n"0.4","1"\n"0.5","2"\n', "# lamp, 3\n400\t1\t# cold\n500\t2\n".replace("\t#", " #"),
    ],
)  # fmt: skip
def test_tabs_quotes_and_commas_at_the_end_of_rows(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    told = read_table(tmp_path / "t.csv", "lamp")
    assert_allclose(told.wavelength_nm, [400, 500])
    assert_allclose(told.values, [[1], [2]])
    assert told.head in ((), ("wavelength_nm", "v"), ("wavelength", "v"), ("wavelength (µm)", "v"))


def test_the_suns_spectrum_may_begin_with_x_rays(tmp_path):
    wide = np.concatenate([[0.5, 10.0, 50.0], GRID])
    path = table(tmp_path / "t.csv", wide, "nm, irradiance (W m-2 nm-1)", np.ones(len(wide)))
    assert_allclose(read_table(path, "light").wavelength_nm, wide, rtol=1e-9)
    assert curves.curve_units(path) == "W m-2 nm-1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nm;b\n400,5;0,1\n500,5;0,2\n", "line 1: found semicolons, expected commas between columns"),
        ("nm,b\n400,1\n500,dark\n", "line 3: found 'dark', expected a number"),
        ("nm,b\n400,1\n500\n", "line 3: found 1 column, expected 2$"),
        ("nm,b\n400,1\n500,.1\n60", "line 4: found 1 column, expected 2; the file ends there, as one that is cut off"),
        ("nm,b\n400,1\n500,.1\n600,", "line 4: found '', expected a number; the file ends there"),
        ("1,1\n2,2\n3,3\n", "found 1 to 3 without a unit, expected wavelengths in nm or µm"),
        ("400 1\n500 2\n", r"line 1: found '400 1', expected a number \(commas or tabs between columns\)"),
        ('400,"1,000"\n500,"2,000"\n', "line 1: found '1,000', expected a number"),
        ("nm,b\n400,1\n", "found 1 row, expected at least two rows"),
        ("nm\n400\n500\n", "found one column, expected"),
        ("nm,b\n0,1\n500,1\n", "found wavelengths that are not finite and positive"),
    ],
)
def test_what_is_no_table_is_said_in_one_line(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    for read in (lambda: from_table(path), lambda: curves.curve(path, GRID, "lamp")):
        with pytest.raises(FormatError, match=message) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300
    with pytest.raises(FormatError, match=r"none\.csv: lamp: found no such file"):
        curves.curve_units(tmp_path / "none.csv")


def test_units_of_heads():
    assert [unit_of(head) for head in ("a", "wavelength", "1/cm", "Wavelength (Nanometers)")] == [
        None, None, "1/cm", "Nanometers",
    ]  # fmt: skip
