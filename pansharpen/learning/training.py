"""Training of the supervised nets: one loop for all, resumable, repeatable, on one device or several processes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.identity import cube_fingerprint, fingerprint
from hsitools.learning import draw_curves, load_checkpoint, save_checkpoint, save_curve, shared, workers
from hsitools.lookup import lookup
from hsitools.sensor import Sensor
from hsitools.sensor.former import former_names
from pansharpen.comparison.judging import judge
from pansharpen.families.nets import NETS, Net, fuse_by
from pansharpen.fuse import fuse
from pansharpen.learning.patches import Pairs, Part, Patch, cover, draw, make_pairs, patch_side, stack
from pansharpen.learning.weights import Card, load_into, save

Progress = Callable[[int, int], None]
#: Epochs without a better validation loss after which training stops.
PATIENCE = 200
#: Seconds between checkpoints.
CHECKPOINT_SECONDS = 10.0
INDICES = ("ERGAS", "SAM", "Q2n")
COLUMNS = ("epoch", "training_loss", "validation_loss")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the outcome of a training, but for its length; a checkpoint goes on with equal ones only."""

    method: str
    seed: int
    batch: int
    patch: int
    learning_rate: float
    ratio: int
    sensor: str
    data: str


@dataclass
class State:
    """Where a training stands after some epochs. Randomness is drawn anew from (seed, epoch), so it holds none."""

    epoch: int = 0
    steps: int = 0
    best_loss: float = float("inf")
    best_epoch: int = 0
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def train(
    method: str, sensor: Sensor, scenes: Sequence[Cube], out: str | Path, *, seed: int = 0, epochs: int | None = None,
    batch: int | None = None, patch: int = 32, learning_rate: float | None = None, patience: int = PATIENCE,
    resume: bool = True, device: str | None = None, command: str = "", progress: Progress | None = None,
) -> Card:  # fmt: skip
    """Train a supervised net for a sensor; weights, card, curves (CSV, PNG) and a checkpoint go to ``out``.

    Under ``torchrun`` the patches of each batch are shared among the processes.

    Parameters
    ----------
    method : str
        Name of a supervised net.
    sensor : Sensor
        With PAN; its ratio is that of the net.
    scenes : sequence of Cube
        See `pansharpen.learning.patches.make_pairs`.
    out : path
        Folder; made when missing.
    seed : int
        Of weights, noise and patches: same seed, same bytes (on a CPU, with as many threads).
    epochs, batch, learning_rate : optional
        Default the published ones. An epoch covers each training scene once.
    patch : int
        Side in coarse pixels; smaller where scenes are.
    patience : int
        Epochs without a better validation loss after which it stops. The best weights are kept.
    resume : bool
        Go on from the checkpoint in ``out``, which must have the same settings; False starts anew.
    device : str, optional
        Default the GPU where there is one.
    command : str
        Noted on the card.
    progress : callable, optional
        Called with (epochs done, epochs in all).

    Returns
    -------
    Card
        With ERGAS, SAM and Q2n of the held-out scenes, beside those of interpolation.

    Raises
    ------
    InputError
        For an unknown net, settings that make no sense, unfit data, or a checkpoint of other settings.
    FloatingPointError
        When the loss is not finite.
    """
    kind = lookup(method, NETS, "method")
    epochs = kind.epochs if epochs is None else epochs
    batch = kind.batch if batch is None else batch
    rate = kind.learning_rate if learning_rate is None else learning_rate
    for name, value in (("epochs", epochs), ("batch", batch), ("patch", patch), ("patience", patience)):
        if value < 1:
            raise InputError(f"{name}: found {value}, expected at least 1")
    if not rate > 0:
        raise InputError(f"learning_rate: found {rate}, expected a positive number")
    if seed < 0:
        raise InputError(f"seed: found {seed}, expected a whole number of at least 0")
    if sensor.pan is None:
        raise InputError(f"{sensor.name}: pan: missing, expected a sensor with a panchromatic response")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with workers(device) as (place, rank, world):
        data = fingerprint(tuple(map(cube_fingerprint, scenes)))
        pairs = make_pairs(scenes, sensor, seed=seed)
        settings = Settings(
            method=kind.method, seed=seed, batch=batch, patch=patch, learning_rate=rate, ratio=int(sensor.ratio),
            sensor=sensor.fingerprint(), data=data,
        )  # fmt: skip
        run = _Run(kind, settings, pairs, out, place, rank, world)
        if resume and run.checkpoint.is_file():
            run.load_checkpoint({"sensor": former_names(sensor), "data": [pairs.former_name()]})
        with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
            run.learn(epochs, patience, progress)
    state = run.state
    metrics: dict[str, float] = {"validation_loss": state.best_loss, "best_epoch": float(state.best_epoch)}
    card = Card(
        method=kind.method, ratio=int(sensor.ratio), sensor=sensor.name, sensor_hash=sensor.fingerprint(),
        wavelength_nm=tuple(pairs.wavelength_nm.tolist()),
        fwhm_nm=tuple(np.asarray(sensor.response.fwhm_nm)[pairs.bands].tolist()),
        data=tuple(cube.name or Path(cube.source).name for cube in scenes), seed=seed, epochs=state.epoch,
        steps=state.steps, command=command,
    )  # fmt: skip
    if rank == 0:
        run.save_checkpoint()
        title = f"{kind.method}, seed {seed}"
        draw_curves(out / f"{kind.method}.png", COLUMNS, state.curve, state.best_epoch, title)
        save(run.best, card, out)
        net, _ = load_into(kind, kind.method, out)
        # judged as they are stored, in half precision
        metrics |= held_out_indices(net, card, pairs, seed)
        card = save(net, dataclasses.replace(card, metrics=metrics), out)
    return card


def held_out_indices(net: Net, card: Card, pairs: Pairs, seed: int) -> dict[str, float]:
    """Mean indices of the held-out cases, by the net and by interpolation."""
    found: dict[str, list[float]] = {}
    for case in pairs.validation:
        for prefix, fused in (("", fuse_by(net, card, case, seed=seed)), ("EXP ", fuse("EXP", case))):
            for name, result in judge(case, fused, metrics=INDICES).items():
                found.setdefault(prefix + name, []).append(float(result.value))
    return {name: float(np.mean(values)) for name, values in found.items()}


class _Run:
    """A training: net, optimizer, data, state."""

    def __init__(
        self, kind: type[Net], settings: Settings, pairs: Pairs, out: Path, device: torch.device, rank: int, world: int
    ) -> None:  # fmt: skip
        self.kind, self.settings, self.out = kind, settings, out
        self.device, self.rank, self.world = device, rank, world
        self.state = State()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.net = kind(len(pairs.bands)).to(device)
            self.best = kind(len(pairs.bands)).to(device)
        self.best.load_state_dict(self.net.state_dict())
        self.optimizer = torch.optim.Adam(
            self.net.parameters(), lr=settings.learning_rate, weight_decay=kind.weight_decay
        )
        self.modules = {"net": self.net, "best": self.best}
        upsampled = partial(kind.upsampled, seed=settings.seed)
        self.training, self.validation = (
            [Part.of(case.to(device), pairs.wavelength_nm, upsampled) for case in cases]
            for cases in (pairs.training, pairs.validation)
        )
        self.side = patch_side(self.training, settings.patch, settings.ratio)

    @property
    def checkpoint(self) -> Path:
        """File of the checkpoint."""
        return self.out / f"{self.kind.method}.checkpoint.safetensors"

    # ---- learning ----------------------------------------------------------------------------------------------

    def learn(self, epochs: int, patience: int, progress: Progress | None) -> None:
        """Epochs until the end, or until validation has not improved for too long."""
        saved = time.monotonic()
        net = shared(self.net, self.device, self.world)
        while self.state.epoch < epochs and self.state.epoch - self.state.best_epoch < patience:
            trained, validated = self._epoch(net), self._validate()
            state = self.state
            state.epoch += 1
            state.curve.append((state.epoch, trained, validated))
            if validated < state.best_loss:
                state.best_loss, state.best_epoch = validated, state.epoch
                self.best.load_state_dict(self.net.state_dict())
            if self.rank == 0 and time.monotonic() - saved >= CHECKPOINT_SECONDS:
                self.save_checkpoint()
                saved = time.monotonic()
            if progress is not None and self.rank == 0:
                progress(state.epoch, epochs)

    def _epoch(self, net: torch.nn.Module) -> float:
        settings, decay = self.settings, self.kind.decay_epochs
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * (0.1 ** (self.state.epoch // decay) if decay else 1.0)
        rng = np.random.default_rng([settings.seed, self.state.epoch])
        patches = draw(self.training, self.side, settings.ratio, rng)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for first in range(0, len(patches), settings.batch):
            chosen = patches[first : first + settings.batch]
            mine = chosen[self.rank :: self.world]
            # gradients are averaged over processes: each counts by its share, one without a patch not at all
            weight = self.world * len(mine) / len(chosen)
            loss = weight * self._loss(net, self.training, mine or chosen[:1])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.state.steps += 1
            total += loss.detach().double() * len(chosen) / self.world
        return self._mean(total, len(patches))

    def _validate(self) -> float:
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        windows = list(cover(self.validation, self.side))
        pixels = 0
        with torch.no_grad():
            for number, patch in enumerate(windows):
                top, bottom, left, right = patch.window
                size = (bottom - top) * (right - left)
                pixels += size
                if number % self.world == self.rank:
                    total += self._loss(self.net, self.validation, [patch]).double() * size
        return self._mean(total, pixels)

    def _mean(self, total: torch.Tensor, count: int) -> float:
        if self.world > 1:
            distributed.all_reduce(total)
        mean = float(total) / count
        if not np.isfinite(mean):
            raise FloatingPointError(f"{self.kind.method}: loss: found {mean} in epoch {self.state.epoch + 1}")
        return mean

    def _loss(self, net: torch.nn.Module, parts: Sequence[Part], chosen: Sequence[Patch]) -> torch.Tensor:
        data = stack([parts[patch.part].crop(patch) for patch in chosen], self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            details = net(data["base"], data["pan"], data["spectrum"])
        known = data["known"]
        predicted = data["base"] + details.float() * data["correlation"][..., None, None] * known
        truth = torch.where(known, data["truth"], data["base"])
        mean, std = data["mean"][..., None, None], data["std"][..., None, None]
        return self.net.loss(predicted, truth, lambda x: x * std + mean)

    # ---- files -------------------------------------------------------------------------------------------------

    def save_checkpoint(self) -> None:
        """Weights, best weights, the optimizer's moments, state and settings; and the curve as CSV."""
        facts = {"settings": dataclasses.asdict(self.settings), "state": dataclasses.asdict(self.state)}
        save_checkpoint(self.checkpoint, self.modules, self.optimizer, "net", facts)
        save_curve(self.out / f"{self.kind.method}.csv", COLUMNS, self.state.curve)

    def load_checkpoint(self, former: Mapping[str, Collection[str]]) -> None:
        """Go on where the checkpoint in the folder stands; ``former`` is what 0.1.0 called the settings."""
        settings = dataclasses.asdict(self.settings)
        state = load_checkpoint(self.checkpoint, self.modules, self.optimizer, "net", settings, former)
        self.state = State(**state | {"curve": [tuple(row) for row in state["curve"]]})
