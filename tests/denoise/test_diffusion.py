"""The latent flow: its coder, its symmetries, the gate, certainty, the shipped weights."""

import dataclasses
import importlib
import json
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from denoise.case import Known, Observation
from denoise.commands.denoise import denoise as command
from denoise.comparison.simulate import simulate
from denoise.latent.autoencoder import Autoencoder, from_blocks, to_blocks, wavelengths_of
from denoise.latent.certainty import beyond
from denoise.latent.evidence import evidence, whitened_residual
from denoise.latent.flow import (
    FEATURES,
    OWN_ERROR,
    Evidence,
    FlowNet,
    channels_of,
    posterior_mean,
    predicted_mean,
    sample,
    towards_data,
)
from denoise.latent.posterior import refine
from denoise.learning.denoiser_card import WEIGHTS, DenoiserCard, load_autoencoder, load_flow
from denoise.restore import restore, restore_cube
from denoise.separation.estimate import separate
from hsitools.cube import Cube
from hsitools.errors import FormatError
from hsitools.io import open_cube, save_cube
from hsitools.learning.weights import save as save_weights
from hsitools.scenes import scene

WAVELENGTH = np.linspace(430, 860, 40)


def psnr(estimate, reference):
    error = np.mean((estimate - reference) ** 2, axis=(1, 2))
    return float(np.mean(10 * np.log10(reference.max() ** 2 / error)))


@pytest.fixture(scope="module")
def clean():
    return scene((64, 72), wavelength_nm=WAVELENGTH, seed=77).read()


@pytest.fixture(scope="module")
def noisy(clean):
    return clean + 0.05 * np.random.default_rng(3).standard_normal(clean.shape, dtype=np.float32)


@pytest.fixture(scope="module")
def found(noisy):
    return separate(Observation(values=noisy, valid=np.ones(noisy.shape, dtype=bool)))


@pytest.fixture(scope="module")
def whole(shared):
    """A real scene, clean and in three cases."""
    with h5py.File(shared / "golden" / "denoise_pavia_centre.h5") as file:
        return {name: file[name][...] for name in ("clean", "a", "b", "c")}


@pytest.fixture(scope="module")
def golden(whole):
    """Half of it, for what does not need more pixels."""
    return {name: values[:, :64, :96] for name, values in whole.items()}


# ---- coder -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_blocks_are_orthonormal(k, height, width, seed):
    images = torch.randn(k, 2 * height, 2 * width, generator=torch.Generator().manual_seed(seed))
    blocks = to_blocks(images)
    torch.testing.assert_close(from_blocks(blocks), images)
    torch.testing.assert_close(blocks.square().sum(), images.square().sum())


@pytest.mark.parametrize("bands", [1, 3, 40, 200])
def test_any_band_count_has_an_orthonormal_basis(bands):
    directions = torch.linalg.qr(torch.randn(bands, min(bands, 3)))[0]
    basis = load_autoencoder()[0].basis(directions, wavelengths_of(None, bands), torch.ones(bands))
    torch.testing.assert_close(basis.T @ basis, torch.eye(basis.shape[1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis[:, : directions.shape[1]], directions, atol=1e-5, rtol=0)


def test_decoding_is_the_transpose_of_encoding():
    coder = Autoencoder()
    basis = coder.basis(torch.linalg.qr(torch.randn(20, 3))[0], wavelengths_of(None, 20), torch.rand(20) + 0.5)
    cube, latent = torch.randn(20, 8, 6), torch.randn(4, basis.shape[1], 4, 3)
    forward = (coder.encode(cube, basis) * latent).sum()
    torch.testing.assert_close(forward, (cube * coder.decode(latent, basis)).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("case", "estimate", "least"), [("a", 40, 47), ("clean", 69, 66)])
def test_reconstruction_of_a_held_out_scene(case, estimate, least, golden):
    """The residual around the subspace estimate of a noisy or clean cube, coded and decoded.

    The clean cube's estimate has 67.6 dB where voxels at a dark floor are taken for impulses, 68.4 since none are.
    """
    cube = golden["clean"]
    result = separate(Observation(values=golden[case], valid=np.ones(cube.shape, dtype=bool)))
    unit = torch.as_tensor(result.noise.sigma)
    coder = load_autoencoder()[0]
    with torch.no_grad():
        basis = coder.basis(torch.as_tensor(result.directions), wavelengths_of(np.linspace(430, 860, 102), 102), unit)
        residual = torch.as_tensor(cube - result.scene) / unit[:, None, None]
        decoded = coder.decode(coder.encode(residual, basis), basis)
    again = result.scene + (decoded * unit[:, None, None]).numpy()
    assert psnr(result.scene, cube) < estimate
    assert psnr(again, cube) > least


# ---- flow ------------------------------------------------------------------------------------------------------


def some_evidence(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(n, 16, 24, generator=generator) for _ in range(6)]
    return Evidence(*images, torch.randn(n, FEATURES, generator=generator))


def wild_net():
    torch.manual_seed(1)
    net = FlowNet().eval()
    for value in net.parameters():
        torch.nn.init.normal_(value, std=0.05)
    return net


def test_components_have_no_order():
    net, given_ = wild_net(), channels_of(some_evidence(5))
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        plain = posterior_mean(net, given_)
        turned = posterior_mean(net, type(given_)(*(part[order] for part in given_)))
    torch.testing.assert_close(turned, plain[order], atol=1e-4, rtol=1e-4)


def test_the_start_of_the_flow_ignores_the_noise_and_items_do_not_mix():
    net, first, second = wild_net(), channels_of(some_evidence(3)), channels_of(some_evidence(3, seed=9))
    both = type(first)(*(torch.cat(parts) for parts in zip(first, second, strict=True)))
    noise = torch.randn(6, 4, 8, 12)
    with torch.no_grad():
        together = net(noise, torch.zeros(2), both, items=2)
        torch.testing.assert_close(together[:3], predicted_mean(net, first), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together[3:], predicted_mean(net, second), atol=1e-4, rtol=1e-4)


def test_samples_repeat_by_seed_and_one_step_is_the_mean():
    net, given_ = wild_net(), channels_of(some_evidence(2))
    with torch.no_grad():
        one, again, other = (sample(net, given_, 3, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
        torch.testing.assert_close(one, again)
        assert (one - other).abs().max() > 1e-3
        only = sample(net, given_, 1, torch.Generator().manual_seed(0))
        torch.testing.assert_close(only, posterior_mean(net, given_))


def test_the_measurement_counts_by_its_noise():
    spread = torch.tensor([0.5, 1.0, 1.0, 1.0])[:, None, None].expand(4, 16, 24)
    share = torch.tensor([1.0, 1.0, 0.0, 1.0])[:, None, None].expand(4, 16, 24)
    features = torch.zeros(4, FEATURES)
    features[3, 2] = 1
    given_ = channels_of(some_evidence(4)._replace(spread=spread, share=share, features=features))
    clean = torch.zeros_like(given_.observed)
    moved = towards_data(clean, given_) / given_.observed
    low, unit, masked, atom = (float(item.mean()) for item in moved)
    assert low == pytest.approx(OWN_ERROR / (OWN_ERROR + 0.25))
    assert unit == pytest.approx(OWN_ERROR / (OWN_ERROR + 1))
    # nothing was measured; and an atom mostly holds noise
    assert masked == atom == 0


def test_without_observation_the_observation_does_not_matter():
    one, other = some_evidence(2), some_evidence(2)._replace(observed=torch.zeros(2, 16, 24))
    for a, b in zip(channels_of(one).without_observation(), channels_of(other).without_observation(), strict=True):
        torch.testing.assert_close(a, b)


# ---- restoration -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "least"), [("a", 38.45), ("c", 38.1)])
def test_real_scene(case, least, golden):
    wavelength = np.linspace(430, 860, 102)
    found = restore(golden[case], "diffusion", wavelength_nm=wavelength)
    assert found.provenance["path"] == "diffusion"
    assert psnr(found.estimate, golden["clean"]) > least


def test_clean_cube_comes_back(golden):
    clean = golden["clean"][:, :48, :64]
    found = restore(clean, "diffusion", wavelength_nm=np.linspace(430, 860, 102))
    assert psnr(found.estimate, clean) > 60


def test_real_scene_and_intervals_that_cover(whole):
    # half of its columns: 37.83 dB, .68 and .916
    observed, truth = whole["b"][..., :64], whole["clean"][..., :64]
    found = restore(observed, samples=6, wavelength_nm=np.linspace(430, 860, 102))
    assert found.provenance["path"] == "diffusion"
    assert psnr(found.estimate, truth) > 37.6
    ratio = np.abs(found.estimate - truth) / found.std
    assert 0.60 < (ratio < 1).mean() < 0.76
    assert 0.9 < (ratio < 1.96).mean() < 0.985


def test_intervals_cover_errors_of_columns_too(clean):
    """A pushbroom's gains and offsets are estimated: without their doubt, a third of the errors would be covered."""
    truth = np.clip(clean / np.percentile(clean, 99.9), 0, 1).astype(np.float32)
    found = restore(simulate(truth, "g", seed=2)[0], samples=4, wavelength_nm=WAVELENGTH)
    ratio = np.abs(found.estimate - truth) / found.std
    assert 0.62 < (ratio < 1).mean() < 0.80
    assert 0.91 < (ratio < 1.96).mean() < 0.985


def test_gate_refuses_a_net_that_only_adds_noise(found, noisy, tmp_path):
    """Random weights: what they add agrees with the noise, not with the scene."""
    for stem, net in (("autoencoder", Autoencoder()), ("flow", wild_net())):
        card = DenoiserCard(method=stem, data=(), held_out=(), sensors=(), seed=0, steps=0, examples=0)
        save_weights(net, card, tmp_path)
    refined = refine(found, WAVELENGTH, weights=tmp_path)
    change = np.sqrt(np.mean((refined.scene - found.scene) ** 2))
    assert change < 0.1 * 0.05
    assert refined.trust.max() < 0.35


def test_gate_tells_the_error_that_it_saves(found, clean):
    refined = refine(found, WAVELENGTH)
    unit = found.noise.sigma[:, None, None]
    basis = evidence(whitened_residual(found, WAVELENGTH), load_autoencoder()[0])[1].detach().numpy()

    def inside(estimate):
        return float((np.tensordot(basis.T, (clean - estimate) / unit, 1) ** 2).sum())

    saved = 1 - inside(refined.scene) / inside(found.scene)
    assert refined.gain == pytest.approx(saved, abs=0.15)


def test_noise_of_a_residual_is_that_of_its_signal(found):
    """In units of the band's noise: (σ² + slope · (scene − mean)) / σ² before the gain that was taken out."""
    gain = np.full_like(found.noise.gain, 1.25)
    slope = np.linspace(1e-3, 4e-3, 40, dtype=np.float32)
    whitened = whitened_residual(
        dataclasses.replace(found, noise=dataclasses.replace(found.noise, slope=slope, gain=gain)), WAVELENGTH
    )
    level = found.scene - found.scene.mean((1, 2), keepdims=True)
    expected = 1 + slope[:, None, None] * level / found.noise.sigma[:, None, None] ** 2
    free = ~found.noise.outlier & (expected > 0.2)
    np.testing.assert_allclose(whitened.variance[free], expected[free] / 1.25**2, rtol=1e-4)


def test_masked_voxels_are_less_certain(clean, noisy):
    values = noisy.copy()
    values[10:14, 20:40, 20:40] = np.nan
    found = restore(values, samples=2, wavelength_nm=WAVELENGTH)
    assert found.mask[10:14, 20:40, 20:40].all()
    assert found.std[10:14, 20:40, 20:40].mean() > found.std[10:14, 44:, 44:].mean()
    assert np.abs(found.estimate - clean)[10:14, 20:40, 20:40].mean() < 0.05


def test_known_gains_are_used(clean, noisy):
    rng = np.random.default_rng(4)
    gain = 1 + 0.05 * rng.standard_normal((40, 72))
    offset = 0.03 * rng.standard_normal((40, 72))
    dead = rng.random((40, 72)) < 0.01
    values = np.where(dead[:, None], 0.3, noisy * gain[:, None] + offset[:, None])
    known = restore(values, known=Known(gain=gain, offset=offset, dead=dead), wavelength_nm=WAVELENGTH)
    assert known.noise.gain.std() == 0
    assert known.mask[dead.nonzero()[0][0], :, dead.nonzero()[1][0]].all()
    blind = restore(values, wavelength_nm=WAVELENGTH)
    assert psnr(known.estimate, clean) > psnr(blind.estimate, clean) + 0.5


def test_layers_in_strips_and_whole(clean, tmp_path):
    long = np.tile(clean[:, :32], (1, 1, 3))
    # noise of its own everywhere: repeated noise is no noise
    long = long + 0.05 * np.random.default_rng(4).standard_normal(long.shape, dtype=np.float32)
    cube = Cube(data=long, wavelength_nm=WAVELENGTH, name="long")
    strips = restore_cube(cube, samples=1, strip_bytes=40 * 4 * 32 * 110)
    assert strips.estimate.meta["strips"] == 3
    save_cube(strips.estimate, tmp_path / "out.h5")
    whole = restore_cube(cube, samples=1)
    assert strips.std.shape == strips.mask.shape == cube.shape
    ratio = strips.std.read().mean() / whole.std.read().mean()
    assert 0.8 < ratio < 1.25
    assert strips.std.read().min() > 0


def test_command_line_writes_layers(noisy, tmp_path):
    save_cube(Cube(data=noisy, wavelength_nm=WAVELENGTH), tmp_path / "raw.h5")
    typed = ["run", str(tmp_path / "raw.h5"), "-o", str(tmp_path / "clean.h5"), "--samples", "1", "--json"]
    said = json.loads(CliRunner().invoke(command, typed, catch_exceptions=False).stdout)
    assert said["path"] == "diffusion"
    assert open_cube(tmp_path / "clean_std.h5").read().min() > 0
    assert set(np.unique(open_cube(tmp_path / "clean_mask.h5").read())) <= {0, 1}


def test_beyond_grows_with_bands_and_shrinks_with_pixels():
    assert beyond(100, 10_000) == pytest.approx(1e-3)
    assert beyond(100, 1_000_000) == pytest.approx(1e-4)


# ---- weights ---------------------------------------------------------------------------------------------------


def test_shipped_weights_are_small_and_checked(noisy, tmp_path):
    assert sum(file.stat().st_size for file in WEIGHTS.pretrained.iterdir()) < 20e6
    card = load_flow()[1]
    assert card.metrics["gain_db"] > 0.5
    assert not {"pavia_centre_crop", "jasper_ridge", "enmap_potsdam_b", "abu_urban_3"} & set(card.data)
    for file in WEIGHTS.pretrained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = bytearray((tmp_path / "flow.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "flow.safetensors").write_bytes(bytes(content))
    with pytest.raises(FormatError, match="sha256: found"):
        restore(noisy[:, :40, :40], weights=tmp_path)
    with pytest.raises(FormatError, match="expected the weights of flow"):
        load_flow(tmp_path / "none.safetensors")


@pytest.mark.parametrize(("side", "threads"), [(64, 1), (65, 3)])
def test_small_images_take_one_thread_and_leave_torch_as_many_as_it_had(
    side: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("denoise.methods.diffusion")
    had = []

    def separate(*_: Any, **__: Any) -> None:
        had.append(torch.get_num_threads())
        raise InterruptedError

    monkeypatch.setattr(module, "separate", separate)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        values = np.ones((2, side, 64), np.float32)
        with pytest.raises(InterruptedError):
            module.diffusion(Observation(values=values, valid=np.ones(values.shape, bool)))
        assert (had, torch.get_num_threads()) == ([threads], 3)
    finally:
        torch.set_num_threads(before)
