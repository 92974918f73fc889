"""The registry of inversion methods: each is a decorated function with its name and paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from calibration.inversion.problem import Interferograms, Spectra
from hsitools.lookup import lookup

Function = Callable[..., Spectra]


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
    linear : bool
        Whether the estimate is proportional to the interferogram (for one choice of its parameters).
    """

    name: str
    paper: str
    function: Function
    std: bool = False
    image: bool = False
    linear: bool = True

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    def __call__(self, case: Interferograms) -> Spectra:
        """Invert."""
        return self.function(case)


METHODS: dict[str, Method] = {}
#: Importing it registers them; by name, since its modules import this one.
METHODS_PACKAGE = "calibration.inversion.methods"


def method(
    name: str, *, paper: str, std: bool = False, image: bool = False, linear: bool = True
) -> Callable[[Function], Function]:
    """Register a function as an inversion method."""

    def register(function: Function) -> Function:
        assert name not in METHODS
        METHODS[name] = Method(name=name, paper=paper, function=function, std=std, image=image, linear=linear)
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
