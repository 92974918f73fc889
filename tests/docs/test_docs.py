"""What the documentation shows is run, and the site builds without a warning or a dead link.

Every block of Python or console lines on a page runs, in order, in a folder of the page's own. Comments before a block
say what a reader does not see: ``<!-- not run: why -->``, ``<!-- file: name -->`` (the block is also written to that
file), and ``<!-- setup … -->``, Python that makes what the page takes for granted.
"""

import contextlib
import html.parser
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from hsitools.commands.root import main

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md"), *DOCS.glob("how-to/*.md"), ROOT / "README.md"])
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>not run|file): (?P<what>[^>]*?) -->\n)?^```(?P<kind>python|console)\n(?P<code>.*?)^```$"
    r"|<!-- setup\n(?P<setup>.*?)-->",
    re.DOTALL | re.MULTILINE,
)


def blocks(page: Path) -> list[re.Match[str]]:
    return [match for match in BLOCK.finditer(page.read_text(encoding="utf-8")) if match["mark"] != "not run"]


def run_console(text: str) -> None:
    for command in re.findall(r"^\$ (.*(?:\\\n.*)*)", text, re.MULTILINE):
        words = shlex.split(command.replace("\\\n", " "), comments=True)
        if words[0] != "hsi":
            subprocess.run([sys.executable if words[0] == "python" else words[0], *words[1:]], check=True)
            continue
        said = io.StringIO()
        with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main(words[1:])
        assert ended.value.code == 0, f"$ {command}\n{said.getvalue()}"


@pytest.fixture
def _registries():
    """What pages register is theirs: no other test sees it."""
    import denoise.methods  # noqa: F401  (registers its own first)
    import pansharpen.methods  # noqa: F401
    from denoise.registry import METHODS as DENOISERS
    from hsitools.metrics import INDICES
    from pansharpen.registry import METHODS

    registries = [DENOISERS, INDICES, METHODS]
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT).with_suffix(""))
)
@pytest.mark.usefixtures("_registries")
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # one namespace a page, as a reader who types it in has
    names = {"__name__": "__main__"}
    for match in blocks(page):
        line = page.read_text(encoding="utf-8")[: match.start()].count("\n") + 1
        if match["mark"] == "file":
            Path(match["what"]).write_text(match["code"], encoding="utf-8")
        elif match["kind"] == "console":
            run_console(match["code"])
        else:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(match["code"] or match["setup"], f"{page}:{line}", "exec"), names)


def test_blocks_that_fail_are_caught(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AssertionError, match="no such command"):
        run_console("$ hsi nonsense\n")


def test_readme_is_short_and_its_numbers_are_printed_ones():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    table = text.partition("## How good is it?")[2].partition("\n\nEvery number")[0]
    numbers = re.findall(r"(?<![\w.])\d*\.\d{2,}(?![\w.]*\.\d)|\b\d{5}\b", table)
    assert len(numbers) >= 12
    printed = (DOCS / "results.md").read_text(encoding="utf-8")
    assert [number for number in numbers if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", printed)] == []


def test_readme_links_and_images_are_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target).is_file()] == []
    assert all(path.stat().st_size < 200_000 for path in (DOCS / "images").glob("*.png"))


class _Page(html.parser.HTMLParser):
    """Links and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append((tag, values))
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        self.links += [values[name] for name in ("href", "src") if values.get(name)]


def pages_of(site: Path) -> list[Path]:
    """The site's own pages: themes keep parts of pages in ``_static``."""
    return [path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts]


def dead_links(site: Path) -> list[str]:
    """Links to pages, files and anchors of the site that are not there."""
    pages = {path: _Page(path) for path in pages_of(site)}
    dead = []
    for path, page in sorted(pages.items()):
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            gone = not target.exists()
            if parts.fragment and target in pages:
                gone = unquote(parts.fragment) not in pages[target].anchors
            if gone:
                dead.append(f"{path.relative_to(site)}: {link}")
    return dead


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site from a copy of the pages, with figures, notebooks' outputs and README's images as they are stored."""
    pytest.importorskip("sphinx")
    folder = tmp_path_factory.mktemp("site").resolve()
    made = shutil.ignore_patterns("_build", "_generated", "api", "notebooks", "__pycache__")
    shutil.copytree(DOCS, folder / "docs", ignore=made)
    shutil.copytree(DOCS / "images", folder / "docs" / "_generated")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copy(ROOT / "ARCHITECTURE.md", folder)
    settings = {"HSITOOLS_DOCS_NOTEBOOKS": "off", "HSITOOLS_DOCS_MODULES": "packages", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", "html"],
        cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


def test_site_builds_without_warnings(site):
    assert (site / "index.html").is_file()
    assert (site / "reference" / "api" / "hsitools.html").is_file()


def test_no_dead_link(site):
    assert dead_links(site) == []


def test_dead_links_are_seen(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#there">x</a><a href="b.html#gone">x</a><a href="c.html">x</a>')
    (tmp_path / "b.html").write_text('<p id="there">x</p>')
    assert dead_links(tmp_path) == ["a.html: b.html#gone", "a.html: c.html"]


def test_pages_fit_narrow_screens(site):
    """Every page says how wide it is on a phone, and tables scroll in boxes of their own."""
    for path in pages_of(site):
        tags = _Page(path).tags
        assert any(tag == "meta" and values.get("name") == "viewport" for tag, values in tags), path


def test_every_command_and_method_is_in_the_reference(site):
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for point in entry_points(group="hsitools.commands"):
        assert f'id="hsi-{point.name}"' in commands, point.name
    methods = (site / "reference" / "methods.html").read_text(encoding="utf-8")
    for name in ("physics", "MTF-GLP-FS", "lowrank", "ERGAS_est"):
        assert name in methods
