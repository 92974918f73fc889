"""``--model auto``: choose the model by held-out error, per device.

The residual in sample always prefers more parameters; the residual on lines that the fit has not seen does not
(`calibration.held_out`). One choice is varied at a time (gain reference, phase dispersion, shared curves, parasitic
etalons, degrees, waves), and the simpler candidate stays unless the richer one is better by more than 1.5 standard
errors of their paired difference: of ten candidates that are no better some pass one standard error by chance. Lines
and interferometers are both samples, and an error of one line is shared by all interferometers: the standard error
counts both (two-way clusters, Cameron, Gelbach and Miller 2011).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.fitting.etalons import MAX_ETALONS
from calibration.fitting.noise import ROUNDED
from calibration.fitting.options import Options, label
from calibration.held_out import ROUGHLY, Fold, deal, find_device_etalons, row_rmse, spread_rows
from hsitools.errors import InputError
from hsitools.sensor.transmittance import TransmittanceModel

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: Folds of the lines: each costs a fit of every candidate, and each fit still has three quarters of the lines.
FOLDS = 4
#: Lines over which the spread between models is averaged: one line's is a square with one degree of freedom.
SMOOTH_LINES = 9
#: Standard errors by which a candidate must be better than a simpler one: of ten that are no better some pass by chance
#: eight times in ten at 1, one time in two at 1.5.
BETTER = 1.5
#: Share of the rows, at either end, that may gain or lose by any amount without a say: one that ran away between its
#: lines, or has hardly any light, must not decide for all others.
EXTREME = 0.05
#: A candidate is given up when it would have to gain more than this many standard deviations of what the folds to come
#: can change: one good candidate in ten is lost so.
LUCK = 1.3


def paired_gain(before: Array, after: Array, count: Array) -> tuple[float, float]:
    """How much smaller the mean RMSE of the rows is under ``after``, the most extreme left out, and its standard error.

    Parameters
    ----------
    before, after : array, shape (row, line)
        Squared held-out residuals of the same samples; zero where there is none.
    count : array, shape (row,)
        Samples of each row.
    """
    rmse = [np.sqrt(squares.sum(axis=1) / count) for squares in (before, after)]
    # share of each sample in the difference of the rows' RMSE: a − b = (a² − b²) / (a + b)
    share = (before - after) / np.maximum((rmse[0] + rmse[1]) * count, 1e-300)[:, None]
    rows = len(share)
    share = _without_extremes(share, count)
    gain = float(share.sum() / rows)

    def variance(sums: Array) -> float:
        return float(((sums - sums.mean()) ** 2).sum()) / rows**2

    # both ways of clustering count what samples do by themselves: once is enough
    total = variance(share.sum(axis=1)) + variance(share.sum(axis=0)) - variance(share.ravel())
    return gain, float(np.sqrt(max(total, variance(share.sum(axis=1)), variance(share.sum(axis=0)))))


def _without_extremes(share: Array, count: Array) -> Array:
    """Shares ``(row, line)`` whose sums over the lines are no more extreme than those of most rows (winsorized)."""
    sums, cut = share.sum(axis=1), int(np.ceil(EXTREME * len(share)))
    if len(share) < 3 * cut:
        return share
    ordered = np.sort(sums)
    kept = np.clip(sums, ordered[cut], ordered[-1 - cut])
    factor = np.clip(np.divide(kept, sums, out=np.ones_like(sums), where=sums != 0), 0, 1)
    return np.asarray(share * factor[:, None] + ((kept - factor * sums) / count)[:, None] * (share != 0))


def _hopeless(gain: float, error: float, share: float) -> bool:
    """Whether a candidate will not be better after all folds, of which this is a share (stochastic curtailment)."""
    if share == 1 or error <= 0:
        return False
    return gain / error / np.sqrt(share) + LUCK * np.sqrt(1 - share) < BETTER


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The chosen model.

    ``model`` and ``options`` to fit with; ``table`` of all that was tried, a row each; ``model_spread`` ``(line,)`` the
    standard deviation between models that the data cannot tell apart, in units of the gain that is the mean intensity
    over the mean flat field (`calibration.transmittance_band`).
    """

    model: TransmittanceModel
    options: Options
    table: list[dict[str, Any]]
    model_spread: Array


class Trials:
    """The best model so far in every fold, the table of all that was tried, and by how much rivals differ."""

    def __init__(self, capture: MonochromaticCapture, seed: int, progress: Callable[[str], None] | None) -> None:
        self.capture, self.progress = capture, progress
        self.held_out = deal(capture.n_lines, FOLDS, seed)
        self.folds: list[Fold] = []
        self.residual = np.zeros(capture.intensity.shape)  # of all lines, each when it was held out
        self.table: list[dict[str, Any]] = []
        self.rivals: list[tuple[float, Array]] = []  # weight of each, and mean square of its difference, (line,)

    def start(self, model: TransmittanceModel, options: Options) -> None:
        """Fit the first candidate from nothing."""
        self.folds = [Fold.start(self.capture, lines, model, options, ROUGHLY) for lines in self.held_out]
        for fold in self.folds:
            self.residual[:, fold.held_out] = fold.residual()
        self._report(self.folds, 0.0, 0.0, chosen=True)

    def offer(self, options: Options | None = None, etalon: bool = False, **changes: Any) -> bool:
        """Score a change of the best candidate, fold by fold as long as it may win; True when it does.

        With ``etalon`` each fold adds the strongest one that its own lines show.
        """
        chosen = self.folds[0]
        options = options or chosen.options
        if etalon:
            changes = {"etalons_um": (*chosen.model.etalons_um, 0.0)}
        if 2 * int(replace(chosen.model, **changes).free.sum()) > self.capture.n_lines:
            return False
        residual, grown, lines = np.zeros_like(self.residual), [], np.zeros(0, dtype=np.intp)
        gain = error = 0.0
        for fold in self.folds:
            if etalon:
                opd = fold.next_etalon()
                changes = {"etalons_um": fold.model.etalons_um + (() if opd is None else (opd,))}
            model = replace(fold.model, **changes)
            grown.append(fold.grow(model, options) if (model, options) != (fold.model, fold.options) else fold)
            residual[:, fold.held_out] = grown[-1].residual()
            lines = np.concatenate([lines, fold.held_out])
            count = np.maximum(self.capture.mask[:, lines].sum(axis=1), 1)
            gain, error = paired_gain(self.residual[:, lines] ** 2, residual[:, lines] ** 2, count)
            if _hopeless(gain, error, len(grown) / len(self.folds)):
                break
        tried = [new for new, old in zip(grown, self.folds, strict=False) if new is not old]
        if not tried:
            return False  # no fold shows another etalon
        better = len(grown) == len(self.folds) and gain > max(BETTER * error, ROUNDED)
        self.weigh(residual, lines, gain, error, better)
        self._report(tried, gain, error, chosen=better)
        if better:
            self.folds, self.residual = grown, residual
        return better

    def weigh(self, residual: Array, lines: NDArray[np.intp], gain: float, error: float, better: bool) -> None:
        """Remember by how much the loser differs from the winner, and how likely it is the better one all the same."""
        behind = gain if better else max(-gain, 0.0)
        weight = float(np.exp(-0.5 * (behind / error) ** 2)) if error > 0 else 0.0
        data = self.folds[0].data
        difference = ((residual - self.residual) / data.flat)[data.usable]
        measured = self.capture.mask[data.usable].sum(axis=0)
        # a line at which they differ by more than what the winner leaves does tell them apart, however few they are
        remaining = ((residual if better else self.residual) / data.flat)[data.usable]
        square = np.full(self.capture.n_lines, np.nan)
        square[lines] = (np.minimum((difference**2).sum(axis=0), (remaining**2).sum(axis=0)) / np.maximum(measured, 1))[
            lines
        ]
        self.rivals.append((weight, square))

    def spread(self) -> Array:
        """Standard deviation between the models, weighted, smooth along the lines, shape ``(line,)``."""
        kernel = np.ones(min(SMOOTH_LINES, self.capture.n_lines))
        total = np.zeros(self.capture.n_lines)
        for weight, square in self.rivals:
            # of one that was given up early, from the lines on which it was compared
            compared = np.isfinite(square)
            near = np.convolve(compared, kernel, mode="same")
            mean = np.convolve(np.where(compared, square, 0), kernel, mode="same") / np.maximum(near, 1)
            total += weight * np.where(near > 0, mean, square[compared].mean())
        return np.asarray(np.sqrt(total / (1 + sum(weight for weight, _ in self.rivals))))

    def _report(self, tried: list[Fold], gain: float, error: float, *, chosen: bool) -> None:
        """Add a row to the table; held-out error is that of the best so far, less the gain on the lines compared."""
        rmse = float(row_rmse(self.residual**2, self.capture)[self.folds[0].data.usable].mean()) - gain
        if chosen:
            for row in self.table:
                row["chosen"] = False
        options = tried[0].options
        name = label(tried[0].model, shared_curve=options.shared_curve, shared_shift=options.shared_shift)
        inside = float(np.mean([fold.rmse_in_sample() for fold in tried]))
        row = {"label": name, "rmse_cv_mean": rmse, "rmse_mean": inside, "gain": gain, "gain_stderr": error}
        self.table.append({**row, "chosen": chosen})
        log.info("auto: %s: held-out %.4f, gain %.5f ± %.5f", name, rmse, gain, error)
        if self.progress is not None:
            self.progress(name)


def select_model(
    capture: MonochromaticCapture,
    options: Options,
    *,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Selection:
    """Choose the model of smallest held-out error, the simpler one where that cannot tell.

    Parameters
    ----------
    capture : MonochromaticCapture
    options : Options
        Loss, start and prior are kept; shared curves are tried; the engine is batched while choosing.
    seed : int
        Deals the lines to folds.
    progress : callable, optional
        Called with the label of each candidate when it is scored.

    Raises
    ------
    InputError
        When the capture has too few lines even for the simplest candidate.
    """
    engine, options = options.engine, replace(options, engine="batched", shared_curve=False, shared_shift=False)
    few = spread_rows(capture)
    trials = Trials(few, seed, progress)
    trials.start(_simplest_model(capture), options)
    if not np.all(few.flat == few.flat[:, :1]):
        trials.offer(gain_reference="none")
    trials.offer(degree_phase=3)
    trials.offer(replace(options, shared_curve=True))
    trials.offer(replace(trials.folds[0].options, shared_shift=True))
    for _ in range(MAX_ETALONS):
        if not trials.offer(etalon=True):
            break
    for degree in (5, 8):
        if not trials.offer(degree_phase=degree):
            break
    for degree in (5, 8):
        if not trials.offer(degree_gain=degree, degree_reflectivity=degree):
            break
    # last: two waves and many differ by little, and by less than what a phase or an etalon not yet modelled makes of it
    trials.offer(waves=2)
    chosen = trials.folds[0]
    model = find_device_etalons(capture, chosen.model, chosen.options)
    return Selection(
        model=model, options=replace(chosen.options, engine=engine), table=trials.table, model_spread=trials.spread()
    )


def _simplest_model(capture: MonochromaticCapture) -> TransmittanceModel:
    """Where the choice begins: as high degrees as the capture's lines allow, up to 3, without dispersion."""
    for degree in (3, 1, 0):
        model = TransmittanceModel(degree_gain=degree, degree_reflectivity=degree)
        if 2 * int(model.free.sum()) <= capture.n_lines:
            return model
    raise InputError(
        f"{capture.source or capture.name}: lines: found {capture.n_lines}, expected at least 8 to choose a model"
    )


def general_model(capture: MonochromaticCapture) -> TransmittanceModel:
    """A model beside which wild samples show before any was chosen: with dispersion, where there are lines for it."""
    simplest = _simplest_model(capture)
    general = replace(simplest, degree_phase=5)
    return general if 4 * int(general.free.sum()) <= capture.n_lines else simplest
