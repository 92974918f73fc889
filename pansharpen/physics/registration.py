"""How the cube's pixels really lie and blur on PAN's grid, and how PAN is made up of the cube's components.

The low-pass PAN is linear in its response and nearly so in shift and blur: each step of Gauss and Newton regresses it
on the components and on its own derivatives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.estimation.chance import believed
from hsitools.estimation.rounding import above_rounding
from hsitools.sensor.separable import Separable
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import Moments, moments
from pansharpen.physics.displacement import FARTHEST, Displaced, Field, places, terms

Array = NDArray[np.float64]
#: Usual deviations of shift (fine pixels, y and x) and MTF (relative change of the PSF's squared width) from what is
#: declared; where PAN is understood, the pair itself tells larger ones.
PRIOR = (0.3, 0.3, 0.15)
#: Keeps a variance that is zero, of a PAN without contrast, from being divided by; far below any real one's square.
TINY = 1e-200
#: Coarse pixels that tell as much as one whose error is independent of the others'.
DEPENDENT = 4
#: Of a regression, relative to the components' unit variance.
RIDGE = 1e-6
#: Where squared residuals around a coarse pixel are more than so many times the usual (steps of any scene reach that),
#: PAN is taken to show another date; of what is beyond, half is counted, as much as chance in few pixels allows.
USUAL, LOCAL = 4.0, 0.5
#: Power of that factor by which pixels count less, once shift and bend are known (before, what is bent would pass for
#: another date). With the first power pixels around a change hold the estimate up: with a tenth of PAN of another date,
#: tens to a thousand times what PAN's model leaves without.
STRICT = 2
#: Weights, along an axis, of the pixels around one whose residuals are taken together, and where two dates are known:
#: fewer miss a change where its residual happens to pass through zero, more spread it over what is not changed.
AROUND, AROUND_CHANGES = (0.25, 0.5, 0.25), (0.1, 0.8, 0.1)
#: Share of PAN's variance from which on what is left may be another date's: of one date .002 is left at most (see
#: `DOUBTFUL`), and pixels with edges would be set aside instead. It is where strict counting leaves at most half: a
#: response that no bands make leaves as much anywhere, a tenth of another date a hundredth.
DATED, HALF, EXACT = 0.003, 0.5, 1e-6
#: Coarse pixels around another date's that do not count either.
SPOILED = 2
#: Share of PAN's variance at the cube's scale that may stay unexplained: pairs that fit leave .0003, one known roughly
#: .002, one turned by 5 degrees .1 (jasper_ridge, enmap_potsdam_b, abu_airport_1, aviris_gator_vi), by 4 degrees .02 or
#: .06 (procedural scenes), one with a tenth of another date .006 to .06.
DOUBTFUL = 0.01
#: Times the noise's variance that noise may leave: few pixels tell either to some tens of percent.
CERTAIN = 1.5
#: Least and largest gain at Nyquist that an optics may have.
GAINS = (0.01, 0.97)
#: Passes of a fit, of a strict one and of the search for a displacement: three are usual, of a strict fit two; where
#: PAN shows another date, up to all.
FITS, STRICT_FITS, SEARCHES = 8, 20, 3

#: Coarse components ``(batch, k, y, x)`` of a tile with its surroundings.
Components = Callable[[Tile], torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration:
    """What relates both images.

    Attributes
    ----------
    response, constant : Tensor, shape (k,), and float
        PAN of the components.
    unexplained : float
        Variance of PAN, at a coarse pixel, that its model leaves, where PAN shows what the cube does.
    left : float
        The same over PAN's variance where most of PAN counts, what it shows of another date in part too.
    shift : (float, float)
        Of the cube's samples against PAN's grid, fine pixels (y, x).
    blur : float
        The PSF's squared width over the declared one.
    field : Field or None
        What the shift is more at each place; None where one shift is enough.
    places : array, shape (band, 2), or None
        What the shift is more for each band; None where the bands lie on one another.
    contrast : float
        Variance of PAN at a coarse pixel; zero of one that is flat but for rounding, which tells nothing.
    """

    response: torch.Tensor
    constant: float
    unexplained: float
    shift: tuple[float, float]
    blur: float
    field: Field | None = None
    places: Array | None = None
    contrast: float = 1.0
    left: float = 0.0

    @property
    def two_dates(self) -> bool:
        """Whether PAN is taken to show another date somewhere."""
        return self.unexplained < HALF * self.left * self.contrast

    def gains(self, declared: Any) -> Any:
        """MTF at Nyquist, of the declared one."""
        return np.clip(np.asarray(declared, dtype=float) ** self.blur, *GAINS)

    def said(self, noise: float, sharp: str = "PAN", bands: float = 0.0) -> dict[str, Any]:
        """Shift, the most by which it differs from place to place, and from band to band where it does; with `doubt`.

        Fine pixels, as plain data.
        """
        bend = 0.0 if self.field is None else self.field.largest()
        told: dict[str, Any] = {
            "shift_pixels": [round(value, 4) for value in self.shift], "bend_pixels": round(bend, 4),
        }  # fmt: skip
        if self.places is not None:
            told["bands_pixels"] = round(float(np.hypot(*(self.places - self.places.mean(0)).T).max()), 4)
        doubt = self.doubt(noise, sharp, bands)
        return told if doubt is None else told | {"doubt": doubt}

    def doubt(self, noise: float, sharp: str = "PAN", bands: float = 0.0) -> str | None:
        """Why the images may not lie on one another as is believed, in a line; None where nothing says so.

        ``noise`` is the variance that noise of both images leaves unexplained, ``sharp`` what the finer one is called,
        ``bands`` the share of its variance that the cube's own bands leave of one another.
        """
        if self.field is not None and self.field.is_cut():
            return (
                f"found places that lie more than {FARTHEST:g} fine pixels beside the rest, expected less; "
                f"is {sharp} turned or warped against the cube?"
            )
        # a scene of one pixel has no contrast to be explained
        share = self.left - CERTAIN * noise / self.contrast if self.contrast > TINY else 0.0
        if share > (most := max(DOUBTFUL, bands)):
            return (
                f"found {100 * share:.3g} % of what {sharp} shows at the cube's scale to be nothing that the cube "
                f"shows, expected at most {100 * most:.3g} %; is it the same scene, not turned, of the same date, "
                f"and do the bands hold what {sharp} sees?"
            )
        return None

    def down(self, tile: Tile, declared: Any) -> Separable:
        """Blur and sampling under the shift, for bands of such declared MTF."""
        return _down(tile, self.gains(declared), self.shift)

    def down_bands(self, tile: Tile) -> Separable:
        """The same for each band, of its own MTF and where it lies."""
        places = 0.0 if self.places is None else self.places
        return mtf_decimate(
            tile.fine_size, self.gains(tile.optics.mtf), tile.optics.ratio, tile.optics.offset,
            shift=np.array(self.shift) + places,
        )  # fmt: skip

    def sight(self, tile: Tile, beside: tuple[float, float] = (0.0, 0.0)) -> Callable[[torch.Tensor], torch.Tensor]:
        """The same for the mean band, at the place where each sample really lies, or so many fine pixels beside."""
        shift = self.shift[0] + beside[0], self.shift[1] + beside[1]
        return _sight(tile, self.gains(tile.optics.mean_gains()), shift, self.field)

    def rest(self, components: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """What the model leaves of the coarse PAN."""
        response = self.response.to(pan)[:, None, None]
        return pan - self.constant - (response * components).sum(1, keepdim=True)

    def excess(self, rest: torch.Tensor) -> torch.Tensor:
        """By what factor the variance of what is left is above `unexplained` around each coarse pixel; at least 1.

        Where PAN shows another date it is large: there PAN is believed so much less.
        """
        around = together(rest.double().square(), AROUND_CHANGES if self.two_dates else AROUND)
        return 1 + LOCAL * (around / max(self.unexplained, TINY) - USUAL).clamp(min=0)

    def same(self, rest: torch.Tensor) -> torch.Tensor:
        """How far PAN shows around each coarse pixel what the cube does, for what need not be known as well as that.

        One where what is left is small against PAN's own contrast, however well PAN is explained elsewhere.
        """
        share = self.unexplained / max(DOUBTFUL * self.contrast, TINY)
        return 1 / (1 + share * (self.excess(rest) - 1))


def _down(tile: Tile, gains: Any, shift: tuple[float, float]) -> Separable:
    return mtf_decimate(tile.fine_size, gains, tile.optics.ratio, tile.optics.offset, shift=shift)


def _sight(
    tile: Tile, gains: Any, shift: tuple[float, float], field: Field | None
) -> Callable[[torch.Tensor], torch.Tensor]:  # fmt: skip
    if field is None:
        return _down(tile, gains, shift)
    return Displaced.by(lambda step: _down(tile, gains, (shift[0] + step, shift[1] + step)), field.at(tile))


def together(image: torch.Tensor, weights: Sequence[float] = AROUND) -> torch.Tensor:
    """Weighted mean over 3×3 pixels."""
    weight, near = (
        torch.tensor(weights, dtype=image.dtype, device=image.device),
        torch.nn.functional.pad(image, (1, 1, 1, 1), mode="replicate"),
    )
    return torch.nn.functional.conv2d(near, torch.outer(weight, weight)[None, None])


def register(scene: Scene, components: Components, rank: int, prior: torch.Tensor | None) -> Registration:
    """PAN's response to the components, the shift and MTF that relate both images, and how they bend."""
    shift, field = scene.optics.shift, None
    pair = _global(scene, components, rank, prior, shift, field)
    if not pair.contrast:
        return pair
    bend = _bent(scene, components, rank, pair)
    if bend is not None:
        shift, field = (pair.shift[0] + bend.mean()[0], pair.shift[1] + bend.mean()[1]), bend.centred()
        pair = _global(scene, components, rank, prior, shift, field)
    pair = dataclasses.replace(pair, left=pair.unexplained / pair.contrast)
    if pair.left > DATED:
        strict = dataclasses.replace(_global(scene, components, rank, prior, shift, field, pair), left=pair.left)
        if strict.two_dates:
            return strict
    return pair


def coarse_pixels(tile: Tile) -> torch.Tensor:
    """Number of a tile's coarse pixels that are measured."""
    valid = tile.coarse_valid
    return torch.tensor(float(tile.coarse[0, 0].numel())) if valid is None else valid.sum()


def counted(
    tile: Tile, pair: Registration | None, own: torch.Tensor, pan: torch.Tensor, power: int = 1
) -> torch.Tensor | None:  # fmt: skip
    """How much each of a tile's coarse pixels counts by its residual so far."""
    valid = tile.coarse_valid
    if pair is None:
        return valid
    weight = tile.crop_coarse(pair.excess(pair.rest(own, pan)) ** -power)
    return weight if valid is None else weight * valid


def _global(
    scene: Scene, components: Components, rank: int, prior: torch.Tensor | None, shift: tuple[float, float],
    field: Field | None, pair: Registration | None = None,
) -> Registration:  # fmt: skip
    """Response, shift and MTF by Gauss-Newton, from a usual shift; strictly from what ``pair`` found, where given."""
    optics = scene.optics
    mild = pair
    power, fits, left = (1, FITS, 0.0) if pair is None else (STRICT, STRICT_FITS, pair.left)
    start, limit = np.array([*shift, 0.0]), np.array([2.0, 2.0, 1.0])
    theta = start if pair is None else np.array([*pair.shift, np.log(pair.blur)])
    step = np.array([0.25, 0.25, 0.1])

    def see(tile: Tile, theta: Array) -> torch.Tensor:
        gains = np.clip(optics.mean_gains() ** np.exp(theta[2]), *GAINS)
        return tile.see_pan(_sight(tile, gains, (float(theta[0]), float(theta[1])), field))

    def images(tile: Tile) -> Moments:
        low = [see(tile, theta)]
        for axis in range(3):
            ends = [see(tile, theta + sign * step * (np.arange(3) == axis)) for sign in (1, -1)]
            low.append((ends[0] - ends[1]) / (2 * step[axis]))
        own = components(tile)
        both = tile.crop_coarse(torch.cat([own, *low, *_derivatives(own)], 1))
        return moments(both, valid=counted(tile, pair, own, low[0], power))

    for _ in range(fits):
        sums = scene.sum(images)
        covariance, n = sums.covariance[0], float(sums.n)
        if mild is not None and n < rank + 4:
            return mild  # so few pixels agree with any response
        if not float(above_rounding(covariance[rank, rank], sums.mean_x[0, rank])):
            return _flat(sums, rank, shift)
        solution, unexplained = _regress(covariance, rank, n, theta - start, None)
        unexplained = max(unexplained, EXACT * float(covariance[rank, rank]) if mild else 0.0)
        move = np.clip(-solution[rank:].cpu().numpy(), -1, 1)
        before = pair
        pair = dataclasses.replace(_model(sums, solution[:rank], unexplained, theta, field), left=left)
        settled = before is not None and abs(unexplained - before.unexplained) <= 0.02 * before.unexplained
        if settled and np.all(np.abs(move) < 0.01):
            break
        theta = np.clip(theta + move, start - limit, start + limit)
    # a wrong response must not pass for a displacement: the declared one counts only now
    solution, unexplained = _regress(covariance, rank, n, theta - start, prior)
    return _model(sums, solution[:rank], unexplained, theta, field)


def _flat(sums: Moments, rank: int, shift: tuple[float, float]) -> Registration:
    """What a PAN without contrast tells: nothing but its level."""
    level = float(sums.mean_x[0, rank])
    return Registration(
        response=sums.mean_x.new_zeros(rank), constant=level, unexplained=level**2, shift=shift, blur=1.0, contrast=0.0
    )  # fmt: skip


def _model(
    sums: Moments, response: torch.Tensor, unexplained: float, theta: Array, field: Field | None
) -> Registration:  # fmt: skip
    centre, rank = sums.mean_x[0], len(response)
    return Registration(
        response=response, constant=float(centre[rank] - response @ centre[:rank]), unexplained=unexplained,
        shift=(float(theta[0]), float(theta[1])), blur=float(np.exp(theta[2])), field=field,
        contrast=float(sums.covariance[0][rank, rank]),
    )  # fmt: skip


def _bent(scene: Scene, components: Components, rank: int, pair: Registration) -> Field | None:
    """How the images are bent against one another beyond the shift; None where no more than chance shows.

    PAN is regressed on the components and on its derivatives times polynomials of the place, by instruments as in
    `_regress`.
    """
    field = Field.none(scene.sum(places))
    n_terms, orders = field.coefficients.size, [i + j for i, j in terms()]
    if float(scene.sum(coarse_pixels)) < DEPENDENT * (rank + n_terms):
        # so few pixels agree with any field
        return None

    def images(tile: Tile) -> Moments:
        own, polynomials = components(tile), field.polynomials(tile)
        gains = pair.gains(tile.optics.mean_gains())

        def see(y: float, x: float) -> torch.Tensor:
            return tile.see_pan(_sight(tile, gains, (pair.shift[0] + y, pair.shift[1] + x), field))

        pan = see(0, 0)
        slopes = [(see(y, x) - see(-y, -x)) / 0.5 for y, x in ((0.25, 0.0), (0.0, 0.25))]
        likeness = (pair.response.to(own)[:, None, None] * own).sum(1, keepdim=True)
        parts = [pan, own, *(polynomials * slope for slope in (*slopes, *_derivatives(likeness)[:2]))]
        return moments(tile.crop_coarse(torch.cat(parts, 1)), valid=counted(tile, pair, own, pan))

    for _ in range(SEARCHES):
        sums = scene.sum(images)
        covariance = sums.covariance[0].cpu()
        chosen = torch.arange(1, 1 + rank + n_terms)
        instruments = torch.cat([chosen[:rank], chosen[rank:] + n_terms])
        power = covariance[instruments][:, instruments]
        power = power + RIDGE * torch.diag(power.diagonal()) + TINY * torch.eye(len(power)).to(power)
        explained = torch.linalg.solve(power, covariance[instruments][:, torch.cat([chosen, chosen.new_zeros(1)])])
        mixed = covariance[chosen][:, instruments]
        gram, right = mixed @ explained[:, :-1], mixed @ explained[:, -1]
        gram = gram + RIDGE * torch.diag(gram.diagonal()) + TINY * torch.eye(len(gram)).to(gram)
        inverse = torch.linalg.inv(gram)
        solution = inverse @ right
        own, plain = covariance[chosen, 0], covariance[chosen][:, chosen]
        rest = float(covariance[0, 0] - 2 * solution @ own + solution @ plain @ solution)
        independent = max(float(sums.n) - len(gram), 1.0) / DEPENDENT
        spread = max(rest, TINY) / independent * inverse[rank:, rank:].numpy()
        moved = field.coefficients - solution[rank:].numpy().reshape(2, -1)
        field = dataclasses.replace(field, coefficients=believed(moved, spread, orders))
        if not field.coefficients.any():
            return None
    return field


def _derivatives(images: torch.Tensor) -> list[torch.Tensor]:
    """What shift along y and x, and a wider PSF, change of coarse images, but for factors."""
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    y = padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]
    x = padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
    return [y[1] - y[0], x[1] - x[0], y[0] + y[1] + x[0] + x[1] - 4 * images]


def _regress(
    covariance: torch.Tensor, rank: int, n: float, theta: np.ndarray, prior: torch.Tensor | None
) -> tuple[torch.Tensor, float]:
    """Coefficients of the components and of the three derivatives, and the residual variance.

    What PAN alone sees is in its derivatives too, and more blur would always make it smaller. So the derivatives count
    as far as those of the components' own PAN, on the coarse grid, explain them (instrumental variables).
    """
    predictors = torch.cat([torch.arange(rank), torch.arange(rank + 1, rank + 4)]).to(covariance.device)
    plain, plain_right = covariance[predictors][:, predictors], covariance[predictors, rank]
    own = covariance[rank, rank]
    start = torch.zeros_like(plain_right)
    ridge = torch.full_like(plain_right, RIDGE)
    response = torch.linalg.solve(plain[:rank, :rank] + torch.diag(ridge[:rank]), plain_right[:rank])
    # of all images, the components and the derivatives of their own PAN
    instruments = torch.block_diag(torch.eye(rank).to(response), *(response[:, None] for _ in range(3)))
    instruments = torch.cat([instruments[:rank], instruments.new_zeros(4, rank + 3), instruments[rank:]])
    joint = instruments.mT @ covariance
    power = joint @ instruments
    power = power + RIDGE * torch.diag(power.diagonal()) + TINY * torch.eye(rank + 3).to(power)
    explained = torch.linalg.solve(power, joint)
    gram, right = joint[:, predictors].mT @ explained[:, predictors], joint[:, predictors].mT @ explained[:, rank]
    if prior is not None:
        # the declared response, but for a gain, counts as much as the scene's own evidence
        alike = plain[:rank, :rank] @ prior
        gain = float(prior @ plain_right[:rank]) / max(float(prior @ alike), TINY)
        start[:rank], ridge[:rank] = gain * prior, 1.0
    width = torch.as_tensor(PRIOR, dtype=gram.dtype, device=gram.device)
    free, independent = (max(pixels - rank - 3, 1.0) for pixels in (n, n / DEPENDENT))
    start[rank:] = torch.as_tensor(theta, dtype=gram.dtype, device=gram.device)
    residual = own + TINY
    for _ in range(3):
        # the priors of shift and blur weigh against what the data leave unexplained
        ridge[rank:] = residual / (independent * width**2)
        solution = start + torch.linalg.solve(gram + torch.diag(ridge), right - gram @ start)
        rest = own - 2 * solution @ plain_right + solution @ plain @ solution
        residual = n / free * rest.clamp(min=1e-12 * float(own) + TINY)
    return solution, float(residual)
