"""The classical methods: published figures, guards, agreement with plain versions, and the parts they share."""

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pansharpen_speed import PLAIN
from hsitools.estimation.nonnegative import nonnegative
from hsitools.estimation.rounding import above_rounding
from hsitools.sensor.separable import size_of
from pansharpen.case import FusionCase
from pansharpen.comparison.judging import judge
from pansharpen.families.modulation import modulated
from pansharpen.families.statistics import moments
from pansharpen.in_memory import fuse_case
from pansharpen.methods.awlp import spline_blur
from pansharpen.methods.bdsd_pc import REACH, _gains, coarse_blur
from pansharpen.methods.bt_h import BINS, SPAN, bin_edges, dark_level, histogram
from pansharpen.methods.mf import _dilate, morphological_low
from pansharpen.optics import Optics
from pansharpen.pair.case_files import convention, read_case
from pansharpen.registry import METHODS

NAMES = ("Brovey", "BT-H", "BDSD-PC", "PRACS", "AWLP", "MTF-GLP-HPM", "MTF-GLP-HPM-R", "MF")
SIZES = st.integers(2, 7)
SEEDS = st.integers(0, 10**6)
#: Published rows (arXiv 2407.01355's toolbox on these cases): ERGAS, SAM in degrees, Q2n.
PUBLISHED = {
    ("BDSD-PC", 6): (4.3050, 12.7957, 0.84179),
    ("PRACS", 6): (5.2124, 10.3207, 0.75589),
    ("MTF-GLP-HPM-R", 6): (4.4712, 9.6825, 0.84256),
    ("MTF-GLP-HPM-R", 4): (5.3975, 7.2907, 0.89228),
}
UNGUARDED = {
    ("BT-H", 6): (9.5055, 13.1874, 0.62786),
    ("AWLP", 6): (8.5813, 13.1662, 0.65585),
    ("MTF-GLP-HPM", 6): (11.4851, 14.8192, 0.56541),
    ("MF", 6): (9.0898, 11.0317, 0.69610),
    ("AWLP", 4): (10.9376, 10.0884, 0.70408),
    ("BT-H", 4): (10.8063, 8.9399, 0.70916),
    ("MF", 4): (10.4312, 8.0719, 0.74789),
}


@cache
def golden(folder, ratio):
    return read_case(folder / "golden" / f"jasper159_r{ratio}.npz", convention("toolbox"))


@cache
def scores(folder, name, ratio):
    case = golden(folder, ratio)
    found = judge(case, fuse_case(name, case), convention("toolbox"), metrics=("ERGAS", "SAM", "Q2n"))
    return tuple(found[index].value for index in ("ERGAS", "SAM", "Q2n"))


def made_case(bands=6, size=9, ratio=3, seed=0, **optics):
    """Bands that scale with a few smooth patterns, and the PAN that some of them make up."""
    rng = torch.Generator().manual_seed(seed)
    patterns = torch.rand(3, ratio * size, ratio * size, generator=rng)
    fine = torch.einsum("bk,kyx->byx", torch.rand(bands, 3, generator=rng) + 0.1, patterns) + 0.2
    optics = Optics(ratio=ratio, offset=float(ratio // 2), **optics)
    pan = fine[: max(bands // 2, 1)].mean(0, keepdim=True)
    case = FusionCase(coarse=torch.zeros(bands, size, size), pan=pan, optics=optics)
    return case.replace(coarse=case.tile.down()(fine[None]), reference=fine[None])


# ---- published figures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ratio"), PUBLISHED)
def test_as_good_as_published(shared, name, ratio):
    ergas, sam, q2n = scores(shared, name, ratio)
    published = PUBLISHED[name, ratio]
    assert ergas < 1.01 * published[0]
    assert sam < 1.01 * published[1]
    assert q2n > 0.99 * published[2]


@pytest.mark.parametrize(("name", "ratio"), UNGUARDED)
def test_guarded_ratio_beats_published_and_interpolation(shared, name, ratio):
    ergas, sam, q2n = scores(shared, name, ratio)
    published, plain = UNGUARDED[name, ratio], scores(shared, "EXP", ratio)
    assert ergas < min(0.6 * published[0], 0.8 * plain[0])
    assert sam < min(0.95 * published[1], plain[1])
    assert q2n > max(1.15 * published[2], plain[2])


@pytest.mark.parametrize("ratio", [4, 6])
@pytest.mark.parametrize("name", ["BDSD-PC", "PRACS", "MTF-GLP-HPM", "MTF-GLP-HPM-R"])
def test_close_to_component_substitution(shared, name, ratio):
    ergas, _, q2n = scores(shared, name, ratio)
    best = scores(shared, "GSA", ratio)
    assert ergas < 1.03 * best[0]
    assert q2n > 0.98 * best[2]


# ---- guards ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_dark_bands_stay_dark(name):
    """Water: half of the scene is zero beyond some band, with noise of both signs around it."""
    case = made_case(bands=8, size=16)
    coarse = case.coarse.clone()
    coarse[:, 5:, :8] = 1e-4 * torch.randn(coarse[:, 5:, :8].shape, generator=torch.Generator().manual_seed(1))
    dark = case.replace(coarse=coarse)
    fused, expanded = fuse_case(name, dark), dark.tile.expanded
    assert float((fused - expanded).abs().max()) < 3 * float((case.pan - case.tile.pan_low).abs().max())
    # a band that is zero where PAN is not gets no more than the details of PAN there
    water = fused[:, 5:, :18]
    assert float(water.abs().mean()) < 0.5 * float(fused[:, 5:, 27:].abs().mean())


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20)
@given(seed=SEEDS, bands=st.integers(1, 6), ratio=st.integers(1, 5), shift=st.floats(-2, 1))
def test_any_values_give_finite_results(name, seed, bands, ratio, shift):
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, bands, 7, 6, generator=rng) + shift
    pan = torch.rand(2, 1, 7 * ratio, 6 * ratio, generator=rng) + shift
    case = FusionCase(coarse=coarse, pan=pan, optics=Optics(ratio=ratio))
    assert torch.isfinite(fuse_case(name, case)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_flat_images_inject_nothing(name, scale):
    rng = torch.Generator().manual_seed(0)
    flat = FusionCase(
        coarse=scale * torch.linspace(0.1, 0.9, 5)[:, None, None].expand(5, 8, 8).clone(),
        pan=scale * torch.full((1, 32, 32), 0.37), optics=Optics(ratio=4),
    )  # fmt: skip
    torch.testing.assert_close(fuse_case(name, flat), flat.tile.expanded, rtol=2e-6, atol=0)
    if name not in ("Brovey", "BDSD-PC"):  # these compare PAN with the bands themselves
        varied = flat.replace(coarse=scale * torch.rand(1, 5, 8, 8, generator=rng))
        torch.testing.assert_close(fuse_case(name, varied), varied.tile.expanded, rtol=0, atol=1e-5 * scale)


# ---- agreement with plain versions -------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [2, 3])
@pytest.mark.parametrize("name", PLAIN)
def test_agrees_with_plain_version(name, ratio):
    case = made_case(bands=5, size=8, ratio=ratio, seed=ratio)
    noise = 0.02 * torch.randn(case.coarse.shape, generator=torch.Generator().manual_seed(2))
    case = case.replace(coarse=case.coarse + noise)
    expected = torch.as_tensor(PLAIN[name][0](case))
    torch.testing.assert_close(fuse_case(name, case)[0].double(), expected, rtol=0, atol=1e-5)


# ---- Brovey ------------------------------------------------------------------------------------------------------


def test_brovey_keeps_the_shape_of_spectra():
    case = made_case()
    fused, expanded = fuse_case("Brovey", case), case.tile.expanded
    ratio = fused / expanded
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-5, atol=0)


def test_brovey_with_the_known_response_is_pan_over_the_weighted_sum():
    response = np.array([2.0, 2.0, 2.0, 0.0, 0.0, 0.0])
    case = made_case(pan_response=response)
    # PAN in other units than the bands: its level is matched
    other = case.replace(pan=7 * case.pan)
    torch.testing.assert_close(fuse_case("Brovey", other), fuse_case("Brovey", case), rtol=1e-5, atol=1e-6)
    plain = case.tile.expanded * case.pan / case.tile.expanded[:, :3].mean(1, keepdim=True)
    torch.testing.assert_close(fuse_case("Brovey", case), plain, rtol=0.02, atol=0)


def test_brovey_fits_weights_where_the_response_is_unknown_or_empty():
    case = made_case()
    empty = case.replace(optics=dataclasses.replace(case.optics, pan_response=np.zeros(6)))
    torch.testing.assert_close(fuse_case("Brovey", case), fuse_case("Brovey", empty), rtol=1e-5, atol=1e-6)


# ---- the guarded ratio -------------------------------------------------------------------------------------------


def _levels(matched):
    """Two bands, one that scales with a level and one that adds an error of one size; the gains that they get."""
    rng = torch.Generator().manual_seed(0)
    level = torch.rand(1, 1, 60, 60, generator=rng) + 0.05
    noise = torch.randn(1, 1, 60, 60, generator=rng)
    scaling, adding = level * (2 + 0.3 * noise), 2 * level + 0.3 * noise + (1.0 if matched else 0.0)
    detail = 0.01 * torch.randn(1, 1, 60, 60, generator=rng)
    bands = torch.cat([scaling, adding], 1)
    case = FusionCase(coarse=bands, pan=level, optics=Optics(ratio=1), expanded=bands)
    fused = modulated(case, lambda tile: (tile.pan, detail), matched=matched)
    return bands, level, (fused - bands) / detail


def test_bands_that_scale_with_the_level_get_the_quotient():
    bands, level, gain = _levels(False)
    torch.testing.assert_close(gain[:, 0], (bands / level)[:, 0], rtol=0.05, atol=0.02)


@pytest.mark.parametrize("matched", [False, True])
def test_bands_with_an_error_of_one_size_get_the_regression_gain(matched):
    _, _, gain = _levels(matched)
    assert abs(float(gain[:, 1].mean()) - 2) < 0.1
    assert float(gain[:, 1].std()) < 0.35 * float(gain[:, 0].std())


def test_haze_is_taken_off_bands_and_level_before_their_ratio():
    """What is added to both changes the sum, and neither gains nor details."""
    bands, level, gain = _levels(False)
    haze = torch.tensor([[5.0, -1.0]]), torch.tensor([[3.0]])
    hazy = bands + haze[0][..., None, None]
    case = FusionCase(coarse=hazy, pan=level + 3, optics=Optics(ratio=1), expanded=hazy)
    fused = modulated(case, lambda tile: (tile.pan, torch.full_like(tile.pan, 0.01)), haze=haze)
    torch.testing.assert_close((fused - hazy) / 0.01, gain, rtol=0.02, atol=0.05)


def test_levels_of_bands_are_their_own(monkeypatch):
    """SFIM-HS compares a band with the mean of what PAN makes of it; BT-H takes each image's own haze off."""
    case = made_case(bands=4)
    case = case.replace(coarse=case.coarse + torch.tensor([3.0, -1, 0, 7])[:, None, None])
    monkeypatch.setattr("pansharpen.methods.sfim_hs.modulated", lambda _, view: view)
    level, detail = METHODS["SFIM-HS"].function(case)(case.tile)
    mean = case.coarse.mean((2, 3))
    torch.testing.assert_close(level.mean((2, 3)), mean, rtol=0, atol=0.05)
    torch.testing.assert_close((level + detail).mean((2, 3)), mean, rtol=0, atol=0.05)
    monkeypatch.setattr("pansharpen.methods.bt_h.modulated", lambda _, view, haze: (view, haze))
    view, haze = METHODS["BT-H"].function(case)
    torch.testing.assert_close(sum(view(case.tile)), case.pan)
    for found, image in zip(haze, (case.coarse, case.tile.pan_coarse), strict=True):
        torch.testing.assert_close(found, image.amin((2, 3)).double(), rtol=0, atol=0.02)


def test_variances_below_rounding_are_none():
    mean = torch.tensor([[100.0, 100.0]], dtype=torch.float64)
    variance = torch.tensor([[1e-12, 1e-6]], dtype=torch.float64)
    assert above_rounding(variance, mean).tolist() == [[0.0, 1e-6]]


# ---- bounded least squares ---------------------------------------------------------------------------------------


@given(seed=SEEDS, p=SIZES, q=SIZES, repeat=st.booleans())
def test_nonnegative_least_squares_meet_their_conditions(seed, p, q, repeat):
    rng = torch.Generator().manual_seed(seed)
    design = torch.randn(2, 20, p, generator=rng, dtype=torch.float64) * 10.0 ** torch.arange(p)
    if repeat:
        design[..., -1] = design[..., 0]
    target = torch.randn(2, 20, q, generator=rng, dtype=torch.float64)
    gram, right = design.mT @ design, design.mT @ target
    found = nonnegative(gram, right)
    size = gram.diagonal(dim1=-2, dim2=-1).sqrt()[..., None]
    slope = (gram @ found - right) / size
    assert (found >= 0).all()
    assert (slope > -1e-6).all()
    assert (slope * found * size).abs().max() < 1e-6


def test_bands_without_signal_get_no_weight():
    gram = torch.zeros(1, 3, 3, dtype=torch.float64)
    assert torch.equal(nonnegative(gram, gram), gram)


def test_details_have_the_signs_of_physics():
    """A brighter band never raises what the others are given."""
    case = made_case(bands=5)
    fused, brighter = fuse_case("BDSD-PC", case), case.tile.expanded.clone()
    brighter[:, 2] += 0.1
    change = fuse_case("BDSD-PC", case.replace(expanded=brighter)) - fused
    assert (change[:, [0, 1, 3, 4]] <= 1e-6).all()
    assert (change[:, [0, 1, 3, 4]] < -1e-3).any()


# ---- low-pass images ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_spline_is_the_cascade_of_wavelet_levels(levels):
    image = torch.zeros(1, 1, 81, 81, dtype=torch.float64)
    image[..., 40, 40] = 1
    expected = image
    taps = torch.tensor([1.0, 4, 6, 4, 1], dtype=torch.float64) / 16
    for level in range(levels):
        step = 2**level
        rows = sum(tap * expected.roll((number - 2) * step, -1) for number, tap in enumerate(taps))
        expected = sum(tap * rows.roll((number - 2) * step, -2) for number, tap in enumerate(taps))
    torch.testing.assert_close(spline_blur((81, 81), 2**levels)(image), expected)


@pytest.mark.parametrize("ratio", [1, 2, 3, 4, 5, 6, 7, 12])
def test_low_pass_images_keep_levels_and_smooth(ratio):
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 4 * ratio, 5 * ratio, generator=rng)
    flat = torch.full_like(image, 0.3)
    for low in (lambda x: morphological_low(x, ratio), spline_blur(size_of(image), ratio)):
        torch.testing.assert_close(low(flat), flat)
        assert low(image).shape == image.shape
        if ratio > 1:
            assert low(image).var() < 0.6 * image.var()


def test_dilation_reaches_along_both_axes():
    point = torch.zeros(1, 1, 7, 7)
    point[..., 3, 3] = 1
    cross = torch.zeros(7, 7)
    cross[1:6, 3] = cross[3, 1:6] = 1
    assert torch.equal(_dilate(point, 2)[0, 0], cross)


def test_morphological_pyramid_does_not_shift():
    image = torch.arange(24.0).expand(1, 1, 24, 24)
    low = morphological_low(image, 6)
    torch.testing.assert_close(low[..., 9:15], image[..., 9:15], rtol=0, atol=0.35)


@pytest.mark.parametrize("gains", [((0.3,), (0.3,)), ((0.2, 0.3, 0.4), (0.25, 0.3, 0.3))])
def test_coarse_blur_sees_no_further_than_a_tile(gains):
    blur = coarse_blur((60, 60), gains, 8)
    image = torch.zeros(1, 3, 60, 60)
    image[..., 30, 30] = 1
    seen = (blur(image)[0] > 0).any(0).nonzero()
    assert int(seen.min()) == 30 - REACH
    assert int(seen.max()) == 30 + REACH
    torch.testing.assert_close(blur(torch.ones(1, 3, 60, 60)), torch.ones(1, 3, 60, 60))


def test_a_wave_at_the_next_nyquist_frequency_has_its_bands_gain():
    blur = coarse_blur((48, 48), _gains(np.array([[0.3, 0.2], [0.4, 0.25]])), 3)
    place = torch.arange(48.0) - 24
    for axis, gains in (((-1, 1), (0.3, 0.4)), ((1, -1), (0.2, 0.25))):
        wave = torch.cos(torch.pi * place / 3).reshape(axis).expand(1, 2, 48, 48)
        torch.testing.assert_close(blur(wave)[0, :, 24, 24], torch.tensor(gains), rtol=0, atol=5e-3)


def test_mtf_of_each_band_and_direction_is_used():
    alike = made_case(bands=4, mtf=np.full((4, 2), 0.3))
    plain = fuse_case("BDSD-PC", made_case(bands=4, mtf=0.3))
    torch.testing.assert_close(fuse_case("BDSD-PC", alike), plain, rtol=1e-4, atol=1e-5)
    mtf = np.stack([np.linspace(0.2, 0.4, 4), np.full(4, 0.3)], 1)
    other = alike.replace(optics=dataclasses.replace(alike.optics, mtf=mtf))
    assert (fuse_case("BDSD-PC", other) - plain).abs().max() > 1e-3 * plain.std()


@pytest.mark.parametrize("masked", [False, True])
def test_moments_of_many_channels_are_all_their_products_or_those_of_near_ones(masked):
    """Each pair is multiplied once, in blocks; noise asks for bands beside one another only."""
    rng = np.random.default_rng(7)
    image, weight = rng.standard_normal((2, 150, 5, 9)), rng.random((2, 1, 5, 9))
    counted = torch.as_tensor(weight) if masked else None
    expected = np.einsum("bpyx,bqyx->bpq", image * weight if masked else image, image)
    np.testing.assert_allclose(moments(torch.as_tensor(image), valid=counted).xy, expected, rtol=1e-12, atol=1e-12)
    near = np.abs(np.subtract.outer(np.arange(150), np.arange(150))) <= 4
    found = moments(torch.as_tensor(image), valid=counted, apart=4)
    np.testing.assert_allclose(found.xy.numpy()[:, near], expected[:, near], rtol=1e-12, atol=1e-12)


# ---- haze --------------------------------------------------------------------------------------------------------


@given(seed=SEEDS, masked=st.booleans())
def test_haze_is_the_first_percentile(seed, masked):
    rng = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, 40, 50, generator=rng) * torch.tensor([1.0, 10, 1e4])[:, None, None]
    valid = torch.rand(2, 1, 40, 50, generator=rng) < 0.7 if masked else None
    found = moments(image, valid=valid)
    low, width = bin_edges(found)
    level = dark_level(histogram(image, low, width, valid), low, width)
    kept = torch.ones(2, 1, 40, 50, dtype=torch.bool) if valid is None else valid

    def part_below(limit):
        return ((image.double() < limit[..., None, None]) & kept).sum((-2, -1)) / kept.sum((-2, -1))

    # the bin in which it lies
    assert (part_below(level) <= 0.01).all()
    assert (part_below(level + width) >= 0.01).all()
    deviation = found.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    torch.testing.assert_close(width * BINS, 2 * SPAN * deviation)


def test_haze_adds_up_over_parts():
    image = torch.rand(1, 2, 20, 20, generator=torch.Generator().manual_seed(0))
    low, width = bin_edges(moments(image))
    parts = histogram(image[..., :7], low, width) + histogram(image[..., 7:], low, width)
    assert torch.equal(parts, histogram(image, low, width))


def test_haze_of_a_flat_band_is_its_level():
    image = torch.full((1, 1, 5, 5), 3.0)
    low, width = bin_edges(moments(image))
    torch.testing.assert_close(dark_level(histogram(image, low, width), low, width), torch.tensor([[3.0]]).double())
