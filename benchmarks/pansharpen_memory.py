"""A PRISMA-size scene fused tile by tile: memory, speed, and that tiles are the whole.

A strip of the product (all columns) is fused end to end through the command; the whole product's time follows from the
pixels of its tiles, surroundings included. Memory does not depend on the number of tiles.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.measure import run
from hsitools.cube import Cube
from hsitools.cube.windows import windows
from hsitools.io import open_cube, save_cube
from hsitools.processors import threads
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen.in_memory import fuse_case
from pansharpen.pair.wald import real_case
from pansharpen.registry import get
from pansharpen.tile_sides import Takes, tile_sides
from pansharpen.tiled import LargeScene

METHODS = ("GSA", "MTF-GLP-FS", "physics")
#: PRISMA's fine pixels to a coarse one.
RATIO = 6
#: Coarse pixels of the strip, and of the product.
STRIP, PRODUCT = (64, 1000), (1000, 1000)


def write_strip(path: Path, shape: tuple[int, int]) -> None:
    """A PRISMA pair of that size: a simulated one of 64×100 coarse pixels, repeated."""
    seen = preset("prisma").observe(scene((384, 600), seed=5), np.random.default_rng(0))
    assert seen.pan is not None
    copies = (1, -(-shape[0] // seen.shape[1]), -(-shape[1] // seen.shape[2]))
    pan = np.tile(seen.pan.data, copies)[:, : 6 * shape[0], : 6 * shape[1]]
    save_cube(
        seen.replace(data=np.tile(seen.data, copies)[:, : shape[0], : shape[1]], pan=Cube(data=pan), transform=None),
        path,
    )


def product_share(method: str, strip: Path) -> float:
    """How many times the arithmetic of a strip that of the product is: by pixels of all tiles, surroundings included.

    A strip has none above and below.
    """
    entry, cube = get(method), open_cube(strip)
    halo = entry.halo_at(RATIO)
    takes = Takes.of(cube.n_bands, RATIO, held=entry.held, images=entry.images, own=entry.own)

    def pixels(shape: tuple[int, int]) -> int:
        sides, _ = tile_sides(shape, RATIO, halo, takes, threads())
        return sum(
            math.prod(part.stop - part.start for part in (window.wide_rows, window.wide_columns))
            for window in windows(shape, sides, halo)
        )

    return pixels(PRODUCT) / pixels((cube.shape[1], cube.shape[2]))


def main() -> dict[str, float]:
    """Print and return peak memory and the extrapolated minutes."""
    out: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_strip(folder / "strip.h5", STRIP)
        cube = open_cube(folder / "strip.h5")
        n_bands = cube.n_bands
        size = n_bands * 4 * 36 * STRIP[0] * STRIP[1]
        print(f"PRISMA strip {n_bands}×{STRIP[0]}×{STRIP[1]} → {size / 1e9:.1f} GB; the product's {PRODUCT} → "
              f"{size * PRODUCT[0] / STRIP[0] / 1e9:.0f} GB of float32")  # fmt: skip
        print("                seconds   peak MiB   tiles/s   product, minutes   tiled − whole / range")
        part = cube.select(window=(0, 64, 0, 160))
        for method in METHODS:
            seconds, peak, _ = run("pansharpen", "run", method, str(folder / "strip.h5"), "-o", str(folder / "out.h5"))
            scene_tiles = LargeScene(
                cube, halo=get(method).halo_at(RATIO), held=get(method).held, images=get(method).images,
                own=get(method).own,
            )  # fmt: skip
            rate = len(scene_tiles.windows) / seconds
            minutes = seconds * product_share(method, folder / "strip.h5") / 60
            tiled = get(method).function(LargeScene(part, halo=get(method).halo_at(RATIO), side=48))
            found = tiled.read(np.arange(n_bands), slice(0, 384), slice(0, 960))
            whole = fuse_case(method, real_case(part))[0].numpy()
            difference = float(np.abs(found - whole).max() / np.ptp(whole))
            print(f"  {method:<12} {seconds:8.1f} {peak:10.0f} {rate:9.2f} {minutes:18.0f} {difference:17.1e}")
            out |= {f"{method} MiB": peak, f"{method} minutes": minutes, f"{method} difference": difference}
            (folder / "out.h5").unlink()
    print("  (targets: < 6 GB, 1e-5; the time includes reading, statistics, lossless compression and writing)")
    return out


if __name__ == "__main__":
    main()
