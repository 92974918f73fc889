"""``hsi calibrate`` as a user types it."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.captures.capture import MonochromaticCapture
from hsitools.commands.root import main

KEYS = {
    "rmse_mean", "rmse_median", "rmse_cv_mean", "r2_median", "model", "degree", "seconds", "n_interferometers",
    "n_flagged", "opd_um", "opd_stderr_um",
}  # fmt: skip


def run(capsys, *arguments):
    """Exit code, standard output and standard error of one command."""
    with pytest.raises(SystemExit) as done:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return done.value.code, captured.out, captured.err


@pytest.fixture(scope="module")
def capture_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "capture.h5"
    rng = np.random.default_rng(5)
    instrument = bench.simulate_instrument(40, rng=rng, rows=5, pitch=24)
    bench.capture(instrument, bench.lines(121), rng=rng).save(path)
    return path


def test_json(capsys, capture_path):
    code, out, _ = run(capsys, "calibrate", capture_path, "--model", "airy", "--degree", 3, "--cv", 5, "--json")
    document = json.loads(out)
    assert code == 0
    assert set(document) >= KEYS
    assert document["n_interferometers"] == len(document["opd_um"]) == len(document["opd_stderr_um"]) == 40
    assert (document["model"], document["degree"]) == ("airy", 3)
    assert document["rmse_cv_mean"] > document["rmse_mean"] > 0


def test_outputs(capsys, capture_path, tmp_path):
    code, out, _ = run(
        capsys, "calibrate", capture_path, "--model", "airy", "--wavelengths", "400:900", "--out", tmp_path / "c.h5",
        "--csv", tmp_path / "c.csv",
    )  # fmt: skip
    assert code == 0
    assert "OPD law" in out
    assert (tmp_path / "c.csv").read_text().startswith("index,opd_um,")
    code, out, _ = run(capsys, "info", tmp_path / "c.h5", "--json")
    assert json.loads(out)["kind"] == "characterization"


def test_report(capsys, capture_path, tmp_path):
    code, _, _ = run(capsys, "calibrate", capture_path, "--cv", 4, "--report", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert code == 0
    assert "held-out RMSE" in page
    assert "http" not in page.replace("http-equiv", "")
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    assert figures == {"fit", "opd_law", "parameters", "rmse", "residual", "uncertainty", "selection"}
    assert (tmp_path / "out" / "characterization.h5").exists()
    assert (tmp_path / "out" / "interferometers.csv").exists()


@pytest.mark.parametrize("name", ["two-wave", "4-wave", "airy"])
@pytest.mark.parametrize(
    "more", [(), ("--loss", "huber"), ("--fixed-gain",), ("--start", "exhaustive"), ("--no-prior",)]
)
def test_every_model_and_option(capsys, capture_path, name, more):
    code, out, err = run(capsys, "calibrate", capture_path, "--model", name, "--degree", 2, *more, "--json")
    assert code == 0, err
    assert json.loads(out)["model"] == name


def test_lmfit_engine(capsys, capture_path, tmp_path):
    few_rows = tmp_path / "few.h5"
    MonochromaticCapture.load(capture_path).select(rows=np.arange(8, 28)).save(few_rows)
    documents = []
    for engine in ("batched", "lmfit"):
        words = ("--model", "airy", "--degree", 2, "--engine", engine, "--json")
        code, out, err = run(capsys, "calibrate", few_rows, *words)
        assert code == 0, err
        documents.append(json.loads(out))
    opd = np.array([d["opd_um"] for d in documents])
    stderr = np.array(documents[0]["opd_stderr_um"])
    assert np.mean(np.abs(opd[0] - opd[1]) < 0.05 * stderr) > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere: found no such file or folder"),
        (("CAPTURE", "--model", "sine"), "--model: found 'sine', expected auto, airy, two-wave or N-wave"),
        (("CAPTURE", "--model", "1-wave"), "--model: found '1-wave'"),
        (("CAPTURE", "--degree", "3"), "--degree: found with --model auto"),
        (("CAPTURE", "--model", "airy", "--degree", "77"), "degree_gain: found 77, expected 0 to 40"),
        (("CAPTURE", "--model", "airy", "--degree", "8", "--wavelengths", "600:700"), "lines: found 16, expected more"),
        (
            ("CAPTURE", "--model", "9-wave", "--degree", "2", "--wavelengths", "600:700"),
            "waves: found 9, expected at most 8 of 16 lines, or airy",
        ),
        (("CAPTURE", "--wavelengths", "900"), "--wavelengths: found '900', expected LOW:HIGH in nm"),
        (("CAPTURE", "--wavelengths", "2000:3000"), "wavelengths: found 0 lines in 2000 to 3000 nm"),
        (("CAPTURE", "--model", "airy", "--cv", "1"), "cv: found 1 fold"),
        (("CAPTURE", "--device", "cuda"), "--device: found with one fit per interferometer"),
        (("CAPTURE", "--show", "1"), "--show: found with no --report"),
        (("CAPTURE", "--report", "r", "--show", "one"), "--show: found 'one', expected interferometers"),
        (("CAPTURE", "--report", "r", "--show", "99"), "--show: found 99, expected interferometers of"),
        (("CAPTURE", "--engine", "lmfit", "--loss", "huber"), "loss: found 'huber' with engine 'lmfit'"),
        (("CAPTURE", "--out", "no/such/c.h5"), "output: cannot write there (found no folder no/such"),
        (("CAPTURE", "--per-pixel"), "--per-pixel: expected --out FILE"),
        (("CAPTURE", "--per-pixel", "--out", "m.h5"), "pixels: missing, expected in a pixel stack"),
        (
            ("CAPTURE", "--per-pixel", "--out", "m.h5", "--report", "r"),
            "--report: found with --per-pixel, where it has no effect",
        ),
    ],
)
def test_bad_input_is_one_line(capsys, capture_path, arguments, message):
    code, out, err = run(capsys, "calibrate", *(capture_path if a == "CAPTURE" else a for a in arguments))
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("hsi: error: ")
    assert err.count("\n") == 1


def test_a_shape_needs_a_width(capsys, capture_path, tmp_path):
    capture = replace(MonochromaticCapture.load(capture_path), linewidth_nm=None)
    capture.save(tmp_path / "c.h5")
    shape = ("--model", "airy", "--degree", "1", "--line-shape", "triangular")
    code, _, err = run(capsys, "calibrate", tmp_path / "c.h5", *shape)
    assert code == 2
    assert "--line-shape" in err
    assert "--linewidth" in err
    code, out, _ = run(capsys, "calibrate", tmp_path / "c.h5", *shape, "--linewidth", "0.5")
    assert code == 0
    assert "triangular, 0.5 nm wide" in out


def test_per_pixel(capsys, tmp_path):
    import h5py

    instrument = bench.simulate_instrument(14, rng=np.random.default_rng(6), opd_offset_um=6.0, opd_step_um=1.0)
    wavenumber = bench.lines(60)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["pixels"] = bench.pixel_stack(instrument, wavenumber, size=6, rng=np.random.default_rng(7))
        file["wavenumber"] = wavenumber
    code, out, _ = run(capsys, "calibrate", tmp_path / "s.h5", "--per-pixel", "--out", tmp_path / "m.h5", "--json")
    assert code == 0
    assert json.loads(out)["n_pixels"] == 14 * 36
    code, out, _ = run(capsys, "info", tmp_path / "m.h5")
    assert "per-pixel maps" in out
    shape = ("--per-pixel", "--out", tmp_path / "n.h5", "--line-shape", "triangular")
    code, _, err = run(capsys, "calibrate", tmp_path / "s.h5", *shape)
    assert code == 2
    assert "--line-shape" in err
    assert not (tmp_path / "n.h5").exists()


def killed_at_the_end(words):
    """The command, killed when all is written and nothing has its name; for a process of its own."""
    Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    main(words)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_killed_while_writing_leaves_nothing(capture_path, tmp_path):
    """SIGKILL, of which no handler knows: the file that was there stays."""
    target = tmp_path / "c.h5"
    target.write_text("old")
    words = ["calibrate", str(capture_path), "--model", "airy", "--degree", "2", "--out", str(target)]
    process = multiprocessing.get_context("fork").Process(target=killed_at_the_end, args=(words,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert target.read_text() == "old"
