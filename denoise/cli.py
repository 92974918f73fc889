"""``hsi denoise``: denoisers from the command line."""

from __future__ import annotations

from pathlib import Path

import click

from denoise.cli_benchmark import benchmark, figures
from hsitools.options import emit_json, json_option, progress_bar


@click.group()
def denoise() -> None:
    """Remove noise, stripes and outliers from cubes; compare methods."""


for _command in (benchmark, figures):
    denoise.add_command(_command)


@denoise.command("list")
@json_option
def list_methods(as_json: bool) -> None:
    """Methods and their papers."""
    import denoise.methods  # noqa: F401  (registers them)
    from denoise.registry import METHODS

    rows = [{"name": entry.name, "summary": entry.summary, "paper": entry.paper} for entry in METHODS.values()]
    if as_json:
        return emit_json(rows)
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {row['summary']}")
        click.echo(f"{'':<{width}}  {row['paper']}")


@denoise.command("run")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Clean cube: .h5, .nc, .hdr or .tif.")
@click.option("--method", default="lowrank", show_default=True, help="See `hsi denoise list`.")
@click.option("--sensor", metavar="FILE|PRESET", help="Sensor whose calibrated noise replaces the estimate.")
@json_option
def run(path: Path, out: Path, method: str, sensor: str | None, as_json: bool) -> None:
    """Denoise the cube PATH."""
    import time

    from denoise.restore import denoise as restored
    from hsitools.io import open_cube, save_cube
    from hsitools.sensor import open_sensor

    began = time.perf_counter()
    with progress_bar(method) as progress:
        known = None if sensor is None else open_sensor(sensor)
        cube = restored(open_cube(path), method, known, progress=progress)
        save_cube(cube, out)
    document = {
        "method": cube.meta["denoised_by"], "out": str(out), "shape": list(cube.shape),
        "sensor": cube.meta["denoise_sensor"], "seconds": time.perf_counter() - began,
        **{key: cube.meta[key] for key in FINDINGS if key in cube.meta},
    }  # fmt: skip
    if as_json:
        return emit_json(document)
    click.echo(f"{out}: {'×'.join(map(str, cube.shape))} by {document['method']} in {document['seconds']:.1f} s")
    said = [f"{key.replace('_', ' ')} {document[key]:.4g}" for key in FINDINGS if key in document]
    if said:
        click.echo(", ".join(said))


#: What methods say of a cube, in the order in which it is printed.
FINDINGS = ("strips", "rank", "dead_elements", "outliers", "offset_rms", "gain_rms")
