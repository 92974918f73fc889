"""What pansharpening does in ``hsi process``: spectra and a panchromatic image become one sharp cube."""

from __future__ import annotations

from pathlib import Path

from hsitools.chain import Fact, Outcome
from hsitools.process import Plan, Process, ProcessStep


def check_plan(plan: Plan) -> None:
    """Whether there is such a method, and PAN is one band."""
    import pansharpen.methods  # noqa: F401  (registers them)
    from hsitools.errors import InputError
    from hsitools.io import open_cube
    from pansharpen.registry import get

    assert plan.pan is not None
    get(plan.fusion)
    pan = open_cube(plan.pan)
    if pan.n_bands != 1:
        raise InputError(f"{plan.pan}: pan: found {pan.n_bands} bands, expected one")


def pair_files(process: Process) -> list[Path]:
    """The cube of spectra and PAN."""
    assert process.plan.pan is not None
    return [process.files["cube"], process.plan.pan]


def fuse_it(process: Process) -> Outcome:
    """Cube and PAN to ``fused.h5``."""
    from hsitools.figures import quicklook
    from hsitools.io import open_cube, save_cube
    from hsitools.plot import new_figure
    from pansharpen.cubes import fuse

    plan = process.plan
    assert plan.pan is not None
    cube, pan = open_cube(process.files["cube"]), open_cube(plan.pan)
    fused = fuse(cube, pan, plan.fusion, seed=plan.seed)
    path = process.folder / "fused.h5"
    save_cube(fused, path)
    ratio = fused.shape[1] // cube.shape[1]
    figure, axes = new_figure(12, 4.2, ncols=3)
    for ax, (title, image) in zip(
        axes, {"spectra": quicklook(cube), "panchromatic": pan.read()[0], "fused": quicklook(open_cube(path))}.items(),
        strict=True,
    ):  # fmt: skip
        ax.imshow(image, cmap="gray")
        ax.set(title=title, xticks=[], yticks=[])
    return Outcome(
        text=f"Fused by {plan.fusion}, which registers both images where it knows how. The standard deviations of the "
        "inversion (cube_std.h5) hold for the means of the fused cube over the pixels of the spectra.",
        figure=figure,
        caption="The cube of spectra, the panchromatic image, and both fused.",
        facts=[Fact(quantity="ratio", result=f"{ratio}"),
               Fact(quantity="fused cube", result="×".join(map(str, fused.shape)))],
        summary={"fusion": plan.fusion, "ratio": ratio, "shape": list(fused.shape)},
        files={"fused": path},
    )  # fmt: skip


FUSION = ProcessStep(
    order=40, name="fusion", title="fused with the panchromatic image", run=fuse_it, inputs=pair_files,
    options=("fusion", "seed"), wanted=lambda plan: plan.pan is not None,
    check=check_plan, writes=("fused.h5",),
)  # fmt: skip
