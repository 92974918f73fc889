"""What a restoration says of a cube: shares of voxels, and what makes the result doubtful as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.common_stripes import of_common_stripes

#: Share of outliers among what was measured beyond which something else is wrong.
SUSPICIOUS = 0.3


def shares(mask: NDArray[np.bool_], valid: NDArray[np.bool_], full: NDArray[np.bool_]) -> dict[str, Any]:
    """What is said of the voxels of the bands restored: shares without a measurement, clipped, taken for outliers."""
    measured = valid & ~full
    said: dict[str, Any] = {"outliers": float((mask & measured).sum() / max(measured.sum(), 1))}
    if not valid.all():
        said["nodata"] = float(1 - valid.mean())
    if full.any():
        said["saturated"] = float(full.mean())
    return said


def warning_of(said: dict[str, Any]) -> dict[str, str]:
    """The ``warning`` of what was said, where there is reason for one."""
    warned = []
    if said["outliers"] > SUSPICIOUS:
        warned.append(
            f"{said['outliers']:.0%} of the measured voxels were taken for outliers and replaced by predictions: "
            "this cube is not what the method expects; look at the mask before you use the result"
        )
    if "noise_correlation" in said:
        warned.append(
            f"neighbouring bands seem to share noise (correlation {said['noise_correlation']:.2f}), as after resampling"
            " or smoothing of spectra. Details as fine as pixels look the same, so it is kept: if it is noise, there is"
            f" {said['noise_untold']:.1f} times as much as was told, and standard deviations are too small by as much"
        )
    if "common_stripes" in said:
        warned.append(of_common_stripes(said["common_stripes"]))
    return {"warning": "; ".join(warned)} if warned else {}
