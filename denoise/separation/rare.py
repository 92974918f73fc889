"""Rare spectra: what a few pixels have and the scene's subspace has not is found in the residual, and put back.

A subspace is what many pixels share; an absorption of a plume or a single pixel's mineral is beyond it, and goes with
the noise. What was observed less what was restored, in all components, is scanned for features of several widths at
several scales of space. Where it stands out of chance, the region's mean residual is put back whole but for what is
chance in it: the mean of the restored region is then that of the observed one, whatever filter looks at it. Spectra of
single pixels are then looked for in all others (`recurring`). A trace of all the rest (`TRACE`) stays, so that a
matched filter that is trained on the restored cube sees what was not noticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.separation.estimate import Separation
from denoise.separation.objects import told_apart
from denoise.separation.recurring import of_unit_noise, recurring
from denoise.separation.scan import BLURS, blurred, features, groups, noise_of_pixels, white

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Share of the estimated squared error that the trace of the residual may add.
TRACE = 0.005
#: Blur of the part of the trace that neighbours share, pixels: less than the plumes that it is for.
TRACE_BLUR = 2.0
#: Share of all else in the residual of pixels with something rare that is given back to them: what a spectrum was put
#: back without, a matched filter would look for there above all. Of chance its square comes with it.
REMAINDER = 0.15
#: Power of all remainders in that of the trace, at most: they are noise in which a matched filter would lose what was
#: not noticed elsewhere.
REMAINDERS = 0.1
#: Blur within an object by which its pixels share their amplitude.
CLOSE = 1.0
#: Standard deviations by which further features of a group's mean spectrum must stand out, and the most of them.
FURTHER, FEATURES = 3.0, 8
#: Bands of a block of what no feature explains, and chance's energy in it that is taken away, times.
BLOCK, CHANCE = 12, 1.5
#: Blurs by which a group is outlined, standard deviations by which it must stand out of one of them, and the share of
#: its mean down to which pixels belong to it.
OUTLINES, OUTSTANDING, FOLLOWED = (0.0, 0.7, 1.0, 1.5, 2.0, 4.0), 6.0, 0.45
#: Bands from which on they tell a pixel's own noise; standard deviations of noise's power beyond twice that power from
#: which on a pixel was surely better as measured; and the share of pixels beyond which it is the noise that is wrong.
TELLING, SURELY, FEW_PIXELS = 16, 6.0, 0.01
#: Smaller images and fewer bands have nothing rare.
MIN_SIDE, MIN_BANDS = 16, 8


@dataclass(frozen=True, kw_only=True)
class Rare:
    """What was found in a residual.

    Attributes
    ----------
    added : array, shape (band, y, x)
        To be added to the scene, in its units.
    variance : array, shape (band, y, x)
        Of its error, squared units of the scene.
    pixels : array of bool, shape (y, x)
        Whose residual holds structure.
    groups : int
        Groups of connected pixels, as they were found.
    error : float
        Squared error of the restoration that was looked at, in units of the noise's variance, about.
    """

    added: Array
    variance: Array
    pixels: Mask
    groups: int
    error: float


def find_rare(separation: Separation, scene: Array, basis: Array) -> Rare:
    """Look for rare spectra in what a restoration leaves.

    Parameters
    ----------
    separation : Separation
    scene : array, shape (band, y, x)
        The estimate.
    basis : array, shape (band, n)
        Orthonormal whitened directions that the estimate is made of.
    """
    noise = separation.noise
    unit = noise.sigma[:, None, None]
    shape, whole = scene.shape, scene / unit
    rest = np.where(noise.outlier, 0, separation.whitened - whole).astype(np.float32)
    added, variance = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    pixels, number = np.zeros(shape[1:], dtype=bool), 0
    restored_error = _relative_error(separation)

    def put_back(where: Mask, direction: Array, amplitude: Array, error: Array) -> None:
        """Move ``direction · amplitude`` (pixel,) from the residual to what is added."""
        part = direction[:, None] * amplitude
        rest[:, where] -= part
        added[:, where] += part
        variance[:, where] += error
        pixels[where] = True

    if min(shape[1:]) >= MIN_SIDE and shape[0] >= max(MIN_BANDS, basis.shape[1] + 2):
        level = 1 + noise.slope[:, None, None] / unit**2 * (scene - scene.mean((1, 2), keepdims=True))
        level = np.maximum(level, 0.1)
        atoms = np.concatenate([basis.T, features(np.abs(scene.mean((1, 2))) / noise.sigma)])
        objects = told_apart(whole, separation.whitened, basis, level)
        for thing in objects:
            part = thing.spectrum[:, None] * thing.change[thing.near]
            rest[:, thing.near] -= part
            added[:, thing.near] += part
        # what smoothing took of an object's edges is no noise of theirs
        spread = noise_of_pixels(rest, np.sqrt(level).mean(0))
        for thing in objects:
            # what of it the subspace has not: where to look is known, so that little is enough
            direction, share = _direction(of_unit_noise(rest, spread, thing.inside), atoms)
            if direction.any():
                kept, error = _amplitudes(rest, spread, thing.inside, direction, share, CLOSE)
                put_back(thing.inside, direction, kept, error)
        for blur, least in BLURS.items():
            cores = list(groups(rest / spread, atoms, blur, least))
            if not blur:
                for direction, where in recurring(rest, spread, cores, lambda mean: _direction(mean, atoms)[0]):
                    scores = np.tensordot(direction, rest[:, where], 1)
                    put_back(where, direction, scores, direction[:, None] ** 2 * spread[where] ** 2)
                    number += 1
            for core in cores:
                where, direction, share = _group(rest, spread, core, atoms, blur)
                if direction.any():
                    kept, error = _amplitudes(rest, spread, where, direction, share, blur)
                    put_back(where, direction, kept, error)
                    number += 1
        most = REMAINDERS * TRACE * restored_error * pixels.size / max(int(pixels.sum()), 1)
        remainder = min(REMAINDER, float(np.sqrt(most)))
        added[:, pixels] += remainder * rest[:, pixels]
        variance[:, pixels] += remainder**2
        rest[:, pixels] *= 1 - remainder
    else:
        level = np.ones_like(rest)
    where = _unlike(rest, level)
    if where.any():
        put = rest[:, where].copy()
        rest[:, where] = 0
        added[:, where] += put
        variance[:, where] += np.where(noise.outlier[:, where], 0, level[:, where])
        pixels |= where
    trace = _trace(rest, basis, restored_error)
    added += trace
    variance += TRACE * restored_error
    return Rare(added=unit * added, variance=unit**2 * variance, pixels=pixels, groups=number, error=restored_error)


def _unlike(rest: Array, level: Array) -> Mask:
    """Pixels ``(y, x)`` of few bands that come back as they were measured: what is left of them is surely farther from
    noise, which is ``level`` (band, y, x), than the noise itself would leave them.

    A feature of three bands in ten is in all of them once a subspace has been fitted to it, and looks like a pixel's
    own noise. Of one band alone nothing tells it from an impulse.
    """
    bands = len(rest)
    if bands >= TELLING:
        return np.zeros(rest.shape[1:], dtype=bool)
    square = np.square(rest) / level
    energy = square.sum(0) - square.max(0)
    out = energy > 2 * bands + SURELY * np.sqrt(2 * bands)
    return np.asarray(out if out.mean() <= FEW_PIXELS else np.zeros_like(out))


def _trace(rest: Array, basis: Array, error: float) -> Array:
    """The trace ``(band, y, x)`` of a residual that is given back.

    A matched filter whitens by the covariance of the cube it is applied to. Beyond the scene's subspace that is the
    trace alone, so that any share of the residual detects what the whole of it would. Within the subspace the trace
    would drown: there is none. What neighbours share stands out more: an undetected plume gains by it more than half
    of its signal-to-noise ratio, a single pixel loses less than a hundredth.
    """
    flat = rest.reshape(len(rest), -1)
    beyond = (flat - basis @ (basis.T @ flat)).reshape(rest.shape)
    raised = beyond + blurred(beyond, TRACE_BLUR)
    return np.asarray(np.sqrt(TRACE * error) * raised, dtype=np.float32)


def _relative_error(separation: Separation) -> float:
    """Squared error of the restoration in units of the noise's variance, about: of as many free numbers as components
    have after smoothing.
    """
    bands, pixels = len(separation.whitened), separation.whitened[0].size
    scores = np.tensordot(separation.directions.T, separation.whitened, 1)
    smooth = float(np.mean((scores - separation.scores.best) ** 2)) if separation.rank else 0.0
    return max(1 - smooth, 0.05) * separation.rank / bands + separation.rank / pixels


def _group(rest: Array, spread: Array, core: Mask, atoms: Array, blur: float) -> tuple[Mask, Array, Array]:
    """The pixels ``(y, x)`` of a group, its spectrum ``(band,)`` of unit norm (zero: none), and the share of each
    band's noise that it holds.
    """
    where = core
    direction, share = _direction(of_unit_noise(rest, spread, where), atoms)
    if blur and not direction.any():
        # what stands out blurred may show nothing in the pixel in its middle alone
        direction, share = _direction(of_unit_noise(rest, spread, blurred(core.astype(np.float32), blur)), atoms)
    if blur and direction.any():
        where = _outline(np.tensordot(direction, rest, 1) / spread, core, blur)
        direction, share = _direction(of_unit_noise(rest, spread, where), atoms)
    return where, direction, share


def _outline(scores: Array, core: Mask, blur: float) -> Mask:
    """Pixels ``(y, x)`` about a core that have its spectrum, by their scores of unit noise; seen as sharp as they are
    strong.
    """
    from scipy.ndimage import binary_dilation, label

    widths = [width for width in OUTLINES if width < blur] + [blur]
    for width in widths:
        seen = blurred(scores, width)
        level = float(seen[core].mean())
        if level > OUTSTANDING * white(width):
            break
    near = binary_dilation(core, iterations=int(np.ceil(2 * blur)))
    alike = near & (seen > max(FOLLOWED * level, 2 * white(width)))
    labels, count = label(alike)
    sizes = np.bincount(labels[core & alike], minlength=count + 1)
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax()) if sizes.any() else core


def _direction(spectrum: Array, atoms: Array) -> tuple[Array, Array]:
    """A group's mean spectrum ``(band,)``, of unit noise, without what is chance in it, of unit norm; and the share of
    each band's noise that is left in it.

    As few features as explain it (orthogonal matching pursuit), and of what they leave, blocks of bands by as much as
    their energy exceeds chance (T. T. Cai, Annals of Statistics 27(3), 1999).
    """
    chosen: list[int] = []
    fitted, left = np.zeros_like(spectrum), spectrum
    for _ in range(FEATURES):
        response = np.abs(atoms @ left)
        best = int(np.argmax(response))
        if response[best] < FURTHER or best in chosen:
            break
        chosen.append(best)
        part = atoms[chosen].T
        fitted = part @ np.linalg.lstsq(part, spectrum, rcond=1e-3)[0]
        left = spectrum - fitted
    share = np.minimum((atoms[chosen] ** 2).sum(0), 1)
    fitted = fitted.copy()
    for first in range(0, len(spectrum), BLOCK):
        block = slice(first, first + BLOCK)
        energy = max(float(left[block] @ left[block]), 1e-9)
        kept = max(0.0, 1 - CHANCE * len(left[block]) / energy)
        fitted[block] += kept * left[block]
        share[block] = np.maximum(share[block], kept**2)
    norm = np.linalg.norm(fitted)
    return np.asarray(fitted / norm if norm > 0 else fitted, dtype=np.float32), share


def _amplitudes(
    rest: Array, spread: Array, where: Mask, direction: Array, share: Array, blur: float
) -> tuple[Array, Array]:  # fmt: skip
    """Amplitudes ``(pixel,)`` of a group of that direction, and the variance ``(band, pixel)`` of what they put back.

    What neighbours share is kept whole, what they do not by its share that is no noise. The direction's own error is
    the ``share`` of each band's noise that its mean over the group holds.
    """
    from scipy.ndimage import gaussian_filter

    scores, noise = np.tensordot(direction, rest, 1), np.square(spread[where])
    kept, passed = scores[where], np.ones_like(noise)
    if blur and where.sum() >= 4:
        width = min(blur, 1.5)
        weight = np.maximum(gaussian_filter(where.astype(np.float32), width), 1e-6)
        mean = (gaussian_filter(np.where(where, scores, 0), width) / weight)[where]
        rough = kept - mean
        unlike = max(0.0, 1 - float(noise.mean()) / max(float(np.mean(rough**2)), 1e-6))
        kept = mean + unlike * rough
        passed = unlike + (1 - unlike) / (4 * np.pi * width**2 * weight[where])
    error = direction[:, None] ** 2 * (passed * noise) + (share * noise.mean() / where.sum())[:, None]
    return kept, np.asarray(error, dtype=np.float32)
