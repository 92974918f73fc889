"""Stripes that all bands of a cube have in common: nothing but their place tells them from the scene."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.spread import robust_sigma

#: Parts of the rows that must agree on a column, and the fewest rows of each: in one of 1200 aerial crops of 24 rows in
#: a hundred parts agree by the scene, in those of 40 rows half as many.
PARTS, LEAST_ROWS = 8, 3
#: Share of the columns that all parts must agree on. Chance alone gives 2⁻⁷; walls and roads that go down the whole
#: image are a few of its columns. So many columns at least: of one or two chance makes as much in narrow images.
SHARE, LEAST_COLUMNS = 0.15, 3
#: Columns between others that are looked at, at least.
FEWEST = 6
#: Correlation of neighbouring columns' deviations: −⅔ of independent ones; the curve of a smooth scene has it near 1.
ALTERNATING = -0.3
#: Size that does not matter, as a share of the signal.
SLIGHT = 1e-4


def common_stripes(values: NDArray[Any]) -> float:
    """Rough size of the column stripes that all bands of ``(band, y, x)`` share, a share of the signal; 0 for none.

    A stripe departs from both columns beside it to the same side all along. Where most parts of the scene agree in
    that for many columns, these are no walls or roads. (A scene that is the same all along its columns, such as a
    target of bars, looks alike.)

    Parameters
    ----------
    values : array, shape (band, y, x)
        NaN stands for no measurement.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> scene = 1 + 0.01 * rng.standard_normal((5, 80, 50))
    >>> common_stripes(scene)
    0.0
    >>> striped = scene * (1 + 0.02 * rng.standard_normal(50))
    >>> round(common_stripes(striped), 2)
    0.02
    """
    known = np.isfinite(values).all(0)
    image = np.where(known, np.sum(values, axis=0, dtype=float), np.nan)
    shifts = _shifts(image)
    if shifts.shape[1] < FEWEST:
        return 0.0
    signal = float(np.mean(np.abs(image[known])))
    if not signal > 0:
        return 0.0
    agreed = np.abs(np.sign(shifts).sum(0)) == PARTS
    usual = np.median(shifts, axis=0)
    power = float(np.sum(usual**2))
    few = agreed.sum() < max(SHARE * agreed.size, LEAST_COLUMNS)
    if few or not np.sum(usual[1:] * usual[:-1]) < ALTERNATING * power:
        return 0.0
    size = _size(shifts) / signal
    return size if size > SLIGHT else 0.0


def sizes_of_bands(values: NDArray[Any]) -> NDArray[np.float64]:
    """Standard deviation ``(band,)`` of each band's column stripes in ``(band, y, x)``, where `common_stripes` are."""
    known = np.isfinite(values).all(0)
    return np.array([_size(_shifts(np.where(known, image, np.nan))) for image in values])


def _shifts(image: NDArray[Any]) -> NDArray[np.float64]:
    """How far columns depart from those beside them in parts of the rows ``(part, x)``: those that all parts know."""
    apart = image[:, 1:-1] - (image[:, :-2] + image[:, 2:]) / 2
    parts = np.array_split(apart[np.isfinite(apart).any(1)], PARTS)
    known = np.all([np.isfinite(part).sum(0) >= LEAST_ROWS for part in parts], axis=0)
    if not known.any():
        return np.zeros((PARTS, 0))
    return np.array([np.nanmedian(part[:, known], axis=0) for part in parts], dtype=float)


def _size(shifts: NDArray[np.float64]) -> float:
    """What halves of columns share, but for single walls; a column less two others' mean varies half as much more."""
    upper, lower = shifts[: PARTS // 2].mean(0), shifts[PARTS // 2 :].mean(0)
    shared = robust_sigma((upper + lower) / 2) ** 2 - robust_sigma((upper - lower) / 2) ** 2
    return float(np.sqrt(max(shared, 0) / 1.5))


def of_common_stripes(size: float, lines: str = "columns") -> str:
    """What is said of them."""
    return (
        f"{lines} suspected of stripes alike in all bands, about {100 * size:.1g} % of the signal: no band tells them "
        "from the scene, so that they stay; calibrate the detector on a flat field (a scene that is the same all along "
        f"its {lines} looks alike)"
    )
