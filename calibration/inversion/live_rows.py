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
#: Variation over the scene, of the median interferometer's, below which one is stuck at a value.
STUCK = 1e-4
#: So many times more, or less, than any light makes of an interferometer beside the others is none: calibrations are
#: wrong by less, and sub-images vignetted by less.
IMPOSSIBLE = 2.0


def live_rows(
    device: Characterization, values: Array, noise_std: Array | None, where: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Interferometers that were fitted and tell something; and those that were fitted and do not, ``(row,)``: without
    noise or light, measured in few pixels, stuck at a value, or brighter or dimmer
    than any light makes them.

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
    lit[lit] = ~(_stuck(values[lit]) | _unlike_light(device, np.flatnonzero(lit), values[lit]))
    return np.flatnonzero(lit), np.flatnonzero(usable & ~lit)


def _stuck(values: Array) -> Mask:
    """Interferometers ``(row,)`` that read one value throughout where most do not."""
    shared = values[:, np.isfinite(values).all(axis=0)]
    if shared.shape[1] < 2:
        return np.zeros(len(values), dtype=bool)
    spread = shared.std(axis=1) / shared.mean(axis=1)
    return np.asarray(spread < STUCK * np.median(spread))


def _unlike_light(device: Characterization, rows: NDArray[np.intp], values: Array) -> Mask:
    """Interferometers ``(row,)`` that no light, whatever its spectrum, makes as bright, or dim, beside the others.

    Where an interferometer passes at most r times what those below the upper quartile pass on average, wavelength by
    wavelength, it reads at most r times their average; and at least so with the least r.
    """
    shared = values[:, np.isfinite(values).all(axis=0)]
    if not shared.shape[1]:
        return np.zeros(len(values), dtype=bool)
    level = shared.mean(axis=1)
    others = level <= np.quantile(level, 0.75)
    passes = device.response.rows(rows).matrix(1000 / device.response.wavenumber[::-1])
    average = passes[others].mean(axis=0)
    seen = average > DEAD * average.max()
    ratio, expected = passes[:, seen] / average[seen], level[others].mean()
    bright = level > IMPOSSIBLE * np.maximum(ratio.max(axis=1), 1.0) * expected
    return np.asarray(bright | (level < np.clip(ratio.min(axis=1), 0, 1) / IMPOSSIBLE * expected))
