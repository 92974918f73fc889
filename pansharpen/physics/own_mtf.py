"""Can PAN's own MTF be what the sensor says: what PAN's details at two scales tell.

A blur takes more off the differences of PAN along both axes than off those along one, and at fine scale more than at
twice the scale, where a natural image without blur would look the same. So the ratio of both powers, times what it is
relative to that at twice the scale, falls with the MTF whatever the scene is made of. Noise is alike everywhere and
details are not: each ratio is the slope of one power over the other from place to place. What noise adds to that is
found by adding as much again, and twice, and going back to none (simulation extrapolation: J. R. Cook, L. A. Stefanski,
JASA 89, 1994); where most of it is noise, nothing is said.

A scene that is soft itself hides much: of an MTF of .5 and more nothing certain can be said, of .2 it can. Seams where
another date was put into PAN are no details of the scene: before PAN is said to contradict, places are left out where
it does not show what the cube does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from pansharpen.case import Scene
from pansharpen.physics.registration import SPOILED, register
from pansharpen.physics.subspace import one_blur, subspace
from pansharpen.tile import Tile

log = logging.getLogger(__name__)
#: What the ratio is in the middle of the scenes of a gain, and so what gain a ratio tells. Set on jasper_ridge,
#: abu_beach_1 and 2, abu_urban_1 and 4, abu_airport_1, enmap_potsdam_b, aviris_gator_vi, pavia_university_lowres.
GAINS, RATIOS = (0.2, 0.35, 0.5, 1.0), (0.14, 0.19, 0.28, 0.90)
#: Largest ratio that a gain can make, `LARGEST` · gain^`POWER`. The same scenes reach .24, .30 and .43 at gains of .2,
#: .35 and .5; without blur the softest has .30.
LARGEST, POWER = 0.70, 0.6
#: Gain at Nyquist of PAN images of instruments in orbit, .1 to .25, where nothing else is told of it.
USUAL = 0.2
#: Side of the window of a power, pixels of its scale; of fewer windows side by side nothing is told.
WINDOW, LEAST_WINDOWS = 7, 16
#: Of a gain there is no more.
SHARP = 0.97
#: Least part of the powers' moments that must be left without noise, and the largest ratio of an image without blur:
#: what is beyond is noise.
CLEAR, LARGEST_RATIO = 0.3, 1.7
#: Share of the windows, the quietest, that tell of noise, and the mean of white noise over what so many of its windows
#: have less of.
QUIET, MEAN_OVER_QUIET = 0.05, 1.35
#: Octaves of the power that are told apart, from the least, whatever the units, and steps of each.
OCTAVES, LOWEST, STEPS_OF_OCTAVE = 160, 2.0**-80, 8
#: Side of the pattern of noise that is added, pixels.
PERIOD = 256
#: Keeps an image without details from being divided by.
TINY = 1e-200

#: How much each of a tile's fine pixels counts, ``(1, 1, y, x)``.
Weight = Callable[[Tile], torch.Tensor]


def own_mtf(scene: Scene) -> float | None:
    """PAN's gain at its Nyquist frequency: the declared one, or what PAN tells where it cannot be; None if not told.

    Where it cannot be, `Scene.findings` says so under ``pan_mtf``, and so does a warning.
    """
    if scene.optics.pan_mtf is None or scene.pan_made:
        return None
    declared = float(scene.optics.pan_mtf)
    # without the places of another date only where all places say no: it takes another registration
    ratio = 0.0
    for places in (everywhere, alike):
        ratio = _ratio(scene, places(scene))
        if ratio <= LARGEST * declared**POWER:
            return declared
    told = float(np.exp(np.interp(np.log(ratio), np.log(RATIOS), np.log(GAINS))))
    told = min(max(told, declared), SHARP)
    scene.findings["pan_mtf"] = {"declared": round(declared, 3), "taken": round(told, 3)}
    log.warning("PAN's MTF: found details that a gain of %.2g at Nyquist would have taken off, taken as %.2g; expected "
                "PAN as its optics made it (a sharpened product? another sensor?)", declared, told)  # fmt: skip
    return told


def least_mtf(scene: Scene) -> float:
    """The lowest gain at Nyquist that PAN can have where no sensor tells it; `USUAL` where PAN does not say more."""
    return min(max((_ratio(scene, everywhere(scene)) / LARGEST) ** (1 / POWER), USUAL), SHARP)


def _ratio(scene: Scene, where: Weight) -> float:
    noise = scene.optics.pan_variance
    noise = _untold_noise(scene, where) if noise is None else noise
    return sharpness(scene.sum(lambda tile: _powers(tile, where, noise)))


def _untold_noise(scene: Scene, where: Weight) -> float:
    """Variance of PAN's noise, no more than its quietest places have: counted by octaves of the power."""

    def counts(tile: Tile) -> torch.Tensor:
        pan, weight = tile.wide_pan.double(), where(tile).double()
        power = tile.crop(powers(pan, 1)[1])[weight > 0]
        return torch.histc((power.clamp(min=LOWEST) / LOWEST).log2(), OCTAVES * STEPS_OF_OCTAVE, 0, OCTAVES)

    total = scene.sum(counts).cumsum(0)
    place = int(torch.searchsorted(total, QUIET * total[-1]))
    return MEAN_OVER_QUIET * LOWEST * 2.0 ** (place / STEPS_OF_OCTAVE) / 4


def sharpness(sums: torch.Tensor) -> float:
    """The ratio, of `_powers` over a scene; zero where they tell nothing."""
    n, one, both, square, product = sums.unbind(-1)
    n = n.clamp(min=1)
    found = torch.stack([product - one * both / n, square - one * one / n], -1)
    # through none, one and two more of the noise, back to what there is without
    clear = 3 * found[0] - 3 * found[1] + found[2]
    enough = sums[0, 0, 0] >= LEAST_WINDOWS * (2 * WINDOW) ** 2
    if not enough or not (clear > CLEAR * found[0].clamp(min=TINY)).all():
        return 0.0
    fine, coarse = (clear[:, 0] / clear[:, 1]).tolist()
    ratio = fine * fine / coarse
    return ratio if ratio < LARGEST_RATIO else 0.0


def everywhere(scene: Scene) -> Weight:
    """All of a tile's pixels that hold a measurement."""
    return lambda tile: torch.ones_like(tile.pan) if tile.wide_pan_valid is None else tile.crop(tile.wide_pan_valid)


def alike(scene: Scene) -> Weight:
    """Those around which PAN shows what the cube does."""
    coarse = one_blur(scene)
    space = subspace(scene, coarse)

    def components(tile: Tile) -> torch.Tensor:
        return space.components(coarse(tile))

    pair = register(scene, components, len(space.signal), None)

    def weight(tile: Tile) -> torch.Tensor:
        excess = pair.excess(pair.rest(components(tile), tile.see_pan(pair.sight(tile))))
        near = max_pool2d(excess, 2 * SPOILED + 1, 1, SPOILED) <= 1
        fine = near.repeat_interleave(tile.optics.ratio, 2).repeat_interleave(tile.optics.ratio, 3)
        return tile.crop(fine) & everywhere(scene)(tile).bool()

    return weight


def _powers(tile: Tile, where: Weight, noise: float) -> torch.Tensor:
    """Sums ``(3, 2, 5)`` with none, one and two more of the noise, at both scales: number of pixels, both powers, the
    first's square, their product.
    """
    pan, weight = tile.wide_pan.double(), where(tile).double()
    if not noise:
        return _moments(tile, pan, weight).expand(3, -1, -1)
    first, second = (noise**0.5 * _noise_at(tile, number) for number in range(2))
    # of one more there are two examples
    seen = [_moments(tile, image, weight) for image in (pan, pan + first, pan + second, pan + first + second)]
    return torch.stack([seen[0], (seen[1] + seen[2]) / 2, seen[3]])


def _moments(tile: Tile, pan: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    out = []
    for image, step in ((pan, 1), (twice(pan), 2)):
        one, both = (tile.crop(power) for power in powers(image, step))
        out.append((torch.cat([torch.ones_like(one), one, both, one * one, one * both], 1) * weight)[0].sum((1, 2)))
    return torch.stack(out)


@lru_cache(maxsize=1)
def _pattern() -> torch.Tensor:
    return torch.randn(2, PERIOD, PERIOD, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _noise_at(tile: Tile, number: int) -> torch.Tensor:
    """Noise of unit variance that belongs to the places of a tile's fine pixels, so that tiles agree."""
    rows, columns = (
        (torch.arange(size) + first * tile.optics.ratio) % PERIOD
        for first, size in zip(tile.corner, tile.wide_pan.shape[-2:], strict=True)
    )
    return _pattern()[number][rows[:, None], columns][None, None].to(tile.wide_pan.device)


def twice(pan: torch.Tensor) -> torch.Tensor:
    """PAN as pixels of twice the size would see it, at every place."""
    return avg_pool2d(pad(pan, (0, 1, 0, 1), mode="replicate"), 2, 1)


def powers(image: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squares, around each pixel, of an image's differences along one axis and along both.

    Examples
    --------
    >>> import torch
    >>> one, both = powers(torch.eye(16, dtype=torch.float64)[None, None], 1)
    >>> float(both.sum() / one.sum()) > 2  # a line across both axes
    True
    """
    across = pad(image, (0, step, 0, 0), mode="replicate")
    across = across[..., step:] - across[..., :-step]
    down = pad(image, (0, 0, 0, step), mode="replicate")
    down = down[..., step:, :] - down[..., :-step, :]
    mixed = pad(across, (0, 0, 0, step), mode="replicate")
    mixed = mixed[..., step:, :] - mixed[..., :-step, :]
    side = step * WINDOW // 2 * 2 + 1
    one, both = (
        avg_pool2d(power, side, 1, side // 2, count_include_pad=False)
        for power in ((across**2 + down**2) / 2, mixed**2)
    )
    return one, both
