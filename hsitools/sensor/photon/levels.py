"""Whether flat frames can be of the dark frames' detector, in their unit, and of enough levels of light."""

from __future__ import annotations

import numpy as np

from hsitools.errors import InputError
from hsitools.sensor.photon.curve import Points, quantisation_step
from hsitools.sensor.photon.frames import Level

#: Steps of the darks' and of the flats' values that differ by more than rounding are those of two units, where both
#: take so many values that the step shows: noise of a few codes may skip some.
SAME_STEP, MIN_CODES = 1.5, 16
#: A level below the darks by so many standard deviations of a pixel's dark noise is no drift of an offset.
BELOW_DARK = 10.0
#: Frames of one level whose light differs by this factor are of several levels: lamps drift and flicker by less.
ONE_LEVEL = 1.5
#: Share of photons' noise that is in the covariances with neighbours from which on it is said, where so many standard
#: deviations of chance do not make it.
SHARED, SHARED_SIGMA = 0.04, 6.0


def require_one_unit(dark: Level, levels: list[Level]) -> None:
    """Raise `InputError` where the flats' values are stored in other steps than the darks'."""
    flat = np.concatenate([level.sample for level in levels])
    if min(len(np.unique(sample)) for sample in (dark.sample, flat)) < MIN_CODES:
        return
    steps = quantisation_step(dark.sample), quantisation_step(flat)
    if min(steps) > 0 and max(steps) > SAME_STEP * min(steps):
        raise InputError(
            f"flat: found values in steps of {steps[1]:.4g}, expected {steps[0]:.4g} as the dark frames': flat and "
            "dark frames are to be in one unit (DN)"
        )


def require_light(points: Points, zero_error: float) -> None:
    """Raise `InputError` where a level is far below the darks, or not even the brightest is above them."""
    lit = points.level >= 0
    if not lit.any():
        return
    # light may be uneven, or none between sub-images: a level counts by its brightest pixels
    brightest = {
        int(level): float(points.signal[points.level == level].max()) for level in np.unique(points.level[lit])
    }
    noise = float(points.variance[~lit].max(initial=0.0)) ** 0.5
    number, darkest = min(brightest.items(), key=lambda item: item[1])
    if max(brightest.values()) <= 0 or darkest < -BELOW_DARK * noise - zero_error:
        raise InputError(
            f"flat level {number}: found it {-darkest:.6g} DN below the dark frames, expected light above them: are "
            "dark and flat frames exchanged, or in different units?"
        )


def notes_on_levels(dark: Level, levels: list[Level], points: Points) -> tuple[str, ...]:
    """What to say where levels of light do not show whether the curve is straight."""
    notes = []
    for number, level in enumerate(levels):
        light = level.frame_mean - dark.frame_mean.mean()
        if light.min() > 0 and light.max() > ONE_LEVEL * light.min():
            notes.append(
                f"flat level {number}: the light of its frames differs by a factor of {light.max() / light.min():.3g}: "
                "several levels? say which frame is of which (level)"
            )
    if len(np.unique(points.level[points.level >= 0])) == 1:
        notes.append(
            f"the line rests on one level of light and the dark ({len(points.signal) - 2} degrees of freedom): nothing "
            "tells whether the response is linear, expected several levels"
        )
    shared, chance = _shared_by_photons(dark, [levels[int(one)] for one in np.unique(points.level) if one >= 0])
    if shared > max(SHARED, SHARED_SIGMA * chance):
        notes.append(
            f"neighbouring pixels share photons' noise (covariances with the eight around are {shared:.2f} of its "
            "variance), as where charge crosses over or frames were resampled: the gain is told "
            f"{1 + shared:.2f} times too large"
        )
    return tuple(notes)


def _shared_by_photons(dark: Level, lit: list[Level]) -> tuple[float, float]:
    """Covariance of a pixel's noise with its eight neighbours', by as much as light makes of it, over the variance that
    light makes; and what chance makes of it.
    """
    none, *light = (float(np.median(level.pair_variance)) for level in (dark, *lit))
    grown = sum(light) - len(lit) * none
    covariance = sum(value * level.beside for value, level in zip(light, lit, strict=True))
    # four products, each twice; neighbouring pairs have a frame in common
    single = 4 * 2**2 * 3 / 2 / dark.mean.size
    chance = sum(value**2 / level.pairs for value, level in zip(light, lit, strict=True))
    chance += (len(lit) * none) ** 2 / dark.pairs
    grown = max(grown, 1e-300)
    return (covariance - len(lit) * none * dark.beside) / grown, (single * chance) ** 0.5 / grown
