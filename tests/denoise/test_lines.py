"""Lines of one pixel's width that a single band sees: kept whole, and what is no line is an outlier as before."""

from __future__ import annotations

import numpy as np
import pytest

from denoise.restore import restore
from denoise.separation.lines import LONG, lines

HEIGHT, WIDTH = 40, 36


def test_what_crosses_columns_is_a_line() -> None:
    """A row, a diagonal and a step of `LONG` columns; no shorter one, no fragment of columns, no mixture of sides."""
    rest = np.random.default_rng(0).normal(size=(6, HEIGHT, WIDTH))
    x = np.arange(LONG)
    truth = np.zeros(rest.shape, dtype=bool)
    truth[0, 7, 3 + x] = truth[1, 20 - x, WIDTH - LONG + x] = truth[2, 9 + (x % 2), x] = True
    rest[truth] = 12
    rest[2][truth[2]] = -12
    rest[3, 5, 4 : 4 + LONG - 1] = 12
    rest[4, 5:30, 6:11] = 12
    rest[5, 8, 4 : 4 + LONG] = 12 * (-1.0) ** x
    mine = lines(rest + 30 * (np.arange(WIDTH) % 5), np.ones(rest.shape, dtype=bool))
    assert mine[truth].all()
    # noise beside a line may lie on a way as long
    assert mine[~truth].mean() < 1e-3
    assert not mine[3:].any()


def test_impulses_at_random_are_no_lines() -> None:
    rng = np.random.default_rng(1)
    for share in (0.02, 0.08, 0.4):
        rest = np.where(rng.random((2, 100, 120)) < share, 10, rng.normal(size=(2, 100, 120)))
        assert lines(rest, np.ones(rest.shape, dtype=bool)).mean() < 1e-4


@pytest.mark.parametrize(("place", "seed"), [("row", 3), ("diagonal", 2)])
def test_a_true_line_stays_whole(place: str, seed: int) -> None:
    """Thirty standard deviations in one of ten bands: halves of it were taken for outliers."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH] / 10
    scene = np.stack([0.5 + 0.1 * np.sin(y + k * x / 9) + 0.05 * np.cos(x) * k / 9 for k in range(10)])
    rows = np.full(WIDTH, 20) if place == "row" else np.arange(WIDTH)
    line = (4, rows, np.arange(WIDTH))
    scene[line] += 0.3
    restored = restore((scene + 0.01 * rng.normal(size=scene.shape)).astype(np.float32), "lowrank")
    error = (restored.estimate - scene)[line] / 0.3
    assert restored.mask is not None
    assert not restored.mask[line].any()
    assert np.abs(error).max() < 0.2
