"""What indices are given: tensors (batch, band, y, x) with invalid values set aside once, for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from types import NoneType
from typing import Any

import numpy as np
import torch

from hsitools.cube import Cube, agreement
from hsitools.cube.tensors import real_tensor
from hsitools.errors import InputError, require_type

#: Values in a temporary of an index, at most.
MAX_TEMPORARY = 2**20
#: Of a floating number that sums of squares may be made in.
LEAST_BYTES = 4
#: Largest values of a float32 image that holds products of two sums of their squares; others are taken as float64.
SINGLE = (1e-6, 1e5)
#: A band with less than this share of the best band's valid voxels is left out of indices of whole spectra.
MIN_VALID = 0.5


def as_batch(values: Any, name: str) -> torch.Tensor:
    """A floating tensor ``(batch, band, y, x)`` from a cube, an array or a tensor ``(band, y, x)``, or a batch."""
    tensor = real_tensor(values, name)
    if not tensor.is_floating_point() or tensor.dtype.itemsize < LEAST_BYTES:
        # squares of half precision overflow
        tensor = tensor.to(torch.float64)
    if tensor.dtype == torch.float32 and not SINGLE[0] <= _largest(tensor) <= SINGLE[1]:
        tensor = tensor.to(torch.float64)
    if tensor.ndim == 3:
        tensor = tensor[None]
    if tensor.ndim != 4 or min(tensor.shape) < 1:
        raise InputError(f"{name}: found shape {tuple(tensor.shape)}, expected (band, y, x) or (batch, band, y, x)")
    return tensor


def require_comparable(values: Any, others: Any, role: str = "estimate", beside: str = "reference") -> None:
    """Raise `InputError` where both are cubes whose bands, units or places are not the same.

    Cubes in memory may be called after one scene, both of them: messages tell which is which.
    """
    if isinstance(values, Cube) and isinstance(others, Cube):
        agreement.require_comparable(values, others, f"{values.who} ({role})", f"{others.who} ({beside})")


def _largest(values: torch.Tensor) -> float:
    """Size of the largest finite value; one where there is none, or nothing but zeros."""
    if not values.numel():
        return 1.0
    low, high = (float(end) for end in torch.aminmax(values))
    if not math.isfinite(low + high):
        low, high = (float(end) for end in torch.aminmax(torch.where(torch.isfinite(values), values, 0)))
    return max(-low, high) or 1.0


def cropped(tensor: torch.Tensor, border: int, name: str) -> torch.Tensor:
    """Without ``border`` pixels on each side."""
    require_type(border, (int, np.integer), "border", "a whole number of pixels")
    if border < 0 or 2 * border >= min(tensor.shape[-2:]):
        raise InputError(
            f"border: found {border}, expected 0 to {(min(tensor.shape[-2:]) - 1) // 2} for {name} "
            f"of {tensor.shape[-2]}×{tensor.shape[-1]} pixels"
        )
    return tensor[..., border : tensor.shape[-2] - border, border : tensor.shape[-1] - border]


def _span(values: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """What the valid values of each cube span, ``(batch,)``; bands without contrast (dead ones) have no say."""
    low, high = (values if valid is None else torch.where(valid, values, end) for end in (torch.inf, -torch.inf))
    smallest, largest = low.amin((-2, -1)), high.amax((-2, -1))
    live = largest > smallest
    span = torch.where(live, largest, -torch.inf).amax(1) - torch.where(live, smallest, torch.inf).amin(1)
    # nothing but constant bands
    return torch.where(live.any(1), span, torch.where(torch.isfinite(largest), largest.abs(), 0).amax(1))


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An estimate and its reference.

    Attributes
    ----------
    estimate, reference : Tensor, shape (batch, band, y, x)
        Invalid voxels are zero in both.
    valid : Tensor of bool, shape (batch, band, y, x), or None
        None when every voxel is valid.
    ratio : float or None
        Pixel size of the coarse cube over that of the fine one (for ERGAS).
    data_range : Tensor, shape (batch,)
        Range of values that PSNR and SSIM relate errors to.
    range_given : bool
        Whether it was given; else it is what the valid values of the reference span, which no constant added to both
        images changes (the largest value's size for a reference of constant bands).
    """

    estimate: torch.Tensor
    reference: torch.Tensor
    valid: torch.Tensor | None
    ratio: float | None
    data_range: torch.Tensor
    range_given: bool = True

    @classmethod
    def of(
        cls, estimate: Any, reference: Any, *, ratio: float | None = None, border: int = 0,
        data_range: float | None = None, mask: Any = None,
    ) -> Pair:  # fmt: skip
        """Check shapes, crop, set invalid voxels (NaN in either, or False in ``mask``) aside.

        Raises
        ------
        InputError
            When shapes (or the bands or units of cubes) differ, the border leaves nothing, no voxel is valid, or ratio
            or data_range is not positive.
        """
        for name, number in (("ratio", ratio), ("data_range", data_range)):
            require_type(number, (Real, np.ndarray, torch.Tensor, NoneType), name, "a positive number")
            if number is not None and not 0 < number < float("inf"):
                raise InputError(f"{name}: found {number}, expected a positive number")
        require_comparable(estimate, reference)
        x, y = as_batch(estimate, "estimate"), as_batch(reference, "reference")
        if x.shape != y.shape:
            raise InputError(
                f"estimate: found shape {tuple(x.shape[-3:])}, expected {tuple(y.shape[-3:])} as reference"
            )
        dtype = torch.promote_types(x.dtype, y.dtype)
        x, y = cropped(x.to(dtype), border, "estimate"), cropped(y.to(dtype), border, "reference")
        valid = torch.isfinite(x) & torch.isfinite(y)
        if mask is not None:
            chosen = cropped(as_batch(torch.as_tensor(mask).to(y.device, torch.uint8), "mask"), border, "mask").bool()
            try:
                valid = valid & chosen
            except RuntimeError:
                raise InputError(
                    f"mask: found shape {tuple(chosen.shape[-3:])}, expected {tuple(y.shape[-3:])}"
                ) from None
        if not valid.flatten(1).any(1).all():
            raise InputError("estimate: found no valid voxel in common with the reference, expected some")
        if valid.all():
            kept = None
        else:
            x, y, kept = torch.where(valid, x, 0), torch.where(valid, y, 0), valid
        span = _span(y, kept) if data_range is None else y.new_full((len(y),), float(data_range))
        return cls(
            estimate=x, reference=y, valid=kept, ratio=ratio, data_range=span, range_given=data_range is not None
        )  # fmt: skip

    @cached_property
    def count(self) -> torch.Tensor:
        """Valid voxels, ``(batch, band)``."""
        if self.valid is None:
            n = self.reference.shape[-2] * self.reference.shape[-1]
            return self.reference.new_full(self.reference.shape[:2], n)
        return self.valid.sum((-2, -1)).to(self.reference.dtype)

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over the valid voxels of each band, of ``values`` that are zero elsewhere."""
        return values.sum((-2, -1)) / self.count.clamp(min=1)

    @cached_property
    def mse(self) -> torch.Tensor:
        """Mean squared error of each band, ``(batch, band)``."""
        parts = [(self.estimate[:, part] - self.reference[:, part]).square_().sum((-2, -1)) for part in self.slices()]
        return torch.cat(parts, dim=1) / self.count.clamp(min=1)

    def slices(self) -> list[slice]:
        """Groups of bands whose temporaries are of bounded size."""
        step = max(1, MAX_TEMPORARY // self.reference[:, :1].numel())
        n_bands = self.reference.shape[1]
        return [slice(start, min(start + step, n_bands)) for start in range(0, n_bands, step)]

    @property
    def band_valid(self) -> torch.Tensor:
        """Bands with any valid voxel, ``(batch, band)``."""
        return self.count > 0

    @cached_property
    def sparse_bands(self) -> torch.Tensor:
        """Bands that are mostly invalid, ``(batch, band)``: whole spectra are compared without them."""
        return self.count < MIN_VALID * self.count.amax(1, keepdim=True)

    @cached_property
    def pixel_valid(self) -> torch.Tensor | None:
        """Pixels valid in every band that is not sparse, ``(batch, y, x)``; None when all are."""
        if self.valid is None:
            return None
        return (self.valid | self.sparse_bands[:, :, None, None]).all(1)

    @cached_property
    def dead_bands(self) -> torch.Tensor:
        """Bands without contrast in the reference (constant, or no valid voxel), ``(batch, band)``."""
        low = self.reference if self.valid is None else torch.where(self.valid, self.reference, torch.inf)
        high = self.reference if self.valid is None else torch.where(self.valid, self.reference, -torch.inf)
        return ~(high.amax((-2, -1)) > low.amin((-2, -1)))

    def range_facts(self) -> dict[str, Any]:
        """The range that PSNR and SSIM use (of the batch's first cube), whether it was guessed, and where it had to be
        of a reference without contrast.
        """
        facts = {"data_range": float(self.data_range[0]), "data_range_guessed": not self.range_given}
        constant = not self.range_given and bool(self.dead_bands[0].all())
        return facts | ({"reference_constant": True} if constant else {})

    def excluded(self) -> dict[str, int]:
        """Voxels that no index sees."""
        if self.valid is None:
            return {}
        return {"invalid_voxels": int((~self.valid).sum())}
