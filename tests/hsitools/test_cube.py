"""The cube: views, labels, statistics, conversions."""

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hsitools.cube import Cube
from hsitools.cube.sources import ArraySource, MaskedSource, ScaledSource, StackedSource, ViewSource, detached
from hsitools.errors import InputError
from hsitools.io import open_cube, save_cube


def example(**changes):
    data = np.random.default_rng(0).random((6, 10, 12)).astype(np.float32)
    labels = {"wavelength_nm": np.array([700.0, 500, 600, np.nan, 800, 900]), "fwhm_nm": np.full(6, 9.0),
              "good": [1, 1, 1, 1, 0, 1], "transform": (2.0, 0.5, 100, 0.25, -2.0, 50), "crs": "EPSG:4326"}  # fmt: skip
    return Cube(data=data, **{**labels, **changes})


def test_select_by_wavelength():
    cube = example()
    part = cube.select(wavelength=(550, 850))
    np.testing.assert_array_equal(part.wavelength_nm, [700, 600, 800])
    np.testing.assert_array_equal(part.read(), cube.data[[0, 2, 4]])
    np.testing.assert_array_equal(part.good, [True, True, False])
    assert part.crs == cube.crs


@pytest.mark.parametrize("bands", [[5, 0, 0], [-1, 2], np.array([1, 0, 0, 1, 0, 1], bool)])
def test_select_bands(bands):
    cube = example()
    np.testing.assert_array_equal(cube.select(bands=bands).read(), cube.data[np.asarray(bands)])


def test_window_moves_the_grid():
    cube = example()
    part = cube.select(window=(3, 8, 4, 9))
    a, b, c, d, e, f = cube.transform
    assert part.transform == (a, b, c + 4 * a + 3 * b, d, e, f + 4 * d + 3 * e)
    same = cube.select(window=(slice(3, -2), slice(-8, -3)))
    np.testing.assert_array_equal(same.read(), part.read())


@given(st.data())
def test_views_of_views(data):
    """Any chain of selections of a lazy cube reads what it would of an array."""
    array = np.arange(6 * 10 * 12).reshape(6, 10, 12).astype(np.int16)
    axes = data.draw(st.permutations([0, 1, 2]))
    stored = np.ascontiguousarray(array.transpose(np.argsort(axes)))
    cube, expected = Cube(data=ArraySource(stored, tuple(axes))), array
    for _ in range(data.draw(st.integers(1, 3))):
        bands = data.draw(st.lists(st.integers(0, expected.shape[0] - 1), min_size=1, max_size=8))
        top, left = (data.draw(st.integers(0, size - 1)) for size in expected.shape[1:])
        bottom, right = (
            data.draw(st.integers(start + 1, size)) for start, size in zip((top, left), expected.shape[1:], strict=True)
        )
        cube = cube.select(bands=bands, window=(top, bottom, left, right))
        expected = expected[bands][:, top:bottom, left:right]
    np.testing.assert_array_equal(cube.read(), expected)


@given(st.lists(st.integers(0, 10), min_size=1, max_size=12), st.integers(0, 4), st.integers(5, 7))
def test_sources_compose(bands, top, bottom):
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, (4, 7, 5)), rng.integers(0, 9, (7, 7, 5))
    stack = StackedSource([ArraySource(first), ArraySource(second)])
    scaled = MaskedSource(ScaledSource(stack, np.arange(11), 1.0, 3), np.arange(11) == 2)
    whole = np.concatenate([first, second])
    expected = 1 + np.arange(11)[:, None, None] * whole.astype(np.float32)
    expected[whole == 3] = np.nan
    expected[2] = np.nan
    view = ViewSource(scaled, np.arange(11), slice(0, 7), slice(0, 5))
    found = view.read(np.array(bands), slice(top, bottom), slice(1, 4))
    np.testing.assert_array_equal(found, expected[bands, top:bottom, 1:4])


def test_detached_values_are_those_of_now(tmp_path):
    """Arrays in memory are copied, through whatever lies over them; files and what is mapped of them are not."""
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    cube = Cube(data=values, scale_factor=0.5)
    views = [
        values, cube.physical().data, cube.select(window=(0, 2, 1, 3)).data, cube.mask_bad().data,
        ViewSource(ArraySource(values), np.array([1]), slice(0, 2), slice(1, 4)),
        StackedSource([ArraySource(values), ArraySource(values)]),
    ]  # fmt: skip
    own = [detached(view) for view in views]
    before = [Cube(data=view).read().copy() for view in views]
    values[:] = -1
    for view, copied, was in zip(views, own, before, strict=True):
        np.testing.assert_array_equal(Cube(data=copied).read(), was)
        assert (Cube(data=view).read() < 0).all()
    save_cube(cube, tmp_path / "a.h5")
    stored = open_cube(tmp_path / "a.h5").data
    assert detached(stored) is stored
    mapped = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", np.float32, (2, 3, 4))
    for array in (mapped, mapped[:, :2], np.asarray(mapped)):
        assert detached(array) is array


def test_bad_bands():
    cube = example()
    assert cube.drop_bad().n_bands == 5
    masked = cube.mask_bad().read()
    assert np.isnan(masked[4]).all()
    assert np.isfinite(masked[[0, 1, 2, 3, 5]]).all()


def test_physical():
    numbers = np.array([[[0, 100], [-999, 300]]], dtype=np.int16)
    cube = Cube(data=numbers, nodata=-999, scale_factor=0.01)
    np.testing.assert_allclose(cube.physical().read(), [[[0, 1], [np.nan, 3]]])
    assert np.isnan(cube.physical().nodata)
    assert cube.physical().scale_factor is None


def test_units_not_known(tmp_path):
    """None is how people say so; it had become a file that could not be written."""
    cube = Cube(data=np.ones((1, 2, 2), dtype=np.float32), units=None, name=None)
    assert (cube.units, cube.name) == ("", "")
    save_cube(cube, tmp_path / "cube.h5")
    assert not open_cube(tmp_path / "cube.h5").units
    with pytest.raises(InputError, match="units: found 3, expected text"):
        Cube(data=cube.data, units=3)


def test_copy_of_physical_values(tmp_path):
    numbers = np.array([[[0, 100], [-999, 300]]], dtype=np.int16).repeat(2, axis=0)
    pan = Cube(data=numbers[:1], nodata=-999, scale_factor=0.02)
    one = Cube(data=numbers, nodata=-999, scale_factor=0.01, pan=pan)
    several = Cube(data=ScaledSource(ArraySource(numbers), [0.01, 0.01], [0.0, 1.0], -999), nodata=np.nan)
    part = several.select(bands=[1])
    for cube, first in ((one, 0.0), (several, 0.0), (part, 1.0)):
        save_cube(cube.physical(), tmp_path / "physical.h5")
        again = open_cube(tmp_path / "physical.h5")
        assert (again.dtype, again.scale_factor) == (np.float32, None)
        np.testing.assert_allclose(again.read()[0], [[first, first + 1], [np.nan, first + 3]], rtol=1e-6)
        if cube.pan is not None:
            np.testing.assert_allclose(again.pan.read(), [[[0, 2], [np.nan, 6]]], rtol=1e-6)
        save_cube(cube, tmp_path / "stored.h5")  # what nobody asked to turn stays as it was
        if cube is not several:
            assert open_cube(tmp_path / "stored.h5").stored().dtype == np.int16


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
               elements=st.floats(-1e6, 1e6) | st.just(np.nan)),
    st.integers(1, 400),
)  # fmt: skip
def test_statistics(values, block):
    values = np.where(np.abs(values) < 1e-100, 0, values) + 1e9
    values[values == 1e9 + 5] = -1
    cube = Cube(data=values, nodata=-1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cube.tiles, "__defaults__", (block, None))
        found = cube.statistics()
    for band, row in enumerate(values.reshape(len(values), -1)):
        keep = row[np.isfinite(row) & (row != -1)]
        assert found["n_valid"][band] == keep.size
        if keep.size:
            assert found["min"][band] == keep.min()
            assert found["max"][band] == keep.max()
            assert found["mean"][band] == pytest.approx(keep.mean(), rel=1e-12)
            assert found["std"][band] == pytest.approx(keep.std(), rel=1e-5, abs=1e-3)
        else:
            assert np.isnan(found["mean"][band])


def test_to_torch():
    numbers = np.array([[[1, 2], [-9, 4]]], dtype=">i2")
    tensor = Cube(data=numbers, nodata=-9).to_torch()
    assert tensor.shape == (1, 1, 2, 2)
    assert tensor.dtype == torch.float32
    assert torch.isnan(tensor[0, 0, 1, 0])
    assert Cube(data=numbers).to_torch(dtype=torch.float64).dtype == torch.float64
    assert Cube(data=np.ones((1, 2, 2), np.uint16)).to_torch().sum() == 4


def test_xarray_round_trip():
    cube = example(transform=(2.0, 0.0, 100.0, 0.0, -2.0, 50.0), nodata=-1.0, units="1", name="x", scale_factor=1e-4)
    again = Cube.from_xarray(cube.to_xarray())
    np.testing.assert_array_equal(again.read(), cube.data)
    np.testing.assert_array_equal(again.wavelength_nm, cube.wavelength_nm)
    np.testing.assert_array_equal(again.good, cube.good)
    for name in ("crs", "transform", "nodata", "units", "name", "scale_factor"):
        assert getattr(again, name) == getattr(cube, name), name


def test_from_foreign_xarray():
    import xarray

    array = xarray.DataArray(np.zeros((4, 5, 3)), dims=("y", "x", "bands"),
                             coords={"wavelength": ("bands", [0.5, 0.6, 0.7], {"units": "um"})})  # fmt: skip
    cube = Cube.from_xarray(array)
    assert cube.shape == (3, 4, 5)
    np.testing.assert_allclose(cube.wavelength_nm, [500, 600, 700])
    # bands lie where the wavelengths do, whatever that is called; without them nothing tells
    assert Cube.from_xarray(array.rename(bands="time")).shape == (3, 4, 5)
    with pytest.raises(InputError, match="dims"):
        Cube.from_xarray(array.drop_vars("wavelength").rename(bands="time"))


def test_larger_than_memory(tmp_path, monkeypatch):
    """A file that claims a cube of a terabyte opens, nothing of it read, and refuses to be loaded."""
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("cube", shape=(300, 30_000, 60_000), dtype="u2", chunks=(300, 8, 8))
        file["wavelength_nm"] = np.linspace(400, 2500, 300)
    read, getitem = [], h5py.Dataset.__getitem__
    with monkeypatch.context() as patch:
        patch.setattr(h5py.Dataset, "__getitem__", lambda data, *key: (read.append(data.name), getitem(data, *key))[1])
        cube = open_cube(tmp_path / "huge.h5")
        assert cube.describe()["shape"] == [300, 30_000, 60_000]
    assert set(read) == {"/wavelength_nm"}
    with pytest.raises(InputError, match=r"huge\.h5: memory: .* GiB needed"):
        cube.read()
    assert cube.select(window=(29_990, 30_000, 59_990, 60_000)).read().shape == (300, 10, 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Cube(data=np.zeros((3, 4))), r"data: found shape \(3, 4\)"),
        (lambda: Cube(data=np.zeros((0, 3, 4))), "none of them empty"),
        (lambda: Cube(data=np.zeros((1, 3, 4), complex)), "expected real numbers"),
        (lambda: example(wavelength_nm=[1.0]), r"wavelength_nm: found shape \(1,\), expected \(6,\)"),
        (lambda: example(fwhm_nm=np.full(6, -1.0)), "fwhm_nm: found -1"),
        (lambda: example(good=[True]), r"good: found shape \(1,\)"),
        (lambda: example(transform=(1, 2)), "transform: found 2 numbers"),
        (lambda: example().select(wavelength=(2000, 3000)), "found none between 2000 and 3000 nm"),
        (lambda: example(wavelength_nm=None).select(wavelength=(1, 2)), "wavelength_nm: not known"),
        (lambda: example().select(bands=[6]), "bands: found 6 to 6"),
        (lambda: example().select(bands=[]), "bands: found"),
        (lambda: example().select(bands=[0.5]), "bands: found"),
        (lambda: example().select(window=(0, 11, 0, 5)), "window: found y 0:11, expected inside 0:10"),
        (lambda: example().select(window=(5, 5, 0, 5)), "window: found y 5:5"),
        (lambda: example().select(window=(slice(0, 4, 2), slice(None))), "window: found step 2"),
        (lambda: example(good=np.zeros(6)).drop_bad(), "found no good band"),
    ],
)
def test_errors_say_what(call, message):
    with pytest.raises(InputError, match=message):
        call()
