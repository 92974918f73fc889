"""Images of a report side by side, and two of them over one another with a movable border: HTML, CSS and script."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass

from hsitools.comparison.table import Markup

STYLE = """<style>
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
