"""Labels as users state them: what a cube takes, what it refuses, and what is no reason not to open a file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsitools import Cube, InputError, open_cube

VALUES = np.ones((3, 4, 5), dtype=np.float32)
MAP = (10.0, 0.0, 5e5, 0.0, -10.0, 5e6)


@pytest.mark.parametrize(
    ("label", "value", "said"),
    [
        ("wavelength_nm", [0.45, 0.55, 0.65], r"found up to 0\.65, expected nm, between 100 and 100000 \(are they"),
        ("wavelength_nm", [4.5e5, 5.5e5, np.nan], "found up to 550000, expected nm"),
        ("wavelength_nm", [450, np.inf, 650], "found inf, expected positive numbers in nm"),
        ("wavelength_nm", [450, 550], r"found shape \(2,\), expected \(3,\), one a band"),
        ("wavelength_nm", ["blue", "green", "red"], r"found \['blue', 'green', 'red'\], expected numbers, one a band"),
        ("wavelength_nm", np.array([450, 550 + 1j, 650]), "found values of type complex128, expected real numbers"),
        ("fwhm_nm", [0, 1, 1], "found 0, expected positive numbers in nm"),
        ("fwhm_nm", 10, r"found shape \(\), expected \(3,\), one a band"),
        ("good", ["0", "1", "1"], r"found \['0', '1', '1'\], expected true or false, one a band"),
        ("good", [0, 2, 1], r"found \[0, 2, 1\], expected true or false"),
        ("good", [True], r"found shape \(1,\), expected \(3,\)"),
        ("nodata", "none", "found 'none', expected a number"),
        ("scale_factor", 0, "found 0, expected a finite number other than zero"),
        ("scale_factor", np.nan, "found nan, expected a finite number"),
        ("crs", 3.5, r"found 3\.5, expected EPSG:n or well-known text"),
        ("transform", MAP[:5], "found 5 numbers, expected 6"),
        ("transform", (*MAP, 0, 0, 2), "found 9 numbers, expected 6"),
        ("transform", (0.0,) * 6, "expected finite numbers and pixels with an area"),
        ("transform", (10.0, 0.0, np.nan, 0.0, -10.0, 5e6), "expected finite numbers"),
        ("transform", (5e5, 10.0, 0.0, 5e6, 0.0, -10.0), r"found pixels of 5\.025e\+06 by 10, .* GDAL's order is"),
        ("transform", (12.5, 1e-4, 0.0, 45.2, 0.0, -1e-4), "GDAL's order is"),
        ("pan", np.ones((1, 8, 10)), "found ndarray, expected a Cube of one band"),
        ("pan", Cube(data=np.ones((2, 8, 10))), "found 2 bands, expected one"),
        ("units", 1, "found 1, expected text"),
    ],
)  # fmt: skip
def test_a_label_that_cannot_be_is_refused_by_its_name(label: str, value: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"mine: {label}: (found .*)?{said}"):
        Cube(data=VALUES, name="mine", **{label: value})


def test_labels_come_in_one_form() -> None:
    cube = Cube(data=VALUES, good=[1, 0, 1], nodata=np.int16(-1), wavelength_nm=[450, np.nan, 650], scale_factor=None)
    assert cube.good.tolist() == [True, False, True]
    assert cube.nodata == -1.0
    assert np.array_equal(cube.wavelength_nm, [450, np.nan, 650], equal_nan=True)
    assert Cube(data=VALUES, wavelength_nm=[np.nan] * 3).wavelength_nm is None
    for masked in (np.ma.masked_equal([450, -9, 650], -9), np.ma.masked_equal([450.0, 550, 650], 550)):
        assert np.array_equal(Cube(data=VALUES, wavelength_nm=masked).wavelength_nm, [450, np.nan, 650], equal_nan=True)
    # thermal bands, and a picture that lies with south up
    assert Cube(data=VALUES, wavelength_nm=[8e3, 9e3, 12e3]).wavelength_nm is not None
    assert Cube(data=VALUES, transform=(0.0, 10.0, 5e5, -10.0, 0.0, 5e6)).transform == (0, 10, 5e5, -10, 0, 5e6)


def test_maps_as_rasterio_and_pyproj_hold_them() -> None:
    rasterio = pytest.importorskip("rasterio")
    for system in ("EPSG:32633", 32633, rasterio.crs.CRS.from_epsg(32633)):
        cube = Cube(data=VALUES, crs=system, transform=rasterio.Affine(*MAP))
        assert cube.crs == "EPSG:32633"
        assert cube.transform == MAP
    # pyproj's CRS has the same two methods
    own = rasterio.crs.CRS.from_string("+proj=sinu +lon_0=0 +R=6371007.181 +units=m")
    assert str(Cube(data=VALUES, crs=own).crs).startswith("PROJC")


def test_a_file_whose_map_cannot_be_is_opened_without_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    header = "ENVI\nsamples = 5\nlines = 4\nbands = 3\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"
    (tmp_path / "cube.img").write_bytes(VALUES.tobytes())
    (tmp_path / "cube.hdr").write_text(header + "map info = {UTM, 1, 1, 500000, 5000000, 0, 0, 33, North, WGS-84}\n")
    with caplog.at_level(logging.WARNING):
        cube = open_cube(tmp_path / "cube.hdr")
    assert cube.transform is None
    assert np.array_equal(cube.read(), VALUES)
    assert "map info: found (0.0" in caplog.text
    assert "taken as no map" in caplog.text
