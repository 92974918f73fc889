"""From a scene to a file of what a sensor sees, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import native, save_cube
from hsitools.io.atomic import atomic_path
from hsitools.sensor.bands import known_bands
from hsitools.sensor.sensor import ROWS, Sensor
from hsitools.sensor.spectral import FabryPerotResponse

#: A scene brighter than this is no reflectance; then its numbers are taken as the usual multiple of it.
MAX_REFLECTANCE, USUAL_SCALE = 10.0, 1e-4
#: Share of a calibrated band that counts as all of it.
WHOLE = 0.995
#: Dataset of a simulated file that is 1 where a value is saturated; there when any is.
MASK = "saturated"


def simulate(
    scene: Cube, sensor: Sensor, out: str | Path, *, seed: int = 0, noise: bool = True, scale: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:  # fmt: skip
    """Observe ``scene`` with ``sensor`` and write what it sees.

    Parameters
    ----------
    scene : Cube
    sensor : Sensor
    out : path
    seed : int
    noise : bool
    scale : float, optional
        Turns the scene's numbers into the sensor's units, instead of what its file says.
    progress : callable
        Called with (steps done, steps in all).

    Returns
    -------
    list of str
        What was done, for the user: bands left out, size, noise.

    Raises
    ------
    InputError
        When the scene's wavelengths do not reach the sensor's, its numbers are not in the sensor's units and can not be
        brought there, or seed or scale make no sense.
    """
    if seed < 0:
        raise InputError(f"seed: found {seed}, expected a whole number of at least 0")
    if scale is not None and not scale > 0:
        raise InputError(f"scale: found {scale}, expected a positive number")
    said = []
    usable = known_bands(scene)
    wavelength = np.asarray(scene.wavelength_nm)
    if isinstance(sensor.response, FabryPerotResponse):
        low, high = sensor.response.band_nm
        scene = _within(scene, usable, low, high)
        covered = float(sensor.response.coverage(np.asarray(scene.wavelength_nm))[0])
        said.append(f"wavelengths {low:.0f} to {high:.0f} nm: {scene.n_bands} of the scene's bands")
        if covered < WHOLE:
            said.append(f"the scene covers {covered:.0%} of the calibrated band: light elsewhere counts as none")
        seen = sensor
    else:
        seen = sensor.within(wavelength[usable])
        if seen.n_bands < sensor.n_bands:
            said.append(f"{sensor.n_bands - seen.n_bands} of {sensor.n_bands} bands left out: not in the scene")
    if scale is not None:
        scene = scene.replace(scale_factor=scale)
    elif sensor.units == "1":
        scene, note = as_reflectance(scene)
        said += note
    elif sensor.units == "DN" and (scene.units == "1" or isinstance(sensor.response, FabryPerotResponse)):
        # noise of a few numbers on values below one would drown them, without a word
        raise InputError(
            f"{scene.source or scene.name}: units: found {scene.units or 'unknown'!r}, expected 'DN' as the noise of "
            f"{sensor.name}; a scale (--scale, digital numbers for a value of one) makes it so"
        )
    frame = seen.frame_of(scene)
    steps = -(-frame.shape[1] // ROWS)
    unknown = full = pan_full = 0
    out = Path(out)
    with tempfile.TemporaryDirectory(prefix=".hsi-", dir=out.parent if out.parent.is_dir() else None) as scratch:
        values = np.memmap(Path(scratch) / "values", dtype=np.float32, mode="w+", shape=frame.shape)
        pan: Any = None
        if frame.pan is not None:
            pan = np.memmap(Path(scratch) / "pan", dtype=np.float32, mode="w+", shape=frame.pan.shape)
        saturated = np.memmap(Path(scratch) / "saturated", dtype=bool, mode="w+", shape=frame.shape)
        for done, part in enumerate(seen.observe_rows(scene, np.random.default_rng(seed), noise=noise), 1):
            values[:, part.rows], saturated[:, part.rows] = part.values, part.saturated
            unknown += int(np.isnan(part.values).sum())
            full += int(part.saturated.sum())
            if pan is not None and part.pan is not None and part.pan_saturated is not None:
                pan[:, part.rows.start * seen.ratio : part.rows.stop * seen.ratio] = part.pan
                pan_full += int(part.pan_saturated.sum())
            progress(done, steps)
        done_by = {"sensor_hash": sensor.fingerprint(), "seed": seed, "noise": "yes" if noise else "none"}
        cube = frame.replace(
            data=values, pan=None if frame.pan is None else frame.pan.replace(data=pan),
            meta=frame.meta | done_by | {"saturated": full}, units=sensor.units,
        )  # fmt: skip
        _save(cube, saturated if full else None, out)
    size = "×".join(map(str, cube.shape))
    said.append(f"{size} as seen by {sensor.name}" + (", with PAN" if pan is not None else ""))
    if unknown:
        said.append(f"{unknown / cube.data.size:.1%} of the values are NaN: the scene has no data there")
    if full:
        place = f", marked in {MASK}" if out.suffix.lower() in native.SUFFIXES else ""
        said.append(f"{full / cube.data.size:.1%} of the values are saturated{place}")
    if pan_full:
        said.append(f"{pan_full / pan.size:.1%} of PAN's values are saturated")
    return said


def _within(scene: Cube, usable: NDArray[np.int64], low: float, high: float) -> Cube:
    """The scene's bands of these wavelengths (nm), and the next one beyond each end: a spectrum between its samples
    is a straight line, also up to the end of a sensor's band.
    """
    assert scene.wavelength_nm is not None
    wavelength = scene.wavelength_nm[usable]
    if not ((wavelength >= low) & (wavelength <= high)).any():
        raise InputError(
            f"{scene.source or scene.name}: bands: found none between {low:g} and {high:g} nm, expected some of "
            f"{wavelength.min():g} to {wavelength.max():g} nm"
        )
    first = max(wavelength[wavelength < low], default=low)
    last = min(wavelength[wavelength > high], default=high)
    return scene.select(bands=usable[(wavelength >= first) & (wavelength <= last)])


def _save(cube: Cube, saturated: NDArray[np.bool_] | None, out: Path) -> None:
    """Write the cube and, where the format has a place for it, which of its values are saturated."""
    if saturated is None or out.suffix.lower() not in native.SUFFIXES:
        save_cube(cube, out)
        return
    import h5py

    # whole or not at all: the cube alone is not the file
    with atomic_path(out) as temporary:
        native.write(cube, temporary, lambda done, total: None)
        with h5py.File(temporary, "r+") as file:
            mask = file.create_dataset(
                MASK, shape=cube.shape, dtype=np.uint8, chunks=file["cube"].chunks, compression="gzip",
                compression_opts=1,
            )  # fmt: skip
            for axis in range(3):
                mask.dims[axis].attach_scale(file["cube"].dims[axis][0])
            mask.attrs.update(units="1", long_name="1 where well or converter were full")
            for start in range(0, cube.shape[1], ROWS):
                rows = slice(start, start + ROWS)
                mask[:, rows] = saturated[:, rows]


def as_reflectance(scene: Cube) -> tuple[Cube, list[str]]:
    """The scene with a scale factor when its numbers need one, and what was assumed.

    Raises
    ------
    InputError
        When its numbers can be no reflectance.
    """
    window = tuple(slice(max(size // 2 - 32, 0), min(size // 2 + 32, size)) for size in scene.shape[1:])
    brightest = float(np.nanmax(scene.physical().read(rows=window[0], columns=window[1]), initial=0.0))
    if brightest <= MAX_REFLECTANCE:
        return scene, []
    if brightest * USUAL_SCALE > MAX_REFLECTANCE:
        raise InputError(
            f"{scene.source or scene.name}: units: found values up to {brightest:g}, expected reflectance "
            "(about 0 to 1) or a scale that makes it so"
        )
    factor = USUAL_SCALE * (scene.scale_factor or 1.0)
    return scene.replace(scale_factor=factor), [f"values up to {brightest:g} taken as reflectance × 10⁴"]
