"""``hsi process``: the chain on a simulated bench, what is kept and what is done again, errors as users make them."""

import functools
import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout

import h5py
import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration import simulated_scene
from hsitools.commands.root import main
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube, save_cube
from hsitools.process import Plan, process, read_plan
from hsitools.scenes import scene

COUNT, OVERSAMPLING = 40, 3
#: A named model and a plain method: seconds.
QUICK = {"model": "airy", "method": "gp", "grid": "450:900:10"}


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """A folder with the bench's frames in ``bench/``, a scene's frames and a PAN."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "bench").mkdir()
    rng = np.random.default_rng(3)
    device = bench.simulate_instrument(COUNT, rng=rng, rows=5, pitch=24)
    bench.write_frames(folder / "bench" / "frames.h5", device, bench.lines(91), rng=rng)
    view = scene((90, 90), wavelength_nm=np.linspace(351, 999, 66), seed=4)
    simulated_scene.write_scene(
        folder / "scene.h5", device, view.with_data(2 * view.read()), rng=rng, oversampling=OVERSAMPLING,
        shift=rng.normal(0, 0.4, (COUNT, 2)),
    )  # fmt: skip
    return folder


def typed(light, out, *arguments, **options):
    """Run ``hsi process`` on it: exit code, steps (or None) and what was said."""
    options = {"scene": light / "scene.h5", "out": out, **QUICK, **options}
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()) as said:  # noqa: SIM117
        with pytest.raises(SystemExit) as done:
            main(["process", *map(str, arguments or (light / "bench",)), *words, "--json"])
    document = json.loads(printed.getvalue()) if done.value.code == 0 else {"steps": None}
    return done.value.code, document["steps"], said.getvalue()


@pytest.fixture
def run(light):
    return functools.partial(typed, light)


@pytest.fixture(scope="module")
def finished(light, tmp_path_factory):
    """The folder of a run from raw frames to a clean cube, and its steps.

    One test does some of them again: of its files others use the instrument, and how large the cube is.
    """
    out = tmp_path_factory.mktemp("finished") / "result"
    code, steps, said = typed(light, out)
    assert code == 0, said
    return out, steps


@pytest.fixture
def _undrawn(finished, monkeypatch):
    """Pictures that were drawn for `finished` are not drawn again: they take half of the time."""
    monkeypatch.setattr("hsitools.plot.png_bytes", lambda figure, dpi=144: b"\x89PNG")


def kept(steps):
    return [step["kept"] for step in steps]


@pytest.mark.usefixtures("_undrawn")
def test_from_frames_to_a_clean_cube_and_what_is_done_again(run, finished):
    out, steps = finished
    assert [step["title"].split()[0] for step in steps] == ["raw", "the", "the", "denoised"]
    assert kept(steps) == [False] * 4
    cube, std, mask = (open_cube(out / f"cube{part}.h5") for part in ("", "_std", "_mask"))
    assert cube.shape == std.shape
    assert cube.n_bands == 46
    measured = mask.read()[0] > 0
    assert 0.4 < measured.mean() < 1
    assert np.isfinite(cube.read()[:, measured]).all()
    assert (std.read()[:, measured] > 0).all()
    clean = open_cube(out / "denoised.h5")
    assert clean.shape == cube.shape
    # of the cube beside which it stands: the variance before, and what was taken off
    taken = (cube.read() - clean.read())[:, measured]
    assert np.abs(taken).max() > 0
    expected = np.hypot(std.read()[:, measured], taken)
    np.testing.assert_allclose(open_cube(out / "denoised_std.h5").read()[:, measured], expected, rtol=1e-4)
    assert steps[2]["budget"]["noise"] < steps[2]["budget"]["all"]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 4
    assert "error budget" in page
    before = page
    # nothing has changed
    _, steps, said = run(out)
    assert kept(steps) == [True] * 4
    assert said.count("kept") == 4
    assert (out / "report.html").read_text(encoding="utf-8") == before
    # an option of the third step, and a file that somebody has changed
    _, steps, _ = run(out, method="ridge")
    assert kept(steps) == [True, True, False, False]
    (out / "denoised.h5").write_bytes(b"changed")
    _, steps, _ = run(out, method="ridge")
    assert kept(steps) == [True, True, True, False]
    # a step that was cut off half-way has no record
    (out / "steps" / "instrument.json").write_text("{")
    _, steps, _ = run(out, method="ridge")
    assert kept(steps)[:2] == [True, False]


@pytest.mark.usefixtures("_undrawn")
def test_an_interrupted_run_goes_on(light, tmp_path, monkeypatch):
    import calibration.inversion.invert as inversion

    plan = Plan.of({"bench": light / "bench", "scene": light / "scene.h5", "out": tmp_path / "out", **QUICK})

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(inversion, "invert", killed)
        with pytest.raises(KeyboardInterrupt):
            process(plan)
    assert (tmp_path / "out" / "report.html").exists()
    _, done = process(plan)
    assert [item.kept for item in done] == [True, True, False, False]


def test_with_a_characterization_and_pan(run, finished, tmp_path):
    size = open_cube(finished[0] / "cube.h5").shape[1]
    pan = np.random.default_rng(0).uniform(1, 2, (1, 2 * size, 2 * size)).astype(np.float32)
    save_cube(Cube(data=pan), tmp_path / "pan.tif")
    instrument = finished[0] / "instrument.h5"
    code, steps, said = run(tmp_path / "second", instrument, pan=tmp_path / "pan.tif")
    assert code == 0, said
    assert [step["title"].split()[0] for step in steps] == ["the", "the", "fused", "denoised"]
    assert "displacement of the cube on PAN, along y and x" in said
    assert len(steps[2]["registration"]["shift_pixels"]) == 2
    page = (tmp_path / "second" / "report.html").read_text(encoding="utf-8")
    assert "cube_std.h5, fused_std.h5, denoised_std.h5" in page
    assert open_cube(tmp_path / "second" / "fused.h5").shape[1] == 2 * size
    # what the inversion leaves uncertain the fused cube does, too
    spread = [
        np.sqrt(np.nanmean(open_cube(tmp_path / "second" / f"{name}_std.h5").read() ** 2)) for name in ("cube", "fused")
    ]
    assert spread[1] > 0.8 * spread[0]
    assert open_cube(tmp_path / "second" / "denoised.h5").shape[1] == 2 * size


def layout_of_the_bench():
    """Where the sub-images of the module's bench lie."""
    return bench.simulate_instrument(COUNT, rng=np.random.default_rng(3), rows=5, pitch=24).layout


def without_dark(file):
    del file["dark"]


def saturated(file):
    file["frames"][...] = file.attrs["full_scale"]


def other_size(file):
    frames = file["frames"][()]
    del file["frames"]
    file["frames"] = frames[:, :-3]


@pytest.mark.parametrize(
    ("change", "words"),
    [(without_dark, "dark: missing"), (saturated, "full scale"), (other_size, "frames: found shape")],
)
def test_a_wrong_scene_is_one_line_before_anything_is_calibrated(run, light, tmp_path, change, words):
    shutil.copy(light / "scene.h5", tmp_path / "scene.h5")
    with h5py.File(tmp_path / "scene.h5", "r+") as file:
        change(file)
    code, _, said = run(tmp_path / "out", scene=tmp_path / "scene.h5")
    errors = [line for line in said.splitlines() if line.startswith("hsi: error")]
    assert code == 2
    assert len(errors) == 1
    assert words in errors[0]
    assert str(tmp_path / "scene.h5") in errors[0]
    assert not (tmp_path / "out").exists()


def test_other_mistakes_are_one_line(run, light, tmp_path):
    (tmp_path / "lamp.csv").write_text("nm,value\n500,1\n600,2\n")
    interferograms = np.ones((COUNT + 1, 8, 8), np.float32)
    save_cube(Cube(data=interferograms), tmp_path / "cube.h5")
    save_cube(Cube(data=interferograms[:COUNT]), tmp_path / "right.h5")
    (tmp_path / "plan.yaml").write_text("bench: a\n")
    (tmp_path / "empty").mkdir()
    # the number is known where a device file says it
    device = layout_of_the_bench()
    (tmp_path / "device.json").write_text(json.dumps(device.to_dict()))
    known = {"device": tmp_path / "device.json"}
    mistakes = {
        "illumination: found 500 to 600 nm": {"illumination": tmp_path / "lamp.csv"},
        f"interferometers: found {COUNT + 1}, expected {COUNT}": {"scene": tmp_path / "cube.h5", **known},
        "expected TOML": {"plan": tmp_path / "plan.yaml"},
        "scene: found no such file": {"scene": tmp_path / "none.h5"},
        "pan: found no such file": {"pan": tmp_path / "none.tif"},
        "did you mean 'gp'": {"method": "gpp"},
        "did you mean 'GSA'": {"fusion": "GSB", "pan": tmp_path / "pan.tif"},
        "did you mean 'lowrank'": {"denoiser": "lowrang"},
        "pan: found 2 bands": {"pan": tmp_path / "two.h5"},
        "pan: found 31×30 pixels, expected a whole multiple of": {"pan": tmp_path / "odd.h5", **known},
        "pan: found it at x 1000 to": {"scene": tmp_path / "mapped.h5", "pan": tmp_path / "far.h5"},
        "flat: found wavenumber (a monochromator)": {"flat": light / "bench" / "frames.h5"},
        "flat: found one beside an interferogram cube": {"scene": tmp_path / "right.h5", "flat": light / "scene.h5"},
        "flat: found no raw frames": {"flat": tmp_path / "two.h5"},
        "flat: found no such file": {"flat": tmp_path / "none.h5"},
        "grid: found 300 to 900": {"grid": "300:900:10"},
        "found a file that this run writes": {"scene": tmp_path / "out" / "cube.h5"},
    }
    (tmp_path / "out").mkdir()
    for path in (tmp_path / "out" / "cube.h5", tmp_path / "two.h5", tmp_path / "pan.tif"):
        save_cube(Cube(data=np.ones((1 if path.suffix == ".tif" else 2, 8, 8), np.float32)), path)
    save_cube(Cube(data=np.ones((1, 31, 30), np.float32)), tmp_path / "odd.h5")
    for name, bands, side, left in (("mapped", COUNT, 8, 0.0), ("far", 1, 16, 1000.0)):
        grid = (16 / side, 0.0, left, 0.0, -16 / side, 0.0)
        save_cube(Cube(data=np.ones((bands, side, side), np.float32), transform=grid), tmp_path / f"{name}.h5")

    for words, options in mistakes.items():
        code, _, said = run(tmp_path / "out", **options)
        errors = [line for line in said.splitlines() if line.startswith("hsi: error")]
        assert code == 2, words
        assert len(errors) == 1, said
        assert words in errors[0]
        # nothing was done for it
        assert not (tmp_path / "out" / "steps").exists()
    whole = (light / "scene.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    code, _, said = run(tmp_path / "out", scene=tmp_path / "cut.h5")
    assert code == 2
    assert "cut.h5: cannot be read" in said
    for path, words in ((tmp_path / "empty", "bench: found none"), (light / "scene.h5", "bench: found another kind"),
                        (tmp_path / "cut.h5", "bench: cannot be read")):  # fmt: skip
        code, _, said = run(tmp_path / "out", path)
        assert code == 2
        assert words in said
    code, _, said = run(tmp_path / "plan.yaml" / "x")
    assert code == 2
    assert "cannot make the folder" in said


def test_options_that_nothing_uses_are_said(light, tmp_path, caplog, monkeypatch):
    class Enough(Exception):
        pass

    def stop(text):
        raise Enough

    simulated = bench.simulate_instrument(4, rng=np.random.default_rng(0), rows=2)
    bench.capture(simulated, bench.lines(20), rng=np.random.default_rng(1)).save(tmp_path / "capture.h5")
    save_cube(Cube(data=np.ones((4, 8, 8), np.float32)), tmp_path / "cube.h5")
    asked = {"fusion": "gsa", "window": 7, "denoiser": "lowrank", "seed": 3}
    plan = Plan(bench=tmp_path / "capture.h5", scene=tmp_path / "cube.h5", out=tmp_path / "out", **asked)
    with pytest.raises(Enough):
        process(plan, before=stop)
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(" is not used")[0] for text in said] == ["window: 7", "fusion: gsa"]


def test_a_bench_folder_with_two_benches_is_not_guessed(light, tmp_path):
    from calibration.captures.bench_folder import open_bench

    for name in ("a.h5", "b.h5"):
        shutil.copy(light / "bench" / "frames.h5", tmp_path / name)
    with pytest.raises(InputError, match=r"a\.h5 \(raw frames\), b\.h5 \(raw frames\)"):
        open_bench(tmp_path)


def test_plans(tmp_path):
    (tmp_path / "plan.toml").write_text('bench = "b"\nscene = "/abs/s.h5"\nout = "o"\nwindow = 7\nopd-step = 1\n')
    values = read_plan(tmp_path / "plan.toml")
    plan = Plan.of(values)
    assert plan.bench == tmp_path / "b"
    assert str(plan.scene) == "/abs/s.h5"
    assert (plan.window, plan.opd_step) == (7, 1)
    with pytest.raises(InputError, match="did you mean 'window'"):
        Plan.of({**values, "windw": 3})
    with pytest.raises(InputError, match="window: found '5', expected a whole number"):
        Plan.of({**values, "window": "5"})
    with pytest.raises(InputError, match="scene: missing"):
        Plan.of({"bench": "b", "out": "o"})
    with pytest.raises(InputError, match="window: found twice"):
        Plan.of({**values, "Window": 9})
    with pytest.raises(InputError, match=r"plan: linewidth: found 0.5, expected text in quotes, as \"0.5\""):
        Plan.of({**values, "linewidth": 0.5})
    with pytest.raises(FormatError, match="No such file"):
        read_plan(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("seed = -1", "seed: found -1, expected a whole number from 0 on"),
        ("window = 4", "window: found 4, expected an odd number"),
        ("opd_step = nan", "opd_step: found nan, expected a positive step in µm"),
        ('grid = "0.45:0.9:0.01"', "grid: found 0.45 to 0.9, expected inside the calibrated band 350.00 to 1000.00 nm"),
        ('grid = "450:900"', "grid: found '450:900', expected LOW:HIGH:STEP"),
        ('model = "airi"', "model: found 'airi', expected auto, airy"),
        ('linewidth = "x"', "linewidth: found 'x', expected a width in nm"),
        ('method = "gpp"', "method: found 'gpp'; did you mean 'gp'"),
        ('denoiser = "None"', "denoiser: found 'None', expected one of"),
        ('lamp = ""', "lamp: found '', expected a path"),
    ],
)
def test_a_wrong_key_is_told_by_its_plan_before_anything_is_done(light, tmp_path, line, said):
    """Not by the option of another command, or by what a room calls it; an option that was typed by its own name."""
    path = tmp_path / "plan.toml"
    path.write_text(f'bench = "{light / "bench"}"\nscene = "{light / "scene.h5"}"\nout = "o"\n{line}\n')
    with pytest.raises(InputError) as caught:
        process(Plan.of(read_plan(path), "plan.toml"))
    assert str(caught.value).startswith(f"plan.toml: {said}")
    assert not (tmp_path / "o").exists()
    values = {"bench": light / "bench", "scene": light / "scene.h5", "out": tmp_path / "o", "method": "gpp"}
    with pytest.raises(InputError, match=r"^--method: found 'gpp'"):
        process(Plan.of(values, "plan.toml", ["method"]))
