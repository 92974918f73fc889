"""OPD errors against the simulated bench's truth: Cramér-Rao bound, fringe order, coverage of the intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from calibration import simulated_bench as bench
from calibration.fitting.options import Options
from calibration.pipeline import characterize
from hsitools.sensor.transmittance import TransmittanceModel


def cramer_rao_um(instrument: bench.SimulatedInstrument, wavenumber: Any, noise: float) -> Any:
    """Smallest standard deviation of an unbiased estimate of each OPD, µm.

    Fisher information of the true model (gain and reflectivity of degree 3, phase of degree 3) under the true noise,
    its derivatives by central differences of the bench's own transmittance, nothing shared with the fits.
    """
    from dataclasses import replace

    mean = bench.expectation(instrument, wavenumber)
    sigma = bench.noise_sigma(mean, noise)
    derivatives = []
    step = 1e-5
    for name, columns in (("opd_um", (None,)), ("phase", (0, 2, 3)), ("reflectivity", range(4)), ("gain", range(4))):
        for column in columns:
            values = []
            for sign in (1, -1):
                array = getattr(instrument, name).copy()
                if column is None:
                    array += sign * step
                else:
                    array[:, column] += sign * step
                values.append(bench.expectation(replace(instrument, **{name: array}), wavenumber))
            derivatives.append((values[0] - values[1]) / (2 * step) / sigma)
    jacobian = np.stack(derivatives, axis=2)
    information = np.einsum("bkp,bkq->bpq", jacobian, jacobian)
    return np.sqrt(np.linalg.inv(information)[:, 0, 0])


#: Relative to each row's mean, as on a real instrument.
NOISE = 0.095


def trial(seed: int) -> dict[str, Any]:
    """One simulated device characterized with the default degrees and a dispersive phase."""
    rng = np.random.default_rng(seed)
    instrument = bench.simulate_instrument(300, rng=rng)
    wavenumber = bench.lines(451)
    capture = bench.capture(instrument, wavenumber, rng=rng, noise=NOISE, linewidth_nm=0.0)
    result = characterize(capture, TransmittanceModel(degree_phase=3))
    error = result.opd_um - instrument.opd_um
    width = float(np.ptp(wavenumber))
    return {
        "fringes": instrument.opd_um * width,
        "error_um": error,
        "stderr_um": result.opd_stderr_um,
        "bound_um": cramer_rao_um(instrument, wavenumber, NOISE),
        # the wrong order is off by a whole wavelength or more: half of the band's longest tells them apart
        "right_order": np.abs(error) < 0.5 / wavenumber.max(),
    }


def main(seeds: int = 5) -> dict[str, float]:
    """Print and return the figures over several simulated devices."""
    trials = [trial(seed) for seed in range(seeds)]
    every = {key: np.concatenate([t[key] for t in trials]) for key in trials[0]}
    four, two = every["fringes"] >= 4, every["fringes"] >= 2
    ratio = np.sqrt(np.mean((every["error_um"][four] / every["bound_um"][four]) ** 2))
    covered = np.abs(every["error_um"]) <= 1.96 * every["stderr_um"]
    result = {
        "opd_error_over_bound": float(ratio),
        "right_order_share": float(every["right_order"][two].mean()),
        "coverage_95": float(covered.mean()),
        "coverage_95_four_fringes": float(covered[four].mean()),
    }
    print(f"Simulated bench: {seeds} devices of 300 interferometers × 451 lines, noise .095 of the mean")
    print(f"  rms OPD error / Cramér-Rao bound, ≥ 4 fringes   {ratio:.3f}   (target ≤ 1.2)")
    print(
        f"  right fringe order, ≥ 2 fringes                 {100 * result['right_order_share']:.2f} % (target ≥ 99.5 %)"
    )
    print(f"  95 % intervals cover                            {100 * result['coverage_95']:.1f} %  (target 93–97 %)")
    result.update(few_fringes())
    return result


def few_fringes() -> dict[str, float]:
    """Share of interferometers of one to three fringes that end on a wrong OPD, alone and with their neighbours."""
    wrong: dict[str, list[Any]] = {"alone": [], "together": []}
    for seed in range(5):
        rng = np.random.default_rng(100 + seed)
        instrument = bench.simulate_instrument(60, rng=rng, opd_offset_um=0.6, opd_step_um=0.06, dispersion_rad=0.0)
        wavenumber = bench.lines(451)
        capture = bench.capture(instrument, wavenumber, rng=rng, noise=NOISE, linewidth_nm=0.0)
        width = float(np.ptp(wavenumber))
        few = (instrument.opd_um * width >= 1) & (instrument.opd_um * width < 3)
        for name, prior in (("alone", False), ("together", True)):
            result = characterize(capture, TransmittanceModel(), options=Options(prior=prior))
            wrong[name].append(np.abs(result.opd_um - instrument.opd_um)[few] > 0.25 / width)
    share = {f"few_fringes_wrong_{name}": float(np.concatenate(rows).mean()) for name, rows in wrong.items()}
    alone, together = share.values()
    figures = f"{100 * together:.1f} %   (each row by itself {100 * alone:.1f} %)"
    print(f"  1 to 3 fringes, OPD off by > 1/4 fringe         {figures}")
    return share


if __name__ == "__main__":
    main()
