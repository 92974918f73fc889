"""The chain of ``hsi demo``: each room offers its steps through the entry-point group ``hsitools.demo``.

Everything is simulated, so each step sets what was true beside what was found. A step takes the `Demonstration` so far
and gives an `Outcome`; what later steps need it leaves in ``results``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsitools.chain import Done, sections

DEMO = "hsitools.demo"


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A run of the demo: where it writes, its seed, and the results of its steps by name."""

    folder: Path
    seed: int
    results: dict[str, Any] = field(default_factory=dict)


def write_page(demonstration: Demonstration, done: Sequence[Done], command: str) -> Path:
    """Write ``report.html``: for each step what it did, its figure, and what was true beside what was found."""
    from hsitools.report import Report

    page = demonstration.folder / "report.html"
    Report(
        title="From raw frames to a sharp, clean cube",
        lead="A simulated instrument is characterized from its raw frames and becomes a sensor; the frames that it "
        "takes of a scene become spectra; a scene is seen by a simulated satellite, fused with its panchromatic image, "
        "and restored from stripes and noise. All of it is simulated, so that each step shows beside what was found "
        "what is expected: the truth, or what a perfect result would have (an error of 0, a PSNR of ∞). Of error bars "
        "the errors themselves are expected, and 95 % of them within 95 % intervals.",
        headlines=[item.outcome.headline for item in done if item.outcome.headline is not None],
        sections=sections(done),
        provenance=[
            ("command", command),
            ("seconds", ", ".join(f"{item.seconds:.1f}" for item in done)),
            ("files", str(demonstration.folder)),
        ],
    ).write(page)
    return page
