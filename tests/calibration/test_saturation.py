"""Saturation of raw frames that the file does not declare."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.captures.extract import extract
from calibration.captures.frames import FrameStack
from calibration.captures.saturation import clipped_samples, clipping_limit
from calibration.fitting.near_ceiling import MOST, near_ceiling
from calibration.fitting.options import Options
from calibration.fitting.wild_samples import fit_without_wild
from calibration.pipeline import characterize
from hsitools.sensor.transmittance import TransmittanceModel

LINES = bench.lines(60)


@pytest.fixture(scope="module")
def device():
    return bench.simulate_instrument(24, rng=np.random.default_rng(1), rows=4, pitch=28)


@pytest.fixture(scope="module")
def unsaturated(device, tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "frames.h5"
    bench.write_frames(path, device, LINES, rng=np.random.default_rng(2))
    return path, extract(FrameStack(path), device.layout)


def spoiled(path, target, saturate, *, members=("frames",), full_scale=bench.FULL_SCALE):
    """The same frames from a detector that saturates."""
    with h5py.File(path) as old, h5py.File(target, "w") as new:
        for name, data in old.items():
            new[name] = saturate(data[()]) if name in members else data[()]
        if full_scale is not None:
            new.attrs["full_scale"] = full_scale
    return FrameStack(target)


def cut_off(value):
    return lambda frames: np.minimum(frames, value)


def full_well(electrons, spread=0.01, read=5.0):
    """Wells of pixels differ; what they hold is read with noise."""
    rng = np.random.default_rng(3)

    def saturate(frames):
        wells = electrons * (1 + spread * rng.standard_normal(frames.shape[1:]))
        above = frames.astype(float) - bench.DARK_LEVEL > wells
        full = np.rint(wells + bench.DARK_LEVEL + read * rng.standard_normal(frames.shape))
        return np.where(above, full, frames).astype(frames.dtype)

    return saturate


@pytest.mark.parametrize("full_scale", [bench.FULL_SCALE, None])
@pytest.mark.parametrize("saturate", [cut_off(7000), full_well(6600.0), full_well(6600.0, 0.0)])
def test_saturation_below_the_declared_full_scale(device, unsaturated, tmp_path, saturate, full_scale):
    path, clean = unsaturated
    capture = extract(spoiled(path, tmp_path / "f.h5", saturate, full_scale=full_scale), device.layout)
    lowered = capture.intensity < 0.97 * clean.intensity
    would_be = (clean.intensity > 6650 * 1.01) & clean.mask
    assert 0.03 < would_be.mean() < 0.4
    assert capture.saturated[would_be].mean() > 0.99
    assert not (lowered & capture.mask).any()
    assert not (capture.mask & capture.saturated).any()
    # what lies clearly below is not lost
    assert not capture.saturated[clean.intensity < 5500].any()
    np.testing.assert_array_equal(capture.intensity[capture.mask], clean.intensity[capture.mask])


def test_full_wells_in_few_lines(device, unsaturated, tmp_path):
    """Rows whose wells are full in two to four lines only: their patches hold the same twice."""
    path, clean = unsaturated
    brightest = np.sort(clean.intensity.ravel())[-12]
    lines = (clean.intensity > brightest).sum(axis=1)
    assert 2 <= lines.max() <= 4
    capture = extract(spoiled(path, tmp_path / "f.h5", full_well(float(brightest))), device.layout)
    assert capture.saturated[clean.intensity > 1.01 * brightest].all()
    assert not capture.saturated[clean.intensity < 0.9 * brightest].any()
    assert not clean.saturated.any()


def test_a_neighbourhood_that_is_clipped_in_part(device, unsaturated, tmp_path):
    """Rings and vignetting: of a wide window some pixels clip first."""
    path, _ = unsaturated
    stack = spoiled(path, tmp_path / "f.h5", cut_off(6000))
    wide, truth = (extract(one, device.layout, window=17) for one in (stack, FrameStack(path)))
    raised = truth.neighbourhood > 0
    lowered = raised & (wide.neighbourhood < 0.97 * truth.neighbourhood)
    assert lowered.any()
    assert wide.saturated[lowered].all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lines", [24, 120])
def test_no_false_marks(tmp_path, seed, lines):
    rng = np.random.default_rng(10 + seed)
    device = bench.simulate_instrument(24, rng=rng, rows=4, pitch=28)
    bench.write_frames(tmp_path / "f.h5", device, bench.lines(lines), rng=rng, hot_share=0.002)
    with h5py.File(tmp_path / "f.h5", "a") as file:
        del file.attrs["full_scale"]
    capture = extract(FrameStack(tmp_path / "f.h5"), device.layout)
    assert not capture.saturated.any()
    assert capture.mask.mean() > 0.97


def test_identical_interferometers_are_not_saturated(tmp_path):
    """Equally bright fringes pile up near their maximum, by no more than noise."""
    rng = np.random.default_rng(20)
    device = bench.simulate_instrument(24, rng=rng, rows=4, pitch=28)
    same = np.broadcast_to(device.gain.mean(axis=0), device.gain.shape)
    device = replace(device, gain=same, brightness=np.ones(24))
    bench.write_frames(tmp_path / "f.h5", device, bench.lines(120), rng=rng)
    assert not extract(FrameStack(tmp_path / "f.h5"), device.layout).saturated.any()


def test_saturated_flats_are_not_used(device, unsaturated, tmp_path):
    """What a clipped flat frame was divided by is not known: those samples are masked, not called saturated."""
    path, clean = unsaturated
    with h5py.File(path) as file:
        limit = int(np.quantile(file["flat"][()], 0.97))
    capture = extract(spoiled(path, tmp_path / "f.h5", cut_off(limit), members=("flat",)), device.layout)
    bright = clean.flat > 1.02 * (limit - bench.DARK_LEVEL)
    assert bright.any()
    assert not capture.mask[bright].any()
    np.testing.assert_allclose(capture.flat[capture.mask], clean.flat[capture.mask], rtol=0.01)


def test_the_log_says_where(device, unsaturated, tmp_path, caplog):
    extract(spoiled(unsaturated[0], tmp_path / "f.h5", cut_off(7000)), device.layout)
    assert "pixels saturate from 7000 on, below the full scale of 16383" in caplog.text


# ---- frames of a scene -----------------------------------------------------------------------------------------


def scene_frames(count, noise=True, seed=5):
    """Photons of blocks of even light and of a bright plate ``(frame, interferometer, y, x)``, 14 bits."""
    rng = np.random.default_rng(seed)
    blocks = np.kron(rng.uniform(500, 2500, (6, 4, 4)), np.ones((5, 5)))
    blocks[:, 6:12, 6:12] = 3000
    light = np.broadcast_to(blocks, (count, *blocks.shape))
    return np.rint(rng.poisson(light) if noise else light).astype(float)


@pytest.mark.parametrize("count", [1, 4])
def test_frames_of_a_scene_that_are_cut_off(count):
    frames = scene_frames(count)
    usable = np.ones(frames.shape[1:], dtype=bool)
    for limit in (1200, 2000, 2900):
        assert clipping_limit(np.minimum(frames, limit), usable) == limit
    # a hot pixel above it is none of the scene's
    hot = np.minimum(frames, 2000)
    hot[:, 0, 0, :3], usable[0, 0, :3] = 9000, False
    assert clipping_limit(hot, usable) == 2000


@pytest.mark.parametrize("count", [1, 4])
def test_frames_of_a_scene_that_are_not(count):
    usable = np.ones(scene_frames(1).shape[1:], dtype=bool)
    for seed in range(10):
        assert clipping_limit(scene_frames(count, seed=seed), usable) == np.inf
    # even objects without noise hold one number, too
    assert clipping_limit(scene_frames(count, noise=False), usable) == np.inf
    assert clipping_limit(np.full((count, 6, 20, 20), 100.0), usable) == np.inf


# ---- captures, as users' own tables ----------------------------------------------------------------------------

ALL_LINES = bench.lines(151)


@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("limit", [1.0, 0.8, 0.6])
def test_unmarked_samples_of_a_capture_that_are_cut_off(device, noise, limit):
    clean = bench.capture(device, ALL_LINES, rng=np.random.default_rng(4), noise=noise).intensity
    mask = np.random.default_rng(5).random(clean.shape) > 0.05
    np.testing.assert_array_equal(clipped_samples(np.minimum(clean, limit), mask), mask & (clean >= limit))
    # as stored by a converter
    counts = np.minimum(np.rint(1000 * clean), 1000 * limit)
    np.testing.assert_array_equal(clipped_samples(counts, mask), mask & (counts == 1000 * limit))
    # rows in units of their own
    gain = np.linspace(0.5, 2, len(clean))[:, None]
    clipped = clipped_samples(gain * np.minimum(clean, limit), mask)
    assert not (clipped & (clean < limit)).any()
    assert clipped.sum() > 0.8 * (mask & (clean >= limit)).sum()


@pytest.mark.parametrize("n_lines", [40, 61, 151, 400])
@pytest.mark.parametrize("step", [0.0, 1e-2, 1e-3])
def test_tops_of_fringes_are_no_ceiling(device, n_lines, step):
    def rounded(values):
        return np.rint(values / step) * step if step else values

    wavenumber = np.linspace(1.0, 2.5, n_lines)
    # exact maxima that repeat, pairs of equal values beside them, broad tops, constant rows
    for opd in (np.arange(9.0), np.arange(1, 60) / 4, np.array([0.01, 0.05, 0.1, 0.3])):
        phase = 2 * np.pi * wavenumber * opd[:, None]
        for fringes in (1 + 0.5 * np.cos(phase), 1 / (1 + 0.8 * np.sin(phase / 2) ** 2)):
            assert not clipped_samples(rounded(fringes), np.ones(fringes.shape, dtype=bool)).any()
    for noise in (0.0, 0.03, 0.1):
        capture = bench.capture(device, bench.lines(n_lines), rng=np.random.default_rng(6), noise=noise)
        assert not clipped_samples(rounded(capture.intensity), capture.mask).any()


def test_a_fit_sets_unmarked_saturation_aside(device, caplog):
    """A quarter of the samples at the ceiling: OPDs tens of their standard errors off, half of the rows not flagged."""
    capture = bench.capture(device, ALL_LINES, rng=np.random.default_rng(7), noise=0.03).select(rows=np.arange(8))
    limit = float(np.quantile(capture.intensity, 0.75))
    full = capture.intensity >= limit
    cut = replace(capture, intensity=np.minimum(capture.intensity, limit))
    result = characterize(cut, TransmittanceModel())
    assert f"{full.sum()} samples of {full.any(axis=1).sum()} interferometers saturated" in caplog.text
    np.testing.assert_array_equal(result.flags["saturated"], full.any(axis=1))
    away = np.abs(bench.standardised_errors(device, result)["opd"])
    assert np.median(away) < 2


def test_noise_does_not_decide_which_samples_below_the_ceiling_count():
    """What is left of samples that noise took above it would bend fringes' tops: reflectivity and gain too low."""
    far = []
    for seed in (7, 8):
        rng = np.random.default_rng(seed)
        instrument = bench.simulate_instrument(24, rng=rng, rows=4, opd_offset_um=4.0)
        capture = bench.capture(instrument, bench.lines(161), rng=rng, noise=0.05, saturation=0.95)
        assert 0.1 < capture.saturated.mean() < 0.3
        errors = bench.standardised_errors(instrument, characterize(capture, TransmittanceModel(degree_phase=3)))
        far.append([errors["reflectivity"], errors["gain"]])
    reflectivity, gain = np.concatenate(far, axis=1)
    assert abs(reflectivity.mean()) < 0.6
    assert abs(gain.mean()) < 0.6
    assert np.sqrt(np.mean(np.square([reflectivity, gain]))) < 1.3


def test_a_row_that_lost_too_much_keeps_the_rest():
    rng = np.random.default_rng(9)
    instrument = bench.simulate_instrument(12, rng=rng, rows=4, opd_offset_um=4.0)
    capture = bench.capture(instrument, bench.lines(121), rng=rng, noise=0.05, saturation=0.7)
    data, fit, _ = fit_without_wild(capture, TransmittanceModel(degree_phase=3), Options())
    near = near_ceiling(capture, data, fit)
    cut = (near | ~capture.mask).mean(axis=1)
    assert not near[(~capture.mask).mean(axis=1) > MOST].any()
    assert (cut[near.any(axis=1)] <= MOST).all()
    assert not near_ceiling(replace(capture, saturated=None), data, fit).any()
