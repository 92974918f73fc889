"""Monochromatic captures to characterized Fabry-Perot interferometers, after IRCA (Picone et al., 2023).

`open_capture` reads what the bench measured, `characterize` says what the instrument is, `invert` turns its
interferograms into spectra, `list_methods` says by what. Names are loaded when they are first used.
"""

from typing import TYPE_CHECKING

from hsitools.front_door import lazy_names

if TYPE_CHECKING:
    from calibration.captures.capture import MonochromaticCapture as MonochromaticCapture
    from calibration.captures.capture import open_capture as open_capture
    from calibration.captures.extract import extract as extract
    from calibration.captures.frames import FrameStack as FrameStack
    from calibration.characterization import Characterization as Characterization
    from calibration.inversion.invert import Inversion as Inversion
    from calibration.inversion.invert import invert as invert
    from calibration.inversion.registry import list_methods as list_methods
    from calibration.pipeline import characterize as characterize
    from calibration.report import write_report as write_report

_HOMES = {
    "MonochromaticCapture": "calibration.captures.capture", "open_capture": "calibration.captures.capture",
    "FrameStack": "calibration.captures.frames", "extract": "calibration.captures.extract",
    "characterize": "calibration.pipeline", "Characterization": "calibration.characterization",
    "write_report": "calibration.report", "invert": "calibration.inversion.invert",
    "Inversion": "calibration.inversion.invert", "list_methods": "calibration.inversion.registry",
}  # fmt: skip
__all__ = list(_HOMES)
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
