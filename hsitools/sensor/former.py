"""How 0.1.0 named sensors: its checkpoints, cards, cubes and benchmarks hold hashes of the bytes of all numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hsitools.sensor.sensor import Sensor

#: The presets' names, which may come out otherwise here: FINCH's depended on the processor (with AVX-512, without).
PRESETS = {
    "prisma": ("3fb7492c45c2",),
    "enmap": ("7ac67f87001a",),
    "hyperion-ali": ("52a54440f4bd",),
    "finch": ("98acb7e21954", "a6a51001e6b2"),
}
#: Fields that there were, of those classes that have got more since or may.
FIELDS = {
    "Sensor": "response ratio mtf offset noise stripes defects distortion calibration pan pan_mtf pan_noise layout "
    "units name source assumptions",
    "FabryPerotResponse": "model band theta gain_scale wavenumber flat curve",
    "Detector": "electrons_per_unit dark_electrons read_noise full_well bits",
    "Stripes": "gain offset columns bands clusters band_runs column_correlation band_correlation band_noise fragments "
    "drift source",
    "Defects": "dead hot dead_columns lost_lines impulse",
    "Distortion": "smile_bands keystone_pixels",
    "Calibration": "gain offset dead source",
    "SubImageLayout": "frame_shape grid pitch origin order",
}


def former_names(sensor: Sensor) -> tuple[str, ...]:
    """What 0.1.0 called this sensor, on this or another processor."""
    from hsitools.sensor.presets import PRESETS as MAKERS

    names = [_hash(sensor)]
    for preset, known in PRESETS.items():
        if MAKERS[preset]().fingerprint() == sensor.fingerprint():
            names += known
    return tuple(dict.fromkeys(names))


def _hash(sensor: Sensor) -> str:
    return hashlib.sha256(json.dumps(_plain(sensor), sort_keys=True).encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value, dtype=float).tobytes()).hexdigest()
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        kept = FIELDS[type(value).__name__].split() if type(value).__name__ in FIELDS else names
        facts = {name: getattr(value, name) for name in names if name in kept}
        if facts.get("calibration", ...) is None:
            del facts["calibration"]
        return {name: _plain(fact) for name, fact in facts.items()}
    return str(value)
