"""Guides in files: which channels see what, where they lie on the fine grid, and windows of them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.geometry import side_of_pixel
from hsitools.cube.sources import Bands, Source, as_source
from hsitools.errors import InputError
from hsitools.sensor.multispectral import BAND_TABLES, band_table
from hsitools.sensor.presets import open_sensor
from hsitools.sensor.sensor import Sensor
from hsitools.text import counted
from pansharpen.guide import Array, Guide, own_size, shares
from pansharpen.pair.alignment import pixels_to_one, placement
from pansharpen.pair.guides import response_rows
from pansharpen.pair.holes import bands_where, without

log = logging.getLogger(__name__)
#: Relative difference of pixel sizes that are the same: maps round them.
SAME_PIXELS = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedGuide:
    """A guide of a cube, on disk or in memory, with its place; it is read window by window.

    Attributes
    ----------
    cube : Cube
        In physical units.
    template : Guide
        All but the pixels.
    origin : (float, float)
        Row and column of the fine grid at which its first pixel begins.
    """

    cube: Cube
    template: Guide
    origin: tuple[float, float]

    def first(self, rows: slice, columns: slice) -> tuple[int, int]:
        """Row and column of its first pixel in a window of the fine grid."""
        y, x = (
            round((window.start - at) / self.template.ratio)
            for window, at in zip((rows, columns), self.origin, strict=True)
        )
        return y, x

    def as_measured(self, rows: slice, columns: slice) -> Guide:
        """The guide over a window of the fine grid; NaN where it does not cover it, or holds no measurement."""
        s, (top, left) = self.template.ratio, self.first(rows, columns)
        _, height, width = self.cube.shape
        bottom, right = top + own_size(rows.stop - rows.start, s), left + own_size(columns.stop - columns.start, s)
        inner = (slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width)))
        image = np.full((self.cube.n_bands, bottom - top, right - left), np.nan, dtype=np.float32)
        if inner[0].start < inner[0].stop and inner[1].start < inner[1].stop:
            place = tuple(slice(p.start - at, p.stop - at) for p, at in zip(inner, (top, left), strict=True))
            image[:, *place] = self.cube.read(None, *inner)
        offset = self.origin[0] + s * top - rows.start, self.origin[1] + s * left - columns.start
        return dataclasses.replace(self.template, image=torch.as_tensor(image)[None], offset=offset)

    def read(self, rows: slice, columns: slice, wild: NDArray[np.int64] | None = None) -> Guide:
        """The same with pixels that hold none filled, and not valid.

        Those of ``wild`` ``(n, 3)``, channel, row and column of the guide, count among them.
        """
        guide = self.as_measured(rows, columns)
        if wild is not None:
            image = without(guide.image, wild - np.array([0, *self.first(rows, columns)]))
            guide = dataclasses.replace(guide, image=image)
        return guide.filled()


class MeanOfChannels:
    """Channels of a guide as one band; not measured where one that counts is not: others are at other levels."""

    def __init__(self, source: Source, weights: Array) -> None:
        self.source, self.used = source, np.flatnonzero(weights)
        self.weights = weights[self.used]
        self.shape = (1, *source.shape[1:])
        self.dtype = np.dtype(np.float32) if source.dtype != np.float64 else np.dtype(np.float64)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        channels = self.source.read(self.used, rows, columns)
        return np.tensordot(self.weights, channels, 1).astype(self.dtype)[None][bands]


def with_pan(cube: Cube, guides: Sequence[Cube], sensor: str | Sensor | None) -> Cube:
    """The cube with the mean of the finest guide's channels for PAN, where it has none.

    Raises
    ------
    InputError
        When that guide does not lie on the cube, or is no finer.
    """
    if cube.pan is not None or not guides:
        return cube
    finest = max(guides, key=lambda guide: pixels_to_one(cube, guide))
    if pixels_to_one(cube, finest) < 1.5:
        raise InputError(
            f"{_who(finest)}: guide: found {pixels_to_one(cube, finest):.3g} of its pixels to one of the cube, "
            "expected finer ones"
        )
    used, made_of = _channels(cube, finest, sensor)
    rows = None if made_of is None else response_rows(made_of, _wavelengths(cube))
    weights = shares((rows,), used.n_bands, cube.wavelength_nm)
    physical = used.physical()
    source = MeanOfChannels(as_source(physical.data), weights)
    image = physical.replace(
        data=source, wavelength_nm=None, fwhm_nm=None, good=np.ones(1, dtype=bool), name="mean of the guide's channels"
    )
    try:
        placement(cube.replace(pan=image))
    except InputError as error:
        raise _of_guide(finest, error) from None
    return cube.replace(pan=image)


def placed(cube: Cube, guides: Sequence[Cube], sensor: str | Sensor | None) -> tuple[PlacedGuide, ...]:
    """The guides on the grid of the cube's PAN.

    Parameters
    ----------
    cube : Cube
        With PAN, both cropped to what they share (`pansharpen.pair.alignment.paired`).
    guides : sequence of Cube
        Channels outside the cube's range are left out.
    sensor : str, Sensor or None
        Imager by name (`band_table`), a sensor with the guide's bands, or None: what the file's wavelengths tell.

    Raises
    ------
    InputError
        When channels and sensor do not fit, none is in the cube's range, or a grid does not fit PAN's.
    """
    assert cube.pan is not None
    out = []
    for guide in guides:
        used, made_of = _channels(cube, guide, sensor)
        measured = bands_where(used.physical(), lambda values: np.isfinite(values).any((1, 2)))
        if not measured.all():
            raise InputError(f"{_who(guide)}: guide: found no value in band {measured.argmin() + 1}, expected some")
        try:
            ratio, origin, shift = placement(used.replace(pan=cube.pan))
        except InputError as error:
            if used.transform is None or cube.pan.transform is None:
                own, fine = ("×".join(map(str, image.shape[1:])) for image in (used, cube.pan))
                raise InputError(
                    f"{_who(guide)}: guide: found {own} pixels, expected {fine} as PAN, or these over a whole number, "
                    "the same in both directions"
                ) from None
            raise _of_guide(guide, error) from None
        at = tuple(float(whole) + (part if ratio > 1 else 0.0) for whole, part in zip(origin, shift, strict=True))
        if ratio >= max(1, cube.ratio or 1):
            raise InputError(f"{_who(guide)}: guide: found pixels as large as the cube's, expected finer ones")
        empty = torch.zeros((1, used.n_bands, 0, 0))
        template = Guide(
            image=empty, ratio=ratio, mtf=None if made_of is None else made_of.mtf,
            response=None if made_of is None else response_rows(made_of, _wavelengths(cube)), name=_who(guide),
        )  # fmt: skip
        out.append(PlacedGuide(cube=used.physical(), template=template, origin=(at[0], at[1])))
    return tuple(out)


def described(guides: Sequence[PlacedGuide]) -> list[str]:
    """Each guide in a few words; those whose channels no wavelength tells apart are logged."""
    out = []
    for guide in guides:
        said = f"{guide.template.name}: {counted(guide.template.n_channels, 'band')}"
        if guide.template.response is None:
            said += ", of responses by the pair alone"
            log.warning(
                "%s: guide: found no wavelengths of its bands and the cube's; what each of its bands sees is estimated "
                "from the pair alone (is there a --guide-sensor?)", guide.template.name,
            )  # fmt: skip
        out.append(said)
    return out


def windowed_guide(cube: Cube, guide: Cube, window: Any) -> Cube:
    """A guide of a window of the cube: one with a map stays whole, others are cut by their sizes."""
    if window is None or (cube.transform is not None and guide.transform is not None):
        return guide
    return cube.replace(pan=guide).select(window=window).pan or guide


def _channels(cube: Cube, guide: Cube, sensor: str | Sensor | None) -> tuple[Cube, Sensor | None]:
    """The guide's channels in the cube's range, and the sensor of these; None where nothing is known of them."""
    made_of = _sensor_of(guide, sensor)
    if made_of is None or cube.wavelength_nm is None:
        return guide, None
    inside = np.flatnonzero(np.isfinite(response_rows(made_of, _wavelengths(cube))).all(axis=1))
    if not inside.size:
        low, high = np.nanmin(cube.wavelength_nm), np.nanmax(cube.wavelength_nm)
        raise InputError(
            f"{_who(guide)}: guide: found no band inside the cube's range of {low:.0f} to {high:.0f} nm, expected one"
        )
    if len(inside) == guide.n_bands:
        return guide, made_of
    return guide.select(bands=inside), made_of.select(inside)


def _sensor_of(guide: Cube, sensor: str | Sensor | None) -> Sensor | None:
    """The sensor whose bands are the guide's channels, in their order."""
    if isinstance(sensor, str) and sensor.lower().replace("_", "-") in BAND_TABLES:
        table = band_table(sensor)
        whole = table.sensor()
        if guide.wavelength_nm is not None and np.isfinite(guide.wavelength_nm).all():
            distance = np.abs(whole.response.wavelength_nm[:, None] - guide.wavelength_nm)
            nearest = distance.argmin(axis=0)
            return _as_its_pixels(guide, _same_bands(guide, whole.select(nearest)), table.pixel_m[nearest])
        groups = [np.arange(whole.n_bands)] + [np.flatnonzero(table.pixel_m == m) for m in np.unique(table.pixel_m)]
        for group in groups:
            if len(group) == guide.n_bands:
                return _as_its_pixels(guide, whole.select(group), table.pixel_m[group])
        counts = ", ".join(f"{len(group)}" for group in groups[1:])
        raise InputError(
            f"{_who(guide)}: guide: found {counted(guide.n_bands, 'band')} without wavelengths, expected "
            f"{len(groups[0])} as {table.name} has, or those of one pixel size ({counts}), in its order"
        )
    if sensor is not None:
        own = open_sensor(sensor) if isinstance(sensor, str) else sensor
        if own.n_bands != guide.n_bands:
            raise InputError(
                f"{_who(guide)}: guide: found {counted(guide.n_bands, 'band')}, expected {own.n_bands} as {own.name}"
            )
        return _same_bands(guide, own)
    if guide.wavelength_nm is None or not np.isfinite(guide.wavelength_nm).all():
        return None
    return Sensor.like(guide)


def _as_its_pixels(guide: Cube, sensor: Sensor, pixel_m: Any) -> Sensor:
    """The sensor without its MTF, unless the guide's map says that its pixels are the imager's own.

    An MTF is told at the Nyquist frequency of these: of an image that was resampled to others it says nothing.
    """
    side = 0.0 if guide.transform is None else side_of_pixel(guide.transform)
    return sensor if np.allclose(side, pixel_m, rtol=SAME_PIXELS) else sensor.replace(mtf=None)


def _same_bands(guide: Cube, sensor: Sensor) -> Sensor:
    """The sensor of a guide's channels, in whose bands their wavelengths must lie, each in another one."""
    own, centre = guide.wavelength_nm, sensor.response.wavelength_nm
    if own is None or centre is None:
        return sensor
    outside = np.abs(centre - own) > np.asarray(sensor.response.fwhm_nm) / 2
    twice = np.array([(centre == one).sum() > 1 for one in centre])
    if (outside | twice).any():
        worst = int(np.argmax(np.where(outside | twice, np.abs(centre - own), -1)))
        raise InputError(
            f"{_who(guide)}: guide: found a channel at {own[worst]:g} nm, expected the bands of {sensor.name}, each "
            f"once (the nearest is at {centre[worst]:g} nm, {sensor.response.fwhm_nm[worst]:.0f} nm wide)"
        )
    return sensor


def _wavelengths(cube: Cube) -> Any:
    assert cube.wavelength_nm is not None
    return np.asarray(cube.wavelength_nm, dtype=float)


def _of_guide(guide: Cube, error: InputError) -> InputError:
    """What is wrong with its place, as is said of PAN; guides are brought onto no grid."""
    said = str(error).partition("pan: ")[2].partition("; --reproject")[0]
    return InputError(f"{_who(guide)}: guide: {said}")


def _who(cube: Cube) -> str:
    return cube.source or cube.name or "guide"
