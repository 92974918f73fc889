"""Training: data without overlap, repeatable and resumable runs, the command, two processes."""

import dataclasses
import json
import multiprocessing
import os
import socket
import warnings

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cubes, save_cube
from hsitools.scenes import procedural_scenes, scene
from hsitools.sensor import Sensor
from hsitools.sensor.bands import GaussianResponse, box_response
from hsitools.sensor.detector import DetectorNoise
from hsitools.sensor.legacy_names import former_names
from pansharpen.commands.train import train as train_command
from pansharpen.families.nets import NETS
from pansharpen.in_memory import fuse_case
from pansharpen.learning.fusion_card import WEIGHTS
from pansharpen.learning.patches import Part, draw, patch_side
from pansharpen.learning.scene_pairs import make_pairs, psf_reach, split
from pansharpen.learning.supervised_training import train

CENTRES = np.arange(450.0, 900, 50)


def make_sensor(**changes):
    noise = DetectorNoise(electrons_per_unit=np.full(len(CENTRES), 1e5), read_noise=np.full(len(CENTRES), 10.0))
    return Sensor(
        name="tiny", units="1", ratio=3, mtf=0.3, noise=noise, pan=box_response(450, 700),
        response=GaussianResponse(centre_nm=CENTRES, width_nm=np.full(len(CENTRES), 30.0)),
    ).replace(**changes)  # fmt: skip


@pytest.fixture(scope="module")
def sensor():
    return make_sensor()


@pytest.fixture(scope="module")
def scenes():
    # the bands that the sensor sees
    return [cube.select(wavelength=(400, 950)).load() for cube in procedural_scenes(5, 24)]


def quick(sensor, scenes, out, **options):
    # each net's curves, and the command's, are drawn in tests of their own
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hsitools.learning.trainer.draw_curves", lambda *_: None)
        return train("HyperPNN", sensor, scenes, out, **({"epochs": 4, "batch": 2, "patch": 4} | options))


# ---- data ------------------------------------------------------------------------------------------------------


@given(
    height=st.integers(8, 60), width=st.integers(8, 60), gap=st.integers(0, 6), step=st.integers(1, 3),
    share=st.floats(0.05, 0.5), at_end=st.booleans(),
)  # fmt: skip
def test_split_shares_no_pixel(height, width, gap, step, share, at_end):
    try:
        windows = split((height, width), share=share, gap=gap, step=step, at_end=at_end)
    except InputError:
        longest = max(height, width)
        assert longest // step * step - max(round(share * longest / step), 1) * step - gap < 2 * step
        return
    count = np.zeros((height, width), dtype=int)
    for top, bottom, left, right in windows:
        assert bottom > top
        assert right > left
        assert (top % step, left % step) == (0, 0)
        # a PSF takes light from half of the gap on each side
        reach = gap // 2
        wide = slice(max(top - reach, 0), bottom + reach), slice(max(left - reach, 0), right + reach)
        count[wide] += 1
    assert count.max() == 1


def test_reach_is_where_the_psf_ends(sensor):
    from hsitools.sensor.spatial import mtf_decimate

    reach, side = psf_reach(sensor), 25
    seen = mtf_decimate((3 * side, 3 * side), 0.3, 3).adjoint(
        torch.zeros(1, side, side, dtype=torch.float64).index_fill_(1, torch.tensor(side // 2), 1)
    )
    rows = torch.nonzero(seen[0].abs().sum(1) > 1e-9)
    assert int(rows.min()) >= 3 * (side // 2 - reach)
    assert int(rows.max()) < 3 * (side // 2 + 1 + reach)


def test_few_scenes_are_cut_and_many_held_out(sensor, scenes):
    cut = make_pairs(procedural_scenes(1, 60), sensor)
    assert [case.coarse.shape[-2:] for case in cut.training + cut.validation] == [(16, 20), (4, 20)]
    whole = make_pairs(scenes, sensor)
    assert (len(whole.training), len(whole.validation)) == (4, 1)
    assert not {case.name for case in whole.training} & {case.name for case in whole.validation}
    with pytest.raises(InputError, match="after the split, expected at least 4×4"):
        make_pairs(procedural_scenes(1, 24), sensor)
    with pytest.raises(InputError, match="data: found no scene"):
        make_pairs([], sensor)


def test_products_are_degraded_after_wald(sensor):
    product = sensor.observe(scene((225, 90)), np.random.default_rng(0))
    pairs = make_pairs([product], sensor)
    assert all(case.optics.ratio == 3 for case in pairs.training + pairs.validation)
    rows = [case.reference.shape[-2] for case in pairs.training + pairs.validation]
    # 75 coarse rows less the gap, in whole degraded pixels
    assert sum(rows) <= 75 - 2 * psf_reach(sensor)
    assert pairs.training[0].pan.shape[-2] == pairs.training[0].reference.shape[-2]
    with pytest.raises(InputError, match="pan: found 3 of its pixels to one of the cube, expected 4"):
        make_pairs([product], sensor.replace(ratio=4))


def test_scenes_may_lack_bands(sensor, scenes):
    short = scenes[0].select(wavelength=(400, 760))
    pairs = make_pairs([short, *scenes[1:]], sensor)
    assert pairs.bands.tolist() == list(range(len(CENTRES)))
    case = min(pairs.training + pairs.validation, key=lambda case: case.n_bands)
    assert case.n_bands < len(CENTRES)
    part = Part.of(case, pairs.wavelength_nm, NETS["HyperPNN"].upsampled)
    assert part.has.sum() == case.n_bands
    last = int(torch.nonzero(part.has).max())
    assert torch.equal(part.base[-1], part.base[last])
    assert not part.crop(draw([part], 12, 3, np.random.default_rng(0))[0])["measured"][-1].any()


def test_patches_lie_inside(sensor, scenes):
    pairs = make_pairs(scenes, sensor)
    parts = [Part.of(case, pairs.wavelength_nm, NETS["HyperPNN"].upsampled) for case in pairs.training]
    assert patch_side(parts, 32, 3) == 24
    patches = draw(parts, 12, 3, np.random.default_rng(0))
    assert len(patches) == len(parts) * 4
    for patch in patches:
        assert parts[patch.part].crop(patch)["base"].shape == (len(CENTRES), 12, 12)
        assert (patch.window[0] % 3, patch.window[2] % 3) == (0, 0)
    assert patches == draw(parts, 12, 3, np.random.default_rng(0))
    assert {patch.bands is None for patch in patches} == {True, False}


def test_folders_of_cubes(tmp_path, scenes):
    save_cube(scenes[0].load(), tmp_path / "a.h5")
    (tmp_path / "notes.txt").write_text("no cube")
    assert len(open_cubes([tmp_path, tmp_path / "a.h5"])) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="no cube in this folder"):
        open_cubes([tmp_path / "empty"])


def test_pixels_without_data_do_not_count(sensor, scenes):
    holes = scenes[0].load().data.copy()
    holes[:, 5:9, 5:9] = np.nan
    spoilt = Cube(data=holes, wavelength_nm=scenes[0].wavelength_nm, units="1", name="holes")
    pairs = make_pairs([spoilt, *scenes[1:]], sensor)
    case = next(case for case in pairs.training + pairs.validation if case.name == "holes")
    part = Part.of(case, pairs.wavelength_nm, NETS["HyperPNN"].upsampled)
    assert not part.measured[:, 5:9, 5:9].any()
    assert torch.isfinite(part.base).all()
    assert torch.isfinite(part.truth).all()


# ---- the loop --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(NETS))
def test_each_net_learns(name, sensor, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("pansharpen.families.prior.STEPS", 3)
    if name == "DIP-HyperKite":
        # enlarges everything 64 times
        scenes = [cube.select(window=(0, 12, 0, 12)) for cube in scenes]
    card = train(name, sensor, scenes, tmp_path, epochs=4, batch=2, patch=4, learning_rate=1e-3)
    rows = np.loadtxt(tmp_path / f"{name}.csv", delimiter=",", skiprows=1)
    assert rows.shape == (4, 3)
    assert card.metrics["validation_loss"] == rows[:, 2].min() < rows[0, 2]
    assert {"ERGAS", "SAM", "Q2n", "EXP ERGAS"} <= set(card.metrics)
    assert WEIGHTS.read_card(tmp_path / f"{name}.json") == card
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    case = make_pairs(scenes, sensor).validation[0]
    assert fuse_case(name, case, weights=tmp_path).shape == case.reference.shape


def same_weights(one, other):
    """Whether nets in two folders are equal but for rounding, in half precision and carried on by a few steps."""
    first, second = (load_file(folder / "HyperPNN.safetensors") for folder in (one, other))
    assert set(first) == set(second)
    return all(np.allclose(first[name], second[name], rtol=4e-3, atol=1e-4) for name in first)


def test_same_seed_same_weights(sensor, scenes, tmp_path):
    for number, seed in enumerate((3, 3, 4)):
        quick(sensor, scenes, tmp_path / str(number), seed=seed)
    assert same_weights(tmp_path / "0", tmp_path / "1")
    assert not same_weights(tmp_path / "0", tmp_path / "2")


class Killed(Exception):
    pass


def test_a_killed_run_goes_on(sensor, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("hsitools.learning.trainer.CHECKPOINT_SECONDS", 0.0)

    def kill(done, total):
        if done == 2:
            raise Killed

    whole = quick(sensor, scenes, tmp_path / "whole")
    with pytest.raises(Killed):
        quick(sensor, scenes, tmp_path / "parts", progress=kill)
    assert not (tmp_path / "parts" / "HyperPNN.safetensors").exists()
    seen = []
    parts = quick(sensor, scenes, tmp_path / "parts", progress=lambda done, total: seen.append(done))
    assert dataclasses.replace(parts, sha256="", metrics={}) == dataclasses.replace(whole, sha256="", metrics={})
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-3)
    assert seen == [3, 4]
    assert same_weights(tmp_path / "parts", tmp_path / "whole")
    curves = (np.loadtxt(tmp_path / part / "HyperPNN.csv", delimiter=",", skiprows=1) for part in ("parts", "whole"))
    np.testing.assert_allclose(*curves, rtol=1e-4)
    assert quick(sensor, scenes, tmp_path / "parts", epochs=5).epochs == 5


def test_a_checkpoint_of_0_1_0_goes_on(sensor, scenes, tmp_path):
    """It names the sensor, and the data, by hashes of bytes."""
    quick(sensor, scenes, tmp_path, epochs=1)
    path = tmp_path / "HyperPNN.checkpoint.safetensors"
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)

    def write(**changes):
        settings = facts["settings"] | changes
        save_file(tensors, path, {"facts": json.dumps(facts | {"settings": settings})})

    old = {"sensor": former_names(sensor)[0], "data": make_pairs(scenes, sensor).former_name()}
    assert not set(old.values()) & set(facts["settings"].values())
    write(**old)
    assert quick(sensor, scenes, tmp_path, epochs=2).epochs == 2
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["facts"])["settings"] == facts["settings"]
    for name in old:
        write(**old | {name: "0123456789ab"})
        with pytest.raises(InputError, match=f"{name}: found a checkpoint with 0123456789ab"):
            quick(sensor, scenes, tmp_path)


def test_procedural_scenes_are_the_same_data_on_every_machine(sensor, tmp_path):
    """Their values differ there in their last bits; what was asked for does not."""
    scenes = procedural_scenes(5, 12)
    quick(sensor, scenes, tmp_path, epochs=1)
    for cube in scenes:
        read = cube.data.read
        cube.data.read = lambda *window, read=read: read(*window) * np.float32(1 + 1e-6)
    assert quick(sensor, scenes, tmp_path, epochs=2).epochs == 2


def test_other_settings_are_refused(sensor, scenes, tmp_path):
    quick(sensor, scenes, tmp_path, epochs=1)
    with pytest.raises(InputError, match=r"seed: found a checkpoint with 0, expected 1; --no-resume"):
        quick(sensor, scenes, tmp_path, seed=1)
    with pytest.raises(InputError, match="data: found a checkpoint"):
        quick(sensor, procedural_scenes(5, 24, seed=8), tmp_path)
    assert quick(sensor, scenes, tmp_path, seed=1, epochs=1, resume=False).seed == 1
    (tmp_path / "HyperPNN.checkpoint.safetensors").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="expected a checkpoint"):
        quick(sensor, scenes, tmp_path)


def test_it_stops_when_nothing_improves(sensor, scenes, tmp_path):
    card = quick(sensor, scenes, tmp_path, epochs=50, patience=2, learning_rate=0.5)
    assert card.epochs < 50
    assert card.epochs - card.metrics["best_epoch"] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "epochs: found 0"),
        ({"batch": 0}, "batch: found 0"),
        ({"patch": -1}, "patch: found -1"),
        ({"learning_rate": 0.0}, "learning_rate: found 0"),
        ({"seed": -1}, "seed: found -1"),
    ],
)
def test_settings_that_make_no_sense(sensor, scenes, tmp_path, options, said):
    with pytest.raises(InputError, match=said):
        quick(sensor, scenes, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_unfit_method_or_sensor(sensor, scenes, tmp_path):
    with pytest.raises(InputError, match=r"method: found 'GSA', expected one of .*HyperPNN"):
        train("GSA", sensor, scenes, tmp_path)
    with pytest.raises(InputError, match="tiny: pan: missing"):
        quick(make_sensor(pan=None), scenes, tmp_path)


# ---- command and processes -------------------------------------------------------------------------------------


def test_the_command(sensor, tmp_path):
    sensor.save(tmp_path / "sensor.h5")
    typed = ["hyperpnn", "--sensor", str(tmp_path / "sensor.h5"), "--out", str(tmp_path / "out"), "--scenes", "5",
             "--patch", "6", "--epochs", "2", "--json"]  # fmt: skip
    done = CliRunner().invoke(train_command, typed, catch_exceptions=False)
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert (said["method"], said["bands"], said["ratio"], said["epochs"]) == ("HyperPNN", len(CENTRES), 3, 2)
    assert (tmp_path / "out" / "HyperPNN.png").read_bytes().startswith(b"\x89PNG")
    card = WEIGHTS.read_card(tmp_path / "out" / "HyperPNN.json")
    assert card.sensor_hash == sensor.fingerprint()
    assert card.wavelength_nm == tuple(CENTRES)
    with pytest.raises(InputError, match="scenes: found a number"):
        CliRunner().invoke(train_command, [*typed, "--data", str(tmp_path)], catch_exceptions=False)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can fork")
def test_two_processes_learn_the_same(sensor, scenes, tmp_path):
    alone = quick(sensor, scenes, tmp_path / "one", epochs=1, batch=3)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}

    def work(rank):
        # what torchrun sets, which `test_learning` starts: here torch is loaded already
        os.environ.update(place, RANK=str(rank), LOCAL_RANK=str(rank))
        quick(sensor, scenes, tmp_path / "two", epochs=1, batch=3, device="cpu")

    processes = [multiprocessing.get_context("fork").Process(target=work, args=(rank,)) for rank in range(2)]
    with warnings.catch_warnings():
        # that this process has threads
        warnings.simplefilter("ignore", DeprecationWarning)
        for process in processes:
            process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    together = WEIGHTS.read_card(tmp_path / "two" / "HyperPNN.json")
    assert together.steps == alone.steps >= 2
    assert together.metrics["validation_loss"] == pytest.approx(alone.metrics["validation_loss"], rel=1e-4)
