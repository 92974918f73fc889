"""Chains of steps that rooms offer by entry points: run one after another, and shown on one page.

``hsi demo`` and ``hsi process`` are such chains: what a step may use of those before it is the chain's own affair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hsitools.report import Section


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A quantity as a step determined it, and as it is where that is known; both as text with their unit."""

    quantity: str
    result: str
    true: str | None = None


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
    files : dict of str to Path
        What it wrote, by what later steps know it as.
    """

    text: str
    figure: Figure
    caption: str
    facts: Sequence[Fact] = ()
    headline: tuple[str, str] | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step: its place among all steps, what it does in a few words, and the function that does it."""

    order: int
    title: str
    run: Callable[[Any], Outcome]


@dataclass(frozen=True, kw_only=True)
class Done:
    """A step that was run, its figure (PNG), and the seconds that it took; ``kept`` of an earlier run."""

    step: Step
    outcome: Outcome
    seconds: float
    png: bytes = b""
    kept: bool = False


def steps(group: str) -> list[Any]:
    """The steps that all installed rooms offer in an entry-point group, in their order."""
    return sorted((point.load() for point in entry_points(group=group)), key=lambda step: step.order)


def run_steps(
    chosen: Sequence[Step], run: Callable[[Step], Done], before: Callable[[str], None], after: Callable[[Done], None]
) -> list[Done]:
    """Run steps one after another, saying what begins and what has ended."""
    out = []
    for number, step in enumerate(chosen, 1):
        before(f"{number}/{len(chosen)} {step.title}")
        out.append(run(step))
        after(out[-1])
    return out


def timed(step: Step, state: Any) -> Done:
    """A step run on what its chain has so far."""
    from hsitools.plot import png_bytes

    began = time.perf_counter()
    outcome = step.run(state)
    return Done(step=step, outcome=outcome, seconds=time.perf_counter() - began, png=png_bytes(outcome.figure))


def sections(done: Sequence[Done]) -> list[Section]:
    """For each step what it did, its figure, and what it found (beside the truth, where that is known)."""
    from hsitools.report import Block, Picture, Section, Table

    out = []
    for number, item in enumerate(done, 1):
        outcome = item.outcome
        blocks: list[str | Block] = [outcome.text, Picture(png=item.png, caption=outcome.caption)]
        if outcome.facts and all(fact.true is not None for fact in outcome.facts):
            rows = [(fact.quantity, fact.true or "", fact.result) for fact in outcome.facts]
            blocks.append(Table(columns=("quantity", "expected", "found"), rows=rows))
        elif outcome.facts:
            blocks.append(Table(columns=("quantity", "value"), rows=[(f.quantity, f.result) for f in outcome.facts]))
        out.append(Section(title=f"{number}. {item.step.title}", blocks=blocks))
    return out
