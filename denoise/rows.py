"""Rows that have gains and offsets of their own, as of a whisk-broom or a turned scene: calibrated as columns are.

Nothing in a cube says which of its axes is the detector. Columns are looked at first; where rows then still have
offsets, the cube is restored once more, turned, without what columns had.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from denoise.case import Known, NoiseModel, Restoration
from denoise.said import warning_of
from denoise.separation.pixel_noise import PixelNoise

Restore = TypeVar("Restore", bound=Callable[..., Any])
#: What is said of columns, and of rows, that are striped alike in all bands.
COMMON = ("common_stripes", "common_rows")
#: Share of a row's voxels taken for outliers from which on the row may be a dead element.
BROKEN = 0.75


def calibrating_rows(restore: Restore) -> Restore:
    """`denoise.restore.restore`, for rows that may have gains and offsets, unless a sensor tells its columns."""

    @wraps(restore)
    def restored(values: NDArray[Any], *method: Any, known: Known | None = None, **options: Any) -> Restoration:
        found: Restoration = restore(values, *method, known=known, **options)
        told = known is not None and any(item is not None for item in (known.gain, known.offset, known.dead))
        columns = found.noise
        # photons that were counted have no offsets
        if told or columns is None or "photon_gain" in found.provenance or not _suspected(found, columns):
            return found
        turned: Restoration = restore(_turned(_without(columns, values)), *method, known=known, **options)
        rows = turned.noise
        if rows is None or not (_calibrated(rows) or rows.dead.any()):
            return found
        return _back(turned, rows, columns)

    return cast(Restore, restored)


def _suspected(found: Restoration, columns: NoiseModel) -> bool:
    """Whether rows have offsets, or do not follow the scene."""
    broken = columns.outlier & ~columns.dead[:, None] & ~np.asarray(columns.outlier.all((1, 2)))[:, None, None]
    return "striped_rows" in found.provenance or bool((broken.mean(2) > BROKEN).any())


def _calibrated(elements: NoiseModel) -> bool:
    return bool(((elements.offset != 0) | (elements.gain != 1)).any())


def _turned(images: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.swapaxes(images, -1, -2))


def _without(columns: NoiseModel, values: NDArray[Any]) -> NDArray[Any]:
    """Values without what columns have; as they are, to the last bit, where these have nothing."""
    if columns.dead.any():
        values = np.where(columns.dead[:, None], np.nan, values)
    changed = np.flatnonzero(((columns.offset != 0) | (columns.gain != 1)).any(1))
    if len(changed):
        values = np.array(values, dtype=np.result_type(np.float32, values))
        values[changed] -= columns.offset[changed, None]
        values[changed] /= columns.gain[changed, None]
    return values


def _back(turned: Restoration, rows: NoiseModel, columns: NoiseModel) -> Restoration:
    """A restoration of a turned cube, as of the cube, with what its columns had."""
    noise = dataclasses.replace(
        columns, sigma=rows.sigma, slope=rows.slope, outlier=_turned(rows.outlier),
        pixels=PixelNoise(rows.pixels.correlation.T), row_gain=rows.gain,
        row_offset=rows.offset,
    )  # fmt: skip
    layers = {name: getattr(turned, name) for name in ("estimate", "std", "mask", "structure")}
    layers = {name: None if layer is None else _turned(layer) for name, layer in layers.items()}
    if layers["std"] is not None:
        # each column's offset, and their mean
        doubt = columns.offset_std**2 + columns.offset.var(1, keepdims=True) / columns.offset.shape[1]
        layers["std"] = np.sqrt(layers["std"] ** 2 + doubt[:, None])
    said = {key: value for key, value in turned.provenance.items() if key not in ("warning", "striped_rows")}
    stripes = {name: said.pop(other) for name, other in zip(COMMON, COMMON[::-1], strict=True) if other in said}
    if "rare_extent" in said:
        said["rare_extent"] = said["rare_extent"][2:] + said["rare_extent"][:2]
    said["rows_calibrated"] = int(((rows.offset != 0) | (rows.gain != 1) | rows.dead).any(1).sum())
    said["dead_elements"] = said.get("dead_elements", 0) + int(columns.dead.sum())
    said |= stripes
    return dataclasses.replace(turned, **layers, noise=noise, provenance=said | warning_of(said))
