"""Figures of a fused cube and of its error bars, for reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hsitools.cube import Cube
from hsitools.figures import quicklook
from hsitools.plot import COLOURS, draw_image, new_figure, with_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def error_bars(cube: Cube, pan: Cube, fused: Cube, std: Cube | None = None) -> tuple[Figure, float | None]:
    """Cube, PAN and fused cube side by side; with a standard deviation its map in one band, and a pixel's interval.

    Parameters
    ----------
    cube, pan, fused : Cube
    std : Cube, optional
        Of the fused cube, in its units.

    Returns
    -------
    (Figure, float or None)
        And the root mean square of the standard deviation over that of the signal, all measured voxels.
    """
    if std is None:
        figure, axes = new_figure(12, 4.2, ncols=3)
    else:
        figure, axes = new_figure(15, 3.6, ncols=5, width_ratios=[1, 1, 1, 1, 1.5])
    draw_image(axes[0], quicklook(cube), "spectra")
    draw_image(axes[1], pan.physical().read()[0], "panchromatic", with_unit("value", pan.units))
    draw_image(axes[2], quicklook(fused), "fused")
    if std is None:
        return figure, None
    values, spread = fused.read().astype(float), std.read().astype(float)
    known = np.isfinite(values) & np.isfinite(spread)
    bands = np.flatnonzero(known.any((1, 2)))
    # the band of the median error
    level = np.array([np.sqrt(np.mean(spread[band][known[band]] ** 2)) for band in bands])
    band = int(bands[np.argsort(level)[len(bands) // 2]])
    image = spread[band]
    top = float(np.nanpercentile(image, 98))
    bar = with_unit("standard deviation", fused.units)
    draw_image(axes[3], image, f"standard deviation, {_named(fused, band)}", bar, cmap="inferno", vmin=0, vmax=top)
    y, x = values.shape[1] // 2, values.shape[2] // 2
    _interval(axes[4], fused.wavelength_nm, values[:, y, x], spread[:, y, x])
    axes[4].set(title=f"pixel ({y}, {x}), 95 % interval", ylabel=with_unit("value", fused.units))
    return figure, float(np.sqrt(np.mean(spread[known] ** 2) / np.mean(values[known] ** 2)))


def _named(cube: Cube, band: int) -> str:
    return f"band {band}" if cube.wavelength_nm is None else f"{cube.wavelength_nm[band]:.0f} nm"


def _interval(ax: Any, wavelength_nm: Any, value: Any, spread: Any) -> None:
    place = np.arange(len(value), dtype=float) if wavelength_nm is None else np.asarray(wavelength_nm)
    order = np.argsort(place)
    low, high = value - 1.96 * spread, value + 1.96 * spread
    ax.fill_between(place[order], low[order], high[order], color=COLOURS[0], alpha=0.3, lw=0)
    ax.plot(place[order], value[order], color=COLOURS[0], lw=1.0)
    ax.set(xlabel="band" if wavelength_nm is None else "wavelength / nm")
