"""One house style for figures, without pyplot: no global state, no display, no matplotlib at import."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsitools.errors import InputError
from hsitools.io.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe-Ito palette: distinct for colour-blind readers, in this order.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE: dict[Any, Any] = {
    "axes.grid": True, "grid.alpha": 0.25, "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10, "legend.frameon": False, "legend.fontsize": 9,
    "lines.linewidth": 1.4, "image.interpolation": "nearest",
}  # fmt: skip


def new_figure(width: float = 8.0, height: float = 4.5, **grid: Any) -> tuple[Figure, Any]:
    """A figure in the house style and its axes (``grid`` as of ``Figure.subplots``); sizes in inches."""
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "axes.prop_cycle": cycler(color=COLOURS)}):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(**grid)


def png_bytes(figure: Figure, dpi: int = 144) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    # no software version or date inside: the same figure is the same file
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path, dpi: int = 144) -> None:
    """Write the figure as PNG, whole or not at all; raises `InputError` for a name that says otherwise."""
    if Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: output: found suffix {Path(path).suffix!r}, expected .png")
    with atomic_path(path) as temporary:
        temporary.write_bytes(png_bytes(figure, dpi))
