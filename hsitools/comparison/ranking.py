"""Methods by mean rank over cases and indices, each case on the columns that its classes of bands give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsitools.comparison.task import OK
from hsitools.metrics import get as get_index

Row = dict[str, Any]
#: Between an index and its class of bands in a column's name: ``ERGAS_snr10``.
CLASS_MARK = "_snr"


def all_bands_name(name: str) -> str:
    """The index of a column, with or without a class."""
    return name.partition(CLASS_MARK)[0]


def best_value(name: str) -> float:
    """What a perfect result has of an index of `hsitools.metrics`; infinite where more is better without end."""
    return get_index(all_bands_name(name)).best


def goodness(name: str, value: float | None, best_value: Callable[[str], float] = best_value) -> float:
    """The smaller the better; infinite for no value."""
    if value is None or math.isnan(value):
        return math.inf
    best = best_value(name)
    return -value if math.isinf(best) else abs(value - best)


def best_of(name: str, rows: Sequence[Row]) -> set[int]:
    """Places of the best value(s)."""
    scores = [goodness(name, row[name]) for row in rows]
    return {place for place, score in enumerate(scores) if score == min(scores) and math.isfinite(score)}


@dataclass(frozen=True, kw_only=True)
class Rank:
    """A method's standing over all cases.

    Attributes
    ----------
    method, family : str
    mean : float
        Mean rank over cases and indices, 1 the best; equal values share the mean of their places, and a method that
        failed takes the last place.
    per_index : dict of str to float
    cases, failed : int
    wins : int
        Cases in which it is the best on the first index.
    seconds, peak_mib : float or None
        Median and largest over the cases.
    """

    method: str
    family: str
    mean: float
    per_index: dict[str, float]
    cases: int
    failed: int
    wins: int
    seconds: float | None
    peak_mib: float | None


def ranking(
    groups: Iterable[Sequence[Row]], indices: Sequence[str],
    columns: Callable[[Sequence[Row]], Mapping[str, str]] | None = None,
    best_value: Callable[[str], float] = best_value,
) -> list[Rank]:  # fmt: skip
    """Methods by mean rank.

    Cases in which no method has a value, and methods that never succeeded, do not count.

    Parameters
    ----------
    groups : iterable of rows
        One a case.
    indices : sequence of str
    columns : callable
        Of a group, index → name of the column that ranks there (of a class of bands, say); default the index's own.
    best_value : callable
        Of a column, for indices that the registry does not have.
    """
    groups = [list(group) for group in groups]
    ran = {row["method"] for group in groups for row in group if row["status"] == OK}
    places: dict[str, list[tuple[Row, dict[str, float]]]] = {}
    for rows in groups:
        group = [row for row in rows if row["method"] in ran]
        names = columns(group) if columns is not None and group else {index: index for index in indices}
        if not any(row["status"] == OK and row[name] is not None for row in group for name in names.values()):
            continue
        ranks = {
            index: _ranks([goodness(name, row[name], best_value) for row in group]) for index, name in names.items()
        }
        for place, row in enumerate(group):
            places.setdefault(row["method"], []).append((row, {index: float(ranks[index][place]) for index in ranks}))
    out = [_rank(method, standing, indices) for method, standing in places.items()]
    return sorted(out, key=lambda rank: (rank.mean, rank.method))


def _ranks(scores: list[float]) -> Any:
    """1 for the smallest; ties share the mean of their places."""
    values = np.array(scores)
    below = (values[None] < values[:, None]).sum(1)
    return below + ((values[None] == values[:, None]).sum(1) + 1) / 2


def _rank(method: str, standing: list[tuple[Row, dict[str, float]]], indices: Sequence[str]) -> Rank:
    per_index = {index: float(np.mean([ranks[index] for _, ranks in standing])) for index in indices}
    done = [row for row, _ in standing if row["status"] == OK]
    seconds = [row["seconds"] for row in done if row["seconds"] is not None]
    peaks = [row["peak_mib"] for row in done if row["peak_mib"] is not None]
    return Rank(
        method=method, family=standing[0][0].get("family") or "", mean=float(np.mean(list(per_index.values()))),
        per_index=per_index, cases=len(standing), failed=len(standing) - len(done),
        wins=sum(ranks[indices[0]] == 1 for _, ranks in standing),
        seconds=float(np.median(seconds)) if seconds else None, peak_mib=max(peaks, default=None),
    )  # fmt: skip
