"""Whether two cubes can be compared value by value: the same bands and units, in the same place."""

from __future__ import annotations

import numpy as np

from hsitools.cube.cube import Cube
from hsitools.cube.geometry import same_crs, short_name
from hsitools.cube.units import powers
from hsitools.errors import InputError

#: By how much the wavelength of one band may differ in two cubes: this share of the usual step, and of
#: the wavelength itself. One instrument's calibrations are a few nm apart; red and green are 100.
BAND, WAVELENGTH = 0.5, 0.02
#: Pixels by which the maps of one grid may differ. Corners and centres of pixels are half a pixel apart, and confused.
SAME_PLACE = 0.51


def require_comparable(cube: Cube, other: Cube, who: str = "", beside: str = "") -> None:
    """Raise `InputError` unless bands, units and places agree as far as both cubes tell them.

    Messages call the cubes ``who`` and ``beside``; by default what they call themselves.
    """
    require_same_bands(cube, other, who, beside)
    require_same_place(cube, other, who, beside)


def require_same_bands(cube: Cube, other: Cube, who: str = "", beside: str = "") -> None:
    """Raise `InputError` unless bands and units agree as far as both cubes tell them.

    Examples
    --------
    >>> import numpy as np
    >>> reflectance = Cube(data=np.ones((2, 3, 3)), units="1")
    >>> require_same_bands(reflectance.replace(units="%", name="a"), reflectance.replace(name="b"))
    Traceback (most recent call last):
    hsitools.errors.InputError: a: units: found '%', expected '1' as in b
    """
    who, beside = _names(cube, other, who, beside)
    if cube.n_bands != other.n_bands:
        raise InputError(f"{who}: bands: found {cube.n_bands}, expected {other.n_bands} as in {beside}")
    if cube.wavelength_nm is not None and other.wavelength_nm is not None:
        difference = np.nan_to_num(np.abs(cube.wavelength_nm - other.wavelength_nm))
        steps = np.diff(np.sort(other.wavelength_nm[np.isfinite(other.wavelength_nm)]))
        usual = BAND * float(np.median(steps)) if len(steps) else np.inf
        beyond = difference - np.minimum(usual, WAVELENGTH * other.wavelength_nm)
        worst = int(np.argmax(np.nan_to_num(beyond, nan=-np.inf)))
        if beyond[worst] > 0:
            raise InputError(
                f"{who}: wavelength_nm: band {worst}: found {cube.wavelength_nm[worst]:.2f}, "
                f"expected {other.wavelength_nm[worst]:.2f} as in {beside}"
            )
    if cube.units and other.units and powers(cube.units) != powers(other.units):
        raise InputError(f"{who}: units: found {cube.units!r}, expected {other.units!r} as in {beside}")


def require_same_place(cube: Cube, other: Cube, who: str = "", beside: str = "") -> None:
    """Raise `InputError` unless the pixels of two images of one size lie in one place, as far as both have maps."""
    who, beside = _names(cube, other, who, beside)
    if not same_crs(cube.crs, other.crs):
        raise InputError(f"{who}: crs: found {short_name(cube.crs)}, expected {short_name(other.crs)} as in {beside}")
    if cube.transform is None or other.transform is None or cube.shape[1:] != other.shape[1:]:
        return
    _, height, width = other.shape
    corners = np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    own, expected = (np.reshape(transform, (2, 3)) for transform in (cube.transform, other.transform))
    # columns and rows, each in its own pixels: these may be longer than they are wide
    distance = np.abs(np.linalg.solve(expected[:, :2], (own - expected) @ corners)).max()
    if not distance <= SAME_PLACE:
        raise InputError(f"{who}: transform: found a place {distance:.3g} pixels off, expected that of {beside}")


def _names(cube: Cube, other: Cube, who: str, beside: str) -> tuple[str, str]:
    return who or cube.who, beside or other.source or other.name or "the other cube"
