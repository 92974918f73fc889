"""What each step of ``hsi process`` leaves, keeps and takes away."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

import hsitools.process as module
from hsitools.errors import InputError
from hsitools.process import RECORDS, Plan, Process, _say_left, process, read_plan

COUNT, OVERSAMPLING = 40, 3


def test_what_a_step_left_that_a_plan_does_without_is_said(tmp_path, caplog):
    """A cube that was denoised by a former plan stands beside the cube of this one."""
    plan = Plan(bench=tmp_path, scene=tmp_path / "scene.h5", out=tmp_path / "out")
    (plan.out / RECORDS).mkdir(parents=True)
    (plan.out / "denoised.h5").touch()
    record = {"files": {"denoised": {"path": "denoised.h5"}, "std": {"path": "denoised_std.h5"}}}
    (plan.out / RECORDS / "denoising.json").write_text(json.dumps(record))
    step = SimpleNamespace(name="denoising", title="denoised")
    _say_left(Process(plan=plan), [step, SimpleNamespace(name="fusion", title="fused")])
    assert [text.getMessage() for text in caplog.records] == [
        f"{(plan.out / 'denoised.h5').resolve()}: of an earlier run, and not of this one: this plan does without the "
        "step 'denoised'"
    ]


def test_no_output_is_a_folder_that_was_not_named(tmp_path):
    """``out = ""`` wrote into the plan's own folder."""
    (tmp_path / "plan.toml").write_text('bench = "b"\nscene = "s"\nout = ""\n')
    with pytest.raises(InputError, match="out: found '', expected a path"):
        Plan.of(read_plan(tmp_path / "plan.toml"))


@pytest.fixture
def one_step(tmp_path, monkeypatch):
    """A chain of one step, whose error bars `gp` alone writes; runs it by a method, ``stop`` ends it half-way."""
    from hsitools.chain import Outcome
    from hsitools.plot import new_figure

    (tmp_path / "in").write_text("x")
    (tmp_path / "out").mkdir()

    def work(process):
        method = process.plan.method
        files = {name: process.folder / name for name in (("std", "cube") if method != "cosine" else ("cube",))}
        for path in files.values():
            path.write_text(method)
            if method == "stop":
                raise KeyboardInterrupt
        return Outcome(text="", figure=new_figure(1, 1)[0], caption="", files=files)

    step = module.ProcessStep(
        order=1, name="it", title="it", run=work, inputs=lambda process: [process.plan.scene],
        options=("method", "lamp"),
    )  # fmt: skip
    monkeypatch.setattr(module, "steps", lambda group: [step])

    def run_by(method, **options):
        plan = Plan(bench=tmp_path, scene=tmp_path / "in", out=tmp_path / "out", method=method, **options)
        return process(plan)[1][0].kept

    return run_by


def written_in(folder):
    """Files in a folder, the page aside, and what is in them."""
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.suffix != ".html"}


def test_files_that_a_step_no_longer_writes_go(one_step, tmp_path):
    """Error bars of another method would pass for those of this one."""
    (tmp_path / "out" / "mine").write_text("nobody's")
    for method, expected in (("gp", {"cube", "std"}), ("cosine", {"cube"}), ("gp", {"cube", "std"})):
        one_step(method)
        assert set(written_in(tmp_path / "out")) == expected | {"mine"}


def test_a_step_that_is_stopped_leaves_what_an_earlier_one_made(one_step, tmp_path):
    """Half of its files beside half of the former ones would pass for one result; the former are still right."""
    one_step("ridge")
    with pytest.raises(KeyboardInterrupt):
        one_step("stop")
    assert written_in(tmp_path / "out") == {"cube": "ridge", "std": "ridge"}
    assert one_step("ridge")


def test_a_step_killed_before_its_record_does_not_forget_the_former_ones_files(one_step, tmp_path, monkeypatch):
    one_step("gp")

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_placed", killed)
        with pytest.raises(KeyboardInterrupt):
            one_step("cosine")
    assert written_in(tmp_path / "out") == {"cube": "cosine", "std": "gp"}
    assert not one_step("cosine")
    assert written_in(tmp_path / "out") == {"cube": "cosine"}


def test_a_step_is_kept_wherever_the_command_is_typed(one_step, tmp_path, monkeypatch):
    """A curve's name is another one from another folder."""
    one_step("gp", lamp=tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    assert one_step("gp", lamp=Path("in"))
    assert not one_step("gp")
