"""Injection in proportion to the bands (contrast-based, "high-pass modulation"), guarded where a ratio means nothing.

Brovey-like and HPM-like methods inject ``detail × band / level``, where the level is a low-pass PAN or an intensity.
The quotient is wild where the level is near zero or below the errors of the bands (water beyond 1 µm), and it is no
better than a regression gain in bands that do not scale with the level. So the local gain is taken as a random draw
around the regression gain q with variance τ², seen through errors of variance σ²:

    band = γ·level + error,  γ ~ (q, τ²),  error ~ (0, σ²)   ⇒   E[γ] = q + level·(band − q·level)/(level² + σ²/τ²).

Both variances come from the scene: squared residuals of the regression grow with level² by τ² and are σ² at zero. Where
bands scale with the level this is the quotient; where they do not, or the level is small, the regression gain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from hsitools.estimation.rounding import above_rounding
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import BandSums, band_sums, per_band, ratio_of

#: Level and detail of a tile, each ``(batch, 1, y, x)``, or ``(batch, band, y, x)`` where bands differ in MTF.
View = Callable[[Tile], tuple[torch.Tensor, torch.Tensor]]


def modulated(
    scene: Scene, view: View, *, haze: tuple[torch.Tensor, torch.Tensor] | None = None, matched: bool = False
) -> Any:  # fmt: skip
    """The expanded bands plus ``detail × local gain``.

    Parameters
    ----------
    scene : Scene
    view : callable
        Level and detail of a tile, in the units of PAN.
    haze : (Tensor, Tensor), shapes (batch, band) and (batch, 1), optional
        What to take off the bands and off the level before their ratio is formed.
    matched : bool
        Match the level to each band by linear regression first, so that the ratio is about one everywhere.

    Returns
    -------
    The fused scene, as `Scene.map` gives it.
    """

    def linear(tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        level, detail = view(tile)
        return (
            torch.stack(band_sums(tile.expanded, level, tile.measured)),
            torch.stack(band_sums(detail, detail, tile.measured)),
        )

    sums, details = (BandSums(*parts) for parts in scene.sum(linear))
    gain, detail_power = sums.slope, details.yy / details.n.clamp(min=1)
    # the ratio's denominator is slope·level + offset, and the residual band − gain·level − base
    if matched:
        base = sums.mean_x - gain * sums.mean_y
        slope, offset = gain, base
    else:
        bands_haze, level_haze = haze or (torch.zeros_like(gain), torch.zeros_like(gain))
        base = bands_haze - gain * level_haze
        slope, offset = torch.ones_like(gain), -level_haze.expand_as(gain)

    def residual(tile: Tile, level: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(tile.expanded - per_band(base, level), per_band(gain, level), level, value=-1)

    def below(level: torch.Tensor) -> torch.Tensor:
        return per_band(slope, level) * level + per_band(offset, level)

    def squares(tile: Tile) -> tuple[torch.Tensor, ...]:
        level = view(tile)[0]
        square, level = residual(tile, level).double().square_(), level.double()
        power = level * level
        pairs = ((square, level), (square, power), (power, level))
        return tuple(torch.stack(band_sums(x, y, tile.measured)) for x, y in pairs)

    # a level that is flat but for rounding says nothing of ratios
    varies = above_rounding(sums.variance_y, sums.mean_y) > 0
    by_level, by_power, powers = (BandSums(*parts) for parts in scene.sum(squares))
    precision = _precision(by_level, by_power, powers, slope, offset, detail_power) * varies

    def fused(tile: Tile) -> torch.Tensor:
        level, detail = view(tile)
        ratio = below(level)
        trust = per_band(precision, level) * ratio
        extra = residual(tile, level).mul_(trust * per_band(slope, level)).div_(1 + trust * ratio)
        return torch.addcmul(tile.expanded, extra.add_(per_band(gain, level)), detail)

    return scene.map(fused)


def _precision(
    by_level: BandSums, by_power: BandSums, powers: BandSums, slope: torch.Tensor, offset: torch.Tensor,
    detail_power: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """τ²/σ², ``(batch, band)``: how squared residuals grow with the squared denominator, over what they are at zero.

    Sums are of squared residuals with the level, the same with its square, and of that with the level: the squared
    denominator is slope²·level² + 2·slope·offset·level + offset².
    """
    a, b = slope**2, 2 * slope * offset
    spread = a**2 * by_power.variance_y + 2 * a * b * powers.covariance + b**2 * by_level.variance_y
    growth = ratio_of(a * by_power.covariance + b * by_level.covariance, spread).clamp(min=0)
    error = by_level.mean_x - growth * (a * by_power.mean_y + b * by_level.mean_y + offset**2)
    # a level is known no better than the details that it lacks
    return ratio_of(growth, torch.maximum(error, growth * a * detail_power))
