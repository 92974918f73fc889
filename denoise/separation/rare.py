"""Rare spectra: what a few pixels have and the scene's subspace has not is found in the residual, and put back.

A subspace is what many pixels share; an absorption of a plume or a single pixel's mineral is beyond it, and goes with
the noise. What was observed less what was restored, in all components, is scanned for features of several widths at
several scales of space. Where it stands out of chance, the region's mean residual is put back whole but for what is
chance in it: the mean of the restored region is then that of the observed one, whatever filter looks at it. A trace of
all the rest (`TRACE`) stays, so that a matched filter that is trained on the restored cube sees what was not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.separation.estimate import Separation
from denoise.separation.objects import told_apart

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Share of the estimated squared error that the trace of the residual may add.
TRACE = 0.009
#: Standard deviations of the blurs (pixels), widest first, and by how many of its own a feature must stand out there:
#: the scene's own structure is smooth, single pixels are not.
BLURS = {4.0: 6.0, 2.0: 6.0, 1.0: 6.0, 0.0: 5.3}
#: Widths of the features (standard deviation, bands), and lengths of the windows whose energy is looked at (bands).
WIDTHS, WINDOWS = (1.0, 2.0, 4.0, 8.0, 16.0), (8, 16, 32)
#: Features at a time, and pixels that chance is read off.
AT_ONCE, ENOUGH = 128, 4096
#: Groups of pixels at each scale, at most, the strongest; in large images one for so many pixels.
GROUPS, PIXELS_A_GROUP = 64, 200
#: Standard deviations by which further features of a group's mean spectrum must stand out, and the most of them.
FURTHER, FEATURES = 3.0, 8
#: Bands of a block of what no feature explains, and chance's energy in it that is taken away, times.
BLOCK, CHANCE = 12, 1.5
#: Blurs by which a group is outlined, standard deviations by which it must stand out of one of them, and the share of
#: its mean down to which pixels belong to it.
OUTLINES, OUTSTANDING, FOLLOWED = (0.0, 0.7, 1.0, 1.5, 2.0, 4.0), 6.0, 0.45
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


def find_rare(found: Separation, scene: Array, basis: Array) -> Rare:
    """Look for rare spectra in what a restoration leaves.

    Parameters
    ----------
    found : Separation
    scene : array, shape (band, y, x)
        The estimate.
    basis : array, shape (band, n)
        Orthonormal whitened directions that the estimate is made of.
    """
    unit = found.noise.sigma[:, None, None]
    shape, whole = scene.shape, scene / unit
    rest = np.where(found.noise.outlier, 0, found.whitened - whole).astype(np.float32)
    added, variance = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    pixels, groups = np.zeros(shape[1:], dtype=bool), 0
    if min(shape[1:]) >= MIN_SIDE and shape[0] >= max(MIN_BANDS, basis.shape[1] + 2):
        level = 1 + found.noise.slope[:, None, None] / unit**2 * (scene - scene.mean((1, 2), keepdims=True))
        spread = np.sqrt(np.maximum(level, 0.1)).mean(0)
        for spectrum, where, change in told_apart(whole, found.whitened, basis):
            part = spectrum[:, None] * change[where]
            rest[:, where] -= part
            added[:, where] += part
        atoms = np.concatenate([basis.T, features(np.abs(scene.mean((1, 2))) / found.noise.sigma)])
        for blur, clear in BLURS.items():
            for core in _groups(rest / spread, atoms, blur, clear):
                where, direction, share = _group(rest, spread, core, atoms, blur)
                if not direction.any():
                    continue
                kept, doubt = _amplitudes(np.tensordot(direction, rest, 1), where, blur)
                part = direction[:, None] * kept[where]
                rest[:, where] -= part
                added[:, where] += part
                variance[:, where] += direction[:, None] ** 2 * doubt + (share / where.sum())[:, None]
                pixels |= where
                groups += 1
    error = _relative_error(found)
    added += np.sqrt(TRACE * error) * rest
    variance += TRACE * error
    return Rare(added=unit * added, variance=unit**2 * variance, pixels=pixels, groups=groups, error=error)


def _relative_error(found: Separation) -> float:
    """Squared error of the restoration in units of the noise's variance, about: of as many free numbers as components
    have after smoothing.
    """
    bands, pixels = len(found.whitened), found.whitened[0].size
    scores = np.tensordot(found.directions.T, found.whitened, 1)
    smooth = float(np.mean((scores - found.scores.best) ** 2)) if found.rank else 0.0
    return max(1 - smooth, 0.05) * found.rank / bands + found.rank / pixels


def features(spectrum: Array) -> NDArray[np.float32]:
    """Absorption features ``(feature, band)`` of a whitened spectrum ``(band,)``, of unit norm."""
    place = np.arange(len(spectrum))
    out = []
    for width in WIDTHS:
        centre = np.arange(0, len(spectrum), max(1.0, width / 2))
        line = np.exp(-0.5 * ((place - centre[:, None]) / width) ** 2) * spectrum
        out.append(line / np.maximum(np.linalg.norm(line, axis=1, keepdims=True), 1e-12))
    return np.concatenate(out).astype(np.float32)


def _white(blur: float) -> float:
    """Standard deviation of unit white noise after a blur."""
    return 1 / np.sqrt(1 + 4 * np.pi * blur**2) if blur < 1 else 1 / (2 * np.sqrt(np.pi) * blur)


def _blurred(images: Array, blur: float) -> Array:
    """Images ``(…, y, x)`` blurred in space; a border that is mirrored would count its noise twice."""
    from scipy.ndimage import gaussian_filter

    width = (0,) * (images.ndim - 2) + (blur, blur)
    return np.asarray(gaussian_filter(images, width, truncate=3, mode="constant")) if blur else images


def _strength(rest: Array, atoms: Array, blur: float) -> Array:
    """By how many standard deviations ``(y, x)`` a feature or a window's energy stands out at one scale.

    Chance is that of the residual itself, no less than that of white noise: where it is not white, it says less.
    """
    flat = _blurred(rest, blur).reshape(len(rest), -1) / _white(blur)
    best = np.zeros(flat.shape[1], np.float32)
    some = slice(None, None, 1 + flat.shape[1] // ENOUGH)
    for first in range(0, len(atoms), AT_ONCE):
        response = np.abs(atoms[first : first + AT_ONCE] @ flat)
        chance = np.maximum(np.median(response[:, some], axis=1, keepdims=True) / 0.6745, 1)
        best = np.maximum(best, (response / chance).max(0))
    for length in WINDOWS:
        for first in range(0, len(flat) - length + 1, length // 4):
            energy = np.square(flat[first : first + length]).sum(0)
            # χ² as a normal deviate (E. B. Wilson, M. M. Hilferty, PNAS 17, 1931)
            normal = (np.cbrt(energy / length) - 1 + 2 / (9 * length)) / np.sqrt(2 / (9 * length))
            normal -= np.median(normal[some])
            best = np.maximum(best, normal / max(float(np.median(np.abs(normal[some]))) / 0.6745, 1))
    return best.reshape(rest.shape[1:])


def _groups(rest: Array, atoms: Array, blur: float, clear: float) -> Iterator[Mask]:
    """Connected pixels ``(y, x)`` that stand out at one scale, the strongest first."""
    from scipy.ndimage import label, maximum

    strength = _strength(rest, atoms, blur)
    labels, count = label(strength > clear)
    tops = np.atleast_1d(maximum(strength, labels, np.arange(1, count + 1)))
    for number in 1 + np.argsort(-tops)[: max(GROUPS, strength.size // PIXELS_A_GROUP)]:
        yield labels == number


def _group(rest: Array, spread: Array, core: Mask, atoms: Array, blur: float) -> tuple[Mask, Array, Array]:
    """The pixels ``(y, x)`` of a group, its spectrum ``(band,)`` of unit norm (zero: none), and the share of each
    band's noise that it holds.
    """
    where = core
    direction, share = _direction(rest[:, where].mean(1) * np.sqrt(where.sum()), atoms)
    if blur and direction.any():
        where = _outline(np.tensordot(direction, rest / spread, 1), core, blur)
        direction, share = _direction(rest[:, where].mean(1) * np.sqrt(where.sum()), atoms)
    return where, direction, share


def _outline(scores: Array, core: Mask, blur: float) -> Mask:
    """Pixels ``(y, x)`` about a core that have its spectrum, by their scores of unit noise; seen as sharp as they are
    strong.
    """
    from scipy.ndimage import binary_dilation, label

    widths = [width for width in OUTLINES if width < blur] + [blur]
    for width in widths:
        seen = _blurred(scores, width)
        level = float(seen[core].mean())
        if level > OUTSTANDING * _white(width):
            break
    near = binary_dilation(core, iterations=int(np.ceil(2 * blur)))
    alike = near & (seen > max(FOLLOWED * level, 2 * _white(width)))
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


def _amplitudes(scores: Array, where: Mask, blur: float) -> tuple[Array, Array]:
    """Amplitudes ``(y, x)`` of a group from its scores of unit noise, and their variance ``(pixel,)``.

    What neighbours share is kept whole, what they do not by its share that is no noise.
    """
    from scipy.ndimage import gaussian_filter

    if not blur or where.sum() < 4:
        return np.where(where, scores, 0), np.ones(int(where.sum()), np.float32)
    width = min(blur, 1.5)
    inside = where.astype(np.float32)
    weight = np.maximum(gaussian_filter(inside, width), 1e-6)
    mean = gaussian_filter(inside * scores, width) / weight
    rough = scores[where] - mean[where]
    share = max(0.0, 1 - 1 / max(float(np.mean(rough**2)), 1e-6))
    kept = np.where(where, mean + share * (scores - mean), 0)
    return kept, (share + (1 - share) / (4 * np.pi * width**2 * weight[where])).astype(np.float32)
