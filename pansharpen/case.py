"""What a fusion method is given: a coarse cube and a fine panchromatic image (or several), as a whole or by tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch

from hsitools.cube.tensors import real_tensor
from hsitools.errors import InputError
from hsitools.text import counted
from pansharpen.guide import Guide, synthetic_pan
from pansharpen.mixture import ByParts
from pansharpen.optics import Optics
from pansharpen.tile import Tile


class Scene(Protocol):
    """What a method sees: a scene in memory (`FusionCase`) or streamed from disk (`pansharpen.tiled.LargeScene`).

    Statistics are sums over tiles and results are maps of tiles, so that the same few lines fuse either, with equal
    results.
    """

    @property
    def optics(self) -> Optics:
        """Ratio, MTF, responses."""
        ...

    @property
    def n_bands(self) -> int:
        """Bands of the cube."""
        ...

    @property
    def guides(self) -> tuple[Guide, ...]:
        """Other sharp images; of a scene that is streamed without their pixels."""
        ...

    @property
    def pan_made(self) -> bool:
        """Whether PAN is but the mean of the guides' channels, for methods that know no other sharp image."""
        ...

    @property
    def findings(self) -> dict[str, Any]:
        """Where a method puts, as plain data, what it found of the pair beside its result."""
        ...

    def sum(self, function: Callable[[Tile], Any]) -> Any:
        """Total over all tiles of what ``function`` gives of each: a tensor, or a (named) tuple of tensors."""
        ...

    def map(self, function: Callable[[Tile], torch.Tensor | ByParts]) -> Any:
        """The fused cube, of which ``function`` gives each tile's part ``(batch, band, y, x)``."""
        ...


def sharp_name(pan_made: bool) -> str:
    """What a scene's sharp image is called in messages, by `Scene.pan_made`."""
    return "the guide" if pan_made else "PAN"


@dataclass(frozen=True, kw_only=True, eq=False)
class FusionCase:
    """A scene in memory.

    Attributes
    ----------
    coarse : Tensor, shape (batch, band, y, x)
    pan : Tensor, shape (batch, 1, ratio·y, ratio·x)
    optics : Optics
    expanded : Tensor, shape (batch, band, ratio·y, ratio·x), or None
        The interpolated cube where the case brings its own.
    guides : tuple of Guide
        Other sharp images of the scene. Where there is no panchromatic one, ``pan`` is made of them: see `guided`.
    pan_made : bool
        Whether it is.
    valid, pan_valid : Tensor of bool, shape (batch, band, …) and (batch, 1, …), or None
        Voxels that hold a measurement; None when all do. See `pansharpen.in_memory.fuse_case`, which sets them.
    doubt, pan_doubt : Tensor of the shapes of coarse and pan, or None
        Variance of what stands for samples that are cut off at full scale: as ``valid``.
    reference : Tensor, shape (batch, band, ratio·y, ratio·x), or None
        The truth, where it is known. No method reads it.
    name : str
    notes : tuple of str
        What had to be assumed to make the case, for whoever reads its results.
    findings : dict
        See `Scene.findings`.

    Raises
    ------
    InputError
        When shapes do not fit one another.

    Examples
    --------
    >>> import torch
    >>> from pansharpen import Optics
    >>> case = FusionCase(coarse=torch.ones(1, 5, 8, 8), pan=torch.ones(1, 1, 32, 32), optics=Optics(ratio=4))
    >>> case.n_bands
    5
    """

    coarse: torch.Tensor
    pan: torch.Tensor
    optics: Optics
    expanded: torch.Tensor | None = None
    valid: torch.Tensor | None = None
    pan_valid: torch.Tensor | None = None
    doubt: torch.Tensor | None = None
    pan_doubt: torch.Tensor | None = None
    guides: tuple[Guide, ...] = ()
    pan_made: bool = False
    reference: torch.Tensor | None = None
    name: str = "case"
    notes: tuple[str, ...] = ()
    findings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("coarse", "pan", "expanded", "reference"):
            value = getattr(self, name)
            if value is None:
                continue
            value = real_tensor(value, f"{self.name}: {name}")
            value = value if value.is_floating_point() else value.to(torch.float32)
            object.__setattr__(self, name, value[None] if value.ndim == 3 else value)
            if getattr(self, name).ndim != 4:
                shape = tuple(value.shape)
                raise InputError(f"{self.name}: {name}: found shape {shape}, expected (band, y, x) or a batch of it")
        batch, band, y, x = self.coarse.shape
        r = self.optics.ratio
        for guide in self.guides:
            guide.check(batch, band, (r * y, r * x), self.name)
            if guide.ratio >= max(r, 2):
                raise InputError(f"{self.name}: {guide.name}: found pixels as large as the cube's, expected finer ones")
        fine = {"pan": 1, "expanded": band, "reference": band}
        for name, channels in fine.items():
            value, expected = getattr(self, name), (batch, channels, r * y, r * x)
            if value is not None and tuple(value.shape) != expected:
                raise InputError(
                    f"{self.name}: {name}: found shape {tuple(value.shape)}, expected {expected} "
                    f"for a cube of {band}×{y}×{x} at ratio {r}"
                )
        for name in ("mtf", "wavelength_nm", "pan_response", "noise_variance", "error_variance", "full_scale"):
            value = getattr(self.optics, name)
            # one row of gains along y and x is of all bands
            if value is None or (name == "mtf" and np.shape(value) in ((), (1, 2), (band, 2))):
                continue
            if np.shape(value) != (band,):
                found = counted(np.size(value), "value") if np.ndim(value) < 2 else f"shape {np.shape(value)}"
                raise InputError(f"{self.name}: {name}: found {found}, expected {band}, one a band")

    @property
    def n_bands(self) -> int:
        """Bands of the cube."""
        return int(self.coarse.shape[1])

    @cached_property
    def tile(self) -> Tile:
        """The whole as one tile."""
        return Tile(
            self.coarse, self.pan, self.optics, valid=self.valid, pan_valid=self.pan_valid, expanded=self.expanded,
            guides=self.guides, pan_made=self.pan_made, doubt=self.doubt, pan_doubt=self.pan_doubt,
        )  # fmt: skip

    def sum(self, function: Callable[[Tile], Any]) -> Any:
        """See `Scene.sum`."""
        return function(self.tile)

    def map(self, function: Callable[[Tile], torch.Tensor | ByParts]) -> torch.Tensor:
        """See `Scene.map`."""
        fused = function(self.tile)
        return fused.whole() if isinstance(fused, ByParts) else fused

    def replace(self, **changes: Any) -> FusionCase:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)

    def singles(self) -> list[FusionCase]:
        """The cubes of the batch, one case each."""
        names = ("coarse", "pan", "expanded", "valid", "pan_valid", "doubt", "pan_doubt", "reference")
        tensors = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return [
            self.replace(
                guides=tuple(guide.single(number) for guide in self.guides),
                **{name: value[number : number + 1] for name, value in tensors.items()},
            )
            for number in range(len(self.coarse))
        ]

    def to(self, *args: Any) -> FusionCase:
        """Tensors on another device or of another type, as `torch.Tensor.to`."""
        names = ("coarse", "pan", "expanded", "reference")
        return self.replace(
            guides=tuple(guide.to(*args) for guide in self.guides),
            **{name: getattr(self, name).to(*args) for name in names if getattr(self, name) is not None},
        )


def guided(coarse: torch.Tensor, guides: Sequence[Guide], optics: Optics, **others: Any) -> FusionCase:
    """A case without a panchromatic image: methods that know no other are given `pansharpen.guide.synthetic_pan`.

    Parameters
    ----------
    coarse : Tensor, shape (batch, band, y, x)
    guides : sequence of Guide
        At least one of them on the fine grid (``ratio=1``).
    optics : Optics
    others
        As of `FusionCase`.

    Raises
    ------
    InputError
        When no guide is on the fine grid, or shapes do not fit.

    Examples
    --------
    >>> import torch
    >>> from pansharpen import Optics
    >>> bands = Guide(image=torch.rand(4, 32, 32))
    >>> case = guided(torch.ones(1, 5, 8, 8), [bands], Optics(ratio=4))
    >>> tuple(case.pan.shape), tuple(case.tile.sharp.shape)
    ((1, 1, 32, 32), (1, 4, 32, 32))
    """
    guides = tuple(guides)
    name = others.get("name", "case")
    if all(guide.ratio != 1 for guide in guides):
        ratios = ", ".join(f"{guide.ratio}" for guide in guides) or "none"
        raise InputError(f"{name}: guides: found ratios {ratios}, expected at least one guide on the fine grid (1)")
    return FusionCase(
        coarse=coarse, pan=synthetic_pan(guides, optics.wavelength_nm), optics=optics.of_made_pan(), guides=guides,
        pan_made=True, **others,
    )  # fmt: skip
