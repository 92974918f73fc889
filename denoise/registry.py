"""The registry of denoisers: each is a decorated function with its name and paper."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from denoise.case import Restoration
from hsitools.errors import InputError, require_type
from hsitools.lookup import lookup

Function = Callable[..., Restoration]


@dataclass(frozen=True, kw_only=True)
class Method:
    """An entry of the registry.

    Attributes
    ----------
    name, paper : str
    function : callable
        Takes an `Observation` and gives a `Restoration` of the same shape.
    samples : bool
        Whether it draws posterior samples: then it also takes ``samples`` (int), ``seed`` (int) and ``weights``
        (folder, or None for those of the package). A method with nets may also take ``device``: where they run, as
        torch names it.

    Examples
    --------
    >>> from denoise import list_methods
    >>> {method.name for method in list_methods()} >= {"lowrank", "diffusion"}
    True
    """

    name: str
    paper: str
    function: Function
    samples: bool = False

    @property
    def on_device(self) -> bool:
        """Whether it says where its nets run."""
        return "device" in inspect.signature(self.function).parameters

    @property
    def trained(self) -> bool:
        """Whether it takes weights: what it gives is as they are."""
        return self.samples

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


METHODS: dict[str, Method] = {}


def method(name: str, *, paper: str, samples: bool = False) -> Callable[[Function], Function]:
    """Register a function as a denoiser.

    Examples
    --------
    >>> from denoise import Restoration
    >>> from denoise.registry import METHODS
    >>> @method("as it is", paper="an example")
    ... def as_it_is(observation):
    ...     '''Nothing is changed.'''
    ...     return Restoration(estimate=observation.values)
    >>> METHODS.pop("as it is").summary  # and forgotten again
    'Nothing is changed.'
    """

    def register(function: Function) -> Function:
        assert name not in METHODS
        METHODS[name] = Method(name=name, paper=paper, function=function, samples=samples)
        return function

    return register


def get(name: str) -> Method:
    """The method of that name (any case); raises `InputError` with the nearest name when there is none."""
    return lookup(name, METHODS, "method")


def options_of(entry: Method, samples: int, seed: int, weights: str | Path | None, device: str) -> dict[str, Any]:
    """What a method is called with, of what a user asks for; raises `InputError` for what it cannot have."""
    options: dict[str, Any] = {}
    if entry.on_device or device not in ("auto", "cpu"):
        from hsitools.devices import device_named  # loads torch, which methods without nets do not need

        place = str(device_named(device))
        options = {"device": place} if entry.on_device else {}
    for name, number in (("samples", samples), ("seed", seed)):
        require_type(number, (int, np.integer), f"{entry.name}: {name}", "a whole number")
    if min(samples, seed) < 0:
        name, number = ("samples", samples) if samples < 0 else ("seed", seed)
        raise InputError(f"{entry.name}: {name}: found {number}, expected at least 0")
    if entry.samples:
        return options | {"samples": samples, "seed": seed, "weights": weights}
    if samples or weights is not None:
        what = "samples" if samples else "weights"
        raise InputError(f"{entry.name}: {what}: found some, expected none: the method has no posterior")
    return options
