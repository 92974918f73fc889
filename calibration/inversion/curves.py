"""Curves over wavelength on the grid of an inversion: the light on a scene, the calibration lamp's radiance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import FormatError, InputError
from hsitools.io.tables import read_table

Array = NDArray[np.float64]


def curve(path: str | Path, wavelength_nm: Array, what: str, *, centred: bool = False) -> Array:
    """A table of two columns, wavelength (nm, or as its head says) and value, on a grid, see `on_grid`.

    Raises
    ------
    FormatError
        When the file is missing or no table of numbers.
    InputError
        When it does not cover the grid, or has values that are not positive.
    """
    table = read_table(path, what, columns=2)
    values = table.values[:, 0]
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise FormatError(
            f"{path}: {what}: found {values[place]} at {table.wavelength_nm[place]:g} nm, expected finite numbers"
        )
    order = np.argsort(table.wavelength_nm)
    return on_grid(table.wavelength_nm[order], values[order], wavelength_nm, f"{path}: {what}", centred=centred)


def curve_units(path: str | Path) -> str | None:
    """Units that a table's head tells of its values, in brackets: ``nm, radiance (W m-2 sr-1 nm-1)``; None without."""
    return read_table(path, "lamp", columns=2).units


def on_grid(
    known_nm: Array, values: Array, wavelength_nm: Array, where: str, *, centred: bool = False
) -> Array:  # fmt: skip
    """Values on a grid, of curves finer than it the mean over what each sample stands for.

    At a grid's ends samples stand for one side of them only. There the mean is what light adds up to, but not the value
    at the sample: with ``centred`` it is taken there along the curve's slope.

    Raises `InputError` when they do not cover it, are not positive there, or two differ at one wavelength.
    """
    # half a sample of the grid is no reason to refuse
    slack = 0.5 * float(np.diff(wavelength_nm).max())
    if known_nm[0] > wavelength_nm[0] + slack or known_nm[-1] < wavelength_nm[-1] - slack:
        raise InputError(
            f"{where}: found {known_nm[0]:g} to {known_nm[-1]:g} nm, expected to cover {wavelength_nm[0]:g} to "
            f"{wavelength_nm[-1]:g} nm"
        )
    _require_one_light(known_nm, values, wavelength_nm, where)
    out = np.interp(wavelength_nm, known_nm, values)
    # lines of a lamp or of the sun between two samples are light that the spectra hold, and those at one are not all
    inside = (known_nm > wavelength_nm[0]) & (known_nm < wavelength_nm[-1])
    if inside.sum() > 2 * len(wavelength_nm):
        out = _hat_means(known_nm, values, wavelength_nm)
        if centred:
            centre = _hat_means(wavelength_nm, wavelength_nm, wavelength_nm)
            out = out + np.gradient(out, centre) * (wavelength_nm - centre)
    if not (out > 0).all():
        raise InputError(f"{where}: found {out.min():g}, expected positive values")
    return np.asarray(out)


def _require_one_light(known_nm: Array, values: Array, wavelength_nm: Array, where: str) -> None:
    """What is wrong with single entries, which a mean over them would hide."""
    # of those beyond the band the nearest, from which a line leads into it
    lowest = known_nm[max(np.searchsorted(known_nm, wavelength_nm[0], "right") - 1, 0)]
    highest = known_nm[min(np.searchsorted(known_nm, wavelength_nm[-1]), len(known_nm) - 1)]
    near = (known_nm >= lowest) & (known_nm <= highest)
    known_nm, values = known_nm[near], values[near]
    negative = np.flatnonzero(values < 0)
    if len(negative):
        first = negative[0]
        raise InputError(f"{where}: found {values[first]:g} at {known_nm[first]:g} nm, expected positive values")
    twice = np.flatnonzero((np.diff(known_nm) == 0) & (np.diff(values) != 0))
    if len(twice):
        one, other = values[twice[0] : twice[0] + 2]
        raise InputError(f"{where}: found {one:g} and {other:g} at {known_nm[twice[0]]:g} nm, expected one value")


def _hat_means(known_nm: Array, values: Array, wavelength_nm: Array) -> Array:
    """Mean of a curve over each sample's hat (`hsitools.sensor.quadrature`), exact between its knots."""
    knots = np.union1d(known_nm, wavelength_nm)
    knots = knots[(knots >= wavelength_nm[0]) & (knots <= wavelength_nm[-1])]
    length = np.diff(knots)
    points = knots[:-1, None] + length[:, None] * np.array([0.0, 0.5, 1.0])
    left = np.clip(np.searchsorted(wavelength_nm, points[:, 1]) - 1, 0, len(wavelength_nm) - 2)
    gap = np.diff(wavelength_nm)[left]
    share = (points - wavelength_nm[left][:, None]) / gap[:, None]
    light = np.interp(points, known_nm, values)
    # Simpson's rule is exact for the product of two straight lines
    simpson = length[:, None] / 6 * np.array([1.0, 4.0, 1.0])
    area, mean = np.zeros((2, len(wavelength_nm)))
    for place, hat in ((left, 1 - share), (left + 1, share)):
        np.add.at(area, place, (simpson * hat).sum(axis=1))
        np.add.at(mean, place, (simpson * hat * light).sum(axis=1))
    return np.asarray(mean / area)
