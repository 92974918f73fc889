"""The page of ``hsi process``: for each step what it did, its figure and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from hsitools.chain import Done, sections

if TYPE_CHECKING:
    from hsitools.process import Plan


def std_files(done: Sequence[Done]) -> list[Path]:
    """Files of standard deviations that steps have written, in their order."""
    return [path for item in done for name, path in item.outcome.files.items() if name.endswith("std")]


def write_page(plan: Plan, done: Sequence[Done], page: Path) -> None:
    """Write the report: for each step what it did, its figure and numbers."""
    from hsitools.report import Report

    settings = {name: value for name, value in asdict(plan).items() if value is not None and name != "places"}
    Report(
        title="From raw frames to spectra",
        lead=f"{plan.scene.name}, measured by the instrument of {plan.bench.name or plan.bench}. "
        "Each step's files are kept beside this page.",
        headlines=[item.outcome.headline for item in done if item.outcome.headline is not None],
        sections=sections(done),
        provenance=[
            ("plan", ", ".join(f"{name} {value}" for name, value in settings.items())),
            ("standard deviations", ", ".join(path.name for path in std_files(done)) or "none"),
            ("seconds", ", ".join(f"{item.step.title} {item.seconds:.1f}" for item in done)),
        ],
    ).write(page)
