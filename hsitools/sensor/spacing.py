"""How far apart wavelengths lie, beside those around: gaps of a scene, and widths of bands that are not told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError

Array = NDArray[np.float64]
#: Spacings of the samples around from which on what lies between two of them is a gap: four that lack are bridged by a
#: straight line, water vapour is not. How many spacings tell what is usual.
GAP, AROUND_GAP = 5.0, 9
#: Bands nearer to one another than this share of what is usual around them are of two detectors that overlap; how many
#: spacings tell what is usual: few, as it changes from detector to detector.
OVERLAP, AROUND_BAND = 0.7, 7


def _usual(spacing: Array, around: int) -> Array:
    """Median of so many spacings about each one."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(spacing, around // 2, mode="symmetric"), around)
    return np.asarray(np.median(windows, axis=1))


def gaps(ascending_nm: Array) -> NDArray[np.bool_]:
    """Which intervals between ascending wavelengths are gaps beside those around them, as of bands taken away."""
    spacing = np.diff(ascending_nm)
    return np.asarray(spacing > GAP * _usual(spacing, AROUND_GAP))


def spacing_as_width(centre_nm: Array, who: str) -> Array:
    """Distance of each band to the nearer neighbour, or that of the bands around where it is far below theirs, nm.

    Raises
    ------
    InputError
        When there is one wavelength only.
    """
    # a file's bands may be in any order, and two detectors may list a wavelength twice
    order = np.argsort(centre_nm)
    ascending = centre_nm[order]
    spacing = np.diff(ascending)
    if not spacing.any():
        raise InputError(f"{who}: fwhm_nm: found none, expected one, or two bands to take the distance of")
    nearer = np.minimum(np.append(spacing, np.inf), np.insert(spacing, 0, np.inf))
    apart = spacing > 0
    usual = np.interp(ascending, (ascending[:-1] + spacing / 2)[apart], _usual(spacing[apart], AROUND_BAND))
    out = np.empty(len(centre_nm))
    out[order] = np.where(nearer < OVERLAP * usual, usual, nearer)
    return out
