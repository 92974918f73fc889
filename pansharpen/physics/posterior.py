"""Draws from the posterior of the fused components: what cube and PAN leave uncertain of them.

Perturb and solve: noise of the precision that each term has is put on the coarse data, on the sharp channels and on
each link between neighbours, and the same system is solved for it. What comes out is an error with the posterior's own
covariance; no matrix is inverted. The noise is random signs, which have the second moments that count. They belong to
places of the scene, so that tiles agree with the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

import torch
from torch.nn.functional import avg_pool2d

from hsitools.estimation.chebyshev import chebyshev
from hsitools.estimation.edge_aware import NEIGHBOURS, SMOOTHNESS, DataTerms, Links, Offsets, System, neighbours_at
from pansharpen.families.statistics import mix

#: Side of the pattern of random signs, pixels: far beyond the reach of any correlation, so that it may repeat.
PERIOD = 256
#: Pixels by which the pattern is moved from one draw to the next, along y and x.
MOVE = (53, 97)
#: Draws of which a variance is the mean, over neighbours too: its logarithm is then good to an eighth.
DRAWS = 8
#: Side of the window of these neighbours, pixels: about what one coarse pixel covers.
WINDOW = 5


@lru_cache(maxsize=4)
def _pattern(channels: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(channels)
    return torch.randint(0, 2, (channels, PERIOD, PERIOD), generator=draw, dtype=torch.int8).mul_(2).sub_(1)


def signs_at(place: tuple[int, int], like: torch.Tensor, channels: int, number: int) -> torch.Tensor:
    """Random signs, ``(1, channel, y, x)``, of the pixels of an image: the same for a pixel whatever the window.

    Parameters
    ----------
    place : (int, int)
        Of the image's first pixel in the scene, (y, x).
    like : Tensor, shape (…, y, x)
        The image.
    channels : int
    number : int
        Of the draw.
    """
    return next(signs_in_turn(place, like, channels, number, 1))


def signs_in_turn(
    place: tuple[int, int], like: torch.Tensor, channels: int, number: int, times: int
) -> Iterator[torch.Tensor]:  # fmt: skip
    """The same, so many times, each with signs of its own: all at once they would take more than all else of a tile."""
    rows, columns = (
        (torch.arange(first, first + size) + number * move) % PERIOD
        for first, size, move in zip(place, like.shape[-2:], MOVE, strict=True)
    )
    for part in _pattern(times * channels).split(channels):
        yield part[None, :, rows[:, None], columns].to(like)


def draw(
    system: System, condition: float, like: torch.Tensor, place: tuple[int, int], coarse_place: tuple[int, int],
    number: int,
) -> torch.Tensor:  # fmt: skip
    """One error of the solved components, ``(1, k, y, x)``.

    Parameters
    ----------
    system : System
        Of the solution.
    condition : float
        As of `DataTerms`.
    like : Tensor, shape (1, k, y, x)
        The solution, for its shape.
    place, coarse_place : (int, int)
        Of the first fine and the first coarse pixel in the scene.
    number : int
        Of the draw.
    """
    k = like.shape[1]
    coarse = like.new_empty(system.down.y.n_out, system.down.x.n_out)
    push = system.down.adjoint(system.precision.sqrt() * signs_at(coarse_place, coarse, k, number))
    for turn, part in enumerate(system.sharp):
        root = torch.as_tensor(part.precision).to(like).sqrt()
        ratio = round(like.shape[-1] / part.image.shape[-1])
        own = place[0] // ratio, place[1] // ratio
        signs = signs_at(own, part.image, part.image.shape[1], number + (turn + 1) * DRAWS)
        push += replace(part, precision=root).spread(signs)
    _push_apart(push, system.weights, NEIGHBOURS, signs_in_turn(place, like, k, number, len(NEIGHBOURS)))
    # an image smaller than the shortest link has none
    if system.links is not None and system.links.offsets:
        far, n = system.links, min(system.links.leading, k)
        beyond = number + (len(system.sharp) + 1) * DRAWS
        turns = signs_in_turn(place, like, n, beyond, len(far.offsets))
        _push_apart(push[:, :n], far.weights, far.offsets, turns)
    residual = system.precondition(push)
    return chebyshev(residual, system.preconditioned, torch.zeros_like(like), condition)


def _push_apart(
    push: torch.Tensor, weights: list[torch.Tensor], offsets: Offsets, signs: Iterable[torch.Tensor]
) -> None:  # fmt: skip
    """Adds the noise of links at each offset, whose two pixels it pushes in opposite directions; in place."""
    for weight, offset, sign in zip(weights, offsets, signs, strict=True):
        first, second = neighbours_at(push.shape, offset)
        flow = (SMOOTHNESS * weight).sqrt() * sign[first]
        push[second] += flow
        push[first] -= flow


def draws(
    terms: DataTerms, weights: list[torch.Tensor], z: torch.Tensor, place: tuple[int, int],
    coarse_place: tuple[int, int], links: Links | None = None,
) -> Iterator[torch.Tensor]:  # fmt: skip
    """Errors of the solved components, `DRAWS` of ``(1, k, y, x)``.

    Parameters
    ----------
    terms : DataTerms
    weights : list of Tensor
        Of the pairs of neighbours.
    z : Tensor, shape (1, k, y, x)
        The solution.
    place, coarse_place : (int, int)
        Of the first fine and the first coarse pixel in the scene, (y, x).
    links : Links, optional
        Beyond the neighbours.
    """
    system = terms.system(weights, z, links)
    for number in range(DRAWS):
        yield draw(system, terms.condition, z, place, coarse_place, number)


def variance_of(errors: Iterable[torch.Tensor], basis: torch.Tensor) -> torch.Tensor:
    """Variance of each voxel of the cube that the components make, ``(1, band, y, x)``, of `draws` and the basis."""
    total: torch.Tensor | None = None
    for error in errors:
        square = mix(basis, error).square_()
        total = square if total is None else total.add_(square)
    assert total is not None
    return around(total.div_(DRAWS))


def around(image: torch.Tensor) -> torch.Tensor:
    """Mean over the neighbours of each pixel, `WINDOW` a side."""
    for size in (WINDOW, 1), (1, WINDOW):
        image = avg_pool2d(image, size, 1, (size[0] // 2, size[1] // 2), count_include_pad=False)
    return image
