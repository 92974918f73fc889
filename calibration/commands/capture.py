"""``hsi capture``: raw frames to captures, and simulated ones."""

from __future__ import annotations

from pathlib import Path

import click

from hsitools.commands.options import drawn, emit_json, emit_table, json_option, out_option, refuse_typed, seed_option
from hsitools.commands.outputs import OutputFile
from hsitools.errors import InputError
from hsitools.text import counted

#: Memory of a simulation: a dozen arrays (float64) of all samples, or of all pixels of sub-images 48 pixels wide.
SAMPLE_BYTES, FRAME_BYTES = 12 * 8, 12 * 8 * 48**2


@click.group()
def capture() -> None:
    """Make captures: from raw monochromator frames, or simulated."""


@capture.command()
@click.argument("frames", type=click.Path(path_type=Path))
@click.option("--device", type=click.Path(path_type=Path), help="Device file (JSON); the grid is found when left out.")
@out_option(OutputFile("hdf5"), "Capture file (HDF5).", required=True)
@click.option("--window", default=5, show_default=True, help="Side of the window at each centre, pixels.")
@click.option("--percentile", default=50.0, show_default=True, help="Of the window's valid pixels.")
@click.option(
    "--opd-step", type=click.FloatRange(min=0, min_open=True), help="Nominal OPD step between neighbours, µm."
)
@click.option("--figure", type=OutputFile("picture"), help="Draw the grid over the mean frame (PNG).")
@json_option
def extract(
    frames: Path, device: Path | None, out: Path, window: int, percentile: float, opd_step: float | None,
    figure: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Extract the centre-spot intensities of FRAMES (HDF5) to a capture."""
    import sys

    from tqdm import tqdm

    from calibration.captures.capture import describe
    from calibration.captures.extract import extract as run
    from calibration.captures.frames import FrameStack
    from hsitools.sensor.layout import SubImageLayout

    layout = None if device is None else SubImageLayout.from_device_json(device)
    stack = FrameStack(frames)
    with tqdm(total=stack.n_lines, unit="line", disable=not sys.stderr.isatty()) as bar:
        result = run(
            stack, layout, window=window, percentile=percentile, opd_step_um=opd_step,
            progress=lambda done, _: bar.update(done - bar.n),
        )  # fmt: skip
    result.save(out)
    document = {**(describe(out) or {}), "written": str(out)}
    if figure is not None and result.layout is not None:
        from calibration.captures.sub_images import layout_figure
        from hsitools.plot import save_figure

        with drawn(str(figure)):
            save_figure(layout_figure(stack.mean(), result.layout), figure)
        document["figure"] = str(figure)
    if as_json:
        emit_json(document)
    else:
        emit_table(document)


@capture.command()
@out_option(OutputFile("hdf5"), "Capture file, or frame file with --frames.", required=True)
@click.option("--frames", is_flag=True, help="Raw frames instead of a capture (a device file is written beside them).")
@click.option("--n", default=300, show_default=True, help="Interferometers.")
@click.option("--lines", "n_lines", default=451, show_default=True, help="Monochromator lines.")
@click.option("--band", default="350:1000", show_default=True, metavar="LOW:HIGH", help="nm.")
@click.option("--noise", default=0.095, show_default=True,
              help="Relative to each interferometer's mean (captures).")  # fmt: skip
@seed_option("Of the instrument and the noise.")
@json_option
def simulate(out: Path, frames: bool, n: int, n_lines: int, band: str, noise: float, seed: int, as_json: bool) -> None:
    """Simulate an instrument under a monochromator: a capture, or raw frames."""
    import json

    import numpy as np

    from calibration import simulated_bench as bench
    from calibration.commands.calibrate import wavelength_range
    from hsitools.cube.memory import require_memory
    from hsitools.io.atomic import atomic_path

    if frames:
        refuse_typed("--frames", "noise")
    if n < 1 or n_lines < 4:
        raise InputError(
            f"simulate: found {counted(n, 'interferometer')} and {counted(n_lines, 'line')}, expected at least 1 and 4"
        )
    if not 0 <= noise < np.inf:
        raise InputError(f"--noise: found {noise:g}, expected zero or a positive number")
    span = wavelength_range(band, "--band") or (350.0, 1000.0)
    if frames:
        require_memory(FRAME_BYTES * n, "--n", use=f"frames of {n} sub-images", advice="choose fewer interferometers")
    else:
        require_memory(SAMPLE_BYTES * n * n_lines, "--n and --lines", use=f"{n} interferometers at {n_lines} lines",
                       advice="choose fewer")  # fmt: skip
    rng = np.random.default_rng(seed)
    # frames have no place without an interferometer: the grid must be full
    rows = {"rows": max(rows for rows in range(1, 11) if n % rows == 0)} if frames else {}
    instrument = bench.simulate_instrument(n, rng=rng, band_nm=span, **rows)
    wavenumber = bench.lines(n_lines, span)
    document: dict[str, object] = {"written": str(out), "n_interferometers": n, "n_lines": n_lines, "seed": seed}
    if frames:
        bench.write_frames(out, instrument, wavenumber, rng=rng)
        device = out.with_suffix(".device.json")
        with atomic_path(device) as temporary:
            temporary.write_text(json.dumps(instrument.layout.to_dict(), indent=2))
        document["device"] = str(device)
    else:
        bench.capture(instrument, wavenumber, rng=rng, noise=noise).save(out)
    if as_json:
        emit_json(document)
    else:
        emit_table(document)
