"""What inversion shows in ``hsi demo``: the simulated instrument's frames of a scene become spectra with error bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.characterization import Characterization
from calibration.demonstration import SIGNAL as CAPTURE_SIGNAL
from calibration.inversion.invert import Inversion, invert
from calibration.inversion.scene_frames import open_scene
from calibration.inversion.sub_image_registration import Registration
from calibration.simulated_bench import SimulatedInstrument
from calibration.simulated_scene import sub_image_size, truth_of, write_scene
from hsitools.chain import Fact, Outcome, Step
from hsitools.demo import Demonstration
from hsitools.io import save_cube
from hsitools.plot import COLOURS, draw_image, new_figure, show_field, with_unit
from hsitools.scenes import scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hsitools.cube import Cube

Array = NDArray[np.float64]

#: Wavelengths of the scene: finer than its materials' features. Fine pixels to one of the detector.
WAVELENGTHS, OVERSAMPLING = 131, 4
#: Margin of the scene around a sub-image's field, pixels, for displaced ones.
MARGIN = 6
#: Standard deviations over the sub-images of the displacement (pixels) and of the magnification.
DISPLACED, MAGNIFIED = 0.6, 0.006
#: Light on the scene in units of the calibration lamp: fills a quarter of the detector's range at the same exposure.
LIGHT = 4.0
#: What a 95 % interval is, in standard deviations.
WITHIN_95 = 1.96


def invert_it(demonstration: Demonstration) -> Outcome:
    """The instrument takes frames of a scene; they are inverted with what its calibration found."""
    instrument, result = demonstration.results["instrument"], demonstration.results["characterization"]
    rng = np.random.default_rng(demonstration.seed + 10)
    low, high = result.response.band_nm
    side = (sub_image_size(instrument) + 2 * MARGIN) * OVERSAMPLING
    view = scene((side, side), wavelength_nm=np.linspace(low, high, WAVELENGTHS), seed=demonstration.seed + 3)
    view = view.with_data(LIGHT * view.read())
    count = len(instrument.opd_um)
    shift = DISPLACED * rng.standard_normal((count, 2))
    path = demonstration.folder / "scene_frames.h5"
    write_scene(
        path, instrument, view, rng=rng, oversampling=OVERSAMPLING, signal=CAPTURE_SIGNAL, shift=shift,
        magnification=1 + MAGNIFIED * rng.standard_normal(count),
    )  # fmt: skip
    measured = open_scene(path, result)
    registration = measured.registration
    assert registration is not None
    spectra = invert(measured.measurement, result)
    assert spectra.std is not None
    save_cube(spectra.cube, demonstration.folder / "spectra.h5")
    save_cube(spectra.std, demonstration.folder / "spectra_std.h5")
    truth, away = true_spectra(instrument, result, view, registration, shift, spectra)
    mask = spectra.spectra.mask
    error = spectra.spectra.estimate[:, mask] - truth[:, mask]
    std = spectra.spectra.std
    assert std is not None
    coverage = float(np.mean(np.abs(error) <= WITHIN_95 * std[:, mask]))
    level = _rms(truth[:, mask])
    relative, claimed = _rms(error) / level, _rms(std[:, mask]) / level
    return Outcome(
        text="The instrument looks at a scene: every sub-image shows it through another interferometer, a little "
        "displaced and magnified. The sub-images are aligned by the frame itself, and the interferogram of each pixel "
        "becomes a spectrum, with the spectra of all pixels as prior.",
        figure=_figure(spectra, truth),
        caption="One band: the truth, the result, and its standard deviation; spectra of three pixels with their 95 % "
        "intervals, the truth dashed.",
        facts=[
            Fact(quantity="displacements of the sub-images, rms error / pixel", true="0", result=f"{_rms(away):.3f}"),
            Fact(quantity="rms error of the spectra, share of the signal, as their standard deviations say",
                 true=f"{100 * relative:.1f} %", result=f"{100 * claimed:.1f} %"),
            Fact(quantity="share of voxels within their 95 % interval", true="0.95", result=f"{coverage:.3f}"),
        ],
        headline=(f"{100 * relative:.1f} %", f"error of the spectra; {100 * coverage:.0f} % in 95 % intervals"),
        summary={"inversion": {"nrmse": relative, "claimed": claimed, "coverage_95": coverage,
                               "registration_rms_pixels": _rms(away)}},
    )  # fmt: skip


def true_spectra(
    instrument: SimulatedInstrument, result: Characterization, view: Cube, registration: Registration, shift: Array,
    spectra: Inversion,
) -> tuple[Array, Array]:  # fmt: skip
    """The truth on the result's pixels and wavelengths, and the error ``(interferometer, 2)`` of each displacement."""
    assert result.layout is not None
    assert view.wavelength_nm is not None
    size, true_size = spectra.cube.shape[1], sub_image_size(instrument)
    # sub-images are cut at whole pixels
    cut = np.rint(result.layout.centres()[result.index] - (size - 1) / 2) + (size - 1) / 2
    middle = np.rint(instrument.layout.centres()[result.index] - (true_size - 1) / 2) + (true_size - 1) / 2
    away = cut + registration.shift - middle - shift
    # where the image as a whole lies no frame tells
    whole = np.median(away, axis=0)
    seen = truth_of(view, size, OVERSAMPLING, (float(whole[0]), float(whole[1])))
    values = seen.read().astype(float).reshape(len(view.wavelength_nm), -1)
    truth = np.stack(
        [np.interp(spectra.spectra.wavelength_nm, view.wavelength_nm, pixel) for pixel in values.T], axis=1
    )
    return truth.reshape(-1, size, size), away - whole


def _rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _figure(result: Inversion, truth: Array) -> Figure:
    spectra = result.spectra
    assert spectra.std is not None
    figure, axes = new_figure(12, 3.4, ncols=4, width_ratios=[1, 1, 1, 1.7])
    band = len(truth) // 2
    low, high = np.nanpercentile(truth[band][spectra.mask], [1, 99])
    shown = {"truth": truth[band], "inverted": spectra.estimate[band]}
    for ax, (title, values) in zip(axes, shown.items(), strict=False):
        values = np.where(spectra.mask, values, np.nan)
        draw_image(ax, values, f"{title}, {spectra.wavelength_nm[band]:.0f} nm", vmin=low, vmax=high)
    bar = with_unit("standard deviation", spectra.units)
    draw_image(axes[2], spectra.std[band], "standard deviation", bar, cmap="viridis")
    for ax in axes[:3]:
        show_field(ax, spectra.mask)
    bright = np.where(spectra.mask, truth.mean(axis=0), np.inf)
    order = np.argsort(bright, axis=None)[: int(spectra.mask.sum())]
    for number, quantile in enumerate((0.05, 0.5, 0.95)):
        y, x = np.unravel_index(order[int(quantile * (len(order) - 1))], bright.shape)
        value, half = spectra.estimate[:, y, x], WITHIN_95 * spectra.std[:, y, x]
        axes[3].plot(spectra.wavelength_nm, value, color=COLOURS[number], lw=1.0, label=f"row {y}, column {x}")
        axes[3].fill_between(spectra.wavelength_nm, value - half, value + half, color=COLOURS[number], alpha=0.25)
        label = "truth" if number == 0 else None
        axes[3].plot(spectra.wavelength_nm, truth[:, y, x], "--", color="black", lw=0.8, label=label)
    axes[3].set(xlabel="wavelength / nm", ylabel=with_unit("spectrum", spectra.units))
    axes[3].legend()
    return figure


SPECTRA = Step(order=45, title="the instrument's frames of a scene inverted to spectra", run=invert_it)
