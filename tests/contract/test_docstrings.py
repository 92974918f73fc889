"""Public names: each says what it is and shows how it is used, and what it shows is true."""

import doctest
import importlib

import pytest

PACKAGES = ("hsitools", "calibration", "pansharpen", "denoise")
#: Errors are raised, not called.
NO_EXAMPLE = {"HsiError", "InputError", "FormatError"}
#: Functions behind the front doors whose examples are run too.
MODULES = ("hsitools.front_door",)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(thing, name):
    """Examples of a function, or of a class and its methods."""
    finder = doctest.DocTestFinder(recurse=True, exclude_empty=True)
    return [test for test in finder.find(thing, name, globs={}) if test.examples]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented_with_an_example(package):
    module = importlib.import_module(package)
    for name in sorted(set(module.__all__) - NO_EXAMPLE):
        thing = getattr(module, name)
        assert (thing.__doc__ or "").strip(), f"{package}.{name}: no docstring"
        assert examples(thing, name), f"{package}.{name}: no example"


PUBLIC = [(package, name) for package in PACKAGES for name in sorted(importlib.import_module(package).__all__)]


@pytest.mark.usefixtures("rough_pictures")
@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=[".".join(pair) for pair in PUBLIC])
def test_examples_of_public_names_are_true(package, name, tmp_path, monkeypatch):
    """Each example runs in an empty folder, with nothing but its own imports and the name that it belongs to."""
    monkeypatch.chdir(tmp_path)
    thing = getattr(importlib.import_module(package), name)
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for test in examples(thing, name):
        test.globs = {name: thing, "__name__": "example"}
        said: list[str] = []
        runner.run(test, out=said.append, clear_globs=True)
        assert runner.failures == 0, "".join(said)


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_modules_are_true(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=OPTIONS).failed == 0


@pytest.mark.parametrize("registry", ["pansharpen.registry", "denoise.registry"])
def test_lists_of_methods_send_nobody_to_a_module(registry):
    """``hsi pansharpen list`` is read by users; a module's name means nothing to them, and goes stale."""
    importlib.import_module(registry.replace("registry", "methods"))
    for method in importlib.import_module(registry).METHODS.values():
        assert "`" not in method.summary, method.name
