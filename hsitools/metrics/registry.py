"""The registry of quality indices: each is a decorated function with its name, paper, range, direction and unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from hsitools.lookup import lookup

#: What an index needs to know: both cubes; the fused cube with what it was made from; one cube alone.
KINDS = ("full reference", "full resolution", "no reference")


@dataclass(frozen=True, kw_only=True)
class Score:
    """An index of a batch.

    Attributes
    ----------
    value : Tensor, shape (batch,)
        NaN where everything had to be excluded (``excluded`` then says what).
    per_band : Tensor, shape (batch, band), or None
        NaN for excluded bands.
    excluded : dict of str to int
        What was left out, over the batch, and how many of it.
    facts : dict
        What else the value rests on.
    """

    value: torch.Tensor
    per_band: torch.Tensor | None = None
    excluded: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Index:
    """An entry of the registry.

    Attributes
    ----------
    name, kind, paper, unit : str
    low, high : float
        Range of values.
    best : float
        Value of a perfect cube (infinite for PSNR).
    function : callable
        Takes a `Pair`, `Fusion` or `Single` and gives a `Score`.
    needs_pan : bool
        Whether an index of a `Fusion` looks at its PAN.
    """

    name: str
    kind: str
    paper: str
    unit: str
    low: float
    high: float
    best: float
    function: Callable[..., Score]
    needs_pan: bool = True

    @property
    def higher_is_better(self) -> bool:
        """Direction."""
        return self.best >= self.high

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


INDICES: dict[str, Index] = {}


def index(
    name: str, *, kind: str, paper: str, unit: str, low: float, high: float, best: float, needs_pan: bool = True
) -> Callable[[Callable[..., Score]], Callable[..., Score]]:
    """Register a function as an index."""

    def register(function: Callable[..., Score]) -> Callable[..., Score]:
        assert name not in INDICES
        assert kind in KINDS
        INDICES[name] = Index(
            name=name,
            kind=kind,
            paper=paper,
            unit=unit,
            low=low,
            high=high,
            best=best,
            function=function,
            needs_pan=needs_pan,
        )
        return function

    return register


def get(name: str) -> Index:
    """The index of that name (any case); raises `InputError` with the nearest name when there is none."""
    return lookup(name, INDICES, "metric")


def mean_of(values: torch.Tensor, keep: torch.Tensor, dim: Any = -1) -> torch.Tensor:
    """Mean over ``dim`` of what is kept; NaN where nothing is."""
    total = torch.where(keep, values, 0).sum(dim)
    count = keep.sum(dim)
    return torch.where(count > 0, total / count.clamp(min=1), torch.nan)


def with_nan(values: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """``values`` where kept, NaN elsewhere."""
    return torch.where(keep, values, torch.full_like(values, torch.nan))
