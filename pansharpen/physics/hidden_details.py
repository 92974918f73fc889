"""What PAN's optics have taken off PAN and no filter has brought back (`sharp_pan`).

From what they would take off it once more, and once more again: the ratio of these tells by which power of the
frequency the scene's spectrum falls, and so what the first time took.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from pansharpen.case import Scene
from pansharpen.physics.own_mtf import least_mtf
from pansharpen.physics.posterior import around
from pansharpen.physics.sharp_pan import filtered, gaussian, pan_blur, transfer

Array = NDArray[np.float64]
#: Powers of the frequency with which a scene's spectrum may fall.
SLOPES = np.linspace(0.0, 6.0, 61)


def hiding_blur(scene: Scene) -> Array | None:
    """What is left of the blur of PAN's optics; where no sensor tells it, the widest that PAN can have.

    Of a PAN that is made of guides the same, unless their optics are told (None).

    The estimate takes a PAN of untold optics for sharp; its error must not.
    """
    blur = pan_blur(scene)
    told = scene.pan_made and all(guide.mtf is not None for guide in scene.guides if guide.ratio == 1)
    return gaussian(least_mtf(scene)) if blur is None and not told else blur


def blurred_off(pan: torch.Tensor, blur: Array | None) -> torch.Tensor | None:
    """Local power of what PAN's optics would take off PAN once more; None where they are not told."""
    if blur is None:
        return None
    return around((pan - filtered(pan, blur)).square())


def _blur_table(blur: Array) -> tuple[Array, Array]:
    """For each of `SLOPES`: power that two more blurs take off over that of one more, and of the first over one more.

    Last come the shares of white noise's variance in one more and in two more.
    """
    gain = transfer(blur)
    y, x = np.meshgrid(np.fft.fftfreq(len(gain)), np.fft.fftfreq(len(gain)), indexing="ij")
    square = y**2 + x**2
    spectra = np.where(square > 0, square, np.inf) ** (-SLOPES[:, None, None] / 2)
    taken = (1 - gain) ** 2
    first, once, twice = ((spectra * power).sum((1, 2)) for power in (taken, taken * gain**2, taken**2 * gain**2))
    noise = taken.mean(), (taken**2).mean()
    return np.stack([twice / once, first / once]), np.array(noise)


def hidden_gain(blur: Array, once: float, twice: float, noise: float = 0.0) -> float:
    """Power that PAN's blur has taken off over what it would take off once more.

    Parameters
    ----------
    blur : array
        As of `pansharpen.physics.sharp_pan.pan_blur`.
    once, twice : float
        Mean square of what the blur takes off PAN, and of what it takes off that.
    noise : float
        Variance of PAN's noise.
    """
    (ratio, gain), shares = _blur_table(blur)
    once, twice = once - noise * shares[0], twice - noise * shares[1]
    if not (once > 0 and twice > 0):
        # noise alone, or no contrast: as of the smoothest scene
        return float(gain[-1])
    return float(np.interp(twice / once, ratio[::-1], gain[::-1]))


def blur_powers(pan: torch.Tensor, blur: Array, crop: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Sums of squares of what PAN's blur takes off PAN, and of what it takes off that, and the number of pixels."""
    once = pan - filtered(pan, blur)
    twice = once - filtered(once, blur)
    parts = [crop(part)[0].double().square().sum() for part in (once, twice, torch.ones_like(pan))]
    return torch.stack(parts)


def hidden_power(scene: Scene) -> float:
    """Mean square of what PAN's optics have taken off PAN."""
    blur = hiding_blur(scene)
    if blur is None:
        return 0.0
    once, twice, n = scene.sum(lambda tile: blur_powers(tile.wide_pan, blur, tile.crop)).tolist()
    once, twice = once / max(n, 1), twice / max(n, 1)
    return hidden_gain(blur, once, twice, scene.optics.pan_variance or 0.0) * once
