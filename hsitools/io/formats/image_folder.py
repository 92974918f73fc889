"""A folder of grey images (TIFF, PNG), one a band, whose names state wavelengths (``leaf_450nm.png``).

Images whose names differ in nothing else but a counter are one cube, in the order of wavelengths. Extra ``geo``.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io.formats.geotiff import can_read as is_tiff
from hsitools.io.formats.geotiff import read as read_geotiff
from hsitools.io.raster import BandFiles
from hsitools.io.wavelengths import from_names, without_wavelength

log = logging.getLogger(__name__)
PRIORITY = 65  # after the products in folders of images
PNG = b"\x89PNG\r\n"


def can_read(path: Path) -> bool:
    """A folder with several such images."""
    return any(called and len(images) > 1 for called, images in _sets(path).items())


def _sets(path: Path) -> dict[str, list[Path]]:
    """Images of a folder by their names without the wavelength; under an empty name those that state none."""
    out: dict[str, list[Path]] = {}
    if not path.is_dir():
        return out
    for item in sorted(path.iterdir()):
        if not item.name.startswith(".") and (is_tiff(item) or _is_png(item)):
            called = without_wavelength(item.stem)
            out.setdefault("" if called is None else called + item.suffix, []).append(item)
    if any(called and len(images) > 1 for called, images in out.items()):
        return out
    # a counter beside the wavelength gives every image a name of its own
    counted = dict[str, list[Path]]()
    for called, images in out.items():
        counted.setdefault(re.sub(r"\d+", "#", called), []).extend(images)
    return counted


def _is_png(path: Path) -> bool:
    if path.suffix.lower() != ".png" or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(PNG)) == PNG


def read(path: Path) -> Cube:
    """Open the images, lazily."""
    sets = _sets(path)
    others = sets.pop("", [])
    if len(sets) > 1:
        found = ", ".join(f"{len(images)} called {name}" for name, images in sorted(sets.items()))
        raise InputError(f"{path}: images: found {found}, expected one set of them: a folder each")
    if others:
        names = ", ".join(item.name for item in others[:4]) + (", …" if len(others) > 4 else "")
        log.warning("%s: images: found no wavelength (450nm) in the names of %s: left out", path, names)
    ((called, images),) = sets.items()
    centres = from_names([image.stem for image in images])
    if centres is None or not np.isfinite(centres).all():
        raise InputError(f"{path}: images: found names {called}, expected optical wavelengths in them (450nm)")
    order = np.argsort(centres, kind="stable")
    centres, images = centres[order], [images[place] for place in order]
    twice = np.flatnonzero(np.diff(centres) == 0)
    if twice.size:
        first, second = images[twice[0]].name, images[twice[0] + 1].name
        raise InputError(f"{path}: images: found {first} and {second} of one wavelength, expected one image a band")
    _say_gaps(centres, path)
    source = BandFiles(images)
    first = read_geotiff(images[0]) if is_tiff(images[0]) else None
    labels: dict[str, Any] = {} if first is None else {
        "nodata": first.nodata, "scale_factor": first.scale_factor, "units": first.units, "crs": first.crs,
        "transform": first.transform,
    }  # fmt: skip
    return Cube(data=source, wavelength_nm=centres, name=path.name, source=str(path),
                meta={"images": f"{len(images)} called {called}"}, **labels)  # fmt: skip


def _say_gaps(centres: Any, path: Path) -> None:
    """Where images are even steps apart but for a few places, some may be missing."""
    steps = np.diff(centres)
    step = float(np.median(steps)) if steps.size else 0.0
    wide = np.flatnonzero(steps > 1.5 * step)
    if steps.size > 2 and np.sum(np.abs(steps - step) < 0.1 * step) + wide.size == steps.size and 0 < wide.size < 4:
        gaps = ", ".join(f"{centres[at]:g} to {centres[at + 1]:g} nm" for at in wide)
        log.warning("%s: images: found none from %s, expected steps of %g nm as between the others", path, gaps, step)
