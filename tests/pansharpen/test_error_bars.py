"""Error bars of fusion: draws have the posterior's covariance, tiles agree with the whole, intervals cover."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hsitools.errors import InputError
from hsitools.estimation.edge_aware import DataTerms, Sharp, edge_weights
from hsitools.io import open_cube, save_cube
from hsitools.scenes import scene
from hsitools.sensor import preset
from hsitools.sensor.interpolation import displace
from hsitools.sensor.spatial import mtf_blur, mtf_decimate
from pansharpen import fuse
from pansharpen.case import FusionCase, guided
from pansharpen.commands.pansharpen import pansharpen
from pansharpen.in_memory import posterior_of
from pansharpen.methods import physics as methods
from pansharpen.methods.physics import learn, physics, solved
from pansharpen.optics import Optics
from pansharpen.pair.wald import simulated_case
from pansharpen.physics.error_bars import ErrorBars
from pansharpen.physics.error_scale import ErrorScale, error_scale
from pansharpen.physics.grain import grain_variance
from pansharpen.physics.hidden_details import blur_powers, blurred_off, hidden_gain
from pansharpen.physics.posterior import DRAWS, draw, signs_at
from pansharpen.physics.sharp_pan import SharpScene, filtered, gaussian
from pansharpen.tiled import LargeScene


def test_draws_have_the_posteriors_variance():
    generator = torch.Generator().manual_seed(0)
    guide = torch.rand(1, 1, 12, 12, generator=generator, dtype=torch.float64)
    # no pixel of PAN was measured in two rows
    precision = 40 * (torch.arange(12) > 1).double()[:, None].expand(12, 12)
    terms = DataTerms(
        down=mtf_decimate((12, 12), 0.3, 3), precision=torch.tensor([30.0, 8.0], dtype=torch.float64)[:, None, None],
        sharp=[Sharp(image=guide, response=torch.tensor([[0.8, -0.3]], dtype=torch.float64), precision=precision)],
    )  # fmt: skip
    weights = edge_weights(guide, 0.05)
    z = torch.zeros(1, 2, 12, 12, dtype=torch.float64)
    system = terms.system(weights, z)
    columns = torch.eye(z.numel(), dtype=torch.float64).reshape(-1, 2, 12, 12)
    matrix = torch.stack([system.apply(column[None]).flatten() for column in columns])
    exact = torch.linalg.inv(matrix).diagonal().reshape(2, 12, 12)
    drawn = torch.stack([draw(system, terms.condition, z, (0, 0), (0, 0), number)[0] for number in range(60)])
    ratio = drawn.square().mean(0) / exact
    # a variance of 60 draws is good to 18 %; what the solver leaves undone makes it smaller
    assert abs(float(ratio.mean()) - 1) < 0.05
    assert float(ratio.std()) < 0.22
    unseen, measured = exact[:, :2].mean(), exact[:, 2:].mean()
    assert unseen > 1.02 * measured


def test_noise_of_a_sharpened_pan_is_as_much_more_as_its_filter_makes_it():
    generator = torch.Generator().manual_seed(4)
    noise = 0.1 * torch.randn(1, 1, 96, 96, generator=generator, dtype=torch.float64)
    kernel = -gaussian(0.3)
    kernel[8, 8] += 2
    told = Optics(ratio=4, pan_variance=0.01, pan_mtf=0.3)
    sharp = SharpScene(FusionCase(coarse=torch.ones(1, 3, 24, 24), pan=noise, optics=told), kernel, 0.3)
    assert sharp.optics.pan_variance == pytest.approx(float(filtered(noise, kernel).var()), rel=0.05)
    assert sharp.optics.pan_variance > 0.015


def test_signs_belong_to_places():
    whole = signs_at((0, 0), torch.zeros(40, 300), 3, 2)
    assert set(whole.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(whole.mean())) < 0.02
    part = signs_at((7, 250), torch.zeros(20, 30), 3, 2)
    torch.testing.assert_close(part, whole[..., 7:27, 250:280], rtol=0, atol=0)
    assert not torch.equal(whole, signs_at((0, 0), torch.zeros(40, 300), 3, 1))


@pytest.mark.parametrize("slope", [2.0, 3.0])
def test_what_a_blur_hides_follows_from_what_it_would_hide_once_more(slope):
    generator = torch.Generator().manual_seed(3)
    noise = torch.fft.rfft2(torch.randn(1, 1, 128, 128, generator=generator, dtype=torch.float64))
    y, x = torch.fft.fftfreq(128)[:, None], torch.fft.rfftfreq(128)
    image = torch.fft.irfft2(noise / torch.hypot(y, x).clamp(min=1 / 256) ** (slope / 2))
    blurred = mtf_blur((128, 128), 0.2, 1)(image)

    # the image goes on at the other side, the blur repeats the border
    def inner(values):
        return values[..., 8:-8, 8:-8]

    hidden = float(inner(image - blurred).square().mean())
    once, twice, n = blur_powers(blurred, gaussian(0.2), inner).tolist()
    gain = hidden_gain(gaussian(0.2), once / n, twice / n)
    assert gain * float(inner(blurred_off(blurred, gaussian(0.2))).mean()) == pytest.approx(hidden, rel=0.1)
    # noise of PAN does not pass for a rougher scene
    noisy = blurred + 0.05 * torch.randn(blurred.shape, generator=generator, dtype=torch.float64)
    once, twice, n = blur_powers(noisy, gaussian(0.2), inner).tolist()
    assert hidden_gain(gaussian(0.2), once / n, twice / n, noise=0.05**2) == pytest.approx(gain, rel=0.1)
    assert blurred_off(image, None) is None


@pytest.fixture(scope="module")
def case():
    """Every ninth band of a PRISMA-like pair of 24×24 coarse pixels, with noise."""
    sensor = preset("prisma")
    return simulated_case(scene((96, 96), seed=7), sensor.select(range(0, sensor.n_bands, 9)), ratio=4, seed=1)


def covered(case, margin=4):
    """Share within 95 % intervals, of all voxels and of the worst band; rank correlation of std and error."""
    estimate, std = posterior_of("physics", case)
    inner = (0, slice(None), slice(margin, -margin), slice(margin, -margin))
    error, std = (estimate - case.reference).abs()[inner], std[inner]
    share = (error < 1.96 * std).double().mean((1, 2))
    ranks = torch.stack([values.flatten().argsort().argsort().double() for values in (error, std)])
    return float(share.mean()), float(share.min()), float(torch.corrcoef(ranks)[0, 1])


def test_intervals_cover(case):
    mean, worst, rank = covered(case)
    assert 0.9 < mean < 0.985
    assert worst > 0.8
    assert rank > 0.5


def test_intervals_cover_under_strong_noise():
    """Errors are measured on a noisy cube: its noise is taken off them, and does not hide that there are errors."""
    sensor = preset("prisma")
    bands = sensor.select(range(0, sensor.n_bands, 18))
    mean, worst, _ = covered(simulated_case(scene((96, 96), seed=7), bands, ratio=4, seed=1, snr_db=20))
    assert 0.92 < mean < 0.975
    assert worst > 0.85


def untold(case):
    """The pair as it is where no sensor is told."""
    return case.replace(optics=Optics(ratio=case.optics.ratio, wavelength_nm=case.optics.wavelength_nm))


@pytest.mark.parametrize(("side", "told"), [(1, True), (3, True), (3, False), (6, True), (6, False), (16, False)])
def test_intervals_cover_where_pixels_are_few_or_no_sensor_is_told(side, told):
    """PAN's blur hides as much when nobody tells of it; of one pixel nothing is known but the bands' levels."""
    sensor = preset("prisma").select(range(0, 48, 12))
    made = simulated_case(scene((4 * side, 4 * side), seed=31), sensor, ratio=4, seed=1)
    if side == 1:
        # smaller than any link beyond the neighbours
        tiny = simulated_case(scene((3, 3), seed=31), sensor, ratio=3, seed=1)
        assert (posterior_of("physics", tiny)[1] > 0).all()
    estimate, std = posterior_of("physics", made if told else untold(made))
    z = ((made.reference - estimate) / std).double()
    assert 0.87 < float((z.abs() < 1.96).double().mean()) <= 1
    assert 0.25 < float(z.square().mean().sqrt()) < 1.45


def test_intervals_cover_beside_guides_whose_optics_are_not_told():
    """They held nothing of what the guides' optics hide: .84 of the errors."""
    sensor = preset("prisma")
    bands = sensor.select(range(0, sensor.n_bands, 10))
    made = simulated_case(scene((80, 80), seed=4), bands, ratio=4, seed=1, guide="sentinel-2")
    fine = [dataclasses.replace(guide, mtf=None) for guide in made.guides if guide.ratio == 1]
    found = posterior_of("physics", guided(made.coarse, fine, made.optics))
    inside = (found.estimate - made.reference).abs() < 1.96 * found.std
    assert 0.89 < inside.float().mean() < 0.99


def test_grain_of_the_scene_is_told_from_noise_by_its_neighbours(case):
    """Both alike in size in the coarse cube, in one band each: what went through the optics was far larger before."""
    generator, band = torch.Generator().manual_seed(5), 3
    grain = case.reference[:, band].std() * torch.randn(case.pan.shape, generator=generator)
    seen = mtf_decimate((96, 96), 0.3, 4)(grain)
    noise = seen.std() * torch.randn(seen.shape, generator=generator)
    unknown = case.replace(optics=dataclasses.replace(case.optics, noise_variance=None), reference=None)
    found = []
    for part in (seen, noise):
        with torch.no_grad():
            made = learn(unknown.replace(coarse=case.coarse.index_add(1, torch.tensor([band]), part)))
            found.append(float(grain_variance(made.scene, made.coarse, made.space, made.pair)[band]))
    # a part of it is a component, and no rest
    assert 0.4 < found[0] / float(grain.var()) < 2
    assert found[1] < 0.1 * found[0]


def test_grain_that_went_into_a_component_is_counted():
    """A component of two alike bands takes half of the grain of each with it: what it leaves is but the other half."""
    generator = torch.Generator().manual_seed(8)
    grain = torch.randn(1, 2, 384, 384, generator=generator)
    case = FusionCase(coarse=mtf_decimate((384, 384), 0.3, 4)(grain), pan=grain[:, :1], optics=Optics(ratio=4))
    pair = SimpleNamespace(gains=lambda _: np.array([0.3, 0.3]))
    basis = torch.full((1, 2, 1), 0.5**0.5)
    space = SimpleNamespace(mean=torch.zeros(1, 2), basis=basis, projection=basis.mT)
    found = grain_variance(case, lambda tile: tile.wide_coarse, space, pair)
    np.testing.assert_allclose(found, [1, 1], rtol=0.25)


def test_grain_is_seen_under_noise_whose_variance_is_told():
    """What a band has more than that is grain, but not where all bands have more: then too little is told."""
    generator, band = torch.Generator().manual_seed(6), 3
    case = simulated_case(scene((96, 96), seed=7), preset("prisma").select(range(12)), ratio=4, seed=1)
    noise = np.asarray(case.optics.noise_variance)
    grain = torch.randn(case.pan.shape, generator=generator)
    seen = mtf_decimate((96, 96), 0.3, 4)(grain)
    scale = (3 * noise[band]) ** 0.5 / float(seen.std())
    found = []
    for told, part in ((noise, scale * seen), (noise / 1.6, 0 * seen)):
        optics = dataclasses.replace(case.optics, noise_variance=told)
        other = case.replace(
            coarse=case.coarse.index_add(1, torch.tensor([band]), part), optics=optics, reference=None
        )  # fmt: skip
        with torch.no_grad():
            made = learn(other)
            found.append(grain_variance(made.scene, made.coarse, made.space, made.pair) / (scale**2 * grain.var()))
    assert 0.4 < float(found[0][band]) < 1.6
    # the last bands, which have few beside them on one side only, keep some of the scene
    assert float(torch.stack(found)[:, [0, 1, 2, 4, 5, 6, 7, 8, 9]].max()) < 0.1
    assert float(found[1][band]) < 0.1


def test_a_step_of_the_error_bars_does_not_swing_below_what_a_band_has_everywhere(monkeypatch):
    sensor = preset("prisma").select(range(0, 40, 10))
    made = simulated_case(scene((48, 48), seed=3), sensor, ratio=4, seed=1)
    with torch.no_grad():
        model = learn(made)
        places, solution = np.column_stack([np.full(4, 0.5), np.zeros(4)]), solved(made.tile, model)
        model = dataclasses.replace(model, pair=dataclasses.replace(model.pair, places=places))
        step = (torch.arange(48) > 20).float()[None, None, :, None].expand(1, 1, 48, 48)
        monkeypatch.setattr(methods, "draws", lambda *_: [step] * DRAWS)
        model = dataclasses.replace(model, space=dataclasses.replace(model.space, basis=torch.ones(1, 4, 1)))
        floor = torch.full((1, 4), 1e-6)
        scale = ErrorScale(posterior=torch.ones(1, 4), hidden=torch.zeros(1, 4), floor=floor, blur=None)
        std = methods._std(made.tile, model, solution, scale).whole()
    assert float(std.min()) == pytest.approx(1e-3, rel=1e-5)
    assert float(std.max()) > 1


@pytest.mark.parametrize("moves", [False, True])
def test_any_part_of_a_tile_s_error_bars_is_what_their_formula_says(moves, monkeypatch):
    """By loops over draws and neighbours; at the scene's border there are fewer."""
    monkeypatch.setattr("pansharpen.families.statistics.BLOCK_BYTES", 8 * 400)
    generator, size, own = torch.Generator().manual_seed(0), (19, 23), (slice(0, 14), slice(6, 23))
    errors = torch.randn(DRAWS, 3, *size, generator=generator, dtype=torch.float64)
    basis = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    hidden = torch.rand(size, generator=generator, dtype=torch.float64)
    posterior, beside, floor = torch.rand(3, 1, 4, generator=generator, dtype=torch.float64)
    scale = ErrorScale(posterior=posterior, hidden=beside, floor=floor, blur=None)
    square = torch.einsum("bk,dkyx->dbyx", basis, errors).square().mean(0)
    expected = torch.empty(4, *size, dtype=torch.float64)
    for y in range(size[0]):
        for x in range(size[1]):
            near = square[:, max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].mean((1, 2))
            expected[:, y, x] = (posterior[0] * near + floor[0] + beside[0] * hidden[y, x]).sqrt()
    move = None
    if moves:
        move = displace(size, ((0.5, 0.0), (0.0, -0.5), (1.0, 0.0), (0.0, 0.0))).outputs(*own)
        expected = torch.maximum(move(expected[None])[0], floor[0].sqrt()[:, None, None])
    else:
        expected = expected[:, *own]
    bars = ErrorBars.of(
        (error[None] for error in errors), basis[None], scale, hidden=hidden[None, None], own=own, move=move
    )
    torch.testing.assert_close(bars.whole()[0], expected, rtol=1e-10, atol=0)
    part = bars.part(torch.tensor([3, 0]), slice(2, 11), slice(4, 17))
    torch.testing.assert_close(part[0], expected[[3, 0], 2:11, 4:17], rtol=1e-10, atol=0)


def test_tiles_have_the_error_bars_of_the_whole():
    sensor = preset("prisma").select(range(0, 60, 20))
    observed = sensor.observe(scene((228, 24), seed=3), np.random.default_rng(0))
    whole = LargeScene(observed, sensor, halo=16)
    parts = LargeScene(observed, sensor, halo=16, side=32)
    assert (len(whole.windows), len(parts.windows)) == (1, 2)
    with torch.no_grad():
        stds = [physics(scene_, std=True).std.read(range(3), slice(0, 228), slice(0, 24)) for scene_ in (whole, parts)]
    np.testing.assert_allclose(stds[1], stds[0], rtol=0, atol=1e-5 * stds[0].max())


def test_every_other_pixel_is_held_out_whatever_the_tiles():
    """Also where surroundings reach back to an odd pixel, as at ratios of 5 and 8."""
    sensor = preset("prisma").select(range(0, 60, 20)).replace(ratio=5)
    observed = sensor.observe(scene((190, 45), seed=3), np.random.default_rng(0))
    found = []
    for side in (38, 32):
        parts = LargeScene(observed, sensor, halo=15, side=side)
        with torch.no_grad():
            model = learn(parts)
            scale = error_scale(parts, model.coarse, model.space, model.pair, model.channels)
        found.append([model.trust, scale.posterior, scale.floor])
    assert (found[0][0] < 1).any()
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=0)


def test_noise_shift_and_a_wrong_mtf_widen_the_intervals_enough(case):
    blurred = mtf_decimate((96, 96), 0.21, 4)(case.reference)
    wrong = case.replace(coarse=blurred + (case.coarse - mtf_decimate((96, 96), 0.3, 4)(case.reference)))
    mean, worst, rank = covered(wrong)
    assert 0.88 < mean < 0.99
    assert worst > 0.75
    assert rank > 0.5


def test_small_scenes_and_holes_have_error_bars_too(case):
    small = case.replace(coarse=case.coarse[..., :6, :6], pan=case.pan[..., :24, :24], reference=None)
    std = posterior_of("physics", small).std
    assert torch.isfinite(std).all()
    assert (std > 0).all()
    coarse = small.coarse.clone()
    coarse[:, 2], coarse[:, 5, 1, 1] = 0, torch.nan
    estimate, std = posterior_of("physics", small.replace(coarse=coarse))
    # interpolated, and nothing is known of its error
    assert torch.isfinite(estimate[:, 2]).all()
    assert torch.isnan(std[:, 2]).all()
    assert torch.isnan(std[:, 5, 4:8, 4:8]).all()
    assert torch.isfinite(std[:, 4]).all()


def test_a_dark_pan_has_error_bars_too(case):
    """All zeros: of no unit. Where pixels were held out everything was NaN."""
    dark = case.replace(coarse=case.coarse[..., :10, :8], pan=torch.zeros(1, 1, 40, 32), reference=None)
    estimate, std = posterior_of("physics", dark)
    assert torch.isfinite(estimate).all()
    assert torch.isfinite(std).all()
    assert (std > 0).all()


def test_error_bars_beside_the_fused_file(tmp_path, monkeypatch):
    calls = []

    def counted(tile, model):
        calls.append(tile.corner)
        return solved(tile, model)

    monkeypatch.setattr("pansharpen.methods.physics.solved", counted)
    sensor = preset("prisma").select(range(0, 60, 20))
    observed = sensor.observe(scene((60, 48), seed=3), np.random.default_rng(0))
    source, out = tmp_path / "pair.h5", tmp_path / "fused.h5"
    save_cube(observed, source)
    run = CliRunner().invoke(pansharpen, ["run", "physics", str(source), "-o", str(out), "--std"])
    assert run.exit_code == 0, run.output
    assert calls == [(0, 0)]  # one solution serves both
    fused, std = open_cube(out), open_cube(tmp_path / "fused_std.h5")
    assert std.shape == fused.shape
    np.testing.assert_array_equal(std.wavelength_nm, fused.wavelength_nm)
    assert std.units == fused.units
    assert (std.read() > 0).all()
    # integers for both, each with a scale of its own
    again = CliRunner().invoke(
        pansharpen, ["run", "physics", str(source), "-o", str(out), "--std", "--dtype", "int16", "--json"]
    )
    assert again.exit_code == 0, again.output
    small = open_cube(tmp_path / "fused_std.h5")
    assert small.stored().dtype == np.int16
    error = json.loads(again.output)["std_rounding_error"]
    assert error < 0.02 * std.read().mean()
    np.testing.assert_allclose(small.read(), std.read(), rtol=0, atol=1.01 * error)
    case = simulated_case(scene((60, 48), seed=3), sensor)
    for call in (lambda: fuse(observed, method="GSA", std=True), lambda: posterior_of("GSA", case)):
        with pytest.raises(InputError, match="GSA: std: the method has no error bars, expected one of: physics"):
            call()
