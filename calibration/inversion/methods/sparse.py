"""Spectra of few lines: a variance for each wavelength, chosen by evidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import method

Array = NDArray[np.float64]
#: Lines of a spectrum at most, and changes of the set of lines at most.
LINES, CHANGES = 12, 40
#: Pixels at a time: (pixel, wavelength, line) arrays stay small.
CHUNK = 256


@method("sparse", paper="Tipping and Faul, Fast marginal likelihood maximisation, AISTATS 2003", std=True, linear=False)
def sparse(case: Interferograms) -> Spectra:
    """Few lines, each with its own variance by evidence (sparse Bayesian learning); for light of lamps and lasers.

    The error bar where there is no line is that of one which might be there.
    """
    gram, right = case.whitened.T @ case.whitened, case.whitened.T @ case.pixels
    power = (case.pixels**2).sum(axis=0)
    count = right.shape[1]
    parts = [
        _lines(
            gram, right[:, start : start + CHUNK].T, power[start : start + CHUNK], len(case.whitened), case.noise_known
        )
        for start in range(0, count, CHUNK)
    ]
    estimate, std = (np.concatenate([part[side] for part in parts]).T for side in (0, 1))
    return case.spectra(estimate, std, parameters={"rule": "evidence", "lines_at_most": LINES})


def _lines(gram: Array, right: Array, power: Array, n: int, noise_known: bool) -> tuple[Array, Array]:
    """Mean and standard deviation ``(pixel, wavelength)``."""
    count, p = right.shape
    diagonal = np.diag(gram)
    place = np.zeros((count, LINES), dtype=np.intp)
    used = np.zeros((count, LINES), dtype=bool)
    precision = np.ones((count, LINES))
    every = np.arange(count)
    first = np.argmax(np.where(right > 0, right**2 / diagonal, -1), axis=1)
    place[:, 0], used[:, 0] = first, True
    noise = np.ones(count)
    if not noise_known:
        noise = np.maximum(power - right[every, first] ** 2 / diagonal[first], 1e-6 * power) / n
    amplitude = right[every, first] / diagonal[first]
    precision[:, 0] = 1 / np.maximum(amplitude**2, 1e-300)
    for change in range(CHANGES + 1):
        mean, covariance, strength, quality = _state(gram, right, place, used, precision, noise)
        if not noise_known and change:
            freedom = (used * (1 - precision * np.diagonal(covariance, axis1=1, axis2=2))).sum(axis=1)
            residual = power - 2 * (mean * np.take_along_axis(right, place, 1)).sum(axis=1)
            residual += np.einsum("ni,nij,nj->n", mean, _block(gram, place, used), mean)
            noise = np.maximum(residual, 1e-9 * power) / np.maximum(n - freedom, 1)
        if change == CHANGES:
            break
        moving = _change(place, used, precision, mean, strength, quality)
        if not moving.any():
            break
    estimate = np.zeros((count, p))
    variance = 1 / np.maximum(strength, 1e-300)
    for line in range(LINES):
        rows = np.flatnonzero(used[:, line])
        estimate[rows, place[rows, line]] = mean[rows, line]
        variance[rows, place[rows, line]] = covariance[rows, line, line]
    return estimate, np.sqrt(variance)


def _block(gram: Array, place: NDArray[np.intp], used: NDArray[np.bool_]) -> Array:
    """The lines' part of the Gram matrix, zero where a slot is free, ``(pixel, line, line)``."""
    return np.asarray(gram[place[:, :, None], place[:, None, :]] * (used[:, :, None] & used[:, None, :]))


def _state(
    gram: Array, right: Array, place: NDArray[np.intp], used: NDArray[np.bool_], precision: Array, noise: Array
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    """Mean and covariance of the lines, and strength S and quality Q of every wavelength (in the paper's names)."""
    beta = (1 / noise)[:, None]
    system = beta[:, :, None] * _block(gram, place, used)
    slots = np.arange(LINES)
    system[:, slots, slots] += np.where(used, precision, 1.0)
    covariance = np.linalg.inv(system) * (used[:, :, None] & used[:, None, :])
    seen = np.take_along_axis(right, place, 1) * used
    mean = beta * np.einsum("nij,nj->ni", covariance, seen)
    across = gram[place] * used[:, :, None]  # (pixel, line, wavelength)
    strength = beta * np.diag(gram) - beta**2 * np.einsum("nip,nip->np", across, covariance @ across)
    quality = beta * right - beta * np.einsum("nip,ni->np", across, mean)
    return mean, np.asarray(covariance), np.maximum(strength, 1e-300), quality


def _change(
    place: NDArray[np.intp], used: NDArray[np.bool_], precision: Array, mean: Array, strength: Array, quality: Array
) -> NDArray[np.bool_]:  # fmt: skip
    """Add, drop or rescale the line that raises each pixel's evidence most, in place; which pixels changed."""
    every = np.arange(len(place))
    own_s, own_q = np.take_along_axis(strength, place, 1), np.take_along_axis(quality, place, 1)
    factor = precision / np.where(np.abs(precision - own_s) > 1e-12 * precision, precision - own_s, 1e-12 * precision)
    bare_s, bare_q = factor * own_s, factor * own_q
    excess = bare_q**2 - bare_s
    stays = used & (excess > 0) & (mean > 0)
    renewed = np.where(stays, bare_s**2 / np.where(stays, excess, 1), precision)
    # what each step is worth, in twice the logarithm of the evidence
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = 1 / renewed - 1 / precision
        rescale = own_q**2 / (own_s + 1 / shift) - np.log1p(own_s * shift)
    rescale = np.where(stays & (np.abs(np.log(renewed / precision)) > 0.01), np.nan_to_num(rescale, nan=0.0), 0.0)
    drop = used & ~stays
    add = np.where((quality > 0) & (quality**2 > strength), 0.0, -np.inf)
    ratio = quality**2 / strength
    add = np.where(add == 0, ratio - 1 - np.log(np.maximum(ratio, 1e-300)), 0.0)
    np.put_along_axis(add, place, np.where(used, 0.0, np.take_along_axis(add, place, 1)), 1)
    add[used.all(axis=1)] = 0
    best_add, best_scale = add.argmax(axis=1), rescale.argmax(axis=1)
    gain_add, gain_scale = add[every, best_add], rescale[every, best_scale]
    dropping = drop.any(axis=1)
    adding = ~dropping & (gain_add > np.maximum(gain_scale, 1e-2))
    scaling = ~dropping & ~adding & (gain_scale > 1e-2)
    used[dropping] &= ~drop[dropping]
    rows = np.flatnonzero(adding)
    slot = np.argmin(used[rows], axis=1)
    new = best_add[rows]
    place[rows, slot], used[rows, slot] = new, True
    s, q = strength[rows, new], quality[rows, new]
    precision[rows, slot] = s**2 / np.maximum(q**2 - s, 1e-300)
    rows = np.flatnonzero(scaling)
    precision[rows, best_scale[rows]] = renewed[rows, best_scale[rows]]
    return np.asarray(dropping | adding | scaling)
