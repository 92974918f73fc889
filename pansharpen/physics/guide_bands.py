"""Whether the channels of a guide are the bands that they are said to be: by what the cube's own bands show."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import Moments, moments, ratio_of
from pansharpen.physics.channels import Channel
from pansharpen.physics.registration import Registration

#: A channel is doubted when the nearest single band leaves so many times less of its variance unexplained than what it
#: is said to be made up of: that is a mean of bands, and so less noisy than each of them.
WORSE = 4.0
#: Share of a channel's variance that must be unexplained besides: bands that are all alike tell nothing.
LEAST = 0.01


def doubted_bands(scene: Scene, channels: Sequence[Channel], pair: Registration) -> list[tuple[Channel, int]]:
    """Channels of guides that a band of the cube, counted from zero, is more like than what they are said to be.

    An order that is not the response's, or another sensor's bands, show here; those that are alike in the scene do not.

    Parameters
    ----------
    scene : Scene
    channels, pair
        Of the scene: see `pansharpen.methods.physics.Model`.
    """
    out = []
    for channel in channels:
        response = None if channel.guide is None else scene.guides[channel.guide].row(channel.number)
        if response is not None:
            *bands, made = unexplained(scene, channel, pair, torch.as_tensor(response)).tolist()
            nearest = min(range(len(bands)), key=bands.__getitem__)
            if made > max(LEAST, WORSE * bands[nearest]):
                out.append((channel, nearest))
    return out


def unexplained(scene: Scene, channel: Channel, pair: Registration, response: torch.Tensor) -> torch.Tensor:
    """Share ``(band + 1,)`` of a channel's variance that each band of the cube leaves unexplained, at the cube's scale.

    The last is of what the response makes of the bands. What is darker where the channel is brighter explains nothing.
    """

    def joint(tile: Tile) -> tuple[Moments, torch.Tensor]:
        alone = channel.alone(tile)
        seen = tile.crop_coarse(alone.see_pan(pair.sight(alone)))
        bands = torch.cat([tile.coarse, (response.to(seen)[:, None, None] * tile.coarse).sum(1, keepdim=True)], 1)
        both = torch.cat([bands, seen], 1)
        squares = moments(both.double().square(), seen, tile.coarse_valid)
        return moments(both, seen, tile.coarse_valid), squares.x

    sums, squares = scene.sum(joint)
    variance = squares[0] / sums.n[0].clamp(min=1) - sums.mean_x[0] ** 2
    covariance = sums.covariance[0, :, 0].clamp(min=0)
    return 1 - ratio_of(covariance[:-1] ** 2, variance[:-1] * variance[-1])
