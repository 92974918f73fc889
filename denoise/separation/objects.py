"""Compact objects of a spectrum that the rest of a scene has not: inside and outside are told apart.

The subspace holds them, but smoothing lets them pass into what is around them: their edges lose up to half of their
spectrum, and their neighbours have some of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Squared distance from the scene's distribution beyond that of usual pixels (the rank, in the mean).
FAR = 20.0
#: Pixels of an object at least, and share of the image at most.
LEAST_SIZE, MOST = 4, 0.02
#: Standard deviations of the noise by which a filter for the object must see it in each pixel.
SEEN = 3.5
#: Standard deviations of that filter elsewhere, by which it must stand out: what a scene is full of is left alone.
UNLIKE = 8.5
#: Pixels by which an object may be larger than its core, and width of what is compared to it.
REACH, BESIDE = 2, 4
#: Logarithm of the odds that neighbours inside give; blur that says who they are, pixels; and rounds.
NEIGHBOURLY, CLOSE, ROUNDS = 2.5, 0.8, 6


class CompactObject(NamedTuple):
    """What sharpens one object: ``spectrum · change`` is to be added to the scene near it.

    Attributes
    ----------
    spectrum : array, shape (band,)
    near, inside : array of bool, shape (y, x)
        The object's surroundings with it, and the object alone.
    change : array, shape (y, x)
    """

    spectrum: Array
    near: Mask
    inside: Mask
    change: Array


def told_apart(scene: Array, observed: Array, basis: Array, variance: Array) -> list[CompactObject]:
    """What sharpens compact objects.

    Parameters
    ----------
    scene, observed : array, shape (band, y, x)
        Whitened: the estimate and what was seen.
    basis : array, shape (band, n)
        Orthonormal directions that the estimate is made of.
    variance : array, shape (band, y, x)
        Of the noise: bright objects have more of it.
    """
    from scipy.ndimage import label

    n, shape = basis.shape[1], scene.shape[1:]
    if not n:
        return []
    scores, seen = (basis.T @ images.reshape(len(images), -1) for images in (scene, observed))
    centred = scores - scores.mean(1, keepdims=True)
    covariance = np.atleast_2d(np.cov(scores)) + 0.1 * np.eye(n)
    distance = (centred * np.linalg.solve(covariance, centred)).sum(0).reshape(shape)
    scores, seen = scores.reshape(n, *shape), seen.reshape(n, *shape)
    labels, count = label(distance > n + FAR)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    out = []
    taken = np.zeros(shape, dtype=bool)
    for number in range(1, count + 1):
        if LEAST_SIZE <= sizes[number] <= MOST * distance.size:
            core = labels == number
            noise = (basis.T * variance[:, core].mean(1)) @ basis
            item = _object(scores, seen, core, noise)
            if item is not None and not (item.near & taken).any():
                taken |= item.near
                out.append(item._replace(spectrum=np.asarray(basis @ item.spectrum, dtype=np.float32)))
    return out


def _object(scores: Array, seen: Array, core: Mask, noise_of_scores: Array) -> CompactObject | None:
    """One object, its spectrum in the basis ``(n,)``, or None where a filter does not single it out.

    None as well where what it changes is farther from what was seen, by more than noise.

    Parameters
    ----------
    scores, seen : array, shape (n, y, x)
    core : array of bool, shape (y, x)
    noise_of_scores : array, shape (n, n)
        Covariance of the noise of ``seen`` in the object.
    """
    from scipy.ndimage import binary_dilation, gaussian_filter

    near, far = (binary_dilation(core, iterations=reach) for reach in (REACH, REACH + BESIDE))
    beside = far & ~near
    if not beside.any() or far.all():
        return None
    spectrum = scores[:, core].mean(1) - scores[:, beside].mean(1)
    # how its surroundings vary anyway says nothing of it
    power = spectrum**2
    spectrum = spectrum * power / (power + scores[:, beside].var(1) + 1e-9)
    if not spectrum.any():
        return None
    covariance = np.atleast_2d(np.cov(scores[:, ~far])) + np.eye(len(spectrum))
    weights = np.linalg.solve(covariance, spectrum)
    weights /= weights @ spectrum
    noise = float(np.sqrt(weights @ noise_of_scores @ weights))
    line, sharp = (np.tensordot(weights, images, 1) for images in (scores, seen))
    if noise * SEEN > 1 or max(line[~far].std(), line[beside].std()) * UNLIKE > 1:
        return None
    inside = near & (line > line[beside].mean() + 0.5)
    for _ in range(ROUNDS):
        if not inside.any():
            return None
        high, low = sharp[inside].mean(), sharp[far & ~inside].mean()
        odds = (high - low) / noise**2 * (sharp - (high + low) / 2)
        around = gaussian_filter(inside.astype(float), CLOSE)
        before, inside = inside, near & (odds + NEIGHBOURLY * np.log((around + 0.02) / (1.02 - around)) > 0)
        if (inside == before).all():
            break
    if inside.sum() < LEAST_SIZE:
        return None
    rough = sharp[inside] - sharp[inside].mean()
    share = max(0.0, 1 - 1.2 * noise**2 / max(float(np.mean(rough**2)), 1e-12))
    wanted = np.where(inside, sharp[inside].mean() + share * (sharp - sharp[inside].mean()), line)
    outside = near & ~inside
    if outside.any():
        wanted = np.where(outside, np.minimum(line, sharp[outside].mean()), wanted)
    change = np.asarray(wanted - line, dtype=np.float32)
    # a filter's noise is one number, which a strong spectrum makes large everywhere
    rest = (seen - scores)[:, near]
    if np.square(rest - spectrum[:, None] * change[near]).sum() > np.square(rest).sum() + near.sum():
        return None
    return CompactObject(spectrum, near, inside, change)
