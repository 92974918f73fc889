"""GeoTIFF (extra ``geo``): wavelengths in the ``IMAGERY`` tags of each band, coordinate system, nodata."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.blocks import tiles
from hsitools.cube import BLOCK_BYTES, Cube, computed_tile
from hsitools.errors import FormatError, InputError
from hsitools.io import Progress
from hsitools.io.atomic import atomic_path
from hsitools.io.labels import nm_scale
from hsitools.lazy import Bands

SUFFIXES = (".tif", ".tiff")
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def can_read(path: Path) -> bool:
    """A TIFF header."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in MAGIC


def rasterio_module() -> Any:
    """The rasterio package, or an error that says how to get it."""
    try:
        import rasterio
    except ImportError:
        raise InputError("GeoTIFF: rasterio: not installed, expected `pip install hsitools[geo]`") from None
    return rasterio


class RasterSource:
    """Bands of a raster file, read by window."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _open(path) as file:
            self.shape = (int(file.count), int(file.height), int(file.width))
            self.dtype = np.dtype(np.result_type(*file.dtypes))

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.lazy.Source`."""
        try:
            with _open(self.path) as file:
                out = file.read(
                    [int(b) + 1 for b in bands], window=((rows.start, rows.stop), (columns.start, columns.stop))
                )
        except Exception as error:
            # damaged tiles fail in many ways: codecs, sizes, missing blocks
            raise FormatError(f"{self.path}: data: cannot be read; {' '.join(str(error).split())}") from None
        return np.asarray(out)


def _open(path: Path) -> Any:
    import warnings

    rasterio = rasterio_module()
    with warnings.catch_warnings():
        # a lab's cube without a map is no reason to warn
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path, driver="GTiff")


def read(path: Path) -> Cube:
    """Open the image, lazily."""
    source = RasterSource(path)
    with _open(path) as file:
        tags = [file.tags(band, ns="IMAGERY") | file.tags(band) for band in file.indexes]
        dataset = {key.lower(): value for key, value in (file.tags() | file.tags(ns="ENVI")).items()}
        nodata = file.nodata
        crs = None if file.crs is None else (_epsg(file.crs) or file.crs.to_wkt())
        transform = None if file.transform.is_identity else tuple(file.transform)[:6]
        scales, units = set(file.scales), next((unit for unit in file.units if unit), "")
    wavelength, fwhm = _wavelengths(tags, dataset, path)
    good = _list(dataset.get("bbl"), len(tags), f"{path}: bbl")
    scale = next(iter(scales)) if len(scales) == 1 else None
    return Cube(
        data=source, wavelength_nm=wavelength, fwhm_nm=fwhm, good=None if good is None else good != 0,  # type: ignore[arg-type]
        nodata=None if nodata is None else float(nodata), scale_factor=None if scale in (None, 1.0, 0.0) else scale,
        crs=crs, transform=transform, units=units or dataset.get("units", ""),
        name=dataset.get("name", path.stem), source=str(path),
    )  # fmt: skip


def _epsg(crs: Any) -> str | None:
    code = crs.to_epsg()
    return None if code is None else f"EPSG:{code}"


def _wavelengths(tags: list[dict[str, str]], dataset: dict[str, str], path: Path) -> tuple[Any, Any]:
    """Wavelength and width, nm, from band tags (GDAL's IMAGERY domain, ENVI's names) or lists of the whole file."""

    def per_band(*names: str) -> Any:
        for name in names:
            found = [band.get(name) for band in tags]
            if all(value is not None for value in found):
                try:
                    return np.array([float(value) for value in found if value is not None])
                except ValueError:
                    raise FormatError(f"{path}: {name}: found {found[0]!r}, expected numbers") from None
        return None

    centre = per_band("CENTRAL_WAVELENGTH_UM")
    if centre is not None:
        width = per_band("FWHM_UM")
        return centre * 1e3, None if width is None else width * 1e3
    unit = tags[0].get("wavelength_units") or dataset.get("wavelength_units") or dataset.get("wavelength units")
    centre, width = per_band("wavelength"), per_band("fwhm")
    if centre is None:
        centre = _list(dataset.get("wavelength"), len(tags), f"{path}: wavelength")
        width = _list(dataset.get("fwhm"), len(tags), f"{path}: fwhm")
    if centre is None:
        return None, None
    scale = nm_scale(centre, unit, f"{path}: wavelength")
    if scale is None:
        return None, None
    return centre * scale, None if width is None else width * scale


def _list(value: str | None, count: int, where: str) -> Any:
    if value is None:
        return None
    parts = [part for part in re.split(r"[,\s{}]+", value) if part]
    try:
        numbers = np.array([float(part) for part in parts])
    except ValueError:
        raise FormatError(f"{where}: found {value[:40]!r}, expected numbers") from None
    if len(numbers) != count:
        raise InputError(f"{where}: found {len(numbers)} values, expected {count}, one a band")
    return numbers


def write(cube: Cube, path: Path, progress: Progress) -> None:
    """Write a tiled, compressed GeoTIFF, block by block; a PAN is not kept, and said."""
    import logging
    import warnings

    rasterio = rasterio_module()
    if cube.pan is not None:
        logging.getLogger(__name__).warning("%s: GeoTIFF holds no panchromatic image: left out", path)
    dtype = np.dtype("u1") if cube.dtype.kind == "b" else cube.dtype.newbyteorder("=")
    if dtype == np.float16:
        dtype = np.dtype(np.float32)
    tile = 256
    profile: dict[str, Any] = {
        "driver": "GTiff", "count": cube.n_bands, "height": cube.shape[1], "width": cube.shape[2], "dtype": dtype.name,
        "interleave": "band", "compress": "deflate", "zlevel": 1, "tiled": True, "blockxsize": tile, "blockysize": tile,
        "bigtiff": "if_safer",
    }  # fmt: skip
    if cube.crs is not None:
        profile["crs"] = cube.crs
    if cube.transform is not None:
        profile["transform"] = rasterio.Affine(*cube.transform)
    if cube.nodata is not None:
        profile["nodata"] = cube.nodata
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(temporary, "w", **profile) as file:
            file.update_tags(name=cube.name, bbl=" ".join(map(str, cube.good.astype(int))), units=cube.units)
            if cube.scale_factor is not None:
                file.scales = [cube.scale_factor] * cube.n_bands
            for band in range(cube.n_bands):
                tags = {}
                for key, values in (("CENTRAL_WAVELENGTH_UM", cube.wavelength_nm), ("FWHM_UM", cube.fwhm_nm)):
                    if values is not None:
                        tags[key] = repr(float(values[band]) / 1e3)
                if tags:
                    file.update_tags(band + 1, ns="IMAGERY", **tags)
            parts = list(
                tiles(
                    cube.shape[1:],
                    max(1, BLOCK_BYTES // (cube.n_bands * dtype.itemsize)),
                    computed_tile(cube.data) or (tile, tile),
                )
            )
            for done, (rows, columns) in enumerate(parts, 1):
                values = cube.read(rows=rows, columns=columns).astype(dtype, copy=False)
                file.write(values, window=((rows.start, rows.stop), (columns.start, columns.stop)))
                progress(done, len(parts))
