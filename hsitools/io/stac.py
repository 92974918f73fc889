"""STAC items beside an image: wavelengths, widths, nodata and scales of its bands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.io.wavelengths import Conversion

#: An item of more bytes is none.
MAX_ITEM = 8 * 2**20


def labels(path: Path, count: int) -> dict[str, Any]:
    """Labels of an image of ``count`` bands from the item beside it; empty when there is none that fits.

    The electro-optical and raster extensions, as bands of the item, of its asset, or (STAC 1.1) as common ``bands``;
    wavelengths are in micrometres there.
    """
    item = item_of(path)
    return {} if item is None else _of(item[1], path, count)


def item_of(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The item beside an image and what is in it; None when there is none."""
    for name in (path.stem + ".stac.json", path.name + ".stac.json", path.stem + ".json", path.name + ".json"):
        item = path.with_name(name)
        if item.is_file() and item.stat().st_size <= MAX_ITEM:
            try:
                content = json.loads(item.read_bytes())
            except (ValueError, OSError, RecursionError):
                continue
            if isinstance(content, dict) and "stac_version" in content:
                return item, content
    return None


def _of(item: dict[str, Any], path: Path, count: int) -> dict[str, Any]:
    properties, listed = (item[key] if isinstance(item.get(key), dict) else {} for key in ("properties", "assets"))
    assets = [asset for asset in listed.values() if isinstance(asset, dict)]
    own = [asset for asset in assets if str(asset.get("href", "")).rpartition("/")[2] == path.name]
    places = [*own, properties, *(asset for asset in assets if len(assets) == 1)]

    def column(lists: tuple[str, ...], fields: tuple[str, ...]) -> Any:
        for place in places:
            for name in lists:
                bands = place.get(name)
                if not isinstance(bands, list) or len(bands) != count:
                    continue
                # what all bands share may stand in the asset (STAC 1.1)
                values = [next((part[key] for part in (band, place) for key in fields if key in part), None)
                          for band in bands if isinstance(band, dict)]  # fmt: skip
                if len(values) == count and any(isinstance(value, int | float) for value in values):
                    return np.array([float(v) if isinstance(v, int | float) else np.nan for v in values])
        return None

    out: dict[str, Any] = {}
    optical = ("eo:bands", "bands")
    centre = column(optical, ("center_wavelength", "eo:center_wavelength"))
    conversion = None
    if centre is not None:
        conversion = Conversion.of(centre, "um", f"{path}: center_wavelength")
        if conversion is not None:
            out["wavelength_nm"] = conversion.centres(centre)
    width = column(optical, ("full_width_half_max", "eo:full_width_half_max"))
    if width is not None:
        out["fwhm_nm"] = width * 1e3 if conversion is None else conversion.widths(width, centre)
    raster = ("raster:bands", "bands")
    nodata = column(raster, ("nodata",))
    if nodata is not None and np.isfinite(nodata[0]) and np.all(nodata == nodata[0]):
        out["nodata"] = float(nodata[0])
    for name, fields, neutral in (
        ("scales", ("scale", "raster:scale"), 1.0), ("offsets", ("offset", "raster:offset"), 0.0),
    ):  # fmt: skip
        values = column(raster, fields)
        if values is not None:
            out[name] = np.where(np.isfinite(values), values, neutral)
    return out
