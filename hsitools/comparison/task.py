"""What a room plugs in: how a case is loaded, shown to a method, worked on and judged; and both sides of a cell.

No process holds the truth while a method runs, so that no memory nor frame has it. What this cannot prevent: a method
that looks for the source's file, which the same user may read, by itself; one that is told the truth in its weights or
its code; one that falsifies its own clock.
"""

from __future__ import annotations

import os
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hsitools.comparison.cost import measured, memory_limit
from hsitools.comparison.plugins import described
from hsitools.errors import HsiError, InputError
from hsitools.io.atomic import atomic_path
from hsitools.plugins import load_plugin

OK = "ok"
#: Names of files in a scratch folder: what a method may see, and what it made of that.
OBSERVED, RESULT = "observed.npz", "result.npy"


class Task(ABC):
    """What a room plugs in. Its instances hold nothing of a case: each call is in a process of its own."""

    #: Where workers find the instance: ``module:NAME``.
    path: ClassVar[str]
    #: What code of the room loads where it first needs it. Workers load it once: each cell would anew, at the cost of
    #: its method, whose seconds would be those of an import.
    libraries: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def methods(self) -> Mapping[str, Any]:
        """The registry: entries with ``name`` and ``function``, those that need weights with ``trained``."""

    @abstractmethod
    def load(self, case: Mapping[str, Any], folder: Path) -> Any:
        """Judge's side: the case with its truth; ``folder`` is the benchmark's."""

    @abstractmethod
    def show(self, loaded: Any, path: Path) -> dict[str, Any]:
        """Judge's side: write what a method may see to ``path`` (.npz); what a record says of the case."""

    @abstractmethod
    def judge(self, loaded: Any, result: NDArray[Any], job: Mapping[str, Any]) -> dict[str, Any]:
        """Judge's side: ``values`` by index, and what else a record says of a result; raises where it cannot be."""

    @abstractmethod
    def read(self, path: Path, device: str) -> Any:
        """Method's side: what `show` wrote."""

    @abstractmethod
    def apply(self, entry: Any, observed: Any, job: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Method's side: the result (array or tensor), and what a record says of the method's way."""

    # ---- the two sides -----------------------------------------------------------------------------------------

    def judge_side(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do what needs the truth: show a case, or judge what a method made of it.

        Parameters
        ----------
        job : dict
            ``case``, ``folder`` of the benchmark, ``key``, ``case_key``, ``threads``, ``device``, ``index_files`` and
            the ``indices`` that these register, and either ``observed`` (where to write what a method may see) or
            ``result`` (what it made of that).

        Returns
        -------
        dict
            ``status`` (``ok`` or why not) and what `show` or `judge` gave.
        """
        share_threads(job["threads"])
        try:
            for file in job["index_files"]:
                load_plugin(file)
            loaded = self.load(job["case"], Path(job["folder"]))
            if "observed" in job:
                return {"status": OK, **self.show(loaded, Path(job["observed"]))}
        except Exception as error:
            return {"status": f"unusable: {reason_of(error)}"}
        try:
            return {**self.judge(loaded, np.load(job["result"], allow_pickle=False), job), "status": OK}
        except Exception as error:
            return failure(error, "cannot be judged: ")

    def method_side(self, job: dict[str, Any]) -> dict[str, Any]:
        """Do what needs a method's own code: tell of it, or apply it.

        Runs in a process that never held a truth, nor was told where one lies.

        Parameters
        ----------
        job : dict
            ``plugins``; and, to apply, ``folder`` (with `OBSERVED`; `RESULT` is written there), ``method``, ``seed``,
            ``device``, ``weights``, ``threads``, ``memory_limit_mib``.

        Returns
        -------
        dict
            Without ``method``: see `described`, or ``error``. With it: ``status`` (``ok`` or why not), costs of one
            call in a fresh process, so that nothing is cached, and what `apply` said.
        """
        if "method" not in job:
            try:
                return described(job["plugins"], self.methods, self.path.partition(".")[0])
            except InputError as error:
                return {"error": str(error)}
        share_threads(job["threads"])
        for plugin in job["plugins"]:
            load_plugin(plugin)
        folder, device = Path(job["folder"]), job["device"]
        observed = self.read(folder / OBSERVED, device)
        warm_up(device)
        entry = self.methods[job["method"]]
        record: dict[str, Any] = {}
        try:
            with measured(record, device), memory_limit(job["memory_limit_mib"]):
                result, said = self.apply(entry, observed, job)
        except (MemoryError, RuntimeError) as error:
            texts = ("out of memory", "allocate memory", "bad_alloc")
            full = isinstance(error, MemoryError) or any(text in str(error) for text in texts)
            return {**record, **failure(error, "out of memory: " if full else "")}
        except Exception as error:
            lacks_weights = isinstance(error, HsiError) and "weights" in str(error)
            untrained = getattr(entry, "trained", False) and job["weights"] is None and lacks_weights
            return {**record, **failure(error, "needs training: " if untrained else "")}
        np.save(folder / RESULT, result.cpu().numpy() if hasattr(result, "cpu") else result)
        return {**said, **record, "status": OK}


def share_threads(number: int) -> None:
    """As many threads as the benchmark says (0: as the system does); torch is not loaded for it: that takes seconds."""
    if not number:
        return
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)
    # what a method loads itself asks for it when it is loaded
    os.environ["OMP_NUM_THREADS"] = str(number)


def warm_up(device: str) -> None:
    """Thread pools and libraries start with the first large operation, which is no method's cost."""
    if "torch" in sys.modules:
        large = sys.modules["torch"].ones(512, 512, device=device)
        (large @ large).sum().item()


def added_indices(own: tuple[str, ...], kind: str, names: Iterable[str]) -> tuple[str, ...]:
    """The room's own indices, and of those that plugins registered (``names``) the ones of a kind."""
    from hsitools.metrics import INDICES

    return (*own, *(name for name in names if name not in own and INDICES[name].kind == kind))


def keep_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an .npz file, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, HsiError) else f"{type(error).__name__}: {text}"


def failure(error: BaseException, prefix: str) -> dict[str, Any]:
    """What a record says of an error."""
    return {
        "status": f"{prefix}{reason_of(error)[:500]}",
        "traceback": "".join(traceback.format_exception(error))[-4000:],
    }
