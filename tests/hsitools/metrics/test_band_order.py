"""Bands permuted with their wavelengths: indices are the same, and those of bands follow."""

import numpy as np
import pytest

from hsitools.cube import Cube
from hsitools.io.quality import quality
from hsitools.metrics import evaluate, evaluate_alone, evaluate_fusion
from hsitools.scenes import scene

BANDS = 12
ORDER = np.random.default_rng(3).permutation(BANDS)


@pytest.fixture(scope="module")
def images() -> dict[str, Cube]:
    nm = np.linspace(450, 850, BANDS)
    fine = scene((64, 64), wavelength_nm=nm, seed=5)
    rng = np.random.default_rng(0)
    coarse = fine.read().reshape(BANDS, 16, 4, 16, 4).mean((2, 4)) + 0.003 * rng.standard_normal((BANDS, 16, 16))
    noisy = fine.read() + np.linspace(0.002, 0.01, BANDS)[:, None, None] * rng.standard_normal(fine.shape)
    return {
        "fine": Cube(data=fine.read(), wavelength_nm=nm), "noisy": Cube(data=noisy, wavelength_nm=nm),
        "coarse": Cube(data=coarse, wavelength_nm=nm), "pan": Cube(data=fine.read().mean(0, keepdims=True)),
    }  # fmt: skip


def mixed(cube: Cube) -> Cube:
    return cube.select(bands=ORDER)


def same(found: dict, right: dict) -> None:
    for name, entry in right.items():
        assert found[name].value == pytest.approx(entry.value, rel=1e-9, nan_ok=True)
        if entry.per_band is not None:
            np.testing.assert_allclose(found[name].per_band, entry.per_band[ORDER], rtol=1e-9)


def test_indices_of_one_cube(images):
    same(evaluate_alone(mixed(images["noisy"])), evaluate_alone(images["noisy"]))
    told = evaluate_alone(mixed(images["noisy"]), metrics="noise")["noise"].per_band
    np.testing.assert_allclose(told, np.linspace(0.002, 0.01, BANDS)[ORDER], rtol=0.35)
    assert quality(mixed(images["noisy"]))["snr"] == pytest.approx(quality(images["noisy"])["snr"], rel=1e-9)


def test_indices_beside_a_reference_of_which_one_cube_tells_the_order(images):
    mask = np.random.default_rng(1).random(images["fine"].shape) > 0.1
    right = evaluate(images["noisy"], images["fine"], ratio=4, mask=mask)
    same(evaluate(mixed(images["noisy"]), mixed(images["fine"]), ratio=4, mask=mask[ORDER]), right)
    same(evaluate(images["noisy"].read()[ORDER], mixed(images["fine"]), ratio=4, mask=mask[ORDER]), right)


def test_indices_of_a_fused_cube(images):
    mtf, variance = np.linspace(0.2, 0.4, BANDS), np.linspace(1e-6, 1e-5, BANDS)
    right = evaluate_fusion(
        images["noisy"], images["coarse"], images["pan"], mtf=mtf, noise_variance=variance, registered=True
    )
    same(
        evaluate_fusion(
            mixed(images["noisy"]), mixed(images["coarse"]), images["pan"], mtf=mtf[ORDER],
            noise_variance=variance[ORDER], registered=True,
        ),
        right,
    )  # fmt: skip
