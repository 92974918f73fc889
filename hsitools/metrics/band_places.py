"""Where each band of a coarse cube lies on PAN's grid, beyond the shift that the cube as a whole has.

Keystone, several detectors and flight lines that were put together put the bands of one cube beside one another.
Details of a band are to be compared with PAN's where the band has them: PAN's own derivatives, seen as the coarse cube
sees PAN, tell how far aside that is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.estimation.band_places import FEW, ORDER, STEP, TINY, beside, place_weights, places_beyond_chance
from hsitools.estimation.finest_details import LAPLACIAN, finest_details

if TYPE_CHECKING:
    from hsitools.metrics.full_resolution import Fusion

Array = NDArray[np.float64]
#: Share of a band's variance to which PAN is known to be like it.
LIKE = 3e-4


def band_places(fusion: Fusion, number: int) -> Array | None:
    """Fine pixels (y, x) by which each band lies elsewhere than PAN, ``(band, 2)``; None where no more than by chance.

    Each band's finest details are regressed on PAN's and on its derivatives'; the coefficient on a derivative over
    that on PAN is a place. Places are a polynomial of low order in the band's number, no more of which is believed
    than is beyond chance.

    Parameters
    ----------
    fusion : Fusion
        Of a registered pair.
    number : int
        In the batch.
    """
    coarse, pan = fusion.coarse[number].double(), fusion.pan[number].double()

    def see(y: float, x: float) -> torch.Tensor:
        return fusion.down(number, float(np.mean(fusion.mtf)), aside=(y, x))(pan)

    slopes = [(see(y, x) - see(-y, -x)) / (2 * STEP) for y, x in ((STEP, 0.0), (0.0, STEP))]
    valid = None if fusion.coarse_valid is None else fusion.coarse_valid[number][None, None]
    details, whole = finest_details(torch.cat([see(0, 0), *slopes, coarse])[None], valid, LAPLACIAN)
    keep = whole[0, 0].double()
    n = float(keep.sum())
    if n < FEW or len(coarse) <= ORDER:
        return None
    details = details[0] - (details[0] * keep).sum((1, 2), keepdim=True) / n
    seen, bands = (part.flatten(1) for part in (details * keep).split((3, len(coarse))))
    power = seen @ seen.mT / n
    if not float(power.diagonal().min()) > 0:
        return None
    inverse = torch.linalg.inv(power + 1e-9 * torch.diag(power.diagonal()))
    solution = inverse @ (seen @ bands.mT) / n
    rest = bands - solution.mT @ seen
    gain, aside = solution[0].cpu().numpy(), solution[1:].cpu().numpy()
    left = (rest.square().sum(1) / n).cpu().numpy()
    followed = gain**2 * float(power[0, 0])
    share = followed / (followed + left + TINY)
    weights, polynomials = place_weights(gain, left + LIKE * followed + TINY, np.linspace(-1, 1, len(gain)))
    # what each pixel adds to the estimate, times what those beside it add
    own = (inverse[1:] @ seen / n)[:, None] * (torch.as_tensor(weights).to(rest) @ rest)
    each = own.reshape(-1, 1, *coarse.shape[-2:])
    spread = (each.flatten(1) @ beside(each).flatten(1).mT).cpu().numpy()
    return places_beyond_chance(aside @ weights.T, spread, polynomials, share, fusion.ratio)
