"""``hsi pansharpen benchmark`` and ``report``: compare methods on many cases; show what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsitools.commands.options import (
    SeveralValues,
    cell_device_option,
    drawn,
    emit_json,
    json_option,
    methods_option,
    out_option,
    plugin_option,
    progress_bar,
    scheduler_option,
    seed_option,
    workers_option,
)
from hsitools.commands.outputs import OutputFolder
from hsitools.text import counted

path_type = click.Path(path_type=Path)


@click.command(cls=SeveralValues, several=("--scenes", "--cases", "--ratio", "--methods", "--plugin"))
@click.option("--scenes", type=path_type, multiple=True, help="Cubes, or folders of them; several or repeated.")
@click.option("--cases", type=path_type, multiple=True, help="Case files (.npz: ms_lr, pan, ratio; gt if known).")
@click.option("--sensor", metavar="FILE|PRESET", help="Sensor that sees the scenes  [default: preset prisma].")
@click.option("--ratio", "ratios", type=int, multiple=True, help="Ratio(s) of the simulated pairs  [default: 6].")
@click.option("--noise", "noisy", is_flag=True, help="With sensor noise (default; both flags: with and without).")
@click.option("--no-noise", "clean", is_flag=True, help="Without sensor noise.")
@click.option("--guide", metavar="NAME",
              help="Imager whose bands take PAN's place where scenes are simulated: sentinel-2, …")  # fmt: skip
@click.option("--snr", "snr_db", type=float, metavar="DB",
              help="White noise in all images of simulated scenes, instead of the sensors'.")  # fmt: skip
@click.option("--scale", type=float,
              help="Turns the scenes' numbers into the sensor's units  [default: as their files say].")  # fmt: skip
@methods_option("those without training, fitted in seconds")
@click.option("--protocol", type=click.Choice(["reduced", "full", "both"]),
              help="With reference, without, or both  [default: with, where there is one].")  # fmt: skip
@click.option("--convention", "rules", default="hsitools", show_default=True, help="hsitools, or toolbox (published).")
@click.option("--weights", type=path_type, help="Folder of trained nets' weights.")
@plugin_option
@seed_option("Of sensor noise, and of methods that draw.")
@cell_device_option
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Of a cell  [default: all, shared by the jobs].")
@click.option("--time-limit", type=float, metavar="SECONDS", help="Of a cell, loading and indices included.")
@click.option("--memory-limit", type=float, metavar="MIB", help="Of a cell, beyond its loaded case (Linux).")
@click.option("--jobs", type=int, default=1, show_default=True, help="Cells at a time.")
@workers_option
@scheduler_option
@out_option(OutputFolder(), "Folder for the results (must hold none yet).")
@click.option("--resume", type=path_type, metavar="FOLDER", help="Go on with a benchmark; settings are those in it.")
@click.option("--retry", is_flag=True, help="With --resume: do the cells that failed anew.")
@json_option
@click.pass_context
def benchmark(
    ctx: click.Context, noisy: bool, clean: bool, protocol: str | None, jobs: int, workers: int | None,
    scheduler: str | None, out: Path | None, resume: Path | None, retry: bool, as_json: bool, **asked: Any,
) -> None:  # fmt: skip
    """Compare methods on scenes that a sensor sees, on products with PAN, or on case files.

    Every cell (case × method) runs in a process of its own; one that fails is a row with its reason. Results are kept
    cell by cell, so that a benchmark that was stopped goes on with --resume.
    """
    from hsitools.comparison.plan import require_methods

    if not asked["plugins"]:
        # what plugins register is told later
        require_methods(asked["methods"], "pansharpen.methods")
    from hsitools.comparison.hands import Hands
    from hsitools.comparison.scratch import Scratch
    from pansharpen.comparison.benchmark import Benchmark

    hands = Hands(jobs=jobs, workers=workers, scheduler=scheduler)
    if resume is not None:
        _nothing_else(ctx, {"resume", "retry", "jobs", "workers", "scheduler", "as_json"})
        return _run(Benchmark.open(resume), hands, retry, as_json)
    if retry:
        raise click.UsageError("--retry goes with --resume")
    if out is None and not as_json:
        raise click.UsageError("expected --out (a folder), or --json for the records alone")
    asked["ratios"] = asked["ratios"] or (6,)
    asked["noises"] = [on for on, typed in ((True, noisy or not clean), (False, clean)) if typed]
    asked["protocols"] = {None: ("auto",), "both": ("reduced", "full")}.get(protocol, (protocol,))
    asked["time_limit_s"], asked["memory_limit_mib"] = asked.pop("time_limit"), asked.pop("memory_limit")
    if out is not None:
        return _run(Benchmark.create(out, **asked), hands, retry, as_json)
    with Scratch() as folder:
        _run(Benchmark.create(folder, **asked), hands, retry, as_json, kept=False)


def _nothing_else(ctx: click.Context, allowed: set[str]) -> None:
    """What decides the numbers is stored; another wish must not be dropped in silence."""
    typed = click.core.ParameterSource.COMMANDLINE
    for name in ctx.params:
        if name not in allowed and ctx.get_parameter_source(name) is typed:
            option = next(p.opts[0] for p in ctx.command.params if p.name == name)
            raise click.UsageError(f"{option} cannot be changed by --resume: settings are those stored in the folder")


def _run(made: Any, hands: Any, retry: bool, as_json: bool, kept: bool = True) -> None:
    from hsitools.comparison.hands import refuse_all_failed

    try:
        with progress_bar("cells") as progress:
            records = hands.run(made, retry=retry, progress=progress)
    except KeyboardInterrupt:
        if kept:
            done, total = len(made.records()), len(made.settings.cells())
            click.echo(
                f"hsi: {done} of {total} cells are done; go on: hsi pansharpen benchmark --resume {made.folder}",
                err=True,
            )
        raise
    if as_json:
        emit_json([_flat(record) for record in records])
    else:
        print_ranking(made.rows())
        click.echo(f"{made.folder}: table.csv; hsi pansharpen report {made.folder} for the whole")
    refuse_all_failed(records, made.folder)


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """A record with its indices at the top; those of the reduced protocol always there."""
    none = dict.fromkeys(("ERGAS", "SAM", "Q2n"))
    return {"case": record["case"], "method": record["method"], **none, **record["values"]} | {
        name: value for name, value in record.items() if name not in ("values", "traceback", "case", "method")
    }


def print_ranking(rows: list[dict[str, Any]]) -> None:
    """Mean ranks of the methods, and why there are cells without a result."""
    from hsitools.comparison.task import OK
    from pansharpen.comparison.table import RANKED, RANKED_ON, by_case, number, ranking, source_of, title_of

    for protocol, indices in RANKED.items():
        ranks = ranking(rows, protocol)
        if not ranks:
            continue
        width = max(len(rank.method) for rank in ranks)
        cases = max(rank.cases for rank in ranks)
        click.echo(
            f"rank (1 is best) by each index and over all, means over {counted(cases, 'case')} ({protocol} resolution, "
            f"{RANKED_ON}); cost of one call, median seconds and most MiB:"
        )
        heads = ["rank", *(f"{name} rank" for name in indices)]
        wide = [max(8, len(name) + 2) for name in heads]
        line = "".join(f"{name:>{size}}" for name, size in zip(heads, wide, strict=True))
        click.echo(f"  {'':<{width}}{line} |{'seconds':>9}{'MiB':>6}")
        for rank in ranks:
            values = [rank.mean, *(rank.per_index[name] for name in indices)]
            line = "".join(f"{value:{size}.2f}" for value, size in zip(values, wide, strict=True))
            cost = f"{number('seconds', rank.seconds):>9}{number('peak_mib', rank.peak_mib):>6}"
            failed = f"  {rank.failed} failed" if rank.failed else ""
            click.echo(f"  {rank.method:<{width}}{line} |{cost}{failed}")
    sources = [source_of(group) for group in by_case(rows).values()]
    for source in dict.fromkeys(filter(None, sources)):
        click.echo(f"noise {source} in {sources.count(source)} of {len(sources)} cases")
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] != OK:
            reasons.setdefault(row["status"], []).append(f"{row['method']} ({title_of(row)})")
    for reason, where in reasons.items():
        more = f" and {len(where) - 1} more" if len(where) > 1 else ""
        click.echo(f"no result: {where[0]}{more}: {reason}")


@click.command()
@click.argument("folder", type=path_type)
@click.option("--pictures", type=click.IntRange(min=0), default=12, show_default=True,
              help="Cases of which images are shown, one a scene first.")  # fmt: skip
@json_option
def report(folder: Path, pictures: int, as_json: bool) -> None:
    """Write report.html (self-contained), table.csv and table.tex into the FOLDER of a benchmark."""
    from pansharpen.comparison.benchmark_report import write_report

    with drawn(f"{folder}: report"):
        written = write_report(folder, pictures=pictures)
    if as_json:
        return emit_json([str(path) for path in written])
    for path in written:
        click.echo(path)
