"""The spatial prior: what smoothing must keep and take; whose noise a band's is."""

from __future__ import annotations

import numpy as np
import pytest

from denoise.separation.smooth import MIN_SIZE, SMALL, _inverse, joint_means, smooth


def scene(size: int = 48) -> np.ndarray:
    """Four images of the same fields and roads, many times the noise at edges."""
    y, x = np.mgrid[:size, :size]
    fields = ((y // 12 + x // 16) % 3).astype(np.float32)
    road = (np.abs(y - x) < 3).astype(np.float32)
    return np.stack([4 * fields, 3 * road, fields - 2 * road, 0.5 * fields]).astype(np.float32)


def test_patches_in_groups_beat_their_pilot() -> None:
    clean = scene()
    noisy = clean + np.random.default_rng(0).standard_normal(clean.shape).astype(np.float32)
    found = smooth(noisy)
    error = {name: float(((getattr(found, name) - clean) ** 2).mean()) for name in ("best", "single", "joint")}
    assert error["best"] < 0.75 * min(error["single"], error["joint"])
    assert error["best"] < 0.08


def test_strong_images_stay() -> None:
    clean = 300 * np.random.default_rng(1).standard_normal((3, 20, 24)).astype(np.float32)
    assert np.abs(smooth(clean).best - clean).max() < 0.3


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 9, 40), (11, 12, 8)])
def test_any_shape(shape: tuple[int, int, int]) -> None:
    noisy = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    found = smooth(noisy)
    assert found.best.shape == shape
    assert np.isfinite(found.best).all()
    # noise alone: nearly all goes
    assert found.best.var() < 0.5


def test_images_without_patches_are_left_alone() -> None:
    tiny = np.ones((2, MIN_SIZE - 1, 30), dtype=np.float32)
    assert joint_means(tiny) is tiny
    assert smooth(tiny).best is tiny


def test_turned_images_give_turned_results() -> None:
    noisy = scene(32) + np.random.default_rng(3).standard_normal((4, 32, 32)).astype(np.float32)
    plain, turned = smooth(noisy).best, smooth(noisy[:, :, ::-1].copy()).best[:, :, ::-1]
    # references of groups lie on a grid that does not turn with the image
    assert np.sqrt(((plain - turned) ** 2).mean()) < 0.1


@pytest.mark.parametrize("size", [1, 9, SMALL, SMALL + 1])
def test_many_small_inverses(size: int) -> None:
    """Of covariances of strong images with unit noise, as both kinds are taken."""
    some = np.random.default_rng(1).standard_normal((20, 64, size)) * np.geomspace(300, 1, size)
    matrices = np.swapaxes(some, 1, 2) @ some / 64 + np.eye(size)
    np.testing.assert_allclose(_inverse(matrices) @ matrices, np.broadcast_to(np.eye(size), matrices.shape), atol=1e-9)
    single = _inverse(matrices.astype(np.float32))
    np.testing.assert_allclose(single, np.linalg.inv(matrices), atol=1e-4)


def test_an_area_of_one_value_stays_what_it_is() -> None:
    """More patches are the very same there than a group takes, and each pixel is in one group at least."""
    image = np.zeros((2, 40, 44), np.float32)
    image[:, :, 30:] = 20 * np.sin(np.arange(14, dtype=np.float32))
    found = smooth(image).best
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 4:-4, 4:20], 0, atol=1e-2)
