"""A capture made ready for fitting: its rows scaled to mean one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.fitting.aliases import rival_distances
from calibration.fitting.cut_off import cut_off_samples
from hsitools.errors import InputError
from hsitools.sensor.fabry_perot import AIRY
from hsitools.sensor.line_shape import LineShape
from hsitools.sensor.polynomial import Band
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

Array = NDArray[np.float64]

#: Fewest rows that say anything about what all rows share (a population, a line width, an etalon, a drift). The
#: population has some eight parameters, whose covariance fewer rows can hardly span.
MIN_ROWS = 12


@dataclass(frozen=True, kw_only=True)
class ScaledRows:
    """A capture made ready for fitting: rows scaled to mean one, so that residuals and gains compare.

    ``intensity``, ``flat``, ``weight`` ``(row, line)``; ``level`` and ``flat_level`` ``(row,)`` the means taken out;
    ``usable`` ``(row,)`` rows that can be fitted; ``line`` the monochromator's, None when it is monochromatic;
    ``line_shape`` what it is when its width is yet to be estimated; ``cut_off`` ``(row, line)`` samples of weight 0
    whose light is at least their intensity, None where there are none.
    """

    band: Band
    wavenumber: Array
    intensity: Array
    flat: Array
    weight: Array
    level: Array
    flat_level: Array
    index: NDArray[np.int64]
    usable: NDArray[np.bool_]
    opd_step_um: float | None
    line: LineShape | None = None
    line_shape: str = "gaussian"
    cut_off: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls, capture: MonochromaticCapture, model: TransmittanceModel, held_out: NDArray[np.intp] | None = None,
        set_aside: NDArray[np.bool_] | None = None,
    ) -> ScaledRows:  # fmt: skip
        """Scale the rows of ``capture``; raise `InputError` when it has too few lines for the model.

        Of the lines ``held_out`` only wavenumber and flat field are used: the rest is as if they had not been measured.
        So it is with samples ``set_aside`` ``(row, line)``.
        """
        mask = capture.mask if set_aside is None else capture.mask & ~set_aside
        cut_off = cut_off_samples(capture)
        if set_aside is not None:
            cut_off &= ~set_aside
        if held_out is not None:
            mask = mask.copy()
            mask[:, held_out] = cut_off[:, held_out] = False
        n_free = int(model.free.sum())
        n_lines = capture.n_lines - (0 if held_out is None else len(held_out))
        if n_lines <= n_free:
            raise InputError(
                f"{capture.source or capture.name}: lines: found {n_lines}, expected more than the model's "
                f"{n_free} parameters ({model.label}); choose lower degrees"
            )
        # harmonics of one path difference that as many lines can hold
        most = (capture.n_lines - 1) // 2
        if model.waves != AIRY and model.waves - 1 > most:
            raise InputError(
                f"{capture.source or capture.name}: waves: found {model.waves:g}, expected at most {most + 1} "
                f"of {capture.n_lines} lines, or airy"
            )
        weight = mask.astype(float)
        count = weight.sum(axis=1)
        total = (capture.intensity * weight).sum(axis=1)
        usable = (count > n_free) & (total > 0)
        level = np.where(usable, total / np.maximum(count, 1), 1.0)[:, None]
        intensity = np.where(mask | cut_off, capture.intensity, 0) / level
        cut_off &= usable[:, None]
        if model.gain_reference == "flat":
            flat = np.where(capture.mask | cut_off, capture.flat, 1)
            # scaled so that a gain of one is the mean flat: keeps the gain's population comparable between rows
            flat_level = np.where(usable, (flat * weight).sum(axis=1) / np.maximum(count, 1), 1.0)
            flat = flat / flat_level[:, None]
        else:
            flat, flat_level = np.ones_like(intensity), np.ones(len(intensity))
        return cls(
            band=Band.of(capture.wavenumber),
            wavenumber=capture.wavenumber,
            intensity=intensity,
            flat=flat,
            weight=weight * usable[:, None],
            level=level[:, 0],
            flat_level=flat_level,
            index=capture.index,
            usable=usable,
            opd_step_um=capture.opd_step_um,
            line=capture.line,
            line_shape=capture.line_shape,
            cut_off=cut_off if cut_off.any() else None,
        )

    @cached_property
    def rival_distances(self) -> Array:
        """Distances (µm) between OPDs that the measured lines hardly tell apart (`calibration.fitting.aliases`)."""
        return rival_distances(self.wavenumber[(self.weight > 0).any(axis=0)])

    def sampled(self, model: TransmittanceModel) -> SampledModel:
        """A model as the monochromator's lines see it."""
        return SampledModel(model, self.band, self.wavenumber, line=self.line)

    @property
    def scale(self) -> Array:
        """Turns a gain that is relative to the row's mean into one relative to the flat field, shape ``(row,)``."""
        return self.level / self.flat_level

    @property
    def seen(self) -> Array:
        """Weights for a start, ``(row, line)``: samples at the ceiling hold the phase of what was cut off there."""
        return self.weight if self.cut_off is None else self.weight + self.cut_off

    @property
    def filled_ratio(self) -> Array:
        """Intensity over flat, masked samples at the row's mean, for the periodogram."""
        ratio = self.intensity / self.flat
        valid = self.seen > 0
        mean = (ratio * valid).sum(axis=1) / np.maximum(valid.sum(axis=1), 1)
        # a few wild samples (a flat near zero) would own the periodogram: clip them to the row's bulk
        ratio = np.where(valid, ratio, mean[:, None])
        low, high = np.percentile(ratio, [0.5, 99.5], axis=1)
        span = high - low
        return np.clip(ratio, (low - span)[:, None], (high + span)[:, None])
