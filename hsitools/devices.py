"""Where tensors are computed: a GPU where there is one, or the processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hsitools.errors import InputError


def device_named(name: str = "auto") -> torch.device:
    """The device of that name; ``auto`` is the first GPU where there is one, else the processor.

    Parameters
    ----------
    name : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or any other that torch knows.

    Raises
    ------
    InputError
        For a name that torch does not know, or a device that is not there.

    Examples
    --------
    >>> device_named("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    expected = f"device: found {name!r}, expected auto, cpu or a GPU as cuda"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(expected) from None
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        # what torch says of it is a page
        raise InputError(f"{expected}; there is no such one here") from None
    return device


@contextmanager
def whole_convolutions() -> Iterator[None]:
    """Convolutions in whole single precision: a GPU's usual ones (TF32) have ten bits, and results would depend on it.

    Examples
    --------
    >>> with whole_convolutions():
    ...     torch.backends.cudnn.allow_tf32
    False
    """
    usual = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = usual
