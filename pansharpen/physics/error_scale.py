"""From the posterior's variance to that of real errors: calibrated band by band by coarse pixels held out.

The posterior is only as right as its prior, whose smoothness is one for all scenes; and what PAN's own optics blur is
in none of its terms. So the variance of a voxel is a sum of four ::

    (α · factor of the band)² · posterior + (factor · slope on PAN)² · what PAN's blur hides + error · share + grain

The second is what PAN's optics have taken off PAN (`hidden_details`).

α and the factors are measured where the truth is known: the same problem one scale coarser, in which the coarse cube is
sought from its half, with PAN as the cube's optics see it and blurred as its own optics do. The prior knows no scale
(its spectrum is 1/f² too), so that the ratio of real to predicted variance holds at the fine scale but for a constant
(`LEVEL`): the coarse cube is smoother than the scene. The error found there goes on to the fine scale by itself, too
(`SHARE`): where noise makes the posterior smooth, it grows less from one scale to the next than errors do. What is left
is a fourth from scene to scene either way, which neither PAN's own details at both scales nor the ratio of the
variances foretell. The fourth stands for what a single band sees for itself, which no component holds: what components
leave of the coarse cube is noise, which is white there, or went through the optics as the scene did, which makes
neighbours alike. How alike tells both apart, and the optics' gain of white grain how much of it there is on the fine
grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from hsitools.sensor.separable import size_of
from hsitools.sensor.spatial import mtf_sigma
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import BandSums, band_sums, per_band, ratio_of
from pansharpen.physics.channels import Channels
from pansharpen.physics.few_pixels import few_pixels, level_sums
from pansharpen.physics.held_out import DEPENDENT, LEAST, counted, held_out
from pansharpen.physics.hidden_details import blur_powers, blurred_off, hidden_gain, hiding_blur
from pansharpen.physics.posterior import posterior_variance
from pansharpen.physics.registration import Registration
from pansharpen.physics.sharp_pan import filtered
from pansharpen.physics.subspace import Cube, Subspace

Array = NDArray[np.float64]
#: α at the fine scale over that of the coarse one, and the share of the coarse one's mean squared error that comes
#: besides: the fine scale's is 1.9² times as large (1.4² to 2.9²). Set on eight tuning scenes and three procedural ones
#: at ratio 4: 95 % intervals cover 92 % in the mean with 20 dB of noise (82 to 99), 96 % with a PRISMA's (92 to 99);
#: more of the second, which is alike everywhere, ranks the errors worse.
LEVEL, SHARE = 1.4, 0.8
#: The former where nothing can be held out.
ALONE = 1.5
#: Standard errors by which neighbours must be more alike than chance makes them, to count as grain.
CHANCE = 3.0
#: Of the variance of white noise in the cube, so much is in the result: of its own, and of what grain it covers.
PASSED = 0.03
#: Bounds of α at the coarse scale: outside, too few pixels have spoken.
BOUNDS = (0.4, 3.0)
#: Weight of what is expected (one) beside the bands in the fit of α: where all follow PAN, they cannot tell α.
EXPECTED = 0.02
#: Largest factor of a band, and one over the smallest.
LARGEST = 2.0
#: Steps of reweighting in the fit of α, and what keeps a band without errors from being divided by.
STEPS, TINY = 20, 1e-300


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorScale:
    """What turns the posterior's variance into that of errors.

    Attributes
    ----------
    posterior, hidden, floor : Tensor, shape (1, band)
        Factor of the posterior's variance, factor of what PAN's blur would take off PAN, and what is added to both.
    blur : array or None
        What is left of the blur of PAN's optics, as `hiding_blur`.
    """

    posterior: torch.Tensor
    hidden: torch.Tensor
    floor: torch.Tensor
    blur: Array | None

    def std(self, variance: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """Standard deviation of each voxel, of the posterior's variance and PAN."""
        out = per_band(self.posterior, variance) * variance + per_band(self.floor, variance)
        hidden = blurred_off(pan, self.blur)
        if hidden is not None:
            out = out + per_band(self.hidden, variance) * hidden
        return out.sqrt_()


def error_scale(
    scene: Scene, coarse: Cube, space: Subspace, pair: Registration, channels: Channels
) -> ErrorScale:  # fmt: skip
    """Compare errors at held-out coarse pixels with what the posterior says of them.

    Parameters
    ----------
    scene : Scene
    coarse, space, pair, channels
        Of the scene: see `pansharpen.methods.physics.Model`.
    """
    blur = hiding_blur(scene)

    def sums(tile: Tile) -> tuple[torch.Tensor, ...]:
        cube = coarse(tile)
        levels = *band_sums(tile.coarse, tile.pan_coarse, tile.coarse_valid), *level_sums(tile)
        powers = torch.zeros(2, 3, dtype=torch.float64, device=cube.device)
        if blur is not None:
            powers[0] = blur_powers(tile.wide_pan, blur, tile.crop)
        if min(size_of(cube)) < LEAST:
            return (torch.zeros(4, scene.n_bands, dtype=torch.float64, device=cube.device), powers, *levels)
        sharp, believed = channels.seen(tile, pair, space.components(cube))
        if blur is not None:
            sharp.image[:, :1] = filtered(sharp.image[:, :1], blur)
            powers[1] = blur_powers(sharp.image[:, :1], blur, tile.crop_coarse)
        terms, weights, z, _, links = held_out(cube, space, channels, sharp)
        half = tile.corner[0] // 2, tile.corner[1] // 2
        variance = posterior_variance(terms, weights, z, space.basis, tile.corner, half, links)
        hidden = blurred_off(sharp.image[:, :1], blur)
        hidden = torch.zeros_like(variance[:, :1]) if hidden is None else hidden
        parts = ((space.cube(z) - cube).square(), variance, hidden.expand_as(cube), torch.ones_like(cube))
        weight = counted(tile, believed)
        own = [(tile.crop_coarse(part)[0].double() * weight).sum((1, 2)) for part in parts]
        return (torch.stack(own), powers, *levels)

    (error, variance, hidden, n), powers, *levels = scene.sum(sums)
    joint = BandSums(*levels[:5])
    noise = space.noise[0].double().clamp(min=1e-300)
    slope = joint.slope[0].square()
    fine = coarse_gain = 0.0
    if blur is not None:
        (once, twice, _), (once_coarse, twice_coarse, _) = (powers / powers[:, 2:].clamp(min=1)).tolist()
        fine = hidden_gain(blur, once, twice, scene.optics.pan_variance or 0.0)
        coarse_gain = hidden_gain(blur, once_coarse, twice_coarse)
    amplitude, factor, everywhere = ALONE, torch.ones_like(noise), torch.zeros_like(noise)
    if (n > 0).all():
        error, variance, hidden = error / n, variance / n, coarse_gain * slope * hidden / n
        # the coarse cube, the truth here, is noisy itself
        real = (error - noise).clamp(min=0)
        # so much of it may be chance
        doubt = noise * (2 * DEPENDENT / n).sqrt()
        alpha, beta = _amplitudes(real, doubt, variance, hidden)
        expected = alpha**2 * variance + beta**2 * hidden
        factor = ((real + doubt) / (expected + doubt)).clamp(1 / LARGEST**2, LARGEST**2)
        amplitude, everywhere = LEVEL * alpha, SHARE * real
    floor = grain_variance(scene, coarse, space, pair)
    if scene.optics.error_variance is not None:
        # alike in neighbouring pixels: what is held out does not show them
        floor = floor + torch.as_tensor(scene.optics.error_variance).to(noise)
    few = few_pixels(joint, levels[5:])
    factor = few.factor * factor
    return ErrorScale(
        posterior=(amplitude**2 * factor)[None], hidden=(fine * slope * factor)[None],
        floor=(floor + everywhere + few.added)[None], blur=blur,
    )  # fmt: skip


def grain_variance(scene: Scene, coarse: Cube, space: Subspace, pair: Registration) -> torch.Tensor:
    """Variance ``(band,)`` on the fine grid of what each band sees for itself, and of what noise is passed on."""

    def products(tile: Tile) -> torch.Tensor:
        cube = coarse(tile)
        rest = (cube - space.cube(space.components(cube)))[0].double()
        valid = tile.wide_coarse_valid
        weight = torch.ones_like(rest) if valid is None else valid[0].expand_as(rest).double()
        images = [image for lag in range(3) for image in (_lagged(rest * weight, lag), _lagged(weight, lag))]
        return torch.stack([tile.crop_coarse(image).sum((1, 2)) for image in images])

    sums = scene.sum(products)
    power, near, far = (ratio_of(product, n) for product, n in zip(sums[::2], sums[1::2], strict=True))
    gain, of_grain = grain_gain(pair.gains(scene.optics.mean_gains()), scene.optics.ratio)
    # what is alike over two pixels too is no grain; each of both correlations has chance in it
    likeness = ratio_of(near - far, power) - CHANCE * (2 / sums[3].clamp(min=1)).sqrt()
    own = (likeness / (of_grain - of_grain**4)).clamp(0, 1)
    noise = space.noise[0].double()
    return own * power / gain + noise * ((1 - own) * PASSED + space.rest[0].double()).clamp(max=1)


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


def _amplitudes(
    real: torch.Tensor, doubt: torch.Tensor, variance: torch.Tensor, hidden: torch.Tensor
) -> tuple[float, float]:
    """What the posterior's deviation, and that of what is hidden, must be multiplied with to give real errors.

    Errors are weighed by what is expected of them, which each step tells better: weighed by themselves, the small ones
    would rule.
    """
    parts, measured, doubts = (np.asarray(x.cpu()) for x in (torch.stack([variance, hidden], 1), real, doubt))
    prior, squares = np.sqrt(EXPECTED * len(measured)), np.ones(2)
    for _ in range(STEPS):
        weight = 1 / np.maximum(parts @ squares + doubts, TINY)
        left = np.concatenate([parts * weight[:, None], prior * np.eye(2)])
        # half way: whole steps swing for ever where errors are many times what is expected
        squares = (squares + nnls(left, np.concatenate([measured * weight, [prior, prior]]))[0]) / 2
    return float(np.clip(np.sqrt(squares[0]), *BOUNDS)), float(np.sqrt(squares[1]))
