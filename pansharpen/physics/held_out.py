"""How far the details that PAN and guides bring into each band can be trusted, by coarse pixels held out.

The cube and the sharp channels that its optics see are degraded once more, by two; the same problem is solved there,
and its details d, beyond interpolation, are compared with the true ones q, which the cube shows. Where d holds errors
of its own, because the band does not follow what they see, both the regression coefficient ⟨d, q⟩/⟨d, d⟩ and the
squared correlation fall below one. Where d lacks part of q, only the latter does; where d is q, but too strong (what
edges are at this scale is not what they are at the next), only the former. So the larger of both counts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from hsitools.estimation.edge_aware import DataTerms, Links, Sharp, edge_weights
from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.separable import size_of
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import ratio_of
from pansharpen.optics import USUAL_MTF
from pansharpen.physics.channels import EDGE, Channels
from pansharpen.physics.registration import SPOILED, Registration
from pansharpen.physics.relation import related
from pansharpen.physics.subspace import Cube, Subspace
from pansharpen.tile import INTERPOLATION

#: Standard errors by which a coefficient must be below one to count.
ERRORS = 3.0
#: Coarse pixels that tell as much as one that is independent of the others: a block of the decimation.
DEPENDENT = 4
#: Smallest side, coarse pixels, on which anything can be held out.
LEAST = 8


class HeldOut(NamedTuple):
    """The problem with every other coarse pixel held out: terms, weights, solution, and the interpolated cube."""

    terms: DataTerms
    weights: list[torch.Tensor]
    z: torch.Tensor
    smooth: torch.Tensor
    links: Links


def held_out(cube: torch.Tensor, space: Subspace, channels: Channels, sharp: Sharp) -> HeldOut:
    """Solve for a coarse cube what its blurred half-size image and the sharp channels, as seen by its optics, say."""
    down = mtf_decimate(size_of(cube), USUAL_MTF, 2)
    low = down(cube)
    up = interpolate(size_of(low), 2, method=INTERPOLATION, out_shape=size_of(cube))
    data = space.components(low)
    terms = DataTerms(down=down, precision=space.precision.to(cube)[:, None, None], sharp=[sharp])
    edges, start = channels.seen_edges(sharp), up(data)
    weights = edge_weights(edges, 1.0)
    z = terms.solve(data, weights, start)
    weights, links = related(weights, z, start, EDGE * edges, space.contrast, 2)
    return HeldOut(terms, weights, terms.solve(data, weights, z, links), up(low), links)


def counted(tile: Tile, believed: torch.Tensor) -> torch.Tensor:
    """Weight of each coarse voxel of a tile, ``(band or 1, y, x)``: measured, and of one date with what is near it."""
    # what another date shows spoils its surroundings too
    near = -torch.nn.functional.max_pool2d(-believed, 2 * SPOILED + 1, 1, SPOILED)
    weight = tile.crop_coarse(near)[0].double()
    return weight if tile.coarse_measured is None else weight * tile.coarse_measured[0]


def detail_trust(
    scene: Scene, coarse: Cube, space: Subspace, pair: Registration, channels: Channels
) -> torch.Tensor:  # fmt: skip
    """Factor from zero to one for the details of each band, ``(1, band)``; one unless the pixels say otherwise.

    Parameters
    ----------
    scene : Scene
    coarse, space, pair, channels
        Of the scene: see `pansharpen.methods.physics.Model`.
    """

    def sums(tile: Tile) -> torch.Tensor:
        # noise of its own would make details look wrong that are not
        components = space.components(coarse(tile))
        cube = space.cube(components)
        if min(size_of(cube)) < LEAST:
            return torch.zeros(4, scene.n_bands, dtype=torch.float64, device=cube.device)
        sharp, believed = channels.seen(tile, pair, components)
        held = held_out(cube, space, channels, sharp)
        z, smooth = held.z, held.smooth
        details, true = (tile.crop_coarse(image - smooth)[0].double() for image in (space.cube(z), cube))
        weight = counted(tile, believed).expand_as(true)
        parts = (details * true, details * details, true * true, torch.ones_like(true))
        return torch.stack([(part * weight).sum((1, 2)) for part in parts])

    mixed, power, true, n = scene.sum(sums)
    coefficient = ratio_of(mixed, power)
    spread = ratio_of((true - coefficient * mixed).clamp(min=0), power * n.clamp(min=1) / DEPENDENT).sqrt()
    # a band without details, or without pixels, says nothing
    likeness = torch.maximum(coefficient, coefficient * ratio_of(mixed, true))
    return torch.where(power * n > 0, likeness + ERRORS * spread, 1).clamp(0, 1)[None]
