"""Grain: what a single band sees for itself, pixel by pixel, which neither its neighbours nor PAN tell of.

The noise of an older image is an example, or of a detector's end. It has gone through the optics as the scene has,
which makes neighbouring pixels alike, and the cube's own noise has not. So what the components leave of the coarse cube
is grain as far as neighbours are alike as grain's are. Strong grain is a component itself. Where the noise's variance
is told, and bands beside explain one another but for about as much, a band of which they leave more has grain, unless
neighbours contradict. The optics' gain of white grain tells how much of it there is on the fine grid.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.estimation.band_noise import own_variance, weights_of_nearest
from hsitools.estimation.finest_details import ALONG, finest_details
from hsitools.sensor.spatial import mtf_sigma
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import Moments, moments, ratio_of
from pansharpen.physics.registration import Registration
from pansharpen.physics.subspace import FEW_BANDS, Cube, Subspace

Array = NDArray[np.float64]
#: Bands on either side that explain a band, and how far off the first of them is: the next one's response overlaps, and
#: has a part of the same grain.
REACH, APART = 2, 2
#: Bands explain one another where in three of four they leave less than so many times the noise: they do in each scene
#: of a PRISMA-like cube (1 to 1.9 times), and not where they lie 80 nm apart (2.4 to 10).
EXPLAINED = 2.0
#: Standard errors above which an estimate of grain is no chance.
CHANCE = 3.0
#: Share of a band's grain that components leave at least, however much of the band itself they are made of.
LEAST_OWN = 0.25
#: Second differences of white noise, and others' noise that is taken off, that tell as much as one independent value.
DEPENDENT = 2


def grain_variance(scene: Scene, coarse: Cube, space: Subspace, pair: Registration) -> torch.Tensor:
    """Variance ``(band,)`` of grain on the fine grid.

    Parameters
    ----------
    scene : Scene
    coarse, space, pair
        Of the scene: see `pansharpen.methods.physics.Model`.
    """
    gain, of_grain = grain_gain(pair.gains(scene.optics.mean_gains()), scene.optics.ratio)
    # what is alike over two pixels too is no grain
    contrast = of_grain - of_grain**4
    explaining = space.basis[0].double() @ space.projection[0].double()
    power, likeness, n = _alike(scene, coarse, space, explaining)
    # each of both correlations has chance in it
    found = torch.minimum(beyond(power * likeness, CHANCE * power / n.sqrt()) / contrast, power)
    # components are made of the bands, and take as much of a band's grain with them
    found = found / (1 - explaining.diagonal()).clamp(min=LEAST_OWN)
    share = min(max(float(likeness.mean()) / contrast, 0.0), 1.0)
    if scene.optics.noise_variance is not None and scene.n_bands >= FEW_BANDS:
        noise, covariance = space.noise[0].double(), _details(scene, coarse)
        weights = weights_of_nearest(covariance, REACH, APART)
        apart = np.eye(len(weights)) - weights
        details = torch.as_tensor(own_variance(np.einsum("bi,ij,bj->b", apart, covariance, apart), weights)).to(noise)
        least, most = (details / noise).quantile(torch.tensor([0.25, 0.75]).to(noise)).tolist()
        # where all bands have more than is told, and no grain in what components leave, too little is told
        noise = noise * max(least * (1 - share), 1.0)
        if most < EXPLAINED:
            power, likeness, n = _alike(scene, coarse, space, torch.as_tensor(weights).to(noise))
            power = torch.as_tensor(own_variance(power.cpu().numpy(), weights)).to(noise)
            kept = (6 - 8 * of_grain + 2 * of_grain**4) / 6
            more = beyond(details - noise, CHANCE * noise * (2 * DEPENDENT / n).sqrt()) / kept
            found = torch.maximum(found, torch.minimum(more, power * (likeness + 1 / n.sqrt()).clamp(min=0) / contrast))
    return found / gain


def _alike(
    scene: Scene, coarse: Cube, space: Subspace, explaining: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Of what weights ``(band, band)`` leave of the bands: power, how much more alike neighbours are than next ones.

    Last the number of pixels; each ``(band,)``.
    """

    def products(tile: Tile) -> torch.Tensor:
        cube = coarse(tile)[0].double() - space.mean[0].double()[:, None, None]
        rest = cube - (explaining @ cube.flatten(1)).unflatten(1, cube.shape[1:])
        valid = tile.wide_coarse_valid
        weight = torch.ones_like(rest) if valid is None else valid[0].expand_as(rest).double()
        images = [image for lag in range(3) for image in (_lagged(rest * weight, lag), _lagged(weight, lag))]
        return torch.stack([tile.crop_coarse(image).sum((1, 2)) for image in images])

    sums = scene.sum(products)
    power, near, far = (ratio_of(product, count) for product, count in zip(sums[::2], sums[1::2], strict=True))
    return power, ratio_of(near - far, power), sums[3].clamp(min=1) / 2


def beyond(value: torch.Tensor, doubt: torch.Tensor) -> torch.Tensor:
    """Values as far as they are beyond doubt: all of what is far beyond, nothing of what is not.

    Examples
    --------
    >>> import torch
    >>> beyond(torch.tensor([0.5, 2.0, -4.0]), torch.tensor([1.0, 1.0, 1.0])).tolist()
    [0.0, 1.5, 0.0]
    """
    return (value - doubt**2 / torch.maximum(value, doubt).clamp(min=1e-300)).clamp(min=0) * (value > doubt)


def _details(scene: Scene, coarse: Cube) -> Array:
    """Covariance ``(band, band)`` of second differences of the coarse cube, mean of those along both axes."""

    def both(tile: Tile) -> tuple[torch.Tensor, ...]:
        out: list[torch.Tensor] = []
        for kernel in ALONG:
            details, whole = finest_details(coarse(tile), tile.wide_coarse_valid, kernel)
            out += moments(tile.crop_coarse(details), valid=tile.crop_coarse(whole))
        return tuple(out)

    sums = scene.sum(both)
    down, across = Moments(*sums[:4]), Moments(*sums[4:])
    return np.asarray((down.covariance[0] + across.covariance[0]).cpu().numpy() / 2)


def _lagged(image: torch.Tensor, lag: int) -> torch.Tensor:
    """Each pixel's products with those so many below and to the right, summed; zero beyond the border."""
    wide = torch.nn.functional.pad(image, (0, lag, 0, lag))
    height, width = image.shape[-2:]
    return image * (wide[:, lag:, :width] + wide[:, :height, lag:])


def grain_gain(gains: Array, ratio: int) -> tuple[float, float]:
    """What optics leave of the variance of white grain, and the correlation of neighbouring coarse pixels by it.

    Parameters
    ----------
    gains : array, of one or two values
        MTF at the coarse Nyquist frequency, along y and x.
    ratio : int

    Examples
    --------
    >>> import numpy as np
    >>> [round(value, 3) for value in grain_gain(np.array([0.3, 0.3]), 4)]
    [0.02, 0.359]
    """
    place = np.arange(-8 * ratio, 8 * ratio + 1)
    gain, alike = 1.0, []
    for deviation in np.broadcast_to(mtf_sigma(np.ravel(gains), ratio), (2,)):
        weight = np.exp(-0.5 * (place / float(deviation)) ** 2)
        weight /= weight.sum()
        square = float((weight**2).sum())
        gain *= square
        alike.append(float((weight[ratio:] * weight[:-ratio]).sum()) / square)
    return gain, float(np.mean(alike))
