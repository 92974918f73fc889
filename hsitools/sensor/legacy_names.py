"""How 0.1.0 named sensors: its checkpoints, cards, cubes and benchmarks hold hashes of the bytes of all numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from hsitools.sensor.parts import SensorParts

#: What 0.1.0 called its presets, by their fingerprint today. Computed here, its names may come out otherwise: FINCH's
#: depended on the processor (with AVX-512, without).
PRESETS = {
    "31573743760e": ("3fb7492c45c2",),  # PRISMA
    "238d701cd304": ("7ac67f87001a",),  # EnMAP
    "7cb5c851435c": ("52a54440f4bd",),  # Hyperion and ALI
    "008b94ada9aa": ("98acb7e21954", "a6a51001e6b2"),  # FINCH
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


def former_names(sensor: SensorParts) -> tuple[str, ...]:
    """What 0.1.0 called this sensor, on this or another processor."""
    return tuple(dict.fromkeys((_hash(sensor), *PRESETS.get(sensor.fingerprint(), ()))))


def _hash(sensor: SensorParts) -> str:
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
