"""EnMAP L1 and L2A products: a GeoTIFF cube with ``METADATA.XML`` beside it (extra ``geo``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io.geotiff import RasterSource
from hsitools.io.geotiff import can_read as is_tiff
from hsitools.io.geotiff import read as read_geotiff
from hsitools.lazy import ScaledSource

NODATA = -32768.0


def can_read(path: Path) -> bool:
    """The image, its metadata or the product's folder."""
    return _product(path) is not None


def _product(path: Path) -> tuple[Path, Path] | None:
    """(image, metadata) of the product that ``path`` belongs to."""
    if path.is_dir():
        metadata = sorted(path.glob("*METADATA.XML")) + sorted(path.glob("*METADATA.xml"))
    elif path.name.upper().endswith("METADATA.XML"):
        metadata = [path]
    elif "SPECTRAL_IMAGE" in path.name.upper() and is_tiff(path):
        stem = path.name[: path.name.upper().index("SPECTRAL_IMAGE")]
        metadata = [path.with_name(stem + suffix) for suffix in ("METADATA.XML", "METADATA.xml")]
    else:
        return None
    for name in metadata:
        if not name.is_file():
            continue
        stem = name.name[: name.name.upper().index("METADATA.XML")]
        images = [item for item in sorted(name.parent.glob(f"{stem}SPECTRAL_IMAGE*")) if is_tiff(item)]
        if images:
            return images[0], name
    return None


def read(path: Path) -> Cube:
    """Open the product, lazily: ``offset + gain · DN`` per band as the metadata say."""
    found = _product(path)
    assert found is not None  # can_read said so
    image, metadata = found
    try:
        root = ElementTree.parse(metadata).getroot()
    except ElementTree.ParseError as error:
        raise FormatError(f"{metadata}: expected XML; {error}") from None
    table = root.find(".//bandCharacterisation")
    bands = [] if table is None else sorted(table.findall("bandID"), key=lambda band: int(band.get("number", "0")))
    source = RasterSource(image)
    if len(bands) != source.shape[0]:
        raise InputError(f"{metadata}: bandCharacterisation: found {len(bands)} bands, expected {source.shape[0]}")

    def column(name: str, default: float | None = None) -> Any:
        values = [band.findtext(name) for band in bands]
        if default is not None and all(value is None for value in values):
            return np.full(len(bands), default)
        try:
            return np.array([float(value) for value in values])  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise FormatError(f"{metadata}: {name}: expected a number in every band") from None

    plain = read_geotiff(image)
    nodata = NODATA if plain.nodata is None else plain.nodata
    level = (root.findtext(".//processing/level") or root.findtext(".//level") or image.name[8:11].strip("_")).strip()
    return plain.replace(
        data=ScaledSource(source, column("GainOfBand", 1.0), column("OffsetOfBand", 0.0), nodata),
        wavelength_nm=column("wavelengthCenterOfBand"),
        fwhm_nm=column("FWHMOfBand"),
        nodata=float("nan"),
        scale_factor=None,
        units="1" if "L2" in level or "L2" in image.name else "W m-2 sr-1 nm-1",
        name=metadata.name[: metadata.name.upper().index("METADATA.XML")].strip("-_ ") or image.stem,
        source=str(path),
        meta={"product": f"EnMAP {level}"},
    )
