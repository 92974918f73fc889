"""What an instrument does to light: spectral, spatial and radiometric response, composed in `Sensor`."""

from typing import TYPE_CHECKING

from hsitools.front_door import lazy_names

if TYPE_CHECKING:
    from hsitools.sensor.bands import GaussianResponse as GaussianResponse
    from hsitools.sensor.bands import TableResponse as TableResponse
    from hsitools.sensor.bands import box_response as box_response
    from hsitools.sensor.bands import resample as resample
    from hsitools.sensor.calibration import Calibration as Calibration
    from hsitools.sensor.calibration_file import open_calibration as open_calibration
    from hsitools.sensor.detector import Detector as Detector
    from hsitools.sensor.detector import DetectorNoise as DetectorNoise
    from hsitools.sensor.distortion import Distortion as Distortion
    from hsitools.sensor.layout import SubImageLayout as SubImageLayout
    from hsitools.sensor.multi_aperture import MultiApertureCamera as MultiApertureCamera
    from hsitools.sensor.pattern import EMIT_DRIFT as EMIT_DRIFT
    from hsitools.sensor.pattern import Defects as Defects
    from hsitools.sensor.pattern import Pattern as Pattern
    from hsitools.sensor.pattern import Stripes as Stripes
    from hsitools.sensor.pattern import stripe_statistics as stripe_statistics
    from hsitools.sensor.photon.transfer import photon_transfer as photon_transfer
    from hsitools.sensor.presets import PRESETS as PRESETS
    from hsitools.sensor.presets import from_characterization as from_characterization
    from hsitools.sensor.presets import open_sensor as open_sensor
    from hsitools.sensor.presets import preset as preset
    from hsitools.sensor.sensor import Sensor as Sensor
    from hsitools.sensor.spectral import FabryPerotResponse as FabryPerotResponse

#: Modules of the public names, within this package.
_HOMES = {
    "Sensor": "sensor", "preset": "presets", "open_sensor": "presets", "PRESETS": "presets",
    "from_characterization": "presets", "GaussianResponse": "bands", "TableResponse": "bands",
    "box_response": "bands", "resample": "bands", "FabryPerotResponse": "spectral", "Detector": "detector",
    "DetectorNoise": "detector", "Stripes": "pattern", "Defects": "pattern", "Pattern": "pattern",
    "EMIT_DRIFT": "pattern", "stripe_statistics": "pattern", "Distortion": "distortion",
    "Calibration": "calibration", "open_calibration": "calibration_file", "SubImageLayout": "layout",
    "photon_transfer": "photon.transfer", "MultiApertureCamera": "multi_aperture",
}  # fmt: skip
__all__ = list(_HOMES)
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, {name: f"{__name__}.{home}" for name, home in _HOMES.items()})
