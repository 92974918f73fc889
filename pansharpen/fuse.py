"""One fusion: what cannot be compared is set aside, the method runs, and it comes back marked."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pansharpen.methods  # noqa: F401  (registers them)
from hsitools.errors import InputError
from pansharpen.case import FusionCase, Tile
from pansharpen.registry import Method, get

Progress = Callable[[int, int], None]


def fill_nearest(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Invalid pixels of ``(batch, band, y, x)`` take the values of the nearest valid one; zero where none is."""
    from scipy.ndimage import distance_transform_edt

    out = image.clone()
    for number, keep in enumerate(valid[:, 0].cpu().numpy()):
        if keep.all():
            continue
        if not keep.any():
            out[number] = 0
            continue
        y, x = distance_transform_edt(~keep, return_distances=False, return_indices=True)
        out[number] = image[number][:, torch.as_tensor(y), torch.as_tensor(x)]
    return out


def live_bands(coarse: torch.Tensor) -> torch.Tensor:
    """Bands ``(band,)`` with at least one finite value that is not zero, in every cube of the batch."""
    return (torch.isfinite(coarse) & (coarse != 0)).flatten(2).any(2).all(0)


def prepared(case: FusionCase) -> FusionCase:
    """The case with invalid pixels (NaN in any band, or in PAN) masked and filled; all its bands must be live.

    Raises
    ------
    InputError
        When no pixel is valid in both the cube and PAN.
    """
    valid = torch.isfinite(case.coarse).all(1, keepdim=True)
    pan_valid = torch.isfinite(case.pan)
    if valid.all() and pan_valid.all():
        return case
    if not (valid.flatten(1).any(1).all() and pan_valid.flatten(1).any(1).all()):
        raise InputError(f"{case.name}: found no pixel valid in all bands and in PAN, expected some")
    return case.replace(
        coarse=fill_nearest(case.coarse, valid), pan=fill_nearest(case.pan, pan_valid), valid=valid,
        pan_valid=pan_valid, expanded=None,
    )  # fmt: skip


def marked(fused: torch.Tensor, tile: Tile) -> torch.Tensor:
    """NaN wherever the coarse cube or PAN held no measurement."""
    return fused if tile.valid is None else fused.masked_fill(~tile.valid, torch.nan)


def options_for(entry: Method, given: dict[str, Any]) -> dict[str, Any]:
    """Of the options that any method may take, those that this one knows and that are set."""
    known = inspect.signature(entry.function).parameters
    return {name: value for name, value in given.items() if name in known and value is not None}


def fuse(
    method: str | Method, case: FusionCase, *, seed: int = 0, weights: str | Path | None = None,
    progress: Progress | None = None,
) -> torch.Tensor:  # fmt: skip
    """Fuse a case in memory.

    Parameters
    ----------
    method : str or Method
    case : FusionCase
        NaN stands for no measurement. Bands without any signal (all zero, or all NaN) are not given to the method.
    seed : int
        For methods that draw at random.
    weights : path, optional
        Folder or file of a trained net's weights.
    progress : callable, optional
        Called with (steps done, steps in all) by methods that iterate.

    Returns
    -------
    Tensor, shape (batch, band, ratio·y, ratio·x)
        NaN where the cube or PAN had none; bands without signal come back interpolated.

    Raises
    ------
    InputError
        When nothing valid is left, or the method needs something that the case lacks.
    FloatingPointError
        When the method's result is not finite.
    """
    entry = get(method) if isinstance(method, str) else method
    live = live_bands(case.coarse)
    if not live.any():
        raise InputError(f"{case.name}: coarse: found no band with signal, expected some")
    chosen = case if live.all() else select_bands(case, live)
    ready = prepared(chosen).replace(reference=None)  # the truth is no business of a method's
    given = {"seed": seed, "weights": weights, "progress": progress}
    with torch.set_grad_enabled(_learns(entry)):  # inference tensors would stay in caches, useless to nets
        parts = [ready] if entry.batched else ready.singles()
        fused = torch.cat([entry.function(part, **options_for(entry, given)) for part in parts])
    if not torch.isfinite(fused).all():
        raise FloatingPointError(f"{entry.name}: {case.name}: found values that are not finite in the result")
    fused = marked(fused, ready.tile)
    if live.all():
        return fused
    dead = case.tile.up()(torch.nan_to_num(case.coarse[:, ~live]))
    dead[:, torch.isnan(case.coarse[:, ~live]).flatten(2).all(2).all(0)] = torch.nan
    out = fused.new_empty((len(fused), case.n_bands, *fused.shape[-2:]))
    out[:, live], out[:, ~live] = fused, dead.to(fused.dtype)
    return out


def _learns(entry: Method) -> bool:
    return entry.family in ("supervised net", "zero-shot net")


def select_bands(case: FusionCase, keep: Any) -> FusionCase:
    """The case with some of its bands (band numbers or a mask)."""
    keep = torch.as_tensor(keep)
    numbers = np.flatnonzero(keep.cpu().numpy()) if keep.dtype == torch.bool else keep.cpu().numpy()
    picked = {
        name: getattr(case, name)[:, numbers]
        for name in ("coarse", "expanded", "reference")
        if getattr(case, name) is not None
    }
    return case.replace(optics=case.optics.select(numbers), **picked)
