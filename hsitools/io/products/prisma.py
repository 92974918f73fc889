"""PRISMA L1 and L2 products (``.he5``), after ASI's product specification.

VNIR and SWIR cubes have axes (row, band, column) and bands of descending wavelength, some of them unused (wavelength
zero in ``List_Cw_*``; zero in ``List_Cw_*_Flags`` makes one bad). They come out as one cube of ascending wavelengths.
Where the two detectors overlap (about 920 to 1010 nm) all bands are kept, and those of SWIR are marked bad, so that
each wavelength is counted once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube, Transform
from hsitools.cube.sources import ArraySource, Source, ViewSource
from hsitools.errors import FormatError, InputError
from hsitools.io.detectors import OVERLAP, Detector, joined
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.io.labels import is_hdf5, text
from hsitools.io.off_swath import OffSwath
from hsitools.io.scales import physical
from hsitools.text import counted

PRIORITY = 20  # HDF5 of its own layout: before the general formats
#: Nominal pixel of the cube, m.
PIXEL = 30.0


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


def read(path: Path) -> Cube:
    """Open the product, lazily: reflectance (L2) or radiance (L1), real wavelengths, PAN, grid."""
    file = open_hdf5(path)
    swath = _swath(file, "HCO")
    fields = file[f"HDFEOS/SWATHS/{swath}"].get("Data Fields")
    if fields is None:
        raise FormatError(f"{path}: {swath}: Data Fields: missing")
    attributes = file.attrs
    detectors, numbers = [], []
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
        bands: dict[str, Any] = {
            "name": name,
            "wavelength_nm": centre[used],
            "fwhm_nm": np.where(width > 0, width, np.nan)[used],
        }
        flags = f"List_Cw_{detector}_Flags"
        if flags in attributes:
            bands["good"] = (_list(attributes, flags, raw.shape[0], path) != 0)[used]
        numbers.append(Detector(source=view, **bands))
        values = physical(view, *_scale(attributes, detector, path), None, f"{path}: {name}")
        detectors.append(Detector(source=values, **bands))
    if not sum(len(detector.wavelength_nm) for detector in detectors):
        raise InputError(f"{path}: List_Cw_Vnir: found only zeros, expected wavelengths")
    labels = joined(detectors, str(path))
    labels["data"] = OffSwath(labels["data"], joined(numbers, str(path))["data"])
    _, height, width_px = labels["data"].shape
    level = (swath or "").split("_")[1]
    transform = _transform(attributes, (height, width_px), PIXEL)
    return Cube(
        **labels,
        nodata=float("nan"),
        units=_units(level),
        crs=_crs(attributes),
        transform=transform,
        pan=_pan(file, path, transform, (height, width_px)),
        name=text(attributes.get("Product_ID", path.stem)),
        source=str(path),
        meta={"product": f"PRISMA {level}", "overlap": OVERLAP.format("SWIR")} | _flags(fields),
    )


def _flags(fields: Any) -> dict[str, str]:
    """Which maps of pixels' errors the product has: they are not applied."""
    names = [name for name in fields if name.endswith("_ERR_MATRIX")]
    return {"pixel_flags": f"left in the file: {', '.join(names)}"} if names else {}


def _units(level: str) -> str:
    """L1 is radiance at the sensor and L2B at the surface; L2C and L2D are reflectance."""
    return "1" if level in ("L2C", "L2D") else "W m-2 sr-1 um-1"


def _pan(file: Any, path: Path, coarse: Transform | None, coarse_shape: tuple[int, int]) -> Cube | None:
    swath = _swath(file, "PCO")
    data = None if swath is None else file.get(f"HDFEOS/SWATHS/{swath}/Data Fields/Cube")
    if data is None:
        return None
    if data.ndim != 2 or data.dtype.kind not in "uif":
        raise InputError(f"{path}: PAN Cube: found {data.dtype} of shape {data.shape}, expected numbers (row, column)")
    raw: Source = ArraySource(_OneBand(data))
    units = _units((swath or "").split("_")[1])
    if any(name in file.attrs for name in ("L2ScalePanMin", "ScaleFactor_Pan")):
        raw = physical(raw, *_scale(file.attrs, "Pan", path), 0, f"{path}: PAN")
    else:
        units = "DN"
    return Cube(
        data=raw,
        nodata=float("nan") if units != "DN" else 0.0,
        units=units,
        crs=_crs(file.attrs),
        transform=_pan_transform(coarse, coarse_shape, data.shape),
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
        raise InputError(f"{path}: {name}: found {counted(len(values), 'value')}, expected {n_bands}, one a band")
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


def _pan_transform(coarse: Transform | None, coarse_shape: tuple[int, int], shape: tuple[int, int]) -> Transform | None:
    """PAN's grid: it covers the cube's extent, whatever the product's corners name."""
    if coarse is None:
        return None
    a, _, c, _, e, f = coarse
    return (a * coarse_shape[1] / shape[1], 0.0, c, 0.0, e * coarse_shape[0] / shape[0], f)
