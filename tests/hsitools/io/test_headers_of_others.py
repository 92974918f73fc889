"""ENVI headers and GeoTIFF tags as other programs write them."""

import numpy as np
import pytest

from hsitools import Cube, open_cube, save_cube
from hsitools.errors import FormatError

NM = np.array([400.0, 450.0, 550.0])
VALUES = np.arange(3 * 2 * 4, dtype=np.int16).reshape(3, 2, 4)
HEADER = """ENVI
samples = 4
lines = 2
bands = 3
header offset = 0
file type = ENVI Standard
data type = 2
interleave = bsq
byte order = 0
"""


def _envi(folder, header):
    (folder / "a.img").write_bytes(VALUES.astype("<i2").tobytes())
    (folder / "a.hdr").write_text(header)
    return folder / "a.hdr"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("major frame offsets = {4, 0}\n", "major frame offsets: found 4, 0, expected zero"),
        ("minor frame offsets = {0, 2}\n", "minor frame offsets: found 0, 2, expected zero"),
        ("file type = ENVI Meta File\n", "file type: found 'ENVI Meta File', a list of other files"),
        ("lines = 2.5\n", "lines: found '2.5', expected a whole number"),
    ],
)
def test_what_is_not_read_of_envi_is_named(tmp_path, wrong, said):
    with pytest.raises(FormatError, match=said):
        open_cube(_envi(tmp_path, HEADER + wrong))


def test_numbers_with_decimal_commas_and_counts_with_points(tmp_path):
    header = HEADER.replace("samples = 4", "samples = 4.0") + "major frame offsets = {0, 0}\n"
    cube = open_cube(_envi(tmp_path, header + "wavelength units = nm\nwavelength = {400,0; 450,0; 550,0}\n"))
    np.testing.assert_array_equal(cube.wavelength_nm, NM)
    np.testing.assert_array_equal(cube.read(), VALUES)


@pytest.mark.parametrize(
    ("of_bands", "of_file"),
    [
        ({"NETCDF_DIM_wavelength": "{:.0f}"}, {}),
        ({"NETCDF_DIM_wavelength": "{:.1f}"}, {"wavelength#units": "Angstrom"}),
        ({}, {"NETCDF_DIM_wavelength_VALUES": "{400,450,550}", "wavelength#units": "nm"}),
    ],
)
def test_what_gdal_makes_of_netcdf_keeps_its_labels(tmp_path, of_bands, of_file):
    rasterio = pytest.importorskip("rasterio")
    size = {"count": 3, "height": 2, "width": 4, "dtype": "int16", "transform": rasterio.Affine(1, 0, 0, 0, -1, 9)}
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", **size) as file:
        file.write(VALUES)
        file.update_tags(**of_file)
        for number, value in enumerate(NM * (10 if "Angstrom" in of_file.values() else 1), start=1):
            stated = {name: form.format(value) for name, form in of_bands.items()}
            file.update_tags(number, **stated, scale_factor="0.5", add_offset="1", _FillValue="7")
    cube = open_cube(tmp_path / "a.tif")
    np.testing.assert_array_equal(cube.wavelength_nm, NM)
    np.testing.assert_allclose(cube.physical().read(), np.where(VALUES == 7, np.nan, VALUES * 0.5 + 1))


def test_fields_of_a_header_stand_in_any_order(tmp_path):
    first, *fields = (HEADER + "wavelength units = Micrometers\nwavelength = {.4, .45, .55}\nfwhm = {.01, .02, .03}\n"
                      "bbl = {1, 0, 1}\ndata ignore value = 7\ndata gain values = {2, 3, 4}\n"
                      "map info = {UTM, 1, 1, 500000, 4000000, 30, 20, 33, North, WGS-84}\n").splitlines()  # fmt: skip
    for order in (fields, fields[::-1], sorted(fields)):
        cube = open_cube(_envi(tmp_path, "\n".join([first, *order])))
        expected = np.where(VALUES == 7, np.nan, VALUES * np.array([2.0, 3, 4])[:, None, None])
        np.testing.assert_allclose(cube.physical().read(), expected)
        np.testing.assert_allclose(cube.wavelength_nm, NM)
        np.testing.assert_allclose(cube.fwhm_nm, [10, 20, 30])
        np.testing.assert_array_equal(cube.good, [True, False, True])
        assert (cube.crs, cube.transform) == ("EPSG:32633", (30, 0, 500_000, 0, -20, 4_000_000))


def test_a_written_header_begins_as_envi_wants_it(tmp_path):
    save_cube(Cube(data=VALUES, wavelength_nm=NM, fwhm_nm=np.full(3, 5.0), name="a scene"), tmp_path / "b.hdr")
    first, *lines = (tmp_path / "b.hdr").read_text().splitlines()
    fields = [tuple(part.strip() for part in line.split("=", 1)) for line in lines]
    assert first == "ENVI"
    assert fields[:9] == [
        ("description", "{a scene}"), ("samples", "4"), ("lines", "2"), ("bands", "3"), ("header offset", "0"),
        ("file type", "ENVI Standard"), ("data type", "2"), ("interleave", "bsq"), ("byte order", "0"),
    ]  # fmt: skip
    # software that reads from top to bottom knows the unit when it meets the numbers
    names = [name for name, _ in fields]
    assert names.index("wavelength units") < names.index("wavelength") < names.index("fwhm")
    np.testing.assert_array_equal(np.fromfile(tmp_path / "b.img", "<i2"), VALUES.ravel())
