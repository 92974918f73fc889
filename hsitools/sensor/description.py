"""A sensor in words and numbers, for people and programs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from hsitools.sensor.legacy_names import former_names
from hsitools.sensor.parts import SensorParts
from hsitools.sensor.spectral import UNITS, FabryPerotResponse


def description(sensor: SensorParts) -> dict[str, Any]:
    """A sensor in words and numbers: what ``hsi sensor show`` prints."""
    centre, width = sensor.response.wavelength_nm, sensor.response.fwhm_nm
    out: dict[str, Any] = {
        "kind": "sensor", "name": sensor.name, "hash": sensor.fingerprint(),
        "former_hash": ", ".join(former_names(sensor)), "source": sensor.source,
        "bands": sensor.n_bands, "response": type(sensor.response).__name__,
        "wavelength_nm": None if centre is None else [float(centre.min()), float(centre.max())],
        "fwhm_nm": None if width is None else [float(width.min()), float(width.max())],
        "ratio": int(sensor.ratio), "units": sensor.units,
        "mtf_at_nyquist": None if sensor.mtf is None else [float(sensor.mtf.min()), float(sensor.mtf.max())],
        "pan_nm": None if sensor.pan is None else float(sensor.pan.wavelength_nm[0]),
    }  # fmt: skip
    if isinstance(sensor.response, FabryPerotResponse):
        low, high = sensor.response.band_nm
        out |= {"calibrated_band_nm": [low, high], "interferogram": UNITS}
    if sensor.noise is not None:
        if sensor.units == "1":
            level = 0.3
            snr = level / np.sqrt(np.ravel(sensor.noise.variance(np.full((sensor.n_bands, 1, 1), level))))
            out["snr_at_0.3"] = [float(snr.min()), float(snr.max())]
        out |= {"full_well_electrons": sensor.noise.full_well, "bits": sensor.noise.bits or None}
        full = sensor.noise.saturation
        if np.isfinite(full).all():
            out["saturation"] = [float(full.min()), float(full.max())]
        if sensor.noise.bias is not None:
            out["bias_dn"] = sensor.noise.bias
    for name in ("stripes", "defects", "distortion"):
        part = getattr(sensor, name)
        if part is not None:
            facts = {key: value for key, value in dataclasses.asdict(part).items() if value}
            out[name] = ", ".join(
                f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}" for key, value in facts.items()
            )
    if sensor.calibration is not None:
        out["calibration"] = sensor.calibration.summary()
    if sensor.layout is not None:
        out["sub_images"] = list(sensor.layout.grid)
    return out | {f"assumed_{number}": text for number, text in enumerate(sensor.assumptions, 1)}
