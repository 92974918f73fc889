"""Published case files (.npz), and what the benchmarks that published them take for granted."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube
from hsitools.lookup import lookup
from hsitools.sensor import Sensor
from pansharpen.case import FusionCase
from pansharpen.optics import USUAL_MTF, Optics
from pansharpen.pair.alignment import require_finer
from pansharpen.pair.from_sensor import require_fit, with_sensor


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What a published benchmark takes for granted, so that its numbers can be compared.

    Attributes
    ----------
    name : str
    mtf : float
        Gain at Nyquist of the kernels that its cases were really made with.
    whole_offset : bool
        Coarse pixels lie at fine pixel ratio // 2 instead of at the centre.
    own_interpolation : bool
        Take the interpolated cube that the case file brings.
    border : (int, int)
        Fine pixels left out of every index at the start and at the end of each axis; None: one coarse pixel.
    clip : (float, float) or None
        Range to which results are clipped first.
    """

    name: str
    mtf: float = USUAL_MTF
    whole_offset: bool = False
    own_interpolation: bool = False
    border: tuple[int, int] | None = None
    clip: tuple[float, float] | None = None


CONVENTIONS = {
    "hsitools": Convention(name="hsitools"),
    # its kernels declare 0.30 and have 0.2825: a Gaussian cut to 41 taps and shaped by a Kaiser window
    "toolbox": Convention(
        name="toolbox", mtf=0.2825, whole_offset=True, own_interpolation=True, border=(10, 11), clip=(0.0, 65536.0)
    ),
}


def convention(name: str) -> Convention:
    """The convention of that name, or an `InputError`."""
    return lookup(name, CONVENTIONS, "convention")


def read_case(
    path: str | Path, rules: Convention = CONVENTIONS["hsitools"], sensor: Sensor | None = None
) -> FusionCase:
    """A case from an ``.npz`` archive: ``ms_lr``, ``pan``, ``ratio``; optionally ``gt`` and others.

    Parameters
    ----------
    path : path
        ``ms_lr`` (band, y, x) is the coarse cube, ``pan`` (ratio·y, ratio·x) or with an axis of one band before,
        ``gt`` the truth, ``ms`` the
        interpolated cube, ``wavelengths`` (band,) in nm, ``overlap`` how many first bands make up PAN.
    rules : Convention
    sensor : Sensor, optional
        Its MTF, PAN response and, where the archive says that its ``units`` are the sensor's, noise; it must have the
        bands of the case.

    Raises
    ------
    FormatError
        When the file is missing, is no such archive or lacks an array.
    InputError
        When shapes or values do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: found no such file, expected a case (.npz)")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path}: expected a case (.npz); {' '.join(str(error).split())}") from None
    lacking = [name for name in ("ms_lr", "pan", "ratio") if name not in arrays]
    if lacking:
        raise FormatError(f"{path}: {lacking[0]}: missing, expected ms_lr, pan and ratio; found {', '.join(arrays)}")
    if arrays["pan"].ndim == 2:
        arrays["pan"] = arrays["pan"][None]
    for name in ("ms_lr", "pan", "gt", "ms"):
        array = arrays.get(name)
        if array is not None and (array.ndim != 3 or array.dtype.kind not in "uif"):
            raise InputError(
                f"{path}: {name}: found {array.dtype} of shape {array.shape}, expected numbers (band, y, x)"
            )
    if np.size(arrays["ratio"]) != 1 or np.asarray(arrays["ratio"]).dtype.kind not in "uif":
        raise InputError(f"{path}: ratio: found shape {np.shape(arrays['ratio'])}, expected one whole number")
    ratio: Any = float(np.ravel(arrays["ratio"])[0])
    require_finer(ratio, str(path))
    n_bands = len(arrays["ms_lr"])
    wavelength = arrays.get("wavelengths")
    if wavelength is not None and np.shape(wavelength) != (n_bands,):
        raise InputError(f"{path}: wavelengths: found shape {np.shape(wavelength)}, expected ({n_bands},)")
    response = None
    if "overlap" in arrays:
        overlap = int(np.ravel(arrays["overlap"])[0])
        if not 0 < overlap <= n_bands:
            raise InputError(f"{path}: overlap: found {overlap}, expected 1 to {n_bands} bands")
        response = np.where(np.arange(n_bands) < overlap, 1 / overlap, 0.0)
    try:
        optics = Optics(
            ratio=ratio, mtf=rules.mtf, wavelength_nm=None if wavelength is None else wavelength.astype(float),
            pan_response=response, offset=float(ratio // 2) if rules.whole_offset else None,
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if sensor is not None:
        units = str(arrays.get("units", ""))
        cube = Cube(
            data=arrays["ms_lr"], units=units, source=str(path), wavelength_nm=optics.wavelength_nm,
            pan=Cube(data=arrays["pan"], units=units),
        )  # fmt: skip
        require_fit(cube, sensor)
        optics = with_sensor(optics, sensor, n_bands, str(path), cube)
    return FusionCase(
        coarse=_tensor(arrays["ms_lr"]), pan=_tensor(arrays["pan"]), optics=optics,
        reference=_tensor(arrays["gt"]) if "gt" in arrays else None,
        expanded=_tensor(arrays["ms"]) if "ms" in arrays and rules.own_interpolation else None, name=path.stem,
    )  # fmt: skip


def open_pair(
    path: str | Path, pan: str | Path | None = None, rules: Convention = CONVENTIONS["hsitools"],
    sensor: Sensor | None = None,
) -> tuple[Cube, Optics | None]:  # fmt: skip
    """A cube with its panchromatic image, from a product, two files, or a case (``.npz``, which also tells its optics,
    those of a sensor where one is given: see `read_case`).

    Raises
    ------
    FormatError, InputError
        When a file is missing or unknown, or there is no PAN.
    """
    path = Path(path)
    if _is_case(path):
        case = read_case(path, rules, sensor)
        image = Cube(data=case.pan[0].numpy(), name="panchromatic", source=f"{path}: pan")
        cube = Cube(
            data=case.coarse[0].numpy(), wavelength_nm=case.optics.wavelength_nm, pan=image, name=case.name,
            source=str(path),
        )  # fmt: skip
        return cube, case.optics
    cube = open_cube(path)
    return (cube if pan is None else cube.replace(pan=_open_pan(Path(pan)))), None


def _is_case(path: Path) -> bool:
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "ms_lr.npy" in archive.namelist()


def _tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values, dtype=np.float32))


def _open_pan(path: Path) -> Cube:
    """A panchromatic image of its own file."""
    if path.suffix.lower() == ".npy":
        raise FormatError(
            f"{path}: --pan: found a NumPy array without labels, expected an image of one band: .tif, .h5, .nc, .hdr, "
            ".zarr or .npz (with 'cube')"
        )
    return open_cube(path)
