"""The real captures: what the published code measures on them, beaten (`benchmarks.captures` prints it all)."""

import json

import numpy as np
import pytest

from benchmarks.captures import SAME_MODEL, off_neighbours
from calibration.captures.capture import open_capture
from calibration.fitting.options import Options
from calibration.pipeline import characterize

# device: published RMSE of the same model, our limits for the default: RMSE, held-out RMSE, OPDs off their neighbours
# (44 of all rows of wfai_1)
LIMITS = {
    "imspoc_uv_1": (0.1935, 0.115, 0.112, 1),
    "imspoc_uv_2": (0.1336, 0.121, 0.115, 0),
    "wfai_1": (0.2170, 0.200, 0.189, 22),
}


@pytest.mark.parametrize("device", LIMITS)
def test_same_model_fits_no_worse(captures_dir, device):
    result = characterize(
        open_capture(captures_dir / device), SAME_MODEL, options=Options(prior=False, set_aside=False)
    )
    assert result.rmse.mean() <= LIMITS[device][0]


@pytest.mark.parametrize("device", LIMITS)
def test_default(captures_dir, device):
    capture = open_capture(captures_dir / device)
    if device == "wfai_1":
        # 672 rows: every other one is enough, and takes half of the time
        capture = capture.select(rows=np.arange(0, len(capture.intensity), 2))
    # fewer folds leave more lines out, so errors are no smaller: four, seconds less
    result = characterize(capture, cv=4)
    _, rmse, held_out, off = LIMITS[device]
    assert result.rmse.mean() <= rmse
    assert result.rmse_cv.mean() <= held_out
    assert off_neighbours(result) <= off
    # one line of imspoc_uv_1 was measured where the next one is (their correlation over the rows is .99)
    assert result.settings["wild"]["lines_nm"] == pytest.approx([833.3] if device == "imspoc_uv_1" else [])
    assert result.settings["wild"]["samples"] <= 1e-2 * result.settings["wild"]["of"]
    assert np.isfinite(result.opd_um).all()
    assert (result.opd_um >= 0).all()
    sampled = result.response.sampled(1000 / result.wavenumber).reflectivity(result.response.theta)
    assert ((sampled > 0) & (sampled < 1)).all()


def test_nominal_step(captures_dir):
    for device in LIMITS:
        folder = captures_dir / device
        assert open_capture(folder).opd_step_um == json.loads((folder / "options.json").read_text())["opd_step"]


def test_odd_rows_do_not_spoil_the_others(captures_dir):
    """Dark and spiky rows (121 of imspoc_uv_2 is a sixth as bright as its neighbours) stay in their own row."""
    capture = open_capture(captures_dir / "imspoc_uv_2").select(rows=np.arange(100, 150))
    result = characterize(capture)
    assert np.median(result.rmse) < 0.12
    assert not result.flags["off_law"].any()
