"""Images larger than a tile: tiles are the whole, a stopped run goes on, memory stays with a tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from calibration.characterization import Characterization
from calibration.inversion import tiles
from calibration.inversion.invert import invert
from calibration.inversion.measurement import Measurement
from hsitools.cube import Cube
from hsitools.errors import InputError

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def image(instrument: Characterization) -> Cube:
    """Two materials under uneven light, 50 × 40 pixels, one of them not measured."""
    rng = np.random.default_rng(0)
    grid = np.linspace(*instrument.response.band_nm, 40)
    materials = np.stack([1 + 0.5 * np.sin(grid / 60), 2 - grid / 900])
    field = (np.add.outer(np.arange(50), np.arange(40)) % 23 > 11).astype(int)
    truth = materials[field].transpose(2, 0, 1) * (1 + 0.3 * np.sin(np.arange(40) / 7))
    values = np.tensordot(instrument.response.matrix(grid), truth, axes=1)
    values += 0.01 * values.mean() * rng.standard_normal(values.shape)
    values[4, 20, 30] = np.nan
    return Cube(data=values.astype(np.float32))


@pytest.mark.parametrize("method", ["gp", "joint", "ridge", "cosine"])
def test_tiles_are_the_whole(
    instrument: Characterization, image: Cube, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = np.linspace(*instrument.response.band_nm, 40)
    # a solver of few steps reaches less far, so that a small image has tiles
    if method == "joint":
        from calibration.inversion import spatial
        from hsitools.estimation import chebyshev

        monkeypatch.setattr(chebyshev, "STEPS", 4)
        monkeypatch.setattr(spatial, "REACH", 2 * (4 + 2))
    whole = invert(image, instrument, method, grid=grid).spectra
    monkeypatch.setattr(tiles, "TILE_BYTES", 2**20)
    steps: list[tuple[int, int]] = []
    parts = invert(image, instrument, method, grid=grid, progress=lambda *done: steps.append(done)).spectra
    assert len(steps) >= 4
    scale = float(np.sqrt(np.nanmean(whole.estimate**2)))
    assert np.array_equal(parts.mask, whole.mask)
    assert_allclose(parts.estimate, whole.estimate, rtol=0, atol=1e-5 * scale)
    assert (whole.std is None) == (parts.std is None)
    if whole.std is not None:
        assert_allclose(parts.std, whole.std, rtol=1e-4)


def test_a_stopped_run_goes_on(
    instrument: Characterization, image: Cube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE_BYTES", 2**20)
    grid = np.linspace(*instrument.response.band_nm, 40)
    whole = invert(image, instrument, "ridge", grid=grid).spectra

    class Stopped(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        invert(image, instrument, "ridge", grid=grid, parts=tmp_path / "parts", progress=stop)
    read: list[slice] = []
    once = tiles.AnyMeasurement.__args__[1].read  # type: ignore[attr-defined]

    def counted(self: Any, rows: slice, columns: slice) -> Array:
        read.append(rows)
        result: Array = once(self, rows, columns)
        return result

    monkeypatch.setattr(tiles.AnyMeasurement.__args__[1], "read", counted)  # type: ignore[attr-defined]
    again = invert(image, instrument, "ridge", grid=grid, parts=tmp_path / "parts").spectra
    count = len(tiles.tile_windows(image.shape, 40, 0))
    # the sample, the first tile (whose layers it tells) and what was not done
    assert len(read) == 1 + 1 + count - 3
    assert_allclose(again.estimate, whole.estimate, rtol=1e-6)
    # of other options nothing is taken over
    read.clear()
    invert(image, instrument, "ridge", grid=grid[:-1], parts=tmp_path / "parts")
    assert len(read) >= 1 + len(tiles.tile_windows(image.shape, 40, 0))


def test_a_sample_is_spread_over_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(3 * 40 * 60, dtype=float).reshape(3, 40, 60)
    measured = Measurement(values=values, noise_std=None, source="")
    assert tiles.sample(measured).values.shape == values.shape
    monkeypatch.setattr(tiles, "SAMPLE_PIXELS", 256)
    monkeypatch.setattr(tiles, "BLOCK", 8)
    chosen = tiles.sample(measured).values
    assert chosen.shape == (3, 16, 16)
    # corners of the image are in it
    assert {values[0, 0, 0], values[0, -1, -1]} <= set(chosen[0].ravel())


def test_parameters_of_tiles_are_means_by_pixels() -> None:
    parts = [{"rule": "gcv", "x": 1.0, "k": {"a": 0.0}}, {"rule": "gcv", "x": 2.0, "k": {"a": 1.0}}]
    assert tiles.merged(parts, [30, 10]) == {"rule": "gcv", "x": 1.25, "k": {"a": 0.25}}


def test_a_folder_of_somebody_else_is_neither_filled_nor_removed(tmp_path: Path) -> None:
    """`hsi invert run -o s.h5` keeps its tiles in s_parts, which a user may have long had."""
    folder = tmp_path / "s_parts"
    folder.mkdir()
    tiles.remove_kept(folder)
    assert folder.is_dir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="s_parts: parts: found something else"):
        tiles.Kept(folder, "key")
    tiles.remove_kept(folder)
    assert (folder / "thesis.txt").exists()
    (folder / "thesis.txt").unlink()
    for name in ("mask", "done.json"):
        # of our files' names, and yet not ours
        (folder / name).write_text('["mine"]')
        with pytest.raises(InputError, match="s_parts: parts: found something else"):
            tiles.Kept(folder, "key")
        tiles.remove_kept(folder)
        assert (folder / name).read_text() == '["mine"]'
        (folder / name).unlink()
    kept = tiles.Kept(tmp_path / "ours", "key")
    kept.layer("estimate", (2, 3))
    kept.add("0,0", 4, {})
    assert set(tiles.Kept(tmp_path / "ours", "key").done) == {"0,0"}
    tiles.remove_kept(tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_second_run_takes_nothing_of_a_first_one(tmp_path: Path) -> None:
    """Two commands of one output at once: neither has the other's tiles among its own."""
    first = tiles.Kept(tmp_path / "parts", "first")
    own = first.layer("estimate", (2, 3))
    own[:] = 1
    first.add("0,0", 4, {})
    second = tiles.Kept(tmp_path / "parts", "second")
    second.layer("estimate", (2, 3))[:] = 2
    assert own.max() == 1
    with pytest.raises(InputError, match="parts: another run has begun there"):
        first.add("0,1", 4, {})
    second.add("0,0", 4, {})
    assert tiles.Kept(tmp_path / "parts", "second").layer("estimate", (2, 3)).min() == 2
    assert not tiles.Kept(tmp_path / "parts", "first").done
