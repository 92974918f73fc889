"""Whole turns over a gap between lines: whether lines and dispersion tell how many there are.

Lines on either side of a gap tell the phase there, not how many turns lie between. One more turn for all rows is
another OPD, and a dispersion that bends it flat where the lines are: no prior that rows share tells the two apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.aliases import DOUBT
from calibration.fitting.fit_state import Fit
from calibration.fitting.posterior import influence, inverse
from calibration.fitting.refine import CHUNK_SAMPLES, NormalPlan
from calibration.fitting.restarts import DISPERSION
from calibration.fitting.scaled_rows import ScaledRows

Array = NDArray[np.float64]

#: Share of the band from which on a gap between neighbouring lines may hide a turn. Polynomials of the phase's degree
#: follow no turn over less.
GAP = 0.1


def turn_distance(fit: Fit, data: ScaledRows) -> Array:
    """How far (µm) each row's OPD may be off by turns over a gap, ``(row,)``; 0 where lines tell how many there are.

    They do where another turn for all rows costs them together more than `DOUBT` in log-likelihood, the dispersion that
    it asks for included, to first order.
    """
    out = np.zeros(len(data.usable))
    measured = (data.weight > 0).any(axis=0)
    places = data.wavenumber[measured]
    gaps = np.flatnonzero(np.diff(places) > GAP * data.band.width)
    rows = np.flatnonzero(data.usable)
    if not len(gaps) or not len(rows):
        return out
    model = fit.sampled.model
    phase = model.slices["phase"]
    # all rows together are asked once for the dispersion that they have
    held = np.zeros(model.n_parameters)
    held[phase.start + 2 : phase.stop] = 1 / (DISPERSION**2 * len(rows))
    plan = NormalPlan.of(fit.sampled)
    _, slope = influence(data.intensity - fit.values(data), data.weight, fit.loss, fit.cut_off)
    # half the squares that so many turns cost are a parabola in their number
    square, linear, steps = np.zeros(len(gaps)), np.zeros(len(gaps)), np.zeros((len(gaps), len(rows)))
    chunk = max(1, CHUNK_SAMPLES // len(data.wavenumber))
    for start in range(0, len(rows), chunk):
        some = rows[start : start + chunk]
        _, fields = fit.sampled.fields(fit.theta[some], (data.flat * fit.curve)[some])
        jacobian = plan.jacobian(fields)
        weight = slope[some] / np.maximum(fit.variance[some], 1e-300)[:, None]
        spread = inverse(np.swapaxes(jacobian, 1, 2) @ (jacobian * weight[:, :, None]) + np.diag(held))
        present = held * fit.theta[some]
        for number, gap in enumerate(gaps):
            # what a turn beyond the gap would change, were it no whole one: the other parameters must make up for it
            beyond = data.wavenumber > 0.5 * (places[gap] + places[gap + 1])
            turn = 2 * np.pi * jacobian[:, :, phase.start] * beyond
            pull = ((turn * weight)[:, None, :] @ jacobian)[:, 0]
            change = (spread @ pull[:, :, None])[:, :, 0]
            square[number] += float(((turn * turn * weight).sum(axis=1) - (pull * change).sum(axis=1)).sum())
            linear[number] += float(2 * (present * change).sum())
            steps[number, start : start + chunk] = np.abs(change[:, model.opd_column])
    square = np.maximum(square, 1e-9)
    root = np.sqrt(linear**2 + 8 * square * DOUBT)
    # the most turns, in either direction, that cost no more
    turns = np.floor((np.abs(linear) + root) / (2 * square))
    out[rows] = (turns[:, None] * steps).max(axis=0) * data.band.opd_per_radian
    return out
