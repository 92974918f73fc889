"""How a restored cube is judged by its clean one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.restore import restore
from hsitools.comparison.cost import measured
from hsitools.comparison.task import added_indices
from hsitools.metrics import evaluate

#: What is measured, by the names that records have.
INDICES = {"mpsnr": "PSNR", "mssim": "SSIM", "sam_deg": "SAM"}
#: Smallest image that SSIM's window fits.
SSIM_SIZE = 11


def judged(clean: NDArray[Any], estimate: NDArray[Any], added: Sequence[str] = ()) -> dict[str, float]:
    """Indices of a restored cube.

    Parameters
    ----------
    clean, estimate : array, shape (band, y, x)
    added : sequence of str
        Further indices of the registry, under their own names; those that need no reference are left out.

    Returns
    -------
    dict
        ``mpsnr`` (dB), ``mssim`` (NaN for images smaller than its window), ``sam_deg``, ``sam_bright_deg`` (pixels
        brighter than the median only), and those added.
    """
    small = min(clean.shape[1:]) < SSIM_SIZE
    own = tuple(name for name in INDICES.values() if name != "SSIM" or not small)
    metrics = added_indices(own, "full reference", added)
    # the largest value, as the field's tables have it for cubes that begin at zero
    scores = evaluate(estimate, clean, data_range=float(np.nanmax(clean)), metrics=metrics)
    brightness = clean.mean(0)
    bright = brightness > np.nanmedian(brightness)
    angle = evaluate(estimate, clean, mask=bright[None], metrics=["SAM"])["SAM"].value if bright.any() else np.nan
    return {
        **{key: scores[index].value if index in scores else float("nan") for key, index in INDICES.items()},
        "sam_bright_deg": angle, **{name: scores[name].value for name in metrics[len(own) :]},
    }  # fmt: skip


def measure(clean: NDArray[Any], noisy: NDArray[Any], method: str, who: str = "cube") -> dict[str, Any]:
    """Restore a noisy cube blindly, in this process, and judge it.

    Returns
    -------
    dict
        ``method``, what `judged` gives, costs (`hsitools.comparison.cost`), ``path`` (the way that the method took).
    """
    cost: dict[str, Any] = {}
    with measured(cost):
        restored = restore(noisy, method, who=who)
    values = judged(clean, restored.estimate)
    return {"method": restored.provenance["method"], **values, **cost, "path": restored.provenance["path"]}
