"""What compression the writers use, and what else there is: ratio and speed on two real scenes, as integers and floats.

Speeds are per second of processor time, so that they mean the same on a busy machine. The writers' choice is marked.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The writers' own choices since they were measured here: shape of chunks as `hsitools.io` has them.
HDF5_CHUNK, ZARR_CHUNK, TILE = (32, 64, 64), (32, 128, 128), 256
SCENES = ("jasper_ridge", "aviris_gator_vi")
Codec = tuple[str, bool, Callable[[Path, NDArray[Any]], None], Callable[[Path], NDArray[Any]]]


def hdf5() -> Iterator[Codec]:
    """Filters of HDF5 that every reader has."""
    import h5py

    choices: dict[str, dict[str, Any]] = {
        "none": {}, "lzf": {"compression": "lzf"}, "shuffle lzf": {"compression": "lzf", "shuffle": True},
        "gzip-1": {"compression": "gzip", "compression_opts": 1},
        "shuffle gzip-1": {"compression": "gzip", "compression_opts": 1, "shuffle": True},
        "shuffle gzip-4": {"compression": "gzip", "compression_opts": 4, "shuffle": True},
    }  # fmt: skip
    for name, options in choices.items():

        def write(path: Path, values: NDArray[Any], options: dict[str, Any] = options) -> None:
            with h5py.File(path, "w") as file:
                file.create_dataset("cube", data=values, chunks=HDF5_CHUNK, **options)

        def read(path: Path) -> NDArray[Any]:
            with h5py.File(path) as file:
                return np.asarray(file["cube"][()])

        yield f"HDF5 {name}", name == "shuffle gzip-1", write, read


def zarr() -> Iterator[Codec]:
    """Codecs of Zarr 3."""
    import zarr as module
    from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

    def blosc(kind: Any, level: int, shuffle: Any) -> Any:
        return BloscCodec(cname=kind, clevel=level, shuffle=shuffle)

    choices: dict[str, Any] = {
        "none": None, "gzip-1": GzipCodec(level=1), "zstd-3": ZstdCodec(level=3),
        "blosc lz4-5 shuffle": blosc("lz4", 5, "shuffle"), "blosc zstd-1 shuffle": blosc("zstd", 1, "shuffle"),
        "blosc zstd-3 shuffle": blosc("zstd", 3, "shuffle"), "blosc zstd-3 bitshuffle": blosc("zstd", 3, "bitshuffle"),
        "blosc zstd-7 shuffle": blosc("zstd", 7, "shuffle"),
    }  # fmt: skip
    for name, codec in choices.items():

        def write(path: Path, values: NDArray[Any], codec: Any = codec) -> None:
            array = module.create_array(
                path, shape=values.shape, dtype=values.dtype, chunks=ZARR_CHUNK, compressors=codec
            )
            array[...] = values

        def read(path: Path) -> NDArray[Any]:
            return np.asarray(module.open_array(path, mode="r")[...])

        yield f"Zarr {name}", name == "blosc zstd-3 shuffle", write, read


def geotiff(kind: str) -> Iterator[Codec]:
    """Compressions of GeoTIFF; predictor 2 is for integers, 3 for floats."""
    import rasterio

    predictor = 2 if kind in "ui" else 3
    choices: dict[str, dict[str, Any]] = {"none": {}}
    for level in (1, 6):
        deflate = {"compress": "deflate", "zlevel": level}
        choices |= {f"deflate-{level}": deflate, f"deflate-{level} predictor": {**deflate, "predictor": predictor}}
    choices["lzw predictor"] = {"compress": "lzw", "predictor": predictor}
    choices["zstd-1 predictor"] = {"compress": "zstd", "zstd_level": 1, "predictor": predictor}
    for name, options in choices.items():

        def write(path: Path, values: NDArray[Any], options: dict[str, Any] = options) -> None:
            bands, height, width = values.shape
            with rasterio.open(path, "w", driver="GTiff", count=bands, height=height, width=width, tiled=True,
                               dtype=values.dtype.name, blockxsize=TILE, blockysize=TILE, interleave="band",
                               **options) as file:  # fmt: skip
                file.write(values)

        def read(path: Path) -> NDArray[Any]:
            with rasterio.open(path) as file:
                return np.asarray(file.read())

        yield f"GeoTIFF {name}", name == "deflate-1", write, read


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def main() -> dict[str, Any]:
    """Print and return ratio, and MB written and read per second, of each."""
    from benchmarks.captures import shared_folder

    out: dict[str, Any] = {}
    warnings.simplefilter("ignore")
    for scene in SCENES:
        import h5py

        with h5py.File(shared_folder() / "data" / "scenes" / f"{scene}.h5") as file:
            numbers = file["cube"][()]
        # mirrored beside and below itself: nearly whole tiles, and nothing that repeats in the order of the bytes
        numbers = np.concatenate([numbers, numbers[:, :, ::-1]], axis=2)
        numbers = np.ascontiguousarray(np.concatenate([numbers, numbers[:, ::-1]], axis=1))
        # as scaling makes them of integers, and as any computation does
        scaled = (numbers * np.float32(1e-4)).astype(np.float32)
        computed = scaled * (1 + 1e-3 * np.random.default_rng(0).standard_normal(scaled.shape, dtype=np.float32))
        for kind, values in (("as stored", numbers), ("scaled", scaled), ("computed", computed)):
            print(f"\n{scene}, {kind}, {values.dtype}, {values.nbytes / 1e6:.0f} MB")
            print(f"  {'':<34} {'ratio':>6} {'written':>9} {'read':>9}   MB/s")
            for name, ours, write, read in (*hdf5(), *zarr(), *geotiff(values.dtype.kind)):
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "x"
                    start = time.process_time()
                    write(path, values)
                    middle = time.process_time()
                    again = read(path)
                    end = time.process_time()
                    assert np.array_equal(again, values)
                    ratio = values.nbytes / _size(path)
                size = values.nbytes / 1e6
                speeds = (size / max(middle - start, 1e-3), size / max(end - middle, 1e-3))
                mark = "   <- ours" if ours else ""
                print(f"  {name:<34} {ratio:6.2f} {speeds[0]:9.0f} {speeds[1]:9.0f}{mark}")
                out[f"{scene} {kind} {name}"] = (ratio, *speeds)
    return out


if __name__ == "__main__":
    main()
