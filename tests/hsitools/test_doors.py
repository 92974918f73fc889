"""Python's doors: what is of another kind, or out of range, is refused in one line that says what is expected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration import (
    Characterization,
    MonochromaticCapture,
    characterize,
    invert,
    open_capture,
    simulated_bench,
)  # fmt: skip
from denoise import denoise, restore_cube
from hsitools import Cube, InputError, Sensor, evaluate, open_cube, preset, save_cube, scene
from hsitools.sensor.transmittance import TransmittanceModel
from pansharpen import FusionCase, Optics, fuse

SENSOR = preset("prisma").select(range(0, 60, 20))
SCENE = scene((24, 24), seed=1)
OBSERVED = SENSOR.observe(SCENE, 1)
DEVICE = characterize(
    simulated_bench.capture(
        simulated_bench.simulate_instrument(4, rng=np.random.default_rng(0), rows=2), simulated_bench.lines(60),
        rng=np.random.default_rng(1),
    ),
    TransmittanceModel(),
)  # fmt: skip
CAPTURE = MonochromaticCapture(wavenumber=np.linspace(1, 2, 9), intensity=np.ones((3, 9)), flat=np.ones((3, 9)))
A_CUBE, A_SENSOR = r"found ndarray, expected a Cube: open_cube\(path\)", r"found str, expected a Sensor: preset\(name\)"


def a_case(**optics: Any) -> FusionCase:
    """Three bands of two by two pixels at ratio 2."""
    return FusionCase(coarse=np.ones((1, 3, 2, 2)), pan=np.ones((1, 1, 4, 4)), optics=Optics(ratio=2, **optics))


@pytest.mark.parametrize(
    ("door", "said"),
    [
        (lambda: fuse(OBSERVED.read(), method="GSA"), f"cube: {A_CUBE}"),
        (lambda: fuse(OBSERVED, method="GSA", guide=[np.ones((3, 24, 24))]), f"guide: {A_CUBE}"),
        (lambda: fuse(OBSERVED, method="GSA", sensor="prisma"), f"sensor: {A_SENSOR}"),
        (lambda: restore_cube(OBSERVED.read()), f"cube: {A_CUBE}"),
        (lambda: restore_cube(OBSERVED, sensor="prisma"), f"sensor: {A_SENSOR}"),
        (lambda: restore_cube(OBSERVED, samples=2.5), "diffusion: samples: found float, expected a whole number"),
        (lambda: SENSOR.observe(SCENE.read()), f"scene: {A_CUBE}"),
        (lambda: SENSOR.forward(SCENE.read()), f"scene: {A_CUBE}"),
        (lambda: save_cube(SCENE.read(), Path("x.h5")), f"cube: {A_CUBE}"),
        (lambda: characterize(np.ones((3, 9))), "capture: found ndarray, expected a MonochromaticCapture"),
        (lambda: characterize(CAPTURE, model="2-wave"), "model: found str, expected a TransmittanceModel"),
        (lambda: save_cube("x.h5", SCENE), "cube: found str, expected a Cube"),
        (lambda: open_cube(["a.h5", "b.h5"]), r"path: found list, expected the path of one cube \(open_cubes takes"),
        (lambda: denoise(OBSERVED.read()), f"cube: {A_CUBE}"),
        (lambda: SENSOR.observe(SCENE.replace(units="%")), "units: found '%', expected '1' as PRISMA sees"),
        (lambda: SENSOR.replace(offset=6), "PRISMA: offset: found 6, expected 0 to 5"),
        (lambda: SENSOR.replace(offset=-0.5), "PRISMA: offset: found -0.5, expected 0 to 5"),
        (lambda: SENSOR.replace(units=3), "PRISMA: units: found int, expected text"),
        (lambda: SENSOR.replace(noise=3.0), "PRISMA: noise: found float, expected a Detector"),
        (lambda: SENSOR.replace(pan_noise=3.0), "PRISMA: pan_noise: found float, expected a Detector"),
        (lambda: SENSOR.replace(response=None), "PRISMA: response: found NoneType, expected a response"),
        (lambda: SENSOR.select([3]), "PRISMA: bands: found 3 to 3, expected below 3"),
        (lambda: SENSOR.select([]), r"PRISMA: bands: found \[\], expected band numbers"),
        (lambda: SENSOR.select([0.5]), r"PRISMA: bands: found \[0.5\], expected band numbers"),
        (lambda: scene(24), r"shape: found 24, expected whole positive numbers \(y, x\)"),
        (lambda: scene((24.5, 24)), r"shape: found .* expected whole positive numbers"),
        (lambda: scene((0, 24)), r"shape: found .* expected whole positive numbers"),
        (lambda: Optics(ratio=4, mtf=1.2), "mtf: found 1.2 to 1.2, expected gains above 0 and at most 1"),
        (lambda: Optics(ratio=4, mtf=[0.3, 0.0]), "mtf: found 0 to 0.3, expected gains above 0"),
        (lambda: Optics(ratio=4, mtf=np.nan), "mtf: found nan to nan, expected gains"),
        (lambda: Optics(ratio=4, pan_mtf=2), "pan_mtf: found 2 to 2, expected gains"),
        (lambda: Optics(ratio=4, noise_variance=[1.0, -1.0]), "noise_variance: found -1, expected at least 0"),
        (lambda: Optics(ratio=4, pan_variance=-2.0), "pan_variance: found -2, expected at least 0"),
        (lambda: Optics(ratio=4, noise_variance=[np.nan, 1.0]), "noise_variance: found a value that is not finite"),
        (lambda: Optics(ratio=4, mtf=np.full((2, 3), 0.3)), r"mtf: found shape \(2, 3\), expected one gain"),
        (lambda: Optics(ratio=4, pan_response=[np.nan, 1.0]), "pan_response: found a weight that is not finite"),
        (lambda: Optics(ratio=4, shift=(np.nan, 0.0)), "shift: found .* expected two numbers"),
        (lambda: a_case(mtf=[0.3, 0.3]), "case: mtf: found 2 values, expected 3, one a band"),
        (lambda: a_case(pan_response=np.ones((3, 1))), r"pan_response: found shape \(3, 1\), expected 3, one a band"),
        (lambda: a_case(noise_variance=0.1), "noise_variance: found 1 value, expected 3, one a band"),
        (lambda: evaluate(SCENE, SCENE, metrics="SAN"), "metric: found 'SAN'; did you mean 'SAM'"),
        (lambda: evaluate(SCENE, SCENE, metrics=3), "metric: found int, expected a name"),
        (lambda: evaluate(SCENE, SCENE, metrics=["SAM", None]), "metric: found NoneType, expected a name"),
        (lambda: evaluate(SCENE, SCENE, metrics="ERGAS", ratio="3"), "ratio: found str, expected a positive number"),
        (lambda: evaluate(SCENE, SCENE, metrics="SAM", border=1.5), "border: found float, expected a whole number"),
        (lambda: fuse(OBSERVED, guide=None), "guide: found NoneType, expected a Cube"),
        (lambda: fuse(OBSERVED, guide="s2.tif"), "guide: found str, expected a Cube"),
        (lambda: fuse(OBSERVED, guide_sensor="ali"), "guide_sensor: found one without a guide, expected both"),
        (lambda: fuse(OBSERVED, guide=OBSERVED, guide_sensor=3), "guide_sensor: found int, expected a name or"),
        (lambda: fuse(OBSERVED, method="GSA", seed="a"), "seed: found str, expected a whole number"),
        (lambda: characterize(CAPTURE, cv=2.5), "cv: found float, expected a whole number"),
        (lambda: open_capture(None), "path: found NoneType, expected that of a capture"),
        (lambda: Characterization.load(3), "path: found int, expected that of a characterization"),
        (lambda: Sensor.load(3), "path: found int, expected that of a sensor"),
        (lambda: SENSOR.save(3), "path: found int, expected that of a file to write"),
        (lambda: invert(None, DEVICE), "measured: found NoneType, expected a Cube, an array or the path"),
        (lambda: invert(np.ones((4, 1, 1)), DEVICE, grid="400:900:5"), "grid: found values of type <U9, expected real"),
        (lambda: fuse(OBSERVED, method=None), "method: found NoneType, expected a name"),
        (lambda: denoise(OBSERVED, 3), "method: found int, expected a name"),
        (lambda: preset(None), "preset: found NoneType, expected a name"),
        (lambda: SENSOR.replace(pan=550), "PRISMA: pan: found int, expected a response"),
        (lambda: SCENE.select(window="0:4,0:4"), r"window: found '0:4,0:4', expected whole numbers \(y0, y1, x0, x1\)"),
        (lambda: SCENE.select(window=((0, 4), (0, 4))), r"window: found \(\(0, 4\), \(0, 4\)\), expected whole"),
        (lambda: SCENE.select(window=(0, 4, 0)), r"window: found \(0, 4, 0\), expected whole numbers"),
        (lambda: SCENE.select(window=(0, 4.5, 0, 4)), "window: found .* expected whole numbers"),
        (lambda: SCENE.select(window=8), "window: found 8, expected whole numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(door: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        door()
    assert "\n" not in str(refused.value)


def test_what_can_be_told_is_taken() -> None:
    # one name for a list of one, bands from the end or by a mask, a seed for a generator
    assert list(evaluate(SCENE, SCENE, metrics="SAM")) == ["SAM"]
    wavelengths = SENSOR.response.centre_nm
    assert SENSOR.select([-1]).response.centre_nm == wavelengths[-1:]
    assert SENSOR.select(np.array([True, False, True])).response.centre_nm.tolist() == wavelengths[[0, 2]].tolist()
    assert SENSOR.select(slice(1, None)).response.centre_nm.tolist() == wavelengths[1:].tolist()
    assert np.array_equal(OBSERVED.read(), SENSOR.observe(SCENE, np.random.default_rng(1)).read())
    assert (
        SCENE.select(window=np.array([0, 4, 2, 8])).shape[1:]
        == SCENE.select(window=[0, 4, 2.0, 8.0]).shape[1:]
        == (4, 6)
    )
    assert list(evaluate(SCENE, SCENE, metrics=(name for name in ["ERGAS"]), ratio=np.float32(3))) == ["ERGAS"]
    assert isinstance(Optics(ratio=4, mtf=1.0, pan_mtf=1.0), Optics)
    assert isinstance(fuse(Cube.from_xarray(OBSERVED.to_xarray()), OBSERVED.pan, method="GSA"), Cube)
