"""PRISMA L1 and L2 products (``.he5``), after ASI's product specification.

VNIR and SWIR cubes have axes (row, band, column) and bands of descending wavelength, some of them unused (wavelength
zero in ``List_Cw_*``). They come out as one cube of ascending wavelengths. Where the two detectors overlap (about 920
to 1010 nm) all bands are kept, and those of SWIR are marked bad, so that each wavelength is counted once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube, Transform
from hsitools.errors import FormatError, InputError
from hsitools.io.labels import is_hdf5, text
from hsitools.lazy import ArraySource, Bands, ScaledSource, Source, StackedSource, ViewSource

OVERLAP = "all bands kept; where the detectors overlap, SWIR bands are marked bad"
#: Nominal pixels, m.
PIXEL, PAN_PIXEL = 30.0, 5.0


def can_read(path: Path) -> bool:
    """HDF-EOS5 with a PRISMA swath."""
    if not is_hdf5(path):
        return False
    import h5py

    with h5py.File(path, "r") as file:
        return _swath(file, "HCO") is not None


def _swath(file: Any, kind: str) -> str | None:
    """Name of the swath of the hyperspectral cube (``HCO``) or the panchromatic one (``PCO``)."""
    swaths = file.get("HDFEOS/SWATHS")
    if swaths is None:
        return None
    return next((name for name in swaths if name.startswith("PRS_L") and name.endswith(kind)), None)


class FilledSource:
    """Scaled values with NaN where the product has no data: digital number zero in all of the probed bands.

    A single dark band may well be zero; a pixel off the swath is zero in every band.
    """

    def __init__(self, scaled: Source, numbers: Source) -> None:
        self.source, self.numbers = scaled, numbers
        self.shape, self.dtype = scaled.shape, scaled.dtype
        self._probes = np.unique(np.linspace(0, self.shape[0] - 1, 5).astype(np.int64))

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.lazy.Source`."""
        out = self.source.read(bands, rows, columns)
        # what is not zero in the bands at hand needs no probe
        suspect = (self.numbers.read(bands[:1], rows, columns) == 0).all(axis=0)
        if suspect.any():
            suspect &= (self.numbers.read(self._probes, rows, columns) == 0).all(axis=0)
            out[:, suspect] = np.nan
        return out


def read(path: Path) -> Cube:
    """Open the product, lazily: reflectance (L2) or radiance (L1), real wavelengths, PAN, grid."""
    import h5py

    file = h5py.File(path, "r")
    swath = _swath(file, "HCO")
    fields = file[f"HDFEOS/SWATHS/{swath}"].get("Data Fields")
    if fields is None:
        raise FormatError(f"{path}: {swath}: Data Fields: missing")
    attributes = file.attrs
    parts: list[Source] = []
    numbers: list[Source] = []
    centres, widths, detectors = [], [], []
    for detector in ("Vnir", "Swir"):
        name = f"{detector.upper()}_Cube"
        if name not in fields:
            raise FormatError(f"{path}: {name}: missing, expected numbers (row, band, column)")
        data = fields[name]
        if data.ndim != 3 or data.dtype.kind not in "uif":
            raise InputError(f"{path}: {name}: found {data.dtype} of shape {data.shape}, expected (row, band, column)")
        raw = ArraySource(data, (1, 0, 2))
        centre = _list(attributes, f"List_Cw_{detector}", raw.shape[0], path)
        width = np.zeros(raw.shape[0])
        if f"List_Fwhm_{detector}" in attributes:
            width = _list(attributes, f"List_Fwhm_{detector}", raw.shape[0], path)
        used = np.flatnonzero(centre > 0)
        view = ViewSource(raw, used, slice(0, raw.shape[1]), slice(0, raw.shape[2]))
        numbers.append(view)
        parts.append(ScaledSource(view, *_scale(attributes, detector, path)))
        centres.append(centre[used])
        widths.append(width[used])
        detectors += [detector] * len(used)
    if parts[0].shape[1:] != parts[1].shape[1:]:
        raise InputError(f"{path}: SWIR_Cube: found {parts[1].shape[1:]}, expected {parts[0].shape[1:]} as VNIR (y, x)")
    wavelength, fwhm = np.concatenate(centres), np.concatenate(widths)
    order = np.argsort(wavelength, kind="stable")
    if not order.size:
        raise InputError(f"{path}: List_Cw_Vnir: found only zeros, expected wavelengths")
    swir = np.array(detectors)[order] == "Swir"
    last_vnir = centres[0].max() if centres[0].size else 0.0
    _, height, width_px = parts[0].shape
    whole = slice(0, height), slice(0, width_px)
    stacked = ViewSource(StackedSource(parts), order, *whole)
    raw_stacked = ViewSource(StackedSource(numbers), order, *whole)
    level = (swath or "").split("_")[1]
    return Cube(
        data=FilledSource(stacked, raw_stacked),
        wavelength_nm=wavelength[order],
        fwhm_nm=np.where(fwhm[order] > 0, fwhm[order], np.nan),
        good=~(swir & (wavelength[order] <= last_vnir)),
        nodata=float("nan"),
        units="1" if level.startswith("L2") else "W m-2 sr-1 um-1",
        crs=_crs(attributes),
        transform=_transform(attributes, (height, width_px), PIXEL),
        pan=_pan(file, path, (height, width_px)),
        name=text(attributes.get("Product_ID", path.stem)),
        source=str(path),
        meta={"product": f"PRISMA {level}", "overlap": OVERLAP},
    )


def _pan(file: Any, path: Path, coarse: tuple[int, int]) -> Cube | None:
    """PAN, which covers the cube of ``coarse`` pixels (y, x): the corners that the product names are the cube's."""
    swath = _swath(file, "PCO")
    data = None if swath is None else file.get(f"HDFEOS/SWATHS/{swath}/Data Fields/Cube")
    if data is None:
        return None
    if data.ndim != 2 or data.dtype.kind not in "uif":
        raise InputError(f"{path}: PAN Cube: found {data.dtype} of shape {data.shape}, expected numbers (row, column)")
    raw: Source = ArraySource(_OneBand(data))
    units = "1" if "_L2" in (swath or "") else "W m-2 sr-1 um-1"
    if any(name in file.attrs for name in ("L2ScalePanMin", "ScaleFactor_Pan")):
        raw = ScaledSource(raw, *_scale(file.attrs, "Pan", path), nodata=0)
    else:
        units = "DN"
    return Cube(
        data=raw,
        nodata=float("nan") if units != "DN" else 0.0,
        units=units,
        crs=_crs(file.attrs),
        transform=_pan_transform(file.attrs, data.shape, coarse),
        name="panchromatic",
        source=f"{path}: PAN",
    )


class _OneBand:
    """An image (row, column) as an array (1, row, column)."""

    def __init__(self, image: Any) -> None:
        self.image, self.dtype = image, image.dtype
        self.shape = (1, *image.shape)
        self.chunks = None if image.chunks is None else (1, *image.chunks)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> NDArray[Any]:
        return np.asarray(self.image[index[1:]])[None]


def _list(attributes: Any, name: str, n_bands: int, path: Path) -> NDArray[np.float64]:
    if name not in attributes:
        raise FormatError(f"{path}: {name}: missing, expected {n_bands} values in nm")
    values = np.ravel(np.asarray(attributes[name], dtype=float))
    if values.shape != (n_bands,):
        raise InputError(f"{path}: {name}: found {len(values)} values, expected {n_bands}, one a band")
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError(f"{path}: {name}: expected finite wavelengths, zero for unused bands")
    return values


def _scale(attributes: Any, detector: str, path: Path) -> tuple[float, float]:
    """Scale and offset from digital numbers to physical values."""

    def number(name: str) -> float:
        if name not in attributes:
            raise FormatError(f"{path}: {name}: missing, expected a number")
        return float(np.ravel(attributes[name])[0])

    if f"L2Scale{detector}Min" in attributes:
        low, high = number(f"L2Scale{detector}Min"), number(f"L2Scale{detector}Max")
        return (high - low) / 65535, low
    factor = number(f"ScaleFactor_{detector}")
    if factor == 0:
        raise InputError(f"{path}: ScaleFactor_{detector}: found 0, expected the divisor of digital numbers")
    return 1 / factor, -number(f"Offset_{detector}")


def _crs(attributes: Any) -> str | None:
    code = attributes.get("Epsg_Code")
    return None if code is None or int(np.ravel(code)[0]) <= 0 else f"EPSG:{int(np.ravel(code)[0])}"


def _pan_transform(attributes: Any, shape: tuple[int, int], coarse: tuple[int, int]) -> Transform | None:
    ratio = shape[0] // coarse[0]
    if shape != (ratio * coarse[0], ratio * coarse[1]):
        return _transform(attributes, shape, PAN_PIXEL)
    whole = _transform(attributes, coarse, PIXEL)
    if whole is None:
        return None
    a, b, c, d, e, f = whole
    return (a / ratio, b / ratio, c, d / ratio, e / ratio, f)


def _transform(attributes: Any, shape: tuple[int, int], pixel: float) -> Transform | None:
    names = [f"Product_{corner}corner_{axis}" for corner in ("UL", "LR") for axis in ("easting", "northing")]
    if any(name not in attributes for name in names):
        return None
    left, top, right, bottom = (float(np.ravel(attributes[name])[0]) for name in names)
    if not (right > left and top > bottom):
        return None
    # products have named both the corners' pixel centres and their outer edges: the nominal pixel tells which
    centres = abs((right - left) / max(shape[1] - 1, 1) - pixel) < abs((right - left) / shape[1] - pixel)
    n_x, n_y = (shape[1] - 1, shape[0] - 1) if centres else (shape[1], shape[0])
    a, e = (right - left) / max(n_x, 1), (bottom - top) / max(n_y, 1)
    half = 0.5 if centres else 0.0
    return (a, 0.0, left - half * a, 0.0, e, top - half * e)
