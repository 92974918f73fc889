"""Zero-shot nets: losses against plain formulas, adaptation, and the registry's laws with few steps."""

import functools

import numpy as np
import pytest
import torch

from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen.case import FusionCase
from pansharpen.comparison.judging import judge
from pansharpen.families.zero_shot import (
    FIRST_STEPS,
    STEP_LIMITS,
    DetailNet,
    LocalCorrelation,
    LocalMultipleCorrelation,
    Steps,
    adapt,
    scaled,
    schedule,
    spectral_loss,
    structural_loss,
    whole_windows,
)  # fmt: skip
from pansharpen.in_memory import fuse_case, prepared, select_bands
from pansharpen.methods.pca_z_pnn import blocks, components
from pansharpen.methods.rho_pnn import OFF_ABOVE, ON_BELOW, Hysteresis
from pansharpen.optics import Optics
from pansharpen.pair.case_files import convention, read_case
from pansharpen.pair.wald import simulated_case
from pansharpen.registry import METHODS

NAMES = ("R-PNN", "PCA-Z-PNN", "rho-PNN")
#: Share of the schedules.
EFFORT = 0.02


def run(name, case, **options):
    return METHODS[name].function(case, **{"effort": EFFORT, **options})


@pytest.fixture(scope="module")
def case() -> FusionCase:
    """Six bands of a PRISMA-like pair at ratio 3."""
    wide = simulated_case(scene((48, 36), seed=4), preset("prisma"), ratio=3, seed=1)
    return select_bands(wide, torch.arange(0, wide.n_bands, 40))


@pytest.fixture(scope="module")
def plain(case):
    """The case fused by a net of a name, once for all tests."""
    return functools.cache(lambda name: run(name, case))


def apart(one, other):
    """Largest difference in deviations of the image: steps of descent carry rounding on, a thousandth is far above."""
    return float((one - other).abs().max() / other.std())


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- losses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 5])
def test_local_correlation_is_that_of_each_window(size):
    image, pan = random(1, 2, 11, 9), random(1, 1, 11, 9, seed=1)
    found = LocalCorrelation(pan, size)(image)
    assert found.shape == (1, 2, 12 - size, 10 - size)
    for band, y, x in ((0, 0, 0), (1, 3, 2), (0, 11 - size, 9 - size)):
        window = (slice(y, y + size), slice(x, x + size))
        expected = np.corrcoef(image[0, band][window].ravel(), pan[0, 0][window].ravel())[0, 1]
        assert found[0, band, y, x].item() == pytest.approx(expected, abs=1e-4)


def test_multiple_correlation_is_that_of_a_parabola_fitted_to_each_window():
    image, pan = random(1, 1, 10, 10), random(1, 1, 10, 10, seed=1)
    found = LocalMultipleCorrelation(pan, 6)(image)
    y, x = image[0, 0, 2:8, 1:7].ravel().numpy(), pan[0, 0, 2:8, 1:7].ravel().numpy()
    fitted = np.polyval(np.polyfit(x, y, 2), x)
    assert found[0, 0, 2, 1].item() == pytest.approx(np.corrcoef(fitted, y)[0, 1], abs=1e-3)
    parabola = LocalMultipleCorrelation(pan, 6)(3 - pan + 0.5 * pan**2)
    assert parabola.min() > 0.999
    assert LocalCorrelation(pan, 6)(3 - pan + 0.5 * pan**2).min() < 0


@pytest.mark.parametrize("kind", [LocalCorrelation, LocalMultipleCorrelation])
def test_flat_images_are_alike_nothing_and_harmless(kind):
    pan = random(1, 1, 8, 8)
    for image, other in ((torch.full((1, 1, 8, 8), 2.0), pan), (pan.clone(), torch.zeros(1, 1, 8, 8))):
        image.requires_grad_()
        found = kind(other, 3)(image)
        found.sum().backward()
        assert found.abs().max() < 0.02
        assert torch.isfinite(image.grad).all()


def test_structure_is_asked_for_only_below_the_limit():
    likeness = torch.tensor([[[[0.2, 0.9], [0.5, -1.0]]]])
    limit = torch.full_like(likeness, 0.6)
    assert structural_loss(likeness, limit, None).item() == pytest.approx((0.8 + 0.5 + 2.0) / 4)
    valid = torch.tensor([[[[True, True], [True, False]]]])
    assert structural_loss(likeness, limit, valid).item() == pytest.approx((0.8 + 0.5) / 3)


def test_only_windows_without_holes_count():
    valid = torch.ones((1, 1, 6, 6), dtype=torch.bool)
    valid[..., 0, 0] = False
    windows = whole_windows(valid, 3)
    assert windows.shape == (1, 1, 4, 4)
    assert windows.sum() == 15


def test_spectral_loss_has_the_sensors_gradient(case):
    operator = case.tile.down(np.linspace(0.2, 0.4, case.n_bands))
    fine = case.tile.expanded.double().requires_grad_()
    coarse = case.coarse.double()
    spectral_loss(fine, coarse, operator, None).backward()
    plain = case.tile.expanded.double().requires_grad_()
    (operator(plain) - coarse).abs().mean().backward()
    torch.testing.assert_close(fine.grad, plain.grad)
    assert fine.grad.abs().max() > 0


def test_scaled_images_have_deviation_one(case):
    images = scaled(case)
    torch.testing.assert_close(images.coarse.std((2, 3), correction=0), torch.ones(1, case.n_bands))
    torch.testing.assert_close(images.coarse.mean((2, 3)), torch.zeros(1, case.n_bands), atol=1e-4, rtol=0)
    flat = scaled(case.replace(coarse=torch.full_like(case.coarse, 3.0), reference=None))
    assert (flat.spread == 0).all()
    assert (flat.coarse == 0).all()


# ---- net and adaptation --------------------------------------------------------------------------------------------


def test_net_starts_at_interpolation_and_all_its_weights_learn():
    net = DetailNet(2, seed=0)
    prepared_input = net.prepare(random(1, 2, 10, 8), random(1, 1, 10, 8, seed=1))
    assert net(prepared_input).shape == (1, 2, 10, 8)
    assert (net(prepared_input) == 0).all()
    target = random(1, 2, 10, 8, seed=2)
    before = [weight.detach().clone() for weight in net.parameters()]
    adapt(net, lambda: (net(prepared_input) - target).square().mean(), 3, Steps(3, None))
    assert all(not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))


def test_first_weights_are_the_seeds_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first, same, other = (DetailNet(1, seed).layers[0].weight for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_adaptation_stops_early_and_counts_all_steps():
    net = torch.nn.Linear(1, 1)
    told = []
    counter = Steps(500, lambda done, total: told.append((done, total)))
    stuck = adapt(net, lambda: net.weight.sum() * 0 + 1, 400, counter)
    assert len(stuck) < 150
    assert told[-1] == (400, 500)
    assert len(adapt(net, lambda: net.weight.sum() * 0, 100, counter)) == 1
    assert told[-1] == (500, 500)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_schedule_follows_the_wavelength_steps():
    order, steps = schedule(np.array([500.0, 480.0, 540.0, 900.0]), 4)
    assert order == [1, 0, 2, 3]
    assert steps == [FIRST_STEPS, 10, 20, STEP_LIMITS[1]]
    assert schedule(None, 3)[0] == [0, 1, 2]
    assert schedule(None, 3, 1e-6)[1] == [1, 1, 1]


def test_hysteresis():
    weigh = Hysteresis(0.5)
    between = (ON_BELOW + OFF_ABOVE) / 2
    levels = (1.0, between, ON_BELOW / 2, between, OFF_ABOVE * 2, between)
    assert [weigh(level) for level in levels] == [0, 0, 0.5, 0.5, 0, 0]


def test_blocks_and_components(case):
    low, high = blocks(case)
    wavelength = case.optics.wavelength_nm
    assert wavelength[low.numpy()].max() < 700 <= wavelength[high.numpy()].min()
    images = scaled(case)
    forward, back, share = components(images.coarse, images.pan_coarse, None)
    found = (forward @ images.coarse.flatten(2))[0]
    torch.testing.assert_close(found @ found.T / found.shape[1], torch.eye(4), atol=2e-3, rtol=0)
    assert ((found * images.pan_coarse.flatten()).sum(1) >= 0).all()
    torch.testing.assert_close(forward @ back, torch.eye(4)[None], atol=1e-4, rtol=0)
    assert share.sum().item() == pytest.approx(1)


def test_weights_are_carried_from_band_to_band(case, monkeypatch):
    """Of two equal bands the second, without steps of its own, gets the details of the first."""
    given = []

    def first_only(net, loss, steps, counter):
        if not given:
            adapt(net, loss, steps, counter)
        given.append(steps)
        return []

    monkeypatch.setattr("pansharpen.families.zero_shot.adapt", first_only)
    optics = Optics(ratio=3, wavelength_nm=np.array([620.0, 600.0]))
    twice = FusionCase(coarse=case.coarse[:, [1, 1]], pan=case.pan, optics=optics)
    first, second = (run("R-PNN", twice, effort=0.1) - twice.tile.expanded)[0]
    assert given == [30, 1]
    assert first.std() > 0.005 * twice.coarse.std()
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3 * float(first.std()))


# ---- methods -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "effort"), [("R-PNN", 0.07), ("PCA-Z-PNN", 0.03), ("rho-PNN", 0.07)])
def test_few_steps_already_better_than_interpolation(name, effort, shared):
    rules = convention("toolbox")
    golden = select_bands(read_case(shared / "golden" / "jasper159_r6.npz", rules), torch.arange(0, 159, 40))
    found = judge(golden, run(name, golden, effort=effort), rules, ["ERGAS"])["ERGAS"].value
    assert found < 0.95 * judge(golden, fuse_case("EXP", golden), rules, ["ERGAS"])["ERGAS"].value


@pytest.mark.parametrize("name", NAMES)
def test_the_sensor_sees_the_cube_better_than_after_interpolation(name, case):
    spread = case.coarse.std((2, 3), keepdim=True)

    def lack(fine):
        return ((case.tile.down()(fine) - case.coarse) / spread).abs().mean()

    assert lack(run(name, case, effort=0.05)) < 0.9 * lack(case.tile.expanded)


@pytest.mark.parametrize("name", NAMES)
def test_deterministic_for_a_seed_and_input_unchanged(name, case, plain):
    before = case.coarse.clone(), case.pan.clone()
    told = []
    first = run(name, case, progress=lambda done, total: told.append((done, total)))
    assert first.shape == case.reference.shape
    assert first.dtype == torch.float32
    assert not first.requires_grad
    assert apart(first, plain(name)) < 1e-3
    assert apart(first, run(name, case, seed=1)) > 1e-3
    assert torch.equal(case.coarse, before[0])
    assert torch.equal(case.pan, before[1])
    assert told[-1][0] == told[-1][1]


@pytest.mark.parametrize("name", NAMES)
def test_runs_on_inference_tensors_and_inside_inference_mode(name, case, plain):
    with torch.inference_mode():
        inside = case.replace(coarse=case.coarse * 1, pan=case.pan * 1, reference=None)
        inside.tile.down()(inside.tile.expanded)
        first = run(name, inside)
    assert apart(first, run(name, inside)) < 1e-3
    assert apart(first, plain(name)) < 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0.25, 4000.0])
def test_constant_stays_constant(name, level):
    bands = torch.linspace(0.5, 1.5, 5)[None, :, None, None] * level
    coarse, pan = bands.expand(1, 5, 8, 7).contiguous(), torch.full((1, 1, 16, 14), level)
    out = run(name, FusionCase(coarse=coarse, pan=pan, optics=Optics(ratio=2)), effort=0.1)
    assert (out / bands - 1).abs().max() < 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("ratio", "offset"), [(2, 0.0), (3, None), (5, 2.0)])
def test_any_ratio_and_few_bands(name, ratio, offset):
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 3, 6, 5), generator=rng) + 1
    pan = torch.rand((1, 1, 6 * ratio, 5 * ratio), generator=rng) + 1
    for bands in (1, 3):
        mtf = np.linspace(0.2, 0.35, bands)
        optics = Optics(ratio=ratio, offset=offset, mtf=np.stack([mtf, mtf + 0.02], 1))
        out = run(name, FusionCase(coarse=coarse[:, :bands], pan=pan, optics=optics))
        assert out.shape == (1, bands, 6 * ratio, 5 * ratio)
        assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", NAMES)
def test_holes_are_harmless(name, case, plain):
    coarse, pan = case.coarse.clone(), case.pan.clone()
    coarse[..., :4, :3] = torch.nan
    pan[..., -5:, -4:] = torch.nan
    holes = run(name, prepared(case.replace(coarse=coarse, pan=pan, reference=None)))
    assert torch.isfinite(holes).all()
    assert holes.abs().max() < 5 * case.coarse.abs().max()
    far = (holes - plain(name))[..., 24:40, 15:30].abs().mean()
    assert far < 0.15 * case.coarse.std()


def test_fuse_gives_them_one_cube_at_a_time(case, monkeypatch):
    """A batch is its cubes one after the other, through the public function."""
    monkeypatch.setattr("pansharpen.methods.pca_z_pnn.STEPS", 10)
    other = case.replace(coarse=case.coarse.flip(-1), pan=case.pan.flip(-1) * 1.1, reference=None)
    both = case.replace(
        coarse=torch.cat([case.coarse, other.coarse]), pan=torch.cat([case.pan, other.pan]), reference=None
    )
    together = fuse_case("PCA-Z-PNN", both)
    for number, one in enumerate((case, other)):
        assert apart(together[number], fuse_case("PCA-Z-PNN", one)[0]) < 1e-3
