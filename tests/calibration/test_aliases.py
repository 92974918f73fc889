"""OPDs beyond what the lines sample: right or flagged, and devices that stay below as before."""

from dataclasses import replace

import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.captures.sampling import sampling_limit
from calibration.fitting import aliases
from calibration.fitting.options import Options
from calibration.pipeline import characterize
from hsitools.sensor.transmittance import TransmittanceModel

DISPERSIVE = TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3)


@pytest.fixture(scope="module")
def device():
    """Forty interferometers of 1.5 to 8.3 µm."""
    return bench.simulate_instrument(40, rng=np.random.default_rng(3), rows=8)


def capture_of(device, n_lines, even_in="wavenumber"):
    lines = bench.lines(n_lines, even_in=even_in)
    return bench.capture(device, lines, rng=np.random.default_rng(9), noise=0.03)


def wrong(result, device):
    """Half a fringe over the band off: another fringe."""
    return np.abs(result.opd_um - device.opd_um) > 0.5 / np.ptp(result.wavenumber)


@pytest.mark.parametrize(("n_lines", "limit_um"), [(21, 5.385), (31, 8.077), (101, 26.923)])
def test_even_lines(device, n_lines, limit_um, caplog):
    """The device's law takes rows beyond the limit; what it alone tells is flagged, and no error of theirs is small."""
    result = characterize(capture_of(device, n_lines), TransmittanceModel())
    doubtful = result.flags["undersampled"]
    assert result.settings["opd_limit_um"] == pytest.approx(limit_um, abs=2e-3)
    assert not wrong(result, device)[~doubtful].any()
    # at the limit itself a fringe and its alias are one
    assert wrong(result, device).sum() <= 1
    assert doubtful[device.opd_um > limit_um].all()
    assert not result.flagged[device.opd_um < limit_um - 1.2 / np.ptp(result.wavenumber)].any()
    away = 2 * np.abs(result.opd_um - result.settings["opd_limit_um"])
    assert (result.opd_stderr_um >= 0.999 * away)[doubtful].all()
    assert (result.opd_stderr_um < 0.1)[~doubtful].all()
    assert ("OPDs up to" in caplog.text) == doubtful.any()
    _agrees(result)


def _agrees(result):
    """The covariance with aliases holds the OPDs' standard errors, is one still, and differs only where they do."""
    doubtful, slope = result.flags["undersampled"], result.model.slices["phase"].start + 1
    wide = result.covariance_with_aliases
    stderr = np.sqrt(wide[:, slope, slope]) * result.response.band.opd_per_radian
    np.testing.assert_allclose(stderr, result.opd_stderr_um, rtol=1e-9)
    np.testing.assert_array_equal(wide[~doubtful], result.covariance[~doubtful])
    assert (wide[doubtful, slope, slope] > 10 * result.covariance[doubtful, slope, slope]).all()
    scale = np.sqrt(np.einsum("arii->ari", np.stack([wide, result.covariance])))
    correlation = np.stack([wide, result.covariance]) / (scale[..., :, None] * scale[..., None, :])
    np.testing.assert_allclose(correlation[0], correlation[1], rtol=1e-9, atol=1e-12)
    # at the lines a fringe is its alias: the transmittance is no less sure for it
    lines = 1000 / result.wavenumber
    assert (result.transmittance_stderr(lines) < 0.2 * result.transmittance(lines).max()).all()


def test_even_lines_without_a_nominal_step(device):
    """Nothing tells which end of the device was folded: all rows are in doubt."""
    capture = replace(capture_of(device, 21), opd_step_um=None)
    assert characterize(capture, TransmittanceModel()).flags["undersampled"].all()


def test_all_rows_beyond():
    """Their aliases are a device below the limit that descends: the nominal step contradicts it."""
    far = bench.simulate_instrument(40, rng=np.random.default_rng(3), rows=8, opd_offset_um=6.0, opd_step_um=0.1)
    assert characterize(capture_of(far, 21), TransmittanceModel()).flags["undersampled"].all()


def test_uneven_lines(device):
    """Lines even in wavelength tell a fringe from its aliases: right, and not flagged."""
    result = characterize(capture_of(device, 21, "wavelength"), TransmittanceModel())
    assert (device.opd_um > result.settings["opd_limit_um"]).sum() > 5
    assert not wrong(result, device).any()
    assert not result.flags["undersampled"].any()


def test_lines():
    even, uneven = bench.lines(51), bench.lines(51, even_in="wavelength")
    assert aliases.evenly_spaced(even)
    assert not aliases.evenly_spaced(uneven)
    # some lines of the series missing: the aliases are as exact
    assert aliases.evenly_spaced(np.delete(even, [3, 11, 12, 30]))
    assert aliases.search_limit(even) == pytest.approx(2 * sampling_limit(even))
    assert 2 <= aliases.search_limit(uneven) / sampling_limit(uneven) <= aliases.WIDEST


def test_rival_across_the_limit():
    """A second peak counts when one of the two is beyond the limit, and when it is as likely."""
    grid = np.arange(1.0, 20, 0.25)
    others = [(98, 15.0), (60, 15.0), (98, 8.0)]
    score = np.stack([100 * np.exp(-((grid - 4) ** 2)) + h * np.exp(-((grid - at) ** 2)) for h, at in others])
    distance, likely = aliases.nearest_rival(grid, score, np.full(3, 4.0), 10.0, 1.0)
    assert list(likely) == [True, False, False]
    assert distance[0] == pytest.approx(11.0)


def of_a_gap(device, share=0.75, **how):
    """A capture without the lines of the middle of the band."""
    lines = bench.lines(301)
    lines = lines[np.abs(lines - lines.mean()) > share / 2 * np.ptp(lines)]
    return bench.capture(device, lines, rng=np.random.default_rng(9), noise=0.095, linewidth_nm=0.0, **how)


def test_lines_with_a_gap():
    """Two clusters of lines do not count the turns between them; what all rows share does, and error bars hold."""
    device = bench.simulate_instrument(48, rng=np.random.default_rng(2), rows=8, opd_step_um=0.7)
    result = characterize(of_a_gap(device), DISPERSIVE)
    assert not wrong(result, device).any()
    assert not result.flagged.any()
    z = np.abs(bench.standardised_errors(device, result)["opd"])
    assert (z < 1.96).mean() > 0.9
    assert np.median(z) > 0.3


def test_a_gap_that_nothing_bridges():
    """Interferometers by themselves, with dispersion to be found: their errors hold the turn that may be wrong."""
    device = bench.simulate_instrument(24, rng=np.random.default_rng(2), rows=8, opd_step_um=0.7)
    result = characterize(of_a_gap(device), DISPERSIVE, options=Options(prior=False))
    assert result.flags["unidentified"][wrong(result, device)].all()
    assert wrong(result, device).mean() < 0.15
    assert (np.abs(result.opd_um - device.opd_um) < 1.96 * result.opd_stderr_um).mean() > 0.9


def test_turns_that_are_not_told():
    """Of narrow clusters whole devices are some turns off, by another dispersion: said, and in the errors."""
    device = bench.simulate_instrument(12, rng=np.random.default_rng(3), rows=4, opd_offset_um=2.0, opd_step_um=3.0)
    even = bench.lines(60)
    lines = np.concatenate([end + 0.025 * (even - end) for end in (even[0], even[-1])])
    result = characterize(bench.capture(device, lines, rng=np.random.default_rng(9), noise=0.05), DISPERSIVE)
    assert wrong(result, device).any()
    assert result.flags["undersampled"].all()
    assert (np.abs(bench.standardised_errors(device, result)["opd"]) < 1.96).all()


def test_rivals_of_lines_with_gaps():
    """As many whole turns as fit between the middles of two clusters, and none of lines without a gap."""
    even = bench.lines(301)
    place = (even - even[0]) / np.ptp(even)
    two = even[np.abs(place - 0.5) > 0.375]
    turns = aliases.rival_distances(two) * 0.875 * np.ptp(two)
    np.testing.assert_allclose(turns, [1, 2, 3], atol=0.15)
    for lines in (even, even[place < 0.7], bench.lines(301, even_in="wavelength"), np.delete(even, [3, 11, 12, 30])):
        assert not len(aliases.rival_distances(lines))


def test_lines_measured_twice():
    """What they sample is what the lines sample that differ."""
    even = bench.lines(101)
    twice = np.sort(np.concatenate([even, even + 1e-8]))
    assert sampling_limit(twice) == pytest.approx(sampling_limit(even), rel=1e-6)
