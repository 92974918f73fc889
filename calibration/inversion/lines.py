"""How well methods measure monochromator lines that the characterization has never seen.

The lines are dealt to folds. For each fold the instrument is characterized on the other lines, the interferogram of
every line is inverted on the grid of the device's lines, and the peak is read: where it is, how much energy it holds.
What a reading needs to be right is learned on the lines that were not held out: the share of the energy inside the
window, an error of the wavelength scale that the characterization has not found, and how far readings scatter about
both. So an interval holds noise, amplitude and wavelength curves and whatever else disturbs lines near by.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import Characterization
from calibration.fitting.options import Options
from calibration.held_out import deal
from calibration.inversion import registry
from calibration.inversion.kept import Kept, capture_name
from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import Method
from calibration.pipeline import characterize
from hsitools.progress import Progress, silent

Array = NDArray[np.float64]

#: Errors of more than this many resolution elements are gross.
GROSS = 3.0
#: Steps of the grid to the median spacing of the lines: finer, and no simple fraction, so that lines lie anywhere
#: between its samples.
FINER = float(np.sqrt(6))
#: A peak narrower than this many samples has no summit between them: its centre of gravity counts.
NARROW = 2.0
#: Half the window whose energy counts, in FWHM of the peaks.
WINDOW = 1.5
#: Calibration lines near a line that tell how readings err there; fewer follow the band, more are surer of the tail.
NEIGHBOURS = 41
#: Steps towards the straight line through their errors on which outliers count by their absolute deviations.
TREND_STEPS = 8
#: Standard deviations by which, and lines from which, the slope of that line must differ from none to count; and where
#: a neighbour would count nothing, in distances of the farthest.
SLOPE, SLOPE_LINES, FARTHER = 3.0, 10, 1.1
#: Folds of the calibration lines among themselves.
INNER_FOLDS = 4
#: Lines whose position is no surer than this many resolution elements are flagged: there is too little light.
FLAG = 0.5
#: Lines beside whose peak another is higher than this share of it are flagged too: which of them it is is a guess.
#: Right peaks have less (99 % of them below .3 on imspoc_uv_2's first fold), wrong ones several times their size.
FLAG_SIDELOBE = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """An instrument characterized without some lines, and the interferograms of all.

    Attributes
    ----------
    case : Interferograms
        One pixel a line, in the capture's order.
    wavelength_nm : array, shape (line,)
        Where each line is, by the characterization's wavelength scale.
    resolution_nm : array, shape (line,)
        ``λ² / (2·largest OPD)``.
    spacing_nm : array, shape (line,)
        Distance to the next lines, their mean.
    held_out : array of bool, shape (line,)
    weight : array, shape (grid,)
        What turns the values at the grid's wavelengths into energy, in units of the line.
    """

    case: Interferograms
    wavelength_nm: Array
    resolution_nm: Array
    spacing_nm: Array
    held_out: NDArray[np.bool_]
    weight: Array

    @classmethod
    def with_instrument(
        cls, capture: MonochromaticCapture, held_out: NDArray[np.intp], result: Characterization
    ) -> Fold:  # fmt: skip
        """The fold of a characterization that was made without the held-out lines."""
        away = np.zeros(capture.n_lines, dtype=bool)
        away[held_out] = True
        flat = np.where(result.response.flat > 0, result.response.flat, capture.flat)
        response = replace(result.response, flat=flat)
        assert result.lines is not None
        fitted = np.flatnonzero(np.isfinite(response.theta).all(axis=1) & (result.lines.row_noise > 0))
        response = response.rows(fitted)
        # the shift that the kept lines show, between them
        sigma = capture.wavenumber
        shift = np.interp(sigma, sigma[~away], result.lines.shift[~away])
        low, high = response.band_nm
        true = 1000 / (sigma + shift)
        spacing = np.abs(np.gradient(true))
        grid = np.linspace(low, high, int(np.ceil(FINER * (high - low) / float(np.median(spacing)))) + 1)
        weight = np.gradient(grid)
        weight[[0, -1]] = np.diff(grid)[[0, -1]] / 2
        case = Interferograms(
            matrix=response.matrix(grid), values=capture.intensity[fitted][:, None], wavelength_nm=grid,
            noise_std=result.lines.row_noise[fitted], noise_known=False, opd_um=response.opd_um,
        )  # fmt: skip
        return cls(
            case=case, wavelength_nm=true, spacing_nm=spacing, held_out=away, weight=weight / (high - low),
            resolution_nm=true**2 / 1000 / (2 * float(np.abs(response.opd_um).max())),
        )  # fmt: skip

    def only(self, lines: NDArray[np.intp]) -> Fold:
        """Some of the lines."""
        return replace(
            self, case=replace(self.case, values=self.case.values[:, :, lines]), held_out=self.held_out[lines],
            wavelength_nm=self.wavelength_nm[lines], resolution_nm=self.resolution_nm[lines],
            spacing_nm=self.spacing_nm[lines],
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Peaks:
    """The peak of each spectrum, ``(line,)`` each: place in the grid, position (nm), FWHM (nm)."""

    place: NDArray[np.intp]
    position_nm: Array
    fwhm_nm: Array


def find_peaks(spectra: Spectra) -> Peaks:
    """Where spectra are most surely positive, refined by three samples of the estimate.

    By a parabola through them, or where the peak is as narrow as a sample by their centre of gravity.
    """
    grid = spectra.wavelength_nm
    values = spectra.estimate.reshape(len(grid), -1)
    noise = spectra.std if spectra.noise_std is None else spectra.noise_std
    sure = values if noise is None else values / np.maximum(noise.reshape(len(grid), -1), 1e-300)
    every = np.arange(values.shape[1])
    place = sure.argmax(axis=0)
    # the summit of the estimate itself lies at most a sample away from where it is surest
    near = np.clip(place + np.array([-1, 0, 1])[:, None], 0, len(grid) - 1)
    place = near[values[near, every].argmax(axis=0), every]
    inside = np.clip(place, 1, len(grid) - 2)
    before, top, after = (values[inside + step, every] for step in (-1, 0, 1))
    curvature = before - 2 * top + after
    shift = np.where(
        (place == inside) & (curvature < 0), 0.5 * (before - after) / np.where(curvature < 0, curvature, 1), 0
    )
    width = _fwhm(grid, values, place)
    narrow = width < NARROW * np.gradient(grid)[place]
    before, top, after = (np.maximum(part, 0) for part in (before, top, after))
    centre = (after - before) / np.maximum(before + top + after, 1e-300)
    shift = np.where(narrow & (place == inside), centre, np.clip(shift, -1, 1))
    return Peaks(place=place, position_nm=np.interp(place + shift, np.arange(len(grid)), grid), fwhm_nm=width)


def _fwhm(grid: Array, values: Array, place: NDArray[np.intp]) -> Array:
    """Full width at half maximum about each peak, straight between samples."""
    widths = np.empty(len(place))
    for column, top in enumerate(place):
        line = values[:, column]
        half = line[top] / 2
        ends = []
        for step, last in ((-1, 0), (1, len(grid) - 1)):
            at = top
            while at != last and line[at] > half:
                at += step
            inner = at - step if at != top else at
            share = (line[inner] - half) / (line[inner] - line[at]) if line[at] < half < line[inner] else 1.0
            ends.append(grid[inner] + share * (grid[at] - grid[inner]))
        widths[column] = ends[1] - ends[0]
    return widths


def read(fold: Fold, spectra: Spectra) -> dict[str, Array]:
    """Raw readings of the held-out lines, ``(line,)`` each: position, energy in the window, width, sidelobe."""
    grid = fold.case.wavelength_nm
    values = spectra.estimate.reshape(len(grid), -1)
    peaks = find_peaks(spectra)
    truth, resolution = fold.wavelength_nm, fold.resolution_nm
    width = float(np.median(peaks.fwhm_nm / resolution))
    inside = np.abs(grid[:, None] - peaks.position_nm) <= WINDOW * width * resolution + 1e-9
    top = values[peaks.place, np.arange(values.shape[1])]
    held = fold.held_out
    readings = {
        "wavelength_nm": truth, "resolution_nm": resolution, "position_nm": peaks.position_nm,
        "fwhm_nm": peaks.fwhm_nm, "energy_window": (values * fold.weight[:, None] * inside).sum(axis=0),
        # where nothing rises above zero all is as high as the peak
        "sidelobe": np.where(top > 0, np.abs(np.where(inside, 0, values)).max(axis=0) / np.where(top > 0, top, 1), 1.0),
        "spacing_nm": fold.spacing_nm,
    }  # fmt: skip
    return {name: column[held] for name, column in readings.items()}


def corrected(readings: dict[str, Array], learned: dict[str, Array]) -> dict[str, Array]:
    """Readings with what calibration lines near by say of them: errors, and standard deviations to be held to.

    Parameters
    ----------
    readings : dict of array, shape (line,)
        Of held-out lines, as `read` gives them.
    learned : dict of array
        The same of the calibration lines, each read when it was held out of a characterization itself.
    """
    error = learned["position_nm"] - learned["wavelength_nm"]
    # the gross ones say nothing of the others
    right = np.abs(error) <= GROSS * learned["resolution_nm"]
    error, place, energy = error[right], learned["wavelength_nm"][right], learned["energy_window"][right]
    at = readings["position_nm"]
    near = np.argsort(np.abs(place - at[:, None]), axis=1)[:, :NEIGHBOURS]
    trend, share = _trend(place[near] - at[:, None], error[near]), np.median(energy[near], axis=1)
    offset = trend[:, 0]
    share = np.where(share > 0, share, 1)

    def spread(values: Array) -> Array:
        # of a normal distribution 1.96 standard deviations hold 95 %; the tail of readings is longer
        return np.asarray(np.quantile(np.abs(values), 0.95, axis=1) / 1.96)

    position = at - offset
    about = error[near] - offset[:, None] - trend[:, 1:] * (place[near] - at[:, None])
    return {
        **readings, "error_nm": position - readings["wavelength_nm"], "energy": readings["energy_window"] / share,
        "exact": (np.abs(position - readings["wavelength_nm"]) <= readings["spacing_nm"] / 2).astype(float),
        "position_std_nm": spread(about),
        "energy_std": spread(energy[near] / share[:, None] - 1),
    }  # fmt: skip


def _trend(distance: Array, error: Array) -> Array:
    """Error at distance zero and its slope ``(line, 2)``, by what neighbours show: a straight line, or their median.

    At the band's ends neighbours lie on one side, and errors that grow towards the end are larger there than their
    median. Nearer ones count more, outliers by their absolute deviations.
    """
    level = np.stack([np.median(error, axis=1), np.zeros(len(error))], axis=1)
    if error.shape[1] < SLOPE_LINES:
        return level
    reach = FARTHER * np.abs(distance).max(axis=1, keepdims=True) + 1e-300
    closeness = (1 - (np.abs(distance) / reach) ** 3) ** 3
    place, weight = distance / reach, closeness
    for _ in range(TREND_STEPS):
        total = weight.sum(axis=1, keepdims=True)
        middle, mean = ((weight * part).sum(axis=1, keepdims=True) / total for part in (place, error))
        power = np.maximum((weight * (place - middle) ** 2).sum(axis=1, keepdims=True), 1e-300)
        slope = (weight * (place - middle) * error).sum(axis=1, keepdims=True) / power
        misfit = np.abs(error - mean - slope * (place - middle))
        typical = np.maximum(np.median(misfit, axis=1, keepdims=True), 1e-12)
        weight = closeness / np.maximum(misfit / typical, 1)
    # the median of a normal distribution's absolute values is .67 of its deviation
    chance = typical / 0.67 * np.sqrt((weight**2 * (place - middle) ** 2).sum(axis=1, keepdims=True)) / power
    straight = np.concatenate([mean - slope * middle, slope / reach], axis=1)
    return np.where(np.abs(slope) > SLOPE * chance, straight, level)


def summary(readings: dict[str, Array]) -> dict[str, float]:
    """One record of readings: shares in %, positions in nm, energies in units of the line."""
    error = np.abs(readings["error_nm"])
    gross = error > GROSS * readings["resolution_nm"]
    flagged = (readings["position_std_nm"] > FLAG * readings["resolution_nm"]) | (readings["sidelobe"] > FLAG_SIDELOBE)
    return {
        "lines": float(len(error)),
        "exact_percent": 100 * float(readings["exact"].mean()),
        "position_nm_median": float(np.median(error)),
        "position_nm_p90": float(np.percentile(error, 90)),
        "gross_percent": 100 * float(gross.mean()),
        "gross_unflagged_percent": 100 * float((gross & ~flagged).mean()),
        "flagged_percent": 100 * float(flagged.mean()),
        "fwhm_nm": float(np.median(readings["fwhm_nm"])),
        "energy": float(np.median(readings["energy"])),
        "energy_window": float(np.median(readings["energy_window"])),
        "sidelobe": float(np.median(readings["sidelobe"])),
        "coverage95_energy": float((np.abs(readings["energy"] - 1) <= 1.96 * readings["energy_std"]).mean()),
        "coverage95_position": float((error <= 1.96 * readings["position_std_nm"]).mean()),
    }


def compare(
    capture: MonochromaticCapture, methods: list[str], *, folds: int = 5, seed: int = 0, first: int | None = None,
    kept: Kept | None = None, progress: Progress = silent,
) -> list[dict[str, Any]]:  # fmt: skip
    """One record a method over all held-out lines of a capture.

    Parameters
    ----------
    capture : MonochromaticCapture
    methods : list of str
        Those that learn from an image are left out.
    folds, seed : int
    first : int, optional
        Only so many of the folds: each costs five characterizations.
    kept : Kept, optional
        Readings of finished folds.
    progress : callable
        Called with (done, total).

    Raises
    ------
    InputError
        On an unknown method, or when lines and folds do not fit.
    """
    kept = Kept() if kept is None else kept
    name_of_capture = capture_name(capture)
    entries = [entry for entry in map(registry.get, methods) if not entry.image]
    gathered: dict[str, list[dict[str, Array]]] = {entry.name: [] for entry in entries}
    seconds = dict.fromkeys(gathered, 0.0)
    dealt = deal(capture.n_lines, folds, seed)[:first]
    for number, held_out in enumerate(dealt):
        # characterized when the first method asks for it, and not where all is kept
        instruments = cache(partial(nested, capture, held_out, seed))
        for place, entry in enumerate(entries):
            of = {"lines_of": name_of_capture, "folds": folds, "seed": seed, "fold": number, "method": entry.name}
            result = kept.get(of, partial(_fold_readings, entry, instruments))
            gathered[entry.name].append(
                {name: np.asarray(column, dtype=float) for name, column in result["readings"].items()}
            )
            seconds[entry.name] += result["seconds"]
            progress(number * len(entries) + place + 1, len(dealt) * len(entries))
    return [
        {"case": capture.name, "method": name, "folds": folds, **summary(joined(parts)), "seconds": seconds[name]}
        for name, parts in gathered.items()
    ]


def _fold_readings(entry: Method, instruments: Callable[[], tuple[Fold, list[Fold]]]) -> dict[str, Any]:
    """Corrected readings of a fold's held-out lines, and the time that their inversion took."""
    fold, inner = instruments()
    began = time.perf_counter()
    spectra = entry(fold.case)
    seconds = time.perf_counter() - began
    learned = joined([read(other, entry(other.case)) for other in inner])
    return {"readings": corrected(read(fold, spectra), learned), "seconds": seconds}


def joined(parts: list[dict[str, Array]]) -> dict[str, Array]:
    """Readings of several folds as one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def nested(capture: MonochromaticCapture, held_out: NDArray[np.intp], seed: int = 0) -> tuple[Fold, list[Fold]]:
    """The fold of some lines, and folds within the others: there the calibration lines are held out in their turn.

    The model is chosen once, on all that are not held out.
    """
    mask = capture.mask.copy()
    mask[:, held_out] = False
    result = characterize(replace(capture, mask=mask), seed=seed)
    kept = np.setdiff1d(np.arange(capture.n_lines), held_out)
    options = Options(**{field.name: result.settings[field.name] for field in fields(Options)})
    inner = []
    for chosen in deal(len(kept), INNER_FOLDS, seed + 1):
        without = mask.copy()
        without[:, kept[chosen]] = False
        again = characterize(replace(capture, mask=without), result.model, options=options)
        away = np.concatenate([held_out, kept[chosen]])
        fold = Fold.with_instrument(capture, away, again)
        of_these = np.zeros(capture.n_lines, dtype=bool)
        of_these[kept[chosen]] = True
        # the lines of the outer fold are not even looked at
        inner.append(fold.only(np.flatnonzero(of_these)))
    return Fold.with_instrument(capture, held_out, result).only(held_out), inner
