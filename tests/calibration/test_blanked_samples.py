"""Samples that a table blanks (NaN) where they saturated count as saturated ones; those missing anywhere do not."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from calibration import characterize
from calibration import simulated_bench as bench
from calibration.captures.saturation import blanked_samples, filled_flat
from hsitools.sensor.transmittance import TransmittanceModel

MODEL = TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3)


def _measured(seed=0, lines=151, **settings):
    rng = np.random.default_rng(seed)
    instrument = bench.simulate_instrument(24, rng=rng, rows=4)
    return instrument, bench.capture(instrument, bench.lines(lines), rng=rng, noise=0.05, linewidth_nm=0.0, **settings)


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_blanked_samples_bias_nothing(share, caplog):
    ratios, z = [], []
    for seed in range(2):
        instrument, capture = _measured(seed)
        bright = capture.intensity >= np.quantile(capture.intensity, 1 - share)
        blanked = replace(capture, intensity=np.where(bright, np.nan, capture.intensity), saturated=None)
        with caplog.at_level(logging.WARNING):
            result = characterize(blanked, MODEL)
        assert "missing where the light is brightest: taken for saturated" in caplog.text
        assert result.flags["saturated"].sum() > 12
        ratios.append(result.gain / instrument.gain_at(np.linspace(*instrument.band, 1001)).mean(axis=1))
        z.append(bench.standardised_errors(instrument, result))
    # with half of the samples lost gains were .79
    assert np.median(ratios) == pytest.approx(1, abs=0.01)
    for name in ("opd", "reflectivity", "gain"):
        errors = np.concatenate([one[name] for one in z])
        assert np.mean(np.abs(errors) < 1.96) > 0.87
        assert abs(np.median(errors)) < 0.6


@pytest.mark.parametrize("kind", ["anywhere", "blocks", "lines", "the lamp's peak", "dim"])
def test_what_is_missing_elsewhere_is_not_saturated(kind):
    rng = np.random.default_rng(1)
    _, capture = _measured(3)
    mask = np.ones(capture.mask.shape, bool)
    if kind == "anywhere":
        mask = rng.random(mask.shape) > 0.2
    elif kind == "blocks":
        for row, start in enumerate(rng.integers(0, 130, len(mask))):
            mask[row, start : start + 15] = False
    elif kind == "lines":
        mask[:, rng.integers(0, 151, 20)] = False
    elif kind == "the lamp's peak":
        mask[::2] = capture.flat[::2] < np.quantile(capture.flat[::2], 0.8, axis=1, keepdims=True)
    else:
        mask = capture.intensity > np.quantile(capture.intensity, 0.2)
    # of many rows, lest chance speaks for them
    many = (np.tile(values, (20, 1)) for values in (capture.intensity, capture.flat, mask))
    assert not blanked_samples(*many).any()


def test_a_flat_field_is_filled_by_the_shape_that_rows_share():
    """The lamp's thin line at its place, although no row has all of it; what differs between rows is straight here."""
    rng = np.random.default_rng(2)
    place = np.linspace(-1, 1, 60)
    shape = 1 + 0.5 * np.exp(-(((place - 0.3) / 0.05) ** 2))
    flat = rng.uniform(50, 100, (20, 1)) * shape
    mask = rng.random(flat.shape) > 0.3
    np.testing.assert_allclose(filled_flat(np.where(mask, flat, 1), mask), flat, rtol=0.02)
