"""The registry of inversion methods: each is a decorated function with its name and paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from calibration.inversion.problem import Interferograms, Spectra
from hsitools.lookup import lookup

Function = Callable[..., Spectra]
Inside = tuple[slice, slice]


class Learned(Protocol):
    """A method that has learned from an image what it needs of it; it inverts that image, or parts of it."""

    @property
    def reach(self) -> int:
        """Pixels of surroundings that a part must have for its own to be as in the whole image."""
        ...

    def __call__(self, case: Interferograms, inside: Inside | None = None) -> Spectra:
        """Invert a part of the image; of rows and columns ``inside`` only where the rest is its surroundings."""
        ...


@dataclass(frozen=True)
class Pixelwise:
    """A method that inverts each pixel by itself and learns nothing of the others."""

    function: Function
    reach: int = 0

    def __call__(self, case: Interferograms, inside: Inside | None = None) -> Spectra:
        """Invert."""
        return self.function(case if inside is None else case.inside(inside))


@dataclass(frozen=True, kw_only=True)
class Method:
    """An entry of the registry.

    Attributes
    ----------
    name, paper : str
    function : callable
        Takes `Interferograms` and gives `Spectra` of the same pixels.
    std : bool
        Whether it gives error bars.
    image : bool
        Whether it learns from all pixels together: of unrelated spectra, as held-out lines, it makes nothing.
    learn : callable or None
        Takes `Interferograms` of an image and a device of torch and gives `Learned`; None of methods that learn nothing
        from pixels together.
    linear : bool
        Whether the estimate is proportional to the interferogram (for one choice of its parameters).
    """

    name: str
    paper: str
    function: Function
    std: bool = False
    image: bool = False
    linear: bool = True
    learn: Callable[[Interferograms, str], Learned] | None = None

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    def __call__(self, case: Interferograms) -> Spectra:
        """Invert."""
        return self.function(case)

    def learned(self, case: Interferograms, device: str = "cpu") -> Learned:
        """What the method learns from an image (or a sample of it), to invert it part by part."""
        return Pixelwise(self.function) if self.learn is None else self.learn(case, device)


METHODS: dict[str, Method] = {}
#: Importing it registers them; by name, since its modules import this one.
METHODS_PACKAGE = "calibration.inversion.methods"


def method(
    name: str, *, paper: str, std: bool = False, image: bool = False, linear: bool = True,
    learn: Callable[[Interferograms, str], Learned] | None = None,
) -> Callable[[Function], Function]:  # fmt: skip
    """Register a function as an inversion method."""

    def register(function: Function) -> Function:
        assert name not in METHODS
        METHODS[name] = Method(
            name=name, paper=paper, function=function, std=std, image=image, linear=linear, learn=learn
        )
        return function

    return register


def get(name: str) -> Method:
    """The method of that name (any case); raises `InputError` with the nearest name when there is none."""
    import_module(METHODS_PACKAGE)
    return lookup(name, METHODS, "method")


def names() -> list[str]:
    """Names of all methods."""
    import_module(METHODS_PACKAGE)
    return list(METHODS)


def list_methods() -> list[Method]:
    """Inversion methods: each with its name, paper, and whether it gives error bars.

    Examples
    --------
    >>> [method.name for method in list_methods() if method.image]
    ['joint']
    """
    import_module(METHODS_PACKAGE)
    return list(METHODS.values())
