"""Denoising and destriping: a noise model found in the cube itself, restoration, and how sure each voxel is.

`denoise` gives the clean cube; `restore_cube` gives its standard deviation and mask too. Names are loaded when they
are first used.
"""

from typing import TYPE_CHECKING

from hsitools.front_door import lazy_names

if TYPE_CHECKING:
    from denoise.case import NoiseModel as NoiseModel
    from denoise.case import Observation as Observation
    from denoise.case import Restoration as Restoration
    from denoise.registry import Method as Method
    from denoise.registry import method as method
    from denoise.restore import Denoised as Denoised
    from denoise.restore import denoise as denoise
    from denoise.restore import list_methods as list_methods
    from denoise.restore import restore_cube as restore_cube

_HOMES = {
    "denoise": "denoise.restore", "restore_cube": "denoise.restore", "Denoised": "denoise.restore",
    "list_methods": "denoise.restore", "Method": "denoise.registry", "method": "denoise.registry",
    "Observation": "denoise.case", "Restoration": "denoise.case", "NoiseModel": "denoise.case",
}  # fmt: skip
__all__ = list(_HOMES)
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
