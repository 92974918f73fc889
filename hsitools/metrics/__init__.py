"""Quality indices in one registry (`INDICES`): torch, batched, masked; each with paper, range, direction and unit.

`evaluate` compares a cube with its reference, `evaluate_fusion` judges a fused cube without one, `evaluate_alone` one
cube by itself. Values that cannot be compared (NaN, nodata, spectra of zero, bands without contrast) are excluded,
counted and reported; they never become a score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.metrics.band_order import Order, order_of, ordered, ordered_numbers
from hsitools.metrics.full_resolution import Fusion
from hsitools.metrics.inputs import Pair, require_comparable
from hsitools.metrics.no_reference import Single
from hsitools.metrics.registration import Registration
from hsitools.metrics.registry import INDICES, Index, Score, get

__all__ = [
    "INDICES", "Evaluation", "Fusion", "Index", "Pair", "Registration", "Score", "Single", "evaluate", "evaluate_alone",
    "evaluate_fusion", "get", "names",
]  # fmt: skip

# each module registers its indices
for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An index of one cube, as plain numbers.

    Attributes
    ----------
    index : Index
    value : float
        NaN when all had to be excluded.
    per_band : array, shape (band,), or None
    excluded : dict of str to int
    facts : dict
        What else the value rests on: the range of PSNR and SSIM, and whether it was guessed.
    """

    index: Index
    value: float
    per_band: NDArray[np.float64] | None
    excluded: dict[str, int]
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self, per_band: bool = False) -> dict[str, Any]:
        """Plain data."""
        out: dict[str, Any] = {"value": self.value, "unit": self.index.unit, "excluded": self.excluded, **self.facts}
        if math.isinf(self.value):
            out["note"] = "infinite: no error at all"
        if per_band and self.per_band is not None:
            out["per_band"] = self.per_band.tolist()
        return out


def names(kind: str | None = None) -> list[str]:
    """Names of the registry, of one kind or all."""
    return [name for name, entry in INDICES.items() if kind in (None, entry.kind)]


def _asked(metrics: Any) -> list[str] | None:
    """The names that were asked for, one alone as well; None for all."""
    if metrics is None:
        return None
    return list(metrics) if isinstance(metrics, Iterable) and not isinstance(metrics, str) else [metrics]


def _run(
    inputs: Any, kind: str, metrics: str | Iterable[str] | None, leave_out: set[str], order: Order | None = None
) -> dict[str, Evaluation]:  # fmt: skip
    asked = _asked(metrics)
    chosen = [get(name) for name in ([n for n in names(kind) if n not in leave_out] if asked is None else asked)]
    wrong = [entry.name for entry in chosen if entry.kind != kind]
    if wrong:
        raise InputError(
            f"metric: found {wrong[0]!r} ({get(wrong[0]).kind}), expected {kind}: {', '.join(names(kind))}"
        )
    out = {}
    for entry in chosen:
        score = entry.function(inputs)
        if len(score.value) != 1:
            raise InputError(f"batch: found {len(score.value)} cubes, expected one (call the index itself on a batch)")
        bands = None if score.per_band is None else score.per_band[0].double().cpu().numpy()
        if bands is not None and order is not None:
            bands = bands[np.argsort(order)]
        out[entry.name] = Evaluation(
            index=entry, value=float(score.value[0]), per_band=bands, excluded=dict(score.excluded),
            facts=dict(score.facts),
        )  # fmt: skip
    return out


def evaluate(
    estimate: Any, reference: Any, *, ratio: float | None = None, border: int = 0, data_range: float | None = None,
    mask: Any = None, metrics: str | Iterable[str] | None = None,
) -> dict[str, Evaluation]:  # fmt: skip
    """Full-reference indices of an estimate.

    Parameters
    ----------
    estimate, reference : Cube, array or tensor, shape (band, y, x)
        NaN stands for no value, and so do what a cube calls nodata and what a masked array masks. Tensors are compared
        where they are, CPU or GPU.
    ratio : float, optional
        For ERGAS, which is left out (or an error, when asked for) without it.
    border : int
        Pixels left out on each side.
    data_range : float, optional
        Range of values for PSNR and SSIM; default what the reference's valid values span. The result says which was
        used and that it was guessed.
    mask : array of bool, shape (band, y, x) or (1, y, x), optional
        False excludes.
    metrics : str or iterable of str, optional
        Names; default all of the kind.

    Raises
    ------
    InputError
        When shapes, or the bands or units of cubes, differ, a name is unknown, or nothing valid is left.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.random.default_rng(0).uniform(0.2, 0.8, (5, 32, 32))
    >>> result = evaluate(truth + 0.01, truth, ratio=4, metrics=["RMSE", "SAM", "ERGAS"])
    >>> round(result["RMSE"].value, 4), result["SAM"].index.unit
    (0.01, 'degree')
    """
    order = order_of(reference, estimate)
    # of the cubes as they are, whose bands may differ
    require_comparable(estimate, reference)
    estimate, reference, mask = (ordered(image, order) for image in (estimate, reference, mask))
    pair = Pair.of(estimate, reference, ratio=ratio, border=border, data_range=data_range, mask=mask)
    leave_out = {"ERGAS"} if ratio is None else set()
    for name, size in (("SSIM", 11), ("UQI", 8), ("SCC", 3)):
        if min(pair.reference.shape[-2:]) < size:
            leave_out.add(name)
    return _run(pair, "full reference", metrics, leave_out, order)


def evaluate_fusion(
    fused: Any, coarse: Any, pan: Any, *, ratio: int | None = None, mtf: Any = 0.3, pan_mtf: float = 0.15,
    offset: float | None = None, border: int = 0, registration: Registration | None = None,
    registered: bool = False, pan_own_mtf: float | None = None, noise_variance: Any = None,
    metrics: str | Iterable[str] | None = None,
) -> dict[str, Evaluation]:  # fmt: skip
    """Full-resolution indices of a fused cube; parameters as of `Fusion`.

    Without PAN (None), as of a cube that only a guide sharpened, indices that need none are given, by offset and MTF as
    declared.

    ``registered`` judges by shift and MTF as the pair itself shows them, so that no cube is blamed for lying where PAN
    does; `ERGAS_est` always does, unless ``registration`` is given.

    Examples
    --------
    >>> import numpy as np
    >>> from hsitools import preset, scene
    >>> observed = preset("prisma").select(range(0, 60, 6)).observe(scene((96, 96), seed=1), np.random.default_rng(2))
    >>> copied = np.repeat(np.repeat(observed.read(), 6, axis=1), 6, axis=2)
    >>> values = evaluate_fusion(copied, observed.read(), observed.pan.read(), metrics=["D_lambda", "D_s"])
    >>> all(0 <= entry.value <= 1 for entry in values.values())
    True
    """
    if pan is None:
        metrics = _without_pan(metrics)
        registered = False
    order = order_of(coarse, fused)
    require_comparable(fused, coarse, "fused", "coarse")
    fused, coarse = ordered(fused, order), ordered(coarse, order)
    mtf, noise_variance = ordered_numbers(mtf, order), ordered_numbers(noise_variance, order)
    fusion = Fusion.of(
        fused, coarse, pan, ratio=ratio, mtf=mtf, pan_mtf=pan_mtf, offset=offset, border=border,
        registration=registration, pan_own_mtf=pan_own_mtf, noise_variance=noise_variance,
    )  # fmt: skip
    # one band has no other to differ from
    leave_out = {"D_lambda_classic", "QNR"} if fusion.fused.shape[1] == 1 else set()
    return _run(fusion.registered() if registered else fusion, "full resolution", metrics, leave_out, order)


def _without_pan(metrics: str | Iterable[str] | None) -> list[str]:
    """Names of indices that need no PAN; raises `InputError` for one that was asked for and does."""
    able = [name for name in names("full resolution") if not get(name).needs_pan]
    asked = _asked(metrics)
    chosen = able if asked is None else asked
    for name in chosen:
        if get(name).kind == "full resolution" and get(name).needs_pan:
            raise InputError(f"pan: missing, expected one (--pan) for {get(name).name} ({', '.join(able)} need none)")
    return chosen


def evaluate_alone(cube: Any, *, border: int = 0, metrics: str | Iterable[str] | None = None) -> dict[str, Evaluation]:
    """Noise and stripe indices of one cube, array or tensor (band, y, x).

    Examples
    --------
    >>> import numpy as np
    >>> flat = 1 + 0.01 * np.random.default_rng(0).standard_normal((3, 64, 64))
    >>> sorted(evaluate_alone(flat))[:2]
    ['noise', 'stripes']
    """
    order = order_of(cube)
    return _run(Single.of(ordered(cube, order), border=border), "no reference", metrics, set(), order)
