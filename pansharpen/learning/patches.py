"""Training data: pairs of coarse cube and reference by the sensor, split without a shared pixel; patches of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.sensor import Sensor
from hsitools.sensor.spatial import TAIL, mtf_sigma
from pansharpen.case import FusionCase
from pansharpen.families.nets import Scale, measure
from pansharpen.fuse import prepared
from pansharpen.pair.wald import real_case, simulated_case

#: Coarse pixels below which a piece of a scene is of no use.
MIN_SIDE = 4
#: Share that is held out, and scenes from which on whole ones are held out.
HELD_OUT, WHOLE_SCENES = 0.2, 5
#: Procedural scenes by default.
PROCEDURAL = 12
Window = tuple[int, int, int, int]


# ---- split -----------------------------------------------------------------------------------------------------


def psf_reach(sensor: Sensor) -> int:
    """Coarse pixels from whose surroundings the PSF of a coarse pixel takes its light, on each side."""
    if sensor.mtf is None:
        return 0
    return math.ceil(TAIL * float(mtf_sigma(np.min(sensor.mtf), sensor.ratio)[0]) / sensor.ratio)


def split(
    shape: tuple[int, int], *, share: float = HELD_OUT, gap: int = 0, step: int = 1, at_end: bool = True
) -> tuple[Window, Window]:
    """Cut an image across its longer side into a part for training and one for validation.

    Parameters
    ----------
    shape : (int, int)
        Pixels (y, x).
    share : float
        That is held out.
    gap : int
        Pixels between the parts that belong to neither: twice a PSF's reach keeps any light from being in both.
    step : int
        Cuts are at multiples of it.
    at_end : bool
        Hold out the end rather than the beginning.

    Returns
    -------
    (y0, y1, x0, x1), (y0, y1, x0, x1)
        Windows for training and for validation.

    Raises
    ------
    InputError
        When nothing is left of either.
    """
    along = 0 if shape[0] >= shape[1] else 1
    size = shape[along] // step * step
    gap = -(-gap // step) * step
    held = max(round(share * size / step), 1) * step
    if size - held - gap < step:
        raise InputError(f"scene: found {shape[0]}×{shape[1]} pixels, expected more than {held + gap} to split")
    spans = ((0, size - held - gap), (size - held, size)) if at_end else ((held + gap, size), (0, held))

    def window(span: tuple[int, int]) -> Window:
        return (*span, 0, shape[1]) if along == 0 else (0, shape[0], *span)

    return window(spans[0]), window(spans[1])


# ---- pairs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Cases with references for training and for validation, each with those of the sensor's bands that it has.

    Attributes
    ----------
    training, validation : list of FusionCase
    bands : array, shape (band,)
        Numbers, in the sensor, of the bands that any of them has.
    wavelength_nm : array, shape (band,)
        Of these.
    """

    training: list[FusionCase]
    validation: list[FusionCase]
    bands: NDArray[np.int64]
    wavelength_nm: NDArray[np.float64]

    def former_name(self) -> str:
        """What 0.1.0's checkpoints call these data: a hash of all values, which is the same on one machine only."""
        digest = hashlib.sha256(self.bands.tobytes())
        for case in (*self.training, None, *self.validation):
            digest.update(b"|" if case is None else case.coarse.numpy().tobytes() + case.pan.numpy().tobytes())
        return digest.hexdigest()[:12]


def make_pairs(
    scenes: Sequence[Cube], sensor: Sensor, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Pairs:
    """Pairs by the sensor: plain scenes are observed with its noise, products with PAN are degraded after Wald.

    From five scenes on whole ones are held out; fewer are each cut in two (see `split`), and simulated apart.

    Parameters
    ----------
    scenes : sequence of Cube
    sensor : Sensor
        With PAN.
    seed : int
        Of the noise, and of what is held out.
    progress : callable, optional
        Called with (scenes done, scenes in all).

    Raises
    ------
    InputError
        When scenes are too small, or not in the sensor's bands or ratio.
    """
    if not scenes:
        raise InputError("data: found no scene, expected at least one")
    rng = np.random.default_rng(seed)
    count = len(scenes)
    pieces: list[tuple[Cube, bool]] = []
    if count >= WHOLE_SCENES:
        held = set(rng.permutation(count)[: max(round(HELD_OUT * count), 1)].tolist())
        pieces = [(cube, number in held) for number, cube in enumerate(scenes)]
    else:
        for cube in scenes:
            product = cube.pan is not None
            step = 1 if product else int(sensor.ratio)
            windows = split(
                cube.shape[1:], gap=2 * psf_reach(sensor) if product else 0, step=step, at_end=bool(rng.integers(2))
            )
            pieces += [(cube.select(window=window), held) for window, held in zip(windows, (False, True), strict=True)]
    made: list[tuple[FusionCase, bool]] = []
    for number, (cube, held_out) in enumerate(pieces):
        if cube.pan is not None:
            case = real_case(cube, sensor, reduced=True)
        else:
            case = simulated_case(cube, sensor, seed=seed + number)
        if min(case.coarse.shape[-2:]) < MIN_SIDE:
            raise InputError(
                f"{case.name}: found {case.coarse.shape[-2]}×{case.coarse.shape[-1]} coarse pixels"
                f"{'' if count >= WHOLE_SCENES else ' after the split'}, expected at least {MIN_SIDE}×{MIN_SIDE}"
            )
        if case.optics.ratio != sensor.ratio:
            raise InputError(f"{case.name}: ratio: found {case.optics.ratio}, expected {sensor.ratio} of {sensor.name}")
        made.append((case, held_out))
        if progress is not None:
            progress(number + 1, len(pieces))
    bands = np.unique(np.concatenate([sensor_bands(case, sensor) for case, _ in made]))
    return Pairs(
        training=[case for case, held in made if not held], validation=[case for case, held in made if held],
        bands=bands, wavelength_nm=np.asarray(sensor.response.wavelength_nm)[bands],
    )  # fmt: skip


def sensor_bands(case: FusionCase, sensor: Sensor) -> NDArray[np.int64]:
    """Which of the sensor's bands those of the case are."""
    own = case.optics.wavelength_nm
    if own is None:
        return np.arange(case.n_bands)
    return np.abs(np.asarray(sensor.response.wavelength_nm)[:, None] - own[None]).argmin(axis=0)


# ---- patches ---------------------------------------------------------------------------------------------------


class Patch(NamedTuple):
    """Where a patch lies.

    ``turn`` is one of eight turned or mirrored ways; ``bands`` (first, last + 1) are the only ones that it is given,
    None means all: so the net learns to do without.
    """

    part: int
    window: Window
    turn: int = 0
    bands: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A case as a net sees it: normalised tensors without a batch axis.

    Attributes
    ----------
    base, truth : Tensor, shape (band, y, x)
        Interpolated (or otherwise upsampled) cube and reference, in deviations of the scene's bands.
    pan : Tensor, shape (1, y, x)
    known : Tensor of bool, shape (1, y, x)
        Where both are measured.
    has : Tensor of bool, shape (band,)
        Bands that the scene has; in the others the nearest of these stands in, as when fusing.
    spectrum, mean, std, correlation : Tensor, shape (band,)
    """

    base: torch.Tensor
    truth: torch.Tensor
    pan: torch.Tensor
    known: torch.Tensor
    has: torch.Tensor
    spectrum: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    correlation: torch.Tensor

    @classmethod
    def of(
        cls, case: FusionCase, wavelength_nm: NDArray[np.float64], upsampled: Callable[[FusionCase], FusionCase]
    ) -> Part:
        """The part made from a case with reference, in the net's bands, upsampled as by `Net.upsampled`."""
        assert case.reference is not None
        ready = prepared(case)
        tile = upsampled(ready).tile
        scale: Scale = measure(ready)
        known = torch.isfinite(case.reference[0]).all(0, keepdim=True)
        if tile.measured is not None:
            known = known & tile.measured[0]
        own = case.optics.wavelength_nm
        distance = np.abs(wavelength_nm[:, None] - (wavelength_nm if own is None else own)[None])
        into = torch.as_tensor(distance.argmin(axis=1))
        has = torch.zeros(len(wavelength_nm), dtype=torch.bool)
        has[torch.as_tensor(distance.argmin(axis=0))] = True
        return cls(
            base=scale.cube(tile.expanded)[0, into], truth=scale.cube(torch.nan_to_num(case.reference))[0, into],
            pan=scale.pan(tile.pan)[0], known=known, has=has.to(known.device), spectrum=scale.spectrum[0, into],
            mean=scale.mean[0, into].float(), std=scale.std[0, into].float(),
            correlation=scale.correlation[0, into].float(),
        )  # fmt: skip

    def crop(self, patch: Patch) -> dict[str, torch.Tensor]:
        """The tensors of a patch; ``known`` becomes (band, y, x)."""
        y0, y1, x0, x1 = patch.window
        count = len(self.has)
        low, high = patch.bands or (0, count)
        place = torch.arange(count, device=self.has.device)
        kept = place.clamp(low, high - 1)
        out = {}
        for name in ("base", "truth", "pan", "known"):
            values = getattr(self, name)[:, y0:y1, x0:x1]
            values = values.mT if patch.turn & 4 else values
            axes = [axis for axis, bit in ((-2, 1), (-1, 2)) if patch.turn & bit]
            values = values.flip(axes) if axes else values
            out[name] = values[kept] if patch.bands and name in ("base", "truth") else values
        out["known"] = out["known"] & (self.has & (place == kept))[:, None, None]
        return out | {name: getattr(self, name)[kept] for name in ("spectrum", "mean", "std", "correlation")}


def patch_side(parts: Sequence[Part], patch: int, ratio: int) -> int:
    """Side of patches in fine pixels: ``patch`` coarse ones, or as much as the smallest part has."""
    smallest = min(min(part.pan.shape[-2:]) for part in parts)
    return min(patch * ratio, smallest // ratio * ratio)


def draw(parts: Sequence[Part], side: int, ratio: int, rng: np.random.Generator) -> list[Patch]:
    """Patches of an epoch in random order, as many as cover each part once.

    Windows begin at coarse pixels. Every other patch is given a range of bands only.
    """
    out: list[Patch] = []
    for number, part in enumerate(parts):
        height, width = part.pan.shape[-2:]
        for _ in range(-(-height // side) * -(-width // side)):
            top, left = (ratio * int(rng.integers((size - side) // ratio + 1)) for size in (height, width))
            low, high = sorted(rng.integers(len(part.has) + 1, size=2).tolist())
            bands = (low, high) if rng.integers(2) and high > low else None
            out.append(Patch(number, (top, top + side, left, left + side), int(rng.integers(8)), bands))
    return [out[place] for place in rng.permutation(len(out))]


def cover(parts: Sequence[Part], side: int) -> Iterator[Patch]:
    """Windows that cover each part once, for validation."""
    for number, part in enumerate(parts):
        height, width = part.pan.shape[-2:]
        for top in range(0, height, side):
            for left in range(0, width, side):
                yield Patch(number, (top, min(top + side, height), left, min(left + side, width)))


def stack(patches: Sequence[dict[str, torch.Tensor]], device: Any) -> dict[str, torch.Tensor]:
    """A batch on a device."""
    return {name: torch.stack([patch[name] for patch in patches]).to(device) for name in patches[0]}
