"""The simulated bench: an instrument whose parameters are known, under a monochromator.

It is the demo's instrument and the tests' truth, so it shares no code with the fits: the transmittance is written out
again here, line profiles are integrated by quadrature, and noise is drawn from photons and read-out. Everything is
reproducible from a `numpy.random.Generator`, for any band and any spacing of the lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import legval
from numpy.polynomial.polynomial import polyval
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.captures.frames import FrameWriter
from hsitools.sensor.layout import SubImageLayout

if TYPE_CHECKING:
    from calibration.characterization import Characterization

Array = NDArray[np.float64]

#: Full scale of the simulated detector (14 bit) and its dark level, digital numbers.
FULL_SCALE, DARK_LEVEL = 16383, 400
#: Radius of the illuminated disc of a sub-image, as a share of the pitch.
DISC = 0.47


@dataclass(frozen=True, kw_only=True)
class SimulatedInstrument:
    """True parameters of a simulated multi-aperture Fabry-Perot instrument.

    Polynomials are in x, the wavenumber scaled to [-1, 1] on ``band`` (µm⁻¹), lowest degree first: powers for gain and
    reflectivity, Legendre polynomials for the phase, whose mean slope is then zero (it belongs to the OPD).

    Attributes
    ----------
    band : (float, float)
        Wavenumbers between which the polynomials hold, µm⁻¹.
    opd_um : array, shape (interferometer,)
    phase : array, shape (interferometer, k)
        Phase, rad: constant, zero, then dispersion.
    reflectivity, gain : array, shape (interferometer, k)
    brightness : array, shape (interferometer,)
        Relative illumination of each sub-image.
    layout : SubImageLayout
    half_field_deg : float
        Angle of incidence at the edge of the disc.
    etalon_um, etalon_amplitude : float
        OPD and relative amplitude of a parasitic etalon; amplitude 0 for none.
    opd_step_um : float
        Nominal step.
    waves : float
        Interfering waves: infinitely many (Airy), or a whole number of at least 2.
    """

    band: tuple[float, float]
    opd_um: Array
    phase: Array
    reflectivity: Array
    gain: Array
    brightness: Array
    layout: SubImageLayout
    half_field_deg: float
    etalon_um: float
    etalon_amplitude: float
    opd_step_um: float
    waves: float = np.inf

    def _scaled(self, wavenumber: Array) -> Array:
        low, high = self.band
        return (2 * wavenumber - low - high) / (high - low)

    def reflectivity_at(self, wavenumber: Array) -> Array:
        """True reflectivity, ``(interferometer, line)``."""
        return np.asarray(polyval(self._scaled(wavenumber), self.reflectivity.T), dtype=float)

    def gain_at(self, wavenumber: Array) -> Array:
        """True gain, ``(interferometer, line)``."""
        return np.asarray(polyval(self._scaled(wavenumber), self.gain.T), dtype=float)

    def phase_at(self, wavenumber: Array) -> Array:
        """True phase, rad, ``(interferometer, line)``."""
        return np.asarray(legval(self._scaled(wavenumber), self.phase.T), dtype=float)

    def window_opd_um(self, window: int) -> Array:
        """OPD·cos θ averaged over a window of pixels at each centre: what its centre spot sees, µm."""
        pitch = int(self.layout.pitch[0])
        cosine, _, _ = _off_axis(pitch, self.half_field_deg)
        middle = slice(pitch // 2 - window // 2, pitch // 2 + window // 2 + 1)
        return self.opd_um * cosine[middle, middle].mean()

    def flat(self, wavenumber: Array) -> Array:
        """Flat field: lamp × detector × illumination, of order one, ``(interferometer, line)``."""
        low, high = self.band
        x = (wavenumber - low) / (high - low)
        lamp = 0.35 + 0.65 * np.exp(-0.5 * ((x - 0.45) / 0.3) ** 2) + 0.08 * np.exp(-0.5 * ((x - 0.7) / 0.02) ** 2)
        tilt = 1 + 0.1 * np.sin(np.arange(len(self.opd_um)))[:, None] * (x - 0.5)
        return self.brightness[:, None] * lamp * tilt

    def transmittance(self, wavenumber: Array, cos_theta: Array | float = 1.0) -> Array:
        """True transmittance, ``(interferometer, line)``, at an angle inside the cavity."""
        r = self.reflectivity_at(wavenumber)
        delta = 2 * np.pi * wavenumber * self.opd_um[:, None] * cos_theta - self.phase_at(wavenumber)
        if np.isinf(self.waves):
            fringe = (1 - r**2) / ((1 - r) ** 2 + 4 * r * np.sin(delta / 2) ** 2)
        else:
            waves = np.arange(int(self.waves))[:, None, None]
            amplitude = ((r * np.exp(1j * delta)) ** waves).sum(axis=0)
            fringe = np.abs(amplitude) ** 2 / (r ** (2 * waves)).sum(axis=0)
        # each sub-image sees the parasitic cavity through another part of its wedge
        turn = np.arange(len(self.opd_um))[:, None]
        parasite = 1 + self.etalon_amplitude * np.cos(2 * np.pi * wavenumber * self.etalon_um - turn)
        return self.gain_at(wavenumber) * fringe * parasite


def simulate_instrument(
    n: int = 300,
    *,
    rng: np.random.Generator,
    band_nm: tuple[float, float] = (350.0, 1000.0),
    opd_offset_um: float = 1.5,
    opd_step_um: float = 0.175,
    rows: int = 10,
    pitch: int = 48,
    dispersion_rad: float = 0.3,
    etalon_um: float = 12.0,
    etalon_amplitude: float = 0.0,
    waves: float = np.inf,
) -> SimulatedInstrument:
    """Draw a plausible instrument of ``n`` interferometers.

    OPDs follow offset + step × index with the ripple of a mosaic in snake order and a scatter of a tenth of a step;
    reflectivities lie between .1 and .5 and vary smoothly over the band, as real coatings do.
    """
    index = np.arange(n)
    columns = -(-n // rows)
    ripple = 0.5 * opd_step_um * rows / 10 * np.sin(np.pi * index / rows)
    opd = opd_offset_um + opd_step_um * index + ripple + 0.1 * opd_step_um * rng.standard_normal(n)
    reflectivity = np.array([0.3, -0.08, -0.06, 0.03]) + rng.normal(0, [0.02, 0.015, 0.01, 0.01], (n, 4))
    gain = np.array([0.8, 0.1, -0.05, 0.03]) * (1 + rng.normal(0, 0.05, (n, 4)))
    phase = np.zeros((n, 4))
    phase[:, 0] = 0.6 + 0.2 * rng.standard_normal(n)
    phase[:, 2] = dispersion_rad * (1 + 0.1 * rng.standard_normal(n))
    phase[:, 3] = -0.4 * dispersion_rad
    layout = SubImageLayout(
        frame_shape=(rows * pitch + pitch // 3, columns * pitch + pitch // 4),
        grid=(rows, columns),
        pitch=(float(pitch), float(pitch)),
        origin=(pitch / 2 + pitch / 6, pitch / 2 + pitch / 8),
        order="column-snake",
    )
    return SimulatedInstrument(
        band=(1000 / band_nm[1], 1000 / band_nm[0]), opd_um=np.maximum(opd, 0.05), phase=phase,
        reflectivity=reflectivity, gain=gain, layout=layout,
        brightness=1 + 0.2 * np.sin(index / 17) + 0.05 * rng.standard_normal(n),
        half_field_deg=8.0, etalon_um=etalon_um, etalon_amplitude=etalon_amplitude, opd_step_um=opd_step_um,
        waves=waves,
    )  # fmt: skip


def lines(n: int = 451, band_nm: tuple[float, float] = (350.0, 1000.0), even_in: str = "wavenumber") -> Array:
    """Wavenumbers (µm⁻¹) of ``n`` monochromator lines, evenly spaced in ``"wavenumber"`` or in ``"wavelength"``."""
    if even_in == "wavenumber":
        return np.linspace(1000 / band_nm[1], 1000 / band_nm[0], n)
    return np.sort(1000 / np.linspace(band_nm[0], band_nm[1], n))


def expectation(instrument: SimulatedInstrument, wavenumber: Array, linewidth_nm: float = 0.0) -> Array:
    """Noise-free intensity ``(interferometer, line)`` under Gaussian lines of the given full width at half maximum."""
    if linewidth_nm == 0:
        return instrument.flat(wavenumber) * instrument.transmittance(wavenumber)
    nodes, weights = hermegauss(9)
    total = np.zeros((len(instrument.opd_um), len(wavenumber)))
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        at = 1000 / (1000 / wavenumber + node * linewidth_nm / 2.3548)
        total += weight * instrument.transmittance(at)
    return instrument.flat(wavenumber) * total


def noise_sigma(mean: Array, noise: float) -> Array:
    """Standard deviation of each sample, rms ``noise`` × row mean; variance half from read-out, half from photons."""
    level = mean.mean(axis=1, keepdims=True)
    return noise * level * np.sqrt(0.5 + 0.5 * np.maximum(mean, 0) / level)


def _slow_walk(n: int, rng: np.random.Generator) -> Array:
    """A random walk of ``n`` steps, smoothed over fifteen, of mean zero and standard deviation one."""
    walk = np.cumsum(rng.standard_normal(n))
    width = min(15, len(walk))
    walk = np.convolve(walk, np.ones(width) / width, mode="same")
    return np.asarray((walk - walk.mean()) / max(float(walk.std()), 1e-12))


def capture(
    instrument: SimulatedInstrument,
    wavenumber: Array,
    *,
    rng: np.random.Generator,
    noise: float = 0.095,
    linewidth_nm: float = 0.5,
    drift: float = 0.0,
    scale_error_nm: float = 0.0,
    hot_share: float = 0.0,
    saturation: float | None = None,
) -> MonochromaticCapture:
    """Measure all interferometers at all lines.

    Parameters
    ----------
    noise : float
        Root mean square noise relative to each row's mean (.095 as on a real instrument).
    linewidth_nm : float
        Full width at half maximum of the monochromator's line.
    drift : float
        Standard deviation, over the acquisition, of a slow lamp drift common to all interferometers.
    scale_error_nm : float
        Standard deviation over the lines of a slow error of the monochromator's scale.
    hot_share : float
        Share of samples that are wild (cosmic rays, hot pixels), up to twenty times too bright.
    saturation : float, optional
        Intensity (the mean row's mean is about 0.5) above which samples are clipped and marked saturated.
    """
    walk = _slow_walk(len(wavenumber), rng)
    at = wavenumber
    if scale_error_nm:
        at = 1000 / (1000 / wavenumber + scale_error_nm * _slow_walk(len(wavenumber), rng))
    # the lamp's spectrum is measured by the same monochromator: the flat field is as it is
    mean = expectation(instrument, at, linewidth_nm) / instrument.flat(at) * instrument.flat(wavenumber)
    mean = mean * (1 + drift * walk)
    values = mean + noise_sigma(mean, noise) * rng.standard_normal(mean.shape)
    wild = rng.random(mean.shape) < hot_share
    values = np.where(wild, values * rng.uniform(3, 20, mean.shape), values)
    clipped = np.zeros(mean.shape, dtype=bool) if saturation is None else values >= saturation
    if saturation is not None:
        values = np.minimum(values, saturation)
    return MonochromaticCapture(
        intensity=values, flat=instrument.flat(wavenumber), wavenumber=wavenumber, mask=~clipped, saturated=clipped,
        index=np.arange(len(values)), opd_step_um=instrument.opd_step_um, linewidth_nm=linewidth_nm,
        layout=instrument.layout, name="simulated",
        source="calibration.simulated_bench",
    )  # fmt: skip


def standardised_errors(instrument: SimulatedInstrument, result: Characterization) -> dict[str, Array]:
    """Errors of a characterization in units of its own standard errors, ``(interferometer,)`` each.

    NaN where nothing was fitted. What is right lies within ±1.96 in 95 of 100.
    """
    rows, band = result.index, np.linspace(*instrument.band, 4001)
    turns = (result.phase_rad - instrument.phase[rows, 0] + np.pi) % (2 * np.pi) - np.pi
    reflectivity = instrument.reflectivity_at(result.wavenumber)[rows].mean(axis=1)
    gain = instrument.gain_at(band)[rows].mean(axis=1)
    return {
        "opd": (result.opd_um - instrument.opd_um[rows]) / result.opd_stderr_um,
        "phase": turns / result.phase_stderr_rad,
        "reflectivity": (result.reflectivity - reflectivity) / result.reflectivity_stderr,
        "gain": (result.gain - gain) / result.gain_stderr,
    }


def _off_axis(pitch: int, half_field_deg: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Cos θ, vignetting and illuminated disc over one sub-image, ``(pitch, pitch)``."""
    y, x = np.mgrid[:pitch, :pitch] - (pitch // 2)
    radius = np.hypot(y, x) / (DISC * pitch)
    cosine = np.cos(np.arctan(radius * np.tan(np.radians(half_field_deg))))
    return cosine, 1 - 0.3 * radius**2, radius <= 1


def pixel_stack(
    instrument: SimulatedInstrument, wavenumber: Array, *, size: int, rng: np.random.Generator, noise: float = 0.05
) -> NDArray[np.float32]:
    """Pixels around each sub-image's centre, ``(interferometer, line, y, x)`` float32, flat field divided out."""
    n = len(instrument.opd_um)
    y, x = np.mgrid[:size, :size] - size // 2
    radius = np.hypot(y, x) / (size / 2 * np.sqrt(2))
    cosine = np.cos(np.arctan(radius * np.tan(np.radians(instrument.half_field_deg))))
    out = np.empty((n, len(wavenumber), size, size), dtype=np.float32)
    for line, sigma in enumerate(wavenumber):
        clean = instrument.transmittance(np.array([sigma]), cosine.reshape(1, -1)).reshape(n, size, size)
        out[:, line] = clean + noise * rng.standard_normal(clean.shape)
    return out


def write_frames(
    path: str | Path,
    instrument: SimulatedInstrument,
    wavenumber: Array,
    *,
    rng: np.random.Generator,
    signal: float = 5000.0,
    n_dark: int = 8,
    hot_share: float = 0.0005,
) -> None:
    """Write raw 14-bit frames of the instrument, one per line, with dark and flat frames; one in memory at a time.

    Each sub-image is a vignetted disc with rings (OPD·cos θ); dark level, dark non-uniformity, hot pixels, photon and
    read noise, quantisation and saturation as on a real detector. The flat frames are what the same light gives without
    cavities (the lamp through the empty aperture), with the same noise.
    """
    layout = instrument.layout
    height, width = layout.frame_shape
    pitch = int(layout.pitch[0])
    cosine, vignetting, disc = _off_axis(pitch, instrument.half_field_deg)
    dark = DARK_LEVEL + 10 * rng.standard_normal((height, width))
    hot = rng.random((height, width)) < hot_share
    dark = np.where(hot, dark + rng.uniform(1000, 8000, dark.shape), dark)
    corners = np.rint(layout.centres()).astype(int)[: len(instrument.opd_um)] - pitch // 2

    def digitise(light: Array) -> NDArray[np.uint16]:
        electrons = np.maximum(light, 0) + np.sqrt(np.maximum(light, 0) + 25.0) * rng.standard_normal(light.shape)
        return np.clip(np.rint(electrons + dark), 0, FULL_SCALE).astype(np.uint16)

    def frame(sub_images: Array) -> NDArray[np.uint16]:
        light = np.zeros((height, width))
        for (y, x), image in zip(corners, sub_images, strict=True):
            light[y : y + pitch, x : x + pitch] += image
        return digitise(light)

    with FrameWriter(path, (height, width), wavenumber, full_scale=FULL_SCALE) as writer:
        for _ in range(n_dark):
            writer.add_dark(digitise(np.zeros((height, width))))
        for sigma in wavenumber:
            at = np.array([sigma])
            lamp = signal * instrument.flat(at)[:, :, None] * (vignetting * disc)
            fringes = instrument.transmittance(at, cosine.reshape(1, -1)).reshape(-1, pitch, pitch)
            writer.add_line(frame(lamp * fringes), frame(lamp))
