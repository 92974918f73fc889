"""Bands in the order of the spectrum: what neighbours have in common is asked of bands that are neighbours there.

Files hold bands in any order: red, green, blue, or one detector after another where both overlap.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def by_wavelength(bands: NDArray[Any], wavelength_nm: NDArray[Any] | None) -> NDArray[np.int64]:
    """Numbers of some bands, by wavelength; in the order given where the wavelength of one is not known.

    Parameters
    ----------
    bands : array of int, or of bool, shape (band,)
        Numbers, or which ones.
    wavelength_nm : array, shape (band,), or None
        Of all bands.

    Examples
    --------
    >>> import numpy as np
    >>> by_wavelength(np.array([True, True, False, True]), np.array([650.0, 550, 700, 450])).tolist()
    [3, 1, 0]
    """
    numbers = np.flatnonzero(bands) if np.asarray(bands).dtype == bool else np.asarray(bands, dtype=np.int64)
    if wavelength_nm is None:
        return numbers
    own = np.asarray(wavelength_nm, dtype=float)[numbers]
    return numbers[np.argsort(own, kind="stable")] if np.isfinite(own).all() else numbers
