"""Checkpoints, curves, averaged weights, cards."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from hsitools.errors import FormatError, InputError
from hsitools.learning import card as cards
from hsitools.learning.averaging import Ema
from hsitools.learning.checkpoint import load_checkpoint, save_checkpoint
from hsitools.learning.curves import draw_curves, save_curve
from hsitools.learning.trainer import Plan, State, Trainer
from hsitools.learning.weights import Registry, as_stored, save
from hsitools.learning.workers import Worker

SETTINGS = {"seed": 3, "size": (2, 4)}
OPTIMIZERS = [torch.optim.Adam, torch.optim.AdamW]


def make_net(width=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


class Training:
    def __init__(self, kind=torch.optim.Adam, width=4):
        self.net = make_net(width)
        self.ema = Ema(self.net, 0.9)
        self.optimizer = kind(self.net.parameters(), lr=0.01)

    @property
    def modules(self):
        return {"net": self.net, "ema": self.ema}

    def steps(self, numbers):
        for number in numbers:
            values = torch.from_numpy(np.random.default_rng(number).random((8, 3), dtype=np.float32))
            self.optimizer.zero_grad()
            (self.net(values) - values.sum(1, keepdim=True)).square().mean().backward()
            self.optimizer.step()
            self.ema.update(self.net)

    def save(self, path):
        save_checkpoint(path, self.modules, self.optimizer, "net", {"settings": SETTINGS, "state": {"epoch": 2}})

    def load(self, path, settings=SETTINGS):
        return load_checkpoint(path, self.modules, self.optimizer, "net", settings)


# ---- checkpoints -----------------------------------------------------------------------------------------------


@pytest.mark.portable
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_checkpoint_goes_on_as_if_nothing_had_been(kind, tmp_path):
    whole, first, second = (Training(kind) for _ in range(3))
    whole.steps(range(6))
    first.steps(range(3))
    first.save(tmp_path / "c.safetensors")
    assert second.load(tmp_path / "c.safetensors") == {"epoch": 2}
    second.steps(range(3, 6))
    for name, module in whole.modules.items():
        for key, value in module.state_dict().items():
            # a moment, or an average, that was not restored is off by a step of .01
            torch.testing.assert_close(value, second.modules[name].state_dict()[key], rtol=1e-5, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_checkpoint_before_the_first_step(tmp_path):
    Training().save(tmp_path / "c.safetensors")
    made = Training()
    made.load(tmp_path / "c.safetensors")
    assert not made.optimizer.state


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SETTINGS | {"seed": 4}, "seed: found a checkpoint with 3, expected 4; --no-resume"),
        (SETTINGS | {"rate": 0.1}, r"rate: found a checkpoint with None, expected 0\.1"),
        ({"seed": 3}, r"size: found a checkpoint with \[2, 4\], expected None"),
    ],
)
def test_other_settings_are_refused(tmp_path, settings, said):
    Training().save(tmp_path / "c.safetensors")
    with pytest.raises(InputError, match=said):
        Training().load(tmp_path / "c.safetensors", settings)


def test_what_is_no_checkpoint_of_this_net(tmp_path):
    path = tmp_path / "c.safetensors"
    with pytest.raises(FormatError, match="expected a checkpoint"):
        Training().load(path)
    path.write_bytes(b"nothing")
    with pytest.raises(FormatError, match="expected a checkpoint"):
        Training().load(path)
    Training(width=5).save(path)
    with pytest.raises(FormatError, match="size mismatch"):
        Training().load(path)


# ---- the loop ---------------------------------------------------------------------------------------------------


class Sums:
    """Learns the sum of three numbers, in two batches a round, from random numbers of its round."""

    def __init__(self, measures=None):
        self.net = make_net()
        self.measures = measures

    def losses(self, net, number):
        rng = np.random.default_rng(number)
        for share in (0.25, 0.75):
            values = torch.from_numpy(rng.random((8, 3), dtype=np.float32))
            yield (net(values) - values.sum(1, keepdim=True)).square().mean(), share

    @torch.no_grad()
    def evaluate(self, net):
        if self.measures is not None:
            return (self.measures.pop(0),)
        net.eval()
        values = torch.from_numpy(np.random.default_rng(99).random((64, 3), dtype=np.float32))
        error = float((net(values) - values.sum(1, keepdim=True)).square().mean())
        net.train(net is self.net)
        return (error,)


def trainer(folder, task=None, rate=lambda number: 0.01, **changes):
    task = Sums() if task is None else task
    plan = {"name": "sums", "settings": SETTINGS, "unit": "epoch", "rounds": 6, "measures": ("validation_loss",)}
    plan |= {"drawn": 1, "rate": rate} | changes
    optimizer = torch.optim.Adam(task.net.parameters())
    return Trainer(task, Plan(**plan), optimizer, folder, Worker(torch.device("cpu")))


KEPT = [{}, {"ema_decay": 0.9, "evaluate_every": 4, "clip": 0.5}]


@pytest.mark.portable
@pytest.mark.parametrize("changes", KEPT)
def test_a_killed_training_goes_on(changes, tmp_path, monkeypatch):
    monkeypatch.setattr("hsitools.learning.trainer.CHECKPOINT_SECONDS", 0)

    def kill(done, total):
        assert total == 6
        if done == 3:
            raise KeyboardInterrupt

    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = trainer(tmp_path / "whole", **changes)
    whole.learn()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "parts", **changes).learn(progress=kill)
    assert not (tmp_path / "parts" / "sums.png").exists()
    parts = trainer(tmp_path / "parts", **changes)
    parts.learn()
    assert (parts.state.round, parts.state.updates, parts.state.best_round) == (6, 12, whole.state.best_round)
    np.testing.assert_allclose(parts.state.curve, whole.state.curve, rtol=1e-4)
    for key, value in whole.kept.state_dict().items():
        torch.testing.assert_close(value, parts.kept.state_dict()[key], rtol=1e-4, atol=1e-5)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "sums.checkpoint.safetensors", "sums.csv", "sums.png",
    ]  # fmt: skip


def test_the_mean_loss_is_by_shares(tmp_path):
    run = trainer(tmp_path, rate=lambda number: 0.0, rounds=1)
    losses = [float(loss.detach()) for loss, _ in Sums().losses(make_net(), 0)]
    run.learn()
    assert run.state.curve[0][:2] == (1, pytest.approx(0.25 * losses[0] + 0.75 * losses[1], rel=1e-5))
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_it_learns(tmp_path):
    run = trainer(tmp_path, rate=lambda number: 0.03, rounds=60)
    run.learn()
    assert run.state.best_loss < 0.2 * run.state.curve[0][2]
    assert run.measured == {"validation_loss": run.state.curve[-1][2]}


def test_the_best_weights_are_kept_and_patience_ends_it(tmp_path):
    kept = []
    run = trainer(tmp_path, Sums([5.0, 2.0, 3.0, 2.0, 2.5, 1.0]), patience=3)
    run.learn(progress=lambda done, total: kept.append(run.task.net[0].weight.detach().clone()))
    assert [row[2] for row in run.state.curve] == [5.0, 2.0, 3.0, 2.0, 2.5]
    assert (run.state.best_round, run.state.best_loss) == (2, 2.0)
    assert torch.equal(run.kept[0].weight, kept[1])
    assert not torch.equal(run.kept[0].weight, kept[-1])


def test_rates_are_those_of_the_rounds(tmp_path):
    run = trainer(tmp_path, rate=lambda number: 0.01 if number < 2 else 0.0)
    weights = []
    run.learn(progress=lambda done, total: weights.append(run.task.net[0].weight.detach().clone()))
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[5])


def test_a_loss_that_is_no_number(tmp_path):
    class Broken(Sums):
        def losses(self, net, number):
            for loss, share in super().losses(net, number):
                yield loss * (float("nan") if number == 2 else 1.0), share

    with pytest.raises(FloatingPointError, match="sums: loss: found nan in epoch 3"):
        trainer(tmp_path, Broken()).learn()


def test_a_validation_loss_that_is_no_number(tmp_path):
    with pytest.raises(FloatingPointError, match="sums: loss: found inf in epoch 2"):
        trainer(tmp_path, Sums([1.0, np.inf])).learn()


def test_states_of_0_1_0():
    """The supervised nets' counted epochs, the denoiser's steps."""
    epochs = {"epoch": 3, "steps": 12, "best_loss": 0.5, "best_epoch": 2, "curve": [[1, 0.5, 0.25]]}
    assert State.of(epochs) == State(round=3, updates=12, best_loss=0.5, best_round=2, curve=[(1, 0.5, 0.25)])
    steps = {"step": 7, "losses": [0.5], "curve": [[4, 0.5]]}
    assert State.of(steps) == State(round=7, losses=[0.5], curve=[(4, 0.5)])


# ---- curves ----------------------------------------------------------------------------------------------------


def test_curves(tmp_path):
    columns, rows = ("epoch", "training_loss", "validation_loss"), [(1, 0.5, 0.25), (2, 0.125, 0.75)]
    save_curve(tmp_path / "a.csv", columns, rows)
    assert (tmp_path / "a.csv").read_text() == "epoch,training_loss,validation_loss\n1,0.5,0.25\n2,0.125,0.75\n"
    draw_curves(tmp_path / "a.png", columns, rows, 1, "title")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


# ---- averaged weights ------------------------------------------------------------------------------------------


def test_ema_is_the_weighted_mean():
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 0.0)
    ema = Ema(net, decay=0.15)
    expected = 0.0
    for number, value in enumerate([1.0, 5.0, -2.0]):
        nn.init.constant_(net.weight, value)
        ema.update(net)
        decay = min(0.15, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * value
        assert float(ema.module.weight) == pytest.approx(expected, rel=1e-6)
    assert int(ema.updates) == 3


def test_ema_takes_buffers_and_leaves_the_net_alone():
    made = Training()
    made.steps(range(4))
    assert int(made.ema.module[1].num_batches_tracked) == 4
    assert not torch.equal(made.ema.module[1].running_mean, torch.zeros(4))
    assert not any(value.requires_grad for value in made.ema.module.parameters())
    assert not made.ema.module.training
    assert made.net.training
    assert not torch.equal(made.ema.module[0].weight, made.net[0].weight)


# ---- weights and cards -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Card(cards.Card):
    sizes: tuple[int, ...]

    def __post_init__(self):
        if not self.sizes:
            raise InputError("sizes: found none, expected one")


CARD = Card(method="mine", data=("a", "b"), held_out=("b",), seed=3, steps=2, sizes=(4,), metrics={"loss": 0.5})


def registry(folder):
    return Registry(pretrained=folder, card=Card, hint=lambda method: f"train {method}")


def test_weights_and_their_card_come_back(tmp_path):
    made = Training()
    made.steps(range(3))
    # more than half precision can count
    made.net[1].num_batches_tracked += 4096
    card = save(made.net, CARD, tmp_path)
    assert registry(tmp_path).read_card(tmp_path / "mine.json") == card
    assert card.sha256 == hashlib.sha256((tmp_path / "mine.safetensors").read_bytes()).hexdigest()
    for weights, pretrained in (
        (tmp_path, tmp_path / "none"),
        (tmp_path / "mine.safetensors", tmp_path),
        (None, tmp_path),
    ):
        net, same = registry(pretrained).load("mine", lambda card: make_net(card.sizes[0]), weights)
        assert same == card
        assert not net.training
        assert int(net[1].num_batches_tracked) == 4099
        assert net[0].weight.dtype == torch.float32
        assert torch.equal(net[0].weight, made.net[0].weight.half().float())
    with pytest.raises(InputError, match="mine: weights: found none, train mine"):
        registry(tmp_path / "none").load("mine", lambda card: make_net())


def test_as_stored_is_what_is_read_back(tmp_path):
    net = make_net()
    save(net, CARD, tmp_path)
    read = registry(tmp_path).load("mine", lambda card: make_net())[0]
    stored = as_stored(net)
    assert not stored.training
    assert net.training
    for name, value in read.state_dict().items():
        assert torch.equal(stored.state_dict()[name], value)
    assert not torch.equal(stored[0].weight, net[0].weight)


def test_a_card_may_refuse(tmp_path):
    save(make_net(), CARD, tmp_path)
    file = tmp_path / "mine.json"
    file.write_text(file.read_text().replace("  4\n", ""))
    with pytest.raises(FormatError, match=r"mine\.json: sizes: found none"):
        registry(tmp_path).read_card(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": 1}, "extra: unknown, expected command, data"),
        ({"data": "a"}, "data: found str, expected a list"),
        ({"format": "hsitools-cube"}, "format: expected 'hsitools-weights'"),
    ],
)
def test_cards_that_are_none(tmp_path, change, said):
    save(make_net(), CARD, tmp_path)
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(FormatError, match=said):
        registry(tmp_path).read_card(file)


def test_a_card_may_lack_what_has_a_default_and_nothing_else(tmp_path):
    """Cards of 0.1.0's supervised nets do not say which scenes were held out."""
    card = save(make_net(), CARD, tmp_path)
    file = tmp_path / "mine.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in document.items() if name != "held_out"}))
    assert registry(tmp_path).read_card(file) == dataclasses.replace(card, held_out=())
    file.write_text(json.dumps({name: value for name, value in document.items() if name != "seed"}))
    with pytest.raises(FormatError, match="seed: missing"):
        registry(tmp_path).read_card(file)
