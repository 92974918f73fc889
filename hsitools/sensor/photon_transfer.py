"""Photon transfer: gain, read noise, PRNU and defects of a detector from dark and flat frames.

Photon noise makes the temporal variance of a pixel grow with its mean as ``V = V_read + S/K`` (digital numbers; K is
electrons per number), whatever the light is and however uneven it falls. J. R. Janesick, Photon Transfer, SPIE Press,
2007; EMVA Standard 1288.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path
from hsitools.io.records import read_record, write_record
from hsitools.sensor.calibration import Calibration
from hsitools.sensor.noise import DetectorNoise
from hsitools.sensor.pattern import Defects, Stripes

Array = NDArray[np.float64]
FORMAT, VERSION = "hsitools-photon-transfer", 1
#: A pixel whose dark level or noise leaves the median by so many robust deviations is a defect.
DEFECT_SIGMA = 8.0
#: So is one that responds less than this share of its neighbourhood, or more than its inverse.
DEAD_RESPONSE = 0.5
#: Share of pixels that may touch zero in the dark before the noise must be taken as clipped.
MAX_AT_ZERO = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotonTransfer:
    """What dark and flat frames tell of a detector.

    Attributes
    ----------
    gain, gain_stderr : float
        Electrons per digital number.
    read_noise, read_noise_stderr : float
        Electrons, quantisation removed.
    dark_level, dark_spread : float
        Mean of the dark frames and its standard deviation over pixels (DSNU), digital numbers.
    prnu : float
        Standard deviation over pixels of the relative response; noise and slow illumination removed.
    full_scale : float
        Digital number at which pixels clip; infinite when not known.
    signal, variance, variance_stderr : array, shape (bin,)
        The photon-transfer curve, digital numbers.
    response : array, shape (y, x)
        Relative response of each pixel (PRNU map).
    dark : array, shape (y, x)
    defects : array of bool, shape (y, x)
    """

    gain: float
    gain_stderr: float
    read_noise: float
    read_noise_stderr: float
    dark_level: float
    dark_spread: float
    prnu: float
    full_scale: float
    signal: Array
    variance: Array
    variance_stderr: Array
    response: Array
    dark: Array
    defects: NDArray[np.bool_]

    def detector(self) -> DetectorNoise:
        """The noise model for cubes in digital numbers with the dark level subtracted."""
        finite = np.isfinite(self.full_scale)
        room = max(self.full_scale - self.dark_level, 1.0)
        bits = int(np.ceil(np.log2(room))) if finite else 0
        return DetectorNoise(
            electrons_per_unit=self.gain, read_noise=self.read_noise, bits=bits,
            full_well=float(self.gain * 2**bits) if finite else float("inf"),
        )  # fmt: skip

    def pattern(self) -> tuple[Stripes, Defects]:
        """PRNU and defects as a pushbroom shows them, whose elements (band, column) are the pixels measured here."""
        dead = self.defects & (self.response < DEAD_RESPONSE)
        return (
            Stripes(gain=self.prnu, source="PRNU by photon transfer"),
            Defects(dead=float(dead.mean()), hot=float((self.defects & ~dead).mean())),
        )

    def calibration(self) -> Calibration:
        """Gain and offset of each element of a pushbroom, whose (band, column) are the pixels measured here.

        For cubes in digital numbers with `dark_level` subtracted, as `detector`. Gains are relative to a pixel's
        surroundings: what changes slowly over the detector cannot be told from the light that it was shown.
        """
        return Calibration(
            gain=self.response, offset=self.dark - self.dark_level, dead=self.defects, source="photon transfer"
        )  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """Headline numbers with their units in the names."""
        return {
            "kind": "photon transfer",
            "gain_electrons_per_dn": self.gain,
            "gain_stderr": self.gain_stderr,
            "read_noise_electrons": self.read_noise,
            "read_noise_stderr": self.read_noise_stderr,
            "dark_level_dn": self.dark_level,
            "dark_spread_dn": self.dark_spread,
            "prnu_percent": 100 * self.prnu,
            "full_scale_dn": self.full_scale,
            "defects": int(self.defects.sum()),
            "defects_percent": 100 * float(self.defects.mean()),
            "frame_shape": list(self.dark.shape),
        }

    def save(self, path: str | Path) -> None:
        """Write one HDF5 file, whole or not at all."""
        import h5py

        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(format=FORMAT, version=VERSION)
            write_record(file, self)

    @classmethod
    def load(cls, path: str | Path) -> PhotonTransfer:
        """Read what `save` wrote; raises `FormatError` for anything else."""
        import h5py

        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT:
                    raise FormatError(f"{path}: format: found {file.attrs.get('format')!r}, expected {FORMAT!r}")
                found: PhotonTransfer = read_record(file, {"PhotonTransfer": cls}, str(path))
                return found
        except FileNotFoundError:
            raise FormatError(f"{path}: found no such file, expected a detector's noise") from None
        except OSError as error:
            raise FormatError(f"{path}: expected a detector's noise (HDF5); {' '.join(str(error).split())}") from None


def photon_transfer(
    dark: Iterable[NDArray[Any]],
    levels: Iterable[Iterable[NDArray[Any]]],
    *,
    full_scale: float = float("inf"),
    progress: Callable[[int], None] | None = None,
) -> PhotonTransfer:
    """Estimate a detector's noise, one frame in memory at a time.

    Parameters
    ----------
    dark : iterable of frames (y, x)
        At least two.
    levels : iterable of iterables of frames
        Repeated frames of each level of light, at least two a level; the light need not be even.
    full_scale : float
        Digital number at which pixels clip: those that reach it are left out.
    progress : callable, optional
        Called with the number of levels done.

    Raises
    ------
    InputError
        When there are too few frames, shapes differ, or the light is not above the noise.
    """
    dark_mean, dark_variance, n_dark, dark_low, _ = _moments(dark, "dark")
    if n_dark < 2:
        raise InputError(f"dark: found {n_dark} frames, expected at least two")
    at_zero = float(np.mean(dark_low <= 0))
    if at_zero > MAX_AT_ZERO:
        raise InputError(
            f"dark: found {at_zero:.0%} of the pixels reaching zero, expected an offset above the read noise: "
            "clipped noise cannot be measured"
        )
    signals, variances, counts, clipped = [], [], [], []
    for number, frames in enumerate(levels):
        mean, variance, count, _, peak = _moments(frames, f"flat level {number}")
        if mean.shape != dark_mean.shape:
            raise InputError(f"flat: found frames of {mean.shape}, expected {dark_mean.shape} as the dark ones")
        if count < 2:
            raise InputError(f"flat level {number}: found {count} frames, expected at least two")
        signals.append(mean - dark_mean)
        variances.append(variance)
        counts.append(count)
        clipped.append(peak >= full_scale)
        if progress is not None:
            progress(number + 1)
    if not signals:
        raise InputError("flat: found no frames, expected at least one level")
    signal, variance, clip = np.stack(signals), np.stack(variances), np.stack(clipped)
    response, response_noise = _response(signal, variance, np.array(counts), clip)
    defects = _outliers(dark_mean) | _outliers(np.sqrt(dark_variance)) | ~np.isfinite(response)
    defects |= (response < DEAD_RESPONSE) | (response > 1 / DEAD_RESPONSE)
    good, steady = ~defects & ~clip, ~defects
    if good.sum() < 100:
        raise InputError(f"flat: found {int(good.sum())} usable samples, expected at least 100 below full scale")
    frames = np.broadcast_to(np.array(counts)[:, None, None], good.shape)[good]
    signal_bins, variance_bins, error_bins = _curve(
        np.concatenate([np.zeros(int(steady.sum())), signal[good]]),
        np.concatenate([dark_variance[steady], variance[good]]),
        np.concatenate([np.full(int(steady.sum()), n_dark), frames]),
    )
    slope, slope_error, intercept, intercept_error = _line(signal_bins, variance_bins, error_bins)
    if not slope > 3 * slope_error:
        raise InputError("flat: found no growth of the noise with the light, expected photon noise")
    gain = 1 / slope
    # rounding to whole numbers adds a twelfth
    read = max(intercept - 1 / 12, 0.0) ** 0.5
    spread = float(np.var(dark_mean[steady]) - np.mean(dark_variance[steady]) / n_dark)
    uneven = float(np.var(response[steady])) - response_noise
    return PhotonTransfer(
        gain=float(gain), gain_stderr=float(slope_error * gain**2), read_noise=float(gain * read),
        read_noise_stderr=float(gain * intercept_error / (2 * max(read, 1e-6))),
        dark_level=float(np.median(dark_mean)), dark_spread=max(spread, 0.0) ** 0.5,
        prnu=max(uneven, 0.0) ** 0.5, full_scale=float(full_scale),
        signal=signal_bins, variance=variance_bins, variance_stderr=error_bins,
        response=np.where(np.isfinite(response), response, 0.0), dark=dark_mean, defects=defects,
    )  # fmt: skip


def _moments(frames: Iterable[NDArray[Any]], name: str) -> tuple[Array, Array, int, Array, Array]:
    """Mean, variance (ddof 1), number, minimum and maximum of frames, in one pass."""
    count = 0
    mean = square = low = high = np.zeros((0, 0))
    for frame in frames:
        values = np.asarray(frame, dtype=float)
        if values.ndim != 2 or not np.isfinite(values).all():
            raise InputError(f"{name}: found a frame of shape {values.shape}, expected finite numbers (y, x)")
        if count == 0:
            mean, square, low, high = np.zeros_like(values), np.zeros_like(values), values, values
        elif values.shape != mean.shape:
            raise InputError(f"{name}: found frames of {mean.shape} and {values.shape}, expected one size")
        count += 1
        step = values - mean
        mean = mean + step / count
        square = square + step * (values - mean)
        low, high = np.minimum(low, values), np.maximum(high, values)
    return mean, square / max(count - 1, 1), count, low, high


def _outliers(image: Array) -> NDArray[np.bool_]:
    middle = np.median(image)
    spread = 1.4826 * np.median(np.abs(image - middle))
    return np.abs(image - middle) > DEFECT_SIGMA * max(float(spread), 1e-9 * max(abs(float(middle)), 1.0))


def _response(
    signal: Array, variance: Array, counts: NDArray[np.int64], clip: NDArray[np.bool_]
) -> tuple[Array, float]:
    """Relative response of each pixel over all levels, and the variance that noise alone gives it."""
    usable = ~clip
    typical = np.array([np.median(level) for level in signal])[:, None, None]
    weight = np.where(usable, typical, 0.0)
    total = (weight * typical).sum(axis=0)
    slope = np.where(
        total > 0, (weight * np.where(usable, signal, 0)).sum(axis=0) / np.where(total > 0, total, 1), np.nan
    )
    noise = (weight**2 * variance / counts[:, None, None]).sum(axis=0) / np.where(total > 0, total, 1) ** 2
    smooth = _smooth(slope)
    return slope / smooth, float(np.nanmedian(noise / smooth**2))


def _smooth(image: Array) -> Array:
    """The slow part of the illumination: a polynomial of degree 3 in both directions, fitted robustly."""
    height, width = image.shape
    y, x = np.linspace(-1, 1, height), np.linspace(-1, 1, width)
    degree = 3 if min(height, width) >= 16 else 0
    basis = [np.polynomial.legendre.legvander(axis, min(degree, len(axis) - 1)) for axis in (y, x)]
    keep = np.isfinite(image)
    middle = float(np.nanmedian(image))
    keep &= np.abs(image - middle) < 0.5 * abs(middle)
    fitted = np.full(image.shape, middle)
    for _ in range(3):
        filled = np.where(keep, image, fitted)
        inner = np.linalg.lstsq(basis[0], filled, rcond=None)[0]
        outer = np.linalg.lstsq(basis[1], inner.T, rcond=None)[0].T
        fitted = basis[0] @ outer @ basis[1].T
    return np.asarray(np.where(np.abs(fitted) > 1e-12, fitted, np.nan))


def _curve(signal: Array, variance: Array, frames: Array, bins: int = 64) -> tuple[Array, Array, Array]:
    """Mean variance in bins of the signal, and its standard error."""
    order = np.argsort(signal, kind="stable")
    signal, variance, frames = signal[order], variance[order], frames[order]
    dark = int((signal == 0).sum())
    edges = [0, *np.unique(np.linspace(dark, len(signal), bins + 1).astype(int))]
    edges = sorted(set(edges))
    parts = [slice(a, b) for a, b in pairwise(edges) if b > a]
    mean_s = np.array([signal[part].mean() for part in parts])
    mean_v = np.array([variance[part].mean() for part in parts])
    # a sample variance of Gaussian noise has variance 2V²/(n − 1)
    error = np.array([mean_v[i] * np.sqrt(2 / np.sum(frames[part] - 1)) for i, part in enumerate(parts)])
    return mean_s, mean_v, np.maximum(error, 1e-12)


def _line(x: Array, y: Array, error: Array) -> tuple[float, float, float, float]:
    """Weighted straight line: slope, its error, intercept, its error."""
    design = np.stack([x, np.ones_like(x)], axis=1) / error[:, None]
    covariance = np.linalg.inv(design.T @ design)
    slope, intercept = covariance @ design.T @ (y / error)
    return float(slope), float(np.sqrt(covariance[0, 0])), float(intercept), float(np.sqrt(covariance[1, 1]))


def read_stacks(dark_path: str | Path, flat_path: str | Path) -> tuple[Any, list[list[Any]], float]:
    """Dark frames, levels of flat frames and full scale from HDF5 files, lazily.

    ``frames`` (or ``dark`` / ``flat``, ``cube``) is ``(frame, y, x)``; flats may be ``(level, frame, y, x)`` or carry
    ``level`` ``(frame,)``, which groups equal values; without it all flats are one level.

    Raises
    ------
    FormatError
        When a file or member is missing.
    """
    dark = _stack(dark_path, ("frames", "dark", "cube"))
    if dark.ndim != 3:
        raise InputError(f"{dark_path}: frames: found shape {dark.shape}, expected (frame, y, x)")
    flat = _stack(flat_path, ("frames", "flat", "cube"))
    if flat.ndim == 4:
        levels = [[_Frame(flat, (level, frame)) for frame in range(flat.shape[1])] for level in range(flat.shape[0])]
    elif flat.ndim == 3:
        labels = np.zeros(len(flat)) if "level" not in flat.file else np.asarray(flat.file["level"][()], dtype=float)
        if labels.shape != (len(flat),):
            raise InputError(f"{flat_path}: level: found shape {labels.shape}, expected ({len(flat)},), one a frame")
        levels = [
            [_Frame(flat, int(frame)) for frame in np.flatnonzero(labels == value)] for value in np.unique(labels)
        ]
    else:
        raise InputError(
            f"{flat_path}: frames: found shape {flat.shape}, expected (frame, y, x) or (level, frame, y, x)"
        )
    scale = flat.file.attrs.get("full_scale", dark.file.attrs.get("full_scale", float("inf")))
    return [_Frame(dark, frame) for frame in range(len(dark))], levels, float(scale)


class _Frame:
    """One frame of a dataset, read when it is needed."""

    def __init__(self, data: Any, place: Any) -> None:
        self._data, self._place = data, place

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._data[self._place], dtype=dtype)


def _stack(path: str | Path, names: tuple[str, ...]) -> Any:
    import h5py

    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise FormatError(f"{path}: found no such file, expected frames (HDF5)") from None
    except OSError as error:
        raise FormatError(f"{path}: expected frames (HDF5); {' '.join(str(error).split())}") from None
    for name in names:
        if name in file and getattr(file[name], "ndim", 0) >= 3 and file[name].dtype.kind in "uif":
            return file[name]
    raise FormatError(f"{path}: {names[0]}: missing, expected numbers (frame, y, x)")


def describe(path: Path) -> dict[str, Any] | None:
    """What ``hsi info`` says of the file; None when it is something else."""
    from hsitools.io.labels import is_hdf5

    if not is_hdf5(Path(path)):
        return None
    import h5py

    with h5py.File(path, "r") as file:
        if file.attrs.get("format") != FORMAT:
            return None
    return PhotonTransfer.load(path).summary()
