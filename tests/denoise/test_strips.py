"""Cubes larger than memory: strips, how they pass into one another, and what a killed run leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from denoise.case import Restoration
from denoise.restore import rare_findings, restore_cube, strip_findings
from denoise.strips import HALO, HELD, STRIP_BYTES, STRIP_PIXELS, RestoredSource, strip_size
from hsitools.cube import Cube, memory
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube, save_cube
from hsitools.scenes import scene

BANDS, HEIGHT, WIDTH = 20, 40, 220
WAVELENGTH = np.linspace(430, 860, BANDS)
#: Strips of 60 columns and their surroundings.
SMALL = 4 * BANDS * HEIGHT * (60 + 2 * HALO)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return np.asarray(scene((HEIGHT, WIDTH), wavelength_nm=WAVELENGTH, seed=7).read())


@pytest.fixture(scope="module")
def noisy(clean: np.ndarray) -> Cube:
    values = clean + 0.03 * np.random.default_rng(0).standard_normal(clean.shape, dtype=np.float32)
    return Cube(data=values, wavelength_nm=WAVELENGTH, name="long")


@pytest.fixture(scope="module")
def whole(noisy: Cube) -> np.ndarray:
    return np.asarray(restore_cube(noisy, "lowrank").estimate.read())


@pytest.fixture(scope="module")
def in_strips(noisy: Cube) -> tuple[Cube, np.ndarray]:
    """By four strips, read at once: the cube, and its values."""
    found = restore_cube(noisy, "lowrank", strip_bytes=SMALL).estimate
    return found, np.asarray(found.read())


@pytest.mark.parametrize("shape", [(224, 1000, 1000), (30, 4000, 4000), (400, 2000, 600), (3, 50, 90000), (9, 20, 20)])
def test_strips_are_bounded_and_hold_whole_columns_where_they_can(shape: tuple[int, int, int]) -> None:
    rows, columns = strip_size(shape)
    wide = min(rows + 2 * HALO, shape[1]) * min(columns + 2 * HALO, shape[2])
    assert wide <= STRIP_PIXELS
    assert 4 * shape[0] * wide <= STRIP_BYTES
    assert rows == shape[1] or rows == columns
    # two strips at most share a column: their weights add up to one
    assert columns >= min(2 * HALO, shape[2])


@pytest.mark.parametrize("strip_bytes", [SMALL, 4 * BANDS * 50 * 50])
def test_strips_are_as_good_as_the_whole_and_have_no_seams(
    noisy: Cube, clean: np.ndarray, whole: np.ndarray, in_strips: tuple[Cube, np.ndarray], strip_bytes: int
) -> None:
    found = in_strips[0] if strip_bytes == SMALL else restore_cube(noisy, "lowrank", strip_bytes=strip_bytes).estimate
    assert isinstance(found.data, RestoredSource)
    windows = found.data.windows
    assert len(windows) > 3
    error = found.read() - clean
    assert np.sqrt((error**2).mean()) < 1.3 * np.sqrt(((whole - clean) ** 2).mean())
    steps = np.abs(np.diff(error, axis=2)).mean((0, 1))
    seams = sorted({window.columns.start for window in windows} - {0})
    assert steps[np.array(seams) - 1].mean() < 1.5 * steps.mean()


def test_shared_noise_of_strips_is_said_once(clean: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    """As of a cube that was resampled along its spectra: each strip finds it, none said so."""
    noise = 0.05 * np.random.default_rng(0).standard_normal((BANDS + 2, *clean.shape[1:]))
    smooth = (noise[:-2] + 2 * noise[1:-1] + noise[2:]) / 3
    cube = Cube(data=(clean + smooth).astype(np.float32), wavelength_nm=WAVELENGTH, name="smooth")
    found = restore_cube(cube, "lowrank", strip_bytes=SMALL).estimate
    assert strip_findings(found) == {}
    found.read()
    said = strip_findings(found)
    assert said["path"] == "lowrank"
    assert "in 4 of 4 strips: neighbouring bands seem to share noise" in said["warning"]
    assert [record.getMessage() for record in caplog.records] == [f"smooth: {said['warning']}"]


def test_strips_are_of_the_cube_that_was_given(noisy: Cube) -> None:
    """Its buffer is filled anew after the first one."""
    values = np.array(noisy.read())
    found = restore_cube(noisy.replace(data=values), "column-median", strip_bytes=SMALL).estimate
    first = found.read(columns=slice(0, 20))
    values[:] = 7
    whole = found.read()
    expected = restore_cube(noisy, "column-median", strip_bytes=SMALL).estimate.read()
    np.testing.assert_array_equal(whole, expected)
    np.testing.assert_array_equal(first, expected[..., :20])


def test_each_strip_is_restored_once_in_any_order(noisy: Cube, in_strips: tuple[Cube, np.ndarray]) -> None:
    told: list[tuple[int, int]] = []
    cube = restore_cube(noisy, "lowrank", strip_bytes=SMALL, progress=lambda *step: told.append(step)).estimate
    last = cube.read(columns=slice(150, 220))
    assert len(told) == 2  # of four: the one that holds them and its neighbour
    first = cube.read(bands=[3, 4], rows=slice(5, 30), columns=slice(0, 150))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    at_once = in_strips[1]
    np.testing.assert_allclose(first, at_once[3:5, 5:30, :150], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last, at_once[..., 150:], rtol=1e-5, atol=1e-6)


def test_a_strip_is_never_added_twice(noisy: Cube, monkeypatch: pytest.MonkeyPatch) -> None:
    found = restore_cube(noisy, samples=1, strip_bytes=SMALL).estimate
    assert isinstance(found.data, RestoredSource)
    kept = RestoredSource._kept

    def full(self: RestoredSource, name: str, mode: Literal["r", "r+", "w+"]) -> np.ndarray:
        if name == "std":
            raise OSError("disk full")
        return kept(self, name, mode)

    monkeypatch.setattr(RestoredSource, "_kept", full)
    with pytest.raises(FormatError, match="disk full"):
        found.read(columns=slice(0, 10))
    monkeypatch.undo()
    with pytest.raises(InputError, match="long: found a strip that was added half"):
        found.read(columns=slice(0, 10))


def test_pixels_without_measurement_stay_so(noisy: Cube) -> None:
    values = noisy.read().copy()
    values[:, 10:15, 55:70] = np.nan
    values[:, :, 160:] = np.nan
    found = restore_cube(noisy.replace(data=values), samples=1, strip_bytes=SMALL)
    estimate = found.estimate.read()
    np.testing.assert_array_equal(np.isnan(estimate).all(0), np.isnan(values).all(0))
    assert found.std is not None
    assert found.mask is not None
    assert np.isfinite(found.std.read()[:, :, :50]).all()
    assert found.mask.read()[:, 10:15, 55:70].all()


def test_killed_on_the_way_leaves_nothing(noisy: Cube, tmp_path: Path, hsi: Callable[..., object]) -> None:
    raw, out = tmp_path / "raw.h5", tmp_path / "clean.h5"
    save_cube(noisy.replace(data=np.tile(noisy.read(), (1, 1, 60))), raw)
    typed = ["denoise", "run", str(raw), "--method", "lowrank", "-o", str(out)]
    environment = os.environ | {"TMPDIR": str(tmp_path / "strips")}
    (tmp_path / "strips").mkdir()
    running = subprocess.Popen(
        [sys.executable, "-m", "hsitools", *typed], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not list(tmp_path.glob(".clean.h5.*.part")):
        assert running.poll() is None
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=300)
    assert running.returncode != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw.h5", "strips"]
    assert not list((tmp_path / "strips").iterdir())
    save_cube(noisy, raw)
    hsi(*typed)
    assert open_cube(out).shape == noisy.shape


def test_strips_name_rare_pixels(clean: np.ndarray) -> None:
    """Each strip names those of its own; none is named twice, none is lost between strips."""
    where = np.zeros((HEIGHT, WIDTH), dtype=bool)
    where[[8, 21, 30, 12], [20, 59, 60, 150]] = True

    def restored(values: np.ndarray, columns: slice) -> Restoration:
        # a strip's surroundings are another's: what it names there does not count
        named = where[:, columns].copy()
        named[0, [0, -1]] |= [columns.start > 0, columns.stop < WIDTH]
        return Restoration(estimate=values, structure=named)

    source = RestoredSource(Cube(data=clean, wavelength_nm=WAVELENGTH), restored, (HEIGHT, 60), False, None)
    assert not source.structure.any()
    source.read([0], slice(0, HEIGHT), slice(0, WIDTH))
    assert (source.structure[0] == where).all()
    findings = rare_findings(Cube(data=source.structure))
    assert findings == {"rare_pixels": 4, "rare_groups": 4, "rare_extent": [8, 31, 20, 151]}
    assert rare_findings(None) == {}


def test_named_pixels_of_strips_are_there_once_the_cube_was_read(noisy: Cube) -> None:
    restored = restore_cube(noisy, "lowrank", strip_bytes=SMALL)
    assert restored.structure is not None
    assert restored.structure.shape == (1, HEIGHT, WIDTH)


@pytest.mark.parametrize("workers", [False, True])
def test_strips_that_memory_does_not_hold_are_refused_before_anything_is_done(
    noisy: Cube, workers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_LIMIT", [])
    client = object() if workers else None
    # of each worker, who would be ended, and the next ones after it
    limit = HELD * SMALL
    monkeypatch.setattr("hsitools.scale.cluster.memory_of_task", lambda _client: limit)
    if not workers:
        memory.limit_memory(limit)
    restore_cube(noisy, "lowrank", strip_bytes=SMALL, client=client)
    limit -= 1
    if not workers:
        memory.limit_memory(limit)
    said = r"for each worker; fewer workers have more each$" if workers else "free; choose a window or bands$"
    with pytest.raises(
        InputError, match=rf"^long: memory: a strip of it, about 0\.0 GiB needed, found 0\.0 GiB {said}"
    ):
        restore_cube(noisy, "lowrank", strip_bytes=SMALL, client=client)
