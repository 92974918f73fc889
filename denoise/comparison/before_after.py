"""A real cube before and after: indices of noise and stripes, and what of the scene the residual still holds.

There is no clean version of a real noisy cube. What a denoiser took away can be looked at, and asked whether it looks
like the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.restore import METHOD, denoise
from denoise.separation.noise import MIN_PIXELS
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.estimation.spread import robust_sigma
from hsitools.metrics import evaluate_alone
from hsitools.progress import Progress, silent
from hsitools.text import counted, plain

Array = NDArray[Any]
#: Bands that are shown when none are asked for, and the most that a figure holds.
WORST, MOST = 4, 6
#: Standard deviation of the blur that tells smooth residuals from noise, pixels.
BLUR = 2.0
#: Standard deviations beyond which a residual is an outlier that was taken away, and not asked about.
OUTLYING = 4.0


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What a residual still has of the scene, columns' means and outliers left out.

    Attributes
    ----------
    edges : float
        Correlation over pixels of the residual's magnitude with the magnitude of the scene's gradient. Photon noise,
        larger where the scene is brighter, correlates a little as well.
    explained : float
        Share of the residual's variance that a regression on all other bands, as observed, explains (adjusted R²).
    smooth : float
        Variance that a blur leaves, in units of what it leaves of white noise.
    """

    edges: float
    explained: float
    smooth: float


MEASURES = tuple(Structure.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A cube before and after.

    Attributes
    ----------
    name, method : str
    before, after : array, shape (band, y, x)
        NaN where nothing was measured.
    use : array of bool, shape (band,)
        Bands that were restored.
    wavelength_nm : array, shape (band,), or None
    shown : tuple of int
        Bands that figures show.
    indices : dict of str to (array, array)
        ``noise`` and ``stripes`` of each band (band,), before and after; NaN for bands that were not restored.
    structure, chance : dict of int to Structure
        Of each band that was restored; and of noise alone: Gaussian noise as large as was measured, added to the
        restored cube and taken away again by the same method.
    units : str
        Of the cubes; empty when not known.
    warning : str
        What makes the result doubtful; empty where nothing does.
    """

    name: str
    method: str
    before: Array
    after: Array
    use: NDArray[np.bool_]
    wavelength_nm: Array | None
    shown: tuple[int, ...]
    indices: dict[str, tuple[Array, Array]]
    structure: dict[int, Structure]
    chance: dict[int, Structure]
    units: str = ""
    warning: str = ""

    def band_name(self, band: int) -> str:
        """A band for people."""
        if self.wavelength_nm is None or not np.isfinite(self.wavelength_nm[band]):
            return f"band {band}"
        return f"band {band}, {self.wavelength_nm[band]:.0f} nm"

    def numbers(self) -> dict[str, Any]:
        """Plain data: medians over bands, and the bands that are shown."""
        middle = {
            name: [
                float(np.median([getattr(item, name) for item in structures.values()]))
                for structures in (self.structure, self.chance)
            ]
            for name in MEASURES
        }
        document = {
            "name": self.name, "method": self.method, "shape": list(self.before.shape),
            "median": {**{key: [_median(b), _median(a)] for key, (b, a) in self.indices.items()}, **middle},
            "bands": [
                {
                    "band": band, "wavelength_nm": None if self.wavelength_nm is None else self.wavelength_nm[band],
                    "residual_mean": float(np.nanmean(self.before[band] - self.after[band])),
                    "residual_std": float(np.nanstd(self.before[band] - self.after[band])),
                    **{key: [b[band], a[band]] for key, (b, a) in self.indices.items()},
                    **{m: [getattr(self.structure[band], m), getattr(self.chance[band], m)] for m in MEASURES},
                }
                for band in self.shown
            ],
        }  # fmt: skip
        document |= {"warning": self.warning} if self.warning else {}
        plain_document: dict[str, Any] = plain(document)
        return plain_document

    def text(self) -> str:
        """The numbers as a table."""
        said = self.numbers()
        head = f"{said['name']} by {said['method']}: before → after; the residual's structure (noise alone in brackets)"
        rows = [("median of bands", said["median"]), *((self.band_name(row["band"]), row) for row in said["bands"])]
        doubt = [f"warning: {self.warning}"] if self.warning else []
        return "\n".join([head, *(f"  {name:<22}{_row(values)}" for name, values in rows), *doubt])


def _row(values: dict[str, Any]) -> str:
    pairs = "  ".join(f"{key} {_short(values[key][0])} → {_short(values[key][1])}" for key in ("noise", "stripes"))
    return pairs + "".join(f"  {key} {_short(values[key][0])} ({_short(values[key][1])})" for key in MEASURES)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _median(values: Array) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


def compare(
    cube: Cube, method: str = METHOD, bands: Sequence[int] | None = None, *, progress: Progress = silent
) -> Comparison:  # fmt: skip
    """Denoise a cube, and measure what was taken from it.

    Parameters
    ----------
    cube : Cube
    method : str
    bands : sequence of int, optional
        Bands to show; default the noisiest ones for their contrast, and the most striped.
    progress : callable
        Called after each of the four long steps: two restorations, two residuals' structures.

    Raises
    ------
    InputError
        When a band is not there or was not restored, or the cube is too small for its noise to be measured.
    """
    who = cube.who
    if min(cube.shape[1:]) < 8 or cube.n_bands < 3:
        raise InputError(f"{who}: found shape {cube.shape}, expected 3 bands and 8×8 pixels at least")
    wrong = [band for band in bands or () if not 0 <= band < cube.n_bands]
    if wrong:
        raise InputError(f"{who}: bands: found {wrong[0]}, expected numbers among 0 to {cube.n_bands - 1} (not nm)")
    # as numbers with a scale they would be scaled once more where restored values take their place
    cube = cube.physical().load()
    before = cube.read().astype(np.float32)
    denoised = denoise(cube, method)
    after = denoised.read()
    progress(1, 4)
    use = cube.good & (np.isfinite(before) & (before != 0)).any((1, 2))
    indices = {name: _per_band(before, after, use, name, cube.wavelength_nm) for name in ("noise", "stripes")}
    structure = residual_structure(before, after, use)
    progress(2, 4)
    again = _noise_alone(after, indices["noise"][0])
    restored = denoise(cube.replace(data=again), method).read()
    progress(3, 4)
    chance = residual_structure(again, restored, use)
    progress(4, 4)
    if bands is None:
        shown = worst_bands(before, indices, use)
    else:
        shown = tuple(bands)
        wrong = [band for band in shown if band not in structure]
        if wrong:
            raise InputError(f"{who}: bands: found {wrong[0]}, expected restored ones among 0 to {cube.n_bands - 1}")
    return Comparison(
        units=cube.units,
        name=Path(cube.source).stem or cube.name or "cube", method=method, before=before, after=after, use=use,
        wavelength_nm=cube.wavelength_nm, shown=shown[:MOST], indices=indices, structure=structure,
        chance=chance, warning=str(denoised.meta.get("warning", "")),
    )  # fmt: skip


def _noise_alone(after: Array, sigma: Array) -> Array:
    """The restored cube with Gaussian noise of each band ``(band,)``."""
    noise = np.random.default_rng(0).standard_normal(after.shape, dtype=np.float32)
    return np.asarray(after + np.nan_to_num(sigma).astype(np.float32)[:, None, None] * noise)


def _per_band(
    before: Array, after: Array, use: NDArray[np.bool_], name: str, wavelength_nm: Array | None = None
) -> tuple[Array, Array]:  # fmt: skip
    """An index of each band, before and after."""
    out = np.full((2, len(use)), np.nan)
    for row, values in zip(out, (before, after), strict=True):
        seen = Cube(data=values[use], wavelength_nm=None if wavelength_nm is None else wavelength_nm[use])
        per_band = evaluate_alone(seen, metrics=[name])[name].per_band
        assert per_band is not None  # both are indices of bands
        row[use] = per_band
    return out[0], out[1]


def worst_bands(before: Array, indices: dict[str, tuple[Array, Array]], use: NDArray[np.bool_]) -> tuple[int, ...]:
    """Half of them the noisiest for their contrast, the others more striped than the bands beside them, in order.

    Upright edges of the scene count as stripes in all bands alike.
    """
    from scipy.ndimage import median_filter

    contrast = np.full(len(use), np.nan)
    contrast[use] = np.nanstd(before[use].reshape(int(use.sum()), -1), axis=1)
    striped = np.nan_to_num(indices["stripes"][0])
    around = median_filter(striped, size=9, mode="nearest")
    shares = (indices["noise"][0] / np.maximum(contrast, 1e-30), striped / np.maximum(around, 1e-30))
    ranked = [np.argsort(-np.where(np.isfinite(share), share, -1), kind="stable") for share in shares]
    chosen = [int(band) for band in ranked[0] if use[band]][: WORST // 2]
    chosen += [int(band) for band in ranked[1] if use[band] and band not in chosen][: WORST - len(chosen)]
    return tuple(sorted(chosen))


def residual_structure(before: Array, after: Array, use: NDArray[np.bool_]) -> dict[int, Structure]:
    """`Structure` of each band in use, of what was observed less what was restored ``(band, y, x)``."""
    numbers = np.flatnonzero(use)
    valid: NDArray[np.bool_] = np.asarray(np.isfinite(before[use]).all(axis=0) & np.isfinite(after[use]).all(axis=0))
    if valid.sum() < MIN_PIXELS:
        raise InputError(
            f"residual: found {counted(int(valid.sum()), 'pixel')} valid in all bands, expected at least {MIN_PIXELS}"
        )
    scene = _units(after[use], valid)
    # what was observed, not what was restored: a residual is orthogonal to the subspace that it was taken off
    others = np.stack([_without_columns(image, valid)[valid] for image in _units(before[use], valid)])
    gram = others @ others.T
    count = min(len(numbers) - 1, int(valid.sum()) // MIN_PIXELS)
    shared = np.hypot(*np.gradient(_blurred(scene.mean(0), valid)))
    white = np.random.default_rng(0).standard_normal((8, *valid.shape))
    out = {}
    for place, band in enumerate(numbers):
        residual = np.where(valid, before[band].astype(float) - after[band], 0)
        keep = valid & _inliers(residual, valid)
        residual = _without_columns(residual, keep)
        if not residual[keep].std() > 1e-7 * np.abs(before[band][valid]).max():  # nothing was taken away
            out[int(band)] = Structure(edges=0.0, explained=0.0, smooth=1.0)
            continue
        own = np.hypot(*np.gradient(_blurred(scene[place], valid)))
        edges = max((_correlation(np.abs(residual)[keep], steep[keep]) for steep in (shared, own)), key=abs)
        far = np.arange(len(numbers)) != place
        explained = _explained(residual[valid], others[far], gram[np.ix_(far, far)], count)
        out[int(band)] = Structure(edges=edges, explained=explained, smooth=_smoothness(residual, keep, white))
    return out


def _units(values: Array, valid: NDArray[np.bool_]) -> Array:
    """Bands about zero, in units of their deviation; zero where not valid."""
    inside = values[:, valid].astype(float)
    scale = np.maximum(inside.std(1), 1e-30)
    return np.where(valid, (values - inside.mean(1)[:, None, None]) / scale[:, None, None], 0)


def _inliers(residual: Array, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    middle = np.median(residual[valid])
    spread = robust_sigma(residual[valid] - middle)
    return np.asarray(np.abs(residual - middle) <= OUTLYING * spread)


def _without_columns(image: Array, keep: NDArray[np.bool_]) -> Array:
    """Zero mean in each column: taking away a column's offset is what a destriper is for. Zero where not kept."""
    count = np.maximum(keep.sum(0), 1)
    return np.where(keep, image - np.where(keep, image, 0).sum(0) / count, 0)


def _blurred(image: Array, keep: NDArray[np.bool_], sigma: float = 1.0) -> Array:
    """Blur that leaves out what is not kept."""
    from scipy.ndimage import gaussian_filter

    weight = gaussian_filter(keep.astype(float), sigma)
    return np.asarray(gaussian_filter(np.where(keep, image, 0), sigma) / np.maximum(weight, 1e-3))


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    power = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / power if power > 0 else 0.0


def _explained(residual: Array, regressors: Array, gram: Array, count: int) -> float:
    """Adjusted R² of a least squares fit by the strongest ``count`` components of regressors ``(band, pixel)``."""
    values, vectors = np.linalg.eigh(gram)
    cross = vectors[:, ::-1][:, :count].T @ (regressors @ residual)
    strength = values[::-1][:count]
    strong = strength > 1e-10 * strength[0]
    share = float((cross[strong] ** 2 / strength[strong]).sum() / (residual @ residual))
    pixels = residual.size
    return 1 - (1 - share) * (pixels - 1) / max(pixels - int(strong.sum()) - 1, 1)


def _smoothness(residual: Array, keep: NDArray[np.bool_], white: Array) -> float:
    """Variance after a blur over that of images of white noise ``(image, y, x)`` on the same pixels."""
    from scipy.ndimage import gaussian_filter

    white = np.stack([_without_columns(image, keep) for image in white])
    blurred = gaussian_filter(np.where(keep, residual, 0), BLUR)
    chance = gaussian_filter(white, (0, BLUR, BLUR))[:, keep].var() / white[:, keep].var()
    return float(blurred[keep].var() / (residual[keep].var() * chance))
