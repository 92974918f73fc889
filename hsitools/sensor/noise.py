"""Names that 0.1.0 had for the detector."""

from hsitools.sensor.detector import Detector as DetectorNoise
from hsitools.sensor.detector import electrons_for_snr

__all__ = ["DetectorNoise", "electrons_for_snr"]
