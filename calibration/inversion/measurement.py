"""What is to be inverted, from files: raw frames of a scene, and interferogram cubes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.extract import mean_dark
from calibration.captures.frames import LINES
from calibration.captures.saturation import clipping_limit
from calibration.captures.unlit import check_dark, check_place, unlit_pixels
from calibration.characterization import Characterization
from calibration.inversion.scene_average import Average, average
from hsitools.arrays import real_array
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.io.labels import strange
from hsitools.text import counted

Array = NDArray[np.float64]
log = logging.getLogger(__name__)
#: Frames of a scene in which clipping is looked for: it is in each of them.
LOOKED_AT = 4
#: OPDs that a cube says of itself may differ from the instrument's by this share of a fringe over the band.
SAME_INSTRUMENT = 0.5
#: Frames of one scene whose light differs by this factor, and so many standard errors, are of several, or of several
#: exposures.
ONE_SCENE, NOISE_SIGMA = 1.2, 6.0
#: A frame with more saturated pixels than this inside its sub-images says nothing.
SATURATED = 0.5
NO_DARK = "missing, expected dark frames (n, y, x) or (y, x) of the same exposure"
NO_FRAMES = "found no raw frames, expected those of an even scene (HDF5) with dark frames"
NO_FLAT = "found one beside an interferogram cube, expected none: it is of raw frames' pixels"
NO_SPECTRA = "found a cube of spectra, expected interferograms without wavelengths"


@dataclass(frozen=True, kw_only=True, eq=False)
class Measurement:
    """Interferograms with what is known of their noise.

    Attributes
    ----------
    values : array, shape (interferometer, y, x)
        NaN where a pixel was not measured or is saturated.
    noise_std : array, shape (interferometer,), or None
        From repeated frames; None where there is one.
    source : str
    hot : array of bool, shape of ``values``, or None
        Pixels that are hot by the dark frames.
    alignment_std : array, shape (interferometer,), or None
        Standard deviation of what aligning sub-images left (`alignment_errors`); None of those that were not.
    """

    values: Array
    noise_std: Array | None
    source: str
    hot: NDArray[np.bool_] | None = None
    alignment_std: Array | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(interferometer, y, x)."""
        count, height, width = self.values.shape
        return count, height, width

    def read(self, rows: slice, columns: slice) -> Array:
        """Interferograms of a window."""
        return self.values[:, rows, columns]


@dataclass(frozen=True, kw_only=True, eq=False)
class CubeMeasurement:
    """Interferograms that stay in their cube until they are read, window by window; saturated from ``limit`` on."""

    cube: Cube
    source: str
    noise_std: Array | None = None
    alignment_std: Array | None = None
    limit: float = np.inf

    @property
    def shape(self) -> tuple[int, int, int]:
        """(interferometer, y, x)."""
        return self.cube.shape

    def read(self, rows: slice, columns: slice) -> Array:
        """Interferograms of a window; NaN where nothing was measured or is saturated, and of those marked bad."""
        cube = self.cube.physical()
        values = cube.read(rows=rows, columns=columns)
        measured = cube.valid(values) & cube.good[:, None, None] & (values < self.limit)
        return np.where(measured, values, np.nan).astype(float)


AnyMeasurement = Measurement | CubeMeasurement


def open_measurement(path: str | Path, instrument: Characterization) -> AnyMeasurement:
    """Raw frames (HDF5 with ``frames``) or an interferogram cube (any cube file), told apart by content.

    Raises
    ------
    FormatError
        When the file is missing or neither.
    InputError
        When it is of another instrument, saturated, or without a dark frame.
    """
    import h5py

    from hsitools.io import open_cube

    path = Path(path)
    if path.is_file() and h5py.is_hdf5(path):
        with _opened(path) as file:
            if "frames" in file:
                return _frames_of(file, path, instrument)
    return interferogram_cube(open_cube(path), instrument)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        opened = open_hdf5(path)
    except OSError as error:
        raise FormatError(f"{path}: cannot be read; {' '.join(str(error).split())}") from None
    with opened as file:
        yield file


def _frames_of(file: Any, path: Path, instrument: Characterization) -> Measurement:
    _one_scene(file, path)
    return frames(
        file["frames"], None if "dark" not in file else file["dark"][()], instrument,
        full_scale=file.attrs.get("full_scale"), source=str(path),
    )  # fmt: skip


def _one_scene(file: Any, path: Path) -> None:
    """Raise `InputError` where each frame has a wavelength of its own: the mean of such frames is no scene."""
    import h5py

    for name in LINES:
        line = file.get(name)
        if isinstance(line, h5py.Dataset) and line.shape == file["frames"].shape[:1] and line.dtype.kind in "uif":
            count = len(np.unique(line[()]))
            if count > 1:
                raise InputError(
                    f"{path}: {name}: found {count} lines of a monochromator, one a frame, expected frames of one scene"
                )


def open_flat(path: str | Path, instrument: Characterization) -> Measurement:
    """Raw frames of an even scene under the calibration lamp; raises `InputError` for another kind of file."""
    path = Path(path)
    with _even_scene(path) as file:
        return _frames_of(file, path, instrument)


@contextmanager
def _even_scene(path: Path) -> Iterator[Any]:
    """The open file of a flat: frames, none of which has a wavelength of its own."""
    import h5py

    if strange(path) is not None or not path.is_file():
        raise FormatError(f"{path}: flat: found {strange(path) or 'no such file'}, expected frames of an even scene")
    if not h5py.is_hdf5(path):
        raise InputError(f"{path}: flat: {NO_FRAMES}")
    with _opened(path) as file:
        if "frames" not in file:
            raise InputError(f"{path}: flat: {NO_FRAMES}")
        name = next((name for name in LINES if name in file), None)
        if name is not None:
            raise InputError(f"{path}: flat: found {name} (a monochromator), expected frames of an even scene")
        yield file


def check_flat(path: str | Path, frame_shape: tuple[int, int] | None) -> None:
    """Raise what a flat's file tells before the instrument is characterized: see `check_file`."""
    path = Path(path)
    with _even_scene(path) as file:
        _check_frames(file, path, frame_shape)


def check_file(path: str | Path, frame_shape: tuple[int, int] | None, count: int | None) -> bool:
    """Whether a scene's file holds raw frames; raises what it tells before its instrument is characterized.

    Parameters
    ----------
    path : path
        Raw frames, or an interferogram cube.
    frame_shape : (int, int) or None
        Of the instrument's frames, where it is known.
    count : int or None
        Interferometers, where it is known.

    Raises
    ------
    FormatError
        When the file is neither.
    InputError
        When it has another size or number of interferometers, no dark frames, or most of it is saturated.
    """
    import h5py

    from hsitools.io import open_cube

    path = Path(path)
    if path.is_file() and h5py.is_hdf5(path):
        with _opened(path) as file:
            if "frames" in file:
                _check_frames(file, path, frame_shape)
                return True
    cube = open_cube(path)
    if cube.wavelength_nm is not None:
        raise InputError(f"{path}: wavelength_nm: {NO_SPECTRA}")
    if count is not None and cube.n_bands != count:
        raise InputError(f"{path}: interferometers: found {cube.n_bands}, expected {count} as in the bench's files")
    return False


def _check_frames(file: Any, path: Path, frame_shape: tuple[int, int] | None) -> None:
    _one_scene(file, path)
    frame = file["frames"]
    shape = tuple(frame.shape)
    if len(shape) not in (2, 3) or 0 in shape or frame_shape not in (None, shape[-2:]):
        told = "…, y, x" if frame_shape is None else f"…, {frame_shape[0]}, {frame_shape[1]}"
        raise InputError(f"{path}: frames: found shape {shape}, expected ({told}) as the instrument's")
    if "dark" not in file:
        raise InputError(f"{path}: dark: {NO_DARK}")
    limit = file.attrs.get("full_scale")
    if limit is not None:
        # between sub-images it is dark: where half of a frame is saturated more than half of them is
        share = float(((frame[()] if len(shape) == 2 else frame[0]) >= limit).mean())
        if share > SATURATED:
            raise InputError(f"{path}: frames: {_saturated(share, limit)}")


def _saturated(share: float, limit: float) -> str:
    return f"found {100 * share:.0f} % of the pixels at full scale {limit:g}, expected a shorter exposure"


def interferogram_cube(cube: Cube, instrument: Characterization) -> CubeMeasurement:
    """The measurement that a cube ``(interferometer, y, x)`` holds.

    Raises
    ------
    InputError
        When it has another number of interferometers than the instrument, or other OPDs.
    """
    where = cube.source or cube.name or "interferograms"
    expected = len(instrument.opd_um)
    if cube.wavelength_nm is not None:
        raise InputError(f"{where}: wavelength_nm: {NO_SPECTRA}")
    if cube.n_bands != expected:
        raise InputError(
            f"{where}: interferometers: found {cube.n_bands}, expected {expected} as in "
            f"{instrument.name or 'the instrument'}"
        )
    told = cube.meta.get("opd_um")
    if told is not None:
        difference = np.abs(np.asarray(told, dtype=float) - instrument.opd_um)
        limit = SAME_INSTRUMENT / instrument.response.band.width
        if not np.nanmedian(difference) <= limit:
            raise InputError(
                f"{where}: opd_um: found OPDs {np.nanmedian(difference):.3g} µm off those of {instrument.name} "
                f"(median), expected less than {limit:.3g}: it is another instrument's file"
            )
    return CubeMeasurement(cube=cube, source=where)


def frames(
    raw: Any, dark: NDArray[Any] | None, instrument: Characterization, *, full_scale: Any = None,
    source: str = "frames",
) -> Measurement:  # fmt: skip
    """Frames ``(y, x)`` or ``(n, y, x)`` of one scene, cut into sub-images, the dark taken off.

    An array or an HDF5 dataset; of many frames one is read at a time. Samples at full scale or clipped are NaN.

    Raises
    ------
    InputError
        When the instrument has no layout, the frame another size, there is no dark, or too much is saturated.
    """
    layout = instrument.layout
    if layout is None:
        raise InputError(
            f"{instrument.name}: layout: found none, expected where the sub-images lie, to cut {source}: calibrate a "
            "capture of `hsi capture extract`, which knows it, or tell it by a device file (`hsi process --device`)"
        )
    shape = tuple(raw.shape)
    if len(shape) not in (2, 3) or shape[-2:] != tuple(layout.frame_shape) or 0 in shape:
        raise InputError(
            f"{source}: frames: found shape {shape}, expected (…, {layout.frame_shape[0]}, "
            f"{layout.frame_shape[1]}) as in {instrument.name}"
        )
    if dark is None:
        raise InputError(f"{source}: dark: {NO_DARK}")
    dark = real_array(dark, f"{source}: dark").astype(float)
    if dark.shape[-2:] != shape[-2:] or dark.ndim > 3:
        raise InputError(f"{source}: dark: found shape {dark.shape}, expected (…, {shape[-2]}, {shape[-1]}) as frames")
    dark, hot = mean_dark(dark)
    size = layout.image_size
    corner = np.rint(layout.centres()[instrument.index] - (size - 1) / 2).astype(int)
    inside = np.arange(size)
    rows, columns = corner[:, 0, None, None] + inside[:, None], corner[:, 1, None, None] + inside
    # outermost sub-images may reach beyond the detector: pixels that were not measured
    beyond = (rows < 0) | (columns < 0) | (rows >= shape[-2]) | (columns >= shape[-1])
    rows, columns = np.clip(rows, 0, shape[-2] - 1), np.clip(columns, 0, shape[-1] - 1)
    raw = raw[()][None] if len(shape) == 2 else raw
    looked_at = [np.asarray(raw[number], dtype=float) for number in range(min(len(raw), LOOKED_AT))]
    whole = np.mean(looked_at, axis=0) - dark
    whole[hot] = np.nan
    check_place(whole, layout, f"{source}: frames")
    hot = hot[rows, columns] & ~beyond
    first = np.stack([frame[rows, columns] for frame in looked_at])
    declared = np.inf if full_scale is None else float(full_scale)
    limit = min(declared, clipping_limit(first, ~hot & ~beyond & np.isfinite(first).all(axis=0)))
    found = average(raw, rows, columns, limit, hot | beyond)
    if found.copies:
        log.warning(
            "%s: frames: found %s to repeat an earlier one number by number: counted once",
            source, counted(found.copies, "frame"),
        )  # fmt: skip
    _check_frame_means(found, float(dark[rows, columns][~(hot | beyond)].mean()), source)
    saturated, hot = found.saturated & ~beyond, hot | (found.wild & ~beyond)
    if saturated.mean() > SATURATED:
        raise InputError(f"{source}: frames: {_saturated(float(saturated.mean()), limit)}")
    lost = int((saturated & ~hot).sum())
    if lost:
        text = "%s: frames: %s (%.2g %%) left out, saturated from %.6g on (declared: %s)"
        log.warning(text, source, counted(lost, "sample"), 100 * lost / hot.size, limit, full_scale)
    unmeasured = saturated | beyond | ~np.isfinite(found.mean)
    values = np.where(unmeasured, np.nan, found.mean - dark[rows, columns])
    check_dark(values[np.isfinite(values) & ~hot], whole[unlit_pixels(layout)], f"{source}: dark", "frames")
    return Measurement(values=values, noise_std=found.noise_std, source=source, hot=hot)


def _check_frame_means(found: Average, dark: float, source: str) -> None:
    """Refuse frames that hold nothing, and say when frames differ by more than a lamp flickers."""
    empty = np.flatnonzero(~np.isfinite(found.frame_mean))
    if len(empty):
        raise InputError(f"{source}: frames: found no finite number in frame {empty[0]}, expected digital numbers")
    light = found.frame_mean - dark
    if found.noise_std is None or not light.max() > 0:
        return
    # of one frame's mean over its pixels
    noise = float(np.sqrt(np.nanmean(found.noise_std**2) * len(light) / found.mean.size))
    if np.ptp(light) > NOISE_SIGMA * noise and light.min() * ONE_SCENE < light.max():
        log.warning(
            "%s: frames: found their light to differ, from %.4g (frame %d) to %.4g (frame %d), expected frames of one "
            "scene and exposure: their mean is inverted",
            source, light.min(), light.argmin(), light.max(), light.argmax(),
        )  # fmt: skip
