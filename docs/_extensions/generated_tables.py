"""Directives that print what the code knows: ``public-names PACKAGE`` and ``registry NAME``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

PACKAGES = ("hsitools", "calibration", "pansharpen", "denoise")


def home(package: str, name: str) -> str:
    """The full name under which an object was defined; that of the package where it has none (a constant)."""
    value = getattr(import_module(package), name)
    if isinstance(value, ModuleType):
        return value.__name__
    place = f"{getattr(value, '__module__', package)}.{getattr(value, '__qualname__', name)}"
    return place if place.partition(".")[0] in PACKAGES else f"{package}.{name}"


def link(target: str, text: str) -> nodes.Node:
    """A link to the API page of an object."""
    reference = addnodes.pending_xref(
        "", refdomain="py", reftype="obj", reftarget=target, refexplicit=True, refwarn=False
    )
    return reference + nodes.literal(text=text)


def table(titles: Sequence[str], rows: Iterable[Sequence[str | nodes.Node]]) -> nodes.Node:
    """A table in a box that scrolls by itself on narrow screens."""
    head, body = nodes.thead(), nodes.tbody()
    for part, lines in ((head, [titles]), (body, rows)):
        for line in lines:
            row = nodes.row()
            for cell in line:
                inner = nodes.paragraph("", "", cell if isinstance(cell, nodes.Node) else nodes.Text(cell))
                row += nodes.entry("", inner)
            part += row
    group = nodes.tgroup(cols=len(titles))
    group += [nodes.colspec(colwidth=1) for _ in titles]
    group += [head, body]
    return nodes.container("", nodes.table("", group, classes=["table"]), classes=["pst-scrollable-table-container"])


def first_sentence(value: Any) -> str:
    """First line of a docstring, markup removed."""
    line = (getattr(value, "__doc__", None) or "").strip().partition("\n\n")[0]
    return " ".join(line.split()).replace("``", "").replace("`", "")


class PublicNames(SphinxDirective):
    """``public-names`` PACKAGE: what its ``__all__`` offers, linked to where each name is documented."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table; nothing for a package that lists no names."""
        package = self.arguments[0]
        module = import_module(package)
        names = [name for name in getattr(module, "__all__", ()) if not name.startswith("__")]
        rows = [
            (link(home(package, name), f"{package}.{name}"), first_sentence(getattr(module, name))) for name in names
        ]
        return [table(("name", "what it is"), rows)] if rows else []


def fusion_methods() -> nodes.Node:
    """Fusion methods by family."""
    import pansharpen.methods  # noqa: F401  (registers them)
    from pansharpen.registry import METHODS, names

    entries = [METHODS[name] for name in names()]
    rows = [
        (entry.name, entry.family, entry.paper, "weights" if entry.trained else "", "yes" if entry.tiled else "")
        for entry in entries
    ]
    return table(("method", "family", "paper", "needs", "scenes of any size"), rows)


def denoisers() -> nodes.Node:
    """Denoising methods."""
    import denoise.methods  # noqa: F401  (registers them)
    from denoise.registry import METHODS

    rows = [
        (entry.name, entry.summary.replace("`", ""), entry.paper, "yes" if entry.samples else "")
        for entry in METHODS.values()
    ]
    return table(("method", "what it does", "paper", "standard deviation"), rows)


def indices() -> nodes.Node:
    """Quality indices."""
    from hsitools.metrics import INDICES

    rows = [
        (entry.name, entry.kind, entry.unit, f"{entry.low:g} … {entry.high:g}", f"{entry.best:g}", entry.paper)
        for entry in INDICES.values()
    ]
    return table(("index", "kind", "unit", "range", "perfect", "paper"), rows)


def formats() -> nodes.Node:
    """Readers, in the order in which they are asked."""
    from hsitools.io import known_formats

    rows = [(entry["name"], entry["reads"].replace("`", ""), " ".join(entry["suffixes"])) for entry in known_formats()]
    return table(("reader", "what it reads", "writes"), rows)


REGISTRIES = {"fusion-methods": fusion_methods, "denoisers": denoisers, "indices": indices, "formats": formats}


class Registry(SphinxDirective):
    """``registry`` NAME: one of `REGISTRIES` as a table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        return [REGISTRIES[self.arguments[0]]()]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("registry", Registry)
    return {"parallel_read_safe": True}
