"""Where bands lie beside one another, of how PAN's derivatives explain them: what fusion and indices have in common.

A band's place is its coefficient on a derivative of PAN over that on PAN. Bands differ in how closely they follow PAN,
so that places are a polynomial of low order along the bands, of which no more is believed than is beyond chance.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import conv2d

from hsitools.estimation.chance import believed

Array = NDArray[np.float64]
#: Highest power of what bands are ordered by.
ORDER = 2
#: Displacement below which bands are left where they are, coarse pixels: root of the mean square over the bands, by how
#: closely they follow PAN. What a shore or a slope in the sun has in common with PAN's derivatives looks like up to
#: .046 (abu_beach_2), bands 1.25 fine pixels apart from end to end like .05 to .1 (nine tuning scenes, ratios 4 and 6).
LEAST = 0.05
#: Weights, along an axis, of the neighbours whose residuals may be those of a coarse pixel itself.
NEAR = (1 / 3, 2 / 3, 1.0, 2 / 3, 1 / 3)
#: Fine pixels to which no place is known better.
KNOWN = 0.01
#: Coarse pixels below which nothing is said.
FEW = 100
#: Half step of PAN's derivatives, fine pixels.
STEP = 0.25
#: Ridge of regressions, relative; and what keeps a variance that is zero from being divided by.
RIDGE, TINY = 1e-6, 1e-200


def place_weights(gain: Array, variance: Array, along: Array) -> tuple[Array, Array]:
    """How much each band's slope says of the places' coefficients, ``(ORDER + 1, band)``; and the polynomials' values.

    Parameters
    ----------
    gain, variance : array, shape (band,)
        Of PAN's details in a band's, and of what they leave.
    along : array, shape (band,)
        What bands are ordered by, from −1 to 1.

    Returns
    -------
    array, shape (ORDER + 1, band)
    array, shape (band, ORDER + 1)
    """
    polynomials = np.polynomial.legendre.legvander(along, ORDER)
    weighted = gain[:, None] * polynomials / variance[:, None]
    gram = weighted.T @ (gain[:, None] * polynomials)
    weights = np.linalg.solve(gram + RIDGE * np.diag(gram.diagonal()) + TINY * np.eye(ORDER + 1), weighted.T)
    return np.asarray(weights, dtype=float), np.asarray(polynomials, dtype=float)


def beside(each: torch.Tensor) -> torch.Tensor:
    """What the pixels around each one add, those near it for the most; ``(coefficient, 1, y, x)`` both."""
    near = torch.tensor(NEAR).to(each)
    return conv2d(each, (near[:, None] * near)[None, None], padding=len(NEAR) // 2)


def places_beyond_chance(
    coefficients: Array, spread: Array, polynomials: Array, share: Array, ratio: int, farthest: float = np.inf
) -> Array | None:
    """Fine pixels (y, x) by which bands lie elsewhere, ``(band, 2)``; None where no more than by chance, or hardly.

    Parameters
    ----------
    coefficients : array, shape (2, ORDER + 1)
    spread : array, square
        Sums of what pixels add to these, times what those beside them add: their covariance.
    polynomials : array, shape (band, ORDER + 1)
    share : array, shape (band,)
        How closely each band follows PAN.
    ratio : int
    farthest : float
        To which places are cut.
    """
    covariance = (spread + spread.T) / 2 + KNOWN**2 * np.eye(len(spread))
    kept = believed(coefficients, covariance, range(ORDER + 1))
    places = np.asarray(polynomials @ kept.T).clip(-farthest, farthest)
    far = float((share @ (places**2).sum(1)) / max(float(share.sum()), TINY)) ** 0.5
    return places if far > LEAST * ratio else None
