"""From a capture to a characterization: the whole of IRCA's three steps, with certainty.

`characterize` runs the default path: periodogram and OPD path, batched refinement under a population prior, restarts
for rows with few fringes, covariance, flags, and the device's OPD law.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from types import NoneType
from typing import Any

import numpy as np

from calibration.captures.capture import MonochromaticCapture
from calibration.captures.saturation import blanked_samples, clipped_samples, filled_flat, full_wells
from calibration.characterization import Characterization
from calibration.fitting.near_ceiling import near_ceiling, rows_near_ceiling, with_ceilings
from calibration.fitting.noise import ROUNDED
from calibration.fitting.opd_law import OpdLaw
from calibration.fitting.options import Options
from calibration.fitting.pedestal import pedestal_text
from calibration.fitting.wild_samples import WildSamples, fit_without_wild
from calibration.held_out import cross_validate, deal
from calibration.model_choice import general_model, select_model
from calibration.physical_parameters import characterization_of, set_aside_text
from hsitools.errors import require_type
from hsitools.sensor.transmittance import TransmittanceModel
from hsitools.text import counted

log = logging.getLogger(__name__)
#: Fits that tell which samples lie near a ceiling: the first is bent by them.
ROUNDS = 2


def characterize(
    capture: MonochromaticCapture,
    model: TransmittanceModel | None = None,
    *,
    options: Options | None = None,
    cv: int = 0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Characterization:
    """Characterize all interferometers of a capture.

    Samples that were cut off and are not marked are set aside, said and flagged (`captures.saturation`).

    Parameters
    ----------
    capture : MonochromaticCapture
    model : TransmittanceModel, optional
        None picks waves, degrees, dispersion and etalons by held-out error (`calibration.model_choice.select_model`).
    options : Options, optional
    cv : int
        Folds for the held-out error of the result; 0 for none.
    seed : int
        Deals the lines to folds.
    progress : callable, optional
        Called with the label of each model tried.

    Raises
    ------
    InputError
        When no row has signal, intensity and flat field look exchanged, or there are fewer lines than parameters.

    References
    ----------
    D. Picone et al., Optics Express 31(14) 23066, 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from calibration import simulated_bench
    >>> from hsitools.sensor.transmittance import TransmittanceModel
    >>> rng = np.random.default_rng(0)
    >>> instrument = simulated_bench.simulate_instrument(12, rng=rng, rows=4)
    >>> capture = simulated_bench.capture(instrument, simulated_bench.lines(121), rng=rng, noise=0.02)
    >>> result = characterize(capture, TransmittanceModel())
    >>> bool(np.median(np.abs(result.opd_um - instrument.opd_um)) < 0.01)
    True
    """
    require_type(capture, MonochromaticCapture, "capture", "a MonochromaticCapture: open_capture(path), extract(…)")
    require_type(model, (TransmittanceModel, NoneType), "model", "a TransmittanceModel, or None to choose one")
    began = time.perf_counter()
    capture.check_not_exchanged()
    if cv:
        # a wrong number of folds is told before minutes of fitting
        deal(capture.n_lines, cv, seed)
    capture = _without_clipped(capture)
    trials: list[dict[str, Any]] = []
    spread = among = None
    options = options or Options()
    capture = _without_near_ceiling(capture, options)
    if model is None:
        _, _, among = fit_without_wild(capture, general_model(capture), options)
        selection = select_model(_without(capture, among), options, seed=seed, progress=progress)
        model, options, trials, spread = selection.model, selection.options, selection.table, selection.model_spread
    data, fit, wild = fit_without_wild(capture, model, options, among)
    log.info("%s: %s: %d iterations", capture.name, model.label, fit.iterations)
    rmse_cv = None
    if cv:
        rmse_cv = cross_validate(_without(capture, wild), model, options, cv, seed)
    result = characterization_of(
        capture, data, fit, rmse_cv=rmse_cv, selection=trials, seconds=time.perf_counter() - began, options=options,
        model_spread=spread, wild=wild,
    )  # fmt: skip
    if wild.samples.any():
        log.warning("%s: %s", capture.name, set_aside_text(result.settings))
    if result.flags["undersampled"].any():
        log.warning(
            "%s: the lines sample OPDs up to %.2f µm: found %s at or beyond it, or not to be told from their aliases, "
            "those with other turns over a gap between lines included (flag undersampled)",
            capture.name, result.settings["opd_limit_um"],
            counted(result.flags["undersampled"].sum(), "interferometer"),
        )  # fmt: skip
    left = float(np.nanmedian(result.rmse))
    if left < ROUNDED:
        log.warning(
            "%s: no noise: residuals of %.1g of the mean intensity are rounding; errors are those of a noise of %g",
            capture.name, left, ROUNDED,
        )  # fmt: skip
    if result.settings["pedestal"]["said"]:
        log.warning("%s: a constant in the intensities: %s", capture.name, pedestal_text(result.settings))
    say_other_step(result.law, capture.name)
    return result


def say_other_step(law: OpdLaw, name: str) -> None:
    """Warn of a nominal step that can only be in another unit."""
    nominal, found = law.nominal_step_um, law.step_um
    if nominal is not None and np.isfinite(found) and not 0.1 < abs(found / nominal) < 10:
        log.warning("%s: opd_step_um: found %g, while the fringes say %.3g: is it in µm?", name, nominal, abs(found))


def _without_clipped(capture: MonochromaticCapture) -> MonochromaticCapture:
    """A capture whose samples that were cut off are marked as saturated, and masked, where they can be at a ceiling.

    Samples whose flat field was cut off are left out.
    """
    clipped_flat = clipped_samples(capture.flat, capture.mask)
    if clipped_flat.any():
        log.warning(
            "%s: flat: %s of %s saturated: left out",
            capture.name, counted(clipped_flat.sum(), "sample"),
            counted(clipped_flat.any(axis=1).sum(), "interferometer"),
        )  # fmt: skip
        capture = replace(capture, mask=capture.mask & ~clipped_flat)
    clipped = clipped_samples(capture.intensity, capture.mask)
    wells = full_wells(capture.intensity, capture.mask & ~clipped.any(axis=1, keepdims=True))[:, None]
    full = capture.mask & (capture.intensity >= wells)
    clipped |= full
    if clipped.any():
        log.warning(
            "%s: %s of %s saturated, which the capture does not mark: left out",
            capture.name, counted(clipped.sum(), "sample"), counted(clipped.any(axis=1).sum(), "interferometer"),
        )  # fmt: skip
        capture = replace(
            capture, intensity=np.where(full, wells, capture.intensity), mask=capture.mask & ~clipped,
            saturated=clipped if capture.saturated is None else capture.saturated | clipped,
        )  # fmt: skip
    elif capture.saturated is None or not capture.saturated.any():
        capture = _with_blanked_marked(capture)
    return with_ceilings(capture)


def _with_blanked_marked(capture: MonochromaticCapture) -> MonochromaticCapture:
    blanked = blanked_samples(capture.intensity, capture.flat, capture.mask)
    if not blanked.any():
        return capture
    log.warning(
        "%s: %s of %s missing where the light is brightest: taken for saturated",
        capture.name, counted(blanked.sum(), "sample"), counted(blanked.any(axis=1).sum(), "interferometer"),
    )  # fmt: skip
    flat = np.where(blanked, filled_flat(capture.flat, capture.mask), capture.flat)
    return replace(capture, flat=flat, saturated=blanked)


def _without_near_ceiling(capture: MonochromaticCapture, options: Options) -> MonochromaticCapture:
    """A capture without the samples that are so bright that noise decided whether they were cut off."""
    given = capture
    if not rows_near_ceiling(capture).any():
        return capture
    for _ in range(ROUNDS):
        data, fit, wild = fit_without_wild(capture, general_model(capture), options)
        near = near_ceiling(_without(given, wild), data, fit)
        capture = replace(given, mask=given.mask & ~near)
    return capture


def _without(capture: MonochromaticCapture, wild: WildSamples) -> MonochromaticCapture:
    """A capture with its wild samples masked."""
    if not wild.samples.any():
        return capture
    saturated = None if capture.saturated is None else capture.saturated & ~wild.samples
    return replace(capture, mask=capture.mask & ~wild.samples, saturated=saturated)
