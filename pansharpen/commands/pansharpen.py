"""``hsi pansharpen``: the zoo from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsitools.commands.options import (
    emit_json,
    json_option,
    plugin_option,
    progress_bar,
    refuse_input_as_output,
    window_option,
)
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


@pansharpen.command("run")
@click.argument("method")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Fused cube: .h5, .nc, .hdr or .tif.")
@click.option("--pan", type=click.Path(path_type=Path), help="Panchromatic image  [default: the one in the file].")
@click.option("--reproject", is_flag=True, help="Bring PAN onto the cube's grid and coordinate system first.")
@click.option("--sensor", metavar="FILE|PRESET", help="Sensor whose MTF, PAN response and noise to use.")
@click.option(
    "--window", callback=window_option, metavar="Y0:Y1,X0:X1", help="Only these rows and columns of the cube."
)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights of a trained net.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--std", is_flag=True, help="Write the standard deviation of every voxel too, as OUT's name with _std.")
@click.option("--convention", default="hsitools", show_default=True, help="For .npz cases: hsitools or toolbox.")
@plugin_option
@json_option
def run_method(
    method: str, path: Path, out: Path, pan: Path | None, reproject: bool, sensor: str | None, window: Any,
    weights: Path | None, seed: int, std: bool, convention: str, plugins: tuple[Path, ...],
    as_json: bool,
) -> None:  # fmt: skip
    """Fuse the cube PATH with its panchromatic image by METHOD (see `hsi pansharpen list`)."""
    import time

    from hsitools.io import save_cube
    from hsitools.plugins import load_plugins
    from hsitools.sensor import open_sensor
    from pansharpen.pair.alignment import paired, windowed
    from pansharpen.pair.case_files import convention as rules
    from pansharpen.pair.case_files import open_pair
    from pansharpen.tiled import fuse_pair

    beside = out.with_name(f"{out.stem}_std{out.suffix}")
    for target in (out, beside) if std else (out,):
        refuse_input_as_output(target, path, pan)
    load_plugins(plugins)
    instrument = None if sensor is None else open_sensor(sensor)
    cube, optics = open_pair(path, pan, rules(convention), instrument)
    cube = paired(windowed(cube, window), reproject=reproject)
    began = time.perf_counter()
    with progress_bar(method) as progress:
        fused, uncertain = fuse_pair(
            cube, method, instrument, optics=optics, seed=seed, weights=weights, progress=progress, std=std
        )  # fmt: skip
    written = {out: fused} | ({} if uncertain is None else {beside: uncertain})
    for path_out, layer in written.items():
        with progress_bar("write") as progress:
            save_cube(layer, path_out, progress)
    seconds = time.perf_counter() - began
    document = {
        "method": fused.meta["pansharpened_by"], "out": str(out), "shape": list(fused.shape), "seconds": seconds,
        "bad_bands": int((~fused.good).sum()), "sensor": fused.meta["sensor"],
        "sensor_noise": fused.meta.get("sensor_noise"), "pan_shift_pixels": fused.meta.get("pan_shift_pixels"),
        **({"std": str(beside)} if std else {}),
    }  # fmt: skip
    if as_json:
        return emit_json(document)
    said = f"{out}: {'×'.join(map(str, fused.shape))} by {document['method']} in {seconds:.1f} s"
    click.echo(said + (f"; {document['bad_bands']} bands marked bad" if document["bad_bands"] else ""))
    if std:
        click.echo(f"{beside}: std")
    if (document["sensor_noise"] or "").startswith("estimated"):
        click.echo(f"hsi: note: noise {document['sensor_noise']}", err=True)
    if sensor is None and optics is None:
        click.echo("hsi: note: no --sensor: MTF gain 0.30 at Nyquist assumed, PAN response estimated", err=True)
