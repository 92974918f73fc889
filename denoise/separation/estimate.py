"""Blind noise estimation: noise of the bands, column gains and offsets, dead elements, outliers, apart from the scene.

The scene is what bands share (a subspace of noise-whitened spectra) and what neighbours share (`smooth`); all
else is the instrument. Scene and instrument are estimated in turn, a few rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.case import NoiseModel, Observation
from denoise.learning.outlier_net import outlier_probability
from denoise.separation.columns import column_response, column_ripple, dead_elements, from_nearest, striped_columns
from denoise.separation.floor import at_floor, noise_at_floor
from denoise.separation.lines import lines
from denoise.separation.missing import completed, holes, whole_pixels
from denoise.separation.noise import MIN_PIXELS, along_track, noise_of_bands, own_noise, signal_slope, usual_pixels
from denoise.separation.pixel_noise import WHITE, PixelNoise, pixel_noise
from denoise.separation.shared_noise import SharedNoise, shared_noise
from denoise.separation.smooth import Smoothed, joint_means, smooth
from denoise.separation.spikes import SLIGHT, lone
from denoise.separation.stuck import stuck_values
from denoise.separation.value_bins import BINS, value_bins
from hsitools.estimation.band_noise import FEW_BANDS
from hsitools.estimation.covariance import SCATTER, gram, largest_of_noise, subspace
from hsitools.estimation.spread import median, robust_sigma

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Turns of scene, outliers and columns: each waits for the others' latest estimate.
ROUNDS = 5
#: Components that a band with many outliers is predicted from.
MAX_REGRESSORS = 16
#: Iterations of the fit of least absolute deviations.
ABSOLUTE_STEPS = 8
#: Share of outliers up to which a band's own values serve in the subspace; beyond, it is predicted by regression.
FEW = 0.02
#: Smaller images have no lines to tell.
MIN_SIDE = 16
#: Change of the calibrated values, in standard deviations of the noise, below which rounds end.
SETTLED = 0.1
#: Standard deviation of the blur that brings out what is faint, pixels, and how many of them an image must be long.
BLUR, LENGTHS = 2.5, 8
#: Share of columns with dead elements from which on the first scene tells nothing of any column.
FRESH = 0.2
#: Correlation with the prediction from which on values are no outliers: impulses of all kinds reach .1 in bands that
#: hold some good values too; a band whose own texture the others do not foretell has .2 to .9.
FOLLOWING = 0.2
#: Share of a band's voxels that impulses may take.
MOST = 0.8
#: Standard deviations by which an excess must stand out.
SIGNIFICANT = 4.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Separation:
    """What `separate` finds.

    Attributes
    ----------
    noise : NoiseModel
    scene : array, shape (band, y, x)
        The estimate, smoothed.
    whitened : array, shape (band, y, x)
        What was observed, calibrated and in units of the noise; outliers are filled with what was predicted there.
    directions : array, shape (band, k)
        Orthonormal: the subspace of the whitened spectra.
    scores : Smoothed, arrays of shape (k, y, x)
        Smoothed coordinates in it: ``scene = sigma · directions @ scores``.
    shared : SharedNoise or None
        What neighbouring bands seem to share of their noise, which ``sigma`` does not hold.
    """

    noise: NoiseModel
    scene: Array
    whitened: Array
    directions: Array
    scores: Smoothed
    shared: SharedNoise | None = None

    @property
    def rank(self) -> int:
        """Dimension of the subspace."""
        return int(self.directions.shape[1])


def faint(whitened: Array, directions: Array, noise: PixelNoise = WHITE) -> Array:
    """The directions ``(band, k)``, and those of what is too faint to stand out of the noise of single pixels.

    A blur takes most of the noise and little of the scene: directions that stand out after it are added. Only for
    cubes whose stripes and outliers are gone; a blur brings them out as well.
    """
    from scipy.ndimage import gaussian_filter

    bands, height, width = whitened.shape
    pixels = height * width
    if directions.shape[1] >= bands // 2 or min(height, width) < LENGTHS * BLUR:
        return directions
    flat = whitened.reshape(bands, -1)
    rest = (flat - directions @ (directions.T @ flat)).reshape(whitened.shape)
    blurred = gaussian_filter(rest, (0, BLUR, BLUR), truncate=3).reshape(bands, -1)
    # blurred pixels count as so many independent ones
    left = noise.left(BLUR)
    independent = pixels / (2 * np.pi * BLUR**2 + noise.area - 1)
    values, vectors = np.linalg.eigh(gram(blurred) / (pixels * left))
    more = int((values > 1.2 * largest_of_noise(bands, independent)).sum())
    both = np.concatenate([directions, vectors[:, ::-1][:, :more].astype(np.float32)], axis=1)
    return np.asarray(np.linalg.qr(both)[0], dtype=np.float32) if more else directions


def relevelled(
    ratio: Array, level: Array, whitened: Array, directions: Array, area: float = 1.0
) -> tuple[Array, Array]:
    """Whitened values ``(band, y, x)`` and directions of the same scene where the noise is less by a ratio ``(band,)``.

    Directions that now stand out are added: what is in bands of little noise alone was hidden by the noise of others.

    Parameters
    ----------
    ratio : array, shape (band,)
    level : array, shape (band, pixel)
        Whitened by the former noise, without column offsets.
    whitened : array, shape (band, y, x)
        By the former noise.
    directions : array, shape (band, k)
        Of the former.
    area : float
        Pixels that count as one.
    """
    whitened = whitened * ratio[:, None, None]
    directions = np.linalg.qr(directions * ratio[:, None])[0]
    rest = level * ratio[:, None]
    rest = rest - directions @ (directions.T @ rest)
    values, vectors = np.linalg.eigh(gram(rest) / rest.shape[1])
    more = int((values > SCATTER * largest_of_noise(len(rest), rest.shape[1] / area)).sum())
    directions = np.linalg.qr(np.concatenate([directions, vectors[:, len(vectors) - more :]], axis=1))[0]
    scores = directions.T @ whitened.reshape(len(ratio), -1)
    # strongest first
    turned = np.linalg.eigh(gram(scores))[1][:, ::-1]
    return whitened, np.asarray(directions @ turned, dtype=np.float32)


def realigned(whitened: Array, directions: Array, scores: Smoothed) -> tuple[Array, Smoothed]:
    """Directions ``(band, k)`` turned towards the spectra of what was smoothed, and the smoothed scores in them.

    A direction that stands out a little is part scene and part the noise of all pixels (D. Paul, Statistica Sinica 17,
    2007), so that a plume keeps the first part alone. Smoothed scores have less noise, and are large where the scene
    is: the residual's regression on them has the rest of its spectrum, and a share of chance that is known and taken
    away (W. James, C. Stein, 1961). Residual and scores have no noise in common, so that nothing is fitted twice.
    """
    bands, k = directions.shape
    flat, smooth = whitened.reshape(bands, -1), scores.best.reshape(k, -1)
    power, turned = np.linalg.eigh(gram(smooth))
    power = np.maximum(power, 1e-6 * power[-1])
    axes = turned.T.astype(np.float32) @ smooth
    missed = flat @ axes.T
    missed = (missed - directions @ (directions.T @ missed)) / np.sqrt(power)
    excess = np.maximum(1 - (bands - k) / np.maximum(np.square(missed).sum(0), 1e-12), 0)
    both = directions + (missed * excess / np.sqrt(power)) @ turned.T
    directions, change = np.linalg.qr(both)
    moved = (np.tensordot(change, images, 1).astype(np.float32) for images in scores)
    return np.asarray(directions, dtype=np.float32), Smoothed(*moved)


def separate(seen: Observation, *, learned: bool = False, rounds: int = ROUNDS, device: str = "cpu") -> Separation:
    """Tell scene and instrument apart; what the sensor tells is not estimated.

    Parameters
    ----------
    seen : Observation
    learned : bool
        Whether the learned outlier estimator (`outlier_net`) has the last word on bands with few outliers.
    rounds : int
        At most; what learns from unfinished separations takes fewer.
    device : str
        Where the estimator's net runs, as torch names it.
    """
    values, valid, sigma = seen.values, seen.valid, seen.sigma
    bands, height, width = values.shape
    clipped = np.zeros(values.shape, dtype=bool) if seen.clipped is None else seen.clipped
    bad = ~valid | clipped
    if not seen.counts:
        bad = bad | (stuck_values(values, valid) & ~clipped)
    middle = medians(values, ~bad)[:, None, None]
    seen_pixels = 2 * bad.sum(0) < bands
    lacking = holes(bad) & ~clipped
    whole = whole_pixels(lacking)
    scene: Array = np.where(bad & ~clipped, middle, values)
    gain, offset, power = np.ones((bands, width), np.float32), np.zeros((bands, width), np.float32), np.zeros(bands)
    striped, offset_std = np.zeros(width, dtype=bool), np.zeros((bands, width), np.float32)
    dead, outlier = np.zeros((bands, width), dtype=bool), bad
    gone, unmeasured, fresh = dead, ~valid.any(1), striped
    filled: Array = values
    unit: Array = np.zeros(bands)
    pixels = WHITE
    for number in range(rounds):
        former = filled
        filled = _filled(values, scene, gain, offset, outlier, clipped)
        if number > 1 and np.mean(np.square(filled - former).mean((1, 2)) / unit**2) < SETTLED**2:
            break
        # the first round still sees dead elements: whitened by what is known, they would be directions of their own
        level = along_track(filled, scene if number else middle, ~bad)
        if number:
            # what is broken was filled, and is alike along its column no more
            pixels = pixel_noise(level / unit[:, None, None])
        noise = noise_of_bands(level, filled - scene, outlier, pixels.area) if sigma is None or not number else sigma
        # numbers of few digits can have no noise at all
        unit = np.maximum(noise, 1e-6 * np.sqrt((filled**2).mean((1, 2))) + 1e-30).astype(np.float32)
        whitened = filled / unit[:, None, None]
        directions = subspace((level / unit[:, None, None])[:, whole], pixels.area)
        whitened = completed(whitened, directions, lacking, whole)
        rank = directions.shape[1]
        scores: Array = (directions.T @ whitened.reshape(bands, -1)).reshape(rank, height, width)
        if not seen.calibrated:
            # of offset and gain together: far from zero each is large by itself
            before = directions.T @ ((offset + (gain - 1) * scene.mean(1)) / unit[:, None])
            ripple, left = column_ripple(scores, directions, power / unit**2, striped, before, seen_pixels)
            offset_std = unit[:, None] * np.sqrt(directions**2 @ left)
            offset = offset + unit[:, None] * (directions @ ripple)
            scores = scores - ripple[:, None]
        scores = joint_means(scores)
        scene = unit[:, None, None] * (directions @ scores.reshape(rank, -1)).reshape(values.shape)
        first = number == 0
        suspect = np.flatnonzero(outlier.mean((1, 2)) > (-1 if first else FEW))
        if len(suspect) and rank < bands // 2:
            corrected = (values[suspect] - offset[suspect, None]) / gain[suspect, None]
            scene[suspect] = regress(corrected, ~outlier[suspect], scores, absolute=first)
        if not seen.counts:
            former_gone, dead = gone, dead_elements(values, scene, ~bad, unit)
            gone = dead | unmeasured
            fresh = np.asarray((gone & ~former_gone).any(0))
            # bands that are dead in the same column have a direction of their own, which would go on predicting it
            scene = from_nearest(scene, filled, gone & ~former_gone & ~unmeasured.all(0), gone)
            outlier = bad | dead[:, None]
            expected = scene * gain[:, None] + offset[:, None]
            outlier = outlier | outliers(values, expected, ~outlier)
            outlier = outlier | lone(values - expected, unit, ~outlier, SLIGHT * scene.std((1, 2)))
        # where an element was found dead just now it is in this scene, and in all bands' differences from that; if many
        # were, the first scene is the worse for it everywhere
        if not seen.calibrated and (number or fresh.mean() < FRESH):
            judged = ~outlier & ~fresh
            gain, offset, power = column_response(values, scene, judged, unit)
            striped = striped_columns(values - scene, judged, unit)
    if learned and not seen.counts and min(height, width) >= MIN_SIDE:
        # broken lines and fragments have no value that gives them away, but a shape
        base = bad | dead[:, None]
        prior = outlier & ~base
        few = prior.mean((1, 2), keepdims=True) < FEW  # where the histogram finds many it is the better judge
        predicted = scene * gain[:, None] + offset[:, None]
        broken = outlier_probability(values, predicted, unit, ~base, prior, device=device) > 0.5
        scene_alike = lines(values - predicted, ~base) | at_floor(values, predicted, ~base)
        outlier = np.where(few, base | (broken & ~scene_alike), outlier)
    # once more, with the instrument known: now faint directions can be told from it
    filled = _filled(values, scene, gain, offset, outlier, clipped)
    whitened = filled / unit[:, None, None]
    level = along_track(filled, scene, ~bad)
    shared = shared_noise(level, unit) if sigma is None else None
    # of few bands pixels told the noise, and that is all of it
    blind = sigma is None and bands > FEW_BANDS
    own = own_noise(usual_pixels(level, filled - scene), unit, outlier, pixels.area) if blind else unit
    level = level / unit[:, None, None]
    directions = faint(level, subspace(level[:, whole], pixels.area), pixels)
    whitened = completed(whitened, directions, lacking, whole)
    if blind:
        whitened, directions = relevelled(unit / own, level[:, whole], whitened, directions, pixels.area)
        unit = own
    smoothed = smooth((directions.T @ whitened.reshape(bands, -1)).reshape(-1, height, width), pixels)
    directions, smoothed = realigned(whitened, directions, smoothed)
    scene = unit[:, None, None] * (directions @ smoothed.best.reshape(len(smoothed.best), -1)).reshape(values.shape)
    slope = seen.slope
    if slope is None:
        slope = signal_slope(values - scene * gain[:, None] - offset[:, None], scene, ~outlier)
    model = NoiseModel(
        sigma=unit, slope=slope, gain=gain, offset=offset, offset_std=offset_std, dead=dead, outlier=outlier,
        pixels=pixels,
    )  # fmt: skip
    return Separation(
        noise=model, scene=scene, whitened=whitened, directions=directions, scores=smoothed, shared=shared
    )


def _filled(values: Array, scene: Array, gain: Array, offset: Array, outlier: Mask, clipped: Mask) -> Array:
    """Values without the detector's gains and offsets, outliers as predicted, clipped ones at least as measured."""
    corrected = (values - offset[:, None]) / gain[:, None]
    return np.where(outlier, np.where(clipped, np.maximum(scene, corrected), scene), corrected)


def medians(values: Array, keep: Mask) -> Array:
    """Median of what is kept of each band ``(band,)``, zero where nothing is."""
    pairs = zip(values, keep, strict=True)
    return np.array([median(image[use]) if use.any() else 0 for image, use in pairs], dtype=np.float32)


def regress(values: Array, keep: Mask, scores: Array, *, absolute: bool) -> Array:
    """Bands ``(band, y, x)`` as affine functions of the scores ``(k, y, x)``, from the voxels to keep.

    ``absolute`` minimises absolute deviations: salt and pepper at even odds then leave the middle where it is.
    """
    bands, pixels = len(values), values[0].size
    flat, kept = values.reshape(bands, pixels), keep.reshape(bands, pixels).astype(np.float32)
    # about means: a scene far from zero (a temperature in kelvin) would make the first score and the ones column alike
    level = np.average(flat, axis=1, weights=np.maximum(kept, 1e-12))[:, None].astype(np.float32)
    flat = flat - level
    explaining = scores[:MAX_REGRESSORS].reshape(-1, pixels)
    explaining = explaining - explaining.mean(1, keepdims=True, dtype=np.float64).astype(np.float32)
    design = np.concatenate([explaining, np.ones((1, pixels), np.float32)])
    design /= np.maximum(np.sqrt((design**2).mean(1, keepdims=True)), 1e-12)
    k = len(design)
    row, column = np.triu_indices(k)
    products = (design[row] * design[column]).T
    normal = np.empty((bands, k, k))
    scale = np.maximum(flat.std(1, keepdims=True), 1e-30)
    fitted, weight = flat, kept
    for _ in range(ABSOLUTE_STEPS if absolute else 1):
        normal[:, row, column] = normal[:, column, row] = weight @ products / pixels
        right = (weight * flat) @ design.T / pixels
        fitted = np.linalg.solve(normal + 1e-6 * np.eye(k), right[..., None])[..., 0].astype(np.float32) @ design
        weight = kept / np.maximum(np.abs(flat - fitted) / scale, 0.02)
    return (fitted + level).reshape(values.shape)


def outliers(values: Array, predicted: Array, keep: Mask, steps: int = 5) -> Mask:
    """Voxels ``(band, y, x)`` whose values a band has more often than prediction and noise explain.

    Each band is a mixture of Gaussian noise about the prediction, and of outliers whose distribution of values is the
    excess of the histogram over what the first explains; both are estimated in turn (EM).
    """
    out = np.zeros(values.shape, dtype=bool)
    keep = keep & ~lines(values - predicted, keep)
    for band, (seen, mean, use) in enumerate(zip(values, predicted, keep, strict=True)):
        if use.sum() >= MIN_PIXELS:
            hit = _outliers(seen[use], mean[use], steps)
            out[band][use] = hit & (not _follow(seen[use][hit], mean[use][hit]))
    return out


def _follow(values: Array, predicted: Array) -> bool:
    """Whether what would be outliers is scene that was badly predicted: defects know nothing of what they replace."""
    if len(values) < MIN_PIXELS or not values.std() > 0 or not predicted.std() > 0:
        return False
    likeness = float(np.corrcoef(values, predicted)[0, 1])
    return likeness > max(FOLLOWING, SIGNIFICANT / len(values) ** 0.5)


def _outliers(values: Array, predicted: Array, steps: int) -> Mask:
    """Which of one band's ``values`` (voxel,) are outliers."""
    from scipy.ndimage import gaussian_filter1d, maximum_filter1d

    residual = values - predicted
    spread = robust_sigma(residual - median(residual))
    low, step, _ = value_bins(values)
    if not (step > 0 and spread > 0):
        return np.zeros(values.shape, dtype=bool)
    place, scene_place = (
        np.clip((images - low) / step, 0, BINS - 1).astype(np.intp) for images in (values, predicted)
    )  # fmt: skip
    found, scene = (np.bincount(item, minlength=BINS).astype(float) for item in (place, scene_place))
    posterior = (np.abs(residual) > 4 * spread).astype(float)
    clipped_noise = noise_at_floor(values, predicted)
    floor = (place == place.min()) & (clipped_noise > 0)
    for _ in range(steps):
        # lone ones are no excess; counted, they would blur what is expected until the scene's own peaks exceed it
        inlier = (1 - posterior) * (np.abs(residual) <= SIGNIFICANT * spread)
        total = inlier.sum()
        spread = max(np.sqrt((inlier * residual**2).sum() / max(total, 1)), clipped_noise)
        if total < MIN_PIXELS / 2 or not spread > 0:
            break
        expected = gaussian_filter1d(scene, max(spread / step, 0.3), mode="constant") * (total / len(values))
        # a bin's edge is no excess: the prediction may fall into the next
        excess = found - maximum_filter1d(expected, 3)
        excess[excess < SIGNIFICANT * np.sqrt(expected + 1) + 0.1 * expected] = 0
        if not excess.any():
            return np.zeros(values.shape, dtype=bool)
        # a dark scene reads its floor often
        strange = np.where(floor & (np.abs(residual) <= SIGNIFICANT * spread), 0, excess[place] / step)
        normal = total * np.exp(-0.5 * (residual / spread) ** 2) / (spread * np.sqrt(2 * np.pi))
        posterior = strange / (strange + normal + 1e-30)
    hit = posterior > 0.5
    if hit.mean() > MOST:
        # then the prediction is at fault
        return np.zeros(values.shape, dtype=bool)
    if spread < 2 * step:
        # bins too wide for so little noise: the voxel itself must stand out
        hit &= np.abs(residual) > SIGNIFICANT * spread
    return np.asarray(hit)
