"""Samples near the detector's ceiling: which of them were measured must not hang on their noise.

Of samples just below full scale those are cut off that noise took above it. What is left of them is too dark, and a fit
of it too: flat tops, a lower reflectivity and gain, two standard errors off where a tenth of the samples is cut off.
Where a fit puts samples near the ceiling all of them are set aside, so that the light decides and not the noise
(J. Tobin, Econometrica 26, 1958, has the alternative: a likelihood of what was cut off, which needs the noise's law).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.fitting.fit_state import Fit
from calibration.fitting.scaled_rows import ScaledRows
from hsitools.estimation.spread import robust_sigma

#: Standard deviations of the noise below the ceiling from which on it cuts off none.
NEAR = 2.5
#: Share of a row's lines that may be cut off or so near: what is left of rows that lose more fits twice the OPD, too.
MOST = 0.35


def near_ceiling(capture: MonochromaticCapture, data: ScaledRows, fit: Fit) -> NDArray[np.bool_]:
    """Usable samples ``(row, line)`` so near to their row's ceiling, as a fit puts them, that noise decided.

    The ceiling of a row is the brightest of its samples that was not cut off.
    """
    out = np.zeros_like(capture.mask)
    if capture.saturated is None:
        return out
    fitted = fit.values(data) * data.level[:, None]
    for row in np.flatnonzero((capture.saturated & ~capture.mask).any(axis=1) & capture.mask.any(axis=1) & data.usable):
        use = capture.mask[row]
        seen, expected = capture.intensity[row, use], fitted[row, use]
        # the brighter half, whose noise counts here
        bright = expected >= np.median(expected)
        sigma = robust_sigma((seen - expected)[bright])
        near = expected > seen.max() - NEAR * sigma
        if near.sum() + (~use).sum() <= MOST * use.size:
            out[row, use] = near
    return out
