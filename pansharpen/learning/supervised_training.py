"""Training of the supervised nets: patches of scenes whose fine cube is known, an epoch covers each scene once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.identity import cube_fingerprint, fingerprint
from hsitools.io.outputs import made_folder
from hsitools.learning.card import scene_names
from hsitools.learning.trainer import Plan, Trainer
from hsitools.learning.weights import as_stored, save
from hsitools.learning.workers import Worker, join_workers
from hsitools.lookup import lookup
from hsitools.progress import Progress
from hsitools.sensor import Sensor
from hsitools.sensor.legacy_names import former_names
from pansharpen.comparison.judging import judge
from pansharpen.families.nets import NETS, Net, fuse_by
from pansharpen.in_memory import fuse_case
from pansharpen.learning.fusion_card import FusionCard
from pansharpen.learning.patches import Part, Patch, cover, draw, patch_side, stack
from pansharpen.learning.scene_pairs import Pairs, make_pairs

#: Epochs without a better validation loss after which training stops: that loss is noisy and the published trainings
#: last hundreds of epochs or more. Half as many saves time, twice as many rarely gains.
PATIENCE = 200
#: Indices that a card gives: the overall error, the spectral one, and both with structure.
INDICES = ("ERGAS", "SAM", "Q2n")


def train(
    method: str, sensor: Sensor, scenes: Sequence[Cube], out: str | Path, *, seed: int = 0, epochs: int | None = None,
    batch: int | None = None, patch: int = 32, learning_rate: float | None = None, patience: int = PATIENCE,
    resume: bool = True, device: str | None = None, command: str = "", progress: Progress | None = None,
) -> FusionCard:  # fmt: skip
    """Train a supervised net for a sensor; weights, card, curves (CSV, PNG) and a checkpoint go to ``out``.

    Under ``torchrun`` the patches of each batch are shared among the processes.

    Parameters
    ----------
    method : str
        Name of a supervised net.
    sensor : Sensor
        With PAN; its ratio is that of the net.
    scenes : sequence of Cube
        See `pansharpen.learning.scene_pairs.make_pairs`.
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
    FusionCard
        With ERGAS, SAM and Q2n of the held-out scenes, beside those of interpolation.

    Raises
    ------
    InputError
        For a net that there is not, settings that make no sense, unfit data, or a checkpoint of other settings.
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
    with made_folder(out), join_workers(device) as worker:
        pairs = make_pairs(scenes, sensor, seed=seed)
        task = _Patches(kind, pairs, worker, seed=seed, batch=batch, patch=patch, ratio=int(sensor.ratio))
        settings = {
            "method": kind.method, "seed": seed, "batch": batch, "patch": patch, "learning_rate": rate,
            "ratio": int(sensor.ratio), "sensor": sensor.fingerprint(),
            "data": fingerprint(tuple(map(cube_fingerprint, scenes))),
        }  # fmt: skip
        plan = Plan(
            name=kind.method, settings=settings, unit="epoch", rounds=epochs, rate=_decaying(rate, kind.decay_epochs),
            measures=("validation_loss",), drawn=1, patience=patience,
        )  # fmt: skip
        optimizer = torch.optim.Adam(task.net.parameters(), lr=rate, weight_decay=kind.weight_decay)
        trainer = Trainer(task, plan, optimizer, out, worker)
        former = {"sensor": former_names(sensor), "data": [pairs.former_name()]}
        state = trainer.learn(resume=resume, former=former, progress=progress)
    card = FusionCard(
        method=kind.method, ratio=int(sensor.ratio), sensor=sensor.name, sensor_hash=sensor.fingerprint(),
        wavelength_nm=tuple(pairs.wavelength_nm.tolist()),
        fwhm_nm=tuple(np.asarray(sensor.response.fwhm_nm)[pairs.bands].tolist()),
        data=scene_names(scenes), held_out=pairs.held_out, seed=seed, epochs=state.round, steps=state.updates,
        command=command, metrics={"validation_loss": state.best_loss, "best_epoch": float(state.best_round)},
    )  # fmt: skip
    if worker.first:
        net = as_stored(trainer.kept)
        assert isinstance(net, Net)
        metrics = card.metrics | held_out_indices(net, card, pairs, seed)
        card = save(net, dataclasses.replace(card, metrics=metrics), out)
    return card


def _decaying(rate: float, epochs: int | None) -> Callable[[int], float]:
    """Learning rates that fall tenfold every so many epochs, if ever."""
    return lambda epoch: rate * (0.1 ** (epoch // epochs) if epochs else 1.0)


def held_out_indices(net: Net, card: FusionCard, pairs: Pairs, seed: int) -> dict[str, float]:
    """Mean indices of the held-out cases, by the net and by interpolation."""
    values: dict[str, list[float]] = {}
    for case in pairs.validation:
        for prefix, fused in (("", fuse_by(net, card, case, seed=seed)), ("EXP ", fuse_case("EXP", case))):
            for name, result in judge(case, fused, metrics=INDICES).items():
                values.setdefault(prefix + name, []).append(float(result.value))
    return {name: float(np.mean(numbers)) for name, numbers in values.items()}


class _Patches:
    """What is learned: details of patches; see `hsitools.learning.trainer.Task`."""

    def __init__(
        self, kind: type[Net], pairs: Pairs, worker: Worker, *, seed: int, batch: int, patch: int, ratio: int
    ) -> None:  # fmt: skip
        self.worker, self.seed, self.batch, self.ratio = worker, seed, batch, ratio
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net: Net = kind(len(pairs.bands)).to(worker.device)
        upsampled = partial(kind.upsampled, seed=seed)
        self.training, self.validation = (
            [Part.of(case.to(worker.device), pairs.wavelength_nm, upsampled) for case in cases]
            for cases in (pairs.training, pairs.validation)
        )
        self.side = patch_side(self.training, patch, ratio)

    def losses(self, net: torch.nn.Module, epoch: int) -> Iterator[tuple[torch.Tensor, float]]:
        """Of batches of patches, shared among the processes."""
        worker = self.worker
        patches = draw(self.training, self.side, self.ratio, np.random.default_rng([self.seed, epoch]))
        for first in range(0, len(patches), self.batch):
            chosen = patches[first : first + self.batch]
            mine = chosen[worker.rank :: worker.world]
            # gradients are averaged over processes: each counts by its share, one without a patch not at all
            weight = worker.world * len(mine) / len(chosen)
            yield weight * self._loss(net, self.training, mine or chosen[:1]), len(chosen) / len(patches)

    def evaluate(self, net: torch.nn.Module) -> tuple[float, ...]:
        """Mean loss of the scenes held out."""
        total = torch.zeros((), dtype=torch.float64, device=self.worker.device)
        pixels = 0
        with torch.no_grad():
            for number, patch in enumerate(cover(self.validation, self.side)):
                top, bottom, start, stop = patch.window
                size = (bottom - top) * (stop - start)
                pixels += size
                if number % self.worker.world == self.worker.rank:
                    total += self._loss(net, self.validation, [patch]).double() * size
        return (self.worker.total(total) / pixels,)

    def _loss(self, net: torch.nn.Module, parts: Sequence[Part], chosen: Sequence[Patch]) -> torch.Tensor:
        device = self.worker.device
        data = stack([parts[patch.part].crop(patch) for patch in chosen], device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
            details = net(data["base"], data["pan"], data["spectrum"])
        measured = data["measured"]
        predicted = data["base"] + details.float() * data["correlation"][..., None, None] * measured
        truth = torch.where(measured, data["truth"], data["base"])
        mean, std = data["mean"][..., None, None], data["std"][..., None, None]
        return self.net.loss(predicted, truth, lambda x: x * std + mean)
