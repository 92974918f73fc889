"""Sharp images beside PAN or instead of it: bands of another sensor, on the fine grid or a coarser one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube.spectral_order import by_wavelength
from hsitools.cube.tensors import real_tensor
from hsitools.errors import InputError
from hsitools.sensor.coarse_grid import centred_offset, check_ratio
from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.separable import Separable
from hsitools.sensor.spatial import mtf_decimate
from hsitools.text import counted
from pansharpen.optics import USUAL_MTF, Optics, require_gains, require_variances
from pansharpen.pair.holes import fill_nearest

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Guide:
    """Bands of one pixel size that see the cube's scene sharply.

    Gain and offset of each channel against the cube are not taken for granted by any method.

    Attributes
    ----------
    image : Tensor, shape (batch, channel, y, x)
    ratio : int
        Fine pixels to one of its pixels; 1 where its grid is the fine one.
    mtf : float or array, shape (channel,) or (channel, 2), or None
        Gain at the Nyquist frequency of its own pixels. None when not known: a guide on the fine grid is taken as sharp
        then, a coarser one as of usual optics.
    response : array, shape (channel, band), or None
        Weights with which the cube's bands make up each channel, by published responses; NaN in the rows of channels
        for which none is known, None when all are unknown.
    noise_variance : array, shape (channel,), or None
        Units²; None when not known.
    offset : (float, float)
        Fine pixels (y, x) by which its first pixel begins after the cube's first one; at most half of a pixel.
    valid : Tensor of bool, shape (batch, channel, y, x), or (batch, 1, y, x) for all channels, or None
        Pixels of which a channel holds a measurement; None when all do. Others are filled.
    wavelength_nm : array, shape (channel,), or None
    name : str

    Raises
    ------
    InputError
        When shapes do not fit one another.

    Examples
    --------
    >>> import torch
    >>> Guide(image=torch.ones(4, 24, 24), ratio=2).n_channels
    4
    """

    image: torch.Tensor
    ratio: int = 1
    mtf: Any = None
    response: Array | None = None
    noise_variance: Array | None = None
    offset: tuple[float, float] = (0.0, 0.0)
    valid: torch.Tensor | None = None
    wavelength_nm: Array | None = None
    name: str = "guide"

    def __post_init__(self) -> None:
        image = real_tensor(self.image, f"{self.name}: image")
        image = image if image.is_floating_point() else image.to(torch.float32)
        object.__setattr__(self, "image", image[None] if image.ndim == 3 else image)
        object.__setattr__(self, "ratio", check_ratio(self.ratio))
        if self.image.ndim != 4:
            raise InputError(
                f"{self.name}: image: found shape {tuple(image.shape)}, expected (channel, y, x) or a batch"
            )
        for field in ("response", "noise_variance", "wavelength_nm"):
            value = getattr(self, field)
            if value is not None and len(np.atleast_1d(value)) != self.n_channels:
                raise InputError(
                    f"{self.name}: {field}: found {counted(len(np.atleast_1d(value)), 'row')}, "
                    f"expected {self.n_channels}, one a channel"
                )
        if np.ndim(self.mtf) and len(self.mtf) != self.n_channels:
            raise InputError(
                f"{self.name}: mtf: found {counted(len(self.mtf), 'row')}, expected {self.n_channels}, one a channel"
            )
        require_gains(self.mtf, f"{self.name}: mtf")
        require_variances(self.noise_variance, f"{self.name}: noise_variance")
        if self.response is not None and np.isinf(self.response).any():
            raise InputError(f"{self.name}: response: found a weight that is infinite, expected numbers")
        if np.shape(self.offset) != (2,) or not np.isfinite(self.offset).all():
            raise InputError(f"{self.name}: offset: found {self.offset!r}, expected two numbers, (y, x)")
        if self.valid is not None and not (self.valid.dtype == torch.bool and self._is_alike(self.valid)):
            raise InputError(
                f"{self.name}: valid: found {self.valid.dtype} of shape {tuple(self.valid.shape)}, expected booleans "
                f"of {tuple(self.image.shape)}, or of one channel"
            )

    def _is_alike(self, mask: torch.Tensor) -> bool:
        """Whether a mask is of its pixels, of each channel or of all together."""
        batch, channels, *size = self.image.shape
        return tuple(mask.shape) in {(batch, channels, *size), (batch, 1, *size)}

    def check(self, batch: int, bands: int, fine_size: tuple[int, int], who: str) -> None:
        """Raise `InputError` unless it fits a cube of so many bands on that fine grid."""
        expected = (batch, self.n_channels, *(own_size(size, self.ratio) for size in fine_size))
        if tuple(self.image.shape) != expected:
            raise InputError(
                f"{who}: {self.name}: found shape {tuple(self.image.shape)}, expected {expected}: pixels of "
                f"{self.ratio} on a fine grid of {fine_size[0]}×{fine_size[1]}"
            )
        if self.response is not None and self.response.shape[1] != bands:
            raise InputError(f"{who}: {self.name}: response: found {self.response.shape[1]} bands, expected {bands}")

    @property
    def n_channels(self) -> int:
        """Channels."""
        return int(self.image.shape[1])

    def select(self, bands: NDArray[np.int64]) -> Guide:
        """The guide of a cube with some of its bands: rows of the response are scaled to the sum that they had."""
        if self.response is None:
            return self
        part = self.response[:, bands]
        with np.errstate(divide="ignore", invalid="ignore"):
            part = part * (self.response.sum(axis=1) / part.sum(axis=1))[:, None]
        # a channel whose bands are all gone is one of which nothing is known
        return dataclasses.replace(self, response=np.where(np.isfinite(part), part, np.nan))

    def single(self, number: int) -> Guide:
        """That of one cube of a batch."""
        part = slice(number, number + 1)
        return dataclasses.replace(
            self, image=self.image[part], valid=None if self.valid is None else self.valid[part]
        )  # fmt: skip

    def to(self, *args: Any) -> Guide:
        """The image on another device or of another type, as `torch.Tensor.to`."""
        valid = self.valid
        if valid is not None:
            valid = valid.to(self.image.to(*args).device)
        return dataclasses.replace(self, image=self.image.to(*args), valid=valid)

    def row(self, channel: int) -> Array | None:
        """How the cube's bands make up one channel; None when that is not known."""
        if self.response is None or not np.isfinite(self.response[channel]).all():
            return None
        return self.response[channel]

    def variance(self, channel: int) -> float | None:
        """Noise variance of one channel; None when not known."""
        return None if self.noise_variance is None else float(np.ravel(self.noise_variance)[channel])

    def gains(self, channel: int) -> Array:
        """MTF along y and x of one channel, ``(2,)``."""
        mtf = np.asarray(USUAL_MTF if self.mtf is None else self.mtf, dtype=float)
        return np.broadcast_to(mtf if mtf.ndim == 0 else mtf[channel], (2,))

    def filled(self) -> Guide:
        """Without NaN: a channel's pixels that hold no measurement are its nearest one's, and not valid."""
        valid = torch.isfinite(self.image)
        if valid.all():
            return self
        if self.valid is not None:
            # filled before
            valid = valid & self.valid
        return dataclasses.replace(self, image=fill_nearest(self.image, valid), valid=valid)

    def down(self, fine_size: tuple[int, int]) -> Separable | None:
        """From the fine grid to the guide's own; None where that is the fine one."""
        if self.ratio == 1:
            return None
        return mtf_decimate(fine_size, USUAL_MTF if self.mtf is None else self.mtf, self.ratio, shift=self.offset)

    def on_grid(self, fine_size: tuple[int, int]) -> torch.Tensor:
        """Its channels on the fine grid, interpolated where their own is coarser."""
        if self.ratio == 1:
            return self.image
        size = (int(self.image.shape[-2]), int(self.image.shape[-1]))
        return interpolate(size, self.ratio, method="polynomial", out_shape=fine_size, shift=self.offset)(self.image)

    def valid_on_grid(self, fine_size: tuple[int, int]) -> torch.Tensor | None:
        """Fine pixels that lie in measured ones, of the channels of ``valid``; None when all do."""
        if self.valid is None or self.ratio == 1:
            return self.valid
        y, x = (
            ((torch.arange(fine) - at) / self.ratio).floor().long().clamp(0, own - 1).to(self.valid.device)
            for fine, at, own in zip(fine_size, self.offset, self.valid.shape[-2:], strict=True)
        )
        return self.valid[..., y, :][..., x]

    def optics(self, channel: int, optics: Optics) -> Optics:
        """The cube's optics beside this channel in PAN's place.

        Of a coarser channel the cube's optics add only the blur that the channel does not have yet.
        """
        ratio, mtf = optics.ratio, np.asarray(optics.mtf, dtype=float)
        if self.ratio > 1:
            # Gaussians: gains at the cube's Nyquist frequency divide
            mtf = np.broadcast_to(mtf[:, None] if mtf.ndim == 1 else mtf, (*mtf.shape[:1], 2))
            mtf = np.clip(mtf / self.gains(channel) ** ((self.ratio / ratio) ** 2), 0.01, 0.97)
        return dataclasses.replace(
            optics, mtf=mtf, pan_response=self.row(channel), pan_variance=self.variance(channel),
            pan_mtf=None if self.ratio > 1 or self.mtf is None else float(self.gains(channel).mean()),
        )  # fmt: skip


def own_size(fine: int, ratio: int) -> int:
    """Pixels of a guide whose centres lie inside so many fine pixels."""
    return int((fine - 1 - centred_offset(ratio)) // ratio) + 1


def synthetic_pan(guides: Sequence[Guide], wavelength_nm: Array | None = None) -> torch.Tensor:
    """A panchromatic image ``(batch, 1, y, x)`` for methods that know no other: the guide's channels on the fine grid.

    Each channel counts as many times as the cube has bands of which it is the nearest by wavelength (all alike where
    responses are unknown), so that PAN resembles the mean of the cube. ``wavelength_nm`` (band,) tells the order of the
    cube's bands.
    """
    fine = [guide for guide in guides if guide.ratio == 1]
    images = torch.cat([guide.image for guide in fine], 1)
    responses = tuple(guide.response for guide in fine)
    weights = torch.as_tensor(shares(responses, images.shape[1], wavelength_nm)).to(images)
    used = weights > 0
    return (weights[used, None, None] * images[:, used]).sum(1, keepdim=True)


def shares(responses: tuple[Array | None, ...], channels: int, wavelength_nm: Array | None = None) -> Array:
    """Weights ``(channel,)`` of all channels of some guides in `synthetic_pan`, by their responses."""
    if any(response is None or not np.isfinite(response).all() for response in responses):
        return np.full(channels, 1 / channels)
    rows = np.concatenate([response for response in responses if response is not None])
    rows = rows[:, by_wavelength(np.arange(rows.shape[1]), wavelength_nm)]
    centre = rows @ np.arange(rows.shape[1]) / rows.sum(axis=1)
    nearest = np.abs(centre[:, None] - np.arange(rows.shape[1])).argmin(axis=0)
    return np.bincount(nearest, minlength=channels) / rows.shape[1]
