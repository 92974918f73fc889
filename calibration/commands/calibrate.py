"""``hsi calibrate``: a capture in, a characterization out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hsitools.commands.options import (
    drawn,
    emit_json,
    emit_table,
    json_option,
    out_option,
    scheduler_option,
    seed_option,
    workers_option,
)
from hsitools.commands.outputs import OutputFile, OutputFolder
from hsitools.errors import InputError
from hsitools.text import counted

if TYPE_CHECKING:
    from calibration.fitting.options import Options
    from hsitools.sensor.transmittance import TransmittanceModel


def wavelength_range(text: str | None, option: str = "--wavelengths") -> tuple[float, float] | None:
    """``"400:900"`` to (400.0, 900.0); raises `InputError`, which names the option, otherwise."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"{option}: found {text!r}, expected LOW:HIGH in nm, as 400:900") from None
    if not 0 < low < high < float("inf"):
        raise InputError(f"{option}: found {text!r}, expected 0 < LOW < HIGH in nm")
    return low, high


def parse_waves(name: str) -> float:
    """``airy``, ``two-wave`` or ``N-wave`` to the number of waves; raises `InputError` otherwise."""
    names = {"airy": float("inf"), "two-wave": 2.0}
    if name in names:
        return names[name]
    number = name.removesuffix("-wave")
    if number.isdigit() and int(number) >= 2:
        return float(number)
    raise InputError(f"--model: found {name!r}, expected auto, airy, two-wave or N-wave (as 4-wave)")


@click.command()
@click.argument("capture", type=click.Path(path_type=Path))
@click.option("--model", "model_name", default="auto", show_default=True, help="auto, airy, two-wave or N-wave.")
@click.option("--degree", type=int, help="Degree of gain and reflectivity  [default: 5; 2 per pixel].")
@click.option("--degree-gain", type=int, help="Degree of the gain alone.")
@click.option("--degree-phase", type=int, help="Degree of the phase; 0 is a constant  [default: 0].")
@click.option(
    "--gain-reference", type=click.Choice(["flat", "none"]), help="What the gain multiplies  [default: flat]."
)
@click.option("--fixed-gain", is_flag=True, help="Do not refine the gain of the flat field.")
@click.option("--wavelengths", metavar="LOW:HIGH", help="Use only lines in this range, nm.")
@click.option(
    "--cv",
    default=0,
    show_default=True,
    help="Folds of lines for the held-out RMSE that is printed; 0 for none, but 10 with --report.",
)
@seed_option("Deals the lines to folds.")
@click.option(
    "--start",
    type=click.Choice(["periodogram", "exhaustive"]),
    default="periodogram",
    show_default=True,
    help="Where path differences start: a spectrum of each fringe, or every one of a grid.",
)
@click.option(
    "--engine",
    type=click.Choice(["batched", "lmfit"]),
    default="batched",
    show_default=True,
    help="Who refines: all interferometers at once, or lmfit one at a time.",
)
@click.option(
    "--loss",
    type=click.Choice(["linear", "huber"]),
    default="linear",
    show_default=True,
    help="Squares of residuals, or Huber's loss beside strays.",
)
@click.option(
    "--linewidth",
    metavar="NM|auto",
    help="Full width at half maximum of the monochromator's line, nm; auto estimates it  "
    "[default: the capture's, or none].",
)
@click.option(
    "--line-shape",
    type=click.Choice(["gaussian", "triangular"]),
    help="Shape of the line  [default: the capture's; gaussian].",
)
@click.option("--no-prior", is_flag=True, help="Fit each interferometer by itself, as the published method does.")
@out_option(OutputFile("hdf5"), "Characterization file (HDF5).")
@click.option("--csv", "csv_path", type=OutputFile("table"), help="Table of the interferometers.")
@click.option("--report", type=OutputFolder(), help="Folder for report.html, its figures and the results.")
@click.option(
    "--show", metavar="I,J,…", help="Interferometers whose fits the report draws  [default: a spread of them]."
)
@click.option("--per-pixel", is_flag=True, help="CAPTURE is a pixel stack: maps over every sub-image, to --out.")
@click.option(
    "--device", metavar="DEVICE", help="Of --per-pixel: auto (a GPU where there is one), cpu, cuda  [default: auto]."
)
@workers_option
@scheduler_option
@json_option
def calibrate(
    capture: Path, model_name: str, degree: int | None, degree_gain: int | None, degree_phase: int | None,
    gain_reference: str | None, fixed_gain: bool, wavelengths: str | None, cv: int, seed: int, start: str, engine: str,
    loss: str, linewidth: str | None, line_shape: str | None, no_prior: bool, out: Path | None, csv_path: Path | None,
    report: Path | None, show: str | None, per_pixel: bool, device: str | None,
    workers: int | None, scheduler: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Characterize the Fabry-Perot interferometers of CAPTURE.

    CAPTURE is a folder as published with IRCA (data, norm, central_wavenumbers .npy), or a file of `hsi capture`.

    The model is chosen by held-out error (--model auto) unless one is named.
    """
    span = wavelength_range(wavelengths)
    rows = None if show is None else index_list(show)
    shape = {
        "--degree": degree, "--degree-gain": degree_gain, "--degree-phase": degree_phase,
        "--gain-reference": gain_reference, "--fixed-gain": fixed_gain or None,
    }  # fmt: skip
    if per_pixel:
        refuse("--per-pixel", {"--report": report, "--csv": csv_path, "--cv": cv or None, "--wavelengths": wavelengths})
        if out is None:
            raise InputError("--per-pixel: expected --out FILE for the maps")
    else:
        where = {"--device": device, "--workers": workers, "--scheduler": scheduler}
        refuse("one fit per interferometer", where)
    if report is None:
        refuse("no --report", {"--show": show})
    automatic = model_name == "auto" and not per_pixel
    if automatic:
        refuse("--model auto", shape)
    waves = parse_waves("airy" if model_name == "auto" else model_name)

    from calibration.fitting.options import Options
    from hsitools.sensor.transmittance import TransmittanceModel

    estimate, width = parse_linewidth(linewidth)
    options = Options(prior=not no_prior, loss=loss, start=start, engine=engine, estimate_linewidth=estimate)
    reflectivity = (2 if per_pixel else 5) if degree is None else degree
    model = TransmittanceModel(
        waves=waves, degree_reflectivity=reflectivity,
        degree_gain=reflectivity if degree_gain is None else degree_gain, degree_phase=degree_phase or 0,
        gain_reference=gain_reference or "flat", refine_gain=not fixed_gain,
    )  # fmt: skip
    line = {"linewidth_nm": width, "line_shape": line_shape}
    line = {name: value for name, value in line.items() if value is not None}
    if per_pixel and out is not None:
        return _per_pixel(capture, out, model, options, line, device, (workers, scheduler), as_json)
    outputs = Outputs(characterization=out, table=csv_path, report=report, show=rows)
    _per_device(capture, span, line, None if automatic else model, options, cv, seed, outputs, as_json)


def parse_linewidth(text: str | None) -> tuple[bool, float | None]:
    """``auto`` to (True, None), ``"1.5"`` to (False, 1.5), nothing to (False, None); raises `InputError` otherwise."""
    if text is None or text == "auto":
        return text == "auto", None
    try:
        width = float(text)
    except ValueError:
        width = -1.0
    if not 0 <= width < float("inf"):
        raise InputError(f"--linewidth: found {text!r}, expected a width in nm (0 is monochromatic), or auto")
    return False, width


def index_list(text: str) -> list[int]:
    """``"3,17"`` to [3, 17]; raises `InputError` otherwise."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--show: found {text!r}, expected interferometers as 3,17,200") from None


def refuse(beside: str, options: dict[str, Any]) -> None:
    """Raise `InputError` for an option that would do nothing, instead of ignoring it."""
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name}: found with {beside}, where it has no effect; leave it out")


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What to write, and which interferometers the report draws."""

    characterization: Path | None
    table: Path | None
    report: Path | None
    show: list[int] | None


def _check_shape(path: Path, linewidth_nm: Any, line: dict[str, Any], options: Options) -> None:
    """A shape would be ignored without a width."""
    if "line_shape" in line and linewidth_nm is None and not options.estimate_linewidth:
        raise InputError(f"--line-shape: found it without a width of the line: {path} has none, expected --linewidth")


def _per_device(
    path: Path, span: tuple[float, float] | None, line: dict[str, Any], model: TransmittanceModel | None,
    options: Options, cv: int, seed: int, outputs: Outputs, as_json: bool,
) -> None:  # fmt: skip
    import shlex
    import sys
    from dataclasses import replace

    from calibration.captures.capture import open_capture
    from calibration.pipeline import characterize

    data = replace(open_capture(path), **line)
    _check_shape(path, data.linewidth_nm, line, options)
    if span is not None:
        data = data.select(wavelengths_nm=span)
    for index in outputs.show or []:
        if index not in data.index:
            raise InputError(
                f"--show: found {index}, expected interferometers of {path} ({data.index.min()} to {data.index.max()})"
            )
    # the headline of a report is the held-out error
    folds = 10 if outputs.report is not None and not cv else cv
    if model is None and sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(unit=" models", leave=False) as bar:

            def tried(label: str) -> None:
                bar.set_description(f"tried {label}")
                bar.update()

            result = characterize(data, model, options=options, cv=folds, seed=seed, progress=tried)
    else:
        result = characterize(data, model, options=options, cv=folds, seed=seed)
    written: dict[str, str] = {}
    if outputs.characterization is not None:
        result.save(outputs.characterization)
        written["characterization"] = str(outputs.characterization)
    if outputs.table is not None:
        result.to_csv(outputs.table)
        written["table"] = str(outputs.table)
    if outputs.report is not None:
        from calibration.report import write_report

        command = shlex.join(["hsi", *sys.argv[1:]])
        with drawn(f"{outputs.report}: report"):
            page = write_report(result, data, outputs.report, command=command, show=outputs.show)
        result.save(outputs.report / "characterization.h5")
        result.to_csv(outputs.report / "interferometers.csv")
        written["report"] = str(page)
    summary = {**result.summary(), "written": written}
    if as_json:
        emit_json(summary)
    else:
        _print_summary(summary)


def _print_summary(s: dict[str, Any]) -> None:
    from calibration.fitting.pedestal import pedestal_text
    from calibration.physical_parameters import set_aside_text

    rows = [
        (
            "device",
            f"{s['name']}: {counted(s['n_interferometers'], 'interferometer')} × {counted(s['n_lines'], 'line')}",
        ),
        ("model", s["model_label"]),
        ("RMSE", f"{s['rmse_mean']:.4f} mean, {s['rmse_median']:.4f} median (share of the mean intensity, in sample)"),
    ]
    if s["rmse_cv_mean"] is not None:
        held = f"{s['rmse_cv_mean']:.4f} mean, {s['rmse_cv_median']:.4f} median (share of the mean intensity)"
        rows.append(("held-out RMSE", held))
    if set_aside := set_aside_text(s["settings"]):
        rows.append(("set aside", set_aside))
    rows += [
        ("line", _line_text(s["settings"])),
        ("dark signal left", pedestal_text(s["settings"])),
        ("R²", f"{s['r2_median']:.4f} median"),
        ("OPD law", s["opd_law"]["text"]),
        ("flagged", ", ".join(f"{name} {len(rows_)}" for name, rows_ in s["flags"].items()) or "none"),
        ("time", f"{s['seconds']:.2f} s"),
    ]
    rows += [(name, path) for name, path in s["written"].items()]
    for name, text in rows:
        click.echo(f"{name:<16}  {text}")


def _line_text(settings: dict[str, Any]) -> str:
    estimate, width = settings.get("linewidth_estimate"), settings.get("linewidth_nm")
    shape = settings.get("line_shape", "gaussian")
    if estimate:
        middle = 1000 / estimate["centre_per_um"]
        return f"{shape}, ({estimate['nm']:.3g} ± {estimate['stderr_nm']:.2g}) nm wide at {middle:.0f} nm, estimated"
    assumed = f"{shape}, {width:.3g} nm wide" if width else "taken for monochromatic"
    if settings.get("linewidth_contradicted"):
        assumed += "; the contrast of the fringes says otherwise: try --linewidth auto"
    return assumed


def _device(name: str | None) -> Any:
    """The device of torch that was asked for, or a GPU where there is one; None, for NumPy, else."""
    from hsitools.devices import device_named

    place = device_named(name or "auto")
    return None if place.type == "cpu" and name in (None, "auto") else place


def _per_pixel(
    path: Path, out: Path, model: TransmittanceModel, options: Options, line: dict[str, Any], device: str | None,
    workers: tuple[int | None, str | None], as_json: bool,
) -> None:  # fmt: skip
    import sys
    import time

    from tqdm import tqdm

    from calibration.captures.pixel_stack import PixelStack
    from calibration.pixel_maps import characterize_pixels
    from hsitools.scale.cluster import cluster

    place = _device(device)
    stack = PixelStack(path, **line)
    _check_shape(path, stack.linewidth_nm, line, options)
    began = time.perf_counter()
    n, height, width = stack.shape
    with (
        cluster(*workers, files=[path], modules=["calibration.pixel_maps"]) as client,
        tqdm(total=n * height * width, unit="pixel", disable=not sys.stderr.isatty()) as bar,
    ):
        result = characterize_pixels(
            stack, out, model, options=options, device=place, progress=lambda done, _: bar.update(done - bar.n),
            client=client,
        )  # fmt: skip
    result["seconds"] = time.perf_counter() - began
    result["written"] = str(out)
    if as_json:
        emit_json(result)
    else:
        emit_table(result)
