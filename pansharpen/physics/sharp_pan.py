"""PAN without the blur of its own optics: what it would show if its MTF were flat, as far as noise lets it.

The fused cube is the scene and not what PAN's optics made of it. Where the sensor tells PAN's MTF G, PAN goes through
the Wiener filter G S / (G² S + σ²), of finite size: S is the spectrum of a natural image, a/f², and its strength a and
the noise σ² follow from two statistics of PAN itself, its differences along one axis and along both. What is at the
highest frequencies beyond such a spectrum behind such optics counts as noise, so that little is done where PAN is
noisier, or sharper, than the sensor says.

A scene is not alike everywhere. Where the sensor tells PAN's noise too, PAN's finest details, and those that the filter
adds, are lowered where they have hardly more power than that noise would have (J. S. Lee's filter, 1980): on water
there is nothing to be sharpened but noise, which would go into every band.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d, conv2d, pad

from hsitools.sensor.spatial import mtf_sigma
from pansharpen.case import Scene
from pansharpen.physics.changed_scene import ChangedScene
from pansharpen.physics.own_mtf import own_mtf
from pansharpen.tile import Tile

#: Fine pixels from the filter's centre to its edge: what a Gaussian of MTF .1 asks for within a percent.
REACH = 8
#: Least noise over signal, at Nyquist: an MTF is known to some percent only, and no gain of hundreds is meant.
LEAST_NOISE = 1e-2
#: Frequencies along an axis at which the filter is made.
SAMPLES = 64
#: Deviation of the Gaussian beyond which details are PAN's finest, and side of the window of their power, fine pixels.
#: Set on abu_beach_1 and 2, jasper_ridge, abu_urban_1 and enmap_potsdam_b with noise, as that there are two steps: 7
#: pixels, a deviation of 2 or 1.5 times the noise are within a percent, one step costs 2 % of ERGAS on abu_beach_1.
FINEST, WINDOW = 1.0, 5
#: Keeps the power of an image without details from being divided by.
TINY = 1e-30


def with_sharp_pan(scene: Scene) -> Scene:
    """The scene as it would be with PAN sharp; itself where PAN's MTF is not told."""
    mtf = own_mtf(scene)
    if mtf is None:
        return scene
    mean_squares = scene.sum(_differences)
    along, both = (mean_squares[:2] / mean_squares[2].clamp(min=1)).tolist()
    kernel = sharpening(mtf, along, both, scene.optics.pan_variance or 0.0)
    return scene if kernel is None else SharpScene(scene, kernel, mtf)


def pan_blur(scene: Scene) -> NDArray[np.float64] | None:
    """What is left of the blur of PAN's optics in a scene's PAN, ``(2 REACH + 1, 2 REACH + 1)``; None if not told."""
    if scene.pan_made:
        return None
    if isinstance(scene, ChangedScene) and not isinstance(scene, SharpScene):
        return pan_blur(scene.scene)
    if isinstance(scene, SharpScene):
        return _convolved(scene.kernel, scene.mtf)
    return None if scene.optics.pan_mtf is None else gaussian(float(scene.optics.pan_mtf))


def gaussian(mtf: float) -> NDArray[np.float64]:
    """Blur ``(2 REACH + 1, 2 REACH + 1)`` of optics with this gain at the Nyquist frequency."""
    return _gaussian_of(float(mtf_sigma(mtf, 1)[0]))


def _gaussian_of(deviation: float) -> NDArray[np.float64]:
    weight = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / deviation) ** 2)
    return np.multiply.outer(weight, weight) / weight.sum() ** 2


def _convolved(kernel: NDArray[np.float64], mtf: float) -> NDArray[np.float64]:
    both = np.fft.ifft2(transfer(kernel) * transfer(gaussian(mtf))).real
    middle = np.arange(-REACH, REACH + 1)
    out = both[np.ix_(middle, middle)]
    return np.asarray(out / out.sum())


def transfer(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gain ``(SAMPLES, SAMPLES)`` of a filter at the frequencies of `numpy.fft.fftfreq`, for a symmetric kernel."""
    wide = np.zeros((SAMPLES, SAMPLES))
    wide[: len(kernel), : len(kernel)] = kernel
    centred = np.roll(wide, (-(len(kernel) // 2),) * 2, (0, 1))
    return np.asarray(np.fft.fft2(centred).real)


def filtered(image: torch.Tensor, kernel: NDArray[np.float64]) -> torch.Tensor:
    """An image ``(1, 1, y, x)`` through a filter of `REACH`."""
    weight = torch.as_tensor(kernel).to(image)[None, None]
    return conv2d(pad(image, (REACH,) * 4, mode="replicate"), weight)


def sharpening(mtf: float, along: float, both: float, least: float = 0.0) -> NDArray[np.float64] | None:
    """The filter ``(2 REACH + 1, 2 REACH + 1)``, of sum one; None where there is nothing but noise.

    Parameters
    ----------
    mtf : float
        PAN's gain at its Nyquist frequency.
    along, both : float
        Mean square of PAN's differences between neighbours along an axis, and of those of the differences along the
        other axis.
    least : float
        Variance of noise that is told.
    """
    axis = np.fft.fftfreq(SAMPLES) * 2  # 1 is Nyquist
    y, x = np.meshgrid(axis, axis, indexing="ij")
    power = y**2 + x**2
    gain = mtf**power
    spectrum = 1 / np.where(power > 0, power, np.inf)
    step_y, step_x = (4 * np.sin(np.pi * frequency / 2) ** 2 for frequency in (y, x))
    # of a = 1 and σ² = 1
    of_signal = [float((gain**2 * spectrum * step).mean()) for step in ((step_y + step_x) / 2, step_y * step_x)]
    strength, noise = np.linalg.solve([[of_signal[0], 2.0], [of_signal[1], 4.0]], [along, both])
    if not strength > 0:
        return None
    share = max(noise / strength, least / strength, LEAST_NOISE) * power
    response = gain / (gain**2 + share)
    kernel = np.fft.fftshift(np.fft.ifft2(response).real)
    middle = SAMPLES // 2
    kernel = kernel[middle - REACH : middle + REACH + 1, middle - REACH : middle + REACH + 1]
    return np.asarray(kernel / kernel.sum())


def _differences(tile: Tile) -> torch.Tensor:
    """Sums of squares of PAN's differences, along an axis and along both, and the number of pixels."""
    pan = tile.wide_pan.double()
    across = pad(pan, (0, 1, 0, 0), mode="replicate").diff(dim=-1)
    down = pad(pan, (0, 0, 0, 1), mode="replicate").diff(dim=-2)
    mixed = pad(across, (0, 0, 0, 1), mode="replicate").diff(dim=-2)
    images = torch.cat([(across**2 + down**2) / 2, mixed**2, torch.ones_like(pan)], 1)
    if tile.wide_pan_valid is not None:
        images = images * tile.wide_pan_valid
    return tile.crop(images)[0].sum((1, 2))


class SharpScene(ChangedScene):
    """A scene of which every tile's PAN goes through a filter, against the blur of optics with this gain."""

    def __init__(self, scene: Scene, kernel: NDArray[np.float64], mtf: float) -> None:
        self.kernel, self.mtf = kernel, mtf
        variance = scene.optics.pan_variance
        # noise of the filtered PAN is no longer white; its variance is what weighs it
        optics = dataclasses.replace(
            scene.optics, pan_mtf=None, pan_variance=None if variance is None else variance * float((kernel**2).sum())
        )  # fmt: skip
        super().__init__(scene, lambda tile: tile.with_pan(self._filtered(tile.wide_pan), optics), optics)

    def _filtered(self, pan: torch.Tensor) -> torch.Tensor:
        level, noise = pan.mean(), self.scene.optics.pan_variance
        if not noise:
            return filtered(pan - level, self.kernel) + level
        identity, smooth = _gaussian_of(1e-3), _gaussian_of(FINEST)
        out = filtered(pan - level, smooth)
        for kernel in (identity - smooth, self.kernel - identity):
            details = filtered(pan - level, kernel)
            power = avg_pool2d(details.square(), WINDOW, 1, WINDOW // 2, count_include_pad=False)
            out += details * (1 - noise * float((kernel**2).sum()) / power.clamp(min=TINY)).clamp(min=0)
        return out + level
