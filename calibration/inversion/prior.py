"""Gaussian priors of spectra, and which of them interferograms speak for.

Smooth spectra are Gaussian processes over wavelength with Matérn's covariance of order 3/2: differentiable, but free to
bend at an absorption; white ones are what ridge regression believes. With a known illumination the process multiplies
it. The evidence is the density of a pixel's interferogram under prior and noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.problem import LEAST_PIXELS, Interferograms

Array = NDArray[np.float64]

#: Lengths of correlation tried, nm: from the width of a line to that of the band, a factor of two apart.
LENGTHS = (20.0, 40.0, 80.0, 160.0, 320.0)
#: Variances tried, per unit of what makes signal and noise alike: from nothing to a signal-to-noise of 3e5.
SCALES = np.logspace(-3, 11, 57)
#: Share of the smooth process that is added to a library of other scenes: nothing is exactly like them.
UNLIKE = 0.1
#: What is not like the library is smooth over these lengths (nm), and holds this share of the shortest of `LENGTHS`:
#: absorptions and edges that no scene of the library has.
UNLIKE_LENGTHS, FINE = (80.0, 320.0), (0.0, 0.01, 0.1)
#: The same share where departures are in proportion to the library or the mean. Without it no error bar holds an edge.
IN_PROPORTION_FINE = 0.03
#: Variance of the mean spectrum in those that its kernel says: it is no draw of any one kernel. Without (a lawn under
#: the sun in imspoc_uv_2, 64 pixels, SNR 300) .82 are covered, with once its variance .88, so .96; errors rise by .5 %.
UNSURE = 4.0
#: Directions whose signal is below this share of the noise's variance tell nothing that double precision would show.
TOLD = 1e-11
#: Below the library's first wavelength its spectra stay as they are there, this far (nm).
BEYOND = 60.0
#: Pixels that choose the kernel of an image.
SAMPLE = 1024
#: Lengths (nm) of the smooth processes that a prior of an image is the sum of.
SUMMED = (20.0, 80.0, 320.0)
#: Steps towards the likeliest sizes of the parts of that sum, in so many of its strongest directions. After 30 steps
#: parts that the image does not need are still there, and error bars too wide (sandiego_airport: .997 instead of .989).
SIZE_STEPS, SUM_DIRECTIONS = 150, 160
#: Share of its root mean square that a mean spectrum is at least taken for: where it is lost in its error it may vary.
DARKEST = 0.05


def matern(wavelength_nm: Array, length_nm: float) -> Array:
    """Matérn covariance of order 3/2, ``(wavelength, wavelength)``, of unit variance."""
    distance = np.sqrt(3) * np.abs(wavelength_nm[:, None] - wavelength_nm) / length_nm
    return np.asarray((1 + distance) * np.exp(-distance))


def white(wavelength_nm: Array) -> Array:
    """Covariance of white spectra: variance falls with what a sample stands for, so that the grid does not matter."""
    return np.diag(1 / np.abs(np.gradient(wavelength_nm)))


def candidates(case: Interferograms) -> list[Prior]:
    """Priors of any spectra, times the illumination's: white ones beside those of scenes."""
    light = case.light
    smooth = priors_of(case, smooth_kernels(case))
    others = {"white": light[:, None] * white(case.wavelength_nm) * light} | mean_kernels(case, smooth)
    return smooth + priors_of(case, others if case.illumination is None else others | lit_kernels(case))


def lit_kernels(case: Interferograms) -> dict[str, Array]:
    """More covariances where the illumination is known.

    Of reflectances that depart from the library in proportion to its brightness. And of spectra that are like the
    library whatever the light: of a reflectance that is dark where the light is strong the light tells little, and all
    kernels that it multiplies would be sure of the dim end of the band.
    """
    wavelength, light = case.wavelength_nm, case.light
    library = library_covariance(wavelength)
    if library is None:
        return {}
    bright = np.sqrt(np.diag(library)) * light
    fine = matern(wavelength, LENGTHS[0])
    departure = matern(wavelength, UNLIKE_LENGTHS[-1]) + IN_PROPORTION_FINE * fine
    kernels = {
        "library, in proportion": light[:, None] * library * light + UNLIKE * bright[:, None] * departure * bright
    }
    level = UNLIKE * float(np.trace(library)) / len(library)
    for length in UNLIKE_LENGTHS:
        departure = matern(wavelength, length) + FINE[1] * fine
        kernels[f"unlit library, Matern {length:g} nm"] = library + level * departure
    return kernels


def mean_kernels(case: Interferograms, smooth: list[Prior]) -> dict[str, Array]:
    """Covariance of spectra that vary in proportion to the image's mean spectrum, light included.

    A variance alike at all wavelengths, or times the light alone, is far too wide where all surfaces are dark: grass
    under the sun in the blue. Of few pixels the mean is mostly each of them, which would then speak for itself twice.
    It is unsure itself: the covariance of a product is that of both, element by element.
    """
    if case.projected.shape[1] < LEAST_PIXELS:
        return {}
    wavelength, length = case.wavelength_nm, UNLIKE_LENGTHS[-1]
    mean, unsure = mean_posterior(case, smooth)
    shape = matern(wavelength, length) + IN_PROPORTION_FINE * matern(wavelength, LENGTHS[0])
    return {f"mean, Matern {length:g} nm": (np.outer(mean, mean) + UNSURE * unsure) * shape}


def smooth_kernels(case: Interferograms) -> dict[str, Array]:
    """Covariances of spectra of scenes: smooth, or like procedural scenes and a bit smooth, times the illumination."""
    kernels = {f"Matern {length:g} nm": matern(case.wavelength_nm, length) for length in LENGTHS}
    library = library_covariance(case.wavelength_nm)
    if library is not None:
        level, fine = UNLIKE * float(np.trace(library)) / len(library), matern(case.wavelength_nm, LENGTHS[0])
        kernels |= {
            f"library, Matern {length:g} nm, {share:g} of {LENGTHS[0]:g} nm": library
            + level * (matern(case.wavelength_nm, length) + share * fine)
            for length in UNLIKE_LENGTHS for share in FINE
        }  # fmt: skip
    light = case.light
    return {name: light[:, None] * kernel * light for name, kernel in kernels.items()}


def library_covariance(wavelength_nm: Array) -> Array | None:
    """Second moments of the spectra of procedural scenes, of mean one; None on grids that they do not cover."""
    known, mean, moments = _library_moments()
    if wavelength_nm[0] < known[0] - BEYOND or wavelength_nm[-1] > known[-1]:
        return None
    place = np.clip(wavelength_nm, known[0], None)
    left = np.clip(np.searchsorted(known, place) - 1, 0, len(known) - 2)
    share = (place - known[left]) / (known[left + 1] - known[left])
    straight = np.zeros((len(place), len(known)))
    samples = np.arange(len(place))
    straight[samples, left], straight[samples, left + 1] = 1 - share, share
    return np.asarray(straight @ moments @ straight.T / (straight @ mean).mean() ** 2)


@cache
def _library_moments() -> tuple[Array, Array, Array]:
    """Wavelengths (nm) of procedural scenes, mean and second moments of their spectra there."""
    known, scenes = _library_spectra()
    columns = np.concatenate(scenes, axis=1)
    return known, columns.mean(axis=1), columns @ columns.T / columns.shape[1]


@cache
def _library_spectra() -> tuple[Array, list[Array]]:
    """Wavelengths (nm) of procedural scenes, and the spectra ``(wavelength, pixel)`` of each."""
    from hsitools.scenes import procedural_scenes

    cubes = procedural_scenes(8, 32)
    assert cubes[0].wavelength_nm is not None
    return cubes[0].wavelength_nm, [cube.read().reshape(cube.n_bands, -1).astype(float) for cube in cubes]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """A zero-mean Gaussian prior in the eigenbasis of its whitened interferograms.

    Attributes
    ----------
    name : str
    covariance : array, shape (wavelength, wavelength)
        Of unit scale: the scale belongs to pixel or image.
    case : Interferograms
    """

    name: str
    covariance: Array
    case: Interferograms

    @cached_property
    def eigen(self) -> tuple[Array, Array]:
        """Eigenvalues (k,) and vectors (k, k) of the covariance that the interferograms' projections have."""
        _, values, right = self.case.svd
        seen = values[:, None] * (right.T @ self.covariance @ right) * values
        variances, vectors = np.linalg.eigh(0.5 * (seen + seen.T))
        return np.maximum(variances[::-1], 0), vectors[:, ::-1]

    @property
    def unit(self) -> float:
        """Scale at which the strongest direction is as strong as the noise."""
        return float(1 / max(self.eigen[0][0], 1e-300))

    @cached_property
    def spectra(self) -> Array:
        """Covariance between spectra and the eigenbasis of interferograms, ``(wavelength, k)``."""
        _, values, right = self.case.svd
        return np.asarray(self.covariance @ (right * values) @ self.eigen[1])

    @cached_property
    def _singles(self) -> dict[int, NDArray[np.float32]]:
        return {}

    def single(self, told: NDArray[np.bool_]) -> NDArray[np.float32]:
        """`spectra` of the strongest directions, those ``told``, transposed, in single precision."""
        count = int(told.sum())
        if count not in self._singles:
            self._singles[count] = self.spectra[:, :count].T.astype(np.float32)
        return self._singles[count]

    def log_evidence(self, pixels: NDArray[np.intp] | slice = slice(None), data: Array | None = None) -> Array:
        """Logarithm of the evidence ``(scale, pixel)`` for each of `SCALES`, up to a constant.

        ``data`` are the pixels' `coordinates`, where they are at hand.
        Where only the noise's proportions are known each pixel's noise is `Interferograms.scatter`: with a free one the
        evidence would take lines that it cannot explain for noise.
        """
        variances = 1 + SCALES[:, None] * self.unit * self.eigen[0]
        data = self.coordinates(pixels) if data is None else data
        misfit = ((1 / variances).astype(data.dtype) @ data**2 + self.case.beyond[pixels]) / self.case.noise_variance(
            pixels
        )
        return np.asarray(-0.5 * misfit - 0.5 * np.log(variances).sum(axis=1)[:, None])

    def of(self, case: Interferograms) -> Prior:
        """The same for other pixels (`Interferograms.with_values`)."""
        other = replace(self, case=case)
        other.__dict__.update({name: getattr(self, name) for name in ("eigen", "spectra", "_singles")})
        return other

    def of_many(self, mean: Interferograms, count: int) -> Prior:
        """The same for the mean of many pixels, seen by the same singular vectors with less noise."""
        other = replace(self, case=mean)
        other.__dict__["eigen"] = (count * self.eigen[0], self.eigen[1])
        return other

    def coordinates(self, pixels: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Projections of the pixels in the eigenbasis, ``(k, pixel)``."""
        return np.asarray(self.eigen[1].T @ self.case.projected[:, pixels])

    def posterior(
        self, pixels: NDArray[np.intp], scale: NDArray[np.intp], data: Array | None = None
    ) -> tuple[Array, Array, Array]:
        """Mean, its standard deviation and what of it the noise makes, ``(wavelength, pixel)`` each.

        For the `SCALES` of number ``scale`` of each pixel.
        """
        data = self.coordinates(pixels) if data is None else data
        size = SCALES * self.unit
        variances = 1 + size[:, None] * self.eigen[0]
        told = size[scale.max(initial=0)] * self.eigen[0] > TOLD
        spectra, gain = self.spectra[:, told], size[:, None] / variances[:, told]
        mean = spectra @ (data[told] * gain[scale].T)
        noise = self.case.noise_variance(pixels)
        power = spectra**2
        variance = np.maximum(np.diag(self.covariance)[:, None] * size - power @ (size[:, None] * gain).T, 0)
        shaken = power @ gain.T**2
        return mean, np.sqrt(variance[:, scale] * noise), np.sqrt(shaken[:, scale] * noise)


def likeliest_sum(case: Interferograms, mean: Array) -> Prior:
    """The sum of smooth processes and the library, each as large as the image's pixels together say.

    Processes are there twice, alike throughout and in proportion to the image's mean spectrum (`mean_posterior`): dark
    parts of spectra vary little, and one size for all would take the variation of the bright parts for theirs.
    """
    wavelength, light = case.wavelength_nm, case.light
    shapes = [matern(wavelength, length) for length in SUMMED]
    kernels = [factor[:, None] * shape * factor for factor in (light, mean) for shape in shapes]
    library = library_covariance(wavelength)
    if library is not None:
        kernels.append(light[:, None] * library * light)
    _, values, right = case.svd
    seen = right * values
    parts = np.stack([seen.T @ kernel @ seen for kernel in kernels])
    parts_alike = parts / np.trace(parts, axis1=1, axis2=2)[:, None, None]
    strongest = np.linalg.eigh(parts_alike.sum(axis=0))[1][:, ::-1][:, :SUM_DIRECTIONS]
    parts = strongest.T @ parts @ strongest
    data = strongest.T @ case.projected
    second, one = data @ data.T / data.shape[1], np.eye(len(data))
    # to begin with all are of one size, which must be some for them to grow
    excess = max(float(np.trace(second)) - len(one), 1e-3 * len(one))
    sizes = excess / len(parts) / np.trace(parts, axis1=1, axis2=2)
    # each step is likelier (H. Zhou et al., Journal of Computational and Graphical Statistics 28(2), 2019)
    for _ in range(SIZE_STEPS):
        inverse = np.linalg.inv(one + np.tensordot(sizes, parts, axes=1))
        shown = inverse @ second @ inverse
        sizes = sizes * np.sqrt((parts * shown).sum(axis=(1, 2)) / (parts * inverse).sum(axis=(1, 2)))
    covariance = np.tensordot(sizes, np.stack(kernels), axes=1)
    return Prior(name="sum by evidence", covariance=np.asarray(covariance), case=case)


def mean_posterior(case: Interferograms, priors: list[Prior]) -> tuple[Array, Array]:
    """The image's mean spectrum ``(wavelength,)``, positive, and its covariance ``(wavelength, wavelength)``.

    By the likeliest of some priors of the image's spectra, and its likeliest scale.
    """
    mean, count = case.pixels.mean(axis=1) * case.noise_std, case.pixels.shape[1]
    one = replace(case, values=mean[:, None, None], noise_std=case.noise_std / np.sqrt(count))
    # less noise throughout changes no singular vector
    left, values, right = case.svd
    one.__dict__["svd"] = (left, values * np.sqrt(count), right)
    prior = best_prior([prior.of_many(one, count) for prior in priors])
    scale = prior.log_evidence().argmax(axis=0)
    spectrum = prior.posterior(np.array([0]), scale)[0][:, 0]
    level = float(np.sqrt((spectrum**2).mean()))
    size = SCALES[scale[0]] * prior.unit
    told = (prior.spectra * (size / (1 + size * prior.eigen[0]))) @ prior.spectra.T
    covariance = one.noise_variance()[0] * size * (prior.covariance - told)
    return np.maximum(spectrum, DARKEST * level if level > 0 else 1.0), np.asarray(covariance)


def priors_of(case: Interferograms, kernels: dict[str, Array]) -> list[Prior]:
    """Priors of these covariances by name."""
    return [Prior(name=name, covariance=kernel, case=case) for name, kernel in kernels.items()]


def best_prior(priors: list[Prior]) -> Prior:
    """The prior with the largest evidence over a sample of the pixels, each at its best scale."""
    count = priors[0].case.projected.shape[1]
    sample = np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.intp)

    def evidence(prior: Prior) -> float:
        log = prior.log_evidence(sample)
        return float(log.max(axis=0).sum())

    return max(priors, key=evidence)


def by_evidence(mean: Interferograms, kernels: dict[str, Array]) -> Array:
    """Covariance ``(wavelength, wavelength)`` of the mean spectrum: a mixture's of all kernels by their evidence.

    Each at its likeliest scale. One interferogram hardly tells kernels apart, and the likeliest alone would be believed
    wherever it tells nothing.
    """
    priors = priors_of(mean, kernels)
    log = np.stack([prior.log_evidence()[:, 0] for prior in priors])
    highest = log.max(axis=1)
    weights = np.exp(highest - highest.max())
    sizes = weights / weights.sum() * SCALES[log.argmax(axis=1)] * [prior.unit for prior in priors]
    return np.asarray(np.tensordot(sizes, np.stack([prior.covariance for prior in priors]), axes=1))
