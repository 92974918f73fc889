"""Starting values: OPDs on even and uneven lines, parasitic fringes, neighbours, reflectivity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import simulated_bench as bench
from calibration.fitting import initialize
from calibration.fitting.etalons import find_common_fringes
from calibration.fitting.scaled_rows import ScaledRows
from calibration.fitting.starting_opd import starting_opd
from hsitools.sensor.transmittance import TransmittanceModel

EVEN = bench.lines(301)
UNEVEN = bench.lines(301, even_in="wavelength")


@pytest.mark.parametrize("wavenumber", [EVEN, UNEVEN], ids=["even", "uneven"])
@given(opd=st.floats(3, 60), phase=st.floats(-3, 3), tilt=st.floats(-0.5, 0.5))
def test_periodogram_finds_the_opd(wavenumber, opd, phase, tilt):
    """To a twentieth of the resolution, whatever the phase and the slope of the gain."""
    x = np.linspace(-1, 1, len(wavenumber))
    ratio = (1 + tilt * x) * (1 + 0.4 * np.cos(2 * np.pi * wavenumber * opd - phase))
    grid = initialize.opd_grid(wavenumber)
    scan = initialize.periodogram(wavenumber, ratio[None], grid)
    opd_of_peak = initialize.refine_peak(grid, scan.power, scan.power.argmax(axis=1))[0]
    assert opd_of_peak == pytest.approx(opd, abs=0.05 / np.ptp(wavenumber) + 0.02)


def test_periodogram_is_a_least_squares_fit():
    rng = np.random.default_rng(0)
    ratio = 1 + 0.1 * rng.standard_normal((1, len(UNEVEN)))
    scan = initialize.periodogram(UNEVEN, ratio, np.array([11.0]))
    x = 2 * (UNEVEN - UNEVEN.mean()) / np.ptp(UNEVEN)
    null = np.vander(x, initialize.NULL_DEGREE + 1)
    angle = 2 * np.pi * 11.0 * UNEVEN
    full = np.column_stack([null, np.cos(angle), np.sin(angle)])
    y = ratio[0] / ratio[0].mean() - 1
    rss = [((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum() for design in (null, full)]
    assert scan.power[0, 0] == pytest.approx(1 - rss[1] / rss[0], rel=1e-6)


@pytest.mark.parametrize("band_nm", [(350.0, 1000.0), (900.0, 1700.0)])
@pytest.mark.parametrize("even_in", ["wavenumber", "wavelength"])
def test_track_follows_the_device(band_nm, even_in):
    """Nearly every row of two fringes or more of a noisy device starts within half a fringe over the band."""
    rng = np.random.default_rng(3)
    instrument = bench.simulate_instrument(150, rng=rng, band_nm=band_nm)
    wavenumber = bench.lines(401, band_nm, even_in)
    capture = bench.capture(instrument, wavenumber, rng=rng, noise=0.2)
    opd, _ = starting_opd(ScaledRows.of(capture, TransmittanceModel()))
    limit = 0.5 / np.ptp(wavenumber)
    resolved = (instrument.opd_um < capture.opd_limit_um) & (instrument.opd_um > 4 * limit)
    assert np.mean(np.abs(opd - instrument.opd_um)[resolved] < limit) > 0.98


def test_common_fringe_is_found_and_is_not_an_own_one():
    rng = np.random.default_rng(4)
    instrument = bench.simulate_instrument(100, rng=rng, etalon_um=9.3, etalon_amplitude=0.15)
    capture = bench.capture(instrument, EVEN, rng=rng)
    grid = initialize.opd_grid(EVEN)
    scan = initialize.periodogram(EVEN, capture.intensity / capture.flat, grid)
    assert find_common_fringes(scan, len(EVEN))[0] == pytest.approx(9.3, abs=0.15)
    plain = bench.capture(bench.simulate_instrument(100, rng=rng), EVEN, rng=rng)
    scan = initialize.periodogram(EVEN, plain.intensity / plain.flat, grid)
    assert not [opd for opd in find_common_fringes(scan, len(EVEN)) if opd > 4]


def test_track_without_neighbours():
    """A device of a few interferometers has no path to follow: each row stands for itself."""
    rng = np.random.default_rng(5)
    instrument = bench.simulate_instrument(3, rng=rng, opd_offset_um=8.0, opd_step_um=5.0)
    capture = bench.capture(instrument, EVEN, rng=rng)
    opd, _ = starting_opd(ScaledRows.of(capture, TransmittanceModel()))
    np.testing.assert_allclose(opd, instrument.opd_um, atol=0.15)


def test_exhaustive_search():
    rng = np.random.default_rng(6)
    instrument = bench.simulate_instrument(60, rng=rng, opd_offset_um=6.0)
    capture = bench.capture(instrument, EVEN, rng=rng)
    opd, reflectivity = starting_opd(ScaledRows.of(capture, TransmittanceModel()), "exhaustive")
    assert np.mean(np.abs(opd - instrument.opd_um) < 0.5 / np.ptp(EVEN)) > 0.95
    truth = instrument.reflectivity_at(EVEN).mean(axis=1)
    assert np.median(np.abs(reflectivity - truth)) < 0.12


@pytest.mark.parametrize("waves", [2, np.inf])
def test_starting_reflectivity(waves):
    model = TransmittanceModel(waves=waves, degree_gain=1, degree_reflectivity=0)
    from hsitools.sensor.fabry_perot import fringe
    from hsitools.sensor.polynomial import Band

    y = fringe(2 * np.pi * EVEN * 20 - 0.7, 0.3 + 0 * EVEN, waves)[None]
    one = np.ones_like(y)
    theta = initialize.starting_parameters(model, Band.of(EVEN), EVEN, y, one, one, np.array([20.0]))
    assert theta[0, model.slices["reflectivity"].start] == pytest.approx(0.3, abs=0.03)
