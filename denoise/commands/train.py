"""``hsi denoise train``: the three stages of the diffusion restorer."""

from __future__ import annotations

from pathlib import Path

import click

from hsitools.commands.options import emit_json, emit_table, json_option, progress_bar

#: Sensors whose noise and patterns observations have by default; side of procedural scenes, pixels.
SENSORS, SIDE = ("prisma", "enmap", "hyperion-ali", "finch"), 120


@click.command()
@click.option("--stage", type=click.IntRange(1, 3), required=True, help="1 autoencoder, 2 prior, 3 restoration.")
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Folder for weights and curves.")
@click.option("--data", multiple=True, metavar="PATH", help="Clean cube, or folder of cubes; repeatable.")
@click.option("--scenes", type=int, default=10, show_default=True, help="How many procedural scenes besides.")
@click.option("--sensor", "sensors", multiple=True, metavar="FILE|PRESET", default=SENSORS, show_default=True,
              help="Whose noise and patterns some observations have; repeatable.")  # fmt: skip
@click.option("--examples", type=int, help="Observations to learn from  [default: 400].")
@click.option("--steps", type=int, help="[default: 1500, 600, 5000].")
@click.option("--seed", type=int, default=0, show_default=True, help="Of scenes, observations and weights.")
@click.option("--resume/--no-resume", default=True, help="Go on from the checkpoint in the folder  [default: resume].")
@click.option("--device", help="cpu, cuda, cuda:1  [default: a GPU where there is one].")
@json_option
def train(
    stage: int, out: Path, data: tuple[str, ...], scenes: int, sensors: tuple[str, ...], examples: int | None,
    steps: int | None, seed: int, resume: bool, device: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Train one stage of the diffusion restorer; each goes on from the one before, in the same folder.

    Clean scenes, real and procedural, are observed with noise, stripes and defects and taken apart as a user's cube
    would be; a fifth of the scenes is held out. The same command goes on after a kill. On several GPUs:
    torchrun --nproc-per-node 2 $(which hsi) denoise train …
    """
    import os
    import sys

    from denoise.learning.training import EXAMPLES
    from denoise.learning.training import train as train_stage
    from hsitools.errors import InputError
    from hsitools.io import open_cubes
    from hsitools.scenes import procedural_scenes
    from hsitools.sensor import open_sensor

    for name, value in (("scenes", scenes), ("seed", seed)):
        if value < 0:
            raise InputError(f"{name}: found {value}, expected at least 0")
    cubes = open_cubes(data) + procedural_scenes(scenes, SIDE, seed)
    command = "hsi denoise train " + " ".join(sys.argv[sys.argv.index("train") + 1 :] if "train" in sys.argv else [])
    with progress_bar(f"stage {stage}") as progress:
        card = train_stage(
            stage, cubes, [open_sensor(name) for name in sensors], out, seed=seed, steps=steps,
            count=EXAMPLES if examples is None else examples, resume=resume, device=device, command=command.strip(),
            progress=progress,
        )  # fmt: skip
    if int(os.environ.get("RANK", "0")) > 0:
        return
    document = {
        "weights": str(out / f"{card.method}.safetensors"), "steps": card.steps, "examples": card.examples,
        "held_out": ", ".join(card.held_out), **card.metrics,
    }  # fmt: skip
    if as_json:
        emit_json(document)
    else:
        emit_table(document)
