"""Where each band lies on PAN's grid, beyond the cube's common shift.

Keystone, detectors and flight lines that were put together put the bands of one cube beside one another: in a ROSIS
scene of Pavia those at 430 and 860 nm are 1.3 pixels apart. Details that PAN shows at one place belong into each band
where that band lies. As in `displacement`, what PAN's own derivatives explain of the coarse bands tells how far: of
the components' finest details, as most of these follow PAN, regressed on PAN's and on its derivatives along y and x, a
band's place is its coefficient on a derivative over that on PAN. Bands differ in how closely they follow PAN, so that
places are a polynomial of low order in wavelength, of which no more is believed than is beyond chance.

The fused cube keeps the bands where they are: seen by the cube's optics it must be the cube.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.estimation.band_places import FEW, STEP, beside, place_weights, places_beyond_chance
from hsitools.estimation.finest_details import LAPLACIAN, finest_details
from hsitools.sensor.interpolation import displace
from hsitools.sensor.separable import Separable
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import Moments, mix, moments
from pansharpen.physics.displacement import FARTHEST
from pansharpen.physics.registration import RIDGE, TINY, Components, Registration
from pansharpen.physics.subspace import MAX_PRECISION, Subspace

Array = NDArray[np.float64]


def band_places(scene: Scene, components: Components, space: Subspace, pair: Registration) -> Array | None:
    """Fine pixels (y, x) by which each band's samples lie elsewhere than ``pair.shift``, ``(band, 2)``.

    None where they do not lie elsewhere by more than chance would have it.

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

    def images(tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        """Finest details of PAN, of its two derivatives and of the components, and how much each pixel counts."""
        own = components(tile)

        def see(y: float, x: float) -> torch.Tensor:
            return tile.see_pan(pair.sight(tile, (y, x)))

        pan = see(0, 0)
        slopes = [(see(y, x) - see(-y, -x)) / (2 * STEP) for y, x in ((STEP, 0.0), (0.0, STEP))]
        details, whole = finest_details(torch.cat([pan, *slopes, own], 1), tile.wide_coarse_valid, LAPLACIAN)
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

    spread = scene.sum(doubt).cpu().numpy()
    share = followed / (followed + left + TINY)
    return places_beyond_chance(slopes @ fit.T, spread, polynomials, share, scene.optics.ratio, FARTHEST)


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
