"""What pansharpening does in ``hsi process``: spectra and a panchromatic image become one sharp cube."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hsitools.chain import Fact, Outcome
from hsitools.process import Plan, Process, ProcessStep

if TYPE_CHECKING:
    from hsitools.cube import Cube


def check_plan(plan: Plan) -> None:
    """Whether there is such a method, PAN is one band, and lies on the scene as far as its file tells."""
    import pansharpen.methods  # noqa: F401  (registers them)
    from hsitools.errors import InputError
    from hsitools.io import open_cube
    from pansharpen.pair.alignment import paired, placement
    from pansharpen.registry import get

    assert plan.pan is not None
    with plan.says("fusion"):
        get(plan.fusion)
    pan = open_cube(plan.pan)
    if pan.n_bands != 1:
        raise InputError(f"{plan.pan}: pan: found {pan.n_bands} bands, expected one")
    scene = scene_image(plan)
    if scene is not None:
        placement(paired(scene.replace(pan=pan)))


def scene_image(plan: Plan) -> Cube | None:
    """A cube of the scene's size, and map if it has one; None where its files tell no size before calibration."""
    import numpy as np

    from hsitools.cube import Cube
    from hsitools.errors import FormatError
    from hsitools.io import open_cube
    from hsitools.sensor.layout import SubImageLayout

    try:
        return open_cube(plan.scene)
    except FormatError:
        # raw frames
        if plan.device is None:
            return None
        size = SubImageLayout.from_device_json(plan.device).image_size
        return Cube(data=np.zeros((1, size, size), np.float32), source=str(plan.scene))


def pair_files(process: Process) -> list[Path]:
    """The cube of spectra and PAN, and the standard deviations of the spectra."""
    assert process.plan.pan is not None
    std = [process.files["std"]] if "std" in process.files else []
    return [process.files["cube"], process.plan.pan, *std]


def fuse_it(process: Process) -> Outcome:
    """Cube and PAN to ``fused.h5``."""
    from hsitools.io import open_cube, save_cube
    from pansharpen.figures import error_bars
    from pansharpen.products import std_of_bands
    from pansharpen.registry import get
    from pansharpen.tiled import fuse_pair

    plan = process.plan
    assert plan.pan is not None
    cube, pan = open_cube(process.files["cube"]), open_cube(plan.pan)
    # what the inversion left uncertain the fused cube holds, too: its errors are no noise that averages away
    inherited = std_of_bands(open_cube(process.files["std"])) if "std" in process.files else None
    fused, std = fuse_pair(
        cube.replace(pan=pan), plan.fusion, seed=plan.seed, std=get(plan.fusion).has_std, cube_std=inherited
    )
    files = {"fused": process.folder / "fused.h5"}
    save_cube(fused, files["fused"])
    if std is not None:
        files["fused_std"] = process.folder / "fused_std.h5"
        save_cube(std, files["fused_std"])
    ratio = fused.meta["ratio"]
    own = ""
    if std is not None:
        own = " fused_std.h5 holds these and what fusion leaves uncertain of each voxel."
    facts = [Fact(quantity="ratio", result=f"{ratio}"),
             Fact(quantity="fused cube", result="×".join(map(str, fused.shape)))]  # fmt: skip
    place = fused.meta.get("registration")
    if place is not None:
        y, x = place["shift_pixels"]
        facts += [
            Fact(quantity="displacement of the cube on PAN, along y and x / PAN pixel", result=f"{y:.2f}, {x:.2f}"),
            Fact(quantity="most that a place differs from it / PAN pixel", result=f"{place['bend_pixels']:.2f}"),
        ]
    figure, share = error_bars(cube, pan, *(open_cube(path) for path in files.values()))
    if share is not None:
        facts.append(
            Fact(quantity="standard deviation of the fused cube, share of the signal", result=f"{100 * share:.2g} %")
        )
    return Outcome(
        text=f"Fused by {plan.fusion}, which registers both images where it knows how. The standard deviations of the "
        f"inversion (cube_std.h5) hold for the means of the fused cube over the pixels of the spectra.{own}",
        figure=figure,
        caption="The cube of spectra, the panchromatic image, and both fused"
        + ("; the standard deviation of one band, and a spectrum with its 95 % interval." if own else "."),
        facts=facts,
        summary={
            "fusion": plan.fusion,
            "ratio": ratio,
            "shape": list(fused.shape),
            "std_share": share,
            "registration": place,
        },
        files=files,
    )


FUSION = ProcessStep(
    order=40, name="fusion", title="fused with the panchromatic image", run=fuse_it, inputs=pair_files,
    options=("fusion", "seed"), wanted=lambda plan: plan.pan is not None,
    check=check_plan, writes=("fused.h5", "fused_std.h5"),
)  # fmt: skip
