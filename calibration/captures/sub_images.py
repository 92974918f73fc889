"""Find the grid of sub-images from the frames themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.plot import COLOURS, new_figure
from hsitools.sensor.layout import SubImageLayout

Array = NDArray[np.float64]

#: Smallest sub-image that is looked for, pixels: a window of five and a margin.
MIN_PITCH = 8.0
#: A grid's strongest period holds at least this share of the variance of the frame's profile: discs at a regular pitch
#: give it most, noise next to nothing.
MIN_SHARE = 0.2
#: Width and height of the frame in its figure at most, inches: those of a page.
LARGEST = (9.0, 10.0)


def find_layout(frame: Array, order: str = "column-snake") -> SubImageLayout:
    """Grid of sub-images from the mean frame.

    Sub-images are bright discs at a regular pitch: the profiles along y and x are periodic, their spectra peak at the
    pitch and its harmonics, and the phase of the fundamental says where the discs' centres are.

    Parameters
    ----------
    frame : array, shape (y, x)
        Mean frame (or mean flat frame), dark subtracted or not.
    order : str
        How the interferometer index runs, which no frame tells (see `SubImageLayout`).

    Raises
    ------
    InputError
        When no periodic grid is found.
    """
    clipped = np.minimum(frame, np.percentile(frame, 99.5))
    axes = []
    for axis, name in ((1, "y"), (0, "x")):
        spots = _periodic_centres(clipped.mean(axis=axis))
        if spots is None:
            raise InputError(f"frames: grid along {name}: found no period, expected a regular grid of sub-images")
        axes.append(spots)
    (first_y, pitch_y, count_y), (first_x, pitch_x, count_x) = axes
    return SubImageLayout(
        frame_shape=(frame.shape[0], frame.shape[1]),
        grid=(count_y, count_x),
        pitch=(pitch_y, pitch_x),
        origin=(first_y, first_x),
        order=order,
    )


def _periodic_centres(profile: Array) -> tuple[float, float, int] | None:
    """First centre, pitch and count of the bright spots along a profile; None without a clear period."""
    n = len(profile)
    lit = np.flatnonzero(profile > profile.min() + 0.1 * np.ptp(profile))
    if len(lit) < 2 * MIN_PITCH:
        return None
    # away from the dark margins the profile is periodic about its mean
    inside = slice(lit[0], lit[-1] + 1)
    place = np.arange(n)[inside]
    window = np.hanning(len(place))
    centred = (profile[inside] - profile[inside].mean()) * window
    frequencies = np.arange(1.5 / len(place), 1 / MIN_PITCH, 0.05 / len(place))
    if not len(frequencies):
        return None

    def power(f: Array) -> Array:
        return np.asarray(np.abs(np.exp(-2j * np.pi * f[:, None] * place) @ centred) ** 2)

    coarse = power(frequencies)
    peak = frequencies[coarse.argmax()]
    # share of the profile's variance in this one line: most of it for discs, next to nothing for noise
    full = (centred**2).sum() * window.sum() ** 2 / (2 * (window**2).sum())
    if coarse.max() < MIN_SHARE * full:
        return None
    # a pitch that fills the period poorly can have its strongest line at a harmonic: prefer the fundamental
    for divisor in (3, 2):
        if peak / divisor > frequencies[0] and power(np.array([peak / divisor]))[0] > 0.2 * coarse.max():
            peak = peak / divisor
            break
    fine = peak + np.linspace(-1, 1, 401) * 0.5 / len(place)
    frequency = float(fine[power(fine).argmax()])
    pitch = 1 / frequency
    phase = float(np.angle(np.exp(-2j * np.pi * frequency * place) @ centred))
    first = (-phase / (2 * np.pi * frequency)) % pitch
    centres = np.arange(first, n, pitch)
    # a centre counts when light surrounds it: within half a disc of the lit range
    good = (centres > lit[0] + 0.2 * pitch) & (centres < lit[-1] - 0.2 * pitch)
    if not good.any():
        return None
    return float(centres[good][0]), float(pitch), int(good.sum())


def layout_figure(frame: Array, layout: SubImageLayout) -> Any:
    """The grid and the first and last interferometers drawn over the frame, for checking by eye."""
    from matplotlib.patches import Rectangle

    tall = frame.shape[0] / frame.shape[1]
    width = min(LARGEST[0], LARGEST[1] / tall)
    # not narrower than the title
    figure, axes = new_figure(max(width, LARGEST[0] / 2), width * tall + 1)
    axes.grid(False)
    low, high = np.percentile(frame, [1, 99])
    axes.imshow(frame, cmap="gray", vmin=low, vmax=high)
    centres = layout.centres()
    for corner in centres[:, ::-1] - np.divide(layout.pitch[::-1], 2):
        axes.add_patch(Rectangle(corner, layout.pitch[1], layout.pitch[0], fill=False, color=COLOURS[0], lw=0.6))
    y, x = centres.T
    axes.plot(x, y, "-", color=COLOURS[1], lw=0.6, alpha=0.7, label="order of the interferometers")
    axes.plot(x, y, "+", color=COLOURS[1], ms=4)
    for number in (0, len(centres) - 1):
        axes.annotate(str(number), (x[number], y[number]), color=COLOURS[1], fontsize=11, ha="center", va="bottom")
    rows, columns = layout.grid
    axes.set(
        xlabel="x / pixel", ylabel="y / pixel",
        title=f"{rows}×{columns} sub-images, {layout.order}\npitch {layout.pitch[0]:.2f}×{layout.pitch[1]:.2f} pixels",
    )  # fmt: skip
    # beside the frame: sub-images reach into every corner of it
    figure.legend(loc="outside lower center")
    return figure
