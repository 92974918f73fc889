"""How good a cube is, from a window in its middle: what is missing, and signal over noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.band_noise import own_variance, unexplained, weights_of_nearest
from hsitools.estimation.common_stripes import common_stripes, of_common_stripes
from hsitools.text import counted

if TYPE_CHECKING:
    from hsitools.cube import Cube
from hsitools.cube.spectral_order import by_wavelength

#: Values that are read at most: some hundredths of a second.
VALUES = 4_000_000
#: Fewer bands, or pixels a band, do not tell noise from what only one band sees.
LEAST_BANDS, LEAST_PIXELS = 8, 4
#: Bands on either side that explain a band.
REACH = 2
#: Correlation of neighbouring pixels' noise from which on it is not a detector's, which has none: bilinear resampling
#: gives .25 or more.
SMOOTH = 0.2
#: Bands that are looked at for it.
SOME_BANDS = 16


def quality(cube: Cube) -> dict[str, Any]:
    """Share of the voxels without a value, and the median over good bands of mean over noise, where these tell it.

    Noise is what a band's four nearest ones do not explain, less their own noise in that. Of few bands some scene is in
    it, of a smoothed or resampled cube little noise: ``snr_note`` says so where neighbouring pixels share it.
    ``common_stripes`` and ``stripes_note`` are there where columns are suspected of stripes alike in all bands.
    """
    side = max(int((VALUES / cube.n_bands) ** 0.5), 1)
    rows, columns = (slice(max((n - side) // 2, 0), max((n - side) // 2, 0) + min(side, n)) for n in cube.shape[1:])
    values = np.asarray(cube.physical().read(rows=rows, columns=columns), dtype=np.float64)
    known = np.isfinite(values)
    # an infinite value is none: what is computed of neighbours passes over NaN
    values[~known] = np.nan
    out: dict[str, Any] = {"missing": float(1 - known.mean()), "snr": None}
    good = by_wavelength(cube.good & known.any(axis=(1, 2)), cube.wavelength_nm)
    spectra = values[good][:, known[good].all(axis=0)]
    if len(good) >= LEAST_BANDS and spectra.shape[1] >= LEAST_PIXELS * len(good):
        covariance = np.cov(spectra)
        weights = weights_of_nearest(covariance, REACH)
        noise = np.sqrt(own_variance(unexplained(covariance, REACH), weights))
        clear = noise > 0
        if clear.any():
            out["snr"] = float(np.median(np.abs(spectra.mean(axis=1))[clear] / noise[clear]))
            alike = _alike(values[good], weights, np.flatnonzero(clear))
            if alike > SMOOTH:
                out["snr_note"] = (
                    f"not that of one measurement: what a band keeps to itself is alike in neighbouring pixels "
                    f"(correlation {alike:.2f}), as noise is not; fine detail of the scene makes the ratio too low, a "
                    "smoothed or resampled cube too high"
                )
    stripes = common_stripes(values[good]) if len(good) else 0.0
    if out["snr"] is None:
        out["snr_note"] = _why_no_snr(len(good), spectra.shape[1])
    if stripes:
        out |= {"common_stripes": stripes, "stripes_note": of_common_stripes(stripes)}
    return out


def _why_no_snr(n_bands: int, n_pixels: int) -> str:
    """What a window lacks of telling noise from scene."""
    if n_bands < LEAST_BANDS:
        return f"not told: {n_bands} good bands with values, {LEAST_BANDS} needed"
    if n_pixels < LEAST_PIXELS * n_bands:
        return (
            f"not told: {counted(n_pixels, 'pixel')} with a value in all {n_bands} good bands, {LEAST_PIXELS} a band "
            f"({LEAST_PIXELS * n_bands}) needed"
        )
    return "not told: found no noise, neighbouring bands explain all"


def _alike(values: NDArray[Any], weights: NDArray[Any], bands: NDArray[Any]) -> float:
    """Correlation of neighbouring pixels in what other bands do not explain: the median over some bands."""
    out = []
    for band in bands[:: 1 + len(bands) // SOME_BANDS]:
        near = np.append(np.flatnonzero(weights[band]), band)
        rest = np.tensordot(np.append(-weights[band, near[:-1]], 1), values[near], 1)
        rest = rest - np.nanmean(rest)
        products = [np.nanmean(rest[1:] * rest[:-1]) if len(rest) > 1 else 0.0,
                    np.nanmean(rest[:, 1:] * rest[:, :-1]) if rest.shape[1] > 1 else 0.0]  # fmt: skip
        # a column's offset is shared by all of it; noise is smoothed along both
        out.append(min(products) / max(np.nanmean(rest**2), 1e-300))
    return float(np.median(out))
