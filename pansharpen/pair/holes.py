"""Voxels without a measurement: what methods are given in their place.

A hole in one band takes nothing from the others. It is filled, so that filters and subspaces can go on; statistics of
single bands leave it out, and it is no number again in the result (see `pansharpen.case.Tile.measured`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.sensor.separable import size_of
from hsitools.sensor.spatial import mtf_blur

#: Gain, at half the Nyquist frequency, of the blur whose weights average over measured neighbours: one pixel wide.
NEIGHBOURHOOD = 0.3
#: Less weight than this within reach says nothing; the nearest measured pixel does.
ALONE = 1e-3
#: Bytes of a cube that are looked into at a time: a chunk of our files, in which nearly all bands have a signal.
LOOK_BYTES = 4 * 2**20


def bands_where(
    cube: Cube, test: Callable[[NDArray[Any]], NDArray[np.bool_]], *, wanted: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:  # fmt: skip
    """Those of the ``wanted`` bands (default all), ``(band,)``, for which ``test`` holds in some window.

    ``test`` tells of values ``(band, y, x)`` for which bands it holds. Read window by window, of each band no farther
    than until it does.
    """
    out = np.zeros(cube.n_bands, dtype=bool)
    sought = ~out if wanted is None else wanted
    for rows, columns in cube.tiles(LOOK_BYTES):
        bands = np.flatnonzero(sought & ~out)
        if not bands.size:
            break
        out[bands] = test(cube.read(bands, rows, columns))
    return out


def fill_nearest(image: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Invalid pixels ``(batch, channel, y, x)`` take the value of the channel's nearest valid one; zero where none is.

    ``valid`` is of the same shape, or ``(batch, 1, y, x)`` for all channels.
    """
    from scipy.ndimage import distance_transform_edt

    out = image.clone()
    for number, masks in enumerate(valid.cpu().numpy()):
        for channel, keep in enumerate(masks):
            part = out[number] if len(masks) == 1 else out[number, channel : channel + 1]
            if keep.all():
                continue
            if not keep.any():
                part[:] = 0
                continue
            y, x = distance_transform_edt(~keep, return_distances=False, return_indices=True)
            part[:] = part[:, torch.as_tensor(y), torch.as_tensor(x)]
    return out


def without(image: torch.Tensor, places: NDArray[np.int64]) -> torch.Tensor:
    """An image ``(1, channel, y, x)`` with NaN at some places ``(n, 3)``, of which those outside do not matter."""
    inside = ((places >= 0) & (places < np.array(image.shape[1:]))).all(1)
    if not inside.any():
        return image
    band, y, x = (torch.as_tensor(part, device=image.device) for part in places[inside].T)
    out = image.clone()
    out[:, band, y, x] = torch.nan
    return out


def fill_voxels(cube: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Missing voxels of a coarse cube, from their neighbours in space and in the spectrum.

    A voxel is the mean of its band's measured neighbours (normalised convolution), or the nearest one where none is
    near, and what the pixel's other bands differ from theirs, along a straight line between the nearest measured bands.

    Parameters
    ----------
    cube : Tensor, shape (batch, band, y, x)
    valid : Tensor of bool, shape (batch, band, y, x)
    """
    clean = torch.where(valid, cube, 0)
    blur = mtf_blur(size_of(cube), NEIGHBOURHOOD, 2)
    weight = blur(valid.to(cube.dtype))
    around = blur(clean) / weight.clamp(min=ALONE)
    far = weight < ALONE
    # pixels too far from all that was measured: whole areas without data
    bands = (far & ~valid).any(-1).any(-1).any(0)
    if bands.any():
        around[:, bands] = torch.where(far[:, bands], fill_nearest(clean[:, bands], valid[:, bands]), around[:, bands])
    return torch.where(valid, cube, around + _along_bands(torch.where(valid, clean - around, 0), valid))


def _along_bands(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Each pixel's values between its valid bands on straight lines, level beyond them, zero where none is valid."""
    n = values.shape[1]
    number = torch.arange(n, device=values.device)[None, :, None, None].expand_as(values)
    below = torch.where(valid, number, -1).cummax(1).values
    above = torch.where(valid, number, n).flip(1).cummin(1).values.flip(1)
    below, above = torch.where(below < 0, above, below), torch.where(above == n, below, above)
    # no band at all: both point outside
    none = (below < 0) | (below >= n)
    below, above = below.clamp(0, n - 1), above.clamp(0, n - 1)
    share = (number - below) / (above - below).clamp(min=1)
    out = torch.lerp(values.gather(1, below), values.gather(1, above), share.to(values.dtype))
    return torch.where(none, 0, out)
