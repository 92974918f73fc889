"""Full-reference indices of bands and spectra: error, correlation, angle, divergence."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hsitools.errors import InputError
from hsitools.metrics.inputs import MAX_TEMPORARY, Pair
from hsitools.metrics.registry import Score, index, mean_of, with_nan

REFERENCE = "full reference"
GONZALEZ = "R. C. Gonzalez, R. E. Woods, Digital Image Processing, 4th ed., Pearson, 2018"
#: Times the rounding of an image's values that contrast must be, to be any.
ROUNDING = 32.0


def _count(excluded: torch.Tensor, name: str) -> dict[str, int]:
    n = int(excluded.sum())
    return {name: n} if n else {}


@index("RMSE", kind=REFERENCE, paper=GONZALEZ, unit="of the cube", low=0, high=math.inf, best=0)
def rmse(pair: Pair) -> Score:
    """Root mean square error over all valid voxels."""
    total = (pair.mse * pair.count).sum(1) / pair.count.sum(1)
    return Score(value=total.sqrt(), per_band=with_nan(pair.mse.sqrt(), pair.band_valid), excluded=pair.excluded())


@index("MAE", kind=REFERENCE, paper=GONZALEZ, unit="of the cube", low=0, high=math.inf, best=0)
def mae(pair: Pair) -> Score:
    """Mean absolute error over all valid voxels."""
    parts = [(pair.estimate[:, part] - pair.reference[:, part]).abs_().sum((-2, -1)) for part in pair.slices()]
    sums = torch.cat(parts, dim=1)
    per_band = with_nan(sums / pair.count.clamp(min=1), pair.band_valid)
    return Score(value=sums.sum(1) / pair.count.sum(1), per_band=per_band, excluded=pair.excluded())


@index("PSNR", kind=REFERENCE, paper=GONZALEZ, unit="dB", low=-math.inf, high=math.inf, best=math.inf)
def psnr(pair: Pair) -> Score:
    """Range over error, mean of the bands' values (MPSNR, `Pair.data_range`); a dead band without error is left out."""
    values = 10 * torch.log10(pair.data_range[:, None] ** 2 / pair.mse)
    # a dead band that both have would make the mean infinite
    empty = pair.dead_bands & (pair.mse == 0) | ~pair.band_valid
    return Score(
        value=mean_of(values, ~empty),
        per_band=with_nan(values, ~empty),
        excluded=pair.excluded() | _count(empty, "bands"),
        facts=pair.range_facts(),
    )


@index("PSNR_global", kind=REFERENCE, paper=GONZALEZ, unit="dB", low=-math.inf, high=math.inf, best=math.inf)
def psnr_global(pair: Pair) -> Score:
    """Range (`Pair.data_range`) over the error of all bands at once."""
    mse = (pair.mse * pair.count).sum(1) / pair.count.sum(1)
    value = 10 * torch.log10(pair.data_range**2 / mse)
    return Score(value=value, excluded=pair.excluded(), facts=pair.range_facts())


@index(
    "ERGAS", kind=REFERENCE, unit="%", low=0, high=math.inf, best=0,
    paper="L. Wald, Quality of high resolution synthesised images: is there a simple criterion?, 2000",
)  # fmt: skip
def ergas(pair: Pair) -> Score:
    """Relative global error, 100/ratio · sqrt(mean over bands of MSE/mean²); bands of zero mean are left out."""
    if pair.ratio is None:
        raise InputError("ERGAS: ratio: missing, expected the pixel size ratio (as 6 for PRISMA)")
    mean = pair.mean(pair.reference)
    keep = (mean != 0) & pair.band_valid
    relative = pair.mse / torch.where(keep, mean, 1) ** 2
    value = 100 / pair.ratio * mean_of(relative, keep).sqrt()
    per_band = with_nan(100 / pair.ratio * relative.sqrt(), keep)
    return Score(value=value, per_band=per_band, excluded=pair.excluded() | _count(~keep, "bands"))


@index("CC", kind=REFERENCE, paper=GONZALEZ, unit="1", low=-1, high=1, best=1)
def cc(pair: Pair) -> Score:
    """Correlation coefficient, mean over bands; bands without contrast in either cube are left out."""
    return _correlation(pair, lambda values: values, pair.valid)


def _correlation(pair: Pair, detail: Callable[[Tensor], Tensor], valid: Tensor | None) -> Score:
    """Correlation of what ``detail``, which is linear, makes of both images less the reference's mean."""
    level = pair.mean(pair.reference)[..., None, None]
    parts = []
    for part in pair.slices():
        weight = None if valid is None else valid[:, part].to(level.dtype)
        centred, floors = [], []
        for image in (pair.estimate, pair.reference):
            values = image[:, part] - level[:, part]
            values = values if pair.valid is None else values * pair.valid[:, part]
            size = values.abs().amax((-2, -1))
            values = detail(values) if weight is None else detail(values) * weight
            if weight is None:
                values = values - values.mean((-2, -1), keepdim=True)
            else:
                n = weight.sum((-2, -1), keepdim=True).clamp(min=1)
                values = (values - values.sum((-2, -1), keepdim=True) / n) * weight
            centred.append(values)
            floors.append((ROUNDING * torch.finfo(values.dtype).eps * size) ** 2 * values[0, 0].numel())
        a, b = centred
        parts.append(torch.stack([(a * b).sum((-2, -1)), (a * a).sum((-2, -1)), (b * b).sum((-2, -1)), *floors]))
    cross, xx, yy, *least = torch.cat(parts, dim=2)
    keep = (xx > least[0]) & (yy > least[1]) & ~pair.dead_bands
    values = cross / torch.where(keep, (xx * yy).sqrt(), 1)
    return Score(
        value=mean_of(values, keep), per_band=with_nan(values, keep), excluded=pair.excluded() | _count(~keep, "bands")
    )


@index(
    "SCC", kind=REFERENCE, unit="1", low=-1, high=1, best=1,
    paper="J. Zhou, D. L. Civco, J. A. Silander, A wavelet transform method to merge Landsat TM and SPOT panchromatic "
    "data, Int. J. Remote Sensing 19(4), 1998",
)  # fmt: skip
def scc(pair: Pair) -> Score:
    """Spatial correlation: correlation of the Laplacian (3×3, centre 8) of both, mean over bands."""

    def laplacian(values: torch.Tensor) -> torch.Tensor:
        rows = values[..., :-2, :] + values[..., 1:-1, :] + values[..., 2:, :]
        box = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
        return 9 * values[..., 1:-1, 1:-1] - box

    if min(pair.reference.shape[-2:]) < 3:
        raise InputError(f"SCC: found {pair.reference.shape[-2:]} pixels, expected at least 3×3")
    valid = None
    if pair.valid is not None:
        count = 9 - laplacian((~pair.valid).to(torch.int8)).abs()
        valid = (count == 9) & pair.valid[..., 1:-1, 1:-1]
    return _correlation(pair, laplacian, valid)


@index(
    "SAM", kind=REFERENCE, unit="degree", low=0, high=180, best=0,
    paper="R. H. Yuhas, A. F. H. Goetz, J. W. Boardman, Discrimination among semi-arid landscape endmembers using the "
    "spectral angle mapper, JPL Airborne Geoscience Workshop, 1992",
)  # fmt: skip
def sam(pair: Pair) -> Score:
    """Spectral angle, mean over the pixels that have a direction: zero spectra are left out of the mean."""
    angle, keep = spectral_angle(pair)
    flat = angle.flatten(1)
    return Score(value=mean_of(flat, keep.flatten(1)), excluded=pair.excluded() | _count(~keep, "pixels"))


def spectral_angle(pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    """Angle of each pixel's spectra, degree, ``(batch, y, x)``, and where it is defined."""
    batch, bands, height, width = pair.reference.shape
    step = max(1, MAX_TEMPORARY // (batch * bands * width))
    angles, keeps = [], []
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        x, y = pair.estimate[..., rows, :], pair.reference[..., rows, :]
        x_norm, y_norm = x.norm(dim=1, keepdim=True), y.norm(dim=1, keepdim=True)
        keep = ((x_norm > 0) & (y_norm > 0))[:, 0]
        x = x / torch.where(x_norm > 0, x_norm, 1)
        y = y / torch.where(y_norm > 0, y_norm, 1)
        # Kahan's formula: exact at small angles, where the arc cosine loses half of the digits
        angles.append(torch.rad2deg(2 * torch.atan2((x - y).norm(dim=1), (x + y).norm(dim=1))))
        keeps.append(keep)
    keep = torch.cat(keeps, dim=1)
    if pair.pixel_valid is not None:
        keep = keep & pair.pixel_valid
    return torch.cat(angles, dim=1), keep


@index(
    "SID", kind=REFERENCE, unit="nat", low=0, high=math.inf, best=0,
    paper="C.-I. Chang, An information-theoretic approach to spectral variability, IEEE Trans. Inf. Theory 46(5), 2000",
)  # fmt: skip
def sid(pair: Pair) -> Score:
    """Spectral information divergence, mean over pixels; values that are not positive have no logarithm: left out."""
    batch, bands, height, width = pair.reference.shape
    step = max(1, MAX_TEMPORARY // (batch * bands * width))
    values, keeps, voxels = [], [], 0
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        x, y = pair.estimate[..., rows, :], pair.reference[..., rows, :]
        positive = (x > 0) & (y > 0)
        voxels += int((~positive if pair.valid is None else ~positive & pair.valid[..., rows, :]).sum())
        p, q = torch.where(positive, x, 0), torch.where(positive, y, 0)
        p, q = p / p.sum(1, keepdim=True).clamp(min=1e-300), q / q.sum(1, keepdim=True).clamp(min=1e-300)
        log = torch.where(positive, torch.log(torch.where(positive, p / torch.where(positive, q, 1), 1)), 0)
        values.append(((p - q) * log).sum(1))
        keeps.append(positive.any(1))
    keep = torch.cat(keeps, dim=1)
    if pair.pixel_valid is not None:
        keep = keep & pair.pixel_valid
    excluded = pair.excluded() | _count(~keep, "pixels") | ({"voxels_not_positive": voxels} if voxels else {})
    return Score(value=mean_of(torch.cat(values, dim=1).flatten(1), keep.flatten(1)), excluded=excluded)
