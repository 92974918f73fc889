"""Docstrings are what the reference prints: each is valid reStructuredText after NumPy's conventions."""

import importlib
import inspect
import io
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

PACKAGES = ("hsitools", "calibration", "pansharpen", "denoise")


def modules() -> Iterator[ModuleType]:
    """All modules but those of commands, whose docstrings are help texts."""
    for package in map(importlib.import_module, PACKAGES):
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".commands" not in found.name and not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def documented(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Names and docstrings of a module and of what it defines, members of classes included."""
    yield module.__name__, inspect.getdoc(module) or ""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        yield f"{module.__name__}.{name}", inspect.getdoc(value) or ""
        if inspect.isclass(value):
            for member, item in vars(value).items():
                item = getattr(item, "__func__", getattr(item, "fget", item))
                if not member.startswith("_") and inspect.isfunction(item):
                    yield f"{module.__name__}.{name}.{member}", inspect.getdoc(item) or ""


def complaints(*texts: str) -> str:
    """What docutils says of docstrings, one after another."""
    from docutils.core import publish_doctree
    from sphinx.ext.napoleon import Config, NumpyDocstring

    said = io.StringIO()
    config = Config(napoleon_use_ivar=True, napoleon_use_rtype=False)
    source = "\n\n..\n\n".join(str(NumpyDocstring(text, config)) for text in texts)
    publish_doctree(
        f".. default-role:: literal\n\n{source}\n",
        settings_overrides={"warning_stream": said, "report_level": 2, "smart_quotes": False},
    )
    return said.getvalue()


def test_docstrings_are_valid():
    pytest.importorskip("sphinx")
    wrong = {}
    for module in modules():
        texts = dict(documented(module))
        # a document costs more than what is in it: one by one only where something is wrong
        if complaints(*texts.values()):
            wrong |= {name: said for name, text in texts.items() if (said := complaints(text))}
    assert wrong == {}


def test_a_broken_one_is_seen():
    pytest.importorskip("sphinx")
    assert complaints("Mean over ``size``² pixels.")
    assert complaints("Fine.", "Mean over ``size``² pixels.", "Fine.\n\nParameters\n----------\nsize : int")
    assert not complaints("Mean over `size` pixels.\n\nParameters\n----------\nsize : int\n    Of a window.")
