"""Ctrl-C on a terminal goes to all processes of a command at once: only the command itself says so."""

from __future__ import annotations

import signal
import sys

import pytest

from hsitools.scale import cluster as clusters
from hsitools.scale.cluster import cluster

distributed = pytest.importorskip("distributed")


@pytest.mark.skipif(sys.platform != "linux", reason="no server of forks elsewhere")
def test_workers_are_not_interrupted_beside_their_command(monkeypatch):
    blocked = []
    monkeypatch.setattr(
        "multiprocessing.forkserver.ensure_running",
        lambda: blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    )
    monkeypatch.setattr("multiprocessing.forkserver.set_forkserver_preload", lambda modules: None)
    clusters.begin(2, [])
    # what is started inherits it
    assert blocked == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


class Made:
    """A cluster that is interrupted while it is made."""

    def __init__(self, **_options):
        told.append("begun")
        signal.raise_signal(signal.SIGINT)
        told.append("made")

    def __enter__(self):
        return self

    def __exit__(self, *_what):
        told.append("closed")


told: list[str] = []


def test_a_cluster_that_is_interrupted_while_it_is_made_is_made_and_closed(monkeypatch):
    """Half made it could only be left: its processes and its loop said where they were."""
    told.clear()
    monkeypatch.setattr(clusters, "begin", lambda workers, modules: None)
    monkeypatch.setattr(distributed, "LocalCluster", Made)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), cluster(workers=2):
        told.append("used")
    assert told == ["begun", "made", "closed"]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_second_interrupt_does_not_wait():
    told.clear()

    def begun():
        with clusters._interrupts_wait():
            signal.raise_signal(signal.SIGINT)
            told.append("waited")
            signal.raise_signal(signal.SIGINT)
            told.append("went on")

    with pytest.raises(KeyboardInterrupt):
        begun()
    assert told == ["waited"]
