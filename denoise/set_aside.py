"""What no method should see of an array is set aside: bands without signal, wild voxels, levels, a scene's edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.case import Known, Observation
from denoise.live_bands import of_live
from denoise.pedestal import of_rounding, pedestal, without
from denoise.separation.counts import Counts, counts_of
from denoise.separation.estimate import FEW, medians
from denoise.separation.noise import MIN_PIXELS
from denoise.separation.spikes import SLIGHT, spikes
from denoise.separation.stuck import blank, stuck_values
from denoise.separation.wild import wild
from hsitools.errors import InputError
from hsitools.estimation.full_scale import clipped

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An array as a method may see it, and what was set aside of it.

    Attributes
    ----------
    given : array, shape (band, y, x)
        As it came.
    level : array, shape (band,)
        Constants that were taken off (`denoise.pedestal`).
    values : array, shape (band, y, x)
        Without what the sensor tells of its elements, and without the levels.
    signal, live : array of bool, shape (band,)
        Bands with a signal; those of them that are restored.
    valid, lone : array of bool, shape (band, y, x)
        What is measured and believed; what is measured and so far off that it is not.
    nothing, beyond : array of bool, shape (y, x)
        Pixels without any measurement; pixels beyond the scene's edge.
    full : array of bool, shape (live band, y, x)
        At full scale.
    filled : array, shape (live band, y, x)
        The values, holes with their band's median.
    counts : Counts, optional
        What a photon is worth, where photons were counted.
    worked : array, shape (live band, y, x)
        What methods work on: ``filled``, of counts stabilised.
    scale : float
        Its deviation: methods see it in these units.
    """

    given: NDArray[Any]
    level: NDArray[Any]
    values: NDArray[Any]
    signal: Mask
    live: Mask
    valid: Mask
    lone: Mask
    nothing: Mask
    beyond: Mask
    full: Mask
    filled: NDArray[np.float32]
    counts: Counts | None
    worked: NDArray[np.float32]
    scale: float

    def too_little(self) -> str | None:
        """Why there is too little to tell noise from, or None."""
        if self.given[0].size < MIN_PIXELS:
            return f"fewer than {MIN_PIXELS} pixels"
        rounded = of_rounding(self.given, np.abs(self.worked).max() + np.abs(self.level).max())
        return None if self.scale > rounded else "no contrast"

    def observation(self, known: Known, wavelength_nm: NDArray[Any] | None) -> Observation:
        """The live bands as methods see them."""
        counted, live = self.counts is not None, self.live

        def unit(value: NDArray[Any] | None) -> NDArray[np.float32] | None:
            return None if counted or value is None else (np.asarray(value)[live] / self.scale).astype(np.float32)

        return Observation(
            values=(self.worked / self.scale).astype(np.float32), valid=self.valid[live],
            sigma=unit(known.sigma), slope=unit(known.slope),
            calibrated=counted or known.gain is not None or known.offset is not None,
            clipped=self.full if self.full.any() else None, counts=counted,
            wavelength_nm=None if wavelength_nm is None else np.asarray(wavelength_nm)[live],
        )  # fmt: skip


def prepare(given: NDArray[Any], known: Known, use: Mask | None, who: str, spiked: bool) -> Prepared:
    """Set aside what no method should see; parameters as of `denoise.restore.restore`.

    Raises
    ------
    InputError
        When no band has a signal.
    """
    measured = np.isfinite(given) & (np.abs(given) <= np.finfo(np.float32).max)
    valid = measured if known.dead is None else measured & ~known.dead[:, None]
    signal = (valid & (given != 0)).any(axis=(1, 2))
    # of detector elements calibrated first: their gains alone are a contrast where a scene is far from zero
    values = _calibrated(given, known)
    level = pedestal(values, valid)
    values = without(values, level)
    live, lone = _live(given, valid, signal & (True if use is None else use), who)
    valid = valid & ~lone
    full = clipped(given[live], valid[live], of_live(known.full_scale, live))
    if known.gain is not None or known.offset is not None:
        # exact values give stuck elements and impulses away only as long as nothing is taken from them
        valid[live] &= full | ~stuck_values(given[live], valid[live])
    filled = _filled(values[live], valid[live])
    # so far above zero, photons are many
    told = of_live(known.sigma, live), of_live(known.slope, live)
    counts = None if level.any() else counts_of(filled, valid[live], *told)
    beyond = np.zeros(given.shape[1:], dtype=bool)
    if counts is None:
        # counts are zero where it is dark; what is not measured stays the zero that it is
        beyond = blank(given[live], valid[live])
        valid = valid & ~beyond
        filled = _filled(filled, valid[live])
    if spiked and counts is None:
        # of lesser ones bands beside them tell; what is frequent has a histogram
        spike = spikes(filled, valid[live] & ~full, SLIGHT)
        lone[live] |= spike & (spike.mean((1, 2), keepdims=True) < FEW)
        valid = valid & ~lone
        filled = _filled(filled, valid[live])
    worked = filled if counts is None else counts.stabilised(filled)
    return Prepared(
        given=given, level=level, values=values, signal=signal, live=live, valid=valid, lone=lone,
        nothing=~measured[live].any(axis=0), beyond=beyond, full=full, filled=filled, counts=counts, worked=worked,
        # squares of photons' numbers in SI units, or of watts', are beyond float32
        scale=float(np.std(worked, dtype=float)),
    )  # fmt: skip


def _live(given: NDArray[Any], valid: Mask, wanted: Mask, who: str) -> tuple[Mask, Mask]:
    """Bands that hold something to tell noise from, and voxels so far off that no mean or variance may meet them."""
    lone = np.zeros(given.shape, dtype=bool)
    lone[wanted] = wild(given[wanted], valid[wanted])
    valid = valid & ~lone
    varied = wanted & (np.where(valid, given, np.inf).min((1, 2)) < np.where(valid, given, -np.inf).max((1, 2)))
    live = varied if varied.any() else wanted
    if not live.any():
        raise InputError(f"{who}: found no band with signal, expected some")
    return live, lone


def _calibrated(values: NDArray[Any], known: Known) -> NDArray[Any]:
    """Values without the known gains and offsets of detector elements."""
    if known.offset is not None:
        values = values - known.offset[:, None]
    if known.gain is not None:
        gain = known.gain if known.dead is None else np.where(known.dead, 1, known.gain)
        values = values / gain[:, None]
    return values


def _filled(values: NDArray[Any], valid: Mask) -> NDArray[np.float32]:
    """Invalid voxels take their band's median."""
    filled = values.astype(np.float32)
    some = ~valid.all((1, 2))
    filled[some] = np.where(valid[some], filled[some], medians(filled[some], valid[some])[:, None, None])
    return filled
