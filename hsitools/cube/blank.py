"""Areas beyond a scene's edge that a file holds as numbers: one spectrum, exactly the same in all their pixels.

What lies outside a turned or masked image is often no declared nodata, and not always zero: an atmospheric correction
makes something of it, too. No detector reads one spectrum over and over, so such an area is no measurement; as values
it would have its part in every mean, regression and noise. It reaches a corner of the image, which tells it at the
cost of reading four of them. Where other spectra repeat as well, as in drawn scenes of few materials, nothing is told.

Of few bands (PAN is one) single pixels have the same numbers by chance. There the corner must be larger, no other value
may fill a block of pixels, and only blocks are taken; of a bright corner nothing is told: a cloud that saturates the
detector looks the same. Nor is anything told where the scene goes on from there, as from dark water, shadow or a black
background that were cut off at zero: beyond an area of no measurement it begins with a step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
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
#: Bands below which pixels of one spectrum are no area yet; side of the corners then; share of the other blocks along
#: edges and middle that may hold one spectrum; and steps by which an area reaches beyond its blocks, into its tips.
FEW_BANDS, SOLID, REPEATED, TIPS = 4, 8, 0.01, 2

#: Steps from pixel to pixel along a line out of an area of few bands, and how much larger the first of them are than
#: the last ones: about alike where a scene goes on, three times as large or more where it begins (23 scenes); and share
#: of its own spectrum among the pixels there (few photons: .6 to .7; tips of a turned image: up to .3).
AFTER, STEP, AGAIN = 6, 2.5, 0.5

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
    found = _of_corners(read, shape, CORNER)
    few = found is not None and np.isfinite(found).sum() < FEW_BANDS
    if few and min(shape) >= 2 * SOLID:
        found = _of_corners(read, shape, SOLID)
    elif few:
        found = None
    if found is None:
        return None
    strips = [read(slice(y, y + CORNER), slice(0, width)) for y in (0, (height - CORNER) // 2, height - CORNER)]
    strips += [
        read(slice(0, height), slice(x, x + CORNER)).swapaxes(1, 2) for x in (0, (width - CORNER) // 2, width - CORNER)
    ]
    if few:
        return found if _alone(strips, found) else None
    lines = [strip[:, 0] for strip in strips]
    # a pixel on two of the lines is one
    crossed = [0, (height - CORNER) // 2, height - CORNER]
    lines[3:] = [np.delete(line, crossed, axis=1) for line in lines[3:]]
    spectra = np.concatenate(lines, axis=1)
    others = spectra[:, ~is_blank(spectra[:, None], found)[0]]
    others = others[:, ~np.isnan(others).all(0)]
    if others.shape[1] < OTHERS:
        return None
    distinct = len(np.unique(np.nan_to_num(others.T), axis=0))
    return found if distinct >= DISTINCT * others.shape[1] else None


def _of_corners(read: Read, shape: tuple[int, int], side: int) -> Array | None:
    """The spectrum ``(band,)`` that fills a corner, or several; None where none is filled, or two differ."""
    ends = [(slice(0, side), slice(size - side, size)) for size in shape]
    found: Array | None = None
    for rows in ends[0]:
        for columns in ends[1]:
            corner = read(rows, columns).reshape(-1, side**2)
            own = corner[:, 0]
            if np.isnan(own).all() or not is_blank(corner[:, None], own).all():
                continue
            if found is not None and not np.array_equal(found, own, equal_nan=True):
                return None
            found = own
    return found


def _alone(strips: Sequence[Array], found: Array) -> bool:
    """Whether along strips ``(band, CORNER, n)`` no other spectrum fills blocks, and others are brighter."""
    other, repeated = 0, 0
    brightest = np.full(len(found), -np.inf)
    for strip in strips:
        blocks = np.lib.stride_tricks.sliding_window_view(strip, CORNER, axis=2)  # band, row, block, column
        first = blocks[:, :1, :, :1]
        same = ((blocks == first) | np.isnan(blocks)).all((0, 1, 3))
        own = is_blank(blocks[:, 0, :, 0][:, None], found)[0] & same
        missing = np.isnan(blocks).any((0, 1, 3))
        other, repeated = other + (~own & ~missing).sum(), repeated + (same & ~own & ~missing).sum()
        brightest = np.maximum(brightest, np.where(np.isnan(strip), -np.inf, strip).max((1, 2)))
    dark = other >= OTHERS and repeated <= REPEATED * other and (brightest > found).any()
    return bool(dark and _begins(strips, found))


def _begins(strips: Sequence[Array], found: Array) -> bool:
    """Whether what follows a spectrum's runs along strips ``(band, CORNER, n)`` begins with a step, in any band.

    Of two steps from pixel to pixel the larger: at the edge of an image that was resampled a pixel is a mixture.
    Where the spectrum itself comes again soon, as among few photons, nothing begins.
    """
    lines = [line for strip in strips for line in np.asarray(strip, dtype=float).swapaxes(0, 1)]
    first, last, again, level = [], [], [], np.full(len(found), np.inf)
    for line in (*lines, *(line[:, ::-1] for line in lines)):
        own = is_blank(line[:, None], found)[0]
        sizes = np.abs(np.diff(line))
        level = np.fmin(level, np.where(sizes > 0, sizes, np.inf).min(1))
        runs = np.asarray(np.lib.stride_tricks.sliding_window_view(own, SOLID).all(1))
        ends = np.flatnonzero(runs[:-1] & ~runs[1:]) + SOLID - 1
        after = ends[ends + AFTER < own.size, None] + np.arange(AFTER)
        steps = sizes[:, after]
        whole = ~np.isnan(steps).any((0, 2))
        steps = steps[:, whole]
        again.append(own[after[whole] + 1].ravel())
        first.append(steps[..., :2].max(2))
        last.append(steps[..., -2:].max(2))
    repeats = np.concatenate(again)
    if not repeats.size or repeats.mean() > AGAIN:
        return False
    # numbers of few levels have no smaller steps
    usual = np.maximum(np.median(np.concatenate(last, axis=1), axis=1), level)
    return bool((np.median(np.concatenate(first, axis=1), axis=1) > STEP * usual).any())


def is_blank(values: Array, spectrum: Array) -> NDArray[np.bool_]:
    """Pixels ``(y, x)`` of ``(band, y, x)`` whose spectrum is exactly this one; its NaN may be anything."""
    out = np.ones(values.shape[1:], dtype=bool)
    for band in np.flatnonzero(~np.isnan(spectrum)):
        np.logical_and(out, values[band] == spectrum[band], out=out)
        if not out.any():
            break
    return out


def blank_area(values: Array, spectrum: Array) -> NDArray[np.bool_]:
    """Pixels ``(y, x)`` that are blank: as `is_blank`, of few bands in blocks only, and beside these."""
    out = is_blank(values, spectrum)
    if np.isfinite(spectrum).sum() >= FEW_BANDS or not out.any():
        return out
    from scipy.ndimage import binary_dilation, binary_opening

    blocks = binary_opening(out, np.ones((CORNER, CORNER), dtype=bool))
    return np.asarray(binary_dilation(blocks, iterations=TIPS, mask=out) if blocks.any() else blocks)


class BlankSource:
    """Another source with NaN in all bands of pixels that are blank, float32 at least."""

    def __init__(self, source: Source, spectrum: Array) -> None:
        self.source, self.spectrum = source, spectrum
        self.shape, self.dtype = source.shape, np.result_type(source.dtype, np.float32)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        halo = 0 if np.isfinite(self.spectrum).sum() >= FEW_BANDS else CORNER - 1 + TIPS
        wide = [
            slice(max(part.start - halo, 0), min(part.stop + halo, size))
            for part, size in zip((rows, columns), self.shape[1:], strict=True)
        ]
        whole = self.source.read(np.arange(self.shape[0]), *wide)
        lost = blank_area(whole, self.spectrum)
        inner = tuple(
            slice(part.start - at.start, part.stop - at.start) for part, at in zip((rows, columns), wide, strict=True)
        )
        out = whole[bands][:, *inner].astype(self.dtype)
        out[:, lost[inner]] = np.nan
        return out


def without_blank(cube: Cube) -> Cube:
    """The cube, in physical units, with NaN where its file holds one spectrum beyond the scene; said where it does.

    Itself where nothing is blank. PAN stays as it is: it is a cube of its own.
    """
    height, width = cube.shape[1:]
    spectrum = blank_spectrum(lambda rows, columns: cube.read(None, rows, columns), (height, width))
    if spectrum is None:
        return cube
    log.warning(
        "%s: found one and the same %s all over a corner of the image; such pixels are taken as not measured",
        cube.who,
        "value" if cube.n_bands == 1 else "spectrum",
    )
    return cube.replace(data=BlankSource(as_source(cube.data), spectrum))
