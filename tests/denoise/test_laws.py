"""A cube of known noise, and the same in other units and turned round: what is said of it is true, and turns too."""

from __future__ import annotations

import numpy as np
import pytest

from denoise.case import Known
from denoise.registry import METHODS
from denoise.restore import restore, restore_cube
from hsitools.cube import Cube
from hsitools.scenes import scene

BANDS, HEIGHT, WIDTH = 20, 44, 40
#: Photons for a value of one.
ELECTRONS = 1500.0
DEAD, IMPULSE = (6, 9), (12, 30, 25)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.asarray(scene((HEIGHT, WIDTH), wavelength_nm=np.linspace(450, 850, BANDS), seed=5).read(), float)


@pytest.fixture(scope="module")
def offset() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.asarray(0.08 * rng.standard_normal((BANDS, WIDTH)) * (rng.random((BANDS, WIDTH)) < 0.5))


@pytest.fixture(scope="module")
def noisy(truth: np.ndarray, offset: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    values = truth + np.sqrt(truth / ELECTRONS) * rng.standard_normal(truth.shape) + offset[:, None]
    values[DEAD[0], :, DEAD[1]] = 0.02 + 0.001 * rng.standard_normal(HEIGHT)
    values[IMPULSE] = 3.0
    values[3, 7, 8] = np.nan
    return np.asarray(values)


def test_noise_is_said_as_it_is_in_any_units_and_order(
    noisy: np.ndarray, truth: np.ndarray, offset: np.ndarray
) -> None:
    """Bands in units of their own, and band, row and column counted from the other end."""
    units = np.geomspace(0.01, 2e4, BANDS)
    plain = restore(noisy, "lowrank")
    other = restore((units[:, None, None] * noisy)[::-1, ::-1, ::-1], "lowrank")
    noise, turned = plain.noise, other.noise
    assert noise is not None
    assert turned is not None
    # deviation at the bands' means, and growth of the variance with the signal
    np.testing.assert_allclose(noise.sigma, np.sqrt(truth.mean((1, 2)) / ELECTRONS), rtol=0.2)
    assert np.median(noise.slope) * ELECTRONS == pytest.approx(1, rel=0.35)
    good = ~noise.dead
    assert noise.dead[DEAD]
    assert noise.dead.sum() <= 2
    error = (noise.offset + (noise.gain - 1) * truth.mean(1) - offset)[good]
    assert error.std() < 0.35 * offset.std()
    assert plain.mask[IMPULSE]
    assert plain.mask[3, 7, 8]
    assert plain.mask[DEAD[0], :, DEAD[1]].all()
    assert plain.mask.mean() < 2 / (BANDS * WIDTH)
    assert np.sqrt(np.mean((plain.estimate - truth) ** 2)) < 0.9 * noise.sigma.mean()
    # the same of the other cube
    column = units[:, None]
    np.testing.assert_allclose(turned.sigma[::-1], units * noise.sigma, rtol=0.05)
    np.testing.assert_allclose(turned.slope[::-1] / units, noise.slope, atol=0.2 * noise.slope.mean())
    assert (turned.dead[::-1, ::-1] == noise.dead).mean() > 0.998
    for name in ("offset", "offset_std"):
        told = getattr(turned, name)[::-1, ::-1] / column
        assert (told - getattr(noise, name))[good].std() < 0.12 * offset.std()
    assert np.abs(turned.gain[::-1, ::-1] - noise.gain)[good].mean() < 0.02
    assert (other.mask[::-1, ::-1, ::-1] == plain.mask).mean() > 0.998
    back = other.estimate[::-1, ::-1, ::-1] / column[..., None]
    assert np.sqrt(np.mean((back - plain.estimate) ** 2)) < 0.3 * noise.sigma.mean()


@pytest.mark.parametrize("name", list(METHODS))
def test_bands_in_any_order_with_their_wavelengths(name: str, noisy: np.ndarray) -> None:
    """With a band that stays, one spike of which bands beside it tell, and what is known of detector elements."""
    rng = np.random.default_rng(4)
    order, nm = rng.permutation(BANDS), np.linspace(450, 850, BANDS)
    use = np.arange(BANDS) != 5
    known = Known(
        sigma=np.linspace(0.01, 0.03, BANDS), gain=1 + 0.01 * rng.standard_normal((BANDS, WIDTH)),
        offset=0.01 * rng.standard_normal((BANDS, WIDTH)), dead=np.zeros((BANDS, WIDTH), bool),
    )  # fmt: skip
    other = Known(**{key: getattr(known, key)[order] for key in ("sigma", "gain", "offset", "dead")})
    for told, mixed in ((None, None), (known, other))[: 2 if name == "lowrank" else 1]:
        right = restore(noisy, name, known=told, use=use, wavelength_nm=nm)
        found = restore(noisy[order], name, known=mixed, use=use[order], wavelength_nm=nm[order])
        np.testing.assert_array_equal(found.estimate, right.estimate[order])
        if right.mask is not None:
            np.testing.assert_array_equal(found.mask, right.mask[order])
        if right.noise is not None:
            np.testing.assert_array_equal(found.noise.offset, right.noise.offset[order])
            np.testing.assert_array_equal(found.noise.sigma, right.noise.sigma[order])
        numbers = [order.tolist().index(band) for band in right.provenance.get("doubtful_bands", ())]
        assert found.provenance.get("doubtful_bands", []) == sorted(numbers)


def test_strips_of_bands_in_any_order(noisy: np.ndarray) -> None:
    order = np.random.default_rng(4).permutation(BANDS)
    cube = Cube(data=noisy.astype(np.float32), wavelength_nm=np.linspace(450, 850, BANDS))
    cubes = cube, cube.select(bands=order)
    right, found = (restore_cube(seen, "column-median", strip_bytes=4 * BANDS * 1500) for seen in cubes)
    assert right.estimate.meta["strips"] > 1
    np.testing.assert_array_equal(found.estimate.read(), right.estimate.read()[order])


@pytest.mark.parametrize("exponent", [-83, 66, 90])
def test_units_of_any_size(exponent: int) -> None:
    """Radiances in photons and SI units, or in watts and large ones: squares of them are no numbers of float32."""
    rng = np.random.default_rng(3)
    y = np.linspace(1, 2, 24)[:, None] * np.linspace(1, 3, 24)
    cube = y * np.linspace(0.5, 1, 9)[:, None, None] + 0.1 * rng.standard_normal((9, 24, 24))
    values = cube.astype(np.float32)
    unit = np.float32(2.0**exponent)
    found, as_usual = restore(values * unit, "lowrank"), restore(values, "lowrank")
    assert found.provenance["path"] == "lowrank"
    np.testing.assert_allclose(found.estimate / unit, as_usual.estimate, rtol=1e-4)
