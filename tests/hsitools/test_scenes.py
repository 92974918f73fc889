"""Procedural scenes."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsitools.errors import InputError
from hsitools.scenes import NAMES, _mixed, abundances, library, scene
from hsitools.scenes.spectra import MATERIALS
from hsitools.scenes.terrain import cells, fractal, ground, hashed


@pytest.fixture(scope="module")
def cube():
    return scene((200, 240), seed=0).load()


@settings(max_examples=15)
@given(st.integers(0, 199), st.integers(0, 239), st.integers(1, 90), st.integers(1, 90))
def test_a_window_is_a_cut_of_the_whole(cube, top, left, height, width):
    bottom, right = min(top + height, 200), min(left + width, 240)
    part = scene((200, 240), seed=0).select(bands=[3, 100, 40], window=(top, bottom, left, right)).read()
    np.testing.assert_allclose(part, cube.data[[3, 100, 40], top:bottom, left:right], atol=1e-6)


def test_seed(cube):
    bands, rows, columns = [3, 100, 40], slice(0, 120), slice(0, 130)
    expected = cube.data[bands, rows, columns]
    # computed once more, not kept of the first time
    _mixed.cache_clear()
    same, other = (scene((200, 240), seed=seed).read(bands, rows, columns) for seed in (0, 1))
    np.testing.assert_allclose(same, expected, atol=1e-6)
    assert np.mean(np.isclose(other, expected, atol=1e-6)) < 0.1
    # a larger scene contains the smaller one
    np.testing.assert_allclose(scene((300, 300), seed=0).read(bands, rows, columns), expected, atol=1e-6)


def test_values_are_reflectances(cube):
    assert cube.data.dtype == np.float32
    assert cube.units == "1"
    assert 0 <= cube.data.min() < 0.02
    assert 0.4 < np.percentile(cube.data, 99.9) < 1.0


@pytest.mark.parametrize("seed", range(4))
def test_spectra_are_plausible(seed):
    cube = scene((200, 200), seed=seed).load()
    near = {name: int(np.argmin(np.abs(cube.wavelength_nm - name))) for name in (550, 660, 800, 1650, 1940)}
    red, infrared = cube.data[near[660]], cube.data[near[800]]
    ndvi = (infrared - red) / (infrared + red)
    # the third is all town
    assert np.percentile(ndvi, 99.9) > (0.45 if seed == 2 else 0.6)
    assert np.corrcoef(cube.data[50].ravel(), cube.data[51].ravel())[0, 1] > 0.99
    flat = cube.data.reshape(cube.n_bands, -1).astype(float)
    values = np.linalg.eigvalsh(np.cov(flat))[::-1]
    assert 4 <= np.searchsorted(np.cumsum(values) / values.sum(), 0.999) + 1 <= 20


def test_materials():
    wavelength = np.linspace(350, 2600, 500)
    curves = dict(zip(NAMES, library(wavelength), strict=True))
    at = lambda name, nm: curves[name][np.argmin(np.abs(wavelength - nm))]  # noqa: E731
    for name, curve in curves.items():
        assert 0 <= curve.min() <= curve.max() < 0.8, name
    assert at("crop", 780) > 5 * at("crop", 670)
    assert at("crop", 1940) < at("crop", 1650) / 2
    assert at("clear water", 1650) < 0.01
    assert at("limestone", 2340) < 0.8 * at("limestone", 2250)
    assert at("clay soil", 2207) < 0.8 * at("clay soil", 2120)


def test_edges_and_textures_at_all_scales(cube):
    """The spectrum of a natural image falls as a power of the frequency."""
    image = cube.data[30, :200, :200]
    window = np.outer(np.hanning(200), np.hanning(200))
    power = np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(200)[:, None], np.fft.fftfreq(200)[None])
    frequency = np.arange(3, 95) / 200
    rings = [power[np.abs(radius - f) < 0.5 / 200].mean() for f in frequency]
    slope = np.polyfit(np.log(frequency), np.log(rings), 1)[0]
    assert -3.5 < slope < -1.3


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 150), st.integers(1, 150))
def test_abundances_sum_to_one(seed, height, width):
    shares = abundances((height, width), seed=seed)
    assert shares.shape == (len(NAMES), height, width)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(0), 1, atol=1e-6)


def test_mixed_pixels_lie_at_edges():
    shares = abundances((128, 128), seed=0)
    assert 0.02 < np.mean(np.sort(shares, axis=0)[-3] > 0.05) < 0.6


def test_streams():
    huge = scene((20_000, 20_000), seed=0)
    assert huge.nbytes > 300e9
    tracemalloc.start()
    part = huge.select(window=(12_345, 12_445, 19_900, 20_000)).read()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part.shape == (211, 100, 100)
    assert most < 100e6
    with pytest.raises(InputError, match="memory"):
        huge.read()


def test_own_wavelengths():
    cube = scene((10, 12), wavelength_nm=[2000.0, 500.0, 900.0])
    np.testing.assert_array_equal(cube.wavelength_nm, [2000, 500, 900])
    whole = scene((10, 12), wavelength_nm=[500.0, 900.0, 2000.0])
    np.testing.assert_allclose(cube.read()[[1, 2, 0]], whole.read(), rtol=1e-6)


def test_light_can_be_even():
    lit, even = scene((100, 100), seed=2).read(), scene((100, 100), seed=2, illumination=False).read()
    assert 0.3 < (lit / even).min() < 0.9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scene((0, 5)), r"shape: found \(0, 5\)"),
        (lambda: scene((5, 5), wavelength_nm=[200.0, 500.0]), "wavelength_nm: found 200 to 500"),
        (lambda: scene((5, 5), wavelength_nm=[500.0, np.nan]), "wavelength_nm"),
        (lambda: abundances((-1, 5)), "shape: found"),
    ],
)
def test_errors_say_what(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_curves_go_through_their_points_and_lose_light_to_each_feature():
    """Without absorption the continuum; with it a factor for each Gaussian, half of its depth at 1.177 widths."""
    for number, material in enumerate(MATERIALS):
        nodes, values = np.array(material.continuum).T
        continuum = library(nodes, 0)[number]
        np.testing.assert_allclose(continuum, values, rtol=1e-12)
        features = [item for item in material.features if item[0] + 1.2 * item[1] < 2600]
        for shift, share in ((0, 1.0), (1.17741, 0.5)) if features else ():
            places = np.array([centre + shift * width for centre, width, _ in features])
            found = library(places, 0.3)[number] / library(places, 0)[number]
            for place, own, ratio in zip(places, features, found, strict=True):
                lost = 1 - 0.3 * own[2] * share
                for centre, width, depth in material.features:
                    if (centre, width, depth) != own:
                        lost *= 1 - 0.3 * depth * np.exp(-((place - centre) ** 2) / (2 * width**2))
                assert ratio == pytest.approx(lost, rel=1e-5)
    # none takes more than is there
    assert library(np.linspace(350, 2600, 200), 100).min() > 0


def test_a_pixel_is_the_mean_of_what_lies_on_its_points():
    wavelength = np.array([450.0, 1200, 2210])
    plain, deep = library(wavelength), library(wavelength, 1.5)
    top, left = 37, 60
    place = np.array([0.25, 0.75])
    found = scene((64, 64), wavelength_nm=wavelength, seed=5, illumination=True).read()
    told = abundances((64, 64), seed=5)
    for y, x in ((top, left), (top + 1, left), (top + 26, left - 56)):
        there = ground(y + place, x + place, 5, True)
        mean = np.zeros(3)
        for i, j in itertools.product(range(2), repeat=2):
            one, two, share = there.material[i, j], there.second[i, j], there.share[i, j]
            for code, part in ((one, 1 - share), (two, share)):
                tilted = 1 + there.slope[i, j] * (wavelength / 1000 - 1.2)
                curve = plain[code] * tilted + there.depth[i, j] * (deep - plain)[code]
                mean += part * there.brightness[i, j] * there.light[i, j] * curve / 4
        np.testing.assert_allclose(found[:, y, x], mean, rtol=1e-5)
        shares = told[:, y, x]
        even = ground(y + place, x + place, 5, False)
        for code, _ in enumerate(MATERIALS):
            own = np.where(even.material == code, 1 - even.share, 0) + np.where(even.second == code, even.share, 0)
            assert shares[code] == pytest.approx(own.mean(), abs=1e-6)


def test_cells_are_those_of_the_nearest_of_all_sites():
    """Sites are where a point is its own site's; borders lie half-way, in the difference of both distances."""
    y, x = np.arange(40) + 0.3, np.arange(50) + 0.6
    found = cells(y, x, 7.0, 3, 11)
    sites = {}
    fine = np.arange(-20, 80, 0.5)
    wide = cells(fine, fine, 7.0, 3, 11)
    for i, j in itertools.product(range(0, len(fine), 4), repeat=2):
        at = (fine[i] - wide.dy[i, j], fine[j] - wide.dx[i, j])
        known = sites.setdefault((wide.row[i, j], wide.column[i, j]), at)
        assert known == pytest.approx(at, abs=1e-9)
    places = np.array(list(sites.values()))
    distance = np.hypot(y[:, None, None] - places[:, 0], x[None, :, None] - places[:, 1])
    ordered = np.sort(distance, axis=-1)
    np.testing.assert_allclose(np.hypot(found.dy, found.dx), ordered[..., 0], atol=1e-9)
    # a second site in reach of the search: all of them
    np.testing.assert_allclose(found.border, (ordered[..., 1] - ordered[..., 0]) / 2, atol=1e-9)


def test_chance_is_even_and_of_no_place():
    values = hashed(4, 9, np.arange(-100, 100)[:, None], np.arange(300)[None])
    assert np.histogram(values, 10, (0, 1))[0] / values.size == pytest.approx(np.full(10, 0.1), abs=0.005)
    others = [hashed(*salt, np.arange(-100, 100)[:, None], np.arange(300)[None]) for salt in ((5, 9), (4, 10))]
    for other in (*others, np.roll(values, 1, 0), np.roll(values, 1, 1)):
        assert abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 0.02
    place = np.arange(0, 3000, 11.0)
    field = fractal(place, place, 16, 3, 1, 2)
    assert (field.mean(), field.std()) == pytest.approx((0, 1), abs=0.15)
    # smooth: within a tenth of the finest step hardly anything changes
    near = fractal(place[:50], place[:50] + 0.1, 16, 3, 1, 2)
    assert np.abs(near - field[:50, :50]).max() < 0.4
