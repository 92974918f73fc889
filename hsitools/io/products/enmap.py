"""EnMAP L1B, L1C and L2A products: GeoTIFFs with ``METADATA.XML`` beside them (extra ``geo``).

After DLR's EnMAP product specification: L1B has an image a detector in sensor geometry, L1C and L2A one image.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io.detectors import OVERLAP, Detector, joined
from hsitools.io.formats.geotiff import can_read as is_tiff
from hsitools.io.formats.geotiff import files as image_files
from hsitools.io.formats.geotiff import read as read_geotiff
from hsitools.io.products import xml_bands
from hsitools.io.raster import RasterSource
from hsitools.io.scales import physical
from hsitools.text import counted

PRIORITY = 51  # told by their names: before GeoTIFF and ENVI
#: Of no measurement, after the product specification.
NODATA = -32768.0


def can_read(path: Path) -> bool:
    """The image, its metadata or the product's folder."""
    return _product(path) is not None


def _product(path: Path) -> tuple[list[Path], Path] | None:
    """(images, metadata) of the product that ``path`` belongs to."""
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
            return images, name
    return None


def files(path: Path) -> list[Path]:
    """Images, metadata and what stands beside the images."""
    product = _product(path)
    assert product is not None  # can_read said so
    return [product[1], *(file for image in product[0] for file in image_files(image))]


def read(path: Path) -> Cube:
    """Open the product, lazily: ``offset + gain · DN`` per band as the metadata say."""
    found = _product(path)
    assert found is not None  # can_read said so
    images, metadata = found
    root = xml_bands.parse(metadata)
    table = root.find(".//bandCharacterisation")
    bands = [] if table is None else sorted(table.findall("bandID"), key=lambda band: int(band.get("number", "0")))
    # L1B comes as an image a detector, in the order of the metadata's bands: VNIR, then SWIR
    images = sorted(images, key=lambda item: "SWIR" in item.name.upper())
    sources = [RasterSource(image) for image in images]
    count = sum(source.shape[0] for source in sources)
    if len(bands) != count:
        raise InputError(f"{metadata}: bandCharacterisation: found {counted(len(bands), 'band')}, expected {count}")

    column = partial(xml_bands.column, bands, metadata)
    plain = read_geotiff(images[0])
    nodata = NODATA if plain.nodata is None else plain.nodata
    gain, offset = column("GainOfBand", 1.0), column("OffsetOfBand", 0.0)
    centre, width = column("wavelengthCenterOfBand"), column("FWHMOfBand")
    valid = _valid_channels(root, len(bands))
    level = (
        root.findtext(".//processing/level") or root.findtext(".//level") or images[0].name[8:11].strip("_")
    ).strip()
    detectors, start = [], 0
    for image, source in zip(images, sources, strict=True):
        part = slice(start, start + source.shape[0])
        values = physical(source, gain[part], offset[part], nodata, f"{metadata}: GainOfBand")
        detectors.append(Detector(
            name=image.name, source=values, wavelength_nm=centre[part], fwhm_nm=width[part], good=valid[part]
        ))  # fmt: skip
        start = part.stop
    labels: dict[str, Any] = {
        "data": detectors[0].source, "wavelength_nm": centre, "fwhm_nm": width, "good": plain.good & valid,
    } if len(detectors) == 1 else joined(detectors, str(metadata))  # fmt: skip
    meta = {"product": f"EnMAP {level}"}
    if len(detectors) > 1:
        meta["overlap"] = OVERLAP.format("SWIR")
    return plain.replace(
        **labels,
        nodata=float("nan"),
        scale_factor=None,
        units="1" if "L2" in level or "L2" in images[0].name else "W m-2 sr-1 nm-1",
        name=metadata.name[: metadata.name.upper().index("METADATA.XML")].strip("-_ ") or images[0].stem,
        source=str(path),
        meta=meta,
    )


def _valid_channels(root: Any, count: int) -> Any:
    """False for channels that the product expected and does not list as valid; True where it has no such lists."""
    valid = np.ones(count, dtype=bool)
    expected, listed = set[int](), set[int]()
    for quality in ("vnirProductQuality", "swirProductQuality"):
        for names, numbers in ((("expectedChannelsList",), expected), (("validChannelsList", "channelsList"), listed)):
            for name in names:
                text = root.findtext(f".//{quality}/{name}") or ""
                numbers |= {int(part) for part in text.replace(",", " ").split() if part.isdigit()}
    if expected and listed:
        for channel in expected - listed:
            if 1 <= channel <= count:
                valid[channel - 1] = False
    return valid
