"""Detector elements of a pushbroom, one a band and column: which are dead, and the gains and offsets of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.spread import median

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Gains of an element that follows the scene.
GAINS = (0.1, 10)
#: Share of a column's rows whose differences from the scene, if they are the largest and more than so many standard
#: deviations, do not tell a dead element; and one row.
FAR, LEAST_FAR = 0.15, 4.0
#: Share of a band's elements that may be dead because a constant explains them better.
DEAD = 1 / 3
#: Bands that say what a dead element would have read, at most: more average noise, and see beyond a gap of several; the
#: pixels that each must have in their fit, and its ridge: bands may repeat one another.
NEAREST, PIXELS_EACH, RIDGE = 24, 10, 1e-6
#: Standard deviations of chance by which halves of columns agree in their slopes, if these are gains, and beyond which
#: one slope of a half counts no more.
AGREEING, FAR_OFF = 2.0, 3.0
#: Parts of a column whose offsets must agree, and the variance of eight normal variables' median in that of their mean.
PARTS, MEDIAN_OF_PARTS = 8, 1.5
#: Variance of the median of differences of two columns of unit noise, times their length.
MEDIAN_STEP = np.pi
#: Rounds of reweighting for the power of a scene's steps, which converges by halves at worst.
WALK_STEPS = 10
#: Power of a striped column's offsets, in variances of chance and in those of the usual column, which must have none.
STRIPED, CLEAR, CLEAN = 1.0, 5.0, 2.0
#: Iterations of EM for the share of elements that deviate.
STEPS = 10
#: That share, at most.
MOSTLY = 0.99


def dead_elements(values: Array, scene: Array, keep: Mask, sigma: Array) -> Mask:
    """Detector elements ``(band, x)`` that a constant explains better than the scene does."""
    # one pixel of a wrong spectrum is wrong in all bands, which would each be dead in its column
    rest = np.where(keep, np.abs(values - scene), -1)
    far = np.sort(rest, axis=1)[:, -1 - int(FAR * values.shape[1]), None]
    keep = keep & (rest < np.maximum(far, LEAST_FAR * sigma[:, None, None]))
    count = keep.sum(1, dtype=np.float32)
    safe = np.maximum(count, 1)

    def spread(image: Array) -> tuple[Array, Array]:
        mean = np.where(keep, image, 0).sum(1) / safe
        return mean, np.sqrt(np.where(keep, (image - mean[:, None]) ** 2, 0).sum(1) / safe)

    _, own = spread(values)
    shift, left = spread(values - scene)
    floor = 1e-3 * sigma[:, None] + 1e-30
    own, left = np.maximum(own, floor), np.maximum(left, floor)
    better = (count >= 16) & (count * np.log(left / own) > 15)
    # of a band that the scene foretells badly all calm columns would be
    better &= better.mean(1, keepdims=True) <= DEAD
    typical = np.minimum(median(left, axis=1), sigma)[:, None]
    quiet = (own < 0.5 * typical) & (np.abs(shift) > 5 * own / np.sqrt(safe))
    return np.asarray((count >= 16) & (better | quiet))


def from_nearest(scene: Array, values: Array, chosen: Mask, gone: Mask) -> Array:
    """A scene ``(band, y, x)`` whose chosen elements ``(band, x)`` are what the nearest bands say.

    Columns that are not gone tell a band's straight line through the bands that are whole where it is not.
    """
    if not chosen.any():
        return scene
    scene = scene.copy()
    for band in np.flatnonzero(chosen.any(1)):
        fit = _line(values, int(band), chosen[band], gone)
        if fit is not None:
            scene[band][:, chosen[band]] = fit[0]
    return scene


def doubt_of_nearest(values: Array, gone: Mask) -> NDArray[np.float32]:
    """Variance ``(band, x)`` that `from_nearest` has where elements ``(band, x)`` are gone, of values of unit noise.

    By as much as a band differs from its straight line where it was measured, less its own noise and that of the bands
    of the line, which smoothing takes.
    """
    out = np.zeros(gone.shape, dtype=np.float32)
    for band in np.flatnonzero(gone.any(1)):
        # nothing tells a column that no band has
        columns = gone[band] & ~gone.all(0)
        fit = _line(values, int(band), columns, gone) if columns.any() else None
        if fit is not None:
            out[band, columns] = fit[1]
    return out


def _line(values: Array, band: int, columns: Mask, gone: Mask) -> tuple[Array, float] | None:
    """What the nearest bands say of some columns ``(y, n)`` of a band, and the variance of what they do not explain of
    the others beyond unit noise; None where these are too few pixels.
    """
    kept = ~gone[band]
    whole = np.flatnonzero(~gone[:, columns].any(1))
    most = min(NEAREST, int(kept.sum()) * values.shape[1] // PIXELS_EACH)
    near = whole[np.argsort(np.abs(whole - band), kind="stable")[:most]]
    if not len(near):
        return None
    design = values[near][:, :, kept].reshape(len(near), -1).astype(float)
    target = values[band][:, kept].ravel().astype(float)
    middle, level = design.mean(1, keepdims=True), target.mean()
    design -= middle
    normal = design @ design.T
    ridge = RIDGE * np.trace(normal) * np.eye(len(near))
    weights = np.linalg.solve(normal + ridge + np.finfo(float).tiny * np.eye(len(near)), design @ target)
    rest = values[near][:, :, columns] - middle[..., None]
    unexplained = float(np.var(target - weights @ design)) - 1 - float(weights @ weights)
    return level + np.tensordot(weights, rest, 1), max(unexplained, 0)


def column_response(values: Array, scene: Array, keep: Mask, sigma: Array) -> tuple[Array, Array, Array]:
    """Gain and offset ``(band, x)`` of detector elements against the scene, and the offsets' power ``(band,)``.

    Straight lines through each column's values, shrunk towards gain one and offset zero by what chance alone would
    give (empirical Bayes): without stripes nothing is corrected.
    """
    weight = keep.astype(np.float32)
    count = np.maximum(weight.sum(1), 1e-6)
    middle = (weight * scene).sum(1) / count
    centred = weight * (scene - middle[:, None])
    difference = values - scene
    variance = sigma[:, None] ** 2
    power = (centred**2).sum(1)
    shift, shift_variance = (weight * difference).sum(1) / count, variance / count
    slope, slope_variance = (
        (centred * difference).sum(1) / np.maximum(power, 1e-30),
        variance / np.maximum(power, 1e-30),
    )
    shift, shift_power = shrunk(shift, shift_variance, axis=1)
    slope, _ = shrunk(slope, slope_variance, axis=None)
    if not _alike_in_halves(scene, difference, weight, sigma):
        slope = np.zeros_like(slope)
    gain = np.clip(1 + slope, *GAINS)
    return gain, shift - (gain - 1) * middle, shift_power


def _alike_in_halves(scene: Array, difference: Array, weight: Array, sigma: Array) -> bool:
    """Whether slopes of the upper and of the lower half of columns, next to those of their neighbours, agree: what the
    scene missed of one bright pixel is a slope of its column, too, and as strong as many elements' gains.
    """
    middle = len(scene[0]) // 2
    product, own_product = np.ones_like(weight[:, 0]), np.ones_like(weight[:, 0])
    for half in (slice(0, middle), slice(middle, None)):
        own, level = weight[:, half], scene[:, half]
        mean = (own * level).sum(1) / np.maximum(own.sum(1), 1e-6)
        centred = own * (level - mean[:, None])
        power = np.maximum((centred**2).sum(1), 1e-30)
        unit = (centred * difference[:, half]).sum(1) / (sigma[:, None] * np.sqrt(power))
        beside = np.pad(unit, ((0, 0), (1, 1)), mode="reflect")
        # one that is far off in one half is no more than one element
        product = product * np.clip(unit - (beside[:, 2:] + beside[:, :-2]) / 2, -FAR_OFF, FAR_OFF)
        own_product = own_product * np.clip(unit, -FAR_OFF, FAR_OFF)
    # such differences vary by 1.5, and next ones share it; or the usual element is sure of its slope by itself
    alike = product.sum() > AGREEING * 1.5 * (2 * product.size) ** 0.5
    return bool(alike or own_product.mean() > AGREEING**2)


def shrunk(found: Array, variance: Array, axis: int | None) -> tuple[Array, Array]:
    """Deviations ``(band, x)`` towards zero, and the mean power of the true ones along ``axis``.

    A share of the elements deviates, by a Gaussian, and the others do not (spike and slab; T. J. Mitchell,
    J. J. Beauchamp, JASA 83, 1988); share and power are found by EM. Elements are independent: what neighbours share
    is a scene that the prediction missed, and deviations that do not stand out of that are none.
    """
    weight = 1 / variance
    total = weight.sum(axis, keepdims=True)
    unit = found * np.sqrt(weight)
    n = unit.size // total.size
    # each column next to a neighbour on both sides, or a slope's ends would stand out of what they share
    beside = np.pad(unit, ((0, 0), (1, 1)), mode="reflect")
    shared = np.maximum((unit * (beside[:, 2:] + beside[:, :-2]) / 2).sum(axis, keepdims=True), 0)
    power = (unit**2 - 1).sum(axis, keepdims=True) / total
    # the sum of n squares varies by 2 n, that of n products by n
    real = power - shared / total > 3 * np.sqrt(3 * n) / total
    share, slab = np.full_like(total, 0.5), np.maximum(2 * power, 1e-30)
    member = np.ones_like(unit)
    for _ in range(STEPS):
        left = variance / (variance + slab)
        odds = share / (1 - share) * np.sqrt(left) * np.exp(np.minimum(unit**2 * (1 - left) / 2, 50))
        member = odds / (1 + odds)
        share = np.clip(member.mean(axis, keepdims=True), 1 / n, MOSTLY)
        held = np.maximum((weight * member).sum(axis, keepdims=True), 1e-30)
        slab = np.maximum((member * (unit**2 - 1)).sum(axis, keepdims=True) / held, 1e-30)
    deviation = np.where(real, found * member * slab / (slab + variance), 0)
    return deviation.astype(np.float32), np.where(real, power, 0).ravel().astype(np.float32)


def striped_columns(difference: Array, keep: Mask, sigma: Array) -> Mask:
    """Columns ``(x,)`` of which most bands have an offset from the scene all along, if most columns have none.

    What the scene's estimate misses is at some place of a column; the median over parts of the column does not see it.
    """
    height = difference.shape[1]
    starts = np.linspace(0, height, min(PARTS, height), endpoint=False).astype(int)
    count = np.add.reduceat(keep, starts, axis=1, dtype=np.float32)
    shift = np.add.reduceat(np.where(keep, difference, 0), starts, axis=1) / np.maximum(count, 1)
    # its variance for white noise, in units of that of the mean over a column
    length = np.diff([*starts, height])[:, None]
    rows = np.where(2 * count > length, count, 0).sum(1)
    level = _median_of(shift, 2 * count > length) ** 2 * rows / (MEDIAN_OF_PARTS * sigma[:, None] ** 2)
    # a variable of unit variance stays below .455 in half of all cases
    level = np.median(level, axis=0) / 0.455
    told = keep.any((0, 1))
    usual = np.median(level[told]) if told.any() else 0.0
    return np.asarray((level > max(STRIPED, CLEAR * usual)) & (usual < CLEAN))


def column_ripple(
    scores: Array, directions: Array, power: Array, striped: Mask, before: Array, seen: Mask
) -> tuple[Array, Array]:
    """Offsets of columns ``(k, x)`` that lie in the subspace, where no comparison with other bands shows them.

    What a column has more than its neighbours, in the median over rows, is scene or stripe. Where some columns are
    striped in most bands and others are clean, the clean ones tell how much of it is scene, and are the neighbours.
    Else stripes are as strong as ``power`` says, were bands independent, and any two columns alike in that; the scene
    walks from column to column by steps that are what is left of their power: a Wiener filter in cosines.

    Parameters
    ----------
    scores : array, shape (k, y, x)
        Without the offsets that are estimated already.
    directions : array, shape (band, k)
    power : array, shape (band,)
        Of the stripes, whitened.
    striped : array of bool, shape (x,)
    before : array, shape (k, x)
        What is estimated already of the offsets in the subspace: the filter is one of all that the columns have.
    seen : array of bool, shape (y, x)
        Pixels that were measured: what fills the others has no offset.

    Returns
    -------
    more : array, shape (k, x)
        To be added to the offsets.
    variance : array, shape (k, x)
        That offsets then still have, but for that of their mean over columns.
    """
    from scipy.fft import dct, dst, idct

    rank, height, width = scores.shape
    none = np.zeros((rank, width), dtype=np.float32)
    if width < 3 or not power.any():
        return none, none
    stripe = np.maximum((directions**2 * power[:, None]).sum(0), 1e-30)[:, None]
    if striped.any():
        clean = np.flatnonzero(~striped)
        step = _step(scores, clean, seen)
        scene, both = (np.mean(step[:, part] ** 2, axis=1)[:, None] for part in (~striped, striped))
        share = np.clip(1 - scene / np.maximum(both, 1e-30), 0, 1)
        # later rounds find little more, and are no surer: of all that the columns have, and of stripes that are no
        # stronger than they look, however much of a scene there is
        whole = np.mean((step + before - _between(before, clean))[:, striped] ** 2, axis=1)[:, None]
        chance = np.sqrt(2 / np.count_nonzero(striped)) * whole
        stripe = np.maximum(stripe / striped.mean(), whole - chance - scene)
        return np.where(striped, share * step, none), np.where(striped, stripe * scene / (stripe + scene), none)
    step = _median_of(np.diff(scores, axis=2), seen[:, 1:] & seen[:, :-1]) + np.diff(before, axis=1)
    walk = _walk(dst(step, type=1, axis=1, norm="ortho") ** 2, stripe, MEDIAN_STEP / height)
    frequency = 2 - 2 * np.cos(np.pi * np.arange(width) / width)
    edge = np.zeros((rank, 1), dtype=step.dtype)
    back = -np.diff(np.concatenate([edge, step, edge], axis=1), axis=1)
    offset = idct(dct(back, axis=1, norm="ortho") * stripe / (walk + stripe * frequency), axis=1, norm="ortho")
    # the mean over columns shows nowhere
    variance = (stripe * walk / (walk + stripe * frequency))[:, 1:].sum(1, keepdims=True) / width
    return (offset - before).astype(np.float32), (none + variance).astype(np.float32)


def _walk(power: Array, stripe: Array, least: float) -> Array:
    """Variance ``(k, 1)`` of the scene's steps from column to column, from the power ``(k, x)`` of steps in sines.

    Stripes have the more of it the higher the frequency: what there is at low ones is scene.
    """
    count = power.shape[1]
    rise = stripe * (2 - 2 * np.cos(np.pi * np.arange(1, count + 1) / (count + 1)))
    walk = np.maximum(power.mean(1, keepdims=True), least)
    for _ in range(WALK_STEPS):
        weight = 1 / (walk + rise) ** 2
        walk = np.maximum((weight * (power - rise)).sum(1, keepdims=True) / weight.sum(1, keepdims=True), least)
    return walk


def _step(scores: Array, clean: NDArray[np.intp], seen: Mask) -> Array:
    """Scores less what the nearest clean columns on both sides have there, in the median over rows: ``(k, x)``."""
    left, right, _ = _beside(scores.shape[2], clean)
    return _median_of(scores - _between(scores, clean), seen & seen[:, left] & seen[:, right])


def _between(images: Array, clean: NDArray[np.intp]) -> Array:
    """What the nearest clean columns on both sides of each have at its place; its own value takes no part."""
    left, right, weight = _beside(images.shape[-1], clean)
    return np.asarray((1 - weight) * images[..., left] + weight * images[..., right])


def _beside(width: int, clean: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """The nearest clean columns on both sides of each column, where there are both, and the weight of the right one."""
    place = np.arange(width)
    after = np.searchsorted(clean, place, side="right")
    before = np.searchsorted(clean, place, side="left") - 1
    left, right = clean[np.clip(before, 0, None)], clean[np.clip(after, None, len(clean) - 1)]
    left, right = np.where(before < 0, right, left), np.where(after == len(clean), left, right)
    return left, right, np.where(right > left, (place - left) / np.maximum(right - left, 1), 0.5).astype(np.float32)


def _median_of(images: Array, chosen: Mask) -> Array:
    """Median ``(n, x)`` over the chosen rows of images ``(n, y, x)``; zero where there is none."""
    if chosen.all():
        return np.asarray(median(images, axis=1))
    out = np.zeros((len(images), images.shape[2]), dtype=images.dtype)
    chosen = np.broadcast_to(chosen, images.shape)
    ordered = np.sort(np.where(chosen, images, np.inf), axis=1)
    count = chosen.sum(1)
    some = count > 0
    for half in (count - 1, count):
        value = np.take_along_axis(ordered, np.maximum(half // 2, 0)[:, None], axis=1)[:, 0]
        out += 0.5 * np.where(some, value, 0)
    return out
