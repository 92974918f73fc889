"""Places that a guide does not show: what the cube and PAN tell of its channels there takes their place.

Methods that take every sharp channel for data everywhere would otherwise believe whatever fills the gap. With this they
see there what is known without the guide.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from pansharpen.families.statistics import Moments, mix, moments, per_band, ratio_of
from pansharpen.guide import Guide
from pansharpen.pair.findings import is_news
from pansharpen.tile import Tile

log = logging.getLogger(__name__)
#: Under which findings of a scene say how much of each guide's pixels it is.
UNSEEN = "unseen_by_guides"
#: Pull of a channel's regression on the bands towards zero, as a part of their mean variance: as of PAN's response.
RIDGE = 1e-3


class _Channel(NamedTuple):
    """A channel as cube and PAN tell it: ``weights`` (batch, band), ``offset`` and PAN's ``gain`` (batch, 1)."""

    weights: torch.Tensor
    offset: torch.Tensor
    gain: torch.Tensor

    @classmethod
    def of(cls, sums: Moments, whole: Moments) -> _Channel:
        """From moments of the bands, PAN and the channel on the coarse grid: where it is known, and of the scene.

        PAN's gain is that of what the bands tell of the channel all over the scene: as a fusion without it has it.
        """
        covariance, mean = sums.covariance, sums.mean_x
        bands = covariance[:, :-2, :-2]
        pull = RIDGE * bands.diagonal(dim1=1, dim2=2).mean(1).clamp(min=torch.finfo(bands.dtype).tiny)
        unit = torch.eye(bands.shape[-1]).to(bands)
        weights = torch.linalg.solve(bands + pull[:, None, None] * unit, covariance[:, :-2, -1])
        offset = mean[:, -1:] - (weights * mean[:, :-2]).sum(1, keepdim=True)
        with_pan = (weights * whole.covariance[:, :-2, -2]).sum(1, keepdim=True)
        return cls(weights, offset, ratio_of(with_pan, whole.covariance[:, -2:-1, -2]))

    def fine(self, tile: Tile, fused: torch.Tensor | None) -> torch.Tensor:
        """On the fine grid with surroundings: from the fused bands, or the cube's with the details of PAN."""
        if fused is not None:
            return mix(self.weights, fused) + per_band(self.offset, fused)
        coarse = mix(self.weights, tile.wide_coarse) + per_band(self.offset, tile.wide_coarse)
        gain = per_band(self.gain, tile.wide_pan)
        return tile.up()(coarse - gain * tile.wide_pan_coarse) + gain * tile.wide_pan


class UnseenGuides(NamedTuple):
    """What stands for channels where their guides hold nothing, by numbers of guide and channel."""

    channels: dict[tuple[int, int], _Channel]

    def tile(self, tile: Tile, fused: torch.Tensor | None = None) -> Tile:
        """The tile with it; what was measured is what it was, and ``valid`` of the guides too.

        ``fused`` is what a method makes of the tile without these guides, surroundings included, where that is known.
        """
        return tile.with_guides(tuple(self._filled(tile, *each, fused) for each in enumerate(tile.guides)))

    def _filled(self, tile: Tile, number: int, guide: Guide, fused: torch.Tensor | None) -> Guide:
        if guide.valid is None or guide.valid.all():
            return guide
        valid, image = guide.valid.expand(guide.image.shape), guide.image.clone()
        down = guide.down(tile.fine_size)
        for channel in range(guide.n_channels):
            known, own = self.channels.get((number, channel)), slice(channel, channel + 1)
            if known is None or valid[:, own].all():
                continue
            fine = known.fine(tile, fused)
            image[:, own] = torch.where(valid[:, own], image[:, own], fine if down is None else down(fine))
        return dataclasses.replace(guide, image=image)


def learn_unseen(
    guides: Sequence[Guide], total: Callable[[Callable[[Tile], Any]], Any]
) -> tuple[UnseenGuides, dict[str, float]]:  # fmt: skip
    """How guides' channels follow from cube and PAN, and what share of each guide's pixels holds nothing.

    A channel that nowhere lies on a pixel of both is left as it was filled.

    Parameters
    ----------
    guides : sequence of Guide
        At least one, of which the tiles hold pixels.
    total : callable
        As `pansharpen.case.Scene.sum`.
    """
    numbers = [(number, channel) for number, guide in enumerate(guides) for channel in range(guide.n_channels)]

    def sums(tile: Tile) -> tuple[torch.Tensor, ...]:
        whole = moments(torch.cat([tile.coarse, tile.pan_coarse, tile.pan_coarse], 1), valid=tile.coarse_valid)
        parts, holes = [whole], []
        for number, channel in numbers:
            alone = tile.with_pan_of(number, channel)
            images = torch.cat([tile.coarse, tile.pan_coarse, alone.pan_coarse], 1)
            valid = alone.coarse_valid
            if tile.coarse_valid is not None:
                valid = tile.coarse_valid if valid is None else valid & tile.coarse_valid
            parts.append(moments(images, valid=valid))
            fine = alone.wide_pan_valid
            holes.append([0 if fine is None else int((~alone.crop(fine)).sum()), alone.pan.numel()])
        return *(torch.stack(part) for part in zip(*parts, strict=True)), torch.tensor(holes, dtype=torch.float64)

    *parts, holes = total(sums)
    whole, *each = (Moments(*part) for part in zip(*parts, strict=True))
    channels = {
        place: _Channel.of(own, whole) for place, own in zip(numbers, each, strict=True) if (own.n > 1).all()
    }  # fmt: skip
    said: dict[str, float] = {}
    for number, guide in enumerate(guides):
        own = holes[[place[0] == number for place in numbers]].sum(0)
        said |= {guide.name: round(float(own[0] / own[1]), 4)} if own[0] else {}
    return UnseenGuides(channels), said


def say_unseen(shares: dict[str, float], findings: dict[str, Any], name: str) -> None:
    """Put into the findings of a scene, under `UNSEEN`, what share each guide does not show, and log it, if any."""
    if not is_news(shares, findings, UNSEEN):
        return
    for guide, share in shares.items():
        log.warning(
            "%s: %s: found %.2g %% of its pixels on the scene without a measurement; there it is taken as cube and PAN "
            "tell its channels", name, guide, 100 * share,
        )  # fmt: skip
