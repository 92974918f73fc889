"""What all tests share: the reference data, one thread, no display, repeatable examples."""

import functools
import gc
import importlib.metadata
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

# before NumPy, torch or matplotlib are imported
os.environ.setdefault("MPLBACKEND", "Agg")
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import pytest
from hypothesis import settings

from hsitools import plot, scenes

ROOT = Path(__file__).resolve().parent.parent
# tests build files with the benchmarks' writers
sys.path.insert(0, str(ROOT))

# pictures of a ninth of the pixels: what is drawn in them is the same
plot.png_bytes.__defaults__ = plot.save_figure.__defaults__ = (48,)

# tests read scenes of the same few seeds: their tiles, of 1.5 MB, are computed once
scenes._mixed = functools.lru_cache(100)(scenes._mixed.__wrapped__)

# nothing is installed meanwhile, and to look through all distributions takes 10 ms, several times a command
importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)

# in the background shells let interrupts be ignored, by this process and by those that tests start and interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# the same examples on every machine; a slow CI machine is no failure
settings.register_profile("hsitools", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("hsitools")


#: Files whose tests ask the warm processes of benchmarks, which take seconds to start: one worker runs them all.
BENCHMARKS = (
    "denoise/test_benchmark",
    "pansharpen/test_benchmark",
    "pansharpen/test_report",
    "test_honesty",
    "test_plugins",
    "test_wrong_files",
    "test_other_weights",
    "test_docs.",
)
#: Files that take longest, about in order: they begin first, so that no worker is left alone with one at the end.
LONG = (
    *BENCHMARKS,
    "test_diffusion",
    "test_lint",
    "notebooks/",
    "test_denoise",
    "test_symmetries",
    "test_guide",
    "test_real_captures",
    "test_extending",
    "test_training",
    "test_process",
    "test_strips",
    "test_demo",
    "test_error_bars",
    "test_noisy",
    "test_band_places",
    "test_pairs",
    "test_physics",
    "test_relation",
    "test_protocol",
    "test_run",
    "test_laws",
    "test_zero_shot",
    "test_columns",
    "contract/test_docstrings",
    "test_coverage",
    "test_right",
    "test_cli_calibrate",
    "test_engine",
    "scale/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first."""

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((number for number, name in enumerate(LONG) if name in path), len(LONG))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What is loaded stays until the end: half a million objects that each look for garbage went through anew."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``: a file at a time, those of `BENCHMARKS` as one."""
    if config.getvalue("dist") != "loadfile":
        return None

    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "benchmarks" if any(name in file for name in BENCHMARKS) else file

    return Files(config, log)


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference data (``HSITOOLS_SHARED``, or ``../shared``): without it tests skip, in CI they fail."""
    folder = Path(os.environ.get("HSITOOLS_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        message = f"no reference data in {folder} (set HSITOOLS_SHARED)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """In CI a test of reference data may not be left out, for whatever reason."""
    report = yield
    if os.environ.get("CI") and report.skipped and "shared" in item.fixturenames and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: left out ({report.longrepr[-1]}), expected to run in CI"
    return report


@pytest.fixture(scope="session")
def captures_dir(shared: Path) -> Path:
    """Folder of the real captures."""
    return shared / "data" / "captures"


@pytest.fixture(scope="module")
def rough_pictures():
    """Pictures without their layout, which takes half of drawing, for tests that only write them.

    Reports and figures with it are drawn by their own tests, and by those of ``hsi calibrate`` and ``hsi demo``.
    """
    from matplotlib.figure import Figure

    savefig = Figure.savefig

    def rough(figure, *arguments, **settings):
        figure.set_layout_engine("none")
        savefig(figure, *arguments, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", rough)
        yield


@pytest.fixture(scope="session")
def hsi():
    """The command line as typed, in this process: one of its own takes seconds to import torch."""
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO
    from types import SimpleNamespace

    from hsitools.commands.root import main

    def run(*words, code=0):
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err, pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        assert ended.value.code == code, err.getvalue()
        return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())

    return run


@pytest.fixture(scope="session")
def commands():
    """Every command of the command line by its whole name, groups left out."""
    import click

    from hsitools.commands.root import hsi

    def below(group, context, name):
        for word in group.list_commands(context):
            command, whole = group.get_command(context, word), f"{name} {word}".strip()
            if isinstance(command, click.Group):
                yield from below(command, context, whole)
            else:
                yield whole, command

    return list(below(hsi, click.Context(hsi), ""))


@pytest.fixture(scope="session")
def parsed():
    """A command line as click takes it, nothing run: the command's whole name and its context."""
    import click

    from hsitools.commands.root import hsi

    def parse(words):
        command, context, names = hsi, hsi.make_context("hsi", list(words)), []
        while isinstance(command, click.Group):
            name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            context = command.make_context(name, rest, parent=context)
            names.append(name)
        return " ".join(names), context

    return parse


@pytest.fixture(autouse=True)
def _restore_logging():
    """The command line configures the root logger; give it back after each test."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
