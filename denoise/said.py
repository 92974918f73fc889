"""What a restoration says of a cube: shares of voxels, and what makes the result doubtful as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.common_stripes import of_common_stripes
from hsitools.text import counted

#: Share of outliers among what was measured beyond which something else is wrong.
SUSPICIOUS = 0.3
#: Correlation of rows' departures from their neighbours, in both halves of the image, from which on they are stripes;
#: standard deviations of chance that it must exceed; and the fewest rows and columns.
ALIKE, CHANCE, LEAST_ROWS = 0.5, 4.0, 16


def shares(mask: NDArray[np.bool_], valid: NDArray[np.bool_], full: NDArray[np.bool_]) -> dict[str, Any]:
    """What is said of the voxels of the bands restored: shares clipped, and taken for outliers."""
    measured = valid & ~full
    said: dict[str, Any] = {"outliers": float((mask & measured).sum() / max(measured.sum(), 1))}
    if full.any():
        said["saturated"] = float(full.mean())
    return said


def striped_rows(residual: NDArray[Any], keep: NDArray[np.bool_]) -> dict[str, Any]:
    """Number of bands, if any, whose rows have offsets of their own in a residual ``(band, y, x)``: not calibrated.

    A row with an offset departs from the rows beside it, in the left and in the right half of the image alike; what
    was missed of a scene does so at one place.
    """
    height, width = residual.shape[1:]
    if height < LEAST_ROWS or width < LEAST_ROWS:
        return {}
    halves = []
    for part in (slice(0, width // 2), slice(width // 2, width)):
        kept = keep[..., part]
        mean = np.where(kept, residual[..., part], 0).sum(2, dtype=float) / np.maximum(kept.sum(2), 1)
        apart = mean[:, 1:-1] - (mean[:, :-2] + mean[:, 2:]) / 2
        halves.append(apart / np.maximum(np.sqrt(np.square(apart).mean(1, keepdims=True)), np.finfo(float).tiny))
    likeness = (halves[0] * halves[1]).mean(1)
    # a row's second difference is half as much that of its neighbour: fewer are independent
    count = int((likeness > max(ALIKE, CHANCE / (0.5 * height) ** 0.5)).sum())
    return {"striped_rows": count} if count else {}


def missing(measured: NDArray[np.bool_], asked: NDArray[np.bool_], live: NDArray[np.bool_]) -> dict[str, Any]:
    """Of the bands that were asked for, share of voxels without a measurement, and how many bands came back as given.

    A band without signal (zeros, NaN) was not measured, and counts as a whole.
    """
    said: dict[str, Any] = {}
    if not measured[asked].all():
        said["nodata"] = float(1 - measured[asked].mean())
    if (asked & ~live).any():
        said["bands_as_given"] = int((asked & ~live).sum())
    return said


def warning_of(said: dict[str, Any]) -> dict[str, str]:
    """The ``warning`` of what was said, where there is reason for one."""
    warned = []
    if said.get("outliers", 0) > SUSPICIOUS:
        warned.append(
            f"{said['outliers']:.0%} of the measured voxels were taken for outliers and replaced by predictions: "
            "this cube is not what the method expects; look at the mask before you use the result"
        )
    if "noise_correlation" in said:
        warned.append(
            f"neighbouring bands seem to share noise (correlation {said['noise_correlation']:.2f}), as after resampling"
            " or smoothing of spectra. Details as fine as pixels look the same, so it is kept: if it is noise, there is"
            f" {said['noise_untold']:.1f} times as much as was told, and standard deviations are too small by as much"
        )
    if "striped_rows" in said:
        warned.append(
            f"rows of {counted(said['striped_rows'], 'band')} have offsets of their own (stripes along rows), taken "
            "for noise: beside columns that a sensor tells, or too faint, they are not calibrated"
        )
    if "common_rows" in said:
        warned.append(of_common_stripes(said["common_rows"], "rows"))
    if "common_stripes" in said:
        warned.append(of_common_stripes(said["common_stripes"]))
    return {"warning": "; ".join(warned)} if warned else {}


#: Of findings of strips: means by their pixels, and those of which the largest counts.
MEANS, LARGEST = ("outliers", "nodata", "saturated"), (
    "rank", "photon_gain", "common_stripes", "common_rows", "striped_rows", "rows_calibrated",
    "noise_correlation", "noise_untold", "pixel_correlation", "bands_as_given",
)  # fmt: skip


def of_strips(parts: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """What strips, each with its number of pixels, found: said once of all of them."""
    pixels = np.array([size for size, _ in parts], dtype=float)
    found = [said for _, said in parts]
    out: dict[str, Any] = {}
    if len(paths := Counter(said["path"] for said in found if "path" in said)) > 1:
        out["path"] = ", ".join(f"{path} in {counted(times, 'strip')}" for path, times in paths.most_common())
    elif paths:
        (out["path"],) = paths
    if notes := dict.fromkeys(said["note"] for said in found if "note" in said):
        out["note"] = "; ".join(notes)
    for name in MEANS:
        if any(name in said for said in found):
            out[name] = float(pixels @ [said.get(name, 0.0) for said in found] / pixels.sum())
    for name in LARGEST:
        if values := [said[name] for said in found if name in said]:
            out[name] = max(values)
    if doubted := {band for said in found for band in said.get("doubtful_bands", ())}:
        out["doubtful_bands"] = sorted(doubted)
    warned = sum("warning" in said for said in found)
    if warned:
        worst = out | {"outliers": max(said.get("outliers", 0) for said in found)}
        out["warning"] = f"in {warned} of {counted(len(parts), 'strip')}: {warning_of(worst)['warning']}"
    return out
