"""What pansharpening shows in ``hsi demo``: a satellite's pair of cube and PAN, and three ways to fuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hsitools.chain import Fact, Outcome, Step
from hsitools.cube import Cube
from hsitools.demo import Demonstration
from hsitools.figures import quicklook
from hsitools.io import save_cube
from hsitools.metrics import INDICES
from hsitools.plot import COLOURS, new_figure
from hsitools.scenes import scene
from hsitools.sensor.presets import preset
from pansharpen.case import FusionCase
from pansharpen.comparison.judging import judge
from pansharpen.in_memory import fuse_case, posterior_of
from pansharpen.pair.wald import simulated_case

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Fine pixels of the scene's side, and every how many bands of PRISMA are taken: seconds instead of minutes.
SIDE, EVERY = 192, 4
#: Share of PAN's pixels that are not shown as white: roofs would leave the rest dark.
BRIGHT = 0.99
#: Interpolation, the classic that does best in the benchmarks, and the one that knows the sensor.
METHODS = ("EXP", "MTF-GLP-FS", "physics")
#: What a 95 % interval is, in standard deviations.
WITHIN_95 = 1.96


def observe(demonstration: Demonstration) -> Outcome:
    """PRISMA's preset sees a procedural scene: a coarse cube and a fine panchromatic image."""
    full = preset("prisma")
    sensor = full.select(range(0, full.response.n_bands, EVERY))
    view = scene((SIDE, SIDE), seed=demonstration.seed + 2)
    case = simulated_case(view, sensor, seed=demonstration.seed)
    assert case.reference is not None
    wavelength = case.optics.wavelength_nm
    demonstration.results.update(fusion_case=case, scene=_cube(case.reference, wavelength, "scene"))
    figure, axes = new_figure(11, 3.9, ncols=3)
    shown = {"scene (the truth)": case.reference, "hyperspectral cube": case.coarse, "panchromatic": case.pan}
    for ax, (title, values) in zip(axes, shown.items(), strict=True):
        if values.shape[1] == 1:
            ax.imshow(values[0, 0].numpy(), cmap="gray", vmax=float(values.quantile(BRIGHT)))
        else:
            ax.imshow(quicklook(_cube(values, wavelength)))
        ax.set(title=f"{title}, {values.shape[2]}×{values.shape[3]}", xticks=[], yticks=[])
    assert case.optics.noise_variance is not None
    residual = case.coarse - case.tile.down()(case.reference)
    level = case.coarse.mean(dim=(0, 2, 3))
    true = float(np.median(np.sqrt(case.optics.noise_variance) / level.numpy()))
    measured = float((residual.std(dim=(0, 2, 3)) / level).median())
    return Outcome(
        text=f"A procedural scene of {SIDE}×{SIDE} pixels through the toolbox's preset of PRISMA: {case.n_bands} bands "
        f"on pixels {case.optics.ratio} times as large, blurred by the sensor's MTF, and a panchromatic image on fine "
        "ones; both with the sensor's noise.",
        figure=figure,
        caption="The scene, and what the satellite sees of it.",
        facts=[
            Fact(quantity="noise of the cube relative to its signal, median of the bands", true=f"{100 * true:.2f} %",
                 result=f"{100 * measured:.2f} %")
        ],
        summary={"pair": {"bands": case.n_bands, "ratio": case.optics.ratio, "noise": measured, "noise_true": true}},
    )  # fmt: skip


def fuse_it(demonstration: Demonstration) -> Outcome:
    """Three methods fuse the pair; the truth, which they do not get, judges them."""
    case: FusionCase = demonstration.results["fusion_case"]
    assert case.reference is not None
    fused = {name: fuse_case(name, case) for name in METHODS if name != "physics"}
    fused["physics"], std = posterior_of("physics", case)
    within = float(((fused["physics"] - case.reference).abs() <= WITHIN_95 * std).float().mean())
    scores = {
        name: {index: entry.value for index, entry in judge(case, result).items()} for name, result in fused.items()
    }
    facts = [
        Fact(
            quantity=f"{index} ({INDICES[index].unit})" if INDICES[index].unit not in ("", "1") else index,
            true=f"{INDICES[index].best:g}".replace("inf", "∞"),
            result=", ".join(f"{name} {scores[name][index]:.3g}" for name in METHODS),
        )
        for index in scores[METHODS[0]]
    ]  # fmt: skip
    facts.append(
        Fact(quantity="share of physics' voxels within their 95 % interval", true="0.95", result=f"{within:.2f}")
    )
    best = min(METHODS, key=lambda name: scores[name]["ERGAS"])
    save_cube(_cube(fused[best], case.optics.wavelength_nm, f"fused, {best}"), demonstration.folder / "fused.h5")
    return Outcome(
        text="Each method gets the coarse cube and PAN, and gives a cube on PAN's pixels. Interpolation (EXP) is what "
        "any method must beat; MTF-GLP-FS injects PAN's details; physics looks for the cube that explains both images.",
        figure=_fusion_figure(case, fused),
        caption="A part of the scene (above) and the root-mean-square error over all bands (below, one scale).",
        facts=facts,
        headline=(f"{scores[best]['ERGAS']:.2f}", f"ERGAS of {best}; interpolation {scores['EXP']['ERGAS']:.2f}"),
        summary={"fusion": scores, "fusion_coverage_95": within},
    )


def _cube(values: torch.Tensor, wavelength_nm: Any, name: str = "") -> Cube:
    return Cube(data=values[0].numpy(), wavelength_nm=wavelength_nm, name=name, units="1")


def _fusion_figure(case: FusionCase, fused: dict[str, torch.Tensor]) -> Figure:
    assert case.reference is not None
    side = SIDE // 2
    part = (..., slice(SIDE // 4, SIDE // 4 + side), slice(SIDE // 4, SIDE // 4 + side))
    figure, axes = new_figure(12, 6.2, nrows=2, ncols=len(fused) + 1)
    shown = {"truth": case.reference, **fused}
    errors = {name: (values - case.reference).square().mean(1).sqrt()[0][part[1:]] for name, values in fused.items()}
    top = float(np.percentile(np.concatenate([error.numpy().ravel() for error in errors.values()]), 98))
    picture: Any = None
    for column, (name, values) in enumerate(shown.items()):
        above, below = axes[:, column]
        above.imshow(quicklook(_cube(values[part], case.optics.wavelength_nm)))
        above.set(title=name, xticks=[], yticks=[])
        if name in errors:
            picture = below.imshow(errors[name].numpy(), cmap="inferno", vmin=0, vmax=top)
            below.set(xticks=[], yticks=[])
            below.grid(False)
    spectra = axes[1, 0]
    y = x = SIDE // 2
    wavelength = np.asarray(case.optics.wavelength_nm)
    order = np.argsort(wavelength)
    for number, (name, values) in enumerate(shown.items()):
        style = {"color": "black", "lw": 1.0} if name == "truth" else {"color": COLOURS[number - 1], "lw": 0.9}
        spectra.plot(wavelength[order], values[0, :, y, x].numpy()[order], label=name, **style)
    spectra.set(xlabel="wavelength / nm", title=f"pixel ({y}, {x})")
    spectra.legend(fontsize=7)
    figure.colorbar(picture, ax=axes[1, 1:], label="rms error of the reflectance", shrink=0.8)
    return figure


PAIR = Step(order=50, title="a scene through PRISMA's cube and panchromatic image", run=observe)
FUSION = Step(order=60, title="fused by three methods", run=fuse_it)
