"""What a wrong calibration adds to interferograms, and how large that is.

The characterization's covariance says how wrong each interferometer's response may be; of a mean spectrum x̄ that is an
error of its interferogram that all pixels share, up to their brightness. It must not pass for noise that pixels average
away. Its size is scaled by what the mean interferogram itself shows beyond noise and smooth spectra.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.prior import SCALES, Prior, smooth_kernels
from calibration.inversion.problem import Interferograms

if TYPE_CHECKING:
    from calibration.characterization import Characterization

Array = NDArray[np.float64]
#: Points of the quadrature to a fringe of the largest OPD.
POINTS_PER_FRINGE = 8
#: Factors of the covariance's standard deviations tried, none among them.
FACTORS = np.concatenate([[0.0], np.logspace(-1.5, 1, 21)])


def interferogram_stderr(result: Characterization, wavelength_nm: Array, spectrum: Array) -> Array:
    """Standard deviation ``(interferometer,)`` of a spectrum's interferogram, by the characterization's covariance.

    Linearised: ``J Σ Jᵀ`` of each interferometer, J the derivative of ``1/B ∫ flat·T·s dλ`` by its parameters. Where
    interferometers could not be fitted it is NaN.
    """
    from calibration.fitting.refine import NormalPlan

    response = result.response
    low, high = response.band.low, response.band.high
    fringes = float(np.nanmax(np.abs(response.opd_um))) * (high - low)
    count = int(max(256, POINTS_PER_FRINGE * fringes))
    sigma = low + (high - low) * (np.arange(count) + 0.5) / count
    sampled = response.sampled(1000 / sigma)
    light = np.interp(1000 / sigma, wavelength_nm, spectrum, left=0.0, right=0.0)
    ends = response.band_nm
    light *= 1000 / sigma**2 * (high - low) / count / (ends[1] - ends[0])
    curve = np.interp(sigma, response.wavenumber, response.curve)
    plan = NormalPlan.of(sampled)
    variance = np.full(response.n_bands, np.nan)
    fitted = np.flatnonzero(np.isfinite(response.theta).all(axis=1))
    for rows in np.array_split(fitted, max(1, len(fitted) // 32)):
        theta = response.theta[rows]
        _, fields = sampled.fields(theta, np.broadcast_to(curve, (len(theta), count)))
        seen = response.flat_at(sigma, rows) * response.gain_scale[rows, None] * light
        slope = np.einsum("rkp,rk->rp", plan.jacobian(fields), seen)
        variance[rows] = ((slope[:, None] @ result.covariance[rows])[:, 0] * slope).sum(axis=1)
        if result.lines is not None:
            # models that the data cannot tell apart differ line by line; over many they average
            spread = np.interp(sigma, response.wavenumber, result.lines.model_spread)
            variance[rows] += ((spread * seen) ** 2).sum(axis=1)
    return np.sqrt(np.maximum(variance, 0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Allowed:
    """A case that allows for a wrong calibration.

    Attributes
    ----------
    case : Interferograms
        Of unit noise: instrument's and calibration's together, whitened; what the mean interferogram tells of the
        calibration's error is taken off.
    factors : array, shape (interferometer, k)
        Root of the covariance of what is left of it, in the whitened case: of it all pixels have the same.
    scale : float
        Factor of the characterization's standard deviations by evidence.
    covariance : array, shape (wavelength, wavelength), or None
        Prior of spectra by the mean interferogram's evidence, where a calibration's error was found: pixels, which
        all have the same error, would speak for spectra as rough as that error makes them.
    unlike : float
        Power of the calibration's error that does not follow the brightness, over the noise's.
    turn : array, shape (interferometer, interferometer), or None
        Turns interferograms into those of the case; None where they stay as they are.
    """

    case: Interferograms
    factors: Array
    scale: float
    covariance: Array | None = None
    unlike: float = 0.0
    turn: Array | None = None

    def pixels(self, case: Interferograms) -> Interferograms:
        """Other pixels of the scene as those of the case."""
        values = case.values
        if self.turn is None and values is self.case.values:
            return self.case
        if self.turn is not None:
            # NaN stays NaN: products of the others would be filled by it too
            values = np.where(np.isfinite(values).all(axis=0), values, np.nan)
            values = (self.turn @ values.reshape(len(values), -1)).reshape(values.shape)
        return self.case.with_values(values)


def allow(case: Interferograms, *, apart: bool = False) -> Allowed:
    """Allow for the calibration's error: ``y = A x + b e + noise``, b a pixel's brightness, e one draw for the image.

    The mean interferogram tells the part of e that no smooth spectrum can make; it is taken off all pixels. The rest
    stays as noise that interferometers share, of known covariance; with ``apart`` it is left to `Allowed.factors`, for
    estimates that treat what follows the brightness by itself.
    """
    size = len(case.noise_std)
    if case.calibration_std is None or not case.calibration_std.any():
        return Allowed(case=case, factors=np.zeros((size, 0)), scale=0.0)
    pixels = case.values.reshape(size, -1)[:, case.measured]
    mean, count = pixels.mean(axis=1), pixels.shape[1]
    noise = case.noise_std**2 / count
    kernels = smooth_kernels(case)
    best, scale, chosen = -np.inf, 0.0, np.zeros((len(case.wavelength_nm),) * 2)
    for factor in FACTORS:
        one = Interferograms(
            matrix=case.matrix, values=mean[:, None, None], wavelength_nm=case.wavelength_nm,
            noise_std=np.sqrt(noise + (factor * case.calibration_std) ** 2),
        )  # fmt: skip
        for name, kernel in kernels.items():
            prior = Prior(name=name, covariance=kernel, case=one)
            log = prior.log_evidence()[:, 0]
            value = float(log.max()) - float(np.log(one.noise_std).sum())
            if value > best:
                best, scale = value, float(factor)
                chosen = SCALES[int(log.argmax())] * prior.unit * kernel
    if scale == 0:
        return Allowed(case=case, factors=np.zeros((size, 0)), scale=0.0)
    wrong = (scale * case.calibration_std) ** 2
    signal = case.matrix @ chosen @ case.matrix.T
    gain = wrong[:, None] * np.linalg.inv(signal + np.diag(wrong + noise))
    error, left = gain @ mean, np.diag(wrong) - gain * wrong
    # by its brightness a pixel has more or less of it
    toward = mean / case.noise_std**2
    toward /= max(float(toward @ mean), 1e-300)
    brightness = toward @ pixels
    # spectra that differ from the mean's shape have an error of their own, by their share
    differs = float((((pixels - mean[:, None] * brightness) / case.noise_std[:, None]) ** 2).mean()) - 1
    differs = max(differs, 0.0) / float(((mean / case.noise_std) ** 2).mean() * (brightness**2).mean())
    power, vectors = np.linalg.eigh(0.5 * (left + left.T))
    root = vectors * np.sqrt(np.maximum(power, 0))
    lower: Array = np.linalg.cholesky((0 if apart else root @ root.T) + np.diag(case.noise_std**2 + differs * wrong))
    turn: Array = np.linalg.solve(lower, np.eye(size) - np.outer(error, toward)).astype(np.float64)
    whitened: Array = np.linalg.solve(lower, case.matrix).astype(np.float64)
    whole = replace(case, matrix=whitened, opd_um=None, noise_std=np.ones(size), calibration_std=None)
    unlike = differs * float((np.linalg.solve(lower, np.diag(np.sqrt(wrong))) ** 2).sum())
    allowed = Allowed(
        case=whole, factors=np.linalg.solve(lower, root), scale=scale, covariance=chosen, unlike=unlike, turn=turn,
    )  # fmt: skip
    return replace(allowed, case=allowed.pixels(case))
