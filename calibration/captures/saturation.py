"""Where pixels of raw frames, or samples of captures, saturate, whatever the file declares."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from calibration.captures.frames import FrameStack
from hsitools.estimation.spread import robust_sigma
from hsitools.sensor.photon.curve import pile_up, quantisation_step

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
log = logging.getLogger(__name__)

#: Side of the patch around each centre that is looked at, pixels: as wide as the window that is averaged by default.
PATCH = 5
#: Pixels whose brightest values come within this share of the brightest pixel's are at the ceiling together: full wells
#: of one detector differ by a few per cent.
CEILING = 0.05
#: Fewest pixels that show a full well: fewer may be hot or wild.
MIN_PIXELS = 8
#: Fewest pixels of one patch that show a full well in two lines, of twenty-five.
MIN_PATCH = 20
#: Neighbouring lines at the same highest value that speak for a ceiling: fringes have one of them, or two by symmetry.
RUN = 3
#: Such runs that a ceiling needs: one may be a slow fringe's broad top, rounded.
LEAST_RUNS = 2
#: Steps of the converter from the ceiling to the samples beside such runs: a rounded top falls by one or two.
STEEP = 4
#: Shares of a row's samples that may be at a full well, the largest first, how much closer they lie then than at the
#: top of a sine, and the fewest samples that tell.
TOPS, CLOSE, LEAST_SAMPLES = (0.5, 0.3, 0.2, 0.1), 0.25, 60
#: Fewest rows that show full wells, where there are so many, and how far the wells of one detector lie apart at most.
LEAST_ROWS, SAME = 3, 0.02
#: Samples beside missing ones that tell whether these were blanked at full scale: how many, how bright the mean one is
#: among its row's (1 is the brightest, a half beside what is missing anywhere), and by how many standard errors, since
#: neighbours are alike. Share of the rows that miss a line from which on the line is what was lost.
LEAST_BESIDE, BRIGHT, BEYOND_CHANCE, LOST_LINE = 20, 0.6, 8.0, 0.9


def saturation_limit(stack: FrameStack, centres: NDArray[np.int64], dark: Array, hot: Mask) -> float:
    """Digital number from which on samples count as saturated; infinite when nothing saturates and nothing is declared.

    A converter cuts values off at one number, which many samples then have. A full well leaves its read noise, and
    differs a little from pixel to pixel: a pixel's brightest values then lie much nearer to one another than photon
    noise lets them, and so do those of all pixels at the ceiling. Looked for around the centres, in frames and flats.

    Parameters
    ----------
    stack : FrameStack
    centres : array of int, shape (interferometer, 2)
        Rows and columns.
    dark : array, shape (y, x)
    hot : array of bool, shape (y, x)
    """
    declared = np.inf if stack.full_scale is None else stack.full_scale
    offsets = np.arange(PATCH) - PATCH // 2
    rows = np.clip(centres[:, 0, None, None] + offsets[:, None], 0, stack.shape[0] - 1)
    columns = np.clip(centres[:, 1, None, None] + offsets, 0, stack.shape[1] - 1)
    usable = ~hot[rows, columns]
    limits = [declared]
    series = ["frames"] + (["flat"] if stack.flat is not None and stack.flat.ndim == 3 else [])
    for name in series:
        read = stack.line if name == "frames" else stack.flat_line
        # (line, interferometer, y, x)
        values = np.stack([np.asarray(read(place))[rows, columns] for place in range(stack.n_lines)])
        told = usable & np.isfinite(values).all(axis=0)
        values = np.where(told, values, 0.0)
        limits += [_cut_off(values, told), _full_well(values, dark[rows, columns], told)]
        if np.isinf(limits[-1]):
            limits.append(_full_well_in_few_lines(values, dark[rows, columns], told))
    limit = float(np.min(limits))
    if limit < declared:
        said = "" if np.isinf(declared) else f", below the full scale of {declared:g} that the file declares"
        log.warning("%s: pixels saturate from %.6g on%s", stack.path, limit, said)
    return limit


def clipping_limit(values: Array, usable: Mask) -> float:
    """Digital number at which frames of one scene are cut off; infinite when they are not, or hold no noise to tell by.

    Parameters
    ----------
    values : array, shape (frame, interferometer, y, x)
    usable : array of bool, shape (interferometer, y, x)
        Pixels that are not hot.
    """
    if not usable.any():
        return np.inf
    samples = values[:, usable]
    step = quantisation_step(samples.ravel()[:: max(1, samples.size // 65536)])
    # a bright even object without noise holds one number, too: from frame to frame, or pixel to pixel of one frame
    pairs = (samples[:-1], samples[1:]) if len(values) > 1 else (samples[:, :-1], samples[:, 1:])
    brighter = np.maximum(*pairs)
    middle, highest = float(np.median(samples)), float(samples.max())
    bright = (brighter < highest) & (brighter > np.minimum(middle, highest / 2))
    noise = float(np.median(np.abs(pairs[1] - pairs[0])[bright])) if bright.any() else 0.0
    return _cut_off(values, usable) if noise > 0 and noise >= step else np.inf


def clipped_samples(intensity: Array, mask: Mask) -> Mask:
    """Samples ``(interferometer, line)`` of a capture that were cut off, at one number for all or at one for each row.

    Whoever makes a table of intensities may not mark them. Told by plateaus: runs of equal highest values.
    """
    out = np.zeros_like(mask)
    if not mask.any():
        return out
    step = quantisation_step(intensity[mask])
    out = mask & (intensity >= _ceiling(intensity, mask, step))
    for row in np.flatnonzero(mask.any(axis=1) & ~out.any(axis=1)):
        one = slice(row, row + 1)
        out[row] = mask[row] & (intensity[row] >= _ceiling(intensity[one], mask[one], step))
    return out


def full_wells(intensity: Array, mask: Mask) -> Array:
    """Values from which on samples of each row lie at a ceiling that is not at one number, ``(row,)``; infinite: none.

    A full well is read with noise, and so is the mean of several. Told by how close to one another the brightest
    samples lie, beside the row's middle half: of a sine, which dwells at its top longest, they lie four times as far
    apart. In several runs, as many fringes have tops: one may be broad.
    """
    out = np.full(len(intensity), np.inf)
    for row in np.flatnonzero(mask.sum(axis=1) >= LEAST_SAMPLES):
        values = intensity[row, mask[row]]
        low, high, top = np.quantile(values, (0.25, 0.75, 0.99))
        for share in TOPS:
            edge = float(np.quantile(values, 1 - share))
            # where three quarters are at the ceiling no middle half is left: the darker quarter stands for it
            middle = max(high - low, edge - low)
            full = values >= edge
            runs = int(full[0]) + int((full[1:] & ~full[:-1]).sum())
            sine = (np.cos(0.01 * np.pi) - np.cos(share * np.pi)) / np.sqrt(2)
            if runs > LEAST_RUNS and top - edge < CLOSE * sine * middle:
                plateau = values[full]
                out[row] = float(np.median(plateau) - 4 * robust_sigma(plateau - np.median(plateau)))
                break
    found = np.isfinite(out)
    if found.sum() < min(LEAST_ROWS, len(out)):
        return np.full(len(out), np.inf)
    usual, highest = float(np.median(out[found])), float(np.max(intensity, where=mask, initial=0.0))
    if highest - usual < SAME * highest:
        # of one detector, which nothing passes: rows that reach it at few lines do not show it by themselves
        out = np.where(np.abs(out - usual) < SAME * highest, out, usual)
    return out


def blanked_samples(intensity: Array, flat: Array, mask: Mask) -> Mask:
    """Missing samples ``(interferometer, line)`` that whoever made the table blanked where they saturated.

    Told by what is left beside them: the brightest samples of their rows, in light and beside the flat field.
    """
    lit = np.asarray(mask.any(axis=1))
    none = np.zeros_like(mask)
    if not lit.any():
        return none
    missing = ~mask & lit[:, None] & (np.mean(~mask[lit], axis=0) < LOST_LINE)
    beside = np.zeros_like(mask)
    beside[:, 1:] |= missing[:, :-1]
    beside[:, :-1] |= missing[:, 1:]
    beside &= mask
    if beside.sum() < LEAST_BESIDE:
        return none
    for light in (intensity, intensity / flat):
        place = np.argsort(np.argsort(np.where(mask, light, np.inf), axis=1), axis=1) + 0.5
        above = float((place / np.maximum(mask.sum(axis=1, keepdims=True), 1))[beside].mean()) - 0.5
        # a uniform number has the variance 1/12
        if above < max(BRIGHT - 0.5, BEYOND_CHANCE / np.sqrt(12 * beside.sum())):
            return none
    return missing


def filled_flat(flat: Array, mask: Mask) -> Array:
    """A flat field where samples are missing: the shape that interferometers share, brought to each by its own."""
    lit, seen = mask.any(axis=1), mask.any(axis=0)
    known = np.where(mask, flat, np.nan)[lit]
    shape = np.ones(flat.shape[1])
    shape[seen] = np.nanmedian((known / np.nanmean(known, axis=1, keepdims=True))[:, seen], axis=0)
    out, places = flat.copy(), np.arange(flat.shape[1])
    for row in np.flatnonzero(lit & ~mask.all(axis=1)):
        use = mask[row]
        out[row, ~use] = (shape * np.interp(places, places[use], (flat[row] / shape)[use]))[~use]
    return out


def ceiling_of(values: Array, mask: Mask) -> float:
    """The one value at which samples ``(row, line)`` of all rows are cut off; infinite when there is none."""
    return _ceiling(values, mask, quantisation_step(values[mask])) if mask.any() else np.inf


def _ceiling(values: Array, mask: Mask, step: float) -> float:
    """The value at which samples ``(row, line)`` are cut off; infinite when there is none."""
    # rows that are constant, as without noise at an OPD of zero, tell nothing
    highest = np.max(values, axis=1, keepdims=True, where=mask, initial=-np.inf)
    mask = mask & (mask & (values < highest)).any(axis=1, keepdims=True)
    # against the two steps below alone: a fringe's top has few samples farther down
    value = pile_up(values[mask], step, 0.0) if mask.any() else None
    if value is None:
        return np.inf
    full = mask & (values >= value)
    runs = np.asarray(np.lib.stride_tricks.sliding_window_view(full, RUN, axis=1).all(axis=2))
    if int(runs[:, 0].sum() + (runs[:, 1:] & ~runs[:, :-1]).sum()) < LEAST_RUNS:
        return np.inf
    # fringes run into a ceiling at a slope; beside the broad top of a slow one lies the next number
    ends = np.zeros_like(full)
    ends[:, RUN:] |= runs[:, :-1]
    ends[:, :-RUN] |= runs[:, 1:]
    beside = mask & ~full & ends
    return value if beside.any() and np.median(value - values[beside]) > STEEP * step else np.inf


def _cut_off(values: Array, usable: Mask) -> float:
    """The value at which samples pile up; infinite when there is none."""
    samples = values[:, usable]
    if not samples.size:
        return np.inf
    step = quantisation_step(samples.ravel()[:: max(1, samples.size // 65536)])
    near = np.abs(np.diff(values, axis=3))[:, usable[..., 1:] & usable[..., :-1]]
    value = pile_up(samples, step, float(np.median(near)) if near.size else 0.0)
    return np.inf if value is None else value


def _full_well(values: Array, dark: Array, usable: Mask) -> float:
    """The value that stays below the plateaus of full wells; infinite when pixels show none."""
    lines = len(values)
    count = max(5, lines // 50)
    if lines < 4 * count:
        return np.inf
    ordered = np.partition(values, (lines - count, lines - 1), axis=0)
    top, least = ordered[lines - 1], ordered[lines - count]
    if usable.sum() < MIN_PIXELS:
        return np.inf
    # the brightest pixels, a few wild ones set aside
    ceiling = np.sort(least[usable])[-max(MIN_PIXELS // 2, 1)]
    room = ceiling - float(np.median(dark[usable]))
    at_ceiling = usable & (least > ceiling - CEILING * room)
    noise = _photon_noise(values - dark, usable, 0.8 * room)
    if noise is None or at_ceiling.sum() < MIN_PIXELS:
        return np.inf
    spread = top - least
    flat_topped = spread < 0.5 * np.sqrt(noise * np.maximum(least - dark, 0))
    if flat_topped[at_ceiling].mean() < 0.5:
        return np.inf
    plateau = least[at_ceiling & flat_topped]
    wells = float(robust_sigma(plateau - np.median(plateau)))
    return float(np.median(plateau) - 4 * np.hypot(wells, np.median(spread[at_ceiling & flat_topped])))


def _full_well_in_few_lines(values: Array, dark: Array, usable: Mask) -> float:
    """As `_full_well`, of wells that are full in two to four lines: too few for one pixel, enough for a patch together.

    In its two brightest lines the pixels of a patch hold the same twice when they are full; light would differ by
    photon noise in each of them. Twenty squares of such differences are a quarter of their expectation once in 10⁵.
    """
    noise = _photon_noise(values - dark, usable, float(np.max(values[:, usable], initial=0.0)))
    if noise is None or len(values) < 4:
        return np.inf
    count = usable.sum(axis=(1, 2))
    mean = np.where(usable, values - dark, 0).sum(axis=(2, 3)) / np.maximum(count, 1)
    rows = np.arange(len(count))
    first, second = (values[line, rows] for line in np.argsort(mean, axis=0)[-2:])
    light = np.maximum((first + second) / 2 - dark, 0)
    expected = np.where(usable, 2 * noise * light, 0).sum(axis=(1, 2))
    difference = np.where(usable, first - second, 0)
    full = (count >= MIN_PATCH) & ((difference**2).sum(axis=(1, 2)) < 0.25 * expected)
    # the brightest light there is: a dim patch whose lamp was still is no full well
    level = np.where(full, np.where(usable, light, 0).sum(axis=(1, 2)) / np.maximum(count, 1), 0)
    full &= level > (1 - CEILING) * mean.max()
    if not full.any():
        return np.inf
    plateau = np.minimum(first, second)[full][usable[full]]
    wells = float(robust_sigma(plateau - np.median(plateau)))
    return float(np.median(plateau) - 4 * np.hypot(wells, np.median(np.abs(difference[full][usable[full]]))))


def _photon_noise(light: Array, usable: Mask, highest: float) -> float | None:
    """Variance per digital number of light below ``highest``, from how neighbouring pixels differ from line to line.

    Neighbours see the same fringe, but at other angles of incidence: what their difference does slowly along the lines
    is left out, and the quieter pairs count. None when there are too few samples.
    """
    first, second = light[..., :-1], light[..., 1:]
    both = usable[..., 1:] & usable[..., :-1]
    sum_first, sum_second = first.sum(axis=0), second.sum(axis=0)
    both &= (sum_first > 0) & (sum_second > 0)
    ratio = np.where(both, sum_first / np.where(both, sum_second, 1), 1.0)
    difference = first - ratio * second
    rapid = difference[1:-1] - (difference[:-2] + difference[2:]) / 2
    level = (first + ratio * second)[1:-1] / 2
    counts = both & (level > 0.1 * highest) & (level < highest)
    # half the difference's variance, which the second difference along the lines makes half as large again
    relative = np.where(counts, rapid**2 / (3 * np.maximum(level, 1e-300)), np.nan)
    enough = counts.sum(axis=0) >= 5
    if enough.sum() < MIN_PIXELS:
        return None
    # the median of squared Gaussian numbers is .4549 of their mean
    pairs = np.nanmedian(relative[:, enough], axis=0) / 0.4549
    return float(np.quantile(pairs, 0.2))
