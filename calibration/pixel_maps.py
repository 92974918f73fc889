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
from calibration.fitting.fit_state import Fit
from calibration.fitting.options import Options
from calibration.fitting.pixels import MAPS, fit_pixels
from calibration.fitting.refine import Prior
from calibration.fitting.scaled_rows import ScaledRows
from calibration.fitting.uncertainty import parameter_covariance
from calibration.fitting.wild_samples import fit_without_wild
from hsitools import __version__
from hsitools.errors import InputError
from hsitools.io.atomic import atomic_path, require_room
from hsitools.io.outputs import check_suffix
from hsitools.progress import Progress
from hsitools.sensor.transmittance import TransmittanceModel

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: What the file says it is.
FORMAT, VERSION = "hsitools-maps", 1


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
            loss=options.loss, set_aside=options.set_aside, device=device, limit=stack.limit,
        )  # fmt: skip
        for name in MAPS:
            out[name][rows] = maps[name].reshape(-1, stack.shape[2])
    return out


def _open_partial(path: Path, key: str, stack: PixelStack, model: TransmittanceModel) -> Any:
    import h5py

    if path.is_dir():
        raise InputError(f"{path}: output: found a folder, expected a new name for finished parts")
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
    # whoever is killed here leaves no file that has its key and lacks a map
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(format=FORMAT, version=VERSION, key=key, model=model.label, source=str(stack.path))
        for name, unit in MAPS.items():
            data = file.create_dataset(name, shape=stack.shape, dtype="f4", fillvalue=np.nan)
            data.attrs["units"] = unit
        file["done"] = np.zeros(stack.shape[0], dtype=bool)
    return h5py.File(path, "r+")


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
