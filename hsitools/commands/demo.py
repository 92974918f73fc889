"""``hsi demo``: the whole mission on simulated light, on one page."""

from __future__ import annotations

from pathlib import Path

import click

from hsitools.commands.options import emit_json, json_option, out_option, seed_option
from hsitools.commands.outputs import OutputFolder
from hsitools.text import counted


@click.command()
@out_option(OutputFolder(), "Folder for report.html and its files.", default=Path("demo_report"), show_default=True)
@seed_option("Of the bench, the scene and its noise.", default=1)
@json_option
def demo(out: Path, seed: int, as_json: bool) -> None:
    """Characterize a simulated instrument, fuse and restore a simulated scene; compare each step with the truth."""
    from hsitools.chain import Done, run_steps, steps, timed
    from hsitools.demo import DEMO, Demonstration, write_page
    from hsitools.io.outputs import made_folder

    parts = steps(DEMO)
    click.echo(f"{counted(len(parts), 'step')}, about a minute in all on two cores; each says its time", err=True)

    def before(text: str) -> None:
        click.echo(f"{text} … ", nl=False, err=as_json)

    def after(done: Done) -> None:
        click.echo(f"{done.seconds:.1f} s", err=as_json)
        for fact in done.outcome.facts:
            click.echo(f"      {fact.quantity}: expected {fact.true}, found {fact.result}", err=as_json)

    with made_folder(out):
        demonstration = Demonstration(folder=out, seed=seed)
        done = run_steps(parts, lambda step: timed(step, demonstration), before, after)
        page = write_page(demonstration, done, f"hsi demo --seed {seed}")
    if not as_json:
        return click.echo(f"report: {page}")
    document: dict[str, object] = {"steps": [{"title": item.step.title, "seconds": item.seconds} for item in done]}
    for item in done:
        document |= item.outcome.summary
    emit_json({**document, "written": {"report": str(page), "folder": str(out)}})
