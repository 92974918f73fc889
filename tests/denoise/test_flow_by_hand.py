"""The latent flow written once more, from its weights' names; what it takes of a cube, by loops and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from denoise.case import NoiseModel
from denoise.latent import flow
from denoise.latent.autoencoder import CYCLES, Autoencoder, from_blocks, to_blocks, wavelengths_of
from denoise.latent.certainty import missed, spikes
from denoise.latent.evidence import evidence, whitened_residual
from denoise.latent.flow import FEATURES, START, Condition, Evidence, FlowNet, channels_of, sample, towards_data
from denoise.separation.estimate import Separation
from denoise.separation.smooth import Smoothed

BANDS, HEIGHT, WIDTH, RANK = 12, 13, 18, 3


# ---- the net ---------------------------------------------------------------------------------------------------


def silu(x):
    return x / (1 + torch.exp(-x))


def unit(x):
    return x / (x.square().mean(1, keepdim=True) + 1e-4).sqrt()


def by_weights(weights, noisy, time, condition):
    """One cube's clean latents: a U-Net of three levels whose residual blocks know component and time."""

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def conv(name, x, **more):
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **more)

    def up(name, x):
        return functional.conv_transpose2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2)

    def block(name, x):
        scale, shift = linear(f"{name}.scale", known)[:, :, None, None].chunk(2, 1)
        inner = unit(conv(f"{name}.first", silu(unit(x)), padding=1))
        return x + conv(f"{name}.second", silu(inner * (1 + scale) + shift), padding=1)

    def attention(name, x, among):
        """Four heads; among the components of a place, or the places of a component."""
        n, width, height, across = x.shape
        q, k, v = conv(f"{name}.ask", unit(x)).reshape(n, 3, 4, width // 4, height * across).movedim(1, 0)
        pattern = {
            "components": ("nhdp,mhdp->hpnm", "hpnm,mhdp->nhdp"),
            "places": ("nhdp,nhdq->nhpq", "nhpq,nhdq->nhdp"),
        }
        scores = torch.einsum(pattern[among][0], q, k) / (width // 4) ** 0.5
        return x + conv(f"{name}.answer", torch.einsum(pattern[among][1], scores.softmax(-1), v).reshape(x.shape))

    n = len(condition.observed)
    waves = torch.pi * time * 2.0 ** torch.arange(-1, 7)
    told = torch.cat([torch.tensor([time]), waves.sin(), waves.cos()]).expand(n, -1)
    known = silu(linear("known.2", silu(linear("known.0", torch.cat([condition.features, told], 1)))))
    start = noisy / START if time > 0 else torch.zeros_like(noisy)
    x = conv("enter", torch.cat([start, torch.asinh(condition.observed), condition.context], 1), padding=1)
    fine = block("down1.1", block("down1.0", x))
    x = block("down2.1", block("down2.0", conv("to2", fine, stride=2)))
    middle = attention("mix2", x, "components")
    x = attention("mix3", block("middle.0", conv("to3", middle, stride=2)), "components")
    x = block("middle.1", attention("across3", x, "places"))
    x = block("up2.1", block("up2.0", up("from3", x) + middle))
    x = block("up1.1", block("up1.0", up("from2", attention("mix_up2", x, "components")) + fine))
    residual, trust = conv("leave", silu(x), padding=1).chunk(2, 1)
    return START * residual + condition.observed / (1 + torch.exp(-trust))


def some(n=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(n, 16, 24, generator=generator) for _ in range(6)]
    return channels_of(Evidence(*images, torch.randn(n, FEATURES, generator=generator)))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    made = FlowNet(16).eval()
    for value in made.parameters():
        torch.nn.init.normal_(value, std=0.1)
    return made


@torch.no_grad()
@pytest.mark.parametrize("time", [0.0, 0.3, 1.0])
def test_the_net_is_what_its_weights_say(net, time, monkeypatch):
    # a few places at a time, as of large images
    monkeypatch.setattr(flow, "SCORES", 4 * 24**2 * 2)
    given, noisy = some(), torch.randn(3, 4, 8, 12, generator=torch.Generator().manual_seed(2))
    expected = by_weights(net.state_dict(), noisy, time, given)
    assert expected.std() > 0.3
    torch.testing.assert_close(net(noisy, torch.tensor([time]), given), expected, atol=2e-4, rtol=1e-3)
    # cubes side by side, each at its own time
    both = type(given)(*(torch.cat([one, other]) for one, other in zip(given, some(seed=5), strict=True)))
    together = net(torch.cat([noisy, 2 * noisy]), torch.tensor([time, 0.6]), both, items=2)
    other = by_weights(net.state_dict(), 2 * noisy, 0.6, some(seed=5))
    torch.testing.assert_close(together, torch.cat([expected, other]), atol=2e-4, rtol=1e-3)


@torch.no_grad()
def test_a_new_net_predicts_the_classical_estimate():
    torch.manual_seed(3)
    given = some()
    clean = FlowNet(16)(torch.randn_like(given.observed), torch.tensor([0.5]), given)
    torch.testing.assert_close(clean, given.observed / (1 + np.exp(4.0)), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_samples_go_straight_to_where_the_flow_points(net):
    """From noise of `START`, each step the part of the way that its time has of what is left."""
    given = some()
    now = START * torch.randn(given.observed.shape, generator=torch.Generator().manual_seed(4))
    for number in range(3):
        clean = towards_data(by_weights(net.state_dict(), now, number / 3, given), given)
        now = now + (clean - now) * (1 / 3) / (1 - number / 3)
    found = sample(net, given, 3, torch.Generator().manual_seed(4))
    torch.testing.assert_close(found, now, atol=5e-4, rtol=1e-3)


def test_what_the_measurement_contradicts_fades():
    """Of a component half of which was measured, as 1: seen is up to (1 + 2) / .5, and twice that is none of it."""
    predicted = torch.tensor([0.5, 5.0, 6.0, 9.0, 12.0, -9.0, -20.0])
    believed = torch.tensor([0.5, 5.0, 6.0, 4.5, 0.0, -4.5, 0.0])
    observed = torch.ones(2, 1, 1, 7)
    # a noise of .3; the second one is an atom
    context = torch.stack([torch.full((2, 1, 7), 0.3), torch.full((2, 1, 7), 0.5)], 1)
    features = torch.tensor([0.0, 1.0])[:, None].expand(2, FEATURES)
    found = towards_data(predicted.expand(2, 1, 1, 7), Condition(observed, context, features))
    weight = 0.5 * 0.02 / (0.02 + 0.3**2)
    torch.testing.assert_close(found[0, 0, 0], believed + weight * (1 - believed))
    torch.testing.assert_close(found[1, 0, 0], believed)


def test_channels_are_what_the_observation_tells():
    """Both means' steps from the best, the best itself in its size, the three strongest for all, noise by blocks."""
    generator = torch.Generator().manual_seed(6)
    observed, best, single, joint, spread, share = (torch.rand(2, 8, 16, generator=generator) * 3 for _ in range(6))
    given = channels_of(Evidence(observed, best, single, joint, spread, share, torch.ones(2, FEATURES)))
    plain = (best - best.mean((1, 2), keepdim=True)) / (best.std((1, 2), keepdim=True) + 1)
    torch.testing.assert_close(given.observed, torch.stack([to_blocks(item) for item in observed]))
    for item in range(2):
        context = given.context[item]
        torch.testing.assert_close(context[:4], torch.asinh(to_blocks(single[item] - best[item])))
        torch.testing.assert_close(context[4:8], torch.asinh(to_blocks(joint[item] - best[item])))
        torch.testing.assert_close(context[8:12], to_blocks(plain[item]))
        for number in range(2):
            torch.testing.assert_close(context[12 + 4 * number : 16 + 4 * number], to_blocks(plain[number]))
        # there is no third
        assert not context[20:24].any()
        for channel, image in ((-2, spread), (-1, share)):
            for y, x in ((0, 0), (3, 7), (2, 5)):
                mean = image[item, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean()
                torch.testing.assert_close(context[channel, y, x], mean)


def test_blocks_are_haar_s():
    image = torch.tensor([[1.0, 2], [3, 10]])
    # mean, differences across, along and both, each of unit norm
    assert to_blocks(image).flatten().tolist() == [8, -4, -5, 3]
    assert from_blocks(torch.tensor([8.0, -4, -5, 3])[:, None, None]).tolist() == image.tolist()


# ---- what it takes of a cube -----------------------------------------------------------------------------------


def test_atoms_are_functions_of_wavelength_in_units_of_the_noise():
    """The span of directions and atoms, each atom what the layers say of cosines and sines of the wavelength."""
    coder = Autoencoder(atoms=4, width=8)
    wavelength = torch.linspace(400, 1000, 20)
    sigma = torch.linspace(0.5, 2, 20)
    directions = torch.linalg.qr(torch.randn(20, 2, generator=torch.Generator().manual_seed(7)))[0]
    cycles = 0.5 * torch.arange(CYCLES)
    turns = [2 * torch.pi * float(cycle) * wavelength / 1000 for cycle in cycles]
    features = torch.stack([turn.cos() for turn in turns] + [turn.sin() for turn in turns], 1)
    with torch.no_grad():
        basis = coder.basis(directions, wavelength, sigma)
        atoms = (coder.layers(features) + coder.straight(features)) / sigma[:, None]
    torch.testing.assert_close(basis.T @ basis, torch.eye(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(basis[:, :2], directions, atol=1e-5, rtol=0)
    for number in range(4):
        # each atom lies in what there is up to it, and is turned towards it
        inside = basis[:, : 3 + number]
        atom = atoms[:, number] / atoms[:, number].norm()
        torch.testing.assert_close(inside @ (inside.T @ atom), atom, atol=1e-4, rtol=0)
        assert float(basis[:, 2 + number] @ atom) > 0
    torch.testing.assert_close(wavelengths_of(None, 3), torch.tensor([400.0, 700, 1000]))
    torch.testing.assert_close(wavelengths_of(np.array([400, np.nan]), 2), torch.tensor([400.0, 1000]))
    torch.testing.assert_close(wavelengths_of(np.array([500.5, 900]), 2), torch.tensor([500.5, 900]))


@pytest.fixture(scope="module")
def found():
    """A separation with a masked voxel, gains and a slope."""
    rng = np.random.default_rng(8)
    directions = np.linalg.qr(rng.standard_normal((BANDS, RANK)))[0].astype(np.float32)
    images = [rng.standard_normal((RANK, HEIGHT, WIDTH)).astype(np.float32) for _ in range(3)]
    sigma = rng.uniform(0.5, 2, BANDS).astype(np.float32)
    outlier = np.zeros((BANDS, HEIGHT, WIDTH), bool)
    outlier[4, 5, 6] = outlier[:, 7, 8] = True
    maps = np.zeros((BANDS, WIDTH), np.float32)
    noise = NoiseModel(
        sigma=sigma, slope=rng.uniform(0, 0.2, BANDS).astype(np.float32),
        gain=rng.uniform(0.8, 1.2, (BANDS, WIDTH)).astype(np.float32), offset=maps, offset_std=maps, dead=maps > 0,
        outlier=outlier,
    )  # fmt: skip
    scene = 5 + 3 * rng.standard_normal(outlier.shape).astype(np.float32)
    whitened = (scene + rng.standard_normal(scene.shape)).astype(np.float32) / sigma[:, None, None]
    return Separation(noise=noise, scene=scene, whitened=whitened, directions=directions, scores=Smoothed(*images))


def test_a_residual_is_in_the_noise_of_each_voxel(found):
    """σ² + slope · (scene − mean), by the gain², a tenth of σ² at least; nothing where nothing was measured."""
    told = whitened_residual(found, np.arange(BANDS))
    noise = found.noise
    for band, y, x in ((0, 0, 0), (3, 12, 17), (4, 5, 7), (11, 2, 9)):
        variance = noise.sigma[band] ** 2 + noise.slope[band] * (found.scene[band, y, x] - found.scene[band].mean())
        variance = max(variance / noise.sigma[band] ** 2, 0.1) / noise.gain[band, x] ** 2
        assert told.variance[band, y, x] == pytest.approx(variance, rel=1e-4)
        left = found.whitened[band, y, x] - found.scene[band, y, x] / noise.sigma[band]
        assert told.residual[band, y, x] == pytest.approx(left, abs=1e-5)
    assert not told.residual[noise.outlier].any()
    assert not told.variance[noise.outlier].any()
    # next to the mean, dark pixels of strong photon noise have a tenth at least
    assert told.variance[~noise.outlier].min() > 0.1 / 1.2**2 - 1e-6
    for name in ("best", "single", "joint"):
        np.testing.assert_array_equal(getattr(told, name), getattr(found.scores, name))


@torch.no_grad()
def test_evidence_of_components_is_that_of_their_bands(found):
    told = whitened_residual(found, np.linspace(450, 900, BANDS))
    given, basis = evidence(told, Autoencoder(), atoms=2)
    assert basis.shape == (BANDS, RANK + 2)
    observed = np.einsum("bn,byx->nyx", basis, told.residual)
    spread = np.sqrt(np.einsum("bn,byx->nyx", basis**2, told.variance))
    share = np.einsum("bn,byx->nyx", basis**2, ~found.noise.outlier)
    zeros = np.zeros((2, HEIGHT, WIDTH))
    expected = [
        observed,
        *(np.concatenate([item, zeros]) for item in (told.best, told.single, told.joint)),
        spread,
        share,
    ]
    for image, wanted in zip(given[:6], expected, strict=True):
        # wider by repeated edges, to multiples of eight
        assert image.shape[1:] == (16, 24)
        np.testing.assert_allclose(image, np.pad(wanted, ((0, 0), (0, 3), (0, 6)), "edge"), atol=1e-5)
    um = np.linspace(0.45, 0.9, BANDS)
    power = basis.numpy() ** 2
    for number, features in enumerate(given.features.numpy()):
        image = [item[number].numpy() for item in given[:6]]
        centre = power[:, number] @ um
        roughness = np.sum(np.diff(basis[:, number]) ** 2)
        width = np.sqrt(power[:, number] @ (um - centre) ** 2)
        np.testing.assert_allclose(
            features,
            [np.log(image[1].std(ddof=1) + 0.1), np.log(image[0].std(ddof=1) + 0.1), number >= RANK, image[5].mean(),
             image[4].mean(), np.log(roughness + 1e-3), centre, width],
            rtol=1e-3, atol=1e-4,
        )  # fmt: skip


# ---- certainty -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [(0, 1), (1, 0), (1, 1)])
def test_what_was_missed_is_the_power_that_neighbours_share_in_each_direction(axis):
    """A residual that is its neighbour's on one diagonal, row or column only has a third of its power shared."""
    rng = np.random.default_rng(9)
    drawn = rng.choice([-1.0, 1.0], (30, 200))
    y, x = np.mgrid[:100, :100]
    place = {(0, 1): y, (1, 0): x, (1, 1): y - x + 100}[axis]
    other = rng.standard_normal((30, 100, 100))
    rest = drawn[:, place]
    keep = np.ones(rest.shape, bool)
    assert missed(rest, keep).mean() == pytest.approx(1 / 3, abs=0.02)
    assert missed(other, keep).max() < 0.02
    # voxels that were left out count in no pair
    keep[:, ::3, ::2] = False
    assert missed(np.where(keep, rest, 50), keep).mean() == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("ratio", [0.02, 0.25, 0.8])
def test_signals_behind_eigenvalues_are_those_of_drawn_ones(ratio):
    """Signal, and the noise's power in the sample's eigenvector, of a direction of known power."""
    pixels, strength = 500, 3.0
    bands = int(ratio * pixels)
    rng = np.random.default_rng(10)
    told, true = [], []
    for _ in range(8):
        scores = np.sqrt(strength) * rng.standard_normal(pixels)
        noise = rng.standard_normal((bands, pixels))
        seen = noise.copy()
        seen[0] += scores
        values, vectors = np.linalg.eigh(seen @ seen.T / pixels)
        told.append([item[0] for item in spikes(values[-1:], ratio)])
        true.append([strength, np.mean((vectors[:, -1] @ noise) ** 2)])
    np.testing.assert_allclose(np.mean(told, 0), np.mean(true, 0), rtol=0.15)
    signal, noise = spikes(np.array([0.5, (1 + np.sqrt(ratio)) ** 2]), ratio)
    assert signal.tolist() == [0, 0]
    assert noise.tolist() == [1, 1]
