"""``hsi pansharpen``: the zoo from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsitools.commands.options import (
    SeveralValues,
    device_option,
    dtype_option,
    emit_json,
    hidden,
    json_option,
    out_option,
    plugin_option,
    progress_bar,
    rounding_said,
    scheduler_option,
    seed_option,
    step_option,
    whole_name,
    window_option,
    workers_option,
)
from hsitools.commands.outputs import OutputFile
from hsitools.text import counted
from pansharpen.commands.benchmark import benchmark, report
from pansharpen.commands.train import train


@click.group()
def pansharpen() -> None:
    """Fuse hyperspectral cubes with panchromatic images; compare methods; train nets."""


for _command in (benchmark, report, train):
    pansharpen.add_command(_command)


@pansharpen.command("list")
@plugin_option
@json_option
def list_methods(plugins: tuple[Path, ...], as_json: bool) -> None:
    """Methods: family, what they need, paper."""
    import pansharpen.in_memory  # noqa: F401  (registers them)
    from hsitools.plugins import load_plugins
    from pansharpen.registry import METHODS, names

    load_plugins(plugins)
    rows: list[dict[str, Any]] = [
        {
            "name": entry.name, "family": entry.family, "needs_training": entry.trained, "any_band_count": True,
            "tiled": entry.tiled, "std": entry.has_std, "summary": entry.summary, "paper": entry.paper,
        }
        for entry in (METHODS[name] for name in names())
    ]  # fmt: skip
    if as_json:
        return emit_json(rows)
    width = max(len(row["name"]) for row in rows)
    family = None
    for row in rows:
        if row["family"] != family:
            family = row["family"]
            click.echo(f"{family}:")
        marks = [text for text, on in (
            ("trained", row["needs_training"]), ("tiled", row["tiled"]), ("std", row["std"])
        ) if on]  # fmt: skip
        click.echo(f"  {row['name']:<{width}}  {row['summary']}" + (f" [{', '.join(marks)}]" if marks else ""))
        click.echo(f"  {'':<{width}}  {row['paper']}")
    click.echo(
        "every method takes any number of bands and any whole ratio; trained nets need weights for their sensor,"
    )
    click.echo("of which those of a PRISMA-like one at ratio 6 come with the package")


pansharpen.add_command(hidden(list_methods), "methods")


@pansharpen.command("run", cls=SeveralValues, several=("--batch",))
@click.argument("method")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@out_option(
    OutputFile("cube", "_std", folder_with="batch"),
    "Fused cube: .h5, .nc, .zarr, .hdr or .tif; with --batch a folder.",
    required=True,
)
@click.option("--batch", type=click.Path(path_type=Path), multiple=True, metavar="FILES",
              help="Products, each to a cube of its name in the folder --out; those that are there stay.")  # fmt: skip
@click.option("--suffix", metavar="SUFFIX", help="With --batch: format of the cubes  [default: .h5].")
@click.option("--pan", type=click.Path(path_type=Path), help="Panchromatic image  [default: the one in the file].")
@click.option("--guide", multiple=True, type=click.Path(path_type=Path),
              help="Bands of another sensor, instead of PAN or beside it; one file for each size of pixels, "
              "repeatable.")  # fmt: skip
@click.option("--guide-sensor", metavar="FILE|NAME",
              help="Whose bands: sentinel-2, landsat-8, landsat-9, ali, planetscope  [default: as the file "
              "says].")  # fmt: skip
@click.option("--reproject", is_flag=True, help="Bring PAN onto the cube's grid and coordinate system first.")
@click.option("--sensor", metavar="FILE|PRESET", help="Sensor whose MTF, PAN response and noise to use.")
@click.option(
    "--window", callback=window_option, metavar="Y0:Y1,X0:X1", help="Only these rows and columns of the cube."
)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights of a trained net.")
@seed_option("Of methods that draw, and of error bars.")
@click.option("--std", is_flag=True, help="Write the standard deviation of every voxel too, as OUT's name with _std.")
@click.option(
    "--noise", metavar="MODEL",
    help="Take noise, stripes and outliers off the cube by help of PAN, in one with fusion: blind."
)  # fmt: skip
@click.option("--cube-std", type=click.Path(path_type=Path), metavar="FILE",
              help="Of a cube denoised before: the standard deviation of its errors, for --std.")  # fmt: skip
@click.option("--convention", default="hsitools", show_default=True, help="For .npz cases: hsitools or toolbox.")
@device_option
@dtype_option
@step_option
@workers_option
@scheduler_option
@plugin_option
@json_option
def run_method(
    method: str, path: Path | None, out: Path, batch: tuple[Path, ...], suffix: str | None, workers: int | None,
    scheduler: str | None, sensor: str | None, as_json: bool, **asked: Any,
) -> None:  # fmt: skip
    """Fuse the cube PATH with its panchromatic image by METHOD (see `hsi pansharpen list`).

    With --workers or --scheduler all workers fuse tiles at once; a worker that dies costs its tile, and the same
    command goes on where one that was killed stood. With --batch they take a product each.
    """
    _require_names(method, sensor, asked)
    if (path is None) == (not batch):
        raise click.UsageError("expected one of PATH (a cube) and --batch (several)")
    given = asked | {"suffix": suffix, "batch": batch}
    for name, partner in (("suffix", "batch"), ("guide_sensor", "guide")):
        if given[name] is not None and not given[partner]:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --{partner}")
    _require_inputs(path, asked)
    from hsitools.scale.cluster import begin, cluster

    modules = ["pansharpen.tiled", "hsitools.scale.pieces"]
    begin(workers, modules)
    from pansharpen.products import FusionOrder, fuse_file, fuse_files

    order = FusionOrder(method=method, sensor=whole_name(sensor), **asked)
    files = [path or batch[0], *order.files]
    with cluster(workers, scheduler, files=files, modules=modules) as client:
        if path is None:
            with progress_bar("products") as progress:
                records = fuse_files(order, batch, out, suffix or ".h5", client=client, progress=progress)
            return _print_batch(records, out, as_json)
        with progress_bar(method) as progress, progress_bar("write") as written:
            document = fuse_file(order, path, out, client=client, progress=progress, written=written)
    if as_json:
        return emit_json(document)
    said = f"{out}: {'×'.join(map(str, document['shape']))} by {document['method']} in {document['seconds']:.1f} s"
    said += f"; {counted(document['bad_bands'], 'band')} marked bad" if document["bad_bands"] else ""
    said += f"; {100 * document['missing']:.2g} % of the voxels not measured (NaN)" if document["missing"] else ""
    if document["rounding_error"] is not None:
        said += f"; {rounding_said(document['rounding_error'], document['units'])}"
    click.echo(said)
    if "std" in document:
        click.echo(f"{document['std']}: std")
    if "warning" in document:
        click.echo(f"hsi: warning: {document['warning']}", err=True)
    if (document["sensor_noise"] or "").startswith("estimated"):
        click.echo(f"hsi: note: noise {document['sensor_noise']}", err=True)
    if order.sensor is None and not document["optics_in_file"]:
        response = ", PAN response estimated" if document["pan"] else ""
        click.echo(f"hsi: note: no --sensor: MTF gain 0.30 at Nyquist assumed{response}", err=True)


def _require_names(method: str, sensor: str | None, asked: dict[str, Any]) -> None:
    """Refuse a wrong name before anything heavy is imported, or a file is read; what plugins register is told later."""
    from hsitools.estimation.observed import require_noise_model
    from hsitools.lookup import require_registered
    from hsitools.sensor import open_sensor

    if not asked["plugins"]:
        require_registered(method, "pansharpen.methods", "method", "method")
    if sensor is not None:
        open_sensor(sensor)
    if asked["guide_sensor"] is not None:
        _require_imager(asked["guide_sensor"])
    if asked["noise"] is not None:
        require_noise_model(asked["noise"])


def _require_imager(name: str) -> None:
    """Raise an error unless a guide's sensor is a file, a preset or an imager by name."""
    from hsitools.errors import HsiError
    from hsitools.sensor import open_sensor
    from hsitools.sensor.multispectral import band_table

    try:
        open_sensor(name)
    except HsiError:
        if Path(name).exists():
            raise
        band_table(name)


def _require_inputs(path: Path | None, asked: dict[str, Any]) -> None:
    """Refuse files that are missing, and a cube without PAN, before anything heavy is imported."""
    from hsitools.errors import FormatError, InputError
    from hsitools.io import open_cube

    named = [*([] if path is None else [path]), asked["pan"], *asked["guide"], asked["cube_std"]]
    for file in named:
        if file is not None and not file.exists():
            raise FormatError(f"{file}: found no such file or folder, expected a cube or an image")
    # cases hold PAN; what plugins and weights are is told before what the cube lacks
    later = any(asked[name] for name in ("pan", "guide", "plugins", "weights"))
    if path is None or path.suffix.lower() == ".npz" or later:
        return
    if open_cube(path).pan is None:
        raise InputError(f"{path}: pan: missing, expected a panchromatic image beside the cube (--pan, or --guide)")


def _print_batch(records: list[dict[str, Any]], out: Path, as_json: bool) -> None:
    failed = [record for record in records if record["status"] not in ("ok", "kept")]
    if as_json:
        emit_json(records)
    else:
        kept = sum(record["status"] == "kept" for record in records)
        done = len(records) - len(failed) - kept
        click.echo(f"{out}: {done} of {len(records)} products fused" + (f", {kept} were there" if kept else ""))
    for record in failed:
        click.echo(f"hsi: error: {record['status']}", err=True)
    if failed:
        raise click.exceptions.Exit(2)
