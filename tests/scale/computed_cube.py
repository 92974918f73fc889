"""A cube that is computed where it is read, slowly if asked: for tests, and for a client of theirs that is killed."""

import time

import numpy as np

from hsitools.cube import Cube

VALUES = np.random.default_rng(0).random((3, 30, 40)).astype(np.float32)


def computed(values: np.ndarray, seconds: float = 0.0) -> Cube:
    """Values and one, by tiles of 8×12; each tile takes some time."""

    class Computed:
        tile = (8, 12)
        shape, dtype = values.shape, values.dtype

        def read(self, bands, rows, columns):
            time.sleep(seconds)
            return values[bands, rows, columns] + 1

    return Cube(data=Computed(), wavelength_nm=np.linspace(500, 600, len(values)), name="computed", units="1")
