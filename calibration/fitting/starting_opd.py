"""Where the refinement starts each row's OPD, on either side of what the lines sample, and which rows stay in doubt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.captures.sampling import sampling_limit
from calibration.fitting import aliases, initialize
from calibration.fitting.scaled_rows import ScaledRows

Array = NDArray[np.float64]


def starting_opd(data: ScaledRows, method: str = "periodogram") -> tuple[Array, Array | None]:
    """OPD of each row (µm) and, for the exhaustive search, its reflectivity."""
    grid = initialize.opd_grid(data.wavenumber)
    measured = _measured(data)
    if method == "exhaustive":
        coarse = np.arange(grid[0], grid[-1], 0.5 / data.band.width)
        return initialize.exhaustive_search(data.wavenumber[measured], data.filled_ratio[:, measured], coarse)
    scan = _scan(data, grid)
    opd = initialize.track_opd(scan, data.index, int(measured.sum()), data.opd_step_um)
    return _beyond_limit(data, opd), None


def _measured(data: ScaledRows) -> NDArray[np.bool_]:
    """Lines ``(line,)`` at which any row was measured."""
    return np.asarray((data.weight > 0).any(axis=0))


def _scan(data: ScaledRows, grid_um: Array) -> initialize.Periodogram:
    """Periodogram of the measured lines, without power in rows that cannot be used."""
    measured = _measured(data)
    scan = initialize.periodogram(data.wavenumber[measured], data.filled_ratio[:, measured], grid_um)
    scan.power[~data.usable] = 0
    return scan


@dataclass(frozen=True, kw_only=True)
class WideSearch:
    """Log-likelihoods ``score`` ``(batch, grid)`` of OPDs on both sides of the sampling limit, and the device's law."""

    scan: initialize.Periodogram
    score: Array
    n_lines: int
    limit_um: float
    evenly_spaced: bool
    law: aliases.StraightLaw | None


def wide_search(data: ScaledRows, opd_um: Array) -> WideSearch | None:
    """Search on both sides of the sampling limit; None where no row of a device of these OPDs can be beyond it."""
    limit = sampling_limit(data.wavenumber)
    usable = data.usable
    if not aliases.may_reach_beyond(opd_um[usable], data.index[usable], limit, data.opd_step_um):
        return None
    resolution = 1 / data.band.width
    if aliases.stays_below(opd_um[usable], data.index[usable], limit, resolution, data.opd_step_um):
        return None
    grid = initialize.grid_to(data.wavenumber, aliases.search_limit(data.wavenumber))
    scan = _scan(data, grid)
    n_lines = int(_measured(data).sum())
    score = initialize.own_score(scan, n_lines)
    law = None
    if usable.sum() >= aliases.MIN_PATH:
        law = aliases.straight_law(
            grid, score[usable], data.index[usable], limit, resolution, data.opd_step_um
        )  # fmt: skip
    return WideSearch(
        scan=scan, score=score, n_lines=n_lines, limit_um=limit, law=law,
        evenly_spaced=aliases.evenly_spaced(data.wavenumber),
    )  # fmt: skip


def _beyond_limit(data: ScaledRows, opd_um: Array) -> Array:
    """OPDs found below the sampling limit, those of rows taken beyond it that the device's law or the data put there.

    A device that stays below the limit keeps what was found there.
    """
    wide = wide_search(data, opd_um)
    if wide is None:
        return opd_um
    if wide.law is not None and wide.law.predict(data.index[data.usable]).max() > wide.limit_um:
        opd_um = initialize.track_opd(wide.scan, data.index, wide.n_lines, data.opd_step_um, wide.law)
    if wide.evenly_spaced:
        return opd_um
    grid, rows = wide.scan.opd_um, np.arange(len(opd_um))
    peak = wide.score.argmax(axis=1)
    present = aliases.height_near(grid, wide.score, opd_um, 1 / data.band.width)
    better = (wide.score[rows, peak] > present + math.log(len(grid)) + aliases.DOUBT) & (grid[peak] > wide.limit_um)
    return np.where(better, initialize.refine_peak(grid, wide.score, peak), opd_um)


def alias_distance(data: ScaledRows, opd_um: Array) -> Array:
    """How far (µm) from its OPD a row's fringe may as well be, as far as lines and data tell; 0 for rows not in doubt.

    In doubt are rows at or beyond the sampling limit of evenly spaced lines (and all, where not even the device's law
    tells which rows are beyond); on uneven lines those with an alias of nearly the same likelihood.
    """
    wide = wide_search(data, opd_um)
    none = np.zeros(len(opd_um))
    if wide is None:
        return none
    resolution = 1 / data.band.width
    if wide.evenly_spaced:
        doubtful = opd_um > wide.limit_um - aliases.MERGED * resolution
        if wide.law is not None:
            doubtful |= wide.law.ambiguous
        else:
            # too few rows for a law to tell which of them are beyond
            doubtful |= aliases.spans_limit(data.index[data.usable], wide.limit_um, data.opd_step_um)
        distance = 2 * np.abs(wide.limit_um - opd_um)
    else:
        distance, likely = aliases.nearest_rival(wide.scan.opd_um, wide.score, opd_um, wide.limit_um, resolution)
        doubtful = likely & (opd_um * data.band.width > initialize.MIN_FRINGES)
    return np.where(doubtful & data.usable, np.maximum(distance, 0.5 * resolution), none)
