"""How a fused cube is judged: over all bands, and over classes of bands by their signal-to-noise ratio.

In bands of little signal the truth is above all noise, or the observation is: an index over all bands tells there who
guesses noise best. Methods are ranked on the bands of `RANKING_CLASS`; all classes are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.comparison.ranking import CLASS_MARK
from hsitools.comparison.task import added_indices
from hsitools.cube.spectral_order import by_wavelength
from hsitools.errors import InputError
from hsitools.metrics import Evaluation, evaluate, evaluate_alone, evaluate_fusion
from pansharpen.case import FusionCase
from pansharpen.in_memory import select_bands
from pansharpen.pair.case_files import CONVENTIONS, Convention

REDUCED = ("ERGAS", "SAM", "Q2n", "PSNR")
FULL = ("D_lambda", "D_s", "D_pan", "HQNR", "ERGAS_est")
#: Signal-to-noise ratios above which the bands of a class lie.
SNR_CLASSES = (3, 10, 20)
#: The class that ranks: noise below a tenth of the signal, so that errors of fusion and not guesses of noise decide
#: (`python -m benchmarks honesty` prints ranks at 3, 10 and 20).
RANKING_CLASS = 10
KNOWN, ESTIMATED_TRUTH, ESTIMATED = "known", "estimated from the reference", "estimated from the coarse cube"


def class_name(index: str, snr: int) -> str:
    """Name of an index over the bands of a class."""
    return f"{index}{CLASS_MARK}{snr}"


def judge(
    case: FusionCase, fused: torch.Tensor, rules: Convention = CONVENTIONS["hsitools"], metrics: Any = None
) -> dict[str, Evaluation]:
    """Indices of a fused cube: against the reference where there is one, else of consistency.

    ``fused`` is ``(1, band, y, x)``; ``metrics`` defaults to `REDUCED` or `FULL`.

    Examples
    --------
    >>> from hsitools import preset, scene
    >>> from pansharpen import simulated_case
    >>> case = simulated_case(scene((96, 96), seed=0), preset("prisma").select(range(0, 60, 20)), seed=1)
    >>> judge(case, case.reference)["ERGAS"].value  # the truth is right
    0.0
    """
    if rules.clip is not None:
        fused = fused.clamp(*rules.clip)
    r = case.optics.ratio
    if case.reference is not None:
        start, stop = rules.border or (r, r)
        inner = (..., slice(start, case.pan.shape[-2] - stop), slice(start, case.pan.shape[-1] - stop))
        return evaluate(fused[inner][0], case.reference[inner][0], ratio=r, metrics=metrics or REDUCED)
    mtf = case.optics.mtf
    return evaluate_fusion(
        fused[0], case.coarse[0], case.pan[0], ratio=r, mtf=mtf, pan_mtf=case.optics.mean_mtf(),
        offset=case.optics.offset, border=r, registered=True, pan_own_mtf=case.optics.pan_mtf,
        noise_variance=case.optics.noise_variance, metrics=metrics or FULL,
    )  # fmt: skip


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


def judge_classes(
    case: FusionCase, fused: torch.Tensor, rules: Convention, added: Sequence[str] = ()
) -> dict[str, Any]:  # fmt: skip
    """Indices of a fused cube over all bands and over each class of bands; ``added`` names those of plugins.

    Returns
    -------
    dict
        ``values`` by name (`class_name` for classes), ``excluded`` by name, and ``snr``: ``source``, ``median``,
        ``bands`` (number in each class).
    """
    order = by_wavelength(np.arange(case.n_bands), case.optics.wavelength_nm)
    case, fused = select_bands(case, order), fused[:, order]
    snr, source = band_snr(case)
    own, kind = (FULL, "full resolution") if case.reference is None else (REDUCED, "full reference")
    metrics = added_indices(own, kind, added)
    over_all = judge(case, fused, rules, metrics)
    values = {name: evaluation.value for name, evaluation in over_all.items()}
    bands = {}
    for threshold in SNR_CLASSES:
        keep = np.flatnonzero(snr > threshold)
        bands[str(threshold)] = len(keep)
        if len(keep) == case.n_bands:
            part = over_all
        elif len(keep) < 2:  # spectra of one band have no angle
            continue
        else:
            part = judge(select_bands(case, keep), fused[:, keep], rules, metrics)
        values |= {class_name(name, threshold): evaluation.value for name, evaluation in part.items()}
    return {
        "values": values,
        "excluded": {name: evaluation.excluded for name, evaluation in over_all.items() if evaluation.excluded},
        "snr": {"source": source, "median": float(np.median(snr)), "bands": bands},
    }
