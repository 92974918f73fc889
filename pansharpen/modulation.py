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

from pansharpen.case import Scene, Tile
from pansharpen.statistics import above_rounding, moments, per_band, ratio_of

#: Level and detail, each ``(batch, 1, y, x)``, of a tile.
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

    def linear(tile: Tile) -> Any:
        pair = torch.cat(view(tile), 1)
        return moments(torch.cat([tile.expanded, pair], 1), pair, tile.valid)

    found = scene.sum(linear)
    covariance = found.covariance[..., 0]
    gain = ratio_of(covariance[:, :-2], above_rounding(covariance[:, -2:-1], found.mean_y[:, :1]))
    detail_power = found.xy[:, -1:, 1] / found.n.clamp(min=1)
    # the ratio's denominator is slope·level + offset, and the residual band − gain·level − base
    if matched:
        base = found.mean_x[:, :-2] - gain * found.mean_y[:, :1]
        slope, offset = gain, base
    else:
        bands_haze, level_haze = haze or (torch.zeros_like(gain), torch.zeros_like(detail_power))
        base = bands_haze - gain * level_haze
        slope, offset = torch.ones_like(level_haze), -level_haze

    def residual(tile: Tile, level: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(tile.expanded - per_band(base, level), per_band(gain, level), level, value=-1)

    def squares(tile: Tile) -> Any:
        level = view(tile)[0]
        powers = torch.cat([level, level * level], 1)
        return moments(torch.cat([residual(tile, level) ** 2, powers], 1), powers, tile.valid)

    precision = _precision(scene.sum(squares), slope, offset, detail_power)

    def fused(tile: Tile) -> torch.Tensor:
        level, detail = view(tile)
        below = per_band(slope, level) * level + per_band(offset, level)
        trust = per_band(precision, level) * below
        extra = residual(tile, level).mul_(trust * per_band(slope, level)).div_(1 + trust * below)
        return torch.addcmul(tile.expanded, extra.add_(per_band(gain, level)), detail)

    return scene.map(fused)


def _precision(found: Any, slope: torch.Tensor, offset: torch.Tensor, detail_power: torch.Tensor) -> torch.Tensor:
    """τ²/σ², ``(batch, band)``, from moments of squared residuals and of level and level² with the latter two."""
    covariance, mean = found.covariance, found.mean_x
    weights = torch.stack([2 * slope * offset, slope**2], -1)
    spread = ((weights @ covariance[:, -2:]) * weights).sum(-1)
    growth = ratio_of((covariance[:, :-2] * weights).sum(-1), spread).clamp(min=0)
    mean_square = offset**2 + (weights * found.mean_y[:, None]).sum(-1)
    error = mean[:, :-2] - growth * mean_square
    # a level is known no better than the details that it lacks
    return ratio_of(growth, torch.maximum(error, growth * slope**2 * detail_power))
