"""Figures of a cube before and after: images and residuals, spectra, indices of every band."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoise.comparison.before_after import Comparison
from hsitools.errors import InputError
from hsitools.estimation.spread import robust_sigma
from hsitools.io.atomic import atomic_path
from hsitools.plot import COLOURS, new_figure, plain_log_ticks, save_figure, show_missing, with_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
#: Percentiles between which an image is stretched, and at most so many robust deviations from the median: or a bright
#: island would leave dark water black.
STRETCH, REACH = (1.0, 99.0), 6.0


def write(comparison: Comparison, folder: str | Path) -> list[Path]:
    """Write the figures and ``NAME_numbers.json`` into a folder (made if need be); gives their paths."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: out: cannot make the folder ({error.strerror})") from None
    stem = re.sub(r"[^\w.-]+", "_", f"{comparison.name}_{comparison.method}")
    made = {
        "images": images_figure(comparison),
        "spectra": spectra_figure(comparison),
        "indices": indices_figure(comparison),
    }
    paths = [folder / f"{stem}_{name}.png" for name in made]
    for path, figure in zip(paths, made.values(), strict=True):
        save_figure(figure, path)
    paths.append(folder / f"{stem}_numbers.json")
    with atomic_path(paths[-1]) as temporary:
        temporary.write_text(json.dumps(comparison.numbers(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths


def images_figure(comparison: Comparison) -> Figure:
    """Before, after (same stretch) and residual of the bands that are shown."""
    height, width = comparison.before.shape[1:]
    tall = float(np.clip(3.3 * height / width, 1.6, 5.0))
    figure, axes = new_figure(
        12.5, (tall + 0.35) * len(comparison.shown), nrows=len(comparison.shown), ncols=3, squeeze=False
    )
    for row, band in zip(axes, comparison.shown, strict=True):
        before, after = comparison.before[band], comparison.after[band]
        residual = before - after
        low, high = stretch(before)
        # the strongest two percent are outliers as a rule, and would hide the rest
        reach = float(np.nanpercentile(np.abs(residual), 98)) or 1.0
        item = comparison.structure[band]
        noise = comparison.chance[band]
        titles = (
            f"{comparison.band_name(band)}: before", "after",
            f"residual: edges {_two(item.edges)} ({_two(noise.edges)}),\nexplained {_two(item.explained)} "
            f"({_two(noise.explained)}), smooth {item.smooth:.1f} ({noise.smooth:.1f})",
        )  # fmt: skip
        for ax, image, title in zip(row, (before, after, residual), titles, strict=True):
            limits = {"vmin": -reach, "vmax": reach, "cmap": "RdBu_r"} if image is residual else {
                "vmin": low, "vmax": max(high, low + 1e-12), "cmap": "gray"}  # fmt: skip
            shown = ax.imshow(image, **limits)
            show_missing(ax)
            ax.set_title(title, fontsize=9)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.grid(False)
            figure.colorbar(shown, ax=ax, shrink=0.85, label=with_unit("value", comparison.units))
    figure.suptitle(f"{comparison.name} by {comparison.method} (in brackets: noise alone)")
    return figure


def _two(number: float) -> str:
    """Two digits, zero without a sign."""
    return f"{round(number, 2) + 0.0:.2f}"


def stretch(image: Array) -> tuple[float, float]:
    """Values that are shown black and white."""
    low, middle, high = np.nanpercentile(image, [STRETCH[0], 50, STRETCH[1]])
    reach = REACH * float(robust_sigma((image - middle)[np.isfinite(image)]))
    if reach > 0:
        low, high = max(low, middle - reach), min(high, middle + reach)
    return float(low), float(high)


def spectra_figure(comparison: Comparison) -> Figure:
    """Spectra of a bright and a dark pixel, before and after, and what was taken away."""
    figure, axes = new_figure(12.5, 7.0, nrows=2, ncols=2, sharex=True)
    place = np.arange(len(comparison.use)) if comparison.wavelength_nm is None else comparison.wavelength_nm
    order = np.argsort(place)
    for row, (name, (y, x)) in zip(axes, typical_pixels(comparison).items(), strict=True):
        before, after = (
            np.where(comparison.use, cube[:, y, x], np.nan)[order] for cube in (comparison.before, comparison.after)
        )
        row[0].plot(place[order], before, color="0.6", lw=1.8, label="before")
        row[0].plot(place[order], after, color=COLOURS[0], lw=1.0, label="after")
        row[0].set(title=f"{name} pixel, row {y}, column {x}", ylabel=with_unit("value", comparison.units))
        row[0].legend(loc="best")
        row[1].plot(place[order], before - after, color=COLOURS[1], lw=0.9)
        row[1].set(title="before − after")
    for ax in axes[-1]:
        ax.set_xlabel("band" if comparison.wavelength_nm is None else "wavelength / nm")
    figure.suptitle(f"{comparison.name} by {comparison.method}")
    return figure


def typical_pixels(comparison: Comparison) -> dict[str, tuple[int, int]]:
    """A bright and a dark pixel (y, x): those nearest to the 95th and 5th percentile of mean brightness."""
    brightness = comparison.after[comparison.use].mean(0)
    out = {}
    for name, percent in (("bright", 95), ("dark", 5)):
        target = np.nanpercentile(brightness, percent)
        place = int(np.nanargmin(np.abs(brightness - target)))
        y, x = np.unravel_index(place, brightness.shape)
        out[name] = (int(y), int(x))
    return out


def indices_figure(comparison: Comparison) -> Figure:
    """Noise and stripe index of every band, before and after."""
    figure, axes = new_figure(11.0, 7.0, nrows=2, sharex=True)
    place = np.arange(len(comparison.use)) if comparison.wavelength_nm is None else comparison.wavelength_nm
    order = np.argsort(place)
    labels = {"noise": with_unit("noise", comparison.units), "stripes": "stripe ratio (1: none)"}
    for ax, (name, (before, after)) in zip(axes, comparison.indices.items(), strict=True):
        ax.plot(place[order], before[order], color="0.6", label="before")
        ax.plot(place[order], after[order], color=COLOURS[0], label="after")
        ax.set(ylabel=labels[name], yscale="log")
        plain_log_ticks(ax.yaxis)
        ax.legend(loc="best")
    axes[-1].set_xlabel("band" if comparison.wavelength_nm is None else "wavelength / nm")
    figure.suptitle(f"{comparison.name} by {comparison.method}")
    return figure
