"""Where no light falls: between the sub-images of a frame and beyond their grid.

There a frame reads what its dark frames do, whatever the scene: dark frames of another exposure show, and so do
frames that lie elsewhere than the instrument's layout says.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.estimation.spread import robust_sigma
from hsitools.sensor.layout import SubImageLayout

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
log = logging.getLogger(__name__)

#: Samples below the dark level of which there are more than this are no noise about zero, which are half of it.
TOO_DARK = 0.75
#: Pixels around sub-images that a lens's blur and displaced sub-images still light.
CLEAR = 2
#: Fewest pixels that tell the level without light.
LEAST_PIXELS = 64
#: Level without light, as a share of the light inside the sub-images, from which it is said: below the dark frames
#: nothing but wrong ones is, above them there is also stray light.
BELOW, ABOVE = 0.01, 0.05
#: Share of the light that wrong dark frames may take off: from there on spectra would be wrong by as much.
MOST = 0.1
#: Standard errors of the level that it must differ by.
SIGMA = 5.0
#: Lines between sub-images are lit with this share of the light, and others by that share of them, where sub-images
#: lie elsewhere. Less than `LEAST_SHIFT` pixels are the layout's rounding.
LIT, UNLIT, LEAST_SHIFT = 0.3, 0.1, 2


def unlit_pixels(layout: SubImageLayout) -> Mask:
    """Pixels ``(y, x)`` of a frame that no sub-image reaches; none where too few are left."""
    reach = layout.image_size / 2 + CLEAR
    far: list[Mask] = []
    for axis in (0, 1):
        centres = layout.origin[axis] + layout.pitch[axis] * np.arange(layout.grid[axis])
        away = np.abs(np.arange(layout.frame_shape[axis])[:, None] - centres)
        far.append(np.asarray((away > reach).all(axis=1)))
    unlit = np.asarray(far[0][:, None] | far[1])
    return unlit if unlit.sum() >= LEAST_PIXELS else np.zeros_like(unlit)


def check_dark(light: Array, unlit: Array, where: str, name: str) -> None:
    """Say, or refuse, dark frames that do not read what the frames do without light.

    Parameters
    ----------
    light : array, shape (sample,)
        Inside the sub-images, the dark taken off.
    unlit : array, shape (pixel,)
        Of `unlit_pixels`, the dark taken off; NaN, or none, where nothing is known of it.
    where, name : str
        The dark frames, and those that they are taken off, for messages.

    Raises
    ------
    InputError
        When they are brighter than most of the light, or than the frames between sub-images by more than `MOST` of it.
    """
    below = float((light < 0).mean()) if light.size else 0.0
    if below > TOO_DARK and light.mean() < 0:
        raise InputError(
            f"{where}: found brighter than the {name} at {100 * below:.0f} % of the samples, expected dark frames of "
            "the same exposure"
        )
    _check_unlit(unlit, float(light.mean()) if light.size else 0.0, where, name)


def _check_unlit(level: Array, light: float, where: str, name: str) -> None:
    """`check_dark` by the level of pixels without light, and the mean of those that have some."""
    level = level[np.isfinite(level)]
    if len(level) < LEAST_PIXELS:
        return
    middle = float(np.median(level))
    # what the frames would hold over a dark that reads as they do
    light -= middle
    if not light > 0:
        return
    share = middle / light
    if abs(middle) < SIGMA * float(robust_sigma(level - middle)) / len(level) ** 0.5:
        return
    if share < -BELOW:
        said = (
            f"found {-middle:.4g} above the {name} where no light falls, between the sub-images "
            f"({-100 * share:.2g} % of the light), expected dark frames of the same exposure"
        )
        if share < -MOST:
            raise InputError(f"{where}: {said}")
        log.warning("%s: %s", where, said)
    # sub-images may reach farther than told: the darkest quarter counts
    elif (dim := float(np.quantile(level, 0.25))) > ABOVE * light:
        log.warning(
            "%s: found %.4g below the %s where no light falls, between the sub-images (%.2g %% of the light): stray "
            "light, or dark frames of another exposure or unit",
            where, dim, name, 100 * dim / light,
        )  # fmt: skip


def check_place(frame: Array, layout: SubImageLayout, where: str) -> None:
    """Raise `InputError` where sub-images lie elsewhere than a layout says.

    The lines between sub-images, and beside the outermost ones, are dark. Where light falls on those of the layout, and
    on none of others so many pixels beside them, the whole grid lies there. A scene that is black there is told by the
    grid's end, beyond which no sub-image reaches unless all are displaced.

    Parameters
    ----------
    frame : array, shape (y, x)
        Dark taken off; NaN where not measured.
    layout : SubImageLayout
    where : str
        For the message.
    """
    for axis, name in enumerate("yx"):
        shift = _displacement(frame if axis == 0 else frame.T, layout, axis)
        if shift:
            raise InputError(
                f"{where}: found the sub-images {abs(shift)} pixels {'beyond' if shift > 0 else 'before'} their places "
                f"along {name}, expected them where the instrument's layout says"
            )


def _displacement(frame: Array, layout: SubImageLayout, axis: int) -> int:
    """Pixels by which the grid lies further along the first axis of a frame; 0 where nothing tells."""
    ends = []
    for one in (axis, 1 - axis):
        half = (layout.pitch[one] - 1) / 2
        last = layout.origin[one] + (layout.grid[one] - 1) * layout.pitch[one]
        ends.append((layout.origin[one] - half, last + half))
    across = slice(max(0, int(np.ceil(ends[1][0]))), int(ends[1][1]) + 1)
    part = frame[:, across]
    measured = np.isfinite(part)
    profile = np.where(measured, part, 0).sum(axis=1) / np.maximum(measured.sum(axis=1), 1)
    places = np.arange(len(profile))
    grid = (places > ends[0][0]) & (places < ends[0][1])
    light = float(profile[grid].mean())
    half = int(layout.pitch[axis] // 2)
    shifts = np.arange(-half, half + 1)
    between = layout.origin[axis] + (np.arange(layout.grid[axis] + 1) - 0.5) * layout.pitch[axis]
    lines = np.rint(between).astype(int)[:, None] + shifts
    inside = (lines >= 0) & (lines < len(profile))
    seen = np.where(inside, profile[np.clip(lines, 0, len(profile) - 1)], 0.0).sum(axis=0)
    seen = seen / np.maximum(inside.sum(axis=0), 1)
    shift = int(shifts[seen.argmin()])
    if not light > 0 or not seen[half] > LIT * light or seen.min() > UNLIT * seen[half] or abs(shift) < LEAST_SHIFT:
        return 0
    # beyond the outermost sub-image, on the side to which the grid is displaced; the next line it may reach itself
    beside = lines[-1 if shift > 0 else 0, half] + int(np.sign(shift))
    if not 0 <= beside < len(profile) or not profile[beside] > LIT * light:
        return 0
    return shift
