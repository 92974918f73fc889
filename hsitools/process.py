"""The chain of ``hsi process``: bench → instrument → spectra → sharp, clean cube; resumable.

Each room offers its steps through the entry-point group ``hsitools.process``. A step reads files and writes files; one
whose inputs (by their content) and options are those of an earlier run in the same folder is not done again.
"""

from __future__ import annotations

import json
import logging
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hsitools import __version__
from hsitools.chain import Done, Fact, Outcome, Step, run_steps, steps, timed
from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path
from hsitools.io.hashes import content_hash, files_hash, short_hash
from hsitools.io.readers import source_files
from hsitools.io.together import together
from hsitools.lookup import lookup
from hsitools.process_page import write_page
from hsitools.text import decoded, plain

log = logging.getLogger(__name__)
PROCESS = "hsitools.process"
#: Folder of the records of steps, inside the result's.
RECORDS = "steps"
#: Fields of a plan that are files to read.
PATHS = ("bench", "scene", "device", "pan", "illumination", "lamp", "flat")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be processed, and how; the keys of a plan file (TOML) and the options of ``hsi process``.

    Attributes
    ----------
    bench : Path
        Raw monochromator frames, a capture, a folder of either, or a characterization.
    scene : Path
        Raw frames with dark frames, or an interferogram cube.
    out : Path
        Folder of the result.
    device : Path, optional
        Device file (JSON): where the sub-images lie; found in the frames without one.
    pan : Path, optional
        Panchromatic image to fuse with.
    illumination, lamp : Path, optional
        Tables of wavelength (nm) and value, see `calibration.inversion.invert.invert`.
    flat : Path, optional
        Raw frames of an even scene under the calibration lamp: vignetting and dead pixels.
    opd_step : float, optional
        Nominal step between neighbours, µm.
    window : int
        Side of the window at each centre of a sub-image, pixels.
    model, linewidth : str
        As of ``hsi calibrate``.
    grid : str, optional
        ``LOW:HIGH:STEP``, nm; the calibrated lines without one.
    method, fusion, denoiser : str
        See ``hsi invert list``, ``hsi pansharpen list``, ``hsi denoise list``; denoiser ``none`` leaves it out.
    seed : int
    places : dict of str to str
        What messages call a key: where it was told, as ``plan.toml: grid`` or ``--grid``.
    """

    bench: Path
    scene: Path
    out: Path
    device: Path | None = None
    pan: Path | None = None
    illumination: Path | None = None
    lamp: Path | None = None
    flat: Path | None = None
    opd_step: float | None = None
    window: int = 5
    model: str = "auto"
    linewidth: str | None = None
    grid: str | None = None
    method: str = "joint"
    fusion: str = "physics"
    denoiser: str = "lowrank"
    seed: int = 0
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str = "plan", typed: Collection[str] = ()) -> Plan:
        """A plan from its keys; text becomes paths.

        Parameters
        ----------
        values : dict
        where : str
            Where they were told.
        typed : collection of str
            Keys that were options of the command line.

        Raises
        ------
        InputError
            On an unknown key, a missing one, or a value of another type.
        """
        types = {entry.name: entry.type for entry in fields(cls) if entry.name != "places"}
        places: dict[str, str] = {}
        checked: dict[str, Any] = {}
        for key, value in values.items():
            name = lookup(key.replace("-", "_"), {name: name for name in types}, f"{where}: key")
            kind = str(types[name]).removesuffix(" | None")
            expected: dict[str, tuple[type, ...]] = {
                "Path": (str, Path), "int": (int,), "float": (int, float), "str": (str,),
            }  # fmt: skip
            if value is None and "None" in str(types[name]):
                continue
            if name in places and key not in typed:
                raise InputError(f"{where}: {name}: found twice, expected once")
            places[name] = f"--{key.replace('_', '-')}" if key in typed else f"{where}: {name}"
            if isinstance(value, bool) or not isinstance(value, expected[kind]) or value == "":
                what = {"Path": "a path", "int": "a whole number", "float": "a number", "str": "text"}[kind]
                # as of a width in nm, which may also be a word
                quoted = f' in quotes, as "{value}"' if kind == "str" and isinstance(value, int | float) else ""
                raise InputError(f"{places[name]}: found {value!r}, expected {what}{quoted}")
            checked[name] = Path(str(value)) if kind == "Path" else value
        for name in ("bench", "scene", "out"):
            if name not in checked:
                raise InputError(f"{where}: {name}: missing, expected a path")
        return cls(**checked, places=places)

    def place(self, name: str) -> str:
        """What messages call a key."""
        return self.places.get(name, name)

    @contextmanager
    def says(self, name: str) -> Iterator[None]:
        """Meanwhile what is wrong with a key is said of the place where it was told, whatever its reader calls it."""
        try:
            yield
        except InputError as error:
            raise InputError(f"{self.place(name)}: {str(error).partition(': ')[2]}") from None

    def check(self) -> None:
        """Raise now what would be raised after hours: numbers that cannot be, files that are missing."""
        if self.seed < 0:
            raise InputError(f"{self.place('seed')}: found {self.seed}, expected a whole number from 0 on")
        for name in PATHS:
            path = getattr(self, name)
            if path is not None and not path.exists():
                raise FormatError(f"{path}: {name}: found no such file or folder")

    def check_outputs(self, written: Sequence[str]) -> None:
        """Raise `InputError` where a file of this name in `out` is one that is read."""
        outputs = {(self.out / name).resolve() for name in written}
        for name in PATHS:
            path = getattr(self, name)
            if path is not None and path.resolve() in outputs:
                raise InputError(f"{path}: {name}: found a file that this run writes, expected another --out")


def read_plan(path: str | Path) -> dict[str, Any]:
    r"""The keys of a plan file (TOML); its relative paths are those from its own folder.

    Raises
    ------
    FormatError
        When the file is missing or no TOML.

    Examples
    --------
    >>> text = 'bench = "bench"\nscene = "frames.h5"\nout = "result"\nmethod = "gp"\n'
    >>> _ = Path("plan.toml").write_text(text)
    >>> Plan.of(read_plan("plan.toml")).method
    'gp'
    """
    path = Path(path)
    try:
        values = tomllib.loads(decoded(path.read_bytes()))
    except OSError as error:
        raise FormatError(f"{path}: plan: {error.strerror or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f'{path}: plan: expected TOML, as key = "value"; {str(error).splitlines()[0]}') from None
    for name in (*PATHS, "out"):
        if isinstance(values.get(name), str) and values[name]:
            values[name] = path.parent / values[name]
    return values


@dataclass(frozen=True, kw_only=True)
class Process:
    """A run of the chain: its plan, and the files of the steps so far by what they are (``instrument``, ``cube``)."""

    plan: Plan
    files: dict[str, Path] = field(default_factory=dict)
    #: Where a step's files stay until all of them are there.
    making: Path | None = None
    _hashes: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def hash(self, path: Path) -> str:
        """Of what opening a path reads; each is read once a run, unless it was written since."""
        if path.is_dir() or not path.exists():
            return content_hash(path)
        files = source_files(path)
        states = [(file.resolve(), file.stat()) for file in files]
        stamp = tuple((file, state.st_size, state.st_mtime_ns, state.st_ino) for file, state in states)
        if stamp not in self._hashes:
            self._hashes[stamp] = files_hash(files)
        return self._hashes[stamp]

    @property
    def folder(self) -> Path:
        """Where it writes."""
        return self.plan.out if self.making is None else self.making


@dataclass(frozen=True, kw_only=True)
class ProcessStep(Step):
    """A step that can be left as it is when nothing has changed.

    Attributes
    ----------
    name : str
        Of its record.
    inputs : callable
        The files that it reads, of a `Process`.
    options : tuple of str
        Fields of the plan, other than files, that its result depends on.
    wanted : callable
        Whether a plan asks for it.
    writes : tuple of str
        Names of its files in the folder of the result, none of which may be an input.
    check : callable
        Raises, of a plan, what can be told before anything is done: a name that is not there, files that do not fit.
    """

    name: str
    inputs: Callable[[Process], Sequence[Path]]
    options: tuple[str, ...] = ()
    wanted: Callable[[Plan], bool] = lambda plan: True
    writes: tuple[str, ...] = ()
    check: Callable[[Plan], None] = lambda plan: None


def process(
    plan: Plan, before: Callable[[str], None] = lambda text: None, after: Callable[[Done], None] = lambda done: None
) -> tuple[Path, list[Done]]:
    """Run a plan; steps that were done before and whose inputs and options are the same are kept.

    The page is written after each step, so that it tells of those done when a later one fails.

    Parameters
    ----------
    plan : Plan
    before, after : callable
        Called with what begins, and with the step that has ended.

    Returns
    -------
    (Path, list of Done)
        ``report.html`` in the folder of the result, and the steps.

    Raises
    ------
    HsiError
        What a step raises; what was done before it stays.
    """
    plan.check()
    offered = steps(PROCESS)
    chosen = [step for step in offered if step.wanted(plan)]
    _say_unused(plan, offered, chosen)
    plan.check_outputs([name for step in chosen for name in step.writes])
    for step in chosen:
        step.check(plan)
    try:
        (plan.out / RECORDS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{plan.out}: out: cannot make the folder ({error.strerror})") from None
    state, done = Process(plan=plan), list[Done]()
    _say_left(state, [step for step in offered if step not in chosen])
    page = plan.out / "report.html"

    def shown(item: Done) -> None:
        done.append(item)
        write_page(asdict(plan), done, page)
        after(item)

    return page, run_steps(chosen, lambda step: _kept_or_done(step, state), before, shown)


def _say_unused(plan: Plan, offered: Sequence[Any], chosen: Sequence[Any]) -> None:
    """Say which options were asked for that belong to steps that this plan does without."""
    used = {name for step in chosen for name in step.options}
    default = {entry.name: entry.default for entry in fields(Plan)}
    for step in offered:
        for name in step.options:
            value = getattr(plan, name)
            # ``none`` is what leaves a step out
            if name not in used and value not in (default[name], "none"):
                log.warning("%s: %s is not used: this plan does without the step %r", name, value, step.title)


def _say_left(state: Process, without: Sequence[Any]) -> None:
    """Say which files of steps that this plan does without an earlier one has left beside its own."""
    for step in without:
        for path in sorted(_written_before(state.folder / RECORDS / f"{step.name}.json", state)):
            if path.exists():
                log.warning("%s: of an earlier run, and not of this one: this plan does without the step %r", path,
                            step.title)  # fmt: skip


def _kept_or_done(step: Any, state: Process) -> Done:
    key = short_hash(
        {
            "step": step.name, "version": __version__, "inputs": [state.hash(path) for path in step.inputs(state)],
            "options": {name: _said_of(getattr(state.plan, name)) for name in step.options},
        }
    )  # fmt: skip
    record = state.folder / RECORDS / f"{step.name}.json"
    done = _read_record(record, step, key, state)
    if done is None:
        former = _written_before(record, state)
        with together(state.folder / f"{step.name}.files") as making:
            done = timed(step, replace(state, making=making))
            # a run that is killed from here on leaves no record that speaks for half of its files
            _write_document(record, {"key": None, "files": {str(path): {"path": str(path)} for path in former}})
        files = {name: _placed(path, making, state.folder) for name, path in done.outcome.files.items()}
        done = replace(done, outcome=replace(done.outcome, files=files))
        # error bars of another method would pass for those of this one
        for path in former - {path.resolve() for path in files.values()}:
            path.unlink(missing_ok=True)
        _write_record(record, done, key, state)
    state.files.update(done.outcome.files)
    return done


def _said_of(option: Any) -> Any:
    """What of an option a result depends on: a file's content is among the inputs, wherever it lies."""
    return "given" if isinstance(option, Path) else plain(option)


def _placed(path: Path, making: Path, folder: Path) -> Path:
    """Where a file is once its step has ended."""
    return folder / path.relative_to(making) if path.is_relative_to(making) else path


def _written_before(record: Path, state: Process) -> set[Path]:
    """Files in the folder of the result that a record tells of; none where there is no record."""
    try:
        entries = json.loads(record.read_text(encoding="utf-8"))["files"].values()
        paths = {(state.folder / entry["path"]).resolve() for entry in entries}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
    inputs = {path.resolve() for name in PATHS if (path := getattr(state.plan, name)) is not None}
    return {path for path in paths if path.is_relative_to(state.folder.resolve()) and path not in inputs}


def _write_record(path: Path, done: Done, key: str, state: Process) -> None:
    outcome, folder = done.outcome, state.folder
    with atomic_path(path.with_suffix(".png")) as temporary:
        temporary.write_bytes(done.png)
    files = {
        name: {"path": str(file.relative_to(folder) if file.is_relative_to(folder) else file.resolve()),
               "sha256": state.hash(file)}
        for name, file in outcome.files.items()
    }  # fmt: skip
    document = {
        "key": key, "title": done.step.title, "seconds": done.seconds, "text": outcome.text,
        "caption": outcome.caption, "facts": [asdict(fact) for fact in outcome.facts], "headline": outcome.headline,
        "summary": plain(outcome.summary), "files": files,
    }  # fmt: skip
    _write_document(path, document)


def _write_document(path: Path, document: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _read_record(path: Path, step: Step, key: str, state: Process) -> Done | None:
    """What an earlier run did, when it is the same and its files are still what they were."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["key"] != key:
            return None
        files = {name: state.folder / entry["path"] for name, entry in document["files"].items()}
        if any(state.hash(files[name]) != entry["sha256"] for name, entry in document["files"].items()):
            return None
        from hsitools.plot import new_figure

        outcome = Outcome(
            text=document["text"], caption=document["caption"], facts=[Fact(**fact) for fact in document["facts"]],
            headline=None if document["headline"] is None else tuple(document["headline"]),
            summary=document["summary"], files=files, figure=new_figure(1, 1)[0],
        )  # fmt: skip
        png = path.with_suffix(".png").read_bytes()
    except (OSError, ValueError, KeyError, TypeError, FormatError):
        return None
    return Done(step=step, outcome=outcome, seconds=float(document["seconds"]), png=png, kept=True)
