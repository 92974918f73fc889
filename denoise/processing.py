"""What denoising does in ``hsi process``: the last step, with the noise known from the inversion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hsitools.chain import Fact, Outcome
from hsitools.process import Plan, Process, ProcessStep

if TYPE_CHECKING:
    from hsitools.cube import Cube


def check_plan(plan: Plan) -> None:
    """Whether there is such a method."""
    import denoise.methods  # noqa: F401  (registers them)
    from denoise.registry import get

    with plan.says("denoiser"):
        get(plan.denoiser)


def cube_files(process: Process) -> list[Path]:
    """The cube so far, and its standard deviations."""
    names = ["fused" if "fused" in process.files else "cube", "std", "fused_std"]
    return [process.files[name] for name in names if name in process.files]


def denoise_it(process: Process) -> Outcome:
    """The cube to ``denoised.h5``.

    Errors of an inverted cube are alike in neighbouring bands, where a blind estimate takes them for signal: noise is
    what the inversion says it is.

    ``denoised_std.h5`` is the root mean square error that the posterior of the step before says of the denoised values:
    its variance, and the square of what was taken off. That what the denoiser knows of scenes makes them better is not
    counted.
    """
    from denoise.restore import restore_cube
    from hsitools.io import open_cube, save_cube

    plan = process.plan
    observed = open_cube(cube_files(process)[0])
    noise = None
    if "std" in process.files:
        noise = np.sqrt(np.nanmean(open_cube(process.files["std"]).read().astype(float) ** 2, axis=(1, 2)))
    restored = restore_cube(observed, plan.denoiser, noise_std=noise, seed=plan.seed)
    files = {"denoised": process.folder / "denoised.h5"}
    save_cube(restored.estimate, files["denoised"])
    before, after = observed.read().astype(float), restored.estimate.read().astype(float)
    source_std = process.files.get("fused_std" if "fused" in process.files else "std")
    if source_std is not None:
        std = open_cube(source_std)
        files["denoised_std"] = process.folder / "denoised_std.h5"
        total = np.hypot(std.read().astype(float), before - after).astype(np.float32)
        save_cube(std.with_data(total), files["denoised_std"])
    taken = float(np.sqrt(np.nanmean((before - after) ** 2)) / np.sqrt(np.nanmean(before**2)))
    source = "as the inversion says" if noise is not None else "estimated from the cube"
    bars = "No standard deviation is known of this cube."
    if source_std is not None:
        bars = (
            f"denoised_std.h5 adds the square of what was taken off to the variance of {source_std.name}: a bound, "
            "which does not count that the denoiser makes values better."
        )
    return Outcome(
        text=f"Denoised by {plan.denoiser}; each band's noise is {source}. {bars}",
        figure=_figure(before, after, observed),
        caption="A band before and after, and what was taken from it; the spectrum of the pixel in the middle.",
        facts=[Fact(quantity="taken off, share of the signal", result=f"{100 * taken:.2f} %")],
        summary={"denoiser": plan.denoiser, "taken": taken, "noise_known": noise is not None},
        files=files,
    )


def _figure(before: Any, after: Any, cube: Cube) -> Any:
    from hsitools.plot import draw_image, legend_below, new_figure, with_unit

    figure, axes = new_figure(14, 3.6, ncols=4, width_ratios=[1.2, 1.2, 1.2, 1.6])
    band, wavelength_nm = len(before) // 2, cube.wavelength_nm
    name = f"band {band}" if wavelength_nm is None else f"{wavelength_nm[band]:.0f} nm"
    low, high = np.nanpercentile(before[band], [1, 99])
    bar = with_unit("value", cube.units)
    for ax, (title, values) in zip(axes[:2], {"before": before, "after": after}.items(), strict=True):
        draw_image(ax, values[band], f"{title}, {name}", bar, vmin=low, vmax=high)
    taken = before[band] - after[band]
    reach = max(float(np.nanpercentile(np.abs(taken), 99)), 1e-30)
    draw_image(axes[2], taken, f"taken off, {name}", bar, cmap="RdBu", vmin=-reach, vmax=reach)
    y, x = before.shape[1] // 2, before.shape[2] // 2
    place = np.arange(len(before)) if wavelength_nm is None else wavelength_nm
    axes[3].plot(place, before[:, y, x], lw=0.8, label="before")
    axes[3].plot(place, after[:, y, x], lw=1.2, label="after")
    axes[3].set(xlabel="band" if wavelength_nm is None else "wavelength / nm", ylabel=bar, title=f"row {y}, column {x}")
    legend_below(axes[3], 2)
    return figure


DENOISING = ProcessStep(
    order=50, name="denoising", title="denoised", run=denoise_it, inputs=cube_files, options=("denoiser", "seed"),
    wanted=lambda plan: plan.denoiser != "none", check=check_plan, writes=("denoised.h5", "denoised_std.h5"),
)  # fmt: skip
