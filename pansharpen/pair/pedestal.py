"""Levels far beyond the contrast of an image: fusion computes in float32, which rounds such a contrast away."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from hsitools.estimation.heights import Levels

log = logging.getLogger(__name__)
#: Under which findings of a scene say whose contrast is rounded.
ROUNDED = "rounded_contrast"
#: Robust deviations of a band from which on its level is said to be too far away.
MOST = 1e4


def say_rounded(levels: Sequence[Levels], findings: dict[str, Any], name: str, sharp: str) -> None:
    """Put into the findings of a scene, under `ROUNDED`, how many bands of cube and PAN these are, and log it, if any.

    Parameters
    ----------
    levels : sequence of Levels
        Of the cube and of PAN, which is called ``sharp``, as they are stored.
    findings, name
        Of the scene.
    """
    far = [np.abs(of.centre) > MOST * np.where(of.deviation > 0, of.deviation, np.inf) for of in levels]
    counts = {kind: int(part.sum()) for kind, part in zip(("cube_bands", "pan"), far, strict=True) if part.any()}
    if not counts:
        return
    findings[ROUNDED] = counts
    worst = max(
        float((np.abs(of.centre[part]) / of.deviation[part]).max()) for of, part in zip(levels, far, strict=True)
        if part.any()
    )  # fmt: skip
    who = " and ".join(
        f"{count} bands of the cube" if kind == "cube_bands" else sharp for kind, count in counts.items()
    )
    log.warning(
        "%s: found levels of up to %.1g times the contrast in %s, which float32 rounds; take a constant off each "
        "first, and add it to the result", name, worst, who,
    )  # fmt: skip
