"""The cube: values ``(band, y, x)`` that keep their labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsitools.arrays import cube_data
from hsitools.cube import labels
from hsitools.cube.geometry import Transform, moved, short_name
from hsitools.cube.memory import require_memory
from hsitools.cube.sources import (
    MaskedSource,
    PhysicalSource,
    ScaledSource,
    ViewSource,
    as_source,
    band_numbers,
    chunks,
)
from hsitools.cube.statistics import BandStatistics
from hsitools.cube.stored import BLOCK_BYTES, Stored, stored_numbers
from hsitools.cube.windows import tiles, window_slices
from hsitools.errors import FormatError, InputError, require_type

if TYPE_CHECKING:
    import torch
    import xarray

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cube:
    """A hyperspectral cube, in memory or on disk, with its labels.

    Nothing is read until `read` (or `load`, `statistics`, …) is called; `select` and its kin only make views.

    Attributes
    ----------
    data : array, memmap, HDF5 dataset or `hsitools.cube.sources.Source`, shape (band, y, x)
        Masked elements of a masked array become NaN.
    wavelength_nm, fwhm_nm : array, shape (band,), or None when not known
        Single bands of unknown wavelength are NaN.
    good : array of bool, shape (band,)
        False for bands that the product calls bad.
    nodata : float or None
        Value that stands for no measurement (NaN always does).
    units : str
        Of the values, ``"1"`` for reflectance, ``"DN"`` for raw numbers, empty when not known.
    scale_factor : float or None
        What turns stored numbers into ``units`` where the file says so but the values are still as stored.
    crs : str or None
        Coordinate reference system: ``EPSG:n`` or WKT; a number or a CRS of rasterio or pyproj becomes one.
    transform : tuple of 6 floats or None
        Affine transform of pixel corners (a, b, c, d, e, f), as in rasterio (its Affine is taken).
    pan : Cube or None
        Panchromatic image of the same place: one band, finer pixels.
    name, source : str
        What it shows, and where it comes from.
    meta : dict
        Further facts of the product, plain data.

    Raises
    ------
    InputError
        When the data are no real numbers, or a label cannot be one of such a cube.

    Examples
    --------
    >>> import numpy as np
    >>> cube = Cube(data=np.arange(24.0).reshape(4, 2, 3), wavelength_nm=np.array([450, 550, 650, 850.0]))
    >>> cube.shape, cube.n_bands
    ((4, 2, 3), 4)
    >>> cube.select(wavelength=(500, 700)).read().mean(axis=(1, 2))
    array([ 8.5, 14.5])
    """

    data: Any
    wavelength_nm: Array | None = None
    fwhm_nm: Array | None = None
    good: NDArray[np.bool_] = None  # type: ignore[assignment]  # all True, set below
    nodata: float | None = None
    units: str = ""
    scale_factor: float | None = None
    crs: str | None = None
    transform: Transform | None = None
    pan: Cube | None = None
    name: str = ""
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", cube_data(self.data, f"{self.who}: data"))
        shape = getattr(self.data, "shape", None)
        if shape is None or len(shape) != 3 or min(shape) < 1:
            raise InputError(f"{self.who}: data: found shape {shape}, expected (band, y, x), none of them empty")
        if np.dtype(self.data.dtype).kind not in "uifb":
            raise InputError(f"{self.who}: data: found {self.data.dtype}, expected real numbers")
        bands, who = int(shape[0]), self.who
        checked: dict[str, Any] = {
            **{name: labels.text(getattr(self, name), f"{who}: {name}") for name in ("name", "units", "source")},
            "wavelength_nm": labels.wavelengths(self.wavelength_nm, bands, f"{who}: wavelength_nm"),
            "fwhm_nm": labels.one_a_band(self.fwhm_nm, bands, f"{who}: fwhm_nm"),
            "good": labels.flags(self.good, bands, f"{who}: good"),
            "nodata": labels.number(self.nodata, f"{who}: nodata"),
            "scale_factor": labels.factor(self.scale_factor, f"{who}: scale_factor"),
            "crs": labels.coordinate_system(self.crs, f"{who}: crs"),
            "transform": labels.affine(self.transform, f"{who}: transform"),
        }
        require_type(self.pan, (Cube, NoneType), f"{who}: pan", "a Cube of one band")
        if self.pan is not None and self.pan.n_bands != 1:
            raise InputError(f"{self.pan.source or who}: pan: found {self.pan.n_bands} bands, expected one")
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @staticmethod
    def require(value: Any, where: str = "cube") -> None:
        """Raise `InputError` unless a value is a cube."""
        require_type(value, Cube, where, "a Cube: open_cube(path), Cube(data=…), Cube.from_xarray(…)")

    @property
    def who(self) -> str:
        """What messages call it: its source, or its name, or ``cube``."""
        return self.source or self.name or "cube"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(band, y, x)."""
        band, y, x = self.data.shape
        return int(band), int(y), int(x)

    @property
    def n_bands(self) -> int:
        """Number of bands."""
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(self.data.dtype)

    @property
    def nbytes(self) -> int:
        """Memory that `load` would take, bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def in_memory(self) -> bool:
        """Whether the values are an array already."""
        return isinstance(self.data, np.ndarray) and not isinstance(self.data, np.memmap)

    @property
    def ratio(self) -> int | None:
        """Pixels of the panchromatic image to one of the cube; None without such an image."""
        return None if self.pan is None else max(1, round(self.pan.shape[1] / self.shape[1]))

    def __repr__(self) -> str:
        band = ""
        if self.wavelength_nm is not None:
            band = f", {np.nanmin(self.wavelength_nm):.0f}–{np.nanmax(self.wavelength_nm):.0f} nm"
        where = "in memory" if self.in_memory else "on disk"
        return f"<Cube {self.name!r} {'×'.join(map(str, self.shape))} {self.dtype}{band}, {where}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        values = self.read()
        return values if dtype is None else values.astype(dtype)

    # ---- reading -----------------------------------------------------------------------------------------------

    def read(
        self, bands: Sequence[int] | NDArray[Any] | None = None, rows: slice | None = None, columns: slice | None = None
    ) -> NDArray[Any]:
        """Values ``(band, y, x)`` of some bands and a window, read now.

        Raises
        ------
        InputError
            When a band or the window lies outside the cube, or memory would not suffice.
        """
        view = self.select(bands=bands, window=(rows or slice(None), columns or slice(None)))
        require_memory(view.nbytes, self.who)
        if isinstance(view.data, np.ndarray):
            return np.asarray(view.data)
        source = as_source(view.data)
        count, height, width = source.shape
        try:
            return source.read(np.arange(count), slice(0, height), slice(0, width))
        except OSError as error:
            raise FormatError(f"{self.who}: data: cannot be read; {' '.join(str(error).split())}") from None

    def load(self) -> Cube:
        """The same cube with its values (and those of its PAN) in memory."""
        return self.replace(data=self.read(), pan=None if self.pan is None else self.pan.load())

    def tiles(self, block_bytes: int = BLOCK_BYTES, itemsize: int | None = None) -> Iterator[tuple[slice, slice]]:
        """Windows (rows, columns) that together cover the cube, each of about ``block_bytes`` at all bands.

        Whole rows as far as they fit, and whole chunks of a chunked file, so that none is unpacked twice.
        """
        per_pixel = self.n_bands * (itemsize or self.dtype.itemsize)
        yield from tiles(self.shape[1:], max(1, int(block_bytes // per_pixel)), chunks(self.data))

    def valid(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of ``values`` (as `read` gave them) are measurements: finite, and not nodata."""
        valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, dtype=bool)
        if self.nodata is not None and np.isfinite(self.nodata):
            valid &= values != self.nodata
        return valid

    def statistics(self) -> dict[str, NDArray[Any]]:
        """Per band: ``n_valid``, ``min``, ``max``, ``mean``, ``std`` (ddof 0) in ``units``, nodata left out.

        Read block by block; a scale factor is applied. A band without any valid value has ``n_valid`` 0 and NaN.
        """
        statistics = BandStatistics(self.n_bands)
        for rows, columns in self.tiles():
            values = self.read(rows=rows, columns=columns)
            statistics.add(values, self.valid(values))
        return statistics.scaled(1.0 if self.scale_factor is None else self.scale_factor)

    # ---- views -------------------------------------------------------------------------------------------------

    def replace(self, **changes: Any) -> Cube:
        """A copy with some attributes changed and all other labels kept."""
        return dataclasses.replace(self, **changes)

    def with_data(self, data: Any, **changes: Any) -> Cube:
        """The same labels on new values of the same bands; a changed size in y or x drops transform and PAN."""
        if tuple(data.shape[1:]) != self.shape[1:]:
            changes = {"transform": None, "pan": None, **changes}
        return self.replace(data=data, **changes)

    def select(
        self,
        *,
        bands: Sequence[int] | NDArray[Any] | None = None,
        wavelength: tuple[float, float] | None = None,
        window: tuple[slice, slice] | tuple[int, int, int, int] | None = None,
    ) -> Cube:
        """A view of some bands and a window; nothing is read.

        Parameters
        ----------
        bands : sequence of int (any order, negative counts from the end) or of bool
        wavelength : (low, high)
            nm, both ends included; bands of unknown wavelength are left out.
        window : (rows, columns) as slices, or (y0, y1, x0, x1)
            Pixels; the panchromatic image follows.

        Raises
        ------
        InputError
            When nothing is left, a band does not exist, or the window lies outside.
        """
        chosen = np.arange(self.n_bands)
        if bands is not None:
            chosen = band_numbers(bands, self.n_bands, self.who)
        if wavelength is not None:
            if self.wavelength_nm is None:
                raise InputError(f"{self.who}: wavelength_nm: not known, so no bands can be chosen by wavelength")
            centre = self.wavelength_nm[chosen]
            inside = (centre >= min(wavelength)) & (centre <= max(wavelength))
            if not inside.any():
                raise InputError(
                    f"{self.who}: bands: found none between {min(wavelength):g} and {max(wavelength):g} nm, expected "
                    f"some of {np.nanmin(self.wavelength_nm):g} to {np.nanmax(self.wavelength_nm):g} nm"
                )
            chosen = chosen[inside]
        rows, columns = window_slices(window, self.shape[1:], self.who)
        _, height, width = self.shape
        whole = (rows, columns) == (slice(0, height), slice(0, width))
        every = np.array_equal(chosen, np.arange(self.n_bands))
        if whole and every:
            return self
        if isinstance(self.data, np.ndarray):
            data: Any = self.data[:, rows, columns] if every else self.data[chosen, rows, columns]
        else:
            data = ViewSource(as_source(self.data), chosen, rows, columns)
        pan, transform = self.pan, self.transform
        if not whole:
            if pan is not None:
                fine = pan.shape[1] // height, pan.shape[2] // width
                pan = pan.select(
                    window=(rows.start * fine[0], rows.stop * fine[0], columns.start * fine[1], columns.stop * fine[1])
                )
            if transform is not None:
                transform = moved(transform, rows.start, columns.start)
        return self.replace(
            data=data,
            wavelength_nm=None if self.wavelength_nm is None else self.wavelength_nm[chosen],
            fwhm_nm=None if self.fwhm_nm is None else self.fwhm_nm[chosen],
            good=self.good[chosen],
            pan=pan,
            transform=transform,
        )

    def drop_bad(self) -> Cube:
        """A view without the bad bands."""
        if not self.good.any():
            raise InputError(f"{self.who}: good: found no good band")
        return self.select(bands=np.flatnonzero(self.good))

    def mask_bad(self) -> Cube:
        """A view whose bad bands read as NaN (floating point at least)."""
        return self.replace(data=MaskedSource(as_source(self.data), ~self.good))

    def physical(self) -> Cube:
        """Values in ``units``: the scale factor applied and nodata as NaN, float32, still lazy.

        A copy holds these values, and no longer the file's numbers. The panchromatic image likewise.
        """
        pan = None if self.pan is None else self.pan.physical()
        stored = self.stored()
        marked = stored.nodata is not None and np.isfinite(stored.nodata)
        if stored.uniform and stored.scale[0] == 1 and self.scale_factor is None and not marked:
            return self if pan is self.pan else self.replace(pan=pan)
        source = ScaledSource(as_source(stored.data), stored.scale, stored.offset, stored.nodata)
        nodata = None if stored.nodata is None else float("nan")
        return self.replace(data=PhysicalSource(source), scale_factor=None, nodata=nodata, pan=pan)

    def stored(self) -> Stored:
        """The numbers as they lie in the file, and what turns them into `physical` values.

        A cube whose bands have scales of their own, or an offset, reads as physical values; those who copy it keep what
        is stored.
        """
        return stored_numbers(self.data, 1.0 if self.scale_factor is None else self.scale_factor, self.nodata)

    def rescaled(self, factor: float) -> Cube:
        """The stored numbers with this scale factor, whatever scales and offsets the file states."""
        stored = self.stored()
        return self.replace(data=stored.data, nodata=stored.nodata, scale_factor=factor)

    # ---- elsewhere ---------------------------------------------------------------------------------------------

    def to_torch(self, device: Any = None, dtype: Any = None) -> torch.Tensor:
        """Values as a tensor ``(1, band, y, x)``, float32 unless said otherwise; nodata becomes NaN."""
        import torch

        values = self.read()
        invalid = ~self.valid(values)
        # torch knows few unsigned types, and byte orders none at all
        tensor = torch.as_tensor(
            np.ascontiguousarray(values, dtype=np.float64 if dtype == torch.float64 else np.float32)
        )
        if invalid.any():
            tensor = tensor.clone()
            tensor[torch.from_numpy(invalid)] = torch.nan
        return tensor[None].to(device=device, dtype=dtype)

    def to_dask(self, chunks: tuple[int, int, int] | None = None) -> Any:
        """Values as a `dask.array` ``(band, y, x)``, read when computed: see `hsitools.scale.arrays.to_dask`."""
        from hsitools.scale.arrays import to_dask

        return to_dask(self, chunks)

    def to_xarray(self, *, dask: bool = False) -> xarray.DataArray:
        """As a DataArray of ``wavelength_nm``, ``fwhm_nm``, ``good``; with ``dask`` values are read when computed."""
        from hsitools.cube.interop import to_xarray

        return to_xarray(self, dask=dask)

    @classmethod
    def from_xarray(cls, array: xarray.DataArray | xarray.Dataset) -> Cube:
        """Inverse of `to_xarray`; knows other names, units, CF attributes and coordinates too, as files have them."""
        from hsitools.cube.interop import from_xarray

        return cls(**from_xarray(array))

    def describe(self) -> dict[str, Any]:
        """What ``hsi info`` says; nothing but labels is read."""
        centre, width = self.wavelength_nm, self.fwhm_nm
        out: dict[str, Any] = {
            "kind": "cube",
            "name": self.name,
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "units": self.units or None,
            "scale_factor": self.scale_factor,
            "wavelength_nm": None if centre is None else [float(np.nanmin(centre)), float(np.nanmax(centre))],
            "fwhm_nm": None if width is None else [float(np.nanmin(width)), float(np.nanmax(width))],
            "bad_bands": [int(band) for band in np.flatnonzero(~self.good)],
            "nodata": self.nodata,
            "crs": short_name(self.crs),
            "pixel_size": None if self.transform is None else [abs(self.transform[0]), abs(self.transform[4])],
            "pan": None if self.pan is None else {"shape": list(self.pan.shape), "ratio": self.ratio},
            "memory_mib": self.nbytes / 2**20,
        }
        if centre is not None and np.any(np.diff(centre) <= 0):
            out["note"] = "wavelengths do not ascend from band to band"
        return out | {key: value for key, value in self.meta.items() if isinstance(value, str | int | float)}
