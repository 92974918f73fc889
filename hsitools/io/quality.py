"""How good a cube is, from a window in its middle: what is missing, and signal over noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hsitools.estimation.band_noise import unexplained

if TYPE_CHECKING:
    from hsitools.cube import Cube

#: Values that are read at most: some hundredths of a second.
VALUES = 4_000_000
#: Fewer bands, or pixels a band, do not tell noise from what only one band sees.
LEAST_BANDS, LEAST_PIXELS = 8, 4


def quality(cube: Cube) -> dict[str, Any]:
    """Share of the voxels without a value, and the median over good bands of mean over noise, where these tell it.

    Noise is what a band keeps to itself beside its four nearest ones, theirs included: the ratio comes out a tenth too
    low where bands are many and alike, more where they are few. Of a smoothed cube it tells smoothness, not errors.
    """
    side = max(int((VALUES / cube.n_bands) ** 0.5), 1)
    rows, columns = (slice(max((n - side) // 2, 0), max((n - side) // 2, 0) + min(side, n)) for n in cube.shape[1:])
    values = np.asarray(cube.physical().read(rows=rows, columns=columns), dtype=np.float64)
    known = np.isfinite(values)
    out: dict[str, Any] = {"missing": float(1 - known.mean()), "snr": None}
    good = np.flatnonzero(cube.good & known.any(axis=(1, 2)))
    spectra = values[good][:, known[good].all(axis=0)]
    if len(good) >= LEAST_BANDS and spectra.shape[1] >= LEAST_PIXELS * len(good):
        noise = np.sqrt(unexplained(np.cov(spectra), reach=2))
        clear = noise > 0
        if clear.any():
            out["snr"] = float(np.median(np.abs(spectra.mean(axis=1))[clear] / noise[clear]))
    return out
