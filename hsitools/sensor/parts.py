"""What a sensor is made of: response, optics, detectors and patterns, checked to fit together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import NoneType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hsitools import identity
from hsitools.cube.sources import band_numbers
from hsitools.errors import InputError, require_type
from hsitools.sensor.bands import MIN_COVERAGE, GaussianResponse, SpectralResponse, TableResponse
from hsitools.sensor.calibration import Calibration
from hsitools.sensor.coarse_grid import check_offset, check_ratio
from hsitools.sensor.detector import Detector
from hsitools.sensor.distortion import Distortion
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.pattern import Defects, Pattern, Stripes
from hsitools.text import counted

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class SensorParts:
    """The parts of a `hsitools.sensor.Sensor`, which says what each of them is."""

    response: Any
    ratio: int = 1
    mtf: Any = None
    offset: float | None = None
    noise: Detector | None = None
    stripes: Stripes | None = None
    defects: Defects | None = None
    distortion: Distortion | None = None
    calibration: Calibration | None = None
    pan: Any = None
    pan_mtf: float = 0.2
    pan_noise: Detector | None = None
    layout: SubImageLayout | None = None
    units: str = "1"
    name: str = "sensor"
    source: str = ""
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_type(self.response, SpectralResponse, f"{self.name}: response", "a response")
        for field in ("name", "units"):
            require_type(getattr(self, field), str, f"{self.name}: {field}", "text")
        n_bands = self.response.n_bands
        check_offset(check_ratio(self.ratio, f"{self.name}: "), self.offset, f"{self.name}: ")
        if self.mtf is not None:
            mtf = np.asarray(self.mtf, dtype=float)
            mtf = np.full(n_bands, float(mtf)) if mtf.ndim == 0 else mtf
            if mtf.shape not in ((n_bands,), (n_bands, 2)) or not ((mtf > 0) & (mtf < 1)).all():
                raise InputError(
                    f"{self.name}: mtf: found shape {mtf.shape}, {mtf.min():g} to {mtf.max():g}, "
                    f"expected ({n_bands},) or ({n_bands}, 2) between 0 and 1"
                )
            object.__setattr__(self, "mtf", mtf)
        elif self.ratio > 1:
            raise InputError(f"{self.name}: mtf: missing, expected gains at Nyquist for ratio {self.ratio} (--mtf)")
        require_type(self.pan, (SpectralResponse, NoneType), f"{self.name}: pan", "a response")
        if self.pan is not None and self.pan.n_bands != 1:
            raise InputError(f"{self.name}: pan: found {self.pan.n_bands} bands, expected 1")
        for field in ("noise", "pan_noise"):
            require_type(getattr(self, field), (Detector, NoneType), f"{self.name}: {field}", "a Detector")
        if self.noise is not None:
            for field in ("electrons_per_unit", "dark_electrons", "read_noise"):
                value = getattr(self.noise, field)
                if value.ndim and len(value) != n_bands:
                    raise InputError(
                        f"{self.name}: noise: {field}: found {counted(len(value), 'value')}, expected {n_bands}"
                    )
        if self.calibration is not None and self.calibration.n_bands != n_bands:
            raise InputError(
                f"{self.name}: calibration: found {counted(self.calibration.n_bands, 'band')}, expected {n_bands}"
            )
        if self.calibration is not None and self.layout is not None:
            raise InputError(f"{self.name}: calibration: found maps (band, column), expected none for sub-images")

    @property
    def n_bands(self) -> int:
        """Bands, or interferometers."""
        return int(self.response.n_bands)

    def replace(self, **changes: Any) -> Self:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)

    def select(self, bands: Any) -> Self:
        """The sensor with some of its bands only (Gaussian or tabled ones), numbered as of `Cube.select`."""
        bands = band_numbers(bands, self.n_bands, self.name)
        if isinstance(self.response, GaussianResponse):
            response: Any = GaussianResponse(
                centre_nm=self.response.centre_nm[bands], width_nm=self.response.width_nm[bands]
            )
        elif isinstance(self.response, TableResponse):
            response = TableResponse(table_nm=self.response.table_nm, response=self.response.response[bands])
        else:
            raise InputError(f"{self.name}: bands: interferometers cannot be chosen by band")
        return self.replace(
            response=response,
            mtf=None if self.mtf is None else self.mtf[bands],
            noise=None if self.noise is None else self.noise.select(bands),
            calibration=None if self.calibration is None else self.calibration.select(bands),
        )

    def within(self, wavelength_nm: Array) -> Self:
        """The sensor without the bands that these wavelengths do not cover.

        Raises
        ------
        InputError
            When none is covered.
        """
        covered = self.response.coverage(wavelength_nm) >= MIN_COVERAGE
        if covered.all():
            return self
        if not covered.any():
            raise InputError(
                f"{self.name}: wavelength_nm: found {np.min(wavelength_nm):g} to {np.max(wavelength_nm):g} nm, "
                "expected some of the sensor's bands inside"
            )
        return self.select(np.flatnonzero(covered))

    def fingerprint(self) -> str:
        """Short name of all that the sensor does to light, the same on every machine (`hsitools.identity`)."""
        return identity.fingerprint(self)

    def pattern(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Pattern:
        """The detector's fixed pattern for cubes of ``shape`` (band, y, x): as calibrated, or drawn from stripes and
        defects. Lost lines are drawn in either case: no element's calibration tells of them.

        Raises
        ------
        InputError
            When the calibration is of another width.
        """
        if self.calibration is None:
            drawn = (self.stripes or Stripes()).draw(shape, rng)
            return drawn if self.defects is None else self.defects.draw(drawn, rng)
        if self.calibration.gain.shape != (shape[0], shape[2]):
            raise InputError(
                f"{self.name}: calibration: found {self.calibration.gain.shape} (band, column), "
                f"expected {(shape[0], shape[2])} as the cube has"
            )
        calibrated = self.calibration.pattern(shape[1])
        lost = 0.0 if self.defects is None else self.defects.lost_lines
        return Defects(lost_lines=lost).draw(calibrated, rng)
