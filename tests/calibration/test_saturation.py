"""Saturation of raw frames that the file does not declare."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy.stats import norm

from calibration import simulated_bench as bench
from calibration.captures.capture import MonochromaticCapture
from calibration.captures.extract import extract
from calibration.captures.frames import FrameStack
from calibration.captures.saturation import clipped_samples, clipping_limit, full_wells
from calibration.fitting.cut_off import CutOff, cut_off_samples
from calibration.fitting.fit import fit_capture
from calibration.fitting.lmfit_engine import refine_rows
from calibration.fitting.near_ceiling import MOST, near_ceiling, rows_near_ceiling
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


def test_windows_that_are_clipped_in_part(device, unsaturated, tmp_path):
    """Rings, vignetting and noise: of a window some pixels clip first, and its median is known until half of them do.

    The rest was all that was used: half of the samples lost made gains .66 of what they are, OPDs of 4 µm wrong.
    """
    path, _ = unsaturated
    stack = spoiled(path, tmp_path / "f.h5", cut_off(6000))
    for window in (5, 17):
        seen, truth = (extract(one, device.layout, window=window) for one in (stack, FrameStack(path)))
        ceiling = np.max(seen.intensity, axis=1, where=seen.saturated, initial=0.0)[:, None]
        assert 0.05 < seen.saturated.mean() < 0.6
        assert not truth.saturated.any()
        # where the flat is clipped nothing is known
        known = seen.mask | seen.saturated
        assert 0.7 < known.mean() < 1
        # every row at one number, as if its samples themselves had been cut off there
        np.testing.assert_array_equal(seen.saturated, known & (truth.intensity >= ceiling) & (ceiling > 0))
        expected = np.where(seen.saturated, ceiling, truth.intensity)
        np.testing.assert_array_equal(seen.intensity[known], expected[known])
        np.testing.assert_array_equal(cut_off_samples(seen), seen.saturated)
        whole = np.isfinite(seen.neighbourhood)
        np.testing.assert_array_equal(seen.neighbourhood[whole], truth.neighbourhood[whole])
        assert (~whole & ~seen.saturated).any()
        assert not whole[seen.saturated].any()


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


def _cut_at(share, seed, *, rows=24, noise=0.05, **measured):
    """A device of which a share of the samples is cut off, marked, at one number."""
    rng = np.random.default_rng(seed)
    instrument = bench.simulate_instrument(rows, rng=rng, rows=4, opd_offset_um=4.0)
    capture = bench.capture(instrument, bench.lines(161), rng=rng, noise=noise, linewidth_nm=0.0, **measured)
    limit = np.quantile(capture.intensity, 1 - share)
    full = capture.intensity >= limit
    intensity = np.minimum(capture.intensity, limit)
    return instrument, replace(capture, intensity=intensity, mask=~full, saturated=full)


@pytest.mark.parametrize("at_one_number", [True, False])
def test_noise_does_not_decide_which_samples_below_the_ceiling_count(at_one_number):
    """What is left of samples that noise took above it would bend fringes' tops: reflectivity and gain too low."""
    far = []
    for seed in (7, 8):
        rng = np.random.default_rng(seed)
        instrument = bench.simulate_instrument(24, rng=rng, rows=4, opd_offset_um=4.0)
        capture = bench.capture(instrument, bench.lines(161), rng=rng, noise=0.05, saturation=0.95)
        assert 0.1 < capture.saturated.mean() < 0.3
        if not at_one_number:
            capture = replace(capture, intensity=np.where(capture.saturated, 0, capture.intensity))
        errors = bench.standardised_errors(instrument, characterize(capture, TransmittanceModel(degree_phase=3)))
        far.append([errors["reflectivity"], errors["gain"]])
    reflectivity, gain = np.concatenate(far, axis=1)
    assert abs(reflectivity.mean()) < 0.6
    assert abs(gain.mean()) < 0.6
    assert np.sqrt(np.mean(np.square([reflectivity, gain]))) < 1.3


@pytest.mark.parametrize(("share", "prior"), [(0.3, True), (0.5, True), (0.4, False)])
def test_intervals_cover_whatever_was_cut_off(share, prior):
    """Left out, of half of the samples: OPDs of one row in ten on another fringe, reflectivity covered by a third."""
    z = []
    for seed in range(3):
        instrument, capture = _cut_at(share, seed)
        result = characterize(capture, TransmittanceModel(degree_phase=3), options=Options(prior=prior))
        assert (np.abs(result.opd_um - instrument.opd_um) * np.ptp(capture.wavenumber) < 0.5).all()
        errors = bench.standardised_errors(instrument, result)
        z.append([errors[name] for name in ("opd", "phase", "reflectivity", "gain")])
    z = np.concatenate(z, axis=1)
    assert ((np.abs(z) < 1.96).mean(axis=1) > 0.9).all()
    # likelihoods of little more than fringes' feet have a longer side: .6 of a standard error at half of the samples
    assert (np.abs(np.median(z, axis=1)) < 0.8).all()


def test_wild_samples_at_the_ceiling_pull_at_no_fit():
    """Cosmic rays end at the ceiling, too: where the fit is far below it they are wild."""
    instrument, capture = _cut_at(0.2, 3, hot_share=0.02)
    result = characterize(capture, TransmittanceModel(degree_phase=3))
    errors = np.stack(list(bench.standardised_errors(instrument, result).values()))
    assert ((np.abs(errors) < 1.96).mean(axis=1) > 0.87).all()
    # of 24 rows a median is known to a quarter
    assert (np.abs(np.median(errors, axis=1)) < 0.8).all()


def test_engines_agree_on_what_is_cut_off():
    _, capture = _cut_at(0.3, 4, rows=13)
    data, fit = fit_capture(capture, TransmittanceModel(), Options())
    few = [0, 7]
    assert data.cut_off[few].sum(axis=1).min() > 20
    after = refine_rows(
        fit.sampled, 1.001 * fit.theta[few], data.intensity[few], data.flat[few], data.weight[few],
        prior=fit.prior.take(few), cut_off=fit.cut_off.take(few),
    )  # fmt: skip
    sigma = np.sqrt(np.einsum("bii->bi", fit.covariance[few]))
    # the noise that the fit ended with is that of its last pass to 1 %
    assert (np.abs(after.theta - fit.theta[few]) < 0.1 * sigma).all()


def test_pull_and_curvature_of_a_sample_at_the_ceiling():
    """Those of −2σ² log Φ((fit − ceiling) / σ), by differences of SciPy's distribution; of σ² log 2 at the ceiling."""
    below = np.linspace(-4, 6, 41)[None] * 0.3
    cut = CutOff(samples=np.ones(below.shape, dtype=bool), sigma=np.array([[0.3]]))
    cost, pull, curvature = cut.terms(below)
    step = 1e-4
    around = [-2 * 0.09 * norm.logcdf(-(below + k * step) / 0.3) for k in (-1, 0, 1)]
    np.testing.assert_allclose(cost, around[1], rtol=1e-10)
    np.testing.assert_allclose(pull, (around[2] - around[0]) / (4 * step), rtol=1e-6)
    np.testing.assert_allclose(curvature, (around[2] - 2 * around[1] + around[0]) / (2 * step**2), atol=1e-5)
    # limits: as a wild sample, linear from .6 on and nothing beyond 1.2
    below = np.linspace(-1.2, 1.1, 400)[None]
    cut = CutOff(samples=np.ones(below.shape, dtype=bool), sigma=np.array([[0.3]]))
    cost, pull, _ = cut.terms(below, (np.array([[0.6]]), np.array([[1.2]])))
    np.testing.assert_allclose(np.gradient(cost[0], below[0])[1:-1], 2 * pull[0, 1:-1], atol=0.1)
    assert (np.diff(cost[0]) >= 0).all()
    far = np.full((1, 400), 2.0)
    assert not cut.terms(far, (np.array([[0.6]]), np.array([[1.2]])))[1].any()


def test_noise_at_the_ceiling():
    rng = np.random.default_rng(5)
    # not as much below the ceiling as above it, which tells no more than what was measured
    light = np.array([[0.9], [1.0], [1.1]]) + np.zeros(4000)
    seen = light + 0.2 * rng.standard_normal(light.shape)
    samples = seen > 1
    residual = np.minimum(seen, 1) - light
    cut = CutOff.of(samples, residual, (~samples).astype(float), 0.0)
    np.testing.assert_allclose(cut.sigma, 0.2, rtol=0.06)


def test_which_samples_are_at_a_ceiling():
    intensity = np.array([[1, 5, 5, 2.0], [1, 5, 2, 3], [1, 4, 4, 4.5], [1, 4, 4.2, 2], [3, 0, 0, 1], [1, 4, 2, 3]])
    full = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 0]], dtype=bool)
    capture = MonochromaticCapture(
        intensity=intensity, flat=np.ones_like(intensity), wavenumber=np.linspace(1, 2, 4), mask=~full, saturated=full
    )
    # a row's own number, that of all; not below what was measured, at two numbers, unknown, one number of one sample
    expected = full & np.array([True, True, False, False, False, False])[:, None]
    np.testing.assert_array_equal(cut_off_samples(capture), expected)
    np.testing.assert_array_equal(rows_near_ceiling(capture), full.any(axis=1) & ~expected.any(axis=1))


def test_a_row_that_lost_too_much_keeps_the_rest():
    rng = np.random.default_rng(9)
    instrument = bench.simulate_instrument(12, rng=rng, rows=4, opd_offset_um=4.0)
    capture = bench.capture(instrument, bench.lines(121), rng=rng, noise=0.05, saturation=0.7)
    capture = replace(capture, intensity=np.where(capture.saturated, 0, capture.intensity))
    data, fit, _ = fit_without_wild(capture, TransmittanceModel(degree_phase=3), Options())
    near = near_ceiling(capture, data, fit)
    cut = (near | ~capture.mask).mean(axis=1)
    assert not near[(~capture.mask).mean(axis=1) > MOST].any()
    assert (cut[near.any(axis=1)] <= MOST).all()
    assert not near_ceiling(replace(capture, saturated=None), data, fit).any()


def _lost(capture, share, how, rng):
    """A capture of which a share of the samples reached full wells, or is marked and lost above each row's ceiling."""
    if how == "full wells":
        ceiling = np.quantile(capture.intensity, 1 - share)
        wells = ceiling * (1 + 0.003 * rng.standard_normal(capture.intensity.shape))
        return replace(
            capture, intensity=np.where(capture.intensity > ceiling, wells, capture.intensity), saturated=None
        )
    full = capture.intensity > np.quantile(capture.intensity, 1 - share, axis=1, keepdims=True)
    return replace(capture, intensity=np.where(full, np.nan, capture.intensity), mask=~full, saturated=full)


@pytest.mark.parametrize(("share", "how"), [(0.15, "full wells"), (0.35, "full wells"), (0.5, "marked")])
def test_samples_at_a_ceiling_that_no_number_tells(share, how):
    """Full wells that a table does not mark, and marked ones without a number: reflectivities were .12 too low."""
    rng = np.random.default_rng(11)
    device = bench.simulate_instrument(16, rng=rng, rows=4, opd_offset_um=2.0, opd_step_um=0.9)
    capture = bench.capture(device, bench.lines(121), rng=rng, noise=0.03, linewidth_nm=0.0)
    result = characterize(_lost(capture, share, how, rng), TransmittanceModel(degree_phase=3))
    z = bench.standardised_errors(device, result)
    assert result.flags["saturated"].all()
    for name in ("opd", "reflectivity", "gain"):
        assert np.mean(np.abs(z[name]) < 3) > 0.9, name
    assert abs(np.median(result.gain / device.gain_at(capture.wavenumber).mean(axis=1)) - 1) < 0.015


def test_fringes_have_no_full_wells():
    """However low the noise, and however broad their tops."""
    for noise, waves in ((0, 2), (0.001, np.inf), (0.1, 2)):
        rng = np.random.default_rng(5)
        device = bench.simulate_instrument(60, rng=rng, rows=8, waves=waves, opd_offset_um=0.1, opd_step_um=0.2)
        capture = bench.capture(device, bench.lines(121), rng=rng, noise=noise, linewidth_nm=0.0)
        for values in (capture.intensity, capture.intensity / capture.flat):
            assert np.isinf(full_wells(values, capture.mask)).all()


def test_a_flat_field_that_was_cut_off_is_left_out(caplog):
    """Its light is not known there: gains were too high by as much, and nothing was said."""
    rng = np.random.default_rng(17)
    device = bench.simulate_instrument(16, rng=rng, rows=4, opd_offset_um=2.0, opd_step_um=0.9)
    capture = bench.capture(device, bench.lines(121), rng=rng, noise=0.03, linewidth_nm=0.0)
    characterize(capture, TransmittanceModel(degree_phase=3))
    assert "flat" not in caplog.text
    cut = np.minimum(capture.flat, np.quantile(capture.flat, 0.6))
    result = characterize(replace(capture, flat=cut), TransmittanceModel(degree_phase=3))
    assert f"flat: {(cut == cut.max()).sum()} samples of" in caplog.text
    assert np.median(np.abs(bench.standardised_errors(device, result)["gain"])) < 1.2
