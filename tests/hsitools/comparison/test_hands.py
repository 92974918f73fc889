"""Who does the cells of a benchmark leaves nothing behind."""

import os
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from hsitools.comparison import hands
from hsitools.comparison.scratch import PREFIX


@pytest.mark.parametrize("end", [None, KeyboardInterrupt])
def test_folders_of_workers_that_are_gone_go_too(tmp_path, monkeypatch, end):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    @contextmanager
    def killed_at_the_end(*_arguments, **_options):
        """A cluster whose worker has no time to clear away."""
        yield "client"
        # its lock went with it
        (tmp_path / f"{PREFIX}worker").mkdir()
        (tmp_path / f"{PREFIX}worker" / ".lock").touch()

    def run(**_options):
        if end is not None:
            os.makedirs(tmp_path / f"{PREFIX}other")
            (tmp_path / f"{PREFIX}other" / ".lock").touch()
            raise end
        return []

    monkeypatch.setattr(hands, "cluster", killed_at_the_end)
    made = SimpleNamespace(folder=tmp_path, settings=SimpleNamespace(weights=None, sources=()), run=run)
    if end is None:
        assert hands.Hands(workers=2).run(made, retry=False, progress=print) == []
    else:
        with pytest.raises(end):
            hands.Hands(workers=2).run(made, retry=False, progress=print)
    assert list(tmp_path.iterdir()) == []
