"""What lines cannot tell: turns over a gap between them, peaks narrower than they lie apart."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.fitting.fit import fit_capture
from calibration.fitting.options import Options
from calibration.fitting.refine import Prior, refine
from calibration.fitting.turns import turn_distance
from calibration.physical_parameters import _narrow
from hsitools.sensor.transmittance import TransmittanceModel

MODEL = TransmittanceModel(degree_gain=1, degree_reflectivity=1, degree_phase=3)
#: Standard deviation of a dispersion coefficient, rad, that a turn is held against.
DISPERSION = 0.3


def _fitted(width):
    """Six interferometers under two clusters of lines at the ends of the band, each so wide a share of it."""
    device = bench.simulate_instrument(6, rng=np.random.default_rng(3), rows=3, opd_offset_um=3.0, opd_step_um=1.5)
    even = bench.lines(60)
    lines = np.concatenate([end + width * (even - end) for end in (even[0], even[-1])])
    capture = bench.capture(device, lines, rng=np.random.default_rng(9), noise=0.03, linewidth_nm=0.0)
    return fit_capture(capture, MODEL, Options(prior=False))


def _cost(fit, data, scale):
    """Log-likelihood that one more turn, or one fewer, for all rows costs, by another fit from there."""
    phase, rows, size = MODEL.slices["phase"], len(fit.theta), MODEL.n_parameters
    variance = scale * fit.variance
    held = np.zeros(size)
    held[phase.start + 2 : phase.stop] = 1 / (DISPERSION**2 * rows)
    prior = Prior(mean=np.zeros((rows, size)), precision=variance[:, None, None] * np.diag(held))
    basis = data.band.vander(data.wavenumber, MODEL.degree_phase)
    turn = np.linalg.lstsq(basis, 2 * np.pi * (data.wavenumber > data.band.centre), rcond=None)[0]
    costs = []
    for turns in (0, 1, -1):
        theta = fit.theta.copy()
        theta[:, phase] += turns * turn
        refined = refine(fit.sampled, theta, data.intensity, data.flat, data.weight, prior=prior, max_iterations=200)
        costs.append(float((refined.cost / variance).sum() / 2))
    return min(costs[1:]) - costs[0]


def _told(fit, data, scale):
    return not turn_distance(replace(fit, variance=scale * fit.variance), data).any()


@pytest.mark.parametrize("width", [0.1, 0.15, 0.2])
def test_turns_are_told_from_six_nats_on(width):
    """The noise from which on turns are doubtful is that at which another fit is six nats less likely."""
    data, fit = _fitted(width)
    low, high = 1e-6, 1e6
    assert _told(fit, data, low)
    assert not _told(fit, data, high)
    for _ in range(25):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if _told(fit, data, middle) else (low, middle)
    assert _cost(fit, data, low) == pytest.approx(6, rel=0.3)
    # there it is one turn: its OPD between the middles of the clusters, and what the dispersion adds
    apart = 1 / (data.wavenumber[60:].mean() - data.wavenumber[:60].mean())
    distance = turn_distance(replace(fit, variance=1.01 * high * fit.variance), data)
    np.testing.assert_allclose(distance, apart, rtol=0.2)


@pytest.mark.parametrize(
    ("waves", "apart", "narrow"), [(np.inf, 0.0075, True), (np.inf, 0.006, False), (4, 0.1, False)]
)
def test_narrow_peaks_are_those_of_many_waves(waves, apart, narrow):
    """R = .81 at 10 µm: (1 − R) / (π √R OPD) = .00672 µm⁻¹. A few waves make no narrow peaks, whatever R."""
    model = replace(MODEL, waves=waves)
    data = SimpleNamespace(wavenumber=1 + apart * np.arange(50))
    fit = SimpleNamespace(sampled=SimpleNamespace(model=model, line=None))
    assert _narrow(data, fit, np.array([10.0]), np.array([0.81])).tolist() == [narrow]
