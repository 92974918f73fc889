"""What stands beside a cube in a file: single values, attributes of groups, labels that bear an array's name."""

import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from hsitools import open_cube
from hsitools.errors import FormatError, InputError

NM = np.array([400.0, 450.0, 550.0, 650.0, 850.0, 900.0])
#: Band b, row y, column x: 100 + 20 b + 5 y + x.
VALUES = (100 + np.arange(6)[:, None, None] * 20 + np.arange(20).reshape(4, 5)).astype(np.int16)
FACTS = {"wavelength_units": "Angstrom", "scale_factor": 0.01, "nodata": 100}
PHYSICAL = np.where(VALUES == 100, np.nan, VALUES * 0.01)


def _hdf5(path: Path, where: str = "") -> None:
    with h5py.File(path, "w") as file:
        file[f"{where}cube"], file[f"{where}wavelength"] = VALUES, NM * 10
        for name, value in FACTS.items():
            file[f"{where}{name}"] = value


def _matlab73(path: Path, where: str = "") -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in {"cube": VALUES.transpose(1, 2, 0), "wavelength": NM[None] * 10}.items():
            file.create_dataset(where + name, data=value.T).attrs["MATLAB_class"] = np.bytes_("double")
        for name, value in FACTS.items():
            words = isinstance(value, str)
            stored = np.array([[ord(letter)] for letter in value], np.uint16) if words else np.array([[value]])
            file.create_dataset(where + name, data=stored)
            file[where + name].attrs["MATLAB_class"] = np.bytes_("char" if words else "double")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\x02IM")


def _zarr(path: Path, where: str = "") -> None:
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(path, mode="w")
    group = root.create_group(where.strip("/")) if where else root
    for name, value in {"cube": VALUES, "wavelength": NM * 10}.items():
        group.create_array(name, data=value)
    group.attrs.update(FACTS)


WRITERS = {
    "a.h5": _hdf5, "b.mat": _matlab73, "c.zarr": _zarr,
    "d.mat": lambda path: savemat(path, {"cube": VALUES.transpose(1, 2, 0), "wavelength": NM * 10, **FACTS}),
    "e.npz": lambda path: np.savez(path, cube=VALUES, wavelength=NM * 10, **FACTS),
    "group.h5": lambda path: _hdf5(path, "scene/"), "group.mat": lambda path: _matlab73(path, "scene/"),
    "group.zarr": lambda path: _zarr(path, "scene/"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_single_values_beside_a_cube_say_unit_scale_and_nodata(tmp_path, name):
    WRITERS[name](tmp_path / name)
    cube = open_cube(tmp_path / name)
    np.testing.assert_allclose(cube.wavelength_nm, NM)
    np.testing.assert_allclose(cube.physical().read(), PHYSICAL, rtol=1e-6)


def test_groups_attributes_are_of_what_stands_in_them(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["scene/cube"] = VALUES
        file["scene"].attrs.update({"wavelength": NM / 1000, "wavelength_units": "um", "nodata": 100})
        file["other/scale_factor"] = 7.0
        file["other/cube_of_others"] = VALUES
    cube = open_cube(tmp_path / "a.h5", variable="scene/cube")
    np.testing.assert_allclose(cube.wavelength_nm, NM)
    assert np.isnan(cube.physical().read()[0, 0, 0])
    assert cube.physical().read()[1, 0, 0] == 120


def test_what_stands_nearest_to_the_cube_counts(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.update({"wavelength_units": "nm", "nodata": -1})
        file["scale_factor"], file["scene/scale_factor"] = 7.0, 0.01
        file["scene/cube"], file["scene/wavelength"] = VALUES, NM * 10
        file["scene"].attrs.update({"wavelength_units": "Angstrom", "nodata": 100})
    cube = open_cube(tmp_path / "a.h5")
    np.testing.assert_allclose(cube.wavelength_nm, NM)
    np.testing.assert_allclose(cube.physical().read(), PHYSICAL, rtol=1e-6)


def test_a_group_inside_speaks_of_the_cube_unless_it_holds_another(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"], file["wavelength"] = VALUES, NM
        file["metadata/scale_factor"], file["metadata/nodata"] = 0.01, 100
        file["another_scene/scale_factor"], file["another_scene/image"] = 7.0, VALUES[:, :2]
    np.testing.assert_allclose(open_cube(tmp_path / "a.h5", variable="cube").physical().read(), PHYSICAL, rtol=1e-6)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("Angstrom", 10),
        ("Nanometers (nm)", 1),
        ("[um]", 1e-3),
        ("micro meters", 1e-3),
        ("1e-9 m", 1),
        ("counts", 1),
        # of the values: each ends in a unit that wavelengths may have
        ("W m-2 sr-1 um-1", 1),
        ("W m-2 sr-1 um-1", 1e-3),
        ("uW cm-2 sr-1 nm-1", 1),
        ("mW m-2 sr-1 (cm-1)-1", 1),
        ("m", 1),
    ],
)
def test_units_beside_a_cube_are_of_wavelengths_if_they_are_lengths(tmp_path, unit, factor):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"], file["wavelength"], file["units"] = VALUES, NM * factor, unit
    np.testing.assert_allclose(open_cube(tmp_path / "a.h5").wavelength_nm, NM)


def test_labels_as_packed_numbers_and_scaled_coordinates(tmp_path):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        file["cube"] = VALUES
        for axis, (name, numbers) in enumerate(
            {"wavelength": NM * 10, "y": 40 - np.arange(4), "x": np.arange(5)}.items()
        ):
            file[name] = numbers.astype(np.int16)
            file[name].make_scale(name)
            file["cube"].dims[axis].attach_scale(file[name])
        file["wavelength"].attrs.update({"units": "nm", "scale_factor": 0.1})
        file["x"].attrs.update({"scale_factor": 30.0, "add_offset": 500_015.0})
        file["y"].attrs.update({"scale_factor": 30.0, "add_offset": 4_000_000.0 - 15})
    cube = open_cube(tmp_path / "a.nc")
    np.testing.assert_allclose(cube.wavelength_nm, NM)
    np.testing.assert_allclose(cube.transform, (30, 0, 500_000, 0, -30, 4_001_200))


@pytest.mark.parametrize(
    ("array", "labels"),
    [
        ("ms", ("ms_wavelength_nm", "ms_fwhm_nm")),
        ("ms", ("wavelength_nm_ms", "fwhm_ms")),
        ("ms_cube", ("ms_wavelengths", "ms_fwhm")),
    ],
)
def test_a_second_array_with_bands_of_its_own(tmp_path, array, labels):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"], file["wavelength_nm"], file["fwhm_nm"] = VALUES, NM, np.full(6, 5.0)
        file[array], file[labels[0]], file[labels[1]] = VALUES[:3] + 1, NM[:3] + 7, np.full(3, 60.0)
    second, first = open_cube(tmp_path / "a.h5", variable=array), open_cube(tmp_path / "a.h5")
    np.testing.assert_array_equal(second.read(), VALUES[:3] + 1)
    np.testing.assert_array_equal(second.wavelength_nm, NM[:3] + 7)
    np.testing.assert_array_equal(second.fwhm_nm, [60, 60, 60])
    np.testing.assert_array_equal(first.wavelength_nm, NM)
    np.testing.assert_array_equal(first.fwhm_nm, np.full(6, 5.0))


def test_a_second_array_does_not_take_the_firsts_labels(tmp_path, caplog):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"], file["wavelength"], file["rgb"] = VALUES, NM, VALUES[:3]
    with pytest.raises(InputError, match=r"rgb: found shape .* choose with --axes"):
        open_cube(tmp_path / "a.h5", variable="rgb")
    with caplog.at_level(logging.WARNING):
        second = open_cube(tmp_path / "a.h5", variable="rgb", axes="band,y,x")
    assert second.wavelength_nm is None
    assert "wavelength: belongs to cube, not to rgb" in caplog.text


def test_wavelengths_of_each_column_are_no_map(tmp_path, caplog):
    # a map of the cube's pixels would tell which axis holds no bands
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = VALUES
        file["wavelength"] = NM[:, None] + np.array([-2.0, -1, 0, 1, 2])
    with caplog.at_level(logging.WARNING):
        cube = open_cube(tmp_path / "a.h5")
    np.testing.assert_allclose(cube.wavelength_nm, NM)
    np.testing.assert_array_equal(cube.read(), VALUES)
    assert "differ by up to 4" in caplog.text


def test_cells_of_words_are_one_list(tmp_path):
    words = np.array([f"{wavelength:g} nm" for wavelength in NM], dtype=object)
    savemat(tmp_path / "a.mat", {"hsi": VALUES.transpose(1, 2, 0), "wavelength": words})
    np.testing.assert_array_equal(open_cube(tmp_path / "a.mat").wavelength_nm, NM)


def test_numpy_archives_by_other_names(tmp_path):
    image = VALUES.transpose(1, 2, 0)
    np.savez(tmp_path / "named.npz", data=image, wavelengths=NM, gt=np.zeros((4, 5), int))
    np.savez(tmp_path / "two.npz", noisy=image, clean=image + 1, wavelengths=NM)
    np.savez(tmp_path / "unnamed.npz", image, NM)
    np.savez(tmp_path / "batch.npz", cube=VALUES[None], wavelength_nm=NM)
    for path, variable in (("named.npz", None), ("two.npz", "noisy"), ("unnamed.npz", "arr_0"), ("batch.npz", None)):
        cube = open_cube(tmp_path / path, variable=variable)
        np.testing.assert_array_equal(cube.read(), VALUES)
        np.testing.assert_array_equal(cube.wavelength_nm, NM)
    with pytest.raises(InputError, match="found noisy, clean, any of which"):
        open_cube(tmp_path / "two.npz")
    with pytest.raises(FormatError, match=r"inside: arr_0 4×5×6, arr_1 6; --variable"):
        open_cube(tmp_path / "unnamed.npz")


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_of_xarray_and_of_one_array(tmp_path, version):
    zarr, xarray = pytest.importorskip("zarr"), pytest.importorskip("xarray")
    coordinates = {"wavelength": ("wavelength", NM, {"units": "nm"})}
    scene = xarray.Dataset({"radiance": (("wavelength", "y", "x"), PHYSICAL)}, coords=coordinates)
    packed = {"_FillValue": -1, "dtype": "i2", "scale_factor": 0.01}
    scene.to_zarr(tmp_path / "a.zarr", zarr_format=version, encoding={"radiance": packed}, consolidated=False)
    np.testing.assert_allclose(open_cube(tmp_path / "a.zarr").physical().read(), PHYSICAL, rtol=1e-6)
    alone = zarr.create_array(tmp_path / "b.zarr", data=VALUES, zarr_format=version)
    alone.attrs["wavelength"] = NM.tolist()
    np.testing.assert_array_equal(open_cube(tmp_path / "b.zarr").read(), VALUES)
