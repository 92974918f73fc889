"""Grids of HDF-EOS5 files, which say where they lie in a text of their own (``StructMetadata.0``)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hsitools.cube.geometry import Transform
from hsitools.io.variable import Variable

#: GCTP's number of the WGS 84 ellipsoid.
WGS84 = 12


def grid_of(chosen: Variable, variables: Sequence[Variable]) -> tuple[str | None, Transform | None]:
    """Coordinate system (UTM on WGS 84) and transform of a variable in an HDF-EOS5 grid; None for what is not told."""
    inside = re.match(r"HDFEOS/GRIDS/([^/]+)/", chosen.name)
    item = next((v for v in variables if v.base == "structmetadata.0"), None)
    if inside is None or item is None:
        return None, None
    for block in re.split(r"GROUP=GRID_\d+", "\n".join(item.words())):
        name = re.search(r'GridName="([^"]*)"', block)
        if name is None or name[1] != inside[1]:
            continue
        size = [int(found[1]) for key in ("XDim", "YDim") if (found := re.search(rf"\b{key}=(\d+)", block))]
        corners = [re.search(rf"{key}=\(([-+.\deE]+),([-+.\deE]+)\)", block)
                   for key in ("UpperLeftPointMtrs", "LowerRightMtrs")]  # fmt: skip
        first, last = corners
        if first is None or last is None or "HE5_GCTP_UTM" not in block or len(size) != 2 or not all(size):
            return None, None
        (left, top), (right, bottom) = ((float(corner[1]), float(corner[2])) for corner in (first, last))
        transform = ((right - left) / size[0], 0.0, left, 0.0, (bottom - top) / size[1], top)
        zone, sphere = (re.search(rf"{key}=(-?\d+)", block) for key in ("ZoneCode", "SphereCode"))
        fits = set(size) <= set(chosen.shape)
        known = zone is not None and sphere is not None and int(sphere[1]) == WGS84
        crs = (
            None if not known or zone is None else f"EPSG:{(32600 if int(zone[1]) > 0 else 32700) + abs(int(zone[1]))}"
        )
        return (crs, transform) if fits else (None, None)
    return None, None
