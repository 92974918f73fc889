"""Values that are no measurement: those that stick, and blanks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.blank import blank_spectrum, is_blank
from hsitools.estimation.full_scale import hot_elements

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Share of a band's voxels with exactly the same value, above which it is no measurement.
STUCK = 0.01
#: Values of a band below which repetition says nothing.
FEW_LEVELS = 32
#: Side of the squares of pixels that an area without any value is made of: columns that are dead in all bands are less.
BLANK = 3


def blank(values: Array, valid: Mask) -> Mask:
    """Pixels ``(y, x)`` of areas that are exactly zero in all bands, or one spectrum: what lies beyond a scene's edge.

    A detector with noise reads no such area; as values they would have the noise of their bands seem less.
    """
    from scipy.ndimage import binary_opening

    alike = valid.any(0) & ~(valid & (values != 0)).any(0)

    def read(rows: slice, columns: slice) -> Array:
        return np.where(valid[:, rows, columns], values[:, rows, columns], np.nan)

    height, width = values.shape[1:]
    spectrum = blank_spectrum(read, (height, width))
    if spectrum is not None:
        alike |= is_blank(read(slice(0, height), slice(0, width)), spectrum)
    return np.asarray(binary_opening(alike, np.ones((BLANK, BLANK), dtype=bool)) if alike.any() else alike)


def stuck_values(values: Array, valid: Mask) -> Mask:
    """Voxels ``(band, y, x)`` of a value that a noisy band would not repeat so often.

    A repeated value counts only if others, and those next to it, hardly repeat: numbers of few digits repeat all over.
    The smallest value is left (clipped shadow), but for lines that were dropped: whole rows of it, beside rows that are
    not; and saturation: the largest value may repeat in a good cube. What was filled in where nothing is ``valid``
    repeats without being any voxel's fault that has the same value.
    """
    from scipy.ndimage import median_filter

    out = np.zeros(values.shape, dtype=bool)
    for band, (image, use) in enumerate(zip(values, valid, strict=True)):
        measured = image[use]
        _, place, count = np.unique(measured, return_inverse=True, return_counts=True)
        if len(count) < FEW_LEVELS:
            continue
        usual = np.maximum(np.sort(count)[int(0.9 * len(count))], median_filter(count, 11, mode="constant", cval=1))
        often = (count > STUCK * measured.size) & (count > 20 * usual)
        often[-1] &= count[-1] > 0.03 * measured.size
        often[0] = False
        out[band][use] = often[place]
        least = (use & (image == measured.min()))[None]
        out[band] |= least[0] & hot_elements(least.transpose(0, 2, 1), use.T[None])[0][:, None]
    return out
