"""Whether the bands of a cube can be those of a sensor."""

from __future__ import annotations

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.sensor.sensor import Sensor

#: Shares of a band's width by which its centre may lie beside the sensor's. Where all bands are there, the published
#: table may be an even spacing of them: half the distance of neighbours. Of some of them only, no other bands may do.
ALL_THERE, SOME_THERE = 1.0, 0.25


def require_own_bands(cube: Cube, sensor: Sensor) -> None:
    """Raise `InputError` unless the bands of a cube, bad ones included, can be the sensor's, or some of them.

    Nothing is asked of bands without a wavelength.
    """
    centre, width = (getattr(sensor.response, name, None) for name in ("wavelength_nm", "fwhm_nm"))
    if cube.wavelength_nm is None or centre is None or width is None:
        return
    own = np.asarray(cube.wavelength_nm)[np.isfinite(cube.wavelength_nm)]
    if not own.size:
        return
    distance = np.abs(np.asarray(centre)[:, None] - own)
    nearest = distance.argmin(axis=0)
    off = distance.min(axis=0) / np.asarray(width)[nearest]
    worst = int(off.argmax())
    if off[worst] > (ALL_THERE if cube.n_bands == sensor.n_bands else SOME_THERE):
        raise InputError(
            f"{cube.who}: bands: found {cube.n_bands}, one at {own[worst]:.1f} nm, expected "
            f"the {sensor.n_bands} of {sensor.name} or some of them (the nearest is at "
            f"{np.asarray(centre)[nearest[worst]]:.1f} nm)"
        )
