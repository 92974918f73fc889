"""``hsi denoise benchmark`` and ``figures``: compare methods on cases and scenes; show what one does to a real cube."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hsitools.commands.options import emit_json, json_option, progress_bar

path_type = click.Path(path_type=Path)


class SeveralScenes(click.Command):
    """A command whose ``--scenes`` takes several values: ``--scenes a b`` is ``--scenes a --scenes b``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click, with each value given its option's name."""
        out: list[str] = []
        inside = False
        for token in args:
            if token.startswith("-"):
                inside = token == "--scenes"
            elif inside and out[-1] != "--scenes":
                out.append("--scenes")
            out.append(token)
        return super().parse_args(ctx, out)


@click.command(cls=SeveralScenes)
@click.option("--cases", type=path_type, help="HDF5 with a clean cube and noisy ones.")
@click.option("--method", help="Of --cases, see `hsi denoise list`  [default: diffusion].")
@click.option("--scenes", type=path_type, multiple=True, help="Clean cubes, or folders of them; several or repeated.")
@click.option("--methods", multiple=True, metavar="NAMES", help="Of --scenes, with commas or repeated  [default: all].")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the noise that --scenes get.")
@click.option("-o", "--out", type=path_type, help="Folder for what --scenes give (must hold no benchmark yet).")
@click.option("--resume", is_flag=True, help="Go on in a folder that holds one; what is done there is not done again.")
@json_option
def benchmark(
    cases: Path | None, method: str | None, scenes: tuple[Path, ...], methods: tuple[str, ...], seed: int,
    out: Path | None, resume: bool, as_json: bool,
) -> None:  # fmt: skip
    """Compare methods, blindly, on cubes whose clean version is known.

    --cases: one method on every noisy cube of a file. --scenes: noise cases a to g and FINCH-like stripes are simulated
    on every scene, for every method, with the peers' rows beside; results are kept cell by cell, a cell that fails is
    a row with its reason.
    """
    if (cases is None) == (not scenes):
        raise click.UsageError("expected one of --cases (a file of noisy cubes) and --scenes (clean cubes)")
    if cases is not None:
        if methods or out or resume:
            raise click.UsageError("--methods, --out and --resume go with --scenes; --cases takes --method")
        return _cases(cases, method, as_json)
    if method is not None:
        raise click.UsageError("--method goes with --cases; --scenes takes --methods")
    if out is None:
        raise click.UsageError("--scenes expects --out, a folder")
    _scenes(scenes, methods, seed, out, resume, as_json)


def _cases(path: Path, method: str | None, as_json: bool) -> None:
    from denoise.comparison.peers import GOLDEN, PUBLISHED, WITH_TRUTH
    from denoise.comparison.protocol import benchmark as records
    from denoise.comparison.protocol import file_hash
    from denoise.restore import METHOD

    rows = []
    for row in records(path, method or METHOD):
        rows.append(row)
        if not as_json:
            click.echo(
                f"{row['case']:<8} {row['mpsnr']:6.2f} dB  SSIM {row['mssim']:.4f}  SAM {row['sam_deg']:6.2f}°  "
                f"{row['seconds']:6.2f} s  {row['peak_mib']:6.0f} MiB  {row['path']}"
            )
    if as_json:
        return emit_json(rows)
    if file_hash(path) != GOLDEN:
        return
    names = [row["case"] for row in rows]
    click.echo("\nmean PSNR, dB, beside published libraries at their defaults on the same cubes")
    click.echo(f"{'':<34}" + "".join(f"{name:>7}" for name in names))
    ours = {row["case"]: row["mpsnr"] for row in rows}
    for name, values in {**PUBLISHED, "truth known, plain smoother": WITH_TRUTH, rows[0]["method"]: ours}.items():
        click.echo(f"{name:<34}" + "".join(f"{values[n]:7.2f}" if n in values else f"{'–':>7}" for n in names))


def _scenes(
    scenes: tuple[Path, ...], methods: tuple[str, ...], seed: int, out: Path, resume: bool, as_json: bool
) -> None:  # fmt: skip
    from denoise.comparison.protocol import OK, RECORDS, Plan, read_records, run
    from denoise.comparison.report import write
    from hsitools.errors import InputError

    plan = Plan.of(scenes, methods, seed=seed)
    if not resume and (out / RECORDS).exists():
        raise InputError(f"{out}: out: found a benchmark, expected a new folder (--resume goes on with this one)")
    try:
        with progress_bar("cells") as progress:
            records = run(plan, out, progress=progress)
    except KeyboardInterrupt:
        kept = sum(record["status"] == OK for record in read_records(out / RECORDS))
        click.echo(f"hsi: {kept} cells are kept in {out}; the same command with --resume goes on", err=True)
        raise
    written = write(out, records)
    if as_json:
        return emit_json(records)
    print_gains(records)
    click.echo("\n".join(map(str, written)))


def print_gains(records: list[dict[str, Any]]) -> None:
    """Mean PSNR of every method, gains over the best peer, and why there are cells without a result."""
    from denoise.comparison.report import failures, grids

    for scene in dict.fromkeys(record["scene"] for record in records):
        grid = grids(records, scene)[0]
        width = max(len(row[0]) for row in grid.rows)
        click.echo(f"{scene}: {grid.title}")
        for row in (["", *grid.columns[1:-1], "mean a–g"], *grid.rows):
            click.echo(f"  {row[0]:<{width}}" + "".join(f"{cell:>9}" for cell in row[1:]))
    for text in failures(records):
        click.echo(f"no result: {text}")


@click.command()
@click.argument("path", type=path_type)
@click.option("-o", "--out", type=path_type, required=True, help="Folder for the figures (made if need be).")
@click.option("--method", default="diffusion", show_default=True, help="See `hsi denoise list`.")
@click.option("--bands", metavar="FIRST:END", help="Numbers of the bands to show  [default: the worst].")
@json_option
def figures(path: Path, out: Path, method: str, bands: str | None, as_json: bool) -> None:
    """Denoise the cube PATH and show what was taken from it: images, residuals, spectra, noise and stripes."""
    from denoise.comparison.real import compare, write
    from hsitools.io import open_cube

    chosen = None if bands is None else _band_numbers(bands)
    found = compare(open_cube(path), method, chosen)
    written = write(found, out)
    if as_json:
        return emit_json({**found.numbers(), "files": written})
    click.echo(found.text())
    click.echo("\n".join(map(str, written)))


def _band_numbers(text: str) -> range:
    try:
        first, end = (int(part) for part in text.split(":"))
    except ValueError:
        raise click.BadParameter(f"found {text!r}, expected FIRST:END, as 0:5", param_hint="--bands") from None
    if not 0 <= first < end:
        raise click.BadParameter(f"found {text!r}, expected FIRST below END", param_hint="--bands")
    return range(first, end)
