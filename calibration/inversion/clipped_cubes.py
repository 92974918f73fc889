"""Interferogram cubes of a saturated detector: what is cut off at one number is no measurement."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from calibration.captures.saturation import clipping_limit
from calibration.inversion.measurement import CubeMeasurement, Measurement
from hsitools.text import counted

log = logging.getLogger(__name__)
#: Samples in which clipping is looked for.
LOOKED_AT = 2**20
#: Interferometers that reach the same highest number: an image of repeated pixels has one that does so often.
LEAST = 2


def without_clipped(scene: CubeMeasurement, sample: Measurement) -> tuple[CubeMeasurement, Measurement]:
    """The cube and a sample of it with NaN where the detector was saturated, told from the sample."""
    values = sample.values
    few = values[:, :: max(1, -(-values.size // LOOKED_AT))]
    limit = clipping_limit(few[None], np.isfinite(few))
    clipped = values >= limit
    if clipped.any(axis=(1, 2)).sum() < LEAST:
        return scene, sample
    text = "%s: %s (%.2g %%) left out, saturated from %.6g on"
    lost = int(clipped.sum())
    log.warning(text, scene.source, counted(lost, "sample"), 100 * lost / values.size, limit)
    return replace(scene, limit=limit), replace(sample, values=np.where(clipped, np.nan, values))
