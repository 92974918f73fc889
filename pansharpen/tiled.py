"""Scenes larger than memory: statistics in passes over tiles, the fused cube computed where it is read."""

from __future__ import annotations

import dataclasses
import uuid
import weakref
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import cached_property, partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.blank import without_blank
from hsitools.cube.geometry import refined
from hsitools.cube.memory import require_memory
from hsitools.cube.spectral_order import by_wavelength
from hsitools.cube.windows import Window, windows
from hsitools.devices import device_named
from hsitools.errors import InputError
from hsitools.progress import Progress, silent
from hsitools.sensor import Sensor
from hsitools.side_by_side import side_by_side
from pansharpen.case import FusionCase, Tile
from pansharpen.fused_source import FusedSource
from pansharpen.guide import Guide
from pansharpen.in_memory import filled, fuse_case, live_bands, options_for
from pansharpen.kept_tiles import TILES
from pansharpen.looked_at import added, as_tensor, clipped_of, levels_as_stored, look_at, unseen_of
from pansharpen.mixture import ByParts
from pansharpen.optics import Optics
from pansharpen.pair.alignment import measured, paired, placement
from pansharpen.pair.clipped import Clipped, Tops
from pansharpen.pair.from_sensor import noise_said, require_fit, with_errors
from pansharpen.pair.guide_files import PlacedGuide, described, placed, with_pan
from pansharpen.pair.holes import bands_where, fill_nearest
from pansharpen.pair.magnitude import Powers, times
from pansharpen.pair.unseen_guides import UnseenGuides
from pansharpen.pair.wald import cube_optics
from pansharpen.pair.wild import WildSamples
from pansharpen.registry import HELD, Fused, Method, Posterior, get
from pansharpen.tile_sides import Takes, tile_sides


class LargeScene:
    """A cube with PAN, on disk or in memory, as a `pansharpen.case.Scene` that is never held as a whole.

    Parameters
    ----------
    cube : Cube
        With PAN, in physical units where it says them.
    sensor : Sensor, optional
        See `pansharpen.pair.wald.cube_optics`.
    halo : int
        Coarse pixels of surroundings of each tile.
    optics : Optics, optional
        Of the cube's bands, where they are known already.
    side : int, optional
        Coarse pixels of a tile; default what `TILE_BYTES` allows.
    progress : callable, optional
        Called with (tiles done, tiles in all) in each pass.
    client : distributed.Client, optional
        Of workers that see the cube's files (`hsitools.scale.cluster`): these gather the statistics, and their memory
        bounds the tiles.
    device : torch.device or str
        Where tiles are computed.
    held, images, own : int
        What the method takes for a tile: see `pansharpen.registry.Method`.
    guides : sequence of PlacedGuide
        Other sharp images: see `pansharpen.pair.guide_files.placed`.
    pan_made : bool
        Whether PAN is but the mean of their channels.
    cube_std, std_as_noise
        See `fuse_pair`.

    Raises
    ------
    InputError
        When there is no PAN, it does not fit the cube, or no band has a signal.
    """

    def __init__(
        self, cube: Cube, sensor: Sensor | None = None, *, halo: int, optics: Optics | None = None,
        held: int = HELD, images: int = 0, own: int = 0, side: int | None = None, progress: Progress | None = None,
        client: Any = None, device: torch.device | str = "cpu", guides: Sequence[PlacedGuide] = (),
        pan_made: bool = False, cube_std: NDArray[Any] | None = None, std_as_noise: bool = False,
    ) -> None:  # fmt: skip
        self.findings: dict[str, Any] = {}
        #: By which this process, and each worker, knows its tiles.
        self.key = uuid.uuid4().hex
        weakref.finalize(self, TILES.forget, self.key)
        self.device, self.placed, self.pan_made = torch.device(device), tuple(guides), pan_made
        cube = paired(cube)
        assert cube.pan is not None
        self.cube, self.progress, self.client = without_blank(cube.physical()), progress or silent, client
        self.pan = cube.pan.physical()
        ratio = placement(cube).ratio
        #: Tiles that are computed beside one another, each by its share of the threads.
        self.at_once = torch.get_num_threads() if client is None and self.device.type == "cpu" else 1
        if side is None:
            takes = Takes.of(cube.n_bands, ratio, held=held, images=images, own=own)
            sides, self.at_once = tile_sides(cube.shape[1:], ratio, halo, takes, self.at_once, client)
        else:
            sides = side, side
        self.windows = windows(cube.shape[1:], sides, halo, step=2)  # what is held out is every other pixel's
        self.at_once = min(self.at_once, len(self.windows))
        self.tile_size = (sides[0] * ratio, sides[1] * ratio)
        live = bands_where(self.cube, lambda values: live_bands(as_tensor(values)).numpy(), wanted=cube.good)
        wavelength = optics.wavelength_nm if cube.wavelength_nm is None and optics is not None else cube.wavelength_nm
        #: Good ones with a signal, in the order of the spectrum, as methods see them.
        self.bands = by_wavelength(cube.good & live, wavelength)
        if self.bands.size == 0:
            raise InputError(f"{cube.who}: bands: found none that is good and has a signal")
        used = cube.select(bands=self.bands)
        told = cube_optics(used, sensor)[0] if optics is None else optics.select(self.bands)
        told = told.of_made_pan() if pan_made else told
        self.optics = with_errors(told, cube_std, self.bands, cube, as_noise=std_as_noise)
        #: Of cube, PAN and guides as they are stored, and what these are multiplied by before methods see them.
        self.levels = levels_as_stored(self)
        self.powers = Powers.of(self.levels, pan_made)
        self.cube, self.pan = times(self.cube, self.powers.cube), times(self.pan, self.powers.pan)
        self.optics, self.placed = self.powers.optics(self.optics), self.powers.placed(self.placed)
        #: Without their pixels.
        self.guides = tuple(guide.template.select(self.bands) for guide in self.placed)

    @property
    def n_bands(self) -> int:
        """Bands that methods see: good ones with a signal."""
        return len(self.bands)

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """Number of each band of the cube among those that methods see, or among the others."""
        out = np.empty(self.cube.n_bands, dtype=np.int64)
        for bands in (self.bands, self.unseen_bands):
            out[bands] = np.arange(len(bands))
        return out

    @property
    def unseen_bands(self) -> NDArray[np.int64]:
        """Numbers of the bands that no method sees."""
        return np.setdiff1d(np.arange(self.cube.n_bands), self.bands)

    @cached_property
    def seen(self) -> tuple[WildSamples, tuple[Tops, Tops]]:
        """Samples that cannot be of the scene, which is gone through once, and the largest of the others."""
        return look_at(self)

    @property
    def wild(self) -> WildSamples:
        """Samples that cannot be of the scene."""
        return self.seen[0]

    @cached_property
    def clipped(self) -> Clipped | None:
        """What stands for samples that are cut off at full scale; None where none are, or nothing tells."""
        return clipped_of(self)

    @cached_property
    def unseen_guides(self) -> UnseenGuides | None:
        """What stands for the guides where they hold nothing; None where they show all."""
        return unseen_of(self) if self.guides else None

    @property
    def name(self) -> str:
        """Of the scene, for messages."""
        return self.cube.name or Path(self.cube.source).stem or self.cube.who

    def tile(self, window: Window) -> Tile:
        """One part with its surroundings; invalid pixels are filled and masked."""
        tile = TILES.get(self.key, window)
        if tile is None:
            tile = self._tile(window)
            TILES.offer(self.key, window, tile)
        return tile

    def _tile(self, window: Window) -> Tile:
        """It, read now."""
        tile = self.with_bounds(window)
        return tile if self.unseen_guides is None else self.unseen_guides.tile(tile)

    def with_bounds(self, window: Window) -> Tile:
        """It, with what stands for samples at full scale, guides as they are."""
        tile = self.as_measured(window)
        return tile if self.clipped is None else self.clipped.tile(tile)

    def as_measured(self, window: Window) -> Tile:
        """It, with samples at full scale as they are."""
        corner = window.wide_rows.start, window.wide_columns.start
        coarse = self.wild.from_cube(self._read(self.cube, window, self.bands), corner)
        fine = self._fine(window)
        pan = self.wild.from_pan(as_tensor(self.pan.read(None, *fine)), (fine[0].start, fine[1].start))
        coarse, valid = filled(coarse, torch.isfinite(coarse))
        pan_valid = torch.isfinite(pan)
        whole = bool(pan_valid.all())
        pan = pan if whole else fill_nearest(pan, pan_valid)
        return Tile(
            coarse.to(self.device), pan.to(self.device), self.optics, margin=window.margin,
            valid=None if valid is None else valid.to(self.device),
            pan_valid=None if whole else pan_valid.to(self.device), guides=self._guides(*fine),
            pan_made=self.pan_made, corner=corner,
        )  # fmt: skip

    def guides_in(self, window: Window) -> tuple[Guide, ...]:
        """The guides over a part with its surroundings."""
        return self._guides(*self._fine(window))

    def _fine(self, window: Window) -> tuple[slice, slice]:
        """Rows and columns of the fine grid that a part with its surroundings has."""
        r = self.optics.ratio
        rows, columns = (slice(r * part.start, r * part.stop) for part in (window.wide_rows, window.wide_columns))
        return rows, columns

    def _guides(self, rows: slice, columns: slice, as_measured: bool = False) -> tuple[Guide, ...]:
        """The guides over a window of the fine grid."""
        wild = [None for _ in self.guides] if as_measured else self.wild.guides
        out = []
        for place, guide, places in zip(self.placed, self.guides, wild, strict=True):
            window = dataclasses.replace(place, template=guide).read(rows, columns, places)
            out.append(window.to(self.device))
        return tuple(out)

    def unseen(self, window: Window) -> Tile:
        """One part of the bands that no method sees, without a panchromatic image."""
        values = self._read(self.cube, window, self.unseen_bands).to(self.device)
        empty = torch.isnan(values)
        blank = values.new_zeros((1, 1, *(self.optics.ratio * size for size in values.shape[-2:])))
        return Tile(torch.where(empty, 0, values), blank, self.optics, margin=window.margin, valid=~empty)

    @staticmethod
    def _read(cube: Cube, window: Window, bands: NDArray[np.int64]) -> torch.Tensor:
        return as_tensor(cube.read(bands, window.wide_rows, window.wide_columns))

    def case(self, as_measured: bool = False) -> FusionCase:
        """The scene in memory, for methods that need it whole (with one window); with its wild samples, or without."""
        (window,) = self.windows
        whole = (slice(0, self.pan.shape[1]), slice(0, self.pan.shape[2]))
        coarse, pan = self._read(self.cube, window, self.bands), as_tensor(self.pan.read(None, *whole))
        if not as_measured:
            coarse, pan = self.wild.from_cube(coarse), self.wild.from_pan(pan)
        return FusionCase(
            coarse=coarse, pan=pan,
            optics=self.optics, guides=self._guides(*whole, as_measured=as_measured), pan_made=self.pan_made,
            name=self.name, findings=self.findings,
        )  # fmt: skip

    def sum(self, function: Callable[[Tile], Any]) -> Any:
        """See `pansharpen.case.Scene.sum`."""
        with closing(self._parts(function)) as parts:
            return reduce(added, parts)

    def _parts(self, function: Callable[[Tile], Any]) -> Generator[Any, None, None]:
        """What ``function`` gives of each tile, in the order of the windows, whoever computes it."""
        _ = self.clipped, self.unseen_guides  # before workers are sent the scene
        work = partial(_part, self, function)
        if self.client is not None:
            from hsitools.scale.tasks import ordered

            yield from ordered(self.client, work, self.windows, self.progress, places=range(len(self.windows)))
            return
        with closing(side_by_side(work, self.windows, self.at_once)) as parts:
            for done, part in enumerate(parts, 1):
                yield part
                self.progress(done, len(self.windows))

    def __getstate__(self) -> dict[str, Any]:
        """For workers, who tell nobody how far they are."""
        return self.__dict__ | {"client": None, "progress": silent, "at_once": 1}

    def map(self, function: Callable[[Tile], torch.Tensor | ByParts]) -> FusedSource:
        """See `pansharpen.case.Scene.map`."""
        _ = self.clipped, self.unseen_guides
        return FusedSource(self, function)


def _part(scene: LargeScene, function: Callable[[Tile], Any], window: Window) -> Any:
    tile = scene.tile(window)
    with torch.no_grad():
        part = function(tile)
    tile.let_go()
    return part


def fuse_cube(cube: Cube, method: str | Method, sensor: Sensor | None = None, **options: Any) -> Cube:
    """The estimate of `fuse_pair`, whose options it takes."""
    return fuse_pair(cube, method, sensor, **options).estimate


def fuse_pair(
    cube: Cube, method: str | Method, sensor: Sensor | None = None, *, optics: Optics | None = None, seed: int = 0,
    weights: str | Path | None = None, progress: Progress | None = None, client: Any = None, device: str = "cpu",
    std: bool = False, guides: Sequence[Cube] = (), guide_sensor: str | Sensor | None = None,
    cube_std: NDArray[Any] | None = None, std_as_noise: bool = False,
) -> Fused:  # fmt: skip
    """Fuse a cube with its PAN, or other sharp images; the result keeps wavelengths, bad bands and coordinates.

    Methods that go by tiles gather their statistics now and fuse while the result is read (or saved), in bounded
    memory; the others need the scene in memory.

    Parameters
    ----------
    cube : Cube
        With ``pan``. Bands marked bad, or without signal, come back interpolated and marked bad; pixels without a
        measurement come back as NaN, and so do wild ones (`pansharpen.pair.wild`), which ``meta`` counts.
    method : str or Method
    sensor : Sensor, optional
        Its MTF, PAN response and, for a cube in its units, noise; default the usual gain, an unknown response and
        noise.
    optics : Optics, optional
        Instead of what the sensor says.
    seed, weights, progress
        As of `pansharpen.in_memory.fuse_case`; progress is called once per tile and pass.
    client : distributed.Client, optional
        Of workers that gather the statistics of methods that go by tiles (`hsitools.scale`); the tiles themselves are
        theirs when the result is saved by `hsitools.scale.pieces.save_by_workers`.
    device : str
        Where tiles are computed: see `hsitools.devices.device_named`. The result is on the processor.
    guides : sequence of Cube
        Bands of another sensor beside PAN or instead of it; methods that know PAN only are given their mean for it.
    guide_sensor : str, Sensor or None
        Whose bands they are: see `pansharpen.pair.guide_files.placed`.
    std : bool
        With the standard deviation of every voxel, of methods that know it.
    cube_std : array, shape (band,), optional
        Of a cube that was denoised: standard deviation of the errors that it still has, which its fusion has too. The
        noise that its sensor tells is no longer there.
    std_as_noise : bool
        Whether the cube is believed only as far as that lets it; otherwise it comes to the error bars alone.

    Raises
    ------
    InputError
        When there is no PAN, it does not fit, error bars are asked for that the method has not, or a method that does
        not go by tiles would need more memory than there is.
    """
    entry = method if isinstance(method, Method) else get(method)
    entry.check(std=std, weights=weights)
    sharp: dict[str, Any] = {"pan_made": cube.pan is None, "cube_std": cube_std, "std_as_noise": std_as_noise}
    guides = [measured(guide, "guide") for guide in guides]
    cube = with_pan(cube, guides, guide_sensor)
    if cube.pan is None:
        raise InputError(f"{cube.who}: pan: missing, expected a panchromatic image beside the cube")
    cube = paired(cube)
    require_fit(cube.replace(pan=None) if sharp["pan_made"] else cube, sensor)
    sharp["guides"] = placed(cube, guides, guide_sensor)
    described_guides = described(sharp["guides"])
    assert cube.pan is not None
    options: dict[str, Any] = {"seed": seed, "weights": weights, "progress": progress}
    uncertain: FusedSource | None = None
    place = device_named(device)
    if entry.tiled:
        scene = LargeScene(
            cube, sensor, halo=entry.halo_at(placement(cube).ratio),
            # workers keep a packed tile as a whole
            held=entry.held + (entry.std_held if std else 0), own=max(entry.own, 0 if client is None else 1),
            images=entry.images + (entry.std_images if std else 0),
            optics=optics, progress=progress, client=client, device=place, **sharp,
        )  # fmt: skip
        with torch.no_grad():
            data: Any = entry.function(scene, **options_for(entry, options | ({"std": True} if std else {})))
        if isinstance(data, Posterior):
            data, uncertain = data
            uncertain.interpolates = False
            data.beside = uncertain
    else:
        scene = LargeScene(cube, sensor, halo=0, optics=optics, side=max(cube.shape[1:]), device=place, **sharp)
        # the fused cube and a few like it, float32
        require_memory(
            4 * 4 * cube.n_bands * cube.pan.shape[1] * cube.pan.shape[2], cube.who,
            use=f"{entry.name} takes a scene as a whole",
            advice="choose a window, or a method that goes by tiles (hsi pansharpen list)",
        )  # fmt: skip
        whole = fuse_case(entry, scene.case().to(place), **options)
        source = scene.map(lambda _tile: whole)
        data = source.read(np.arange(cube.n_bands), slice(0, source.shape[1]), slice(0, source.shape[2]))
    ratio = cube.pan.shape[1] // cube.shape[1]
    transform = cube.pan.transform
    if transform is None and cube.transform is not None:
        transform = refined(cube.transform, ratio)
    physical = cube.physical()
    told: dict[str, Any] = {"ratio": ratio, "sensor": sensor.name if sensor else "usual"}
    if any(scene.optics.shift):
        told["pan_shift_pixels"] = [round(value, 4) for value in scene.optics.shift]
    told |= scene.findings
    if guides:
        told["guides"] = described_guides
    if sensor is not None and optics is None and cube_std is None:
        told["sensor_noise"] = noise_said(sensor, cube)
    fused = physical.replace(
        data=data, good=np.isin(np.arange(cube.n_bands), scene.bands), nodata=float("nan"), pan=None,
        transform=transform, name=f"{cube.name or 'scene'}, {entry.name}",
        meta=cube.meta | {"pansharpened_by": entry.name} | told,
    )  # fmt: skip
    named = f"{fused.name}, standard deviation"
    return Fused(fused, None if uncertain is None else fused.replace(data=uncertain, name=named))
