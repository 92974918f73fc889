"""What is learned of a pair before anything is computed, each part read once: wild samples, largest values, a survey.

Cube and PAN are gone through in blocks of the coarse grid, each judged by itself against levels of the whole, so that
the same is found in memory, tile by tile and by workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import numpy as np
import torch

from hsitools.cube.windows import Window, windows
from hsitools.errors import InputError
from hsitools.estimation.heights import Levels
from pansharpen.pair.clipped import Tops
from pansharpen.pair.same_scene import Survey, require_same_order
from pansharpen.pair.wild import BLOCK, HALO, Pair, WildSamples, levels_of, wild_in_block


class FirstLook(NamedTuple):
    """What a pair's samples are like: wild ones; the largest of the others, of cube and PAN; both in few pixels.

    ``common`` is whether any pixel was measured in both.
    """

    wild: WildSamples
    tops: tuple[Tops, Tops]
    survey: Survey
    common: bool

    def require_one_scene(self, who: str, sharp: str) -> None:
        """Raise `InputError` where nothing says that cube and PAN, called ``sharp``, lie over one another, or not so.

        See `pansharpen.pair.same_scene.require_same_order`.
        """
        if not self.common:
            raise InputError(f"{who}: found no pixel valid in the cube and in {sharp}, expected some")
        require_same_order(self.survey, who, sharp)


#: Goes through blocks, in their order.
Work = Callable[[Callable[[Window], FirstLook], Sequence[Window]], Iterable[FirstLook]]


def first_look(pair: Pair, work: Work = map) -> FirstLook:
    """Look at all of a pair.

    Parameters
    ----------
    pair : Pair
    work : callable
        As `map`, of a function and blocks: whoever goes through them.
    """
    look = partial(_at_block, pair, levels_of(pair))
    parts = list(work(look, windows(pair.shape, (BLOCK, BLOCK), HALO)))
    cube, pan = (reduce(Tops.joined, each) for each in zip(*(part.tops for part in parts), strict=True))
    return FirstLook(
        reduce(WildSamples.joined, [part.wild for part in parts]), (cube, pan),
        Survey.together(pair.shape, [part.survey for part in parts]), any(part.common for part in parts),
    )  # fmt: skip


def _at_block(pair: Pair, of: Sequence[Levels], window: Window) -> FirstLook:
    wide = window.wide_rows, window.wide_columns
    coarse, pan = pair.coarse(*wide), pair.pan(pair.fine(wide[0]), pair.fine(wide[1]))
    wild = wild_in_block(pair, of, window, coarse, pan)
    cube = wild.from_cube(torch.as_tensor(coarse)[None], tuple(part.start for part in wide))[0].numpy()
    sharp = wild.from_pan(torch.as_tensor(pan)[None], tuple(pair.fine(part).start for part in wide))[0].numpy()
    top, _, left, _ = window.margin
    size: list[Any] = [part.stop - part.start for part in (window.rows, window.columns)]
    cube = cube[:, top : top + size[0], left : left + size[1]]
    r = pair.optics.ratio
    sharp = sharp[:, r * top : r * (top + size[0]), r * left : r * (left + size[1])]
    corner = window.rows.start, window.columns.start
    seen = np.isfinite(sharp[0]).reshape(size[0], r, size[1], r).any((1, 3))
    common = bool((seen & np.isfinite(cube).any(0)).any())
    return FirstLook(wild, (Tops.of(cube), Tops.of(sharp)), Survey.of(pair.shape, corner, cube, sharp), common)
