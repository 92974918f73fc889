"""A detector's calibration from a file: of maps, of a sensor, or of ``hsi sensor noise``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsitools.errors import FormatError, InputError
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.sensor.calibration import MAPS, Calibration
from hsitools.sensor.photon.result import FORMAT, PhotonTransfer


def open_calibration(path: str | Path) -> tuple[Calibration, str | None]:
    """Read a calibration.

    Parameters
    ----------
    path : path
        HDF5 with ``gain``, ``offset`` and ``dead`` ``(band, column)``, at its root or in one group (a sensor file is
        such a file); or a file of ``hsi sensor noise``.

    Returns
    -------
    calibration : Calibration
    units : str or None
        Of the offsets; None when the file does not say.

    Raises
    ------
    FormatError
        When the file is missing, is no such file, or its maps do not fit one another.
    """
    path = Path(path)
    try:
        with open_hdf5(path) as file:
            if file.attrs.get("format") == FORMAT:
                return PhotonTransfer.load(path).calibration(), "DN"
            group = _place(file, path)
            maps = {name: group[name][()] for name in MAPS}
            place = "" if group.name == "/" else f" ({group.name.strip('/')})"
            source = str(group.attrs.get("source", f"{path.name}{place}"))
    except FileNotFoundError:
        raise FormatError(f"{path}: found no such file, expected a calibration") from None
    except OSError as error:
        raise FormatError(f"{path}: expected a calibration (HDF5); {' '.join(str(error).split())}") from None
    try:
        return Calibration(**maps, source=source), None
    except InputError as error:
        raise FormatError(f"{path}: {error}") from None


def _place(file: Any, path: Path) -> Any:
    """The group that holds the maps."""
    import h5py

    def held(group: Any) -> list[str]:
        return [name for name in MAPS if isinstance(group.get(name), h5py.Dataset)]

    groups = [file, *(item for item in file.values() if isinstance(item, h5py.Group))]
    whole = [group for group in groups if len(held(group)) == len(MAPS)]
    if len(whole) > 1:
        names = ", ".join(group.name for group in whole)
        raise FormatError(f"{path}: found calibrations in {names}, expected one")
    if whole:
        return whole[0]
    part = max(groups, key=lambda group: len(held(group)))
    missing = ", ".join(name for name in MAPS if name not in held(part))
    raise FormatError(
        f"{path}: {missing}: missing, expected {', '.join(MAPS)} (band, column) at the root or in one group"
    )
