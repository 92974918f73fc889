"""``hsi sensor`` and ``hsi simulate``: make a sensor, look at it, measure its noise, let it see a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsitools.commands.options import (
    device_option,
    drawn,
    emit_json,
    emit_table,
    json_option,
    out_option,
    progress_bar,
    refuse_typed,
    seed_option,
)
from hsitools.commands.outputs import OutputFile
from hsitools.text import counted

file_argument = click.Path(path_type=Path)
sensor_out_option = out_option(OutputFile("hdf5"), "File to write (HDF5).", required=True)
noise_option = click.option("--noise", "noise_file", type=file_argument, help="Detector noise of `hsi sensor noise`.")


@click.group()
def sensor() -> None:
    """Sensor models: make, show, measure."""


@sensor.command()
@click.option("--preset", "preset_name", metavar="NAME",
              help="prisma, enmap, hyperion-ali, finch, imspoc-uv-2; sentinel-2, landsat-8, landsat-9, ali, "
              "planetscope.")  # fmt: skip
@click.option("--table", type=file_argument, help="CSV or HDF5 of responses: wavelength_nm, then one column a band.")
@click.option("--like", type=file_argument, help="A cube: Gaussian bands at its wavelengths, of its FWHM or spacing.")
@click.option("--characterization", type=file_argument, help="For imspoc-uv-2: the file of `hsi calibrate`.")
@click.option("--ratio", type=int, help="Sensor pixel over scene pixel  [default: the preset's; 1].")
@click.option("--mtf", type=float, help="Gain at Nyquist, all bands  [default: the preset's].")
@click.option("--stripes", metavar="NAME", help="Stripes by name: emit-drift.")
@click.option("--calibration", "calibration_file", type=file_argument,
              help="Gain and offset of each detector element: HDF5 with gain, offset, dead (band, column), "
              "or the file of `hsi sensor noise`.")  # fmt: skip
@noise_option
@sensor_out_option
def make(
    preset_name: str | None, table: Path | None, like: Path | None, characterization: Path | None, ratio: int | None,
    mtf: float | None, stripes: str | None, calibration_file: Path | None, noise_file: Path | None, out: Path,
) -> None:  # fmt: skip
    """Make a sensor from a preset, a table of measured responses, or the bands of a cube."""
    from hsitools.errors import InputError
    from hsitools.io import open_cube
    from hsitools.sensor.presets import from_table, preset
    from hsitools.sensor.sensor import Sensor

    if [preset_name, table, like].count(None) != 2:
        raise InputError("sensor make: expected either --preset or --table or --like")
    if preset_name is None:
        refuse_typed("--table and --like", "characterization")
    if stripes is not None and calibration_file is not None:
        raise InputError("sensor make: expected either --stripes, which are drawn, or --calibration")
    if preset_name is not None:
        settings = {} if characterization is None else {"characterization": characterization}
        try:
            made = preset(preset_name, **settings)
        except TypeError:
            raise InputError(f"{preset_name}: characterization: found one, expected none for this preset") from None
    elif table is not None:
        made = from_table(table)
    else:
        assert like is not None
        made = Sensor.like(open_cube(like))
    changes: dict[str, Any] = {}
    if mtf is not None:
        changes["mtf"] = mtf
    if ratio is not None:
        changes["ratio"] = ratio
    _finish(made, changes, stripes, noise_file, out, calibration_file)


@sensor.command("from")
@click.argument("characterization", type=file_argument)
@noise_option
@sensor_out_option
def from_(characterization: Path, noise_file: Path | None, out: Path) -> None:
    """Make a sensor from a CHARACTERIZATION of `hsi calibrate`."""
    from hsitools.sensor.presets import from_characterization

    _finish(from_characterization(characterization), {}, None, noise_file, out)


def _finish(
    made: Any, changes: dict[str, Any], stripes: str | None, noise_file: Path | None, out: Path,
    calibration_file: Path | None = None,
) -> None:  # fmt: skip
    from hsitools.lookup import lookup
    from hsitools.sensor.pattern import STRIPE_PRESETS
    from hsitools.sensor.photon.result import PhotonTransfer

    if stripes is not None:
        changes["stripes"] = lookup(stripes, STRIPE_PRESETS, "stripes")
    if noise_file is not None:
        transfer = PhotonTransfer.load(noise_file)
        said = f"noise as measured ({noise_file.name}), in place of any stated above"
        changes |= {"noise": transfer.detector(), "pan_noise": None, "units": "DN"}
        if made.layout is None:
            prnu, defects = transfer.pattern()
            changes = {"stripes": prnu, "defects": defects} | changes
            said = said.replace("noise", "noise, PRNU and defects", 1)
        if made.pan is not None:
            said += "; PAN without noise: not measured"
        changes["assumptions"] = (*made.assumptions, said)
    made = made.replace(**changes)
    if calibration_file is not None:
        made = _calibrated(made, calibration_file)
    made.save(out)
    click.echo(f"{out}: {made.name}, {counted(made.n_bands, 'band')}, ratio {made.ratio}")


def _calibrated(made: Any, path: Path) -> Any:
    from hsitools.errors import InputError
    from hsitools.sensor.calibration_file import open_calibration

    calibration, units = open_calibration(path)
    if units is not None and made.units not in (units, ""):
        raise InputError(
            f"{path}: offset: found {units}, expected {made.units!r} as {made.name} is; give its --noise as well"
        )
    # known stripes are not drawn
    return made.replace(calibration=calibration, stripes=None, units=made.units if units is None else units)


@sensor.command()
@click.argument("path", metavar="FILE|PRESET", type=file_argument)
@click.option("--plot", type=OutputFile("picture"), help="Draw it (PNG).")
@json_option
def show(path: Path, plot: Path | None, as_json: bool) -> None:
    """Say what a sensor file holds, or what is published of a preset."""
    from hsitools.sensor.presets import open_sensor

    chosen = open_sensor(path)
    if plot is not None:
        from hsitools.figures import sensor_figure
        from hsitools.plot import save_figure

        with drawn(str(plot)):
            save_figure(sensor_figure(chosen), plot)
    if as_json:
        emit_json(chosen.describe())
    else:
        emit_table(chosen.describe())


@sensor.command()
@click.option("--dark", type=file_argument, required=True,
              help="Dark frames: HDF5, frames (frame, y, x); exposure_s (frame,) for the dark current.")  # fmt: skip
@click.option("--flat", type=file_argument, required=True,
              help="Flat frames: HDF5, frames (level, frame, y, x), or (frame, y, x) with level (frame,).")  # fmt: skip
@click.option("--full-scale", type=click.FloatRange(min=0, min_open=True),
              help="Digital number that clips  [default: attribute full_scale; found from the frames].")  # fmt: skip
@click.option("--plot", type=OutputFile("picture"), help="Draw the photon-transfer curve (PNG).")
@sensor_out_option
@json_option
def noise(dark: Path, flat: Path, full_scale: float | None, plot: Path | None, out: Path, as_json: bool) -> None:
    """Measure a detector's gain, read noise, PRNU and defects from dark and flat frames (photon transfer)."""
    from hsitools.errors import InputError
    from hsitools.sensor.photon.transfer import photon_transfer, read_exposures, read_stacks

    dark_frames, levels, scale = read_stacks(dark, flat)
    try:
        with progress_bar("photon transfer") as progress:
            transfer = photon_transfer(
                dark_frames, levels, full_scale=scale if full_scale is None else full_scale,
                dark_exposure_s=read_exposures(dark), progress=lambda done: progress(done, len(levels)),
            )  # fmt: skip
    except InputError as error:
        said = str(error)
        raise InputError(
            said if str(dark) in said else f"{dark if said.startswith('dark') else flat}: {said}"
        ) from None
    transfer.save(out)
    if plot is not None:
        from hsitools.figures import photon_transfer_figure
        from hsitools.plot import save_figure

        with drawn(str(plot)):
            save_figure(photon_transfer_figure(transfer), plot)
    if as_json:
        emit_json(transfer.summary())
    else:
        summary = transfer.summary()
        notes = summary.pop("notes")
        emit_table(summary)
        for note in notes:
            click.echo(f"note: {note}")


@click.command()
@click.argument("scene", type=file_argument, required=False)
@click.option("--sensor", "sensor_file", metavar="FILE|PRESET", required=True, help="Sensor that looks at it.")
@click.option("--size", default="240x240", show_default=True, metavar="YxX", help="Of the procedural scene.")
@click.option(
    "--scale", type=float, help="Turns the scene's numbers into the sensor's units  [default: as its file says]."
)
@seed_option("Same seed, same bytes.")
@click.option("--noise-free", is_flag=True, help="Neither noise nor stripes nor defects.")
@device_option
@out_option(OutputFile("cube"), "Cube to write: .h5, .nc, .zarr, .hdr or .tif.", required=True)
def simulate(
    scene: Path | None, sensor_file: str, size: str, scale: float | None, seed: int, noise_free: bool, device: str,
    out: Path,
) -> None:  # fmt: skip
    """Let a sensor see SCENE (reflectance or radiance cube), or a procedural scene when none is given."""
    from hsitools.errors import InputError
    from hsitools.io import open_cube
    from hsitools.sensor.presets import open_sensor
    from hsitools.sensor.simulate import simulate as run

    instrument = open_sensor(sensor_file)
    if scene is not None:
        refuse_typed("SCENE", "size")
    if scene is None:
        from hsitools.scenes import scene as procedural

        try:
            height, width = (int(part) for part in size.lower().split("x"))
        except ValueError:
            height = width = 0
        if min(height, width) < 1:
            raise InputError(f"--size: found {size!r}, expected YxX, whole positive numbers, as 240x240")
        cube = procedural((height, width), seed=seed)
    else:
        cube = open_cube(scene)
    with progress_bar("simulate") as progress:
        said = run(
            cube, instrument, out, seed=seed, noise=not noise_free, scale=scale, progress=progress, device=device
        )
    for line in said:
        click.echo(f"{out}: {line}")
