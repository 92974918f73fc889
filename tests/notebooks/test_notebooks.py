"""Every notebook runs from top to bottom and shows its figures."""

import json
import sys
import warnings
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def code_cells(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def shown(cells: list[str]) -> int:
    """Runs cells in IPython, in this process: a kernel of its own takes seconds to load. How many show a picture."""
    with warnings.catch_warnings():
        # IPython's own deprecations are none of ours
        warnings.simplefilter("ignore")
        from IPython.core.interactiveshell import InteractiveShell
        from IPython.core.pylabtools import select_figure_formats
        from traitlets.config import Config

        class Shell(InteractiveShell):
            def enable_matplotlib(self, gui=None):
                """``%matplotlib inline``: figures are pictures; other tests' figures stay as they are."""
                select_figure_formats(self, {"png"})
                return gui, None

        shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        try:
            pictures = 0
            for cell in cells:
                done = shell.run_cell(cell)
                done.raise_error()
                formats, _ = shell.display_formatter.format(done.result)
                pictures += "image/png" in formats
            return pictures
        finally:
            shell.restore_sys_module_state()
            Shell.clear_instance()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    assert shown(code_cells(path)) >= 3


def test_a_cell_that_fails_is_seen(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    with pytest.raises(ZeroDivisionError):
        shown(["1", "1 / 0"])
    with pytest.raises(SyntaxError):
        shown(["1 +"])
    figure = "figure = Figure()\nfigure.add_subplot()"
    assert shown(["%matplotlib inline\nfrom matplotlib.figure import Figure", f"{figure}\nfigure", figure, "3"]) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_opens_with_figures(path):
    """Stored with its outputs, so that a reader sees the figures before running anything."""
    assert '"image/png"' in path.read_text()


def test_there_are_some():
    assert NOTEBOOKS
