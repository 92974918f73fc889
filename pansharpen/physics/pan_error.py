"""How large the error of PAN's model is, and where it is larger: what only PAN sees, what another date shows."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.separable import size_of
from hsitools.sensor.spatial import mtf_blur
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import Moments, moments, ratio_of
from pansharpen.physics.registration import STRICT, TINY, Components, Registration, counted

#: Gain, at half the coarse Nyquist frequency, of the blur that parts coarse details from the rest.
COARSE_DETAIL = 0.3
#: Of a residual that noise alone would explain, this share is still taken as PAN's error.
LEAST_SHARE = 0.1
#: Area, in coarse pixels, over which what only PAN shows is alike: 1 leaves bands worse than interpolation where a
#: tenth of PAN is another scene, 4 costs 4 % where MTFs along both axes differ most.
STRUCTURE = 3
#: Variance at fine pixels of what another date shows over what it shows at coarse ones, in units of PAN's: as
#: `Registration.excess` counts half of it, and a change smaller than a coarse pixel is seen in part.
ANOTHER_DATE = 4.0


@dataclass(frozen=True, kw_only=True)
class PanError:
    """Variance, at a fine pixel, of what PAN's model cannot explain.

    Attributes
    ----------
    visible : float
        As the coarse scale shows it, scaled to fine pixels.
    noise : float
        PAN's own, which is white.
    least : float
        What it is at least.
    pan_variance : float
        Of PAN's pixels.
    ratio : int
    another_date : float
        What is added where the residual's variance is above the usual one, for each time that one.
    hidden : float
        How many times all of it the error is where the coarse scale hides some.
    """

    visible: float
    noise: float
    least: float
    pan_variance: float
    ratio: int
    another_date: float
    hidden: float = 1.0

    def variance(self, excess: torch.Tensor | float = 1.0) -> torch.Tensor:
        """Where the residual's variance is ``excess`` times the usual one.

        Where PAN shows what no band does, these are structures and not noise, that neighbouring pixels share: the error
        counts for more, the larger its part of PAN.
        """
        error = self.visible + self.another_date * (torch.as_tensor(excess, dtype=torch.float64) - 1)
        part = (error / max(self.pan_variance, TINY)).clamp(max=1)
        whole = error * (1 + part * STRUCTURE * self.ratio**2) + self.noise
        return (self.hidden * whole).clamp(min=self.least)

    def precision(self, tile: Tile, excess: torch.Tensor) -> torch.Tensor:
        """Of a tile's fine pixels, surroundings included, from the excess at its coarse ones.

        ``(1, 1, y, x)``, or ``(1, 1, 1, 1)`` where all are alike.
        """
        optics, usual = tile.optics, float(1 / self.variance())
        if not (excess > 1).any():
            return tile.wide_pan.new_full((1, 1, 1, 1), usual)
        up = interpolate(
            size_of(excess), optics.ratio, optics.offset, out_shape=tile.fine_size, shift=optics.shift
        )  # fmt: skip
        return up(1 / self.variance(excess)).clamp(0, usual).to(tile.wide_pan)


def pan_error(
    scene: Scene, components: Components, pair: Registration, *, noise: float, pan_variance: float, least: float
) -> PanError:  # fmt: skip
    """The error of PAN's model.

    It can be seen at the coarse scale only: that part as it is, less what the cube's noise makes of it. Of PAN's finest
    details there, a share is left unexplained; those beyond are taken to be explained as well.

    Parameters
    ----------
    noise : float
        Variance of ``response · components`` by the cube's noise.
    pan_variance, least
        Of the result.
    """
    power = STRICT if pair.two_dates else 1

    def powers(tile: Tile) -> Moments:
        pan, own = tile.see_pan(pair.sight(tile)), components(tile)
        rest = pair.rest(own, pan)
        both = torch.cat([rest, pan], 1)
        blur = mtf_blur(size_of(both), COARSE_DETAIL, 2)
        return moments(tile.crop_coarse(both - blur(both)), valid=counted(tile, pair, own, pan, power))

    def details(tile: Tile) -> Moments:
        return moments(tile.pan - tile.pan_low, valid=tile.valid)

    coarse, fine = scene.sum(powers), scene.sum(details)
    rest, own = (coarse.xy[0].diagonal() / coarse.n.clamp(min=1)[0]).unbind()
    rest = torch.maximum(rest - noise * _noise_gain(), LEAST_SHARE * rest)
    share = float(ratio_of(rest[None], own[None]).clamp(max=1))
    visible = max(pair.unexplained - noise, LEAST_SHARE * pair.unexplained)
    visible += share * float(fine.xy / fine.n.clamp(min=1))
    # what the coarse scale shows more of is more of the same at the fine one; another date's picture has PAN's spectrum
    another = ANOTHER_DATE * pair.unexplained * pan_variance / max(pair.contrast, TINY)
    return PanError(
        visible=visible, noise=scene.optics.pan_variance or 0.0, least=least, pan_variance=pan_variance,
        ratio=scene.optics.ratio, another_date=another if pair.two_dates else visible,
    )  # fmt: skip


def _noise_gain() -> float:
    """What is left of the variance of white noise among coarse details."""
    size = 15
    point = torch.zeros(1, size, size, dtype=torch.float64)
    point[0, size // 2, size // 2] = 1
    return float((point - mtf_blur((size, size), COARSE_DETAIL, 2)(point)).square().sum())
