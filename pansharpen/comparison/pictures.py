"""What is kept of a fused cube and of its case for the report to draw: small pictures, errors by band and by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.figures import rgb_bands
from hsitools.plot import MISSING
from pansharpen.case import FusionCase
from pansharpen.pair.case_files import Convention

#: Longest side of the pictures that are kept of a fused cube, fine pixels.
PICTURE = 160
#: Share of the darkest and of the brightest values that a picture clips, percent.
CLIPPED = 2.0


def _window(case: FusionCase) -> tuple[slice, slice]:
    """The middle of the scene, at most `PICTURE` fine pixels on each side."""
    starts = [max(0, (size - PICTURE) // 2) for size in case.pan.shape[-2:]]
    return slice(starts[0], starts[0] + PICTURE), slice(starts[1], starts[1] + PICTURE)


def _colours(case: FusionCase) -> tuple[list[int], NDArray[np.float64]]:
    """Bands of red, green and blue, and ``(3, 2)`` their range: the case's own, so that all methods share it."""
    shown = case.coarse if case.reference is None else case.reference
    bands = list(rgb_bands(Cube(data=shown[0].cpu().numpy(), wavelength_nm=case.optics.wavelength_nm)))
    values = shown[0, bands].flatten(1).double().cpu().numpy()
    return bands, np.nanpercentile(values, [CLIPPED, 100 - CLIPPED], axis=1).T


def _stretched(image: torch.Tensor, limits: NDArray[np.float64]) -> NDArray[np.uint8]:
    """``(channel, y, x)`` as ``(y, x, channel)`` of 0 to 255; of colours those without a measurement `MISSING`."""
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    values = (image.double().cpu().numpy() - low) / np.where(high > low, high - low, 1)
    out = np.rint(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8).transpose(1, 2, 0)
    if out.shape[-1] == len(MISSING):
        out[~np.isfinite(values).all(axis=0)] = MISSING
    return out


def details(case: FusionCase, fused: torch.Tensor, rules: Convention) -> dict[str, NDArray[Any]]:
    """What the report draws of a fused cube.

    Returns
    -------
    dict
        ``rgb`` uint8 (y, x, 3); ``rmse`` (band,) and ``error`` (y, x), root mean squares over pixels and over
        bands of the difference to the reference, or, without one, of the fused cube as the sensor would see it to the
        coarse cube.
    """
    bands, limits = _colours(case)
    fused = fused.clone() if rules.clip is None else fused.clamp(*rules.clip)
    window = _window(case)
    if case.reference is not None:
        start, stop = rules.border or (case.optics.ratio, case.optics.ratio)
        difference = fused - case.reference
        inner = difference[..., start : case.pan.shape[-2] - stop, start : case.pan.shape[-1] - stop]
        drawn = difference[..., window[0], window[1]]
    else:
        # NaN would spread along the filters' rows
        difference = case.tile.down()(torch.nan_to_num(fused)) - case.coarse
        inner = drawn = difference[..., 1:-1, 1:-1] if min(difference.shape[-2:]) > 2 else difference
    rmse = inner.double().square().nanmean((-2, -1)).sqrt()[0]
    error = drawn.double().square().nanmean(1).sqrt()[0]
    return {
        "rgb": _stretched(fused[0, bands][:, window[0], window[1]], limits), "rmse": rmse.cpu().numpy(),
        "error": error.cpu().numpy().astype(np.float32),
    }  # fmt: skip


def case_details(case: FusionCase) -> dict[str, NDArray[Any]]:
    """What the report draws of a case: ``pan`` uint8 (y, x, 1), ``reference`` as `details`' ``rgb`` where known,
    ``wavelength_nm`` (band,) where known, ``level`` (band,) the mean of each band.
    """
    window = _window(case)
    pan = case.pan[0]
    limits = np.nanpercentile(pan.double().cpu().numpy(), [CLIPPED, 100 - CLIPPED])[None]
    out: dict[str, NDArray[Any]] = {"pan": _stretched(pan[:, window[0], window[1]], limits)}
    if case.reference is not None:
        bands, colours = _colours(case)
        out["reference"] = _stretched(case.reference[0, bands][:, window[0], window[1]], colours)
    if case.optics.wavelength_nm is not None:
        out["wavelength_nm"] = np.asarray(case.optics.wavelength_nm)
    level = case.coarse if case.reference is None else case.reference
    return out | {"level": level[0].double().flatten(1).nanmean(1).cpu().numpy()}
