"""Files built to the products' specifications, attribute for attribute: for benchmarks and tests without real ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np


def prisma_lists(n_vnir: int = 66, n_swir: int = 173) -> dict[str, Any]:
    """Wavelengths and widths as in a product: descending, unused bands zero, detectors overlapping."""
    vnir, swir = np.linspace(1010, 402, n_vnir), np.linspace(2497, 920, n_swir)
    vnir[:3], swir[:2] = 0, 0
    return {
        "List_Cw_Vnir": vnir.astype(np.float32), "List_Fwhm_Vnir": np.where(vnir > 0, 11.0, 0).astype(np.float32),
        "List_Cw_Swir": swir.astype(np.float32), "List_Fwhm_Swir": np.where(swir > 0, 10.5, 0).astype(np.float32),
    }  # fmt: skip


def write_prisma(
    path: Path, *, rows: int = 12, columns: int = 10, n_vnir: int = 66, n_swir: int = 173, level: str = "L2D",
    seed: int = 0, ratio: int = 6, compression: str | None = "gzip", leave_out: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """Write a PRISMA product; returns the digital numbers and attributes that went in."""
    import h5py

    rng = np.random.default_rng(seed)
    attributes: dict[str, Any] = prisma_lists(n_vnir, n_swir) | {
        "Product_ID": "PRS_TEST", "Processing_Level": level[1:], "Epsg_Code": np.int64(32633),
        "Product_ULcorner_easting": 500015.0, "Product_ULcorner_northing": 4600000.0 - 15,
        "Product_LRcorner_easting": 500015.0 + 30 * (columns - 1),
        "Product_LRcorner_northing": 4599985.0 - 30 * (rows - 1),
    }  # fmt: skip
    for name, low, high in (("Vnir", 0.0, 1.2), ("Swir", -0.01, 0.9), ("Pan", 0.0, 1.0)):
        if level.startswith("L2"):
            attributes |= {f"L2Scale{name}Min": np.float32(low), f"L2Scale{name}Max": np.float32(high)}
        else:
            attributes |= {f"ScaleFactor_{name}": np.float32(100.0), f"Offset_{name}": np.float32(0.5)}
    given: dict[str, Any] = {"attributes": attributes}
    with h5py.File(path, "w") as file:
        for name, value in attributes.items():
            if name not in leave_out:
                file.attrs[name] = value
        cubes = file.create_group(f"HDFEOS/SWATHS/PRS_{level}_HCO/Data Fields")
        for name, bands in (("VNIR_Cube", n_vnir), ("SWIR_Cube", n_swir)):
            if name in leave_out:
                continue
            chunks = (min(rows, 100), bands, min(columns, 10)) if compression else None
            data = cubes.create_dataset(
                name, shape=(rows, bands, columns), dtype="u2", chunks=chunks, compression=compression
            )
            for start in range(0, rows, 100):
                stop = min(start + 100, rows)
                data[start:stop] = rng.integers(1, 65536, (stop - start, bands, columns), dtype=np.uint16)
            if rows * columns < 10_000:
                # a corner off the swath
                data[0, :, 0] = 0
                given[name] = data[()]
        fine = file.create_group(f"HDFEOS/SWATHS/PRS_{level}_PCO/Data Fields")
        pan = fine.create_dataset("Cube", shape=(rows * ratio, columns * ratio), dtype="u2", compression=compression)
        for start in range(0, rows * ratio, 600):
            stop = min(start + 600, rows * ratio)
            pan[start:stop] = rng.integers(1, 65536, (stop - start, columns * ratio), dtype=np.uint16)
        if rows * columns < 10_000:
            given["pan"] = pan[()]
    return given


def _write_image(path: Path, values: Any) -> None:
    """A product's digital numbers ``(band, y, x)`` on a map."""
    import rasterio

    with rasterio.open(
        path, "w", driver="GTiff", count=values.shape[0], height=values.shape[1], width=values.shape[2],
        dtype="int16", nodata=-32768, crs="EPSG:32633", transform=rasterio.Affine(30, 0, 366000, 0, -30, 5810000),
    ) as file:  # fmt: skip
        file.write(values)


def write_enmap(folder: Path, *, shape: tuple[int, int, int] = (5, 6, 7), seed: int = 0) -> dict[str, Any]:
    """Write an EnMAP L2A product (GeoTIFF and metadata); returns what went in."""
    rng = np.random.default_rng(seed)
    stem = "ENMAP01-____L2A-DT0000000001_20220724T100000Z_001_V010400_20230101T000000Z-"
    values = rng.integers(0, 9000, shape).astype(np.int16)
    values[:, 0, 0] = -32768
    centre, width = np.linspace(418.24, 2445.53, shape[0]), np.linspace(6.5, 9.0, shape[0])
    gain, offset = np.linspace(1e-4, 2e-4, shape[0]), np.linspace(0, 0.01, shape[0])
    folder.mkdir(exist_ok=True)
    _write_image(folder / f"{stem}SPECTRAL_IMAGE.TIF", values)
    bands = "".join(
        f'<bandID number="{n + 1}"><wavelengthCenterOfBand>{centre[n]}</wavelengthCenterOfBand>'
        f"<FWHMOfBand>{width[n]}</FWHMOfBand><GainOfBand>{gain[n]}</GainOfBand>"
        f"<OffsetOfBand>{offset[n]}</OffsetOfBand></bandID>"
        for n in range(shape[0])
    )
    (folder / f"{stem}METADATA.XML").write_text(
        '<?xml version="1.0" encoding="UTF-8"?><level_X><base><level>L2A</level></base><specific><bandCharacterisation>'
        f"{bands}</bandCharacterisation></specific></level_X>"
    )
    return {"values": values, "centre": centre, "width": width, "gain": gain, "offset": offset, "stem": stem}


def write_emit(path: Path, *, shape: tuple[int, int, int] = (6, 5, 8), seed: int = 0) -> dict[str, Any]:
    """Write an EMIT L2A product (downtrack, crosstrack, bands); returns what went in."""
    import h5py

    rng = np.random.default_rng(seed)
    values = rng.random(shape).astype(np.float32)
    values[0, 0] = -9999
    centre, width = np.linspace(381, 2493, shape[2]).astype(np.float32), np.full(shape[2], 8.5, dtype=np.float32)
    good = np.ones(shape[2], dtype=np.uint8)
    good[3] = 0
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "EMIT L2A Estimated Surface Reflectance"
        file.attrs["geotransform"] = np.array([13.0, 5.4e-4, 0, 52.0, 0, -5.4e-4])
        file.attrs["spatial_ref"] = 'GEOGCS["WGS 84"]'
        data = file.create_dataset("reflectance", data=values, fillvalue=-9999.0)
        data.attrs["_FillValue"], data.attrs["units"] = np.float32(-9999), "unitless"
        group = file.create_group("sensor_band_parameters")
        group["wavelengths"], group["fwhm"], group["good_wavelengths"] = centre, width, good
        group["wavelengths"].attrs["units"] = group["fwhm"].attrs["units"] = "nm"
    return {"values": values, "centre": centre, "width": width, "good": good}


def write_matlab_73(path: Path, variables: dict[str, Any]) -> None:
    """Write MATLAB v7.3: HDF5 behind a 512-byte header, axes reversed."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            file[name] = np.asarray(value).T
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124, b" ") + b"\0\2IM")


def write_desis(
    folder: Path, *, shape: tuple[int, int, int] = (5, 6, 7), level: str = "L2A", seed: int = 0
) -> dict[str, Any]:
    """Write a DESIS product (GeoTIFF and metadata); returns what went in."""
    rng = np.random.default_rng(seed)
    stem = f"DESIS-HSI-{level}-DT0000000001_001-20200101T000000-V0210-"
    values = rng.integers(0, 9000, shape).astype(np.int16)
    values[:, 0, 0] = -32768
    centre, width = np.linspace(401.25, 999.5, shape[0]), np.full(shape[0], 3.5)
    gain, offset = np.linspace(1e-4, 2e-4, shape[0]), np.linspace(0, 0.01, shape[0])
    folder.mkdir(exist_ok=True)
    _write_image(folder / f"{stem}SPECTRAL_IMAGE.tif", values)
    bands = "".join(
        f"<band><bandNumber>{n + 1}</bandNumber><wavelengthCenterOfBand>{centre[n]}</wavelengthCenterOfBand>"
        f"<wavelengthWidthOfBand>{width[n]}</wavelengthWidthOfBand><gainOfBand>{gain[n]}</gainOfBand>"
        f"<offsetOfBand>{offset[n]}</offsetOfBand></band>"
        for n in range(shape[0])
    )
    (folder / f"{stem}METADATA.xml").write_text(
        f"<hsi_doc><specific><bandCharacterisation>{bands}</bandCharacterisation></specific></hsi_doc>"
    )
    return {"values": values, "centre": centre, "width": width, "gain": gain, "offset": offset, "stem": stem}


def write_pace_l1b(path: Path, *, shape: tuple[int, int] = (6, 5), seed: int = 0) -> dict[str, Any]:
    """Write a PACE OCI L1B granule; returns reflectance and wavelengths of each detector."""
    import h5py

    rng = np.random.default_rng(seed)
    waves = {"blue": np.linspace(315, 605, 9), "red": np.linspace(600, 895, 8), "SWIR": np.array([940.0, 1038, 2130])}
    given: dict[str, Any] = {}
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "PACE OCI Level-1B Data"
        for name, centre in waves.items():
            values = rng.random((len(centre), *shape)).astype(np.float32)
            values[:, 0, 0] = -32767
            data = file.create_dataset(f"observation_data/rhot_{name}", data=values)
            data.attrs["_FillValue"] = np.float32(-32767)
            file[f"sensor_band_parameters/{name}_wavelength"] = centre
            file[f"sensor_band_parameters/{name}_wavelength"].attrs["units"] = "nm"
            given[name] = (values, centre)
        file["sensor_band_parameters/SWIR_bandpass"] = np.array([45.0, 75.0, 50.0])
    return given


def write_neon(path: Path, *, shape: tuple[int, int, int] = (6, 5, 8), seed: int = 0) -> dict[str, Any]:
    """Write a NEON AOP reflectance tile (y, x, band); returns what went in."""
    import h5py

    rng = np.random.default_rng(seed)
    values = rng.integers(0, 9000, shape).astype(np.int16)
    values[0, 0] = -9999
    centre = np.linspace(384, 2512, shape[2])
    with h5py.File(path, "w") as file:
        group = file.create_group("HARV/Reflectance")
        group.attrs["Band_Window_1_Nanometers"] = np.array([1340.0, 1445.0])
        data = group.create_dataset("Reflectance_Data", data=values)
        data.attrs.update(Data_Ignore_Value=-9999.0, Scale_Factor=10000.0, Units="Unitless")
        spectral = group.create_group("Metadata/Spectral_Data")
        spectral["Wavelength"], spectral["FWHM"] = centre, np.full(shape[2], 6.0)
        spectral["Wavelength"].attrs["Units"] = spectral["FWHM"].attrs["Units"] = "nanometers"
        system = group.create_group("Metadata/Coordinate_System")
        system["EPSG Code"] = b"32618"
        system["Map_Info"] = b"UTM,  1.000,  1.000, 726000.00, 4700000.0, 1.0, 1.0, 18, North, WGS-84, units=Meters"
    return {"values": values, "centre": centre}


def write_hypso(path: Path, *, shape: tuple[int, int, int] = (6, 5, 8), seed: int = 0) -> dict[str, Any]:
    """Write a HYPSO L1 file (lines, samples, bands), wavelengths in the variable's attributes; returns what went in."""
    import h5py

    rng = np.random.default_rng(seed)
    values, centre = rng.random(shape).astype(np.float32), np.linspace(387, 801, shape[2])
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "HYPSO-1 L1d"
        data = file.create_dataset("products/Lt", data=values)
        for axis, (name, size) in enumerate(zip(("lines", "samples", "bands"), shape, strict=True)):
            file.create_dataset(name, shape=(size,), dtype=">f4").make_scale(name)
            data.dims[axis].attach_scale(file[name])
        data.attrs.update(
            wavelengths=centre, fwhm=np.full(shape[2], 4.0), wavelength_units="nanometers", units="W m-2 sr-1 um-1"
        )
        file["navigation/latitude"] = np.zeros(shape[:2])
    return {"values": values, "centre": centre}


def write_hyperion(folder: Path, *, bands: tuple[int, ...] = (7, 8, 57, 58, 77, 224), seed: int = 0) -> dict[str, Any]:
    """Write some bands of a Hyperion L1T product, one GeoTIFF each, and its metadata; returns what went in."""
    import rasterio

    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    given: dict[int, Any] = {}
    for number in bands:
        given[number] = rng.integers(1, 9000, (6, 7)).astype(np.int16)
        with rasterio.open(
            folder / f"EO1H0140352016290110K7_B{number:03d}_L1T.TIF", "w", driver="GTiff", count=1, height=6, width=7,
            dtype="int16", crs="EPSG:32633", transform=rasterio.Affine(30, 0, 366000, 0, -30, 5810000),
        ) as file:  # fmt: skip
            file.write(given[number][None])
    (folder / "EO1H0140352016290110K7_MTL_L1T.TXT").write_text(
        "GROUP = RADIANCE_SCALING\n  SCALING_FACTOR_VNIR = 40\n  SCALING_FACTOR_SWIR = 80\n"
        "END_GROUP = RADIANCE_SCALING\n"
    )
    return given


def copy_product(path: Path, target: Path) -> Path:
    """Copy a file into the new folder ``target`` with what belongs to it: its product, or files of its name."""
    if path.parent.name in ("enmap", "desis", "hyperion"):
        shutil.copytree(path.parent, target)
    else:
        target.mkdir()
        for beside in path.parent.glob(f"{path.stem}.*"):
            shutil.copy(beside, target)
    return target / path.name
