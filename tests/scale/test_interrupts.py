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


def test_a_cluster_that_is_interrupted_half_made_is_not_closed_at_exit(monkeypatch):
    left = []

    def interrupted(**_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(clusters, "begin", lambda workers, modules: None)
    monkeypatch.setattr(distributed, "LocalCluster", interrupted)
    monkeypatch.setattr("atexit.unregister", left.append)
    with pytest.raises(KeyboardInterrupt), cluster(workers=2):
        pass
    assert left == [distributed.deploy.spec.close_clusters]
