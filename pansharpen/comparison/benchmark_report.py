"""The report of a benchmark: one self-contained HTML page, and the table as CSV and LaTeX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.comparison.ranking import Row, all_bands_name, best_of, goodness
from hsitools.comparison.table import STYLE as GRID_STYLE
from hsitools.comparison.table import Grid, Markup, failures, origin
from hsitools.comparison.task import OK
from hsitools.io.atomic import atomic_path
from hsitools.metrics import get as get_index
from hsitools.plot import png_bytes
from hsitools.report import Block, Picture, Report, Section
from pansharpen.comparison.benchmark import Benchmark
from pansharpen.comparison.figures import detail_window, error_curves, error_png, image_png
from pansharpen.comparison.swipe import SCRIPT, STYLE, Shown, gallery, swipe
from pansharpen.comparison.table import (
    RANKED,
    RANKED_ON,
    by_case,
    class_names,
    classes_of,
    heading,
    indices_of,
    latex,
    number,
    ranking,
    ranking_name,
    source_of,
    title_of,
    write_csv,
)

#: Side of the crops shown side by side, fine pixels.
CROP = 48
BASELINE = "EXP"
RANKS = (
    "Methods rank on bands that hold signal, by the noise that the case knows, or by the estimate that stands at each "
    "case."
)


# ---- the page --------------------------------------------------------------------------------------------------


def write_report(folder: str | Path, *, pictures: int = 12) -> list[Path]:
    """Write ``report.html``, ``table.csv`` and ``table.tex`` of a benchmark, finished or not; return their paths.

    Parameters
    ----------
    folder : path
    pictures : int
        Cases of which curves, crops and error maps are shown; one of each source before further ones.

    Raises
    ------
    FormatError
        When the folder holds no benchmark.
    """
    made = Benchmark.open(folder)
    records = made.records()
    rows = made.rows()
    paths = [made.folder / name for name in ("report.html", "table.csv", "table.tex")]
    _page(made, records, rows, pictures).write(paths[0])
    write_csv(paths[1], rows, made.columns)
    with atomic_path(paths[2]) as temporary:
        temporary.write_text(latex(rows), encoding="utf-8")
    return paths


def _page(made: Benchmark, records: list[dict[str, Any]], rows: list[Row], pictures: int) -> Report:
    cases = list(by_case(rows).values())
    keys = {(row["method"], title_of(row)): record for row, record in zip(rows, records, strict=True)}
    drawn = _pictured(made.folder, cases, keys, pictures)
    ranks = {protocol: ranking(rows, protocol) for protocol in RANKED}
    best = next((standing[0].method for standing in ranks.values() if standing), BASELINE)
    used = [group for group in cases if any(row["status"] == OK for row in group)]
    failed = [row for row in rows if row["status"] != OK]
    without = failures(rows, [title_of(row) for row in rows])
    planned = len(made.settings.cells())
    headlines = [(best, "best by mean rank")] if any(ranks.values()) else []
    headlines += [
        (f"{len({row['method'] for row in rows})}", "methods"), (f"{len(used)} of {len(cases)}", "cases usable"),
        (f"{len(rows)} of {planned}", "cells done"), (f"{len(failed)}", "cells without a result"),
    ]  # fmt: skip
    sections = [Section(title="Ranking", blocks=_ranking_blocks(ranks))]
    if drawn:
        titles = {place: title_of(cases[place][0]) for place in drawn}
        text = "Drag over the image, or move the slider with the arrow keys. Colours and errors have one scale a case."
        sections.append(Section(title="Swipe between two methods", blocks=[text, swipe(titles, BASELINE, best)]))
    for place, group in enumerate(cases):
        if any(row["status"] == OK for row in group):
            sections.append(_case_section(made.folder, place, group, keys, place in drawn))
    sections += [
        Section(title="Without a result", blocks=[without or "Every cell has a result."]),
        Section(title="How it was made", blocks=[RANKS, *origin(made.header)]),
    ]
    if drawn:
        sections[-1] = Section(title=sections[-1].title, blocks=[*sections[-1].blocks, Markup(text=SCRIPT)])
    sensor = made.settings.sensor_name
    names = ", ".join(dict.fromkeys(group[0]["case"] for group in used)) or "no usable case"
    lead = f"{names}; " + (f"sensor {sensor}; " if sensor else "") + f"convention {made.settings.convention}"
    runs = made.header["runs"]
    provenance = [("command", runs[-1]["command"]), ("run", runs[-1]["started"])] if runs else []
    return Report(
        title="Benchmark of pansharpening methods", lead=lead, headlines=headlines, sections=sections,
        provenance=provenance,
    )  # fmt: skip


Keys = dict[tuple[str, str], dict[str, Any]]


def _arrays(folder: Path, name: str) -> dict[str, NDArray[Any]] | None:
    try:
        with np.load(folder / "cells" / f"{name}.npz", allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        return None


def _pictured(folder: Path, cases: list[list[Row]], keys: Keys, limit: int) -> list[int]:
    """Numbers of the cases to draw: the first of each source, then the second of each, as far as the limit goes."""
    turns: dict[str, int] = {}
    order = []
    for place, group in enumerate(cases):
        if any((folder / "cells" / f"{keys[row['method'], title_of(row)]['key']}.npz").exists() for row in group):
            turn = turns[group[0]["case"]] = turns.get(group[0]["case"], -1) + 1
            order.append((turn, place))
    return sorted(place for _, place in sorted(order)[:limit])


def _heading(name: str) -> str:
    """An index with its unit and an arrow to better values."""
    index = get_index(all_bands_name(name))
    unit = "" if index.unit in ("1", "") else f" / {index.unit}"
    return f"{name}{unit} {'↑' if index.higher_is_better else '↓'}"


def _ranking_blocks(ranks: dict[str, Any]) -> list[str | Block]:
    blocks: list[str | Block] = [Markup(text=GRID_STYLE + STYLE)]
    for protocol, standing in ranks.items():
        if not standing:
            continue
        blocks.append(
            f"{protocol.capitalize()} resolution: places within each case (1 is best), averaged over "
            f"{max(rank.cases for rank in standing)} cases and {', '.join(RANKED[protocol])}, on {RANKED_ON}; a method "
            "that failed takes the last place. Time is the median, memory the largest, of one call in a fresh process."
        )
        indices = RANKED[protocol]
        columns = ["method", "mean rank ↓", *(f"{name} rank" for name in indices), "cases won", "failed"]
        lines = [
            [rank.method, number("rank", rank.mean), *(number("rank", rank.per_index[name]) for name in indices),
             str(rank.wins), str(rank.failed), number("seconds", rank.seconds), number("peak_mib", rank.peak_mib)]
            for rank in standing
        ]  # fmt: skip
        bold = frozenset((0, column) for column in range(len(lines[0])))
        blocks.append(Grid(columns=[*columns, "time / s", "memory / MiB"], rows=lines, best=bold))
    return blocks if len(blocks) > 1 else [*blocks, "No cell has a result yet."]


def _case_section(folder: Path, place: int, group: list[Row], keys: Keys, with_pictures: bool) -> Section:
    title = title_of(group[0])
    indices = indices_of(group)
    first = RANKED[group[0]["protocol"]][0]
    group = sorted(group, key=lambda row: (row["status"] != OK, goodness(first, row[first])))
    blocks: list[str | Block] = [_case_table(group, indices), *_class_blocks(group)]
    if with_pictures:
        blocks += _case_pictures(folder, place, group, keys, indices)
    return Section(title=title, blocks=blocks)


def _case_table(group: list[Row], indices: tuple[str, ...]) -> Grid:
    cost = {"seconds": "time / s", "cpu_seconds": "CPU time / s", "peak_mib": "memory / MiB"}
    failed = any(row["status"] != OK for row in group)
    columns = ["method", *map(_heading, indices), *cost.values(), *(["why not"] if failed else [])]
    rows = [[row["method"], *(number(name, row[name]) for name in (*indices, *cost))] for row in group]
    if failed:
        for line, row in zip(rows, group, strict=True):
            line.append("" if row["status"] == OK else row["status"].partition(":")[0])  # the whole stands at the end
    best = frozenset((y, 1 + x) for x, name in enumerate(indices) for y in best_of(name, group))
    return Grid(columns=columns, rows=rows, best=best)


def _class_blocks(group: list[Row]) -> list[str | Block]:
    """The ranking indices over classes of bands, and where the noise comes from that makes them."""
    classes, names = classes_of(group), class_names(group)
    if not classes:
        return []
    text = "Bands by their signal-to-noise ratio (mean level over noise; the noise is "
    text += f"{source_of(group)}): " + ", ".join(f"{count} above {snr}" for snr, count in classes.items())
    first = ranking_name(RANKED[group[0]["protocol"]][0], group)
    done = sorted((row for row in group if row["status"] == OK), key=lambda row: goodness(first, row[first]))
    rows = [[row["method"], *(number(name, row[name]) for name in names)] for row in done]
    best = frozenset((y, 1 + x) for x, name in enumerate(names) for y in best_of(name, done))
    return [text + ".", Grid(columns=["method", *(heading(name, classes) for name in names)], rows=rows, best=best)]


def _case_pictures(
    folder: Path, place: int, group: list[Row], keys: Keys, indices: tuple[str, ...]
) -> list[str | Block]:
    title = title_of(group[0])
    shown_methods = {}
    for row in group:
        arrays = _arrays(folder, keys[row["method"], title]["key"]) if row["status"] == OK else None
        if arrays is not None:
            shown_methods[row["method"]] = (row, arrays)
    shared = _arrays(folder, f"case-{keys[group[0]['method'], title]['case_key']}")
    if not shown_methods or shared is None:
        return ["The files with its pictures are missing."]
    what = "RMSE" if "reference" in shared else "RMSE to the coarse cube, seen through the sensor"
    curves = {method: arrays["rmse"] for method, (_, arrays) in shown_methods.items()}
    figure = error_curves(curves, shared.get("wavelength_nm"), what=what.partition(",")[0], baseline=BASELINE)
    note = indices[0]
    images = [
        Shown(name=name, png=image_png(shared[key]), note="", case=place, kind="rgb", title=title)
        for name, key in (("reference", "reference"), ("PAN", "pan"))
        if key in shared
    ]
    errors = []
    # one scale for all methods: that of plain interpolation, so that a failed method does not darken the others
    scale = shown_methods.get(BASELINE, next(iter(shown_methods.values())))[1]["error"]
    top = (float(np.nanpercentile(scale, 99)) if np.isfinite(scale).any() else 0.0) or 1.0
    for method, (row, arrays) in shown_methods.items():
        text = f"{note} {number(note, row[note])}"
        shown = {"name": method, "note": text, "case": place, "title": title}
        images.append(Shown(png=image_png(arrays["rgb"]), kind="rgb", **shown))
        errors.append(Shown(png=error_png(arrays["error"], top), kind="error", **shown))
    pan = shared["pan"][..., 0]
    side = min(CROP, *pan.shape)
    y, x = detail_window(pan, side)
    return [
        Picture(png=png_bytes(figure, dpi=110), caption=f"{what} by band; the best methods in colour, others grey."),
        f"The {side}×{side} pixels with the most detail, the same stretch for all.",
        gallery(images, crop=(y, x, side, pan.shape[1])),
        f"{what} over all bands, pixel by pixel: black is none, bright is {top:.3g} and more.",
        gallery(errors),
    ]
