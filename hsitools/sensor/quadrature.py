"""One quadrature for all spectral responses: what an instrument sees must not depend on how a spectrum was sampled.

A spectrum between its samples is a straight line, so that each sample stands for a triangle (its hat) that reaches to
its neighbours, and the weight of a sample is the integral of response × hat over wavelength. That needs of a response
its zeroth and first moments between given edges: in closed form for Gaussians and tables, by Gauss-Legendre panels as
fine as the fringes for interferometers. Beyond the outermost samples nothing is known, and nothing is added, but for
the last bit of a band that the samples cover nearly; how far depends on the outermost samples, never on the spacing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.text import counted

Array = NDArray[np.float64]
#: Ascending edges (edge,) in nm to ∫ response dλ and ∫ (λ − lower edge)·response dλ, each (band, edge − 1).
Moments = Callable[[Array], tuple[Array, Array]]
#: Nodes of a Gauss-Legendre panel, on (0, 1).
NODES = (np.polynomial.legendre.leggauss(3)[0] + 1) / 2
#: Of Gauss and Legendre's three nodes on an interval of length one.
NODE_WEIGHTS = np.polynomial.legendre.leggauss(3)[1] / 2


def hat_weights(
    moments: Moments, wavelength_nm: Array, limits: tuple[float, float] = (0.0, np.inf), reach: float = 0.0
) -> Array:
    """∫ response · hat dλ of each sample.

    Parameters
    ----------
    moments : callable
        Of the response, see `Moments`.
    wavelength_nm : array, shape (wavelength,)
        In any order; samples of one wavelength share its weight.
    limits : (float, float)
        Outside of these wavelengths (nm) the response is zero.
    reach : float
        Outermost samples no further than this (nm) from a limit stand for all up to it.

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
        raise InputError(
            f"wavelength_nm: found {counted(len(nodes), 'sample')}, expected at least two known wavelengths"
        )
    ends = covered(nodes, limits, reach)
    edges = np.concatenate([[ends[0]], np.clip(nodes, *limits), [ends[1]]])
    length = np.diff(edges)
    if not length.any():
        raise InputError(
            f"wavelength_nm: found {nodes[0]:g} to {nodes[-1]:g} nm, expected some between {limits[0]:g} and "
            f"{limits[1]:g} nm"
        )
    found = moments(np.unique(edges))
    area, first = np.zeros((2, len(found[0]), len(length)))
    area[:, length > 0], first[:, length > 0] = found
    gap = np.diff(nodes)
    # an edge that was clipped lies inside its hat
    upper = (first[:, 1:-1] + (edges[1:-1] - nodes)[:-1] * area[:, 1:-1]) / gap
    weights = np.zeros((len(area), len(nodes)))
    weights[:, 1:] += upper
    weights[:, :-1] += area[:, 1:-1] - upper
    weights[:, [0, -1]] += area[:, [0, -1]]
    return np.asarray((weights / count)[:, place])


def covered(nodes: Array, limits: tuple[float, float], reach: float) -> tuple[float, float]:
    """Where ascending samples begin and end to tell a spectrum, between the limits; see `hat_weights`."""
    low, high = (float(end) for end in np.clip([nodes[0], nodes[-1]], *limits))
    return limits[0] if low - limits[0] <= reach else low, limits[1] if limits[1] - high <= reach else high


def panels(edges: Array, breaks: Array, turns: float) -> tuple[Array, Array, NDArray[np.int64]]:
    """Gauss-Legendre points between edges that resolve a periodic integrand with kinks.

    Parameters
    ----------
    edges : array, shape (edge,)
        Ascending.
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
    ends = np.union1d(edges, breaks[(breaks > edges[0]) & (breaks < edges[-1])])
    count = np.maximum(np.ceil(np.diff(ends) * turns), 1).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(count)])
    step = np.repeat(np.diff(ends) / count, count)
    low = np.repeat(ends[:-1], count) + (np.arange(first[-1]) - np.repeat(first[:-1], count)) * step
    points = (low[:, None] + step[:, None] * NODES).ravel()
    return points, (step[:, None] * NODE_WEIGHTS).ravel(), first[np.searchsorted(ends, edges[:-1])] * len(NODES)
