"""The suite itself: what may be left out, and where it must run."""

import multiprocessing
import os
import shutil
import sys

import pytest

TESTS = """
import pytest

def test_runs(shared):
    assert shared.is_dir()

def test_left_out(shared):
    pytest.skip("some reason")

def test_without_data():
    pytest.skip("another reason")
"""


def suite(folder, environment):
    """Runs the tests of a folder; for a process of its own, forked: what pytest loads is loaded."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with open("said.txt", "w") as sys.stdout:
        pytest.main(["-q", "-p", "no:cacheprovider", "--disable-plugin-autoload", "."])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can fork")
@pytest.mark.parametrize(
    ("ci", "data", "expected"),
    [
        (False, False, "3 skipped"),
        (False, True, "1 passed, 2 skipped"),
        (True, True, "1 failed, 1 passed, 1 skipped"),
        (True, False, "1 skipped, 2 errors"),
    ],
)
def test_in_ci_no_test_of_reference_data_is_left_out(root, tmp_path, ci, data, expected):
    shutil.copy(root / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "data").mkdir()
    hidden = ("CI", "PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"CI": "true"} if ci else {}
    environment["HSITOOLS_SHARED"] = str(tmp_path / ("data" if data else "none"))
    process = multiprocessing.get_context("fork").Process(target=suite, args=(tmp_path, environment))
    process.start()
    process.join()
    said = (tmp_path / "said.txt").read_text()
    assert f"{expected} in" in said, said
    assert ("some reason), expected to run in CI" in said) == (ci and data)


def test_no_git_no_commit(monkeypatch, tmp_path):
    """Neither a missing git nor a tree that is no checkout is an error."""
    from hsitools import provenance

    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.git_commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_commit() is None
