"""GeoTIFF (extra ``geo``): wavelengths in the ``IMAGERY`` tags of each band, coordinate system, nodata."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.cube.labels import stated_affine
from hsitools.errors import FormatError, InputError
from hsitools.io import band_tables, envi_header, stac
from hsitools.io.atomic import atomic_path, scratch_folder
from hsitools.io.conventions import meta_of, meta_text
from hsitools.io.labels import numbers_in
from hsitools.io.raster import RasterSource, closed_in_silence, library_silent, open_raster, rasterio_module
from hsitools.io.scales import fits, scaled, stated_nodata, with_reflectance_factor
from hsitools.io.tiff_pages import is_of_program, metadata_of, names_of_pages
from hsitools.io.wavelengths import Conversion, from_names, width_to_nm
from hsitools.progress import Progress

log = logging.getLogger(__name__)
PRIORITY = 60  # after the products whose images are GeoTIFFs
SUFFIXES = (".tif", ".tiff")
#: Domain of GDAL's metadata that holds what only we know to read.
OWN = "HSITOOLS"
#: Free bytes of a disk that is full: what is there is its last block.
NO_ROOM = 4096
#: First bytes of TIFF and BigTIFF, of either byte order.
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def can_read(path: Path) -> bool:
    """A TIFF header."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in MAGIC


def read(path: Path) -> Cube:
    """Open the image, lazily; what it does not say itself may stand in a header or STAC item beside it."""
    raster = RasterSource(path)
    with open_raster(path) as file:
        tags = [_lower(file.tags(band, ns="IMAGERY") | file.tags(band)) for band in file.indexes]
        dataset = _lower(file.tags() | file.tags(ns="ENVI"))
        meta = meta_of(_lower(file.tags(ns=OWN)), str(path))
        nodata = file.nodata
        crs = None if file.crs is None else (_epsg(file.crs) or file.crs.to_wkt())
        transform = None if file.transform.is_identity else stated_affine(file.transform, f"{path}: transform")
        scales, offsets = np.array(file.scales), np.array(file.offsets)
        units = next((unit for unit in file.units if unit), "")
        points, others = len(file.gcps[0]), len(file.subdatasets)
        descriptions, colours = file.descriptions, [colour.name for colour in file.colorinterp]
    count = raster.shape[0]
    told = dataset.get("tifftag_imagedescription", "")
    if raster.pages:
        names = names_of_pages(path, told, count)
        tags, descriptions = [_of_page(page, name) for page, name in zip(raster.pages, names, strict=True)], ()
        scales, offsets = np.ones(count), np.zeros(count)
    elif count == 1 and not others:
        names_of_pages(path, told, 1)  # says where there should be more
    elif others:
        log.warning(
            "%s: found %d images in one file, expected bands of one size: the first image is read", path, others
        )
    if "alpha" in colours and count > 2:
        # GDAL calls the fourth band of bytes so by itself, whatever it is
        log.warning(
            "%s: band %d: marked as transparency (alpha): kept as a band, no mask", path, colours.index("alpha")
        )
    dataset = metadata_of(told) | dataset
    beside = _beside(path, count)
    labels = _labels(tags, dataset, descriptions, path) or beside
    if count > 1 and labels.get("wavelength_nm") is None:
        table = band_tables.labels(path, count)
        labels = labels | table | {"good": labels.get("good", True) & table.get("good", np.ones(count, dtype=bool))}
    if nodata is None:
        nodata, _ = stated_nodata(dataset, beside, tags[0])
    if np.all(scales == 1) and not offsets.any():
        scales, offsets = beside.get("scales", scales), beside.get("offsets", offsets)
        if not {"scales", "offsets"} & set(beside):
            scales, offsets = _tagged_scales(tags, dataset, raster.dtype, path) or (scales, offsets)
    # zero is how some writers say that there is no scale
    source, scale, nodata = scaled(raster, np.where(np.asarray(scales) == 0, 1.0, scales), offsets, nodata, str(path))
    if "palette" in colours:
        meta["note"] = "a map of classes (colour table), no spectral cube"
    elif {"red", "green", "blue"} <= set(colours) and count <= 4 and labels.get("wavelength_nm") is None:
        meta["note"] = "an RGB picture, no spectral cube"
    elif count == 1 and labels.get("wavelength_nm") is None:
        meta["note"] = "one band without a wavelength (an elevation model, a map of classes, a panchromatic image?)"
    if points and transform is None:
        meta["geometry"] = f"{points} ground control points and no grid: warp it first (gdalwarp)"
    return Cube(
        data=source, wavelength_nm=labels.get("wavelength_nm"), fwhm_nm=labels.get("fwhm_nm"),
        good=labels.get("good", np.ones(count, dtype=bool)), nodata=None if nodata is None else float(nodata),
        scale_factor=scale, crs=crs or beside.get("crs"), transform=transform or beside.get("transform"),
        units=units or dataset.get("units", "") or beside.get("units", ""), name=dataset.get("name", path.stem),
        source=str(path), meta=meta,
    )  # fmt: skip


def _of_page(page: str, name: str) -> dict[str, str]:
    """Tags of a page that is a band; what it is called is its name."""
    with open_raster(page) as file:
        tags = _lower(file.tags())
    described = tags.get("tifftag_imagedescription", "")
    return {"description": name or ("" if is_of_program(described) else described)} | tags


def files(path: Path) -> list[Path]:
    """The image, what GDAL opens beside it (masks, world and metadata files), STAC items, headers, tables of bands."""
    try:
        with open_raster(path) as file:
            opened = [Path(name) for name in file.files]
    except InputError:
        raise
    except Exception as error:
        raise FormatError(f"{path}: GeoTIFF: cannot be read; {' '.join(str(error).split())}") from None
    headers, item = filter(envi_header.is_header, _headers(path)), stac.item_of(path)
    return [path, *opened, *headers, *([] if item is None else [item[0]]), *band_tables.tables_of(path)]


def _headers(path: Path) -> list[Path]:
    """Files beside an image that may be its ENVI header."""
    names = {path.name.lower() + ".hdr", path.stem.lower() + ".hdr"}
    return sorted(item for item in path.parent.iterdir() if item.name.lower() in names)


def _lower(tags: dict[str, str]) -> dict[str, str]:
    return {key.lower().replace(" ", "_"): value for key, value in tags.items()}


def _known_crs(crs: str, path: Path) -> Any:
    """A coordinate system as PROJ has it; raises `InputError` for one that it does not know."""
    rasterio = rasterio_module()
    try:
        with rasterio.Env(CPL_LOG_ERRORS="OFF"):
            return rasterio.crs.CRS.from_user_input(crs)
    except rasterio.errors.CRSError:
        raise InputError(f"{path}: crs: found {crs[:60]!r}, expected a coordinate system that PROJ knows") from None


def _epsg(crs: Any) -> str | None:
    code = crs.to_epsg()
    return None if code is None else f"EPSG:{code}"


def _labels(tags: list[dict[str, str]], dataset: dict[str, str], descriptions: Any, path: Path) -> dict[str, Any]:
    """Wavelengths, widths and good bands: tags of each band (GDAL's, ENVI's, others' names), lists of the whole file,
    the bands' descriptions. Empty when none of them has wavelengths or marks.
    """  # fmt: skip
    count = len(tags)

    def per_band(*names: str) -> Any:
        for name in names:
            words = [band.get(name, "").strip() for band in tags]
            if any(words):
                values = [_first(value) for value in words]
                if None not in values:
                    return np.array(values)
                log.warning("%s: %s: found %r, expected numbers: left out", path, name, words[values.index(None)][:40])
        listed = next((dataset[name] for name in names if dataset.get(name)), None)
        return _list(listed, count, f"{path}: {names[0]}")

    out: dict[str, Any] = {}
    width_unit: str | None = "um"
    centre, width = per_band("central_wavelength_um"), per_band("fwhm_um")
    unit: str | None = "um"
    if centre is None:
        units = ("wavelength_units", "wavelength_unit", "units_of_wavelength", "wavelength#units")
        unit = next((source[name] for source in (*tags, dataset) for name in units if source.get(name)), None)
        # the last ones are those by which GDAL names what was a dimension of a NetCDF file
        centre = per_band("wavelength", "wavelengths", "wavelength_nm", "center_wavelength", "centre_wavelength",
                          "central_wavelength", "cw", "netcdf_dim_wavelength", "netcdf_dim_wavelengths",
                          "netcdf_dim_wavelength_values")  # fmt: skip
        if centre is not None and unit is None:
            text = next((band[name] for band in tags for name in ("wavelength", "wavelengths") if band.get(name)), "")
            unit = text.split()[1] if len(text.split()) > 1 else None
        if any("wavelength_nm" in source and "wavelength" not in source for source in (*tags, dataset)):
            unit = "nm"
        if width is None:
            width = per_band("fwhm", "fwhm_nm", "bandwidth", "width")
            width_unit = next((p[n] for p in (*tags, dataset) for n in ("fwhm_units", "fwhm_unit") if p.get(n)), None)
            if any("fwhm_nm" in place and "fwhm" not in place for place in (*tags, dataset)):
                width_unit = "nm"
    if centre is None:
        # as descriptions, as tags of the bands, and as GDAL copies ENVI's band names to the file's tags
        listed = ([tag.get(name, "") for tag in tags] for name in ("band_name", "description", "name"))
        copied = [dataset.get(f"band_{number}", "") for number in range(1, count + 1)]
        centre = next((c for c in map(from_names, (descriptions, *listed, copied)) if c is not None), None)
        unit = "nm"
    marks, bad = (
        per_band("bbl", "good", "good_band", "good_wavelength", "good_wavelengths"),
        per_band("bad", "bad_band"),
    )
    good = np.ones(count, dtype=bool)
    if marks is not None:
        good &= ~(marks == 0)
    if bad is not None:
        good &= ~(bad == 1)
    conversion = None if centre is None else Conversion.of(centre, unit, f"{path}: wavelength")
    if conversion is not None:
        out["wavelength_nm"] = conversion.centres(centre)
        if np.isfinite(out["wavelength_nm"]).any():
            good &= ~(np.asarray(centre) == 0)
    if width is not None:
        out["fwhm_nm"] = width_to_nm(width, width_unit, conversion, centre, f"{path}: fwhm")
    if conversion is not None or not good.all():
        out["good"] = good
    return out


def _beside(path: Path, count: int) -> dict[str, Any]:
    """Labels from a STAC item or an ENVI header of the image's name beside it; empty when there is none that fits."""
    labels = stac.labels(path, count)
    if labels:
        return labels
    for header in _headers(path):
        labels = envi_header.labels(header, count)
        if labels:
            return labels
    return {}


def _first(value: str) -> float | None:
    """The number that a band's tag begins with ("450 nm", "450,5"); NaN where the tag is empty, None for words."""
    if not value:
        return float("nan")
    word = value.split()[0]
    try:
        return float(word if "." in word else word.replace(",", "."))
    except ValueError:
        return None


def _list(value: str | None, count: int, where: str) -> Any:
    """Numbers of all bands in one of the file's tags; None, said, where they are of another image or no numbers.

    Tools that copy some bands of an image copy its tags whole.
    """
    if value is None:
        return None
    numbers = numbers_in(value)
    if numbers is None:
        log.warning("%s: found %r, expected numbers: left out", where, value[:40])
    elif len(numbers) != count:
        log.warning("%s: found %d values, expected %d, one a band: left out", where, len(numbers), count)
    else:
        return numbers
    return None


def _tagged_scales(tags: list[dict[str, str]], dataset: dict[str, str], dtype: np.dtype[Any], path: Path) -> Any:
    """Scales and offsets that stand in tags (which GDAL copies and does not apply); None when in none.

    Those of floating-point numbers are left, and said: they have been applied as a rule. ENVI's reflectance scale
    factor is no such scale: it tells what the numbers of any type are.
    """
    out = []
    for names, neutral in ((("scale_factor", "scale", "scales"), 1.0), (("add_offset", "offset", "offsets"), 0.0)):
        found = None
        for name in names:
            values = [_first(band.get(name, "").strip()) for band in tags]
            if None not in values and np.isfinite(np.array(values)).all():
                found = np.array(values)
            elif dataset.get(name) is not None:
                listed = numbers_in(dataset[name])
                if listed is not None and len(listed) in (1, len(tags)):
                    found = np.broadcast_to(listed, (len(tags),))
            if found is not None:
                break
        out.append(np.full(len(tags), neutral) if found is None else found)
    if dtype.kind == "f" and (np.any(out[0] != 1) or out[1].any()):
        log.warning("%s: scale: found %g in the tags of floating-point numbers: taken as applied already", path,
                    out[0][0])  # fmt: skip
        return None
    factor = numbers_in(dataset.get("reflectance_scale_factor"))
    factor = float(factor[0]) if factor is not None and factor.size == 1 else None
    out[0] = with_reflectance_factor(out[0], factor, len(tags), str(path))
    if np.all(out[0] == 1) and not out[1].any():
        return None
    log.info("%s: scale: found %g and offset %g in the file's tags", path, out[0][0], out[1][0])
    return tuple(out)


def write(cube: Cube, path: Path, progress: Progress, *, cog: bool = False) -> None:
    """Write a tiled, compressed GeoTIFF, block by block; a PAN is not kept, and said.

    ``cog`` puts overviews and tiles in the order of cloud-optimised GeoTIFFs.
    """
    import warnings

    rasterio = rasterio_module()
    stored = cube.stored()
    if cube.pan is not None:
        log.warning("%s: GeoTIFF holds no panchromatic image: left out", path)
    dtype = np.dtype("u1") if stored.dtype.kind == "b" else stored.dtype.newbyteorder("=")
    if dtype == np.float16:
        dtype = np.dtype(np.float32)
    tile = 256
    profile: dict[str, Any] = {
        "driver": "GTiff", "count": cube.n_bands, "height": cube.shape[1], "width": cube.shape[2], "dtype": dtype.name,
        "interleave": "band", "compress": "deflate", "zlevel": 1, "tiled": True, "blockxsize": tile, "blockysize": tile,
        "bigtiff": "if_safer", "num_threads": "all_cpus",
        # three or four bands of bytes are no picture, and the fourth no mask
        "photometric": "minisblack", "alpha": "no",
    }  # fmt: skip
    if cube.crs is not None:
        profile["crs"] = _known_crs(cube.crs, path)
    if cube.transform is not None:
        profile["transform"] = rasterio.Affine(*cube.transform)
    if stored.nodata is not None:
        # GDAL writes numbers of more digits than a double has in a form that it cannot read
        if dtype.kind in "ui" and abs(stored.nodata) >= 2**53:
            log.warning("%s: nodata %g cannot stand in a GeoTIFF: left out", path, stored.nodata)
        elif np.isfinite(stored.nodata) and dtype.kind in "ui" and not fits(stored.nodata, dtype):
            log.warning("%s: nodata %g is no %s: left out", path, stored.nodata, dtype)
        elif not (np.isnan(stored.nodata) and dtype.kind in "ui"):
            profile["nodata"] = stored.nodata
    with atomic_path(path) as finished, _plain_first(finished, cog) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with closed_in_silence(rasterio.open(temporary, "w", **profile)) as file:
            file.update_tags(name=cube.name, bbl=" ".join(map(str, cube.good.astype(int))), units=cube.units)
            further = meta_text(cube, str(path))
            if further is not None:
                file.update_tags(ns=OWN, meta=further)
            if not stored.uniform or stored.scale[0] != 1:
                file.scales, file.offsets = stored.scale.tolist(), stored.offset.tolist()
            for band in range(cube.n_bands):
                labels = {"CENTRAL_WAVELENGTH_UM": cube.wavelength_nm, "FWHM_UM": cube.fwhm_nm}
                tags = {key: repr(float(values[band]) / 1e3) for key, values in labels.items() if values is not None}
                if tags:
                    file.update_tags(band + 1, ns="IMAGERY", **tags)
            with closing(stored.blocks(dtype.itemsize, (tile, tile), progress)) as blocks:
                for rows, columns, block in blocks:
                    places = (rows.start, rows.stop), (columns.start, columns.stop)
                    with library_silent():
                        file.write(block.astype(dtype, copy=False), window=places)
                    if shutil.disk_usage(temporary).free < NO_ROOM:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _check_whole(temporary)
        if cog:
            from rasterio.shutil import copy

            with library_silent():
                copy(temporary, finished, driver="COG", compress="DEFLATE", level=1, blocksize=512, bigtiff="IF_SAFER",
                     overview_resampling="average")  # fmt: skip


def _check_whole(path: Path) -> None:
    """Raise `OSError` where blocks lie beyond the end of the file: GDAL keeps quiet on a disk that is full."""
    size = path.stat().st_size
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    try:
        with rasterio_module().open(path) as file:
            (height, width), (rows, columns) = file.block_shapes[0], file.shape
            names = [f"{x}_{y}" for y in range(-(-rows // height)) for x in range(-(-columns // width))]
            for band in file.indexes:
                for name in names:
                    start, length = (
                        file.get_tag_item(f"BLOCK_{what}_{name}", "TIFF", bidx=band) for what in ("OFFSET", "SIZE")
                    )
                    if start is not None and int(start) + int(length) > size:
                        raise full
    except rasterio_module().errors.RasterioIOError:
        raise full from None


@contextmanager
def _plain_first(finished: Path, cog: bool) -> Iterator[Path]:
    """Where blocks are written: the file itself, or for a cloud-optimised one a plain image that is copied after."""
    if not cog:
        yield finished
        return
    with scratch_folder(finished) as scratch:
        yield scratch / "plain.tif"
