"""``hsi convert``, ``hsi quicklook``, ``hsi metrics``: commands on cubes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hsitools.commands.options import (
    axes_option,
    device_option,
    dtype_option,
    emit_json,
    json_option,
    out_option,
    progress_bar,
    range_option,
    refuse_typed,
    rounding_said,
    step_option,
    variable_option,
    window_option,
)
from hsitools.commands.outputs import OutputFile
from hsitools.text import counted

if TYPE_CHECKING:
    from hsitools.cube import Cube
    from hsitools.metrics import Evaluation


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("out", type=OutputFile("cube"))
@click.option("--bands", callback=range_option, metavar="LOW:HIGH", help="Only bands in this range, nm.")
@click.option("--window", callback=window_option, metavar="Y0:Y1,X0:X1", help="Only these rows and columns.")
@click.option("--drop-bad", is_flag=True, help="Leave out bands that are marked bad.")
@click.option("--physical", is_flag=True, help="Apply scales and offsets; nodata becomes NaN.")
@click.option("--cog", is_flag=True, help="A .tif as a cloud-optimised GeoTIFF.")
@dtype_option
@step_option
@variable_option
@axes_option
def convert(
    path: Path, out: Path, bands: tuple[float, float] | None, window: Any, drop_bad: bool, physical: bool, cog: bool,
    dtype: str | None, scale: float | None, variable: str | None, axes: str | None,
) -> None:  # fmt: skip
    """Copy a cube of any known format into the format of OUT's suffix (.h5, .nc, .zarr, .hdr, .tif), labels and all.

    Stored numbers stay as they are, with their scales, offsets and nodata value; what a format cannot hold is said.
    """
    from hsitools.cube.packed import packed
    from hsitools.io import open_cube, save_cube

    cube = open_cube(path, variable=variable, axes=axes)
    cube = cube.drop_bad() if drop_bad else cube
    cube = cube.select(wavelength=bands, window=window)
    cube = cube.physical() if physical else cube
    cube = cube if dtype is None else packed(cube, scale=scale)
    with progress_bar("convert") as progress:
        save_cube(cube, out, progress, cog=cog)
    said = "" if dtype is None else f", {rounding_said(cube.meta['rounding_error'], cube.units)}"
    click.echo(f"{out}: {'×'.join(map(str, cube.shape))} {open_cube(out).stored().dtype}{said}")


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@out_option(OutputFile("picture"), "PNG file to write.", required=True)
@click.option("--window", callback=window_option, metavar="Y0:Y1,X0:X1", help="Only these rows and columns.")
@click.option("--pan", is_flag=True, help="The panchromatic image instead.")
@click.option("--bands", metavar="R,G,B", help="What to show as red, green and blue: wavelengths (nm) of the nearest "
              "bands, or numbers (from 0) of bands that have none; one alone is grey.")  # fmt: skip
@variable_option
@axes_option
def quicklook(
    path: Path, out: Path, window: Any, pan: bool, bands: str | None, variable: str | None, axes: str | None
) -> None:
    """Write a colour picture of a cube: red, green and blue where it sees them, stretched from 2 to 98 %.

    Pixels that hold no measurement are magenta.
    """
    from matplotlib.image import imsave

    from hsitools.errors import InputError
    from hsitools.figures import bands_named, rgb_bands, stretched
    from hsitools.io import open_cube
    from hsitools.io.atomic import atomic_path

    cube = open_cube(path, variable=variable, axes=axes).select(window=window)
    if pan:
        if cube.pan is None:
            raise InputError(f"{path}: pan: missing, expected a panchromatic image")
        cube = cube.pan
    chosen = rgb_bands(cube) if bands is None else bands_named(cube, bands)
    image, valid = stretched(cube, chosen)
    if not valid.any():
        raise InputError(f"{path}: data: found no pixel valid in bands {', '.join(map(str, chosen))}, expected some")
    with atomic_path(out) as temporary:
        imsave(temporary, image, format="png")
    shown = ", ".join(
        str(band) if cube.wavelength_nm is None else f"{cube.wavelength_nm[band]:.0f} nm" for band in chosen
    )
    missing = "" if valid.all() else f"; {100 * (1 - valid.mean()):.2g} % of the pixels missing (magenta)"
    click.echo(f"{out}: bands {shown}{missing}")


@click.command()
@click.argument("estimate", type=click.Path(path_type=Path))
@click.argument("reference", type=click.Path(path_type=Path), required=False)
@click.option("--ratio", type=float, help="Pixel size ratio of the fusion: for ERGAS.")
@click.option("--border", type=int, default=0, show_default=True, help="Pixels to leave out on each side.")
@click.option("--data-range", type=float, help="Range for PSNR and SSIM  [default: what the reference spans].")
@click.option("--metric", "chosen", multiple=True, metavar="NAME", help="Only this index; may be repeated.")
@click.option("--coarse", type=click.Path(path_type=Path), help="The cube before fusion: indices without a reference.")
@click.option("--pan", type=click.Path(path_type=Path), help="Its panchromatic image  [default: the one in --coarse].")
@click.option("--mtf", type=float, default=0.3, show_default=True, help="Gain at Nyquist, for --coarse.")
@click.option("--offset", type=float, help="First coarse pixel on the fine grid  [default: by their maps, or centred].")
@click.option("--per-band", is_flag=True, help="Values of the bands too.")
@device_option
@json_option
def metrics(
    estimate: Path, reference: Path | None, ratio: float | None, border: int, data_range: float | None,
    chosen: tuple[str, ...], coarse: Path | None, pan: Path | None, mtf: float, offset: float | None, per_band: bool,
    device: str, as_json: bool,
) -> None:  # fmt: skip
    """Quality indices of ESTIMATE: against REFERENCE, against what it was fused from (--coarse), or of itself alone."""
    from hsitools.errors import InputError
    from hsitools.lookup import require_registered

    for name in chosen:
        require_registered(name, "hsitools.metrics", "index", "metric")
    from hsitools.io import open_cube

    if reference is not None and coarse is not None:
        raise InputError("metrics: found both REFERENCE and --coarse, expected one of them")
    if coarse is None:
        refuse_typed("an estimate without --coarse", "pan", "mtf", "offset")
    if reference is None:
        refuse_typed("an estimate without REFERENCE", "data_range", *(() if coarse is not None else ("ratio",)))
    # opened before torch is loaded, which takes seconds that a wrong name should not cost
    cube, *others = (open_cube(path) for path in (estimate, reference or coarse, pan) if path is not None)
    from hsitools.devices import device_named

    place = device_named(device)
    named = {"border": border, "metrics": chosen or None}
    if reference is not None:
        judged = _with_reference(
            (cube, *others), (estimate, reference), place, ratio=ratio, data_range=data_range, **named
        )
    elif coarse is not None:
        judged = _fusion((cube, *others), (estimate, coarse, pan), place, ratio=ratio, mtf=mtf, offset=offset, **named)
    else:
        judged = _alone(cube, place, **named)
    if as_json:
        settings = {"estimate": str(estimate), "border": border, **judged.settings}
        return emit_json(
            {name: score.to_dict(per_band) for name, score in judged.values.items()} | {"settings": settings}
        )
    _table(judged.values)
    if left_out := judged.settings["bad_bands_left_out"]:
        click.echo(f"{counted(left_out, 'band')} marked bad left out")
    if per_band:
        _band_table(judged.values, cube, judged.bands)


class _Judged(NamedTuple):
    """Indices by name, the bands that they are of, and what they were computed with."""

    values: dict[str, Evaluation]
    bands: Any
    settings: dict[str, Any]


def _with_reference(
    cubes: tuple[Cube, ...], paths: tuple[Path, Path], place: Any, *, ratio: float | None, **named: Any
) -> _Judged:
    """Indices against the truth; what was guessed or left out is said."""
    from hsitools.errors import InputError
    from hsitools.metrics import evaluate

    (cube, truth), (estimate, reference) = cubes, paths
    if cube.shape[1:] != truth.shape[1:]:
        found, expected = ("×".join(map(str, image.shape[1:])) for image in (cube, truth))
        raise InputError(
            f"{estimate}: found {found} pixels, expected {expected} as in {reference} (a cube before fusion goes with "
            "--coarse)"
        )
    bands, left_out = _common_bands(cube, truth, estimate, reference)
    of_fusion = cube.meta.get("ratio") if ratio is None and cube.meta.get("pansharpened_by") else None
    ratio = float(of_fusion) if isinstance(of_fusion, int | float) and of_fusion > 0 else ratio
    values = evaluate(_values(cube, bands, place), _values(truth, bands, place), ratio=ratio, **named)
    guessed = [name for name, score in values.items() if score.facts.get("data_range_guessed")]
    if guessed:
        facts = values[guessed[0]].facts
        what = "what the reference spans"
        if facts.get("reference_constant"):
            what = "the size of the largest value of the reference, whose bands are constant"
        click.echo(
            f"hsi: note: {', '.join(guessed)}: --data-range was not given: took {facts['data_range']:.6g}, {what}",
            err=True,
        )
    if ratio is None and named["metrics"] is None:
        click.echo("hsi: note: ERGAS needs --ratio: left out", err=True)
    return _Judged(values, bands, {"reference": str(reference), "ratio": ratio, "bad_bands_left_out": left_out})


def _fusion(
    cubes: tuple[Cube, ...], paths: tuple[Path, Path, Path | None], place: Any, *, ratio: float | None, mtf: float,
    offset: float | None, **named: Any,
) -> _Judged:  # fmt: skip
    """Indices of a fused cube against what it was fused from."""
    from hsitools.cube.agreement import require_same_place
    from hsitools.metrics import evaluate_fusion

    (cube, low, *pans), (estimate, coarse, pan) = cubes, paths
    _require_finer(cube, low, estimate, coarse)
    image = pans[0] if pans else low.pan
    if image is not None:
        require_same_place(image, cube, str(pan or coarse), str(estimate))
    elif named["metrics"] is None:
        click.echo(f"hsi: note: {coarse}: pan: missing: indices that need --pan are left out", err=True)
    bands, left_out = _common_bands(cube, low, estimate, coarse)
    offset = _offset(cube, low, estimate, coarse) if offset is None else offset
    values = evaluate_fusion(
        _values(cube, bands, place), _values(low, bands, place),
        None if image is None else _values(image, None, place), mtf=mtf, offset=offset, registered=True,
        ratio=None if ratio is None else int(ratio), **named,
    )  # fmt: skip
    settings = {"coarse": str(coarse), "mtf": mtf, "offset": offset, "bad_bands_left_out": left_out}
    return _Judged(values, bands, settings)


def _alone(cube: Cube, place: Any, **named: Any) -> _Judged:
    """Indices of a cube by itself."""
    from hsitools.metrics import evaluate_alone

    bands = cube.good.nonzero()[0]
    values = evaluate_alone(_values(cube, bands, place), **named)
    return _Judged(values, bands, {"bad_bands_left_out": int((~cube.good).sum())})


def _values(cube: Cube, bands: Any, device: Any) -> Any:
    return cube.physical().select(bands=bands).to_torch(device=device)[0]


def _require_finer(fused: Cube, coarse: Cube, one: Path, other: Path) -> None:
    """Raise `InputError` where a cube cannot have been fused from another one."""
    from hsitools.errors import InputError

    (y, x), (y_low, x_low) = fused.shape[1:], coarse.shape[1:]
    if y % y_low or x % x_low or not y // y_low == x // x_low > 1:
        raise InputError(
            f"{one}: found {y}×{x} pixels, expected a multiple, at least twice, of the {y_low}×{x_low} of {other} "
            "(--coarse is the cube before fusion)"
        )


def _offset(fused: Cube, coarse: Cube, one: Path, other: Path) -> float:
    """Fine-pixel position of the first coarse pixel, from both maps; centred where they have none, as our cubes are."""
    from hsitools.errors import InputError

    ratio = fused.shape[1] / coarse.shape[1]
    centred = (ratio - 1) / 2
    if fused.transform is None or coarse.transform is None:
        return centred
    import numpy as np

    (a, b, c, d, e, f), (_, _, c_low, _, _, f_low) = fused.transform, coarse.transform
    # the coarse cube's corner in fine pixels, then the centre of its first pixel
    x, y = np.linalg.solve([[a, b], [d, e]], [c_low - c, f_low - f]) + centred
    if abs(x - y) > 0.01 or not -0.01 <= x <= ratio - 1 + 0.01:
        raise InputError(
            f"{one}: transform: found the first pixel of {other} at fine pixel ({y:.2f}, {x:.2f}), expected one offset "
            f"of 0 to {ratio - 1:g} along both axes; give --offset if the maps are wrong"
        )
    return float(np.clip(round(x, 6), 0, ratio - 1))


def _common_bands(first: Cube, second: Cube, one: Path, other: Path) -> tuple[Any, int]:
    """Bands good in both, of cubes whose bands, units and places are the same."""
    import numpy as np

    from hsitools.cube.agreement import require_comparable

    require_comparable(first, second, str(one), str(other))
    good = first.good & second.good
    return np.flatnonzero(good), int((~good).sum())


def _table(values: dict[str, Evaluation]) -> None:
    width = max(len(name) for name in values)
    for name, score in values.items():
        arrow = "↑" if score.index.higher_is_better else "↓" if score.index.best == score.index.low else "·"
        left_out = ", ".join(f"{count} {what.replace('_', ' ')} left out" for what, count in score.excluded.items())
        unit = "" if score.index.unit == "1" else score.index.unit
        click.echo(f"{name:<{width}} {arrow} {score.value:<12.6g} {unit:<12} {left_out}".rstrip())


def _band_table(values: dict[str, Evaluation], cube: Cube, bands: Any) -> None:
    listed = {name: score.per_band for name, score in values.items() if score.per_band is not None}
    without = [name for name in values if name not in listed]
    if without:
        have = "has no value" if len(without) == 1 else "have no values"
        click.echo(f"{', '.join(without)} {have} per band: whole spectra or all bands together are compared")
    if not listed:
        return
    click.echo("\n" + "  ".join(["band", "  nm   ", *(f"{name:>10}" for name in listed)]))
    for row, band in enumerate(bands):
        centre = "–" if cube.wavelength_nm is None else f"{cube.wavelength_nm[band]:.1f}"
        click.echo("  ".join([f"{band:>4}", f"{centre:>7}", *(f"{column[row]:>10.5g}" for column in listed.values())]))
