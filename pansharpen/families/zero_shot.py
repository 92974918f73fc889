"""What the zero-shot nets share: a small net, the two losses, adaptation to the scene at hand, propagation over bands.

No truth is needed: the fused cube, as the sensor would observe it, must be the coarse one (spectral loss); and its
structure must be PAN's wherever, at the coarse scale, it is (structural loss). All images are in units of their own
standard deviation, so that weights adapted to one band serve the next. The net adds details to the interpolated image
and its last layer starts at zero: adaptation starts at interpolation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, pad

from hsitools.progress import Progress
from hsitools.sensor.separable import Separable, size_of
from pansharpen.case import FusionCase
from pansharpen.families.statistics import moments, per_band
from pansharpen.optics import Optics

#: Gives the weight of the structural loss at a step, 0 for none, from the spectral loss; one object a band.
Balance = Callable[[float], float]

#: Of the net (G. Masi et al., Pansharpening by convolutional neural networks, Remote Sensing 8(7), 2016).
FEATURES, KERNELS = (48, 32), (7, 5, 3)
#: Of Adam, its usual one: images are in units of their deviations, whatever the scene.
LEARNING_RATE = 1e-3
#: Where panchromatic images end; bands below follow PAN more closely than those above.
VISIBLE_NM = 700.0
#: Weight of the structural loss below and above.
STRUCTURE = (0.5, 0.25)
#: Steps on the first band, steps per nanometre to the next one, and their limits.
FIRST_STEPS, STEPS_PER_NM, STEP_LIMITS = 300, 0.5, (4, 60)
#: Distance of bands that do not tell their wavelengths.
USUAL_DISTANCE_NM = 10.0
#: Early stop: after so many windows of so many steps of which none lowers the best mean loss by this share.
WINDOW, PATIENCE, PROGRESS_SHARE = 25, 3, 0.002
#: Losses (standard deviations) that are as good as none.
CONVERGED = 1e-6
#: Local variances (of images with variance one) below this are flat.
FLAT_WINDOW = 1e-4
#: A standard deviation below this share of the mean is rounding.
FLAT_BAND = 1e-6


# ---- images in units of their deviation --------------------------------------------------------------------------


class Scaled(NamedTuple):
    """A case of one cube, all images with mean zero and deviation one at the coarse scale.

    ``spread`` is the bands' standard deviation, ``(1, band, 1, 1)``: zero for a flat one, which gets no details.
    """

    coarse: torch.Tensor
    expanded: torch.Tensor
    pan: torch.Tensor
    pan_low: torch.Tensor
    pan_coarse: torch.Tensor
    spread: torch.Tensor


def scaled(case: FusionCase) -> Scaled:
    """The images of a case in units of their standard deviation over the valid coarse pixels; flat ones stay flat."""
    tile = case.tile

    def measure(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        statistics = moments(image, valid=tile.coarse_valid)
        spread = torch.diagonal(statistics.covariance, dim1=-2, dim2=-1).clamp(min=0).sqrt()
        spread = torch.where(spread > FLAT_BAND * statistics.mean_x.abs(), spread, 0)
        return per_band(statistics.mean_x, image), per_band(spread, image)

    def scale(image: torch.Tensor, level: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        return (image - level) / torch.where(spread > 0, spread, 1)

    of_bands, of_pan = measure(tile.coarse), measure(tile.pan_coarse)
    return Scaled(
        coarse=scale(tile.coarse, *of_bands), expanded=scale(tile.expanded, *of_bands), pan=scale(tile.pan, *of_pan),
        pan_low=scale(tile.pan_low, *of_pan), pan_coarse=scale(tile.pan_coarse, *of_pan), spread=of_bands[1],
    )  # fmt: skip


# ---- losses ------------------------------------------------------------------------------------------------------


class _Observe(torch.autograd.Function):
    """A linear operator whose gradient is its adjoint: nothing has to be kept, whatever mode filled its caches."""

    @staticmethod
    def forward(ctx: Any, fine: torch.Tensor, operator: Separable) -> torch.Tensor:
        ctx.operator = operator
        return operator.forward(fine)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.operator.adjoint(gradients[0]), None


def mean_over(values: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Mean over valid pixels, ``(batch, 1, y, x)``, and all channels."""
    return values.mean() if valid is None else (values * valid).sum() / (valid.sum() * values.shape[1]).clamp(min=1)


def spectral_loss(
    fine: torch.Tensor, coarse: torch.Tensor, operator: Separable, valid: torch.Tensor | None
) -> torch.Tensor:
    """Mean absolute difference between the fine cube as the sensor would observe it and the observed coarse one."""
    degraded: torch.Tensor = _Observe.apply(fine, operator)
    return mean_over((degraded - coarse).abs(), valid)


class Likeness(Protocol):
    """How alike PAN an image is around each pixel: ``(1, channel, y, x)`` to values up to one, a window each."""

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """The map, ``size − 1`` pixels smaller."""
        ...


class LocalCorrelation:
    """Correlation coefficient with a panchromatic image in every whole window of ``size`` × ``size`` pixels."""

    def __init__(self, pan: torch.Tensor, size: int) -> None:
        self.pan, self.size = pan, size
        self.mean = self._mean(pan)
        self.variance = self._variance(pan, self.mean)

    def _mean(self, image: torch.Tensor) -> torch.Tensor:
        return avg_pool2d(image, self.size, stride=1)

    def _variance(self, image: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        return (self._mean(image * image) - mean * mean).clamp(min=0)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """The coefficients; zero where either is flat."""
        mean = self._mean(image)
        product = self._mean(image * self.pan) - mean * self.mean
        return product / (self._variance(image, mean) * self.variance + FLAT_WINDOW**2).sqrt()


class LocalMultipleCorrelation(LocalCorrelation):
    """Multiple correlation with PAN and its square: an image that is a parabola of PAN is fully alike."""

    def __init__(self, pan: torch.Tensor, size: int) -> None:
        super().__init__(pan, size)
        self.square = pan * pan
        self.square_mean = self._mean(self.square)
        joint = self._mean(pan * self.square) - self.mean * self.square_mean
        # the regression of the square on PAN, and the variance of the square that it leaves
        self.slope = joint / (self.variance + FLAT_WINDOW)
        self.rest = (self._variance(self.square, self.square_mean) - self.slope * joint).clamp(min=0)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """The coefficients, 0 to 1."""
        mean = self._mean(image)
        own = self._variance(image, mean)
        first = self._mean(image * self.pan) - mean * self.mean
        second = self._mean(image * self.square) - mean * self.square_mean - self.slope * first
        flat = FLAT_WINDOW**2
        explained = first**2 / (own * self.variance + flat) + second**2 / (own * self.rest + flat)
        # the root's slope is infinite at zero
        return (explained + flat).sqrt()


def structural_loss(likeness: torch.Tensor, limit: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Mean of one minus the likeness, where it is below what the coarse scale shows; ``(1, channel)`` of each channel.

    Parameters
    ----------
    likeness : Tensor, shape (1, channel, y, x)
        Of the fused image with PAN.
    limit : Tensor, same shape
        Of the interpolated image with the low-pass PAN: no detail is asked for where PAN does not tell.
    valid : Tensor of bool, shape (1, 1, y, x), or None
    """
    lack = torch.where(likeness < limit, 1 - likeness, 0)
    return lack.mean((2, 3)) if valid is None else (lack * valid).sum((2, 3)) / valid.sum().clamp(min=1)


def window_of(case: FusionCase) -> int:
    """Side of the local windows: a coarse pixel, at least three fine ones, at most the image."""
    return min(max(case.optics.ratio, 3), *size_of(case.pan))


def whole_windows(valid: torch.Tensor | None, size: int) -> torch.Tensor | None:
    """Windows of which all pixels are valid."""
    return None if valid is None else avg_pool2d(valid.float(), size, stride=1) > 1 - 0.5 / size**2


# ---- net and adaptation --------------------------------------------------------------------------------------------


class DetailNet(nn.Module):
    """Three convolutions, from images and PAN to details; the border of the images is replicated.

    Parameters
    ----------
    n_images : int
    seed : int
        Of the first weights, the same on every device.
    """

    def __init__(self, n_images: int, seed: int) -> None:
        super().__init__()
        widths = (n_images + 1, *FEATURES, n_images)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            convolutions = [
                nn.Conv2d(n_in, n_out, kernel)
                for n_in, n_out, kernel in zip(widths[:-1], widths[1:], KERNELS, strict=True)
            ]
        last = convolutions[-1]
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), last)

    def prepare(self, images: torch.Tensor, pan: torch.Tensor) -> torch.Tensor:
        """What `forward` takes: images and PAN with their borders, once for all steps."""
        border = sum(kernel // 2 for kernel in KERNELS)
        stacked = pad(torch.cat([images, pan], 1), (border,) * 4, mode="replicate")
        # the faster layout for so few channels
        return stacked.contiguous(memory_format=torch.channels_last)

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        """Details ``(1, image, y, x)``."""
        return self.layers(prepared)


class Steps:
    """Counts steps, of a total that is known beforehand, and tells the caller."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.progress, self.done = total, progress, 0

    def advance(self, steps: int = 1) -> None:
        """So many more are done, or will not be needed."""
        self.done += steps
        if self.progress is not None and steps:
            self.progress(self.done, self.total)


def share_of(steps: int, effort: float) -> int:
    """A part of the full schedule, at least one step."""
    return max(1, round(steps * effort))


def adapt(net: nn.Module, loss: Callable[[], torch.Tensor], steps: int, counter: Steps) -> list[float]:
    """Adam on the net's weights until the loss no longer falls; its values.

    Stops before ``steps`` when `PATIENCE` windows of `WINDOW` steps bring nothing, or nothing is left to gain.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    values: list[float] = []
    best, stale, end = float("inf"), 0, counter.done + steps
    for number in range(1, steps + 1):
        optimizer.zero_grad()
        value = loss()
        values.append(float(value.detach()))
        if values[-1] < CONVERGED:
            break
        value.backward()
        optimizer.step()
        counter.advance()
        if number % WINDOW == 0:
            recent = float(np.mean(values[-WINDOW:]))
            stale = 0 if recent < best * (1 - PROGRESS_SHARE) else stale + 1
            best = min(best, recent)
            if stale == PATIENCE:
                break
    counter.advance(end - counter.done)
    return values


# ---- band by band ----------------------------------------------------------------------------------------------------


def structure_weight(optics: Optics, band: int) -> float:
    """Weight of the structural loss of a band; one that does not tell its wavelength is taken not to be PAN's."""
    visible = optics.wavelength_nm is not None and optics.wavelength_nm[band] < VISIBLE_NM
    return STRUCTURE[0] if visible else STRUCTURE[1]


def schedule(wavelength_nm: Any, n_bands: int, effort: float = 1.0) -> tuple[list[int], list[int]]:
    """Order of the bands, and steps for each: many for the first, then in proportion to the wavelength step.

    Parameters
    ----------
    wavelength_nm : array, shape (band,), or None
    n_bands : int
    effort : float
        Share of the full schedule.
    """
    wavelength = USUAL_DISTANCE_NM * np.arange(n_bands) if wavelength_nm is None else np.asarray(wavelength_nm)
    order = np.argsort(wavelength, kind="stable")
    steps = np.clip(STEPS_PER_NM * np.diff(wavelength[order]), *STEP_LIMITS)
    return order.tolist(), [share_of(number, effort) for number in (FIRST_STEPS, *steps)]


def propagate(
    case: FusionCase, likeness: Callable[[torch.Tensor, int], Likeness], balance: Callable[[int], Balance], *,
    seed: int, progress: Progress | None, effort: float,
) -> torch.Tensor:  # fmt: skip
    """Fuse one cube band by band with one net, whose weights go from each band to the next.

    Parameters
    ----------
    case : FusionCase
        Of one cube.
    likeness : callable
        Takes PAN and the window's side.
    balance : callable
        Takes the band's number.
    seed, progress, effort
        Of the first weights; called with (steps done, steps in all); share of the full schedule.

    Returns
    -------
    Tensor, shape (1, band, ratio·y, ratio·x)
    """
    order, steps = schedule(case.optics.wavelength_nm, case.n_bands, effort)
    counter = Steps(sum(steps), progress)
    tile, size = case.tile, window_of(case)
    with torch.inference_mode(False), torch.enable_grad():
        images = scaled(case)
        out = tile.expanded.clone()
        net = DetailNet(1, seed).to(out.device)
        of_fused, of_coarse = likeness(images.pan, size), likeness(images.pan_low, size)
        windows = whole_windows(tile.valid, size)

        def details(band: int, number: int) -> torch.Tensor:
            start, coarse = images.expanded[:, band : band + 1], images.coarse[:, band : band + 1]
            operator = tile.down(case.optics.select(np.array([band])).mtf)
            prepared, limit, weigh = net.prepare(start, images.pan), of_coarse(start), balance(band)

            def loss() -> torch.Tensor:
                fused = start + net(prepared)
                spectral = spectral_loss(fused, coarse, operator, tile.coarse_valid)
                weight = weigh(float(spectral.detach()))
                if not weight:
                    return spectral
                return spectral + weight * structural_loss(of_fused(fused), limit, windows).mean()

            adapt(net, loss, number, counter)
            return net(prepared).detach()

        for band, number in zip(order, steps, strict=True):
            out[:, band : band + 1] += images.spread[:, band : band + 1] * details(band, number)
    return out
