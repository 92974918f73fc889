"""Countryside with a town, as a function of integer pixel coordinates: any window at any time, always the same.

All randomness is a hash of lattice coordinates and the seed, so that nothing needs to be kept or computed in order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsitools.scenes.spectra import NAMES

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Points per pixel in each direction: edges get mixed pixels.
SUPER = 2
_CODE = {name: number for number, name in enumerate(NAMES)}
FIELDS = tuple(
    _CODE[n] for n in ("crop", "crop", "crop", "meadow", "straw", "straw", "brown soil", "clay soil", "sand")
)
ROOFS = tuple(
    _CODE[n]
    for n in (
        "tile roof",
        "tile roof",
        "tile roof",
        "tile roof",
        "asphalt",
        "concrete",
        "metal roof",
        "concrete",
        "blue roof",
    )
)


def hashed(seed: int, salt: int, *places: Ints) -> Array:
    """Uniform numbers in [0, 1) from integer coordinates (splitmix64)."""
    state = np.uint64((seed * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03) % 2**64)
    value: NDArray[np.uint64] = np.zeros(np.broadcast_shapes(*(np.shape(p) for p in places)), dtype=np.uint64) + state
    with np.errstate(over="ignore"):
        for place in places:
            value = value ^ np.asarray(place).astype(np.int64).view(np.uint64)
            value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            value = value ^ (value >> np.uint64(31))
    return (value >> np.uint64(11)).astype(np.float64) / 2**53


def fractal(y: Array, x: Array, scale: float, octaves: int, seed: int, salt: int, roughness: float = 0.5) -> Array:
    """Smooth noise on the grid ``y`` × ``x`` (pixels), octaves from ``scale`` downwards; mean 0, deviation about 1."""
    total, power = np.zeros((len(y), len(x))), 0.0
    for octave in range(octaves):
        step, weight = scale / 2**octave, roughness**octave
        rows, columns = y / step, x / step
        top, left = int(np.floor(rows[0])), int(np.floor(columns[0]))
        lattice = hashed(
            seed, salt + 101 * octave,
            np.arange(top, int(np.floor(rows[-1])) + 2)[:, None], np.arange(left, int(np.floor(columns[-1])) + 2)[None],
        )  # fmt: skip
        total += weight * (
            _hats(rows - top, lattice.shape[0]) @ (lattice - 0.5) @ _hats(columns - left, lattice.shape[1]).T
        )
        power += weight**2
    # interpolation of uniform numbers leaves about .2 of deviation
    return total / (0.2 * np.sqrt(power))


def _hats(place: Array, count: int) -> Array:
    low = np.floor(place).astype(int)
    share = place - low
    share = share**2 * (3 - 2 * share)
    weights = np.zeros((len(place), count))
    weights[np.arange(len(place)), low] = 1 - share
    weights[np.arange(len(place)), low + 1] = share
    return weights


@dataclass(frozen=True)
class Cells:
    """Voronoi cells of a jittered lattice: identity, distance to the border, offset from the site (pixels)."""

    row: Ints
    column: Ints
    border: Array
    dy: Array
    dx: Array


def cells(y: Array, x: Array, size: float, seed: int, salt: int, jitter: float = 0.8) -> Cells:
    """Cells of about ``size`` pixels on the grid ``y`` × ``x``, which ascend."""
    row0, column0 = np.floor(y / size).astype(np.int64), np.floor(x / size).astype(np.int64)
    top, left = row0[0] - 1, column0[0] - 1
    row, column = np.arange(top, row0[-1] + 2)[:, None], np.arange(left, column0[-1] + 2)[None]
    # a site for each cell, not for each point: there are many points in a cell
    site_y = (row + 0.5 + jitter * (hashed(seed, salt, row, column) - 0.5)) * size
    site_x = (column + 0.5 + jitter * (hashed(seed, salt + 1, row, column) - 0.5)) * size
    shape = len(y), len(x)
    nearest, second = np.full(shape, np.inf), np.full(shape, np.inf)
    best = np.zeros(shape, dtype=np.int64)
    # of the nine cells around a point, numbered as sites lie in memory
    home = (row0 - top)[:, None] * site_y.shape[1] + (column0 - left)[None]
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            place = home + (down * site_y.shape[1] + right)
            distance = (y[:, None] - site_y.take(place)) ** 2 + (x[None] - site_x.take(place)) ** 2
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            nearest = np.where(closer, distance, nearest)
            best = np.where(closer, place, best)
    border = (np.sqrt(second) - np.sqrt(nearest)) / 2
    dy, dx = y[:, None] - site_y.take(best), x[None] - site_x.take(best)
    return Cells(top + best // site_y.shape[1], left + best % site_y.shape[1], border, dy, dx)


def _pick(choices: tuple[int, ...], chance: Array) -> Ints:
    return np.array(choices)[(chance * len(choices)).astype(int)]


@dataclass(frozen=True)
class Ground:
    """What lies on a grid of points: main material, second material and its share, brightness, slope, depth, light."""

    material: Ints
    second: Ints
    share: Array
    brightness: Array
    slope: Array
    depth: Array
    light: Array


def ground(y: Array, x: Array, seed: int, illumination: bool) -> Ground:
    """The terrain at points ``y`` × ``x``, in pixels of about 5 m."""
    # borders that wander look less drawn by a ruler
    warp = fractal(y, x, 24, 3, seed, 7)
    field = cells(y, x, 70, seed, 10)
    chance = [hashed(seed, 20 + k, field.row, field.column) for k in range(6)]
    material = _pick(FIELDS, chance[0])
    tone = 1 + 0.25 * (chance[1] - 0.5)
    # drills and furrows along a direction of their own
    angle = np.pi * chance[2]
    furrow = np.sin(2 * np.pi * (field.dy * np.cos(angle) + field.dx * np.sin(angle)) / (3 + 5 * chance[3]))
    fine = fractal(y, x, 8, 3, seed, 30, 0.7)
    tone = tone * (1 + 0.05 * furrow * (chance[4] > 0.5)) * (1 + 0.06 * fine)
    second, share = _pick(FIELDS, chance[5]), 0.35 * np.clip(0.4 + 0.5 * fractal(y, x, 50, 4, seed, 40), 0, 1)

    def put(
        where: NDArray[np.bool_], code: Ints | int, bright: Array | float, other: int, mixed: Array | float
    ) -> None:
        material[where] = np.broadcast_to(code, where.shape)[where]
        tone[where] = np.broadcast_to(bright, where.shape)[where]
        second[where] = other
        share[where] = np.broadcast_to(mixed, where.shape)[where]

    # hedges and tracks between the fields
    put(field.border + 0.4 * warp < 1.0, _CODE["meadow"], 1 + 0.1 * fine, _CODE["forest"], 0.3)
    # woods, crown by crown
    wood = fractal(y, x, 160, 5, seed, 50)
    crown = cells(y, x, 3.5, seed, 60)
    crowns = 1 + 0.45 * (hashed(seed, 62, crown.row, crown.column) - 0.5) - 0.18 * (crown.dy + crown.dx) / 3.5
    put(wood + 0.1 * warp > 0.75, _CODE["forest"], crowns, _CODE["meadow"], 0.15)
    # a river, and lakes in the hollows
    valley = fractal(y, x, 420, 4, seed, 70, 0.4)
    low = fractal(y, x, 300, 5, seed, 75)
    depth_of_water = np.maximum(0.07 - np.abs(valley + 0.35), 0.35 * (-1.45 - low))
    put(depth_of_water > -0.035, _CODE["sand"], 0.9 + 0.1 * fine, _CODE["meadow"], 0.5)
    wet = depth_of_water > 0
    put(wet, _CODE["turbid water"], 1 + 0.04 * fine, _CODE["clear water"], np.clip(depth_of_water / 0.12, 0, 1))
    # towns: blocks between streets, houses and gardens, halls, parked cars
    town = (fractal(y, x, 260, 3, seed, 80) + 0.25 * warp > 0.55) & ~wet
    block = cells(y, x, 34, seed, 90, 0.5)
    plot = cells(y, x, 9, seed, 100, 0.35)
    lot = [hashed(seed, 110 + k, plot.row, plot.column) for k in range(6)]
    large = hashed(seed, 95, block.row, block.column) > 0.85
    put(town, _CODE["meadow"], 0.85 + 0.1 * fine, _CODE["brown soil"], 0.3)
    house = (
        town & ~large & (lot[0] > 0.15) & _rectangle(plot, 2.2 + 1.3 * lot[1], 1.7 + 1.2 * lot[2], np.pi / 2 * lot[3])
    )
    hall = town & large & _rectangle(block, np.full_like(warp, 11.0), np.full_like(warp, 8.0),
                                     np.pi / 2 * hashed(seed, 97, block.row, block.column))  # fmt: skip
    put(house, _pick(ROOFS, lot[4]), 0.8 + 0.4 * lot[5] + 0.08 * np.sign(plot.dy + plot.dx), _CODE["concrete"], 0.1)
    put(hall, _pick(ROOFS[4:], hashed(seed, 98, block.row, block.column)), 0.95 + 0.02 * fine, _CODE["concrete"], 0.1)
    yard = town & large & ~hall
    put(yard, _CODE["asphalt"], 1.1 + 0.05 * fine, _CODE["concrete"], 0.3)
    put(town & (block.border < 1.4), _CODE["asphalt"], 1 + 0.05 * fine, _CODE["concrete"], 0.15)
    # country roads, and single things of about a pixel
    road = cells(y, x, 190, seed, 120)
    put((road.border + 0.3 * warp < 0.9) & ~(wet & (road.border > 0.6)), _CODE["asphalt"], 1.05, _CODE["concrete"], 0.1)
    thing = cells(y, x, 6, seed, 130)
    odd = [hashed(seed, 140 + k, thing.row, thing.column) for k in range(3)]
    small = (odd[0] > 0.94) & (thing.dy**2 + thing.dx**2 < (0.5 + 0.6 * odd[1]) ** 2) & ~wet & ~house & ~hall
    put(small & town, _pick((*ROOFS, _CODE["limestone"]), odd[2]), 1.2, _CODE["metal roof"], 0.3)
    put(small & ~town, _CODE["forest"], 0.8, _CODE["meadow"], 0.2)
    light = np.ones_like(warp)
    if illumination:
        # slopes that face the sun (upper left) are brighter; roofs and trees throw short shadows away from it
        relief = 1 + 0.10 * (fractal(y - 3, x - 3, 130, 4, seed, 150) - fractal(y + 3, x + 3, 130, 4, seed, 150))
        light = np.clip(relief, 0.6, 1.2)
        shaded = town & ~large & ~house & (lot[0] > 0.15) & _rectangle(
            plot, 2.2 + 1.3 * lot[1], 1.7 + 1.2 * lot[2], np.pi / 2 * lot[3], shift=1.3
        )  # fmt: skip
        light = np.where(shaded, 0.42 * light, light)
    slope = 0.12 * fractal(y, x, 90, 3, seed, 160)
    return Ground(material, second, share, np.maximum(tone, 0.2), slope, 0.25 * fractal(y, x, 120, 3, seed, 170), light)


def _rectangle(cell: Cells, half_y: Array, half_x: Array, angle: Array, shift: float = 0.0) -> NDArray[np.bool_]:
    dy, dx = cell.dy - shift, cell.dx - shift
    along, across = dy * np.cos(angle) + dx * np.sin(angle), dx * np.cos(angle) - dy * np.sin(angle)
    return (np.abs(along) < half_y) & (np.abs(across) < half_x)
