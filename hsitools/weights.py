"""Weights of trained nets: half-precision safetensors, and a JSON card that says what they are for; no pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path

if TYPE_CHECKING:
    import torch

FORMAT = "hsitools-weights"


class AnyCard(Protocol):
    """A frozen dataclass of what JSON knows, and tuples; its ``__post_init__`` may refuse values by an `InputError`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def method(self) -> str:
        """What the weights are for: the stem of their file."""

    @property
    def sha256(self) -> str:
        """Of the weights' file; `save` fills it in."""


CardType = TypeVar("CardType", bound=AnyCard)
NetType = TypeVar("NetType", bound="torch.nn.Module")


def save(net: torch.nn.Module, card: CardType, folder: str | Path, stem: str) -> CardType:
    """Write ``<stem>.safetensors`` and ``<stem>.json`` into a folder; the card comes back with the file's hash."""
    from safetensors.torch import save as to_bytes

    folder = Path(folder)
    state = {name: value.detach().cpu() for name, value in net.state_dict().items()}
    content = to_bytes(
        {name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in state.items()}
    )
    card = dataclasses.replace(card, sha256=hashlib.sha256(content).hexdigest())
    with atomic_path(folder / f"{stem}.safetensors") as temporary:
        temporary.write_bytes(content)
    document = {"format": FORMAT} | dataclasses.asdict(card)
    with atomic_path(folder / f"{stem}.json") as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return card


def load(
    weights: str | Path | None, stem: str, card_type: type[CardType], make: Callable[[CardType], NetType], hint: str,
    pretrained: Path,
) -> tuple[NetType, CardType]:  # fmt: skip
    """A net with its weights, and their card.

    Parameters
    ----------
    weights : path or None
        File (``.safetensors``), or folder with ``<stem>.safetensors``; None takes those of the package.
    stem : str
        Method that the card must be of.
    card_type : class of card
    make : callable
        The net that a card speaks of, with any weights.
    hint : str
        What to do without fitting weights.
    pretrained : path
        Folder of the package's weights.

    Raises
    ------
    FormatError
        When a file is missing, corrupt, or not as its card says.
    InputError
        When the weights are another method's, or there are none.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    if weights is None and not (pretrained / f"{stem}.safetensors").is_file():
        raise InputError(f"{stem}: weights: found none, {hint}")
    path = pretrained if weights is None else Path(weights)
    path = path / f"{stem}.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise FormatError(f"{path}: found no such file, expected the weights of {stem}; {hint}")
    card = read_card(path.with_suffix(".json"), card_type)
    if card.method != stem:
        raise InputError(f"{path}: method: found weights of {card.method}, expected {stem}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != card.sha256:
        raise FormatError(f"{path}: sha256: found {found[:12]}…, expected {card.sha256[:12]}… as its card says")
    try:
        state = from_bytes(content)
        net = make(card)
        net.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise FormatError(f"{path}: expected weights of {stem}; {' '.join(str(error).split())}") from None
    return net.eval(), card


def read_card(path: str | Path, card_type: type[CardType]) -> CardType:
    """The card in a JSON file, or a `FormatError`."""
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: found no such file, expected the card of the weights beside them")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise FormatError(f"{path}: expected a card (JSON); {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise FormatError(f"{path}: format: expected {FORMAT!r}")
    names = {entry.name for entry in dataclasses.fields(card_type)}
    if set(document) != names:
        different = sorted(set(document) ^ names)
        raise FormatError(f"{path}: {different[0]}: unknown or missing, expected {', '.join(sorted(names))}")
    types = typing.get_type_hints(card_type)
    for name in names:
        if typing.get_origin(types[name]) is tuple:
            if not isinstance(document[name], list):
                raise FormatError(f"{path}: {name}: found {type(document[name]).__name__}, expected a list")
            document[name] = tuple(document[name])
    try:
        return card_type(**document)
    except InputError as error:
        raise FormatError(f"{path}: {error}") from None
