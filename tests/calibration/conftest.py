"""A simulated device and its characterization, shared by the calibration tests."""

import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.pipeline import characterize
from hsitools.sensor.transmittance import TransmittanceModel


@pytest.fixture(scope="session")
def instrument():
    return bench.simulate_instrument(90, rng=np.random.default_rng(10), rows=9, pitch=24)


@pytest.fixture(scope="session")
def simulated(instrument):
    """Capture of `instrument` at 251 lines, noise as on a real one."""
    return bench.capture(instrument, bench.lines(251), rng=np.random.default_rng(11), linewidth_nm=0.0)


@pytest.fixture(scope="session")
def result(simulated):
    return characterize(simulated, TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3), cv=5)
