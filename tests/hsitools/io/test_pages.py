"""TIFF files whose bands are pages, as cameras and Python's TIFF writers leave them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from hsitools.cube import Cube
from hsitools.io import open_cube, save_cube

pytest.importorskip("rasterio")
tifffile = pytest.importorskip("tifffile")
VALUES = np.arange(9 * 5 * 6, dtype=np.uint16).reshape(9, 5, 6)
CENTRES = np.linspace(450, 850, 9)


@pytest.mark.parametrize("settings", [{}, {"bigtiff": True}, {"compression": "zlib"}, {"byteorder": ">"}])
def test_pages_are_bands(tmp_path, settings):
    """The first page was taken for the whole cube, without a word."""
    tifffile.imwrite(tmp_path / "c.tif", VALUES, photometric="minisblack", **settings)
    cube = open_cube(tmp_path / "c.tif")
    assert_array_equal(cube.read(), VALUES)
    assert_array_equal(cube.read(bands=[7, 2], rows=slice(1, 3), columns=slice(2, 6)), VALUES[[7, 2], 1:3, 2:6])
    save_cube(cube, tmp_path / "c.h5")
    assert_array_equal(open_cube(tmp_path / "c.h5").read(), VALUES)


def test_pages_named_by_their_wavelengths(tmp_path):
    with tifffile.TiffWriter(tmp_path / "c.tif") as file:
        for page, centre in zip(VALUES, CENTRES, strict=True):
            file.write(page, photometric="minisblack", description=f"{centre:g} nm", metadata=None)
    cube = open_cube(tmp_path / "c.tif")
    assert_array_equal(cube.read(), VALUES)
    assert_allclose(cube.wavelength_nm, CENTRES)


def test_images_of_other_sizes_are_said(tmp_path, caplog):
    with tifffile.TiffWriter(tmp_path / "c.tif") as file:
        for image in (VALUES[0], VALUES[0, :3], VALUES[0, :2]):
            file.write(image, photometric="minisblack")
    assert_array_equal(open_cube(tmp_path / "c.tif").read(), VALUES[:1])
    assert "found 3 images in one file, expected bands of one size: the first image is read" in caplog.text


def test_smaller_copies_of_an_image_are_no_bands(tmp_path):
    with tifffile.TiffWriter(tmp_path / "c.tif") as file:
        file.write(VALUES, photometric="minisblack", planarconfig="separate")
        file.write(VALUES[:, ::2, ::2], photometric="minisblack", planarconfig="separate", subfiletype=1)
    assert_array_equal(open_cube(tmp_path / "c.tif").read(), VALUES)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_a_tiff_file_that_is_cut_off_is_one_line(tmp_path, hsi, share):
    """What GDAL doubts of its tags stood on lines of their own before."""
    cube = Cube(data=VALUES.repeat(30, 1).repeat(30, 2), wavelength_nm=CENTRES, name="c" * 900)
    save_cube(cube, tmp_path / "c.tif")
    whole = (tmp_path / "c.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(whole[: int(share * len(whole))])
    said = hsi("convert", tmp_path / "cut.tif", tmp_path / "out.h5", code=2).stderr
    assert said.startswith(f"hsi: error: {tmp_path / 'cut.tif'}: ")
    assert said.count("\n") == 1
