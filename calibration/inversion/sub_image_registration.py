"""Where the sub-images of one raw frame lie against each other, found from the frame, and their common field of view.

Every sub-image shows the same scene through another fringe, so that no two are alike; but most of their structure is
the brightness that all share. Each sub-image is therefore predicted from the others' brightness, and the difference
regressed on the derivatives of the prediction (B. D. Lucas, T. Kanade, IJCAI 1981), from blurred images to sharp ones.
Colours stay in the difference, where they agree with a derivative by chance only; a prediction that knew them would
take a pattern of displacements for a colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.prior import matern

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Smooth spectra: correlated over this many nm, as reflectances are.
SMOOTH_NM = 80.0
#: Dimensions of spectra that predict sub-images for the registration, the brightness alone: simulated displacements are
#: found to .02 px (.09 at most, 80 sub-images of 31 pixels), with 2 to .03 (.3 at most), with 4 to .1 (.5 at most).
DIMENSIONS = 1
#: Blur of the images, pixels, in turn: the first passes catch displacements of several pixels.
BLURS = (2.5, 2.5, 1.5, 1.5, 0.7, 0.7, 0.7, 0.7)
#: Displacements below this, pixels, at the edge of the field are left as they are: resampling would do more harm.
NEGLIGIBLE = 0.03
#: Standard errors from which displacements count as not told, pixels.
UNTOLD = 0.5
#: Rounds in which values that were not measured are predicted from those that were.
FILLS = 8
#: Pixels at the sides that take no part in the registration: a dark one draws its sub-image
#: by up to .4 pixels; two cost as much of what tells (rms .012 for .010 px, 31 pixels).
EDGE = 1
#: Pixels at a side of the field that may be dark or a neighbour's, and how much worse than all they must then fit: sub-
#: images are cut at whole pixels of a grid that is told to a part of one, and splines carry an edge a pixel further.
BORDER, WORSE = 3, 2.0
#: A resampled value of which hot pixels make more than this share is predicted instead.
TOUCHED = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration:
    """Displacements of sub-images: the scene at p (pixels from the middle) lies at ``magnification · p + shift``.

    Attributes
    ----------
    shift : array, shape (interferometer, 2)
        (y, x), pixels; relative to the median sub-image.
    magnification : array, shape (interferometer,)
        Relative to the median sub-image.
    shift_stderr : array, shape (interferometer, 2)
        Standard error, pixels.
    """

    shift: Array
    magnification: Array
    shift_stderr: Array

    def largest(self, size: int) -> float:
        """Largest displacement inside sub-images of a size, pixels."""
        edge = np.abs(self.magnification - 1) * (size - 1) / 2
        return float((np.abs(self.shift).max(axis=1) + edge).max(initial=0.0))


def brightness_projection(matrix: Array, wavelength_nm: Array) -> Array:
    """Projection ``(interferometer, interferometer)`` onto what smooth spectra have in common, in images of mean one.

    Parameters
    ----------
    matrix : array, shape (interferometer, wavelength)
        Spectrum to interferogram.
    wavelength_nm : array, shape (wavelength,)
    """
    strongest = np.linalg.eigh(smooth_covariance(matrix, wavelength_nm))[1][:, -DIMENSIONS:]
    return np.asarray(strongest @ strongest.T)


def precision(matrix: Array, wavelength_nm: Array, noise: Array) -> Array:
    """Inverse covariance ``(interferometer, interferometer)`` of the interferograms of smooth spectra.

    Of images of mean one with noise of that standard deviation ``(interferometer,)``: what tells a value that is
    missing from the others.
    """
    whole = smooth_covariance(matrix, wavelength_nm) + np.diag(np.maximum(noise, 1e-6) ** 2)
    return np.asarray(np.linalg.inv(whole), dtype=float)


def smooth_covariance(matrix: Array, wavelength_nm: Array) -> Array:
    """Covariance of the interferograms of smooth spectra, in images of mean one."""
    rows = matrix / matrix.sum(axis=1, keepdims=True)
    return np.asarray(rows @ matern(wavelength_nm, SMOOTH_NM) @ rows.T)


def register(images: Array, valid: Mask, projection: Array) -> Registration:
    """Find the displacements of sub-images.

    Parameters
    ----------
    images : array, shape (interferometer, y, x)
        Dark taken off.
    valid : array of bool, shape (interferometer, y, x)
        False where a pixel is hot or saturated.
    projection : array, shape (interferometer, interferometer)
        See `brightness_projection`.

    Returns
    -------
    Registration
        Drawn towards none by how uncertain they are: without structure in the scene nothing moves.
    """
    from scipy.ndimage import gaussian_filter

    n, height, width = images.shape
    flat = _normalised(images, valid)
    shift, magnification, error = np.zeros((n, 2)), np.ones(n), np.full((n, 2), np.inf)
    y, x = (np.arange(size) - (size - 1) / 2 for size in (height, width))
    for blur in BLURS:
        aligned, inside, _ = resample(flat, shift, magnification)
        blurred = np.stack([gaussian_filter(image, blur, mode="nearest") for image in aligned])
        # a border as wide as the blur holds what was beyond the field, or beyond a sub-image whose place is half told
        margin = int(np.ceil(2 * blur)) + EDGE
        common = np.zeros((height, width), dtype=bool)
        within = slice(margin, height - margin), slice(margin, width - margin)
        common[within] = np.asarray(inside.all(axis=0))[within]
        if common.sum() < 32:
            break
        expected = _leave_one_out(blurred.reshape(n, -1), projection).reshape(blurred.shape)
        dy, dx = np.gradient(expected, axis=(1, 2))
        columns = [dy, dx, (y[:, None] * dy + x * dx) / max(height / 2, 1), expected, np.ones_like(expected)]
        design = np.stack(columns, axis=-1)[:, common]
        target = (blurred - expected)[:, common]
        gram = np.einsum("npi,npj->nij", design, design)
        # a scene without structure leaves a singular matrix: its standard errors are then endless
        gram += 1e-12 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(5)
        inverse = np.linalg.inv(gram)
        step = -np.einsum("nij,npj,np->ni", inverse, design, target)
        residual = target + np.einsum("npj,nj->np", design, step)
        # blurred pixels are not independent: 4π·blur² of them say as much as one
        independent = max(common.sum() / (4 * np.pi * blur**2) - 5, 1.0)
        scatter = (residual**2).mean(axis=1) * common.sum() / independent
        spread = np.sqrt(scatter[:, None] * np.diagonal(inverse, axis1=1, axis2=2))
        scale = max(height / 2, 1)
        shift = shift + np.clip(step[:, :2], -1.5, 1.5)
        magnification = magnification + np.clip(step[:, 2] / scale, -0.05, 0.05)
        shift -= np.median(shift, axis=0)
        magnification /= np.median(magnification)
        error, error_magnification = spread[:, :2], spread[:, 2] / scale
    if not np.median(error) < UNTOLD:
        return Registration(shift=np.zeros((n, 2)), magnification=np.ones(n), shift_stderr=error)
    return Registration(
        shift=np.stack([_shrunk(shift[:, axis], error[:, axis]) for axis in (0, 1)], axis=1),
        magnification=1 + _shrunk(magnification - 1, error_magnification), shift_stderr=error,
    )  # fmt: skip


def aligned_images(
    images: Array, hot: Mask, registration: Registration, told: Array
) -> tuple[Array, Array]:  # fmt: skip
    """Sub-images on one grid, and the factor ``(interferometer,)`` by which their noise has changed.

    Hot pixels are predicted from the other sub-images by ``told`` (see `precision`); NaN (saturated) and what lies
    beyond the common field of view is NaN. Where displacements are negligible nothing is resampled.
    """
    size = images.shape[1]
    saturated = ~np.isfinite(images) & ~hot
    filled = _filled(images, ~hot & ~saturated)
    touched, inside, factor = hot, np.ones(images.shape, dtype=bool), np.ones(len(images))
    if registration.largest(size) > NEGLIGIBLE:
        where = registration.shift, registration.magnification
        filled, inside, factor = resample(filled, *where)
        touched = np.abs(resample(hot.astype(float), *where)[0]) > TOUCHED
        saturated = np.abs(resample(saturated.astype(float), *where)[0]) > TOUCHED
    level = filled.reshape(len(filled), -1).mean(axis=1)[:, None]
    flat = filled.reshape(len(filled), -1) / np.where(level == 0, 1, level)
    place = touched.reshape(flat.shape)
    for _ in range(FILLS if place.any() else 0):
        flat = np.where(place, flat - (told @ flat) / np.diag(told)[:, None], flat)
    values = np.where(touched, (flat * level).reshape(filled.shape), filled)
    return np.where(inside.all(axis=0) & ~saturated, values, np.nan), factor


def without_borders(values: Array, told: Array) -> Array:
    """Aligned sub-images ``(interferometer, y, x)``, lines at the sides NaN where they fit no spectrum.

    There some sub-images show what is beyond theirs. ``told`` as of `precision`.
    """
    level = np.nanmean(values, axis=(1, 2), keepdims=True)
    flat = values / np.where(level == 0, 1, level)
    brightness = flat.mean(axis=0)
    misfit = np.einsum("ij,jyx->iyx", told, flat) / np.sqrt(np.diag(told))[:, None, None]
    # a wrong calibration is wrong in all pixels alike
    misfit -= brightness * np.nanmedian(misfit, axis=(1, 2), keepdims=True)
    misfit = np.sqrt((misfit**2).mean(axis=0))
    limit = WORSE * np.nanmedian(misfit)
    values = values.copy()
    for turns in range(4):
        turned, image = np.rot90(misfit, turns), np.rot90(values, turns, axes=(1, 2))
        # rows without any measured pixel are gone already
        rows = np.flatnonzero(np.isfinite(turned).any(axis=1))
        for row in rows[:BORDER]:
            if np.nanmedian(turned[row]) <= limit:
                break
            image[:, row], turned[row] = np.nan, np.nan
    return values


def resample(images: Array, shift: Array, magnification: Array) -> tuple[Array, Mask, Array]:
    """Images by cubic splines (M. Unser, IEEE Signal Processing Magazine 16(6), 1999) where the scene's pixels lie.

    Returns
    -------
    values : array, shape of images
        The nearest ones beyond the image.
    inside : array of bool, shape of images
    factor : array, shape (interferometer,)
        Root of the mean sum of squared weights: what white noise is multiplied by.
    """
    parts, inside = [], []
    for axis, size in enumerate(images.shape[1:]):
        middle = (size - 1) / 2
        at = magnification[:, None] * (np.arange(size) - middle) + middle + shift[:, axis, None]
        inside.append((at >= 0) & (at <= size - 1))
        parts.append(_spline(np.clip(at, 0, size - 1), size) @ np.linalg.inv(_spline(np.arange(size)[None], size)[0]))
    values = parts[0] @ images @ parts[1].transpose(0, 2, 1)
    power = [(part**2).sum(axis=2).mean(axis=1) for part in parts]
    return values, inside[0][:, :, None] & inside[1][:, None], np.sqrt(power[0] * power[1])


def _spline(at: Array, size: int) -> Array:
    """Cubic B-splines centred on ``size`` samples, mirrored at the ends, at places ``(n, place)``: (n, place, size)."""
    first = np.floor(at).astype(int) - 1
    node = first[..., None] + np.arange(4)
    distance = np.abs(at[..., None] - node)
    near, far = 2 / 3 - distance**2 + distance**3 / 2, (2 - distance) ** 3 / 6
    weight = np.where(distance <= 1, near, np.where(distance <= 2, far, 0.0))
    node = np.abs(node)
    node = np.where(node > size - 1, 2 * (size - 1) - node, node)
    dense = np.zeros((*at.shape, size))
    np.add.at(dense, (*np.indices(node.shape)[:2], node), weight)
    return dense


def _normalised(images: Array, valid: Mask) -> Array:
    """Images of mean one, without what is not valid."""
    filled = _filled(images, valid)
    level = filled.mean(axis=(1, 2), keepdims=True)
    return np.asarray(filled / np.where(level == 0, 1, level))


def _filled(images: Array, valid: Mask) -> Array:
    """What is not valid as the mean of the valid pixels around it, weighted by a Gaussian of one pixel."""
    from scipy.ndimage import gaussian_filter

    if valid.all():
        return images
    known = np.where(valid, np.nan_to_num(images), 0.0)
    around = np.stack([gaussian_filter(image, 1.0) for image in known])
    weight = np.stack([gaussian_filter(image.astype(float), 1.0) for image in valid])
    level = known.sum(axis=(1, 2), keepdims=True) / np.maximum(valid.sum(axis=(1, 2), keepdims=True), 1)
    return np.where(valid, known, np.where(weight > 1e-3, around / np.maximum(weight, 1e-3), level))


def _leave_one_out(values: Array, projection: Array) -> Array:
    """Each row ``(interferometer, pixel)`` as the others predict it."""
    own = np.clip(np.diag(projection), 0, 0.9)[:, None]
    return np.asarray((projection @ values - own * values) / (1 - own))


def _shrunk(values: Array, error: Array) -> Array:
    """Values drawn towards zero by their standard errors, the population's spread estimated from them."""
    spread = max(float(np.mean(values**2 - error**2)), 0.0)
    return np.asarray(values * spread / (spread + error**2)) if spread > 0 else np.zeros_like(values)
