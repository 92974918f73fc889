"""The demo: the whole mission in one command, each step beside the truth."""

import json
import re

import pytest

from hsitools.chain import Fact, Outcome, Step, run_steps, steps, timed
from hsitools.commands.root import main
from hsitools.demo import DEMO, Demonstration, write_page
from hsitools.plot import new_figure

#: Sizes for the tests.
SMALLER = {
    "calibration.demonstration.INTERFEROMETERS": 48,
    "calibration.demonstration.ROWS": 6,
    "calibration.demonstration.LINES": 121,
    "calibration.inversion.demonstration.WAVELENGTHS": 66,
    "pansharpen.demonstration.SIDE": 96,
    "pansharpen.demonstration.EVERY": 6,
    "denoise.demonstration.SIDE": 48,
}


@pytest.fixture(scope="module")
def mission(tmp_path_factory):
    """The document that ``hsi demo --json`` prints, what it says meanwhile, and its folder.

    Of a smaller instrument and scene: those of a user's demo take several times as long.
    """
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        for name, size in SMALLER.items():
            patch.setattr(name, size)
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err, pytest.raises(SystemExit) as exit_:
            main(["demo", "--out", str(folder), "--json"])
    assert exit_.value.code == 0, err.getvalue()
    return json.loads(out.getvalue()), err.getvalue(), folder


def test_calibration_is_right(mission):
    document, _, _ = mission
    assert document["truth"]["opd_error_median_um"] < 0.003
    assert 0.85 <= document["truth"]["coverage_95"] <= 1
    assert document["etalons_um"] == [pytest.approx(13.0, abs=0.1)]
    assert document["capture"]["grid"] == [6, 8]
    assert document["transmittance_error"] < 0.01


def test_inverted_spectra_are_right_and_say_how_sure_they_are(mission):
    inversion = mission[0]["inversion"]
    assert inversion["registration_rms_pixels"] < 0.05
    assert inversion["nrmse"] < 0.15
    assert 0.91 <= inversion["coverage_95"] <= 0.99


def test_fusion_by_three_methods_is_ranked_as_it_should(mission):
    scores = mission[0]["fusion"]
    assert scores["physics"]["ERGAS"] < scores["MTF-GLP-FS"]["ERGAS"] < scores["EXP"]["ERGAS"]
    assert scores["physics"]["SAM"] < scores["EXP"]["SAM"]
    assert mission[0]["pair"]["noise"] == pytest.approx(mission[0]["pair"]["noise_true"], rel=0.2)


def test_restoration_takes_stripes_off_and_says_how_sure_it_is(mission):
    restoration = mission[0]["restoration"]
    assert restoration["psnr_after"] > restoration["psnr_before"] + 15
    assert restoration["sam_after"] < restoration["sam_before"] / 4
    assert restoration["coverage_95"] > 0.8
    assert restoration["rms_std"] == pytest.approx(restoration["rms_error"], rel=0.5)


def test_files_and_page(mission):
    document, said, folder = mission
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert written >= {
        "frames.h5", "capture.h5", "characterization.h5", "sensor.h5", "fused.h5", "restored.h5", "restored_std.h5",
        "spectra.h5",
        "interferometers.csv", "grid.png", "scene.png", "calibration/report.html",
    }  # fmt: skip
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == len(document["steps"]) == 8
    assert "ERGAS" in page
    assert "13.01" in page or "13.00" in page
    # a line for each step as it goes, with its time
    assert re.findall(r"^(\d)/8 .+ … [\d.]+ s$", said, flags=re.MULTILINE) == list("12345678")


def test_steps_come_in_their_order_from_all_rooms():
    titles = [step.title for step in steps(DEMO)]
    orders = [step.order for step in steps(DEMO)]
    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)
    assert "frames" in titles[0]
    assert "restored" in titles[-1]


def test_a_step_leaves_results_to_the_next_and_the_page_shows_truth_beside_result(tmp_path):
    def first(demonstration):
        demonstration.results["number"] = 3
        return Outcome(
            text="one", figure=new_figure(1, 1)[0], caption="c", facts=[Fact(quantity="n", true="4", result="3")]
        )

    def second(demonstration):
        number = demonstration.results["number"] + 1
        return Outcome(text=f"got {number} <", figure=new_figure(1, 1)[0], caption="c", headline=("7", "seven"))

    demonstration = Demonstration(folder=tmp_path, seed=0)
    begun, ended = [], []
    chosen = [Step(order=1, title="A", run=first), Step(order=2, title="B", run=second)]
    done = run_steps(chosen, lambda step: timed(step, demonstration), begun.append, ended.append)
    assert begun == ["1/2 A", "2/2 B"]
    assert ended == done
    page = write_page(demonstration, done, "test").read_text(encoding="utf-8")
    assert "<tr><td>n</td><td>4</td><td>3</td></tr>" in page
    assert "got 4 &lt;" in page
    assert page.index("1. A") < page.index("2. B")
