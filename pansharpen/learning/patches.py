"""Patches of training pairs: crops of normalised scenes, turned, mirrored, and now and then short of bands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pansharpen.case import FusionCase
from pansharpen.families.nets import Scale, measure
from pansharpen.in_memory import prepared
from pansharpen.learning.scene_pairs import Window


class Patch(NamedTuple):
    """Where a patch lies.

    ``turn`` is one of eight turned or mirrored ways; ``bands`` (first, last + 1) are the only ones that it is given,
    None means all: so the net learns to do without.
    """

    part: int
    window: Window
    turn: int = 0
    bands: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A case as a net sees it: normalised tensors without a batch axis.

    Attributes
    ----------
    base, truth : Tensor, shape (band, y, x)
        Interpolated (or otherwise upsampled) cube and reference, in deviations of the scene's bands.
    pan : Tensor, shape (1, y, x)
    measured : Tensor of bool, shape (1, y, x)
        Where both are.
    has : Tensor of bool, shape (band,)
        Bands that the scene has; in the others the nearest of these stands in, as when fusing.
    spectrum, mean, std, correlation : Tensor, shape (band,)
    """

    base: torch.Tensor
    truth: torch.Tensor
    pan: torch.Tensor
    measured: torch.Tensor
    has: torch.Tensor
    spectrum: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    correlation: torch.Tensor

    @classmethod
    def of(
        cls, case: FusionCase, wavelength_nm: NDArray[np.float64], upsampled: Callable[[FusionCase], FusionCase]
    ) -> Part:
        """The part made from a case with reference, in the net's bands, upsampled as by `Net.upsampled`."""
        assert case.reference is not None
        ready = prepared(case)
        tile = upsampled(ready).tile
        scale: Scale = measure(ready)
        measured = torch.isfinite(case.reference[0]).all(0, keepdim=True)
        if tile.measured is not None:
            measured = measured & tile.measured[0]
        own = case.optics.wavelength_nm
        distance = np.abs(wavelength_nm[:, None] - (wavelength_nm if own is None else own)[None])
        into = torch.as_tensor(distance.argmin(axis=1))
        has = torch.zeros(len(wavelength_nm), dtype=torch.bool)
        has[torch.as_tensor(distance.argmin(axis=0))] = True
        return cls(
            base=scale.cube(tile.expanded)[0, into], truth=scale.cube(torch.nan_to_num(case.reference))[0, into],
            pan=scale.pan(tile.pan)[0], measured=measured, has=has.to(measured.device),
            spectrum=scale.spectrum[0, into], mean=scale.mean[0, into].float(), std=scale.std[0, into].float(),
            correlation=scale.correlation[0, into].float(),
        )  # fmt: skip

    def crop(self, patch: Patch) -> dict[str, torch.Tensor]:
        """The tensors of a patch; ``measured`` becomes (band, y, x)."""
        y0, y1, x0, x1 = patch.window
        count = len(self.has)
        low, high = patch.bands or (0, count)
        place = torch.arange(count, device=self.has.device)
        kept = place.clamp(low, high - 1)
        out = {}
        for name in ("base", "truth", "pan", "measured"):
            values = getattr(self, name)[:, y0:y1, x0:x1]
            values = values.mT if patch.turn & 4 else values
            axes = [axis for axis, bit in ((-2, 1), (-1, 2)) if patch.turn & bit]
            values = values.flip(axes) if axes else values
            out[name] = values[kept] if patch.bands and name in ("base", "truth") else values
        out["measured"] = out["measured"] & (self.has & (place == kept))[:, None, None]
        return out | {name: getattr(self, name)[kept] for name in ("spectrum", "mean", "std", "correlation")}


def patch_side(parts: Sequence[Part], patch: int, ratio: int) -> int:
    """Side of patches in fine pixels: ``patch`` coarse ones, or as much as the smallest part has."""
    smallest = min(min(part.pan.shape[-2:]) for part in parts)
    return min(patch * ratio, smallest // ratio * ratio)


def draw(parts: Sequence[Part], side: int, ratio: int, rng: np.random.Generator) -> list[Patch]:
    """Patches of an epoch in random order, as many as cover each part once.

    Windows begin at coarse pixels. Every other patch is given a range of bands only.
    """
    out: list[Patch] = []
    for number, part in enumerate(parts):
        height, width = part.pan.shape[-2:]
        for _ in range(-(-height // side) * -(-width // side)):
            y0, x0 = (ratio * int(rng.integers((size - side) // ratio + 1)) for size in (height, width))
            low, high = sorted(rng.integers(len(part.has) + 1, size=2).tolist())
            bands = (low, high) if rng.integers(2) and high > low else None
            out.append(Patch(number, (y0, y0 + side, x0, x0 + side), int(rng.integers(8)), bands))
    return [out[place] for place in rng.permutation(len(out))]


def cover(parts: Sequence[Part], side: int) -> Iterator[Patch]:
    """Windows that cover each part once, for validation."""
    for number, part in enumerate(parts):
        height, width = part.pan.shape[-2:]
        for y0 in range(0, height, side):
            for x0 in range(0, width, side):
                yield Patch(number, (y0, min(y0 + side, height), x0, min(x0 + side, width)))


def stack(patches: Sequence[dict[str, torch.Tensor]], device: Any) -> dict[str, torch.Tensor]:
    """A batch on a device."""
    return {name: torch.stack([patch[name] for patch in patches]).to(device) for name in patches[0]}
