"""Who does the cells of a benchmark, as a command was asked: processes here, or Dask's workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hsitools.comparison.benchmark import Benchmark
from hsitools.comparison.scratch import remove_stale
from hsitools.comparison.task import OK
from hsitools.comparison.two_sides import Record, by_workers
from hsitools.errors import HsiError, InputError
from hsitools.progress import Progress
from hsitools.scale.cluster import cluster


@dataclass(frozen=True, kw_only=True)
class Hands:
    """``--jobs``, or one of ``--workers`` and ``--scheduler``."""

    jobs: int = 1
    workers: int | None = None
    scheduler: str | None = None

    def run(self, made: Benchmark, *, retry: bool, progress: Progress) -> list[Record]:
        """Do what is not done of a benchmark: see `hsitools.comparison.benchmark.Benchmark.run`.

        Raises
        ------
        InputError
            Also when workers do not see the benchmark's folder and files.
        """
        files = [made.folder, made.settings.weights, *(source.path for source in made.settings.sources)]
        try:
            with cluster(self.workers, self.scheduler, files=files) as client:
                if client is None:
                    return made.run(jobs=self.jobs, retry=retry, progress=progress)
                if self.jobs != 1:
                    raise InputError(f"--jobs: found {self.jobs} with workers, expected their number alone")
                return made.run(executor=by_workers(client), retry=retry, progress=progress)
        finally:
            # of workers, which end without a chance to clear away
            remove_stale()


def refuse_all_failed(records: Sequence[Record], where: object) -> None:
    """Raise `HsiError` when no cell of a benchmark has a result: a script must not go on as if there were one."""
    if records and all(record["status"] != OK for record in records):
        reason = " ".join(str(records[0]["status"]).split())
        raise HsiError(
            f"{where}: cells: found no result in {len(records)}, expected some; {records[0]['method']}: {reason}"
        )
