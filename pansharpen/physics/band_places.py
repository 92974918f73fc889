"""Where each band lies on PAN's grid, beyond the cube's common shift.

Keystone, detectors and flight lines that were put together put the bands of one cube beside one another: in a ROSIS
scene of Pavia those at 430 and 860 nm are 1.3 pixels apart. Details that PAN shows at one place belong into each band
where that band lies. As in `displacement`, what PAN's own derivatives explain of the coarse bands tells how far: of
the components' finest details, as most of these follow PAN, regressed on PAN's and on its derivatives along y and x, a
band's place is its coefficient on a derivative over that on PAN. Bands differ in how closely they follow PAN, so that
places are a polynomial of low order in wavelength, of which no more is believed than is beyond chance. Details twice as
large must show the same: what a slope in the sun or a shore has in common with PAN's derivatives grows with the scale.

The fused cube keeps the bands where they are: seen by the cube's optics it must be the cube.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.estimation.band_places import FEW, STEP, beside, place_weights, places_beyond_chance
from hsitools.estimation.finest_details import DOUBLED, LAPLACIAN, Kernel, finest_details
from hsitools.sensor.interpolation import displace
from hsitools.sensor.separable import Separable
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import Moments, mix, moments
from pansharpen.physics.displacement import FARTHEST
from pansharpen.physics.registration import RIDGE, TINY, Components, Registration
from pansharpen.physics.subspace import MAX_PRECISION, Subspace

Array = NDArray[np.float64]
#: Of places that details twice as large show, mean squared difference over that of the places themselves, up to which
#: they are the same: two that have nothing to do with one another differ by twice. Besides, so many deviations of what
#: they differ by in chance. Bands 1.25 pixels apart have up to .13 beyond these at ratio 4 and 1.78 at 6 (seven tuning
#: scenes), abu_urban_4 as it is, whose bands do not lie apart, 3.5 where its places are .06 of a coarse pixel.
UNLIKE, CHANCE = 2.0, 2.0


def band_places(scene: Scene, components: Components, space: Subspace, pair: Registration) -> Array | None:
    """Fine pixels (y, x) by which each band's samples lie elsewhere than ``pair.shift``, ``(band, 2)``.

    None where they do not lie elsewhere by more than chance would have it, or details twice as large say otherwise.

    Parameters
    ----------
    scene : Scene
    components : callable
        Coarse components of a tile.
    space : Subspace
    pair : Registration
    """
    if not pair.contrast:
        return None
    of = partial(_regressed, scene, components, space, pair)
    finest = of(LAPLACIAN)
    if finest is None:
        return None
    places = places_beyond_chance(
        finest.coefficients, finest.spread(), finest.polynomials, finest.share, scene.optics.ratio, FARTHEST
    )
    if places is None or (larger := of(DOUBLED)) is None:
        return places
    differ, far = (float(finest.share @ (apart**2).sum(1)) for apart in (larger.places - places, places))
    chance = float(finest.share @ larger.variance())
    return places if differ < UNLIKE * far + CHANCE**2 * chance else None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Regressed:
    """Components' details as those of PAN and of its derivatives explain them.

    Attributes
    ----------
    coefficients : array, shape (2, term)
        Of the places' polynomials.
    polynomials : array, shape (band, term)
    share : array, shape (band,)
        How closely each band follows PAN.
    spread : callable
        Gives the coefficients' covariance, by another pass.
    """

    coefficients: Array
    polynomials: Array
    share: Array
    spread: Callable[[], Array]

    def variance(self) -> Array:
        """Of each band's place by chance, along both axes together, ``(band,)``."""
        terms = self.polynomials.shape[1]
        both = self.spread().reshape(2, terms, 2, terms)
        own = both[0, :, 0] + both[1, :, 1]
        return np.asarray(((self.polynomials @ own) * self.polynomials).sum(1))

    @property
    def places(self) -> Array:
        """Of each band, chance included, ``(band, 2)``."""
        return np.asarray(self.polynomials @ self.coefficients.T)


def _regressed(
    scene: Scene, components: Components, space: Subspace, pair: Registration, kernel: Kernel
) -> _Regressed | None:  # fmt: skip
    """Of details by a kernel of `finest_details`; None of too few pixels."""

    def images(tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        """Details of PAN, of its two derivatives and of the components, and how much each pixel counts."""
        own = components(tile)

        def see(y: float, x: float) -> torch.Tensor:
            return tile.see_pan(pair.sight(tile, (y, x)))

        pan = see(0, 0)
        slopes = [(see(y, x) - see(-y, -x)) / (2 * STEP) for y, x in ((STEP, 0.0), (0.0, STEP))]
        details, whole = finest_details(torch.cat([pan, *slopes, own], 1), tile.wide_coarse_valid, kernel)
        return details, whole * pair.same(pair.rest(own, pan))

    def joint(tile: Tile) -> Moments:
        details, weight = images(tile)
        return moments(tile.crop_coarse(details), valid=tile.crop_coarse(weight))

    sums = scene.sum(joint)
    if float(sums.n) < FEW:
        return None
    covariance = sums.covariance[0]
    power, mixed = covariance[:3, :3], covariance[:3, 3:]
    inverse = torch.linalg.inv(power + RIDGE * torch.diag(power.diagonal()) + TINY * torch.eye(3).to(power))
    solution, basis = inverse @ mixed, space.basis[0].double()
    gain, slopes = (solution[0] @ basis.mT).cpu().numpy(), (solution[1:] @ basis.mT).cpu().numpy()
    rest = covariance[3:, 3:] - mixed.mT @ solution
    left = ((basis @ rest) * basis).sum(1).clamp(min=0).cpu().numpy()
    followed = gain**2 * float(power[0, 0])
    # no band is known better than the solver takes it
    variance = left + followed / MAX_PRECISION + TINY
    fit, polynomials = place_weights(gain, variance, _along(scene))

    def doubt(tile: Tile) -> torch.Tensor:
        """Of what each pixel adds to the estimate, products with what those beside it add."""
        details, weight = images(tile)
        apart = details[0] - sums.mean_x[0][:, None, None]
        pan, own = apart[None, :3], apart[None, 3:]
        left = mix((torch.as_tensor(fit).to(basis) @ basis)[None], own - mix(solution.mT[None], pan))
        each = (mix(inverse[None, 1:] / sums.n, pan)[0, :, None] * left).flatten(0, 1)[:, None] * weight[0]
        return tile.crop_coarse(each).flatten(1) @ tile.crop_coarse(beside(each)).flatten(1).mT

    return _Regressed(
        coefficients=slopes @ fit.T, polynomials=polynomials, share=followed / (followed + left + TINY),
        spread=lambda: scene.sum(doubt).cpu().numpy(),
    )  # fmt: skip


def _along(scene: Scene) -> Array:
    """Wavelengths, or the bands' numbers where none are known, from −1 to 1."""
    wavelength = scene.optics.wavelength_nm
    values = np.arange(scene.n_bands, dtype=float)
    if wavelength is not None and np.isfinite(wavelength).all():
        values = np.asarray(wavelength, dtype=float)
    middle, reach = (values.max() + values.min()) / 2, (values.max() - values.min()) / 2
    return np.asarray((values - middle) / max(reach, TINY))


def moved(tile: Tile, places: Array) -> Separable:
    """What moves each band ``(1, band, y, x)`` of a tile with its surroundings to where the cube shows its own part."""
    return displace(tile.fine_size, tuple(map(tuple, places.tolist()))).outputs(*tile.own_fine)
