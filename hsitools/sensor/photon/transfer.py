"""Photon transfer: gain, read noise, PRNU and defects of a detector from dark and flat frames.

Photon noise makes the temporal variance of a pixel grow with its mean as ``V = V_read + S/K`` (digital numbers; K is
electrons per number), whatever the light is and however uneven it falls. J. R. Janesick, Photon Transfer, SPIE Press,
2007; EMVA Standard 1288, release 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.photon.analysis import analyse
from hsitools.sensor.photon.frames import read_exposures, read_stacks
from hsitools.sensor.photon.result import PhotonTransfer, describe

__all__ = ["PhotonTransfer", "describe", "photon_transfer", "read_exposures", "read_stacks"]


def photon_transfer(
    dark: Iterable[NDArray[Any]],
    levels: Iterable[Iterable[NDArray[Any]]],
    *,
    full_scale: float = float("inf"),
    dark_exposure_s: Iterable[float] | None = None,
    progress: Callable[[int], None] | None = None,
) -> PhotonTransfer:
    """Estimate a detector's noise, two frames in memory at a time and a few maps for each level.

    The light may differ from frame to frame and from place to place. Saturated pixels are found, whether the full scale
    is declared or not, and left out.

    Parameters
    ----------
    dark : iterable of frames (y, x)
        At least two.
    levels : iterable of iterables of frames
        Repeated frames of each level of light, at least two a level.
    full_scale : float
        Digital number at which pixels clip, where it is known.
    dark_exposure_s : iterable of float, optional
        Exposure time of each dark frame, s; where they differ, the dark current comes out.
    progress : callable, optional
        Called with the number of levels done.

    Raises
    ------
    InputError
        When there are too few frames, shapes or units differ, the flats are darker than the darks, the light is not
        above the noise or the curve is not straight.
    """
    if not full_scale > 0:
        raise InputError(f"full_scale: found {full_scale:g}, expected a positive digital number")
    return analyse(dark, levels, full_scale, dark_exposure_s, progress)
