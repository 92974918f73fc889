"""A constant in the intensities, of all rows the same: dark signal that was not taken off, or too much of it.

Fringes of many waves have harmonics in fixed proportions, which a constant does not have: it makes the first too weak
beside the mean for what the second says. Fringes of two waves have none: a constant is then another gain and
reflectivity, but for what the flat field's shape tells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from calibration.fitting.fit_state import Fit
from calibration.fitting.posterior import influence, inverse
from calibration.fitting.refine import CHUNK_SAMPLES, NormalPlan
from calibration.fitting.scaled_rows import ScaledRows

#: Standard errors, and share of the mean intensity, beyond which a constant is said: what it does to the gain is about
#: its share, and chance makes four once in twenty thousand devices.
SURE, WORTH = 4.0, 0.01
#: Standard error from which on nothing is told.
UNTOLD = 0.3


def pedestal(fit: Fit, data: ScaledRows) -> dict[str, Any]:
    """The constant that the rows' fringes show beside a fit, to first order, as shares of their mean intensity.

    ``share`` and its standard error ``stderr``, by how the rows differ or by their noise, whichever is larger; ``said``
    whether it is more than chance and matters. ``stderr`` None where nothing tells.
    """
    plan, rows = NormalPlan.of(fit.sampled), np.flatnonzero(data.usable)
    psi, slope = influence(data.intensity - fit.values(data), data.weight, fit.loss, fit.cut_off)
    constant = data.level[rows].mean() / data.level
    pulled, held = np.zeros(len(rows)), np.zeros(len(rows))
    chunk = max(1, CHUNK_SAMPLES // len(data.wavenumber))
    for start in range(0, len(rows), chunk):
        some, out = rows[start : start + chunk], slice(start, start + chunk)
        _, fields = fit.sampled.fields(fit.theta[some], (data.flat * fit.curve)[some])
        jacobian = plan.jacobian(fields)
        # without the prior, whose mean follows a constant as the rows do
        bread = plan.assemble(plan.moments(fields, slope[some]))
        shown = slope[some] * constant[some, None]
        change = inverse(bread) @ plan.gradient(fields, shown)[:, :, None]
        # what the parameters do not follow of it
        rest = constant[some, None] - (jacobian @ change)[:, :, 0]
        unit = np.maximum(fit.variance[some], 1e-300)
        pulled[out] = (rest * psi[some]).sum(axis=1) / unit
        held[out] = (rest * shown).sum(axis=1) / unit
    total = float(held.sum())
    share = float(pulled.sum()) / total if total > 0 else 0.0
    between = float(((pulled - share * held) ** 2).sum())
    stderr = np.sqrt(max(total, between)) / total if total > 0 else np.inf
    if not stderr < UNTOLD:
        return {"share": 0.0, "stderr": None, "said": False}
    return {"share": share, "stderr": float(stderr), "said": bool(abs(share) > max(SURE * stderr, WORTH))}


def pedestal_text(settings: dict[str, Any]) -> str:
    """What is known of a constant in the intensities, in words, from a characterization's settings."""
    found = settings.get("pedestal")
    if found is None:
        # files of before
        return ""
    if found["stderr"] is None:
        return "nothing tells it from gain and reflectivity"
    text = f"({100 * found['share']:.1f} ± {100 * found['stderr']:.1f}) % of the mean, by the shape of the fringes"
    if not found["said"]:
        return text
    return (
        f"{text}: dark signal was left, or taken off twice, and gain and reflectivity are off by about as much, or the "
        "model is not the instrument's (width of the line, waves, degrees)"
    )
