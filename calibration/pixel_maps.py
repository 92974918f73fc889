"""Per-pixel characterization: maps of OPD, phase, reflectivity and gain over every sub-image.

Off the sub-image's centre light crosses the cavity at an angle θ and sees OPD·cos θ. Each interferometer's centre is
characterized first; its pixels then start from it (OPD from a periodogram around the centre's) and are refined under
the population prior, one interferometer at a time, in bounded memory. A killed run resumes where it stopped.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.pixel_stack import PixelStack
from calibration.fitting import initialize
from calibration.fitting.fit_state import Fit
from calibration.fitting.options import Options
from calibration.fitting.posterior import posterior
from calibration.fitting.refine import Prior, refine
from calibration.fitting.restarts import FEW_FRINGES, HARMONIC
from calibration.fitting.scaled_rows import ScaledRows
from calibration.fitting.uncertainty import parameter_covariance
from calibration.fitting.wild_samples import MOST, ROUNDS, WILD, WILD_AMONG_MANY, fit_without_wild, of_count
from hsitools import __version__
from hsitools.estimation.spread import SIGMA_PER_MEDIAN
from hsitools.io.atomic import require_room
from hsitools.io.outputs import check_suffix
from hsitools.progress import Progress
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: What the file says it is.
FORMAT, VERSION = "hsitools-maps", 1
#: OPDs searched around the centre's: a share of it (cos θ down to .95 is 18° off axis), and fringes over the band, less
#: than the one at which the next peak begins.
SEARCH_SHARE, SEARCH_FRINGES = 0.05, 0.75
#: Cosines under which an interferometer of few fringes is tried as a pixel's start.
COSINES = (1.0, 0.98, 0.96)
#: Times by which a start's residual variance may exceed the fit's, and the share of the pixels that may exceed it: more
#: than that of the population's weight is wrong.
NOISIER, FEW_PIXELS = 1.5, 0.05
#: Robust residuals of a pixel over those of the other pixels from which its fit is looked at again.
WORSE = 1.5
#: What is mapped, with its unit.
MAPS = {
    "opd_um": "um", "opd_stderr_um": "um", "phase_rad": "rad", "reflectivity": "1", "gain": "1", "rmse": "1",
}  # fmt: skip


def fit_pixels(
    sampled: SampledModel,
    intensity: Array,
    flat: Array,
    wavenumber: Array,
    centre: Array,
    prior: Prior | None,
    *,
    doubt: Array | None = None,
    loss: str = "linear",
    set_aside: bool = True,
    device: Any = None,
) -> dict[str, Array]:
    """Fit the pixels of one interferometer.

    Parameters
    ----------
    sampled : SampledModel
    intensity, flat : array, shape (pixel, line)
    wavenumber : array, shape (line,)
    centre : array, shape (parameter,)
        Parameters at the sub-image's centre.
    prior : Prior or None
        Of one row: population of the polynomials; its residual variance is replaced by each pixel's own.
    doubt : array, shape (parameter, parameter), optional
        Covariance of ``centre``.
    loss : str
    set_aside : bool
        Whether a pixel's wild samples (`calibration.fitting.wild_samples`) are left out, where the loss is linear.
    device : optional
        torch device for the refinement.

    Returns
    -------
    dict of array
        One ``(pixel,)`` array for each of `MAPS`; NaN where a pixel has no signal.
    """
    constant = (wavenumber, centre, prior, doubt)
    out, residual = _fit(sampled, intensity, flat, *constant, loss, device)
    if loss != "linear" or not set_aside:
        return out
    most, kept = MOST * np.isfinite(residual).sum(axis=1), intensity.copy()
    rows = np.flatnonzero(_doubtful(residual))
    for _ in range(ROUNDS):
        if not len(rows):
            break
        # what is wild shows beside a fit that it does not move
        residual = _fit(sampled, kept[rows], flat[rows], *constant, "huber", device)[1]
        wild = _far_off(residual, WILD)
        few = wild.any(axis=1) & ((wild | np.isnan(kept[rows])).sum(axis=1) <= most[rows])
        rows, wild = rows[few], wild[few]
        kept[rows] = np.where(wild, np.nan, kept[rows])
    rows = np.flatnonzero((np.isnan(kept) & ~np.isnan(intensity)).any(axis=1))
    if len(rows):
        again, _ = _fit(sampled, kept[rows], flat[rows], *constant, loss, device)
        for name in MAPS:
            out[name][rows] = again[name]
    return out


def _doubtful(residual: Array) -> NDArray[np.bool_]:
    """Pixels that may have wild samples: some are far off, or they fit worse than the others, as if drawn away."""
    spread = _spread(residual)
    typical = np.median(spread[spread > 0]) if (spread > 0).any() else 0.0
    return np.asarray(_far_off(residual, WILD_AMONG_MANY).any(axis=1) | (spread > WORSE * typical))


def _far_off(residual: Array, limit: float) -> NDArray[np.bool_]:
    """Samples ``(pixel, line)`` so many robust deviations off their pixel's fit."""
    count = np.isfinite(residual).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(residual) > of_count(limit, count) * _spread(residual)[:, None])


def _spread(residual: Array) -> Array:
    """Robust deviation of each pixel's residuals ``(pixel, line)``, NaN where not measured."""
    measured = np.isfinite(residual).any(axis=1)
    out = np.zeros(len(residual))
    out[measured] = SIGMA_PER_MEDIAN * np.nanmedian(np.abs(residual[measured]), axis=1)
    return out


def _fit(
    sampled: SampledModel, intensity: Array, flat: Array, wavenumber: Array, centre: Array, prior: Prior | None,
    doubt: Array | None, loss: str, device: Any,
) -> tuple[dict[str, Array], Array]:  # fmt: skip
    """Maps of pixels, and their residuals relative to the mean ``(pixel, line)``, NaN where not measured."""
    model, band = sampled.model, sampled.band
    good = np.isfinite(intensity) & np.isfinite(flat) & (flat > 0)
    weight = good.astype(float)
    count = weight.sum(axis=1)
    level = np.where(good, intensity, 0).sum(axis=1) / np.maximum(count, 1)
    flat_level = np.where(good, flat, 0).sum(axis=1) / np.maximum(count, 1)
    usable = (level > 0) & (count > model.free.sum())
    out = {name: np.full(len(intensity), np.nan) for name in MAPS}
    residuals = np.full(intensity.shape, np.nan)
    if not usable.any():
        return out, residuals
    y = np.where(good, intensity, 0)[usable] / level[usable, None]
    f = np.where(good, flat, 1)[usable] / flat_level[usable, None]
    w = weight[usable]
    column = model.opd_column
    expected = float(model.opd_um(centre, band))
    reach = SEARCH_SHARE * expected + SEARCH_FRINGES / band.width
    grid = np.arange(max(0.25 / band.width, expected - reach), expected + reach, 0.2 / band.width)
    # the centre's gain already divided out: only the fringe is left to search for
    smooth = (centre[model.slices["gain"]] @ sampled.basis[:, : model.degree_gain + 1].T).clip(1e-3)
    ratio = np.where(w > 0, y / f / smooth, 1.0)
    scan = initialize.periodogram(wavenumber, ratio, grid, model.etalons_um)
    peak = initialize.refine_peak(grid, scan.power, scan.power.argmax(axis=1))
    theta = initialize.starting_parameters(model, band, wavenumber, y, f, w, peak)
    shared = [j for j in range(model.n_parameters) if j not in (column - 1, column)]
    theta[:, shared] = centre[shared]
    if expected * band.width < FEW_FRINGES * HARMONIC:
        theta = _nearest(sampled, theta, centre, y, f, w)
    variance = np.median(((y - sampled.values(theta, f)) * (w > 0)) ** 2, axis=1) / 0.455
    pixel_prior = None
    held = np.zeros((1, model.n_parameters, model.n_parameters))
    if prior is not None:
        held = prior.precision.copy()
        held[:, column, :] = held[:, :, column] = 0
        held = _free_level(held, centre, model.slices["gain"])
    for again in (True, False):
        if prior is not None:
            # the residual variance is the weight of data against population: what a start leaves is too much
            mean = np.broadcast_to(centre, theta.shape)
            pixel_prior = Prior(mean=mean, precision=held * variance[:, None, None])
        refined = _refine_on(device, sampled, theta, y, f, w, pixel_prior, loss)
        residual = y - sampled.values(refined.theta, f)
        found, covariance = posterior(refined, residual, w, pixel_prior, model.free, loss)
        if prior is None or not again or np.mean(variance > NOISIER * found) < FEW_PIXELS:
            break
        theta, variance = refined.theta, found
    if doubt is not None:
        # the centre that pixels are drawn to is itself not known, in one way for all of them
        pull = covariance @ held
        covariance = covariance + pull @ doubt @ np.swapaxes(pull, 1, 2)
    solution = refined.theta
    solution[solution[:, column] < 0, model.slices["phase"]] *= -1
    opd = model.opd_um(solution, band)
    phase = 2 * np.pi * band.centre * opd - solution[:, column - 1]
    values = {
        "opd_um": opd,
        "opd_stderr_um": np.sqrt(np.maximum(covariance[:, column, column], 0)) * band.opd_per_radian,
        "phase_rad": (phase + np.pi) % (2 * np.pi) - np.pi,
        "reflectivity": sampled.reflectivity(solution).mean(axis=1),
        "gain": solution[:, model.slices["gain"].start] * level[usable] / flat_level[usable],
        "rmse": np.sqrt((w * residual**2).sum(axis=1) / w.sum(axis=1)),
    }
    for name, value in values.items():
        out[name][usable] = value
    residuals[usable] = np.where(w > 0, residual, np.nan)
    return out, residuals


def _nearest(sampled: SampledModel, theta: Array, centre: Array, y: Array, f: Array, w: Array) -> Array:
    """Of starts ``theta`` and the centre itself, seen under several angles, each pixel's nearest to its light.

    A periodogram says little of few fringes; the centre's OPD is a pixel's but for cos θ.
    """
    seen = [sampled.model.off_axis(np.broadcast_to(centre, theta.shape), sampled.band, cosine) for cosine in COSINES]
    starts = np.stack([theta, *seen])
    squares = np.stack([(w * (y - sampled.values(start, f)) ** 2).sum(axis=1) for start in starts])
    best = squares.argmin(axis=0)
    return np.asarray(starts[best, np.arange(len(y))])


def _free_level(precision: Array, centre: Array, gain: slice) -> Array:
    """The precision without what it says of a pixel's brightness, since vignetting is not known beforehand."""
    along = np.zeros_like(centre)
    along[gain] = centre[gain]
    held = precision @ along
    return np.asarray(precision - held[:, :, None] * held[:, None, :] / np.maximum(held @ along, 1e-300)[:, None, None])


def _refine_on(
    device: Any, sampled: SampledModel, theta: Array, y: Array, f: Array, w: Array, prior: Prior | None, loss: str
) -> Any:
    if device is None:
        return refine(sampled, theta, y, f, w, prior=prior, loss=loss, max_iterations=30, tolerance=1e-6)
    import torch

    def there(array: Array) -> Any:
        return torch.as_tensor(np.require(array, requirements=["C", "W"]), device=device)

    moved = None if prior is None else Prior(mean=there(prior.mean), precision=there(prior.precision))
    refined = refine(
        SampledModel(sampled.model, sampled.band, sampled.wavenumber, device=device, line=sampled.line),
        there(theta), there(y), there(f), there(w), prior=moved, loss=loss, max_iterations=30, tolerance=1e-6,
    )  # fmt: skip
    arrays = {name: getattr(refined, name).cpu().numpy() for name in ("theta", "cost", "normal", "converged")}
    return type(refined)(**arrays, iterations=refined.iterations)


def characterize_pixels(
    stack: PixelStack,
    out: str | Path,
    model: TransmittanceModel,
    *,
    options: Options | None = None,
    device: Any = None,
    progress: Progress | None = None,
    client: Any = None,
) -> dict[str, Any]:
    """Characterize every pixel of a stack and write the maps to an HDF5 file.

    Finished interferometers are kept in ``<out>.partial``, and a second call with the same stack and model goes on from
    there; the file gets its name only when it is whole.

    Parameters
    ----------
    stack : PixelStack
    out : path
    model : TransmittanceModel
    options : Options, optional
    device : optional
        torch device (``"cuda"``); default NumPy on all cores.
    progress : callable, optional
        Called with (pixels done, pixels in all).
    client : distributed.Client, optional
        Of workers that see the stack (`hsitools.scale.cluster`) and take an interferometer each; default this process.

    Returns
    -------
    dict
        Pixels fitted, resumed interferometers, median RMSE.
    """
    check_suffix(out, "hdf5")
    options = options or Options()
    n, height, width = stack.shape
    data, fit, _ = fit_without_wild(stack.centre(), model, options)
    doubt = parameter_covariance(fit, data, options)
    if fit.between is not None:
        doubt = doubt + fit.between
    partial = Path(f"{out}.partial")
    key = f"{stack.path.resolve()}|{stack.path.stat().st_mtime_ns}|{model.to_dict()}|{options.to_dict()}|"
    key += f"{stack.linewidth_nm}|{stack.line_shape}|{__version__}"
    with _open_partial(partial, key, stack, model) as file:
        todo = [int(number) for number in np.flatnonzero(~file["done"][()])]
        resumed = n - len(todo)

        def one(number: int) -> dict[str, Array]:
            return _one_interferometer(stack, number, data, fit, doubt, options, device)

        for done, (number, maps) in enumerate(_each(one, todo, client), resumed + 1):
            for name in MAPS:
                file[name][number] = maps[name]
            file.flush()
            file["done"][number] = True
            file.flush()
            if progress is not None:
                progress(done * height * width, n * height * width)
        del file["done"], file.attrs["key"]
        rmse = file["rmse"][()]
        invalid = int(np.isnan(rmse).sum())
        file.attrs["invalid_pixels"] = invalid
    partial.replace(out)
    log.info("%s: %d interferometers of %d×%d pixels", out, n, height, width)
    return {
        "n_interferometers": n,
        "n_pixels": int(rmse.size),
        "n_invalid": invalid,
        "n_resumed": resumed,
        "rmse_median": float(np.nanmedian(rmse)) if invalid < rmse.size else None,
        "model": model.label,
    }


def _each(
    function: Callable[[int], dict[str, Array]], numbers: list[int], client: Any
) -> Iterable[tuple[int, dict[str, Array]]]:
    """What a function gives of each number, by the workers in whatever order they finish."""
    if client is None:
        return ((number, function(number)) for number in numbers)
    from hsitools.scale.tasks import completed

    return ((numbers[place], maps) for place, maps in completed(client, function, numbers))


def _one_interferometer(
    stack: PixelStack, number: int, data: ScaledRows, fit: Fit, doubt: Array, options: Options, device: Any
) -> dict[str, Array]:
    out = {name: np.full(stack.shape[1:], np.nan) for name in MAPS}
    if not data.usable[number]:
        return out
    prior = None
    if fit.prior is not None:
        unit = fit.prior.precision[number : number + 1] / fit.variance[number]
        prior = Prior(mean=fit.prior.mean[number : number + 1], precision=unit)
    for rows, intensity, flat in stack.blocks(number):
        maps = fit_pixels(
            fit.sampled, intensity, flat * fit.curve, stack.wavenumber, fit.theta[number], prior, doubt=doubt[number],
            loss=options.loss, set_aside=options.set_aside, device=device,
        )  # fmt: skip
        for name in MAPS:
            out[name][rows] = maps[name].reshape(-1, stack.shape[2])
    return out


def _open_partial(path: Path, key: str, stack: PixelStack, model: TransmittanceModel) -> Any:
    import h5py

    if path.exists():
        try:
            file = h5py.File(path, "r+")
            if file.attrs.get("key") == key and "done" in file:
                return file
            file.close()
        except OSError:
            log.warning("%s: unreadable, started anew", path)
        path.unlink()
    require_room(path, len(MAPS) * math.prod(stack.shape) * np.dtype("f4").itemsize)
    file = h5py.File(path, "w")
    file.attrs.update(format=FORMAT, version=VERSION, key=key, model=model.label, source=str(stack.path))
    for name, unit in MAPS.items():
        data = file.create_dataset(name, shape=stack.shape, dtype="f4", fillvalue=np.nan)
        data.attrs["units"] = unit
    file["done"] = np.zeros(stack.shape[0], dtype=bool)
    return file


def describe(path: Path) -> dict[str, Any] | None:
    """What ``hsi info`` says of a pixel stack or of its maps; None when the file is something else."""
    import h5py

    if not Path(path).is_file() or not h5py.is_hdf5(path):
        return None
    with h5py.File(path, "r") as file:
        if "pixels" in file:
            kind, shape = "pixel stack", file["pixels"].shape
            return {"kind": kind, "shape (interferometer, line, y, x)": list(shape), "source": str(path)}
        if file.attrs.get("format") != FORMAT:
            return None
        return {
            "kind": "per-pixel maps",
            "model": str(file.attrs["model"]),
            "shape (interferometer, y, x)": list(file["opd_um"].shape),
            "maps": [f"{name} ({file[name].attrs['units']})" for name in MAPS],
            "invalid_pixels": int(file.attrs.get("invalid_pixels", -1)),
            "source": str(file.attrs["source"]),
        }
