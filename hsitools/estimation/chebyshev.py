"""Chebyshev's iteration for systems of the size of an image, gone through in parts that stay in cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

#: More steps change indices of fusion by less than a percent.
STEPS, CONDITION = 30, 60.0
#: Bytes of an image that each thread goes through at a time on the processor: what is written and what is read of them
#: stays in its caches for all operations. Of half as much calls cost a fifth of the solver's time.
CACHED_BYTES = 2**21


def chebyshev(
    residual: torch.Tensor, apply: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, condition: float,
    steps: int | None = None,
) -> torch.Tensor:  # fmt: skip
    """Chebyshev's iteration for a preconditioned spectrum in [1/``condition``, 1].

    No scalar depends on the data, unlike in conjugate gradients: what a pixel becomes depends on its surroundings only.
    Directions below the interval stay nearer to the start.

    Parameters
    ----------
    residual : Tensor
        Preconditioned residual at the start; overwritten.
    apply : callable
        Minus the preconditioned operator.
    z : Tensor
        The start.
    condition : float
    steps : int, optional
        Default `STEPS`.
    """
    low, high = 1 / condition, 1.0
    centre, half = (high + low) / 2, (high - low) / 2
    rho = half / centre
    residual = residual.contiguous()
    step = residual / centre
    z = z.contiguous() + step
    # residual, change, step and z
    places = list(cached(z.numel(), z, each=4))
    parts = [[image.view(-1)[place] for image in (residual, step, z)] for place in places]
    for _ in range((STEPS if steps is None else steps) - 1):
        change = apply(step).contiguous().view(-1)
        last, rho = rho, 1 / (2 * centre / half - rho)
        for place, (rest, move, out) in zip(places, parts, strict=True):
            out += move.mul_(rho * last).add_(rest.add_(change[place]), alpha=2 * rho / half)
    return z


def cached(size: int, like: torch.Tensor, each: int = 1) -> Iterator[slice]:
    """Parts of an axis with ``each`` elements at a place, `CACHED_BYTES` a thread; all of it off the processor."""
    room = CACHED_BYTES * torch.get_num_threads() // max(1, each * like.element_size())
    step = max(1, room) if like.device.type == "cpu" else size
    for first in range(0, size, step):
        yield slice(first, min(first + step, size))
