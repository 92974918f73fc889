"""The suite itself: what may be left out, and where it must run."""

import os
import shutil
import subprocess
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
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | ({"CI": "true"} if ci else {})
    environment["HSITOOLS_SHARED"] = str(tmp_path / ("data" if data else "none"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"{expected} in" in done.stdout, done.stdout
    assert ("some reason), expected to run in CI" in done.stdout) == (ci and data)


def test_no_git_no_commit(monkeypatch, tmp_path):
    """Neither a missing git nor a tree that is no checkout is an error."""
    from hsitools import provenance

    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.git_commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.git_commit() is None
