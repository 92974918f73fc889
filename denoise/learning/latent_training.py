"""The three stages of training: spectral atoms, latent prior, conditional restoration. Resumable and repeatable.

1. The autoencoder learns atoms that hold most of what the subspace estimate leaves out.
2. The flow learns residuals without being shown the observation: the prior.
3. The flow goes on with the observation, which is left out in one of ten examples; its spread is calibrated on
   held-out scenes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from denoise.latent.autoencoder import Autoencoder, to_blocks
from denoise.latent.certainty import calibrate
from denoise.latent.evidence import USED_ATOMS, evidence
from denoise.latent.flow import CHANNELS, START, Condition, FlowNet, channels_of, posterior_mean, predicted_mean
from denoise.learning.denoiser_card import AUTOENCODER, FLOW, PRIOR, DenoiserCard, load_autoencoder, load_flow
from denoise.learning.example_files import example_sets, held_out
from denoise.learning.residual_examples import (
    Example,
    clean_cubes,
    data_name,
    example_content,
    load_example,
    make_example,
)
from denoise.learning.stepwise import train_by_steps
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io.outputs import made_folder
from hsitools.learning.card import scene_names
from hsitools.learning.weights import as_stored, save
from hsitools.learning.workers import Worker, join_workers
from hsitools.progress import Progress
from hsitools.sensor import Sensor

#: Steps of each stage; with two threads about 1, 5 and 45 minutes. More help stage 3 still: the
#: weights of the package took 12 000.
STEPS = {1: 1500, 2: 600, 3: 5000}
#: Highest learning rates: of AdamW for nets of this size, twice that for the small autoencoder.
RATES = {1: 2e-3, 2: 1e-3, 3: 1e-3}
#: Steps over which the rate rises, so that the first moments of Adam, of few steps, move nothing far.
WARM = 100
#: Steps of which the average of the weights is made, as a decay.
EMA_DECAY = {1: 0.99, 2: 0.999, 3: 0.999}
#: Examples to learn from and to judge by.
EXAMPLES, JUDGED = 400, 48
#: Cubes of a step, their side in pixels and their components: as many as two cores learn from in half a second.
BATCH, SIDE, COMPONENTS = 4, 48, 6
#: Share of steps at the start of the flow, where it is the posterior mean and most used; share of examples without
#: observation, so that the prior is not forgotten.
AT_START, DROPPED = 0.5, 0.1
Array = NDArray[Any]
NAMES = {1: AUTOENCODER, 2: PRIOR, 3: FLOW}


def train(
    stage: int, scenes: Sequence[Cube], sensors: Sequence[Sensor], out: str | Path, *, seed: int = 0,
    steps: int | None = None, count: int = EXAMPLES, resume: bool = True, device: str | None = None, command: str = "",
    progress: Progress | None = None,
) -> DenoiserCard:  # fmt: skip
    """Train one stage; weights, card, curves (CSV, PNG) and a checkpoint go to ``out``.

    Parameters
    ----------
    stage : int
        1, 2 or 3; each goes on from the one before, in the same folder.
    scenes : sequence of Cube
        Clean ones; every fifth is held out, of fewer the last.
    sensors : sequence of Sensor
        Whose noise and patterns some of the observations have.
    out : path
        Folder; examples are kept in it too.
    seed : int
    steps : int, optional
        Default `STEPS`.
    count : int
        Examples to learn from.
    resume : bool
        Go on from the stage's checkpoint.
    device : str, optional
        Default the GPU where there is one. Under ``torchrun`` the cubes of a step are shared among the processes.
    command : str
        Noted on the card.
    progress : callable, optional
        Called with (done, in all), of examples first, then of steps.

    Returns
    -------
    DenoiserCard

    Raises
    ------
    InputError
        For settings that make no sense, unfit scenes, or a checkpoint of other settings.
    FormatError
        When the weights of the stage before are missing.
    FloatingPointError
        When the loss is not finite.
    """
    if stage not in STEPS:
        raise InputError(f"stage: found {stage}, expected 1, 2 or 3")
    steps = STEPS[stage] if steps is None else steps
    for name, value in (("steps", steps), ("count", count), ("scenes", len(scenes) // 2)):
        if value < 1:
            raise InputError(f"{name}: found {value}, expected at least {2 if name == 'scenes' else 1}")
    out = Path(out)
    with made_folder(out), join_workers(device) as worker:
        cubes = clean_cubes(scenes)
        mark = data_name(scenes, cubes, sensors, out)

        def make(part: Sequence[tuple[Array, Array]], rng: np.random.Generator) -> Mapping[str, Array]:
            return example_content(make_example(*part[int(rng.integers(len(part)))], rng, sensors))

        folders = out / f"examples-{mark}-{seed}-train", out / f"examples-{mark}-{seed}-held-out"
        paths = example_sets(cubes, make, folders, (count, min(count, JUDGED)), seed, progress, worker)
        task = _Atoms(paths, seed, worker) if stage == 1 else _Flow(stage, paths, seed, out, worker)
        settings = {
            "stage": stage, "seed": seed, "steps": steps, "batch": BATCH, "side": SIDE, "components": COMPONENTS,
            "learning_rate": RATES[stage], "data": mark, "examples": count,
        }  # fmt: skip
        trainer = train_by_steps(
            task, NAMES[stage], settings, out, worker, steps=steps, rate=RATES[stage], warm=WARM,
            ema_decay=EMA_DECAY[stage], resume=resume, progress=progress,
        )  # fmt: skip
    names = scene_names(scenes)
    card = DenoiserCard(
        method=NAMES[stage], data=names, held_out=tuple(names[number] for number in held_out(len(names))),
        sensors=tuple(sensor.name for sensor in sensors), seed=seed, steps=trainer.state.round, examples=count,
        command=command, metrics=trainer.measured,
    )  # fmt: skip
    if worker.first:
        net = as_stored(trainer.kept)
        if isinstance(net, FlowNet) and stage == 3:
            factors = calibrate(net, load_autoencoder(out)[0], [load_example(path) for path in paths[1]], seed)
            card = dataclasses.replace(card, metrics=card.metrics | factors)
        card = save(net, card, out)
    return card


class _Atoms:
    """What stage 1 learns; see `hsitools.learning.trainer.Task`.

    An example is the covariance of what its subspace leaves out: atoms are to hold most of it. It takes a
    minute, so each process learns by itself, and the first one's net is kept.
    """

    measures = ("left_4_atoms", "left_16_atoms", "left_all_atoms")

    def __init__(self, paths: Sequence[Sequence[Path]], seed: int, worker: Worker) -> None:
        self.seed, self.rank = seed, worker.rank
        self.training, self.held_out = (
            [_beyond_subspace(load_example(path), worker.device) for path in part] for part in paths
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = Autoencoder().to(worker.device)

    def losses(self, net: nn.Module, step: int) -> Iterator[tuple[torch.Tensor, float]]:
        rng = np.random.default_rng([self.seed, 1, step, self.rank])
        missed = []
        for number in rng.integers(len(self.training), size=16):
            # the first atoms must do without the rest
            missed.append(_missed(self.net, self.training[int(number)])[: int(2 ** rng.uniform(0, 5))].mean())
        yield torch.stack(missed).mean(), 1.0

    @torch.no_grad()
    def evaluate(self, net: nn.Module) -> tuple[float, ...]:
        missed = [_missed(net, part) for part in self.held_out]
        return tuple(float(np.mean([float(item[min(n, len(item)) - 1]) for item in missed])) for n in (4, 16, 10**6))


def _beyond_subspace(example: Example, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Covariance ``(band, band)`` of the true residual beyond the subspace, the subspace, wavelengths and noise."""
    truth = torch.as_tensor(example.truth).flatten(1)
    directions = torch.as_tensor(example.whitened.directions)
    rest = truth - directions @ (directions.T @ truth)
    wavelength, sigma = torch.as_tensor(example.whitened.wavelength_nm), torch.as_tensor(example.whitened.sigma)
    return tuple(item.to(device) for item in (rest @ rest.T, directions, wavelength, sigma))


def _missed(coder: nn.Module, part: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Share of the energy that 1, 2, … atoms do not hold."""
    covariance, directions, wavelength, sigma = part
    assert isinstance(coder, Autoencoder)
    atoms = coder.basis(directions, wavelength, sigma)[:, directions.shape[1] :]
    held = torch.einsum("bk,bc,ck->k", atoms, covariance, atoms)
    return 1 - torch.cumsum(held, dim=0) / torch.trace(covariance)


@dataclass(frozen=True, kw_only=True)
class _Latents:
    """An example as the flow sees it, in half precision, and the truth that it is to predict."""

    condition: Condition
    truth: torch.Tensor
    weight: float

    def crop(
        self, rows: slice, columns: slice, chosen: NDArray[np.int64], flips: list[int], signs: torch.Tensor
    ) -> tuple[Condition, torch.Tensor]:  # fmt: skip
        """A window in latent pixels of some components, turned; the sign of a component means nothing."""
        images = [
            self.condition.observed[chosen][..., rows, columns], self.condition.context[chosen][..., rows, columns],
            self.truth[chosen][..., rows, columns],
        ]  # fmt: skip
        observed, context, truth = (item.float() for item in images)
        observed, truth = observed * signs, truth * signs
        own = 3 * CHANNELS
        context = torch.cat([context[:, :own] * signs, context[:, own:]], dim=1)
        if flips:
            observed, context, truth = (_flipped(item, flips) for item in (observed, context, truth))
        return Condition(observed, context, self.condition.features[chosen]), truth


def _flipped(blocks: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """Blocks with y (-2) or x (-1) reversed: so are the Haar coefficients of differences along it."""
    out = blocks.flip(axes).clone()
    full = out[:, : out.shape[1] // CHANNELS * CHANNELS].unflatten(1, (-1, CHANNELS))
    for axis in axes:
        # channels: mean, difference across x, along y, both
        full[:, :, [1 if axis == -1 else 2, 3]] *= -1
    return out


class _Flow:
    """What stages 2 and 3 learn; see `hsitools.learning.trainer.Task`."""

    measures = ("gain_db", "worst_gain_db")

    def __init__(
        self, stage: int, paths: Sequence[Sequence[Path]], seed: int, out: Path, worker: Worker
    ) -> None:  # fmt: skip
        coder = load_autoencoder(out)[0]
        self.stage, self.seed, self.worker, self.device = stage, seed, worker, worker.device
        self.training, self.held_out = ([_latents(load_example(path), coder) for path in part] for part in paths)
        if stage == 2:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.net = FlowNet()
        else:
            self.net = load_flow(out, PRIOR)[0].train()
        self.net = self.net.to(self.device)

    def losses(self, net: nn.Module, step: int) -> Iterator[tuple[torch.Tensor, float]]:
        rng = np.random.default_rng([self.seed, self.stage, step, self.worker.rank])
        items = max(1, BATCH // self.worker.world)
        chosen = [self.training[int(number)] for number in rng.integers(len(self.training), size=items)]
        n = min(COMPONENTS, *(len(item.truth) for item in chosen))
        height, width = (min(SIDE // 2, *(item.truth.shape[axis] for item in chosen)) // 4 * 4 for axis in (-2, -1))
        conditions, truths, weight = [], [], []
        for item in chosen:
            y0 = int(rng.integers(item.truth.shape[-2] - height + 1))
            x0 = int(rng.integers(item.truth.shape[-1] - width + 1))
            components = rng.permutation(len(item.truth))[:n]
            flips = [axis for axis in (-2, -1) if rng.random() < 0.5]
            signs = torch.as_tensor(rng.choice([-1.0, 1.0], size=(n, 1, 1, 1)), dtype=torch.float32)
            shown, truth = item.crop(slice(y0, y0 + height), slice(x0, x0 + width), components, flips, signs)
            if self.stage == 2 or rng.random() < DROPPED:
                shown = shown.without_observation()
            conditions.append(shown)
            truths.append(truth)
            weight += [item.weight] * n
        shown = Condition(*(torch.cat(parts).to(self.device) for parts in zip(*conditions, strict=True)))
        truth = torch.cat(truths).to(self.device)
        moment = np.where(rng.random(items) < AT_START, 0, rng.random(items))
        time = torch.as_tensor(moment, dtype=torch.float32, device=self.device)
        noise = torch.as_tensor(rng.standard_normal(truth.shape), dtype=torch.float32, device=self.device)
        share = time.repeat_interleave(n)[:, None, None, None]
        noisy = (1 - share) * START * noise + share * truth
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            predicted = net(noisy, time, shown, items)
        error = ((predicted.float() - truth) ** 2).mean(dim=(1, 2, 3))
        yield (error * torch.as_tensor(weight, dtype=torch.float32, device=self.device)).mean(), 1.0

    @torch.no_grad()
    def evaluate(self, net: nn.Module) -> tuple[float, ...]:
        """Decibels by which the posterior mean is nearer to the truth than the classical estimate: mean, worst."""
        gains = []
        assert isinstance(net, FlowNet)
        for item in self.held_out:
            shown = Condition(*(part[:COMPONENTS].float().to(self.device) for part in item.condition))
            truth = item.truth[:COMPONENTS].float().to(self.device)
            mean = predicted_mean(net, shown.without_observation()) if self.stage == 2 else posterior_mean(net, shown)
            error = (mean - truth).square().sum()
            gains.append(float(10 * torch.log10(truth.square().sum() / error)))
        return float(np.mean(gains)), min(gains)


def _latents(example: Example, coder: Autoencoder) -> _Latents:
    with torch.no_grad():
        components, basis = evidence(example.whitened, coder, USED_ATOMS)
        shown = channels_of(components)
        truth = torch.zeros_like(components.best)
        height, width = example.truth.shape[1:]
        truth[:, :height, :width] = torch.tensordot(basis.T, torch.as_tensor(example.truth), dims=1)
        latent = to_blocks(truth).movedim(0, 1).clamp(-6e4, 6e4)
        weight = 1 / (float(latent.square().mean()) + 0.02)
        halves = Condition(shown.observed.clamp(-6e4, 6e4).half(), shown.context.half(), shown.features)
        return _Latents(condition=halves, truth=latent.half(), weight=weight)
