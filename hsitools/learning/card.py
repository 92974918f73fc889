"""The card of trained weights: a JSON file that says what they were learned from, with what, and by which command."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import hsitools
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path

FORMAT = "hsitools-weights"


@dataclass(frozen=True, kw_only=True)
class Card:
    """Where a file of weights comes from; rooms add what theirs are for.

    Fields hold what JSON can, and tuples; ``__post_init__`` of a room's card may refuse values by an `InputError`.

    Attributes
    ----------
    method : str
        What the weights are for: the stem of their file.
    data, held_out : tuple of str
        Scenes, and those of them that were judged by only. Cards of 0.1.0's supervised nets do not name the latter.
    seed, steps : int
        Updates of the weights.
    metrics : dict
        On the scenes held out.
    command : str
        What made them.
    sha256 : str
        Of the weights' file; `hsitools.learning.weights.save` fills it in.
    version : str
        Of hsitools.
    """

    method: str
    data: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    seed: int
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    command: str = ""
    sha256: str = ""
    version: str = hsitools.__version__


CardType = TypeVar("CardType", bound=Card)


def scene_names(scenes: Sequence[Cube]) -> tuple[str, ...]:
    """Scenes as a card names them: by their own names, or by their files'."""
    return tuple(cube.name or Path(cube.source).name for cube in scenes)


def save_card(path: str | Path, card: Card) -> None:
    """Write a card as JSON."""
    document = {"format": FORMAT} | dataclasses.asdict(card)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def read_card(path: str | Path, kind: type[CardType]) -> CardType:
    """The card in a JSON file; what it lacks is as by default.

    Raises
    ------
    FormatError
        When the file is missing, no card, or not one of this kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: found no such file, expected the card of the weights beside them")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise FormatError(f"{path}: expected a card (JSON); {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise FormatError(f"{path}: format: expected {FORMAT!r}")
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}
    required = {
        name for name, entry in fields.items()
        if entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
    }  # fmt: skip
    for names, said in ((set(document) - set(fields), "unknown"), (required - set(document), "missing")):
        if names:
            raise FormatError(f"{path}: {min(names)}: {said}, expected {', '.join(sorted(fields))}")
    types = typing.get_type_hints(kind)
    for name, value in document.items():
        if typing.get_origin(types[name]) is tuple:
            if not isinstance(value, list):
                raise FormatError(f"{path}: {name}: found {type(value).__name__}, expected a list")
            document[name] = tuple(value)
    try:
        return kind(**document)
    except InputError as error:
        raise FormatError(f"{path}: {error}") from None
