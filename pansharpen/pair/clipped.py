"""Samples of a pair that are cut off at full scale: lower bounds of the scene, which no method may take for its values.

What the cube's other bands and PAN say of a clipped voxel, and that it is at least as bright as full scale, takes its
place; what remains uncertain of that goes to the error bars. PAN's clipped pixels get what the cube shows beyond them:
a coarse pixel that is brighter than PAN says has its excess where PAN is clipped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d

from hsitools.estimation.full_scale import LEAST, TOP, hot_elements, limits, pile
from hsitools.estimation.lower_bounds import OWN, PIXELS_EACH, Factors, at_least
from pansharpen.families.statistics import Moments, moments
from pansharpen.optics import Optics
from pansharpen.pair.findings import is_news
from pansharpen.tile import Tile

Array = NDArray[np.float64]
log = logging.getLogger(__name__)
#: Under which findings of a scene say how many, of cube and PAN, and of each guide.
CLIPPED, CLIPPED_GUIDES = "clipped_samples", "clipped_guides"
#: Share of what the cube's optics see of PAN that may be clipped in a pixel whose PAN counts as measured.
TOUCHED = 0.02
#: From how far on between a band's mean and full scale voxels tell how well the other bands foretell bright ones, and
#: as how many of them the expectation counts beside.
BRIGHT, EXPECTED = 0.5, 8.0
#: Pixels over which a scene rises from full scale, and the variance of heights of PAN's clipped pixels within a coarse
#: one, over their square.
RISE, UNLIKE = 3, 3.0


class Tops(NamedTuple):
    """Largest value of each band, ``(band,)``, and of how many of its samples it is."""

    value: Array
    number: Array

    @classmethod
    def of(cls, image: NDArray[Any]) -> Tops:
        """Of an image ``(band, y, x)``, NaN where nothing was measured."""
        top = image.max((1, 2))
        if np.isnan(top).any():
            top = np.fmax.reduce(image, axis=(1, 2))
        return cls(top.astype(float), np.count_nonzero(image == top[:, None, None], axis=(1, 2)).astype(float))

    def joined(self, other: Tops) -> Tops:
        """Of both images together."""
        top = np.fmax(self.value, other.value)
        return Tops(top, np.sum([np.where(part.value == top, part.number, 0) for part in (self, other)], axis=0))


class Limits(NamedTuple):
    """Where images are cut off.

    Attributes
    ----------
    cube : array, shape (band,)
        Infinite where nothing is.
    hot : array of bool, shape (band, x)
        Detector elements at full scale in all rows, which no scene clips.
    pan : float
    """

    cube: Array
    hot: NDArray[np.bool_]
    pan: float

    @property
    def none(self) -> bool:
        """Whether nothing is cut off."""
        return not (np.isfinite(self.cube).any() or np.isfinite(self.pan))

    def voxels(self, coarse: torch.Tensor, column: int = 0) -> torch.Tensor:
        """Clipped voxels of a part ``(1, band, y, x)`` of the cube, from a column on."""
        hot = torch.as_tensor(self.hot[:, column : column + coarse.shape[-1]], device=coarse.device)
        return (coarse >= torch.as_tensor(self.cube).to(coarse)[:, None, None]) & ~hot[:, None]


def find_limits(
    tops: tuple[Tops, Tops], width: int, optics: Optics, band: Callable[[int], NDArray[Any]],
    pan: Callable[[], NDArray[Any]] | None,
) -> Limits:  # fmt: skip
    """Where cube and PAN are cut off: as declared, where values go no farther, or as piles at the top show.

    Parameters
    ----------
    tops : (Tops, Tops)
        Of cube and PAN.
    width : int
        Of the cube, pixels.
    optics : Optics
        With what the sensor says of full scale.
    band : callable
        A band ``(y, x)`` of the cube, by its number, NaN where nothing was measured.
    pan : callable, optional
        PAN ``(y, x)``; None for one that is made of others.
    """
    declared = optics.full_scale
    images = [band(number) if count >= LEAST else None for number, count in enumerate(tops[0].number)]
    found = limits(tops[0].value, [None if image is None else pile(image, np.isfinite(image)) for image in images])
    if declared is not None:
        found = np.minimum(found, _as_declared(np.broadcast_to(declared, len(found)), tops[0].value))
    hot = np.zeros((len(found), width), dtype=bool)
    for number in np.flatnonzero(np.isfinite(found)):
        image = band(int(number))
        hot[number] = hot_elements((image >= found[number])[None], np.isfinite(image)[None])[0]
    own = np.full(1, np.inf)
    if pan is not None:
        if tops[1].number[0] >= LEAST:
            image = pan()
            own = limits(tops[1].value, [pile(image, np.isfinite(image))])
        if optics.pan_full_scale is not None:
            own = np.minimum(own, _as_declared(np.array([optics.pan_full_scale]), tops[1].value))
    return Limits(found, hot, float(own[0]))


def _as_declared(limit: Array, top: Array) -> Array:
    """Declared limits, but of bands that reach them and do not go on: these are not what the detector gave."""
    return np.where((top >= limit) & (top <= limit + TOP * np.abs(limit)), limit, np.inf)


@dataclass(frozen=True, kw_only=True, eq=False)
class Clipped:
    """What stands for samples that are cut off.

    Attributes
    ----------
    limits : Limits
    factors : Factors
        Of the cube's bands, and PAN behind them as the cube's optics see it.
    spread : array, shape (band + 1,)
        How many times the variance that these foretell bright voxels have.
    height : float
        Root mean square of how far PAN's clipped pixels are above full scale.
    """

    limits: Limits
    factors: Factors
    spread: Array
    height: float

    def tile(self, tile: Tile) -> Tile:
        """The tile with what stands for its clipped samples, and how uncertain that is."""
        sight = _Sight.of(tile, self.limits)
        touched = (sight.clipped.any(1) | sight.touched[:, 0])[0]
        if not touched.any():
            return tile
        coarse, doubt = tile.wide_coarse.clone(), torch.zeros_like(tile.wide_coarse)
        values, known = sight.both[0][:, touched].cpu().numpy(), ~sight.unknown[0][:, touched].cpu().numpy()
        mean, variance = self.factors.predict(values, known)
        clipped = sight.clipped[0][:, touched].cpu().numpy()
        bound = np.broadcast_to(self.limits.cube[:, None], clipped.shape)[clipped]
        filled, left = at_least(mean[:-1][clipped], (self.spread[:, None] * variance)[:-1][clipped], bound)
        values[:-1][clipped] = filled
        own = np.zeros(clipped.shape)
        own[clipped] = left
        coarse[0][:, touched] = torch.as_tensor(values[:-1]).to(coarse)
        doubt[0][:, touched] = torch.as_tensor(own).to(doubt)
        pan, pan_doubt = tile.wide_pan, None
        if sight.touched.any():
            known[:-1] |= clipped
            known[-1] = False
            mean, variance = self.factors.predict(values, known)
            pan, pan_doubt = self._pan(tile, sight, touched, mean[-1], self.spread[-1] * variance[-1])
        return tile.with_bounds(coarse, pan, doubt if clipped.any() else None, pan_doubt)

    def _pan(
        self, tile: Tile, sight: _Sight, touched: torch.Tensor, mean: Array, variance: Array
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """PAN with what coarse pixels are brighter than it says, where it is clipped; and its variance there.

        Parameters
        ----------
        tile, sight, touched
            Of the tile, with coarse pixels of which something is clipped.
        mean, variance : array, shape (n,)
            PAN at these as the cube foretells it.
        """
        share = sight.share[0, 0][touched].double().cpu().numpy()
        excess = mean - sight.both[0, -1][touched].cpu().numpy()
        # of a pixel's height above full scale, which is positive and about as much as that of others
        precision = 1 / self.height**2 + share**2 / variance
        height, left = at_least(share * excess / variance / precision, 1 / precision, 0.0)
        coarse = torch.zeros_like(sight.both[:, :2])
        weight = torch.zeros_like(sight.both[:, :1])
        weight[0, 0][touched] = torch.as_tensor(share).to(weight)
        coarse[0][:, touched] = torch.as_tensor(np.stack([height, left]) * share).to(coarse)
        down = tile.down(tile.optics.mean_gains())
        total = down.adjoint(torch.cat([coarse, weight], 1))
        both = (total[:, :2] / total[:, 2:].clamp(min=1e-12)).clamp(min=0).to(tile.wide_pan)
        raised = sight.shape * both[:, :1]
        # what a coarse pixel's mean is, is known; its pixels differ from the shape by about as much as they are high
        return tile.wide_pan + raised, sight.shape.square() * both[:, 1:] + UNLIKE * raised.square()


class _Sight(NamedTuple):
    """What is clipped in a tile with surroundings.

    ``clipped`` voxels ``(1, band, y, x)``; ``full`` pixels of PAN, and how far their height above full scale is that of
    their surroundings (``shape``: a scene rises from there on), as the cube's optics see it (``share``), and where they
    see any (``touched``); values of ``both`` cube and PAN ``(1, band + 1, y, x)``, float64, and which are ``unknown``.
    """

    clipped: torch.Tensor
    full: torch.Tensor
    shape: torch.Tensor
    share: torch.Tensor
    touched: torch.Tensor
    both: torch.Tensor
    unknown: torch.Tensor

    @classmethod
    def of(cls, tile: Tile, limits: Limits) -> _Sight:
        """Of a tile."""
        clipped = limits.voxels(tile.wide_coarse, tile.corner[1])
        full = tile.wide_pan >= limits.pan
        if tile.wide_pan_valid is not None:
            full = full & tile.wide_pan_valid
        down = tile.down(tile.optics.mean_gains())
        pan = tile.see_pan(down)
        shape, share, touched = full.to(pan), torch.zeros_like(pan), torch.zeros_like(pan, dtype=torch.bool)
        if full.any():
            touched = down(shape) > TOUCHED
            shape = shape * avg_pool2d(shape, RISE, 1, RISE // 2, count_include_pad=False)
            share = down(shape).clamp(0, 1)
        unknown = torch.cat([clipped, touched], 1)
        if tile.wide_voxel_valid is not None:
            unknown = unknown | torch.cat([~tile.wide_voxel_valid, torch.zeros_like(touched)], 1)
        return cls(clipped, full, shape, share, touched, torch.cat([tile.wide_coarse, pan], 1).double(), unknown)


def learn_clipped(
    limits: Limits, total: Callable[[Callable[[Tile], Any]], Any]
) -> tuple[Clipped | None, dict[str, int]]:
    """How clipped samples follow from the others, and how many there are.

    None where nothing is clipped, or too few pixels are whole to tell.

    Parameters
    ----------
    limits : Limits
    total : callable
        As `pansharpen.case.Scene.sum`, over tiles as they are measured.
    """
    if limits.none:
        return None, {}

    def whole(tile: Tile, sight: _Sight) -> torch.Tensor:
        """Coarse pixels of which all was measured."""
        out = ~tile.crop_coarse(sight.unknown).any(1, keepdim=True)
        return out if tile.coarse_valid is None else out & tile.coarse_valid

    def sums(tile: Tile) -> tuple[torch.Tensor, ...]:
        sight = _Sight.of(tile, limits)
        counts = torch.stack([tile.crop_coarse(sight.clipped).sum(), tile.crop(sight.full).sum()])
        return *moments(tile.crop_coarse(sight.both), valid=whole(tile, sight)), counts

    *parts, counts = total(sums)
    said = dict(zip(("cube_voxels", "pan_pixels"), map(int, counts), strict=True))
    said = {name: count for name, count in said.items() if count}
    levels = Moments(*parts)
    n = float(levels.n)
    if not said or n < 2 * PIXELS_EACH:
        return None, said
    mean = levels.mean_x[0].cpu().numpy()
    factors = Factors.of(mean, levels.covariance[0].cpu().numpy(), n)
    cut = np.append(np.isfinite(limits.cube), False)
    bright = np.append(mean[:-1] + BRIGHT * (np.where(cut[:-1], limits.cube, np.inf) - mean[:-1]), np.inf)
    if np.isfinite(limits.pan):
        bright[-1] = mean[-1] + BRIGHT * (limits.pan - mean[-1])

    def foretold(tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        """Squares of what bright samples differ from what the others say, in what is expected, and their number.

        And what PAN is seen too dark for its clipped share, times that share, and the share's square.
        """
        sight = _Sight.of(tile, limits)
        keep = whole(tile, sight)[0, 0]
        values = tile.crop_coarse(sight.both)[0][:, keep].cpu().numpy()
        out = np.zeros((2, len(values)))
        of_bands, of_pan = cut, np.arange(len(cut)) == len(cut) - 1
        for sought in (of_bands, of_pan):
            told, variance = factors.predict(values, np.broadcast_to(~sought[:, None], values.shape))
            high = sought[:, None] & (np.maximum(told, values) > bright[:, None])
            out += [np.where(high, (values - told) ** 2 / variance, 0).sum(1), high.sum(1)]
        seen = tile.crop_coarse(sight.touched)[0, 0]
        values, unknown = (tile.crop_coarse(part)[0][:, seen].cpu().numpy() for part in (sight.both, sight.unknown))
        excess = factors.predict(values, ~unknown)[0][-1] - values[-1]
        share = tile.crop_coarse(sight.share)[0, 0][seen].double().cpu().numpy()
        return torch.as_tensor(out), torch.as_tensor([share @ excess, share @ share])

    (squares, count), (excess, share) = (part.numpy() for part in total(foretold))
    spread = np.maximum((squares + EXPECTED) / (count + EXPECTED), 1)
    # heights are a tail: their mean square is twice the square of their mean
    height = np.sqrt(2) * max(excess / share if share else 0.0, OWN * abs(limits.pan))
    return Clipped(limits=limits, factors=factors, spread=spread, height=float(height)), said


def say_clipped(counts: Mapping[str, int], findings: dict[str, Any], name: str, *, told: bool) -> None:
    """Put into the findings of a scene, under `CLIPPED`, how many there are, and log it, if any and not said before.

    ``told``: whether something stands for them.
    """
    if not is_news(counts, findings, CLIPPED):
        return
    log.warning(
        "%s: found %s cut off at full scale; %s", name,
        " and ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items()),
        "taken as lower bounds" if told else "too few others tell what they would be, and they are taken as measured",
    )  # fmt: skip


def at_full_scale(channels: Iterable[NDArray[Any]]) -> int:
    """How many pixels of a guide's channels, each ``(y, x)`` with NaN where nothing was measured, are cut off."""
    piles = [pile(image, np.isfinite(image)) for image in channels]
    cut = limits(np.array([np.nan if found is None else found.top for found in piles]), piles)
    return sum(
        int(found.at_top.sum()) for found, limit in zip(piles, cut, strict=True) if found and np.isfinite(limit)
    )  # fmt: skip


def say_clipped_guides(counts: Mapping[str, int], findings: dict[str, Any], name: str) -> None:
    """The same as `say_clipped` of guides, by their names, under `CLIPPED_GUIDES`: no others stand for their pixels."""
    found = {guide: count for guide, count in counts.items() if count}
    if not is_news(found, findings, CLIPPED_GUIDES):
        return
    for guide, count in found.items():
        log.warning(
            "%s: %s: found %d pixels of its channels cut off at full scale; taken as measured, they make the result "
            "too dark there", name, guide, count,
        )  # fmt: skip
