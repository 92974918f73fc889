"""One fusion: what cannot be compared is set aside, the method runs, and it comes back marked."""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import pansharpen.methods  # noqa: F401  (registers them)
from hsitools.cube import Cube
from hsitools.cube.blank import without_blank
from hsitools.cube.spectral_order import by_wavelength
from hsitools.errors import InputError
from hsitools.estimation.heights import Levels, levels
from hsitools.progress import Progress
from pansharpen.case import FusionCase, sharp_name
from pansharpen.guide import Guide
from pansharpen.pair.clipped import at_full_scale, find_limits, learn_clipped, say_clipped, say_clipped_guides
from pansharpen.pair.first_look import FirstLook, first_look
from pansharpen.pair.guide_files import PlacedGuide
from pansharpen.pair.holes import fill_nearest, fill_voxels, without
from pansharpen.pair.magnitude import Powers
from pansharpen.pair.unseen_guides import learn_unseen, say_unseen
from pansharpen.pair.wild import WILD, Pair, count_wild, say_wild
from pansharpen.registry import Method, Posterior, get
from pansharpen.tile import Tile

#: Rows and columns of an image, at most, that tell of which size its values are.
LOOK = 128


def live_bands(coarse: torch.Tensor) -> torch.Tensor:
    """Bands ``(band,)`` with at least one finite value that is not zero, in every cube of the batch."""
    return (torch.isfinite(coarse) & (coarse != 0)).flatten(2).any(2).all(0)


def prepared(case: FusionCase) -> FusionCase:
    """The case with voxels that are NaN or wild, and PAN's pixels, masked and filled; all its bands must be live.

    What is cut off at full scale is what the others say of it (`pansharpen.pair.clipped`).

    Raises
    ------
    InputError
        When no pixel is valid in both the cube and PAN, or PAN is the cube's scene in another order of rows or columns.
    """
    case, looks = without_wild(case)
    case = case.replace(guides=tuple(guide.filled() for guide in case.guides)) if case.guides else case
    say_clipped_guides(
        {guide.name: at_full_scale(_measured_channels(guide)) for guide in case.guides}, case.findings, case.name
    )  # fmt: skip
    valid, pan_valid = torch.isfinite(case.coarse), torch.isfinite(case.pan)
    if not (valid.all() and pan_valid.all()):
        coarse, voxels = filled(case.coarse, valid)
        case = case.replace(
            coarse=coarse, pan=case.pan if pan_valid.all() else fill_nearest(case.pan, pan_valid), valid=voxels,
            pan_valid=None if pan_valid.all() else pan_valid, expanded=None,
        )  # fmt: skip
    return above_full_scale(case, looks)


def without_wild(case: FusionCase) -> tuple[FusionCase, list[FirstLook]]:
    """The case with NaN for samples that cannot be of its scene, which it says, and what each of its cubes looks like.

    See `pansharpen.pair.first_look`.
    """
    coarse, pan, guides, looks = [], [], [], []
    called = sharp_name(case.pan_made)
    for part in case.singles():
        own, own_pan = _measured(part.coarse, case.name), _measured(part.pan, f"{case.name}: {called}")
        own_guides = [
            dataclasses.replace(guide, image=_measured(guide.image, f"{case.name}: {guide.name}"))
            for guide in part.guides
        ]
        cube, sharp = (image[0].cpu().numpy() for image in (own, own_pan))
        look = first_look(Pair(
            shape=(cube.shape[1], cube.shape[2]), optics=case.optics, coarse=partial(_part, cube),
            pan=partial(_part, sharp), guides=tuple(map(_placed, own_guides)), pan_made=case.pan_made,
        ))  # fmt: skip
        look.require_one_scene(case.name, called)
        count_wild(look.wild, case.findings)
        looks.append(look)
        coarse.append(look.wild.from_cube(own))
        pan.append(look.wild.from_pan(own_pan))
        guides.append([
            without(guide.image, places) for guide, places in zip(own_guides, look.wild.guides, strict=True)
        ])  # fmt: skip
    images = map(torch.cat, zip(*guides, strict=True))
    return case.replace(
        coarse=torch.cat(coarse), pan=torch.cat(pan),
        guides=tuple(dataclasses.replace(guide, image=image) for guide, image in zip(case.guides, images, strict=True)),
    ), looks  # fmt: skip


def above_full_scale(case: FusionCase, looks: Sequence[FirstLook]) -> FusionCase:
    """The case with what stands for its samples that are cut off at full scale; no sample is NaN."""
    parts, counts = case.singles(), Counter[str]()
    tiles = [_above(part, look, counts) for part, look in zip(parts, looks, strict=True)]
    say_clipped(counts, case.findings, case.name, told=all(tile is not None for tile in tiles))
    if all(tile is None for tile in tiles):
        return case
    whole = [part.tile if tile is None else tile for part, tile in zip(parts, tiles, strict=True)]
    doubts = {
        name: torch.cat([torch.zeros_like(image) if doubt is None else doubt for image, doubt in images])
        for name, images in (
            ("doubt", [(tile.wide_coarse, tile.wide_doubt) for tile in whole]),
            ("pan_doubt", [(tile.wide_pan, tile.wide_pan_doubt) for tile in whole]),
        )
        if any(doubt is not None for _, doubt in images)
    }
    return case.replace(
        coarse=torch.cat([tile.wide_coarse for tile in whole]), pan=torch.cat([tile.wide_pan for tile in whole]),
        expanded=None, **doubts,
    )  # fmt: skip


def where_guides_end(
    case: FusionCase, method: Callable[[FusionCase], torch.Tensor] | None = None
) -> FusionCase:  # fmt: skip
    """The case with what is known without its guides of their channels where these hold nothing.

    With a method, by which the case is fused without them first; otherwise as cube and PAN tell.
    """
    if all(guide.valid is None for guide in case.guides):
        return case
    known, shares = learn_unseen(case.guides, case.sum)
    say_unseen(shares, case.findings, case.name)
    fused = None
    if method is not None:
        whole = tuple(guide for guide in case.guides if guide.valid is None)
        fused = method(case.replace(guides=whole, pan_made=case.pan_made and bool(whole), findings={}))
    return case.replace(guides=known.tile(case.tile, fused).guides)


def _above(case: FusionCase, look: FirstLook, counts: Counter[str]) -> Tile | None:
    """A case of one cube as a tile in which something stands for what is cut off and counted; None where nothing is."""

    def measured(image: torch.Tensor, valid: torch.Tensor | None) -> NDArray[Any]:
        return (image if valid is None else image.masked_fill(~valid, torch.nan))[0].cpu().numpy()

    limits = find_limits(
        look.tops, case.coarse.shape[-1], case.optics, lambda band: measured(case.coarse, case.valid)[band],
        None if case.pan_made else lambda: measured(case.pan, case.pan_valid)[0],
    )  # fmt: skip
    clipped, found = learn_clipped(limits, case.sum)
    counts.update(found)
    return None if clipped is None else clipped.tile(case.tile)


def _measured(image: torch.Tensor, name: str) -> torch.Tensor:
    """An image ``(1, band, y, x)`` with NaN where it is of no scene: see `hsitools.cube.blank`."""
    given = Cube(data=image[0].cpu().numpy(), name=name)
    seen = without_blank(given)
    return image if seen is given else torch.as_tensor(seen.read())[None].to(image)


def _measured_channels(guide: Guide) -> Iterator[NDArray[Any]]:
    """Each channel ``(y, x)`` of a guide's images, with NaN where it holds nothing."""
    image = guide.image if guide.valid is None else guide.image.masked_fill(~guide.valid, torch.nan)
    yield from image.flatten(0, 1).cpu().numpy()


def _placed(guide: Guide) -> PlacedGuide:
    """A guide in memory, which may be filled, as one that is read window by window."""
    image = guide.image if guide.valid is None else guide.image.masked_fill(~guide.valid, torch.nan)
    return PlacedGuide(cube=Cube(data=image[0].cpu().numpy()), template=guide, origin=guide.offset)


def _part(image: NDArray[Any], rows: slice, columns: slice) -> NDArray[Any]:
    return image[:, rows, columns]


def filled(coarse: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A coarse cube without holes, and which voxels were measured; None when all were."""
    return (coarse, None) if valid.all() else (fill_voxels(coarse, valid), valid)


def marked(fused: torch.Tensor, measured: torch.Tensor | None) -> torch.Tensor:
    """NaN wherever the band's coarse voxel or PAN held no measurement; None where all did."""
    return fused if measured is None else fused.masked_fill(~measured, torch.nan)


def options_for(entry: Method, options: dict[str, Any]) -> dict[str, Any]:
    """Of the options that any method may take, those that this one knows and that are set."""
    parameters = inspect.signature(entry.function).parameters
    return {name: value for name, value in options.items() if name in parameters and value is not None}


def fuse_case(
    method: str | Method, case: FusionCase, *, seed: int = 0, weights: str | Path | None = None,
    progress: Progress | None = None,
) -> torch.Tensor:  # fmt: skip
    """Fuse a case in memory.

    Parameters
    ----------
    method : str or Method
    case : FusionCase
        NaN stands for no measurement; wild samples (`pansharpen.pair.wild`) are taken as such. Bands without any signal
        (all zero, or all NaN) are not given to the method.
    seed : int
        For methods that draw at random.
    weights : path, optional
        Folder or file of a trained net's weights.
    progress : callable, optional
        Called with (steps done, steps in all) by methods that iterate.

    Returns
    -------
    Tensor, shape (batch, band, ratio·y, ratio·x)
        NaN where the band's coarse voxel or PAN held no measurement; bands without signal come back interpolated.

    Raises
    ------
    InputError
        When nothing valid is left, or the method needs something that the case lacks.
    FloatingPointError
        When the method's result is not finite.
    """
    return _layers(method, case, {"seed": seed, "weights": weights, "progress": progress})[0]


def posterior_of(
    method: str | Method, case: FusionCase, *, seed: int = 0, weights: str | Path | None = None,
    progress: Progress | None = None,
) -> Posterior:  # fmt: skip
    """Fuse a case in memory, with the standard deviation of every voxel; as `fuse_case` in all else.

    The standard deviation is NaN where the result is, and in bands without signal.

    Raises
    ------
    InputError
        When the method has no error bars.
    """
    entry = method if isinstance(method, Method) else get(method)
    entry.check(std=True)
    return Posterior(*_layers(entry, case, {"seed": seed, "weights": weights, "progress": progress, "std": True}))


def _layers(method: str | Method, case: FusionCase, options: dict[str, Any]) -> list[torch.Tensor]:
    """The fused cube, and its standard deviation where the options ask for it."""
    entry = method if isinstance(method, Method) else get(method)
    live = live_bands(case.coarse)
    if not live.any():
        raise InputError(f"{case.name}: coarse: found no band with signal, expected some")
    given, (case, power) = case, _of_ordinary_size(case)
    seen = by_wavelength(live.cpu().numpy(), case.optics.wavelength_nm)
    whole = np.array_equal(seen, np.arange(case.n_bands))
    chosen = case if whole else select_bands(case, seen)
    said = case.findings.get(WILD)
    ready = prepared(chosen).replace(reference=None)  # the truth is no business of a method's
    if case.findings.get(WILD) != said:
        say_wild(case.findings[WILD], case.name)

    def run(case: FusionCase) -> list[torch.Tensor]:
        parts = [case] if entry.batched else case.singles()
        results = [entry.function(part, **options_for(entry, options)) for part in parts]
        return [torch.cat(layer) for layer in zip(*map(_as_tuple, results), strict=True)]

    with torch.set_grad_enabled(_learns(entry)):  # inference tensors would stay in caches, useless to nets
        if not _learns(entry):
            # of those that see the scene as a whole only these know guides
            twice = entry.family == "model-based" and not entry.tiled
            ready = where_guides_end(ready, (lambda case: run(case)[0]) if twice else None)
        layers = run(ready)
    for number, layer in enumerate(layers):
        layer = layer if power == 1 else layer / power
        if not torch.isfinite(layer).all():
            raise FloatingPointError(f"{entry.name}: {case.name}: found values that are not finite in the result")
        layers[number] = marked(layer, ready.tile.measured)
    return layers if whole else [_among_all(layer, given, seen, not number) for number, layer in enumerate(layers)]


def _of_ordinary_size(case: FusionCase) -> tuple[FusionCase, float]:
    """The case as methods see it, and what its cube is multiplied by: see `pansharpen.pair.magnitude`."""

    def look(image: torch.Tensor) -> Levels:
        y, x = (-(-size // LOOK) for size in image.shape[-2:])
        values = image[..., ::y, ::x].movedim(1, 0).flatten(1, 2).cpu().numpy()
        return levels(values, np.isfinite(values))

    powers = Powers.of(
        [look(image) for image in (case.coarse, case.pan, *(g.image for g in case.guides))], case.pan_made
    )
    if powers.ordinary:
        return case, 1.0
    return case.replace(
        coarse=case.coarse * powers.cube, pan=case.pan * powers.pan, optics=powers.optics(case.optics),
        expanded=None if case.expanded is None else case.expanded * powers.cube,
        guides=tuple(powers.guide(number, guide) for number, guide in enumerate(case.guides)),
    ), powers.cube  # fmt: skip


def _as_tuple(result: Any) -> tuple[torch.Tensor, ...]:
    return tuple(result) if isinstance(result, Posterior) else (result,)


def _among_all(
    layer: torch.Tensor, case: FusionCase, seen: NDArray[np.int64], interpolated: bool
) -> torch.Tensor:  # fmt: skip
    """A layer of the bands that were fused with the others beside: interpolated, or NaN."""
    out = layer.new_full((len(layer), case.n_bands, *layer.shape[-2:]), torch.nan)
    out[:, seen] = layer
    rest = np.setdiff1d(np.arange(case.n_bands), seen)
    if interpolated and rest.size:
        dead = case.tile.up()(torch.nan_to_num(case.coarse[:, rest]))
        dead[:, torch.isnan(case.coarse[:, rest]).flatten(2).all(2).all(0)] = torch.nan
        out[:, rest] = dead.to(layer.dtype)
    return out


def _learns(entry: Method) -> bool:
    return entry.family in ("supervised net", "zero-shot net")


def select_bands(case: FusionCase, keep: Any) -> FusionCase:
    """The case with some of its bands (band numbers or a mask)."""
    keep = torch.as_tensor(keep)
    numbers = np.flatnonzero(keep.cpu().numpy()) if keep.dtype == torch.bool else keep.cpu().numpy()
    picked = {
        name: getattr(case, name)[:, numbers]
        for name in ("coarse", "expanded", "valid", "reference")
        if getattr(case, name) is not None
    }
    guides = tuple(guide.select(numbers) for guide in case.guides)
    return case.replace(optics=case.optics.select(numbers), guides=guides, **picked)
