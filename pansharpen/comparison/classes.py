"""Indices over classes of bands: those whose signal is more than some multiples of their noise.

In bands of little signal the truth is above all noise, or the observation is: an index over all bands tells there who
guesses noise best. Methods are ranked on the bands of `RANKING_CLASS`; all classes are reported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.metrics import evaluate_alone
from pansharpen.case import FusionCase
from pansharpen.comparison.protocol import FULL, REDUCED, Convention, judge
from pansharpen.in_memory import select_bands

#: Signal-to-noise ratios above which the bands of a class lie.
SNR_CLASSES = (3, 10, 20)
RANKING_CLASS = 10
KNOWN, ESTIMATED_TRUTH, ESTIMATED = "known", "estimated from the reference", "estimated from the coarse cube"


def class_name(index: str, snr: int) -> str:
    """Name of an index over the bands of a class."""
    return f"{index}_snr{snr}"


def all_bands_name(name: str) -> str:
    """The index of a name, with or without a class."""
    return name.partition("_snr")[0]


def band_snr(case: FusionCase) -> tuple[NDArray[np.float64], str]:
    """Signal-to-noise ratio of each band, mean level over standard deviation, and how it is known.

    The noise is the one that the case knows of its coarse cube. Where it knows none (without simulated noise too), the
    noise of the reference is estimated, or of the coarse cube where there is no reference; a cube too small for that
    counts as free of noise.
    """
    if case.optics.noise_variance is not None:
        return _ratio(case.coarse, np.sqrt(case.optics.noise_variance)), KNOWN
    image, source = (case.coarse, ESTIMATED) if case.reference is None else (case.reference, ESTIMATED_TRUTH)
    try:
        noise = evaluate_alone(image[0], metrics=["noise"])["noise"].per_band
    except InputError:  # not three bands, not eight pixels
        noise = None
    return _ratio(image, np.zeros(case.n_bands) if noise is None else np.nan_to_num(noise)), source


def _ratio(image: torch.Tensor, deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    level = image[0].double().flatten(1).nanmean(1).abs().nan_to_num(0.0).cpu().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(level / deviation, nan=0.0, posinf=np.inf)


def judge_classes(case: FusionCase, fused: torch.Tensor, rules: Convention) -> dict[str, Any]:
    """Indices of a fused cube over all bands and over each class of bands.

    Returns
    -------
    dict
        ``values`` by name (`class_name` for classes), ``excluded`` by name, and ``snr``: ``source``, ``median``,
        ``bands`` (number in each class).
    """
    snr, source = band_snr(case)
    found = judge(case, fused, rules)
    values = {name: evaluation.value for name, evaluation in found.items()}
    bands = {}
    for threshold in SNR_CLASSES:
        keep = np.flatnonzero(snr > threshold)
        bands[str(threshold)] = len(keep)
        if len(keep) == case.n_bands:
            part = found
        elif len(keep) < 2:  # spectra of one band have no angle
            continue
        else:
            part = judge(select_bands(case, keep), fused[:, keep], rules)
        values |= {class_name(name, threshold): evaluation.value for name, evaluation in part.items()}
    return {
        "values": values,
        "excluded": {name: evaluation.excluded for name, evaluation in found.items() if evaluation.excluded},
        "snr": {"source": source, "median": float(np.median(snr)), "bands": bands},
    }


#: Columns of the table that classes add.
CLASS_COLUMNS = (
    "snr_source", *(f"bands_snr{snr}" for snr in SNR_CLASSES),
    *(class_name(index, snr) for index in (*REDUCED, *FULL) for snr in SNR_CLASSES),
)  # fmt: skip
