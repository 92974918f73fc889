"""What a wrong calibration adds to interferograms, and how large that is.

The characterization's covariance says how wrong each interferometer's response may be; of a mean spectrum x̄ that is an
error of its interferogram that all pixels share, up to their brightness. It must not pass for noise that pixels average
away. Its size is scaled by what the mean interferogram itself shows beyond noise and smooth spectra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.prior import LENGTHS, Prior, matern
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
        seen = response._flat(sigma, rows) * response.gain_scale[rows, None] * light
        slope = np.einsum("rkp,rk->rp", plan.jacobian(fields), seen)
        variance[rows] = ((slope[:, None] @ result.covariance[rows])[:, 0] * slope).sum(axis=1)
        if result.lines is not None:
            # models that the data cannot tell apart differ line by line; over many they average
            spread = np.interp(sigma, response.wavenumber, result.lines.model_spread)
            variance[rows] += ((spread * seen) ** 2).sum(axis=1)
    return np.sqrt(np.maximum(variance, 0))


def calibration_scale(case: Interferograms) -> float:
    """Factor of ``case.calibration_std`` for which the mean interferogram's evidence is largest; zero without any.

    The mean over the pixels has little noise, so that beside a smooth spectrum the calibration's error is what is left.
    """
    if case.calibration_std is None or not case.calibration_std.any():
        return 0.0
    count = case.pixels.shape[1]
    mean = case.pixels.mean(axis=1)
    ratio = (case.calibration_std / case.noise_std) ** 2
    best, factor = -np.inf, 0.0
    for candidate in FACTORS:
        noise = 1 / count + candidate**2 * ratio
        one = Interferograms(
            matrix=case.whitened, values=mean[:, None, None], noise_std=np.sqrt(noise), noise_known=True,
            wavelength_nm=case.wavelength_nm,
        )  # fmt: skip
        for length in LENGTHS[1::2]:
            light = case.light
            prior = Prior(
                name="", covariance=light[:, None] * matern(case.wavelength_nm, length) * light, case=one
            )  # fmt: skip
            log = prior.log_evidence(prior.coordinates() ** 2, one.beyond).max() - 0.5 * np.log(noise).sum()
            if log > best:
                best, factor = float(log), float(candidate)
    return factor
