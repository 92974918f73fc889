"""The benchmark of denoisers: noise cases on clean scenes, or a file of cases; the cells that follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

import denoise.methods  # noqa: F401  (registers them)
import hsitools.comparison.benchmark as engine
from denoise.comparison.denoising_task import DENOISING
from denoise.comparison.report import columns_with
from denoise.comparison.simulate import CASES
from denoise.learning.denoiser_card import WEIGHTS
from denoise.registry import METHODS
from hsitools.comparison.plan import Cell, Plan, Source, chosen_names, cubes_of, labels_of
from hsitools.comparison.scratch import Scratch
from hsitools.comparison.task import OK
from hsitools.comparison.two_sides import Record
from hsitools.errors import FormatError, HsiError, InputError
from hsitools.io.hashes import content_hash
from hsitools.io.labels import strange


@dataclass(frozen=True, kw_only=True)
class NoiseSource(Source):
    """A file that cases come from.

    Attributes
    ----------
    kind : str
        ``scene`` that noise is simulated on, or ``cases`` (HDF5 with a clean cube and noisy ones).
    cases : tuple of str
        Those of a file of cases.
    """

    kind: str = "scene"
    cases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DenoisingPlan(Plan):
    """What a benchmark was asked for.

    Attributes
    ----------
    cases : tuple of str
        Of `CASES`, for scenes.
    """

    cases: tuple[str, ...] = tuple(CASES)

    def cells(self) -> list[Cell]:
        """Every scene × case × method, in the order in which they are done."""
        labels = labels_of([source.path for source in self.sources])
        return [
            Cell(method=method, case={
                "scene": label, "source": source.path, "sha256": source.sha256, "kind": source.kind, "case": case,
                "seed": self.seed,
            })
            for source, label in zip(self.sources, labels, strict=True)
            for case in source.cases or self.cases
            for method in self.methods
        ]  # fmt: skip


class Benchmark(engine.Benchmark):
    """A benchmark in its folder: scenes × cases × methods."""

    task, plan, source = DENOISING, DenoisingPlan, NoiseSource
    pretrained = WEIGHTS.pretrained
    command = "hsi denoise benchmark"

    @classmethod
    def create(
        cls, folder: str | Path, *, scenes: Iterable[str | Path] = (), files: Iterable[str | Path] = (),
        methods: Iterable[str] = (), cases: Iterable[str] = (), plugins: Iterable[str | Path] = (),
        resume: bool = False, **limits: Any,
    ) -> Benchmark:  # fmt: skip
        """Plan a benchmark in a folder (made if need be).

        Parameters
        ----------
        folder : path
        scenes : paths
            Clean cubes, or folders of them.
        files : paths
            HDF5 with ``clean`` and noisy cubes (band, y, x) under other names, as `make_noise_cases.py` writes.
        methods : iterable of str
            Default the whole registry.
        cases : iterable of str
            Default all of `CASES`, and all of a file.
        plugins : paths
        resume : bool
            The folder may hold a benchmark: of its cells those of the same content are not done again.
        limits
            Further fields of `Plan`.

        Raises
        ------
        InputError
            When a path does not exist, a folder holds no cube, or a name is unknown.
        """
        folder = Path(folder)
        if not resume:
            cls.refuse(folder)
        added = cls.plugins_of(plugins)
        sources = [NoiseSource(path=str(path.resolve()), sha256=content_hash(path)) for path in cubes_of(scenes)]
        sources += [_file_of_cases(Path(path), tuple(cases)) for path in files]
        if not sources:
            raise InputError("scenes: found none, expected cubes or folders of them")
        asked = () if files else cases
        settings = DenoisingPlan(
            sources=tuple(dict.fromkeys(sources)), cases=tuple(chosen_names(asked, CASES, tuple(CASES), "case")),
            methods=tuple(chosen_names(methods, (*METHODS, *added.methods), (*METHODS, *added.methods))),
            plugins=(*added.method_files, *added.index_files), **limits,
        )  # fmt: skip
        return cls.begin(folder, settings, added, again=resume)

    @property
    def columns(self) -> tuple[str, ...]:
        """See `engine.Benchmark.columns`."""
        return columns_with(self.plugins.indices)


def _file_of_cases(path: Path, cases: tuple[str, ...]) -> NoiseSource:
    if not path.is_file() or not h5py.is_hdf5(path):
        raise FormatError(
            f"{path}: found {strange(path) or 'no HDF5 file'}, expected one with a clean cube and its noisy cases"
        )
    try:
        with h5py.File(path) as file:
            cubes = {
                name: item.shape for name, item in file.items() if isinstance(item, h5py.Dataset) and item.ndim == 3
            }
    except OSError as error:
        raise FormatError(f"{path}: cannot be read; {' '.join(str(error).split())}") from None
    if "clean" not in cubes:
        raise FormatError(f"{path}: clean: missing, expected a cube (band, y, x) of that name")
    names = cases or tuple(name for name in cubes if name != "clean")
    for name in names:
        if cubes.get(name) != cubes["clean"]:
            raise FormatError(f"{path}: {name}: found no cube of shape {cubes['clean']}, expected one of {list(cubes)}")
    return NoiseSource(path=str(path.resolve()), sha256=content_hash(path), kind="cases", cases=names)


def benchmark(path: str | Path, method: str, cases: tuple[str, ...] = (), **options: Any) -> Iterator[Record]:
    """Restore each case of a file blindly, with the same settings.

    Parameters
    ----------
    path : path
        See `Benchmark.create`.
    method : str
    cases : tuple of str
        Default all, in the file's order.
    options
        Of `Benchmark.create`.

    Yields
    ------
    dict
        ``case``, ``method``, what `denoise.comparison.judging.judged` gives, costs, ``path``.

    Raises
    ------
    FormatError
        When the file or a case is missing, or a case's shape is not that of the clean cube.
    HsiError
        When a case has no result.
    """
    with Scratch() as folder:
        made = Benchmark.create(folder, files=[path], methods=[method], cases=cases, **options)
        made.run()
        for row in made.rows():
            if row["status"] != OK:
                raise HsiError(f"{path}: {row['case']}: {row['method']}: {row['status']}")
            yield row
