"""Bands in the order of the spectrum while they are restored, and back in the file's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from denoise.case import Known, NoiseModel, Restoration
from hsitools.arrays import real_array
from hsitools.cube.spectral_order import by_wavelength

Restore = TypeVar("Restore", bound=Callable[..., Any])


def in_order_of_spectrum(restore: Restore) -> Restore:
    """`denoise.restore.restore`, for bands that may come in any order: it is given them by wavelength."""

    @wraps(restore)
    def ordered(
        values: NDArray[Any], *method: Any, known: Known | None = None, use: NDArray[np.bool_] | None = None,
        wavelength_nm: NDArray[Any] | None = None, who: str = "cube", **options: Any,
    ) -> Restoration:  # fmt: skip
        order = None if wavelength_nm is None else by_wavelength(np.arange(len(wavelength_nm)), wavelength_nm)
        # what is of other bands is for `restore` to refuse
        if order is None or np.shape(values)[:1] != order.shape or not (np.diff(order) < 0).any():
            as_given: Restoration = restore(
                values, *method, known=known, use=use, wavelength_nm=wavelength_nm, who=who, **options
            )
            return as_given
        given = real_array(values, who)
        if known is not None:
            known.check(given.shape, who)
            known = _each(known, order)
        found = restore(
            given[order], *method, known=known, use=None if use is None else np.asarray(use)[order],
            wavelength_nm=np.asarray(wavelength_nm)[order], who=who, **options,
        )  # fmt: skip
        return _back(found, order)

    return cast(Restore, ordered)


def _back(found: Restoration, bands: NDArray[np.int64]) -> Restoration:
    """A restoration of all bands, in the order that they had before ``bands`` put them into another one."""
    back = np.argsort(bands)
    said = dict(found.provenance)
    if "doubtful_bands" in said:
        said["doubtful_bands"] = sorted(bands[said["doubtful_bands"]].tolist())
    noise: NoiseModel | None = None if found.noise is None else _each(found.noise, back)
    layers = {name: getattr(found, name) for name in ("estimate", "std", "mask")}
    changes: dict[str, Any] = {name: layer[back] for name, layer in layers.items() if layer is not None}
    return dataclasses.replace(found, **changes, noise=noise, provenance=said)


def _each(item: Any, bands: NDArray[np.int64]) -> Any:
    """A dataclass of arrays ``(band, …)``, of some bands; what neighbouring pixels share is that of all."""
    fields = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    of_bands = {name: value for name, value in fields.items() if value is not None and name != "pixels"}
    return dataclasses.replace(item, **{name: np.asarray(value)[bands] for name, value in of_bands.items()})
