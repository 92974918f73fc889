"""Starting values: gain from the flat field, OPD, phase and reflectivity from the fringes (steps 1 and 2 of IRCA).

Two initializers, both batched over interferometers and right on unevenly spaced lines:

* `periodogram` and `track_opd`: least-squares periodogram (a Lomb-Scargle periodogram whose null model is a gain
  polynomial), then the most likely *path* of OPDs through all interferometers. Neighbours on the mosaic differ by about
  one step, and that settles the rows with too few fringes to settle themselves;
* `exhaustive_search`: over (OPD, reflectivity), on the magnitudes of the spectra, which do not depend on the phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.sampling import sampling_limit
from calibration.fitting import aliases
from calibration.fitting.opd_law import repeated_medians
from calibration.fitting.scaled_rows import MIN_ROWS
from hsitools.estimation.spread import robust_sigma
from hsitools.sensor.fabry_perot import cos_sin
from hsitools.sensor.line_shape import LineShape
from hsitools.sensor.polynomial import Band
from hsitools.sensor.transmittance import TransmittanceModel

Array = NDArray[np.float64]

#: Samples of the OPD grid per resolution element 1/band: a parabola through three of them meets the peak of a fringe.
OVERSAMPLING = 4
#: Fringes in the band from which a gain polynomial and fringes can be fitted beside each other.
MIN_FRINGES = 4.0
#: Degree of the gain polynomial that the periodogram fits together with the fringe: it follows a lamp and a flat field,
#: and leaves fringes alone of which the band holds more than two.
NULL_DEGREE = 4


@dataclass(frozen=True, kw_only=True)
class Periodogram:
    """Share of each row's variance that one fringe explains, on a grid of OPDs.

    ``opd_um`` ``(grid,)``, ``power`` ``(batch, grid)`` in [0, 1], ``cos`` and ``sin`` ``(batch, grid)`` the least-
    squares amplitudes, relative to the mean level of the row.
    """

    opd_um: Array
    power: Array
    cos: Array
    sin: Array


def opd_grid(wavenumber: Array) -> Array:
    """OPDs (µm) from a quarter fringe in the band to the lines' sampling limit."""
    return grid_to(wavenumber, sampling_limit(wavenumber))


def grid_to(wavenumber: Array, limit_um: float) -> Array:
    """OPDs (µm) from a quarter fringe in the band to ``limit_um``."""
    width = float(np.ptp(wavenumber))
    return np.arange(0.25 / width, limit_um, 1 / (OVERSAMPLING * width))


def _null_basis(wavenumber: Array, etalons_um: tuple[float, ...]) -> Array:
    columns = [Band.of(wavenumber).vander(wavenumber, NULL_DEGREE)]
    for opd in etalons_um:
        ramp = Band.of(wavenumber).vander(wavenumber, NULL_DEGREE)
        angle = 2 * math.pi * wavenumber[:, None] * opd
        columns += [ramp * np.cos(angle), ramp * np.sin(angle)]
    return np.linalg.qr(np.concatenate(columns, axis=1))[0]


def periodogram(wavenumber: Array, ratio: Array, grid: Array, etalons_um: tuple[float, ...] = ()) -> Periodogram:
    """Least-squares periodogram of ``ratio`` ``(batch, line)`` (intensity over flat field).

    A gain polynomial and the parasitic etalons named are fitted together with each candidate fringe, so that the slow
    change of the gain is not taken for a small OPD. Fill invalid samples with the row's mean beforehand.
    """
    null = _null_basis(wavenumber, etalons_um)
    level = np.abs(ratio.mean(axis=1, keepdims=True))
    rest: Any = ratio / np.where(level > 0, level, 1) - 1
    rest = rest - (rest @ null) @ null.T
    cos, sin = cos_sin(2 * math.pi * wavenumber[:, None] * grid)
    cos -= null @ (null.T @ cos)
    sin -= null @ (null.T @ sin)
    # single precision is plenty for a scan, and twice as fast
    cos, sin, rest = (np.asarray(array, dtype=np.float32) for array in (cos, sin, rest))
    cc, ss, cs = (np.einsum("kg,kg->g", one, other, dtype=float) for one, other in ((cos, cos), (sin, sin), (cos, sin)))
    determinant = cc * ss - cs * cs
    # where the null model already holds this fringe nothing is left to explain
    usable = determinant > 1e-4 * len(wavenumber) ** 2 / 4
    determinant = np.where(usable, determinant, np.inf)
    with_cos, with_sin = rest @ cos, rest @ sin
    a = (ss * with_cos - cs * with_sin) / determinant
    b = (cc * with_sin - cs * with_cos) / determinant
    total = (rest * rest).sum(axis=1, keepdims=True)
    power = np.clip((a * with_cos + b * with_sin) / np.where(total > 0, total, 1), 0, 1 - 1e-12)
    return Periodogram(opd_um=grid, power=power, cos=a, sin=b)


def log_likelihood(scan: Periodogram, n_lines: int) -> Array:
    """Profile log-likelihood of each OPD (noise level maximised out), shape ``(batch, grid)``, nats."""
    return -0.5 * (n_lines - NULL_DEGREE - 3) * np.log1p(-scan.power)


def has_own_fringes(scan: Periodogram) -> bool:
    """Whether the rows' strongest fringes differ, so that one common to all rows can be told from their own."""
    best = scan.opd_um[scan.power.argmax(axis=1)]
    resolution = OVERSAMPLING * (scan.opd_um[1] - scan.opd_um[0])
    return len(best) >= MIN_ROWS and float(np.median(np.abs(best - np.median(best)))) > 2 * resolution


def refine_peak(grid: Array, height: Array, peak: NDArray[np.intp]) -> Array:
    """Sub-grid position of peaks by the parabola through three points; ``height`` ``(grid,)`` or ``(batch, grid)``."""
    table = np.broadcast_to(height, (len(peak), len(grid)))
    rows, middle = np.arange(len(peak)), np.clip(peak, 1, len(grid) - 2)
    low, top, high = table[rows, middle - 1], table[rows, middle], table[rows, middle + 1]
    curvature = low - 2 * top + high
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = 0.5 * (low - high) / curvature
    shift = np.where(np.isfinite(shift) & (curvature < 0), np.clip(shift, -0.5, 0.5), 0.0)
    return np.where(middle == peak, grid[middle] + shift * (grid[1] - grid[0]), grid[peak])


def own_score(scan: Periodogram, n_lines: int) -> Array:
    """`log_likelihood` without what the median row shows too, which is no interferometer's own fringe."""
    score = log_likelihood(scan, n_lines)
    return score - np.median(score, axis=0) if has_own_fringes(scan) else score


def track_opd(
    scan: Periodogram,
    index: NDArray[np.int64],
    n_lines: int,
    step_um: float | None,
    straight: aliases.StraightLaw | None = None,
) -> Array:
    """Most likely OPD of each row given its neighbours, µm, shape ``(batch,)``.

    Viterbi path through the profile likelihoods. From one interferometer to the next the OPD changes by the device's
    step, give or take: departures cost in proportion, up to a ceiling that lets the path jump where the mosaic turns or
    a row has an OPD of its own. ``step_um`` starts the robust estimate of the step; without it the data alone do.
    Where rows have aliases as likely as themselves, ``straight`` says along which of them the device goes.
    """
    score = own_score(scan, n_lines)
    order = np.argsort(index, kind="stable")
    grid = scan.opd_um
    spacing = grid[1] - grid[0]
    best = grid[score.argmax(axis=1)]
    sure = score.max(axis=1) > np.log(len(grid)) + 6
    if len(index) < aliases.MIN_PATH or sure.sum() < aliases.MIN_PATH:
        return refine_peak(grid, score, score.argmax(axis=1))
    if straight is not None:
        away = (grid - straight.predict(index)[:, None]) / (aliases.LAW_RESOLUTIONS * OVERSAMPLING * spacing)
        best = grid[(score - 0.5 * away**2).argmax(axis=1)]
    # repeated medians: holds with nearly half of the rows on a wrong peak
    step = repeated_medians(best[sure], index[sure].astype(float))[0]
    if step_um is not None and abs(step - step_um) > 0.5 * abs(step_um):
        step = step_um
    # the device's law bounds how far a weak row may be taken by a fringe that is not its own (a lamp's or a window's)
    law = step * index
    law = law + np.median((best - law)[sure])
    spread = 1.5 * (robust_sigma((best - law)[sure]) + OVERSAMPLING * spacing)
    score = score - 0.5 * ((grid - law[:, None]) / spread) ** 2
    change = np.diff(best[order]) - step * np.diff(index[order])
    both = sure[order][1:] & sure[order][:-1]
    typical = float(robust_sigma(change[both])) if both.sum() >= 5 else abs(step)
    scale = max(typical, spacing)
    ceiling = math.log(len(grid)) + 6
    reach = math.ceil(ceiling * scale / spacing)
    offsets = np.arange(-reach, reach + 1)
    penalty = np.minimum(np.abs(offsets) * spacing / scale, ceiling)
    n = len(grid)
    total = score[order[0]].copy()
    back = np.zeros((len(order), n), dtype=np.int32)
    cells = np.arange(n)
    for place in range(1, len(order)):
        shift = round(step * (index[order[place]] - index[order[place - 1]]) / spacing)
        padded = np.full(n + 2 * (reach + abs(shift)), -np.inf)
        padded[reach + abs(shift) : reach + abs(shift) + n] = total
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
        candidates = windows[abs(shift) - shift : abs(shift) - shift + n] - penalty
        choice = candidates.argmax(axis=1)
        value = candidates[cells, choice]
        jump = int(total.argmax())
        leap = total[jump] - ceiling > value
        back[place] = np.where(leap, jump, cells - shift + offsets[choice])
        total = np.where(leap, total[jump] - ceiling, value) + score[order[place]]
    path = np.empty(len(order), dtype=np.intp)
    path[-1] = int(total.argmax())
    for place in range(len(order) - 1, 0, -1):
        path[place - 1] = back[place, path[place]]
    cell = np.empty_like(path)
    cell[order] = path
    # the path moves in whole cells under a penalty: let each row climb to its own peak within one resolution element
    window = cell[:, None] + np.arange(-OVERSAMPLING // 2, OVERSAMPLING // 2 + 1)
    window = np.clip(window, 0, n - 1)
    local = np.take_along_axis(score, window, axis=1).argmax(axis=1)
    return refine_peak(grid, score, np.take_along_axis(window, local[:, None], axis=1)[:, 0])


def exhaustive_search(wavenumber: Array, ratio: Array, grid: Array) -> tuple[Array, Array]:
    """OPD (µm) and reflectivity that best match each row's spectrum in magnitude, whatever the phase.

    The magnitude spectrum of an Airy fringe has peaks R, R², R³… at 1, 2, 3… times the OPD, each of the shape of the
    band's own window. The match is the correlation of magnitudes over the grid, all candidates in one matrix product.

    Returns
    -------
    opd_um, reflectivity : array, shape (batch,)
    """
    levels = np.linspace(0.1, 0.8, 8)
    null = _null_basis(wavenumber, ())
    level = np.abs(ratio.mean(axis=1, keepdims=True))
    rest = ratio / np.where(level > 0, level, 1) - 1
    rest = rest - (rest @ null) @ null.T
    kernel = np.exp(-2j * math.pi * wavenumber[:, None] * grid)
    measured = np.abs(rest @ kernel)
    measured -= measured.mean(axis=1, keepdims=True)
    harmonics = []
    for order in range(1, 6):
        angle = 2 * math.pi * wavenumber[:, None] * grid * order
        quadratures = [wave - null @ (null.T @ wave) for wave in (np.cos(angle), np.sin(angle))]
        # the phase is unknown: mean power over the two quadratures
        harmonics.append(sum(np.abs(wave.T @ kernel) ** 2 for wave in quadratures))
    rows = np.arange(len(ratio))
    best_score = np.full(len(ratio), -np.inf)
    best_opd, best_r = np.full(len(ratio), grid[0]), np.full(len(ratio), levels[0])
    for value in levels:
        powers = sum(value ** (2 * order) * power for order, power in enumerate(harmonics, start=1))
        template = np.sqrt(powers)
        template -= template.mean(axis=1, keepdims=True)
        norm = np.linalg.norm(template, axis=1)
        score = measured @ (template / np.where(norm > 0, norm, np.inf)[:, None]).T
        peak = score.argmax(axis=1)
        better = score[rows, peak] > best_score
        best_score = np.where(better, score[rows, peak], best_score)
        best_opd = np.where(better, refine_peak(grid, score, peak), best_opd)
        best_r = np.where(better, value, best_r)
    return best_opd, best_r


def starting_parameters(
    model: TransmittanceModel,
    band: Band,
    wavenumber: Array,
    intensity: Array,
    flat: Array,
    weight: Array,
    opd_um: Array,
    reflectivity: Array | None = None,
    line: LineShape | None = None,
) -> Array:
    """Parameter vectors to start `calibration.fitting.refine.refine` from, shape ``(batch, parameter)``.

    Gain: weighted least squares on the flat field, of low degree so that it leaves small OPDs their fringes; where it
    is not refined afterwards, fringes of that OPD are fitted beside it, not to pass for gain. Phase and fringe
    amplitude: least squares at the OPD of ``opd_um``; reflectivity from the amplitude *a*: (1 − √(1−a²))/a for two
    waves, a/2 for more (first harmonic of the Airy function).
    """
    slices = model.slices
    theta = np.zeros((len(intensity), model.n_parameters))
    degree = min(model.degree_gain, NULL_DEGREE if model.gain_reference == "flat" else model.degree_gain)
    gain_basis = band.vander(wavenumber, degree)
    gain = weighted_gain(gain_basis, intensity, flat, weight)
    several = np.abs(opd_um) * band.width > MIN_FRINGES
    if not model.refine_gain and several.any():
        gain[several] = _gain_beside_fringes(
            gain_basis, wavenumber, intensity[several], flat[several], weight[several], opd_um[several]
        )
    theta[:, slices["gain"].start : slices["gain"].start + degree + 1] = gain
    smooth = flat * (gain @ gain_basis.T)
    floor = 0.05 * np.abs(smooth).mean(axis=1, keepdims=True) + 1e-300
    fringes = intensity / np.where(np.abs(smooth) > floor, smooth, floor) - 1
    cos, sin = cos_sin(2 * math.pi * wavenumber * opd_um[:, None])
    w = weight * np.minimum(1, np.abs(smooth) / smooth.mean(axis=1, keepdims=True).clip(1e-300)) ** 2
    cc, ss, cs = (w * cos * cos).sum(1), (w * sin * sin).sum(1), (w * cos * sin).sum(1)
    yc, ys = (w * fringes * cos).sum(1), (w * fringes * sin).sum(1)
    determinant = np.maximum(cc * ss - cs * cs, 1e-3 * (cc + ss) ** 2 / 4 + 1e-300)
    a, b = (ss * yc - cs * ys) / determinant, (cc * ys - cs * yc) / determinant
    amplitude = np.hypot(a, b)
    if line is not None:
        # the line's width took this from the contrast; where it took nearly all, what is left says little
        amplitude /= np.clip(line.contrast(opd_um[:, None] + 0 * wavenumber).mean(axis=1), 0.2, 1)
    amplitude = np.clip(amplitude, 0.1, 0.95)
    if reflectivity is None:
        two_wave = (1 - np.sqrt(1 - amplitude**2)) / amplitude
        reflectivity = two_wave if model.waves == 2 else np.clip(amplitude / 2, 0.05, 0.8)
    theta[:, slices["reflectivity"].start] = reflectivity
    start = slices["phase"].start
    theta[:, start] = 2 * math.pi * band.centre * opd_um - np.arctan2(b, a)
    theta[:, start + 1] = 2 * math.pi * band.half_width * opd_um
    return theta


def _gain_beside_fringes(
    basis: Array, wavenumber: Array, intensity: Array, flat: Array, weight: Array, opd_um: Array
) -> Array:
    """Gain coefficients fitted together with the first harmonics of the fringe, whose amplitudes vary over the band."""
    out = np.empty((len(intensity), basis.shape[1]))
    ramp = Band.of(wavenumber).vander(wavenumber, 3)
    room = (len(wavenumber) - basis.shape[1]) // 3
    step = max(1, 2**21 // (len(wavenumber) * (basis.shape[1] + 24)))
    for start in range(0, len(intensity), step):
        rows = slice(start, start + step)
        columns = [np.broadcast_to(basis, (len(opd_um[rows]), *basis.shape))]
        for harmonic in (1, 2, 3):
            cos, sin = cos_sin(2 * math.pi * harmonic * wavenumber * opd_um[rows, None])
            shape = ramp[:, : 5 - harmonic]
            if sum(c.shape[2] for c in columns[1:]) + 2 * shape.shape[1] <= room:
                columns += [cos[:, :, None] * shape, sin[:, :, None] * shape]
        design = np.concatenate(columns, axis=2) * flat[rows, :, None]
        weighted = design * weight[rows, :, None]
        matrix = np.swapaxes(weighted, 1, 2) @ design
        trace = np.trace(matrix, axis1=1, axis2=2)[:, None, None]
        matrix = matrix + (1e-9 * trace + 1e-300) * np.eye(design.shape[2])
        right = np.swapaxes(weighted, 1, 2) @ intensity[rows, :, None]
        out[rows] = np.linalg.solve(matrix, right)[:, : basis.shape[1], 0]
    return out


def weighted_gain(basis: Array, intensity: Array, flat: Array, weight: Array) -> Array:
    """Gain coefficients ``(batch, k)`` on a ``basis`` ``(line, k)`` that alone come closest to the intensity."""
    scaled = weight * flat
    matrix = np.einsum("bk,ki,kj->bij", scaled * flat, basis, basis, optimize=True)
    trace = np.trace(matrix, axis1=1, axis2=2)[:, None, None]
    matrix = matrix + (1e-10 * trace + 1e-300) * np.eye(basis.shape[1])
    return np.linalg.solve(matrix, ((scaled * intensity) @ basis)[:, :, None])[:, :, 0]
