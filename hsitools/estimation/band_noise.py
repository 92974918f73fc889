"""Noise of the bands of a cube: what other bands do not explain.

Three ways for three purposes, on one principle (R. E. Roger, J. F. Arnold, Int. J. Remote Sensing 17(10), 1996):

- `band_noise`: from a cube; the noise that models and restorations go by. All other bands explain a band.
- `unexplained`: from a covariance, all there is of a cube that is read in parts; all other bands, or only the nearest
  where pixels are few.
- `block_noise`: the published index, in blocks of 8×8 pixels and with a pixel beside; for judging cubes whose noise a
  method has changed, block by block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.estimation.covariance import gram
from hsitools.estimation.spread import robust_sigma

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]
#: Bands up to which neighbouring pixels have a say in a band's noise: fewer do not explain one another.
FEW_BANDS = 8
#: Pixels for each pair of bands that explain another: eight a weight, so that the fit takes an eighth of the noise.
PIXELS_PER_REACH = 16
#: Pixels on either side that predict one between them, and the sides of images that have enough to fit such a filter.
#: Optics blur a scene by a pixel or more: neighbours predict it, and not its noise.
NEAR, LONG = 2, 16
#: Share of the blocks of an image that are taken to hold hardly any scene, what of white noise such a block says, less
#: than the mean of all by as many of their scatters, and one such scatter (simulated; 8×8 pixels, weights fitted).
FLAT, SCATTER = 0.05, 0.14
#: Rounds of reweighting that keep edges from deciding the filter, and their width in standard deviations.
EDGE_ROUNDS, EDGE = 3, 2.0
#: Side of the blocks of `block_noise`, pixels, as published.
BLOCK = 8
#: Ridge that keeps regressions on equal bands solvable, as a share of their variance: far below any noise.
RIDGE = 1e-10


def band_noise(values: Array, area: float = 1.0) -> NDArray[np.float32]:
    """Standard deviation of the noise of each band ``(band,)`` of ``(band, y, x)``.

    The residual of a regression on all other bands is read off the inverse covariance (J. M. Bioucas-Dias, J. M. P.
    Nascimento, Hyperspectral subspace identification, IEEE TGRS 46(8), 2008). With too few pixels for that the
    nearest bands have to do. One band, or few pixels or bands, may have less in neighbouring pixels: the median of
    mixed differences of 2×2 pixels, in which stripes cancel; of a single row or column, of second differences along it.
    Few bands have less still where neighbours predict a pixel best, in the flattest blocks (`_innovation`).

    Of noise that neighbouring pixels share, so many (``area``) tell as much as one does of white noise, and neighbours'
    differences have less than all of it: they are left out.
    """
    flat = values.reshape(len(values), -1)
    bands, pixels = flat.shape
    many = pixels >= 4 * bands * area
    reach = min((bands - 1) // 2, int(pixels / area) // PIXELS_PER_REACH)
    told = bands > 1 and (many or reach > 0)
    alike = bands > FEW_BANDS and (many or (told and area > 1))
    spatial = np.full(bands, np.inf) if alike else _spatial(values)
    if not told:
        return np.asarray(spatial, dtype=np.float32)
    covariance = gram(flat - flat.mean(1, keepdims=True, dtype=float).astype(np.float32)) / pixels
    if many:
        spectral = np.sqrt(unexplained(covariance) * pixels / (pixels - bands * area))
    else:
        spectral = np.sqrt(unexplained(covariance, reach) * pixels / (pixels - (2 * reach + 1) * area))
    # few bands do not explain one another: what is left is scene
    return np.asarray(np.minimum(spectral, spatial), dtype=np.float32)


def _spatial(values: Array) -> Array:
    """Noise of each band ``(band,)`` from neighbouring pixels; of one pixel or two nothing is told."""
    bands, height, width = values.shape
    if min(height, width) >= LONG and bands <= FEW_BANDS:
        least = robust_sigma(np.diff(np.diff(values, axis=1), axis=2) / 2, axis=(1, 2))
        return np.minimum(least, _innovation(values))
    if height > 1 and width > 1:
        return np.asarray(robust_sigma(np.diff(np.diff(values, axis=1), axis=2) / 2, axis=(1, 2)))
    bent = np.diff(values.reshape(bands, -1), n=2) / np.sqrt(6)
    return np.asarray(robust_sigma(bent, axis=1)) if bent.size else np.full(bands, np.inf)


def _innovation(values: Array) -> Array:
    """Noise of bands ``(band,)``: what neighbours, and then other bands, miss of a pixel, where that is least.

    The best linear filter predicts a pixel from its neighbours, whose noise is in what it misses as much as it has
    weights. Finer texture is missed as well: it is in several bands, and noise is not, so that what is missed of one
    band is predicted from what is missed of the others. The lesser of both is the noise.
    """
    side = 2 * NEAR + 1
    shape = tuple(size - 2 * NEAR for size in values.shape[1:])
    missed, own = np.empty((len(values), shape[0] * shape[1])), np.empty(len(values))
    for band, image in enumerate(values.astype(float)):
        patches = np.lib.stride_tricks.sliding_window_view(image - image.mean(), (side, side)).reshape(-1, side**2)
        middle = side**2 // 2
        missed[band], weights = _unpredicted(patches[:, middle], np.delete(patches, middle, axis=1))
        own[band] = 1 + weights @ weights
    alone = np.array([_flattest(image.reshape(shape)) for image in missed])
    spread = missed.std(1)
    if len(values) == 1 or not spread.all():
        return np.sqrt(alone / own)
    # each band's noise as the filter passes it, and that of the others by their weights
    mixing, together = np.diag(own), np.empty(len(values))
    scaled = missed / spread[:, None]
    for band in range(len(values)):
        others = np.delete(np.arange(len(values)), band)
        rest, weights = _unpredicted(scaled[band], scaled[others].T)
        together[band] = _flattest(spread[band] * rest.reshape(shape))
        mixing[band, others] = (weights * spread[band] / spread[others]) ** 2 * own[others]
    # texture that was left in one band must not become negative noise in another
    shared = np.maximum(np.linalg.solve(mixing, together), together / mixing.sum(1))
    return np.sqrt(np.minimum(alone / own, shared))


def _unpredicted(own: Array, around: Array) -> tuple[Array, Array]:
    """What regressors ``(pixel, n)`` leave of values ``(pixel,)``, and their weights ``(n,)``."""
    weight = np.ones(len(own))
    for _ in range(EDGE_ROUNDS):
        normal = (around * weight[:, None]).T @ around
        ridge = RIDGE * max(np.trace(normal), np.finfo(float).tiny) / len(normal) * np.eye(len(normal))
        filtering = np.linalg.solve(normal + ridge, around.T @ (weight * own))
        rest = own - around @ filtering
        width_of_edge = EDGE * float(robust_sigma(rest, axis=0))
        if not width_of_edge > 0:
            return np.zeros_like(rest), filtering
        weight = 1 / (1 + np.square(rest / width_of_edge)) ** 2
    return rest * np.sqrt(len(own) / (len(own) - len(filtering))), filtering


def _flattest(rest: Array) -> float:
    """Variance of ``(y, x)`` in blocks of low variance: those without texture, and the usual ones if noise hides it.

    After S. Pyatykh, J. Hesser, L. Zheng, IEEE TIP 22(2), 2013; X. Liu, M. Tanaka, M. Okutomi, IEEE TIP 22(12), 2013,
    who take principal components of patches.
    """
    from scipy.special import ndtri

    down, across = (size // BLOCK for size in rest.shape)
    blocks = rest[: down * BLOCK, : across * BLOCK].reshape(down, BLOCK, across, BLOCK)
    level = robust_sigma(blocks, axis=(1, 3)).ravel()
    # of few blocks the least is the flat one
    share = max(FLAT, 1 / (1 + len(level)))
    return float(np.quantile(level, share) / (1 + SCATTER * ndtri(share))) ** 2


def unexplained(covariance: NDArray[np.float64], reach: int | None = None) -> NDArray[np.float64]:
    """Variance ``(band,)`` that each band keeps to itself beside all others, or beside its nearest ones.

    Parameters
    ----------
    covariance : array, shape (band, band)
    reach : int, optional
        Only so many bands on either side explain a band (at the ends twice as many on one side): few weights, so that
        few pixels suffice.
    """
    own = np.diag(covariance)
    if reach is None:
        scale = np.sqrt(np.where(own > 0, own, 1))
        correlation = covariance / scale / scale[:, None] + RIDGE * np.eye(len(own))
        return np.asarray(scale**2 / np.diag(np.linalg.inv(correlation)))
    weights = weights_of_nearest(covariance, reach)
    return np.clip(own - np.einsum("bn,bn->b", weights, covariance), 0, None)


def weights_of_nearest(covariance: NDArray[np.float64], reach: int, apart: int = 1) -> NDArray[np.float64]:
    """Weights ``(band, band)`` with which its nearest bands explain each band (`nearest`); zero of all others."""
    bands = np.arange(len(covariance))[:, None]
    near = nearest(len(covariance), reach, apart)
    among, beside = covariance[near[:, :, None], near[:, None, :]], covariance[near, bands]
    # bands that repeat one another share their weight
    inverse = np.linalg.pinv(among, rcond=2 * reach * np.finfo(float).eps, hermitian=True)
    out = np.zeros_like(covariance)
    out[bands, near] = np.einsum("bij,bj->bi", inverse, beside)
    return out


def own_variance(unexplained_part: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance ``(band,)`` of each band's own noise: what others do not explain of it, less their noise in that.

    Parameters
    ----------
    unexplained_part : array, shape (band,)
    weights : array, shape (band, band)
        Of `weights_of_nearest`.
    """
    mixing = np.eye(len(weights)) + weights**2
    # a scene that was not explained in one band must not become negative noise in another
    least = unexplained_part / mixing.sum(1)
    return np.maximum(np.linalg.solve(mixing, unexplained_part), least)


def nearest(bands: int, reach: int, apart: int = 1) -> NDArray[np.int64]:
    """The ``2 · reach`` bands nearest to each band ``(band, 2 · reach)``, on one side at the ends.

    None that is less than ``apart`` bands off. There must be at least twice as many bands as both add up to.

    Examples
    --------
    >>> nearest(7, 1, 2).tolist()
    [[3, 2], [4, 3], [0, 4], [1, 5], [2, 6], [3, 2], [4, 3]]
    """
    steps = np.arange(apart, apart + reach)
    near = np.arange(bands)[:, None] + np.concatenate([-steps[::-1], steps])
    across = 2 * (reach + apart) - 1
    return np.where(near < 0, near + across, np.where(near >= bands, near - across, near))


def block_noise(
    values: torch.Tensor, valid: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, dict[str, int]]:
    """Standard deviation of the noise of each band, from blocks of 8×8 pixels.

    In each block a band is regressed on both neighbouring bands and the pixel beside it; the median of the blocks'
    variances is taken, and the noise that the regressors themselves bring in is taken off.

    Parameters
    ----------
    values : Tensor, shape (batch, band, y, x)
    valid : Tensor of bool, same shape, optional
        Blocks with invalid voxels are left out.

    Returns
    -------
    sigma : Tensor, shape (batch, band)
    keep : Tensor of bool, same shape
        False where no block tells.
    excluded : dict
        Number of ``blocks`` and ``bands`` left out, where there are any.

    Raises
    ------
    InputError
        When there are fewer than three bands or 8×8 pixels.
    """
    import torch  # seconds, which `band_noise` and lists of methods do without

    variance, gains, excluded = _block_residuals(values, valid)
    keep = torch.isfinite(variance)
    # v_k = s_k (1 + c²) + a² s_(k−1) + b² s_(k+1): solve for the s
    filled, gains = torch.where(keep, variance, 0), torch.where(keep[..., None], gains, 0)
    system = torch.diag_embed(1 + gains[..., 2] ** 2)
    place = torch.arange(variance.shape[1])
    left, right = torch.as_tensor(nearest(variance.shape[1], 1)).T
    system[:, place, left] += gains[..., 0] ** 2
    system[:, place, right] += gains[..., 1] ** 2
    # signal that the regression did not remove must not become negative noise elsewhere
    solved = torch.linalg.solve(system, filled[..., None])[..., 0]
    floor = filled / (1 + (gains**2).sum(-1)) * 0.25
    sigma = torch.maximum(solved, floor).clamp(min=0).sqrt()
    return sigma, keep, excluded | ({} if keep.all() else {"bands": int((~keep).sum())})


def _block_residuals(
    values: torch.Tensor, valid: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, dict[str, int]]:
    """Variance of the residuals ``(batch, band)``, weights of the three regressors, and what is left out."""
    import torch

    batch, bands, height, width = values.shape
    if bands < 3 or min(height, width) < BLOCK:
        raise InputError(f"noise: found {bands}×{height}×{width}, expected 3 bands and {BLOCK}×{BLOCK} pixels at least")
    down, across = height // BLOCK, width // BLOCK

    def cut(image: torch.Tensor) -> torch.Tensor:
        image = image[..., : down * BLOCK, : across * BLOCK].reshape(batch, bands, down, BLOCK, across, BLOCK)
        return image.permute(0, 1, 2, 4, 3, 5).reshape(batch, bands, down * across, BLOCK, BLOCK)

    blocks = cut(values).double()
    blocks = blocks - blocks.mean((-2, -1), keepdim=True)
    target = blocks[..., 1:].flatten(3)
    beside = blocks[..., :-1].flatten(3)
    left, right = torch.as_tensor(nearest(bands, 1)).T
    regressors = torch.stack([target[:, left], target[:, right], beside, torch.ones_like(target)], dim=-2)
    products = regressors @ regressors.mT
    # a flat neighbour would make it singular; each regressor in its own units, or the result would depend on them
    scale = products.diagonal(dim1=-2, dim2=-1)
    ridge = torch.diag_embed(RIDGE * torch.where(scale > 0, scale, 1))
    weights = torch.linalg.solve(products + ridge, regressors @ target[..., None])
    residual = target - (weights.mT @ regressors)[..., 0, :]
    variance = (residual**2).sum(-1) / (target.shape[-1] - 4)
    keep = torch.ones_like(variance, dtype=torch.bool)
    if valid is not None:
        whole = cut(valid.to(torch.uint8)).flatten(3).bool().all(-1)
        keep = whole & whole[:, left] & whole[:, right]
    # dead bands have no noise to tell of
    keep = keep & (target.abs().amax(-1) > 0)
    middle = torch.where(keep, variance, torch.nan).nanmedian(2).values
    gains = torch.where(keep[..., None], weights[..., :3, 0], torch.nan).nanmedian(2).values
    lost = int((~keep).sum())
    return middle, gains, {"blocks": lost} if lost else {}
