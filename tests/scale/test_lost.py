"""A scheduler that goes away: one line, and nothing that nobody computed passes for a result."""

from __future__ import annotations

import logging
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest

from hsitools.errors import HsiError
from hsitools.scale import cluster as clusters
from hsitools.scale import tasks
from hsitools.scale.cluster import cluster

distributed = pytest.importorskip("distributed")


class Queue:
    """Futures that were done, as Dask gives them."""

    def __init__(self, result):
        self.result = result

    def has_ready(self):
        return True

    def __next__(self):
        return "future", self.result


def test_what_was_cancelled_is_no_result():
    """A store of tiles was given its name with those missing that were still to come."""
    client = SimpleNamespace(status="running")
    assert tasks._next(Queue(1), client) == ("future", 1)
    with pytest.raises(HsiError, match="workers: their scheduler is gone; the same command goes on"):
        tasks._next(Queue(distributed.client.FutureCancelledError("key", "scheduler-connection-lost")), client)


@pytest.mark.parametrize("lost", [distributed.comm.core.CommClosedError("in <TCP (closed)>"), CancelledError()])
def test_a_scheduler_that_is_lost_at_any_time_is_said(monkeypatch, lost):
    class Made:
        def __init__(self, **_options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_what):
            pass

    monkeypatch.setattr(clusters, "begin", lambda workers, modules: None)
    monkeypatch.setattr(clusters, "check_workers", lambda *_: None)
    monkeypatch.setattr(distributed, "LocalCluster", Made)
    monkeypatch.setattr(distributed, "Client", lambda made: made)
    with pytest.raises(HsiError, match="workers: their scheduler is gone"), cluster(workers=2):
        raise lost
    # its own words are for -v
    assert not logging.getLogger("distributed.client").isEnabledFor(logging.ERROR)


@pytest.mark.parametrize("deaths", [1, 2, 3])
def test_a_worker_that_dies_as_it_starts_is_started_again(deaths):
    made = iter([RuntimeError("Nanny failed to start.")] * deaths + ["cluster"])

    def cluster_of(n_workers):
        assert n_workers == 2
        found = next(made)
        if isinstance(found, RuntimeError):
            raise found
        return found

    if deaths < clusters.STARTS:
        assert clusters._begun(cluster_of, n_workers=2) == "cluster"
    else:
        with pytest.raises(HsiError, match=r"^workers: cannot be started, tried 3 times; Nanny failed to start\.$"):
            clusters._begun(cluster_of, n_workers=2)
