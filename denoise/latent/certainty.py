"""How sure the restorer is: the spread of posterior samples, made true to errors on held-out scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from denoise.latent.autoencoder import Autoencoder, from_blocks
from denoise.latent.evidence import evidence
from denoise.latent.flow import FlowNet, channels_of, posterior_mean, sample
from denoise.learning.residual_examples import Example
from denoise.separation.estimate import Separation, gram
from denoise.separation.pixel_noise import WHITE, PixelNoise

Array = NDArray[Any]
#: Samples and steps of the flow with which spread is calibrated and, by default, drawn.
SAMPLES, STEPS = 6, 5
#: Side of the neighbourhood whose samples are taken together, pixels.
NEIGHBOURS = 5
#: Bands of which what was missed is taken together.
BANDS_TOGETHER = 9
#: Bands of a window in which they are looked at for what they share: an absorption or a detector's seam is as wide.
WINDOW = 12
#: Directions beyond the components, fewer than one only by rounding, that tell nothing of the noise.
LEAST_BEYOND = 0.5
#: Components of an example that are looked at; more only take longer.
COMPONENTS = 12
#: Standard deviations, the shares of normally distributed errors within them, and how much each counts: above all, an
#: interval that says 95 % is to hold as many.
LIMITS, SHARES, COUNTS = (1.0, 1.96), (0.6827, 0.95), (1, 100)


def beyond(bands: int, pixels: float) -> float:
    """Variance per voxel, units of the noise, of what is too faint to be found: a direction escapes while its variance
    is below about √(bands/pixels) of the noise's (`estimate.subspace`). To be multiplied by how many do.
    """
    return float(np.sqrt(bands / pixels) / bands)


def missed(residual: Array, keep: NDArray[np.bool_], pixels: PixelNoise = WHITE) -> NDArray[np.float32]:
    """Variance ``(band,)`` of what a restoration missed of each band, units of the noise.

    Noise is white, what was missed of a scene is not: its power is what neighbours in a residual ``(band, y, x)``
    share. Of noise that is not (``pixels``) it is what they share beyond that.
    """
    from scipy.ndimage import median_filter

    rest = np.where(keep, residual, 0)
    power = np.square(rest).sum((1, 2)) / np.maximum(keep.sum((1, 2)), 1)
    out, chance = np.zeros(len(rest)), np.zeros(len(rest))
    for step in ((0, 1), (1, 0), (1, 1)):
        one, other = (slice(None), slice(step[0], None), slice(step[1], None)), (
            slice(None), slice(None, -step[0] or None), slice(None, -step[1] or None),
        )  # fmt: skip
        pairs = np.maximum((keep[one] & keep[other]).sum((1, 2)), 1)
        of_noise = pixels.apart(*step)
        out += ((rest[one] * rest[other]).sum((1, 2)) / pairs - of_noise * power) / (1 - of_noise) / 3
        # where pixels are alike, so is what chance makes of each step
        chance += pixels.area * (1 + 2 * pixels.beside) / pairs / 9
    # of one band it is hardly more than chance, unless it stands out of its neighbours; what these differ by
    # from the mean of all may be chance as well, the variance of nine normal
    # variables' median (W. James, C. Stein, 1961)
    usual = median_filter(out, BANDS_TOGETHER, mode="nearest")
    of_median, level = np.pi / 2 / BANDS_TOGETHER * chance.mean(), usual.mean()
    usual = level + max(0, 1 - of_median / max(np.square(usual - level).mean(), 1e-30)) * (usual - level)
    return np.asarray(np.maximum(np.where(out > usual + 3 * np.sqrt(chance), out, usual), 0), dtype=np.float32)


def spikes(values: Array, ratio: float) -> tuple[Array, Array]:
    """Power of the signals that sample eigenvalues stand for, and that of the noise in the sample's eigenvectors.

    Noise is in an eigenvector more than in any direction, since it helped to choose it.  J. Baik, J. W. Silverstein,
    J. Multivariate Analysis 97(6), 2006; D. Paul, Statistica Sinica 17, 2007; F. Benaych-Georges, R. R. Nadakuditi,
    J. Multivariate Analysis 111, 2012.

    Parameters
    ----------
    values : array
        Eigenvalues of the covariance of signals in unit noise; up to the edge of noise they tell of no signal.
    ratio : float
        Bands by pixels.

    Returns
    -------
    signal, noise : array

    Examples
    --------
    >>> signal, noise = spikes(np.array([1.0, 100.0]), 0.01)
    >>> signal.round(2), noise.round(3)
    (array([ 0. , 98.98]), array([1., 1.]))
    """
    edge = (1 + np.sqrt(ratio)) ** 2
    beyond_edge = np.maximum(values, edge)
    middle = beyond_edge + 1 - ratio
    power = np.maximum((middle + np.sqrt(np.maximum(middle**2 - 4 * beyond_edge, 0))) / 2 - 1, np.sqrt(ratio))
    # squared cosines between the sample's and the true vectors: over bands, and over pixels
    bands, pixels = ((1 - ratio / power**2) / (1 + part) for part in (ratio / power, 1 / power))
    noise = beyond_edge + bands * power - 2 * np.sqrt(np.maximum(bands * pixels, 0) * beyond_edge * power)
    return np.where(values > edge, power, 0), np.where(values > edge, noise, 1)


def shared(residual: Array, least: Array | float = 0.0, area: float = 1.0) -> NDArray[np.float32]:
    """Variance ``(band,)`` of what neighbouring bands of a residual ``(band, y, x)`` of unit noise share.

    What a scene's estimate has taken of the noise is missing in the residual's bands, and makes the rest seem more
    than noise: so each band's noise counts as ``least`` ``(band,)`` at least, a standard deviation.

    A direction of few bands hides from the subspace of all bands, below an edge that grows with their number
    (`estimate.subspace`); among the bands of a window the edge is lower. So many pixels (``area``) count as one.
    """
    bands = len(residual)
    size = min(WINDOW, bands)
    covariance = gram(residual) / residual[0].size
    level = np.maximum(np.sqrt(np.maximum(np.diag(covariance), 1e-12)), least)
    correlation = covariance / level / level[:, None]
    pixels = residual[0].size / area
    ratio = size / pixels
    # by a few of these a largest eigenvalue of noise scatters about the edge (I. M. Johnstone, Ann. Stat. 29, 2001)
    edge = (1 + np.sqrt(ratio)) ** 2 * (1 + 3 * pixels ** (-2 / 3))
    out = np.zeros(bands)
    for first in {*range(0, bands - size, WINDOW // 3), bands - size}:
        window = slice(first, first + size)
        values, vectors = np.linalg.eigh(correlation[window, window])
        power = spikes(values, ratio)[0]
        out[window] = np.maximum(out[window], vectors**2 @ np.where(values > edge, power, 0))
    return np.asarray(out * level**2, dtype=np.float32)


def turned(separation: Separation) -> NDArray[np.float32]:
    """Variance ``(band, y, x)``, units of the noise, of what turns the directions: they were chosen with noise in them.

    Of N pixels a direction takes the N-th part of the noise of all other directions, wherever its component is: as much
    of the scene is missed there, and the residual, whose noise makes up for it, shows nothing. In all that is the rank
    by the number of pixels, and a pixel that has a direction to itself keeps its noise. Of noise that neighbours share
    a component that they share as well takes more.
    """
    power = np.square(separation.scores.best)
    whole = np.maximum(power.sum((1, 2), keepdims=True), 1e-30)
    taken = np.square(separation.noise.pixels.back(separation.scores.best)).sum((1, 2), keepdims=True)
    own = (power / whole * (taken / whole)).sum(0)
    beyond_directions = np.clip(1 - np.square(separation.directions).sum(1), 0, None)
    return np.asarray(beyond_directions[:, None, None] * np.minimum(own, 1), dtype=np.float32)


def pattern(separation: Separation, scene: Array) -> NDArray[np.float32]:
    """Variance ``(band, y, x)`` of what is wrong of whole columns and bands, squared units of the scene.

    Offsets that may as well be scene; the gain and offset that the elements of a band have in the mean, which nothing
    but their number makes small; and lines through the pixels of one column, which are as many as it is long. The last
    are independent from band to band: only what lies in the subspace enters the scene. (A band's mean does as a whole:
    it turns the subspace itself.)
    """
    noise = separation.noise
    out = noise.offset_std[:, None] ** 2 + np.zeros_like(scene)
    middle = scene.mean((1, 2), keepdims=True)
    height, width = scene.shape[1:]
    from_middle = np.square(scene - middle)
    level = noise.offset + (noise.gain - 1) * middle[:, 0]
    out += (level.var(1)[:, None, None] + noise.gain.var(1)[:, None, None] * from_middle) / width
    if not (noise.gain != 1).any():
        return np.asarray(out, dtype=np.float32)
    lines = noise.pixels.long * (1 + from_middle / np.maximum(from_middle.mean((1, 2), keepdims=True), 1e-12)) / height
    inside = np.square(separation.directions @ separation.directions.T)
    out += noise.sigma[:, None, None] ** 2 * np.tensordot(inside, lines, 1)
    return np.asarray(out, dtype=np.float32)


def noise_level(rest: torch.Tensor, variance: torch.Tensor, basis: torch.Tensor, area: float = 1.0) -> torch.Tensor:
    """Variance of the noise about each pixel ``(y, x)``, in that which is assumed and of mean one.

    What a restoration leaves beyond its components tells it, of all bands and neighbours together. By as much as this
    varies by chance alone, it is drawn to one (W. James, C. Stein, 1961). Components of as many directions as there are
    bands leave nothing: one everywhere.

    Parameters
    ----------
    rest : Tensor, shape (band, y, x)
        Residual of unit noise without the components; zero where nothing was measured.
    variance : Tensor, shape (band, y, x)
        That is assumed; zero where nothing was measured.
    basis : Tensor, shape (band, n)
        Orthonormal directions of the components.
    area : float
        Pixels that count as one.
    """
    beyond_basis = (1 - basis.square().sum(dim=1)).clamp(min=0)
    if float(beyond_basis.sum()) < LEAST_BEYOND:
        return torch.ones_like(variance[0])
    power, expected = rest.square().sum(dim=0), torch.tensordot(beyond_basis, variance, dims=1)
    both = torch.stack([power, expected])
    about = torch.nn.functional.avg_pool2d(both, NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False)
    level = about[0] / about[1].clamp(min=1e-6 * float(about[1].mean()) + 1e-30)
    level = level / level.mean().clamp(min=1e-12)
    chance = 2 * min(area, NEIGHBOURS**2) / (NEIGHBOURS**2 * beyond_basis.sum())
    kept = (1 - chance / level.var(correction=0).clamp(min=1e-12)).clamp(min=0)
    return 1 + kept * (level - 1)


def spread_of(drawn: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Variance ``(n, y, x)`` of samples ``(sample, n, y, x)`` about the mean, of neighbours together: few samples tell
    little of one pixel.
    """
    variance = (drawn - mean).square().mean(dim=0)
    return torch.nn.functional.avg_pool2d(variance, NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False)


@torch.no_grad()
def calibrate(net: FlowNet, coder: Autoencoder, examples: Sequence[Example], seed: int) -> dict[str, float]:
    """Factors ``spread`` and ``beyond`` of ``variance = spread · samples' variance + beyond · beyond()``.

    Those with which as many errors lie within one and within 1.96 standard deviations as of a normal distribution, in
    the median over held-out examples (a mean would be that of the few whose outliers were missed). Returned beside
    them: these shares.
    """
    errors, spreads, faint = [], [], []
    for number, example in enumerate(examples):
        components, basis = evidence(example.whitened, coder)
        condition = channels_of(components)
        chosen = slice(0, COMPONENTS)
        condition = type(condition)(*(part[chosen] for part in condition))
        height, width = example.truth.shape[1:]
        generator = torch.Generator().manual_seed(seed + number)
        mean = from_blocks(posterior_mean(net, condition).movedim(1, 0))[:, :height, :width]
        drawn = [from_blocks(sample(net, condition, STEPS, generator).movedim(1, 0)) for _ in range(SAMPLES)]
        variance = spread_of(torch.stack(drawn)[..., :height, :width], mean)
        truth = torch.tensordot(basis.T, torch.as_tensor(example.truth), dims=1)
        # of components that are not looked at, the error is that of the classical estimate: left out
        rest = torch.as_tensor(example.truth) - torch.tensordot(basis[:, COMPONENTS:], truth[COMPONENTS:], dims=1)
        rest = rest - torch.tensordot(basis[:, chosen], mean, dims=1)
        # what is wrong of a whole column is its offset, which has an uncertainty of its own
        error = (rest - rest.mean(dim=1, keepdim=True)).abs()
        spread = torch.tensordot(basis[:, chosen] ** 2, variance, dims=1)
        errors.append(_some(error.flatten()))
        spreads.append(_some(spread.flatten()))
        faint.append(beyond(len(basis), height * width))
    from scipy.optimize import minimize

    def covered(factors: Array) -> Array:
        """Shares within one and 1.96 standard deviations, medians over examples."""
        ratios = [
            error / np.sqrt(factors[0] * spread + factors[1] * some)
            for error, spread, some in zip(errors, spreads, faint, strict=True)
        ]
        return np.array([np.median([(ratio < limit).mean() for ratio in ratios]) for limit in LIMITS])

    def miss(logarithms: Array) -> float:
        return float(np.dot(COUNTS, (covered(np.exp(logarithms)) - SHARES) ** 2))

    # shares are steps: what is too small moves none, and the search would end where it began
    start = {"initial_simplex": np.array([[0, 0], [1, 0], [0, 1]])}
    best = np.exp(minimize(miss, np.zeros(2), method="Nelder-Mead", options=start).x)
    inside, most = covered(best)
    return {"spread": float(best[0]), "beyond": float(best[1]), "within_68": float(inside), "within_95": float(most)}


def _some(values: torch.Tensor, count: int = 40_000) -> Array:
    """As many as a share can be taken of."""
    return np.asarray(values[:: max(1, len(values) // count)].numpy())
