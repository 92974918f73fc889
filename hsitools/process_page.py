"""The page of ``hsi process``: for each step what it did, its figure and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hsitools.chain import Done, sections


def std_files(done: Sequence[Done]) -> list[Path]:
    """Files of standard deviations that steps have written, in their order."""
    return [path for item in done for name, path in item.outcome.files.items() if name.endswith("std")]


def write_page(plan: Mapping[str, Any], done: Sequence[Done], page: Path) -> None:
    """Write the report of a plan, by its fields: for each step what it did, its figure and numbers."""
    from hsitools.report import Report

    settings = {name: value for name, value in plan.items() if value is not None and name != "places"}
    scene, bench = plan["scene"], plan["bench"]
    Report(
        title="From raw frames to spectra",
        lead=f"{scene.name}, measured by the instrument of {bench.name or bench}. "
        "Each step's files are kept beside this page.",
        headlines=[item.outcome.headline for item in done if item.outcome.headline is not None],
        sections=sections(done),
        provenance=[
            ("plan", ", ".join(f"{name} {value}" for name, value in settings.items())),
            ("standard deviations", ", ".join(path.name for path in std_files(done)) or "none"),
            ("seconds", ", ".join(f"{item.step.title} {item.seconds:.1f}" for item in done)),
        ],
    ).write(page)
