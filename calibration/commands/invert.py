"""``hsi invert``: interferograms of a characterized instrument to spectra with error bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsitools.commands.options import (
    SeveralValues,
    drawn,
    emit_json,
    hidden,
    json_option,
    methods_option,
    out_option,
    progress_bar,
    refuse_typed,
    scheduler_option,
    seed_option,
    workers_option,
)
from hsitools.commands.outputs import OutputFile, OutputFolder
from hsitools.errors import InputError
from hsitools.text import readable

PATH = click.Path(path_type=Path)


@click.group()
def invert() -> None:
    """Invert interferograms to spectra; compare methods."""


def parse_grid(text: str | None) -> Any:
    """``"400:900:2"`` to 400, 402, … 900 nm; raises `InputError` otherwise."""
    import numpy as np

    from calibration.inversion.grid import require_grid_memory

    if text is None:
        return None
    try:
        low, high, step = (float(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"--grid: found {text!r}, expected LOW:HIGH:STEP in nm, as 400:900:2") from None
    if not (0 < low < high < np.inf and 0 < step <= high - low):
        raise InputError(f"--grid: found {text!r}, expected 0 < LOW < HIGH and a positive STEP in nm")
    require_grid_memory((high - low) / step)
    return low + step * np.arange(int((high - low) / step + 1e-9) + 1)


@invert.command("list")
@json_option
def list_methods(as_json: bool) -> None:
    """Methods and their papers."""
    from calibration.inversion import registry

    rows = [
        {"name": e.name, "summary": e.summary, "paper": e.paper, "error_bars": e.std} for e in registry.list_methods()
    ]
    if as_json:
        return emit_json(rows)
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {row['summary']}")
        click.echo(f"{'':<{width}}  {row['paper']}")


invert.add_command(hidden(list_methods), "methods")


@invert.command("run")
@click.argument("path", type=PATH)
@click.option("--instrument", type=PATH, required=True, help="Characterization of `hsi calibrate --out`.")
@out_option(OutputFile("cube", "_std", "_mask", "_common.csv"), "Spectral cube: .h5, .nc, .hdr or .tif.", required=True)
@click.option("--method", default="joint", show_default=True, help="See `hsi invert list`.")
@click.option("--grid", metavar="LOW:HIGH:STEP", help="Wavelengths, nm  [default: the calibrated lines].")
@click.option("--illumination", type=PATH, help="Table of wavelength and the light on the scene.")
@click.option("--lamp", type=PATH, help="Table of wavelength and the calibration lamp's radiance.")
@click.option("--lamp-units", help="Of that radiance  [default: in brackets in the table's head].")
@click.option(
    "--flat", type=PATH, help="Raw frames of an even scene under the calibration lamp: vignetting, dead pixels."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda: where `joint` smooths.")
@click.option("--report", type=OutputFolder(), help="Folder for report.html.")
@workers_option
@scheduler_option
@json_option
def run(
    path: Path, instrument: Path, out: Path, method: str, grid: str | None, illumination: Path | None,
    lamp: Path | None, lamp_units: str | None, flat: Path | None, device: str, report: Path | None,
    workers: int | None, scheduler: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Invert PATH, raw frames with dark frames or an interferogram cube, to a spectral cube.

    Beside OUT, its name with _std holds the standard deviation of each voxel and with _mask where there is a spectrum;
    with _common.csv the factors of errors that all pixels share. Spectra are in units of the calibration lamp, with
    --lamp they are radiance in that table's units.

    A cube larger than memory is inverted tile by tile, kept in a folder beside OUT (its name with _parts) until OUT is
    written: the same command goes on there after it was stopped. With --workers or --scheduler all workers invert
    tiles.
    """
    import time

    from calibration.inversion import registry
    from calibration.inversion.invert import invert as run_inversion
    from calibration.inversion.tiles import remove_kept
    from hsitools.io import save_cube
    from hsitools.io.outputs import beside
    from hsitools.io.together import together
    from hsitools.scale.cluster import cluster

    began = time.perf_counter()
    parts = out.with_name(f"{out.stem}_parts")
    modules = ["calibration.inversion.invert", *(["torch"] if registry.get(method).name == "joint" else [])]
    with (
        cluster(workers, scheduler, files=[path, instrument], modules=modules) as client,
        progress_bar("invert") as progress,
    ):
        result = run_inversion(
            path, instrument, method, grid=parse_grid(grid), illumination=illumination, lamp=lamp,
            lamp_units=lamp_units, flat=flat, device=device, parts=parts, progress=progress, client=client,
        )  # fmt: skip
    common = result.spectra.common
    cubes = {"": result.cube, "_mask": result.mask, "_std": result.std}
    written = [str(beside(out, part)) for part, cube in cubes.items() if cube is not None]
    with together(out) as made:
        for part, cube in cubes.items():
            if cube is not None:
                save_cube(cube, made / beside(out, part).name)
        if common is not None and common.shape[1]:
            table = beside(out, "_common.csv")
            write_factors(made / table.name, result.spectra.wavelength_nm, common)
            written.append(str(table))
    document: dict[str, Any] = {
        "method": result.cube.meta["inverted_by"], "instrument": str(instrument), "shape": list(result.cube.shape),
        "units": result.spectra.units, "pixels": int(result.spectra.mask.sum()),
        "parameters": result.spectra.parameters, "seconds": time.perf_counter() - began, "written": written,
    }  # fmt: skip
    if report is not None:
        from calibration.inversion.report import write_report

        with drawn(f"{report}: report"):
            written.append(str(write_report(result, document, report)))
    remove_kept(parts)
    if as_json:
        return emit_json(document)
    click.echo(
        f"{out}: {'×'.join(map(str, result.cube.shape))} by {document['method']} in {document['seconds']:.1f} s, "
        f"in units of the {result.spectra.units}"
        if lamp is None
        else f"{out}: {'×'.join(map(str, result.cube.shape))} by {document['method']}, {result.spectra.units}"
    )
    if (lost := 1 - document["pixels"] / result.spectra.mask.size) > 0:
        click.echo(f"{100 * lost:.2g} % of the pixels not measured by all interferometers used (NaN)")
    for name in written[1:]:
        click.echo(name)


def write_factors(path: Path, wavelength_nm: Any, factors: Any) -> None:
    """Write a root of the covariance of common errors, one row a wavelength."""
    import csv

    from hsitools.io.atomic import atomic_path

    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["wavelength_nm", *(f"factor_{number}" for number in range(factors.shape[1]))])
        for wavelength, row in zip(wavelength_nm, factors, strict=True):
            writer.writerow([f"{wavelength:.8g}", *(f"{value:.6g}" for value in row)])


@invert.command("benchmark", cls=SeveralValues, several=("--scenes", "--snr", "--methods"))
@click.option("--capture", type=PATH, help="Held-out monochromator lines of this capture.")
@click.option("--folds", default=5, show_default=True, help="Folds of its lines.")
@click.option(
    "--scenes", type=PATH, multiple=True, help="Known scenes (cubes) to simulate; needs --instrument; several."
)
@click.option("--instrument", type=PATH, help="Characterization that measures the scenes.")
@click.option(
    "--snr",
    "snrs",
    type=float,
    multiple=True,
    default=(30.0, 100.0, 300.0),
    show_default=True,
    help="Mean interferogram over noise; several.",
)
@click.option(
    "--kept-lines", type=float, help="Invert with the matrix from this share of the lines  [default: the exact matrix]."
)
@methods_option("all")
@seed_option("Deals lines, draws noise.")
@out_option(
    OutputFile("records"),
    "File of results as they come (JSON lines, .jsonl); a run that was stopped goes on there.",
)
@json_option
def benchmark(
    capture: Path | None, folds: int, scenes: tuple[Path, ...], instrument: Path | None, snrs: tuple[float, ...],
    kept_lines: float | None, methods: tuple[str, ...], seed: int, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Measure methods on held-out lines of a capture, or on known scenes."""
    from calibration.inversion import registry
    from hsitools.comparison.plan import chosen_names

    names = chosen_names(methods, registry.names(), registry.names())
    if not scenes and capture is None:
        raise InputError("benchmark: found neither --capture nor --scenes, expected one of them")
    if scenes and instrument is None:
        raise InputError("--scenes: found without --instrument, expected the characterization that measures them")
    if scenes:
        refuse_typed("--scenes", "folds")
    else:
        refuse_typed("--capture alone", "instrument", "snrs", "kept_lines")
    if not snrs or not all(0 < snr < float("inf") for snr in snrs):
        raise InputError(f"--snr: found {' '.join(f'{snr:g}' for snr in snrs)}, expected positive numbers")
    from calibration.captures.capture import open_capture
    from calibration.inversion.kept import Kept

    # what is read is opened first: a wrong file leaves no file of results
    lines = None if capture is None else open_capture(capture)
    records: list[dict[str, Any]] = []
    with progress_bar("invert") as progress:
        if not scenes:
            from calibration.inversion.lines import compare

            assert lines is not None
            records = compare(lines, names, folds=folds, seed=seed, kept=Kept(out), progress=progress)
        else:
            from calibration.characterization import Characterization
            from calibration.inversion.scenes import compare as compare_scenes
            from hsitools.io import open_cube

            assert instrument is not None
            device = Characterization.load(instrument)
            cubes = [open_cube(scene) for scene in scenes]
            kept = Kept(out)
            for cube in cubes:
                records += compare_scenes(
                    cube, device, names, snrs=list(snrs), kept_lines=kept_lines, capture=lines, seed=seed,
                    kept=kept, progress=progress,
                )  # fmt: skip
    if not records:
        raise InputError(
            f"--methods: found {', '.join(names)}, none of which can be measured this way, expected one that can"
        )
    if as_json:
        return emit_json(records)
    emit_records(records)


def emit_records(records: list[dict[str, Any]]) -> None:
    """Print records as an aligned table."""
    columns = list(records[0])
    cells = [[f"{r[c]:.4g}" if isinstance(r[c], float) else readable(r[c]) for c in columns] for r in records]
    widths = [max(len(name), *(len(row[place]) for row in cells)) for place, name in enumerate(columns)]
    for row in [columns, *cells]:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)))
