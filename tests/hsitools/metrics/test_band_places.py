"""Bands that lie beside one another: an index without a reference compares each with PAN as the band has it."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from hsitools.metrics import Fusion, Registration, get
from hsitools.metrics.band_places import band_places
from hsitools.sensor.separable import size_of
from hsitools.sensor.spatial import mtf_decimate

RATIO, BANDS = 4, 8
#: Fine pixels (y, x) of the last band beside the first.
APART = (-1.0, 1.6)


def pair(apart, *, seed=0, own=0.3):
    """A fused cube that is the truth, whose bands follow PAN but for an own part, each where it lies; the pair."""
    rng = np.random.default_rng(seed)
    # larger than the pair: displaced images have no border of their own
    pan, *others = (gaussian_filter(rng.standard_normal((136, 152)), 0.8) for _ in range(1 + BANDS))
    along = np.linspace(-0.5, 0.5, BANDS)
    truth = [
        5 + (1 + place) * shift(pan, np.multiply(apart, -place), order=5) + own * other
        for place, other in zip(along, others, strict=True)
    ]
    truth, pan = (torch.as_tensor(np.array(image))[:, 12:-12, 12:-12] for image in (truth, [pan + 5]))
    coarse = mtf_decimate(size_of(truth), 0.3, RATIO)(truth)
    return Fusion.of(truth, coarse, pan, registration=Registration(), pan_own_mtf=0.9, border=RATIO), along


def test_places_are_found_where_bands_lie():
    fusion, along = pair(APART)
    found = band_places(fusion, 0)
    np.testing.assert_allclose(found, along[:, None] * APART, atol=0.15)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_bands_at_one_place_stay_there(seed):
    assert band_places(pair((0.0, 0.0), seed=seed)[0], 0) is None


def test_a_cube_with_bands_where_they_lie_is_the_better_one():
    """Details of PAN put at one place into all bands: wrong, though they follow PAN more closely."""
    fusion, _ = pair(APART, own=0.05)
    (truth,), (coarse,), (pan,) = fusion.fused, fusion.coarse, fusion.pan
    at_one_place = 5 + torch.linspace(0.5, 1.5, BANDS)[:, None, None] * (pan - 5)

    def expected(cube):
        told = Fusion.of(cube, coarse, pan, registration=Registration(), pan_own_mtf=0.9, border=RATIO)
        return float(get("ERGAS_est").function(told).value[0])

    assert expected(truth) < 0.5 * expected(at_one_place)
