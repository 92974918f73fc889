"""One house style for figures, without pyplot: no global state, no display, no matplotlib at import."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsitools.io.atomic import atomic_path
from hsitools.io.outputs import check_suffix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe-Ito palette: distinct for colour-blind readers, in this order.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
#: Magenta, which hardly anything outdoors has: pixels of a picture file that hold no measurement. As holes they would
#: have the page's colour, that of the brightest ones; figures hatch them.
MISSING = (255, 0, 255)
#: Widths of the middle half of values beyond which one is out of a figure, and how many of these are named.
FAR, NAMED = 8.0, 10
STYLE: dict[Any, Any] = {
    "axes.grid": True, "grid.alpha": 0.25, "grid.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10,
}  # fmt: skip
#: Of legends, unless a figure says otherwise: they are made after the axes, when `STYLE` no longer counts.
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 9}


def new_figure(width: float = 8.0, height: float = 4.5, **grid: Any) -> tuple[Figure, Any]:
    """A figure in the house style and its axes (``grid`` as of ``Figure.subplots``); sizes in inches."""
    import matplotlib
    from cycler import cycler

    figure_class, axes_class = _with_our_legends()
    with matplotlib.rc_context({**STYLE, "axes.prop_cycle": cycler(color=COLOURS)}):
        figure = figure_class(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(**grid, subplot_kw={"axes_class": axes_class})


@cache
def _with_our_legends() -> tuple[Any, Any]:
    """Figures and axes whose legends are of the house style."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    class HouseFigure(Figure):
        def legend(self, *args: Any, **settings: Any) -> Any:
            return super().legend(*args, **{**LEGEND, **settings})

    class HouseAxes(Axes):
        def legend(self, *args: Any, **settings: Any) -> Any:
            return super().legend(*args, **{**LEGEND, **settings})

    return HouseFigure, HouseAxes


def with_unit(what: str, unit: str | None) -> str:
    """A quantity for an axis or a colour bar: ``what / unit``; of a pure number the quantity alone."""
    return what if unit in (None, "", "1") else f"{what} / {unit}"


def legend_below(ax: Any, columns: int = 1) -> None:
    """A legend under an axis and its label, where it hides nothing that is drawn."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns)


def robust_range(low: Any, high: Any | None = None) -> tuple[float, float, Any]:
    """Range of what most values (or intervals from ``low`` to ``high``) take, and which of them reach beyond it.

    One that was not determined, of any size, would leave the others a line. NaN are neither.
    """
    import numpy as np

    low = np.asarray(low, dtype=float)
    high = low if high is None else np.asarray(high, dtype=float)
    known = np.isfinite(low) & np.isfinite(high)
    if not known.any():
        return 0.0, 1.0, np.zeros(low.shape, dtype=bool)
    first, last = np.percentile(low[known], 25), np.percentile(high[known], 75)
    reach = FAR * (last - first) if last > first else np.inf
    out = np.isinf(low) | np.isinf(high) | (known & ((low < first - reach) | (high > last + reach)))
    inside = known & ~out
    return float(low[inside].min()), float(high[inside].max()), out


def limit_to_most(axis: Any, low: Any, high: Any, names: Any) -> None:
    """Limits of an axis (``ax.yaxis``) by `robust_range`, and a line that names those that reach beyond."""
    bottom, top, out = robust_range(low, high)
    if not out.any():
        return
    margin = 0.05 * (top - bottom)
    axis.axes.set(**{f"{axis.axis_name}lim": (bottom - margin, top + margin)})
    named = [str(name) for name, beyond in zip(names, out, strict=True) if beyond]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    axis.axes.annotate(
        f"beyond: {', '.join(named[:NAMED])}{more}", (1, 0), xycoords="axes fraction", xytext=(-4, 4),
        textcoords="offset points", ha="right", va="bottom", fontsize=8, color=COLOURS[1],
    )  # fmt: skip


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


def show_missing(ax: Any) -> None:
    """Hatches pale grey what an image leaves open (NaN, transparent): no colour of any map, nor of a scene."""
    from matplotlib.patches import Rectangle

    behind: dict[str, Any] = {
        "facecolor": "#ededed",
        "edgecolor": "#b5b5b5",
        "hatch": "////",
        "linewidth": 0.0,
        "zorder": -1,
    }
    ax.add_patch(Rectangle((0, 0), 1, 1, transform=ax.transAxes, **behind))


def show_field(ax: Any, valid: Any) -> None:
    """Limit an image's axes to the rows and columns that hold a measurement (``valid``, of y and x) at all."""
    import numpy as np

    rows, columns = (np.flatnonzero(np.any(valid, axis=axis)) for axis in (1, 0))
    if rows.size:
        ax.set(xlim=(columns[0] - 0.5, columns[-1] + 0.5), ylim=(rows[-1] + 0.5, rows[0] - 0.5))


def draw_image(ax: Any, image: Any, title: str, bar: str | None = None, **settings: Any) -> None:
    """A picture without axes, with a colour bar that says quantity and unit (``bar``) unless it is one of colours.

    ``settings`` are those of ``Axes.imshow``; NaN, and what is `MISSING` in pictures, are hatched.
    """
    import numpy as np

    image = np.asarray(image)
    if image.ndim == 3:
        measured = (image[..., :3] != MISSING).any(axis=-1)
        image = np.dstack([image[..., :3], 255 * measured]).astype(np.uint8)
    drawn = ax.imshow(image, **{"cmap": "gray", "interpolation": "nearest", **settings})
    show_missing(ax)
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
