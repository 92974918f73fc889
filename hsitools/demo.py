"""Steps of ``hsi demo``: each room offers its own through the entry-point group ``hsitools.demo``.

Everything is simulated, so each step sets what was true beside what was found. A step takes the `Demonstration` so far
and gives an `Outcome`; what later steps need it leaves in ``results``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEMO = "hsitools.demo"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A quantity as it is in the simulation, and as a step determined it; both as text with their unit."""

    quantity: str
    true: str
    result: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a step shows.

    Attributes
    ----------
    text : str
        What was done and what to look at, for the page.
    figure : Figure
    caption : str
    facts : sequence of Fact
    headline : (str, str) or None
        A number for the head of the page, and its meaning.
    summary : dict
        Plain data for ``--json``.
    """

    text: str
    figure: Figure
    caption: str
    facts: Sequence[Fact] = ()
    headline: tuple[str, str] | None = None
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A run of the demo: where it writes, its seed, and the results of its steps by name."""

    folder: Path
    seed: int
    results: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step: its place among all steps, what it does in a few words, and the function that does it."""

    order: int
    title: str
    run: Callable[[Demonstration], Outcome]


def steps() -> list[Step]:
    """The steps of all installed rooms, in their order."""
    return sorted((point.load() for point in entry_points(group=DEMO)), key=lambda step: step.order)


@dataclass(frozen=True, kw_only=True)
class Done:
    """A step that was run, and the seconds that it took."""

    step: Step
    outcome: Outcome
    seconds: float


def run_steps(
    demonstration: Demonstration, chosen: Sequence[Step], before: Callable[[str], None], after: Callable[[Done], None]
) -> list[Done]:
    """Run steps one after another, saying what begins and what has ended."""
    out = []
    for number, step in enumerate(chosen, 1):
        before(f"{number}/{len(chosen)} {step.title}")
        began = time.perf_counter()
        done = Done(outcome=step.run(demonstration), step=step, seconds=time.perf_counter() - began)
        out.append(done)
        after(done)
    return out


def write_page(demonstration: Demonstration, done: Sequence[Done], command: str) -> Path:
    """Write ``report.html``: for each step what it did, its figure, and what was true beside what was found."""
    from hsitools.plot import png_bytes
    from hsitools.report import Block, Picture, Report, Section, Table

    sections = []
    for number, item in enumerate(done, 1):
        outcome = item.outcome
        blocks: list[str | Block] = [outcome.text, Picture(png=png_bytes(outcome.figure), caption=outcome.caption)]
        if outcome.facts:
            rows = [(fact.quantity, fact.true, fact.result) for fact in outcome.facts]
            blocks.append(Table(columns=("quantity", "true", "found"), rows=rows))
        sections.append(Section(title=f"{number}. {item.step.title}", blocks=blocks))
    page = demonstration.folder / "report.html"
    Report(
        title="From raw frames to a sharp, clean cube",
        lead="A simulated instrument is characterized from its raw frames and becomes a sensor; a scene is seen by a "
        "simulated satellite, fused with its panchromatic image, and restored from stripes and noise. Because all of "
        "it is simulated, each step shows what was true beside what was found.",
        headlines=[item.outcome.headline for item in done if item.outcome.headline is not None],
        sections=sections,
        provenance=[
            ("command", command),
            ("seconds", ", ".join(f"{item.seconds:.1f}" for item in done)),
            ("files", str(demonstration.folder)),
        ],
    ).write(page)
    return page
