"""physics: our own fusion, which uses the calibrated sensor.

The fine cube X is sought in the subspace of the coarse one, X = mean + E z, as the maximum a posteriori of ::

    ½ ‖D^½ (P S B E z − ζ)‖²       the coarse cube: each band's blur B, sampling S; P projects on the components, D is
                                   the precision of each
  + λ/2 ‖v·z + c − PAN‖²          the panchromatic image, and so each channel of other sharp images (guides),
                                   of a coarser grid through its own blur and sampling
  + κ/2 Σ w_ij ‖z_i − z_j‖²       neighbours are alike unless PAN has an edge between them

whose components are those with details of one strength, so that one κ serves all (`pansharpen.physics.subspace`). It
is quadratic: a sparse linear system, solved by a preconditioned Chebyshev iteration; once more after the weights
have been lowered where the first solution has edges that PAN does not see. What the sensor does not tell is estimated
from the pair: noise by the bands' redundancy, PAN's response in the subspace, how well that explains PAN's details, and
how the cube's pixels really lie and blur on PAN's grid (shift, MTF), so that a wrong calibration does little harm.

The system is solved with the bands' mean blur. Where bands differ, or the cube is bent against PAN, each solution tells
what the coarse cube would have been under the mean blur, unbent, and the next starts from there. At last, details that
held-out coarse pixels do not confirm are lowered band by band, and a cube that is nowhere negative stays so.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from hsitools.estimation.chebyshev import CONDITION
from hsitools.estimation.edge_aware import DataTerms, Links, edge_weights
from hsitools.sensor.separable import Separable
from pansharpen.case import Scene, Tile, sharp_name
from pansharpen.families.statistics import mix, per_band
from pansharpen.kept_tiles import LastTile
from pansharpen.mixture import Mixture
from pansharpen.physics.band_places import band_places, moved
from pansharpen.physics.channels import EDGE, Channels, learn_channels
from pansharpen.physics.error_bars import ErrorBars
from pansharpen.physics.error_scale import ErrorScale, error_scale
from pansharpen.physics.few_bands import left_of_bands
from pansharpen.physics.grain import grain_gain
from pansharpen.physics.guide_bands import doubted_bands
from pansharpen.physics.held_out import detail_trust
from pansharpen.physics.hidden_details import blurred_off
from pansharpen.physics.posterior import draws
from pansharpen.physics.registration import Components, Registration
from pansharpen.physics.relation import related
from pansharpen.physics.sharp_guides import with_sharp_guides
from pansharpen.physics.sharp_pan import with_sharp_pan
from pansharpen.physics.subspace import Cube, Subspace, one_blur, subspace
from pansharpen.registry import Posterior, method

log = logging.getLogger(__name__)
#: Solutions in all; where bands differ in MTF, each of these corrects for it.
SOLUTIONS, SOLUTIONS_MIXED = 2, 4
#: Components that each solution goes through as a whole. The first one, which tells what looks alike, leaves the others
#: as interpolated; then they get so many steps, for directions up to that condition of the system. They make half a
#: percent of the bands' variance or less, two on abu_urban_1 (nine tuning scenes). ERGAS with and without noise: golden
#: cases + .03 %, tuning scenes −.34 to + .05, −.01 % in the mean; of 6 components, + .09 % and up to .45.
LEADING, FEW_STEPS, FEW_CONDITION = 8, 10, 25.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """What passes over a scene learn: everything that a tile's system needs.

    Attributes
    ----------
    scene : Scene
        With its guides where the cube or PAN is.
    space : Subspace
    coarse : callable
        The coarse cube of a tile as it would be if all bands had the mean MTF.
    pair : Registration
        Of the cube with the fine grid.
    channels : Channels
        PAN and guides: response, error, edges.
    trust : Tensor, shape (1, band)
        Factor of the details beyond interpolation that the coarse cube does not determine.
    bounded : bool
        Whether the cube is nowhere negative, so that zero is a bound.
    """

    scene: Scene
    space: Subspace
    coarse: Cube
    pair: Registration
    channels: Channels
    trust: torch.Tensor
    bounded: bool


@method(
    "physics", family="ours", consistent=True, batched=False, halo=24, reach=(8, 72),
    held=0, images=230, own=0, std_held=0, std_images=200,  # 8 draws of up to 16 components, some tiles' more than once
    paper="hsitools: maximum a posteriori in the cube's subspace, with the sensor's PSF, PAN response and noise",
)  # fmt: skip
def physics(scene: Scene, std: bool = False) -> Any:
    """Subspace MAP with the sensor's PSF, PAN response and noise, and an edge-aware prior from PAN."""
    model = learn(with_sharp_guides(with_sharp_pan(scene)))
    sharp = sharp_name(scene.pan_made)
    registration = scene.findings["registration"] = model.pair.said(_noise_between(model), sharp)
    if "doubt" in registration:
        # few bands leave more of PAN
        few = left_of_bands(scene, model.coarse)
        registration = scene.findings["registration"] = model.pair.said(_noise_between(model), sharp, few)
    if "doubt" in registration:
        log.warning("%s and the cube: %s", sharp, registration["doubt"])
    if scene.guides:
        registration["channels"] = model.channels.said([guide.name for guide in scene.guides])
        _say_doubted_bands(model)
    scene = model.scene
    if not std:
        return scene.map(lambda tile: _fuse(tile, model, solved(tile, model)))
    once = Solutions(model)
    fused = scene.map(lambda tile: _fuse(tile, model, once.of(tile)))
    scale = error_scale(scene, model.coarse, model.space, model.pair, model.channels)
    return Posterior(fused, scene.map(lambda tile: _std(tile, model, once.of(tile, at_last=True), scale)))


def _noise_between(model: Model) -> float:
    """Variance, at a coarse pixel, of what the noise of cube and PAN makes PAN differ from its model."""
    optics = model.scene.optics
    left, _ = grain_gain(model.pair.gains(optics.mean_gains()), optics.ratio)
    return model.space.noise_of(model.pair.response) + left * (optics.pan_variance or 0.0)


def _say_doubted_bands(model: Model) -> None:
    scene = model.scene
    doubted = doubted_bands(scene, model.channels.parts, model.pair)
    wavelength, number = scene.optics.wavelength_nm, scene.optics.band_number
    scene.findings["guide_bands"] = said_of = []
    for channel, band in doubted:
        if channel.guide is None:
            continue
        own = band if number is None else int(number[band])
        said = {"guide": scene.guides[channel.guide].name, "channel": channel.number + 1, "nearest_band": own + 1}
        said_of.append(said)
        place = "" if wavelength is None else f" ({wavelength[band]:.0f} nm)"
        log.warning(
            "%s: found channel %d to be like the cube's band %d%s, and not like what its declared response makes of "
            "the cube; are sensor and order of the bands right (--guide-sensor)?",
            said["guide"], said["channel"], own + 1, place,
        )  # fmt: skip


def learn(scene: Scene) -> Model:
    """Subspace, noise, PAN's response, registration and blur of a scene (a batch of one)."""
    coarse, places = one_blur(scene), None
    for last in (False, False, True):
        space = subspace(scene, coarse)
        components = _components(space, coarse)
        registered, pair, parts = learn_channels(scene, components, space)
        apart = None if last else band_places(registered, components, space, pair)
        if apart is not None:
            places = apart if places is None else places + apart
        pair = replace(pair, places=places)
        if apart is None:
            break
        # all over again with the bands on one another: components of displaced ones are mixtures
        coarse = one_blur(registered, pair)
    scene, channels = registered, Channels(parts=parts)
    return Model(
        scene=scene, space=space, coarse=coarse, pair=pair, channels=channels,
        trust=detail_trust(scene, coarse, space, pair, channels), bounded=_bounded(scene),
    )  # fmt: skip


def _components(space: Subspace, coarse: Cube) -> Components:
    return lambda tile: space.components(coarse(tile))


def lopsided(gains: Any) -> float:
    """How many times the MTF along one axis is that along the other: so much harder is the softer one to restore."""
    return float(np.max(gains) / np.min(gains))


def _bounded(scene: Scene) -> bool:
    """Whether no measured value of any band is negative.

    An atmospheric correction that takes too much off dark pixels does so in many bands, and in the finest pixels first:
    there the coarse values of most bands are above zero, and cutting the fine ones turns their spectra.
    """
    return not bool(scene.sum(_negative))


def _negative(tile: Tile) -> torch.Tensor:
    """Number of measured values below zero."""
    below = tile.coarse < 0
    return (below if tile.coarse_measured is None else below & tile.coarse_measured).sum()


class Solved(NamedTuple):
    """A tile's problem, surroundings included, and its solution."""

    terms: DataTerms
    weights: list[torch.Tensor]
    z: torch.Tensor
    coarse: torch.Tensor
    data: torch.Tensor
    links: Links | None


def solved(tile: Tile, model: Model) -> Solved:
    """The components of a tile."""
    space, pair, optics, pan = model.space, model.pair, tile.optics, tile.wide_pan
    down = pair.down(tile, optics.mean_gains())
    coarse = model.coarse(tile)
    data = space.components(coarse)
    precision = space.precision.to(pan)[:, None, None]
    if tile.wide_coarse_valid is not None:
        precision = precision * tile.wide_coarse_valid
    terms = DataTerms(
        down=down, precision=precision, sharp=model.channels.terms(tile, data),
        condition=CONDITION * lopsided(optics.mean_gains()),
    )  # fmt: skip
    edges = model.channels.edges(tile)
    weights, links = edge_weights(edges, 1.0), None
    z, levelled, sight = tile.up()(data), data, pair.sight(tile)
    leading, others = slice(LEADING), slice(LEADING, None)
    alike = optics.same_mtf and pair.places is None
    for number in range(SOLUTIONS if alike and pair.field is None else SOLUTIONS_MIXED):
        if number == 1:
            smooth = tile.up()(data)
            weights, links = related(weights, z, smooth, EDGE * edges, space.contrast, optics.ratio)
        if number and not alike:
            levelled = mix(space.projection, tile.wide_coarse - seen_cube(pair.down_bands(tile), space, z)) + down(z)
        wanted = levelled if pair.field is None else levelled - (sight(z) - down(z))
        if number and z.shape[1] > LEADING:
            roughly = replace(terms, steps=FEW_STEPS, condition=FEW_CONDITION / CONDITION * terms.condition)
            z = _with(z, others, roughly.of(others, z).solve(wanted[:, others], weights, z[:, others]))
        z = _with(z, leading, terms.of(leading, z).solve(wanted[:, leading], weights, z[:, leading], links))
    return Solved(terms, weights, z, coarse, data, links)


def _with(z: torch.Tensor, components: slice, solved: torch.Tensor) -> torch.Tensor:
    """Components, some of them exchanged."""
    out = z.clone()
    out[:, components] = solved
    return out


def seen_cube(down: Separable, space: Subspace, z: torch.Tensor) -> torch.Tensor:
    """The coarse cube ``(1, band, y, x)`` that bands' own optics see of components ``(1, k, y, x)``.

    As many bands at a time as there are components: on the fine grid all would take many times what a tile does.
    """
    if max(down.y.kinds, down.x.kinds) == 1:
        return space.cube(down(z))
    bands, k = space.basis.shape[1:]
    blocks = (slice(first, first + k) for first in range(0, bands, k))
    seen = [down.of_bands(block)(mix(space.basis[:, block], z)) for block in blocks]
    return torch.cat(seen, 1).add_(per_band(space.mean, z))


class Solutions:
    """Solutions of tiles, each kept until it is asked for at last: the estimate and its error bars share one."""

    def __init__(self, model: Model) -> None:
        self.model, self._last = model, LastTile()

    def of(self, tile: Tile, *, at_last: bool = False) -> Solved:
        """The solution of a tile, computed unless it is the last one's; ``at_last`` it is not kept."""
        return self._last.of(tile, lambda tile: solved(tile, self.model), at_last=at_last)


def _fuse(tile: Tile, model: Model, solution: Solved) -> Mixture:
    space, pair, optics, pan = model.space, model.pair, tile.optics, tile.wide_pan
    terms, _, z, coarse, data, _ = solution
    several = any(guide.n_channels > 1 for guide in tile.guides)
    if several and optics.noise_variance is None:
        # noise that is but estimated may be signal that one band sees: all that the cube holds comes back
        rest = tile.wide_coarse - seen_cube(pair.down_bands(tile), space, z)
        if pair.field is not None:
            rest -= mix(space.basis, pair.sight(tile)(z) - terms.down(z))
    else:
        # what the subspace leaves out, as far as it is no noise
        rest = per_band(space.rest, pan) * (coarse - space.cube(data))
    # bands that lie elsewhere are moved there, and so need their surroundings
    move = None if pair.places is None else moved(tile, pair.places)
    crop, up = (tile.crop, tile.interpolation) if move is None else (lambda image: image, tile.up())
    own, basis = crop(z), space.basis
    if (model.trust < 1).any():
        # only details that the coarse cube does not see: the rest is its own
        details = z - tile.up()(data)
        own = torch.cat([own, crop(details) - up(terms.down(details))], 1)
        basis = torch.cat([basis, (model.trust - 1)[..., None] * basis], 2)
    return Mixture(
        basis=basis.to(z), images=own.contiguous(), coarse=rest.add_(per_band(space.mean, rest)), up=up, move=move,
        bounded=model.bounded,
    )  # fmt: skip


def _std(tile: Tile, model: Model, solution: Solved, scale: ErrorScale) -> ErrorBars:
    terms, weights, z, _, _, links = solution
    r, places = tile.optics.ratio, model.pair.places
    place = r * tile.corner[0], r * tile.corner[1]
    return ErrorBars.of(
        draws(terms, weights, z, place, tile.corner, links), model.space.basis.to(z), scale,
        hidden=blurred_off(tile.wide_pan, scale.blur), own=tile.own_fine,
        move=None if places is None else moved(tile, places),
        beside=None if tile.wide_doubt is None else tile.crop_coarse(tile.wide_doubt), ratio=r,
    )  # fmt: skip
