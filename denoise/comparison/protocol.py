"""The benchmark: noisy cubes with their clean one, restored and judged; scenes × cases × methods, resumable."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.comparison.simulate import CASES, clean_cube, simulate
from denoise.registry import get
from denoise.restore import restore
from hsitools import __version__
from hsitools.errors import FormatError, HsiError, InputError
from hsitools.io import describe, open_cube
from hsitools.lookup import lookup
from hsitools.metrics import evaluate
from hsitools.progress import Progress, silent
from hsitools.provenance import git_commit
from hsitools.text import plain

Record = dict[str, Any]
#: What is measured, by the names that records have.
INDICES = {"mpsnr": "PSNR", "mssim": "SSIM", "sam_deg": "SAM"}
#: Smallest image that SSIM's window fits.
SSIM_SIZE = 11
OK = "ok"
#: File of a benchmark's records, one JSON document a line.
RECORDS = "records.jsonl"


# ---- one restoration -------------------------------------------------------------------------------------------


def measure(clean: NDArray[Any], noisy: NDArray[Any], method: str, who: str = "cube") -> Record:
    """Restore a noisy cube blindly and judge it.

    Parameters
    ----------
    clean, noisy : array, shape (band, y, x)
    method : str
    who : str
        For errors.

    Returns
    -------
    dict
        ``method``, ``mpsnr`` (dB), ``mssim``, ``sam_deg``, ``sam_bright_deg`` (pixels brighter than the median only),
        ``seconds``, ``peak_mib`` (largest memory of this process meanwhile, what it held before included), ``path``
        (the way that the method took).
    """
    forget_peak()
    began = time.perf_counter()
    found = restore(noisy, method, who=who)
    seconds, peak = time.perf_counter() - began, peak_mib()
    small = min(clean.shape[1:]) < SSIM_SIZE
    names = [name for name in INDICES.values() if name != "SSIM" or not small]
    # the largest value, as the field's tables have it for cubes that begin at zero
    scores = evaluate(found.estimate, clean, data_range=float(np.nanmax(clean)), metrics=names)
    brightness = clean.mean(0)
    bright = brightness > np.nanmedian(brightness)
    angle = evaluate(found.estimate, clean, mask=bright[None], metrics=["SAM"])["SAM"].value if bright.any() else np.nan
    return {
        "method": found.provenance["method"],
        **{key: scores[index].value if index in scores else float("nan") for key, index in INDICES.items()},
        "sam_bright_deg": angle, "seconds": seconds, "peak_mib": peak, "path": found.provenance["path"],
    }  # fmt: skip


def forget_peak() -> None:
    """Let the kernel measure this process's largest memory anew, where it can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_mib() -> float:
    """Largest memory of this process so far, or since `forget_peak`, MiB."""
    import resource
    import sys

    try:
        status = Path("/proc/self/status").read_text()
        return float(status.partition("VmHWM:")[2].split()[0]) / 2**10
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak / (2**20 if sys.platform == "darwin" else 2**10))


# ---- a file of cases -------------------------------------------------------------------------------------------


def benchmark(path: str | Path, method: str, cases: tuple[str, ...] | None = None) -> Iterator[Record]:
    """Restore each case of a file blindly, with the same settings.

    Parameters
    ----------
    path : path
        HDF5 with ``clean`` and noisy cubes (band, y, x) under other names, as `make_noise_cases.py` writes.
    method : str
    cases : tuple of str, optional
        Default all, in the file's order.

    Yields
    ------
    dict
        ``case``, and what `measure` gives.

    Raises
    ------
    FormatError
        When the file or a case is missing, or a case's shape is not that of the clean cube.
    """
    import h5py

    register_peers()
    path = Path(path)
    if not path.is_file() or not h5py.is_hdf5(path):
        raise FormatError(f"{path}: found no HDF5 file, expected one with a clean cube and its noisy cases")
    with h5py.File(path) as file:
        cubes = [name for name, item in file.items() if isinstance(item, h5py.Dataset) and item.ndim == 3]
        if "clean" not in cubes:
            raise FormatError(f"{path}: clean: missing, expected a cube (band, y, x) of that name")
        clean = file["clean"][...]
        for name in cases or tuple(name for name in cubes if name != "clean"):
            if name not in cubes or file[name].shape != clean.shape:
                raise FormatError(f"{path}: {name}: found no cube of shape {clean.shape}, expected one of {cubes}")
            yield {"case": name, **measure(clean, file[name][...].astype(np.float32), method, f"{path}: {name}")}


def register_peers() -> None:
    """Put the peers beside the methods of the registry."""
    import denoise.comparison.peers  # noqa: F401


# ---- scenes × cases × methods ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All that decides a cell's numbers, but the code.

    Attributes
    ----------
    scene : str
        Name for tables.
    sha256 : str
        Hash of the scene's file.
    case, method : str
    seed : int
    """

    scene: str
    sha256: str
    case: str
    method: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a benchmark is to measure.

    Attributes
    ----------
    scenes : tuple of Path
    methods, cases : tuple of str
    seed : int
    """

    scenes: tuple[Path, ...]
    methods: tuple[str, ...]
    cases: tuple[str, ...] = tuple(CASES)
    seed: int = 0

    @classmethod
    def of(
        cls, scenes: Iterable[str | Path], methods: Iterable[str] = (), cases: Iterable[str] = (), seed: int = 0
    ) -> Plan:  # fmt: skip
        """Folders become the cubes in them; no methods, or ``all``, the whole registry; no cases, all of `CASES`.

        Raises
        ------
        InputError
            When a path does not exist, a folder holds no cube, or a name is unknown.
        """
        from denoise.registry import METHODS

        register_peers()
        files = [file for path in map(Path, scenes) for file in (_cubes_in(path) if path.is_dir() else [path])]
        if not files:
            raise InputError("scenes: found none, expected cubes or folders of them")
        for file in files:
            if not file.is_file():
                raise InputError(f"{file}: found no such file, expected a cube")
        asked = [name.strip() for text in methods for name in text.split(",") if name.strip()]
        chosen = [name for text in asked for name in (METHODS if text.lower() == "all" else [get(text).name])]
        known = {name: name for name in CASES}
        return cls(
            scenes=tuple(dict.fromkeys(files)), methods=tuple(dict.fromkeys(chosen or METHODS)),
            cases=tuple(dict.fromkeys(lookup(case, known, "case") for case in cases)) or tuple(CASES), seed=seed,
        )  # fmt: skip

    def cells(self) -> list[tuple[Path, Cell]]:
        """Every scene × case × method with the scene's file, in the order in which they are done."""
        hashes = {scene: file_hash(scene) for scene in self.scenes}
        return [
            (scene, Cell(scene=scene.stem, sha256=sha, case=case, method=method, seed=self.seed))
            for scene, sha in hashes.items()
            for case in self.cases
            for method in self.methods
        ]


def _cubes_in(folder: Path) -> list[Path]:
    """Files of a folder that are cubes, damaged ones among them: their rows say why."""

    def is_cube(path: Path) -> bool:
        try:
            return path.is_file() and not path.name.startswith(".") and describe(path) is not None
        except HsiError:
            return True

    # of ENVI the header stands for both
    found = [
        path for path in sorted(folder.iterdir()) if path.suffix == ".hdr" or not path.with_suffix(".hdr").exists()
    ]
    found = [path for path in found if is_cube(path)]
    if not found:
        raise InputError(f"{folder}: found no cube, expected some")
    return found


def file_hash(path: Path) -> str:
    """SHA-256 of a file, its first 16 digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def run(
    plan: Plan, folder: str | Path, *, progress: Progress = silent
) -> list[Record]:  # fmt: skip
    """Measure every cell of a plan that the folder does not hold yet.

    Parameters
    ----------
    plan : Plan
    folder : path
        Made if need be. Each finished cell is a line of ``records.jsonl`` at once, so that a run that was killed goes
        on from there; cells that failed are tried again.
    progress : callable
        Called with (cells done, cells in all).

    Returns
    -------
    list of dict
        A record for each cell of the plan: its `Cell`, ``status`` (``ok``, or the reason why there is no result), what
        `measure` gives, and the version and commit that measured it.
    """
    register_peers()
    path = Path(folder) / RECORDS
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: out: cannot make the folder ({error.strerror})") from None
    done = {cell: record for record in read_records(path) if (cell := cell_of(record)) and record["status"] == OK}
    cells, commit, scenes = plan.cells(), git_commit(), _Scenes()
    for number, (scene, cell) in enumerate(cells):
        progress(number, len(cells))
        if cell in done:
            continue
        try:
            clean, noisy = scenes.simulated(scene, cell)
            measured = {"status": OK, **measure(clean, noisy, cell.method, f"{scene}: {cell.case}")}
        except Exception as error:  # of a method, which may raise anything: the others go on
            measured = {"status": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        done[cell] = plain({**asdict(cell), **measured, "hsitools": __version__, "commit": commit})
        _append(path, done[cell])
    progress(len(cells), len(cells))
    return [done[cell] for _, cell in cells]


class _Scenes:
    """The scene and the case that are in use, kept while cells ask for the same."""

    def __init__(self) -> None:
        self._scene: tuple[Path, NDArray[Any]] | None = None
        self._case: tuple[Path, str, NDArray[Any]] | None = None

    def simulated(self, path: Path, cell: Cell) -> tuple[NDArray[Any], NDArray[Any]]:
        """Clean and noisy cube of a cell."""
        if self._scene is None or self._scene[0] != path:
            self._scene = self._case = None  # not two at a time
            self._scene = (path, clean_cube(open_cube(path))[0])
        clean = self._scene[1]
        if self._case is None or self._case[:2] != (path, cell.case):
            self._case = (path, cell.case, simulate(clean, cell.case, cell.seed)[0])
        return clean, self._case[2]


def cell_of(record: Record) -> Cell:
    """The cell that a record is about."""
    return Cell(**{name: record[name] for name in Cell.__dataclass_fields__})


def read_records(path: str | Path) -> list[Record]:
    """Whole lines of a file of records; a last line that was cut by a kill is none.

    Raises
    ------
    FormatError
        When a line that is whole is no record.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    out = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), 1):
        try:
            record = json.loads(line)
            cell_of(record), record["status"]
        except (ValueError, TypeError, KeyError):
            raise FormatError(f"{path}: line {number}: found no record of `hsi denoise benchmark`") from None
        out.append(record)
    return out


def _append(path: Path, record: Record) -> None:
    """One line, whole on disk before the next cell begins; what a kill left of a line is cut off."""
    line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    with os.fdopen(handle, "r+b") as stream:
        text = stream.read()
        stream.truncate(text.rfind(b"\n") + 1)
        stream.seek(0, os.SEEK_END)
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())
