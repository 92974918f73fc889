"""Raw monochromator frames to a capture: the intensity at the centre of every sub-image, line by line."""

from __future__ import annotations

import logging
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.captures.frames import FrameStack
from calibration.captures.saturation import saturation_limit
from calibration.captures.sub_images import find_layout
from calibration.captures.unlit import check_dark, check_place, unlit_pixels
from hsitools.errors import InputError
from hsitools.estimation.spread import robust_sigma
from hsitools.progress import Progress
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.photon.curve import quantisation_step
from hsitools.text import counted

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: A pixel is hot when its dark level leaves the median by this many robust standard deviations: the levels of good
#: pixels have wide tails, and a pixel that is dropped without need costs a twenty-fifth of one sample.
HOT_SIGMA = 12.0
#: A sample needs this share of its window's pixels: the median of fewer may be that of one corner.
MIN_SHARE = 0.5


def extract(
    stack: FrameStack,
    layout: SubImageLayout | None = None,
    *,
    window: int = 5,
    percentile: float = 50.0,
    opd_step_um: float | None = None,
    progress: Progress | None = None,
) -> MonochromaticCapture:
    """Extract a capture from raw frames, one frame in memory at a time.

    Parameters
    ----------
    stack : FrameStack
    layout : SubImageLayout, optional
        Found from the frames when not given.
    window : int
        Side of the square window around each centre, pixels, odd.
    percentile : float
        Of the window's valid pixels: the centre spot's intensity. The median (50) is unbiased under noise; the captures
        published with IRCA used 98.
    opd_step_um : float, optional
        Nominal OPD step, µm, kept with the capture.
    progress : callable, optional
        Called with (lines done, lines in all).

    Returns
    -------
    MonochromaticCapture
        Dark subtracted; hot pixels left out of the windows; samples masked that have too few pixels, or that saturate
        (these are marked, and at their window's ceiling) or whose flat does: saturated pixels are the brightest of
        their window, whose median stays what it is while they are fewer than half. The neighbourhood is NaN where any
        pixel is saturated. Saturation is found where pixels pile up or a full well quiets them, also below the full
        scale that the file declares.

    Raises
    ------
    InputError
        When the layout does not match the frames, dark frames are brighter than these, or the window is not odd and
        positive, or larger than a sub-image.

    Examples
    --------
    >>> import numpy as np
    >>> from calibration import FrameStack, simulated_bench
    >>> rng = np.random.default_rng(0)
    >>> instrument = simulated_bench.simulate_instrument(4, rng=rng, rows=2)
    >>> simulated_bench.write_frames("frames.h5", instrument, simulated_bench.lines(9), rng=rng)
    >>> extract(FrameStack("frames.h5"), instrument.layout).intensity.shape
    (4, 9)
    """
    require_window(window)
    if not 0 <= percentile <= 100:
        raise InputError(f"percentile: found {percentile:g}, expected 0 to 100")
    dark, hot = dark_frame(stack)
    if layout is None:
        layout = find_layout(stack.mean() - dark)
        log.info("%s: found %d×%d sub-images, pitch %.2f×%.2f px", stack.path, *layout.grid, *layout.pitch)
    if tuple(layout.frame_shape) != tuple(stack.shape):
        raise InputError(
            f"{stack.path}: frames: found {stack.shape[0]}×{stack.shape[1]} pixels, expected "
            f"{layout.frame_shape[0]}×{layout.frame_shape[1]} as the device file says"
        )
    if window > min(layout.pitch):
        raise InputError(
            f"window: found {counted(window, 'pixel')}, "
            f"expected at most {min(layout.pitch):.0f}, the pitch of the sub-images: "
            "beyond it lie the neighbours"
        )
    centres = np.rint(layout.centres()).astype(int)
    half = window // 2
    offsets = np.arange(-half, half + 1)
    rows = centres[:, 0, None, None] + offsets[:, None]
    columns = centres[:, 1, None, None] + offsets
    inside = (rows >= 0) & (rows < stack.shape[0]) & (columns >= 0) & (columns < stack.shape[1])
    rows, columns = np.clip(rows, 0, stack.shape[0] - 1), np.clip(columns, 0, stack.shape[1] - 1)
    shape = (len(centres), stack.n_lines)
    intensity, neighbourhood, flat = np.zeros(shape), np.zeros(shape), np.ones(shape)
    saturated, mask = np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool)
    limit = saturation_limit(stack, centres, dark, hot)
    good = inside & ~hot[rows, columns]
    # what no pixel of a window reads above the dark: there the light is cut off at one number, whichever pixel decides
    ceiling = np.where(good, limit - dark[rows, columns], np.inf).min(axis=(1, 2))
    # of all lines: where no light falls, and where it should
    whole, whole_flat = np.zeros(stack.shape), np.full(stack.shape, np.nan if stack.flat is None else 0.0)
    seen: dict[bytes, int] = {}
    copies = 0
    for place in range(stack.n_lines):
        frame = stack.line(place)
        first = seen.setdefault(blake2b(frame.tobytes()).digest(), place)
        if first != place and np.ptp(frame) > 0:
            copies, pair = copies + 1, tuple(1000 / stack.wavenumber[[first, place]])
        whole += frame / stack.n_lines
        raw = frame[rows, columns]
        usable = good & np.isfinite(raw)
        value, mean, enough, full = _windows(raw - dark[rows, columns], usable, percentile, ceiling)
        intensity[:, place] = value
        neighbourhood[:, place] = np.where(((raw >= limit) & usable).any(axis=(1, 2)), np.nan, mean)
        saturated[:, place] = full
        mask[:, place] = enough & ~full
        flat_frame = stack.flat_line(place)
        if flat_frame is not None:
            whole_flat += flat_frame / stack.n_lines
            flat_raw = flat_frame[rows, columns]
            usable = good & np.isfinite(flat_raw)
            bright, _, flat_enough, full = _windows(flat_raw - dark[rows, columns], usable, 50.0, ceiling)
            flat[:, place] = np.where(flat_enough & ~full, bright, np.nan)
            mask[:, place] &= ~full
            # without its flat a sample is no ceiling of its row either
            saturated[:, place] &= flat_enough & ~full
        if progress is not None:
            progress(place + 1, stack.n_lines)
    if copies:
        log.warning(
            "%s: frames: found %s to repeat that of another line number by number (the last at %.6g and %.6g nm), "
            "expected one of each line's own: noise repeats no frame",
            stack.path, counted(copies, "frame"), *pair,
        )  # fmt: skip
    unlit = unlit_pixels(layout) & ~hot & (stack.dark is not None)
    for name, samples, mean in (("frames", intensity, whole), ("flat", flat, whole_flat)):
        check_dark(samples[mask & np.isfinite(samples)], (mean - dark)[unlit], f"{stack.path}: dark", name)
    whole = np.where(hot, np.nan, whole - dark)
    check_place(whole, layout, f"{stack.path}: frames")
    return MonochromaticCapture(
        intensity=intensity, flat=flat, wavenumber=stack.wavenumber, mask=mask, neighbourhood=neighbourhood,
        index=np.arange(len(centres)), saturated=saturated, opd_step_um=opd_step_um, layout=layout,
        name=stack.path.stem, source=str(stack.path),
    )  # fmt: skip


def require_window(window: int) -> None:
    """Raise `InputError` for a window without a middle."""
    if window < 1 or window % 2 == 0:
        raise InputError(f"window: found {window}, expected an odd number of pixels")


def dark_frame(stack: FrameStack) -> tuple[Array, NDArray[np.bool_]]:
    """Median dark frame and hot-pixel map; zeros and no hot pixel when there are no dark frames."""
    if stack.dark is None:
        log.warning("%s: no dark frames: none subtracted, hot pixels not known", stack.path)
        return np.zeros(stack.shape), np.zeros(stack.shape, dtype=bool)
    return dark_level(np.asarray(stack.dark, dtype=float))


def dark_level(frames: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Median of dark frames ``(n, y, x)`` or ``(y, x)``, and where it leaves the others': hot pixels.

    Where no dark frame holds a number, the level is the median of all and the pixel counts as hot.
    """
    unknown = ~np.isfinite(frames) if frames.ndim == 2 else ~np.isfinite(frames).any(axis=0)
    if unknown.all():
        raise InputError("dark: found no finite number, expected digital numbers")
    if np.isfinite(frames).all():
        dark = frames if frames.ndim == 2 else np.median(frames, axis=0)
    else:
        frames = np.where(np.isfinite(frames), frames, np.nan)
        whole = frames if frames.ndim == 2 else np.nanmedian(np.where(unknown, 0.0, frames), axis=0)
        dark = np.where(unknown, np.median(whole[~unknown]), whole)
    middle = np.median(dark)
    known = np.ravel(frames)[: 1 << 16]
    # medians of a few whole numbers are mostly one number: no pixel is known to better than the converter's rounding
    rounding = quantisation_step(known[np.isfinite(known)]) / 12**0.5
    spread = max(float(np.hypot(robust_sigma(dark - middle), rounding)), 1e-9 * float(np.abs(middle)))
    return dark, (np.abs(dark - middle) > HOT_SIGMA * spread) | unknown


def mean_dark(frames: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Mean of dark frames ``(n, y, x)`` or ``(y, x)`` and hot pixels, as `dark_level`.

    The mean is less noisy than the median, and taken where no frame is struck (by a cosmic ray) or without a number.
    """
    median, hot = dark_level(frames)
    if frames.ndim == 2:
        return median, hot
    with np.errstate(invalid="ignore"):
        mean = frames.mean(axis=0)
        away = mean - median
        sane = np.isfinite(away)
        spread = float(robust_sigma(away[sane])) if sane.any() else 0.0
        return np.where(np.abs(away) <= HOT_SIGMA * spread, mean, median), hot


def _windows(
    values: Array, valid: NDArray[np.bool_], percentile: float, ceiling: Array
) -> tuple[Array, Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Percentile and mean of each window's valid pixels, ``(interferometer,)``; whether there are enough, and saturate.

    A percentile that reaches its window's ceiling is that: what saturated pixels would read decides there.
    """
    n = len(values)
    flat_values, flat_valid = values.reshape(n, -1), valid.reshape(n, -1)
    count = flat_valid.sum(axis=1)
    enough = count >= MIN_SHARE * flat_values.shape[1]
    # percentile of a varying number of valid pixels: sort with the others at the end, interpolate by place
    ordered = np.sort(np.where(flat_valid, flat_values, np.inf), axis=1)
    place = percentile / 100 * np.maximum(count - 1, 0)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    at = np.arange(n)
    bottom = np.where(enough, ordered[at, low], 0.0)
    top = np.where(enough, ordered[at, high], 0.0)
    full = enough & (np.where(place > low, top, bottom) >= ceiling)
    mean = np.where(flat_valid, flat_values, 0).sum(axis=1) / np.maximum(count, 1)
    return np.where(full, ceiling, bottom + (place - low) * (top - bottom)), mean, enough, full
