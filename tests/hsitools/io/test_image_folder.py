"""Folders with one grey image a wavelength, as cameras behind tunable filters leave them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube, save_cube

pytest.importorskip("rasterio")
imwrite = pytest.importorskip("tifffile").imwrite
from skimage.io import imsave  # noqa: E402

VALUES = (np.arange(5 * 3 * 4).reshape(5, 3, 4) * 7).astype(np.uint16)
CENTRES = [450, 500, 550, 600, 1050]


@pytest.mark.parametrize(
    "names",
    [
        ["s2_0450nm", "s2_0500nm", "s2_0550nm", "s2_0600nm", "s2_1050nm"],
        ["IMG_0001_450nm", "IMG_0002_500nm", "IMG_0003_550nm", "IMG_0004_600nm", "IMG_0005_1050nm"],
        ["450 nm 3", "500 nm 3", "550 nm 3", "600 nm 3", "1050 nm 3"],
        ["a_0.45um", "a_0.5um", "a_0.55um", "a_0.6um", "a_1.05um"],
        ["run12-4500Å", "run12-5000Å", "run12-5500Å", "run12-6000Å", "run12-10500Å"],
    ],
)
@pytest.mark.parametrize("kind", ["u1.png", "u2.png", "u2.tif", "f4.tif"])
def test_images_are_bands_in_order_of_wavelengths(tmp_path, names, kind):
    dtype, suffix = kind.split(".")
    for name, image in zip(names, VALUES.astype(dtype), strict=True):
        if suffix == "png":
            imsave(tmp_path / f"{name}.png", image, check_contrast=False)
        else:
            imwrite(tmp_path / f"{name}.tif", image)
    cube = open_cube(tmp_path)
    assert_allclose(cube.wavelength_nm, CENTRES)
    assert_array_equal(cube.read(), VALUES.astype(dtype))
    assert_array_equal(
        cube.read(bands=[4, 1], rows=slice(1, 3), columns=slice(0, 2)), VALUES[[4, 1], 1:3, :2].astype(dtype)
    )
    save_cube(cube, tmp_path / "c.h5")
    assert_array_equal(open_cube(tmp_path / "c.h5").read(), VALUES.astype(dtype))


def test_maps_and_nodata_are_those_of_the_images(tmp_path):
    for centre, image in zip(CENTRES, VALUES, strict=True):
        label = {"crs": "EPSG:32632", "transform": (30.0, 0.0, 5e5, 0.0, -30.0, 4e6), "nodata": 0.0, "units": "DN"}
        save_cube(Cube(data=image[None], **label), tmp_path / f"{centre}nm.tif")
    cube = open_cube(tmp_path)
    assert (cube.crs, cube.transform, cube.nodata, cube.units) == ("EPSG:32632", (30, 0, 5e5, 0, -30, 4e6), 0, "DN")
    assert np.isnan(cube.physical().read()).sum() == 1


def _write(folder, name, image):
    imwrite(folder / name, image)


def test_what_is_no_band_is_said(tmp_path, caplog):
    for centre, image in zip((450, 460, 470, 490, 500), VALUES, strict=True):
        _write(tmp_path, f"s_{centre}nm.tif", image)
    _write(tmp_path, "dark.tif", VALUES[0])
    (tmp_path / "notes.txt").write_text("450nm")
    assert open_cube(tmp_path).shape == (5, 3, 4)
    assert "found no wavelength (450nm) in the names of dark.tif: left out" in caplog.text
    assert "found none from 470 to 490 nm, expected steps of 10 nm as between the others" in caplog.text


@pytest.mark.parametrize(
    ("name", "image", "found"),
    [
        ("t_450nm.tif", VALUES[0], "found 5 called s_*.tif, 1 called t_*.tif, expected one set"),
        ("s_0450nm.tif", VALUES[0], "found s_0450nm.tif and s_450nm.tif of one wavelength"),
        ("s_700nm.tif", VALUES[:3].transpose(1, 2, 0), "s_700nm.tif: data: found 3 bands, expected one: a grey image"),
        ("s_700nm.tif", VALUES[0].astype(np.uint8), r"s_700nm.tif: data: found uint8 of shape (3, 4), expected uint16"),
        ("s_700nm.tif", VALUES[0, :2], r"s_700nm.tif: data: found uint16 of shape (2, 4), expected uint16 of (3, 4)"),
    ],
)
def test_images_that_are_no_cube(tmp_path, name, image, found):
    for centre, band in zip(CENTRES, VALUES, strict=True):
        _write(tmp_path, f"s_{centre}nm.tif", band)
    _write(tmp_path, name, image)
    with pytest.raises(InputError) as error:
        open_cube(tmp_path)
    assert found in str(error.value)


def test_counted_images_of_one_wavelength_are_no_cube(tmp_path):
    for number, centre in enumerate((450, 500, 450, 500)):
        _write(tmp_path, f"IMG_{number}_{centre}nm.tif", VALUES[number])
    with pytest.raises(InputError, match=r"found IMG_0_450nm\.tif and IMG_2_450nm\.tif of one wavelength"):
        open_cube(tmp_path)


def test_images_without_wavelengths_are_no_cube_and_what_is_there_is_said(tmp_path):
    for number, band in enumerate(VALUES):
        _write(tmp_path, f"B{number}.tif", band)
    with pytest.raises(FormatError, match=r"5 of \.tif; images are a cube where their names state wavelengths"):
        open_cube(tmp_path)


@pytest.mark.parametrize(
    ("start", "said"), [(b"\x0e\x03\x13\x01", "h4toh5"), (b"\0\0\0\x0cjP  \r\n\x87\n", "gdal_translate")]
)
def test_files_of_other_kinds_say_what_to_do(tmp_path, start, said):
    (tmp_path / "x.hdf").write_bytes(start + b"\0" * 40)
    with pytest.raises(FormatError, match=said):
        open_cube(tmp_path / "x.hdf")
