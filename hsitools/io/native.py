"""Our own file: HDF5 that is a valid NetCDF-4 file (``cube`` (band, y, x), ``wavelength_nm``, ``fwhm_nm``, ``good``).

Other HDF5 files with one cube in them are read too: names and axes are looked for, never assumed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools import __version__
from hsitools.blocks import tiles
from hsitools.cube import BLOCK_BYTES, Cube, computed_tile
from hsitools.errors import FormatError, InputError
from hsitools.io import Progress
from hsitools.io.atomic import atomic_path
from hsitools.io.labels import axes_with_band, band_axis, is_hdf5, nm_scale, text, well_known_text
from hsitools.lazy import ArraySource, ScaledSource, Source

FORMAT, VERSION = "hsitools-cube", 1
SUFFIXES = (".h5", ".nc", ".hdf5")
#: Formats of ours that hold no cube though they hold arrays of three axes.
CUBE_NAMES = ("cube", "reflectance", "radiance", "data")
WAVELENGTH_NAMES = ("wavelength_nm", "wavelength", "wavelengths", "central_wavelength")
FWHM_NAMES = ("fwhm_nm", "fwhm")
GOOD_NAMES = ("good", "good_band", "good_bands", "good_wavelengths", "bbl")
#: Chunks (rows, columns): windows stay cheap, and a spectrum touches few of them.
CHUNK = (64, 64)
NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable.%10d"


def can_read(path: Path) -> bool:
    """HDF5 with a cube at its root that no other of our formats claims."""
    if not is_hdf5(path):
        return False
    import h5py

    with h5py.File(path, "r") as file:
        declared = file.attrs.get("format")
        if declared is not None and declared != FORMAT and text(declared).startswith("hsitools-"):
            return False
        return _find_cube(file) is not None


def _find_cube(group: Any) -> str | None:
    """Name of the cube: one of the usual names, or the only array of three axes that fits the wavelengths."""
    import h5py

    found = [
        name
        for name, item in group.items()
        if isinstance(item, h5py.Dataset) and item.ndim == 3 and item.dtype.kind in "uif" and item.size
    ]
    for name in CUBE_NAMES:
        if name in found:
            return name
    # an array of another name is a cube only when wavelengths come with it
    lengths = [len(group[name]) for name in WAVELENGTH_NAMES if name in group and getattr(group[name], "ndim", 0) == 1]
    sure = [name for name in found if set(lengths) & set(group[name].shape)]
    return sure[0] if len(sure) == 1 and "frames" not in found else None


def read(path: Path) -> Cube:
    """Open the cube, lazily."""
    import h5py

    file = h5py.File(path, "r")
    cube = _read_group(file, str(path))
    pan = _read_group(file["pan"], f"{path}: pan") if isinstance(file.get("pan"), h5py.Group) else None
    return cube.replace(pan=pan)


def _read_group(group: Any, where: str) -> Cube:
    name = _find_cube(group)
    if name is None:
        raise FormatError(f"{where}: cube: missing, expected numbers (band, y, x)")
    data = group[name]
    attributes = {key: group.attrs[key] for key in group.attrs}
    own = {key: data.attrs[key] for key in data.attrs}
    wavelength = _vector(group, WAVELENGTH_NAMES, data.shape, where)
    n_bands = None if wavelength is None else len(wavelength[0])
    source: Source = ArraySource(data, _axes(attributes, data.shape, n_bands, f"{where}: {name}"))
    nodata = own.get("_FillValue", attributes.get("nodata"))
    nodata = None if nodata is None else float(np.ravel(nodata)[0])
    scale = own.get("scale_factor", attributes.get("scale_factor"))
    scale = None if scale is None or float(np.ravel(scale)[0]) == 1 else float(np.ravel(scale)[0])
    offset = float(np.ravel(own.get("add_offset", 0.0))[0])
    if offset:
        source = ScaledSource(source, scale or 1.0, offset, nodata)
        scale, nodata = None, float("nan")
    labels: dict[str, Any] = {}
    if wavelength is not None:
        factor = nm_scale(wavelength[0], wavelength[1], f"{where}: {wavelength[2]}")
        if factor is not None:
            labels["wavelength_nm"] = wavelength[0] * factor
            fwhm = _vector(group, FWHM_NAMES, (n_bands,), where)
            if fwhm is not None:
                unit = fwhm[1] or wavelength[1]
                labels["fwhm_nm"] = fwhm[0] * (nm_scale(fwhm[0], unit, where) or 1.0 if unit else factor)
    good = _vector(group, GOOD_NAMES, (source.shape[0],), where)
    if good is not None:
        labels["good"] = good[0] != 0
    crs, transform = _grid(group, own)
    known = {"name", "title", "source", "format", "version", "meta", "Conventions", "history", "axes", "nodata"}
    meta = _json(attributes.get("meta"), where)
    for key, value in attributes.items():
        if key not in known and key != "scale_factor" and (isinstance(value, str | bytes) or np.ndim(value) == 0):
            meta.setdefault(key, text(value) if isinstance(value, str | bytes) else np.asarray(value).item())
    return Cube(
        data=source, nodata=nodata, scale_factor=scale, units=text(own.get("units", "")), crs=crs, transform=transform,
        name=text(attributes.get("name", attributes.get("title", ""))), source=where, meta=meta, **labels,
    )  # fmt: skip


def _vector(
    group: Any, names: tuple[str, ...], shape: tuple[Any, ...], where: str
) -> tuple[Any, str | None, str] | None:
    """The first of the named vectors whose length is that of an axis: values, unit, name."""
    wrong = None
    for name in names:
        item = group.get(name)
        if item is None or not hasattr(item, "dtype") or item.dtype.kind not in "uifb" or item.ndim != 1:
            continue
        if len(item) in shape:
            unit = item.attrs.get("units")
            if name.endswith("_nm"):
                unit = "nm"
            return np.asarray(item[()], dtype=float), None if unit is None else text(unit), name
        wrong = wrong or (name, len(item))
    if wrong is not None:
        raise InputError(f"{where}: {wrong[0]}: found {wrong[1]} values, expected as many as bands, of shape {shape}")
    return None


def _axes(attributes: dict[str, Any], shape: tuple[int, ...], n_bands: int | None, where: str) -> tuple[int, int, int]:
    declared = [part.strip() for part in text(attributes.get("axes", "")).split(",")]
    if sorted(declared) == ["band", "x", "y"]:
        return declared.index("band"), declared.index("y"), declared.index("x")
    return axes_with_band(band_axis(shape, n_bands, 0, where))


def _grid(group: Any, own: dict[str, Any]) -> tuple[str | None, Any]:
    mapping = group.get(text(own.get("grid_mapping", "spatial_ref")))
    if mapping is None:
        return None, None
    crs = mapping.attrs.get("crs", mapping.attrs.get("crs_wkt", mapping.attrs.get("spatial_ref")))
    numbers = mapping.attrs.get("GeoTransform")
    transform = None
    if numbers is not None:
        # GDAL's order: origin x, pixel width, row rotation, origin y, column rotation, pixel height
        c, a, b, f, d, e = (float(value) for value in text(numbers).split())
        transform = (a, b, c, d, e, f)
    return None if crs is None else text(crs), transform


def _json(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    try:
        found = json.loads(text(value))
    except ValueError:
        raise FormatError(f"{where}: meta: found {text(value)[:40]!r}, expected JSON") from None
    return found if isinstance(found, dict) else {}


def write(cube: Cube, path: Path, progress: Progress) -> None:
    """Write as NetCDF-4 / HDF5, block by block, compressed without loss."""
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        file.attrs.update(
            Conventions="CF-1.8", format=FORMAT, version=VERSION, name=cube.name, title=cube.name,
            history=f"written by hsitools {__version__}", meta=json.dumps(cube.meta, default=str),
        )  # fmt: skip
        if cube.source:
            file.attrs["source"] = cube.source
        _write_group(file, cube, progress)
        if cube.pan is not None:
            _write_group(file.create_group("pan", track_order=True), cube.pan, progress)


def _write_group(group: Any, cube: Cube, progress: Progress) -> None:
    band, height, width = cube.shape
    chunk = (min(band, 32), min(height, CHUNK[0]), min(width, CHUNK[1]))
    data = group.create_dataset(
        "cube", shape=cube.shape, dtype=cube.dtype if cube.dtype.kind != "b" else np.uint8, chunks=chunk,
        compression="gzip", compression_opts=1, shuffle=True,
    )  # fmt: skip
    attributes: dict[str, Any] = {"units": cube.units or "1" if cube.scale_factor else cube.units}
    if cube.nodata is not None and _fits(cube.nodata, cube.dtype):
        attributes["_FillValue"] = np.asarray(cube.nodata, dtype=cube.dtype)
    if cube.scale_factor is not None:
        attributes["scale_factor"] = cube.scale_factor
    scales: dict[str, NDArray[Any]] = {"band": np.arange(band, dtype=np.int32)}
    if cube.transform is not None and cube.transform[1] == cube.transform[3] == 0:
        a, _, c, _, e, f = cube.transform
        scales["y"] = f + e * (np.arange(height) + 0.5)
        scales["x"] = c + a * (np.arange(width) + 0.5)
    for axis, (name, size) in enumerate(zip(("band", "y", "x"), cube.shape, strict=True)):
        if name in scales:
            scale = group.create_dataset(name, data=scales[name])
            scale.make_scale(name)
        else:
            scale = group.create_dataset(name, shape=(size,), dtype=">f4")
            scale.make_scale(NO_VARIABLE % size)
        data.dims[axis].attach_scale(scale)
    vectors = {"wavelength_nm": cube.wavelength_nm, "fwhm_nm": cube.fwhm_nm, "good": cube.good.astype(np.uint8)}
    standard = {"wavelength_nm": "radiation_wavelength"}
    present = []
    for name, values in vectors.items():
        if values is None:
            continue
        vector = group.create_dataset(name, data=values)
        vector.dims[0].attach_scale(group["band"])
        vector.attrs["units"] = "nm" if name.endswith("_nm") else "1"
        if name in standard:
            vector.attrs["standard_name"] = standard[name]
        present.append(name)
    attributes["coordinates"] = " ".join(present)
    if cube.crs is not None or cube.transform is not None:
        mapping = group.create_dataset("spatial_ref", data=np.int32(0))
        if cube.crs is not None:
            mapping.attrs["crs_wkt"] = mapping.attrs["spatial_ref"] = well_known_text(cube.crs)
            mapping.attrs["crs"] = cube.crs
        if cube.transform is not None:
            a, b, c, d, e, f = cube.transform
            mapping.attrs["GeoTransform"] = " ".join(repr(float(value)) for value in (c, a, b, f, d, e))
        attributes["grid_mapping"] = "spatial_ref"
        for name, standard_name in (("x", "projection_x_coordinate"), ("y", "projection_y_coordinate")):
            if name in scales:
                group[name].attrs["standard_name"] = standard_name
    data.attrs.update(attributes)
    parts = list(
        tiles((height, width), max(1, BLOCK_BYTES // (band * cube.dtype.itemsize)), computed_tile(cube.data) or CHUNK)
    )
    for done, (rows, columns) in enumerate(parts, 1):
        data[:, rows, columns] = cube.read(rows=rows, columns=columns)
        progress(done, len(parts))


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    info = np.iinfo(dtype if dtype.kind in "ui" else np.uint8)
    return bool(np.isfinite(value) and info.min <= value <= info.max)
