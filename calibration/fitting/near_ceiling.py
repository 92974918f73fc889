"""Samples near a ceiling that is not at one number: which of them were measured must not hang on their noise.

Samples cut off at a number that the capture holds have a likelihood (`cut_off`). Where one pixel of a window saturates,
or a file does not hold the number, those just below full scale are lost that noise took above it. What is left of them
is too dark, and a fit of it too: flat tops, a lower reflectivity and gain, two standard errors off where a tenth of the
samples is cut off. Where a fit puts samples near the ceiling all of them are set aside, so that the light decides.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.fitting.cut_off import cut_off_samples
from calibration.fitting.fit_state import Fit
from calibration.fitting.scaled_rows import ScaledRows
from hsitools.estimation.spread import robust_sigma

#: Standard deviations of the noise below the ceiling from which on it cuts off none.
NEAR = 2.5
#: Share of a row's lines that may be cut off or so near: what is left of rows that lose more fits twice the OPD, too.
MOST = 0.35


def rows_near_ceiling(capture: MonochromaticCapture) -> NDArray[np.bool_]:
    """Rows ``(row,)`` of which samples saturated, but not at one number."""
    if capture.saturated is None:
        return np.zeros(capture.n_interferometers, dtype=bool)
    lost = capture.saturated & ~capture.mask & ~cut_off_samples(capture)
    return np.asarray(lost.any(axis=1) & capture.mask.any(axis=1))


def with_ceilings(capture: MonochromaticCapture) -> MonochromaticCapture:
    """A capture with a ceiling for rows that lost more than `MOST`: the brightest of what is left of them.

    So few samples alone fit fringes half as high, or of twice the OPD; what is lost was at least as bright as those.
    """
    rows = rows_near_ceiling(capture)
    if capture.saturated is None or not rows.any():
        return capture
    lost = capture.saturated & ~capture.mask
    rows &= lost.sum(axis=1) > MOST * capture.n_lines
    brightest = np.max(capture.intensity, axis=1, keepdims=True, where=capture.mask, initial=-np.inf)
    return replace(capture, intensity=np.where(lost & rows[:, None], brightest, capture.intensity))


def near_ceiling(capture: MonochromaticCapture, data: ScaledRows, fit: Fit) -> NDArray[np.bool_]:
    """Usable samples ``(row, line)`` so near to their row's ceiling, as a fit puts them, that noise decided.

    The ceiling of a row is the brightest of its samples that was not cut off.
    """
    out = np.zeros_like(capture.mask)
    fitted = fit.values(data) * data.level[:, None]
    for row in np.flatnonzero(rows_near_ceiling(capture) & data.usable):
        use = capture.mask[row]
        seen, expected = capture.intensity[row, use], fitted[row, use]
        # the brighter half, whose noise counts here
        bright = expected >= np.median(expected)
        sigma = robust_sigma((seen - expected)[bright])
        near = expected > seen.max() - NEAR * sigma
        if near.sum() + (~use).sum() <= MOST * use.size:
            out[row, use] = near
    return out
