"""One house style for figures, without pyplot: no global state, no display, no matplotlib at import."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsitools.io.atomic import atomic_path
from hsitools.io.outputs import check_suffix

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


def with_unit(what: str, unit: str | None) -> str:
    """A quantity for an axis or a colour bar: ``what / unit``; of a pure number the quantity alone."""
    return what if unit in (None, "", "1") else f"{what} / {unit}"


def legend_below(ax: Any, columns: int = 1) -> None:
    """A legend under an axis and its label, where it hides nothing that is drawn."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns, frameon=False, fontsize=9)


def plain_log_ticks(axis: Any) -> None:
    """Plain numbers on a logarithmic axis (``ax.yaxis``) of what is drawn already, if it spans less than two decades.

    Powers of ten alone would leave such an axis one label or none, and all between them crowd it.
    """
    from math import log10

    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis.axes.autoscale_view()
    low, high = sorted(axis.get_view_interval())
    decades = log10(high / low) if low > 0 else 2.0
    if decades >= 2:
        return
    axis.set_major_locator(MaxNLocator(5) if decades < 1 else LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_image(ax: Any, image: Any, title: str, bar: str | None = None, **settings: Any) -> None:
    """A picture without axes, with a colour bar that says quantity and unit (``bar``) unless it is one of colours.

    ``settings`` are those of ``Axes.imshow``.
    """
    drawn = ax.imshow(image, **{"cmap": "gray", "interpolation": "nearest", **settings})
    ax.set_title(title)
    ax.set_axis_off()
    if bar is not None:
        ax.figure.colorbar(drawn, ax=ax, label=bar, shrink=0.8)


def png_bytes(figure: Figure, dpi: int = 144) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    # no software version or date inside: the same figure is the same file
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | Path, dpi: int = 144) -> None:
    """Write the figure as PNG, whole or not at all; raises `InputError` for a name that says otherwise."""
    check_suffix(path, "picture")
    with atomic_path(path) as temporary:
        temporary.write_bytes(png_bytes(figure, dpi))
