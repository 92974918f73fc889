"""PAN without the blur of its own optics: what it would show if its MTF were flat, as far as noise lets it.

The fused cube is the scene and not what PAN's optics made of it. Where the sensor tells PAN's MTF G, PAN goes through
the Wiener filter G S / (G² S + σ²), of finite size: S is the spectrum of a natural image, a/f², and its strength a and
the noise σ² follow from two statistics of PAN itself, its differences along one axis and along both. What is at the
highest frequencies beyond such a spectrum behind such optics counts as noise, so that little is done where PAN is
noisier, or sharper, than the sensor says.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import conv2d, pad

from pansharpen.case import Scene
from pansharpen.physics.changed_scene import ChangedScene
from pansharpen.tile import Tile

#: Fine pixels from the filter's centre to its edge: what a Gaussian of MTF .1 asks for within a percent.
REACH = 8
#: Least noise over signal, at Nyquist: an MTF is known to some percent only, and no gain of hundreds is meant.
LEAST_NOISE = 1e-2
#: Frequencies along an axis at which the filter is made.
SAMPLES = 64


def with_sharp_pan(scene: Scene) -> Scene:
    """The scene as it would be with PAN sharp; itself where PAN's MTF is not told."""
    if scene.optics.pan_mtf is None or scene.pan_made:
        return scene
    mean_squares = scene.sum(_differences)
    along, both = (mean_squares[:2] / mean_squares[2].clamp(min=1)).tolist()
    kernel = sharpening(float(scene.optics.pan_mtf), along, both, scene.optics.pan_variance or 0.0)
    if kernel is None:
        return scene
    variance = scene.optics.pan_variance
    # noise of the filtered PAN is no longer white; its variance is what weighs it
    optics = dataclasses.replace(
        scene.optics, pan_mtf=None, pan_variance=None if variance is None else variance * float((kernel**2).sum())
    )  # fmt: skip

    def sharp(tile: Tile) -> Tile:
        weights = torch.as_tensor(kernel).to(tile.wide_pan)[None, None]
        level = tile.wide_pan.mean()
        filtered = conv2d(pad(tile.wide_pan - level, (REACH,) * 4, mode="replicate"), weights) + level
        return tile.with_pan(filtered, optics)

    return ChangedScene(scene, sharp, optics)


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
