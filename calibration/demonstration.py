"""What calibration shows in ``hsi demo``: bench → raw frames → capture → characterization → sensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration import simulated_bench as bench
from calibration.captures.capture import MonochromaticCapture
from calibration.captures.extract import extract
from calibration.captures.frames import FrameStack
from calibration.captures.sub_images import layout_figure
from calibration.characterization import Characterization
from calibration.pipeline import characterize
from calibration.report import write_report
from hsitools.chain import Fact, Outcome, Step
from hsitools.demo import Demonstration
from hsitools.plot import COLOURS, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hsitools.sensor.sensor import Sensor

Array = NDArray[np.float64]

#: Sizes of the simulated instrument: small enough for seconds, with all that a real one has.
INTERFEROMETERS, ROWS, PITCH, LINES = 80, 8, 32, 181
#: A parasitic cavity, µm and relative amplitude: what the model choice has to discover.
ETALON_UM, ETALON_AMPLITUDE = 13.0, 0.06
#: Photons of a flat pixel where the lamp is brightest; a tenth of full scale, as captures are taken.
SIGNAL = 2500.0
#: Side of the window that `extract` takes around each centre, pixels: its default.
WINDOW = 5


def take_frames(demonstration: Demonstration) -> Outcome:
    """The bench writes raw frames of an instrument whose parameters are known."""
    rng = np.random.default_rng(demonstration.seed)
    instrument = bench.simulate_instrument(
        INTERFEROMETERS, rng=rng, rows=ROWS, pitch=PITCH, etalon_um=ETALON_UM, etalon_amplitude=ETALON_AMPLITUDE
    )
    wavenumber = bench.lines(LINES)
    path = demonstration.folder / "frames.h5"
    bench.write_frames(path, instrument, wavenumber, rng=rng, signal=SIGNAL)
    demonstration.results["instrument"] = instrument
    stack = FrameStack(path)
    figure, axes = new_figure(12, 3.4, ncols=3)
    for ax, place in zip(axes, (LINES // 6, LINES // 2, LINES - 20), strict=True):
        ax.imshow(stack.line(place), cmap="gray", vmax=np.percentile(stack.line(place), 99.5))
        ax.set(title=f"{1000 / wavenumber[place]:.0f} nm", xlabel="x / pixel", ylabel="y / pixel")
        ax.grid(False)
    return Outcome(
        text=f"{INTERFEROMETERS} Fabry-Perot interferometers of one detector look at a monochromator, which goes "
        f"through {LINES} lines. Raw frames have dark level, hot pixels, photon and read noise and 14 bits.",
        figure=figure,
        caption="Raw frames at three lines: each disc is one interferometer, bright or dark by its path difference.",
        summary={"frames": {"lines": LINES, "interferometers": INTERFEROMETERS}},
    )


def take_capture(demonstration: Demonstration) -> Outcome:
    """The grid is found in the frames, and the intensity at each centre extracted."""
    instrument = demonstration.results["instrument"]
    stack = FrameStack(demonstration.folder / "frames.h5")
    capture = extract(stack, opd_step_um=instrument.opd_step_um, window=WINDOW)
    capture.save(demonstration.folder / "capture.h5")
    layout = capture.layout
    assert layout is not None
    figure = layout_figure(stack.mean(), layout)
    save_figure(figure, demonstration.folder / "grid.png")
    true = instrument.layout
    away = np.abs(layout.centres() - true.centres()).max() if layout.grid == true.grid else np.inf
    return Outcome(
        text="The grid of sub-images is found from the frames alone; dark is subtracted, hot and saturated pixels are "
        "left out, and the median around each centre becomes one sample of the capture.",
        figure=figure,
        caption="Mean frame, and the grid that was found.",
        facts=[
            Fact(quantity="grid", true="{}×{}".format(*true.grid), result="{}×{}".format(*layout.grid)),
            Fact(
                quantity="pitch / pixel", true=f"{true.pitch[0]:.2f} × {true.pitch[1]:.2f}",
                result=f"{layout.pitch[0]:.2f} × {layout.pitch[1]:.2f}",
            ),
            Fact(quantity="largest error of a centre / pixel", true="0", result=f"{away:.2f}"),
        ],
        summary={"capture": {"grid": list(layout.grid), "centre_error_pixels": float(away)}},
    )  # fmt: skip


def characterize_it(demonstration: Demonstration) -> Outcome:
    """A model is chosen by held-out error, and each interferometer characterized with its standard errors."""
    folder, instrument = demonstration.folder, demonstration.results["instrument"]
    capture = MonochromaticCapture.load(folder / "capture.h5")
    result = characterize(capture, cv=10, seed=demonstration.seed)
    result.save(folder / "characterization.h5")
    result.to_csv(folder / "interferometers.csv")
    write_report(result, capture, folder / "calibration", command=f"hsi demo --seed {demonstration.seed}")
    demonstration.results["characterization"] = result
    # the centre spot averages OPD·cos θ over its window
    error = result.opd_um - instrument.window_opd_um(WINDOW)
    fitted = np.isfinite(error)
    error = error[fitted]
    reflectivity = instrument.reflectivity_at(result.wavenumber).mean(axis=1)
    coverage = float(np.mean(np.abs(error) <= 1.96 * result.opd_stderr_um[fitted]))
    median = float(np.median(np.abs(error)))
    etalons = ", ".join(f"{value:.2f}" for value in result.model.etalons_um) or "none"
    return Outcome(
        text=f"Chosen by held-out error: {result.model.label}. The whole report of this calibration is "
        "calibration/report.html in the folder of the demo.",
        figure=_truth_figure(instrument, result),
        caption="Path differences and mean reflectivities as they are in the simulation, and as they were determined.",
        facts=[
            Fact(quantity="parasitic etalon / µm", true=f"{instrument.etalon_um:.2f}", result=etalons),
            Fact(quantity="median error of the path difference / nm", true="0", result=f"{1000 * median:.2f}"),
            Fact(quantity="share of path differences within their 95 % interval", true="0.95",
                 result=f"{coverage:.2f}"),
            Fact(quantity="mean reflectivity", true=f"{reflectivity.mean():.4f}",
                 result=f"{np.nanmean(result.reflectivity):.4f}"),
        ],
        headline=(f"{1000 * median:.2f} nm", "median error of the path differences"),
        summary={
            **result.summary(),
            "truth": {
                "opd_error_median_um": median,
                "opd_error_max_um": float(np.abs(error).max()),
                "coverage_95": coverage,
            },
        },
    )  # fmt: skip


def _truth_figure(instrument: bench.SimulatedInstrument, result: Characterization) -> Figure:
    figure, (left, right) = new_figure(11, 3.8, ncols=2)
    true = instrument.window_opd_um(WINDOW)
    error, spread = 1000 * (result.opd_um - true), 1.96e3 * result.opd_stderr_um
    left.errorbar(true, error, spread, fmt=".", ms=3, lw=0.7, label="found − true, 95 %")
    left.axhline(0, color="black", lw=0.8)
    # one row that stands alone would hide what the others show
    left.set_ylim(*(np.array([-1, 1]) * 1.5 * np.nanpercentile(np.abs(error) + spread, 95)))
    left.set(xlabel="true path difference / µm", ylabel="error / nm", title="path differences")
    reflectivity = instrument.reflectivity_at(result.wavenumber).mean(axis=1)
    right.errorbar(reflectivity, result.reflectivity, 1.96 * result.reflectivity_stderr, fmt=".", ms=3, lw=0.7,
                   color=COLOURS[1], label="found, 95 %")  # fmt: skip
    ends = [reflectivity.min(), reflectivity.max()]
    right.plot(ends, ends, color="black", lw=0.8, label="true")
    right.set(xlabel="true mean reflectivity", ylabel="found", title="reflectivities")
    for ax in (left, right):
        ax.legend(loc="upper left")
    return figure


def become_sensor(demonstration: Demonstration) -> Outcome:
    """The characterization becomes a sensor, which sees a scene."""
    instrument, result = demonstration.results["instrument"], demonstration.results["characterization"]
    sensor = result.sensor()
    sensor.save(demonstration.folder / "sensor.h5")
    demonstration.results["sensor"] = sensor
    figure = _scene_figure(sensor, demonstration.seed)
    save_figure(figure, demonstration.folder / "scene.png")
    # between the lines too, where nothing was measured
    wavenumber = np.linspace(result.wavenumber[0], result.wavenumber[-1], 2000)
    cosine = float((instrument.window_opd_um(WINDOW) / instrument.opd_um)[0])
    true = instrument.transmittance(wavenumber, cosine)
    error = result.response.transmittance(1000 / wavenumber) - true
    rows = np.isfinite(error).all(axis=1)
    relative = float(np.sqrt(np.mean(error[rows] ** 2)) / true[rows].mean())
    return Outcome(
        text="The characterization becomes a sensor file. It sees a procedural scene as the instrument would: one raw "
        "frame, and from its sub-images an interferogram for each pixel.",
        figure=figure,
        caption="Scene, raw frame, and interferograms of two pixels.",
        facts=[
            Fact(quantity="transmittance, rms error relative to its mean", true="0", result=f"{100 * relative:.2f} %")
        ],
        headline=(f"{100 * relative:.2f} %", "error of the sensor's transmittance"),
        summary={"transmittance_error": relative},
    )


def _scene_figure(sensor: Sensor, seed: int) -> Any:
    """A scene, the raw frame that the instrument makes of it, and the interferograms of two pixels."""
    from hsitools.figures import quicklook
    from hsitools.scenes import scene
    from hsitools.sensor import MultiApertureCamera

    camera = MultiApertureCamera.of(sensor, half_field_deg=8.0, vignetting=0.3)
    low, high = 1000 / sensor.response.band.high, 1000 / sensor.response.band.low
    # every sixth pixel of a larger one: a whole landscape on few pixels
    wide = scene((6 * camera.size, 6 * camera.size), wavelength_nm=np.linspace(low, high, 150), seed=max(seed - 1, 0))
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
        right.plot(sensor.response.opd_um, cube[:, y, x], ".-", lw=0.7, ms=3, label=f"row {y}, column {x}")
    right.set(title="interferograms", xlabel="OPD / µm", ylabel="intensity")
    right.legend(loc="upper right")
    return figure


FRAMES = Step(order=10, title="a simulated bench takes raw frames", run=take_frames)
CAPTURE = Step(order=20, title="sub-images found, a capture extracted", run=take_capture)
CHARACTERIZATION = Step(order=30, title="all interferometers characterized", run=characterize_it)
SENSOR = Step(order=40, title="the characterization becomes a sensor", run=become_sensor)
