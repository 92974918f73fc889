"""What calibration does in ``hsi process``: raw frames → capture → instrument → spectra with error bars."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsitools.chain import Fact, Outcome
from hsitools.process import Plan, Process, ProcessStep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from calibration.inversion.invert import Inversion
    from calibration.inversion.scene_frames import SceneMeasurement

Array = NDArray[np.float64]
log = logging.getLogger(__name__)
#: Folds of lines for the held-out error of the instrument: the number that the report has to tell.
FOLDS = 10
#: Spectra drawn: pixels at these quantiles of brightness.
QUANTILES = (0.05, 0.5, 0.95)


def from_frames(plan: Plan) -> bool:
    """Whether the bench left raw frames."""
    from calibration.captures.bench_folder import FRAMES, open_bench

    return open_bench(plan.bench).kind == FRAMES


def check_names(plan: Plan) -> None:
    """What of a plan's text can be told without reading: model, line width, grid and method."""
    from calibration.commands.calibrate import parse_linewidth, parse_waves
    from calibration.commands.invert import parse_grid
    from calibration.inversion import registry

    with plan.says("method"):
        registry.get(plan.method)
    with plan.says("grid"):
        parse_grid(plan.grid)
    with plan.says("linewidth"):
        parse_linewidth(plan.linewidth)
    if plan.model != "auto":
        with plan.says("model"):
            parse_waves(plan.model)


def check_window(plan: Plan) -> None:
    """What frames are read by."""
    from calibration.captures.extract import require_window
    from hsitools.errors import InputError

    with plan.says("window"):
        require_window(plan.window)
    step = plan.opd_step
    if step is not None and not 0 < step < np.inf:
        raise InputError(f"{plan.place('opd_step')}: found {step:g}, expected a positive step in µm")


def check_scene(plan: Plan) -> None:
    """Whether scene and curves fit the bench, as far as the bench tells before it is characterized."""
    from calibration.captures.bench_folder import CAPTURE as A_CAPTURE
    from calibration.captures.bench_folder import CHARACTERIZATION, open_bench
    from calibration.captures.capture import open_capture
    from calibration.captures.frames import FrameStack
    from calibration.characterization import Characterization
    from calibration.commands.invert import parse_grid
    from calibration.inversion import curves, measurement
    from calibration.inversion.invert import check_grid
    from hsitools.errors import InputError
    from hsitools.sensor.layout import SubImageLayout

    check_names(plan)
    bench = open_bench(plan.bench)
    layout = None if plan.device is None else SubImageLayout.from_device_json(plan.device)
    count, shape = None, None if layout is None else layout.frame_shape
    if bench.kind == CHARACTERIZATION:
        known = Characterization.load(bench.path)
        shape = shape if known.layout is None else known.layout.frame_shape
        raw = isinstance(measurement.open_measurement(plan.scene, known), measurement.Measurement)
        lines = 1000 / known.response.wavenumber
    elif bench.kind == A_CAPTURE:
        capture = open_capture(bench.path)
        count, lines = capture.n_interferometers, 1000 / capture.wavenumber
        shape = capture.layout.frame_shape if shape is None and capture.layout is not None else shape
    else:
        stack = FrameStack(bench.path)
        _needs_dark(stack)
        lines, shape = 1000 / stack.wavenumber, stack.shape
        count = None if layout is None else layout.n_sub_images
    if bench.kind != CHARACTERIZATION:
        plan.check_outputs(["instrument.h5"])
        raw = measurement.check_file(plan.scene, shape, count)
    if plan.flat is not None:
        measurement.check_flat(plan.flat, shape)
        if not raw:
            raise InputError(f"{plan.flat}: flat: {measurement.NO_FLAT}")
    lines = np.sort(lines)
    grid = parse_grid(plan.grid)
    if grid is not None:
        with plan.says("grid"):
            check_grid(grid, (float(lines[0]), float(lines[-1])))
    for name in ("illumination", "lamp"):
        path = getattr(plan, name)
        if path is not None:
            curves.curve(path, lines, name)


def _needs_dark(stack: Any) -> None:
    from hsitools.errors import InputError

    if stack.dark is None:
        raise InputError(f"{stack.path}: dark: missing, expected dark frames (n, y, x) or (y, x) of the same exposure")


def bench_files(process: Process) -> list[Path]:
    """The bench's file, and the device's."""
    from calibration.captures.bench_folder import open_bench

    device = [] if process.plan.device is None else [process.plan.device]
    return [open_bench(process.plan.bench).path, *device]


def take_capture(process: Process) -> Outcome:
    """Raw monochromator frames to ``capture.h5``."""
    from calibration.captures.bench_folder import open_bench
    from calibration.captures.extract import extract
    from calibration.captures.frames import FrameStack
    from calibration.captures.sub_images import layout_figure
    from hsitools.sensor.layout import SubImageLayout

    plan = process.plan
    stack = FrameStack(open_bench(plan.bench).path)
    _needs_dark(stack)
    layout = None if plan.device is None else SubImageLayout.from_device_json(plan.device)
    capture = extract(stack, layout, window=plan.window, opd_step_um=plan.opd_step)
    path = process.folder / "capture.h5"
    capture.save(path)
    assert capture.layout is not None
    saturated = 0.0 if capture.saturated is None else float(capture.saturated.mean())
    return Outcome(
        text="The grid of sub-images is found in the frames (or taken from the device file); dark is subtracted, hot "
        "and saturated pixels are left out, and the median around each centre is one sample.",
        figure=layout_figure(stack.mean(), capture.layout),
        caption="Mean frame, the grid of sub-images and the order of the interferometers.",
        facts=[
            Fact(quantity="sub-images", result="{}×{}".format(*capture.layout.grid)),
            Fact(quantity="lines", result=f"{capture.n_lines}"),
            Fact(quantity="samples saturated", result=f"{100 * saturated:.2f} %"),
        ],
        summary={"n_interferometers": capture.n_interferometers, "n_lines": capture.n_lines, "saturated": saturated},
        files={"capture": path},
    )


def characterize_it(process: Process) -> Outcome:
    """A capture to ``instrument.h5``; a characterization stays what it is."""
    from calibration import figures
    from calibration.captures.bench_folder import CHARACTERIZATION, open_bench
    from calibration.captures.capture import open_capture
    from calibration.characterization import Characterization
    from calibration.commands.calibrate import parse_linewidth, parse_waves
    from calibration.fitting.options import Options
    from calibration.pipeline import characterize
    from hsitools.sensor.layout import SubImageLayout
    from hsitools.sensor.transmittance import TransmittanceModel

    plan, path = process.plan, process.folder / "instrument.h5"
    bench = open_bench(plan.bench)
    if bench.kind == CHARACTERIZATION:
        path = bench.path
        result = Characterization.load(path)
        text = f"The instrument was characterized before: {result.label}."
        asked = {"model": plan.model if plan.model != "auto" else None, "linewidth": plan.linewidth,
                 "device": plan.device}  # fmt: skip
        for name, value in asked.items():
            if value is not None:
                log.warning("%s: %s is not used: %s is characterized already", name, value, bench.path)
    else:
        estimate, width = parse_linewidth(plan.linewidth)
        capture = open_capture(process.files.get("capture", bench.path))
        if width is not None:
            capture = replace(capture, linewidth_nm=width)
        if plan.device is not None:
            capture = replace(capture, layout=SubImageLayout.from_device_json(plan.device))
        model = None if plan.model == "auto" else TransmittanceModel(waves=parse_waves(plan.model))
        options = Options(estimate_linewidth=estimate)
        result = characterize(capture, model, options=options, cv=FOLDS, seed=plan.seed)
        result.save(path)
        chosen = "Chosen by held-out error" if model is None else "As asked for"
        text = f"{chosen}: {result.label}. All interferometers are fitted together, each with its covariance."
    error = None if result.rmse_cv is None else float(np.nanmean(result.rmse_cv))
    flagged = {name: int(rows.sum()) for name, rows in result.flags.items() if rows.any()}
    facts = [
        Fact(quantity="interferometers", result=f"{len(result.opd_um)}"),
        Fact(quantity="band / nm", result="{:.0f} to {:.0f}".format(*result.response.band_nm)),
        Fact(quantity="standard error of the path difference, median / nm",
             result=f"{1000 * float(np.nanmedian(result.opd_stderr_um)):.2f}"),
        *([Fact(quantity="largest path difference that the lines sample / µm",
                result=f"{result.settings['opd_limit_um']:.2f}")] if "opd_limit_um" in result.settings else []),
        Fact(quantity="flagged", result=", ".join(f"{name} {count}" for name, count in flagged.items()) or "none"),
    ]  # fmt: skip
    if error is not None:
        facts.append(Fact(quantity="held-out error, share of the mean intensity", result=f"{error:.4f}"))
    return Outcome(
        text=text, figure=figures.opd_law_figure(result),
        caption="Path differences of the interferometers and the law that they follow.", facts=facts,
        headline=None if error is None else (f"{100 * error:.1f} %", "held-out error of the calibration"),
        summary={"model": result.label, "rmse_cv": error, "flags": flagged}, files={"instrument": path},
    )  # fmt: skip


def scene_files(process: Process) -> list[Path]:
    """Instrument, scene and curves."""
    plan = process.plan
    curves = [path for path in (plan.illumination, plan.lamp, plan.flat) if path is not None]
    # which of them is which matters: they are options, too
    return [process.files["instrument"], plan.scene, *curves]


def invert_it(process: Process) -> Outcome:
    """The scene's frames to ``cube.h5``, its standard deviations, its mask and the errors that all pixels share."""
    from calibration.characterization import Characterization
    from calibration.commands.invert import parse_grid, write_factors
    from calibration.inversion.invert import invert
    from calibration.inversion.scene_frames import open_scene
    from calibration.inversion.tiles import remove_kept
    from hsitools.io import save_cube

    plan = process.plan
    # tiles of a large cube outlive a run that is killed
    parts = plan.out / "cube_parts"
    device = Characterization.load(process.files["instrument"])
    scene = open_scene(plan.scene, device, plan.flat)
    result = invert(
        scene.measurement, device, plan.method, grid=parse_grid(plan.grid), illumination=plan.illumination,
        lamp=plan.lamp, parts=parts,
    )  # fmt: skip
    files = {}
    for name, suffix, cube in (("cube", "", result.cube), ("std", "_std", result.std), ("mask", "_mask", result.mask)):
        if cube is not None:
            files[name] = process.folder / f"cube{suffix}.h5"
            save_cube(cube, files[name])
    common = result.spectra.common
    if common is not None and common.shape[1]:
        files["common"] = process.folder / "cube_common.csv"
        write_factors(files["common"], result.spectra.wavelength_nm, common)
    remove_kept(parts)
    budget = error_budget(result)
    level = float(np.sqrt((result.spectra.estimate[:, result.spectra.mask] ** 2).mean()))
    facts = [*_registered(scene), Fact(quantity="units", result=result.spectra.units)]
    facts.append(Fact(quantity="pixels with a spectrum", result=f"{100 * float(result.spectra.mask.mean()):.0f} %"))
    facts += [
        Fact(
            quantity=f"standard deviation of the median pixel, {name}",
            result=f"{100 * _rms(values) / level:.2f} % of the signal",
        )
        for name, values in budget.items()
    ]
    doubt = larger_than_signal(budget, level)
    if doubt:
        log.warning("%s: %s", plan.scene, doubt)
    return Outcome(
        text=(f"{doubt[0].upper()}{doubt[1:]}. " if doubt else "")
        + f"Interferograms to spectra by {plan.method}, with the matrix of the characterized instrument. Sub-images "
        "are aligned by the frame itself, hot pixels told from the other sub-images. The error budget says what the "
        "standard deviation of a voxel is made of; what all pixels share is not removed by averaging.",
        figure=_spectra_figure(result, budget),
        caption="Mean over the band; a dark, a middling and a bright pixel with 95 % intervals; the error budget.",
        facts=facts,
        headline=(f"{100 * _rms(budget['all']) / level:.1f} %", "the median pixel's standard deviation")
        if budget else None,
        summary={"method": plan.method, "units": result.spectra.units, "parameters": result.spectra.parameters,
                 "budget": {name: _rms(values) / level for name, values in budget.items()}},
        files=files,
    )  # fmt: skip


def error_budget(result: Inversion) -> dict[str, Array]:
    """Standard deviations ``(wavelength,)``, those of the median pixel, by where they come from.

    Noise where the method tells it apart or its error bars hold nothing else, what a wrong calibration does to all
    pixels, the rest (the prior: what the interferograms do not tell), and all together. Of the median: a few pixels
    that hardly any sub-image sees would be all that a mean tells of.
    """
    from calibration.inversion.filters import NOISE_ALONE

    spectra = result.spectra
    if spectra.std is None:
        return {}
    whole = spectra.std[:, spectra.mask] ** 2
    parts, rest = {}, whole
    if spectra.noise_std is not None:
        parts["noise"] = spectra.noise_std[:, spectra.mask] ** 2
    if spectra.common is not None and spectra.common.shape[1]:
        parts["calibration, shared by all pixels"] = (spectra.common**2).sum(axis=1)[:, None]
    for values in parts.values():
        rest = rest - values
    # a filter's error bars hold no prior
    alone = "noise" if spectra.parameters.get("std") == NOISE_ALONE else "noise and prior"
    parts["prior" if "noise" in parts else alone] = np.maximum(rest, 0)
    return {name: np.sqrt(np.median(values, axis=1)) for name, values in {**parts, "all": whole}.items()}


def larger_than_signal(budget: dict[str, Array], level: float) -> str:
    """What to say where spectra are less than their standard deviation; nothing where they are more."""
    if not budget or _rms(budget["all"]) <= level:
        return ""
    share = f"{100 * _rms(budget['all']) / level:.0f} %" if level > 0 else "more than all"
    return f"the standard deviation is {share} of the signal: the interferograms hardly tell these spectra"


def _registered(scene: SceneMeasurement) -> list[Fact]:
    found = scene.registration
    if found is None:
        return []
    size = scene.measurement.shape[1]
    return [
        Fact(quantity="largest displacement between sub-images / pixel", result=f"{found.largest(size):.2f}"),
        Fact(quantity="its standard error, median / pixel", result=f"{float(np.median(found.shift_stderr)):.3f}"),
        Fact(quantity="hot pixels", result=f"{100 * scene.hot_share:.2f} %"),
    ]


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _spectra_figure(result: Inversion, budget: dict[str, Array]) -> Figure:
    from hsitools.plot import COLOURS, draw_image, legend_below, new_figure, show_field, with_unit

    spectra = result.spectra
    figure, (image, lines, errors) = new_figure(12, 4.2, ncols=3, width_ratios=[1.2, 1.5, 1.3])
    bright = np.where(spectra.mask, spectra.estimate.mean(axis=0), np.nan)
    draw_image(image, bright, "mean over the band", with_unit("mean", spectra.units))
    show_field(image, spectra.mask)
    order = np.argsort(np.where(spectra.mask, bright, np.inf), axis=None)[: int(spectra.mask.sum())]
    for number, quantile in enumerate(QUANTILES):
        y, x = np.unravel_index(order[int(quantile * (len(order) - 1))], bright.shape)
        line = spectra.estimate[:, y, x]
        lines.plot(spectra.wavelength_nm, line, color=COLOURS[number], lw=1.0, label=f"row {y}, column {x}")
        if spectra.std is not None:
            half = 1.96 * spectra.std[:, y, x]
            lines.fill_between(spectra.wavelength_nm, line - half, line + half, color=COLOURS[number], alpha=0.25)
    lines.set(xlabel="wavelength / nm", ylabel=with_unit("spectrum", spectra.units), title="spectra, 95 % intervals")
    legend_below(lines, 3)
    # a single part is all there is: one line, not two
    drawn = {f"all: {next(iter(budget))}": budget["all"]} if len(budget) == 2 else budget
    for name, values in drawn.items():
        # above its largest part, which would hide under a thin line
        style: dict[str, Any] = {"color": "black", "lw": 3.0, "alpha": 0.3} if name == "all" else {"lw": 1.2}
        errors.plot(spectra.wavelength_nm, values, label=name, **style)
    errors.set(xlabel="wavelength / nm", ylabel=with_unit("standard deviation", spectra.units), title="error budget")
    if budget:
        legend_below(errors)
    return figure


CAPTURE = ProcessStep(
    order=10, name="capture", title="raw frames to a capture", run=take_capture, inputs=bench_files,
    options=("window", "opd_step"), wanted=from_frames, check=check_window, writes=("capture.h5",),
)  # fmt: skip
INSTRUMENT = ProcessStep(
    order=20, name="instrument", title="the instrument characterized", run=characterize_it,
    inputs=lambda process: [process.files["capture"]] if "capture" in process.files else bench_files(process),
    options=("model", "linewidth", "seed"), check=check_names,
)  # fmt: skip
SPECTRA = ProcessStep(
    order=30, name="spectra", title="the scene's frames inverted to spectra", run=invert_it, inputs=scene_files,
    options=("grid", "method", "illumination", "lamp", "flat"), check=check_scene,
    writes=("cube.h5", "cube_std.h5", "cube_mask.h5", "cube_common.csv"),
)  # fmt: skip
