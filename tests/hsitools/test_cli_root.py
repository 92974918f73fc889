"""The root command: plug-ins, errors, exit codes, JSON."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import weakref
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click
import numpy as np
import pytest

import hsitools
from hsitools import file_kinds
from hsitools.commands import root as cli
from hsitools.commands.options import emit_json, emit_table
from hsitools.errors import FormatError, HsiError
from hsitools.text import plain

log = logging.getLogger(__name__)


@click.command()
def wrong_input():
    """Refuses its input."""
    raise HsiError("x.npy: data: found 3, expected 4")


@click.command()
def bug():
    """Has a bug."""
    raise ZeroDivisionError("division by zero")


@click.command()
def interrupt():
    """Is interrupted."""
    raise KeyboardInterrupt


class Passing:
    """What a weak reference is to."""


def asks_to_end():
    """Gets SIGTERM where Python drops what is raised."""
    passing = Passing()
    reference = weakref.ref(passing, lambda _: (signal.raise_signal(signal.SIGTERM), sum(range(10))))
    del passing
    for _ in range(6000):
        time.sleep(0.01)
    raise AssertionError(f"was not told anew of {reference}")


@click.command()
def callback():
    """Is ended within a callback."""
    asks_to_end()


@click.command()
def letters():
    """Says what not every terminal can show."""
    click.echo("é 1–2 λ")
    emit_json({"λ": "é 1–2 λ"})
    raise HsiError("λ.npy: data: found 3–4")


@click.command()
def logs():
    """Logs."""
    log.debug("debug said")
    log.info("info said")
    log.warning("warning said")
    log.error("error said")


@pytest.fixture
def plugins(monkeypatch):
    """Commands of this file (and one that cannot be imported) as the installed ones."""
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "plugin_under_test", module)
    values = {
        "bug": "plugin_under_test:bug",
        "callback": "plugin_under_test:callback",
        "interrupt": "plugin_under_test:interrupt",
        "letters": "plugin_under_test:letters",
        "logs": "plugin_under_test:logs",
        "wrong": "plugin_under_test:wrong_input",
        "broken": "no_such_module_anywhere:command",
    }
    points = [EntryPoint(name, value, cli.COMMANDS) for name, value in values.items()]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as done:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return done.value.code, captured.out, captured.err


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_letters_that_a_terminal_does_not_know_are_no_fault(monkeypatch, encoding):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(SystemExit) as ended:
        cli.main(["letters"])
    assert ended.value.code == 2
    line, _, document = out.buffer.getvalue().decode(encoding).partition("\n")
    known = {"latin-1": "é 1?2 ?", "cp1252": "é 1–2 ?", "utf-8": "é 1–2 λ"}[encoding]
    assert line == known
    assert json.loads(document) == {"λ": "é 1–2 λ"}
    assert err.buffer.getvalue().decode(encoding).count("\n") == 1


def test_version_and_help_of_the_installed_command():
    hsi = Path(sys.executable).parent / "hsi"
    done = subprocess.run([hsi, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"hsi, version {hsitools.__version__}\n", "")
    done = subprocess.run([hsi, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for point in entry_points(group=cli.COMMANDS):
        assert f"\n  {point.name} " in done.stdout


@pytest.mark.parametrize("group", [cli.COMMANDS, file_kinds.FORMATS])
def test_every_entry_point_loads(group):
    points = entry_points(group=group)
    assert points
    for point in points:
        assert callable(point.load()), point


def test_no_arguments_gives_help(capsys):
    code, _, error = run(capsys)
    assert code == 2
    assert error.startswith("Usage: hsi")


@pytest.mark.usefixtures("plugins")
class TestRoot:
    def test_broken_plugin_does_not_break_help(self, capsys):
        code, out, _ = run(capsys, "--help")
        assert code == 0
        assert "Refuses its input." in out
        assert "not available: No module named 'no_such_module_anywhere'" in out
        code, _, error = run(capsys, "broken", "file", "--option")
        assert code == 2
        assert error == "hsi: error: broken: not available: No module named 'no_such_module_anywhere'\n"

    def test_our_errors_are_one_line(self, capsys, monkeypatch):
        assert run(capsys, "wrong") == (2, "", "hsi: error: x.npy: data: found 3, expected 4\n")
        # whatever a library said
        monkeypatch.setattr(wrong_input, "callback", lambda: (_ for _ in ()).throw(HsiError("x: time\n = 3")))
        assert run(capsys, "wrong") == (2, "", "hsi: error: x: time = 3\n")

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("wrogn",), "no such command 'wrogn'; did you mean 'wrong'?"),
            (("zzz",), "no such command 'zzz'; expected one of broken, bug, callback, interrupt, letters, logs, wrong"),
            (("wrong", "--nothing"), "--nothing"),
            (("wrong", "extra"), "extra"),
        ],
    )
    def test_usage_errors_are_one_line(self, capsys, arguments, words):
        code, out, error = run(capsys, *arguments)
        assert (code, out) == (2, "")
        assert error.startswith("hsi: error: ")
        assert error.count("\n") == 1
        assert words in error

    def test_faults_of_ours(self, capsys):
        code, _, error = run(capsys, "bug")
        assert code == 1
        assert error == ("hsi: internal error: ZeroDivisionError: division by zero (run with -v for the traceback)\n")
        with pytest.raises(ZeroDivisionError):
            cli.main(["-v", "bug"])

    def test_interrupted(self, capsys):
        code, _, error = run(capsys, "interrupt")
        assert code == 130
        assert error == "hsi: interrupted\n"

    def test_ended_by_another_program(self, capsys):
        code, _, error = run(capsys, "callback")
        assert code == 143
        assert error == "hsi: terminated\n"
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (("-q",), ["error"]),
            ((), ["warning", "error"]),
            (("-v",), ["info", "warning", "error"]),
            (("-vv",), ["debug", "info", "warning", "error"]),
        ],
    )
    def test_logging(self, capsys, options, said):
        _, out, error = run(capsys, *options, "logs")
        assert out == ""
        assert error.splitlines() == [f"hsi: {level.upper()}: {level} said" for level in said]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(capsys, monkeypatch, shell):
    # click asks bash for its version to warn about old ones
    monkeypatch.setattr("click.shell_completion.BashComplete._check_version", staticmethod(lambda: None))
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0
    assert "_HSI_COMPLETE" in out


def test_completion_completes():
    environment = {"_HSI_COMPLETE": "bash_complete", "COMP_WORDS": "hsi inf", "COMP_CWORD": "1"}
    hsi = Path(sys.executable).parent / "hsi"
    done = subprocess.run([hsi], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "plain,info\n"


class TestInfo:
    def test_unknown_files(self, capsys, tmp_path):
        (tmp_path / "noise.bin").write_bytes(b"noise")
        for path in (tmp_path / "none", tmp_path / "noise.bin", tmp_path):
            code, out, error = run(capsys, "info", str(path))
            assert (code, out) == (2, "")
            assert error.startswith(f"hsi: error: {path}: ")
            assert error.count("\n") == 1
        assert "capture, characterization" in error

    def test_broken_plugin_and_unreadable_file(self, monkeypatch, tmp_path, caplog):
        def unreadable(path):
            raise OSError("truncated\nfile")

        module = sys.modules[__name__]
        monkeypatch.setitem(sys.modules, "plugin_under_test", module)
        monkeypatch.setattr(module, "unreadable", unreadable, raising=False)
        points = [
            EntryPoint("broken", "no_such_module_anywhere:describe", file_kinds.FORMATS),
            EntryPoint("there", "plugin_under_test:unreadable", file_kinds.FORMATS),
        ]
        monkeypatch.setattr(file_kinds, "entry_points", lambda group: points)
        with pytest.raises(FormatError, match=": cannot be read; truncated file"):
            file_kinds.describe(tmp_path)
        assert "format broken: not available" in caplog.text


def test_emit_json(capsys):
    document = {
        "nan": float("nan"), "scalar": np.float32(0.5), "count": np.int64(3), "flag": np.bool_(True), 1: "µm⁻¹",
        "array": np.array([[1.0, np.inf], [np.nan, 2.0]]), "path": Path("a/b"), "pair": (1, 2), "none": None,
    }  # fmt: skip
    emit_json(document)
    assert json.loads(capsys.readouterr().out) == {
        "nan": None, "scalar": 0.5, "count": 3, "flag": True, "1": "µm⁻¹",
        "array": [[1.0, None], [None, 2.0]], "path": "a/b", "pair": [1, 2], "none": None,
    }  # fmt: skip


def test_emit_table(capsys):
    emit_table({"a": 1.23456789, "long name": None, "list": np.arange(2)})
    assert capsys.readouterr().out == "a          1.23457\nlong name  –\nlist       [0, 1]\n"
    assert plain(np.nan) is None


def test_a_table_in_an_attribute_is_one_line(capsys):
    emit_table({"name": "two  words", "calibration_table": "line\topd\n1\t 2.5\n\n2\t3.5\n"})
    assert capsys.readouterr().out.splitlines() == [
        "name               two  words", "calibration_table  line opd; 1 2.5; 2 3.5"
    ]  # fmt: skip


@pytest.mark.parametrize("own", [None, "5"])
def test_threads_that_wait_sleep_soon_unless_the_user_says_otherwise(monkeypatch, own):
    """Spinning threads stand still for one another where another program has one of the processors."""
    monkeypatch.setenv("GOMP_SPINCOUNT", own or "")
    if own is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert os.environ["GOMP_SPINCOUNT"] == (own or "1000")
