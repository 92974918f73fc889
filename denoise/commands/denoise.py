"""``hsi denoise``: denoisers from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from denoise.commands.benchmark import benchmark, figures
from denoise.commands.train import train, train_outliers
from hsitools.commands.options import (
    device_option,
    emit_json,
    hidden,
    json_option,
    out_option,
    plugin_option,
    progress_bar,
    scheduler_option,
    seed_option,
    workers_option,
)
from hsitools.commands.outputs import OutputFile
from hsitools.text import counted

if TYPE_CHECKING:
    from hsitools.cube import Cube

#: Posterior samples beyond which a run begins with a word: 100 tell a standard deviation to 7 %, as nobody needs.
MANY_SAMPLES = 100
#: What methods say of a cube, in the order in which it is printed.
FINDINGS = (
    "path", "note", "strips", "trust", "error_saved", "rank", "dead_elements", "outliers", "nodata", "bands_as_given",
    "saturated", "photon_gain", "offset_rms", "gain_rms", "common_stripes", "common_rows", "striped_rows",
    "rows_calibrated", "noise_correlation", "noise_untold", "pixel_correlation",
)  # fmt: skip
#: What was assumed of units, and what makes the result doubtful as a whole.
NOTE, WARNING = "sensor_note", "warning"
#: Pixels whose residual held more than noise, their groups, and rows and columns that hold them.
RARE = ("rare_pixels", "rare_groups", "rare_extent")
#: Bands whose residual has structure.
DOUBTFUL = "doubtful_bands"


@click.group()
def denoise() -> None:
    """Remove noise, stripes and outliers from cubes; compare methods."""


for _command in (benchmark, figures, train, train_outliers):
    denoise.add_command(_command)


@denoise.command("list")
@plugin_option
@json_option
def list_methods(plugins: tuple[Path, ...], as_json: bool) -> None:
    """Methods and their papers."""
    import denoise.methods  # noqa: F401  (registers them)
    from denoise.registry import METHODS
    from hsitools.plugins import load_plugins

    load_plugins(plugins)
    rows = [{"name": entry.name, "summary": entry.summary, "paper": entry.paper} for entry in METHODS.values()]
    if as_json:
        return emit_json(rows)
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {row['summary']}")
        click.echo(f"{'':<{width}}  {row['paper']}")


denoise.add_command(hidden(list_methods), "methods")


@denoise.command("run")
@click.argument("path", type=click.Path(path_type=Path))
@out_option(OutputFile("cube", "_std", "_mask", "_structure"), "Clean cube: .h5, .nc, .hdr or .tif.", required=True)
@click.option(
    "--method", default="diffusion", show_default=True, help="See `hsi denoise list`; lowrank needs no weights."
)
@click.option("--sensor", metavar="FILE|PRESET", help="Sensor whose noise and calibration replace estimates.")
@click.option("--scale", type=float,
              help="Turns the cube's numbers into the sensor's units  [default: as its file says].")  # fmt: skip
@click.option("--samples", type=int, default=0, show_default=True,
              help="Posterior samples for the standard deviation of each voxel; 6 will do.")  # fmt: skip
@seed_option("Of the samples.")
@click.option("--weights", type=click.Path(path_type=Path), help="Folder of `hsi denoise train`  [default: shipped].")
@device_option
@workers_option
@scheduler_option
@plugin_option
@json_option
def run(
    path: Path, out: Path, method: str, sensor: str | None, scale: float | None, samples: int, seed: int,
    weights: Path | None, device: str, workers: int | None, scheduler: str | None, plugins: tuple[Path, ...],
    as_json: bool,
) -> None:  # fmt: skip
    """Denoise the cube PATH.

    With --samples the standard deviation and the mask of voxels whose measurement was not used are written beside OUT,
    as OUT's name with _std and _mask; with _structure the pixels whose residual held more than noise, where there are
    any.

    With --workers or --scheduler all workers restore strips of a large cube at once; a worker that dies costs its
    strip, and the same command goes on where one that was killed stood.
    """
    import time

    from hsitools.lookup import require_registered

    if not plugins:
        require_registered(method, "denoise.methods", "method", "method")
    import denoise.methods  # noqa: F401  (registers its own before a plugin's)
    from denoise.registry import get
    from hsitools.plugins import load_plugins
    from hsitools.scale.cluster import cluster

    load_plugins(plugins)
    if samples > MANY_SAMPLES:
        click.echo(f"hsi: note: --samples: found {samples}: time and memory grow with them, 6 will do", err=True)
    began = time.perf_counter()
    files = [path, sensor, weights, *plugins]
    asked = {"sensor": sensor, "scale": scale, "samples": samples, "seed": seed, "device": device}
    modules = ["denoise.restore", *(["torch"] if get(method).on_device else [])]
    with cluster(workers, scheduler, files=files, modules=modules) as client, progress_bar(method) as progress:
        cube, said, written = _restored(
            path, out, method, asked, files, weights=weights, progress=progress, client=client
        )
    document = {
        "method": cube.meta["denoised_by"], "out": str(out), "shape": list(cube.shape),
        "sensor": cube.meta["denoise_sensor"], "seconds": time.perf_counter() - began,
        **{name: str(file) for name, file in written.items()},
        **{key: said[key] for key in (*FINDINGS, DOUBTFUL, NOTE, WARNING, *RARE) if key in said},
    }  # fmt: skip
    if samples and "std" not in written:
        why = cube.meta.get("note", f"path {cube.meta.get('path')}")
        click.echo(f"hsi: note: --samples: found no samples to draw ({why}): no standard deviation written", err=True)
    if as_json:
        return emit_json(document)
    _tell(document, written)


def _restored(
    path: Path, out: Path, method: str, asked: dict[str, Any], files: list[Path | str | None], *, client: Any,
    **settings: Any,
) -> tuple[Cube, dict[str, Any], dict[str, Path]]:  # fmt: skip
    """The estimate as it was written, what was found in the cube, and the files beside."""
    import shutil

    from denoise.restore import rare_findings, restore_cube, strip_findings
    from hsitools.io import open_cube, save_cube
    from hsitools.io.outputs import beside
    from hsitools.io.together import together
    from hsitools.scale.parts import partial_folder
    from hsitools.scale.pieces import key_of
    from hsitools.sensor import open_sensor

    kept = None if client is None else partial_folder(out, key_of({"method": method, **asked}, files))
    known = None if asked["sensor"] is None else open_sensor(asked["sensor"])
    found = restore_cube(open_cube(path), method, **{**asked, "sensor": known}, **settings, client=client, kept=kept)
    with together(out) as made:
        save_cube(found.estimate, made / out.name)
        layers = {"std": found.std, "mask": found.mask} if asked["samples"] else {}
        # of strips it is complete only now
        rare = rare_findings(found.structure)
        layers["structure"] = found.structure if rare else None
        there = {name: cube for name, cube in layers.items() if cube}
        written = {name: beside(out, f"_{name}") for name in there}
        for name, file in written.items():
            save_cube(there[name], made / file.name)
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
    return found.estimate, {**rare, **found.estimate.meta, **strip_findings(found.estimate)}, written


def _tell(document: dict[str, Any], written: dict[str, Path]) -> None:
    """Print what was done and found."""
    shape = "×".join(map(str, document["shape"]))
    click.echo(f"{document['out']}: {shape} by {document['method']} in {document['seconds']:.1f} s")
    for name, file in written.items():
        click.echo(f"{file}: {name}")
    said = [
        f"{key.replace('_', ' ')} {value if isinstance(value := document[key], str) else format(value, '.4g')}"
        for key in FINDINGS if key in document
    ]  # fmt: skip
    if said:
        click.echo(", ".join(said))
    if document.get(RARE[0]):
        top, bottom, left, right = document[RARE[2]]
        pixels, groups = counted(document[RARE[0]], "pixel"), counted(document[RARE[1]], "group")
        click.echo(
            f"structure in the residual of {pixels} in {groups}, "
            f"rows {top}:{bottom}, columns {left}:{right}: rare spectra, put back; look at them in the observed cube"
        )
    if NOTE in document:
        click.echo(document[NOTE])
    # of strips it was said when the last one was restored
    if WARNING in document and "strips" not in document:
        click.echo(f"warning: {document[WARNING]}", err=True)
    if document.get(DOUBTFUL):
        bands = ", ".join(map(str, document[DOUBTFUL]))
        click.echo(
            f"doubtful bands (counted from 0) {bands}: what was taken from them is not noise alone (see `hsi denoise "
            "figures`)"
        )
