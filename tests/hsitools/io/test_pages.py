"""TIFF files whose bands are pages, as cameras and Python's TIFF writers leave them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from hsitools.cube import Cube
from hsitools.errors import InputError
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


NAMES = [f"{centre:g} nm" for centre in CENTRES]
PIXELS = {"EmissionWavelength": [float(c) for c in CENTRES], "EmissionWavelengthUnit": ["nm"] * 9}


@pytest.mark.parametrize(("name", "settings"), [
    ("imagej.tif", {"imagej": True, "metadata": {"axes": "CYX", "Labels": NAMES}}),
    ("imagej_big.tif", {"imagej": True, "metadata": {"axes": "ZYX", "Labels": NAMES}, "byteorder": ">"}),
    ("names.ome.tif", {"metadata": {"axes": "CYX", "Channel": {"Name": NAMES}}}),
    ("emission.ome.tif", {"metadata": {"axes": "CYX", "Channel": PIXELS}}),
    ("tifffile.tif", {"metadata": {"axes": "CYX", "wavelength": list(CENTRES)}}),
])  # fmt: skip
def test_what_programs_say_of_pages_names_the_bands(tmp_path, name, settings):
    """Of OME the first band had the first channel's wavelength and the others none; the others had none at all."""
    tifffile.imwrite(tmp_path / name, VALUES, photometric="minisblack", **settings)
    cube = open_cube(tmp_path / name)
    assert_array_equal(cube.read(), VALUES)
    assert_allclose(cube.wavelength_nm, CENTRES)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_pages_have_names_of_their_own(tmp_path, bigtiff):
    with tifffile.TiffWriter(tmp_path / "c.tif", bigtiff=bigtiff) as file:
        for page, centre in zip(VALUES, CENTRES, strict=True):
            tag = (285, "s", 0, f"lambda={centre:g}", False)
            file.write(page, photometric="minisblack", metadata=None, extratags=[tag])
    assert_allclose(open_cube(tmp_path / "c.tif").wavelength_nm, CENTRES)


def test_what_a_microscope_says_elsewhere_is_no_wavelength(tmp_path):
    tifffile.imwrite(tmp_path / "c.ome.tif", VALUES, photometric="minisblack",
                     metadata={"axes": "CYX", "Description": "laser at 488 nm"})  # fmt: skip
    assert open_cube(tmp_path / "c.ome.tif").wavelength_nm is None


@pytest.mark.parametrize(("name", "settings", "found"), [
    ("imagej.tif", {"imagej": True, "metadata": {"axes": "TCYX"}}, "3 (channel) × 3 (time)"),
    ("c.ome.tif", {"metadata": {"axes": "CZYX"}}, "3 (channel) × 3 (slice)"),
    ("shaped.tif", {}, "3 (axis 0) × 3 (axis 1)"),
])  # fmt: skip
def test_pages_along_two_axes_are_no_bands(tmp_path, name, settings, found):
    """Three times of three channels were nine bands, without a word."""
    tifffile.imwrite(tmp_path / name, VALUES.reshape(3, 3, 5, 6), photometric="minisblack", **settings)
    with pytest.raises(InputError, match="one axis beside y and x") as error:
        open_cube(tmp_path / name)
    assert f"pages: found {found}, " in str(error.value)


def test_pages_that_are_rows_are_no_bands(tmp_path):
    tifffile.imwrite(tmp_path / "c.tif", VALUES.transpose(1, 2, 0).copy(), photometric="minisblack",
                     metadata={"axes": "YXC"})  # fmt: skip
    with pytest.raises(InputError, match=r"found 5 rows of a cube \(y, x, band\)"):
        open_cube(tmp_path / "c.tif")


def test_pages_that_a_large_stack_lacks_are_said(tmp_path, caplog):
    """ImageJ writes stacks above 4 GB as one page, with the others' numbers behind it."""
    tifffile.imwrite(tmp_path / "c.tif", VALUES, photometric="minisblack", truncate=True)
    assert open_cube(tmp_path / "c.tif").shape == (1, 5, 6)
    assert "pages: found 1, expected 9 as the first one's description says" in caplog.text
