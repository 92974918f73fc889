"""Checks of what users bring: a failure is one line with file, field, what was found and what was expected."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hsitools.arrays import real_array
from hsitools.errors import InputError
from hsitools.estimation.spread import robust_sigma
from hsitools.io.labels import text
from hsitools.io.wavelengths import to_nm
from hsitools.text import counted

log = logging.getLogger(__name__)

#: Unit of wavenumbers where a file tells none.
UNIT = "um-1"
#: Fewest lines of a capture: a constant gain, reflectivity, phase and OPD are four unknowns.
MIN_LINES = 4
#: Wavenumbers in µm⁻¹ are 0.03 (thermal infrared) to 10 (far ultraviolet); values beyond these are in another unit:
#: cm⁻¹ (or wavelengths in nm) above, nm⁻¹ below.
MIN_WAVENUMBER, MAX_WAVENUMBER = 0.01, 100.0

#: Flat fields whose rows differ in shape by more than this share may be interferograms, where the intensities' do by
#: less than half as much. An intensity is flat field times fringes: its rows never differ less. In the published
#: captures flat fields differ by 0 and intensities by .25 to .36.
FRINGES, LEAST_ROWS = 0.05, 4


def real_numbers(values: ArrayLike, where: str) -> NDArray[np.float64]:
    """``values`` as float64 (see `hsitools.arrays.real_array`)."""
    return real_array(values, where).astype(np.float64)


def in_wavenumbers(values: ArrayLike, unit: str | None, where: str) -> NDArray[np.float64]:
    """Wavenumbers in µm⁻¹ of lines that a file tells in any unit (`hsitools.io.wavelengths.to_nm`).

    Raises
    ------
    InputError
        When they are no positive numbers, or the unit is none of wavelengths.
    """
    stored = real_numbers(values, where)
    if not (np.isfinite(stored).all() and (stored > 0).all()):
        raise InputError(f"{where}: found numbers that are not positive, expected wavelengths or wavenumbers")
    wavelength = to_nm(stored, unit, where)
    if wavelength is None:
        raise InputError(f"{where}: found {unit or 'an index'}, expected wavelengths in nm or µm, or wavenumbers")
    return np.asarray(1000 / wavelength)


def stored_wavenumber(data: Any, where: str) -> NDArray[np.float64]:
    """Wavenumbers (µm⁻¹) of an HDF5 dataset, by its attribute ``units`` where it has one; see `in_wavenumbers`."""
    unit = text(data.attrs.get("units", UNIT))
    return real_numbers(data[()], where) if unit == UNIT else in_wavenumbers(data[()], unit, where)


def ascending(wavenumber: NDArray[np.float64], where: str) -> tuple[slice, NDArray[np.float64]]:
    """Which way to read what is stored by lines, and the lines' wavenumbers so: reversed where all of them descend.

    As a monochromator scans from blue to red. Another order is more likely a mistake than a scan.
    """
    if wavenumber.ndim == 1 and len(wavenumber) > 1 and (np.diff(wavenumber) < 0).all():
        log.info("%s: descends: reversed", where)
        return slice(None, None, -1), wavenumber[::-1]
    return slice(None), wavenumber


def check_wavenumber(values: ArrayLike, where: str) -> NDArray[np.float64]:
    """Wavenumbers as a float array, shape ``(line,)``, µm⁻¹.

    Parameters
    ----------
    values : array_like
    where : str
        File and field, for the message.

    Raises
    ------
    InputError
        When they are not ascending, distinct, positive wavenumbers in µm⁻¹, or fewer than 4.
    """
    array = real_numbers(values, where)
    if array.ndim != 1:
        raise InputError(f"{where}: found shape {array.shape}, expected one value a line")
    if len(array) < MIN_LINES:
        raise InputError(f"{where}: found {counted(len(array), 'line')}, expected at least {MIN_LINES}")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InputError(f"{where}: found {counted(len(bad), 'value')} not finite (first at {bad[0]}), expected µm⁻¹")
    bad = np.flatnonzero(array <= 0)
    if len(bad):
        raise InputError(f"{where}: found {array[bad[0]]:g} at {bad[0]}, expected positive wavenumbers in µm⁻¹")
    if array.max() > MAX_WAVENUMBER:
        raise InputError(
            f"{where}: found {array.min():g} to {array.max():g}, which looks like nm (or cm⁻¹), "
            "expected wavenumbers in µm⁻¹ (1000 / wavelength in nm, or cm⁻¹ / 10000)"
        )
    if array.min() < MIN_WAVENUMBER:
        raise InputError(
            f"{where}: found {array.min():g} to {array.max():g}, which looks like nm⁻¹, expected wavenumbers in µm⁻¹ "
            "(1000 / wavelength in nm, or 1000 · nm⁻¹)"
        )
    order = np.argsort(array, kind="stable")
    same = np.flatnonzero(np.diff(array[order]) == 0)
    if len(same):
        first, second = order[same[0]], order[same[0] + 1]
        raise InputError(
            f"{where}: found {array[first]:g} twice (at {first} and {second}), expected distinct wavenumbers"
        )
    falls = np.flatnonzero(np.diff(array) < 0)
    if len(falls):
        after = falls[0] + 1
        raise InputError(
            f"{where}: found {array[after]:g} after {array[after - 1]:g} (at {after}), expected ascending wavenumbers"
        )
    return array


def check_linewidth(values: ArrayLike, wavenumber: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """Full widths at half maximum of the lines, nm, shape ``(line,)``, from one for all or one a line.

    Raises
    ------
    InputError
        When they are not finite and positive (or zero: monochromatic), or as wide as the band.
    """
    array = real_numbers(values, where)
    if array.shape not in ((), (1,), wavenumber.shape):
        raise InputError(f"{where}: found shape {array.shape}, expected one width in nm, or one for each line")
    widths = np.broadcast_to(array, wavenumber.shape).copy()
    band = 1000 / wavenumber[0] - 1000 / wavenumber[-1]
    bad = np.flatnonzero(~(np.isfinite(widths) & (widths >= 0) & (widths < band)))
    if len(bad):
        raise InputError(
            f"{where}: found {widths[bad[0]]:g} at line {bad[0]}, "
            f"expected widths of 0 (monochromatic) to less than the band's {band:.4g} nm"
        )
    return widths


def check_not_exchanged(
    intensity: NDArray[np.float64], flat: NDArray[np.float64], mask: NDArray[np.bool_], where: str,
    names: tuple[str, str],
) -> None:  # fmt: skip
    """Raise `InputError` where the flat field's rows vary as interferograms do, and the intensities' do not."""
    spreads = [_row_spread(values, mask) for values in (intensity, flat)]
    if len(intensity) >= LEAST_ROWS and spreads[1] > FRINGES and spreads[0] < spreads[1] / 2:
        raise InputError(
            f"{where}: {names[1]}: found rows that differ from one another by {100 * spreads[1]:.0f} %, as "
            f"interferograms do, and by {100 * spreads[0]:.0f} % in {names[0]}, expected the opposite: are the two "
            "exchanged?"
        )


def _row_spread(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """Typical deviation of rows ``(interferometer, line)`` of mean one from the shape that most of them share."""
    mean = (values * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    bright, lines = mean > 0, mask[mean > 0].any(axis=0)
    if not lines.any():
        return 0.0
    rows = np.where(mask[bright], values[bright] / mean[bright, None], np.nan)[:, lines]
    away = rows - np.nanmedian(rows, axis=0)
    return float(robust_sigma(away[np.isfinite(away)]))


def one_line(error: BaseException) -> str:
    """The message of somebody else's exception on one line."""
    return " ".join(str(error).split())
