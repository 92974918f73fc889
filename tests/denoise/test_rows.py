"""Rows with offsets of their own: a cube that is turned gives the result turned."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from denoise.case import Known, NoiseModel, Restoration
from denoise.restore import restore
from denoise.rows import calibrating_rows
from hsitools.scenes import scene

BANDS, HEIGHT, WIDTH, SIGMA = 20, 40, 44, 0.02


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.asarray(scene((HEIGHT, WIDTH), wavelength_nm=np.linspace(450, 900, BANDS), seed=7).read(), float)


def test_rows_are_calibrated_as_columns_are(truth: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    offset = 0.06 * rng.standard_normal((BANDS, HEIGHT)) * (rng.random((BANDS, HEIGHT)) < 0.4)
    noisy = truth + SIGMA * rng.standard_normal(truth.shape) + offset[..., None]
    dead = np.zeros((BANDS, HEIGHT), bool)
    dead[[4, 9], [11, 30]] = True
    noisy[dead] = 0.01
    found, turned = restore(noisy, "lowrank"), restore(noisy.swapaxes(1, 2), "lowrank")
    error = found.estimate - truth
    assert np.sqrt(np.mean(error**2)) < 0.6 * SIGMA
    assert found.noise is not None
    assert found.noise.row_offset is not None
    assert (found.noise.row_offset - offset)[~dead].std() < 0.4 * offset.std()
    assert not found.noise.offset.any()
    assert found.mask is not None
    assert found.mask[dead].all()
    # columns' detector first, rows' then: both of the same cube
    np.testing.assert_allclose(found.estimate.swapaxes(1, 2), turned.estimate, atol=0.1 * SIGMA)
    assert found.provenance["rows_calibrated"] >= BANDS - 2
    assert "warning" not in found.provenance
    # a sensor tells which axis is its detector's
    told = restore(noisy, "lowrank", known=Known(offset=np.zeros((BANDS, WIDTH))))
    assert "offsets of their own" in told.provenance["warning"]


def test_rows_and_columns_with_offsets(truth: np.ndarray) -> None:
    """Columns' offsets are taken off before rows are looked at; those of a tenth of the elements of either kind."""
    rng = np.random.default_rng(2)
    columns, rows = (
        0.08 * rng.standard_normal((BANDS, size)) * (rng.random((BANDS, size)) < 0.1) for size in (WIDTH, HEIGHT)
    )
    noise = SIGMA * rng.standard_normal(truth.shape)
    noisy = truth + noise + columns[:, None] + rows[..., None]
    found = restore(noisy, "lowrank")
    assert np.sqrt(np.mean((found.estimate - truth) ** 2)) < 0.45 * np.sqrt(np.mean((noisy - truth) ** 2))
    assert "rows_calibrated" in found.provenance


def test_parts_of_both_axes_come_together() -> None:
    """By a restoration that finds what it is told: columns of offset 2, and rows of offset 5."""
    values = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    seen = []

    def found(given: np.ndarray, known: None = None) -> Restoration:
        seen.append(given)
        first, width = len(seen) == 1, given.shape[2]
        ones = np.ones((2, width), np.float32)
        noise = NoiseModel(
            sigma=ones[:, 0] * len(seen), slope=0 * ones[:, 0], gain=ones, offset=(2 if first else 5) * ones,
            offset_std=0.3 * ones, dead=(ones < 0) | (first & (np.arange(width) == 1)), outlier=given == 7,
        )  # fmt: skip
        said = {"dead_elements": 1, "striped_rows": 2} if first else {"rare_extent": [0, 1, 2, 3], "common_rows": 0.1}
        return Restoration(estimate=given, std=np.full(given.shape, 0.4), mask=given == 7, noise=noise, provenance=said)

    out = calibrating_rows(found)(values)
    assert len(seen) == 2
    taken = values - 2
    taken[:, :, 1] = np.nan
    np.testing.assert_array_equal(seen[1], taken.swapaxes(1, 2))
    np.testing.assert_array_equal(out.estimate, taken)
    np.testing.assert_allclose(out.std, 0.5)
    np.testing.assert_array_equal(out.mask, taken == 7)
    np.testing.assert_array_equal(out.noise.outlier, taken == 7)
    assert (out.noise.offset == 2).all()
    assert out.noise.offset.shape == (2, 4)
    assert (out.noise.row_offset == 5).all()
    assert out.noise.row_offset.shape == (2, 3)
    assert (out.noise.sigma == 2).all()
    said = dict(out.provenance)
    assert "common stripes" not in said.pop("warning")
    assert said == {"rare_extent": [2, 3, 0, 1], "common_stripes": 0.1, "rows_calibrated": 2, "dead_elements": 2}
    # nothing of rows, or nothing said of them: as it was
    for change in ({"offset": np.zeros((2, 3)), "gain": np.ones((2, 3))}, None):
        seen.clear()

        def plain(given: np.ndarray, known: None = None, change: dict | None = change) -> Restoration:
            one = found(given)
            if len(seen) == 1:
                return one if change else dataclasses.replace(one, provenance={})
            return dataclasses.replace(one, noise=dataclasses.replace(one.noise, **(change or {})))

        np.testing.assert_array_equal(calibrating_rows(plain)(values).estimate, values)
