"""Links between pixels that look alike, near or far: the scene tells by itself what goes with what.

Neighbours that are linked unless PAN has an edge between them (`hsitools.estimation.edge_aware`) leave a small object
alone with what the coarse cube mixes into it. Elsewhere in the scene there is a larger one, of which the cube shows
also what PAN does not see. So each pixel is linked with many around it, some coarse pixels far, the more the more alike
they are: in PAN, in the components of a first solution, and in those of the interpolated cube, which owe nothing to an
edge that was drawn wrongly. Smoothing over such a graph makes of the components any function of what is compared that
is smooth in it, and varies slowly over the scene, that the coarse cube asks for; the data terms stay as they are.

The links are those of a non-local mean (A. Buades, B. Coll and J.-M. Morel, 2005) as a quadratic prior (G. Gilboa and
S. Osher, Nonlocal linear image regularization and supervised segmentation, 2007), normalised by both ends' sums.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
import torch

from hsitools.estimation.chebyshev import cached
from hsitools.estimation.edge_aware import Links, Offsets, neighbours_at, step_weights

#: Places in an eighth of the disc that a pixel is linked with, and how far they reach, in coarse pixels: some 50 links
#: a pixel, half of them counted. Where exactly the places lie changes ERGAS by half a percent either way from scene to
#: scene, and a tenth in the mean (jasper_ridge, abu_urban_1 and 4, abu_airport_1, enmap_potsdam_b, aviris_gator_vi).
#: More, and farther ones, go on winning a little (4 times as many half a percent, reach 5 another half), but cost time
#: and a wider halo.
PLACES, REACH = 14, 3.0
#: Difference, in units of the scene's contrast, that lowers a link to a quarter; .1 and .3 cost half a percent.
UNLIKE = 0.2
#: Sum of a pixel's links that is alike around it; neighbours without an edge between them count some 7 together.
STRENGTH = 0.6
#: Least sum of likenesses that links are normalised by: of what nothing resembles, links stay weak.
LEAST = 0.5
#: Components that are compared and linked: the next ones hold less than a percent of the contrast.
COMPARED = 4
#: Part of a difference that the first solution and interpolation each count for.
PART = 0.7
#: Contrast between neighbours from which on a step costs no longer its square.
STEP = 0.03


def related(
    weights: list[torch.Tensor], z: torch.Tensor, smooth: torch.Tensor, sharp: torch.Tensor, contrast: torch.Tensor,
    reach: float,
) -> tuple[list[torch.Tensor], Links]:  # fmt: skip
    """Weights of neighbours, and links beyond them.

    Parameters
    ----------
    weights : list of Tensor
        Of neighbours, by PAN's edges.
    z, smooth : Tensor, shape (1, k, y, x)
        Components of a first solution, and interpolated ones.
    sharp : Tensor, shape (1, m, y, x)
        PAN and other sharp channels, in units of their contrast; NaN where one shows nothing.
    contrast : Tensor, shape (k,)
        Of the components in the cube: squares add up to one.
    reach : float
        Pixels to a coarse one.
    """
    scale = contrast.to(z)[:, None, None]
    # where PAN is even but the first solution is not, there is an edge too
    near = [w * a for w, a in zip(weights, step_weights(z * scale, STEP), strict=True)]
    images = [image[:, :COMPARED] * (PART * scale[:COMPARED]) for image in (z, smooth)]
    # channels that all show something are compared at once
    whole = not bool(sharp.isnan().any())
    compared = torch.cat([*images, sharp / sharp.shape[1] ** 0.5] if whole else images, 1) / UNLIKE
    height, width = z.shape[-2:]
    far = tuple((y, x) for y, x in offsets(PLACES, REACH * reach) if y < height and abs(x) < width)
    total = torch.zeros_like(compared[:, :1])
    likeness = []
    for offset in far:
        first, second = neighbours_at(z.shape, offset)
        alike = _squares(compared[second], compared[first])
        if not whole:
            # in the mean of the channels that show both
            alike += ((sharp[second] - sharp[first]) / UNLIKE).square().nanmean(1, keepdim=True).nan_to_num_(0)
        alike = alike.add_(1).pow_(-2)
        total[first] += alike
        total[second] += alike
        likeness.append(alike)
    scale_down = (STRENGTH / total.clamp(min=LEAST)).sqrt()
    for alike, offset in zip(likeness, far, strict=True):
        first, second = neighbours_at(z.shape, offset)
        alike *= scale_down[first] * scale_down[second]
    return near, Links(weights=likeness, offsets=far, leading=COMPARED)


def _squares(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Squared differences of images ``(batch, channel, y, x)``, summed over channels; some rows at a time in cache."""
    out = one.new_empty((len(one), 1, *one.shape[2:]))
    for rows in cached(one.shape[2], one, each=2 * one.shape[1] * one.shape[3]):
        step = one[..., rows, :] - other[..., rows, :]
        torch.sum(step.square_(), 1, keepdim=True, out=out[..., rows, :])
    return out


@lru_cache(maxsize=32)
def offsets(number: int, radius: float) -> Offsets:
    """Steps beyond the neighbours, spread evenly over half a disc, and the same of an image that is flipped or turned.

    Of ``number`` places in an eighth of the disc, as a sunflower's seeds, and their mirror images.

    Examples
    --------
    >>> offsets(2, 4.0)
    ((0, 3), (3, 0), (2, 3), (2, -3), (3, 2), (3, -2))
    """
    seeds = np.arange(number)
    distance = 2 + (radius - 2) * np.sqrt((seeds + 0.3) / number)
    angle = np.pi / 4 * (seeds * (5**0.5 - 1) / 2 % 1)
    places = np.stack([distance * np.sin(angle), distance * np.cos(angle)], 1).round().astype(int).tolist()
    steps = [
        (y, x)
        for short, long in places
        if short**2 + long**2 > 2
        for y, x in itertools.product((short, -short, long, -long), repeat=2)
        # of a pair of opposite ones the one below, or to the right
        if {abs(y), abs(x)} == {short, long} and (y > 0 or (y == 0 and x > 0))
    ]
    return tuple(dict.fromkeys(steps))
