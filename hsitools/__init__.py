"""hsitools: from monochromatic captures to calibrated, fused and denoised hyperspectral cubes.

The core that every other room stands on: cubes and their files, sensor physics (`hsitools.sensor`), indices
(`hsitools.metrics`), scenes, figures, reports and the ``hsi`` command. Names are loaded when they are first used:
importing it loads neither NumPy nor torch nor matplotlib.
"""

from typing import TYPE_CHECKING

from hsitools.front_door import lazy_names

if TYPE_CHECKING:
    from hsitools.cube import Cube as Cube
    from hsitools.errors import FormatError as FormatError
    from hsitools.errors import HsiError as HsiError
    from hsitools.errors import InputError as InputError
    from hsitools.io import open_cube as open_cube
    from hsitools.io import open_cubes as open_cubes
    from hsitools.io import save_cube as save_cube
    from hsitools.metrics import evaluate as evaluate
    from hsitools.metrics import evaluate_alone as evaluate_alone
    from hsitools.metrics import evaluate_fusion as evaluate_fusion
    from hsitools.scenes import scene as scene
    from hsitools.sensor.presets import open_sensor as open_sensor
    from hsitools.sensor.presets import preset as preset
    from hsitools.sensor.sensor import Sensor as Sensor

__version__ = "0.3.0"

_HOMES = {
    "Cube": "hsitools.cube", "open_cube": "hsitools.io", "open_cubes": "hsitools.io", "save_cube": "hsitools.io",
    "Sensor": "hsitools.sensor.sensor", "preset": "hsitools.sensor.presets", "open_sensor": "hsitools.sensor.presets",
    "evaluate": "hsitools.metrics", "evaluate_alone": "hsitools.metrics", "evaluate_fusion": "hsitools.metrics",
    "scene": "hsitools.scenes",
    "HsiError": "hsitools.errors", "InputError": "hsitools.errors", "FormatError": "hsitools.errors",
}  # fmt: skip
__all__ = list(_HOMES)
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
