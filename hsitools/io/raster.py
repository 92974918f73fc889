"""Raster files by GDAL (extra ``geo``): bands of an image, or pages of one size that are bands, read by window."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.sources import Bands
from hsitools.errors import FormatError, InputError


def rasterio_module() -> Any:
    """The rasterio package, or an error that says how to get it."""
    try:
        import rasterio
    except ImportError:
        raise InputError("GeoTIFF: rasterio: not installed, expected `pip install hsitools[geo]`") from None
    return rasterio


def open_raster(path: str | Path) -> Any:
    """An open TIFF or PNG file, or a page of the former (``GTIFF_DIR:2:name``)."""
    rasterio = rasterio_module()
    with warnings.catch_warnings():
        # a lab's cube without a map is no reason to warn
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path, driver="PNG" if str(path).lower().endswith(".png") else "GTiff")


@contextmanager
def library_silent() -> Iterator[None]:
    """Nothing is written to standard error: of a disk that is full libtiff tells a line a block, past all of Python."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def closed_in_silence(file: Any) -> Iterator[Any]:
    """An open file that writes its last blocks, or nearly all of them, when it is closed."""
    try:
        yield file
    finally:
        with library_silent():
            file.close()


class RasterSource:
    """Bands of a raster file, read by window; NaN where the file's mask (inside, or ``.msk`` beside) says invalid.

    Attributes
    ----------
    pages : list of str
        Of a file each band of which is an image of its own, as cameras and microscopes write them; empty of others.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open_raster(path) as file:
            self.shape = (int(file.count), int(file.height), int(file.width))
            self.dtype = np.dtype(np.result_type(*file.dtypes))
            flags = {flag.name for flag in file.mask_flag_enums[0]}
            pages = list(file.subdatasets) if file.count == 1 else []
        self.pages = pages if pages and all(self._is_band(page) for page in pages) else []
        if self.pages:
            self.shape = (len(self.pages), *self.shape[1:])
        self.masked = "per_dataset" in flags and "alpha" not in flags and not self.pages
        if self.masked:
            self.dtype = np.result_type(self.dtype, np.float32)

    def _is_band(self, page: str) -> bool:
        with open_raster(page) as file:
            return (file.count, file.height, file.width, np.dtype(file.dtypes[0])) == (*self.shape, self.dtype)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        window = ((rows.start, rows.stop), (columns.start, columns.stop))
        try:
            if self.pages:
                return np.stack([self._page(self.pages[int(band)], window) for band in bands])
            with open_raster(self.path) as file:
                out = file.read([int(b) + 1 for b in bands], window=window)
                if self.masked:
                    out = np.where(file.read_masks(1, window=window) > 0, out, np.nan).astype(self.dtype)
        except Exception as error:
            # damaged tiles fail in many ways: codecs, sizes, missing blocks
            raise FormatError(f"{self.path}: data: cannot be read; {' '.join(str(error).split())}") from None
        return np.asarray(out)

    def _page(self, page: str, window: Any) -> NDArray[Any]:
        with open_raster(page) as file:
            return np.asarray(file.read(1, window=window))


class BandFiles:
    """Bands in files of their own, ``(band, y, x)``.

    Raises
    ------
    InputError
        When a file has several bands, or another size or type than the first.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._sources = [RasterSource(path) for path in paths]
        first = self._sources[0]
        for path, source in zip(paths, self._sources, strict=True):
            if source.shape[0] != 1:
                raise InputError(f"{path}: data: found {source.shape[0]} bands, expected one: a grey image")
            if (source.shape, source.dtype) != (first.shape, first.dtype):
                raise InputError(f"{path}: data: found {source.dtype} of shape {source.shape[1:]}, expected "
                                 f"{first.dtype} of {first.shape[1:]} as {paths[0].name}")  # fmt: skip
        self.shape = (len(paths), first.shape[1], first.shape[2])
        self.dtype = first.dtype

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        one = np.zeros(1, dtype=np.int64)
        return np.concatenate([self._sources[int(band)].read(one, rows, columns) for band in bands])
