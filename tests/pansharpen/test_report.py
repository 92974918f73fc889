"""The report of a benchmark: self-contained, complete, the script finds what it refers to."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner

from pansharpen.commands.benchmark import report
from pansharpen.comparison import benchmark_report, figures, swipe, table
from pansharpen.comparison.benchmark import Benchmark

METHODS_SHOWN = ("EXP", "GSA", "MTF-GLP-FS")
PLUGIN = """
from pansharpen.registry import method

@method("test-<b>bad", family="baseline", paper="none")
def bad(scene):
    raise ValueError("<script>no</script>")
"""
VOID = {"meta", "img", "input", "br", "wbr"}


class Page(HTMLParser):
    """Elements, ids, tables and what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.images, self.ids, self.tables, self.open, self.links = [], [], [], [], []
        self.titles, self.options = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[name] for name in ("src", "href") if name in given]
        if tag == "img":
            self.images.append(given)
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "h2":
            self.titles.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles[-1] += data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished benchmark: one case with truth, one without, one broken, one method that fails."""
    base = tmp_path_factory.mktemp("report")
    (base / "bad.py").write_text(PLUGIN)
    rng = np.random.default_rng(0)
    truth = 100 + 50 * rng.random((8, 24, 20)).astype(np.float32)
    given = {
        "ms_lr": truth.reshape(8, 12, 2, 10, 2).mean((2, 4)), "pan": truth.mean(0, keepdims=True), "ratio": 2,
        "wavelengths": np.linspace(450, 900, 8),
    }  # fmt: skip
    np.savez(base / "with_truth.npz", gt=truth, **given)
    np.savez(base / "without&.npz", **given)
    (base / "broken.npz").write_bytes(b"nothing")
    made = Benchmark.create(
        base / "out", cases=[base / name for name in ("with_truth.npz", "without&.npz", "broken.npz")],
        methods=[*METHODS_SHOWN, "test-<b>bad"], plugins=[base / "bad.py"],
    )  # fmt: skip
    made.run()
    found = CliRunner().invoke(report, [str(made.folder)], catch_exceptions=False)
    assert found.stdout.split() == [str(made.folder / name) for name in ("report.html", "table.csv", "table.tex")]
    return made.folder


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_self_contained(page, text):
    for link in page.links:
        assert link.startswith("data:image/png;base64,")
        assert base64.b64decode(link.partition(",")[2]).startswith(b"\x89PNG")
    assert "http" not in text.replace(str(benchmark_report.__file__), "")
    assert not {"link", "iframe"} & set(re.findall(r"<(\w+)", text))


def test_text_is_escaped(text):
    assert "<b>bad" not in text
    assert "<script>no" not in text
    assert "test-&lt;b&gt;bad" in text
    assert "without&amp;" in text


def test_script_refers_to_what_is_there(page):
    assert len(set(page.ids)) == len(page.ids)
    named = set(re.findall(r"\$\('([\w-]+)'\)", swipe.SCRIPT))
    named |= set(re.findall(r"'(swipe-[\w-]+)'", swipe.SCRIPT))
    assert len(named) >= 8
    assert named | {f"{side}-name" for side in ("swipe-left", "swipe-right")} <= set(page.ids)


def test_images_of_every_method_and_case(page):
    shown = {(i["data-case"], i["data-kind"], i["data-name"]) for i in page.images if "data-name" in i}
    for case in ("0", "1"):
        for name in METHODS_SHOWN:
            assert (case, "rgb", name) in shown
            assert (case, "error", name) in shown
        assert (case, "rgb", "PAN") in shown
    assert ("0", "rgb", "reference") in shown
    assert ("1", "rgb", "reference") not in shown
    assert all(image["alt"] for image in page.images)
    # enlarged crops share one place
    assert len({i["style"] for i in page.images if i.get("data-case") == "0" and i["data-kind"] == "rgb"}) == 1


def test_tables_are_complete(page, folder):
    assert page.open == []
    for rows in page.tables:
        assert len({len(row) for row in rows}) == 1
    rows = table.read_csv(folder / "table.csv")
    assert len(rows) == 3 * 4
    assert page.titles[:2] == ["Ranking", "Swipe between two methods"]
    assert page.titles[2:4] == ["with_truth, ratio 2", "without&, ratio 2, full resolution"]
    of_case = next(found for found in page.tables if "ERGAS / % ↓" in found[0])
    assert {line[0] for line in of_case[1:]} == {*METHODS_SHOWN, "test-<b>bad"}
    assert of_case[1][1] == min(line[1] for line in of_case[1:] if line[1] != "–")
    failures = next(found for found in page.tables if found[0][0] == "reason")
    assert any("<script>no</script>" in line[0] and line[1] == "test-<b>bad" for line in failures)
    assert any(line[0].startswith("unusable") and line[3] == "4" for line in failures)


def test_best_is_bold(text):
    best = re.findall(r"<td><b>([\d.]+)</b></td>", text)
    assert len(best) >= 8


def test_provenance(page):
    run = next(found for found in page.tables if found[0][0] == "run")
    facts = {line[0]: line[1] for line in run[1:]}
    assert facts["torch"]
    assert facts["numpy"] == np.__version__
    settings = dict(next(found for found in page.tables if found[0] == ["setting", "value"])[1:])
    assert settings["seed"] == "0"


def test_latex_is_written(folder):
    text = (folder / "table.tex").read_text()
    assert r"with\_truth, ratio 2" in text
    assert r"without\&" in text


def test_without_pictures_there_is_no_swipe(folder, tmp_path):
    benchmark_report.write_report(folder, pictures=0)
    small = Page((folder / "report.html").read_text())
    assert small.images == []
    assert "swipe-case" not in small.ids


def test_an_unfinished_benchmark_has_a_report(folder, tmp_path):
    case = folder.parent / "with_truth.npz"
    made = Benchmark.create(tmp_path / "out", cases=[case], methods=["EXP"])
    paths = benchmark_report.write_report(made.folder)
    assert "No cell has a result yet" in paths[0].read_text()
    assert "0 of 1" in paths[0].read_text()


def test_detail_window_finds_the_detail():
    pan = np.zeros((40, 60), dtype=np.uint8)
    pan[20:28, 30:38] = np.indices((8, 8)).sum(0) % 2 * 255
    y, x = figures.detail_window(pan, 10)
    assert 18 <= y <= 20
    assert 28 <= x <= 30
    assert figures.detail_window(pan, 100) == (0, 0)


def test_error_colours_leave_gaps_grey():
    import io

    from matplotlib.image import imread

    error = np.array([[0.0, 1.0], [np.nan, 5.0]])
    image = np.rint(imread(io.BytesIO(figures.error_png(error, 1.0)))[..., :3] * 255)
    assert (image[1, 0] == 128).all()
    assert (image[0, 1] == image[1, 1]).all()
    assert image[0, 0].sum() < 30
