"""What is measured, what is to be told from it, and the whitened problem that methods solve.

Of each pixel ``values = matrix @ spectrum + noise``. Divided by the noise's standard deviation all interferometers
count alike; the singular vectors of that matrix serve all pixels at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Singular values below this share of the largest are rounding.
RANK = 1e-9
#: Share of the singular vectors, the weakest, that tell the noise where there are no spare interferometers.
WEAKEST = 0.25
#: Spare interferometers that tell the noise by themselves.
SPARE = 8
#: Pixels that tell the noise apart from what they share.
LEAST_PIXELS = 16
#: Units of spectra without the lamp's curve, and with one whose units are not told.
LAMP_UNITS, RADIANCE_UNITS = "calibration lamp", "radiance"


@dataclass(frozen=True, kw_only=True)
class Interferograms:
    """Interferograms of an image, and the instrument as it sees spectra on a grid.

    Parameters
    ----------
    matrix : array, shape (interferometer, wavelength)
        Spectrum to interferogram (`hsitools.sensor.spectral.FabryPerotResponse.matrix`).
    values : array, shape (interferometer, y, x)
        In the capture's intensity units; NaN where a pixel was not measured.
    noise_std : array, shape (interferometer,)
        Standard deviation of the noise.
    wavelength_nm : array, shape (wavelength,)
        The grid, ascending.
    noise_known : bool
        False where only the proportions of ``noise_std`` hold: each pixel's noise is then estimated from its residual.
    illumination : array, shape (wavelength,), or None
        Known light that multiplies what is smooth; None for flat light.
    calibration_std : array, shape (interferometer,), or None
        Standard deviation of what a wrong calibration adds to the mean interferogram: the same in all pixels, up to
        their brightness.
    own_errors : array, shape (interferometer, k), or None
        What the residuals at the calibration's lines made of the mean interferogram, line by line: interferometers
        that err together.
    line_errors : array, shape (interferometer, k), or None
        What errors of the calibration's lines, of one size, add to the mean interferogram.
    patterns_std : array, shape (interferometer,), or None
        Standard deviation, part of ``noise_std``, of errors that follow few images, each in the same way in all pixels:
        what aligning sub-images left.
    opd_um : array, shape (interferometer,), or None
        Optical path differences; only the cosine transform needs them.

    Raises
    ------
    InputError
        When shapes do not fit or the noise is not positive.
    """

    matrix: Array
    values: Array
    noise_std: Array
    wavelength_nm: Array
    noise_known: bool = True
    illumination: Array | None = None
    calibration_std: Array | None = None
    own_errors: Array | None = None
    line_errors: Array | None = None
    patterns_std: Array | None = None
    opd_um: Array | None = None

    def __post_init__(self) -> None:
        n, p = self.matrix.shape
        if self.values.ndim != 3 or len(self.values) != n:
            raise InputError(f"interferograms: found shape {self.values.shape}, expected ({n}, y, x) as the instrument")
        if self.noise_std.shape != (n,) or not (np.isfinite(self.noise_std).all() and (self.noise_std > 0).all()):
            raise InputError(f"noise: expected {n} positive standard deviations, one an interferometer")
        if self.wavelength_nm.shape != (p,) or not (np.diff(self.wavelength_nm) > 0).all():
            raise InputError(f"grid: expected {p} ascending wavelengths in nm")
        for name, length in (("illumination", p), ("calibration_std", n), ("patterns_std", n), ("opd_um", n)):
            value = getattr(self, name)
            if value is not None and value.shape != (length,):
                raise InputError(f"{name}: found shape {value.shape}, expected ({length},)")

    def with_values(self, values: Array) -> Interferograms:
        """Other pixels that the same instrument saw; what is known of the matrix is taken along."""
        other = replace(self, values=values)
        for name in ("whitened", "svd"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    def of(self, rows: NDArray[np.intp]) -> Interferograms:
        """Of some interferometers only."""
        names = (
            "matrix", "values", "noise_std", "calibration_std", "own_errors", "line_errors", "patterns_std", "opd_um"
        )  # fmt: skip
        arrays = ((name, getattr(self, name)) for name in names)
        chosen: dict[str, Any] = {name: None if array is None else array[rows] for name, array in arrays}
        return replace(self, **chosen)

    def inside(self, window: tuple[slice, slice]) -> Interferograms:
        """Pixels of some rows and columns."""
        return self.with_values(self.values[:, window[0], window[1]])

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x)."""
        return int(self.values.shape[1]), int(self.values.shape[2])

    @cached_property
    def measured(self) -> Mask:
        """Pixels that all interferometers measured, ``(pixel,)``."""
        return np.asarray(np.isfinite(self.values).all(axis=0).ravel())

    @cached_property
    def pixels(self) -> Array:
        """Values of the measured pixels over the noise, ``(interferometer, pixel)``."""
        flat = self.values.reshape(len(self.values), -1)
        return np.asarray(flat[:, self.measured] / self.noise_std[:, None])

    @cached_property
    def whitened(self) -> Array:
        """The matrix over the noise."""
        return np.asarray(self.matrix / self.noise_std[:, None])

    @cached_property
    def svd(self) -> tuple[Array, Array, Array]:
        """Left vectors (interferometer, k), values (k,), right vectors (wavelength, k) of the whitened matrix."""
        left, values, right = np.linalg.svd(self.whitened, full_matrices=False)
        kept = values > RANK * values[0]
        return left[:, kept], values[kept], right[kept].T

    @cached_property
    def projected(self) -> Array:
        """Pixels on the left singular vectors, ``(k, pixel)``."""
        return np.asarray(self.svd[0].T @ self.pixels)

    @cached_property
    def beyond(self) -> Array:
        """Squares of each pixel outside the matrix's range: noise alone, ``(pixel,)``."""
        whole, inside = (np.einsum("kn,kn->n", part, part) for part in (self.pixels, self.projected))
        return np.maximum(whole - inside, 0)

    @cached_property
    def scatter(self) -> Array:
        """Size of each pixel's noise, ``(pixel,)``, in units of ``noise_std``.

        From what no spectrum can make, or where there is too little of that from the weakest directions.
        """
        spare = len(self.whitened) - len(self.svd[1])
        if spare >= SPARE:
            return np.asarray(np.sqrt(self.beyond / spare))
        weakest = max(1, int(WEAKEST * len(self.svd[1])))
        return np.asarray(np.sqrt((self.projected[-weakest:] ** 2).mean(axis=0)))

    def noise_variance(self, pixels: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Variance of each pixel's noise in units of what it is said to be."""
        scatter = self.scatter[pixels]
        return np.ones(len(scatter)) if self.noise_known else np.maximum(scatter**2, 1e-300)

    @property
    def light(self) -> Array:
        """The illumination, ones where it is not known."""
        return np.ones(self.matrix.shape[1]) if self.illumination is None else self.illumination

    def spectra(self, estimate: Array, std: Array | None, noise_std: Array | None = None, **more: Any) -> Spectra:
        """A result from estimates ``(wavelength, measured pixel)``; NaN where nothing was measured."""

        def image(columns: Array) -> Array:
            if self.measured.all():
                return columns.reshape(-1, *self.shape)
            out = np.full((len(columns), self.measured.size), np.nan)
            out[:, self.measured] = columns
            return out.reshape(-1, *self.shape)

        return Spectra(
            wavelength_nm=self.wavelength_nm, estimate=image(estimate), std=None if std is None else image(std),
            noise_std=None if noise_std is None else image(noise_std), mask=self.measured.reshape(self.shape), **more,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Spectra:
    """Spectra with error bars.

    Attributes
    ----------
    wavelength_nm : array, shape (wavelength,)
    estimate : array, shape (wavelength, y, x)
    std : array of that shape, or None
        Standard deviation of each voxel; None of methods that do not tell.
    noise_std : array of the estimate's shape, or None
        What the noise alone makes of the estimate; where it differs from ``std``, which holds what is not told, too.
    mask : array of bool, shape (y, x)
        True where a spectrum was found.
    common : array, shape (wavelength, k), or None
        Root of the covariance of errors that all pixels share (included in ``std``): what averaging does not remove.
    units : str
        ``"calibration lamp"``; of a lamp of known radiance its units, ``"radiance"`` where they are not told.
    parameters : dict
        What was chosen, and by which rule.
    """

    wavelength_nm: Array
    estimate: Array
    std: Array | None
    mask: Mask
    noise_std: Array | None = None
    common: Array | None = None
    units: str = LAMP_UNITS
    parameters: dict[str, Any] = field(default_factory=dict)


def noise_size(case: Interferograms) -> float:
    """What ``noise_std`` must be multiplied by, from what no spectrum can make, or the weakest directions."""
    return float(np.sqrt((case.scatter**2).mean()))


def pixel_noise_size(case: Interferograms) -> float:
    """`noise_size` without what all pixels share, up to their brightness: a wrong calibration is no noise.

    NaN of fewer than `LEAST_PIXELS` pixels.
    """
    pixels = case.pixels
    count = pixels.shape[1]
    if count < LEAST_PIXELS:
        return float("nan")
    mean = pixels.mean(axis=1)
    own = pixels - np.outer(mean, mean @ pixels / max(float(mean @ mean), 1e-300))
    # the mean takes one pixel's share of the noise with it
    unscaled = (case.noise_std[:, None] * own)[:, None]
    return noise_size(case.with_values(unscaled)) * float(np.sqrt(count / (count - 1)))
