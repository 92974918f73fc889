"""Areas beyond a scene's edge that a file holds as numbers: one spectrum, exactly the same in all their pixels.

What lies outside a turned or masked image is often no declared nodata, and not always zero: an atmospheric correction
makes something of it, too. No detector reads one spectrum over and over, so such an area is no measurement; as values
it would have its part in every mean, regression and noise. It reaches a corner of the image, which tells it at the
cost of reading four of them. Where other spectra repeat as well, as in drawn scenes of few materials, nothing is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.cube import Cube
from hsitools.cube.sources import Bands, Source, as_source

Array = NDArray[Any]
log = logging.getLogger(__name__)
#: Side of the corners that hold one spectrum, pixels.
CORNER = 3
#: Share of the other spectra along an image's edges and middle that must differ from one another, and least number.
DISTINCT, OTHERS = 0.9, 8

#: Values ``(band, y, x)`` of some rows and columns.
Read = Callable[[slice, slice], Array]


def blank_spectrum(read: Read, shape: tuple[int, int]) -> Array | None:
    """The spectrum ``(band,)`` that fills what lies beyond the scene; None where nothing does.

    Parameters
    ----------
    read : callable
        Values ``(band, y, x)`` of some rows and columns; bands that are NaN in it do not count.
    shape : (int, int)
        Rows and columns.

    Examples
    --------
    >>> import numpy as np
    >>> cube = np.random.default_rng(0).normal(size=(4, 20, 30))
    >>> cube[:, :6, :9] = np.array([0.0, -0.1, 0.2, 0.0])[:, None, None]
    >>> blank_spectrum(lambda rows, columns: cube[:, rows, columns], (20, 30)).tolist()
    [0.0, -0.1, 0.2, 0.0]
    """
    height, width = shape
    if min(shape) < 2 * CORNER:
        return None
    ends = [(slice(0, CORNER), slice(size - CORNER, size)) for size in shape]
    found: Array | None = None
    for rows in ends[0]:
        for columns in ends[1]:
            corner = read(rows, columns).reshape(-1, CORNER**2)
            own = corner[:, 0]
            if np.isnan(own).all() or not is_blank(corner[:, None], own).all():
                continue
            if found is not None and not np.array_equal(found, own, equal_nan=True):
                return None
            found = own
    if found is None:
        return None
    lines = [read(slice(y, y + 1), slice(0, width))[:, 0] for y in (0, height // 2, height - 1)]
    lines += [read(slice(0, height), slice(x, x + 1))[:, :, 0] for x in (0, width // 2, width - 1)]
    # a pixel on two of the lines is one
    middle = (height // 2, width // 2)
    lines[3:] = [np.delete(line, [0, middle[0], height - 1], axis=1) for line in lines[3:]]
    spectra = np.concatenate(lines, axis=1)
    others = spectra[:, ~is_blank(spectra[:, None], found)[0]]
    others = others[:, ~np.isnan(others).all(0)]
    if others.shape[1] < OTHERS:
        return None
    distinct = len(np.unique(np.nan_to_num(others.T), axis=0))
    return found if distinct >= DISTINCT * others.shape[1] else None


def is_blank(values: Array, spectrum: Array) -> NDArray[np.bool_]:
    """Pixels ``(y, x)`` of ``(band, y, x)`` whose spectrum is exactly this one; its NaN may be anything."""
    out = np.ones(values.shape[1:], dtype=bool)
    for band in np.flatnonzero(~np.isnan(spectrum)):
        np.logical_and(out, values[band] == spectrum[band], out=out)
        if not out.any():
            break
    return out


class BlankSource:
    """Another source with NaN in all bands of pixels that are blank, float32 at least."""

    def __init__(self, source: Source, spectrum: Array) -> None:
        self.source, self.spectrum = source, spectrum
        self.shape, self.dtype = source.shape, np.result_type(source.dtype, np.float32)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        whole = self.source.read(np.arange(self.shape[0]), rows, columns)
        out = whole[bands].astype(self.dtype)
        out[:, is_blank(whole, self.spectrum)] = np.nan
        return out


def without_blank(cube: Cube) -> Cube:
    """The cube, in physical units, with NaN where its file holds one spectrum beyond the scene; said where it does.

    Itself where nothing is blank. PAN stays as it is.
    """
    height, width = cube.shape[1:]
    spectrum = blank_spectrum(lambda rows, columns: cube.read(None, rows, columns), (height, width))
    if spectrum is None:
        return cube
    log.warning(
        "%s: found one and the same spectrum all over a corner of the image; such pixels are taken as not measured",
        cube.who,
    )
    return cube.replace(data=BlankSource(as_source(cube.data), spectrum))
