"""The error of a fused cube as it is to be expected without a reference, in ERGAS's own units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hsitools.errors import InputError
from hsitools.estimation.rounding import above_rounding
from hsitools.metrics.band_places import band_places
from hsitools.metrics.full_resolution import KIND, Fusion
from hsitools.metrics.no_reference import Single, noise
from hsitools.metrics.registry import Score, index, mean_of
from hsitools.sensor.interpolation import displace, interpolate
from hsitools.sensor.separable import size_of
from hsitools.sensor.spatial import mtf_blur, mtf_decimate

#: Excess over the noise, in noise variances, from which on consistency says anything of a band's details.
TELLING = 0.05
#: Share of excessive details that counts as error in a consistent cube: what is to be expected is roughly known only.
EXCESS = 0.25


@index(
    "ERGAS_est", kind=KIND, unit="%", low=0, high=math.inf, best=0,
    paper="hsitools: squared error by scales: seen by the sensor, along PAN's details, across them",
)  # fmt: skip
def ergas_est(fusion: Fusion) -> Score:
    """ERGAS as it is to be expected without a reference; it ranks cubes as ERGAS does (`python -m benchmarks honesty`).

    The squared error of each band is put together of three parts:

    - what the sensor sees of it: the fused cube, through the band's MTF and the registration of the pair, less the
      coarse cube, beyond the noise;
    - what is wrong along PAN's details: the gain on them, squared, less the one that holds at the coarse scale, where
      nothing is injected (so that a gain fitted at the fine scale cannot pass for the right one);
    - what is wrong across them: the energy of details that PAN does not explain, against the energy that the coarse
      scale lets expect. As much of them counts as right as the cube, in the finest details that the sensor sees, is
      more consistent with the coarse one than PAN's details alone would be (spectra that are wrong altogether say
      nothing of that); then only missing energy is an error, and a quarter of excessive energy.

    The last two are compared as PAN's own optics see them, and scaled to all details; with PAN as each band has it,
    where bands lie beside one another (`hsitools.metrics.band_places`). Absolute values are within some
    tens of percent of ERGAS; the truth itself has a value near, not at, zero.
    """
    fusion = fusion.registered()
    values, bands, excluded = [], [], fusion.excluded()
    for number in range(len(fusion.fused)):
        error = _Pair.of(fusion, number).squared_error(fusion.fused[number].double())
        mean = _mean(fusion.coarse[number].double(), fusion.coarse_valid, number)
        keep = mean != 0
        relative = error / torch.where(keep, mean, 1) ** 2
        values.append(100 / fusion.ratio * mean_of(relative, keep).sqrt())
        bands.append(torch.where(keep, 100 / fusion.ratio * relative.sqrt(), torch.nan))
    return Score(value=torch.stack(values), per_band=fusion.all_bands(torch.stack(bands)), excluded=excluded)


def _mean(image: torch.Tensor, valid: torch.Tensor | None, number: int) -> torch.Tensor:
    return image.flatten(1).mean(1) if valid is None else image[:, valid[number]].mean(1)


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """What one pair tells of details, whatever the fused cube; PAN's are one image, or one for each band."""

    fusion: Fusion
    number: int
    noise: torch.Tensor
    gain: torch.Tensor
    rest: torch.Tensor
    explained_alone: torch.Tensor
    pan_detail: torch.Tensor
    scale: float
    detail_noise: float

    @classmethod
    def of(cls, fusion: Fusion, number: int) -> _Pair:
        coarse, pan = fusion.coarse[number].double(), fusion.pan[number].double()
        places = band_places(fusion, number)
        if places is not None:
            # PAN as each band has it
            pan = displace(size_of(pan), tuple(map(tuple, places.tolist())))(pan.expand(len(coarse), -1, -1))
        variance = _noise(fusion, number)
        low = fusion.down(number, float(np.mean(fusion.mtf)))(pan)
        # the octave below the coarse Nyquist frequency stands for the ones above it
        blur = mtf_blur(size_of(coarse), float(np.mean(fusion.mtf)), 2)
        # both images are cut at the same places: their borders may count, and coarse pixels are few
        inner = _inner(coarse, 0, None if fusion.coarse_valid is None else fusion.coarse_valid[number], 2)
        bands, image = inner(coarse - blur(coarse)), inner(low - blur(low))
        impulse = torch.zeros(1, *size_of(coarse), dtype=torch.float64, device=coarse.device)
        impulse[:, impulse.shape[1] // 2, impulse.shape[2] // 2] = 1
        power, pan_power = bands.square().mean(1), image.square().mean(1)
        detail_noise = float((impulse - blur(impulse)).square().sum())
        power = (power - variance * detail_noise).clamp(min=0)
        if not above_rounding(pan_power.min(), low.mean()):
            raise InputError("pan: found no detail at the coarse scale, expected some")
        cross = (bands * image).mean(1)
        share = (cross**2 / (pan_power * power).clamp(min=1e-300)).clamp(max=1)
        details = _details(fusion, pan)
        fine = _detail_inner(fusion, number)
        pan_detail = fine(details(pan))
        own = mtf_blur(size_of(pan), fusion.pan_gain, 1)
        gain = cross / pan_power
        made = _Pair(
            fusion=fusion, number=number, noise=variance, gain=gain, pan_detail=pan_detail,
            rest=power / pan_power * pan_detail.square().mean(1) * (1 - share), explained_alone=torch.zeros_like(gain),
            detail_noise=detail_noise,
            scale=float(pan_detail.square().mean() / fine(details(own(pan))).square().mean().clamp(min=1e-300)),
        )  # fmt: skip
        up = interpolate(size_of(coarse), fusion.ratio, fusion.offset, method="polynomial", out_shape=size_of(pan))
        _, alone = made.visible_errors(up(coarse) + gain[:, None, None] * details(pan))
        return cls(**{**made.__dict__, "explained_alone": alone})

    def visible_errors(self, fused: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Squared difference of the fused cube, as the sensor sees it, to the coarse one, beyond the noise.

        Of all that the sensor sees, and of the octave below its Nyquist frequency.
        """
        fusion, number = self.fusion, self.number
        coarse = fusion.coarse[number].double()
        difference = fusion.down(number, fusion.mtf)(fused) - coarse
        finest = difference - mtf_blur(size_of(coarse), float(np.mean(fusion.mtf)), 2)(difference)
        inner = _inner(coarse, 1, None if fusion.coarse_valid is None else fusion.coarse_valid[number], 2)
        seen, fine = (inner(image).square().mean(1) for image in (difference, finest))
        return (seen - self.noise).clamp(min=0), (fine - self.detail_noise * self.noise).clamp(min=0)

    def squared_error(self, fused: torch.Tensor) -> torch.Tensor:
        """Expected squared error of each band."""
        visible, finest = self.visible_errors(fused)
        blurred = mtf_blur(size_of(fused), self.fusion.pan_gain, 1)(fused)
        detail = _detail_inner(self.fusion, self.number)(_details(self.fusion, blurred)(blurred))
        pan_power = self.pan_detail.square().mean(1)
        gain = (detail * self.pan_detail).mean(1) / pan_power
        own = (detail.square().mean(1) - gain**2 * pan_power).clamp(min=0)
        right = (1 - finest / self.explained_alone.clamp(min=1e-300)).clamp(0, 1)
        # a pair that details along PAN explain down to the noise cannot tell
        right = torch.where(self.explained_alone > TELLING * self.detail_noise * self.noise, right, 0.5)
        missing, excess = (self.rest - own).clamp(min=0), (own - self.rest).clamp(min=0)
        across = right * (missing + EXCESS * excess) + (1 - right) * (self.rest + own)
        return visible + self.scale * ((gain - self.gain) ** 2 * pan_power + across)


def _noise(fusion: Fusion, number: int) -> torch.Tensor:
    """Noise variance of the coarse bands: what is known, or an estimate; zero for a cube too small for one."""
    like = fusion.coarse[number].double()
    if fusion.noise_variance is not None:
        return torch.as_tensor(fusion.noise_variance, dtype=like.dtype, device=like.device)
    valid = None if fusion.coarse_valid is None else fusion.coarse_valid[number][None, None].expand(1, *like.shape)
    try:
        estimate = noise(Single(values=like[None], valid=valid)).per_band
    except InputError:
        return like.new_zeros(len(like))
    assert estimate is not None
    return estimate[0].nan_to_num(0.0) ** 2


def _details(fusion: Fusion, image: torch.Tensor) -> Any:
    """What the mean band's optics lose of an image; the same for bands and PAN, and on the image's own grid."""
    size = size_of(image)
    down = mtf_decimate(size, float(np.mean(fusion.mtf)), fusion.ratio, fusion.offset)
    up = interpolate(size_of(fusion.coarse), fusion.ratio, fusion.offset, method="polynomial", out_shape=size)
    return lambda values: values - up(down(values))


def _detail_inner(fusion: Fusion, number: int) -> Any:
    valid = None if fusion.valid is None else fusion.valid[number]
    return _inner(fusion.fused[number], max(fusion.border, fusion.ratio), valid, 2 * fusion.ratio)


def _inner(image: torch.Tensor, border: int, valid: torch.Tensor | None, reach: int) -> Any:
    """Pixels away from edge and holes, ``(band, pixel)``; of images too small for that, all, or all valid ones."""
    height, width = size_of(image)
    border = border if min(height, width) > 3 * border else 0
    keep = torch.zeros((height, width), dtype=torch.bool, device=image.device)
    keep[border : height - border, border : width - border] = True
    if valid is not None:
        # filters reach over the holes' edges too
        near = torch.nn.functional.max_pool2d((~valid).double()[None, None], 2 * reach + 1, 1, reach)[0, 0] > 0
        keep = next((chosen for chosen in (keep & ~near, keep & valid) if chosen.any()), keep)
    return lambda values: values[:, keep]
