"""Tables of wavelengths beside images that do not tell their own."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from hsitools.cube import Cube
from hsitools.io import open_cube, save_cube
from hsitools.io.readers import source_files

VALUES = np.arange(5 * 3 * 4, dtype=np.uint16).reshape(5, 3, 4)
CENTRES = [450.5, 500, 550, 600, 650]
ROWS = ["450.5", "500", "550", "600", "650"]


@pytest.fixture(params=[".tif", ".hdr"])
def image(tmp_path, request):
    """An image without wavelengths."""
    if request.param == ".tif":
        pytest.importorskip("rasterio")
    save_cube(Cube(data=VALUES), tmp_path / f"scene{request.param}")
    return tmp_path / f"scene{request.param}"


def _rows(mark, *columns):
    return "".join(mark.join(row) + "\n" for row in zip(*columns, strict=True))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scene.csv", "band,wavelength_nm\n" + _rows(",", "12345", ROWS)),
        ("scene.csv", "Wavelength (µm);FWHM (µm);\n0,4505;0,01;\n0,5;0,01;\n0,55;0,01;\n0,6;0,01;\n0,65;0,01;\n"),
        ("scene_wavelengths.txt", "# lab 3\n" + "\n".join(ROWS)),
        ("scene_wl.txt", "450,5\t1\n500\t1\n550\t1\n600\t1\n650\t1\n"),
        ("wavelengths.csv", ", ".join(ROWS)),
        ("bands.csv", "Wavelength [Angstrom]\tname\n" + _rows("\t", ["4505", "5000", "5500", "6000", "6500"], "abcde")),
        ("scene.wl", "\n".join(ROWS)),
        ("AHSI_Spectralresponse_VNIR.raw", _rows(",", ROWS, ["4.25"] * 5)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_table_beside_gives_the_wavelengths_and_is_said(image, caplog, name, content, encoding):
    """It was passed over without a word."""
    (image.parent / name).write_bytes(content.encode(encoding))
    cube = open_cube(image)
    assert_allclose(cube.wavelength_nm, CENTRES)
    assert_array_equal(cube.read(), VALUES)
    assert f"wavelengths: none in the file: taken from {name} beside it" in caplog.text
    assert image.parent / name in source_files(image)


def test_widths_and_bad_bands_of_a_table(image):
    head = "number,center wavelength (nm),FWHM (um),bad_band\n"
    (image.parent / "scene.csv").write_text(head + _rows(",", "12345", ROWS, ["0.01"] * 5, "00100"))
    cube = open_cube(image)
    assert_allclose(cube.fwhm_nm, 10)
    assert_array_equal(cube.good, [True, True, False, True, True])


def test_widths_of_the_tables_of_gaofen(image):
    (image.parent / "GF5B_AHSI_Spectralresponse_SWIR.raw").write_text(_rows(",", ROWS, ["4.25"] * 5))
    assert_allclose(open_cube(image).fwhm_nm, 4.25)


def test_a_table_of_other_bands_is_said(image, caplog):
    (image.parent / "scene.csv").write_text("wavelength_nm\n" + "\n".join(ROWS[:4]) + "\n")
    assert open_cube(image).wavelength_nm is None
    assert "scene.csv: wavelength: found 4 values, expected 5, one a band of scene" in caplog.text


@pytest.mark.parametrize(
    "content",
    ["", "notes of the day: 450 nm lamp\n", "1\n2\n3\n4\n5\n", "x,y\n1,450\n2,500\n", "a,b\n" * 5, "\0\1\2"],
)
def test_other_texts_say_nothing(image, caplog, content):
    (image.parent / "scene.txt").write_text(content)
    assert open_cube(image).wavelength_nm is None
    assert "wavelength" not in caplog.text


def test_an_image_that_tells_its_own_needs_no_table(tmp_path, caplog):
    save_cube(Cube(data=VALUES, wavelength_nm=np.array(CENTRES) + 100), tmp_path / "scene.hdr")
    (tmp_path / "scene.csv").write_text("wavelength_nm\n" + "\n".join(ROWS))
    assert_allclose(open_cube(tmp_path / "scene.hdr").wavelength_nm, np.array(CENTRES) + 100)
    assert not caplog.text
