"""Compact objects: inside are pixels by their values' odds and their neighbours'; and what these become."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter

from denoise.separation.objects import FAR, told_apart

SIDE, BANDS = 60, 12
BOX = slice(14, 22), slice(10, 18)
BASIS = np.linalg.qr(np.random.default_rng(0).standard_normal((BANDS, 3)))[0]


def box(place=BOX):
    inside = np.zeros((SIDE, SIDE), bool)
    inside[place] = True
    return inside


def told(inside, values=None, amplitude=10.0, background=0.2, spectrum=(0.0, 0.6, 0.8), variance=1.0):
    """Objects of a scene whose smoothed edges are soft, and whose pixels show ``values`` of an object's height.

    What varies beside the object is in another direction of the basis than its spectrum.
    """
    values = inside if values is None else values
    rng = np.random.default_rng(1)
    field = background * gaussian_filter(rng.standard_normal((SIDE, SIDE)), 2)
    soft = gaussian_filter(inside.astype(float), 0.8)
    one = np.array(spectrum)[:, None, None] * amplitude
    scene, seen = (np.stack([field, 0 * field, 0 * field]) + one * image for image in (soft, values))
    scene, seen = (np.tensordot(BASIS, images, 1) for images in (scene, seen))
    return soft, told_apart(scene, seen, BASIS, np.full(scene.shape, variance))


@pytest.mark.parametrize(
    ("place", "value", "is_inside"),
    [
        # beside the middle of a straight edge: likely by itself, or against its neighbours
        ((17, 18), 0.58, True), ((17, 18), 0.51, False), ((17, 18), 0.0, False),
        # within it
        ((17, 17), 0.42, False), ((17, 17), 0.47, True), ((13, 13), 0.75, True), ((21, 13), 0.47, True),
        # away from it, where no neighbour is inside
        ((17, 19), 0.52, False), ((12, 13), 0.9, True),
    ],
)  # fmt: skip
def test_a_pixel_is_inside_by_its_own_odds_and_those_of_its_neighbours(place, value, is_inside):
    """Odds of unit noise between no and ten deviations: 100 times what lies beyond the middle, against a few."""
    values = box().astype(float)
    values[place] = value
    _, (thing,) = told(box(), values)
    assert bool(thing.inside[place]) is is_inside
    other = thing.inside != box()
    other[place] = False
    assert not other.any()


def test_neighbours_decide_the_more_the_noisier_pixels_are():
    """Of four deviations a value a tenth beyond the middle says 1.6: less than a straight edge's neighbours, 2.4."""
    values = box().astype(float)
    values[17, 18] = 0.6
    for amplitude, is_inside in ((4.5, False), (20.0, True)):
        _, (thing,) = told(box(), values, amplitude)
        assert bool(thing.inside[17, 18]) is is_inside


def test_what_is_added_makes_edges_sharp():
    """Inside all pixels are the object's mean, outside no more than what is seen there; beyond its reach nothing."""
    soft, (thing,) = told(box())
    added = thing.spectrum[:, None, None] * thing.change
    expected = BASIS @ np.array([0, 6.0, 8.0])
    after = np.tensordot(expected, soft, 0) + added
    np.testing.assert_allclose(after[:, box()], np.broadcast_to(expected[:, None], (BANDS, 64)), atol=0.2)
    outside = thing.near & ~thing.inside
    assert np.abs(after[:, outside]).max() < 0.2
    np.testing.assert_array_equal(thing.inside, box())
    assert not thing.change[~thing.near].any()
    # by two pixels larger than the core
    assert outside[box((slice(16, 20), slice(8, 10)))].all()
    assert not thing.near[box((slice(14, 22), slice(0, 6)))].any()


def test_texture_inside_is_kept_as_far_as_it_is_no_noise():
    """Of variance v beside noise of one: all but 1.2 / v of it; without texture pixels become their mean."""
    rng = np.random.default_rng(2)
    for texture in (0.0, 6.0):
        noise = rng.standard_normal((SIDE, SIDE))
        values = box() * (1 + (texture * rng.standard_normal((SIDE, SIDE)) + noise) / 30)
        soft, (thing,) = told(box(), values, 30.0)
        after = (soft + thing.change * np.linalg.norm(thing.spectrum) / 30)[thing.inside]
        seen = values[thing.inside]
        variance = seen.var() * 30**2
        share = max(0.0, 1 - 1.2 / variance)
        np.testing.assert_allclose(after - after.mean(), share * (seen - seen.mean()), atol=0.05)
        assert after.mean() == pytest.approx(seen.mean(), abs=0.05)


def test_only_what_noise_lets_see_and_the_scene_is_not_full_of():
    """Three and a half deviations in each pixel, and eight and a half of what lies elsewhere."""
    assert not told(box(), amplitude=3.0)[1]
    assert len(told(box(), amplitude=4.5)[1]) == 1
    # of twice the noise, as bright ones have it
    assert not told(box(), amplitude=6.0, variance=4.0)[1]
    assert len(told(box(), amplitude=9.0, variance=4.0)[1]) == 1
    rng = np.random.default_rng(3)
    for spread, number in ((0.05, 1), (0.4, 0)):
        texture = spread * rng.standard_normal((SIDE, SIDE))
        soft, sharp = (gaussian_filter(box().astype(float), blur) + texture for blur in (0.8, 0))
        scene, seen = (
            np.tensordot(BASIS, 8.0 * np.stack([0 * image, 0.6 * image, 0.8 * image]), 1) for image in (soft, sharp)
        )
        assert len(told_apart(scene, seen, BASIS, np.ones_like(scene))) == number


def test_what_was_seen_decides():
    """A filter that tells the object by a faint direction, whose noise would be a fifth of a strong spectrum.

    In the other direction the scene is as soft as it was smoothed, and was seen to be so.
    """
    inside = box().astype(float)
    soft, rng = gaussian_filter(inside, 0.8), np.random.default_rng(4)
    wide = 100 * gaussian_filter(rng.standard_normal((SIDE, SIDE)), 3) / 0.1
    scene = np.stack([wide + 300 * soft, 8 * soft, 0 * soft])
    noise = rng.standard_normal(scene.shape)
    assert not told_apart(*(np.tensordot(BASIS, image, 1) for image in (scene, scene + noise)), BASIS,
                          np.ones((BANDS, SIDE, SIDE)))  # fmt: skip


@pytest.mark.parametrize(("size", "number"), [((1, 3), 0), ((2, 2), 1), ((5, 6), 1), ((9, 9), 0)])
def test_objects_have_four_pixels_and_a_fiftieth_of_the_image(size, number):
    """Pixels that are far from the scene's distribution; their edges are sharp, so that the core is the object."""
    inside = box((slice(14, 14 + size[0]), slice(10, 10 + size[1])))
    # beyond what so many pixels add to the distribution themselves
    images = np.stack([0 * inside, 60.0 * inside, 0 * inside])
    scene = np.tensordot(BASIS, images, 1)
    centred = inside - inside.mean()
    assert (3600 * centred[inside] ** 2 / (3600 * inside.var() + 0.1) > 3 + FAR).all() or number == 0
    found = told_apart(scene, scene, BASIS, np.ones_like(scene))
    assert len(found) == number
    assert all((thing.inside == inside).all() for thing in found)


def test_objects_apart_are_told_each_and_those_in_reach_of_another_once():
    """Of two other spectra, so that neither's filter sees the other."""
    for left, number in ((30, 2), (16, 1)):
        one, two = box((slice(14, 19), slice(10, 14))), box((slice(14, 19), slice(left, left + 4)))
        soft = gaussian_filter(np.stack([0 * one, 20.0 * one, 20.0 * two]), (0, 0.8, 0.8))
        scene, seen = (np.tensordot(BASIS, images, 1) for images in (soft, np.stack([0 * one, 20 * one, 20 * two])))
        things = told_apart(scene, seen, BASIS, np.ones_like(scene))
        assert len(things) == number
        for thing, inside in zip(things, (one, two), strict=False):
            np.testing.assert_array_equal(thing.inside, inside)


def test_what_varies_beside_an_object_as_much_is_half_its_spectrum():
    """Each direction's part is shrunk as its power is to that and the variance of the surroundings."""
    soft, (plain,) = told(box(), background=0.0, spectrum=(0.5, 0.6, 0.8))
    parts = BASIS.T @ plain.spectrum
    np.testing.assert_allclose(parts / parts[1], [5 / 6, 1, 8 / 6], rtol=0.05)
    beside = binary_dilation(plain.near, iterations=4) & ~plain.near
    field = gaussian_filter(np.random.default_rng(1).standard_normal((SIDE, SIDE)), 2)
    _, (busy,) = told(box(), background=parts[0] / field[beside].std(), spectrum=(0.5, 0.6, 0.8))
    # how large the surroundings' mean and the field inside are is chance
    field = field * parts[0] / field[beside].std()
    own = parts[0] + field[soft > 0.6].mean() - field[beside].mean()
    assert (BASIS.T @ busy.spectrum)[0] == pytest.approx(own**3 / (own**2 + parts[0] ** 2), rel=0.2)
    np.testing.assert_allclose((BASIS.T @ busy.spectrum)[1:], parts[1:], rtol=0.05)


def test_no_direction_no_object():
    nothing = np.zeros((BANDS, SIDE, SIDE))
    assert told_apart(nothing, nothing, np.zeros((BANDS, 0)), 1 + nothing) == []
    assert told_apart(nothing, nothing, BASIS, 1 + nothing) == []
