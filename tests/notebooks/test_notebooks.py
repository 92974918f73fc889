"""Every notebook runs from top to bottom and shows its figures."""

import json
import sys
import warnings
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
#: Sizes that a reader sees well, and smaller ones at which the same lines run: a third of the time.
SMALLER = {
    "01_calibration": {"simulate_instrument(120,": "simulate_instrument(61,", "bench.lines(221)": "bench.lines(91)",
                       "cv=10": "cv=3"},
    "02_sensor_model": {
        "simulate_instrument(60,": "simulate_instrument(18,", "bench.lines(201)": "bench.lines(81)",
        "scene((240, 240)": "scene((60, 60)", "(234, 10, 1280)": "(234, 4, 160)", "range(20)": "range(8)",
    },
    "03_pansharpening": {"scene((180, 180)": "scene((90, 90)", "(0, 96, 0, 96)": "(0, 48, 0, 48)",
                         'preset("prisma"), seed': 'preset("prisma").select(range(0, 234, 4)), seed'},
    "04_denoising": {"scene((64, 64)": "scene((40, 40)", "np.linspace(430, 2350, 48)": "np.linspace(430, 2350, 32)",
                     "samples=6": "samples=2", "np.arange(64)": "np.arange(12)"},
    "05_from_frames_to_spectra": {"bench.lines(101)": "bench.lines(71)", "(80, 2)": "(40, 2)",
                                  "(80, rng=rng, rows=8, pitch=32)": "(40, rng=rng, rows=5, pitch=28)"},
}  # fmt: skip


def code_cells(path: Path) -> list[str]:
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    for shown, smaller in SMALLER.get(path.stem, {}).items():
        assert any(shown in cell for cell in cells), f"{path.name}: no {shown}"
        cells = [cell.replace(shown, smaller) for cell in cells]
    return cells


def shown(cells: list[str]) -> int:
    """Runs cells in IPython, in this process: a kernel of its own takes seconds to load. How many show a picture."""
    with warnings.catch_warnings():
        # IPython's own deprecations are none of ours
        warnings.simplefilter("ignore")
        from IPython.core.displayhook import DisplayHook
        from IPython.core.interactiveshell import InteractiveShell
        from IPython.core.pylabtools import select_figure_formats
        from traitlets.config import Config

        pictures = []

        class Shown(DisplayHook):
            def write_format_data(self, format_dict, md_dict=None):
                """What a cell shows is counted where it is shown: to ask once more would draw it once more."""
                pictures.extend(kind for kind in format_dict if kind == "image/png")

        class Shell(InteractiveShell):
            displayhook_class = Shown

            def enable_matplotlib(self, gui=None):
                """``%matplotlib inline``: figures are pictures; other tests' figures stay as they are."""
                # a fifth of the pixels, without the second drawing that cuts margins off
                select_figure_formats(self, {"png"}, dpi=48, bbox_inches=None)
                return gui, None

        shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        try:
            for cell in cells:
                shell.run_cell(cell).raise_error()
            return len(pictures)
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
