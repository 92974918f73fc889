"""Weights of trained nets: half-precision safetensors, each file with its card; nothing is unpickled."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path
from hsitools.io.hashes import file_sha256
from hsitools.learning.card import CardType, read_card, save_card

if TYPE_CHECKING:
    import torch

NetType = TypeVar("NetType", bound="torch.nn.Module")


def as_stored(net: NetType) -> NetType:
    """A copy of a net as it will be read back, on the CPU: what it is judged by is to be what others get."""
    out = copy.deepcopy(net).cpu().eval()
    out.load_state_dict({name: _stored(value) for name, value in out.state_dict().items()})
    return out


def _stored(value: torch.Tensor) -> torch.Tensor:
    """On the CPU, numbers in half precision."""
    value = value.detach().cpu()
    return (value.half() if value.is_floating_point() else value).contiguous()


def save(net: torch.nn.Module, card: CardType, folder: str | Path) -> CardType:
    """Write ``<method>.safetensors`` and ``<method>.json`` into a folder; the card comes back with the file's hash."""
    from safetensors.torch import save_file

    path = Path(folder) / f"{card.method}.safetensors"
    with atomic_path(path) as temporary:
        save_file({name: _stored(value) for name, value in net.state_dict().items()}, temporary)
        card = dataclasses.replace(card, sha256=file_sha256(temporary))
    save_card(path.with_suffix(".json"), card)
    return card


@dataclass(frozen=True, kw_only=True)
class Registry(Generic[CardType]):
    """Where a room's weights are, and what their cards say.

    Attributes
    ----------
    pretrained : path
        Folder of the weights that come with the package.
    card : class of card
    hint : callable
        What to do without fitting weights, of a method.
    """

    pretrained: Path
    card: type[CardType]
    hint: Callable[[str], str]

    def load(
        self, method: str, make: Callable[[CardType], NetType], weights: str | Path | None = None
    ) -> tuple[NetType, CardType]:  # fmt: skip
        """A net with its weights, ready for use, and their card.

        Parameters
        ----------
        method : str
            Which the card must be of.
        make : callable
            The net that a card speaks of, with any weights.
        weights : path, optional
            File (``.safetensors``), or folder with ``<method>.safetensors``; default those of the package.

        Raises
        ------
        FormatError
            When a file is missing, corrupt, or not as its card says.
        InputError
            When the weights are another method's, or there are none.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if weights is None and not (self.pretrained / f"{method}.safetensors").is_file():
            raise InputError(f"{method}: weights: found none, {self.hint(method)}")
        path = self.pretrained if weights is None else Path(weights)
        path = path / f"{method}.safetensors" if path.is_dir() else path
        if not path.is_file():
            raise FormatError(f"{path}: found no such file, expected the weights of {method}; {self.hint(method)}")
        card = self.read_card(path.with_suffix(".json"))
        if card.method != method:
            raise InputError(f"{path}: method: found weights of {card.method}, expected {method}")
        actual = file_sha256(path)
        if actual != card.sha256:
            raise FormatError(f"{path}: sha256: found {actual[:12]}…, expected {card.sha256[:12]}… as its card says")
        try:
            net = make(card)
            net.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError) as error:
            raise FormatError(f"{path}: expected weights of {method}; {' '.join(str(error).split())}") from None
        return net.eval(), card

    def read_card(self, path: str | Path) -> CardType:
        """The card in a JSON file; see `hsitools.learning.card.read_card`."""
        return read_card(path, self.card)
