"""Parasitic etalons: fringes of one OPD that all interferometers of a device show (a window, the detector's cover)."""

from __future__ import annotations

import math

import numpy as np

from calibration.fitting import initialize
from calibration.fitting.fit_state import Fit
from calibration.fitting.scaled_rows import MIN_ROWS, ScaledRows

#: Most parasitic etalons of a device: a window or a filter has two faces, and each etalon costs a fit of all folds.
MAX_ETALONS = 3
#: Fringes in the band below which a fringe of all rows is no etalon: gain and flat field have such slow structure too.
MIN_FRINGES = 4


def find_common_fringes(scan: initialize.Periodogram, n_lines: int) -> tuple[float, ...]:
    """OPDs of fringes that most rows share: parasitic etalons, whatever the interferometer's own OPD.

    An interferometer's own fringe moves along the device and leaves the median over rows alone; a parasitic one stays
    and lifts it. A peak counts when it lifts the median row's likelihood by six standard errors of such a median
    (noise alone makes it exponential, of unit scale) or more.
    """
    threshold = max(0.5, 6 / math.sqrt(len(scan.power)))
    level = np.median(initialize.log_likelihood(scan, n_lines), axis=0)
    usable = scan.opd_um > MIN_FRINGES * initialize.OVERSAMPLING * (scan.opd_um[1] - scan.opd_um[0])
    level = np.where(usable, level - np.median(level[usable]), -np.inf) if usable.any() else level * 0
    opds: list[float] = []
    reach = 2 * initialize.OVERSAMPLING
    for _ in range(MAX_ETALONS):
        peak = int(level.argmax())
        if not level[peak] > threshold:
            break
        opds.append(initialize.refine_peak(scan.opd_um, level, np.array([peak]))[0])
        level[max(0, peak - reach) : peak + reach + 1] = -np.inf
    return tuple(float(value) for value in opds)


def find_etalons(data: ScaledRows, fit: Fit) -> tuple[float, ...]:
    """OPDs (µm) of parasitic etalons: fringes that the residuals of most rows share.

    What all rows share line by line, with one sign, is an error of the lamp or of the flat field and no etalon, whose
    wedge gives each interferometer another phase: it is taken out first.
    """
    rows = data.usable
    if rows.sum() < MIN_ROWS:
        return ()
    measured = (data.weight > 0).any(axis=0)
    # rows without signal have no floor to divide by
    block = np.ix_(rows, measured)
    value = fit.values(data)[block]
    floor = 0.2 * np.median(np.abs(value), axis=1, keepdims=True)
    relative = (data.intensity[block] - value) * (data.weight[block] > 0) / np.maximum(value, floor)
    relative -= np.median(relative, axis=0)
    grid = initialize.opd_grid(data.wavenumber)
    scan = initialize.periodogram(data.wavenumber[measured], 1 + relative, grid)
    return find_common_fringes(scan, int(measured.sum()))
