"""The three stages of training: spectral atoms, latent prior, conditional restoration. Resumable and repeatable.

1. The autoencoder learns atoms that hold most of what the subspace estimate leaves out.
2. The flow learns residuals without being shown the observation: the prior.
3. The flow goes on with the observation, which is left out in one of ten examples; its spread is calibrated on
   held-out scenes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from denoise.latent.autoencoder import Autoencoder, to_blocks
from denoise.latent.evidence import USED_ATOMS, evidence
from denoise.latent.flow import CHANNELS, START, Condition, FlowNet, condition, known_mean, posterior_mean
from denoise.learning.examples import Example, clean_cubes, data_name, examples, load_example
from denoise.learning.steps import HELD_OUT, learn
from denoise.learning.weights import AUTOENCODER, FLOW, PRIOR, Card, load_autoencoder, load_flow
from hsitools import weights
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.learning import Ema, draw_curves, save_curve, shared, workers
from hsitools.progress import Progress
from hsitools.sensor import Sensor

#: Steps of each stage; with two threads about 1, 5 and 45 minutes.
STEPS = {1: 1500, 2: 600, 3: 5000}
RATES = {1: 2e-3, 2: 1e-3, 3: 1e-3}
#: Examples to learn from and to judge by.
EXAMPLES, JUDGED = 400, 48
#: Cubes of a step, their side in pixels and their components.
BATCH, SIDE, COMPONENTS = 4, 48, 6
#: Steps over which the rate rises.
WARM = 100
#: Share of steps at the start of the flow, where it is the posterior mean; share of examples without observation.
AT_START, DROPPED = 0.5, 0.1
NAMES = {1: AUTOENCODER, 2: PRIOR, 3: FLOW}


def train(
    stage: int, scenes: Sequence[Cube], sensors: Sequence[Sensor], out: str | Path, *, seed: int = 0,
    steps: int | None = None, count: int = EXAMPLES, resume: bool = True, device: str | None = None, command: str = "",
    progress: Progress | None = None,
) -> Card:  # fmt: skip
    """Train one stage; weights, card, curves (CSV, PNG) and a checkpoint go to ``out``.

    Parameters
    ----------
    stage : int
        1, 2 or 3; each goes on from the one before, in the same folder.
    scenes : sequence of Cube
        Clean ones; every fifth is held out.
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
    Card

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
    out.mkdir(parents=True, exist_ok=True)
    with workers(device) as (place, rank, world):
        held = [number for number in range(len(scenes)) if number % HELD_OUT == HELD_OUT - 1 or len(scenes) < HELD_OUT]
        cubes = clean_cubes(scenes)
        learned = [cubes[number] for number in range(len(scenes)) if number not in held] or cubes
        mark = data_name(scenes, cubes, sensors, out)
        paths = [
            examples(part, sensors, number, seed + shift, out / f"examples-{mark}-{seed}-{kind}", progress, rank, world)
            for part, number, shift, kind in (
                (learned, count, 0, "train"), ([cubes[number] for number in held], min(count, JUDGED), 1, "held-out"),
            )
        ]  # fmt: skip
        if world > 1:
            torch.distributed.barrier()
        settings = {
            "stage": stage, "seed": seed, "steps": steps, "batch": BATCH, "side": SIDE, "components": COMPONENTS,
            "learning_rate": RATES[stage], "data": mark, "examples": count,
        }  # fmt: skip
        run: _Atoms | _Flow = _Atoms(paths, place) if stage == 1 else _Flow(stage, paths, out, place, rank, world)
        state = learn(
            run, lambda step: np.random.default_rng([seed, stage, step, rank]), settings,
            out / f"{NAMES[stage]}.checkpoint.safetensors", steps=steps, rate=RATES[stage], warm=WARM, resume=resume,
            rank=rank, world=world, progress=progress,
        )  # fmt: skip
        card = Card(
            method=NAMES[stage], data=tuple(cube.name or Path(cube.source).name for cube in scenes),
            held_out=tuple(scenes[number].name or Path(scenes[number].source).name for number in held),
            sensors=tuple(sensor.name for sensor in sensors), seed=seed, steps=state.step, examples=count,
            command=command,
        )  # fmt: skip
        if rank == 0:
            columns = ("step", "training_loss", *run.measures)
            save_curve(out / f"{NAMES[stage]}.csv", columns, state.curve)
            draw_curves(out / f"{NAMES[stage]}.png", columns[:2], [row[:2] for row in state.curve], state.step,
                        f"stage {stage}, seed {seed}")  # fmt: skip
            metrics = dict(zip(run.measures, state.curve[-1][2:], strict=True))
            card = weights.save(run.ema.module, dataclasses.replace(card, metrics=metrics), out, NAMES[stage])
            if stage == 3:
                from denoise.latent.certainty import calibrate

                net, coder = load_flow(out), load_autoencoder(out)
                found = calibrate(net[0], coder[0], [load_example(path) for path in paths[1]], seed)
                card = weights.save(net[0], dataclasses.replace(card, metrics=metrics | found), out, NAMES[stage])
        del run
    return card


class _Atoms:
    """Stage 1. An example is the covariance of what its subspace leaves out: atoms are to hold most of it."""

    measures = ("left_4_atoms", "left_16_atoms", "left_all_atoms")

    def __init__(self, paths: Sequence[Sequence[Path]], device: torch.device) -> None:
        self.training, self.held_out = ([_left_out(load_example(path), device) for path in part] for part in paths)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.net = Autoencoder().to(device)
        self.ema = Ema(self.net, 0.99).to(device)

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        left = []
        for number in rng.integers(len(self.training), size=16):
            # the first atoms must do without the rest
            left.append(_left(self.net, self.training[int(number)])[: int(2 ** rng.uniform(0, 5))].mean())
        return torch.stack(left).mean()

    @torch.no_grad()
    def judge(self) -> tuple[float, ...]:
        coder = self.ema.module
        left = [_left(coder, part) for part in self.held_out]
        return tuple(float(np.mean([float(item[min(n, len(item)) - 1]) for item in left])) for n in (4, 16, 10**6))


def _left_out(example: Example, device: torch.device) -> tuple[torch.Tensor, ...]:
    """Covariance ``(band, band)`` of the true residual beyond the subspace, the subspace, wavelengths and noise."""
    truth = torch.as_tensor(example.truth).flatten(1)
    directions = torch.as_tensor(example.seen.directions)
    rest = truth - directions @ (directions.T @ truth)
    known = (directions, torch.as_tensor(example.seen.wavelength_nm), torch.as_tensor(example.seen.sigma))
    return tuple(item.to(device) for item in (rest @ rest.T, *known))


def _left(coder: nn.Module, part: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Share of the energy left out after 1, 2, … atoms."""
    covariance, directions, wavelength, sigma = part
    assert isinstance(coder, Autoencoder)
    atoms = coder.basis(directions, wavelength, sigma)[:, directions.shape[1] :]
    held = torch.einsum("bk,bc,ck->k", atoms, covariance, atoms)
    return 1 - torch.cumsum(held, dim=0) / torch.trace(covariance)


@dataclass(frozen=True, kw_only=True)
class _Latents:
    """An example as the flow sees it, in half precision, and the truth that it is to predict."""

    given: Condition
    truth: torch.Tensor
    weight: float

    def crop(
        self, rows: slice, columns: slice, chosen: NDArray[np.int64], flips: list[int], signs: torch.Tensor
    ) -> tuple[Condition, torch.Tensor]:  # fmt: skip
        """A window in latent pixels of some components, turned; the sign of a component means nothing."""
        images = [
            self.given.observed[chosen][..., rows, columns], self.given.context[chosen][..., rows, columns],
            self.truth[chosen][..., rows, columns],
        ]  # fmt: skip
        observed, context, truth = (item.float() for item in images)
        observed, truth = observed * signs, truth * signs
        own = 3 * CHANNELS
        context = torch.cat([context[:, :own] * signs, context[:, own:]], dim=1)
        if flips:
            observed, context, truth = (_flipped(item, flips) for item in (observed, context, truth))
        return Condition(observed, context, self.given.features[chosen]), truth


def _flipped(blocks: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """Blocks with y (-2) or x (-1) reversed: so are the Haar coefficients of differences along it."""
    out = blocks.flip(axes).clone()
    full = out[:, : out.shape[1] // CHANNELS * CHANNELS].unflatten(1, (-1, CHANNELS))
    for axis in axes:
        # channels: mean, difference across x, along y, both
        full[:, :, [1 if axis == -1 else 2, 3]] *= -1
    return out


class _Flow:
    """Stages 2 and 3."""

    measures = ("gain_db", "worst_gain_db")

    def __init__(
        self, stage: int, paths: Sequence[Sequence[Path]], out: Path, device: torch.device, rank: int, world: int
    ) -> None:  # fmt: skip
        coder = load_autoencoder(out)[0]
        self.stage, self.device, self.world = stage, device, world
        self.training, self.held_out = ([_latents(load_example(path), coder) for path in part] for part in paths)
        if stage == 2:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.net = FlowNet()
        else:
            self.net = load_flow(out, PRIOR)[0].train()
        self.net = self.net.to(device)
        self.ema = Ema(self.net, 0.999).to(device)
        self.shared = shared(self.net, device, world)

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        items = max(1, BATCH // self.world)
        chosen = [self.training[int(number)] for number in rng.integers(len(self.training), size=items)]
        n = min(COMPONENTS, *(len(item.truth) for item in chosen))
        height, width = (min(SIDE // 2, *(item.truth.shape[axis] for item in chosen)) // 4 * 4 for axis in (-2, -1))
        conditions, truths, weight = [], [], []
        for item in chosen:
            top = int(rng.integers(item.truth.shape[-2] - height + 1))
            left = int(rng.integers(item.truth.shape[-1] - width + 1))
            components = rng.permutation(len(item.truth))[:n]
            flips = [axis for axis in (-2, -1) if rng.random() < 0.5]
            signs = torch.as_tensor(rng.choice([-1.0, 1.0], size=(n, 1, 1, 1)), dtype=torch.float32)
            given, truth = item.crop(slice(top, top + height), slice(left, left + width), components, flips, signs)
            if self.stage == 2 or rng.random() < DROPPED:
                given = given.without_observation()
            conditions.append(given)
            truths.append(truth)
            weight += [item.weight] * n
        given = Condition(*(torch.cat(parts).to(self.device) for parts in zip(*conditions, strict=True)))
        truth = torch.cat(truths).to(self.device)
        moment = np.where(rng.random(items) < AT_START, 0, rng.random(items))
        time = torch.as_tensor(moment, dtype=torch.float32, device=self.device)
        noise = torch.as_tensor(rng.standard_normal(truth.shape), dtype=torch.float32, device=self.device)
        share = time.repeat_interleave(n)[:, None, None, None]
        noisy = (1 - share) * START * noise + share * truth
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            predicted = self.shared(noisy, time, given, items)
        error = ((predicted.float() - truth) ** 2).mean(dim=(1, 2, 3))
        return (error * torch.as_tensor(weight, dtype=torch.float32, device=self.device)).mean()

    @torch.no_grad()
    def judge(self) -> tuple[float, ...]:
        """Decibels by which the posterior mean is nearer to the truth than the classical estimate: mean, worst."""
        gains = []
        net = self.ema.module
        assert isinstance(net, FlowNet)
        for item in self.held_out:
            given = Condition(*(part[:COMPONENTS].float().to(self.device) for part in item.given))
            truth = item.truth[:COMPONENTS].float().to(self.device)
            found = known_mean(net, given.without_observation()) if self.stage == 2 else posterior_mean(net, given)
            error = (found - truth).square().sum()
            gains.append(float(10 * torch.log10(truth.square().sum() / error)))
        return float(np.mean(gains)), min(gains)


def _latents(example: Example, coder: Autoencoder) -> _Latents:
    with torch.no_grad():
        seen, basis = evidence(example.seen, coder, USED_ATOMS)
        given = condition(seen)
        truth = torch.zeros_like(seen.best)
        height, width = example.truth.shape[1:]
        truth[:, :height, :width] = torch.tensordot(basis.T, torch.as_tensor(example.truth), dims=1)
        latent = to_blocks(truth).movedim(0, 1).clamp(-6e4, 6e4)
        weight = 1 / (float(latent.square().mean()) + 0.02)
        halves = Condition(given.observed.clamp(-6e4, 6e4).half(), given.context.half(), given.features)
        return _Latents(given=halves, truth=latent.half(), weight=weight)
