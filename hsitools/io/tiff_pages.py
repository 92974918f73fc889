"""What the programs that write pages of TIFF say of them: ImageJ, microscopes (OME), Python's tifffile, LabVIEW.

Pages are bands where they run along one axis only; what their channels are called may hold the wavelengths.
"""

from __future__ import annotations

import json
import logging
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from hsitools.errors import InputError
from hsitools.text import counted

log = logging.getLogger(__name__)
#: Tags of TIFF that GDAL does not tell: a page's name, and ImageJ's lengths and labels.
PAGE_NAME, IJ_LENGTHS, IJ_DATA = 285, 50838, 50839
#: A tag of more bytes holds no name and no labels.
MAX_TAG = 2**24
#: Bytes of TIFF's types of numbers, by their code.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 16: 8}
#: ImageJ's and OME's words for axes beside y and x.
_IMAGEJ = {"channels": "channel", "slices": "slice", "frames": "time"}
_OME = {"SizeC": "channel", "SizeZ": "slice", "SizeT": "time"}


def names_of_pages(path: Path, description: str, count: int) -> list[str]:
    """What a file calls its ``count`` pages, one a band; empty strings where it calls them nothing.

    Parameters
    ----------
    path : Path
    description : str
        Of the first page.
    count : int
        Pages of the file.

    Raises
    ------
    InputError
        When the pages run along several axes (channels and times, say), or are rows.
    """
    axes, names = _described(description)
    many = {name: size for name, size in axes.items() if size > 1}
    stated = int(np.prod(list(axes.values()))) if axes else count
    if stated != count:
        log.warning("%s: pages: found %d, expected %d as the first one's description says", path, count, stated)
    elif len(many) > 1:
        found = " × ".join(f"{size} ({name})" for name, size in many.items())
        raise InputError(f"{path}: pages: found {found}, expected one axis beside y and x: save one cube a file")
    elif "row" in many:
        raise InputError(f"{path}: pages: found {counted(count, 'row')} of a cube (y, x, band), expected pages that "
                         "are bands: save it as (band, y, x)")  # fmt: skip
    if len(names) == count:
        return names
    tags = _tags(path)
    names = _imagej_labels(tags[0], path) if tags else []
    if len(names) != count:
        names = [_word(tag.get(PAGE_NAME, b"")) for tag in tags]
    return names if len(names) == count else [""] * count


def is_of_program(description: str) -> bool:
    """Whether a description is a program's, of all pages, and no name of the one it stands in."""
    return _described(description) != ({}, [])


def metadata_of(description: str) -> dict[str, str]:
    """What tifffile keeps of a cube beside its shape, as tags: a list as numbers with commas between."""
    content = _json(description)
    return {str(key).lower().replace(" ", "_"): ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            for key, value in content.items() if key not in ("shape", "axes")}  # fmt: skip


def _described(description: str) -> tuple[dict[str, int], list[str]]:
    """Axes along which pages run, with their lengths, and what channels are called."""
    if description.startswith("ImageJ="):
        fields = dict(line.split("=", 1) for line in description.splitlines() if "=" in line)
        sizes = {word: int(fields[key]) for key, word in _IMAGEJ.items() if fields.get(key, "").isdigit()}
        return sizes or {"image": int(fields["images"]) if fields.get("images", "").isdigit() else 1}, []
    content = _json(description)
    if content:
        shape = [int(size) for size in content["shape"]]
        words = {"C": "channel", "Z": "slice", "T": "time", "Y": "row", "R": "row"}
        called = str(content.get("axes", ""))
        called = called if len(called) == len(shape) else "?" * len(shape)
        # the last two axes are a page's own
        return {words.get(letter, f"axis {axis}"): size
                for axis, (letter, size) in enumerate(zip(called[:-2], shape[:-2], strict=True))}, []  # fmt: skip
    return _ome(description)


def _json(description: str) -> dict[str, Any]:
    """What tifffile describes; empty where it is none."""
    if not description.startswith("{"):
        return {}
    try:
        content = json.loads(description)
    except ValueError:
        return {}
    shape = content.get("shape") if isinstance(content, dict) else None
    return content if isinstance(shape, list) and all(isinstance(size, int) for size in shape) else {}


def _ome(description: str) -> tuple[dict[str, int], list[str]]:
    """Sizes and channels of the first image of OME-XML; nothing where it is none."""
    if "<OME" not in description[:4096]:
        return {}, []
    try:
        pixels = ElementTree.fromstring(description.encode()).find(".//{*}Pixels")
        if pixels is None:
            return {}, []
        sizes = {word: int(pixels.get(key, "1")) for key, word in _OME.items()}
    except (ElementTree.ParseError, ValueError):
        return {}, []
    channels = pixels.findall("{*}Channel")
    waves = [channel.get("EmissionWavelength") for channel in channels]
    if all(waves):
        # nanometres are what the schema takes where no unit stands
        return sizes, [f"{wave} {channel.get('EmissionWavelengthUnit', 'nm')}" for wave, channel in
                       zip(waves, channels, strict=True)]  # fmt: skip
    return sizes, [channel.get("Name", "") for channel in channels]


def _imagej_labels(tags: dict[int, bytes], path: Path) -> list[str]:
    """Labels that ImageJ has given its slices, of the first page's tags."""
    order = _order(path)
    lengths, data = tags.get(IJ_LENGTHS, b""), tags.get(IJ_DATA, b"")
    sizes = struct.unpack(f"{order}{len(lengths) // 4}I", lengths[: len(lengths) // 4 * 4])
    if len(sizes) < 2 or sum(sizes) > len(data):
        return []
    # a head of kinds and how many parts each has, then the parts, whose lengths are known
    kinds = [(data[at : at + 4], *struct.unpack(f"{order}I", data[at + 4 : at + 8]))
             for at in range(4, sizes[0] - 7, 8)]  # fmt: skip
    start, part, names = sizes[0], 1, []
    for kind, number in kinds:
        for size in sizes[part : part + number]:
            if kind in (b"labl", b"lbal"):
                names.append(data[start : start + size].decode("utf-16-be" if order == ">" else "utf-16-le", "replace"))
            start += size
        part += number
    return [name.partition("\n")[0].strip() for name in names]


def _word(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("utf-8", "replace").strip()


def _order(path: Path) -> str:
    with path.open("rb") as file:
        return ">" if file.read(2) == b"MM" else "<"


def _tags(path: Path) -> list[dict[int, bytes]]:
    """The tags named above of every page of a TIFF or BigTIFF file; those before the damage of a damaged one."""
    order, pages = _order(path), list[dict[int, bytes]]()
    with path.open("rb") as file:

        def number(kind: str) -> int:
            return int(struct.unpack(order + kind, file.read(struct.calcsize(kind)))[0])

        try:
            file.seek(2)
            large = number("H") == 43
            offset, many, each = ("Q", "Q", 20) if large else ("I", "H", 12)
            file.seek(8 if large else 4)
            place, seen = number(offset), set[int]()
            while place and place not in seen:
                seen.add(place)
                file.seek(place)
                entries = number(many)
                first = file.tell()
                file.seek(first + each * entries)
                place = number(offset)
                found: dict[int, bytes] = {}
                file.seek(first)
                table = file.read(each * entries)
                for at in range(0, len(table), each):
                    tag, kind, length = struct.unpack_from(f"{order}HH{offset}", table, at)
                    if tag not in (PAGE_NAME, IJ_LENGTHS, IJ_DATA):
                        continue
                    size = length * _SIZES.get(kind, 0)
                    value = table[at + each - struct.calcsize(offset) : at + each]
                    if size > len(value):
                        file.seek(struct.unpack(order + offset, value)[0])
                        value = file.read(min(size, MAX_TAG))
                    found[tag] = value[:size]
                pages.append(found)
        except struct.error:
            log.debug("%s: tags of pages: cut off", path)
    return pages
