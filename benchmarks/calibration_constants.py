"""What moves in a calibration when a tuned constant is halved or doubled: the plateau each stands on.

One simulated device, whose truth is known, and a real one. A constant is right where nothing moves much either way; the
table names those that do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.captures import load
from calibration import simulated_bench as bench
from calibration.captures.capture import MonochromaticCapture
from calibration.fitting.options import Options
from calibration.pipeline import characterize

#: Tuned constants by the module that reads them; of a tuple, the entry.
CONSTANTS: tuple[tuple[str, str], ...] = (
    ("held_out", "ADDED_SIGMA"), ("held_out", "ROWS"), ("held_out", "SAME_ETALON_UM"),
    ("model_choice", "FOLDS"), ("model_choice", "SMOOTH_LINES"), ("model_choice", "BETTER"), ("model_choice", "LUCK"),
    ("fitting.initialize", "OVERSAMPLING"), ("fitting.initialize", "MIN_FRINGES"),
    ("fitting.initialize", "NULL_DEGREE"), ("fitting.etalons", "MIN_FRINGES"),
    ("fitting.population", "STEPS"), ("fitting.population", "MIN_ROWS"),
    ("fitting.opd_law", "NEIGHBOURS"), ("fitting.fit", "ROUNDS"), ("fitting.restarts", "FEW_FRINGES"),
    ("fitting.uncertainty", "MODES"), ("fitting.noise", "NOISE_SAMPLES"), ("fitting.noise", "WILD_SQUARE"),
    ("fitting.refine", "HUBER"), ("fitting.refine", "WILD"),
    ("fitting.line_width", "ENOUGH_ROWS"), ("fitting.line_width", "FIRST_EXPONENT"), ("fitting.line_width", "SURE"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is watched; errors in units of their standard errors are of the simulated device."""

    opd_nm: float
    covered: float
    reflectivity: float
    held_out: float
    real_held_out: float

    def cells(self) -> str:
        """The figures as cells of the table."""
        return (
            f"{self.opd_nm:10.2f}{self.covered:10.3f}{self.reflectivity:10.4f}"
            f"{self.held_out:10.4f}{self.real_held_out:10.4f}"
        )


def devices() -> tuple[bench.SimulatedInstrument, MonochromaticCapture, MonochromaticCapture]:
    """A simulated instrument with an etalon, its capture with drift and a wide line, and a part of a real one."""
    rng = np.random.default_rng(4)
    instrument = bench.simulate_instrument(48, rng=rng, rows=8, opd_step_um=0.6, etalon_um=13.0, etalon_amplitude=0.05)
    capture = bench.capture(instrument, bench.lines(201), rng=rng, linewidth_nm=1.0, drift=0.02, hot_share=0.002)
    return instrument, capture, load("imspoc_uv_1").select(rows=np.arange(0, 80))


def measure(
    instrument: bench.SimulatedInstrument, capture: MonochromaticCapture, real: MonochromaticCapture
) -> Figures:
    """Characterize both devices by the default path, the simulated one with wild samples and an estimated line."""
    result = characterize(capture, options=Options(loss="huber", estimate_linewidth=True), cv=4)
    z = bench.standardised_errors(instrument, result)
    truth = instrument.reflectivity_at(result.wavenumber)[result.index].mean(axis=1)
    return Figures(
        opd_nm=1000 * float(np.nanmedian(np.abs(result.opd_um - instrument.opd_um))),
        covered=float(np.mean([np.abs(z[name]) < 1.96 for name in ("opd", "reflectivity", "gain")])),
        reflectivity=float(np.nanmedian(np.abs(result.reflectivity - truth))),
        held_out=float(np.nanmean(np.asarray(result.rmse_cv))),
        real_held_out=float(np.nanmean(np.asarray(characterize(real, cv=4).rmse_cv))),
    )


@contextmanager
def scaled(module: str, name: str, factor: float) -> Iterator[Any]:
    """The constant times a factor, whole numbers staying whole; its value meanwhile."""
    home = import_module(f"calibration.{module}")
    before = getattr(home, name)
    kind: Callable[[float], Any] = int if isinstance(before, int) else float
    value = max(kind(before * factor), kind(1)) if kind is int else kind(before * factor)
    if name == "NEIGHBOURS":
        value += 1 - value % 2  # a median about the row itself
    setattr(home, name, value)
    try:
        yield value
    finally:
        setattr(home, name, before)


def main(constants: tuple[tuple[str, str], ...] = CONSTANTS) -> dict[tuple[str, str, float], Figures]:
    """Print the table and return its figures by module, constant and factor."""
    data = devices()
    print("Tuned constants of the calibration, halved and doubled")
    print(f"  {'':<46}{'OPD, nm':>10}{'covered':>10}{'R':>10}{'held out':>10}{'real':>10}")
    as_it_is = measure(*data)
    print(f"  {'as they are':<46}{as_it_is.cells()}", flush=True)
    results = {}
    for module, name in constants:
        for factor in (0.5, 2.0):
            with scaled(module, name, factor) as value:
                figures = results[module, name, factor] = measure(*data)
            print(f"  {module + '.' + name:<38}{value:>8.3g}{figures.cells()}", flush=True)
    return results


if __name__ == "__main__":
    main()
