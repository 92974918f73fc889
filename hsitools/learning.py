"""What every training shares: processes, checkpoints, loss curves, averaged weights."""

from __future__ import annotations

import contextlib
import copy
import csv
import gc
import importlib
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path

# ---- processes -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def workers(device: str | None) -> Iterator[tuple[torch.device, int, int]]:
    """Device, rank and number of processes; these are those of torchrun, if it started us.

    All processes leave together: what one does alone, and slowly, belongs after the block. No net of `shared` may live
    longer than the block.

    Parameters
    ----------
    device : str or None
        Default the GPU where there is one, each process its own.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield place, 0, 1
        return
    if place.type == "cuda":
        if place.index is None:
            place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    # DDP imports it later, and the group becomes the default argument of its functions and is never freed: its threads
    # are alive when the interpreter ends, which now and then aborts the process
    importlib.import_module("torch.distributed.nn")
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield place, distributed.get_rank(), world
        distributed.barrier(device_ids=[place.index] if place.type == "cuda" else None)
    finally:
        # nets of `shared` are in cycles and hold the group
        gc.collect()
        distributed.destroy_process_group()


def shared(net: nn.Module, device: torch.device, world: int) -> nn.Module:
    """The net as all processes train it: gradients are averaged over them. With one process the net itself."""
    if world == 1:
        return net
    return nn.parallel.DistributedDataParallel(net, device_ids=[device.index] if device.type == "cuda" else None)


# ---- checkpoints -----------------------------------------------------------------------------------------------


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
        ``"settings"``, which another run must share to go on, and ``"state"``; of what JSON knows.
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
        Of a setting, what earlier versions called the same.

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
        found, state = facts["settings"], facts["state"]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise unfit(error) from None
    # as JSON gives them back: lists for tuples
    own = json.loads(json.dumps(dict(settings)))
    for name in own | found:
        if found.get(name) != own.get(name) and found.get(name) not in former.get(name, ()):
            raise InputError(
                f"{path}: {name}: found a checkpoint with {found.get(name)}, expected {own.get(name)}; "
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
            _, key, of = name.split(".", 2)
            moments.setdefault(of, {})[key] = value
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


# ---- curves ----------------------------------------------------------------------------------------------------


def save_curve(path: str | Path, columns: Sequence[str], rows: Sequence[Sequence[float]]) -> None:
    """Write one row an epoch as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def draw_curves(
    path: str | Path, columns: Sequence[str], rows: Sequence[Sequence[float]], kept: int, title: str
) -> None:  # fmt: skip
    """Draw losses over the first column, epochs or steps; ``kept`` is that whose weights were kept."""
    from hsitools.plot import new_figure, save_figure

    figure, axes = new_figure(7, 4)
    place, *losses = np.array(rows, dtype=float).T
    for name, values in zip(columns[1:], losses, strict=True):
        # with a dot, or a single row would show nothing
        axes.plot(place, values, marker=".", label=name.removesuffix("_loss").replace("_", " "))
    axes.axvline(kept, color="grey", linewidth=0.8, label="kept")
    axes.set(xlabel=columns[0], ylabel="loss", yscale="log", title=title)
    axes.legend()
    save_figure(figure, Path(path))


# ---- averaged weights ------------------------------------------------------------------------------------------


class Ema(nn.Module):
    """Exponential moving average of a net's parameters and buffers; in a checkpoint it is a module like others.

    Attributes
    ----------
    module : nn.Module
        The averaged copy, for use without gradients.
    updates : Tensor
        How many there were. The first ones weigh more: the decay is at most (1 + updates) / (10 + updates).
    """

    updates: torch.Tensor

    def __init__(self, net: nn.Module, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay
        self.module = copy.deepcopy(net).eval().requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the net's present weights; what is no floating number is copied."""
        done = int(self.updates)
        share = 1 - min(self.decay, (1 + done) / (10 + done))
        now = net.state_dict()
        for name, mean in self.module.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(now[name].to(mean), share)
            else:
                mean.copy_(now[name])
        self.updates += 1
