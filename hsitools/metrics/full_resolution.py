"""Indices at full resolution, where there is no reference: spectral and spatial consistency of a fused cube."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from hsitools.cube import Cube
from hsitools.cube.agreement import require_same_place
from hsitools.errors import InputError
from hsitools.estimation.nonnegative import nonnegative
from hsitools.metrics.inputs import MIN_VALID, as_batch, cropped, require_comparable
from hsitools.metrics.q2n import band_quality, q2n_map
from hsitools.metrics.registration import Registration, register
from hsitools.metrics.registry import Score, index, mean_of
from hsitools.sensor.coarse_grid import centred_offset, check_ratio
from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.separable import Separable, size_of
from hsitools.sensor.spatial import mtf_blur, mtf_decimate
from hsitools.text import counted

KIND = "full resolution"
#: Gain of a panchromatic image at its own Nyquist frequency, where it is not known.
USUAL_PAN_MTF = 0.2
#: Gains that `d_pan` tries then.
PAN_GAINS = (0.08, 0.12, 0.2, 0.3, 0.45, 0.65, 0.9)
#: Side of the blocks of Q at the fine scale, pixels; at the coarse scale they cover the same ground.
BLOCK = 32
ALPARONE = (
    "L. Alparone et al., Multispectral and panchromatic data fusion assessment without reference, "
    "Photogramm. Eng. Remote Sens. 74(2), 2008"
)


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """A fused cube with what it was made from.

    Attributes
    ----------
    fused : Tensor, shape (batch, band, y, x)
    coarse : Tensor, shape (batch, band, y/ratio, x/ratio)
        The hyperspectral cube.
    pan : Tensor, shape (batch, 1, y, x)
    ratio : int
    mtf, pan_mtf : float or array of shape (band,) or (band, 2), float
        Gains at the coarse Nyquist frequency: of the bands, and of the low-pass that `d_s` gives PAN.
    offset : float or None
        Fine-pixel position of the first coarse pixel; None is the centre of what it covers, (ratio − 1)/2 (published
        simulations often sample at ratio // 2: pass it).
    registration : Registration, tuple of them (one a cube), or None
        How the pair lies beyond offset and MTF; None is as these declare (`registered` finds it from the pair).
    pan_own_mtf : float or None
        PAN's own gain at its Nyquist frequency; None when not known.
    noise_variance : array, shape (band,), or None
        Of the coarse cube; None when not known.
    border : int
        Fine pixels left out on each side of spatial comparisons, where no filter reaches over the edge.
    valid : Tensor of bool, shape (batch, y, x), or None
        Fine pixels valid in everything.
    live : Tensor of bool, shape (band,), or None
        Bands that are compared, of those that were given; None when all are.
    """

    fused: torch.Tensor
    coarse: torch.Tensor
    pan: torch.Tensor
    ratio: int
    mtf: Any = 0.3
    pan_mtf: float = 0.15
    offset: float | None = None
    border: int = 0
    registration: Any = None
    pan_own_mtf: float | None = None
    noise_variance: Any = None
    valid: torch.Tensor | None = None
    live: torch.Tensor | None = None

    @classmethod
    def of(cls, fused: Any, coarse: Any, pan: Any, *, ratio: int | None = None, **settings: Any) -> Fusion:
        """Check shapes; invalid pixels and dead bands are set aside. Without PAN (None) an even image stands for it.

        Raises
        ------
        InputError
            When the sizes, or the bands or units of cubes, do not fit one another.
        """
        require_comparable(fused, coarse, "fused", "coarse")
        if isinstance(pan, Cube) and isinstance(fused, Cube):
            require_same_place(pan, fused)
        f, m = as_batch(fused, "fused"), as_batch(coarse, "coarse")
        p = torch.ones_like(f[:, :1]) if pan is None else as_batch(pan, "pan")
        dtype = torch.promote_types(torch.promote_types(f.dtype, m.dtype), p.dtype)
        f, m, p = f.to(dtype), m.to(dtype), p.to(dtype)
        pixels = f.shape[-2] // m.shape[-2]
        ratio = pixels if ratio is None else check_ratio(ratio)
        if m.shape[1] != f.shape[1] or (m.shape[-2] * ratio, m.shape[-1] * ratio) != tuple(f.shape[-2:]):
            have, other = tuple(m.shape[1:]), tuple(f.shape[1:])
            raise InputError(f"coarse: found shape {have}, expected {ratio} times fewer pixels than {other}")
        if p.shape[1] != 1 or p.shape[-2:] != f.shape[-2:]:
            raise InputError(f"pan: found shape {tuple(p.shape[1:])}, expected (1, {f.shape[-2]}, {f.shape[-1]})")
        voxels = torch.isfinite(f) & torch.isfinite(m).repeat_interleave(ratio, 2).repeat_interleave(ratio, 3)
        live = _live(m, voxels)
        if not live.any():
            raise InputError("coarse: found no band with contrast and with values in the fused cube, expected some")
        for name in ("mtf", "noise_variance"):
            value = settings.get(name)
            if value is not None and np.ndim(value):
                if len(value) != len(live):
                    raise InputError(f"{name}: found {counted(len(value), 'value')}, expected {len(live)}, one a band")
                settings[name] = np.asarray(value)[live.cpu().numpy()]
        f, m = f[:, live], m[:, live]
        low = torch.isfinite(m).all(1)
        fine = voxels[:, live].all(1) & torch.isfinite(p[:, 0])
        if not fine.flatten(1).any(1).all():
            raise InputError("fused: found no pixel valid in all of fused cube, coarse cube and pan")
        valid = None if fine.all() else fine
        if valid is not None:
            f, p = torch.where(valid[:, None], f, _typical(f)), torch.where(valid[:, None], p, _typical(p))
            m = torch.where(low[:, None], m, _typical(m))
        if settings.get("offset") is None:
            settings["offset"] = centred_offset(ratio)
        kept = None if live.all() else live
        return cls(fused=f, coarse=m, pan=p, ratio=ratio, valid=valid, live=kept, **settings)

    def excluded(self) -> dict[str, int]:
        """Fine pixels and bands that no index sees."""
        out = {} if self.valid is None else {"pixels": int((~self.valid).sum())}
        return out if self.live is None else out | {"bands": int((~self.live).sum())}

    def all_bands(self, values: torch.Tensor) -> torch.Tensor:
        """Values ``(batch, band)`` of the bands that are compared, among those that were given; NaN for others."""
        if self.live is None:
            return values
        out = values.new_full((len(values), len(self.live)), torch.nan)
        out[:, self.live] = values
        return out

    def registered(self) -> Fusion:
        """With shift and MTF found from each pair itself, where they were not given."""
        if self.registration is not None:
            return self
        registrations = tuple(
            register(
                self.coarse[number], self.pan[number], self.mtf, self.ratio, self.offset, pan_gain=self.pan_gain,
                valid=None if self.coarse_valid is None else self.coarse_valid[number],
            )
            for number in range(len(self.fused))
        )  # fmt: skip
        return dataclasses.replace(self, registration=registrations)

    def down(self, number: int, mtf: Any, aside: tuple[float, float] = (0.0, 0.0)) -> Separable:
        """Blur by gains ``mtf`` and sampling, as cube ``number`` of the batch has them, or ``aside`` of that (y, x)."""
        registration = self.registration or Registration()
        registration = registration[number] if isinstance(registration, tuple) else registration
        shift = (registration.shift[0] + aside[0], registration.shift[1] + aside[1])
        return mtf_decimate(size_of(self.fused), registration.gains(mtf), self.ratio, self.offset, shift=shift)

    @property
    def pan_gain(self) -> float:
        """PAN's own gain at its Nyquist frequency, or the usual one."""
        return USUAL_PAN_MTF if self.pan_own_mtf is None else self.pan_own_mtf

    @cached_property
    def coarse_valid(self) -> torch.Tensor | None:
        """Coarse pixels whose fine pixels are all valid."""
        if self.valid is None:
            return None
        batch, height, width = self.valid.shape
        r = self.ratio
        return self.valid.reshape(batch, height // r, r, width // r, r).all(4).all(2)

    @cached_property
    def degraded(self) -> torch.Tensor:
        """The fused cube through the instrument's MTF, at the coarse scale."""
        return torch.stack([self.down(number, self.mtf)(fused) for number, fused in enumerate(self.fused)])

    @cached_property
    def pan_coarse(self) -> torch.Tensor:
        """The panchromatic image at the coarse scale."""
        return torch.stack([self.down(number, self.pan_mtf)(pan) for number, pan in enumerate(self.pan)])

    @property
    def coarse_block(self) -> int:
        """Side of a block at the coarse scale, pixels."""
        return max(2, round(BLOCK / self.ratio))


def _live(coarse: torch.Tensor, voxels: torch.Tensor) -> torch.Tensor:
    """Bands that can be compared: with contrast, and not mostly invalid (they would leave no pixel to the others)."""
    # beside a hole's filling a constant would have contrast
    low, high = (torch.where(torch.isfinite(coarse), coarse, end).flatten(2) for end in (torch.inf, -torch.inf))
    counts = voxels.flatten(2).sum(2)
    dense = counts >= MIN_VALID * counts.amax(1, keepdim=True).clamp(min=1)
    return ((high.amax(2) > low.amin(2)) & dense).all(0)


def _typical(values: torch.Tensor) -> torch.Tensor:
    """Median of each band's valid values: what stands in for invalid ones under filters."""
    return values.flatten(2).nanmedian(2).values[..., None, None].nan_to_num(0.0)


@index(
    "D_lambda", kind=KIND, unit="1", low=0, high=1, best=0, needs_pan=False,
    paper="M. M. Khan, L. Alparone, J. Chanussot, Pansharpening quality assessment using the modulation transfer "
    "functions of instruments, IEEE TGRS 47(11), 2009",
)  # fmt: skip
def d_lambda(fusion: Fusion) -> Score:
    """Spectral distortion after Khan: 1 − Q2n of the fused cube, through the MTF, against the coarse cube."""
    scores, excluded = q2n_map(fusion.degraded, fusion.coarse, fusion.coarse_valid)
    flat = scores.flatten(1)
    return Score(value=1 - mean_of(flat, torch.isfinite(flat)), excluded=fusion.excluded() | excluded)


@index("D_lambda_classic", kind=KIND, paper=ALPARONE, unit="1", low=0, high=1, best=0, needs_pan=False)
def d_lambda_classic(fusion: Fusion) -> Score:
    """Spectral distortion of QNR: change of the Q between all pairs of bands, fine against coarse (p = 1)."""
    fine = band_quality(fusion.fused, None, fusion.coarse_block * fusion.ratio, fusion.valid)
    coarse = band_quality(fusion.coarse, None, fusion.coarse_block, fusion.coarse_valid)
    bands = fine.shape[1]
    if bands < 2:
        raise InputError("D_lambda_classic: found 1 band, expected at least 2")
    change = (fine - coarse).abs()
    upper = torch.triu_indices(bands, bands, 1)
    pairs = change[:, upper[0], upper[1]]
    keep = torch.isfinite(pairs)
    excluded = {"band_pairs": int((~keep).sum())} if not keep.all() else {}
    return Score(value=mean_of(pairs, keep), excluded=fusion.excluded() | excluded)


@index("D_s", kind=KIND, paper=ALPARONE, unit="1", low=0, high=1, best=0)
def d_s(fusion: Fusion) -> Score:
    """Spatial distortion of QNR: change of the Q between each band and PAN, fine against coarse (q = 1)."""
    fine = band_quality(fusion.fused, fusion.pan, fusion.coarse_block * fusion.ratio, fusion.valid)
    coarse = band_quality(fusion.coarse, fusion.pan_coarse, fusion.coarse_block, fusion.coarse_valid)
    change = (fine - coarse).abs()
    keep = torch.isfinite(change)
    excluded = {"bands": int((~keep).sum())} if not keep.all() else {}
    return Score(value=mean_of(change, keep), per_band=fusion.all_bands(change), excluded=fusion.excluded() | excluded)


@index(
    "D_sR", kind=KIND, unit="1", low=0, high=float("inf"), best=0,
    paper="L. Alparone, A. Garzelli, G. Vivone, Spatial consistency for full-scale assessment of pansharpening, "
    "IGARSS 2018",
)  # fmt: skip
def d_sr(fusion: Fusion) -> Score:
    """Spatial distortion by regression: 1 − R² of PAN on the fused bands, without intercept, as published.

    With many bands PAN is regressed almost perfectly whatever the fused cube, so that it hardly discriminates; an
    offset between PAN and bands takes it above 1. `d_pan` is the one to look at.
    """
    weight = fusion.valid
    values = []
    for number, (bands, pan) in enumerate(zip(fusion.fused.double(), fusion.pan.double(), strict=True)):
        keep = slice(None) if weight is None else weight[number].flatten()
        a, b = bands.flatten(1)[:, keep], pan.flatten()[keep]
        residual = b - _solve(a @ a.T, a @ b) @ a
        values.append(residual.var() / b.var())
    return Score(value=torch.stack(values), excluded=fusion.excluded())


def _solve(gram: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Least squares by the normal equations; bands that repeat one another share their weight."""
    values, vectors = torch.linalg.eigh(gram)
    keep = values > values[-1] * len(gram) * torch.finfo(gram.dtype).eps
    return vectors[:, keep] @ ((vectors[:, keep].T @ right) / values[keep])


@index(
    "D_pan", kind=KIND, unit="1", low=0, high=1, best=0,
    paper="hsitools: PAN response learned at the coarse scale, tested on PAN's detail at the fine scale",
)  # fmt: skip
def d_pan(fusion: Fusion) -> Score:
    """Share of PAN's fine detail that the fused cube does not explain, through a response it could not fit.

    Nonnegative weights (and an intercept) that make PAN of the bands are learned from the coarse pair, where there are
    no invented details, then applied to the fused cube, and the prediction is blurred as PAN's own optics would
    (`Fusion.pan_own_mtf`; where that is not known, as suits the cube best); both PAN and prediction lose their coarse
    part, and the residual's variance is given relative to PAN's detail, at most 1. It judges the bands that PAN sees,
    and what PAN sees of them, only: a cube that copies PAN has a good value.
    """
    scores = []
    up = interpolate(size_of(fusion.coarse), fusion.ratio, fusion.offset, method="bicubic")
    # one blur for all bands and PAN: what the bands' blur loses must be lost in PAN too
    gain = float(np.mean(fusion.mtf))
    down = mtf_decimate(size_of(fusion.pan), gain, fusion.ratio, fusion.offset)
    gains = PAN_GAINS if fusion.pan_own_mtf is None else (fusion.pan_own_mtf,)
    for number in range(len(fusion.fused)):
        pan = fusion.pan[number].double()
        valid = None if fusion.coarse_valid is None else fusion.coarse_valid[number]
        weights = _response(fusion.coarse[number].double(), fusion.down(number, gain)(pan), valid)
        predicted = torch.einsum("b,byx->yx", weights, fusion.fused[number].double())[None]
        inside = None if fusion.valid is None else cropped(fusion.valid[number][None], fusion.border, "pan")[0]

        def detail(image: torch.Tensor, inside: torch.Tensor | None = inside) -> torch.Tensor:
            lost = cropped(image - up(down(image)), fusion.border, "pan")[0]
            return lost.flatten() if inside is None else lost[inside]

        own = detail(pan)
        left = [(own - detail(mtf_blur(size_of(pan), gain, 1)(predicted))).var() for gain in gains]
        power = own.var()
        scores.append(torch.stack(left).min() / power if power > 0 else power * torch.nan)
    return Score(value=torch.stack(scores).clamp(max=1), excluded=fusion.excluded())


def _response(coarse: torch.Tensor, pan: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Nonnegative weights ``(band,)`` that make PAN of the bands at the coarse scale, with an intercept."""
    bands, target = (coarse.flatten(1), pan.flatten()) if valid is None else (coarse[:, valid], pan[0, valid])
    centred, goal = bands - bands.mean(1, keepdim=True), target - target.mean()
    # a small ridge: neighbouring bands are almost the same
    gram = centred @ centred.T
    gram = gram + 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return nonnegative(gram[None], (centred @ goal)[None, :, None])[0, :, 0]


def _product(fusion: Fusion, spectral: Any, spatial: Any) -> Score:
    first, second = spectral(fusion), spatial(fusion)
    return Score(value=(1 - first.value) * (1 - second.value), excluded=first.excluded | second.excluded)


@index("QNR", kind=KIND, paper=ALPARONE, unit="1", low=0, high=1, best=1)
def qnr(fusion: Fusion) -> Score:
    """Quality with no reference: (1 − D_lambda_classic)(1 − D_s)."""
    return _product(fusion, d_lambda_classic, d_s)


@index(
    "HQNR", kind=KIND, unit="1", low=0, high=1, best=1,
    paper="B. Aiazzi et al., Full scale assessment of pansharpening methods and data products, SPIE 9244, 2014",
)  # fmt: skip
def hqnr(fusion: Fusion) -> Score:
    """Hybrid QNR: (1 − D_lambda)(1 − D_s), with Khan's D_lambda."""
    return _product(fusion, d_lambda, d_s)


@index(
    "RQNR", kind=KIND, unit="1", low=-float("inf"), high=1, best=1,
    paper="L. Alparone, A. Garzelli, G. Vivone, Spatial consistency for full-scale assessment of pansharpening, "
    "IGARSS 2018",
)  # fmt: skip
def rqnr(fusion: Fusion) -> Score:
    """Regression-based QNR: (1 − D_lambda)(1 − D_sR)."""
    return _product(fusion, d_lambda, d_sr)
