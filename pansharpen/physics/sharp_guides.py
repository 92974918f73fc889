"""Guides without the blur of their own optics, each channel as PAN is (`sharp_pan`), where their MTF is told.

A sharpened PAN beside soft guides, or two guides of different MTFs, contradict one another at the finest scale, where
each is believed: what they differ by would be taken for a spectral difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch

from pansharpen.case import Scene
from pansharpen.guide import Guide
from pansharpen.physics.changed_scene import AsPan, ChangedScene
from pansharpen.physics.sharp_pan import SharpScene, with_sharp_pan
from pansharpen.tile import Tile


def with_sharp_guides(scene: Scene) -> Scene:
    """The scene with its guides on the fine grid sharp; itself where no MTF of theirs is told."""
    sharp = {}
    for number, guide in enumerate(scene.guides):
        for channel in range(guide.n_channels if guide.ratio == 1 and guide.mtf is not None else 0):
            alone = with_sharp_pan(AsPan(scene, number, channel, guide.optics(channel, scene.optics)))
            if isinstance(alone, SharpScene):
                sharp[number, channel] = alone
    return SharpGuides(scene, sharp) if sharp else scene


class SharpGuides(ChangedScene):
    """A scene with some channels of its guides through filters.

    Parameters
    ----------
    scene : Scene
    sharp : mapping
        The scene with a channel, sharp, in PAN's place, by numbers of guide and channel.
    """

    def __init__(self, scene: Scene, sharp: Mapping[tuple[int, int], SharpScene]) -> None:
        self.sharp = sharp
        super().__init__(scene, lambda tile: tile.with_guides(self._of(tile)))

    @property
    def guides(self) -> tuple[Guide, ...]:
        """With the noise that filtering makes of theirs."""
        return tuple(self._told(number, guide) for number, guide in enumerate(self.scene.guides))

    def _told(self, number: int, guide: Guide) -> Guide:
        if guide.ratio > 1 or guide.mtf is None:
            return guide
        variance = guide.noise_variance
        if variance is not None:
            told = [self.sharp.get((number, channel)) for channel in range(guide.n_channels)]
            own = [
                guide.variance(channel) if one is None else one.optics.pan_variance for channel, one in enumerate(told)
            ]
            variance = np.array(own, dtype=float)
        return dataclasses.replace(guide, mtf=None, noise_variance=variance)

    def _of(self, tile: Tile) -> tuple[Guide, ...]:
        out = []
        for number, guide in enumerate(tile.guides):
            images = [
                image if (number, channel) not in self.sharp else self.sharp[number, channel].sharpened(image)
                for channel, image in enumerate(guide.image.split(1, 1))
            ]
            out.append(dataclasses.replace(self._told(number, guide), image=torch.cat(images, 1)))
        return tuple(out)
