"""The subspace of a coarse cube: which spectral components stand out of its noise.

Where bands differ in MTF, the cube is first brought to one blur, so that a component is one image and not a mixture of
sharper and softer ones.

A prior of steps between neighbours that takes all components for alike needs components whose steps are. What differs
most over a scene (land and water, field and forest) need not be what differs within a coarse pixel (roofs, shadows): in
units of their variance over the scene, details of one component are up to ten times those of another, and they
follow PAN in other proportions than levels do. So components are turned and scaled until the finest details that the
coarse cube shows are uncorrelated and of one variance, while their noise stays uncorrelated (simultaneous
diagonalisation, as of A. A. Green et al., A transformation for ordering multispectral data in terms of image quality,
1988).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from hsitools.estimation.band_noise import unexplained
from hsitools.estimation.covariance import largest_of_noise
from hsitools.estimation.finest_details import ALONG, LAPLACIAN, finest_details
from hsitools.sensor.separable import Separable
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import BandSums, Moments, band_sums, mix, moments, per_band
from pansharpen.optics import Optics
from pansharpen.physics.registration import DEPENDENT, Registration

#: Most dimensions of the subspace.
RANK = 16
#: A component is used when its variance is so many times the largest that noise alone would give it.
SIGNAL = 1.5
#: Least variance of a component's details, over the mean of all: nothing is smoother than that by chance.
LEAST_DETAILS = 0.05
#: Bands, and pixels whose details are known, from which on bands beside one another tell noise.
FEW_BANDS, FEW_DETAILS = 8, 64
#: So many of these on either side; at the ends twice as many on one side.
REACH = 2
#: Precision of the coarse data is capped here: blur and response are never known better than to a percent.
MAX_PRECISION = 3e3
#: Keeps the variance of a band that no component makes from being divided by.
TINY = 1e-200
#: Relative error of values that are taken as exact.
ROUNDING = 1e-6

#: Coarse cube of a tile with its surroundings, ``(batch, band, y, x)``.
Cube = Callable[[Tile], torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subspace:
    """Component images and the cube.

    Attributes
    ----------
    mean : Tensor, shape (1, band)
    basis : Tensor, shape (1, band, k)
        Component images to the cube's units; the finest details of all components are uncorrelated and of one variance.
        They count as much as in components of unit variance over the coarse cube, in the mean of the bands.
    projection : Tensor, shape (1, k, band)
        The cube's units to components.
    signal : Tensor, shape (k,)
        One over the variance of each component's noise, largest contrast first.
    rest : Tensor, shape (1, band)
        Share of each band's variance outside the subspace that is no noise.
    noise : Tensor, shape (1, band)
        Variance of the noise, as told or estimated.
    """

    mean: torch.Tensor
    basis: torch.Tensor
    projection: torch.Tensor
    signal: torch.Tensor
    rest: torch.Tensor
    noise: torch.Tensor

    def noise_of(self, response: torch.Tensor) -> float:
        """Variance of ``response · components`` by the cube's noise, at a coarse pixel."""
        return float((response**2 / self.signal).sum())

    @property
    def precision(self) -> torch.Tensor:
        """Of the coarse components, ``(k,)``."""
        return self.signal.clamp(max=MAX_PRECISION)

    @property
    def contrast(self) -> torch.Tensor:
        """Part of the bands' standard deviations that each component makes, ``(k,)``; squares add up to one."""
        return _shares(self.basis[0]).sqrt()

    def components(self, coarse: torch.Tensor) -> torch.Tensor:
        """Components of a coarse cube."""
        return mix(self.projection, coarse - per_band(self.mean, coarse))

    def cube(self, components: torch.Tensor) -> torch.Tensor:
        """The cube that components make."""
        return mix(self.basis, components) + per_band(self.mean, components)


def subspace(scene: Scene, coarse: Cube) -> Subspace:
    """The subspace of a scene (a batch of one).

    Parameters
    ----------
    scene : Scene
    coarse : callable
        The coarse cube of a tile, as `one_blur` gives it.
    """

    def both(tile: Tile) -> tuple[torch.Tensor, ...]:
        cube = coarse(tile).double()
        out = [moments(tile.crop_coarse(cube), valid=tile.coarse_valid)]
        for kernel in kernels:
            details, whole = finest_details(cube, tile.wide_coarse_valid, kernel)
            # noise is what few bands beside one another leave
            apart = None if kernel is LAPLACIAN else 2 * REACH
            out.append(moments(tile.crop_coarse(details), valid=tile.crop_coarse(whole), apart=apart))
        return tuple(part for found in out for part in found)

    untold = scene.optics.noise_variance is None and scene.n_bands >= FEW_BANDS
    kernels = (LAPLACIAN, *ALONG) if untold else (LAPLACIAN,)
    sums = scene.sum(both)
    levels, details, *along = (Moments(*sums[first : first + 4]) for first in range(0, len(sums), 4))
    covariance, n = levels.require_some().covariance[0], float(levels.n)
    # float32 values say no more than this, nor does a band without contrast
    floor = (ROUNDING * levels.mean_x[0].abs().max()) ** 2
    noise = _noise(scene.optics, covariance, along).clamp(min=float(floor))
    basis, projection, signal = _even(*_components(covariance, noise, n), details)
    outside = covariance.diagonal() - ((projection[0] @ covariance) * basis[0].mT).sum(0)
    rest = (1 - noise / outside.clamp(min=TINY)).clamp(0, 1)[None]
    return Subspace(mean=levels.mean_x, basis=basis, projection=projection, signal=signal, rest=rest, noise=noise[None])


def one_blur(scene: Scene, pair: Registration | None = None) -> Cube:
    """The coarse cube as it would be if all bands had the mean MTF, at one place; as it is where they have.

    What an MTF adds or takes off is known of the interpolated cube with PAN's details in it, injected by each band's
    regression on PAN as that band would see it: y − (S B_band − S B_mean) of that. What is left of the difference is
    corrected by the solution itself (see `pansharpen.methods.physics`).

    Parameters
    ----------
    scene : Scene
    pair : Registration, optional
        Where and how the bands lie and blur, instead of what the scene's optics say.
    """
    if scene.optics.same_mtf and (pair is None or pair.places is None):
        return lambda tile: tile.wide_coarse

    def sights(tile: Tile) -> tuple[Separable, Separable]:
        gains = tile.optics.mean_gains()
        if pair is None:
            return tile.down(), tile.down(gains)
        return pair.down_bands(tile), pair.down(tile, gains)

    def of_bands(tile: Tile) -> torch.Tensor:
        return tile.see_pan(sights(tile)[0], scene.n_bands)

    def joint(tile: Tile) -> BandSums:
        return band_sums(tile.coarse, tile.crop_coarse(of_bands(tile)), tile.coarse_valid)

    gain = scene.sum(joint).slope

    def levelled(tile: Tile) -> torch.Tensor:
        exact, mean = sights(tile)
        pan, up = of_bands(tile), tile.up()
        factor = per_band(gain, pan)
        out = tile.wide_coarse - factor * (pan - tile.see_pan(mean))
        # few bands at a time: on the fine grid all of them would take many times what a tile does
        for first in range(0, scene.n_bands, RANK):
            some = slice(first, first + RANK)
            if tile.interpolates:
                smooth = up(tile.wide_coarse[:, some] - factor[:, some] * pan[:, some])
            else:
                smooth = tile.wide_expanded[:, some] - factor[:, some] * up(pan[:, some])
            out[:, some] -= exact.of_bands(some)(smooth) - mean(smooth)
        return out

    return levelled


def neighbour_noise(covariance: torch.Tensor) -> torch.Tensor:
    """Noise variance ``(band,)``: what each band keeps to itself beside its (up to four) nearest bands."""
    if len(covariance) < FEW_BANDS:
        # too few bands to tell noise from what only one band sees
        return 1e-4 * covariance.diagonal()
    return torch.as_tensor(unexplained(covariance.cpu().numpy(), reach=REACH)).to(covariance)


def _noise(optics: Optics, covariance: torch.Tensor, along: Sequence[Moments]) -> torch.Tensor:
    if optics.noise_variance is None:
        noise = neighbour_noise(covariance)
        if along and all(float(part.n) >= FEW_DETAILS for part in along):
            # noise is in the finest details as strong as anywhere, what a single band sees of the scene is less; but
            # along columns, stripes of columns are not seen
            noise = torch.minimum(noise, torch.stack([neighbour_noise(part.covariance[0]) for part in along]).amax(0))
    else:
        noise = torch.as_tensor(optics.noise_variance, dtype=covariance.dtype, device=covariance.device)
    return torch.maximum(noise, 1e-6 * covariance.diagonal())


def _components(
    covariance: torch.Tensor, noise: torch.Tensor, n: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Basis, projection and signal-to-noise ratio squared of the components that stand out of the noise."""
    deviation = noise.sqrt()
    values, vectors = torch.linalg.eigh(covariance / deviation[:, None] / deviation)
    values, vectors = values.flip(0), vectors.flip(1)
    limit = SIGNAL * largest_of_noise(len(covariance), n)
    # what PAN is of more components than the pixels can tell would be chance
    rank = int((values[: max(1, min(RANK, int(n / DEPENDENT)))] > limit).sum().clamp(min=1))
    values, vectors = values[:rank], vectors[:, :rank]
    signal = (values - 1).clamp(min=1e-3).sqrt()
    basis = vectors * deviation[:, None] * signal
    projection = (vectors / deviation[:, None] / signal).mT
    return basis[None], projection[None], signal**2


def _even(
    basis: torch.Tensor, projection: torch.Tensor, signal: torch.Tensor, details: Moments
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Components turned and scaled so that their details are uncorrelated and of one variance, as noise stays.

    Parameters
    ----------
    basis, projection, signal
        As `_components` gives them.
    details : Moments
        Of the bands' finest details.
    """
    n, shares = float(details.n), _shares(basis[0])
    own = projection[0] @ details.covariance[0] @ projection[0].mT - torch.diag(1 / signal)
    if not n or not float((shares * own.diagonal()).sum()) > 0:
        # noise alone: no reason to take components for other than alike
        return basis, projection, signal
    values, vectors = torch.linalg.eigh(_believed(own, 1 / signal, shares, n))
    values = values.clamp(min=LEAST_DETAILS)
    root = signal.sqrt()
    signal, turned = torch.linalg.eigh(root[:, None] * ((vectors * values) @ vectors.mT) * root)
    basis = (basis[0] / root) @ turned * signal.sqrt()
    order = _shares(basis).argsort(descending=True)
    projection = (turned.mT / signal.sqrt()[:, None]) @ (root[:, None] * projection[0])
    return basis[None, :, order], projection[None, order], signal[order]


def _believed(own: torch.Tensor, noise: torch.Tensor, shares: torch.Tensor, n: float) -> torch.Tensor:
    """Covariance ``(k, k)`` of components' details over their mean strength, each value as far as chance lets it tell.

    Parameters
    ----------
    own : Tensor, shape (k, k)
        As found at ``n`` pixels, less ``noise`` ``(k,)``.
    shares : Tensor, shape (k,)
        How much each component counts in the mean.
    """
    found = own + torch.diag(noise)
    power = found.diagonal()
    chance = DEPENDENT / n * (power[:, None] * power + found**2)
    strength = (shares * own.diagonal()).sum()
    # that of the mean, whose parts are correlated as details are
    doubt = 2 * DEPENDENT / n * (shares[:, None] * shares * found**2).sum()
    # components differ by about as much as their mean, or nothing tells that they do
    differ = (strength**2 - doubt).clamp(min=0)
    alike = torch.eye(len(own), dtype=own.dtype, device=own.device)
    return alike + differ / (differ + chance) * (own / strength - alike)


def _shares(basis: torch.Tensor) -> torch.Tensor:
    """Part of the bands' variances that each component makes, ``(k,)``, for a basis ``(band, k)``; the sum is one."""
    power = basis**2
    return (power / power.sum(1, keepdim=True).clamp(min=TINY)).mean(0)
