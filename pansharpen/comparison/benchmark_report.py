"""The report of a benchmark: one self-contained HTML page, and the table as CSV and LaTeX."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.io.atomic import atomic_path
from hsitools.metrics import get as get_index
from hsitools.plot import png_bytes
from hsitools.report import Block, Picture, Report, Section
from hsitools.text import readable
from pansharpen.comparison.benchmark import Benchmark, row_of
from pansharpen.comparison.classes import all_bands_name
from pansharpen.comparison.figures import detail_window, error_curves, error_png, image_png
from pansharpen.comparison.table import (
    OK,
    RANKED,
    RANKED_ON,
    Row,
    best_of,
    by_case,
    class_names,
    classes_of,
    goodness,
    heading,
    indices_of,
    latex,
    number,
    ranking,
    ranking_name,
    source_of,
    title_of,
)
from pansharpen.comparison.table import write_csv as write_table

#: Side of the crops shown side by side, fine pixels.
CROP = 48
BASELINE = "EXP"
STYLE = """<style>
.figures td:first-child{white-space:nowrap}.scroll{margin:.6rem 0}
.prose td,.prose th{text-align:left;vertical-align:top;white-space:normal;overflow-wrap:break-word}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--accent)}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(140px,1fr));gap:.6rem;margin:.6rem 0}
.gallery figure{margin:0}.gallery img,.stage img{image-rendering:pixelated;display:block}
.crop{position:relative;overflow:hidden;aspect-ratio:1;border-radius:6px}.crop img{position:absolute;border-radius:0}
.pick{display:flex;flex-wrap:wrap;gap:.4rem 1rem}.pick select{font:inherit;max-width:100%}
.stage{position:relative;max-width:640px;margin:.7rem 0 .3rem;cursor:ew-resize;touch-action:pan-y;user-select:none}
.stage img{width:100%}#swipe-over{position:absolute;inset:0;height:100%}
#swipe-line{position:absolute;top:0;bottom:0;width:2px;background:#fff;box-shadow:0 0 3px #000}
.stage span{position:absolute;bottom:.4rem;background:#000a;color:#fff;padding:0 .4rem;border-radius:4px}
#swipe-left-name{left:.4rem}#swipe-right-name{right:.4rem}#swipe-at{width:100%;max-width:640px}
</style>"""
SCRIPT = """<script>(()=>{
const $=id=>document.getElementById(id),scene=$('swipe-case'),kind=$('swipe-kind'),at=$('swipe-at'),
stage=$('swipe-stage'),sides=[['swipe-left','swipe-under'],['swipe-right','swipe-over']],
all=[...document.querySelectorAll('img[data-name]')],
images=()=>all.filter(i=>i.dataset.case==scene.value&&i.dataset.kind==kind.value),
move=()=>{$('swipe-over').style.clipPath=`inset(0 0 0 ${at.value}%)`;
$('swipe-line').style.left=`calc(${at.value}% - 1px)`},
draw=()=>sides.forEach(([pick,shown])=>{const image=images().find(i=>i.dataset.name==$(pick).value);
$(shown).src=image.src;$(shown).alt=image.alt;$(pick+'-name').textContent=image.dataset.name}),
fill=()=>{const names=images().map(i=>i.dataset.name);
sides.forEach(([pick],n)=>{const list=$(pick),was=list.value||list.dataset.first;
list.replaceChildren(...names.map(name=>new Option(name,name)));
list.value=names.includes(was)?was:names[Math.min(n,names.length-1)]});draw()},
drag=e=>{if(e.buttons&1){const box=stage.getBoundingClientRect();
at.value=100*(e.clientX-box.left)/box.width;move()}};
scene.onchange=kind.onchange=fill;sides.forEach(([pick])=>$(pick).onchange=draw);at.oninput=move;
stage.onpointerdown=e=>{stage.setPointerCapture(e.pointerId);drag(e)};
stage.onpointermove=drag;stage.ondragstart=()=>false;fill();move()})()</script>"""


@dataclass(frozen=True, kw_only=True)
class Markup:
    """HTML as it is."""

    text: str

    def html(self) -> str:
        """As HTML."""
        return self.text


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A sortable table of numbers with the best ones in bold, or of text (``prose``); headings take the keyboard.

    ``best`` are the bold cells, as (row, column).
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()
    prose: bool = False

    def html(self) -> str:
        """As HTML."""
        head = "".join(f"<th><button type=button>{html.escape(name)}</button></th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(self._cell(text, (y, x)) for x, text in enumerate(row)) + "</tr>"
            for y, row in enumerate(self.rows)
        )
        kind = "prose" if self.prose else "figures"
        return f'<div class="scroll {kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

    def _cell(self, text: str, place: tuple[int, int]) -> str:
        text = html.escape(text)
        text = text.replace("/", "/<wbr>") if self.prose else text  # paths break there
        return f"<td><b>{text}</b></td>" if place in self.best else f"<td>{text}</td>"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An image of a gallery: what it shows, its PNG, a line beneath, its place in the swipe (case and kind)."""

    name: str
    png: bytes
    note: str
    case: int
    kind: str
    title: str

    def img(self, style: str = "") -> str:
        """The element, with the names that the swipe finds it by, and CSS of its own."""
        data, alt = base64.b64encode(self.png).decode(), html.escape(f"{self.name}: {self.title}")
        return (
            f'<img alt="{alt}" data-case="{self.case}" data-kind={self.kind} data-name="{html.escape(self.name)}" '
            f'style="{style}" src="data:image/png;base64,{data}">'
        )


def gallery(images: Sequence[Shown], crop: tuple[int, int, int, int] | None = None) -> Markup:
    """Images side by side, whole or enlarged ``crop`` (y, x, side, width of the image)."""
    figures = []
    for image in images:
        shown = image.img()
        if crop is not None:
            y, x, side, width = (float(value) for value in crop)
            place = f"width:{100 * width / side:.4g}%;left:{-100 * x / side:.4g}%;top:{-100 * y / side:.4g}%"
            shown = f"<div class=crop>{image.img(place)}</div>"
        text = f"{html.escape(image.name)}<br>{html.escape(image.note)}"
        figures.append(f"<figure>{shown}<figcaption>{text}</figcaption></figure>")
    return Markup(text=f"<div class=gallery>{''.join(figures)}</div>")


def swipe(titles: dict[int, str], left: str, right: str) -> Markup:
    """Two images over one another with a movable border, by mouse, touch or arrow keys; by number of the case."""
    cases = "".join(f'<option value="{place}">{html.escape(title)}</option>' for place, title in titles.items())
    return Markup(
        text="<div class=pick>"
        f"<label>case <select id=swipe-case>{cases}</select></label>"
        "<label>show <select id=swipe-kind><option value=rgb>colours</option><option value=error>errors</option>"
        "</select></label>"
        f'<label>left <select id=swipe-left data-first="{html.escape(left)}"></select></label>'
        f'<label>right <select id=swipe-right data-first="{html.escape(right)}"></select></label></div>'
        "<div class=stage id=swipe-stage><img id=swipe-under alt=left><img id=swipe-over alt=right>"
        "<div id=swipe-line></div><span id=swipe-left-name></span><span id=swipe-right-name></span></div>"
        '<input id=swipe-at type=range min=0 max=100 step=0.5 value=50 aria-label="border between left and right">'
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
    rows = [row_of(record) for record in records]
    paths = [made.folder / name for name in ("report.html", "table.csv", "table.tex")]
    _page(made, records, rows, pictures).write(paths[0])
    write_table(paths[1], rows)
    with atomic_path(paths[2]) as temporary:
        temporary.write_text(latex(rows), encoding="utf-8")
    return paths


def _page(made: Benchmark, records: list[dict[str, Any]], rows: list[Row], pictures: int) -> Report:
    cases = list(by_case(rows).values())
    keys = {(row["method"], title_of(row)): record for row, record in zip(rows, records, strict=True)}
    drawn = _pictured(made.folder, cases, keys, pictures)
    ranks = {protocol: ranking(rows, protocol) for protocol in RANKED}
    best = next((found[0].method for found in ranks.values() if found), BASELINE)
    used = [group for group in cases if any(row["status"] == OK for row in group)]
    failed = [row for row in rows if row["status"] != OK]
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
        Section(title="Without a result", blocks=_failure_blocks(failed)),
        Section(title="How it was made", blocks=_provenance_blocks(made)),
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
    seen: dict[str, int] = {}
    order = []
    for place, group in enumerate(cases):
        if any((folder / "cells" / f"{keys[row['method'], title_of(row)]['key']}.npz").exists() for row in group):
            turn = seen[group[0]["case"]] = seen.get(group[0]["case"], -1) + 1
            order.append((turn, place))
    return sorted(place for _, place in sorted(order)[:limit])


def _heading(name: str) -> str:
    """An index with its unit and an arrow to better values."""
    index = get_index(all_bands_name(name))
    unit = "" if index.unit in ("1", "") else f" / {index.unit}"
    return f"{name}{unit} {'↑' if index.higher_is_better else '↓'}"


def _ranking_blocks(ranks: dict[str, Any]) -> list[str | Block]:
    blocks: list[str | Block] = [Markup(text=STYLE)]
    for protocol, found in ranks.items():
        if not found:
            continue
        blocks.append(
            f"{protocol.capitalize()} resolution: places within each case (1 is best), averaged over "
            f"{max(rank.cases for rank in found)} cases and {', '.join(RANKED[protocol])}, on {RANKED_ON}; a method "
            "that failed takes the last place. Time is the median, memory the largest, of one call in a fresh process."
        )
        indices = RANKED[protocol]
        columns = ["method", "mean rank ↓", *(f"{name} rank" for name in indices), "cases won", "failed"]
        lines = [
            [rank.method, number("rank", rank.mean), *(number("rank", rank.per_index[name]) for name in indices),
             str(rank.wins), str(rank.failed), number("seconds", rank.seconds), number("peak_mib", rank.peak_mib)]
            for rank in found
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
    text += f"{source_of(group)}): " + ", ".join(f"{number} above {snr}" for snr, count in classes.items())
    first = ranking_name(RANKED[group[0]["protocol"]][0], group)
    done = sorted((row for row in group if row["status"] == OK), key=lambda row: goodness(first, row[first]))
    rows = [[row["method"], *(number(name, row[name]) for name in names)] for row in done]
    best = frozenset((y, 1 + x) for x, name in enumerate(names) for y in best_of(name, done))
    return [text + ".", Grid(columns=["method", *(heading(name, classes) for name in names)], rows=rows, best=best)]


def _case_pictures(
    folder: Path, place: int, group: list[Row], keys: Keys, indices: tuple[str, ...]
) -> list[str | Block]:
    title = title_of(group[0])
    found = {}
    for row in group:
        arrays = _arrays(folder, keys[row["method"], title]["key"]) if row["status"] == OK else None
        if arrays is not None:
            found[row["method"]] = (row, arrays)
    shared = _arrays(folder, f"case-{keys[group[0]['method'], title]['case_key']}")
    if not found or shared is None:
        return ["The files with its pictures are missing."]
    what = "RMSE" if "reference" in shared else "RMSE to the coarse cube, seen through the sensor"
    curves = {method: arrays["rmse"] for method, (_, arrays) in found.items()}
    figure = error_curves(curves, shared.get("wavelength_nm"), what=what.partition(",")[0], baseline=BASELINE)
    note = indices[0]
    images = [
        Shown(name=name, png=image_png(shared[key]), note="", case=place, kind="rgb", title=title)
        for name, key in (("reference", "reference"), ("PAN", "pan"))
        if key in shared
    ]
    errors = []
    # one scale for all methods: that of plain interpolation, so that a failed method does not darken the others
    scale = found.get(BASELINE, next(iter(found.values())))[1]["error"]
    top = (float(np.nanpercentile(scale, 99)) if np.isfinite(scale).any() else 0.0) or 1.0
    for method, (row, arrays) in found.items():
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


def _failure_blocks(failed: list[Row]) -> list[str | Block]:
    if not failed:
        return ["Every cell has a result."]
    reasons: dict[str, list[Row]] = {}
    for row in failed:
        reasons.setdefault(row["status"], []).append(row)
    lines = []
    for reason, rows in reasons.items():
        methods, cases = (list(dict.fromkeys(names)) for names in zip(*_who(rows), strict=True))
        lines.append([reason, ", ".join(methods), "; ".join(cases), str(len(rows))])
    return [Grid(columns=["reason", "methods", "cases", "cells"], rows=lines, prose=True)]


def _who(rows: list[Row]) -> list[tuple[str, str]]:
    """Method and case of each row."""
    return [(row["method"], title_of(row)) for row in rows]


def _provenance_blocks(made: Benchmark) -> list[str | Block]:
    settings = made.header["settings"]
    sources = [[Path(s["path"]).name, s["kind"], s["sha256"], s["path"]] for s in settings["sources"]]
    facts = [[name, readable(value)] for name, value in settings.items() if name != "sources"]
    runs = made.header["runs"]
    lines = [[name, *(readable(run.get(name)) for run in runs)] for name in runs[-1]] if runs else []
    return [
        "Each method ran in a process of its own, which held both images but never the truth; its memory is what it "
        "took beyond them. Methods rank on bands that hold signal, by the noise that the case knows, or by the "
        "estimate that stands at each case.",
        Grid(columns=["setting", "value"], rows=facts, prose=True),
        Grid(columns=["run", *(str(place) for place in range(1, len(runs) + 1))], rows=lines, prose=True),
        Grid(columns=["source", "kind", "SHA-256 (first 16 digits)", "path"], rows=sources, prose=True),
    ]
