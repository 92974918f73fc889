"""``hsi demo``: the main job on the embedded simulated instrument."""

from __future__ import annotations

from pathlib import Path

import click

from hsitools.options import emit_json, json_option


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo_report"), show_default=True)
@click.option("--seed", default=1, show_default=True)
@json_option
def demo(out: Path, seed: int, as_json: bool) -> None:
    """Simulate an instrument, extract its frames, characterize it, report, and compare with the truth."""
    import numpy as np

    from calibration import bench
    from calibration.capture import MonochromaticCapture
    from calibration.characterize import characterize
    from calibration.extract import extract
    from calibration.frames import FrameStack
    from calibration.geometry import layout_figure
    from calibration.report import write_report
    from hsitools.plot import save_figure

    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    instrument = bench.simulate_instrument(80, rng=rng, rows=8, pitch=32, etalon_um=13.0, etalon_amplitude=0.06)
    wavenumber = bench.lines(181)

    def say(text: str) -> None:
        click.echo(text, err=as_json)

    say(f"1. {len(instrument.opd_um)} simulated interferometers under {len(wavenumber)} lines → raw frames")
    bench.write_frames(out / "frames.h5", instrument, wavenumber, rng=rng, signal=2500.0)
    stack = FrameStack(out / "frames.h5")
    say("2. grid found from the frames, centre spots extracted → capture.h5")
    capture = extract(stack, opd_step_um=instrument.opd_step_um)
    capture.save(out / "capture.h5")
    save_figure(layout_figure(stack.mean(), instrument.layout), out / "grid.png")
    say("3. model chosen by held-out error, all interferometers characterized → characterization.h5")
    capture = MonochromaticCapture.load(out / "capture.h5")
    result = characterize(capture, cv=10, seed=seed)
    result.save(out / "characterization.h5")
    result.to_csv(out / "interferometers.csv")
    page = write_report(result, capture, out, command=f"hsi demo --seed {seed}")
    # the centre spot averages OPD·cos θ over its window
    error = result.opd_um - instrument.window_opd_um(5)
    known = np.isfinite(error)
    summary = {
        **result.summary(),
        "truth": {
            "opd_error_median_um": float(np.median(np.abs(error[known]))),
            "opd_error_max_um": float(np.abs(error[known]).max()),
            "coverage_95": float(np.mean(np.abs(error[known]) <= 1.96 * result.opd_stderr_um[known])),
        },
        "written": {"report": str(page), "folder": str(out)},
    }
    if as_json:
        return emit_json(summary)
    truth = summary["truth"]
    say(f"   model: {result.model.label}")
    say(f"   RMSE {summary['rmse_mean']:.4f}, held-out {summary['rmse_cv_mean']:.4f}, R² {summary['r2_median']:.4f}")
    say(
        f"   OPD against the truth: median error {1000 * truth['opd_error_median_um']:.2f} nm, "
        f"95 % intervals hold {100 * truth['coverage_95']:.0f} %"
    )
    say(f"report: {page}")
