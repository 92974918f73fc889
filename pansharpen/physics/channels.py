"""How every sharp channel follows from the cube's components: PAN's and guides' responses, errors, edges.

Each channel takes PAN's place once (`AsPan`): so it is registered, its response regressed and its error estimated as
PAN's is, with gain and offset of its own. The place and blur of the cube are the mean of what the channels say.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hsitools.estimation.edge_aware import Sharp
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import Moments, moments, ratio_of
from pansharpen.physics.changed_scene import AsPan
from pansharpen.physics.hidden_details import hidden_power
from pansharpen.physics.one_place import Place, in_one_place
from pansharpen.physics.pan_error import PanError, pan_error
from pansharpen.physics.registration import Components, Registration, register
from pansharpen.physics.subspace import MAX_PRECISION, ROUNDING, Subspace

#: Step of a channel that halves a weight, in the channel's standard deviations.
EDGE = 0.1
#: How many times the error that the coarse scale shows is that of one channel of several at the fine one, where
#: its noise is told and where it is not; and how many times the square of the step that halves a weight, where it is
#: not. Noise hides at the coarse scale, and differences of channels that are much alike bring it out again. Set on
#: jasper_ridge, abu_urban_1, abu_airport_1, abu_beach_1 and aviris_gator_vi with bands like ALI's of 38 to 55 dB that
#: are not told (3 to 30 differ by a percent or two there), and on jasper_ridge with Sentinel-2's of 35 dB that are.
HIDDEN_TOLD, HIDDEN, HIDDEN_EDGE = 3.0, 10.0, 30.0
#: Share of a guide's channel that may be nothing of the cube: one with more tells no more than PAN alone does. Squares
#: of its steps must be so many times as large then to be edges.
MOST_LEFT, NO_EDGE = 0.5, 1e6


@dataclass(frozen=True, kw_only=True, eq=False)
class Channel:
    """One sharp channel.

    Attributes
    ----------
    guide : int or None
        Which guide's; None for PAN.
    number : int
        Of the guide's channels.
    pair : Registration
        Of the channel with the cube, by itself; moved to where all channels are brought.
    place : Place
        Where the cube lies on it before.
    error, unaided : PanError
        At one of its pixels, of what its model cannot explain: beside the other channels, and alone, as PAN is where
        no guide shows anything.
    edge : float
        Square of the step that halves a weight.
    """

    guide: int | None
    number: int
    pair: Registration
    place: Place
    error: PanError
    unaided: PanError
    edge: float

    @property
    def clarity(self) -> float:
        """What the components explain of the channel over what they do not: how much it can say of its place."""
        return float(self.pair.response @ self.pair.response) / max(self.pair.unexplained, 1e-300)

    def alone(self, tile: Tile) -> Tile:
        """The tile with the channel in PAN's place."""
        return tile if self.guide is None else tile.with_pan_of(self.guide, self.number)

    def excess(self, tile: Tile, components: torch.Tensor) -> torch.Tensor:
        """See `Registration.excess`: where a tile's channel does not show what the cube does, ``(1, 1, y, x)``."""
        alone = self.alone(tile)
        return self.pair.excess(self.pair.rest(components, alone.see_pan(self.pair.sight(alone))))


def learn_channels(
    scene: Scene, components: Components, space: Subspace
) -> tuple[Scene, Registration, tuple[Channel, ...]]:
    """The scene with its guides in one place, the registration of the cube with them and PAN, every channel's model.

    Parameters
    ----------
    scene : Scene
    components : callable
        Coarse components of a tile, as the scene gives it.
    space : Subspace
    """
    out = []
    if not scene.pan_made:
        out.append(_learn(scene, scene, components, space, None, 0))
    for number, guide in enumerate(scene.guides):
        for channel in range(guide.n_channels):
            alone = AsPan(scene, number, channel, guide.optics(channel, scene.optics))
            out.append(_learn(alone, scene, components, space, number, channel))
    fine = [part for part in out if part.guide is None or scene.guides[part.guide].ratio == 1]
    weight = np.array([part.clarity for part in fine])
    # images without contrast tell nothing of their place
    weight = weight / weight.sum() if weight.any() else np.full(len(fine), 1 / len(fine))
    places: dict[int, list[Place]] = {}
    for part in out:
        if part.guide is not None:
            places.setdefault(part.guide, []).append(part.place)
    target = Place(shift=scene.optics.shift) if scene.pan_made else out[0].place
    out = [_at(part, target) for part in out]
    pair = dataclasses.replace(
        fine[int(weight.argmax())].pair, shift=target.shift, field=target.field,
        blur=float(np.exp(weight @ np.log([part.pair.blur for part in fine]))),
    )  # fmt: skip
    return in_one_place(scene, places, target), pair, tuple(out)


def _at(part: Channel, place: Place) -> Channel:
    return dataclasses.replace(part, pair=dataclasses.replace(part.pair, shift=place.shift, field=place.field))


def _learn(
    alone: Any, scene: Scene, components: Components, space: Subspace, guide: int | None, number: int
) -> Channel:
    optics = alone.optics
    # components are those of the scene, whatever takes PAN's place
    own: Components = lambda tile: components(tile.origin)  # noqa: E731
    pan = alone.sum(lambda tile: moments(tile.pan, valid=tile.valid))
    variance = float(pan.covariance)
    # an image of zeros has no unit
    floor = ROUNDING**2 * (float(pan.mean_x) ** 2 + max(variance, 0.0)) or 1.0
    prior = None
    if optics.pan_response is not None:
        prior = torch.as_tensor(optics.pan_response, dtype=space.mean.dtype, device=space.mean.device) @ space.basis[0]
        if guide is not None:
            prior = _in_units(alone, own, prior)
    pair = register(alone, own, len(space.signal), prior)
    noise = space.noise_of(pair.response)
    told = optics.pan_variance or 0.0
    known = MAX_PRECISION
    if guide is not None and scene.guides[guide].ratio > 1:
        # of a pixel of the fine grid no channel says more than the cube does: the solver's condition stands for that
        known *= (scene.guides[guide].ratio / optics.ratio) ** 2
    edge = max(EDGE**2 * variance, floor) + 2 * told
    least = max(float(pair.response @ pair.response) / known, floor)
    error = pan_error(alone, own, pair, noise=noise, pan_variance=variance, least=least)
    unaided = error
    several = len(scene.guides) if guide is None else scene.guides[guide].n_channels > 1
    if several:
        # PAN beside guides is one channel of several too
        error = dataclasses.replace(error, hidden=HIDDEN_TOLD if told else HIDDEN)
    if several and guide is None:
        # a soft PAN would contradict sharper guides in what its optics have taken off it
        hidden = hidden_power(scene)
        error = dataclasses.replace(
            error, visible=error.visible + hidden,
            another_date=error.another_date + (0.0 if pair.two_dates else hidden),
        )  # fmt: skip
    if guide is not None and several:
        edge *= 1 if told else HIDDEN_EDGE
    if guide is not None and not shows(pair):
        # steps of what is nothing of the cube are no edges of it
        edge *= NO_EDGE
    place = Place(shift=pair.shift, field=pair.field)
    return Channel(guide=guide, number=number, pair=pair, place=place, error=error, unaided=unaided, edge=edge)


def shows(pair: Registration) -> bool:
    """Whether a channel shows what the cube does, so registered."""
    return pair.contrast > 0 and pair.left <= MOST_LEFT


def _in_units(alone: Any, components: Components, prior: torch.Tensor) -> torch.Tensor | None:
    """A published response in the channel's units, whose gain against the cube is not known; None when it is negative.

    By regression of the channel, as the cube's optics see it, on what the response makes of the cube.
    """

    def joint(tile: Tile) -> Moments:
        own = tile.crop_coarse((prior.to(tile.pan)[:, None, None] * components(tile)).sum(1, keepdim=True))
        return moments(torch.cat([own, tile.pan_coarse], 1), valid=tile.coarse_valid)

    covariance = alone.sum(joint).covariance[0]
    gain = float(ratio_of(covariance[:1, 1], covariance[:1, 0]))
    return gain * prior if gain > 0 else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Channels:
    """All sharp channels of a scene, as `DataTerms` want them.

    Attributes
    ----------
    parts : tuple of Channel
        PAN's first, where there is one, then the guides' in their order.
    """

    parts: tuple[Channel, ...]

    def said(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Where the cube lies on each channel of guides of these names, fine pixels, as plain data."""
        return [
            {"guide": names[part.guide], "channel": part.number + 1, **part.place.said()}
            for part in self.parts
            if part.guide is not None
        ]

    def _groups(self) -> list[tuple[int | None, list[Channel]]]:
        out: dict[int | None, list[Channel]] = {}
        for part in self.parts:
            out.setdefault(part.guide, []).append(part)
        return list(out.items())

    def _shown(self, tile: Tile) -> torch.Tensor | None:
        """Fine pixels ``(1, 1, y, x)``, surroundings included, of which a guide shows something; None of all."""
        shown = torch.zeros_like(tile.wide_pan[:1], dtype=torch.bool)
        for part in self.parts:
            if part.guide is None or not shows(part.pair):
                continue
            valid = tile.guides[part.guide].valid_on_grid(tile.fine_size)
            if valid is None:
                return None
            shown |= valid[:, part.number if valid.shape[1] > 1 else 0][:, None]
        return shown

    def terms(self, tile: Tile, components: torch.Tensor) -> list[Sharp]:
        """What the channels say on a tile with its surroundings, less where they do not show what the cube does."""
        out = []
        for number, parts in self._groups():
            if number is None:
                image, valid, down, doubt = tile.wide_pan, tile.wide_pan_valid, None, tile.wide_pan_doubt
            else:
                guide = tile.guides[number]
                image, valid, down, doubt = guide.image, guide.valid, guide.down(tile.fine_size), None
            if down is None or tile.guides[number or 0].ratio == 1:
                each = [part.error.precision(tile, part.excess(tile, components)) for part in parts]
                precision = torch.cat(torch.broadcast_tensors(*each), 1)
                if number is None and tile.guides and (shown := self._shown(tile)) is not None:
                    # PAN is believed as it is without guides
                    (pan,) = parts
                    precision = torch.where(shown, precision, pan.unaided.precision(tile, pan.excess(tile, components)))
            else:
                precision = _column([1 / float(part.error.variance()) for part in parts], image)
            if doubt is not None:
                # what stands for pixels at full scale is not as sure as others
                precision = precision / (1 + precision * doubt)
            out.append(Sharp(
                image=image - _column([part.pair.constant for part in parts], image),
                response=torch.stack([part.pair.response for part in parts]),
                precision=precision if valid is None else precision * valid, down=down,
            ))  # fmt: skip
        return out

    def seen(self, tile: Tile, pair: Registration, components: torch.Tensor) -> tuple[Sharp, torch.Tensor]:
        """What the channels, seen by the cube's optics, say on the coarse grid, and how far that is of the cube's date.

        The latter is ``(1, 1, y, x)``, from zero to one.
        """
        alone = [part.alone(tile) for part in self.parts]
        image = torch.cat([one.see_pan(pair.sight(one)) for one in alone], 1)
        believed = torch.cat([1 / part.excess(tile, components) for part in self.parts], 1).to(image)
        error = [
            # an image of zeros has no unit
            max(part.pair.unexplained, float(part.pair.response @ part.pair.response) / MAX_PRECISION) or 1.0
            for part in self.parts
        ]
        return Sharp(
            image=image - _column([part.pair.constant for part in self.parts], image),
            response=torch.stack([part.pair.response for part in self.parts]),
            precision=believed / _column(error, image),
        ), believed.mean(1, keepdim=True)  # fmt: skip

    def edges(self, tile: Tile) -> torch.Tensor:
        """Channels on the fine grid in units of the step that halves a weight, for `edge_weights` of an edge of one.

        NaN where a guide shows nothing.
        """
        images, steps = [], []
        for number, parts in self._groups():
            if number is None or tile.guides[number].ratio == 1:
                image, valid = tile.wide_pan, None
                if number is not None:
                    image, valid = tile.guides[number].image, tile.guides[number].valid
                images.append(image if valid is None else image.masked_fill(~valid, torch.nan))
                steps += [part.edge**0.5 for part in parts]
        image = torch.cat(images, 1)
        return image / _column(steps, image)

    def seen_edges(self, seen: Sharp) -> torch.Tensor:
        """The same of what the cube's optics see (`seen`)."""
        return seen.image / _column([part.edge**0.5 for part in self.parts], seen.image)


def _column(values: list[float], like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).to(like)[:, None, None]
