"""``hsi process``: raw frames of an instrument to spectra with error bars, fused and clean, by one command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsitools.commands.options import Seed, emit_json, json_option, out_option
from hsitools.commands.outputs import OutputFolder

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("bench", type=PATH, required=False)
@click.option("--scene", type=PATH, help="Raw frames of the scene with dark frames, or its interferogram cube.")
@out_option(OutputFolder(), "Folder of the result, its report and each step's files.")
@click.option("--plan", "plan_file", type=PATH, help="Plan (TOML) with these options as keys; options given here win.")
@click.option("--device", type=PATH, help="Device file (JSON); the grid of sub-images is found when left out.")
@click.option("--pan", type=PATH, help="Panchromatic image to fuse with.")
@click.option("--illumination", type=PATH, help="Table of wavelength (nm) and the light on the scene.")
@click.option("--lamp", type=PATH, help="Table of wavelength (nm) and the calibration lamp's radiance.")
@click.option("--flat", type=PATH, help="Raw frames of an even scene under the lamp: vignetting, dead pixels.")
@click.option(
    "--opd-step", type=click.FloatRange(min=0, min_open=True), help="Nominal OPD step between neighbours, µm."
)
@click.option("--window", type=int, help="Side of the window at each centre, pixels  [default: 5].")
@click.option("--model", help="auto, airy, two-wave or N-wave  [default: auto].")
@click.option(
    "--linewidth", metavar="NM|auto", help="Width of the monochromator's line  [default: the capture's, or none]."
)
@click.option("--grid", metavar="LOW:HIGH:STEP", help="Wavelengths, nm  [default: the calibrated lines].")
@click.option("--method", help="Of the inversion, see `hsi invert list`  [default: joint].")
@click.option("--fusion", help="See `hsi pansharpen list`  [default: physics].")
@click.option("--denoiser", help="See `hsi denoise list`; none leaves it out  [default: lowrank].")
@click.option("--seed", type=Seed(), help="Deals lines to folds  [default: 0].")
@json_option
def process(plan_file: Path | None, as_json: bool, **options: Any) -> None:
    """Calibrate, invert, fuse and denoise: raw frames of BENCH and of a scene to a spectral cube with error bars.

    BENCH is a file of raw monochromator frames, a capture, a folder of either, or a characterization of
    `hsi calibrate`. What the scene's frames hold is inverted to spectra, sharpened where there is --pan, and denoised.

    Each step's files stay in OUT with one report.html. The same command again does only what is missing, or whose
    files or options have changed.
    """
    from hsitools.chain import Done
    from hsitools.errors import HsiError
    from hsitools.process import Plan, read_plan
    from hsitools.process import process as run
    from hsitools.process_page import std_files

    values = {} if plan_file is None else read_plan(plan_file)
    typed = {name: value for name, value in options.items() if value is not None}
    plan = Plan.of(values | typed, "process" if plan_file is None else str(plan_file), typed)
    begun = []

    def before(text: str) -> None:
        begun.append(text)
        click.echo(f"{text} … ", nl=False, err=as_json)

    def after(done: Done) -> None:
        click.echo("kept" if done.kept else f"{done.seconds:.1f} s", err=as_json)
        for fact in done.outcome.facts:
            click.echo(f"      {fact.quantity}: {fact.result}", err=as_json)

    try:
        page, done = run(plan, before, after)
    except HsiError:
        # the error has a line of its own; what was done stays and is kept by the next run
        if begun:
            click.echo("stopped", err=as_json)
        raise
    if not as_json:
        beside = ", ".join(path.name for path in std_files(done))
        return click.echo(f"report: {page}" + (f"; standard deviations: {beside}" if beside else ""))
    steps = [
        {"title": item.step.title, "seconds": item.seconds, "kept": item.kept, **item.outcome.summary,
         "files": {name: str(path) for name, path in item.outcome.files.items()}}
        for item in done
    ]  # fmt: skip
    emit_json({"steps": steps, "written": {"report": str(page), "folder": str(plan.out)}})
