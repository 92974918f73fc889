"""The benchmark of fusion methods: what it is asked for, the cells that follow, its folder with ``sensor.h5``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hsitools.comparison.benchmark as engine
import pansharpen.methods  # noqa: F401  (registers them)
from hsitools.comparison.plan import Cell, Plan, Source, chosen_names, cubes_of, labels_of
from hsitools.errors import HsiError, InputError
from hsitools.io import open_cube
from hsitools.io.hashes import content_hash
from hsitools.sensor.multispectral import band_table
from hsitools.sensor.presets import open_sensor
from hsitools.sensor.sensor import Sensor
from pansharpen.comparison.fusion_task import FUSION
from pansharpen.comparison.table import Row, columns_with, row_of
from pansharpen.learning.fusion_card import WEIGHTS
from pansharpen.pair.case_files import convention
from pansharpen.registry import METHODS, names

PROTOCOLS = ("reduced", "full")
#: Families that cost minutes a cell or need weights: run when asked for.
NOT_BY_DEFAULT = ("supervised net", "zero-shot net")


@dataclass(frozen=True, kw_only=True)
class FusionSource(Source):
    """A file that cases come from.

    Attributes
    ----------
    kind : str
        ``scene`` that a sensor is to see, ``product`` (a cube with its own PAN), or ``case`` (file).
    ratio : int or None
        Its own; None for scenes, which have none, and where it cannot be read.
    reference : bool
        Whether it can be compared with a truth without degrading it first.
    """

    kind: str
    ratio: int | None = None
    reference: bool = True

    def protocol(self, asked: str) -> str:
        """``auto`` is ``reduced``, but ``full`` for a case file without truth."""
        if asked != "auto":
            return asked
        return "reduced" if self.reference else "full"


@dataclass(frozen=True, kw_only=True)
class FusionPlan(Plan):
    """All that a benchmark was asked for; `Benchmark.create` makes them.

    Attributes
    ----------
    ratios : tuple of int
        For scenes; other sources have their own.
    noises : tuple of bool
        The same.
    protocols : tuple of str
        ``reduced``: against a reference, which is the scene, the case file's truth, or the cube itself when both it and
        PAN are degraded once more (Wald). ``full``: as it is, without reference. See `FusionSource.protocol`.
    convention : str
    sensor, sensor_name : str or None
        Fingerprint and name.
    sensor_for_all : bool
        Whether it was given, so that cases and products are taken to be of it too.
    guide : str or None
        Imager whose bands take PAN's place where scenes are simulated.
    snr_db : float or None
        White noise in all images of simulated scenes, instead of the sensors'.
    scale : float or None
        Turns the scenes' numbers into the sensor's units, instead of what their files say.
    """

    ratios: tuple[int, ...]
    noises: tuple[bool, ...]
    protocols: tuple[str, ...]
    convention: str
    sensor: str | None
    sensor_name: str | None
    sensor_for_all: bool
    guide: str | None = None
    snr_db: float | None = None
    scale: float | None = None

    def cells(self) -> list[Cell]:
        """All cells, case after case."""
        labels = labels_of([source.path for source in self.sources])
        out = []
        for source, label in zip(self.sources, labels, strict=True):
            is_scene = source.kind == "scene"
            # named only where they were asked for: benchmarks of before keep their cells
            wishes = ("guide", "snr_db", "scale")
            others = {name: getattr(self, name) for name in wishes if is_scene and getattr(self, name)}
            out += [
                Cell(method=method, case={
                    "case": label, "source": source.path, "sha256": source.sha256, "kind": source.kind, "ratio": ratio,
                    "noise": noise, "protocol": protocol, "convention": self.convention, "seed": self.seed,
                    "sensor": self.sensor if is_scene or self.sensor_for_all else None, "device": self.device,
                    **others,
                })
                for ratio in (self.ratios if is_scene else (source.ratio,))
                for noise in (self.noises if is_scene else (None,))
                for protocol in dict.fromkeys(map(source.protocol, self.protocols))
                for method in self.methods
            ]  # fmt: skip
        return out

    def check(self) -> None:
        """See `Plan.check`."""
        asked = ("auto", *PROTOCOLS)
        wrong = [value for value in self.protocols if value not in asked]
        if wrong:
            raise InputError(f"protocol: found {wrong[0]!r}, expected one of {', '.join(asked)}")
        for name in ("ratios", "noises", "protocols"):
            if not getattr(self, name):
                raise InputError(f"{name}: found none, expected at least one")
        if min(self.ratios) < 2:
            raise InputError(f"ratio: found {min(self.ratios)}, expected at least 2")
        if self.guide is not None:
            band_table(self.guide)
        if self.snr_db is not None and not np.isfinite(self.snr_db):
            raise InputError(f"snr: found {self.snr_db}, expected decibels")
        if self.scale is not None and not (np.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"scale: found {self.scale}, expected a positive number")
        super().check()


class Benchmark(engine.Benchmark):
    """A benchmark in its folder, with ``sensor.h5`` and pictures beside what every benchmark has."""

    task, plan, source = FUSION, FusionPlan, FusionSource
    pretrained = WEIGHTS.pretrained
    command = "hsi pansharpen benchmark"

    @classmethod
    def create(
        cls, folder: str | Path, *, scenes: Iterable[str | Path] = (), cases: Iterable[str | Path] = (),
        methods: Iterable[str] = (), sensor: Sensor | str | None = None, ratios: Iterable[int] = (6,),
        noises: Iterable[bool] = (True,), protocols: Iterable[str] = ("auto",), rules: str = "hsitools", seed: int = 0,
        device: str = "cpu", weights: str | Path | None = None, threads: int = 0, time_limit_s: float | None = None,
        memory_limit_mib: float | None = None, plugins: Iterable[str | Path] = (), guide: str | None = None,
        snr_db: float | None = None, scale: float | None = None,
    ) -> Benchmark:  # fmt: skip
        """Plan a benchmark of fusion methods in a folder (made if need be).

        Parameters
        ----------
        folder : path
        scenes : paths
            Cubes, or folders of them. Those with a panchromatic image of their own are taken as such a pair, others are
            shown to the sensor.
        cases : paths
            Case files, see `pansharpen.pair.case_files.read_case`.
        sensor : Sensor or str, optional
            File or preset; default PRISMA for scenes, none for cases and products.
        others
            As of `FusionPlan`.

        Raises
        ------
        InputError
            When the folder holds a benchmark already, or anything asked for cannot be.
        """
        folder = Path(folder)
        cls.refuse(folder)
        added = cls.plugins_of(plugins)
        sources = sources_of(scenes, cases)
        used = sensor if sensor is not None else "prisma" if any(s.kind == "scene" for s in sources) else None
        used = open_sensor(used) if isinstance(used, str) else used
        settings = FusionPlan(
            sources=tuple(sources),
            methods=tuple(chosen_names(methods, (*names(), *added.methods), default_methods())),
            ratios=tuple(dict.fromkeys(ratios)), noises=tuple(dict.fromkeys(noises)),
            protocols=tuple(dict.fromkeys(protocols)), convention=convention(rules).name, seed=seed,
            sensor=None if used is None else used.fingerprint(), sensor_name=None if used is None else used.name,
            sensor_for_all=sensor is not None, device=device,
            weights=None if weights is None else str(Path(weights).resolve()), threads=threads,
            time_limit_s=time_limit_s, memory_limit_mib=memory_limit_mib,
            plugins=(*added.method_files, *added.index_files), guide=guide, snr_db=snr_db,
            scale=scale,
        )  # fmt: skip
        made = cls.begin(folder, settings, added)
        if used is not None:
            used.save(folder / "sensor.h5")
        return made

    @property
    def columns(self) -> tuple[str, ...]:
        """See `engine.Benchmark.columns`."""
        return columns_with(self.plugins.indices)

    def row_of(self, record: dict[str, Any]) -> Row:
        """See `engine.Benchmark.row_of`."""
        return row_of(record, self.columns)


def default_methods() -> list[str]:
    """Methods that need no training and no patience."""
    return [name for name in names() if not METHODS[name].trained and METHODS[name].family not in NOT_BY_DEFAULT]


def sources_of(scenes: Iterable[str | Path], cases: Iterable[str | Path]) -> list[FusionSource]:
    """Files with what they are; a folder stands for the cubes in it.

    A file that cannot be read is kept: its cells say why.

    Raises
    ------
    InputError
        When a path does not exist, a folder holds no cube, or there is nothing at all.
    """
    files = [(path, _cube_facts) for path in cubes_of(scenes)] + [(Path(path), _case_facts) for path in cases]
    if not files:
        raise InputError("benchmark: found neither scenes nor cases, expected some (--scenes, --cases)")
    out = [FusionSource(path=str(path.resolve()), sha256=content_hash(path), **facts(path)) for path, facts in files]
    return list(dict.fromkeys(out))


def _cube_facts(path: Path) -> dict[str, Any]:
    try:
        ratio = open_cube(path).ratio
    except HsiError:
        ratio = None
    return {"kind": "scene" if ratio is None else "product", "ratio": ratio}


def _case_facts(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {"kind": "case", "ratio": int(np.ravel(archive["ratio"])[0]), "reference": "gt" in archive.files}
    except Exception:
        return {"kind": "case"}  # its cells will say what is wrong
