"""Lines in either order, and one flat field for all interferometers: the same capture wherever it enters."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from calibration import MonochromaticCapture, open_capture
from calibration import simulated_bench as bench
from calibration.captures.pixel_stack import PixelStack
from hsitools.errors import InputError

INSTRUMENT = bench.simulate_instrument(6, rng=np.random.default_rng(0), rows=2)
LINES = bench.lines(40)
WIDTHS = np.linspace(0.4, 0.9, 40)
CAPTURE = replace(
    bench.capture(INSTRUMENT, LINES, rng=np.random.default_rng(1), saturation=1.2), linewidth_nm=WIDTHS,
    neighbourhood=np.random.default_rng(2).random((6, 40)),
)  # fmt: skip
BY_LINE = ("intensity", "flat", "mask", "saturated", "neighbourhood", "wavenumber", "linewidth_nm")


def same(one, other):
    for name in BY_LINE:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_descending_lines_of_arrays():
    assert CAPTURE.saturated.any()
    parts = {name: getattr(CAPTURE, name)[..., ::-1] for name in BY_LINE}
    same(MonochromaticCapture(**parts), CAPTURE)
    with pytest.raises(InputError, match="expected ascending wavenumbers"):
        MonochromaticCapture(intensity=np.ones((2, 4)), flat=np.ones((2, 4)), wavenumber=[1.0, 1.2, 1.1, 1.3])


def test_descending_lines_of_a_file(tmp_path):
    CAPTURE.save(tmp_path / "capture.h5")
    with h5py.File(tmp_path / "capture.h5", "r+") as file:
        for name in BY_LINE:
            file[name][()] = file[name][()][..., ::-1]
    same(open_capture(tmp_path / "capture.h5"), CAPTURE)


@pytest.mark.parametrize("order", [1, -1])
def test_one_flat_field_for_all(tmp_path, order):
    lamp, fringes, lines = CAPTURE.flat[0][::order], CAPTURE.intensity[:, ::order], LINES[::order]
    of_arrays = MonochromaticCapture(intensity=fringes, flat=lamp, wavenumber=lines)
    np.testing.assert_array_equal(of_arrays.flat, np.tile(CAPTURE.flat[0], (6, 1)))

    folder = tmp_path / "folder"
    folder.mkdir()
    for name, values in (("data", fringes), ("norm", lamp), ("central_wavenumbers", lines)):
        np.save(folder / f"{name}.npy", values)
    (folder / "options.json").write_text(json.dumps({"opd_step": 0.175}))
    np.testing.assert_array_equal(open_capture(folder).flat, np.tile(CAPTURE.flat[0], (6, 1)))

    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["pixels"] = np.tile(fringes[:, :, None, None], (1, 1, 3, 3))
        file["wavenumber"], file["flat"] = lines, lamp
    stack = PixelStack(tmp_path / "stack.h5")
    np.testing.assert_array_equal(stack.centre().flat, np.tile(CAPTURE.flat[0], (6, 1)))
    _, pixels, flat = next(stack.blocks(2))
    np.testing.assert_array_equal(flat, np.tile(CAPTURE.flat[0], (9, 1)))
    np.testing.assert_array_equal(pixels, np.tile(CAPTURE.intensity[2], (9, 1)))
