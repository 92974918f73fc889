"""Outputs are whole or not there."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import atomic, open_cube, save_cube
from hsitools.io.atomic import atomic_path
from hsitools.io.together import together

WRITER = """
import sys, time
from hsitools.io.atomic import atomic_path
from hsitools.io.together import together
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_text("half of the")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_writes_and_leaves_nothing_else(tmp_path):
    with atomic_path(tmp_path / "out.txt") as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("all")
        assert not (tmp_path / "out.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "all"


def test_permissions_are_those_of_open(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_path(str(tmp_path / "ours")) as temporary:
        temporary.write_text("")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_failure_keeps_what_was_there(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")

    def fail():
        with atomic_path(target) as temporary:
            temporary.write_text("new")
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupt_between_any_two_lines_leaves_nothing(tmp_path):
    """As of a signal, which comes when it likes: right after the file was made, too."""
    for moment in itertools.count(1):
        lines = itertools.count(1)

        def trace(frame, event, _argument, moment=moment, lines=lines):
            if frame.f_code.co_filename != atomic.__file__:
                return None
            if event == "line" and next(lines) == moment:
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            with atomic_path(tmp_path / "out.txt") as temporary:
                temporary.write_text("all")
        except KeyboardInterrupt:
            assert [path.name for path in tmp_path.iterdir()] in ([], ["out.txt"])
            (tmp_path / "out.txt").unlink(missing_ok=True)
        else:
            break
        finally:
            sys.settrace(None)
    assert moment > 10


@pytest.mark.parametrize("existing", [None, "old"])
def test_killed_while_writing(tmp_path, existing):
    target = tmp_path / "out.txt"
    if existing is not None:
        target.write_text(existing)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert target.exists() == (existing is not None)
    if existing is not None:
        assert target.read_text() == existing
    (left,) = tmp_path.glob(".out.txt.*.part")
    # whoever writes into the folder clears it away, but neither what lives nor what only looks alike
    machine = left.suffixes[-2].split("-")[0][1:]
    running = left.with_name(f".other.{machine}-{os.getppid()}-01234567.part")
    # a folder may be another machine's too, of which nobody here knows what runs
    elsewhere = left.with_name(left.name.replace(machine, f"{int(machine, 16) ^ 1:08x}"))
    for path in (running, elsewhere, tmp_path / ".out.txt.mine.part"):
        path.write_text("")
    with atomic_path(tmp_path / "beside.txt"):
        pass
    assert not left.exists()
    assert {path.name for path in tmp_path.glob(".*")} == {running.name, elsewhere.name, ".out.txt.mine.part"}


@pytest.mark.parametrize("name", ["missing/out.txt", "."])
def test_places_that_cannot_be_written(tmp_path, name):
    with pytest.raises(InputError) as caught, atomic_path(tmp_path / name):
        pass
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_files_of_one_run_appear_together_or_not_at_all(tmp_path, monkeypatch):
    out, std = tmp_path / "cube.h5", tmp_path / "cube_std.h5"
    for path in (out, std):
        path.write_text("old")

    def stopped():
        with together(out) as made:
            (made / std.name).write_text("new")
            raise InputError(f"{made / out.name}: output: cannot be written (No space left on device)")

    with pytest.raises(InputError) as caught:
        stopped()
    assert str(caught.value) == f"{out}: output: cannot be written (No space left on device)"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^cube\.h5: output: full"), together(Path("cube.h5")) as made:
        raise InputError(f"{made / 'cube.h5'}: output: full")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"cube.h5": "old", "cube_std.h5": "old"}
    with together(out) as made:
        for path in (out, std):
            (made / path.name).write_text("new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"cube.h5": "new", "cube_std.h5": "new"}


def test_the_cube_itself_comes_last(tmp_path):
    out, std = tmp_path / "cube.h5", tmp_path / "cube_std.h5"
    out.write_text("old")

    def write():
        with together(out) as made:
            for path in (out, std):
                (made / path.name).write_text("new")
            # what nothing replaces is there only now
            std.mkdir()

    with pytest.raises(InputError, match=r"cube_std\.h5"):
        write()
    assert out.read_text() == "old"


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "cube.zarr").mkdir()
    (tmp_path / "cube.zarr" / "thesis.txt").write_text("mine")
    (tmp_path / "cube.h5").mkdir()
    for name in ("cube.zarr", "cube.h5"):
        with pytest.raises(InputError, match="output: found"), together(tmp_path / name):
            raise AssertionError("told before anything is computed")
    assert (tmp_path / "cube.zarr" / "thesis.txt").exists()


def _one(value):
    return Cube(data=np.full((1, 2, 2), float(value)))


def test_what_cannot_be_replaced_is_told_before_anything_is(tmp_path):
    """Half of a run's files beside half of another's would pass for one another's."""
    names = ["a.h5", "a_mask.h5", "a_noise.h5", "a_std.h5"]

    def write():
        with together(tmp_path / "a.h5") as made:
            for name in names:
                (made / name).write_text("new")

    for foreign in names[1:]:
        for name in names:
            (tmp_path / name).write_text("old")
        (tmp_path / foreign).unlink()
        (tmp_path / foreign).mkdir()
        with pytest.raises(InputError, match=foreign):
            write()
        assert {(tmp_path / name).read_text() for name in names if name != foreign} == {"old"}
        (tmp_path / foreign).rmdir()


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path):
    """As `os.replace` does with links to files."""
    save_cube(_one(1), tmp_path / "disk.zarr")
    for name in ("alone", "together", "nowhere"):
        out = tmp_path / f"{name}.zarr"
        out.symlink_to(tmp_path / ("gone.zarr" if name == "nowhere" else "disk.zarr"))
        if name == "together":
            with together(out) as made:
                save_cube(_one(2), made / out.name)
        else:
            save_cube(_one(2), out)
        assert not out.is_symlink()
        assert open_cube(out).read().max() == 2
        assert open_cube(tmp_path / "disk.zarr").read().max() == 1


def test_what_cannot_go_keeps_nothing_else_from_going(tmp_path, monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    monkeypatch.setattr(os, "getpid", lambda: process.pid)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    places = [atomic.unfinished(tmp_path / f"{number}") for number in range(4)]
    for place in places[1:]:
        place.write_text("half")
    places[0].symlink_to(tmp_path / "mine")
    remove = atomic.remove

    def refusing(path):
        if path == places[1]:
            raise PermissionError
        remove(path)

    monkeypatch.setattr(atomic, "remove", refusing)
    atomic.clear_left(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"mine", places[1].name}
    assert (tmp_path / "mine" / "thesis.txt").exists()
