"""Curves of a training: losses and other measures over epochs or steps, as CSV and as a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hsitools.io.atomic import atomic_path


def save_curve(path: str | Path, columns: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    """Write one row for each evaluation as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def draw_curves(
    path: str | Path, columns: Sequence[str], rows: Sequence[Sequence[float]], kept: int, title: str
) -> None:  # fmt: skip
    """Draw losses over the first column, epochs or steps; ``kept`` is that whose weights were kept."""
    from hsitools.plot import new_figure, save_figure

    figure, axes = new_figure(7, 4)
    place, *losses = np.array(rows, dtype=float).T
    for name, values in zip(columns[1:], losses, strict=True):
        # with a dot, or a single row would show nothing
        axes.plot(place, values, marker=".", label=name.removesuffix("_loss").replace("_", " "))
    axes.axvline(kept, color="grey", linewidth=0.8, label="kept")
    axes.set(xlabel=columns[0], ylabel="loss", yscale="log", title=title)
    axes.legend()
    save_figure(figure, Path(path))
