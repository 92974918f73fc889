"""``hsi pansharpen train``: train a supervised net for a sensor."""

from __future__ import annotations

from pathlib import Path

import click

from hsitools.commands.options import emit_json, emit_table, json_option, progress_bar
from hsitools.commands.training import is_first_process, training_options, typed, weights_out_option

#: Procedural scenes by default: of a fifth, two whole ones are held out.
PROCEDURAL = 12


@click.command()
@click.argument("method")
@click.option("--sensor", "sensor_file", required=True, metavar="FILE|PRESET", help="Whose pairs it learns from.")
@weights_out_option
@click.option("--data", multiple=True, metavar="PATH", default=("procedural",), show_default=True,
              help="Cube, or folder of cubes: scenes, or products with PAN; repeatable.")  # fmt: skip
@click.option("--scenes", type=int, help="How many procedural scenes  [default: 12].")
@click.option("--epochs", type=int, help="Most epochs  [default: the published number].")
@click.option("--batch", type=int, help="Patches of a batch  [default: the published number].")
@click.option("--patch", type=int, default=32, show_default=True, help="Side of a patch, coarse pixels.")
@click.option("--learning-rate", type=float, help="[default: the published one].")
@click.option("--ratio", type=int, help="Instead of the sensor's own.")
@training_options("weights, noise and patches")
@json_option
def train(
    method: str, sensor_file: str, out: Path, data: tuple[str, ...], scenes: int | None, epochs: int | None,
    batch: int | None, patch: int, learning_rate: float | None, ratio: int | None, seed: int, resume: bool,
    device: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Train the net METHOD (HyperPNN, HSpeNet, Hyper-DSNet, DIP-HyperKite, DHP-DARN) for a sensor.

    Scenes are observed by the sensor with its noise; the net learns to get them back. Products with PAN are degraded
    once more by their ratio. A fifth is held out: training stops when it no longer improves there, and the best weights
    are written with a card that says what they are for. The same command goes on after a kill. On several GPUs:
    torchrun --nproc-per-node 2 $(which hsi) pansharpen train …
    """
    from hsitools.errors import InputError
    from hsitools.io import open_cubes
    from hsitools.scenes import procedural_scenes
    from hsitools.sensor import open_sensor
    from pansharpen.learning.supervised_training import train as train_net

    sensor = open_sensor(sensor_file)
    if ratio is not None:
        sensor = sensor.replace(ratio=ratio, offset=None)
    count = PROCEDURAL if scenes is None else scenes
    if count < 1:
        raise InputError(f"scenes: found {count}, expected at least 1")
    cubes = []
    if "procedural" in data:
        cubes += procedural_scenes(count, max(patch, 1) * int(sensor.ratio), seed)
    elif scenes is not None:
        raise InputError("scenes: found a number of procedural scenes, expected none beside --data of files alone")
    cubes += open_cubes([path for path in data if path != "procedural"])
    with progress_bar(f"train {method}") as progress:
        card = train_net(
            method, sensor, cubes, out, seed=seed, epochs=epochs, batch=batch, patch=patch,
            learning_rate=learning_rate, resume=resume, device=device, command=typed("hsi pansharpen train"),
            progress=progress,
        )  # fmt: skip
    if not is_first_process():
        return
    document = {
        "method": card.method, "weights": str(out / f"{card.method}.safetensors"), "bands": card.n_bands,
        "ratio": card.ratio, "sensor": card.sensor, "epochs": card.epochs, "steps": card.steps, **card.metrics,
    }  # fmt: skip
    if as_json:
        emit_json(document)
    else:
        emit_table(document)
