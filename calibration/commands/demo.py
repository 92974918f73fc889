"""``hsi demo``: the main job on the embedded simulated instrument."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hsitools.commands.options import emit_json, json_option

if TYPE_CHECKING:
    from hsitools.sensor.sensor import Sensor


def _see(sensor: Sensor, path: Path, seed: int) -> None:
    """Draw a scene, the raw frame that the instrument makes of it, and the interferograms of two pixels."""
    import numpy as np

    from hsitools.figures import quicklook
    from hsitools.plot import new_figure, save_figure
    from hsitools.scenes import scene
    from hsitools.sensor import MultiApertureCamera

    camera = MultiApertureCamera.of(sensor, half_field_deg=8.0, vignetting=0.3)
    low, high = 1000 / sensor.response.band.high, 1000 / sensor.response.band.low
    # every sixth pixel of a larger one: a whole landscape on few pixels
    wide = scene((6 * camera.size, 6 * camera.size), wavelength_nm=np.linspace(low, high, 150), seed=seed - 1)
    view = wide.with_data(wide.read()[:, ::6, ::6])
    frame = camera.frame(view)
    cube = camera.interferogram_cube(frame).read()
    figure, (left, middle, right) = new_figure(12, 3.6, ncols=3, width_ratios=[1, 1.7, 1.5])
    left.imshow(quicklook(view))
    left.set(title="procedural scene", xticks=[], yticks=[])
    middle.imshow(frame, cmap="gray")
    middle.set(title="raw frame", xlabel="x / pixel", ylabel="y / pixel")
    middle.grid(False)
    for y, x in ((camera.size // 2, camera.size // 2), (2, camera.size - 3)):
        right.plot(sensor.response.opd_um, cube[:, y, x], ".-", lw=0.7, ms=3, label=f"pixel ({y}, {x})")
    right.set(title="interferograms", xlabel="OPD / µm", ylabel="intensity")
    right.legend(loc="upper right")
    save_figure(figure, path)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo_report"), show_default=True)
@click.option("--seed", default=1, show_default=True)
@json_option
def demo(out: Path, seed: int, as_json: bool) -> None:
    """Simulate an instrument, extract its frames, characterize it, compare with the truth; let it see a scene."""
    import numpy as np

    from calibration import simulated_bench as bench
    from calibration.captures.capture import MonochromaticCapture
    from calibration.captures.extract import extract
    from calibration.captures.frames import FrameStack
    from calibration.captures.sub_images import layout_figure
    from calibration.characterize import characterize
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
    say("4. the characterization becomes a sensor, which sees a procedural scene → sensor.h5, scene.png")
    sensor = result.sensor()
    sensor.save(out / "sensor.h5")
    _see(sensor, out / "scene.png", seed)
    # the centre spot averages OPD·cos θ over its window
    error = result.opd_um - instrument.window_opd_um(5)
    finite = np.isfinite(error)
    summary = {
        **result.summary(),
        "truth": {
            "opd_error_median_um": float(np.median(np.abs(error[finite]))),
            "opd_error_max_um": float(np.abs(error[finite]).max()),
            "coverage_95": float(np.mean(np.abs(error[finite]) <= 1.96 * result.opd_stderr_um[finite])),
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
