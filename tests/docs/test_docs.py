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

import click
import pytest

from hsitools.commands.root import main

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), *DOCS.glob("tutorials/*.md"), *DOCS.glob("how-to/*.md"), ROOT / "README.md"])
EVERY_PAGE = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "ARCHITECTURE.md"])
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>not run|file): (?P<what>[^>]*?) -->\n)?^```(?P<kind>python|console)\n(?P<code>.*?)^```$"
    r"|<!-- setup\n(?P<setup>.*?)-->",
    re.DOTALL | re.MULTILINE,
)


#: Sizes that a reader sees well, and smaller ones at which the same lines run: a third of the time.
SMALLER = {
    "README": {"--n 24 --lines 101": "--n 8 --lines 61", "--size 96x96": "--size 48x48",
               "scene((96, 96)": "scene((48, 48)"},
    "docs/how-to/calibration": {"--n 16 --lines 91": "--n 8 --lines 61"},  # lmfit goes row by row
    "docs/how-to/inversion": {"simulate_instrument(24,": "simulate_instrument(16,", "lines(121)": "lines(71)",
                              "--snr 30 100": "--snr 30"},
    "docs/how-to/large-cubes": {"scene((192, 192)": "scene((96, 96)"},
    "docs/tutorials/calibrate": {"--n 30 --lines 101": "--n 12 --lines 61", "--cv 5": "--cv 2", "cv=5": "cv=2"},
    "docs/tutorials/denoise": {"scene((40, 40)": "scene((24, 24)", "(24, 40)": "(24, 24)", "--samples 4": "--samples 1",
                               "samples=4": "samples=1"},
    "docs/tutorials/fuse": {"--size 96x96": "--size 48x48", "scene((96, 96)": "scene((48, 48)"},
}  # fmt: skip


def blocks(page: Path) -> list[re.Match[str]]:
    """What a page runs; lines are counted as on the page."""
    text = page.read_text(encoding="utf-8")
    for shown, smaller in SMALLER.get(page.relative_to(ROOT).with_suffix("").as_posix(), {}).items():
        assert shown in text, f"{page}: no {shown}"
        text = text.replace(shown, smaller)
    return [match for match in BLOCK.finditer(text) if match["mark"] != "not run"]


def console_lines(text: str) -> list[list[str]]:
    """Words of each command of a console block, continued lines joined."""
    lines = re.findall(r"^\$ ((?:.*\\\n)*.*)", text, re.MULTILINE)
    return [shlex.split(line.replace("\\\n", " "), comments=True) for line in lines]


def run_console(text: str) -> None:
    for words in console_lines(text):
        if words[0] != "hsi":
            subprocess.run([sys.executable if words[0] == "python" else words[0], *words[1:]], check=True)
            continue
        said = io.StringIO()
        with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main(words[1:])
        assert ended.value.code == 0, f"$ {shlex.join(words)}\n{said.getvalue()}"


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
@pytest.mark.usefixtures("_registries", "rough_pictures")
def test_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    # one namespace a page, as a reader who types it in has
    names = {"__name__": "__main__"}
    for match in blocks(page):
        line = match.string[: match.start()].count("\n") + 1
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


def typed_lines(page: Path) -> list[list[str]]:
    """Words after ``hsi`` of every command line in a page's console blocks, of those that are not run too."""
    blocks = re.findall(r"^```console\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in console_lines(block.replace("$(which hsi)", "hsi"))]
    return [line[line.index("hsi") + 1 :] for line in lines if "hsi" in line]


def mentioned(page: Path) -> list[str]:
    """What stands in backquotes after ``hsi``: commands, with or without options."""
    return re.findall(r"`hsi ([^`]+)`", page.read_text(encoding="utf-8").replace("\n", " "))


def unknown(text: str, commands: dict[str, click.Command]) -> list[str]:
    """Words of a mentioned command that are no command, or none of its options."""
    words = text.split()
    name = max((name for name in commands if f"{text} ".startswith(f"{name} ")), key=len, default=None)
    if name is None:
        # a group, or an option of the root
        known = any(f"{name} ".startswith(f"{text} ") for name in commands) or words[0].startswith("-")
        return [] if known else [text]
    options = {option for parameter in commands[name].params for option in parameter.opts} | {"--help"}
    return [word for word in words if word.startswith("-") and word not in options]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT).with_suffix("")))
def test_commands_and_options_that_pages_name_are_there(page, commands, parsed):
    for words in typed_lines(page):
        if words[0] in ("--version", "--help"):
            continue
        _, context = parsed(words)
        assert context.command.callback is not None
    assert [said for text in mentioned(page) if (said := unknown(text, dict(commands)))] == []


def test_commands_that_are_not_there_are_seen(commands, parsed, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ hsi convert a b \\\n  --nothing\n```\n`hsi denoise ruin` and `hsi info\n--nothing`")
    (words,) = typed_lines(page)
    with pytest.raises(click.UsageError, match="--nothing"):
        parsed(words)
    known = dict(commands)
    assert [unknown(text, known) for text in mentioned(page)] == [["denoise ruin"], ["--nothing"]]
    assert unknown("denoise", known) == unknown("denoise run --out x", known) == []


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
