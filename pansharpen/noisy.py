"""A noisy cube and its sharp images, jointly: what the noise model of another room makes of the cube, which sees both.

Noise, column offsets and outliers are told from the scene by what the bands share, what neighbours share, and here by
what the sharp images show too, as the cube's optics see them. The fusion then takes the posterior mean as the cube.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.memory import require_memory
from hsitools.cube.spectral_order import by_wavelength
from hsitools.errors import InputError
from hsitools.estimation.observed import observer
from hsitools.sensor import Sensor
from pansharpen.case import FusionCase
from pansharpen.in_memory import live_bands, prepared, select_bands
from pansharpen.optics import Optics
from pansharpen.pair.alignment import measured, paired
from pansharpen.pair.from_sensor import require_fit
from pansharpen.pair.guide_files import placed, with_pan
from pansharpen.tiled import LargeScene

#: Cubes, float32, that a noise model holds at most.
HELD = 12


def cube_without_noise(
    cube: Cube, noise: str, sensor: Sensor | None = None, optics: Optics | None = None, *,
    guides: Sequence[Cube] = (), guide_sensor: str | Sensor | None = None,
) -> tuple[Cube, NDArray[np.float64]]:  # fmt: skip
    """A cube with PAN as a noise model sees both, and the standard deviation ``(band,)`` of what errors are left.

    Parameters
    ----------
    cube : Cube
        With ``pan``, unless there are guides; bands marked bad stay as they are. It must fit in memory.
    noise : str
        ``blind``, or another noise model that is installed: see `hsitools.estimation.observed.observer`.
    sensor, optics, guides, guide_sensor
        As of `pansharpen.tiled.fuse_pair`, whose ``cube_std`` the second result is.

    Raises
    ------
    InputError
        When there is no such noise model, no PAN, or too little memory.
    """
    made = cube.pan is None
    if made and not guides:
        raise InputError(f"{cube.who}: pan: missing, expected a panchromatic image beside the cube")
    require_memory(
        4 * HELD * int(np.prod(cube.shape)), cube.who, use="a noise model takes a cube as a whole",
        advice="choose a window, or denoise the cube first (hsi denoise run), which goes by strips",
    )  # fmt: skip
    guides = [measured(guide, "guide") for guide in guides]
    pair = paired(with_pan(cube, guides, guide_sensor))
    require_fit(pair.replace(pan=None) if made else pair, sensor)
    scene = LargeScene(
        pair, sensor, halo=0, optics=optics, side=max(pair.shape[1:]), pan_made=made,
        guides=placed(pair, guides, guide_sensor),
    )  # fmt: skip
    with torch.no_grad():
        # wild voxels are the noise model's to predict
        clean = without_noise(scene.case(as_measured=True), noise)
    assert clean.optics.error_variance is not None
    power = scene.powers.cube
    values, std = np.array(scene.cube.read(), dtype=np.float32) / np.float32(power), np.zeros(cube.n_bands)
    values[scene.bands] = clean.coarse[0].numpy() / power
    std[scene.bands] = np.sqrt(clean.optics.error_variance) / power
    meta = scene.cube.meta | {"noise": noise}
    return scene.cube.replace(data=values, nodata=float("nan"), meta=meta, pan=None if made else scene.cube.pan), std


def without_noise(case: FusionCase, noise: str) -> FusionCase:
    """The case with the posterior mean of its coarse cubes, and the variance of what is left in ``optics``.

    Parameters
    ----------
    case : FusionCase
        Bands without signal, and pixels without a measurement, stay as they are.
    noise : str
        Of a noise model that a room offers: see `hsitools.estimation.observed.observer`.

    Raises
    ------
    InputError
        When there is no such noise model, or no band has a signal.
    """
    look = observer(noise)
    live = by_wavelength(live_bands(case.coarse).cpu().numpy(), case.optics.wavelength_nm)
    coarse, variance = case.coarse.clone(), np.zeros((len(case.coarse), case.n_bands))
    for number, single in enumerate(case.singles()):
        own = single.coarse[0, live]
        sharp = _seen_sharp(select_bands(single, live))
        seen = look(own.cpu().numpy(), sharp)
        # a band that was not measured at a pixel has no place in the result either
        estimate = torch.as_tensor(seen.values).to(own).masked_fill(~torch.isfinite(own), torch.nan)
        coarse[number, live] = estimate
        variance[number, live] = seen.variance
    # what is left is alike in neighbours and no white noise, but a component that is mostly error must not count as
    # exact: so told, the fusion has less ERGAS than the noisy cube's in all of 12 tuning cases; taken as exact, in 10
    left = variance.mean(0)
    optics = dataclasses.replace(case.optics, noise_variance=left, error_variance=left)
    return case.replace(coarse=coarse, optics=optics, expanded=None)


def _seen_sharp(case: FusionCase) -> NDArray[Any]:
    """PAN, or each channel of the guides, as the cube's optics see them, ``(m, y, x)``."""
    tile = prepared(case).tile
    alone = [] if case.pan_made else [tile]
    alone += [
        tile.with_pan_of(number, channel)
        for number, guide in enumerate(case.guides)
        for channel in range(guide.n_channels)
    ]
    images = [one.see_pan(one.down(one.optics.mean_gains())) for one in alone]
    return torch.cat(images, 1)[0].cpu().numpy()
