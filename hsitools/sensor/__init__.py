"""What an instrument does to light: spectral, spatial and radiometric response, composed in `Sensor`."""

from importlib import import_module
from typing import Any

#: Where the public names live; nothing is loaded before it is asked for.
_HOMES = {
    "Sensor": "sensor", "preset": "presets", "open_sensor": "presets", "PRESETS": "presets",
    "from_characterization": "presets",
    "GaussianResponse": "bands", "TableResponse": "bands", "box_response": "bands", "resample": "bands",
    "FabryPerotResponse": "spectral", "Detector": "detector", "DetectorNoise": "detector", "Stripes": "pattern",
    "Defects": "pattern", "Pattern": "pattern", "EMIT_DRIFT": "pattern", "stripe_statistics": "pattern",
    "Distortion": "distortion", "Calibration": "calibration", "open_calibration": "calibration_file",
    "SubImageLayout": "layout", "photon_transfer": "photon.transfer", "MultiApertureCamera": "multi_aperture",
}  # fmt: skip
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
