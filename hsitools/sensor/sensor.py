"""The sensor: spectral response × spatial response × detector, in one object and one file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import InputError, require_type
from hsitools.io.own_file import declared_format, new_own, open_own
from hsitools.io.records import read_record, write_record
from hsitools.sensor.bands import GaussianResponse, TableResponse
from hsitools.sensor.calibration import Calibration
from hsitools.sensor.description import description
from hsitools.sensor.detector import Detector
from hsitools.sensor.distortion import Distortion
from hsitools.sensor.exposure import Rows, frame_of, observe_rows
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.legacy_names import former_names
from hsitools.sensor.parts import SensorParts
from hsitools.sensor.pattern import Defects, Stripes
from hsitools.sensor.spacing import spacing_as_width
from hsitools.sensor.spectral import FabryPerotResponse
from hsitools.text import counted

if TYPE_CHECKING:
    import torch

    from hsitools.sensor.operator import SensorOperator

Array = NDArray[np.float64]
#: What a sensor's file says it is. The version grows when an older release could not read it rightly.
FORMAT, VERSION = "hsitools-sensor", 1
_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        GaussianResponse, TableResponse, FabryPerotResponse, Detector, Stripes, Defects, Distortion, Calibration,
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Sensor(SensorParts):
    """What an instrument does to a scene.

    Attributes
    ----------
    response : GaussianResponse, TableResponse or FabryPerotResponse
    ratio : int
        Pixel of the sensor over pixel of the scene it is shown (that of PAN, where it has one).
    mtf : array, shape (band,) or (band, 2)
        Gain at the Nyquist frequency of the sensor's pixels; two columns are along track (y) and across (x).
    offset : float or None
        Position of the first sample on the scene's grid; None is the centre, (ratio − 1)/2.
    noise, pan_noise : Detector or None
    stripes, defects, distortion : or None
    calibration : Calibration or None
        Measured gain and offset of each detector element, and which are broken: stripes, and shares of broken
        elements, are not drawn then.
    pan : GaussianResponse or TableResponse, one band, or None
    pan_mtf : float
        PAN's gain at its own Nyquist frequency.
    layout : SubImageLayout or None
        Of a multi-aperture instrument.
    units : str
        Of the values that the noise is stated for.
    name, source : str
    assumptions : tuple of str
        What is not known from the source.

    Raises
    ------
    InputError
        When parts do not fit one another.

    Examples
    --------
    >>> import numpy as np
    >>> from hsitools import preset, scene
    >>> sensor = preset("prisma").select(range(0, 60, 20))
    >>> observed = sensor.observe(scene((24, 24), seed=0), np.random.default_rng(1))
    >>> observed.shape, observed.pan.shape
    ((3, 4, 4), (1, 24, 24))
    >>> sensor.save("sensor.h5")
    >>> Sensor.load("sensor.h5").ratio
    6
    """

    @staticmethod
    def require(value: Any) -> None:
        """Raise `InputError` unless a value is a sensor, or None for none."""
        require_type(value, (Sensor, NoneType), "sensor", "a Sensor: preset(name), open_sensor(path)")

    @classmethod
    def like(cls, cube: Cube) -> Sensor:
        """A sensor of a cube's bands: Gaussians at its wavelengths, of its FWHM or, where unknown, as wide as the
        distance to the nearer neighbour, but for the bands of two detectors that overlap, which are as wide as the
        spacing around them.

        Raises
        ------
        InputError
            When wavelengths, or the width of an only band, are not known.
        """
        who = cube.who
        centre = cube.wavelength_nm
        if centre is None or not np.isfinite(centre).all():
            found = "none" if centre is None else f"{counted(np.count_nonzero(~np.isfinite(centre)), 'band')} without"
            raise InputError(
                f"{who}: wavelength_nm: found {found}, expected one a band: a sensor needs to know its bands"
            )
        width = np.full(len(centre), np.nan) if cube.fwhm_nm is None else np.array(cube.fwhm_nm, dtype=float)
        unknown = ~(np.isfinite(width) & (width > 0))
        if unknown.any():
            width[unknown] = spacing_as_width(np.asarray(centre), who)[unknown]
        assumed = ["no spatial blur, no noise: not told by a cube"]
        if unknown.any():
            assumed.append(f"{counted(np.count_nonzero(unknown), 'band')} as wide as the spacing of bands there")
        return cls(
            response=GaussianResponse(centre_nm=centre, width_nm=width), units=cube.units,
            name=f"sensor of {cube.name}" if cube.name else "sensor", source=f"bands of {Path(who).name}",
            assumptions=tuple(assumed),
        )  # fmt: skip

    def is_called(self, name: str) -> bool:
        """Whether a fingerprint is this sensor's: its own, or the one that 0.1.0 gave it."""
        return name == self.fingerprint() or name in former_names(self)

    # ---- light -------------------------------------------------------------------------------------------------

    def on(self, wavelength_nm: Array, shape: tuple[int, int]) -> SensorOperator:
        """The linear part, noise-free, for scenes of these wavelengths and this size (y, x)."""
        from hsitools.sensor.operator import SensorOperator

        return SensorOperator(self, wavelength_nm, shape)

    def forward(self, scene: Cube) -> Cube:
        """What the sensor would see without noise, as a labelled cube (with PAN where it has one)."""
        return self.observe(scene, noise=False)

    def adjoint(self, values: torch.Tensor, wavelength_nm: Array, shape: tuple[int, int]) -> torch.Tensor:
        """Transposed `SensorOperator.forward`: the sensor's ``(…, band, y, x)`` to the scene's wavelengths and size."""
        return self.on(wavelength_nm, shape).adjoint(values)

    def observe(self, scene: Cube, rng: np.random.Generator | int | None = None, *, noise: bool = True) -> Cube:
        """Observe a scene.

        Parameters
        ----------
        scene : Cube
            Reflectance or radiance at the fine pixels, in `units` (its scale factor is applied).
        rng : numpy Generator or seed, optional
            Default: an unseeded one. The same seed gives the same bytes, whatever memory is at hand.
        noise : bool
            False leaves out noise, stripes and defects.

        Returns
        -------
        Cube
            In memory, with wavelengths, PAN, and a transform of the coarser pixels. Elements that carry no signal are
            values like any other: see `Pattern.broken` for which they are. ``meta["saturated"]`` is how many values
            are saturated; which they are says `expose`.

        Raises
        ------
        InputError
            When the scene's wavelengths do not cover the sensor's bands, it is smaller than a pixel, says that it is in
            other units than the noise, or the sensor's calibration is of another width.
        """
        Cube.require(scene, "scene")
        return self.expose(scene, rng, noise=noise)[0]

    def expose(
        self, scene: Cube, rng: np.random.Generator | int | None = None, *, noise: bool = True
    ) -> tuple[Cube, NDArray[np.bool_]]:
        """As `observe`, and which values ``(band, y, x)`` are saturated."""
        out = frame_of(self, scene)
        values, pan = np.empty(out.shape, dtype=np.float32), None
        saturated = np.zeros(out.shape, dtype=bool)
        if self.pan is not None:
            pan = np.empty((1, out.shape[1] * self.ratio, out.shape[2] * self.ratio), dtype=np.float32)
        for part in observe_rows(self, scene, rng, noise=noise):
            values[:, part.rows], saturated[:, part.rows] = part.values, part.saturated
            if pan is not None:
                pan[:, part.rows.start * self.ratio : part.rows.stop * self.ratio] = part.pan
        meta = out.meta | {"saturated": int(saturated.sum())}
        observed = out.replace(data=values, pan=None if out.pan is None else out.pan.replace(data=pan), meta=meta)
        return observed, saturated

    def frame_of(self, scene: Cube) -> Cube:
        """Labels and size of what `observe` gives, with no values in it."""
        return frame_of(self, scene)

    def observe_rows(
        self, scene: Cube, rng: np.random.Generator | int | None = None, *, noise: bool = True, device: str = "cpu"
    ) -> Iterator[Rows]:
        """As `observe`, a few coarse rows at a time, for scenes larger than memory.

        Light is gathered on ``device``, as torch names it; noise is drawn on the processor, the same on every device.
        """
        return observe_rows(self, scene, rng, noise=noise, device=device)

    def variance(self, values: Any) -> Any:
        """Noise variance at each voxel of a measured (or clean) cube ``(band, y, x)``, units²; array or tensor.

        Raises
        ------
        InputError
            When the sensor has no noise.
        """
        if self.noise is None:
            raise InputError(f"{self.name}: noise: missing, expected a detector")
        return self.noise.variance(values)

    # ---- file --------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write one HDF5 file, whole or not at all."""
        with new_own(path) as file:
            file.attrs.update(format=FORMAT, version=VERSION)
            write_record(file, self.replace(layout=None))
            if self.layout is not None:
                file.attrs["layout"] = json.dumps(self.layout.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Sensor:
        """Read what `save` wrote.

        Raises
        ------
        FormatError
            When the file is missing, is no sensor, or lacks a member.
        """
        with open_own(path, FORMAT, VERSION, "a sensor") as file:
            layout = file.attrs.get("layout")
            sensor: Sensor = read_record(_WithoutLayout(file), {**_KINDS, "Sensor": cls}, str(path))
            if layout:
                sensor = sensor.replace(layout=SubImageLayout.from_dict(json.loads(layout), f"{path}: layout"))
            return sensor

    def describe(self) -> dict[str, Any]:
        """What ``hsi sensor show`` prints."""
        return description(self)


class _WithoutLayout:
    """A group whose layout attribute is read elsewhere."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self.attrs = {key: value for key, value in group.attrs.items() if key != "layout"}

    def __contains__(self, name: str) -> bool:
        return name in self._group

    def __getitem__(self, name: str) -> Any:
        return self._group[name]


def describe(path: Path) -> dict[str, Any] | None:
    """What ``hsi info`` says of a sensor file; None when the file is something else."""
    return Sensor.load(path).describe() if declared_format(path) == FORMAT else None
