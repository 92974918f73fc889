"""Multi-aperture Fabry-Perot cameras: a scene to the raw frame of sub-images, and a frame back to interferograms.

Every sub-image shows the whole scene through one interferometer. A pixel away from the centre of its sub-image sees
the cavity under an angle θ, so that its OPD is OPD·cos θ, and less light.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.sensor.bands import known_bands
from hsitools.sensor.detector import Detector
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.sensor import Sensor
from hsitools.sensor.spectral import FabryPerotResponse
from hsitools.text import counted

if TYPE_CHECKING:
    from hsitools.sensor.camera_operator import CameraOperator

Array = NDArray[np.float64]
#: Values of responses at several angles that are held at a time.
BLOCK = 2**23
#: Harmonics of a fringe that interpolation between angles must follow: those above this share of its mean.
HARMONIC = 1e-7


@dataclass(frozen=True, kw_only=True, eq=False)
class MultiApertureCamera:
    """A characterized Fabry-Perot instrument with its geometry.

    Attributes
    ----------
    response : FabryPerotResponse
    layout : SubImageLayout
        As many sub-images as interferometers, or more.
    size : int
        Side of a sub-image, pixels; at most the layout's pitch.
    half_field_deg : float
        Angle inside the cavity at the middle of a sub-image's edge.
    vignetting : float
        Loss of light there; it grows with the square of the distance from the centre.
    noise : Detector or None
        Of the frame, one value for all pixels.

    Raises
    ------
    InputError
        When sub-images would overlap, leave the frame, or are less than the interferometers.
    """

    response: FabryPerotResponse
    layout: SubImageLayout
    size: int
    half_field_deg: float = 0.0
    vignetting: float = 0.0
    noise: Detector | None = None

    def __post_init__(self) -> None:
        n, pitch = self.response.n_bands, min(self.layout.pitch)
        if self.layout.n_sub_images < n:
            raise InputError(f"layout: found {counted(self.layout.n_sub_images, 'sub-image')}, expected at least {n}")
        # centres are rounded to pixels, which may bring two of them one pixel nearer
        if not 1 <= self.size <= pitch:
            raise InputError(f"size: found {self.size} pixels, expected 1 to {int(pitch)} (the pitch)")
        if not (0 <= self.half_field_deg < 80 and 0 <= self.vignetting <= 1):
            raise InputError(
                f"camera: found half_field_deg {self.half_field_deg}, vignetting {self.vignetting}, "
                "expected 0 to 80 degrees and 0 to 1"
            )
        if self.noise is not None:
            for field in ("electrons_per_unit", "dark_electrons", "read_noise"):
                value = getattr(self.noise, field)
                if value.size > 1:
                    raise InputError(f"noise: {field}: found {value.size} values, expected one for all of the frame")
        corners = self.corners
        last = np.array(self.layout.frame_shape) - self.size
        if (corners < 0).any() or (corners > last).any():
            raise InputError(f"size: found {self.size} pixels, expected sub-images inside the frame")

    @classmethod
    def of(cls, sensor: Sensor, *, size: int | None = None, **settings: Any) -> MultiApertureCamera:
        """The camera of a Fabry-Perot sensor with a layout; raises `InputError` for any other sensor."""
        if not isinstance(sensor.response, FabryPerotResponse) or sensor.layout is None:
            raise InputError(f"{sensor.name}: found no layout of interferometers, expected a multi-aperture instrument")
        layout = sensor.layout
        size = int(min(layout.pitch)) - 1 if size is None else size
        return cls(response=sensor.response, layout=layout, size=size, noise=sensor.noise, **settings)

    def on(self, wavelength_nm: Array, device: str = "cpu") -> CameraOperator:
        """The camera for light at these wavelengths, with its adjoint: for solvers, in batches, on any device.

        Raises
        ------
        InputError
            When wavelengths leave the calibrated band, or the device is not there.
        """
        from hsitools.sensor.camera_operator import CameraOperator

        return CameraOperator(self, wavelength_nm, device)

    @property
    def corners(self) -> NDArray[np.int64]:
        """Upper left pixel (y, x) of each interferometer's sub-image, ``(interferometer, 2)``."""
        centres = self.layout.centres()[: self.response.n_bands]
        return np.rint(centres - (self.size - 1) / 2).astype(np.int64)

    def field(self) -> tuple[Array, Array]:
        """Cos θ and relative illumination of each pixel of a sub-image, ``(size, size)``."""
        place = (np.arange(self.size) - (self.size - 1) / 2) / max((self.size - 1) / 2, 0.5)
        radius2 = place[:, None] ** 2 + place[None] ** 2
        tangent2 = radius2 * np.tan(np.radians(self.half_field_deg)) ** 2
        return 1 / np.sqrt(1 + tangent2), np.maximum(1 - self.vignetting * radius2, 0)

    def interferograms(self, scene: Cube) -> Array:
        """Noise-free interferograms ``(interferometer, y, x)`` of a scene of the sub-image's size.

        Raises
        ------
        InputError
            When the scene's size is not the sub-image's, or its wavelengths leave the calibrated band.
        """
        if scene.shape[1:] != (self.size, self.size):
            raise InputError(f"scene: found {scene.shape[1]}×{scene.shape[2]} pixels, expected {self.size}×{self.size}")
        usable = known_bands(scene)
        assert scene.wavelength_nm is not None
        wavelength = scene.wavelength_nm[usable]
        light = scene.physical().read(bands=usable).reshape(len(usable), -1).astype(float)
        out = np.empty((self.response.n_bands, light.shape[1]))
        for rows, members, matrix in self.rings(wavelength):
            out[np.ix_(rows, members)] = matrix @ light[:, members]
        return out.reshape(-1, self.size, self.size) * self.field()[1]

    def adjoint(self, frame: NDArray[Any], wavelength_nm: Array) -> Array:
        """Transposed noise-free `frame`: ``(y, x)`` to light ``(wavelength, y, x)`` of a sub-image's size.

        Raises
        ------
        InputError
            When the frame has another size than the layout's, or wavelengths leave the calibrated band.
        """
        images = (self._cut(frame) * self.field()[1]).reshape(self.response.n_bands, -1)
        out = np.zeros((len(wavelength_nm), self.size**2))
        for rows, members, matrix in self.rings(wavelength_nm):
            out[:, members] += matrix.T @ images[np.ix_(rows, members)]
        return out.reshape(-1, self.size, self.size)

    def rings(
        self, wavelength_nm: Array
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Array]]:  # fmt: skip
        """Pixels at the same distance from the centre see the same interferometers.

        Yields some interferometers, some pixels, and the response ``(interferometer, wavelength)`` of the ones in the
        others. Where rings are many it is interpolated between fewer angles.
        """
        angles, group = np.unique(np.round(self.field()[0].ravel(), 12), return_inverse=True)
        members = [np.flatnonzero(group == number) for number in range(len(angles))]
        needed = _angles_needed(self.response, float(angles[0]))
        octave = np.ceil(np.log2(needed)).astype(int)
        for level in np.unique(octave):
            rows = np.flatnonzero(octave == level)
            response = self.response.rows(rows)
            nodes = _chebyshev(angles[0], angles[-1], needed[rows].max())
            if len(nodes) >= len(angles):
                for angle, pixels in zip(angles, members, strict=True):
                    yield rows, pixels, response.off_axis(float(angle)).matrix(wavelength_nm)
                continue
            size = max(1, BLOCK // (len(nodes) * len(wavelength_nm)))
            for part in np.array_split(rows, -(-len(rows) // size)):
                response = self.response.rows(part)
                at_nodes = np.stack([response.off_axis(float(angle)).matrix(wavelength_nm).ravel() for angle in nodes])
                for chunk in np.array_split(np.arange(len(angles)), -(-len(angles) // len(nodes))):
                    matrices = _barycentric(nodes, angles[chunk]) @ at_nodes
                    for number, matrix in zip(chunk, matrices.reshape(len(chunk), len(part), -1), strict=True):
                        yield part, members[number], matrix

    def frame(self, scene: Cube, rng: np.random.Generator | None = None, *, noise: bool = True) -> Array:
        """The raw frame ``(y, x)`` of a scene; dark between the sub-images."""
        return self.expose(scene, rng, noise=noise)[0]

    def expose(
        self, scene: Cube, rng: np.random.Generator | None = None, *, noise: bool = True
    ) -> tuple[Array, NDArray[np.bool_]]:
        """As `frame`, and which of its pixels are saturated."""
        images = self.interferograms(scene)
        frame = np.zeros(self.layout.frame_shape)
        rows, columns = self._places()
        frame[rows, columns] = images
        if not noise or self.noise is None:
            return frame, np.zeros(frame.shape, dtype=bool)
        values, saturated = self.noise.sample(frame[None], np.random.default_rng() if rng is None else rng)
        return values[0].astype(float), saturated[0]

    def interferogram_cube(self, frame: NDArray[Any], *, flatten: bool = True) -> Cube:
        """Cut a frame into its interferograms: a cube ``(interferometer, y, x)``.

        Parameters
        ----------
        frame : array, shape (y, x)
        flatten : bool
            Divide the vignetting out.

        Raises
        ------
        InputError
            When the frame has another size than the layout's.
        """
        images = self._cut(frame)
        if flatten:
            illumination = self.field()[1]
            images = np.where(illumination > 0, images / np.where(illumination > 0, illumination, 1), np.nan)
        return Cube(
            data=images, nodata=float("nan"), name="interferograms", units="intensity of the capture",
            meta={"axis": "interferometer", "opd_um": [float(value) for value in self.response.opd_um]},
        )  # fmt: skip

    def _cut(self, frame: NDArray[Any]) -> Array:
        """Sub-images of a frame, ``(interferometer, y, x)``."""
        if frame.shape != tuple(self.layout.frame_shape):
            raise InputError(f"frame: found shape {frame.shape}, expected {tuple(self.layout.frame_shape)}")
        rows, columns = self._places()
        return np.asarray(frame)[rows, columns].astype(float)

    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        inside = np.arange(self.size)
        corner = self.corners
        return corner[:, 0, None, None] + inside[:, None], corner[:, 1, None, None] + inside


def _angles_needed(response: FabryPerotResponse, least_cosine: float) -> NDArray[np.int64]:
    """Chebyshev nodes in cos θ between the least one and one that each interferometer's response needs.

    Harmonic m turns by m·Δφ over the field: Bessel functions J_n(m·Δφ/2) are its Chebyshev coefficients, and vanish
    soon after n = m·Δφ/2.
    """
    change = 2 * np.pi * response.band.high * np.abs(response.opd_um) * (1 - least_cosine)
    turn = response.harmonics(HARMONIC) * change / 2
    # an interferometer that could not be fitted gives none
    return np.ceil(np.nan_to_num(turn + 3 * np.cbrt(turn), nan=0.0)).astype(np.int64) + 8


def _chebyshev(low: float, high: float, count: int) -> Array:
    """Chebyshev points of the second kind between two values."""
    return np.asarray((low + high) / 2 + (high - low) / 2 * np.cos(np.pi * np.arange(count) / (count - 1)))


def _barycentric(nodes: Array, at: Array) -> Array:
    """Weights ``(at, node)`` of polynomial interpolation between Chebyshev points."""
    weight = (-1.0) ** np.arange(len(nodes))
    weight[[0, -1]] /= 2
    gap = at[:, None] - nodes
    hit = gap == 0
    terms = np.where(hit.any(axis=1, keepdims=True), hit, weight / np.where(hit, 1.0, gap))
    return np.asarray(terms / terms.sum(axis=1, keepdims=True))
