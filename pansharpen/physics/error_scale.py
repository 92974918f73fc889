"""From the posterior's variance to that of real errors: calibrated band by band by coarse pixels held out.

The posterior is only as right as its prior, whose smoothness is one for all scenes; and what PAN's own optics blur is
in none of its terms. So the variance of a voxel is a sum of three ::

    (α · factor of the band)² · posterior  +  (β · factor · slope on PAN)² · what PAN's blur hides  +  noise

The second is what PAN's optics have taken off PAN, from what they would take off it once more: of a natural image,
whose spectrum falls as 1/f², the ratio of both is known. The third stands for what a single band sees for itself: below
the noise of the coarse cube nothing is known of it.

α and the factors are measured where the truth is known: the same problem one scale coarser, in which the coarse cube is
sought from its half, with PAN as the cube's optics see it and blurred as its own optics do. The prior knows no scale
(its spectrum is 1/f² too), so that the ratio of real to predicted variance holds at the fine scale but for a constant
(`LEVEL`): the coarse cube is smoother than the scene. What is left is a fourth either way from scene to scene, which
neither PAN's own details at both scales nor the ratio of the variances foretell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import nnls

from hsitools.sensor.separable import size_of
from hsitools.sensor.spatial import mtf_blur, mtf_sigma
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import BandSums, band_sums, per_band
from pansharpen.physics.channels import Channels
from pansharpen.physics.held_out import LEAST, held_out, seen_error
from pansharpen.physics.posterior import around, posterior_variance
from pansharpen.physics.registration import Registration
from pansharpen.physics.subspace import Cube, Subspace

#: α at the fine scale over that of the coarse one: intervals of 95 % cover 95 % on the tuning scenes' mean.
LEVEL = 1.1
#: Bounds of α at the coarse scale: outside, too few pixels have spoken.
BOUNDS = (0.4, 3.0)
#: β: real over expected amplitude of what PAN's blur hides (.5 to 1 on the tuning scenes).
HIDDEN = 0.75
#: Largest factor of a band, and one over the smallest.
LARGEST = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorScale:
    """What turns the posterior's variance into that of errors.

    Attributes
    ----------
    posterior, hidden, floor : Tensor, shape (1, band)
        Factor of the posterior's variance, factor of what PAN's blur would take off PAN, and what is added to both.
    """

    posterior: torch.Tensor
    hidden: torch.Tensor
    floor: torch.Tensor

    def std(self, variance: torch.Tensor, blurred_off: torch.Tensor | None) -> torch.Tensor:
        """Standard deviation of each voxel, of the posterior's variance and `blurred_off` PAN."""
        out = per_band(self.posterior, variance) * variance + per_band(self.floor, variance)
        if blurred_off is not None:
            out = out + per_band(self.hidden, variance) * blurred_off
        return out.sqrt_()


def blurred_off(pan: torch.Tensor, mtf: float | None) -> torch.Tensor | None:
    """Local power of what PAN's optics would take off PAN once more; None where its MTF is not told."""
    if mtf is None:
        return None
    return around((pan - mtf_blur(size_of(pan), mtf, 1)(pan)).square())


@lru_cache(maxsize=8)
def hidden_gain(mtf: float) -> float:
    """Power that a blur has taken off an image with a spectrum of 1/f² over what it would take off it once more."""
    frequency = np.fft.fftfreq(64)
    power = frequency[:, None] ** 2 + frequency**2
    left = np.exp(-2 * np.pi**2 * float(mtf_sigma(mtf, 1)[0]) ** 2 * power)
    spectrum = 1 / np.where(power > 0, power, np.inf)
    return float(((1 - left) ** 2 * spectrum).sum() / ((1 - left) ** 2 * left**2 * spectrum).sum())


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
    mtf = None if scene.pan_made else scene.optics.pan_mtf

    def sums(tile: Tile) -> tuple[torch.Tensor, ...]:
        cube = coarse(tile)
        joint = band_sums(tile.coarse, tile.pan_coarse, tile.coarse_valid)
        if min(size_of(cube)) < LEAST:
            return (torch.zeros(4, scene.n_bands, dtype=torch.float64, device=cube.device), *joint)
        sharp = channels.seen(tile, pair, seen_error)
        if mtf is not None:
            sharp.image[:, :1] = mtf_blur(size_of(cube), mtf, 1)(sharp.image[:, :1])
        terms, weights, z, _ = held_out(cube, space, channels, sharp)
        half = tile.place[0] // 2, tile.place[1] // 2
        variance = posterior_variance(terms, weights, z, space.basis, tile.place, half)
        hidden = blurred_off(sharp.image[:, :1], mtf)
        hidden = torch.zeros_like(variance[:, :1]) if hidden is None else hidden
        parts = ((space.cube(z) - cube).square(), variance, hidden.expand_as(cube), torch.ones_like(cube))
        weight = torch.ones_like(tile.coarse) if tile.coarse_measured is None else tile.coarse_measured
        own = [(tile.crop_coarse(part)[0].double() * weight[0]).sum((1, 2)) for part in parts]
        return (torch.stack(own), *joint)

    (error, variance, hidden, n), *joint = scene.sum(sums)
    noise = space.noise[0].double().clamp(min=1e-300)
    gain = BandSums(*joint).slope[0].square() * (hidden_gain(float(mtf)) if mtf is not None else 0.0)
    if not (n > 0).all():
        a, factor = 1.0, torch.ones_like(noise)
    else:
        error, variance, hidden = error / n, variance / n, gain * hidden / n
        # the coarse cube, the truth here, is noisy itself
        real = (error - noise).clamp(min=0)
        weight = 1 / (real + noise)
        columns = torch.stack([variance * weight, hidden * weight], 1)
        (a, b), _ = nnls(columns.cpu().numpy(), (real * weight).cpu().numpy())
        a = float(np.clip(a**0.5, *BOUNDS))
        expected = a**2 * variance + b * hidden
        factor = ((real + noise) / (expected + noise)).clamp(1 / LARGEST**2, LARGEST**2)
    return ErrorScale(
        posterior=(LEVEL**2 * a**2 * factor)[None], hidden=(HIDDEN**2 * gain * factor)[None], floor=noise[None]
    )  # fmt: skip
