"""``hsi denoise train``: the three stages of the diffusion restorer; ``train-outliers``: the outlier estimator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hsitools.commands.options import emit_json, emit_table, json_option, progress_bar
from hsitools.commands.training import is_first_process, training_options, typed, weights_out_option

if TYPE_CHECKING:
    from denoise.learning.denoiser_card import DenoiserCard

#: Sensors whose noise and patterns observations have by default: those of the package's weights.
SENSORS = ("prisma", "enmap", "hyperion-ali", "finch")
#: Side of procedural scenes, pixels: half as large again as an example, so that crops differ.
SIDE = 120
#: Procedural scenes of the outlier estimator, those of the package's weights: side in pixels, wavelengths (nm) and
#: bands, first seed.
OUTLIER_SIDE, OUTLIER_RANGE, OUTLIER_SEED = 128, (400, 1000, 100), 77


@click.command()
@click.option("--stage", type=click.IntRange(1, 3), required=True, help="1 autoencoder, 2 prior, 3 restoration.")
@weights_out_option
@click.option("--data", multiple=True, metavar="PATH", help="Clean cube, or folder of cubes; repeatable.")
@click.option("--scenes", type=int, default=10, show_default=True, help="How many procedural scenes besides.")
@click.option("--sensor", "sensors", multiple=True, metavar="FILE|PRESET", default=SENSORS, show_default=True,
              help="Whose noise and patterns some observations have; repeatable.")  # fmt: skip
@click.option("--examples", type=int, help="Observations to learn from  [default: 400].")
@click.option("--steps", type=int, help="[default: 1500, 600, 5000].")
@training_options("scenes, observations and weights")
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
    from denoise.learning.latent_training import EXAMPLES
    from denoise.learning.latent_training import train as train_stage
    from hsitools.errors import InputError
    from hsitools.io import open_cubes
    from hsitools.scenes import procedural_scenes
    from hsitools.sensor import open_sensor

    if scenes < 0:
        raise InputError(f"scenes: found {scenes}, expected at least 0")
    cubes = open_cubes(data) + procedural_scenes(scenes, SIDE, seed)
    with progress_bar(f"stage {stage}") as progress:
        card = train_stage(
            stage, cubes, [open_sensor(name) for name in sensors], out, seed=seed, steps=steps,
            count=EXAMPLES if examples is None else examples, resume=resume, device=device,
            command=typed("hsi denoise train"), progress=progress,
        )  # fmt: skip
    _report(card, out, as_json)


@click.command("train-outliers")
@click.argument("scenes", nargs=-1, type=click.Path(path_type=Path))
@weights_out_option
@click.option("--procedural", type=click.IntRange(min=0), default=5, show_default=True,
              help="How many procedural scenes besides.")  # fmt: skip
@click.option("--count", type=int, help="Observations to learn from  [default: 240].")
@click.option("--steps", type=int, help="[default: 2000].")
@training_options("observations and weights")
@json_option
def train_outliers(
    scenes: tuple[Path, ...], out: Path, procedural: int, count: int | None, steps: int | None, seed: int,
    resume: bool, device: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Train the outlier estimator on clean cubes SCENES, spoiled by simulated instruments.

    A fifth of the scenes is held out. The same command goes on after a kill. In 0.1.0 this was
    python -m denoise.outlier_training.
    """
    import numpy as np

    from denoise.learning.outlier_training import EXAMPLES, STEPS
    from denoise.learning.outlier_training import train as train_estimator
    from hsitools.io import open_cubes
    from hsitools.scenes import scene

    wavelength = np.linspace(*OUTLIER_RANGE)
    cubes = open_cubes(scenes) + [
        scene((OUTLIER_SIDE, OUTLIER_SIDE), wavelength_nm=wavelength, seed=OUTLIER_SEED + number)
        for number in range(procedural)
    ]
    with progress_bar("outliers") as progress:
        card = train_estimator(
            cubes, out, seed=seed, steps=STEPS if steps is None else steps,
            count=EXAMPLES if count is None else count, resume=resume, device=device,
            command=typed("hsi denoise train-outliers"), progress=progress,
        )  # fmt: skip
    _report(card, out, as_json)


def _report(card: DenoiserCard, out: Path, as_json: bool) -> None:
    """Print what was learned, once for all processes."""
    if not is_first_process():
        return
    document = {
        "weights": str(out / f"{card.method}.safetensors"), "steps": card.steps, "examples": card.examples,
        "held_out": ", ".join(card.held_out), **card.metrics,
    }  # fmt: skip
    if as_json:
        emit_json(document)
    else:
        emit_table(document)
