"""Figures of a benchmark: errors over wavelength; images and error maps as small PNGs."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsitools.plot import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Curves that get a colour; the others are grey in the background.
COLOURED = len(COLOURS) - 1
ERROR_MAP = "inferno"


def error_curves(
    curves: dict[str, NDArray[Any]], wavelength_nm: NDArray[Any] | None, *, what: str, baseline: str = "EXP"
) -> Figure:
    """Root-mean-square error of each band.

    Parameters
    ----------
    curves : dict of str to array, shape (band,)
        By method, the best first: these get the colours.
    wavelength_nm : array, shape (band,), or None
        None: band numbers.
    what : str
        What the error is, for the axis.
    baseline : str
        Method drawn in black.
    """
    figure, ax = new_figure(9.0, 3.8)
    bands = len(next(iter(curves.values())))
    place = np.arange(bands, dtype=float) if wavelength_nm is None else wavelength_nm
    order = np.argsort(place)
    # a straight line over bands that the instrument lacks would be read as a measurement
    x = place[order]
    gaps = np.flatnonzero(np.diff(x) > 5 * np.median(np.diff(x))) + 1 if bands > 2 else np.array([], dtype=int)
    named = [name for name in curves if name != baseline][:COLOURED]
    for name in [*(n for n in reversed(curves) if n not in named and n != baseline), baseline, *reversed(named)]:
        if name not in curves:
            continue
        style: dict[str, Any] = {"color": "0.8", "lw": 0.8}
        if name == baseline:
            style = {"color": "black", "lw": 1.2, "ls": "--", "label": name}
        elif name in named:
            style = {"color": COLOURS[named.index(name)], "label": name}
        ax.plot(np.insert(x, gaps, np.nan), np.insert(curves[name][order], gaps, np.nan), **style)
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1, 1))
    ax.set(xlabel="band" if wavelength_nm is None else "wavelength / nm", ylabel=what)
    ax.set_ylim(bottom=0)
    return figure


def image_png(image: NDArray[np.uint8]) -> bytes:
    """``(y, x, 1)`` or ``(y, x, 3)`` of 0 to 255 as a PNG of the same size."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    colours = image if image.shape[-1] == 3 else np.repeat(image, 3, axis=-1)
    # no software version inside: the same image is the same file
    metadata: Any = {"Software": None}
    imsave(buffer, colours, format="png", metadata=metadata)
    return buffer.getvalue()


def error_png(error: NDArray[Any], top: float) -> bytes:
    """A map of errors from 0 (black) to ``top`` (bright) as a PNG of the same size; grey where there is none."""
    from matplotlib import colormaps

    colours = colormaps[ERROR_MAP](np.clip(error / top, 0, 1), bytes=True)[..., :3]
    return image_png(np.where(np.isfinite(error)[..., None], colours, np.uint8(128)))


def detail_window(pan: NDArray[Any], side: int) -> tuple[int, int]:
    """(y, x) of the first pixel of the square with the strongest gradients: where methods differ."""
    image = pan.astype(float)
    strength = np.zeros_like(image)
    strength[:-1] += np.abs(np.diff(image, axis=0))
    strength[:, :-1] += np.abs(np.diff(image, axis=1))
    total = np.pad(strength.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    height, width = (min(side, size) for size in image.shape)
    sums = total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]
    y, x = np.unravel_index(np.argmax(sums), sums.shape)
    return int(y), int(x)
