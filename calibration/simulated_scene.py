"""Raw frames of a scene as the simulated bench's instrument takes them: what an inversion is judged by.

As `calibration.simulated_bench` it shares no code with fits and inversion: the light of every wavelength goes through
the true transmittance, sub-images may be displaced and magnified, and the detector is a real one's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.simulated_bench import DARK_LEVEL, FULL_SCALE, SimulatedInstrument
from hsitools.cube import Cube
from hsitools.io.own_file import new_own

Array = NDArray[np.float64]
#: Points of the quadrature over the band: a hundred a fringe of the largest path differences simulated.
POINTS = 6001
#: Points (each way) at which a pixel samples the fine scene.
INNER = 3
#: Blur of the optics, standard deviation in pixels: a contrast of .3 at the pixels' Nyquist frequency, as usual.
BLUR = 0.5


def sub_image_size(instrument: SimulatedInstrument) -> int:
    """Side of a sub-image, pixels."""
    return int(min(instrument.layout.pitch)) - 1


def interferogram_matrix(instrument: SimulatedInstrument, wavelength_nm: Array, signal: float) -> Array:
    """True weights ``(interferometer, wavelength)`` of a spectrum that is straight between its samples.

    Light in units of the calibration lamp gives digital numbers: the mean over the band of signal × flat field ×
    transmittance × light.
    """
    ends = 1000 / np.array(instrument.band)[::-1]
    edges = 1000 / np.linspace(instrument.band[1], instrument.band[0], POINTS)
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    seen = signal * instrument.flat(1000 / middle) * instrument.transmittance(1000 / middle)
    hats = np.stack([np.interp(middle, wavelength_nm, row) for row in np.eye(len(wavelength_nm))], axis=1)
    return np.asarray((seen * width / (ends[1] - ends[0])) @ hats)


def truth_of(scene: Cube, size: int, oversampling: int, offset: tuple[float, float] = (0.0, 0.0)) -> Cube:
    """What pixels see of the scene ``(wavelength, size, size)``, their middle ``offset`` pixels (y, x) from its own."""
    y, x = (_points(size) + value for value in offset)
    values = scene.read().astype(float)
    return scene.replace(data=np.stack([_seen(band, y, x, oversampling) for band in values]).astype(np.float32))


def _points(size: int) -> Array:
    """Places of all pixels' inner points along an axis, pixels from the middle."""
    inner = (np.arange(INNER) - (INNER - 1) / 2) / INNER
    return np.asarray(((np.arange(size) - (size - 1) / 2)[:, None] + inner).ravel())


def _seen(fine: Array, y: Array, x: Array, oversampling: int) -> Array:
    """A fine image through the optics on pixels whose inner points lie at ``y`` and ``x``, pixels from its middle."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    at = [
        place * oversampling + (length - 1) / 2 for place, length in zip((y, x), fine.shape, strict=True)
    ]  # fmt: skip
    image = map_coordinates(
        gaussian_filter(fine, BLUR * oversampling), np.meshgrid(*at, indexing="ij"), order=1, mode="nearest"
    )
    return np.asarray(image.reshape(len(y) // INNER, INNER, len(x) // INNER, INNER).mean(axis=(1, 3)))


def write_scene(
    path: str | Path,
    instrument: SimulatedInstrument,
    scene: Cube,
    *,
    rng: np.random.Generator,
    oversampling: int = 4,
    signal: float = 5000.0,
    count: int = 4,
    n_dark: int = 8,
    shift: Array | None = None,
    magnification: Array | None = None,
    hot_share: float = 0.0005,
) -> None:
    """Write raw frames and dark frames of a scene.

    Parameters
    ----------
    path : path
    instrument : SimulatedInstrument
    scene : Cube
        Light in units of the calibration lamp on ``oversampling`` times finer pixels, wider than a sub-image.
    rng : numpy Generator
    oversampling : int
    signal : float
        Digital numbers of a flat pixel under the calibration lamp, as of `calibration.simulated_bench.write_frames`.
    count, n_dark : int
        Frames with and without light.
    shift : array, shape (interferometer, 2), optional
        (y, x), pixels; the scene at p lies at ``magnification · p + shift``.
    magnification : array, shape (interferometer,), optional
    hot_share : float
        Share of hot pixels.
    """
    n, size, layout = len(instrument.opd_um), sub_image_size(instrument), instrument.layout
    shift = np.zeros((n, 2)) if shift is None else shift
    magnification = np.ones(n) if magnification is None else magnification
    assert scene.wavelength_nm is not None
    matrix = interferogram_matrix(instrument, scene.wavelength_nm, signal)
    fine = np.tensordot(matrix, scene.read().astype(float), axes=1)
    light = np.zeros(layout.frame_shape)
    corners = np.rint(layout.centres()[:n] - (size - 1) / 2).astype(int)
    for number, (top, left) in enumerate(corners):
        y, x = ((_points(size) - moved) / magnification[number] for moved in shift[number])
        light[top : top + size, left : left + size] = _seen(fine[number], y, x, oversampling)
    dark = DARK_LEVEL + 10 * rng.standard_normal(light.shape)
    hot = rng.random(light.shape) < hot_share
    dark = np.where(hot, dark + rng.uniform(1000, 8000, light.shape), dark)

    def digitise(electrons: Array) -> NDArray[np.uint16]:
        noisy = electrons + np.sqrt(np.maximum(electrons, 0) + 25.0) * rng.standard_normal(electrons.shape)
        return np.clip(np.rint(noisy + dark), 0, FULL_SCALE).astype(np.uint16)

    with new_own(path) as file:
        file.attrs["full_scale"] = FULL_SCALE
        file["frames"] = np.stack([digitise(light) for _ in range(count)])
        file["dark"] = np.stack([digitise(np.zeros_like(light)) for _ in range(n_dark)])
