"""The capture folders published with IRCA: .npy arrays and two small JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.checks import ascending, check_wavenumber, one_line, real_numbers
from hsitools.errors import FormatError, InputError
from hsitools.file_kinds import known_kind
from hsitools.sensor.layout import SubImageLayout

Array = NDArray[np.float64]
#: What is read, in messages.
FOLDER = "a capture folder (data, norm, central_wavenumbers .npy, options.json)"


def is_irca_folder(folder: Path) -> bool:
    """Whether any of the folder's two indispensable arrays is there."""
    return any((folder / f"{name}.npy").exists() for name in ("central_wavenumbers", "data"))


def read_irca_folder(folder: str | Path) -> dict[str, Any]:
    """Fields of a `MonochromaticCapture` from the folder's arrays (.npy), ``options.json`` and ``device.json``.

    The arrays are ``data``, ``norm``, ``mean`` and ``central_wavenumbers``. ``norm`` is the flat field and may be
    absent when ``options.json`` says ``is_normalized``; ``mean`` is the mean around the centre spot. It and the JSON
    files are optional. Wavenumbers stored in descending order are reversed with their columns. ``options.json`` may
    hold the width of the monochromator's line, nm, as ``linewidth_nm``: a number, or a list with one for each of the
    wavenumbers.

    Raises
    ------
    FormatError
        When a file is missing or unreadable.
    InputError
        When the wavenumbers are no wavenumbers, or an array does not fit them.
    """
    folder = Path(folder)
    if not is_irca_folder(folder):
        raise FormatError(f"{folder}: data.npy: missing, expected in {FOLDER}; found {known_kind(folder)}")
    wavenumber = _load_npy(folder, "central_wavenumbers")
    lines, wavenumber = ascending(wavenumber, f"{folder}/central_wavenumbers.npy")
    wavenumber = check_wavenumber(wavenumber, f"{folder}/central_wavenumbers.npy")
    options = _load_json(folder / "options.json")
    step = options.get("opd_step")
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float)):
        raise InputError(f"{folder}/options.json: opd_step: found {step!r}, expected a number in µm")

    width = options.get("linewidth_nm")
    if isinstance(width, list):
        width = width[lines]

    def samples(name: str) -> Array:
        array = _load_npy(folder, name)
        if name == "norm" and array.shape == wavenumber.shape:
            # of all interferometers
            return array[lines]
        if array.ndim != 2 or array.shape[1] != len(wavenumber):
            raise InputError(
                f"{folder}/{name}.npy: found shape {array.shape}, expected (interferometer, {len(wavenumber)})"
            )
        return array[:, lines]

    intensity = samples("data")
    if (folder / "norm.npy").exists():
        flat = samples("norm")
    elif options.get("is_normalized"):
        flat = np.ones_like(intensity)
    else:
        raise FormatError(f"{folder}/norm.npy: missing, expected the flat field (the data are not normalised)")
    device = folder / "device.json"
    return {
        "intensity": intensity,
        "flat": flat,
        "wavenumber": wavenumber,
        "neighbourhood": samples("mean") if (folder / "mean.npy").exists() else None,
        "opd_step_um": None if step is None else float(step),
        "linewidth_nm": width,
        "line_shape": options.get("line_shape", "gaussian"),
        "layout": SubImageLayout.from_device_json(device) if device.exists() else None,
        "name": str(options.get("device_id", folder.resolve().name)),
        "source": str(folder),
    }


def _ends_early(path: Path) -> bool:
    """Whether an array's file, whose head is there, or would be, has fewer bytes than it tells."""
    with path.open("rb") as file:
        beginning = file.read(len(np.lib.format.MAGIC_PREFIX))
        if beginning != np.lib.format.MAGIC_PREFIX:
            return np.lib.format.MAGIC_PREFIX.startswith(beginning)
        file.seek(0)
        try:
            head = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if head == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        except ValueError:
            return False
        return bool(path.stat().st_size - file.tell() < np.prod(shape) * dtype.itemsize)


def _load_npy(folder: Path, name: str) -> Array:
    path = folder / f"{name}.npy"
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FormatError(f"{path}: missing, expected in {FOLDER}") from None
    except (ValueError, OSError, EOFError) as error:
        if path.is_file() and _ends_early(path):
            raise FormatError(f"{path}: found a file that ends early, expected the whole array") from None
        raise FormatError(f"{path}: expected a NumPy array of numbers; {one_line(error)}") from None
    if not isinstance(values, np.ndarray):
        values.close()
        raise FormatError(f"{path}: found an archive of arrays, expected one NumPy array")
    return real_numbers(values, str(path))


def _load_json(path: Path) -> dict[str, Any]:
    """Contents of a JSON file; nothing when it is not there."""
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise FormatError(f"{path}: expected JSON; {one_line(error)}") from None
    if not isinstance(value, dict):
        raise FormatError(f"{path}: found {type(value).__name__}, expected a JSON object")
    return value
