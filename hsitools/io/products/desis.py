"""DESIS L1B, L1C and L2A products: ``SPECTRAL_IMAGE.tif`` with ``METADATA.xml`` (and an ENVI header) beside it.

After DLR's DESIS product specification: ``bandCharacterisation`` holds a ``band`` element for each band, with its
wavelength and width (nm), gain and offset; digital numbers times gain plus offset are radiance (mW cm-2 sr-1 um-1)
at levels L1B and L1C, reflectance at L2A. Extra ``geo``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import envi_header
from hsitools.io.formats.geotiff import can_read as is_tiff
from hsitools.io.formats.geotiff import files as image_files
from hsitools.io.formats.geotiff import read as read_geotiff
from hsitools.io.products import xml_bands
from hsitools.io.raster import RasterSource
from hsitools.io.scales import physical
from hsitools.text import counted

PRIORITY = 50  # told by their names: before GeoTIFF and ENVI
#: Of no measurement, after the product specification.
NODATA = -32768.0


def can_read(path: Path) -> bool:
    """The image, its metadata, its header or the product's folder."""
    return _product(path) is not None


def _product(path: Path) -> tuple[Path, Path] | None:
    """(image, metadata) of the product that ``path`` belongs to."""
    if path.is_dir():
        items = sorted(path.iterdir())
    elif path.name.upper().startswith("DESIS-HSI"):
        items = sorted(path.parent.iterdir())
    else:
        return None
    for item in items:
        name = item.name.upper()
        if not (name.startswith("DESIS-HSI") and name.endswith("-METADATA.XML")):
            continue
        stem = name.removesuffix("METADATA.XML")
        if path.is_dir() or path.name.upper().startswith(stem):
            image = [
                other for other in items if other.name.upper().startswith(stem + "SPECTRAL_IMAGE") and is_tiff(other)
            ]
            if image and (path.is_dir() or path in (item, image[0]) or path.suffix.lower() == ".hdr"):
                return image[0], item
    return None


def files(path: Path) -> list[Path]:
    """Image, metadata and what stands beside the image, its header too."""
    product = _product(path)
    assert product is not None  # can_read said so
    return [product[1], *image_files(product[0])]


def read(path: Path) -> Cube:
    """Open the product, lazily: ``offset + gain · DN`` per band as the metadata say."""
    found = _product(path)
    assert found is not None  # can_read said so
    image, metadata = found
    root = xml_bands.parse(metadata)
    bands = sorted(root.findall(".//bandCharacterisation/band"), key=lambda band: int(band.findtext("bandNumber") or 0))
    source = RasterSource(image)
    if len(bands) != source.shape[0]:
        raise InputError(
            f"{metadata}: bandCharacterisation: found {counted(len(bands), 'band')}, expected {source.shape[0]}"
        )

    column = partial(xml_bands.column, bands, metadata)
    plain = read_geotiff(image)
    level = next((part for part in image.name.upper().split("-") if part in ("L1A", "L1B", "L1C", "L2A")), "")
    header = next(
        (item for item in sorted(image.parent.iterdir()) if item.name.lower() == image.stem.lower() + ".hdr"), None
    )
    marks = {} if header is None else envi_header.labels(header, len(bands))
    nodata = NODATA if plain.nodata is None and "nodata" not in marks else marks.get("nodata", plain.nodata)
    return plain.replace(
        data=physical(source, column("gainOfBand"), column("offsetOfBand"), nodata, f"{metadata}: gainOfBand"),
        wavelength_nm=column("wavelengthCenterOfBand"), fwhm_nm=column("wavelengthWidthOfBand"),
        good=marks.get("good", plain.good), nodata=float("nan"), scale_factor=None,
        units="1" if level == "L2A" else "mW cm-2 sr-1 um-1", name=metadata.name[: -len("-METADATA.xml")],
        source=str(path), meta={"product": f"DESIS {level}"},
    )  # fmt: skip
