"""The spatial prior: images of unit white noise are smoothed by non-local means, then by a Wiener filter of patches."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
#: Smaller images have no patches to compare.
MIN_SIZE = 8
#: Farthest displacement of a patch, pixels.
REACH = 8
#: Side and spacing of the Wiener filter's patches, pixels.
PATCH, SPACING = 8, 2


class Smoothed(NamedTuple):
    """Smoothed images ``(k, y, x)``: the best estimate, and the two non-local means by themselves."""

    best: Array
    single: Array
    joint: Array


def smooth(images: Array) -> Smoothed:
    """Images ``(k, y, x)`` of unit noise variance without most of it.

    Two kinds of non-local means err differently, so that their mean is better than either (38.3 dB against 37.9 and
    38.0 on case a); as the pilot of an empirical Wiener filter it gains another tenth.
    """
    if min(images.shape[1:]) < MIN_SIZE:
        return Smoothed(images, images, images)
    single, joint = _single_means(images), _joint_means(images)
    pilot = (single + joint) / 2
    return Smoothed((pilot + _wiener(images, pilot)) / 2, single, joint)


def _single_means(images: Array) -> Array:
    """Non-local means of each image by itself (A. Buades, B. Coll, J.-M. Morel, CVPR 2005)."""
    from skimage.restoration import denoise_nl_means

    options: dict[str, Any] = {"patch_size": 5, "patch_distance": REACH, "h": 0.6, "sigma": 1.0, "fast_mode": True}
    return np.stack([denoise_nl_means(image, **options) for image in images]).astype(np.float32)


def _joint_means(images: Array, strength: float = 0.8) -> Array:
    """Non-local means with weights that all images share."""
    from scipy.ndimage import uniform_filter

    height, width = images.shape[1:]
    reach = min(REACH, height - 1, width - 1)
    padded = np.pad(images, ((0, 0), (reach, reach), (reach, reach)), mode="symmetric")
    total, weights = np.zeros_like(images), np.zeros(images.shape[1:], dtype=np.float32)
    for down in range(2 * reach + 1):
        for right in range(2 * reach + 1):
            moved = padded[:, down : down + height, right : right + width]
            distance = uniform_filter(((images - moved) ** 2).mean(0), 3)
            weight = np.exp(-np.maximum(distance - 2, 0) / strength**2)
            total += weight * moved
            weights += weight
    return total / weights


def _wiener(images: Array, pilot: Array) -> Array:
    """Empirical Wiener filter of overlapping patches' cosine transforms, whose power the pilot tells."""
    from scipy.fft import dctn, idctn

    edge = ((0, 0), (PATCH - 1, PATCH + SPACING), (PATCH - 1, PATCH + SPACING))

    def patches(values: Array) -> Array:
        padded = np.pad(values, edge, mode="symmetric")
        view = np.lib.stride_tricks.sliding_window_view(padded, (PATCH, PATCH), axis=(1, 2))[:, ::SPACING, ::SPACING]
        return np.asarray(dctn(view, axes=(-2, -1), norm="ortho"))

    height, width = images.shape[1:]
    out = np.empty_like(images)
    for number in range(len(images)):  # all patches of one image are memory enough
        power = patches(pilot[number : number + 1]) ** 2
        gain = power / (power + 1)
        filtered = idctn(gain * patches(images[number : number + 1]), axes=(-2, -1), norm="ortho")[0]
        weight = 1 / np.maximum((gain**2).sum((-2, -1)), 1e-3)[0]
        total = np.zeros((height + 2 * PATCH + SPACING, width + 2 * PATCH + SPACING), dtype=np.float32)
        weights = np.zeros_like(total)
        rows, columns = ((count - 1) * SPACING + 1 for count in weight.shape)
        for down in range(PATCH):
            for right in range(PATCH):
                place = (slice(down, down + rows, SPACING), slice(right, right + columns, SPACING))
                total[place] += weight * filtered[..., down, right]
                weights[place] += weight
        inside = (slice(PATCH - 1, PATCH - 1 + height), slice(PATCH - 1, PATCH - 1 + width))
        out[number] = total[inside] / weights[inside]
    return out
