"""One characterized instrument for all tests of the inversion."""

import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.characterization import Characterization
from calibration.pipeline import characterize
from hsitools.sensor.transmittance import TransmittanceModel


@pytest.fixture(scope="session")
def instrument() -> Characterization:
    device = bench.simulate_instrument(60, rng=np.random.default_rng(3), opd_step_um=0.25)
    capture = bench.capture(device, bench.lines(151), rng=np.random.default_rng(4))
    return characterize(capture, TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3))
