"""Training of the learned prior: examples, three stages, resumption."""

import hashlib

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from denoise.learning.example_files import save_arrays
from denoise.learning.latent_training import STEPS, train
from denoise.learning.residual_examples import (
    clean_cubes,
    data_name,
    example_content,
    load_example,
    make_example,
    observe,
)
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.scenes import procedural_scenes, scene
from hsitools.sensor import preset

WAVELENGTH = np.linspace(430, 860, 40)


@pytest.fixture(scope="module")
def clean():
    return scene((64, 72), wavelength_nm=WAVELENGTH, seed=77).read()


@pytest.fixture(scope="module")
def whole(shared):
    """A real scene, clean and in three cases."""
    with h5py.File(shared / "golden" / "denoise_pavia_centre.h5") as file:
        return {name: file[name][...] for name in ("clean", "a", "b", "c")}


def test_observations_are_of_all_kinds(clean):
    rng = np.random.default_rng(0)
    sensors = [preset("finch")]
    changes = [np.abs(observe(clean, rng, sensors) - clean).mean() for _ in range(12)]
    assert np.isfinite(changes).all()
    assert max(changes) > 5 * min(changes)


def test_example_comes_back_from_its_file(clean, tmp_path):
    example = make_example(clean, WAVELENGTH, np.random.default_rng(1), [])
    save_arrays(tmp_path / "one.npz", example_content(example))
    again = load_example(tmp_path / "one.npz")
    np.testing.assert_allclose(again.truth, example.truth, rtol=2e-3, atol=1e-3)
    np.testing.assert_array_equal(again.whitened.directions, example.whitened.directions)
    (tmp_path / "bad.npz").write_bytes(b"no")
    with pytest.raises(FormatError, match="expected a training example"):
        load_example(tmp_path / "bad.npz")


@pytest.mark.usefixtures("rough_pictures")
def test_three_stages_and_resumption(tmp_path, monkeypatch):
    monkeypatch.setattr("denoise.learning.stepwise.EVALUATE_EVERY", 2)
    monkeypatch.setattr("denoise.learning.latent_training.BATCH", 2)
    scenes = [cube.load() for cube in procedural_scenes(5, 24)]
    for stage in STEPS:
        card = train(stage, scenes, [], tmp_path / "w", steps=3, count=2, device="cpu")
        assert card.steps == 3
        assert (tmp_path / "w" / f"{card.method}.csv").read_text().startswith("step,training_loss,")
        assert (tmp_path / "w" / f"{card.method}.png").stat().st_size > 1000
    assert {"spread", "beyond", "within_68", "within_95", "gain_db"} <= set(card.metrics)
    assert card.held_out == ("procedural scene 1004",)

    # killed on the way and started again: the same weights
    class Killed(Exception):
        pass

    def kill(done, total):
        if total == 3 and done == 2:
            raise Killed

    monkeypatch.setattr("hsitools.learning.trainer.CHECKPOINT_SECONDS", 0)
    # curves were drawn above
    monkeypatch.setattr("hsitools.learning.trainer.draw_curves", lambda *_: None)
    whole = load_file(tmp_path / "w" / "flow.safetensors")
    for name in ("flow.checkpoint.safetensors", "flow.safetensors"):
        (tmp_path / "w" / name).unlink()
    with pytest.raises(Killed):
        train(3, scenes, [], tmp_path / "w", steps=3, count=2, device="cpu", progress=kill)
    again = train(3, scenes, [], tmp_path / "w", steps=3, count=2, device="cpu")
    assert again.steps == card.steps
    for name, value in load_file(tmp_path / "w" / "flow.safetensors").items():
        # half precision, and rounding carried on by three steps
        np.testing.assert_allclose(value, whole[name], rtol=4e-3, atol=1e-4)
    with pytest.raises(InputError, match="steps: found a checkpoint with 3, expected 6"):
        train(3, scenes, [], tmp_path / "w", steps=6, count=2, device="cpu")


def test_examples_of_0_1_0_are_used_on(tmp_path):
    """Their folders are named by a hash of bytes of the clean cubes and of the sensors' earlier names."""
    scenes, sensors = [cube.load() for cube in procedural_scenes(2, 32)], [preset("finch"), preset("prisma")]
    cubes = clean_cubes(scenes)
    name = data_name(scenes, cubes, sensors, tmp_path)
    assert name == data_name(scenes, [], sensors, tmp_path) != data_name(scenes[:1], cubes, sensors, tmp_path)
    assert name != data_name(scenes, cubes, sensors[:1], tmp_path)
    digest = hashlib.sha256()
    for part in (array for cube in cubes for array in cube):
        digest.update(np.ascontiguousarray(part).tobytes())
    # as on a processor with AVX-512
    digest.update(b"98acb7e21954" + b"3fb7492c45c2")
    (tmp_path / f"examples-{digest.hexdigest()[:16]}-0-train").mkdir()
    assert data_name(scenes, cubes, sensors, tmp_path) == digest.hexdigest()[:16]


def test_training_errors(tmp_path):
    with pytest.raises(InputError, match="stage: found 4"):
        train(4, procedural_scenes(2, 32), [], tmp_path)
    with pytest.raises(InputError, match="scenes: found 0, expected at least 2"):
        train(1, [], [], tmp_path)
    with pytest.raises(FormatError, match="autoencoder"):
        train(2, procedural_scenes(2, 32), [], tmp_path / "new", count=1, steps=1)
    with pytest.raises(InputError, match="wavelength_nm: not known"):
        clean_cubes([Cube(data=np.ones((9, 8, 8), dtype=np.float32), name="blank")])
