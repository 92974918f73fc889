"""What a wrong calibration adds to interferograms, and how large that is.

Two things add to a pixel's interferogram, the same in all pixels up to their brightness. Interferometers' own
errors, whose size the noise at the calibration's lines tells (linearised), and which of them err together the residuals
there. And what all share: a calibration line that was
measured too bright, or left out, draws the fits of all interferometers alike, so that the instrument acts almost as if
spectra were multiplied by a curve that is rough from line to line. That part looks like a spectrum: what no spectrum
can make does not show it, only that spectra are smoother. The sizes of both are those of largest evidence, given the
mean interferogram and smooth spectra. Neither must pass for noise that pixels average away, nor for what spectra
differ by.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from calibration.inversion.prior import Prior, by_evidence, matern, smooth_kernels
from calibration.inversion.problem import Interferograms

if TYPE_CHECKING:
    from calibration.characterization import Characterization

Array = NDArray[np.float64]
#: Points of the quadrature to a fringe of the largest OPD.
POINTS_PER_FRINGE = 8
#: Share of the mean diagonal added to interferometers' normal matrices: some tell nothing of a parameter.
RIDGE = 1e-6
#: Length of correlation (nm) and relative error of the smooth spectrum that shared errors multiply.
LENGTH, ROUGHLY = 80.0, 0.02
#: Factors of the characterization's standard deviations, own and shared alike, where the search may begin: a decade
#: apart, so that the characterization may be wrong about them by two. How many of the likeliest of these starts are
#: gone on with; how far the squares' logarithms may go; steps at most: it need not be sharper than what one
#: interferogram tells.
FACTORS, STARTS, REACH, STEPS = (0.03, 0.3, 3.0, 30.0), 3, 20.0, 25
#: Share of a covariance's trace that is rounding.
ROUNDING = 1e-14
#: Below this factor the calibration counts as exact.
NONE = 1e-2
#: Down to this factor by evidence own errors that look like spectra are as large as was told (`like_spectra`). Single
#: pixels take what is left of errors for noise: for them all errors are, by half of their size's logarithm.
NEAR = 1 / 3
#: Directions beside the mean in which spectra differ, whose calibration errors are told apart.
DIRECTIONS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class InterferogramErrors:
    """What a wrong characterization makes of a spectrum's interferogram; NaN where interferometers were not fitted.

    Attributes
    ----------
    std : array, shape (interferometer,)
        Of each interferometer's own error: what the noise at the lines makes through its fit, and doubt about the
        model; of files without noise the root of ``J Σ Jᵀ``, which also holds what interferometers share.
    own : array, shape (interferometer, line), or None
        What each line's residual has made of it; None of files without residuals.
    line_errors : array, shape (interferometer, line)
        Error that a relative error of one of a calibration line's power makes, which all interferometers saw: their
        parameters follow it by least squares. Of the smooth spectrum.
    """

    std: Array
    own: Array | None
    line_errors: Array


def interferogram_errors(
    result: Characterization, wavelength_nm: Array, spectrum: Array, smooth: Array
) -> InterferogramErrors:  # fmt: skip
    """What a wrong characterization makes of a spectrum's interferogram, linearised.

    An interferogram ``1/B ∫ flat·T·s dλ`` has the derivative J by its interferometer's parameters.

    Parameters
    ----------
    result : Characterization
    wavelength_nm : array, shape (wavelength,)
    spectrum, smooth : array, shape (wavelength,)
        The spectrum, and what is sure of it: the errors of lines must not follow what they made of the estimate.
    """
    from calibration.fitting.refine import NormalPlan

    response = result.response
    low, high = response.band.low, response.band.high
    fringes = float(np.nanmax(np.abs(response.opd_um))) * (high - low)
    count = int(max(256, POINTS_PER_FRINGE * fringes))
    sigma = low + (high - low) * (np.arange(count) + 0.5) / count
    sampled, at_lines = response.sampled(1000 / sigma), response.sampled(1000 / response.wavenumber)
    ends = response.band_nm
    step = 1000 / sigma**2 * (high - low) / count / (ends[1] - ends[0])
    light, smooth_light = (
        step * np.interp(1000 / sigma, wavelength_nm, values, left=0.0, right=0.0) for values in (spectrum, smooth)
    )
    n_lines = len(response.wavenumber)
    between_lines = np.stack([np.interp(sigma, response.wavenumber, line) for line in np.eye(n_lines)], axis=1)
    curve = between_lines @ response.curve
    plan, line_plan = NormalPlan.of(sampled), NormalPlan.of(at_lines)
    variance = np.full(response.n_bands, np.nan)
    line_errors = np.full((response.n_bands, n_lines), np.nan)
    residual = None if result.lines is None else result.lines.residual
    own = None if residual is None else np.full_like(line_errors, np.nan)
    fitted = np.flatnonzero(np.isfinite(response.theta).all(axis=1))
    for rows in np.array_split(fitted, max(1, len(fitted) // 32)):
        theta = response.theta[rows]
        _, fields = sampled.fields(theta, np.broadcast_to(curve, (len(theta), count)))
        flat = response.flat_at(sigma, rows) * response.gain_scale[rows, None]
        seen = flat[:, None] * np.stack([light, smooth_light])
        slopes = seen @ plan.jacobian(fields)
        # fits are by squares of intensities, all lines alike
        lamp = response.flat_at(response.wavenumber, rows) * response.gain_scale[rows, None]
        intensity, fields = at_lines.fields(theta, response.curve * lamp)
        jacobian = line_plan.jacobian(fields)
        normal = jacobian.swapaxes(1, 2) @ jacobian
        size = len(normal[0])
        normal += RIDGE / size * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(size)
        toward = np.linalg.solve(normal, slopes.swapaxes(1, 2)).swapaxes(1, 2) @ jacobian.swapaxes(1, 2)
        line_errors[rows] = toward[:, 1] * intensity
        if own is not None and residual is not None:
            own[rows] = toward[:, 0] * residual[rows]
        if result.lines is None:
            slope = slopes[:, 0]
            variance[rows] = ((slope[:, None] @ result.covariance[rows])[:, 0] * slope).sum(axis=1)
        else:
            # the covariance also holds what all interferometers share: as their own it would hide which are unsure
            noise = result.lines.row_noise[rows, None] * result.lines.line_noise
            variance[rows] = ((toward[:, 0] * noise) ** 2).sum(axis=1)
            # models that the data cannot tell apart differ line by line; over many they average
            variance[rows] += ((seen[:, 0] @ between_lines * result.lines.model_spread) ** 2).sum(axis=1)
    return InterferogramErrors(std=np.sqrt(np.maximum(variance, 0)), own=own, line_errors=line_errors)


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
        Factor of the characterization's standard deviations by evidence; 0 of an exact calibration.
    covariance : array, shape (wavelength, wavelength), or None
        Prior of spectra by the mean interferogram's evidence, where a calibration's error was found: pixels, which
        all have the same error, would speak for spectra as rough as that error makes them.
    unlike : float
        Power of errors that a few directions hold and that do not follow the brightness, over the noise's: of the
        calibration, and of sub-images' alignment.
    turn : array, shape (interferometer, interferometer), or None
        Turns interferograms into those of the case; None where they stay as they are.
    toward : array, shape (interferometer,), or None
        Of interferograms their brightness, a share of the mean's.
    others : list of (array, array)
        What `other_directions` has left, the covariances in the whitened case.
    least : array, shape (wavelength,), or None
        Variance of the mean spectrum: no pixel is told better, since all have the same error.
    """

    case: Interferograms
    factors: Array
    scale: float
    covariance: Array | None = None
    unlike: float = 0.0
    turn: Array | None = None
    toward: Array | None = None
    least: Array | None = None
    others: list[tuple[Array, Array]] = field(default_factory=list)

    def least_std(self, case: Interferograms) -> Array | None:
        """Standard deviation below which no measured pixel is told, ``(pixel, wavelength)``; None where it may be."""
        if self.toward is None or self.least is None:
            return None
        brightness = (self.toward * case.noise_std) @ case.pixels
        return np.asarray(np.abs(brightness)[:, None] * np.sqrt(self.least))

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


def smooth_spectrum(case: Interferograms, mean: Array, noise: Array) -> Array:
    """A smooth, positive spectrum ``(wavelength,)`` that makes the mean interferogram roughly."""
    kernel = matern(case.wavelength_nm, LENGTH)
    noise = noise + (ROUGHLY * mean) ** 2
    one = replace(case, values=mean[:, None, None], noise_std=np.sqrt(noise), calibration_std=None, noise_known=True)
    prior = Prior(name="", covariance=kernel, case=one)
    scale = prior.log_evidence().argmax(axis=0)
    return np.maximum(prior.posterior(np.array([0]), scale)[0][:, 0], 0)


def shared_errors(case: Interferograms, mean: Array, noise: Array) -> Array:
    """Covariance of what lines' errors make of an interferogram, as large as ``calibration_std`` on average.

    Of the mean interferogram, whose noise has this variance. Where it is not told how the fits follow the lines, of its
    smooth spectrum times a white curve.
    """
    assert case.calibration_std is not None
    columns = case.line_errors
    if columns is None:
        # white over wavelength, whatever the grid
        spectrum = smooth_spectrum(case, mean, noise)
        columns = case.matrix * (spectrum / np.sqrt(np.abs(np.gradient(case.wavelength_nm))))
    covariance = columns @ columns.T
    return np.asarray(covariance * ((case.calibration_std**2).mean() / max(np.diag(covariance).mean(), 1e-300)))


def own_covariance(case: Interferograms) -> Array:
    """Covariance of interferometers' own errors: of the sizes told, correlated as residuals at the lines were.

    The correlation over the lines is shrunk to none by what chance makes of it (O. Ledoit and M. Wolf, Journal of
    Multivariate Analysis 88(2), 2004).
    """
    assert case.calibration_std is not None
    if case.own_errors is None:
        return np.diag(case.calibration_std**2)
    counted = case.own_errors[:, case.own_errors.any(axis=0)]
    size, count = counted.shape
    scaled = counted / np.maximum(np.sqrt((counted**2).mean(axis=1, keepdims=True)), 1e-300)
    sample = scaled @ scaled.T / count
    others = ~np.eye(size, dtype=bool)
    chance = ((scaled**2 @ (scaled**2).T / count - sample**2) / count)[others].sum()
    share = 1 - min(1.0, float(chance) / max(float((sample[others] ** 2).sum()), 1e-300))
    correlation = np.where(others, share * sample, 1.0)
    return np.asarray(correlation * np.outer(case.calibration_std, case.calibration_std))


def likeliest(parts: list[Array], noise: Array, values: Array, starts: list[tuple[float, ...]]) -> Array:
    """Factors ``(part,)`` of covariances whose sum with the noise (variances) makes zero-mean values most likely.

    The search goes on from the likeliest of the starts, each a factor a part: there may be several summits.
    """

    def cost(logarithms: Array) -> tuple[float, Array]:
        sizes = np.exp(logarithms)
        whole = np.diag(noise) + sum(size * part for size, part in zip(sizes, parts, strict=True))
        # an explicit inverse of what is nearly singular makes any evidence
        whole += ROUNDING * np.trace(whole) * np.eye(len(values))
        root = cho_factor(whole, lower=True, check_finite=False)
        inverse, weighted = cho_solve(root, np.eye(len(values))), cho_solve(root, values)
        slope = np.array([float((inverse * part).sum() - weighted @ part @ weighted) for part in parts])
        log = float(0.5 * values @ weighted + np.log(np.diag(root[0])).sum())
        return log, 0.5 * sizes * slope

    ends = []
    for start in sorted((np.log(start) for start in starts), key=lambda start: cost(start)[0])[:STARTS]:
        bounds = [(value - REACH, value + REACH) for value in start]
        ends.append(minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS}))
    return np.asarray(np.exp(min(ends, key=lambda end: float(end.fun)).x))


def other_directions(
    case: Interferograms, pixels: Array, wrong: Array, signal: Array, mean: Array
) -> tuple[Array, float, list[tuple[Array, Array]]]:  # fmt: skip
    """Calibration errors of spectra that differ from the mean's shape, in the few directions that hold most of it.

    Each is one more mean, with its own draw of the error, which all pixels share up to their part in it: a covariance
    learned from the pixels would take it for spectra, and the more so the less noise there is.

    Parameters
    ----------
    case : Interferograms
    pixels : array, shape (interferometer, pixel)
        Without their share of the mean interferogram.
    wrong : array, shape (interferometer, interferometer)
        Covariance of the mean interferogram's error.
    signal : array, shape (interferometer, interferometer)
        Covariance of the mean spectrum's interferogram.
    mean : array, shape (interferometer,)

    Returns
    -------
    taken_off : array, shape (interferometer, interferometer)
        Turns a pixel's interferogram into what of these directions no smooth spectrum can make.
    rest : float
        Power of all other directions, over the noise's.
    left : list of (array, array)
        Of each direction what of an interferogram is its share, and the covariance of the error left in one share.
    """
    size, count = pixels.shape
    scaled = pixels / case.noise_std[:, None]
    powers, vectors = np.linalg.eigh(scaled @ scaled.T / count)
    beyond = powers[::-1] - 1
    # Marchenko and Pastur's edge: noise alone makes none stronger
    strong = np.flatnonzero(beyond > (1 + np.sqrt(size / count)) ** 2 - 1)[:DIRECTIONS]
    taken_off, left = np.zeros((size, size)), []
    level = float(((mean / case.noise_std) ** 2).sum())
    for number in strong:
        power, vector = float(beyond[number]), vectors[:, -1 - number]
        shape = case.noise_std * vector * np.sqrt(power)
        noise = case.noise_std**2 * (1 + 1 / power) / count
        unit = float(np.trace(wrong)) * power / level / size
        parts = [part * (power / level) for part in (signal, wrong)]
        scaled_parts = [part / unit for part in parts]
        spectrum, error = likeliest(scaled_parts, noise / unit, shape / np.sqrt(unit), [(1.0, 1.0), (1.0, 9.0)])
        # no larger beside its spectrum than the mean's: what a kernel does not know is no calibration's error
        own = min(spectrum, error) * parts[1]
        whole = spectrum * parts[0] + own + np.diag(noise)
        toward = vector / (case.noise_std * np.sqrt(power))
        taken_off += np.outer(own @ np.linalg.solve(whole, shape), toward)
        left.append((toward, own - own @ np.linalg.solve(whole, own)))
    return taken_off, max(float(beyond.sum() - beyond[strong].sum()), 0.0) / size, left


def like_spectra(errors: Array, signal: Array, std: Array) -> Array:
    """The part of errors' covariance that looks like spectra.

    How large errors are is told by what no spectrum can make. Those that look like spectra are few, each with its own
    draw, and many interferometers share them: they may be as large as was told where all others are not. Which do is
    decided as if each interferometer erred alone, by ``std``: how they err together is itself an estimate.
    """
    gain = np.linalg.solve(signal + np.diag(std**2), signal).T
    return np.asarray(gain @ errors @ gain.T)


def allow(case: Interferograms, *, apart: bool = False) -> Allowed:
    """Allow for the calibration's error: ``y = A x + b e + noise``, b a pixel's brightness, e one draw for the image.

    The mean interferogram tells the part of e that no smooth spectrum can make; it is taken off all pixels. The rest
    stays as noise that interferometers share, of known covariance; with ``apart`` it is left to `Allowed.factors`, for
    estimates that treat what follows the brightness by itself.
    """
    size = len(case.noise_std)
    patterns = 0.0 if case.patterns_std is None else float(((case.patterns_std / case.noise_std) ** 2).sum())
    exact = Allowed(case=case, factors=np.zeros((size, 0)), scale=0.0, unlike=patterns)
    if case.calibration_std is None or not case.calibration_std.any():
        return exact
    pixels = case.values.reshape(size, -1)[:, case.measured]
    mean, count = pixels.mean(axis=1), pixels.shape[1]
    noise = case.noise_std**2 / count
    own = own_covariance(case)
    shared = shared_errors(case, mean, noise)
    # in units in which all are near one; the sizes of the errors hardly depend on the kernel
    unit = float((case.calibration_std**2).mean())
    kernels = smooth_kernels(case)
    kernel = list(kernels.values())[-1]
    signal = case.matrix @ kernel @ case.matrix.T
    level = float(mean @ mean / np.trace(signal))
    _, *factors = likeliest(
        [signal * (level / unit), own / unit, shared / unit], noise / unit, mean / np.sqrt(unit),
        [(1.0, first**2, second**2) for first in FACTORS for second in FACTORS],
    )  # fmt: skip
    if max(factors) < NONE**2:
        return exact
    if not apart and NEAR**2 < sum(factors) < 1:
        factors[0] = sum(factors) ** 0.5 - factors[1]
    wrong = factors[0] * own + factors[1] * shared
    root: Array = np.linalg.cholesky(wrong + np.diag(noise))
    one = Interferograms(
        matrix=np.asarray(np.linalg.solve(root, case.matrix), dtype=float),
        values=np.asarray(np.linalg.solve(root, mean), dtype=float)[:, None, None], wavelength_nm=case.wavelength_nm,
        noise_std=np.ones(size),
    )  # fmt: skip
    chosen = by_evidence(one, kernels)
    signal = case.matrix @ chosen @ case.matrix.T
    told = min(1.0, factors[0] / NEAR**2)
    if told > factors[0]:
        wrong = wrong + (told - factors[0]) * like_spectra(own, signal, np.sqrt(np.diag(wrong) + noise))
    across = chosen @ case.matrix.T
    told_by, gain = (np.linalg.solve(signal + wrong + np.diag(noise), part).T for part in (across.T, wrong))
    error, left = gain @ mean, wrong - gain @ wrong
    # by its brightness a pixel has more or less of it
    toward = mean / case.noise_std**2
    toward /= max(float(toward @ mean), 1e-300)
    brightness = toward @ pixels
    # spectra that differ from the mean's shape have an error of their own, by their share
    taken_off, rest, others = other_directions(case, pixels - mean[:, None] * brightness, wrong, signal, mean)
    differs = rest / float(((mean / case.noise_std) ** 2).mean() * (brightness**2).mean())
    power, vectors = np.linalg.eigh(0.5 * (left + left.T))
    root = vectors * np.sqrt(np.maximum(power, 0))
    lower: Array = np.linalg.cholesky((0 if apart else root @ root.T) + np.diag(case.noise_std**2) + differs * wrong)
    turn, whitened, remaining = (
        np.asarray(np.linalg.solve(lower, side), dtype=float)
        for side in (np.eye(size) - np.outer(error, toward) - taken_off, case.matrix, root)
    )
    whole = replace(
        case, matrix=whitened, opd_um=None, noise_std=np.ones(size), calibration_std=None, own_errors=None,
        line_errors=None, patterns_std=None,
    )  # fmt: skip
    unlike = patterns + differs * float(np.trace(np.linalg.solve(lower, np.linalg.solve(lower, wrong).T)))
    allowed = Allowed(
        case=whole, factors=remaining, scale=float(np.sqrt(max(factors))), covariance=chosen, unlike=unlike,
        turn=turn, toward=toward, least=np.maximum(np.diag(chosen) - (told_by * across).sum(axis=1), 0),
        others=[(share, np.linalg.solve(lower, np.linalg.solve(lower, error).T)) for share, error in others],
    )  # fmt: skip
    return replace(allowed, case=allowed.pixels(case))
