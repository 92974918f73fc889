"""HDF5 files opened for windows of a cube: unpacked chunks are kept for the next window, here and at workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsitools.io.labels import is_hdf5, strange

#: Unpacked chunks that are kept of each array: windows with surroundings unpack their neighbours' chunks too, nine of
#: 64×64 pixels and all bands for one (38 MB), and the next window wants six of these again. A prime number of places,
#: some hundred times as many as chunks, as HDF5 advises.
CACHE_BYTES, CACHE_SLOTS = 64 * 2**20, 12_007


def opened(path: str | Path) -> Any:
    """An open file whose members were looked at before, here or in another process; `OSError` says what else it is."""
    import h5py

    found = strange(Path(path))
    if found is None and Path(path).is_file() and not is_hdf5(Path(path)):
        found = "no HDF5 file"
    if found is not None:
        raise OSError(f"found {found}")
    return h5py.File(path, "r", rdcc_nbytes=CACHE_BYTES, rdcc_nslots=CACHE_SLOTS)
