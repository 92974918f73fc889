"""What denoising shows in ``hsi demo``: a striped, noisy cube restored, and how sure each voxel is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from denoise.comparison.simulate import CASES, clean_cube, simulate
from denoise.restore import restore_cube
from hsitools.chain import Fact, Outcome, Step
from hsitools.demo import Demonstration
from hsitools.io import save_cube
from hsitools.metrics import evaluate
from hsitools.plot import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float32]

#: Striped columns as FINCH's detector shows them, on the scene's upper left corner: seconds instead of minutes.
CASE, SIDE = "finch", 80
#: So few give a standard deviation to a third of itself, in seconds.
SAMPLES = 4
#: What a 95 % interval is, in standard deviations.
WITHIN_95 = 1.96


def restore_it(demonstration: Demonstration) -> Outcome:
    """Noise, stripes and impulses are put on the scene, and taken off again without being told of them."""
    scene = demonstration.results["scene"].select(window=(0, SIDE, 0, SIDE))
    clean, bands = clean_cube(scene)
    noisy, truth = simulate(clean, CASE, demonstration.seed)
    observed = scene.select(bands=bands).replace(data=noisy, name="observed")
    restored = restore_cube(observed, "diffusion", samples=SAMPLES, seed=demonstration.seed)
    assert restored.std is not None
    save_cube(restored.estimate, demonstration.folder / "restored.h5")
    save_cube(restored.std, demonstration.folder / "restored_std.h5")
    estimate, std = restored.estimate.read(), restored.std.read()
    before, after = (evaluate(values, clean, metrics=("PSNR", "SAM")) for values in (noisy, estimate))
    coverage = float(np.mean(np.abs(estimate - clean) <= WITHIN_95 * std))
    rms, expected = _rms(estimate - clean), _rms(std)
    summary = {
        "psnr_before": before["PSNR"].value, "psnr_after": after["PSNR"].value, "sam_before": before["SAM"].value,
        "sam_after": after["SAM"].value, "coverage_95": coverage, "rms_error": rms, "rms_std": expected,
    }  # fmt: skip
    # what was taken from whole columns
    removed = np.median(noisy - estimate, axis=1)
    return Outcome(
        text=f"The scene with {CASES[CASE]}. The restoration is blind: it is told nothing of noise and stripes, "
        "estimates both from the cube, and draws posterior samples that say how sure each voxel is.",
        figure=_figure(clean, noisy, estimate, std, observed.wavelength_nm),
        caption="One band: the truth, what was observed, the restoration, and its standard deviation; below, a pixel's "
        "spectrum with its 95 % interval.",
        facts=[
            Fact(quantity="PSNR / dB", true="∞",
                 result=f"{summary['psnr_after']:.1f} (observed {summary['psnr_before']:.1f})"),
            Fact(quantity="spectral angle / degrees", true="0",
                 result=f"{summary['sam_after']:.2f} (observed {summary['sam_before']:.2f})"),
            Fact(quantity="stripes, rms", true=f"{_rms(truth.offset):.4f}", result=f"{_rms(removed):.4f}"),
            Fact(quantity="rms error of the restoration, as its standard deviations say", true=f"{rms:.4f}",
                 result=f"{expected:.4f}"),
            Fact(quantity="share of voxels within their 95 % interval", true="0.95", result=f"{coverage:.2f}"),
        ],
        headline=(f"{summary['psnr_before']:.1f} → {summary['psnr_after']:.1f} dB", "PSNR of the striped, noisy cube"),
        summary={"restoration": summary},
    )  # fmt: skip


def _rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=float))))


def _figure(clean: Array, noisy: Array, estimate: Array, std: Array, wavelength_nm: Array | None) -> Figure:
    band = len(clean) // 3
    figure, axes = new_figure(12, 6.4, nrows=2, ncols=4, height_ratios=[1.1, 1])
    low, high = np.percentile(clean[band], [1, 99])
    images = {"truth": clean, "observed": noisy, "restored": estimate}
    for ax, (name, values) in zip(axes[0], images.items(), strict=False):
        ax.imshow(values[band], cmap="gray", vmin=low, vmax=high)
        ax.set(title=name, xticks=[], yticks=[])
    picture = axes[0, 3].imshow(std[band], cmap="viridis")
    axes[0, 3].set(title="standard deviation", xticks=[], yticks=[])
    figure.colorbar(picture, ax=axes[0, 3], label="standard deviation of the reflectance", shrink=0.8)
    grid = axes[1, 0].get_gridspec()
    for ax in axes[1]:
        ax.remove()
    spectra = figure.add_subplot(grid[1, :])
    y = x = SIDE // 2
    place = np.arange(len(clean)) if wavelength_nm is None else np.asarray(wavelength_nm)
    order = np.argsort(place)
    value, spread = estimate[order, y, x], WITHIN_95 * std[order, y, x]
    spectra.plot(place[order], noisy[order, y, x], ".", ms=4, color="0.6", label="observed")
    spectra.plot(place[order], clean[order, y, x], color="black", lw=1.0, label="truth")
    spectra.plot(place[order], value, color=COLOURS[1], lw=1.0, label="restored")
    spectra.fill_between(place[order], value - spread, value + spread, color=COLOURS[1], alpha=0.25, label="95 %")
    spectra.set(xlabel="wavelength / nm", ylabel="reflectance", title=f"row {y}, column {x}")
    spectra.legend(ncols=4)
    return figure


RESTORATION = Step(order=70, title="a striped, noisy cube restored", run=restore_it)
