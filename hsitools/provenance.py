"""Which state of the code made a result."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """Commit of the checkout that this code is run from; None when it is installed."""
    here = Path(__file__)

    def ask(*words: str) -> str:
        try:
            done = subprocess.run(
                ["git", "-C", str(here.parent), *words], capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    return (ask("describe", "--always", "--dirty") or None) if ask("ls-files", here.name) else None
