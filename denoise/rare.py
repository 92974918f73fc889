"""Rare spectra: what a few pixels have and the scene's subspace has not is found in the residual, and put back.

A subspace is what many pixels share; an absorption of a plume or a single pixel's mineral is beyond it, and goes with
the noise. The residual is scanned for narrow spectral features (atoms) at several scales of space; what stands out of
chance is put back along its own direction, and a trace of all the rest (`TRACE`) stays, so that a matched filter that
is trained on the restored cube sees as much as one that is trained on the observed one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.estimate import Separation

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Share of the estimated squared error that the trace of the residual may add.
TRACE = 0.009
#: Standard deviations by which a feature must stand out, and the share of that to which its pixels are followed.
CLEAR, FOLLOWED = 6.5, 0.5
#: Standard deviations by which further atoms of a group's mean spectrum must stand out, and the most of them.
FURTHER, ATOMS = 3.5, 6
#: Widths of the features (standard deviation, bands) and of the blurs (standard deviation, pixels), widest first.
WIDTHS, BLURS = (1.0, 2.0, 4.0, 8.0), (4.0, 2.0, 1.0, 0.0)
#: Groups of pixels at each scale, at most, the strongest.
GROUPS = 48
#: Least share of a feature's power that is beyond the subspace.
BEYOND = 0.1
#: Share of a component's noise that must have been taken from it for the residual to say anything of it.
LOOSE = 0.3
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
        Connected groups that they form.
    """

    added: Array
    variance: Array
    pixels: Mask
    groups: int


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
    shape = scene.shape
    residual = np.where(found.noise.outlier, 0, found.whitened - scene / unit).astype(np.float32)
    # how much of the noise of each component was taken: of a rare spectrum about as much was
    taken = np.sqrt(np.mean(np.tensordot(basis.T, residual, 1) ** 2, axis=(1, 2)))
    loose = taken > LOOSE
    whole = np.where(loose, 1 / np.maximum(taken, LOOSE), 0).astype(np.float32)
    rest = _scaled(residual, basis, whole)
    added, variance = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    pixels, groups = np.zeros(shape[1:], dtype=bool), 0
    if min(shape[1:]) >= MIN_SIDE and len(scene) >= max(MIN_BANDS, basis.shape[1] + 2):
        level = 1 + found.noise.slope[:, None, None] / unit**2 * (scene - scene.mean((1, 2), keepdims=True))
        spread = np.sqrt(np.maximum(level, 0.1)).mean(0)
        atoms = features(np.abs(scene.mean((1, 2))) / found.noise.sigma, basis[:, ~loose])
        for blur in BLURS:
            for group in _groups(rest / spread, atoms, blur):
                direction, where = group
                kept, doubt = _amplitudes(np.tensordot(direction, rest, 1), where, blur)
                part = direction[:, None] * kept[where]
                rest[:, where] -= part
                lost = _scaled(direction, basis, np.where(loose, taken, 0))
                added[:, where] += lost[:, None] * kept[where]
                variance[:, where] += lost[:, None] ** 2 * doubt
                pixels |= where
                groups += 1
    trace = TRACE * _relative_error(found)
    added += np.sqrt(trace) * _scaled(rest, basis, np.where(loose, taken, 0))
    variance += trace
    return Rare(added=unit * added, variance=unit**2 * variance, pixels=pixels, groups=groups)


def _scaled(values: Array, basis: Array, factor: Array) -> Array:
    """Values ``(band, …)`` of which each component ``(n,)`` of the basis is multiplied by a factor."""
    flat = values.reshape(len(values), -1)
    turned = flat + basis @ ((factor[:, None] - 1) * (basis.T @ flat))
    return np.asarray(turned.reshape(values.shape), dtype=np.float32)


def _beyond(values: Array, basis: Array) -> Array:
    """What of values ``(band, …)`` is not in the span of the basis."""
    return np.asarray(values - basis @ (basis.T @ values), dtype=np.float32)


def _relative_error(found: Separation) -> float:
    """Squared error of the restoration in units of the noise's variance, about: of as many free numbers as components
    have after smoothing.
    """
    bands, pixels = len(found.whitened), found.whitened[0].size
    scores = np.tensordot(found.directions.T, found.whitened, 1)
    smooth = float(np.mean((scores - found.scores.best) ** 2)) if found.rank else 0.0
    return max(1 - smooth, 0.05) * found.rank / bands + found.rank / pixels


def features(spectrum: Array, basis: Array) -> NDArray[np.float32]:
    """Absorption features ``(feature, band)`` of a whitened spectrum ``(band,)``, beyond the basis, of unit norm."""
    bands = len(spectrum)
    place = np.arange(bands)
    out = []
    for width in WIDTHS:
        centre = np.arange(0, bands, max(1.0, width / 2))
        line = np.exp(-0.5 * ((place - centre[:, None]) / width) ** 2) * spectrum
        norm = np.linalg.norm(line, axis=1)
        left = _beyond(line.T, basis).T
        own = np.linalg.norm(left, axis=1)
        seen = own > np.sqrt(BEYOND) * norm
        out.append(left[seen] / own[seen, None])
    return np.concatenate(out).astype(np.float32)


def _groups(rest: Array, atoms: Array, blur: float) -> list[tuple[Array, Mask]]:
    """Spectra ``(band,)`` of unit norm that stand out at one scale, and the pixels ``(y, x)`` that have them."""
    from scipy.ndimage import gaussian_filter, label

    if not len(atoms):
        return []
    shape = rest.shape[1:]
    # a border that is mirrored would count its noise twice
    seen = gaussian_filter(rest, (0, blur, blur), truncate=3, mode="constant") if blur else rest
    response = atoms @ seen.reshape(len(seen), -1)
    # chance, also where the residual is not white; a wide blur leaves few independent pixels to tell it from
    white = 1 / (2 * np.sqrt(np.pi) * blur) if blur else 1.0
    chance = np.maximum(np.median(np.abs(response), axis=1, keepdims=True) / 0.6745, white)
    response = (response / chance).reshape(-1, *shape)
    strength = np.abs(response).max(0)
    if not (strength > CLEAR).any():
        return []
    labels, count = label(strength > CLEAR)
    peaks = sorted(range(1, count + 1), key=lambda number: -strength[labels == number].max())[:GROUPS]
    out = []
    for number in peaks:
        own = labels == number
        top = np.unravel_index(np.argmax(np.where(own, strength, 0)), shape)
        feature = int(np.argmax(np.abs(response[:, *top])))
        alike = np.abs(response[feature]) > max(FOLLOWED * strength[top], FURTHER if blur else CLEAR)
        alike &= np.sign(response[feature]) == np.sign(response[feature, *top])
        where = label(alike | own)[0]
        where = where == where[top]
        direction = _direction(rest[:, where].mean(1) * np.sqrt(where.sum()), atoms, feature)
        out.append((direction, where))
    return out


def _direction(spectrum: Array, atoms: Array, first: int) -> Array:
    """A group's mean spectrum ``(band,)``, of unit noise, as few features (orthogonal matching pursuit); unit norm."""
    chosen = [first]
    fitted = np.zeros_like(spectrum)
    for _ in range(ATOMS):
        part = atoms[chosen].T
        fitted = part @ np.linalg.lstsq(part, spectrum, rcond=1e-3)[0]
        left = atoms @ (spectrum - fitted)
        best = int(np.argmax(np.abs(left)))
        if abs(left[best]) < FURTHER or best in chosen:
            break
        chosen.append(best)
    norm = np.linalg.norm(fitted)
    return np.asarray(fitted / norm if norm > 0 else atoms[first], dtype=np.float32)


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
