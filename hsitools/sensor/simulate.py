"""From a scene to a file of what a sensor sees, in bounded memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.units import PERCENT, REFLECTANCE
from hsitools.errors import InputError
from hsitools.io import save_cube
from hsitools.io.atomic import atomic_path, mapped, require_room, scratch_folder
from hsitools.io.formats import native
from hsitools.io.outputs import check_file
from hsitools.progress import Progress, silent
from hsitools.sensor.bands import known_bands
from hsitools.sensor.exposure import ROWS
from hsitools.sensor.sensor import Sensor
from hsitools.sensor.spectral import FabryPerotResponse

#: Share of a calibrated band that counts as all of it.
WHOLE = 0.995
#: Dataset of a simulated file that is 1 where a value is saturated; there when any is.
MASK = "saturated"
#: A scene brighter than this is no reflectance, nor is one darker; then its numbers are taken as the usual multiple.
MAX_REFLECTANCE, MIN_REFLECTANCE, USUAL_SCALE = 10.0, -0.5, 1e-4
#: Up to here numbers without units may be percent, or counts of eight bits.
MAX_AMBIGUOUS = 300.0
#: Read at a time, and how often, to tell a scene's range.
RANGE_BYTES, RANGE_BLOCKS = 16 * 2**20, 16


def simulate(
    scene: Cube, sensor: Sensor, out: str | Path, *, seed: int = 0, noise: bool = True, scale: float | None = None,
    progress: Progress = silent, device: str = "cpu",
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
    device : str
        Where light is gathered: see `hsitools.devices.device_named`. A seed gives the same noise on every device.

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
    from hsitools.devices import device_named

    place = str(device_named(device))
    if seed < 0:
        raise InputError(f"seed: found {seed}, expected a whole number of at least 0")
    if scale is not None and not scale > 0:
        raise InputError(f"scale: found {scale}, expected a positive number")
    said: list[str] = []
    notes: list[str] = []
    usable = known_bands(scene)
    wavelength = np.asarray(scene.wavelength_nm)
    if isinstance(sensor.response, FabryPerotResponse):
        low, high = sensor.response.band_nm
        scene = _within(scene, usable, low, high)
        covered = float(sensor.response.coverage(np.asarray(scene.wavelength_nm))[0])
        said.append(f"wavelengths {low:.0f} to {high:.0f} nm: {scene.n_bands} of the scene's bands")
        if covered < WHOLE:
            said.append(f"the scene covers {covered:.0%} of the calibrated band: light elsewhere counts as none")
        within = sensor
    else:
        within = sensor.within(wavelength[usable])
        if within.n_bands < sensor.n_bands:
            said.append(f"{sensor.n_bands - within.n_bands} of {sensor.n_bands} bands left out: not in the scene")
    seen = within.frame_of(scene)
    ratio = within.ratio
    used = [ratio * size for size in seen.shape[1:]]
    if used != list(scene.shape[1:]):
        said.append(
            f"rows and columns of the scene beyond {used[0]}×{used[1]} are not seen: pixels are {ratio}×{ratio} of its "
            f"{scene.shape[1]}×{scene.shape[2]}"
        )
    require_room(out, 5 * math.prod(seen.shape) + (0 if seen.pan is None else 4 * math.prod(seen.pan.shape)))
    if scale is not None:
        low, _, high = _range(scene.rescaled(1.0))
        largest, held = scale * max(abs(low), abs(high)), np.finfo(np.float32)
        if largest and not float(held.tiny) <= largest <= float(held.max):
            raise InputError(
                f"scale: found {scale:g}, with which the scene's values are {largest:.3g}, expected what float32 holds"
            )
        scene = scene.rescaled(scale).replace(units=sensor.units)
    elif sensor.units == "1":
        scene, notes = as_reflectance(scene)
        said += notes
    elif sensor.units == "DN" and (scene.units == "1" or isinstance(sensor.response, FabryPerotResponse)):
        # noise of a few numbers on values below one would drown them, without a word
        raise InputError(
            f"{scene.who}: units: found {scene.units or 'unknown'!r}, expected 'DN' as the noise of "
            f"{sensor.name}; a scale (--scale, digital numbers for a stored number of one) makes it so"
        )
    frame = within.frame_of(scene)
    steps = -(-frame.shape[1] // ROWS)
    unknown = full = pan_full = 0
    out = Path(out)
    check_file(out)
    with scratch_folder(out) as scratch:
        values = mapped(scratch / "values", np.float32, frame.shape)
        pan: Any = None
        if frame.pan is not None:
            pan = mapped(scratch / "pan", np.float32, frame.pan.shape)
        saturated = mapped(scratch / "saturated", bool, frame.shape)
        for done, part in enumerate(
            within.observe_rows(scene, np.random.default_rng(seed), noise=noise, device=place), 1
        ):
            values[:, part.rows], saturated[:, part.rows] = part.values, part.saturated
            unknown += int(np.isnan(part.values).sum())
            full += int(part.saturated.sum())
            if pan is not None and part.pan is not None and part.pan_saturated is not None:
                pan[:, part.rows.start * within.ratio : part.rows.stop * within.ratio] = part.pan
                pan_full += int(part.pan_saturated.sum())
            progress(done, steps)
        done_by = {"sensor_hash": sensor.fingerprint(), "seed": seed, "noise": "yes" if noise else "none"}
        cube = frame.replace(
            data=values, pan=None if frame.pan is None else frame.pan.replace(data=pan),
            meta=frame.meta | done_by | {"saturated": full} | ({"assumed": "; ".join(notes)} if notes else {}),
            units=sensor.units,
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
            f"{scene.who}: bands: found none between {low:g} and {high:g} nm, expected some of "
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
        native.write(cube, temporary, silent)
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

    Units decide where the file tells them. Where it does not, numbers up to `MAX_REFLECTANCE` are taken as reflectance
    and numbers in the thousands as the usual multiple of it; what could be percent, or counts, is refused. Values that
    stand for no measurement never count.

    Raises
    ------
    InputError
        When its numbers can be no reflectance, or it cannot be told what they are.
    """
    who = scene.who
    hint = "a scale (--scale, reflectance for a stored number of one) says what they are"
    units = scene.units.strip().lower()
    low, typical, high = _range(scene)
    if units in PERCENT:
        return scene.replace(scale_factor=0.01 * (scene.scale_factor or 1.0), units="1"), []
    if units and units not in REFLECTANCE:
        raise InputError(f"{who}: units: found {scene.units!r}, expected reflectance ('1' or '%'); {hint}")
    told = "the file says reflectance" if units else "the file tells no units"
    if high <= MAX_REFLECTANCE:
        factor, said = 1.0, f"values up to {high:g} taken as reflectance: {told}"
    elif high <= MAX_AMBIGUOUS:
        raise InputError(
            f"{who}: units: found values up to {high:g}, {told}: percent, counts, or reflectance × 10⁴ of a dark "
            f"scene; {hint}"
        )
    else:
        factor, said = USUAL_SCALE, f"values up to {high:g} taken as reflectance × 10⁴: {told}"
    if high * factor > MAX_REFLECTANCE or low * factor < MIN_REFLECTANCE:
        raise InputError(
            f"{who}: units: found values up to {high:g} and down to {low:g}, most near {typical:g}, {told}; "
            f"{hint}, and a nodata value in the file which ones are no measurement"
        )
    if factor == 1.0:
        return scene, [] if units else [said]
    return scene.replace(scale_factor=factor * (scene.scale_factor or 1.0)), [said]


def _range(scene: Cube) -> tuple[float, float, float]:
    """Lowest, median and highest value of what was measured in the good bands, on rows spread over the scene."""
    view = scene.drop_bad().physical()
    height = view.shape[1]
    step = max(1, int(RANGE_BYTES // (view.n_bands * view.shape[2] * 4)))
    # all rows where they fit, else so many blocks of them, evenly spread
    starts = range(0, height, step) if height <= RANGE_BLOCKS * step else np.linspace(0, height - step, RANGE_BLOCKS)
    low, high, middle = np.inf, -np.inf, []
    for start in starts:
        values = view.read(rows=slice(int(start), min(int(start) + step, height)))
        values = values[view.valid(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            middle.append(float(np.median(values)))
    if not middle:
        raise InputError(f"{scene.who}: data: found no measurement, expected some")
    return low, float(np.median(middle)), high
