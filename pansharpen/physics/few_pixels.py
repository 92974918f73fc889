"""What so few coarse pixels leave untold of the error: a scene of one pixel is not known without one.

Response, components and prior are learned from the coarse pixels themselves. Where these are few, what is learned fits
them by chance, and both the posterior and the details of a band look better known than they are. So variances grow by
the share that some independent pixels make of all (as Student's factor does for an unknown variance), and of the power
of a band's details, were they as strong as PAN's, one part in the number of pixels is added: all of it for one pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from pansharpen.case import Tile
from pansharpen.families.statistics import BandSums, Moments, band_sums, moments, ratio_of

#: Coarse pixels of a scene whose errors' variance is twice what many would say. Set on procedural scenes 1 to 6 of 3×3
#: and 6×6 pixels, so that 95 % intervals cover at least 90 %: without, 89 % of 3×3 and 92 % of 6×6 with a sensor.
FEW = 12.0


class FewPixels(NamedTuple):
    """How the variance of errors grows by the pixels being few: times a factor, and by what is added.

    Attributes
    ----------
    factor, added : Tensor, shape (band,)
    """

    factor: torch.Tensor
    added: torch.Tensor


def level_sums(tile: Tile) -> tuple[torch.Tensor, ...]:
    """What `few_pixels` needs of a tile beside sums of bands with PAN: `BandSums` of the bands, `Moments` of PAN."""
    return *band_sums(tile.coarse, tile.coarse, tile.coarse_valid), *moments(tile.pan, valid=tile.valid)


def few_pixels(joint: BandSums, levels: Sequence[torch.Tensor]) -> FewPixels:
    """The growth for a scene's measured coarse pixels, band by band.

    Parameters
    ----------
    joint : BandSums
        Of the bands with PAN as the cube's optics see it.
    levels : sequence of Tensor
        `level_sums` of the scene.
    """
    bands, pan = BandSums(*levels[:5]), Moments(*levels[5:])
    n, level, power = bands.n[0].clamp(min=1), float(pan.mean_x), float(pan.covariance)
    # gain of a band on PAN were both alike: by their contrast, and of one pixel by their level
    square = ratio_of(bands.variance_y, joint.variance_y)[0]
    details = (power - joint.variance_y[0]).clamp(min=0)
    by_level = bands.mean_y[0].square() * power / max(level**2, power, 1e-300)
    return FewPixels(1 + FEW / n, torch.where(n > 1, square * details, by_level) * (1 + 1 / n) / n)
