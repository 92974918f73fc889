"""The layout in which our own files hold a cube, after CF conventions: what HDF5/NetCDF-4 and Zarr share."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hsitools import __version__
from hsitools.cube import Cube, Stored
from hsitools.errors import FormatError
from hsitools.io.labels import text, well_known_text
from hsitools.io.scales import fits

log = logging.getLogger(__name__)
#: What our files say they are. The version grows when an older release could not read them rightly.
FORMAT, VERSION = "hsitools-cube", 1
DIMENSIONS = ("band", "y", "x")
#: Of further facts in a header's line or a tag: what programs show whole.
META_BYTES = 16_384


@dataclass(frozen=True, kw_only=True)
class Label:
    """A vector (or scalar) beside the cube."""

    values: Any
    dims: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A cube as arrays with attributes: the stored numbers, their attributes, and the labels by name."""

    stored: Stored
    dtype: np.dtype[Any]
    nodata: float | None
    attributes: dict[str, Any]
    labels: dict[str, Label]


def file_attributes(cube: Cube) -> dict[str, Any]:
    """Attributes of the file as a whole."""
    out = {
        "Conventions": "CF-1.8", "format": FORMAT, "version": VERSION, "name": cube.name, "title": cube.name,
        "history": f"written by hsitools {__version__}", "meta": json.dumps(cube.meta, default=str),
    }  # fmt: skip
    return out | ({"source": cube.source} if cube.source else {})


def meta_text(cube: Cube, who: str) -> str | None:
    """Further facts as one line for formats without a place of their own for them; None where none are, or too many."""
    content = json.dumps(cube.meta, default=str)
    if cube.meta and len(content) > META_BYTES:
        log.warning("%s: meta: found %d bytes of it, expected at most %d: left out", who, len(content), META_BYTES)
        return None
    return content if cube.meta else None


def meta_of(attributes: dict[str, Any], where: str) -> dict[str, Any]:
    """Further facts that `file_attributes` wrote."""
    value = attributes.get("meta")
    if value is None:
        return {}
    try:
        content = json.loads(text(value))
    except ValueError:
        raise FormatError(f"{where}: meta: found {text(value)[:40]!r}, expected JSON") from None
    return content if isinstance(content, dict) else {}


def layout(cube: Cube, who: str) -> Layout:
    """How a cube is written; what the layout cannot hold is said in the log."""
    stored = cube.stored()
    if len(set(zip(stored.scale, stored.offset, strict=True))) > 1:
        # CF knows one scale and offset for an array, and software that finds several would apply none
        log.warning("%s: scales differ from band to band: values are written as physical numbers", who)
        values = cube.physical()
        neutral = np.zeros(cube.n_bands)
        stored = Stored(data=values.data, scale=neutral + 1, offset=neutral, nodata=values.nodata)
    dtype = stored.dtype if stored.dtype.kind != "b" else np.dtype(np.uint8)
    scaled = bool(stored.scale[0] != 1 or stored.offset[0])
    attributes: dict[str, Any] = {"units": cube.units}
    nodata = stored.nodata
    if nodata is not None and not fits(nodata, dtype):
        if np.isfinite(nodata):
            log.warning("%s: nodata %g is no %s: left out", who, nodata, dtype)
        nodata = None
    if scaled:
        attributes["scale_factor"] = float(stored.scale[0])
    if stored.offset[0]:
        attributes["add_offset"] = float(stored.offset[0])
    labels = {"band": Label(values=np.arange(cube.n_bands, dtype=np.int32), dims=("band",))}
    labels |= _grid(cube, attributes)
    vectors = {"wavelength_nm": cube.wavelength_nm, "fwhm_nm": cube.fwhm_nm, "good": cube.good.astype(np.uint8)}
    for name, vector in vectors.items():
        if vector is not None:
            own = {"units": "nm" if name.endswith("_nm") else "1"}
            if name == "wavelength_nm":
                own["standard_name"] = "radiation_wavelength"
            labels[name] = Label(values=vector, dims=("band",), attributes=own)
    attributes["coordinates"] = " ".join(name for name in vectors if name in labels)
    return Layout(stored=stored, dtype=dtype, nodata=nodata, attributes=attributes, labels=labels)


def _grid(cube: Cube, attributes: dict[str, Any]) -> dict[str, Label]:
    """Coordinates (where rows and columns are those of the map) and the grid mapping, named in ``attributes``."""
    labels: dict[str, Label] = {}
    transform = cube.transform
    if transform is not None and transform[1] == transform[3] == 0:
        a, _, c, _, e, f = transform
        centres = {"y": f + e * (np.arange(cube.shape[1]) + 0.5), "x": c + a * (np.arange(cube.shape[2]) + 0.5)}
        for name, values in centres.items():
            own = {"standard_name": f"projection_{name}_coordinate"}
            labels[name] = Label(values=values, dims=(name,), attributes=own)
    if cube.crs is None and transform is None:
        return labels
    mapping: dict[str, Any] = {}
    if cube.crs is not None:
        mapping["crs_wkt"] = mapping["spatial_ref"] = well_known_text(cube.crs)
        mapping["crs"] = cube.crs
    if transform is not None:
        a, b, c, d, e, f = transform
        mapping["GeoTransform"] = " ".join(repr(float(value)) for value in (c, a, b, f, d, e))
    attributes["grid_mapping"] = "spatial_ref"
    labels["spatial_ref"] = Label(values=np.int32(0), dims=(), attributes=mapping)
    return labels
