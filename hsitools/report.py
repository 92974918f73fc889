"""A self-contained HTML report: one file, no network, readable on a screen, in the dark and on paper."""

from __future__ import annotations

import base64
import html
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from hsitools import __version__
from hsitools.errors import InputError
from hsitools.io.atomic import atomic_path

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6672;--line:#d8dee4;--paper:#fff;--tint:#f4f7fa;--accent:#0072b2}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa6b2;--line:#39424c;--paper:#15191e;--tint:#1d232a;--accent:#56b4e9}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1000px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line)}
.lead{color:var(--soft);margin:0 0 1.2rem}.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:.7rem}
.card{background:var(--tint);border-radius:8px;padding:.7rem .9rem}.card b{display:block;font-size:1.3rem}
.card span{color:var(--soft);font-size:.85rem}figure{margin:1rem 0}figure img{width:100%;background:#fff;border-radius:6px}
figcaption{color:var(--soft);font-size:.9rem}.scroll{overflow:auto;max-height:30rem;border:1px solid var(--line);border-radius:6px}
table{border-collapse:collapse;width:100%;font-size:.88rem}th,td{padding:.25rem .6rem;text-align:right;white-space:nowrap}
th{position:sticky;top:0;background:var(--tint);cursor:pointer}td:first-child,th:first-child{text-align:left;white-space:normal}
tr.mark td{font-weight:600}tbody tr:nth-child(even){background:var(--tint)}footer{margin:3rem 0 1rem;color:var(--soft);font-size:.85rem}
@media print{.scroll{max-height:none;overflow:visible}h2{break-after:avoid}figure{break-inside:avoid}}
"""
SORT = """
document.querySelectorAll('th').forEach(h=>h.onclick=()=>{const t=h.closest('table'),b=t.tBodies[0],i=h.cellIndex,
d=h.dataset.d=h.dataset.d=='1'?'-1':'1',v=r=>{const s=r.cells[i].textContent,n=parseFloat(s);return isNaN(n)?s:n};
[...b.rows].sort((p,q)=>{const x=v(p),y=v(q);return (x>y?1:x<y?-1:0)*d}).forEach(r=>b.append(r))});
"""


class Block(Protocol):
    """What can stand in a section."""

    def html(self) -> str:
        """As HTML."""
        ...


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under headings, sortable by a click; ``marked`` rows are bold."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = frozenset()

    def html(self) -> str:
        """As HTML."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            f"<tr{' class=mark' if place in self.marked else ''}>"
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            + "</tr>"
            for place, row in enumerate(self.rows)
        )
        return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG with a caption, embedded."""

    png: bytes
    caption: str

    def html(self) -> str:
        """As HTML."""
        data, text = base64.b64encode(self.png).decode(), html.escape(self.caption)
        return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands under it: paragraphs (text), tables, pictures and the like in order."""

    title: str
    blocks: Sequence[str | Block]

    def html(self) -> str:
        """As HTML."""
        parts = [f"<p>{html.escape(b)}</p>" if isinstance(b, str) else b.html() for b in self.blocks]
        return f"<h2>{html.escape(self.title)}</h2>" + "".join(parts)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report: title, lead, headline figures ``(value, meaning)``, sections, provenance ``(name, value)``."""

    title: str
    lead: str
    headlines: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    provenance: Sequence[tuple[str, str]] = field(default=())

    def html(self) -> str:
        """The whole page."""
        cards = "".join(
            f"<div class=card><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>"
            for value, name in self.headlines
        )
        facts = [
            *self.provenance,
            ("software", f"hsitools {__version__}, Python {platform.python_version()}, NumPy {np.__version__}"),
        ]
        foot = "<br>".join(f"{html.escape(name)}: {html.escape(value)}" for name, value in facts)
        return (
            '<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">'
            f"<title>{html.escape(self.title)}</title><style>{STYLE}</style><h1>{html.escape(self.title)}</h1>"
            f"<p class=lead>{html.escape(self.lead)}</p><div class=cards>{cards}</div>"
            + "".join(section.html() for section in self.sections)
            + f"<footer>{foot}</footer><script>{SORT}</script></html>\n"
        )

    def write(self, path: str | Path) -> None:
        """Write the page, whole or not at all."""
        with atomic_path(path) as temporary:
            temporary.write_text(self.html(), encoding="utf-8")


def report_folder(folder: str | Path) -> Path:
    """A report's folder, made if need be.

    Raises
    ------
    InputError
        When it cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: report: cannot make the folder ({error.strerror})") from None
    return folder
