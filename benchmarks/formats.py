"""Products and files of users: which reader opens them, and what labels survive; GDAL and Spectral Python beside it.

Every file is built here to its product's specification (`benchmarks.products`), so that the table needs no data.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import products
from benchmarks.measure import run
from hsitools.cube import Cube
from hsitools.errors import HsiError
from hsitools.io import open_cube, save_cube
from hsitools.io.readers import reader_of


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each product's name and file."""

    def made(name: str, write: Callable[..., Any], file: str, **options: Any) -> tuple[str, Path]:
        write(folder / file, **options)
        return name, folder / file

    for level in ("L1", "L2B", "L2D"):
        yield made(f"PRISMA {level}", products.write_prisma, f"PRS_{level}.he5", level=level)
    yield made("EnMAP L2A", products.write_enmap, "enmap")
    for level in ("L1C", "L2A"):
        yield made(f"DESIS {level}", products.write_desis, f"desis_{level}", level=level)
    yield made("EMIT L2A", products.write_emit, "emit.nc")
    yield made("PACE OCI L1B", products.write_pace_l1b, "pace.nc")
    yield made("NEON AOP", products.write_neon, "neon.h5")
    yield made("HYPSO L1", products.write_hypso, "hypso.nc")
    yield made("Hyperion L1T", products.write_hyperion, "hyperion")
    cube = Cube(
        data=np.random.default_rng(0).integers(0, 9000, (5, 40, 30)).astype(np.int16), nodata=-1.0, scale_factor=1e-4,
        wavelength_nm=np.linspace(450, 850, 5), fwhm_nm=np.full(5, 8.0), good=np.array([1, 1, 0, 1, 1], dtype=bool),
        units="1", crs="EPSG:32633", transform=(30.0, 0.0, 5e5, 0.0, -30.0, 5e6),
    )  # fmt: skip
    for name, file in (
        ("ours, HDF5", "ours.h5"),
        ("ours, Zarr", "ours.zarr"),
        ("ENVI", "ours.hdr"),
        ("GeoTIFF", "a.tif"),
    ):
        save_cube(cube, folder / file)
        yield name, folder / file


def gdal(path: Path) -> str:
    """What GDAL makes of it."""
    import rasterio

    image = path.with_suffix(".img") if path.suffix == ".hdr" else path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with rasterio.open(image) as file:
                return f"{file.count}×{file.height}×{file.width}" if file.count else "sub-datasets"
        except Exception:
            return "–"


def spectral_python(path: Path) -> str:
    """What Spectral Python makes of it."""
    import spectral.io.envi

    if path.suffix != ".hdr":
        return "–"
    return "×".join(map(str, np.roll(spectral.io.envi.open(str(path)).shape, 1)))


def main() -> dict[str, dict[str, Any]]:
    """Print and return the table."""
    columns = ("product", "reader", "shape", "nm", "fwhm", "bad", "units", "CRS", "nodata", "PAN", "GDAL", "SPy")
    rows, out = [columns], {}
    with tempfile.TemporaryDirectory() as name:
        for label, path in files(Path(name)):
            try:
                cube = open_cube(path)
            except HsiError as error:
                rows.append((label, str(error)[:40], *[""] * (len(columns) - 2)))
                continue
            facts = cube.describe()
            reader = reader_of(path)
            nm, width = facts["wavelength_nm"], facts["fwhm_nm"]
            rows.append((
                label, reader or "", "×".join(map(str, cube.shape)), "–" if nm is None else f"{nm[0]:.0f}–{nm[1]:.0f}",
                "–" if width is None else f"{width[0]:.1f}–{width[1]:.1f}", str(len(facts["bad_bands"])),
                cube.units or "–", facts["crs"] or "–", "–" if cube.nodata is None else f"{cube.nodata:g}",
                "–" if cube.pan is None else "×".join(map(str, cube.pan.shape[1:])), gdal(path), spectral_python(path),
            ))  # fmt: skip
            out[label] = facts
        widths = [max(len(row[k]) for row in rows) for k in range(len(columns))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        _large(Path(name))
    return out


def _large(folder: Path) -> None:
    """Seconds and memory on products of full size."""
    import h5py
    import rasterio

    print("\nproducts of full size" + " " * 22 + "seconds   MiB at most")
    products.write_prisma(folder / "large.he5", rows=1000, columns=1000, compression=None)
    with h5py.File(folder / "large.nc", "w") as file:
        shape = (1280, 1242, 285)
        data = file.create_dataset("reflectance", shape=shape, dtype="f4", chunks=(256, 256, 32), fillvalue=0.1)
        data.attrs["_FillValue"] = np.float32(-9999)
        file["sensor_band_parameters/wavelengths"] = np.linspace(381, 2493, 285)
        file["sensor_band_parameters/wavelengths"].attrs["units"] = "nm"
    given = products.write_enmap(folder / "large", shape=(224, 4, 4))
    image = folder / "large" / f"{given['stem']}SPECTRAL_IMAGE.TIF"
    profile = {"driver": "GTiff", "count": 224, "height": 1200, "width": 1100, "dtype": "int16", "nodata": -32768,
               "crs": "EPSG:32633", "transform": rasterio.Affine(30, 0, 366000, 0, -30, 5810000), "tiled": True,
               "interleave": "band", "compress": "deflate", "sparse_ok": True}  # fmt: skip
    with rasterio.open(image, "w", **profile) as file:
        file.write(np.full((1, 256, 256), 7, dtype=np.int16), [1], window=((0, 256), (0, 256)))
    wide = profile | {"count": 3, "height": 20_000, "width": 20_000}
    with rasterio.open(folder / "wide.tif", "w", **wide) as file:
        file.write(np.full((3, 256, 256), 7, dtype=np.int16), window=((0, 256), (0, 256)))
    window = ("--window", "0:512,0:512")
    for label, path in (("PRISMA", folder / "large.he5"), ("EnMAP", folder / "large"), ("EMIT", folder / "large.nc")):
        out = str(folder / "window.h5")
        for what, *command in (("info", "info", str(path)), ("convert 512×512", "convert", str(path), out, *window)):
            seconds, peak, _ = run(*command)
            print(f"  {label + ' ' + what:<40} {seconds:7.2f}   {peak:6.0f}")
    seconds, peak, _ = run("quicklook", str(folder / "wide.tif"), "-o", str(folder / "wide.png"))
    print(f"  {'quicklook of 20 000×20 000':<40} {seconds:7.2f}   {peak:6.0f}   (0.1.0: 5 GB)")


if __name__ == "__main__":
    main()
