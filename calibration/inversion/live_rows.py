"""Interferometers that tell something of a scene: fitted when the instrument was characterized, and seen now."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.characterization import Characterization
from hsitools.errors import InputError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Light of the brightest quarter of the interferometers below which one is dead: a covered or broken sub-image.
DEAD = 0.01
#: Share of the pixels that the best interferometer measured below which one is left out: a pixel's spectrum is told by
#: all that are left, and most of the scene would be lost for one.
MEASURED = 0.5


def live_rows(
    device: Characterization, values: Array, noise_std: Array | None, where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Interferometers that were fitted and tell something; and those that were fitted and do not, ``(row,)``: without
    noise or light, or measured in few pixels.

    A dead one among the others reads nothing whatever the spectrum: no spectrum explains that, and its error bars are
    those of a measurement.

    Parameters
    ----------
    device : Characterization
    values : array, shape (interferometer, y, x)
        Interferograms, or a sample of them; NaN where not measured.
    noise_std : array, shape (interferometer,), or None
    where : str
        For messages.

    Raises
    ------
    InputError
        When none was fitted, or the scene has no light.
    """
    noise = np.ones(len(values)) if noise_std is None else noise_std
    usable = np.isfinite(device.response.theta).all(axis=1) & np.isfinite(noise) & (noise > 0)
    if not usable.any():
        raise InputError(f"{device.name}: found no interferometer that was fitted, expected some")
    finite = np.isfinite(values)
    count = finite.sum(axis=(1, 2))
    if not count[usable].any():
        raise InputError(f"{where}: found no pixel that was measured, expected some")
    level = np.where(finite, values, 0.0).sum(axis=(1, 2)) / np.maximum(count, 1)
    measured = usable & (count > MEASURED * count[usable].max())
    bright = float(np.quantile(level[measured], 0.75))
    if not bright > 0:
        raise InputError(f"{where}: found interferograms of mean {bright:.3g}, expected light (dark level taken off)")
    lit = measured & (level > DEAD * bright)
    return np.flatnonzero(lit), np.flatnonzero(usable & ~lit)
