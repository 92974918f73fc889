"""The sensor: spectral response × spatial response × detector, in one object and one file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsitools import identity
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.io.records import read_record, write_record
from hsitools.sensor.bands import GaussianResponse, SpectralResponse, TableResponse, known_bands, resample
from hsitools.sensor.calibration import Calibration
from hsitools.sensor.detector import Detector, read_out
from hsitools.sensor.distortion import Distortion
from hsitools.sensor.former import former_names
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.pattern import Defects, Pattern, Stripes
from hsitools.sensor.spectral import UNITS, FabryPerotResponse

if TYPE_CHECKING:
    import torch

    from hsitools.sensor.operator import SensorOperator

Array = NDArray[np.float64]
FORMAT, VERSION = "hsitools-sensor", 1
#: Coarse rows that are simulated at a time. Part of the definition: the same seed gives the same bytes.
ROWS = 32
_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        GaussianResponse, TableResponse, FabryPerotResponse, Detector, Stripes, Defects, Distortion, Calibration,
    )
}  # fmt: skip


class Rows(NamedTuple):
    """Some coarse rows of an observation, and which of their values are saturated."""

    rows: slice
    values: NDArray[np.float32]
    pan: NDArray[np.float32] | None
    saturated: NDArray[np.bool_]
    pan_saturated: NDArray[np.bool_] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Sensor:
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
    """

    response: Any
    ratio: int = 1
    mtf: Any = None
    offset: float | None = None
    noise: Detector | None = None
    stripes: Stripes | None = None
    defects: Defects | None = None
    distortion: Distortion | None = None
    calibration: Calibration | None = None
    pan: Any = None
    pan_mtf: float = 0.2
    pan_noise: Detector | None = None
    layout: SubImageLayout | None = None
    units: str = "1"
    name: str = "sensor"
    source: str = ""
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.response, SpectralResponse):
            raise InputError(f"{self.name}: response: found {type(self.response).__name__}, expected a response")
        n_bands = self.response.n_bands
        if int(self.ratio) != self.ratio or self.ratio < 1:
            raise InputError(f"{self.name}: ratio: found {self.ratio}, expected a whole number of at least 1")
        if self.mtf is not None:
            mtf = np.asarray(self.mtf, dtype=float)
            mtf = np.full(n_bands, float(mtf)) if mtf.ndim == 0 else mtf
            if mtf.shape not in ((n_bands,), (n_bands, 2)) or not ((mtf > 0) & (mtf < 1)).all():
                raise InputError(
                    f"{self.name}: mtf: found shape {mtf.shape}, {mtf.min():g} to {mtf.max():g}, "
                    f"expected ({n_bands},) or ({n_bands}, 2) between 0 and 1"
                )
            object.__setattr__(self, "mtf", mtf)
        elif self.ratio > 1:
            raise InputError(f"{self.name}: mtf: missing, expected gains at Nyquist for ratio {self.ratio}")
        if self.pan is not None and self.pan.n_bands != 1:
            raise InputError(f"{self.name}: pan: found {self.pan.n_bands} bands, expected 1")
        if self.noise is not None:
            for field in ("electrons_per_unit", "dark_electrons", "read_noise"):
                value = getattr(self.noise, field)
                if value.ndim and len(value) != n_bands:
                    raise InputError(f"{self.name}: noise: {field}: found {len(value)} values, expected {n_bands}")
        if self.calibration is not None and self.calibration.n_bands != n_bands:
            raise InputError(f"{self.name}: calibration: found {self.calibration.n_bands} bands, expected {n_bands}")
        if self.calibration is not None and self.layout is not None:
            raise InputError(f"{self.name}: calibration: found maps (band, column), expected none for sub-images")

    @classmethod
    def like(cls, cube: Cube) -> Sensor:
        """A sensor of a cube's bands: Gaussians at its wavelengths, of its FWHM or, where unknown, as wide as the
        distance to the nearer neighbour.

        Raises
        ------
        InputError
            When wavelengths, or the width of an only band, are not known.
        """
        who = cube.source or cube.name or "cube"
        centre = cube.wavelength_nm
        if centre is None or not np.isfinite(centre).all():
            found = "none" if centre is None else f"{np.count_nonzero(~np.isfinite(centre))} bands without"
            raise InputError(
                f"{who}: wavelength_nm: found {found}, expected one a band: a sensor needs to know its bands"
            )
        width = np.full(len(centre), np.nan) if cube.fwhm_nm is None else np.array(cube.fwhm_nm, dtype=float)
        unknown = ~(np.isfinite(width) & (width > 0))
        if unknown.any():
            gap = np.abs(np.diff(centre))
            if not gap.any():
                raise InputError(f"{who}: fwhm_nm: found none, expected one, or two bands to take the distance of")
            # two detectors may list a wavelength twice
            gap = np.where(gap > 0, gap, np.median(gap[gap > 0]))
            width[unknown] = np.minimum(np.append(gap, np.inf), np.insert(gap, 0, np.inf))[unknown]
        assumed = ["no spatial blur, no noise: not told by a cube"]
        if unknown.any():
            assumed.append(f"{np.count_nonzero(unknown)} bands as wide as the distance to the nearer neighbour")
        return cls(
            response=GaussianResponse(centre_nm=centre, width_nm=width), units=cube.units,
            name=f"sensor of {cube.name}" if cube.name else "sensor", source=f"bands of {Path(who).name}",
            assumptions=tuple(assumed),
        )  # fmt: skip

    # ---- parts -------------------------------------------------------------------------------------------------

    @property
    def n_bands(self) -> int:
        """Bands, or interferometers."""
        return int(self.response.n_bands)

    def replace(self, **changes: Any) -> Sensor:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)

    def select(self, bands: Any) -> Sensor:
        """The sensor with some of its bands only (Gaussian or tabled ones)."""
        if isinstance(self.response, GaussianResponse):
            response: Any = GaussianResponse(
                centre_nm=self.response.centre_nm[bands], width_nm=self.response.width_nm[bands]
            )
        elif isinstance(self.response, TableResponse):
            response = TableResponse(table_nm=self.response.table_nm, response=self.response.response[bands])
        else:
            raise InputError(f"{self.name}: bands: interferometers cannot be chosen by band")
        return self.replace(
            response=response,
            mtf=None if self.mtf is None else self.mtf[bands],
            noise=None if self.noise is None else self.noise.select(bands),
            calibration=None if self.calibration is None else self.calibration.select(bands),
        )

    def within(self, wavelength_nm: Array) -> Sensor:
        """The sensor without the bands that these wavelengths do not cover.

        Raises
        ------
        InputError
            When none is covered.
        """
        from hsitools.sensor.bands import MIN_COVERAGE

        covered = self.response.coverage(wavelength_nm) >= MIN_COVERAGE
        if covered.all():
            return self
        if not covered.any():
            raise InputError(
                f"{self.name}: wavelength_nm: found {np.min(wavelength_nm):g} to {np.max(wavelength_nm):g} nm, "
                "expected some of the sensor's bands inside"
            )
        return self.select(np.flatnonzero(covered))

    def fingerprint(self) -> str:
        """Short name of all that the sensor does to light, the same on every machine (`hsitools.identity`)."""
        return identity.fingerprint(self)

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

    def observe(self, scene: Cube, rng: np.random.Generator | None = None, *, noise: bool = True) -> Cube:
        """Observe a scene.

        Parameters
        ----------
        scene : Cube
            Reflectance or radiance at the fine pixels, in `units` (its scale factor is applied).
        rng : numpy Generator, optional
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
            When the scene's wavelengths do not cover the sensor's bands, it is smaller than a pixel, or the sensor's
            calibration is of another width.
        """
        return self.expose(scene, rng, noise=noise)[0]

    def expose(
        self, scene: Cube, rng: np.random.Generator | None = None, *, noise: bool = True
    ) -> tuple[Cube, NDArray[np.bool_]]:
        """As `observe`, and which values ``(band, y, x)`` are saturated."""
        out = self.frame_of(scene)
        values, pan = np.empty(out.shape, dtype=np.float32), None
        saturated = np.zeros(out.shape, dtype=bool)
        if self.pan is not None:
            pan = np.empty((1, out.shape[1] * self.ratio, out.shape[2] * self.ratio), dtype=np.float32)
        for part in self.observe_rows(scene, rng, noise=noise):
            values[:, part.rows], saturated[:, part.rows] = part.values, part.saturated
            if pan is not None:
                pan[:, part.rows.start * self.ratio : part.rows.stop * self.ratio] = part.pan
        meta = out.meta | {"saturated": int(saturated.sum())}
        seen = out.replace(data=values, pan=None if out.pan is None else out.pan.replace(data=pan), meta=meta)
        return seen, saturated

    def frame_of(self, scene: Cube) -> Cube:
        """Labels and size of what `observe` gives, with no values in it."""
        height, width = scene.shape[1] // self.ratio, scene.shape[2] // self.ratio
        if min(height, width) < 1:
            raise InputError(f"scene: found {scene.shape[1]}×{scene.shape[2]} pixels, expected at least {self.ratio}")
        transform = None
        if scene.transform is not None:
            a, b, c, d, e, f = scene.transform
            r = self.ratio
            # the first pixel's centre lies at the offset; half a coarse pixel before it is its corner
            shift = 0.0 if self.offset is None else self.offset - (r - 1) / 2
            transform = (a * r, b * r, c + (a + b) * shift, d * r, e * r, f + (d + e) * shift)
        pan = None
        if self.pan is not None:
            shape = (1, height * self.ratio, width * self.ratio)
            pan = Cube(
                data=np.broadcast_to(np.float32(0), shape), wavelength_nm=self.pan.wavelength_nm,
                fwhm_nm=self.pan.fwhm_nm, units=scene.units, crs=scene.crs, transform=scene.transform,
                name="panchromatic", source=f"{self.name}: PAN",
            )  # fmt: skip
        return Cube(
            data=np.broadcast_to(np.float32(0), (self.n_bands, height, width)),
            wavelength_nm=self.response.wavelength_nm, fwhm_nm=self.response.fwhm_nm, units=scene.units, crs=scene.crs,
            transform=transform, pan=pan, name=f"{scene.name or 'scene'} as seen by {self.name}",
            source=scene.source, meta={"sensor": self.name, "sensor_hash": self.fingerprint()},
        )  # fmt: skip

    def observe_rows(
        self, scene: Cube, rng: np.random.Generator | None = None, *, noise: bool = True
    ) -> Iterator[Rows]:
        """As `observe`, a few coarse rows at a time, for scenes larger than memory."""
        import torch

        from hsitools.sensor.spatial import mean_of_known

        frame = self.frame_of(scene)
        height, width = frame.shape[1:]
        r = self.ratio
        rng = np.random.default_rng() if rng is None else rng
        pattern_rng, *streams = rng.spawn(1 + -(-height // ROWS))
        pattern = self.pattern(frame.shape, pattern_rng) if noise else None
        physical = scene.physical()
        # a pixel off the sensor's whole pixels would never be seen
        physical = physical.select(window=(0, height * r, 0, width * r))
        spectral = resample(physical, self.response) if not isinstance(self.response, FabryPerotResponse) else physical
        usable, matrix = known_bands(physical), None
        if isinstance(self.response, FabryPerotResponse):
            assert physical.wavelength_nm is not None
            matrix = self.response.matrix(physical.wavelength_nm[usable])
        pan_view = None if self.pan is None else resample(physical, self.pan)
        brightest = None
        for number, start in enumerate(range(0, height, ROWS)):
            rows = slice(start, min(start + ROWS, height))
            halo = 0 if self.mtf is None else 8 * r
            top, bottom = max(rows.start * r - halo, 0), min(rows.stop * r + halo, height * r)
            if isinstance(self.response, FabryPerotResponse):
                assert matrix is not None
                light = physical.read(bands=usable, rows=slice(top, bottom)).astype(np.float64)
                seen = (matrix @ light.reshape(len(light), -1)).reshape(-1, *light.shape[1:])
            else:
                seen = spectral.read(rows=slice(top, bottom))
            values = torch.as_tensor(np.ascontiguousarray(seen))
            image = partial(self._image, rows=rows, top=top)
            coarse = mean_of_known(image, values).numpy().astype(np.float32)
            saturated = np.zeros(coarse.shape, dtype=bool)
            if pattern is not None:
                if brightest is None:
                    brightest = float(np.nanmax(np.abs(coarse), initial=0.0))
                coarse, saturated = self._detect(coarse, rows, pattern, streams[number], brightest)
            fine = fine_saturated = None
            if pan_view is not None:
                fine, fine_saturated = self._pan_rows(pan_view, rows, streams[number] if noise else None)
            yield Rows(rows, coarse, fine, saturated, fine_saturated)

    def _image(self, values: torch.Tensor, rows: slice, top: int) -> torch.Tensor:
        """Blur, sample and distort the fine rows from ``top`` on: the coarse ``rows``."""
        from hsitools.sensor.spatial import centred_offset, mtf_decimate, size_of

        if self.mtf is None:
            return values if self.distortion is None else self.distortion.forward(values)
        offset = centred_offset(self.ratio) if self.offset is None else self.offset
        # rows before those asked for, whose samples are computed and dropped
        before = (rows.start * self.ratio - top) // self.ratio
        operator = mtf_decimate(size_of(values), self.mtf, self.ratio, offset)
        out = operator(values)[..., before : before + rows.stop - rows.start, : values.shape[-1] // self.ratio]
        return out if self.distortion is None else self.distortion.forward(out)

    def _pan_rows(
        self, view: Cube, rows: slice, rng: np.random.Generator | None
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """PAN's image of ``rows`` from the scene as PAN's band sees it."""
        import torch

        from hsitools.sensor.spatial import mean_of_known, mtf_blur, size_of

        r, height = self.ratio, view.shape[1]
        first, last = rows.start * r, rows.stop * r
        top, bottom = max(first - 8, 0), min(last + 8, height)
        image = torch.as_tensor(view.read(rows=slice(top, bottom)))
        blur = mtf_blur(size_of(image), self.pan_mtf, 1)
        blurred = mean_of_known(blur, image)[:, first - top : last - top].numpy()
        if self.pan_noise is not None and rng is not None:
            return self.pan_noise.sample(blurred, rng)
        return blurred.astype(np.float32), np.zeros(blurred.shape, dtype=bool)

    def pattern(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Pattern:
        """The detector's fixed pattern for cubes of ``shape`` (band, y, x): as calibrated, or drawn from stripes and
        defects. Lost lines are drawn in either case: no element's calibration tells of them.

        Raises
        ------
        InputError
            When the calibration is of another width.
        """
        if self.calibration is None:
            drawn = (self.stripes or Stripes()).draw(shape, rng)
            return drawn if self.defects is None else self.defects.draw(drawn, rng)
        if self.calibration.gain.shape != (shape[0], shape[2]):
            raise InputError(
                f"{self.name}: calibration: found {self.calibration.gain.shape} (band, column), "
                f"expected {(shape[0], shape[2])} as the cube has"
            )
        known = self.calibration.pattern(shape[1])
        lost = 0.0 if self.defects is None else self.defects.lost_lines
        return Defects(lost_lines=lost).draw(known, rng)

    def _detect(
        self, clean: NDArray[np.float32], rows: slice, pattern: Pattern, rng: np.random.Generator, brightest: float
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Detector and fixed pattern, and the bits that flip on the way; where no saturation is known, hot elements
        and flipped bits read ``brightest``.
        """
        full: Any = np.inf if self.noise is None else self.noise.saturation
        known = bool(np.isfinite(full).all())
        values, saturated = read_out(self.noise, pattern, clean, rows, rng, hot=None if known else brightest)
        if self.defects is not None and self.defects.impulse:
            hit, high = rng.random(values.shape) < self.defects.impulse, rng.random(values.shape) < 0.5
            hit &= ~np.isnan(clean)
            top = np.reshape(full, (-1, 1, 1)) if known else brightest
            values = np.where(hit, np.where(high, top, 0.0), values).astype(np.float32)
            saturated &= ~hit
        return values, saturated

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
        import h5py

        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(format=FORMAT, version=VERSION)
            write_record(file, self.replace(layout=None))
            if self.layout is not None:
                import json

                file.attrs["layout"] = json.dumps(self.layout.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Sensor:
        """Read what `save` wrote.

        Raises
        ------
        FormatError
            When the file is missing, is no sensor, or lacks a member.
        """
        import json

        try:
            with open_hdf5(Path(path)) as file:
                found = file.attrs.get("format")
                if found != FORMAT:
                    raise FormatError(f"{path}: format: found {found!r}, expected {FORMAT!r}")
                if file.attrs["version"] > VERSION:
                    raise FormatError(
                        f"{path}: version: found {file.attrs['version']}, expected at most {VERSION}; update hsitools"
                    )
                layout = file.attrs.get("layout")
                sensor: Sensor = read_record(_WithoutLayout(file), {**_KINDS, "Sensor": cls}, str(path))
                if layout:
                    sensor = sensor.replace(layout=SubImageLayout.from_dict(json.loads(layout), f"{path}: layout"))
                return sensor
        except FileNotFoundError:
            raise FormatError(f"{path}: found no such file, expected a sensor") from None
        except OSError as error:
            raise FormatError(f"{path}: expected a sensor (HDF5); {' '.join(str(error).split())}") from None

    def describe(self) -> dict[str, Any]:
        """What ``hsi sensor show`` prints."""
        centre, width = self.response.wavelength_nm, self.response.fwhm_nm
        out: dict[str, Any] = {
            "kind": "sensor", "name": self.name, "hash": self.fingerprint(),
            "former_hash": ", ".join(former_names(self)), "source": self.source,
            "bands": self.n_bands, "response": type(self.response).__name__,
            "wavelength_nm": None if centre is None else [float(centre.min()), float(centre.max())],
            "fwhm_nm": None if width is None else [float(width.min()), float(width.max())],
            "ratio": int(self.ratio), "units": self.units,
            "mtf_at_nyquist": None if self.mtf is None else [float(self.mtf.min()), float(self.mtf.max())],
            "pan_nm": None if self.pan is None else float(self.pan.wavelength_nm[0]),
        }  # fmt: skip
        if isinstance(self.response, FabryPerotResponse):
            low, high = self.response.band_nm
            out |= {"calibrated_band_nm": [low, high], "interferogram": UNITS}
        if self.noise is not None:
            if self.units == "1":
                level = 0.3
                snr = level / np.sqrt(np.ravel(self.noise.variance(np.full((self.n_bands, 1, 1), level))))
                out["snr_at_0.3"] = [float(snr.min()), float(snr.max())]
            out |= {"full_well_electrons": self.noise.full_well, "bits": self.noise.bits or None}
            full = self.noise.saturation
            if np.isfinite(full).all():
                out["saturation"] = [float(full.min()), float(full.max())]
            if self.noise.bias is not None:
                out["bias_dn"] = self.noise.bias
        for name in ("stripes", "defects", "distortion"):
            part = getattr(self, name)
            if part is not None:
                facts = {key: value for key, value in dataclasses.asdict(part).items() if value}
                out[name] = ", ".join(
                    f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}"
                    for key, value in facts.items()
                )
        if self.calibration is not None:
            out["calibration"] = self.calibration.summary()
        if self.layout is not None:
            out["sub_images"] = list(self.layout.grid)
        return out | {f"assumed_{number}": text for number, text in enumerate(self.assumptions, 1)}


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
    from hsitools.io.labels import is_hdf5

    if not is_hdf5(Path(path)):
        return None
    import h5py

    with h5py.File(path, "r") as file:
        if file.attrs.get("format") != FORMAT:
            return None
    return Sensor.load(path).describe()
