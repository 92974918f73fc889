"""Bands in the order of the spectrum while they are judged: some indices compare neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.spectral_order import by_wavelength

Order = NDArray[np.int64]


def order_of(*images: Any) -> Order | None:
    """Numbers of the bands by wavelength, of the first cube that tells it; None where they are so, or none tells.

    Examples
    --------
    >>> import numpy as np
    >>> order_of(Cube(data=np.ones((3, 4, 4)), wavelength_nm=[650, 550, 450])).tolist()
    [2, 1, 0]
    """
    told = (image.wavelength_nm for image in images if isinstance(image, Cube))
    wavelength = next((nm for nm in told if nm is not None), None)
    if wavelength is None:
        return None
    order = by_wavelength(np.arange(len(wavelength)), wavelength)
    return order if (np.diff(order) < 0).any() else None


def ordered(image: Any, order: Order | None) -> Any:
    """A cube, or an array ``(…, band, y, x)``, with its bands in this order; as it is where it has others."""
    if order is None or image is None:
        return image
    if isinstance(image, Cube):
        return image.select(bands=order) if image.n_bands == len(order) else image
    image = image if hasattr(image, "shape") else np.asarray(image)
    fits = len(image.shape) >= 3 and image.shape[-3] == len(order)
    return image[..., order, :, :] if fits else image


def ordered_numbers(numbers: Any, order: Order | None) -> Any:
    """The same of numbers ``(band, …)``; one for all bands stays."""
    if order is None or numbers is None or np.ndim(numbers) == 0 or len(numbers) != len(order):
        return numbers
    return np.asarray(numbers)[order]
