"""From the statistics of frames to a detector: zero of the signal, saturation, the curve, response and defects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hsitools.errors import InputError
from hsitools.sensor.flat_field import relative_response
from hsitools.sensor.photon.curve import (
    MAX_BEND,
    STRAIGHT_CHANCE,
    Line,
    Points,
    below_saturation,
    fit_line,
    pile_up,
    pooled_variance,
    quantisation_step,
    rounding_uncertainty,
)
from hsitools.sensor.photon.frames import Level, level_statistics
from hsitools.sensor.photon.levels import notes_on_levels, require_light, require_one_unit
from hsitools.sensor.photon.pixels import (
    charge_notes,
    dark_nonuniformity,
    mean_light,
    mosaic_of,
    narrow_notes,
    odd_pixels,
    response_spread,
    steady_pixels,
)
from hsitools.sensor.photon.result import PhotonTransfer

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Share of pixels that may touch zero in the dark before the noise must be taken as clipped.
MAX_AT_ZERO = 0.05
#: Pixels whose mean comes so many standard deviations of noise near the full scale lose noise to it.
CLIP_SIGMA = 5.0
#: Wells differ: where full ones show, response is told from pixels filled to this share.
NEAR_WELL = 0.93
#: Share of pixels that may exceed a full scale, or a value where pixels pile up, without disproving it.
EXCEED = 0.002
#: Pixels of a level are taken together where they see about the same light: in so many groups.
STRATA = 8
#: Fewest pixels of a point of the curve, and usable samples in all.
MIN_PIXELS, MIN_SAMPLES = 20, 100
#: A term is there when it exceeds so many of its standard errors; errors hold what it may be from fewer on.
SIGNIFICANT, LIKELY = 4.0, 2.5


def analyse(
    dark_frames: Iterable[NDArray[Any]],
    flat_frames: Iterable[Iterable[NDArray[Any]]],
    full_scale: float,
    dark_exposure_s: Iterable[float] | None,
    progress: Callable[[int], None] | None,
) -> PhotonTransfer:
    """See `hsitools.sensor.photon.transfer.photon_transfer`."""
    times = None if dark_exposure_s is None else np.asarray(list(dark_exposure_s), dtype=float)
    dark, levels, steady = _statistics(dark_frames, flat_frames, times, progress)
    require_one_unit(dark, levels)
    step = quantisation_step(np.concatenate([level.sample for level in (dark, *levels)]))
    limit, notes = _full_scale(levels, steady, step, full_scale)
    zero, line, points, usable, saturation = _curve(dark, levels, steady, step, limit, times)
    notes += zero.notes + saturation.notes
    line, noise_notes = _checked(line, points, step)
    notes += (*noise_notes, *notes_on_levels(dark, levels, points))
    gain, (read, read_error) = 1 / line.slope, _read_noise(line)
    if float(points.rounding.max()) > line.covariance[1, 1] ** 0.5 / 2:
        notes += ("the dark noise hides in the converter's steps (below .4 DN): the read noise is uncertain",)
    notes += charge_notes(zero.rate, zero.charge, float(points.signal.max())) + narrow_notes(dark.mean.shape)
    light, light_noise, line_noise = mean_light(dark, levels, usable, zero.image, zero.charge, line)
    mosaic = mosaic_of(light, light_noise, steady)
    if mosaic is not None:
        light, light_noise, line_noise = (image / mosaic for image in (light, light_noise, line_noise))
        notes += (f"the response repeats every 2×2 pixels, down to {mosaic.min() / mosaic.max():.2f} of the largest: a "
                  "colour mosaic? PRNU and defects are told within each of the four",)  # fmt: skip
    response, undetermined, leverage, rim = relative_response(light, light_noise, steady)
    relative_noise = light_noise * np.abs(response) / np.maximum(np.abs(light), 1e-300)
    odd = odd_pixels(response, relative_noise)
    defects = ~steady | odd
    good = ~defects & ~undetermined & ~rim
    slope_error = float(line.covariance[0, 0]) ** 0.5 / line.slope
    prnu, prnu_error = response_spread(response, light, relative_noise, line_noise, leverage, good, slope_error)
    if mosaic is not None:
        response = response * mosaic
    dark_spread, dark_spread_error = dark_nonuniformity(dark, steady, step)
    current = current_error = None
    if zero.rate is not None:
        current = gain * zero.rate
        current_error = float(np.hypot(gain * zero.rate_error, current * slope_error))
    return PhotonTransfer(
        gain=float(gain), gain_stderr=float(line.covariance[0, 0] ** 0.5 * gain**2), read_noise=read,
        read_noise_stderr=read_error, dark_level=float(np.median(dark.mean)), dark_spread=dark_spread, prnu=prnu,
        full_scale=float(saturation.value), signal=points.signal, variance=points.variance,
        variance_stderr=points.error(points.variance, line.slope),
        response=np.where(defects & ~(response > 0), 0.0, np.where(np.isfinite(response), response, 1.0)),
        dark=dark.mean, defects=defects, undetermined=undetermined & ~defects, step=step, prnu_stderr=prnu_error,
        dark_spread_stderr=dark_spread_error, dark_current=current,
        dark_charge=float(gain * zero.charge), dark_current_stderr=current_error,
        line_noise=float(gain * dark.line_variance**0.5), chi2=line.chi2, degrees_of_freedom=line.freedom,
        clipped_levels=saturation.levels, notes=notes,
    )  # fmt: skip


# ---- frames ----------------------------------------------------------------------------------------------------


def _statistics(
    dark_frames: Iterable[NDArray[Any]], flat_frames: Iterable[Iterable[NDArray[Any]]], times: Array | None,
    progress: Callable[[int], None] | None,
) -> tuple[Level, list[Level], Mask]:  # fmt: skip
    """Statistics of the dark and of each level, and the pixels that behave in the dark."""
    dark = level_statistics(dark_frames, "dark", groups=times)
    if dark.count < 2:
        raise InputError(f"dark: found {dark.count}, expected at least two frames")
    if times is not None and len(times) != dark.count:
        raise InputError(f"dark: exposure: found {len(times)} times, expected {dark.count}, one a frame")
    if dark.pairs == 0:
        raise InputError("dark: exposure: found no two frames of one exposure, expected repeated ones")
    at_zero = float(np.mean(dark.low <= 0)) if dark.low.min() == 0 else 0.0
    if at_zero > MAX_AT_ZERO:
        raise InputError(
            f"dark: found {at_zero:.0%} of the pixels reaching zero, expected an offset above the read noise: "
            "clipped noise cannot be measured"
        )
    steady = steady_pixels(dark)
    levels = []
    for number, frames in enumerate(flat_frames):
        level = level_statistics(frames, f"flat level {number}", steady)
        if level.count and level.mean.shape != dark.mean.shape:
            raise InputError(f"flat: found frames of {level.mean.shape}, expected {dark.mean.shape} as the dark ones")
        if level.count < 2:
            raise InputError(f"flat level {number}: found {level.count}, expected at least two frames")
        # a mean in single precision is good to a hundredth of the step of 16 bits
        levels.append(replace(level, mean=level.mean.astype(np.float32)))
        if progress is not None:
            progress(number + 1)
    if not levels:
        raise InputError("flat: found no frames, expected at least one level")
    return dark, levels, steady


# ---- saturation ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Saturation:
    """Where pixels saturate (DN), the levels where some do, and the words for it."""

    value: float
    levels: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def _full_scale(levels: list[Level], steady: Mask, step: float, declared: float) -> tuple[float, tuple[str, ...]]:
    """The value at which pixels clip: where they pile up, else as declared unless pixels exceed it."""
    peaks = [level.peak[steady] for level in levels]

    def exceeded(value: float) -> bool:
        above = sum(int((peak > value + step / 2).sum()) for peak in peaks)
        return above > EXCEED * sum(peak.size for peak in peaks) / len(peaks) + 1

    found = []
    for level, peak in zip(levels, peaks, strict=True):
        if peak.size:
            value = pile_up(peak, step, float(np.median(level.variance[steady])) ** 0.5)
            if value is not None and not exceeded(value):
                found.append(value)
    top = max((float(peak.max()) for peak in peaks if peak.size), default=0.0)
    notes: tuple[str, ...] = ()
    if np.isfinite(declared) and exceeded(declared):
        notes += (f"full scale: found {declared:g} DN declared, but pixels up to {top:.6g}: not used",)
        declared = float("inf")
    limit = min([declared, *found])
    if found and np.isfinite(declared) and limit < declared - step:
        notes += (f"full scale: found {declared:g} DN declared, but pixels clip at {limit:.6g}",)
    return limit, notes


def _usable(level: Level, steady: Mask, limit: float, step: float, zero: Array, line: Line | None) -> Mask:
    """Pixels of a level that saturation leaves alone, noise included."""
    if not np.isfinite(limit):
        return steady
    below = steady & (level.peak < limit - step / 2)
    if line is not None:
        noise = line.at(level.mean - zero)
    elif below.any():
        noise = np.array(pooled_variance(level.variance[below], level.pairs, step))
    else:
        return below
    return steady & (level.mean + CLIP_SIGMA * np.sqrt(noise + step**2) < limit)


def _curve(
    dark: Level, levels: list[Level], steady: Mask, step: float, limit: float, times: Array | None
) -> tuple[_Zero, Line, Points, list[Mask], Saturation]:
    """The line below saturation, with the zero of its signal, the usable pixels of each level, and what saturates."""
    strata = _strata(dark, levels, steady)
    zero = _dark_zero(dark, times, None)
    line: Line | None = None
    for _ in range(3):
        usable = [_usable(level, steady, limit, step, zero.image, line) for level in levels]
        samples = sum(int(mask.sum()) for mask in usable)
        if samples < MIN_SAMPLES:
            full = [str(number) for number, mask in enumerate(usable) if not mask.any()]
            where = f" ({limit:.6g} DN, which level {', '.join(full)} reaches)" if full else ""
            raise InputError(f"flat: found {samples} usable samples, expected at least 100 below full scale{where}")
        points = _points(dark, levels, usable, strata, zero, steady, step, line)
        require_light(points, zero.error)
        line, kept = below_saturation(points, step, zero.error)
        zero = _dark_zero(dark, times, line)
    points = _points(dark, levels, usable, strata, zero, steady, step, line)
    line, kept = below_saturation(points, step, zero.error)
    saturation = _saturation(levels, steady, step, limit, points, kept)
    for number, group in zip(points.level[~kept], points.group[~kept], strict=True):
        usable[number] = usable[number] & (strata != group)
    if not kept.all():
        # pixels of other groups may have reached their wells as well
        usable = [mask & (level.mean - zero.image < NEAR_WELL * (saturation.value - zero.image))
                  for mask, level in zip(usable, levels, strict=True)]  # fmt: skip
    return zero, line, points.select(kept), usable, saturation


def _saturation(levels: list[Level], steady: Mask, step: float, limit: float, points: Points, kept: Mask) -> Saturation:
    notes: list[str] = []
    clipped = set()
    for number, level in enumerate(levels):
        share = float((level.peak[steady] >= limit - step / 2).mean())
        if share * steady.sum() >= 5:
            clipped.add(number)
            amount = "all" if share > 0.995 else f"{100 * share:.2g} %"
            notes.append(f"flat level {number}: {amount} of the pixels clip at {limit:.6g} DN, left out")
    if not kept.all():
        fallen = sorted(int(number) for number in np.unique(points.level[~kept]) if number not in clipped)
        if fallen:
            # not of levels at a known ceiling: one frame of several may be full
            open_ended = ~kept & np.isin(points.level, fallen)
            mean = levels[int(points.level[open_ended][points.signal[open_ended].argmax()])].mean[steady]
            # wells differ a little: the typical one of those at the top
            limit = min(limit, float(np.median(mean[mean > 0.97 * np.quantile(mean, 0.99)])))
        for number in fallen:
            notes.append(f"flat level {number}: pixels saturate at about {limit:.6g} DN (their noise falls), left out")
        clipped |= set(fallen)
    return Saturation(value=limit, levels=tuple(sorted(clipped)), notes=tuple(notes))


# ---- the curve -------------------------------------------------------------------------------------------------


def _strata(dark: Level, levels: list[Level], steady: Mask) -> NDArray[np.int8]:
    """Groups of pixels that see about the same light, by the median of their surroundings.

    A pixel's own noisy mean must not choose its group: it is not independent of its variance.
    """
    light = np.sum([level.mean - dark.mean for level in levels], axis=0)
    smooth = ndimage.median_filter(light, 5, mode="nearest") if min(light.shape) >= 5 else light * 0 + np.median(light)
    chosen = smooth[steady]
    if not chosen.size:
        return np.zeros(light.shape, dtype=np.int8)
    low, high = np.quantile(chosen, [0.02, 0.98])
    if high <= 1.2 * max(low, 0.0) or chosen.size < 2 * STRATA * MIN_PIXELS:
        return np.zeros(light.shape, dtype=np.int8)
    edges = np.quantile(chosen, np.linspace(0, 1, STRATA + 1)[1:-1])
    return np.searchsorted(edges, smooth).astype(np.int8)


def _points(
    dark: Level, levels: list[Level], usable: list[Mask], strata: NDArray[np.int8], zero: _Zero, steady: Mask,
    step: float, line: Line | None,
) -> Points:  # fmt: skip
    """Points of the curve; ``line`` is a first one, which says what is no noise where light is uneven."""
    variance = pooled_variance(dark.variance[steady], dark.pairs, step)
    spread = max(float(np.var(dark.mean[steady])) - variance / dark.count, 0.0) ** 0.5
    rounding = rounding_uncertainty(variance, spread, step, dark.count * int(steady.sum()))
    if variance < 0.25 * step**2:
        # few pixels, those whose mean lies between two codes, show the noise
        rounding = float(np.hypot(rounding, dark.variance[steady].std() / steady.sum() ** 0.5))
    rows = [(zero.charge, variance, int(steady.sum()), dark, -1, 0, 0.0, rounding)]
    for number, (level, mask) in enumerate(zip(levels, usable, strict=True)):
        for group in range(STRATA):
            chosen = mask & (strata == group)
            count = int(chosen.sum())
            if count >= MIN_PIXELS:
                light = np.asarray(level.mean[chosen] - zero.image[chosen], dtype=float)
                expected = None if line is None else line.at(light) + step**2 / 12
                variance = pooled_variance(level.variance[chosen], level.pairs, step, expected)
                uneven = max(float(light.var()) - variance / level.count, 0.0)
                rows.append((float(light.mean()), variance, count, level, number, group, uneven, 0.0))
    rows.sort(key=lambda row: row[0])
    signal, variances, pixels, source, numbers, groups, unevenness, roundings = zip(*rows, strict=True)
    return Points(
        signal=np.array(signal), variance=np.array(variances), pixels=np.array(pixels, dtype=float),
        freedom=np.array([level.freedom for level in source]),
        pairs=np.array([level.pairs for level in source], dtype=float), level=np.array(numbers), group=np.array(groups),
        unevenness=np.array(unevenness), rounding=np.array(roundings),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class _Zero:
    """What is subtracted from a pixel's value to have the charge that it collected.

    ``image`` (y, x) DN; ``charge`` that the mean dark frame holds, DN; ``error`` of the zero, DN; dark current DN/s.
    """

    image: Array
    charge: float = 0.0
    error: float = 0.0
    rate: float | None = None
    rate_error: float = 0.0
    notes: tuple[str, ...] = ()


def _dark_zero(dark: Level, times: Array | None, line: Line | None) -> _Zero:
    """The zero of the signal, from how the dark frames' level changes.

    Where the exposures are known, charge grows with them. Where they are not, charge has photon noise of its own: dark
    frames whose noise grows with their level as the curve says hold charge, others an electronic offset that drifts.
    """
    means = dark.frame_mean
    pixels, lines = dark.mean.size, min(dark.mean.shape)
    # where hardly a pixel leaves its code, the few that do are all the noise there is
    few = np.minimum(dark.variance, max(np.quantile(dark.variance, 0.98), quantisation_step(dark.sample) ** 2)).mean()
    variance = max(float(np.median(dark.pair_variance)), float(few))
    noise = (variance / pixels + dark.line_variance / lines) ** 0.5
    if times is not None and np.ptp(times) > 0:
        centred = times - times.mean()
        rate = float(centred @ means / (centred @ centred))
        scatter = means - means.mean() - rate * centred
        error = max(noise, float((scatter @ scatter / max(len(means) - 2, 1)) ** 0.5)) / float(centred @ centred) ** 0.5
        charge = rate * float(times.mean())
        return _Zero(
            image=dark.mean - charge, charge=charge, error=error * float(times.mean()), rate=rate, rate_error=error
        )
    move = float(np.ptp(means))
    # what would still show nowhere: a tenth of a frame's noise
    if move < max(8 * noise, 0.1 * float(np.median(dark.pair_variance)) ** 0.5, 1e-9 * abs(means[0])):
        return _Zero(image=dark.mean)
    said = f"dark: the frames' mean moves from {means.min():.6g} to {means.max():.6g} DN"
    charge = float(dark.pair_mean.mean() - means.min())
    if line is not None and line.slope > 0 and len(dark.pair_mean) > 1:
        offset = dark.pair_mean - dark.pair_mean.mean()
        growth = float(offset @ dark.pair_variance / max(offset @ offset, 1e-300))
        expected = float(np.median(dark.pair_variance)) * (2 / dark.mean.size) ** 0.5
        error = expected / max(float(offset @ offset), 1e-300) ** 0.5
        if growth > 0.5 * line.slope and growth > SIGNIFICANT * error:
            return _Zero(
                image=dark.mean - charge, charge=charge,
                notes=(f"{said} and their noise grows with it: several exposures? read noise is that of the shortest; "
                       "say exposure_s for the dark current",),
            )  # fmt: skip
    return _Zero(
        image=dark.mean, error=move, notes=(f"{said}, their noise does not: the offset drifts, or exposures differ",)
    )


def _checked(line: Line, points: Points, step: float) -> tuple[Line, tuple[str, ...]]:
    """The line where it is straight, its covariance widened by what it is not; refused where it bends."""
    if not line.slope > 3 * line.covariance[0, 0] ** 0.5:
        raise InputError("flat: found no growth of the noise with the light, expected photon noise")
    top = float(points.signal.max())
    if abs(line.bend) > LIKELY * line.bend_error:
        if abs(line.bend) > max(MAX_BEND, SIGNIFICANT * line.bend_error):
            raise InputError(
                f"flat: found a curve that bends, by {line.bend:+.1%} ± {line.bend_error:.1%} of the photon noise at "
                f"{top:.6g} DN above dark, expected a straight line: leave out levels where the response is not linear"
            )
        # a parabola's line is as steep as it is half-way
        covariance = line.covariance + np.diag([(line.slope * line.bend / 2) ** 2, 0])
        said = f"the curve bends by {line.bend:+.2%} of the photon noise at its end: the gain's error holds it"
        return replace(line, covariance=covariance), (said,)
    if line.chance < STRAIGHT_CHANCE:
        clean = fit_line(points, step)
        expected = clean.at(points.signal)
        worst = int(points.level[np.abs((points.variance - expected) / points.error(expected, line.slope)).argmax()])
        name = "the dark" if worst < 0 else f"flat level {worst}"
        scatter = line.chi2 / line.freedom
        said = (f"points scatter {scatter**0.5:.1f} times more than noise lets them (χ² {line.chi2:.4g} for "
                f"{line.freedom}), most in {name}: errors are widened by it")  # fmt: skip
        return replace(line, covariance=line.covariance * scatter), (said,)
    return line, ()


def _read_noise(line: Line) -> tuple[float, float]:
    """Electrons, and the standard error with what gain and intercept share."""
    variance = max(line.intercept, 0.0)
    noise = variance**0.5
    if noise == 0:
        return 0.0, float(line.covariance[1, 1] ** 0.25 / line.slope)
    change = np.array([-noise / line.slope**2, 1 / (2 * noise * line.slope)])
    return noise / line.slope, float(max(change @ line.covariance @ change, 0.0) ** 0.5)
