"""The spatial prior: images of unit white noise are smoothed by non-local means, then as groups of similar patches."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from denoise.separation.pixel_noise import WHITE, PixelNoise

Array = NDArray[Any]
#: Smaller images have no patches to compare.
MIN_SIZE = 8
#: Farthest displacement of a patch, pixels.
REACH = 8
#: The same where there are many images.
NEAR = 5
#: Side of the squares that tell how alike two pixels of one image are.
WINDOW = 5
#: Side of the patches of a group and spacing of those that look for one, pixels; patches of a group.
PATCH, SPACING, GROUP = 3, 3, 64
#: Images whose patches are taken together.
TOGETHER = 8
#: Images from which on there are many: then there is little noise, and they are filtered once and in parts of a few
#: (on abu_airport_2 and abu_urban_4 parts of four, six are 3 and 8 % worse, and slower).
MANY, FEWER = 16, 2
#: Standard deviations of the noise from which on products of values need float64.
LARGE = 300.0
#: Weight of another pixel that makes no difference.
NEGLIGIBLE = 1e-3
#: How often patches are grouped; each result is the next pilot.
PASSES = 3
#: Rows of matrices up to which many at once are inverted faster than one by one.
SMALL = 32
#: Groups in memory at a time.
AT_ONCE = 512


class Smoothed(NamedTuple):
    """Smoothed images ``(k, y, x)``: the best estimate, and the two non-local means by themselves."""

    best: Array
    single: Array
    joint: Array


def smooth(images: Array, noise: PixelNoise = WHITE) -> Smoothed:
    """Images ``(k, y, x)`` of unit noise variance, strongest first, without most of the noise.

    Two kinds of non-local means err differently, so that their mean is better than either; it is the pilot of Gaussian
    models of similar patches (`_bayes`), whose result is the pilot of the next pass. Both are for white noise: what
    pixels share of it is filtered away before, and the filter undone afterwards.
    """
    if min(images.shape[1:]) < MIN_SIZE:
        return Smoothed(images, images, images)
    # what a good cube's images have in common would cost the digits that its noise is in
    level = images.mean((1, 2), keepdims=True, dtype=float).astype(np.float32)
    images = noise.whitened(images - level)
    joint = joint_means(images)
    single = _single_means(images)
    best = (single + joint) / 2
    for _ in range(PASSES if len(images) <= MANY else 1):
        best = _bayes(images, best)
    return Smoothed(*(noise.back(image) + level for image in (best, single, joint)))


def _single_means(images: Array, strength: float = 0.7) -> Array:
    """Non-local means of each image by itself (A. Buades, B. Coll, J.-M. Morel, CVPR 2005)."""
    height, width = images.shape[1:]
    reach = min(REACH if len(images) <= MANY else NEAR, height - 1, width - 1)
    edge = reach + WINDOW // 2
    out = np.empty_like(images)
    for number, image in enumerate(images):
        padded = np.pad(image, edge, mode="reflect" if edge < min(height, width) else "symmetric")
        across, flat = padded.shape[1], padded.ravel()
        total, weights = np.zeros_like(flat), np.ones_like(flat)
        square, weight = np.zeros_like(flat), np.zeros_like(flat)
        for down in range(reach + 1):
            for right in range(-reach if down else 1, reach + 1):
                # both of a pair move: half of the shifts are all
                move = down * across + right
                step = flat[move:] - flat[:-move]
                np.square(step, out=square[:-move])
                _window_sums(square, across, weight)
                alike = weight[:-move]
                alike *= np.float32(-1 / (WINDOW * strength) ** 2)
                alike += np.float32(2 / strength**2)
                np.minimum(alike, 0, out=alike)
                np.exp(alike, out=alike)
                weights[:-move] += alike
                weights[move:] += alike
                step *= alike
                total[:-move] += step
                total[move:] -= step
        total /= weights
        inside = slice(edge, edge + height), slice(edge, edge + width)
        out[number] = image + total.reshape(padded.shape)[inside]
    return out


def _window_sums(values: Array, across: int, out: Array) -> None:
    """Sums over windows of 5×5 pixels of an image of so many columns ``(pixel,)``, but for those at its border.

    Each is summed by itself: differences of sums over all that is before would cost the digits of small ones.
    """
    half = WINDOW // 2
    for side in (1, across):
        two = values[:-side] + values[side:]
        five = two[: -3 * side] + two[2 * side : -side]
        five += values[4 * side :]
        values = five
    out[half * (across + 1) :][: len(values)] = values


def joint_means(images: Array, strength: float = 0.8) -> Array:
    """Non-local means with weights that all images ``(k, y, x)`` share: quick, and good enough to find outliers by."""
    if min(images.shape[1:]) < MIN_SIZE:
        return images
    from scipy.ndimage import uniform_filter

    height, width = images.shape[1:]
    reach = min(REACH if len(images) <= MANY else NEAR, height - 1, width - 1)
    # of a pixel at the border, those beside it are compared as well
    edge = reach + 1
    padded = np.pad(images, ((0, 0), (edge, edge), (edge, edge)), mode="symmetric")
    wide, inside = padded.shape[1:], np.pad(np.ones((height, width), dtype=bool), edge).ravel()
    strong = padded[:MANY].reshape(min(len(images), MANY), -1)
    # a pixel's values side by side: most shifts move a few pixels
    spectra = np.ascontiguousarray(padded.reshape(len(images), -1).T)
    total, weights = np.zeros_like(spectra), np.ones(len(spectra), dtype=np.float32)
    # of many, the faint ones are taken to differ by their noise
    rest = np.float32(2 * max(len(images) - MANY, 0))
    distance = np.zeros(len(spectra), dtype=np.float32)
    for down in range(reach + 1):
        for right in range(-reach if down else 1, reach + 1):
            # both of a pair move: half of the shifts are all
            move = down * wide[1] + right
            step = strong[:, move:] - strong[:, :-move]
            np.einsum("kp,kp->p", step, step, out=distance[:-move])
            mean = uniform_filter((distance + rest).reshape(wide), 3).ravel()[:-move] / np.float32(len(images))
            weight = np.exp(-np.maximum(mean - 2, 0) / np.float32(strength**2))
            weights[:-move] += weight
            weights[move:] += weight
            alike = np.flatnonzero((weight > NEGLIGIBLE) & (inside[move:] | inside[:-move]))
            change = weight[alike, None] * (spectra[alike + move] - spectra[alike])
            total[alike] += change
            total[alike + move] -= change
    change = (total[inside] / weights[inside, None]).T
    return images + change.reshape(images.shape)


def _bayes(images: Array, pilot: Array) -> Array:
    """Posterior mean of patches: those alike in the pilot are draws of one Gaussian, which the pilot tells.

    After M. Lebrun, A. Buades, J.-M. Morel, A nonlocal Bayesian image denoising algorithm, SIAM J. Imaging Sciences
    6(3), 2013; a patch here has the pixels of several images, whose covariance counts as much as that in space.
    """
    groups = _alike(pilot[:TOGETHER])
    # of many, smaller parts share a model, which is cheaper and better known
    size = TOGETHER if len(images) <= MANY else FEWER
    parts = [slice(at, at + size) for at in range(0, len(images), size)]
    return np.concatenate([_filtered(images[part], pilot[part], groups) for part in parts])


def _edge(height: int, width: int) -> int:
    """Pixels by which images are widened for the search around their border."""
    return min(REACH, height - 1, width - 1)


def _alike(pilot: Array) -> Array:
    """Places ``(group, patch)`` of similar patches, each group about one of a grid of centres."""
    height, width = pilot.shape[1:]
    edge = _edge(height, width)
    across = width + 2 * edge
    guide = _patches(pilot, edge + PATCH // 2)
    centres = [np.unique(np.append(np.arange(0, size, SPACING), size - 1)) + edge for size in (height, width)]
    centre = (centres[0][:, None] * across + centres[1]).ravel()
    moves = (np.arange(-edge, edge + 1)[:, None] * across + np.arange(-edge, edge + 1)).ravel()
    size = min(GROUP, len(moves))
    out = np.empty((len(centre), size), dtype=np.int32)
    for first in range(0, len(centre), AT_ONCE):
        around = centre[first : first + AT_ONCE, None] + moves
        own = guide[around[:, len(moves) // 2]]
        distance = np.stack([np.square(guide[place] - own).sum(1) for place in around.T], axis=1)
        # where more patches than a group takes are the very same, its own is among them all the same
        distance[:, len(moves) // 2] = -1
        chosen = np.argpartition(distance, size - 1, axis=1)[:, :size]
        out[first : first + AT_ONCE] = np.take_along_axis(around, chosen, axis=1)
    return out


def _filtered(images: Array, pilot: Array, groups: Array) -> Array:
    """Posterior means of the patches of groups, put together again."""
    from scipy.sparse import csc_array

    k, height, width = images.shape
    edge, margin = _edge(height, width), PATCH // 2
    across, size = width + 2 * edge, groups.shape[1]
    observed, guide = (_patches(item, edge + margin) for item in (images, pilot))
    total = np.zeros_like(guide)
    weights: Array = np.zeros(len(guide))
    # products of a good cube's large values round, in float32, by more than the noise
    exact = np.float64 if np.abs(pilot).max() > LARGE else np.float32
    unit, share = np.eye(guide.shape[1], dtype=exact), np.full((1, size), 1 / size, dtype=exact)
    for first in range(0, len(groups), AT_ONCE):
        group = groups[first : first + AT_ONCE]
        patches = group.ravel()
        known: Array = guide[group].astype(exact, copy=False)
        mean = share @ known
        known -= mean
        covariance: Array = known.transpose(0, 2, 1) @ known / size
        # the share of what was seen that is noise
        noise = _inverse(covariance + unit)
        # by the inverse of what noise is left
        weight = 1 / (1 - np.trace(noise, axis1=1, axis2=2) / len(unit) + 1 / size)
        scene_share = (unit - noise) * weight[:, None, None]
        found = observed[group] @ scene_share.astype(np.float32)
        found += mean * weight[:, None, None] - mean @ scene_share
        spread = csc_array((np.ones(patches.size, np.float32), patches, np.arange(patches.size + 1)),
                           shape=(len(guide), patches.size))  # fmt: skip
        total += spread @ found.reshape(patches.size, -1)
        weights += np.bincount(patches, np.repeat(weight, size), minlength=len(guide))
    rows = height + 2 * edge
    values = total.reshape(rows, across, k, PATCH, PATCH)
    weights = weights.reshape(rows, across)
    out = np.zeros((k, rows + 2 * margin, across + 2 * margin), dtype=np.float32)
    norm = np.zeros(out.shape[1:], dtype=np.float32)
    for down in range(PATCH):
        for right in range(PATCH):
            place = (slice(down, down + rows), slice(right, right + across))
            out[:, *place] += values[..., down, right].transpose(2, 0, 1)
            norm[place] += weights
    inside = (slice(edge + margin, edge + margin + height), slice(edge + margin, edge + margin + width))
    return np.asarray(out[:, *inside] / norm[inside])


def _inverse(matrices: Array) -> Array:
    """Inverses of positive definite matrices ``(matrix, n, n)``.

    Of small ones LAPACK spends most of its time on being called: they go side by side through Gauss-Jordan steps, which
    need no pivots (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., ch. 10, 14).
    """
    if matrices.shape[1] > SMALL:
        return np.asarray(np.linalg.inv(matrices))
    left = matrices.transpose(1, 2, 0).copy()
    change = np.empty_like(left)
    for step in range(len(left)):
        pivot = 1 / left[step, step]
        row, column = left[step] * pivot, left[:, step].copy()
        row[step], column[step], left[:, step] = pivot, 0, 0
        left -= np.multiply(column[:, None], row, out=change)
        left[step] = row
    return np.ascontiguousarray(left.transpose(2, 0, 1))


def _patches(images: Array, edge: int) -> Array:
    """All patches ``(place, values)`` of images ``(k, y, x)`` widened by ``edge`` pixels all around."""
    padded = np.pad(images, ((0, 0), (edge, edge), (edge, edge)), mode="symmetric")
    view = np.lib.stride_tricks.sliding_window_view(padded, (PATCH, PATCH), axis=(1, 2))
    return view.transpose(1, 2, 0, 3, 4).reshape(view.shape[1] * view.shape[2], -1)
