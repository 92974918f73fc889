"""Checkpoints: modules, the optimizer's moments and facts in one safetensors file; nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path


def save_checkpoint(
    path: str | Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, net: str,
    facts: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write modules, the optimizer's moments and facts into one file, whole or not there.

    Parameters
    ----------
    path : path
        ``.safetensors``
    modules : mapping of str to module
        Names without a dot.
    optimizer : Optimizer
        Adam or AdamW, of parameters of the module ``net``.
    net : str
    facts : mapping
        ``"settings"``, which another run must share to go on, and ``"state"``; of what JSON can hold.
    """
    from safetensors.torch import save as to_bytes

    tensors = {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}
    for name, value in modules[net].named_parameters():
        for key, moment in optimizer.state.get(value, {}).items():
            tensors[f"adam.{key}.{name}"] = torch.as_tensor(moment)
    content = to_bytes(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()}, {"facts": json.dumps(dict(facts))}
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_checkpoint(
    path: str | Path, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, net: str,
    settings: Mapping[str, Any], former: Mapping[str, Collection[Any]] = MappingProxyType({}),
) -> dict[str, Any]:  # fmt: skip
    """Put back what `save_checkpoint` wrote, with the same modules and optimizer; the facts' ``"state"`` comes back.

    Parameters
    ----------
    path, modules, optimizer, net
        As of `save_checkpoint`.
    settings : mapping
        Which the checkpoint must share.
    former : mapping
        For a setting, the values by which earlier versions called the same thing.

    Raises
    ------
    FormatError
        When the file is not a checkpoint of these modules.
    InputError
        When it is one of other settings.
    """
    from safetensors import SafetensorError, safe_open

    def unfit(error: Exception) -> FormatError:
        return FormatError(f"{path}: expected a checkpoint; {' '.join(str(error).split())}; --no-resume starts anew")

    try:
        with safe_open(path, "pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        stored, state = facts["settings"], facts["state"]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise unfit(error) from None
    # as JSON gives them back: lists for tuples
    own = json.loads(json.dumps(dict(settings)))
    for name in own | stored:
        if stored.get(name) != own.get(name) and stored.get(name) not in former.get(name, ()):
            raise InputError(
                f"{path}: {name}: found a checkpoint with {stored.get(name)}, expected {own.get(name)}; "
                "--no-resume starts anew, another --out keeps both"
            )
    try:
        for name, module in modules.items():
            start = f"{name}."
            module.load_state_dict({key[len(start) :]: tensors[key] for key in tensors if key.startswith(start)})
    except RuntimeError as error:
        raise unfit(error) from None
    moments: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, key, parameter = name.split(".", 2)
            moments.setdefault(parameter, {})[key] = value
    names = {value: name for name, value in modules[net].named_parameters()}
    order = [names[value] for group in optimizer.param_groups for value in group["params"]]
    # through the optimizer, which knows what belongs on which device
    optimizer.load_state_dict(
        {
            "state": {number: moments[name] for number, name in enumerate(order) if name in moments},
            "param_groups": optimizer.state_dict()["param_groups"],
        }
    )
    return state
