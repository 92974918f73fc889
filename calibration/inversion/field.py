"""What a pixel's place in its sub-image does to it: the angle under which it sees the cavity, vignetting, dead pixels.

A pixel away from the middle sees OPD·cos θ (see `hsitools.sensor.multi_aperture`), so that its interferogram is one of
other interferometers. It is taken to the axis before pixels are inverted together: each ring of equal angle by its own
matrix to spectra, these by the matrix of the axis back to interferograms; what the spectra leave of it stays as it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.prior import SCALES, best_prior, priors_of, smooth_kernels
from calibration.inversion.problem import Interferograms
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.spectral import FabryPerotResponse

Array = NDArray[np.float64]
#: A pixel with less than this of the light in the middle of its sub-image is dead, one with more than its inverse hot.
DEAD = 0.3
#: Pixels from the middle over which the level of a sub-image is taken.
MIDDLE = 3.0


def radius_of(size: int) -> Array:
    """Distance of each pixel from the middle of a sub-image, pixels, ``(y, x)``."""
    place = np.arange(size) - (size - 1) / 2
    return np.hypot(place[:, None], place)


def cosine_of(layout: SubImageLayout, size: int) -> Array | None:
    """Cosine of the angle on each pixel ``(y, x)``; None where the layout does not say lens and pixels."""
    if layout.focal_length_mm is None or layout.pixel_pitch_um is None:
        return None
    tangent = radius_of(size) * layout.pixel_pitch_um / (1000 * layout.focal_length_mm)
    return np.asarray(1 / np.sqrt(1 + tangent**2))


def gain_of(flat: Array, response: FabryPerotResponse, cosine: Array | None) -> Array:
    """Relative light on each pixel, by the sub-images of an even scene under the calibration lamp.

    Parameters
    ----------
    flat : array, shape (interferometer, y, x)
        Dark taken off; NaN where saturated.
    response : FabryPerotResponse
        Of these interferometers.
    cosine : array, shape (y, x), or None
        Under an angle an even scene is not even: other fringes pass.

    Returns
    -------
    array, shape (interferometer, y, x)
        One in the middle; NaN where a pixel is dead, stuck or saturated.
    """
    if cosine is not None:
        lines = 1000 / response.wavenumber[::-1]
        ones = np.ones(len(lines))
        axis = response.matrix(lines) @ ones
        expected = np.empty(flat.shape)
        for angle in np.unique(cosine):
            expected[:, cosine == angle] = (response.off_axis(float(angle)).matrix(lines) @ ones / axis)[:, None]
        flat = flat / expected
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.nanmedian(flat[:, radius_of(flat.shape[1]) <= MIDDLE], axis=1)[:, None, None]
        gain = flat / np.where(level > 0, level, np.nan)
        return np.where((gain > DEAD) & (gain < 1 / DEAD), gain, np.nan)


def on_axis(values: Array, response: FabryPerotResponse, cosine: Array, noise_std: Array) -> Array:
    """Interferograms as their pixels would have them in the middle of the sub-images.

    Parameters
    ----------
    values : array, shape (interferometer, y, x)
        NaN where nothing was measured.
    response : FabryPerotResponse
        Of these interferometers, all of them fitted.
    cosine : array, shape (y, x)
    noise_std : array, shape (interferometer,)

    Notes
    -----
    The spectra are those of a smooth process, chosen by evidence on the ring nearest to the middle. The correction
    of a pixel is as noisy as the difference of both matrices makes its spectrum; this is not in the error bars.
    """
    measured = np.isfinite(values).all(axis=0)
    if not measured.any():
        return values
    lines = 1000 / response.wavenumber[::-1]
    axis = response.matrix(lines)
    # the innermost ring sees one angle: a mean over several would be no spectrum's interferogram
    nearest = float(cosine[measured].max())
    mean = values[:, measured & (cosine == nearest)].mean(axis=1)
    inner = response.off_axis(nearest).matrix(lines)
    one = Interferograms(matrix=inner, values=mean[:, None, None], noise_std=noise_std, wavelength_nm=lines)
    prior = best_prior(priors_of(one, smooth_kernels(one)))
    kernel = SCALES[int(prior.log_evidence()[:, 0].argmax())] * prior.unit * prior.covariance
    out = values.copy()
    for angle in np.unique(cosine[measured]):
        ring = measured & (cosine == angle)
        matrix = response.off_axis(float(angle)).matrix(lines)
        across = kernel @ matrix.T
        weight = np.linalg.solve(matrix @ across + np.diag(noise_std**2), values[:, ring])
        out[:, ring] += (axis - matrix) @ (across @ weight)
    return out
