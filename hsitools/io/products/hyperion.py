"""EO-1 Hyperion L1T: one GeoTIFF a band (``EO1H…_B008_L1T.TIF``) with ``…_MTL_L1T.TXT``, after USGS's EO-1 guide.

The files do not state wavelengths; each of the two spectrometers has evenly spaced bands between the published centres
of its first and last one. Only bands 8 to 57 and 77 to 224 are calibrated. Extra ``geo``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import FormatError
from hsitools.io.detectors import OVERLAP, Detector, joined
from hsitools.io.formats.geotiff import can_read as is_tiff
from hsitools.io.formats.geotiff import files as image_files
from hsitools.io.formats.geotiff import read as read_geotiff
from hsitools.io.off_swath import OffSwath
from hsitools.io.raster import BandFiles
from hsitools.io.scales import physical

PRIORITY = 52  # told by their names: before GeoTIFF and ENVI
#: First and last band and their published centres, nm (USGS, EO-1 Hyperion spectral coverage).
SPECTROMETERS = {"VNIR": ((1, 355.59), (70, 1057.68)), "SWIR": ((71, 851.92), (242, 2577.08))}
#: Bands with a calibration; the others hold zeros.
CALIBRATED = ((8, 57), (77, 224))
_NAME = re.compile(r"(EO1H\w+)_B(\d{3})_(L1\w+)\.TIFF?", re.IGNORECASE)


def can_read(path: Path) -> bool:
    """A band of a product, its metadata or the folder."""
    return bool(_bands(path))


def _bands(path: Path) -> dict[int, Path]:
    if path.is_dir():
        items = sorted(path.iterdir())
        scenes = {match[1].upper() for item in items if (match := _NAME.fullmatch(item.name))}
        if len(scenes) != 1:
            return {}
        scene = scenes.pop()
    else:
        match = _NAME.fullmatch(path.name) or re.fullmatch(r"(EO1H\w+)_MTL_L1\w+\.TXT", path.name, re.IGNORECASE)
        if match is None or not path.is_file():
            return {}
        scene, items = match[1].upper(), sorted(path.parent.iterdir())
    out = {}
    for item in items:
        match = _NAME.fullmatch(item.name)
        if match is not None and match[1].upper() == scene and is_tiff(item):
            out[int(match[2])] = item
    return out


def files(path: Path) -> list[Path]:
    """Its bands and metadata."""
    bands = list(_bands(path).values())
    notes = _notes(bands[0])
    return [file for band in bands for file in image_files(band)] + ([] if notes is None else [notes])


def read(path: Path) -> Cube:
    """Open the product, lazily: radiance where the metadata state the scaling, else digital numbers."""
    files = _bands(path)
    plain = read_geotiff(next(iter(files.values())))
    scaling = _scaling(next(iter(files.values())))
    detectors, raw = [], []
    for name, ((first, low), (last, high)) in SPECTROMETERS.items():
        numbers = [number for number in files if first <= number <= last]
        if not numbers:
            continue
        stored = BandFiles([files[number] for number in numbers])
        source = physical(stored, 1 / scaling.get(name, 1.0), 0.0, plain.nodata, f"{path}: SCALING_FACTOR_{name}")
        centre = low + (np.array(numbers) - first) * (high - low) / (last - first)
        good = np.any([(np.array(numbers) >= a) & (np.array(numbers) <= b) for a, b in CALIBRATED], axis=0)
        width = np.full(len(numbers), np.nan)
        bands: dict[str, Any] = {"name": name, "wavelength_nm": centre, "fwhm_nm": width, "good": good}
        detectors.append(Detector(source=source, **bands))
        raw.append(Detector(source=stored, **bands))
    if not detectors:
        raise FormatError(f"{path}: bands: found numbers {sorted(files)[:5]}, expected 1 to 242")
    parts = joined(detectors, str(path))
    calibrated = np.flatnonzero(parts["good"])
    if calibrated.size:
        # an image turned north has corners that were not seen
        parts["data"] = OffSwath(parts["data"], joined(raw, str(path))["data"], calibrated)
    return Cube(
        **parts, nodata=float("nan"), units="W m-2 sr-1 um-1" if scaling else "DN", crs=plain.crs,
        transform=plain.transform, name=path.stem if path.is_dir() else path.name.partition("_")[0], source=str(path),
        meta={"product": "EO-1 Hyperion L1T", "overlap": OVERLAP.format("SWIR"),
              "wavelengths": "evenly spaced between published centres"},
    )  # fmt: skip


def _scaling(band: Path) -> dict[str, float]:
    """Digital numbers per W m-2 sr-1 um-1 of both spectrometers; empty when the metadata do not say."""
    notes = _notes(band)
    if notes is None:
        return {}
    found = re.findall(r"SCALING_FACTOR_(VNIR|SWIR)\s*=\s*([\d.]+)", notes.read_text(errors="replace"))
    factors = {name: float(value) for name, value in found}
    if len(factors) != 2 or min(factors.values()) <= 0:
        raise FormatError(f"{notes}: SCALING_FACTOR: found {factors}, expected those of VNIR and SWIR")
    return factors


def _notes(band: Path) -> Path | None:
    """The metadata beside a band."""
    match = _NAME.fullmatch(band.name)
    assert match is not None
    wanted = f"{match[1]}_MTL_{match[3]}.TXT".upper()
    return next((item for item in sorted(band.parent.iterdir()) if item.name.upper() == wanted), None)
