"""The device's OPD law: offset + step × index, and the interferometers that leave it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.spread import robust_sigma

Array = NDArray[np.float64]

#: Neighbours, the row itself included, whose median says what OPD a row should have: it holds with four of them wrong,
#: and a mosaic of sixteen in a column turns no sooner.
NEIGHBOURS = 9
#: Fewest interferometers that make a straight line with an error.
LEAST = 3


@dataclass(frozen=True, kw_only=True)
class OpdLaw:
    """Robust straight line through the OPDs of a device.

    Attributes
    ----------
    offset_um, step_um : float
        OPD of index 0 and OPD per index, µm, with standard errors ``offset_stderr_um`` and ``step_stderr_um``.
    nominal_step_um : float or None
        The step that the instrument was designed for.
    scatter_um : float
        Robust standard deviation of an OPD about what its eight neighbours predict, less the error of that prediction,
        µm.
    outliers : array of bool, shape (interferometer,)
        OPD off the running median by more than one fringe over the band (1 / band width).
    """

    offset_um: float
    step_um: float
    offset_stderr_um: float
    step_stderr_um: float
    nominal_step_um: float | None
    scatter_um: float
    outliers: NDArray[np.bool_]

    def predict(self, index: NDArray[np.int64]) -> Array:
        """OPD that the law gives to each index, µm."""
        return self.offset_um + self.step_um * np.asarray(index, dtype=float)

    @property
    def found(self) -> bool:
        """Whether there were interferometers enough."""
        return bool(np.isfinite(self.step_um))

    @property
    def text(self) -> str:
        """The law in words."""
        if not self.found:
            return f"none: fewer than {LEAST} interferometers show fringes"
        return (
            f"({self.offset_um:.3f} ± {self.offset_stderr_um:.3f}) µm + index × "
            f"({self.step_um:.5f} ± {self.step_stderr_um:.5f}) µm"
        )


def neighbour_median(opd_um: Array, index: NDArray[np.int64], step_um: float) -> Array:
    """As `running_median`, but of the eight neighbours without the row itself: what they predict for it, µm."""
    order = np.argsort(index, kind="stable")
    slope = step_um * index[order]
    size = min(NEIGHBOURS, len(opd_um) - 1 + len(opd_um) % 2)
    padded = np.pad(opd_um[order] - slope, size // 2, mode="reflect", reflect_type="odd")
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)
    out = np.empty_like(opd_um)
    out[order] = np.median(np.delete(windows, size // 2, axis=1), axis=1) + slope
    return out


def _median(y: Array, mode: Literal["edge", "symmetric"]) -> Array:
    padded = np.pad(y, NEIGHBOURS // 2, mode=mode)
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, NEIGHBOURS), axis=1))


def repeated_medians(y: Array, x: Array) -> tuple[float, float]:
    """Slope and intercept of Siegel's line: holds with nearly half of the points anywhere (Biometrika 69, 1982)."""
    run = x[:, None] - x
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.where(run != 0, (y[:, None] - y) / run, np.nan)
    # the median of each row's own slopes: NaN sorts last (NumPy's nanmedian imports more than it is worth here)
    slopes.sort(axis=1)
    count = np.isfinite(slopes).sum(axis=1)
    some = np.flatnonzero(count)
    if not len(some):
        return 0.0, float(np.median(y))
    slope = float(np.median(0.5 * (slopes[some, (count[some] - 1) // 2] + slopes[some, count[some] // 2])))
    return slope, float(np.median(y - slope * x))


def running_median(opd_um: Array, index: NDArray[np.int64]) -> Array:
    """Median of nine neighbours in the device's order, the row itself included, µm.

    At the ends, where four of the nine are missing, the row before them is mirrored, the device's slope taken out.
    """
    order = np.argsort(index, kind="stable")
    x, y = index[order], opd_um[order]
    middle = _median(y, "edge")
    if len(y) > NEIGHBOURS:
        slope = float(np.median(np.diff(y) / np.diff(x))) * x
        mirrored = _median(y - slope, "symmetric") + slope
        ends = np.r_[: NEIGHBOURS // 2, len(y) - NEIGHBOURS // 2 : len(y)]
        middle[ends] = mirrored[ends]
    out = np.empty_like(opd_um)
    out[order] = middle
    return out


def _scatter(opd_um: Array, index: NDArray[np.int64], step_um: float) -> float:
    """Robust standard deviation of an OPD about its neighbours' median, without the error of the median itself.

    The median of m values of standard deviation s errs by s · √(π / 2m) (nearly: of a normal population), so the
    difference scatters by s · √(1 + π / 2m).
    """
    away = opd_um - neighbour_median(opd_um, index, step_um)
    neighbours = min(NEIGHBOURS, len(opd_um) - 1 + len(opd_um) % 2) - 1
    return float(robust_sigma(away) / np.sqrt(1 + np.pi / (2 * neighbours)))


def fit_law(
    opd_um: Array, index: NDArray[np.int64], usable: NDArray[np.bool_], fringe_um: float, nominal_step_um: float | None
) -> OpdLaw:
    """Fit the law by repeated medians, then Huber-weighted least squares for the standard errors.

    Parameters
    ----------
    opd_um, index, usable : array, shape (interferometer,)
        ``usable`` False leaves a row out of the fit (dark, not converged…).
    fringe_um : float
        OPD of one fringe over the band (1 / band width), the unit of an outlier.
    nominal_step_um : float or None
    """
    finite = usable & np.isfinite(opd_um)
    nothing = OpdLaw(
        offset_um=float("nan"), step_um=float("nan"), offset_stderr_um=float("nan"), step_stderr_um=float("nan"),
        nominal_step_um=nominal_step_um, scatter_um=float("nan"), outliers=np.zeros(len(opd_um), dtype=bool),
    )  # fmt: skip
    if finite.sum() < LEAST:
        return nothing
    x, y = index[finite].astype(float), opd_um[finite]
    step, offset = repeated_medians(y, x)
    design = np.stack([np.ones_like(x), x], axis=1)
    for _ in range(20):
        residual = y - offset - step * x
        scale = robust_sigma(residual) + 1e-12
        weight = np.minimum(1, 1.345 * scale / np.maximum(np.abs(residual), 1e-300))
        normal = design.T @ (design * weight[:, None])
        offset, step = (float(value) for value in np.linalg.solve(normal, design.T @ (weight * y)))
    residual = y - offset - step * x
    variance = (weight * residual**2).sum() / max(weight.sum() - 2, 1)
    covariance = variance * np.linalg.inv(normal)
    away = y - running_median(y, index[finite])
    outliers = np.zeros(len(opd_um), dtype=bool)
    outliers[finite] = np.abs(away) > fringe_um
    return OpdLaw(
        offset_um=offset,
        step_um=step,
        offset_stderr_um=float(np.sqrt(covariance[0, 0])),
        step_stderr_um=float(np.sqrt(covariance[1, 1])),
        nominal_step_um=nominal_step_um,
        scatter_um=_scatter(y, index[finite], step),
        outliers=outliers,
    )
