"""Responses of bands: Gaussians by centre and width, measured tables; resampling of cubes from bands to bands."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.sources import Bands, Source, as_source
from hsitools.errors import InputError
from hsitools.sensor.quadrature import hat_weights
from hsitools.sensor.spacing import gaps
from hsitools.text import counted

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: FWHM of a Gaussian over its standard deviation.
FWHM_SIGMA = 2 * np.sqrt(2 * np.log(2))
#: A band needs this share of its response (a half, but for rounding) inside the wavelengths at hand.
MIN_COVERAGE = 0.49
#: Samples beyond a band that are looked at where its own end in a gap.
BESIDE = 4
#: Widths of a band from which on two samples about its centre, so far apart, tell nothing of it but a straight line.
SPARSE = 3.0


@runtime_checkable
class SpectralResponse(Protocol):
    """What a sensor needs of its spectral part."""

    @property
    def n_bands(self) -> int:
        """Bands, or interferometers."""
        ...

    @property
    def wavelength_nm(self) -> Array | None:
        """Band centres; None when outputs are no bands."""
        ...

    @property
    def fwhm_nm(self) -> Array | None:
        """Band widths."""
        ...

    def coverage(self, wavelength_nm: Array) -> Array:
        """Share of each band's response inside the wavelengths, gaps between them left out, ``(band,)``."""
        ...

    def matrix(self, wavelength_nm: Array) -> Array:
        """Weights ``(band, wavelength)`` that turn a sampled spectrum into the bands' values; see
        `hsitools.sensor.quadrature`.
        """
        ...


class _Normalised:
    """Bands that give the mean of the spectrum, weighted by their response."""

    def curve(self, wavelength_nm: Array) -> Array:
        """Response ``(band, wavelength)`` at any wavelengths."""
        raise NotImplementedError

    def moments(self, edges_nm: Array) -> tuple[Array, Array]:
        """Integrals between edges, see `hsitools.sensor.quadrature.Moments`."""
        raise NotImplementedError

    def area(self) -> Array:
        """∫ response dλ over all wavelengths, nm, ``(band,)``."""
        raise NotImplementedError

    def coverage(self, wavelength_nm: Array) -> Array:
        """See `SpectralResponse.coverage`."""
        inside = hat_weights(self.moments, wavelength_nm).sum(axis=1)
        nodes = np.unique(wavelength_nm)
        return np.asarray((inside - self.moments(nodes)[0] @ gaps(nodes)) / self.area())

    def matrix(self, wavelength_nm: Array) -> Array:
        """See `SpectralResponse.matrix`; rows sum to one.

        Raises
        ------
        InputError
            When more than half of a band's response lies outside the wavelengths.
        """
        weights, total = hat_weights(self.moments, wavelength_nm), self.area()
        inside = weights.sum(axis=1)
        lacking = np.flatnonzero(inside < MIN_COVERAGE * total)
        if lacking.size:
            low, high = np.min(wavelength_nm), np.max(wavelength_nm)
            raise InputError(
                f"wavelength_nm: found {low:g} to {high:g} nm, expected to cover the response of all bands; "
                f"{lacking.size} of {len(total)} lie outside (first: band {lacking[0]})"
            )
        return np.asarray(weights / inside[:, None])

    def forward(self, spectrum: Array, wavelength_nm: Array) -> Array:
        """Band values ``(…, band)`` of spectra ``(…, wavelength)``."""
        return np.asarray(spectrum) @ self.matrix(wavelength_nm).T

    def adjoint(self, values: Array, wavelength_nm: Array) -> Array:
        """Transposed `forward`: ``(…, band)`` to ``(…, wavelength)``."""
        return np.asarray(values) @ self.matrix(wavelength_nm)


@dataclass(frozen=True, kw_only=True, eq=False)
class GaussianResponse(_Normalised):
    """Gaussian bands.

    Attributes
    ----------
    centre_nm, width_nm : array, shape (band,)
        Centre and full width at half maximum, nm.

    Raises
    ------
    InputError
        When they are not positive, or of different lengths.
    """

    centre_nm: Array
    width_nm: Array

    def __post_init__(self) -> None:
        for name in ("centre_nm", "width_nm"):
            value = np.atleast_1d(np.asarray(getattr(self, name), dtype=float))
            if value.ndim != 1 or not (np.isfinite(value).all() and (value > 0).all()):
                raise InputError(f"bands: {name}: expected positive numbers (band,), in nm")
            object.__setattr__(self, name, value)
        if len(self.centre_nm) != len(self.width_nm):
            raise InputError(f"bands: width_nm: found {len(self.width_nm)} values, expected {len(self.centre_nm)}")

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return len(self.centre_nm)

    @property
    def wavelength_nm(self) -> Array:
        """Centres."""
        return self.centre_nm

    @property
    def fwhm_nm(self) -> Array:
        """Widths."""
        return self.width_nm

    def curve(self, wavelength_nm: Array) -> Array:
        """Response ``(band, wavelength)``, peak 1."""
        sigma = self.width_nm[:, None] / FWHM_SIGMA
        return np.asarray(np.exp(-0.5 * ((wavelength_nm - self.centre_nm[:, None]) / sigma) ** 2))

    def moments(self, edges_nm: Array) -> tuple[Array, Array]:
        """See `_Normalised.moments`; in closed form."""
        from scipy.special import ndtr

        sigma, centre = self.width_nm[:, None] / FWHM_SIGMA, self.centre_nm[:, None]
        low, high = edges_nm[:-1], edges_nm[1:]
        a, b = (low - centre) / sigma, (high - centre) / sigma
        # both tails as lower ones, or their difference would be lost
        mirrored = a > 0
        area = ndtr(np.where(mirrored, -a, b)) - ndtr(np.where(mirrored, -b, a))
        peak = np.exp(-0.5 * ((edges_nm - centre) / sigma) ** 2)
        area *= np.sqrt(2 * np.pi) * sigma
        return area, (centre - low) * area - sigma**2 * np.diff(peak, axis=1)

    def area(self) -> Array:
        """See `_Normalised.area`."""
        return np.asarray(np.sqrt(2 * np.pi) * self.width_nm / FWHM_SIGMA)


@dataclass(frozen=True, kw_only=True, eq=False)
class TableResponse(_Normalised):
    """Measured response curves.

    Attributes
    ----------
    table_nm : array, shape (sample,)
        Ascending wavelengths of the table, nm; the response is zero outside.
    response : array, shape (band, sample)
        In any unit, one for all; negative readings (noise) count as zero.

    Raises
    ------
    InputError
        When shapes do not match, wavelengths do not ascend, or a band responds to nothing.
    """

    table_nm: Array
    response: Array

    def __post_init__(self) -> None:
        table = np.asarray(self.table_nm, dtype=float)
        response = np.atleast_2d(np.asarray(self.response, dtype=float))
        if table.ndim != 1 or response.shape[1:] != table.shape or len(table) < 2:
            raise InputError(f"response: found shape {response.shape}, expected (band, {table.size}) as table_nm")
        if not (np.isfinite(table).all() and (np.diff(table) > 0).all() and table[0] > 0):
            wrong = np.flatnonzero(~np.isfinite(table[1:]) | (np.diff(table) <= 0))
            said = "{:g}, {:g}".format(*table[wrong[0] : wrong[0] + 2]) if wrong.size else f"{table[0]:g}"
            raise InputError(f"response: table_nm: found {said}, expected positive wavelengths that ascend, in nm")
        if not np.isfinite(response).all():
            raise InputError(
                f"response: found {counted(int((~np.isfinite(response)).sum()), 'value')} not finite, expected none"
            )
        response = np.maximum(response, 0)
        dark = np.flatnonzero(response.sum(axis=1) == 0)
        if dark.size:
            raise InputError(f"response: band {dark[0]}: found no positive value, expected a response")
        object.__setattr__(self, "table_nm", table)
        object.__setattr__(self, "response", response)

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return len(self.response)

    @property
    def wavelength_nm(self) -> Array:
        """Centroids of the responses."""
        area, first = self.moments(self.table_nm)
        return np.asarray((first + self.table_nm[:-1] * area).sum(axis=1) / area.sum(axis=1))

    @property
    def fwhm_nm(self) -> Array:
        """Equivalent widths: area over peak."""
        return np.asarray(self.area() / self.response.max(axis=1))

    def curve(self, wavelength_nm: Array) -> Array:
        """Response ``(band, wavelength)``, linear between the table's samples."""
        return np.stack([np.interp(wavelength_nm, self.table_nm, row, left=0, right=0) for row in self.response])

    def moments(self, edges_nm: Array) -> tuple[Array, Array]:
        """See `_Normalised.moments`; exact for a response that is straight between the table's samples."""
        grid = np.union1d(self.table_nm, edges_nm)
        grid = grid[(grid >= edges_nm[0]) & (grid <= edges_nm[-1])]
        low, step = grid[:-1], np.diff(grid)
        # a table that ends above zero ends there, and is not drawn on to the next edge
        step = np.where((low >= self.table_nm[0]) & (grid[1:] <= self.table_nm[-1]), step, 0.0)
        response = self.curve(grid)
        left, right = response[:, :-1], response[:, 1:]
        area = step * (left + right) / 2
        # each interval begins at its edge
        start = np.searchsorted(grid, edges_nm[:-1])
        from_edge = low - np.repeat(edges_nm[:-1], np.diff(np.append(start, len(low))))
        first = step**2 * (left + 2 * right) / 6 + from_edge * area
        return np.add.reduceat(area, start, axis=1), np.add.reduceat(first, start, axis=1)

    def area(self) -> Array:
        """See `_Normalised.area`."""
        return np.asarray(np.trapezoid(self.response, self.table_nm, axis=1))


def box_response(low_nm: float, high_nm: float, edge_nm: float = 10.0) -> TableResponse:
    """One band that is flat between two wavelengths and falls to zero over ``edge_nm`` around each."""
    half = edge_nm / 2
    table = np.array([low_nm - half, low_nm + half, high_nm - half, high_nm + half])
    return TableResponse(table_nm=table, response=np.array([[0.0, 1.0, 1.0, 0.0]]))


class SpectralSource:
    """A cube seen through other bands (rows of positive weights): each window is one matrix product.

    A value is the mean over what is known. With wavelengths a spectrum is straight across samples that are missing in
    it, as it is across bands that are missing in all.
    """

    def __init__(self, source: Source, bands: Bands, matrix: Array, wavelength_nm: Array | None = None) -> None:
        self.source, self.bands, self.matrix, self.wavelength_nm = source, bands, matrix, wavelength_nm
        self.shape = (len(matrix), *source.shape[1:])
        self.dtype = np.dtype(np.float32) if source.dtype != np.float64 else np.dtype(np.float64)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        matrix = self.matrix[bands]
        used = np.flatnonzero(np.any(matrix != 0, axis=0))
        values: Any = self.source.read(self.bands[used], rows, columns).astype(self.dtype, copy=False)
        weights, flat = matrix[:, used].astype(self.dtype), values.reshape(len(used), -1)
        finite = np.isfinite(flat)
        if finite.all():
            out = weights @ flat
        else:
            # a band that mostly sees what is not known has no value
            total = weights.sum(axis=1, keepdims=True)
            covered = weights @ finite.astype(self.dtype) >= MIN_COVERAGE * total
            if self.wavelength_nm is not None:
                flat = self._without_gaps(flat, finite, used, rows, columns)
                finite = np.isfinite(flat)
            share = weights @ finite.astype(self.dtype) / total
            out = np.where(covered, weights @ np.where(finite, flat, 0) / np.where(covered, share, 1), np.nan)
        return out.reshape(len(bands), *values.shape[1:]).astype(self.dtype, copy=False)

    def _without_gaps(
        self, flat: NDArray[Any], finite: NDArray[np.bool_], used: Bands, rows: slice, columns: slice
    ) -> NDArray[Any]:
        """Spectra ``(used, pixel)``, straight across samples that are missing between others; those beyond stay so."""
        assert self.wavelength_nm is not None
        out = flat.copy()
        some = np.flatnonzero(~finite.all(axis=0) & finite.any(axis=0))
        if not some.size:
            return out
        # the band seen may end in a gap that a sample beyond it ends
        order = np.argsort(self.wavelength_nm)
        places = np.sort(np.argsort(order)[used])
        wide = order[max(places[0] - BESIDE, 0) : places[-1] + 1 + BESIDE]
        values: Any = self.source.read(self.bands[wide], rows, columns).reshape(len(wide), -1)[:, some]
        at, known = self.wavelength_nm[wide], np.isfinite(values)
        number = np.arange(len(wide))[:, None]
        before = np.maximum.accumulate(np.where(known, number, -1))
        after = np.minimum.accumulate(np.where(known, number, len(wide))[::-1])[::-1]
        inside = (before >= 0) & (after < len(wide))
        left, right = np.where(inside, before, 0), np.where(inside, after, 0)
        gap = at[right] - at[left]
        share = np.where(gap > 0, (at[:, None] - at[left]) / np.where(gap > 0, gap, 1), 0)
        low, high = (np.take_along_axis(values, place, axis=0) for place in (left, right))
        filled = np.where(inside, low + share * (high - low), np.nan)
        place_of = {int(band): place for place, band in enumerate(wide)}
        out[:, some] = filled[[place_of[int(band)] for band in used]]
        return out


def resample(cube: Cube, response: SpectralResponse) -> Cube:
    """The cube as another sensor's bands would see it; lazy, all labels that still hold are kept.

    Bands marked bad or of unknown wavelength are not used: the spectrum is taken as straight across them, which is said
    where samples lie more than `SPARSE` widths of a band apart. The width of
    the cube's own bands is not removed, so that the result is a little wider than ``response``.

    Parameters
    ----------
    cube : Cube
    response : SpectralResponse

    Raises
    ------
    InputError
        When the cube has no wavelengths, or they do not cover the response.
    """
    usable = known_bands(cube)
    assert cube.wavelength_nm is not None
    matrix = response.matrix(cube.wavelength_nm[usable])
    _say_unsampled(np.unique(cube.wavelength_nm[usable]), response, cube.who)
    # nodata becomes NaN here: left out of each band's mean
    source = as_source(cube.physical().data) if _marked(cube) else as_source(cube.data)
    return cube.replace(
        data=SpectralSource(source, usable, matrix, np.asarray(cube.wavelength_nm)[usable]),
        wavelength_nm=response.wavelength_nm,
        fwhm_nm=response.fwhm_nm,
        good=np.ones(response.n_bands, dtype=bool),
        nodata=None if cube.nodata is None else float("nan"),
        scale_factor=None if _marked(cube) else cube.scale_factor,
    )


def _say_unsampled(ascending_nm: Array, response: SpectralResponse, who: str) -> None:
    """Say how many bands lie between samples far apart: a straight line has no absorption."""
    centre, width = response.wavelength_nm, response.fwhm_nm
    if centre is None or width is None or len(ascending_nm) < 2:
        return
    right = np.clip(np.searchsorted(ascending_nm, centre), 1, len(ascending_nm) - 1)
    apart = ascending_nm[right] - ascending_nm[right - 1]
    # bands at a sample are seen by it
    near = np.minimum(np.abs(ascending_nm[right] - centre), np.abs(ascending_nm[right - 1] - centre))
    sparse = (apart > SPARSE * width) & (near > 0.5 * width)
    if sparse.any():
        first = int(np.flatnonzero(sparse)[0])
        log.warning(
            "%s: found %s between samples up to %.3g nm apart, narrower than a third of that (first: %.1f nm): they "
            "are a straight line between these", who, counted(int(sparse.sum()), "band"), float(apart[sparse].max()),
            float(centre[first]),
        )  # fmt: skip


def _marked(cube: Cube) -> bool:
    return cube.nodata is not None and bool(np.isfinite(cube.nodata))


def known_bands(cube: Cube) -> NDArray[np.int64]:
    """Good bands of known wavelength; raises `InputError` when there are less than two."""
    if cube.wavelength_nm is None:
        raise InputError(f"{cube.who}: wavelength_nm: not known, expected a wavelength for every band")
    usable = np.flatnonzero(cube.good & np.isfinite(cube.wavelength_nm))
    if len(usable) < 2:
        raise InputError(f"{cube.who}: good: found {len(usable)} good bands, expected at least two")
    return usable
