"""One quadrature for all spectral responses: what an instrument sees must not depend on how a spectrum was sampled.

A spectrum between its samples is a straight line, so that each sample stands for a triangle (its hat) that reaches to
its neighbours, and the weight of a sample is the integral of response × hat over wavelength. That needs of a response
its zeroth and first moments between given edges: in closed form for Gaussians and tables, by Gauss-Legendre panels as
fine as the fringes for interferometers. Beyond the outermost samples nothing is known, and nothing is added.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError

Array = NDArray[np.float64]
#: Ascending edges (edge,) in nm to ∫ response dλ and ∫ (λ − lower edge)·response dλ, each (band, edge − 1).
Moments = Callable[[Array], tuple[Array, Array]]
#: Nodes of a Gauss-Legendre panel, on (0, 1).
NODES = (np.polynomial.legendre.leggauss(3)[0] + 1) / 2
NODE_WEIGHTS = np.polynomial.legendre.leggauss(3)[1] / 2


def hat_weights(moments: Moments, wavelength_nm: Array, limits: tuple[float, float] = (0.0, np.inf)) -> Array:
    """∫ response · hat dλ of each sample.

    Parameters
    ----------
    moments : callable
        Of the response, see `Moments`.
    wavelength_nm : array, shape (wavelength,)
        In any order; samples of one wavelength share its weight.
    limits : (float, float)
        Outside of these wavelengths (nm) the response is zero.

    Returns
    -------
    array, shape (band, wavelength)
        nm × response.

    Raises
    ------
    InputError
        When there are less than two different wavelengths, or some that are none.
    """
    wavelength = np.atleast_1d(np.asarray(wavelength_nm, dtype=float))
    if wavelength.ndim != 1 or not (np.isfinite(wavelength).all() and (wavelength > 0).all()):
        raise InputError("wavelength_nm: found values that are no wavelengths, expected positive numbers (wavelength,)")
    nodes, place, count = np.unique(wavelength, return_inverse=True, return_counts=True)
    if len(nodes) < 2:
        raise InputError(f"wavelength_nm: found {len(nodes)} samples, expected at least two known wavelengths")
    edges = np.clip(nodes, *limits)
    area, first = moments(edges)
    gap = np.diff(nodes)
    # an edge that was clipped lies inside its hat
    upper = (first + (edges - nodes)[:-1] * area) / gap
    weights = np.zeros((len(area), len(nodes)))
    weights[:, 1:] += upper
    weights[:, :-1] += area - upper
    return np.asarray((weights / count)[:, place])


def panels(edges: Array, breaks: Array, turns: float) -> tuple[Array, Array, NDArray[np.int64]]:
    """Gauss-Legendre points between edges that resolve a periodic integrand with kinks.

    Parameters
    ----------
    edges : array, shape (edge,)
        Ascending; some may be equal.
    breaks : array
        Where the integrand has kinks: no panel goes across.
    turns : float
        How often the integrand may turn, over a unit of the axis; a panel holds one turn at most.

    Returns
    -------
    points, weights : array, shape (point,)
    first : array of int, shape (edge − 1,)
        Where each interval's points begin; all have some.
    """
    inside = breaks[(breaks > edges[0]) & (breaks < edges[-1])]
    ends = np.sort(np.concatenate([edges, inside]))
    count = np.maximum(np.ceil(np.diff(ends) * turns), 1).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(count)])
    step = np.repeat(np.diff(ends) / count, count)
    low = np.repeat(ends[:-1], count) + (np.arange(first[-1]) - np.repeat(first[:-1], count)) * step
    points = (low[:, None] + step[:, None] * NODES).ravel()
    # of equal ends the first n have no length: the n-th edge of them begins at the n-th
    place = np.searchsorted(ends, edges[:-1]) + _rank_among_equals(edges)[:-1]
    return points, (step[:, None] * NODE_WEIGHTS).ravel(), first[place] * len(NODES)


def _rank_among_equals(ascending: Array) -> NDArray[np.int64]:
    """0, 1, 2 … within each run of equal values."""
    return np.arange(len(ascending)) - np.searchsorted(ascending, ascending)
