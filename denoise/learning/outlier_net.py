"""The learned outlier estimator: a small 3D net that says of each voxel how likely it is no measurement.

It weighs what the histogram of a band says (as `denoise.separation.estimate.outliers` does) with what that cannot say:
neighbours in band, row and column, runs of a constant along either, and how many voxels of a band, row and column are
suspect.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoise.learning.denoiser_card import OUTLIERS, WEIGHTS
from denoise.separation.value_bins import BINS, value_bins
from hsitools.estimation.spread import robust_sigma

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Numbers that describe a voxel (see `features`), and channels inside the net: those of the weights.
FEATURES, WIDTH = 17, 16
#: Finer bins within each of a band's values, in which a value that occurs again and again shows. As in training.
FINE = 16
#: Voxels of a row or column in which a run of a constant is looked for. As in training.
RUN = 9
#: Bands that go through the net at once; its activations then fit a cache.
CHUNK = 8
#: Smallest noise, as a share of what the caller says it is; predictions that follow the noise show less.
#: As in training.
FLOOR = 0.05


def outlier_probability(
    values: Array, predicted: Array, sigma: Array, keep: Mask, prior: Mask, folder: str | Path | None = None,
    device: str = "cpu",
) -> NDArray[np.float32]:  # fmt: skip
    """How likely each voxel carries no signal.

    Parameters
    ----------
    values, predicted : array, shape (band, y, x)
        What was observed, and what scene and calibration make of it at present.
    sigma : array, shape (band,)
        Noise of the bands, as estimated so far.
    keep : array of bool, shape (band, y, x)
        Voxels in question; all others get probability one.
    prior : array of bool, shape (band, y, x)
        What `denoise.separation.estimate.outliers` finds.
    folder : path, optional
        Of other weights than the package's.
    device : str
        Where the net runs, as torch names it.

    Returns
    -------
    array of float32, shape (band, y, x)

    Raises
    ------
    FormatError, InputError
        When the weights are missing or not what their card says.
    """
    import torch

    from hsitools.devices import whole_convolutions

    net = _load(None if folder is None else str(folder), device)
    probability = np.ones(values.shape, np.float32)
    with torch.inference_mode(), whole_convolutions():
        for first in range(0, len(values), CHUNK):
            # one band more on either side, to which the convolution reaches
            low, high = max(first - 1, 0), min(first + CHUNK + 1, len(values))
            described, _ = features(*(item[low:high] for item in (values, predicted, sigma, keep, prior)))
            own = slice(first - low, first - low + CHUNK)
            odds = net(torch.from_numpy(described)[None].to(device))[0, 0, own].cpu().numpy()
            probability[first : first + len(odds)] = 1 / (1 + np.exp(-odds))
    probability[~keep] = 1
    return probability


def features(
    values: Array, predicted: Array, sigma: Array, keep: Mask, prior: Mask
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale-free numbers of each voxel ``(FEATURES, band, y, x)``, and the noise ``(band,)`` that they are in units of.

    The first is the logarithm of the odds that value and prediction alone give; the net starts from it.
    """
    from scipy.ndimage import uniform_filter1d

    values = np.where(keep, values, predicted)
    out = np.empty((FEATURES, *values.shape), dtype=np.float32)
    kept, suspect = keep.astype(np.float32), (prior & keep).astype(np.float32)
    residual = np.where(keep, values - predicted, 0).astype(np.float32)
    scale = _scale(residual, keep & ~prior, np.asarray(sigma, dtype=np.float32))
    unit = residual / scale[:, None, None]
    for band in range(len(values)):
        out[:4, band] = _by_value(values[band], predicted[band], unit[band], keep[band], suspect[band], scale[band])
    np.clip(unit, -8, 8, out=out[4])
    np.log1p(np.abs(unit), out=out[5])
    out[6], out[7] = suspect, kept
    count = np.maximum(kept.sum((1, 2)), 1)
    share = suspect.sum((1, 2)) / count
    out[8] = np.sqrt(share)[:, None, None]
    for place, axis in ((9, 1), (10, 2)):
        out[place] = suspect.sum(axis, keepdims=True) / np.maximum(kept.sum(axis, keepdims=True), 1)
    # a run of a constant varies less than the noise, and is off as a whole
    level = np.where(keep, values - predicted.mean((1, 2), keepdims=True), 0).astype(np.float32) / scale[:, None, None]
    np.clip(level, -30, 30, out=level)
    for place, axis in ((11, 1), (12, 2)):
        mean = uniform_filter1d(level, RUN, axis=axis)
        varied = uniform_filter1d(level * level, RUN, axis=axis) - mean * mean
        out[place] = 0.5 * np.log(np.maximum(varied, 1e-3))
        out[place + 2] = np.clip(uniform_filter1d(out[4], RUN, axis=axis), -4, 4)
    out[15] = np.log(np.clip(scale / np.maximum(sigma, 1e-12), 1e-2, 1e2))[:, None, None]
    spread = np.maximum(predicted.std((1, 2)) / scale, 1e-3)
    out[16] = np.log(spread)[:, None, None]
    return out, scale


def _scale(residual: Array, use: Mask, sigma: Array) -> NDArray[np.float32]:
    """Noise of each band: the lesser of the deviations' root mean square and what their median says."""
    out = np.empty(len(residual), dtype=np.float32)
    for band, (rest, which) in enumerate(zip(residual, use, strict=True)):
        part = rest[which]
        noise = min(np.sqrt(np.mean(part**2)), robust_sigma(part)) if part.size else 0
        out[band] = max(noise, FLOOR * sigma[band], 1e-12)
    return out


def _by_value(values: Array, predicted: Array, unit: Array, keep: Mask, suspect: Array, scale: float) -> Array:
    """What the histogram of one band says of each voxel ``(4, y, x)``.

    Log odds of outlier against noise; log ratio of how often the value occurs to how often it is expected; how often
    it is expected; how much the very value stands out among values like it.
    """
    from scipy.ndimage import gaussian_filter1d

    used = values[keep]
    out = np.zeros((4, *values.shape), dtype=np.float32)
    if not used.size:
        return out
    low, step, levels = value_bins(used)
    if not step > 0:
        return out
    # numbers of few digits have no value between two levels, and each of these is no peak
    finer = min(FINE, levels or FINE)
    fine = np.clip((values - low) * (finer / step), 0, BINS * finer - 1).astype(np.int32)
    place = fine // finer
    guess = np.clip((predicted[keep] - low) / step, 0, BINS - 1).astype(np.int32)
    often = np.bincount(fine[keep], minlength=BINS * finer).astype(np.float32)
    counted = gaussian_filter1d(often.reshape(BINS, finer).sum(1), 0.7, mode="constant")
    total = max(len(used) - suspect.sum(), 1.0)
    blur = np.hypot(max(scale / step, 0.3), 0.7)
    expected = gaussian_filter1d(np.bincount(guess, minlength=BINS).astype(np.float32), blur, mode="constant")
    expected *= total / len(used)
    # what counts by chance is no excess
    excess = np.maximum(counted - expected - np.sqrt(expected + 1), 0.02)
    normal = np.log(total * step / (scale * np.sqrt(2 * np.pi))) - 0.5 * np.minimum(unit**2, 60)
    out[0] = np.clip(np.log(excess)[place] - normal, -10, 10)
    out[1] = np.clip(np.log((counted + 0.5) / (expected + 0.5)), -4, 6)[place]
    out[2] = np.log((expected + 0.5) * BINS / len(used))[place]
    out[3] = np.log(finer * often[fine] / np.maximum(counted[place], 1) + 0.1)
    return out


@cache
def _load(folder: str | None, device: str) -> nn.Module:
    return WEIGHTS.load(OUTLIERS, lambda card: make_net(), folder)[0].to(device)


def _first_output(module: Any, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Files of 0.1.0 have a second output, the noise, which nothing reads; the package's own have no more."""
    for name in (f"{prefix}leave.weight", f"{prefix}leave.bias"):
        if name in state:
            state[name] = state[name][:1]


def make_net() -> nn.Module:
    """The net, untrained: ``(item, FEATURES, band, y, x)`` to log odds ``(item, 1, band, y, x)``."""
    import torch
    from torch import nn

    class OutlierNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter = nn.Conv3d(FEATURES, WIDTH, 1)
            self.near = nn.Conv3d(WIDTH, WIDTH, 3, padding=1, groups=4)
            self.context = nn.Conv3d(3 * WIDTH, WIDTH, 1)
            self.mix = nn.Conv3d(2 * WIDTH, 2 * WIDTH, 1)
            self.leave = nn.Conv3d(2 * WIDTH, 1, 1)
            nn.init.zeros_(self.leave.weight)
            self.register_load_state_dict_pre_hook(_first_output)

        def forward(self, described: torch.Tensor) -> torch.Tensor:
            act = nn.functional.relu
            inside = act(self.enter(described))
            column, row = inside.mean(-2, keepdim=True), inside.mean(-1, keepdim=True)
            # the context of a voxel is affine in three small maps, added without laying them out
            of_column, of_row, of_band = self.context.weight.chunk(3, dim=1)
            near = self.near(inside) + nn.functional.conv3d(column, of_column, self.context.bias)
            near = near + nn.functional.conv3d(row, of_row)
            near = act(near + nn.functional.conv3d(row.mean(-2, keepdim=True), of_band))
            return self.leave(act(self.mix(torch.cat([inside, near], 1)))) + described[:, :1]

    return OutlierNet()
