"""Chunks packed by threads are what HDF5's own filters would have written; integers keep their promised error."""

from __future__ import annotations

import builtins
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from hsitools import Cube, open_cube
from hsitools.commands.root import hsi
from hsitools.cube.packed import packed
from hsitools.errors import InputError
from hsitools.io import save_cube
from hsitools.io.packing import FILTERS, ChunkWriter, deflated, packed_chunk


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 20), st.integers(1, 20)),
    rows=st.integers(1, 20),
    dtype=st.sampled_from(["u1", "<f4", ">i2", "<f8", "?"]),
)
def test_any_blocks_give_the_values(shape: tuple[int, int, int], rows: int, dtype: str) -> None:
    rng = np.random.default_rng(sum(shape))
    values = (rng.random(shape) * 100).astype(dtype)
    chunk = tuple(min(size, most) for size, most in zip(shape, (4, 8, 8), strict=True))
    with h5py.File("memory.h5", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("cube", shape=shape, dtype=dtype, chunks=chunk, **FILTERS)
        with ChunkWriter(data) as writer:
            for top in range(0, shape[1], rows):  # some cut chunks, some do not
                writer.write((0, top, 0), values[:, top : top + rows])
        np.testing.assert_array_equal(data[()], values)


def test_the_file_is_plain_gzip(tmp_path: Path) -> None:
    """Read by anyone: the filters are HDF5's own, and the same numbers come from a data set that HDF5 packed."""
    values = np.linspace(0, 1, 3 * 70 * 90, dtype=np.float32).reshape(3, 70, 90)
    save_cube(Cube(data=values), tmp_path / "cube.h5")
    with h5py.File(tmp_path / "cube.h5") as file:
        data = file["cube"]
        assert (data.compression, data.compression_opts, data.shuffle, data.fletcher32) == ("gzip", 1, True, False)
        np.testing.assert_array_equal(data[()], values)
        with h5py.File(tmp_path / "own.h5", "w") as own:
            own.create_dataset("cube", data=values, chunks=data.chunks, **FILTERS)
            _, ours = data.id.read_direct_chunk((0, 64, 64))
            _, theirs = own["cube"].id.read_direct_chunk((0, 64, 64))
            assert zlib.decompress(ours) == zlib.decompress(theirs)


def test_zlib_serves_where_isal_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: object, **options: object) -> object:
        if name.startswith("isal"):
            raise ImportError(name)
        return real(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "isal", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    planes = planes_of("same, noise, same")
    assert zlib.decompress(deflated(planes)) == planes.tobytes()


def planes_of(kinds: str, size: int = 70_001) -> np.ndarray:
    """Planes of bytes of which some get shorter and some do not."""
    rng = np.random.default_rng(0)
    kept = {"same": np.full(size, 7, np.uint8), "noise": rng.integers(0, 256, size, dtype=np.uint8)}
    return np.stack([kept[kind] for kind in kinds.split(", ")])


@pytest.mark.parametrize(
    "kinds", ["same", "noise", "noise, noise", "noise, same", "same, noise", "same, same, noise, same"]
)
@pytest.mark.parametrize("size", [1, 65_535, 65_536, 140_000])
def test_planes_that_do_not_pack_stand_as_they_are(kinds: str, size: int) -> None:
    """Any zlib reads the stream, and no plane costs more than its own length."""
    planes = planes_of(kinds, size)
    whole = deflated(planes)
    assert zlib.decompress(whole) == planes.tobytes()
    noise = kinds.split(", ").count("noise")
    assert len(whole) <= noise * (size + 5 * (size // 65_535 + 1)) + (len(planes) - noise) * (0.01 * size + 200) + 20


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<i2", "u1", "<f8", "?"])
def test_a_chunk_is_what_the_filters_make_of_it(dtype: str) -> None:
    values = (np.random.default_rng(1).random((2, 7, 9)) * 100).astype(dtype)
    shuffled = values.reshape(-1).view(np.uint8).reshape(-1, values.itemsize).T.tobytes()
    assert zlib.decompress(packed_chunk(values, values.shape)) == shuffled


def test_an_error_while_writing_is_not_hidden(tmp_path: Path) -> None:
    def interrupted(data: h5py.Dataset) -> None:
        with ChunkWriter(data) as writer:
            writer.write((0, 0, 0), np.ones((2, 8, 8)))
            raise ZeroDivisionError

    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("cube", shape=(2, 8, 8), dtype="f4", chunks=(2, 4, 4), **FILTERS)
        with pytest.raises(ZeroDivisionError):
            interrupted(data)


@pytest.mark.parametrize("suffix", [".h5", ".tif", ".hdr", ".zarr"])
def test_integers_keep_their_error_in_every_format(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.3, 0.2, (4, 20, 30)).astype(np.float32)
    values[2, 3, 4] = np.nan
    save_cube(Cube(data=values, units="1", wavelength_nm=np.array([500, 600, 700, 800.0])), tmp_path / "in.h5")
    done = CliRunner().invoke(
        hsi, ["convert", str(tmp_path / "in.h5"), str(tmp_path / f"out{suffix}"), "--dtype", "int16"]
    )
    assert done.exit_code == 0, done.output
    assert "rounded by at most" in done.output
    back = open_cube(tmp_path / f"out{suffix}")
    assert back.stored().dtype == np.int16
    read = back.physical().read()
    bound = float(np.nanmax(values) - np.nanmin(values)) / 65534 / 2
    assert np.isnan(read[2, 3, 4])
    assert np.isnan(read).sum() == 1
    assert bound / 2 < np.nanmax(np.abs(read - values)) < 1.02 * bound


def test_a_value_that_does_not_fit_is_said_and_no_file_is_left(tmp_path: Path) -> None:
    cube = Cube(data=np.array([[[0.0, 1.0, 1e6]]], dtype=np.float32))
    with pytest.raises(InputError, match=r"int16: found the value 1e\+06, expected .* or a scale of 31 or more"):
        save_cube(packed(cube, like=Cube(data=np.array([[[0.0, 1.0]]], dtype=np.float32))), tmp_path / "out.h5")
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="scale: found -1"):
        packed(cube, scale=-1)
    with pytest.raises(InputError, match="no finite value"):
        packed(Cube(data=np.full((1, 2, 2), np.nan, dtype=np.float32)))


def test_what_is_infinite_is_no_measurement() -> None:
    values = np.array([[[0.0, 0.5, 1.0, np.inf, -np.inf, np.nan]]], dtype=np.float32)
    found = packed(Cube(data=values)).read()[0, 0]
    np.testing.assert_allclose(found, [0, 0.5, 1, np.nan, np.nan, np.nan], atol=1e-5)


def test_the_error_counts_what_float32_rounds() -> None:
    values = 1e6 + np.random.default_rng(0).uniform(-1, 1, (1, 40, 50))
    small = packed(Cube(data=values))
    assert np.abs(small.read() - values).max() <= small.meta["rounding_error"]
