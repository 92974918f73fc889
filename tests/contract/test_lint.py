"""``make lint`` as tests: style, format, types."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("ruff", "check", "--quiet", "--output-format=concise", "."), id="ruff-check"),
        pytest.param(("ruff", "format", "--check", "--quiet", "."), id="ruff-format"),
        pytest.param(("mypy",), id="mypy"),
    ],
)
def test_lint(root, command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
