"""OPDs beyond what the lines sample: where to look for them, and which rows the data leave in doubt.

On evenly spaced lines (step Δσ) the fringe of an OPD d is, sample by sample, that of its alias 1/Δσ − d: no residual
tells the two apart, only the device's law does, which rows on either side of the limit 1/(2Δσ) follow together. On
uneven lines (a monochromator stepped in wavelength) aliases are smeared, and the likelihood tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.captures.sampling import sampling_limit
from calibration.fitting.opd_law import repeated_medians

Array = NDArray[np.float64]

#: Share of the sampling limit from which on rows may well have neighbours beyond it; a device that stays below is
#: searched below the limit alone.
NEAR_LIMIT = 0.75
#: How far to look, in sampling limits: at least the first alias, where the closest lines sample further no more than
#: this (nearly equal lines sample anything, and tell nothing).
WIDEST = 4.0
#: Coherence of the lines at the alias's distance from which they count as evenly spaced.
EVEN = 0.9
#: Log-likelihood ratio (nats) up to which two answers are not told apart: odds of e⁶ are 400 to one.
DOUBT = 6.0
#: Resolution elements from the limit of even lines within which a fringe and its alias beat so slowly, less than twice
#: over the band, that gain and contrast, which vary too, can take the one for the other.
MERGED = 1.0
#: Resolution elements that rows may well be off a straight line: a mosaic's ripple is smaller.
LAW_RESOLUTIONS = 3.0
#: Coherence of lines with a gap at the distance of a rival OPD, one more turn over the gap, from which on it is tried:
#: the rival explains half of a fringe. Lines without gaps have .22, lines that lack a quarter of the band .56.
RIVAL = 0.7
#: Most such distances: lines in two narrow clusters have many, and each costs the restart of all rows.
MOST_RIVALS = 4
#: Points of the coherence's grid per resolution element.
FINE_GRID = 8
#: Fewest rows that make a path: fewer stand each for itself.
MIN_PATH = 5
#: Most rows that the search for a straight law looks at: so many tell one line from another.
MOST_ROWS = 64


def evenly_spaced(wavenumber: Array) -> bool:
    """Whether every fringe has an alias at ``2·limit − OPD`` that it cannot be told from."""
    turns = 2 * sampling_limit(wavenumber) * wavenumber
    return bool(abs(np.exp(2j * np.pi * turns).mean()) > EVEN)


def rival_distances(wavenumber: Array) -> Array:
    """Distances (µm) below the sampling limit at which lines with gaps hardly tell two OPDs apart, nearest first.

    Lines in two clusters tell the phase of each, but not the whole turns between them.
    """
    width, limit = float(np.ptp(wavenumber)), sampling_limit(wavenumber)
    # the transform of where the lines are, in cells of an eighth of a turn at the limit
    cells = int(np.ceil(8 * width * limit)) + 1
    cell = np.rint((wavenumber - wavenumber.min()) / width * (cells - 1)).astype(int)
    n = FINE_GRID * cells
    coherence = np.abs(np.fft.rfft(np.bincount(cell, minlength=cells), n)) / len(wavenumber)
    distance = np.arange(len(coherence)) * (cells - 1) / (n * width)
    inner = coherence[1:-1]
    peak = (inner > RIVAL) & (inner > coherence[:-2]) & (inner >= coherence[2:]) & (distance[1:-1] < limit)
    return distance[1 + np.flatnonzero(peak)[:MOST_RIVALS]]


def search_limit(wavenumber: Array) -> float:
    """Largest OPD (µm) worth a look: the first alias, and on uneven lines what the closest of them sample."""
    limit = sampling_limit(wavenumber)
    if evenly_spaced(wavenumber):
        return 2 * limit
    closest = float(np.quantile(np.diff(wavenumber), 0.1))
    return float(np.clip(0.5 / max(closest, 1e-300), 2 * limit, WIDEST * limit))


def may_reach_beyond(opd_um: Array, index: NDArray[np.int64], limit_um: float, step_um: float | None) -> bool:
    """Whether a device whose rows were searched below the limit (``opd_um``, the sure ones) may have rows beyond it.

    Several rows come near the limit, or all of them together span as much by the nominal step, or they descend where
    the device ascends, as aliases do.
    """
    if (opd_um > NEAR_LIMIT * limit_um).sum() >= max(2, 0.02 * len(opd_um)):
        return True
    if spans_limit(index, limit_um, step_um):
        return True
    if step_um is None or len(index) < MIN_PATH:
        return False
    steps = np.diff(opd_um[np.argsort(index)]) / np.maximum(np.diff(np.sort(index)), 1)
    return bool(abs(np.median(steps) + step_um) < 0.5 * abs(step_um))


def stays_below(
    opd_um: Array, index: NDArray[np.int64], limit_um: float, resolution_um: float, step_um: float | None
) -> bool:
    """Whether the rows, all but a few, follow one straight law that ascends as it should and stays below the limit.

    Rows that were folded at the limit do not: that device needs no wider search.
    """
    if len(index) < MIN_PATH:
        return False
    step, offset = repeated_medians(opd_um, index.astype(float))
    law = offset + step * index
    straight = np.abs(opd_um - law) < LAW_RESOLUTIONS * resolution_um
    ascends = step_um is None or step * step_um > 0
    return bool(ascends and straight.mean() >= 0.95 and law.max() < limit_um - MERGED * resolution_um)


def spans_limit(index: NDArray[np.int64], limit_um: float, step_um: float | None) -> bool:
    """Whether by the nominal step the rows' OPDs spread so far that hardly all can be below the limit."""
    return step_um is not None and len(index) > 1 and abs(step_um) * float(np.ptp(index)) > NEAR_LIMIT * limit_um


@dataclass(frozen=True, kw_only=True)
class StraightLaw:
    """OPD = offset + step × index, µm; ``ambiguous`` when another line through the aliases explains as much."""

    offset_um: float
    step_um: float
    ambiguous: bool

    def predict(self, index: NDArray[np.int64]) -> Array:
        """OPD of each index, µm."""
        return self.offset_um + self.step_um * np.asarray(index, dtype=float)


def straight_law(
    opd_um: Array, score: Array, index: NDArray[np.int64], limit_um: float, resolution_um: float, step_um: float | None
) -> StraightLaw:
    """Straight line through the log-likelihoods ``score`` ``(row, grid)`` that most rows agree with.

    Every row counts by how far its likelihood near the line falls short of its best, up to a ceiling: rows with an OPD
    of their own do not draw the line. Lines through the mirrored aliases explain as much on even lines; of those the
    one that ascends as the nominal step does is taken, but not if it takes all rows beyond the limit that another line
    keeps below.
    """
    picked = np.unique(np.linspace(0, len(index) - 1, min(len(index), MOST_ROWS)).round().astype(int))
    place = (index[picked] - index.min()).astype(float)
    span, cell = max(float(np.ptp(index)), 1.0), float(opd_um[1] - opd_um[0])
    n, reach = len(opd_um), max(1, round(resolution_um / cell))
    ceiling = np.log(n) + DOUBT
    short = np.maximum(score[picked] - score[picked].max(axis=1, keepdims=True), -ceiling)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(short, ((0, 0), (reach, reach)), mode="edge"), 2 * reach + 1, axis=1
    )
    short = windows.max(axis=2)
    steepest = opd_um[-1] / span if step_um is None else 1.5 * abs(step_um)
    steps = np.arange(-steepest, steepest, min(resolution_um / span, steepest / 4))
    if step_um is not None:
        steps = steps[np.abs(steps) > 0.5 * abs(step_um)]
    padded = np.pad(short, ((0, 0), (n, n)), constant_values=-ceiling)
    totals = np.zeros((len(steps), n))
    for number, step in enumerate(steps):
        for row, shift in enumerate(np.clip(np.rint(step * place / cell).astype(int), -n, n)):
            totals[number] += padded[row, n + shift : 2 * n + shift]
    middle = opd_um + steps[:, None] * (0.5 * span)  # OPD of the middle row
    ascends = np.ones(len(steps), dtype=bool) if step_um is None else steps * step_um > 0

    def best(values: Array) -> tuple[int, int]:
        number, offset = np.unravel_index(int(values.argmax()), values.shape)
        return int(number), int(offset)

    first = best(totals)
    # its mirror image, as far as the grid holds it
    mirrored = (steps * steps[first[0]] < 0)[:, None] & (
        np.abs(middle + middle[first] - 2 * limit_um) < 2 * resolution_um
    )
    chosen, ambiguous = first, False
    if mirrored.any():
        other = best(np.where(mirrored, totals, -np.inf))
        if totals[other] > totals[first] - DOUBT - ceiling:
            below = [pair for pair in (first, other) if _largest(opd_um, steps, pair, span) < limit_um]
            agree = [pair for pair in (first, other) if ascends[pair[0]]]
            nearer = min((first, other), key=lambda pair: float(middle[pair]))
            chosen = below[0] if below else agree[0] if step_um is not None else nearer
            ambiguous = chosen not in agree if step_um is not None else not below
    number, offset = chosen
    step = float(steps[number])
    return StraightLaw(offset_um=float(opd_um[offset]) - step * float(index.min()), step_um=step, ambiguous=ambiguous)


def _largest(opd_um: Array, steps: Array, pair: tuple[int, int], span: float) -> float:
    first = float(opd_um[pair[1]])
    return max(first, first + float(steps[pair[0]]) * span)


def height_near(grid_um: Array, score: Array, opd_um: Array, resolution_um: float) -> Array:
    """Highest log-likelihood of each row within half a resolution element of its OPD, shape ``(row,)``."""
    close = np.abs(grid_um - opd_um[:, None]) <= 0.5 * resolution_um
    return np.asarray(np.where(close, score, -np.inf).max(axis=1))


def nearest_rival(
    grid_um: Array, score: Array, opd_um: Array, limit_um: float, resolution_um: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Distance (µm) of each row's likeliest other OPD, where one of the two is beyond the limit, and whether it may be.

    It may where its log-likelihood falls short of the row's own by less than `DOUBT`, or where the OPD lies beyond what
    was searched.
    """
    apart = np.abs(grid_um - opd_um[:, None]) > 1.5 * resolution_um
    across = (grid_um > limit_um) | (opd_um[:, None] > limit_um)
    others = np.where(apart & across, score, -np.inf)
    rival = others.argmax(axis=1)
    own = height_near(grid_um, score, opd_um, resolution_um)
    likely = others[np.arange(len(opd_um)), rival] > own - DOUBT
    return np.abs(grid_um[rival] - opd_um), likely | (opd_um > grid_um[-1] + resolution_um)
