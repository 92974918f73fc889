"""How an instrument relates a coarse cube and a fine panchromatic image of one scene."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.coarse_grid import check_offset, check_ratio

Array = NDArray[np.float64]
#: Gain at the coarse Nyquist frequency that the literature assumes of a hyperspectral sensor that does not say its own.
USUAL_MTF = 0.30


@dataclass(frozen=True, kw_only=True, eq=False)
class Optics:
    """How the coarse cube and the panchromatic image see the same scene.

    Attributes
    ----------
    ratio : int
        Fine pixels to a coarse one.
    offset : float
        Fine-pixel position of the first coarse pixel; default (ratio − 1)/2.
    shift : (float, float)
        Fine pixels (y, x) by which all coarse pixels lie elsewhere, as the maps of cube and PAN tell.
    mtf : float or array, shape (band,) or (band, 2)
        Gain of the bands at the coarse Nyquist frequency, in both directions or along y and along x.
    wavelength_nm : array, shape (band,), or None
    pan_response : array, shape (band,), or None
        Weights with which the bands make up the panchromatic image, where the sensor tells; None when not known.
    noise_variance : array, shape (band,), or None
        Of the coarse cube, at its mean level, units²; None when not known.
    error_variance : array, shape (band,), or None
        Of the errors that a denoised cube still has, units². They are no noise, which neighbours would average away:
        its fusion has them too.
    pan_variance : float or None
        Of the panchromatic image, units².
    full_scale : array, shape (band,), or None
        Lowest value of the coarse cube that is cut off; None when not known.
    pan_full_scale : float or None
        The same of the panchromatic image.
    pan_mtf : float or None
        The panchromatic image's own gain at its Nyquist frequency; None when not known.
    band_number : array of int, shape (band,), or None
        Of the bands in their cube, where some were chosen or put into another order.

    Examples
    --------
    >>> Optics(ratio=6, mtf=0.3).offset  # the middle of six fine pixels
    2.5
    """

    ratio: int
    offset: float | None = None
    shift: tuple[float, float] = (0.0, 0.0)
    mtf: Any = USUAL_MTF
    wavelength_nm: Array | None = None
    pan_response: Array | None = None
    noise_variance: Array | None = None
    error_variance: Array | None = None
    pan_variance: float | None = None
    full_scale: Array | None = None
    pan_full_scale: float | None = None
    pan_mtf: float | None = None
    band_number: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", check_ratio(self.ratio))
        object.__setattr__(self, "offset", check_offset(self.ratio, self.offset))
        for name in ("mtf", "pan_mtf"):
            require_gains(getattr(self, name), name)
        for name in ("noise_variance", "error_variance", "pan_variance"):
            require_variances(getattr(self, name), name)
        if self.pan_response is not None and not np.isfinite(self.pan_response).all():
            raise InputError("pan_response: found a weight that is not finite, expected numbers")
        if np.shape(self.shift) != (2,) or not np.isfinite(self.shift).all():
            raise InputError(f"shift: found {self.shift!r}, expected two numbers, (y, x)")
        # of a file it comes as an array, which no cache of blurs takes for a key
        object.__setattr__(self, "shift", (float(self.shift[0]), float(self.shift[1])))

    def of_made_pan(self) -> Optics:
        """Optics of a PAN that is made of guides: what a sensor tells of its own PAN holds for another image."""
        return dataclasses.replace(self, pan_response=None, pan_variance=None, pan_mtf=None, pan_full_scale=None)

    def select(self, bands: NDArray[np.int64]) -> Optics:
        """The optics of some of the bands."""
        changes: dict[str, Any] = {"band_number": bands if self.band_number is None else self.band_number[bands]}
        for name in ("mtf", "wavelength_nm", "pan_response", "noise_variance", "error_variance", "full_scale"):
            value = getattr(self, name)
            if value is not None and np.ndim(value):
                changes[name] = np.asarray(value)[bands]
        return dataclasses.replace(self, **changes)

    @property
    def same_mtf(self) -> bool:
        """Whether all bands have one MTF."""
        mtf = np.asarray(self.mtf)
        return mtf.ndim == 0 or bool(np.all(mtf == mtf[:1]))

    def mean_mtf(self) -> float:
        """One gain for all bands and both directions."""
        return float(np.mean(self.mtf))

    def mean_gains(self) -> Array:
        """Gain along y and x, one for all bands, ``(1, 2)``: PAN's filter where a method wants one low-pass image."""
        mtf = np.asarray(self.mtf, dtype=float)
        mean = mtf.mean(axis=0) if mtf.ndim else mtf
        return np.broadcast_to(mean, (1, 2))


def require_gains(gain: Any, name: str) -> None:
    """Raise `InputError` unless these are gains at a Nyquist frequency: one, or one a band, or two a band; or None."""
    if gain is None:
        return
    if np.ndim(gain) > 2 or (np.ndim(gain) == 2 and np.shape(gain)[1] != 2):
        raise InputError(f"{name}: found shape {np.shape(gain)}, expected one gain, one a band, or two a band (y, x)")
    if not ((np.asarray(gain) > 0) & (np.asarray(gain) <= 1)).all():
        raise InputError(f"{name}: found {np.min(gain):g} to {np.max(gain):g}, expected gains above 0 and at most 1")


def require_variances(variance: Any, name: str) -> None:
    """Raise `InputError` unless these are variances, or None."""
    if variance is None:
        return
    if not np.isfinite(variance).all():
        raise InputError(f"{name}: found a value that is not finite, expected numbers")
    if np.min(variance) < 0:
        raise InputError(f"{name}: found {np.min(variance):g}, expected at least 0")
