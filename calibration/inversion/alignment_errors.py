"""What is left of displacements, magnifications and of the resampling's blur in aligned sub-images.

Displaced by a little more than was found, a sub-image differs by as much of the scene's slope; interpolated half-way
between pixels it is blurred, by a part of the scene's curvature. Both follow the scene's brightness and are the same
in all pixels up to that, so that a population of spectra takes them for spectra. How much of each slope a sub-image has
is a number an interferometer: what smooth spectra cannot make is taken for such an error, and what they can make is
shared out by how large both are, by evidence (best linear unbiased prediction: G. K. Robinson, Statistical Science
6(1), 1991).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.calibration_error import likeliest

Array = NDArray[np.float64]

#: Standard deviations of spectra and of errors at which the search for their sizes begins, in those of the noise.
STARTS = (0.3, 3.0, 30.0)
#: Pixels to a slope below which sub-images stay as they are.
LEAST_PIXELS = 16
#: Slopes and curvatures of a brightness, and the fewest pixels along an axis that tell them.
SLOPES, LEAST_SIDE = 5, 3


def without_alignment_errors(values: Array, covariance: Array, noise: Array) -> tuple[Array, Array]:
    """Aligned sub-images without what follows slopes and curvatures of the brightness, and how much of it is left.

    Parameters
    ----------
    values : array, shape (interferometer, y, x)
        NaN where not measured.
    covariance : array, shape (interferometer, interferometer)
        Of the interferograms of smooth spectra, in images of mean one, up to a factor.
    noise : array, shape (interferometer,)
        Standard deviation of the noise, in images of mean one.

    Returns
    -------
    values : array, shape (interferometer, y, x)
    std : array, shape (interferometer,)
        Standard deviation of what is left, root mean square over the pixels.
    """
    measured = np.asarray(np.isfinite(values).all(axis=0))
    std = np.zeros(len(values))
    sides = [int(measured.any(axis=axis).sum()) for axis in (0, 1)]
    if measured.sum() < LEAST_PIXELS * SLOPES or min(sides) < LEAST_SIDE:
        return values, std
    level = np.nanmean(values, axis=(1, 2))
    if (level <= 0).any():
        return values, std
    flat = values[:, measured] / level[:, None]
    slopes = brightness_slopes(flat.mean(axis=0), measured)
    # in units in which all are near one
    unit = float((noise**2).mean())
    spectra, own = covariance / np.diag(covariance).mean(), np.eye(len(flat))
    parts: list[Array] = [spectra, own]
    variances = noise**2 / unit
    starts: list[tuple[float, ...]] = [(first**2, second**2) for first in STARTS for second in STARTS]
    remaining = np.zeros(len(values))
    for slope in slopes:
        share = flat @ slope
        of_spectra, of_errors = likeliest(parts, variances, share / np.sqrt(unit), starts)
        gain = of_errors * np.linalg.inv(of_spectra * spectra + of_errors * own + np.diag(variances))
        flat -= np.outer(gain @ share, slope)
        remaining += of_errors * (1 - np.diag(gain))
    out = values.copy()
    out[:, measured] = flat * level[:, None]
    return out, level * np.sqrt(unit * remaining / measured.sum())


def brightness_slopes(brightness: Array, measured: NDArray[np.bool_]) -> Array:
    """Slopes along y and x and away from the middle, curvatures along y and x: ``(5, measured pixel)``.

    Orthonormal, and orthogonal to the brightness itself.
    """
    from scipy.ndimage import distance_transform_edt

    image = np.zeros(measured.shape)
    image[measured] = brightness
    rows, columns = (np.flatnonzero(measured.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    # beyond holes the nearest value: slopes beside them are too small, not wild
    nearest = distance_transform_edt(~measured[box], return_distances=False, return_indices=True)
    inside = image[box][tuple(nearest)]
    dy, dx = np.gradient(inside, edge_order=2)
    y, x = (np.arange(size) - (size - 1) / 2 for size in measured.shape)
    away = y[box[0], None] * dy + x[box[1]] * dx
    curvatures = np.gradient(dy, axis=0, edge_order=2), np.gradient(dx, axis=1, edge_order=2)
    columns_ = np.stack([image[box], dy, dx, away, *curvatures])[:, measured[box]]
    return np.asarray(np.linalg.qr(columns_.T)[0].T[1:])
