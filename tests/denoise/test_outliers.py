"""The learned outlier estimator: features, net, shipped weights, training."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from denoise.commands.denoise import denoise as command
from denoise.learning.denoiser_card import OUTLIERS, WEIGHTS
from denoise.learning.outlier_examples import load_example, make_example, spoil
from denoise.learning.outlier_net import FEATURES, features, make_net, outlier_probability
from denoise.learning.outlier_training import train
from denoise.restore import restore
from hsitools.errors import FormatError, InputError
from hsitools.scenes import scene

SHAPE = (10, 40, 36)


@pytest.fixture(scope="module")
def seen():
    """What was observed, its prediction, and where a hidden fragment of a column lies: (values, predicted, truth)."""
    rng = np.random.default_rng(3)
    smooth = np.cumsum(np.cumsum(rng.standard_normal(SHAPE), 1), 2)
    predicted = ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)
    values = (predicted + 0.05 * rng.standard_normal(SHAPE)).astype(np.float32)
    truth = np.zeros(SHAPE, dtype=bool)
    truth[4, 5:35, 7] = True
    values[truth] = 1.5 + 0.01 * rng.standard_normal(int(truth.sum()))
    return values, predicted, truth


def ask(values, predicted, keep=None, unit=1.0):
    keep = np.ones(values.shape, dtype=bool) if keep is None else keep
    return outlier_probability(
        values * unit, predicted * unit, np.full(len(values), 0.05 * unit), keep, np.zeros(values.shape, dtype=bool)
    )


def test_a_fragment_stands_out_and_good_voxels_do_not(seen):
    values, predicted, truth = seen
    probability = ask(values, predicted)
    assert probability.shape == SHAPE
    assert probability.dtype == np.float32
    assert (probability[truth] > 0.5).mean() > 0.9
    assert (probability[~truth] > 0.5).mean() < 1e-3


@pytest.mark.parametrize(("codes", "noise"), [(12, 0.8), (100, 2.0), (200, 4.0)])
def test_levels_of_whole_numbers_are_no_outliers(codes, noise):
    """Every code of eight bits stood out of the values between, which there are none of."""
    y, x = np.mgrid[:40, :40]
    truth = codes * (0.5 + 0.3 * np.sin(y / 6 + np.arange(4)[:, None, None]) + 0.15 * np.cos(x / 5)).astype(np.float32)
    rng = np.random.default_rng(3)
    values = np.rint(truth + noise * rng.standard_normal(truth.shape))
    nothing = np.zeros(values.shape, bool)
    sigma = np.full(4, np.hypot(noise, 12**-0.5))
    assert (outlier_probability(values, truth, sigma, ~nothing, nothing) > 0.5).mean() < 1e-3
    hit = (rng.random(values.shape) < 0.01) & (truth > 6 * noise)
    found = outlier_probability(np.where(hit, 0, values), truth, sigma, ~nothing, nothing) > 0.5
    assert found[hit].mean() > 0.95
    assert found[~hit].mean() < 1e-3


def test_units_do_not_matter(seen):
    values, predicted, _ = seen
    np.testing.assert_allclose(ask(values, predicted, unit=1024.0), ask(values, predicted), atol=2e-3)


def test_chunks_of_bands_make_no_difference(seen, monkeypatch):
    values, predicted, _ = seen
    whole = ask(values, predicted)
    monkeypatch.setattr("denoise.learning.outlier_net.CHUNK", 3)
    np.testing.assert_allclose(ask(values, predicted), whole, atol=1e-5)


def test_what_is_not_kept_is_an_outlier(seen):
    values, predicted, _ = seen
    keep = np.ones(SHAPE, dtype=bool)
    keep[2], keep[:, :, 3] = False, False
    probability = ask(values, predicted, keep)
    assert (probability[~keep] == 1).all()
    # and what stands there has no say
    other = np.where(keep, values, 1e6).astype(np.float32)
    np.testing.assert_allclose(ask(other, predicted, keep), probability, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 12, 9), (3, 1, 30)])
def test_odd_cubes(shape):
    values = np.ones(shape, dtype=np.float32)
    probability = ask(values, values.copy())
    assert np.isfinite(probability).all()


def test_size_of_net_and_weights():
    assert sum(value.numel() for value in make_net().parameters()) <= 60_000
    assert (WEIGHTS.pretrained / f"{OUTLIERS}.safetensors").stat().st_size < 500_000
    card = json.loads((WEIGHTS.pretrained / f"{OUTLIERS}.json").read_text())
    assert card["metrics"]["false_alarms"] < card["metrics"]["false_alarms_histogram"]
    assert not any(name in " ".join(card["data"]).lower() for name in ("pavia", "jasper", "potsdam", "urban-3"))


def test_corrupt_weights_are_named(tmp_path, seen):
    for suffix in ("safetensors", "json"):
        content = (WEIGHTS.pretrained / f"{OUTLIERS}.{suffix}").read_bytes()
        (tmp_path / f"{OUTLIERS}.{suffix}").write_bytes(content if suffix == "json" else content[:-4] + b"abcd")
    values, predicted, _ = seen
    every = np.ones(SHAPE, dtype=bool)
    with pytest.raises(FormatError, match="sha256"):
        outlier_probability(values, predicted, np.ones(len(values)), every, ~every, tmp_path)


def test_features_are_finite_numbers(seen):
    values, predicted, _ = seen
    every = np.ones(SHAPE, dtype=bool)
    found, scale = features(values, predicted, np.full(len(values), 0.05), every, ~every)
    assert found.shape == (FEATURES, *SHAPE)
    assert np.isfinite(found).all()
    assert (scale > 0).all()


def test_spoiled_cubes_say_where():
    clean = np.full((12, 30, 30), 0.4, dtype=np.float32)
    shares = []
    for seed in range(12):
        values, lost = spoil(clean, np.random.default_rng(seed))
        again, _ = spoil(clean, np.random.default_rng(seed))
        np.testing.assert_allclose(values, again, rtol=1e-6, atol=1e-7)
        shares.append(lost.mean())
    assert min(shares) == 0
    assert max(shares) > 0.05


def test_training_goes_on_where_it_stopped(tmp_path):
    wavelength = np.linspace(450, 900, 12)
    scenes = [scene((40, 40), wavelength_nm=wavelength, seed=number) for number in (1, 2)]
    whole = train(scenes, tmp_path / "whole", steps=6, count=2)
    assert whole.held_out == ("procedural scene 2",)
    curve = (tmp_path / "whole" / f"{OUTLIERS}.csv").read_text().splitlines()
    assert curve[0].startswith("step,training_loss,entropy,f1")
    # finished: nothing more to do, the same weights again
    assert train(scenes, tmp_path / "whole", steps=6, count=2).sha256 == whole.sha256
    with pytest.raises(InputError, match="steps"):
        train(scenes, tmp_path / "whole", steps=7, count=2)


def test_the_command(tmp_path):
    typed = ["train-outliers", "--out", str(tmp_path), "--procedural", "2", "--steps", "2", "--count", "1", "--seed",
             "3", "--device", "cpu", "--json"]  # fmt: skip
    done = CliRunner().invoke(command, typed, catch_exceptions=False)
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert (said["steps"], said["examples"], said["held_out"]) == (2, 1, "procedural scene 78")
    card = WEIGHTS.read_card(tmp_path / f"{OUTLIERS}.json")
    assert card.command.startswith("hsi denoise train-outliers")
    assert (card.seed, said["auc"]) == (3, card.metrics["auc"])
    with pytest.raises(InputError, match="seed: found -1"):
        CliRunner().invoke(command, [*typed, "--seed", "-1"], catch_exceptions=False)


def test_bad_arguments_and_files(tmp_path):
    with pytest.raises(InputError, match="scenes: found 0"):
        train([], tmp_path)
    path = tmp_path / "0.npz"
    path.write_bytes(b"none")
    with pytest.raises(FormatError, match="training example"):
        load_example(path)


def test_an_example_has_real_predictions():
    clean = np.asarray(scene((40, 40), wavelength_nm=np.linspace(450, 900, 12), seed=4).read())
    item = make_example(clean, np.random.default_rng(1))
    assert item.values.shape == item.predicted.shape == item.truth.shape == clean.shape
    error = (item.values - item.predicted)[item.keep & ~item.truth]
    assert 0 < error.std() < item.values.std()


def test_weights_with_the_second_output_of_0_1_0_still_open():
    net = make_net()
    state = net.state_dict()
    assert state["leave.weight"].shape[0] == 1
    old = {name: value.repeat(2, *[1] * (value.ndim - 1)) if name.startswith("leave") else value
           for name, value in state.items()}  # fmt: skip
    net.load_state_dict(old)


def test_a_net_that_takes_a_third_of_a_cube_is_not_believed(monkeypatch):
    """The histograms find none: lowrank, which is said."""
    rng = np.random.default_rng(6)
    ramp = np.linspace(1, 2, 24)[:, None] * np.linspace(1, 3, 20)
    values = (ramp * np.linspace(1, 2, 10)[:, None, None] + 0.05 * rng.standard_normal((10, 24, 20))).astype("f4")
    wrong = rng.random(values.shape) < 0.35
    monkeypatch.setattr("denoise.separation.estimate.outlier_probability", lambda *_, **__: wrong.astype("f4"))
    fallen, classical = restore(values, samples=2), restore(values, "lowrank")
    np.testing.assert_allclose(fallen.estimate, classical.estimate, rtol=1e-6)
    assert fallen.std is None
    assert fallen.provenance["path"] == "lowrank"
    assert fallen.provenance["note"].startswith("the learned estimator took 3")
    assert fallen.provenance["outliers"] < 0.01
    assert "warning" not in fallen.provenance


def test_samples_beyond_memory_are_refused():
    ramp = np.linspace(1, 2, 20)[:, None] * np.linspace(1, 3, 16) * np.linspace(1, 2, 8)[:, None, None]
    values = (ramp + 0.05 * np.random.default_rng(7).standard_normal(ramp.shape)).astype("f4")
    with pytest.raises(InputError, match=r"samples: memory: 100000000 posterior samples, about .* 6 will do"):
        restore(values, samples=10**8)
