"""``hsi denoise benchmark`` and ``figures``: compare methods on cases and scenes; show what one does to a real cube."""

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


@click.command(cls=SeveralValues, several=("--scenes", "--methods", "--plugin"))
@click.option("--cases", type=path_type, help="HDF5 with a clean cube and noisy ones.")
@click.option("--method", help="Of --cases, see `hsi denoise list`  [default: diffusion].")
@click.option("--scenes", type=path_type, multiple=True, help="Clean cubes, or folders of them; several or repeated.")
@methods_option("all", of="Of --scenes: ")
@plugin_option
@seed_option("Of the noise that --scenes get.")
@cell_device_option
@click.option("--jobs", type=int, default=1, show_default=True, help="Cells at a time.")
@workers_option
@scheduler_option
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Of a cell  [default: all, shared by the jobs].")
@click.option("--time-limit", type=float, metavar="SECONDS", help="Of a cell, loading and indices included.")
@click.option("--memory-limit", type=float, metavar="MIB", help="Of a cell, beyond its loaded case (Linux).")
@out_option(OutputFolder(), "Folder for what --scenes give (must hold no benchmark yet).")
@click.option("--resume", is_flag=True, help="Go on in a folder that holds one; what is done there is not done again.")
@click.option("--retry", is_flag=True, help="With --resume: do the cells that failed anew.")
@json_option
def benchmark(
    cases: Path | None, method: str | None, scenes: tuple[Path, ...], methods: tuple[str, ...],
    out: Path | None, resume: bool, retry: bool, jobs: int, workers: int | None, scheduler: str | None,
    time_limit: float | None, memory_limit: float | None, as_json: bool, **asked: Any,
) -> None:  # fmt: skip
    """Compare methods, blindly, on cubes whose clean version is known.

    --cases: one method on every noisy cube of a file. --scenes: noise cases a to g and FINCH-like stripes are simulated
    on every scene, for every method, with the peers' rows beside; results are kept cell by cell, a cell that fails is
    a row with its reason. Each cell runs in a process of its own that never holds the clean cube.
    """
    from hsitools.comparison.plan import require_methods

    if not asked["plugins"]:
        # what plugins register is told later
        require_methods(methods if method is None else (method,), "denoise.methods")
    if (cases is None) == (not scenes):
        raise click.UsageError("expected one of --cases (a file of noisy cubes) and --scenes (clean cubes)")
    asked |= {"time_limit_s": time_limit, "memory_limit_mib": memory_limit}
    if cases is not None:
        if workers or scheduler:
            raise click.UsageError("--workers and --scheduler go with --scenes; --cases is one method")
        if methods or out or resume:
            raise click.UsageError("--methods, --out and --resume go with --scenes; --cases takes --method")
        return _cases(cases, method, as_json, **asked)
    if method is not None:
        raise click.UsageError("--method goes with --cases; --scenes takes --methods")
    if out is None:
        raise click.UsageError("--scenes expects --out, a folder")
    if retry and not resume:
        raise click.UsageError("--retry goes with --resume")
    from denoise.comparison.benchmark import Benchmark
    from hsitools.comparison.hands import Hands

    made = Benchmark.create(out, scenes=scenes, methods=methods, resume=resume, **asked)
    _scenes(made, Hands(jobs=jobs, workers=workers, scheduler=scheduler), retry, as_json)


def _cases(path: Path, method: str | None, as_json: bool, **asked: Any) -> None:
    from denoise.comparison.benchmark import benchmark as rows_of
    from denoise.restore import METHOD

    rows = []
    for row in rows_of(path, method or METHOD, **asked):
        rows.append(row)
        if not as_json:
            click.echo(
                f"{row['case']:<8} {row['mpsnr']:6.2f} dB  SSIM {row['mssim']:.4f}  SAM {row['sam_deg']:6.2f}°  "
                f"{row['seconds']:6.2f} s  {row['peak_mib']:6.0f} MiB  {row['path']}"
            )
    if as_json:
        emit_json(rows)


def _scenes(made: Any, hands: Any, retry: bool, as_json: bool) -> None:
    from denoise.comparison.report import write
    from hsitools.comparison.hands import refuse_all_failed
    from hsitools.comparison.task import OK

    try:
        with progress_bar("cells") as progress:
            hands.run(made, retry=retry, progress=progress)
    except KeyboardInterrupt:
        kept = sum(record["status"] == OK for record in made.records())
        click.echo(
            f"hsi: {counted(kept, 'finished cell')} in {made.folder}; the same command with --resume goes on", err=True
        )
        raise
    rows = made.rows()
    written = write(made.folder, rows, made.header)
    if as_json:
        emit_json(rows)
    else:
        print_gains(rows)
        click.echo("\n".join(map(str, written)))
    refuse_all_failed(made.records(), made.folder)


def print_gains(records: list[dict[str, Any]]) -> None:
    """Mean PSNR of every method, gains over the best peer, and why there are cells without a result."""
    from denoise.comparison.report import SHOWN, failed_cells, grids

    for scene in dict.fromkeys(record["scene"] for record in records):
        for grid in (one for one in grids(records, scene) if one.title.startswith(SHOWN["mpsnr"][0])):
            width = max(len(row[0]) for row in grid.rows)
            click.echo(f"{scene}: {grid.title}")
            for row in (["", *grid.columns[1:-1], "mean a–g"], *grid.rows):
                click.echo(f"  {row[0]:<{width}}" + "".join(f"{cell:>9}" for cell in row[1:]))
    for text in failed_cells(records):
        click.echo(f"no result: {text}")


@click.command()
@click.argument("path", type=path_type)
@out_option(OutputFolder(), "Folder for the figures (made if need be).", required=True)
@click.option("--method", default="diffusion", show_default=True, help="See `hsi denoise list`.")
@click.option("--bands", metavar="FIRST:END", help="Numbers of the bands to show  [default: the worst].")
@json_option
def figures(path: Path, out: Path, method: str, bands: str | None, as_json: bool) -> None:
    """Denoise the cube PATH and show what was taken from it: images, residuals, spectra, noise and stripes."""
    from denoise.comparison.before_after import compare
    from denoise.comparison.before_after_figures import write
    from hsitools.io import open_cube

    chosen = None if bands is None else _band_numbers(bands)
    with progress_bar("figures") as progress:
        comparison = compare(open_cube(path), method, chosen, progress=progress)
    with drawn(f"{out}: figures"):
        written = write(comparison, out)
    if as_json:
        return emit_json({**comparison.numbers(), "files": written})
    click.echo(comparison.text())
    click.echo("\n".join(map(str, written)))


def _band_numbers(text: str) -> range:
    try:
        first, end = (int(part) for part in text.split(":"))
    except ValueError:
        raise click.BadParameter(f"found {text!r}, expected FIRST:END, as 0:5", param_hint="--bands") from None
    if not 0 <= first < end:
        raise click.BadParameter(f"found {text!r}, expected FIRST below END", param_hint="--bands")
    return range(first, end)
