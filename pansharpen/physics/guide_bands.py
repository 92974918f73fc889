"""Whether the channels of a guide are the bands that they are said to be: by what the cube's own bands show."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import moments, ratio_of
from pansharpen.physics.channels import Channel
from pansharpen.physics.registration import Registration

#: A channel is doubted when the nearest single band leaves so many times less of its variance unexplained than what it
#: is said to be made up of: that is a mean of bands, and so less noisy than each of them.
WORSE = 4.0
#: Share of a channel's variance that must be unexplained besides: bands that are all alike tell nothing.
LEAST = 0.01
#: Bands of the cube that must share a response at least, by 1/Σw², or what lies between them is not known: the channel
#: may then be like any one of those that have so much of the largest one's share.
SHARING, SHARE = 2.5, 0.2


def doubted_bands(scene: Scene, channels: Sequence[Channel], pair: Registration) -> list[tuple[Channel, int]]:
    """Channels of guides that a band of the cube, counted from zero, is more like than what they are said to be.

    An order that is not the response's, or another sensor's bands, show here; those that are alike in the scene do not.

    Parameters
    ----------
    scene : Scene
    channels, pair
        Of the scene: see `pansharpen.methods.physics.Model`.
    """
    own = [(channel, response) for channel in channels if (response := _response(scene, channel)) is not None]
    if not own:
        return []
    out = []
    for (channel, response), shares in zip(own, unexplained(scene, own, pair), strict=True):
        nearest, said = int(shares[:-1].argmin()), float(shares[-1])
        if response.sum() ** 2 < SHARING * response.square().sum():
            said = min(said, float(shares[:-1][response.to(shares) >= SHARE * response.max()].min()))
        if said > max(LEAST, WORSE * float(shares[nearest])):
            out.append((channel, nearest))
    return out


def unexplained(scene: Scene, channels: Sequence[tuple[Channel, torch.Tensor]], pair: Registration) -> torch.Tensor:
    """Share ``(channel, band + 1)`` of each channel's variance that a band leaves unexplained, at the cube's scale.

    The last is of what its response ``(band,)`` makes of the bands. What is darker where the channel is brighter
    explains nothing.
    """

    def joint(tile: Tile) -> torch.Tensor:
        sums = []
        for channel, response in channels:
            alone = channel.alone(tile)
            seen = alone.crop_coarse(alone.see_pan(pair.sight(alone)))
            made = (response.to(seen)[:, None, None] * tile.coarse).sum(1, keepdim=True)
            images = torch.cat([tile.coarse, made, seen], 1).double()
            valid = alone.coarse_valid
            part, squares = moments(images, seen, valid), moments(images.square(), seen, valid)
            sums.append(torch.stack([part.n.expand_as(part.x), part.x, squares.x, part.xy[..., 0]])[:, 0])
        return torch.stack(sums, 1)

    n, x, xx, xy = scene.sum(joint)
    n = n.clamp(min=1)
    mean = x / n
    variance, covariance = xx / n - mean**2, xy / n - mean * mean[:, -1:]
    return 1 - ratio_of(covariance[:, :-1].clamp(min=0) ** 2, variance[:, :-1] * variance[:, -1:])


def _response(scene: Scene, channel: Channel) -> torch.Tensor | None:
    """What a guide's channel is said to be made up of; None where nothing is said, and for PAN."""
    response = None if channel.guide is None else scene.guides[channel.guide].row(channel.number)
    return None if response is None else torch.as_tensor(response)
