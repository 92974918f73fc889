"""Do the calibration's intervals cover: simulated devices in every mode, and reflectivity against OPD on the real ones.

A mode is right when the share of true values within 1.96 standard errors is .92 to .98 and the robust root mean square
of the standardised errors is .8 to 1.25, for OPD, phase, reflectivity and gain. Errors that a device's rows have in
common (drift, wavelength scale, an estimated line width) are drawn once a device: such modes take many devices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.captures import DEVICES, load
from calibration import simulated_bench as bench
from calibration.captures.capture import MonochromaticCapture
from calibration.fitting.options import Options
from calibration.pipeline import characterize
from hsitools.sensor.transmittance import TransmittanceModel

Array = NDArray[np.float64]
MODEL = TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3)
#: Of 355 interferometers a share of .95 is .93 to .97 by chance: several draws are pooled.
SEEDS = (2, 3, 4)
QUANTITIES = ("opd", "phase", "reflectivity", "gain")
#: Correlation of neighbouring lines' noise where it hangs together.
OVER_LINES = 0.7
#: Share within 1.96 standard errors on 0.1.0: OPD, phase, reflectivity, gain (one device of 300 × 451).
BEFORE = {
    "default": (0.973, 0.973, 0.953, 0.645), "no prior": (0.959, 0.970, 0.966, 0.956),
    "fixed gain": (0.851, 0.865, 0.807, 0.000), "fixed gain, no prior": (0.946, 0.956, 0.943, 0.000),
    "huber, 2 % wild": (0.899, 0.976, 0.956, 0.922), "drift 5 %": (0.973, 0.973, 0.949, 0.578),
    "line .5 nm": (0.970, 0.973, 0.510, 0.632), "line 2 nm": (0.980, 0.980, 0.111, 0.595),
}  # fmt: skip


def _forget_width(capture: MonochromaticCapture, rng: np.random.Generator) -> MonochromaticCapture:
    return replace(capture, linewidth_nm=None)


def _holes(capture: MonochromaticCapture, rng: np.random.Generator) -> MonochromaticCapture:
    return replace(capture, mask=rng.random(capture.mask.shape) > 0.2)


def _uneven_noise(capture: MonochromaticCapture, rng: np.random.Generator) -> MonochromaticCapture:
    """The last eighth of the lines four times as noisy, as on a real device."""
    extra = np.zeros(capture.intensity.shape)
    first = 7 * capture.n_lines // 8
    mean = capture.intensity.mean(axis=1, keepdims=True)
    extra[:, first:] = 0.37 * mean * rng.standard_normal((capture.n_interferometers, capture.n_lines - first))
    return replace(capture, intensity=capture.intensity + extra)


def _uneven_brightness(capture: MonochromaticCapture, rng: np.random.Generator) -> MonochromaticCapture:
    factor = np.exp(rng.normal(0, 1, (capture.n_interferometers, 1)))
    return replace(capture, intensity=capture.intensity * factor, flat=capture.flat * factor)


def _over_lines(capture: MonochromaticCapture, rng: np.random.Generator) -> MonochromaticCapture:
    """Noise of each row that hangs together over three lines, in place of what hardly any there is."""
    noise = rng.standard_normal(capture.intensity.shape)
    for line in range(1, capture.n_lines):
        noise[:, line] = OVER_LINES * noise[:, line - 1] + np.sqrt(1 - OVER_LINES**2) * noise[:, line]
    return replace(capture, intensity=capture.intensity + bench.noise_sigma(capture.intensity, 0.095) * noise)


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How devices are simulated, measured and fitted."""

    options: Options = Options()  # noqa: RUF009  # frozen
    model: TransmittanceModel = MODEL
    devices: int = 5
    rows: int = 72
    lines: int = 301
    even_in: str = "wavenumber"
    smallest_opd_um: float = 1.5
    largest_opd_um: float = 54.0
    least_fringes: float = 4.0
    measured: dict[str, Any] = field(default_factory=dict)
    after: Callable[[MonochromaticCapture, np.random.Generator], MonochromaticCapture] | None = None


MANY = {"devices": 48, "rows": 24, "lines": 151, "largest_opd_um": 30.0}
MODES: dict[str, Mode] = {
    "default": Mode(),
    "no prior": Mode(options=Options(prior=False)),
    "fixed gain": Mode(model=replace(MODEL, refine_gain=False)),
    "fixed gain, no prior": Mode(model=replace(MODEL, refine_gain=False), options=Options(prior=False)),
    "2 % wild": Mode(measured={"hot_share": 0.02}),
    "2 % wild, no prior": Mode(measured={"hot_share": 0.02}, options=Options(prior=False)),
    "huber, clean": Mode(options=Options(loss="huber")),
    "huber, 2 % wild": Mode(options=Options(loss="huber"), measured={"hot_share": 0.02}),
    "huber, 2 % wild, no prior": Mode(options=Options(loss="huber", prior=False), measured={"hot_share": 0.02}),
    "drift 5 %": Mode(measured={"drift": 0.05}, **MANY),
    "drift 5 %, shared curve": Mode(measured={"drift": 0.05}, options=Options(shared_curve=True), **MANY),
    "scale .05 nm": Mode(measured={"scale_error_nm": 0.05}, **MANY),
    "scale .05 nm, shared shift": Mode(measured={"scale_error_nm": 0.05}, options=Options(shared_shift=True), **MANY),
    "line .5 nm": Mode(measured={"linewidth_nm": 0.5}),
    "line 2 nm": Mode(measured={"linewidth_nm": 2.0}),
    "line 2 nm, no prior": Mode(measured={"linewidth_nm": 2.0}, options=Options(prior=False)),
    "line 2 nm, estimated": Mode(
        measured={"linewidth_nm": 2.0}, after=_forget_width, options=Options(estimate_linewidth=True), devices=12
    ),
    "few lines": Mode(lines=61, devices=6, largest_opd_um=14.0),
    "few lines, no prior": Mode(lines=61, devices=6, largest_opd_um=14.0, options=Options(prior=False)),
    "1 to 3 fringes": Mode(
        smallest_opd_um=0.54, largest_opd_um=1.6, least_fringes=0, rows=36, lines=151, measured={"noise": 0.03}
    ),
    "few rows": Mode(devices=50, rows=8),
    "lines even in nm": Mode(even_in="wavelength"),
    "a fifth of the samples missing": Mode(after=_holes),
    "noise fourfold in an eighth": Mode(after=_uneven_noise),
    "noise over three lines": Mode(after=_over_lines, measured={"noise": 1e-6}),
    "noise over three lines, fixed gain": Mode(
        after=_over_lines, measured={"noise": 1e-6}, model=replace(MODEL, refine_gain=False)
    ),
    "brightness e-fold": Mode(after=_uneven_brightness),
    "two waves": Mode(model=replace(MODEL, waves=2)),
    "four waves": Mode(model=replace(MODEL, waves=4)),
}  # fmt: skip


def errors(mode: Mode, seed: int = 0) -> dict[str, Array]:
    """Standardised errors of all interferometers of more than a mode's fewest fringes, over its devices."""
    parts: dict[str, list[Array]] = {name: [] for name in QUANTITIES}
    for number in range(mode.devices):
        rng = np.random.default_rng([seed, number])
        instrument = bench.simulate_instrument(
            mode.rows, rng=rng, waves=mode.model.waves, rows=8, opd_offset_um=mode.smallest_opd_um,
            opd_step_um=(mode.largest_opd_um - mode.smallest_opd_um) / mode.rows,
        )  # fmt: skip
        capture = bench.capture(
            instrument, bench.lines(mode.lines, even_in=mode.even_in), rng=rng, **{"linewidth_nm": 0.0, **mode.measured}
        )
        if mode.after is not None:
            capture = mode.after(capture, rng)
        result = characterize(capture, mode.model, options=mode.options)
        sure = result.fringes > mode.least_fringes
        for name, z in bench.standardised_errors(instrument, result).items():
            parts[name].append(z[sure])
    return {name: np.concatenate(z) for name, z in parts.items()}


def share(z: Array) -> float:
    """Share within 1.96 standard errors."""
    return float(np.mean(np.abs(z) < 1.96))


def robust_rms(z: Array) -> float:
    """Root mean square as the median of the magnitudes gives it."""
    return float(1.4826 * np.median(np.abs(z)))


def simulated(names: tuple[str, ...] = tuple(MODES)) -> None:
    """Print the table of modes."""
    print("Simulated devices: share within 1.96 standard errors (of .95), robust rms of the standardised errors (of 1)")
    print(f"  {'mode':<32}{'n':>5}" + "".join(f"{name:>15}" for name in QUANTITIES) + "   0.1.0, shares")
    for name in names:
        drawn = [errors(MODES[name], seed) for seed in SEEDS]
        z = {quantity: np.concatenate([one[quantity] for one in drawn]) for quantity in QUANTITIES}
        cells = "".join(f"{share(z[q]):>9.3f}{robust_rms(z[q]):>6.2f}" for q in QUANTITIES)
        before = "  ".join(f"{value:.3f}" for value in BEFORE[name]) if name in BEFORE else ""
        print(f"  {name:<32}{len(z['opd']):>5}{cells}   {before}", flush=True)


def real() -> None:
    """Print reflectivity against OPD on the real captures, without a line width and with the estimated one."""
    print("Real captures: median reflectivity by quarter of the OPDs, and RMSE in sample")
    for device in DEVICES:
        capture = load(device)
        model = replace(MODEL, degree_phase=5, gain_reference="none" if device == "wfai_1" else "flat")
        for label, estimate in (("monochromatic", False), ("line estimated", True)):
            result = characterize(capture, model, options=Options(estimate_linewidth=estimate, shared_curve=True))
            order = np.argsort(np.where(result.fringes > 4, result.opd_um, np.nan))
            order = order[: int((result.fringes > 4).sum())]
            quarters = [f"{np.nanmedian(result.reflectivity[part]):.3f}" for part in np.array_split(order, 4)]
            width = result.settings.get("linewidth_estimate")
            said = "" if not width else f"  {width['nm']:.2f} nm at {1000 / width['centre_per_um']:.0f} nm"
            print(
                f"  {device:<12} {label:<15} {' '.join(quarters)}  RMSE {np.nanmean(result.rmse):.4f}{said}", flush=True
            )


def main() -> None:
    """Print both tables."""
    simulated()
    real()


if __name__ == "__main__":
    main()
