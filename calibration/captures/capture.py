"""Monochromatic captures: what each interferometer measured at each line of the monochromator."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.checks import (
    MIN_LINES,
    ascending,
    check_linewidth,
    check_not_exchanged,
    check_wavenumber,
    one_line,
    real_numbers,
    stored_wavenumber,
)
from calibration.captures.irca_folder import is_irca_folder, read_irca_folder
from calibration.captures.sampling import sampling_limit
from hsitools.arrays import REAL, real_array
from hsitools.errors import FormatError, InputError
from hsitools.io.own_file import declared_format, new_own, open_own
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.line_shape import SHAPES, LineShape
from hsitools.text import counted

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
log = logging.getLogger(__name__)

#: What the file says it is.
FORMAT, VERSION = "hsitools-capture", 1
_SAMPLES = "(interferometer, line)"
#: Datasets of the file: units and meaning.
NOTES = {
    "intensity": ("instrument units", f"centre-spot intensity {_SAMPLES}"),
    "flat": ("instrument units", f"flat field {_SAMPLES}"),
    "wavenumber": ("um-1", "wavenumber of each monochromator line (line,)"),
    "mask": ("1", f"usable samples {_SAMPLES}"),
    "neighbourhood": ("instrument units", f"mean around the centre spot {_SAMPLES}"),
    "saturated": ("1", f"samples at full scale {_SAMPLES}"),
    "linewidth_nm": ("nm", "full width at half maximum of the monochromator's line (line,)"),
    "index": ("1", "place of each interferometer in the device's order (interferometer,)"),
}
#: What the file calls intensity and flat field.
NAMES = ("intensity", "flat")
#: Share of the brightest quarter's mean below which a row is dim, and standard errors that its own mean must then
#: have to be a signal.
DIM, BY_CHANCE = 0.01, 5.0
#: Kinds of NumPy types that hold true or false.
BOOLEAN = "biu"


@dataclass(frozen=True, kw_only=True)
class MonochromaticCapture:
    """Intensities of all interferometers under a monochromator, validated.

    Samples that cannot be used (not finite, or flat field not positive) and interferometers without positive signal
    are masked and logged, never an error; arrays hold 0 (intensity) and 1 (flat) there, so that no NaN reaches the
    numerics, but at full scale, where both stay. Negative intensities stay: noise about zero is real.

    Attributes
    ----------
    intensity, flat : array, shape (interferometer, line)
        Centre-spot intensity and flat field, same units; flat of ones when already normalised. One flat field for all
        interferometers may be passed, ``(line,)``.
    wavenumber : array, shape (line,)
        µm⁻¹, ascending; where all descend the lines are read the other way round.
    mask : array of bool, shape (interferometer, line)
        True where a sample is usable.
    neighbourhood : array or None
        Mean around the centre spot, shape of ``intensity``; NaN where it is not known (logged).
    index : array of int, shape (interferometer,)
        Place in the device's order.
    saturated : array of bool or None
        Samples at full scale, shape of ``intensity``.
    opd_step_um : float or None
        Nominal OPD step between neighbours, µm.
    linewidth_nm : array, shape (line,), or None
        Full width at half maximum of the monochromator's line, nm (one number for all lines may be passed); None where
        it is not known.
    line_shape : str
        ``"gaussian"`` or ``"triangular"`` (two equal slits).
    layout : SubImageLayout or None
    name, source : str
    made_from : str
        What a file's capture was made from (raw frames, a folder), as the file says; empty where it does not.

    Raises
    ------
    InputError
        On a flat field without a positive number where samples are usable, on wrong shapes or types, on wavenumbers
        that neither ascend nor descend, or are not distinct and positive (µm⁻¹), on fewer than 4 lines.

    Examples
    --------
    >>> import numpy as np
    >>> wavenumber = np.linspace(1.0, 2.5, 60)
    >>> fringes = 1 + 0.5 * np.cos(2 * np.pi * wavenumber * np.array([[2.0], [3.0]]))
    >>> capture = MonochromaticCapture(intensity=fringes, wavenumber=wavenumber, flat=np.ones_like(fringes))
    >>> capture.n_interferometers, capture.n_lines, capture.band_nm
    (2, 60, (400.0, 1000.0))
    """

    intensity: Array
    wavenumber: Array
    flat: Array
    mask: Mask = None  # type: ignore[assignment]  # all samples; never None once constructed
    neighbourhood: Array | None = None
    index: NDArray[np.int64] = None  # type: ignore[assignment]  # 0, 1, 2, …
    saturated: Mask | None = None
    opd_step_um: float | None = None
    linewidth_nm: Any = None
    line_shape: str = "gaussian"
    layout: SubImageLayout | None = None
    name: str = "capture"
    source: str = ""
    made_from: str = ""

    def __post_init__(self) -> None:
        where = self.source or self.name
        lines, wavenumber = ascending(real_numbers(self.wavenumber, f"{where}: wavenumber"), f"{where}: wavenumber")
        wavenumber = check_wavenumber(wavenumber, f"{where}: wavenumber")
        intensity = real_numbers(self.intensity, f"{where}: intensity")
        if intensity.ndim != 2 or intensity.shape[1] != len(wavenumber) or not len(intensity):
            raise InputError(
                f"{where}: intensity: found shape {intensity.shape}, expected (interferometer, {len(wavenumber)})"
            )
        shape, intensity = intensity.shape, intensity[:, lines]

        def shaped(name: str, values: Any, kinds: str) -> Any:
            if np.shape(values) not in ([shape, shape[1:]] if name == "flat" else [shape]):
                raise InputError(f"{where}: {name}: found shape {np.shape(values)}, expected {shape} as the intensity")
            array = np.asarray(values) if kinds == BOOLEAN else real_array(values, f"{where}: {name}")
            if array.dtype.kind not in kinds:
                raise InputError(f"{where}: {name}: found values of type {array.dtype}, expected true or false")
            return np.broadcast_to(array, shape)[:, lines].astype(bool if kinds == BOOLEAN else np.float64)

        flat = shaped("flat", self.flat, REAL)
        mask = np.ones(shape, bool) if self.mask is None else shaped("mask", self.mask, BOOLEAN)
        mask = _usable(intensity, flat, mask, where)
        values = {"wavenumber": wavenumber, "mask": mask, "index": self._checked_index(shape[0], where)}
        kept = mask
        if self.saturated is not None:
            values["saturated"] = shaped("saturated", self.saturated, BOOLEAN)
            # samples at full scale tell that there was as much light at least
            kept = mask | (values["saturated"] & np.isfinite(flat) & (flat > 0))
        values |= {
            "intensity": np.where(kept & np.isfinite(intensity), intensity, 0.0), "flat": np.where(kept, flat, 1.0)
        }  # fmt: skip
        if self.neighbourhood is not None:
            values["neighbourhood"] = shaped("neighbourhood", self.neighbourhood, REAL)
            unknown = int((mask & ~np.isfinite(values["neighbourhood"])).sum())
            if unknown:
                log.warning("%s: neighbourhood: missing (not finite) at %s", where, counted(unknown, "usable sample"))
        if self.linewidth_nm is not None:
            widths = self.linewidth_nm if np.ndim(self.linewidth_nm) == 0 else np.asarray(self.linewidth_nm)[lines]
            values["linewidth_nm"] = check_linewidth(widths, wavenumber, f"{where}: linewidth_nm")
        if self.line_shape not in SHAPES:
            raise InputError(f"{where}: line_shape: found {self.line_shape!r}, expected one of {', '.join(SHAPES)}")
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.opd_step_um is not None and not (np.isfinite(self.opd_step_um) and self.opd_step_um):
            raise InputError(f"{where}: opd_step_um: found {self.opd_step_um}, expected a step in µm, not zero")
        if self.layout is not None and self.layout.n_sub_images <= self.index.max():
            raise InputError(
                f"{where}: layout: found {counted(self.layout.n_sub_images, 'sub-image')}, "
                f"expected at least {self.index.max() + 1} (largest index of an interferometer)"
            )

    def _checked_index(self, count: int, where: str) -> NDArray[np.int64]:
        if self.index is None:
            return np.arange(count)
        index = np.asarray(self.index)
        whole = index.shape == (count,) and index.dtype.kind in "iu"
        if not whole or index.min() < 0 or len(np.unique(index)) != count:
            raise InputError(f"{where}: index: expected {count} distinct whole numbers from 0, one an interferometer")
        return index.astype(np.int64)

    @property
    def provenance(self) -> str:
        """Source, and what that was made from."""
        return f"{self.source}, made from {self.made_from}" if self.made_from else self.source

    def check_not_exchanged(self, names: tuple[str, str] = NAMES) -> None:
        """Raise `InputError` where intensity and flat field look exchanged; ``names`` are theirs in the message."""
        check_not_exchanged(self.intensity, self.flat, self.mask, self.source or self.name, names)

    @property
    def n_interferometers(self) -> int:
        """Number of interferometers."""
        return int(self.intensity.shape[0])

    @property
    def n_lines(self) -> int:
        """Number of monochromator lines."""
        return int(self.intensity.shape[1])

    @property
    def dark(self) -> Mask:
        """Interferometers without one usable sample, shape ``(interferometer,)``."""
        return np.asarray(~self.mask.any(axis=1))

    @property
    def line(self) -> LineShape | None:
        """The monochromator's line; None when its width is zero or not known."""
        if self.linewidth_nm is None or not self.linewidth_nm.any():
            return None
        return LineShape.of_wavelength(self.linewidth_nm, self.wavenumber, self.line_shape)

    @property
    def wavelength_nm(self) -> Array:
        """Wavelength of each line, nm (descending)."""
        return 1000 / self.wavenumber

    @property
    def band_nm(self) -> tuple[float, float]:
        """Shortest and longest wavelength, nm."""
        return float(1000 / self.wavenumber[-1]), float(1000 / self.wavenumber[0])

    @property
    def opd_limit_um(self) -> float:
        """Largest OPD that the lines sample, µm."""
        return sampling_limit(self.wavenumber)

    def select(
        self, *, rows: NDArray[np.int64] | None = None, wavelengths_nm: tuple[float, float] | None = None
    ) -> MonochromaticCapture:
        """Some interferometers and/or the lines in a wavelength range (nm, ends included).

        Raises
        ------
        InputError
            When the range holds too few lines.
        """
        picked = np.arange(self.n_interferometers) if rows is None else np.asarray(rows)
        lines = np.ones(self.n_lines, dtype=bool)
        if wavelengths_nm is not None:
            low, high = sorted(wavelengths_nm)
            lines = (self.wavelength_nm >= low) & (self.wavelength_nm <= high)
            if lines.sum() < MIN_LINES:
                band = "{:.1f} to {:.1f} nm".format(*self.band_nm)
                raise InputError(
                    f"{self.source or self.name}: wavelengths: found {counted(lines.sum(), 'line')} "
                    f"in {low:g} to {high:g} nm, "
                    f"expected at least {MIN_LINES} (the capture holds {band})"
                )
        block = np.ix_(picked, np.flatnonzero(lines))
        optional: dict[str, Any] = {
            name: None if getattr(self, name) is None else getattr(self, name)[block]
            for name in ("neighbourhood", "saturated")
        }
        return replace(
            self,
            intensity=self.intensity[block],
            flat=self.flat[block],
            mask=self.mask[block],
            wavenumber=self.wavenumber[lines],
            index=self.index[picked],
            linewidth_nm=None if self.linewidth_nm is None else self.linewidth_nm[lines],
            **optional,
        )

    def save(self, path: str | Path) -> None:
        """Write to HDF5, self-describing."""
        with new_own(path) as file:
            file.attrs.update(format=FORMAT, version=VERSION, name=self.name, source=self.made_from or self.source)
            file.attrs["line_shape"] = self.line_shape
            if self.opd_step_um is not None:
                file.attrs["opd_step_um"] = self.opd_step_um
            if self.layout is not None:
                file.attrs["layout"] = json.dumps(self.layout.to_dict())
            for name, (unit, long_name) in NOTES.items():
                value = getattr(self, name)
                if value is not None:
                    data = file.create_dataset(name, data=value, compression="gzip", shuffle=True)
                    data.attrs.update(units=unit, long_name=long_name)

    @classmethod
    def load(cls, path: str | Path) -> MonochromaticCapture:
        """Read what `save` wrote.

        Raises
        ------
        FormatError
            When the file is missing, is no capture, or lacks a member.
        InputError
            When its contents are no valid capture.
        """
        import h5py

        with open_own(path, FORMAT, VERSION, "a capture", also="folder") as file:
            attributes = dict(file.attrs)
            members = {name: file[name][()] for name in NOTES if isinstance(file.get(name), h5py.Dataset)}
            for name in ("intensity", "flat", "wavenumber"):
                if name not in members:
                    raise FormatError(f"{path}: {name}: missing, expected in a capture")
            members["wavenumber"] = stored_wavenumber(file["wavenumber"], f"{path}: wavenumber")
        if "linewidth_nm" in attributes:
            # one width for all lines may also be an attribute
            members.setdefault("linewidth_nm", attributes["linewidth_nm"])
        try:
            layout = json.loads(attributes.get("layout", "null"))
            step = attributes.get("opd_step_um")
            step = None if step is None else float(step)
        except (TypeError, ValueError) as error:
            raise FormatError(f"{path}: attributes layout and opd_step_um: {one_line(error)}") from None
        return cls(
            **members,
            opd_step_um=step,
            line_shape=str(attributes.get("line_shape", "gaussian")),
            layout=None if layout is None else SubImageLayout.from_dict(layout, f"{path}: layout"),
            name=str(attributes.get("name", Path(path).stem)),
            source=str(path),
            made_from="" if attributes.get("source") == str(path) else str(attributes.get("source", "")),
        )


def _usable(intensity: Array, flat: Array, mask: Mask, where: str) -> Mask:
    """``mask`` less the samples and the rows that carry no information; says how many."""
    good = mask & np.isfinite(intensity) & np.isfinite(flat) & (flat > 0)
    if mask.any() and not (mask & (flat > 0)).any():
        raise InputError(f"{where}: flat: found no positive number at any usable sample, expected the flat field")
    lost = int((mask & ~good).sum())
    if lost:
        log.warning("%s: %s left out (not finite, or without flat field)", where, counted(lost, "sample"))
    dark = good.any(axis=1) & _without_signal(np.where(good, intensity, 0.0), good)
    if dark.any():
        log.warning("%s: %s left out (no positive signal)", where, counted(dark.sum(), "interferometer"))
    return good & ~dark[:, None]


def _without_signal(values: Array, good: Mask) -> Mask:
    """Rows ``(row,)`` of noise about zero: not positive in sum, or by chance; dim beside the others as well."""
    count = np.maximum(good.sum(axis=1), 1)
    largest = np.abs(values).max(axis=1, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    relative = values / unit[:, None]
    mean = relative.sum(axis=1) / count
    scatter = unit * np.sqrt((((relative - mean[:, None]) ** 2) * good).sum(axis=1) / count)
    level = unit * mean
    lit = level[level > 0]
    dim = level < DIM * np.quantile(lit, 0.75) if lit.size else np.ones(len(level), dtype=bool)
    return np.asarray((level <= 0) | (dim & (level < BY_CHANCE * scatter / np.sqrt(count))))


def open_capture(path: str | Path) -> MonochromaticCapture:
    """Open a capture: a folder as published with IRCA, or our HDF5, told apart by content.

    Raises
    ------
    FormatError
        When there is nothing there, or it is neither.
    InputError
        When the contents are no valid capture, or intensity and flat field are exchanged.

    Examples
    --------
    >>> import numpy as np
    >>> from calibration import simulated_bench
    >>> instrument = simulated_bench.simulate_instrument(4, rng=np.random.default_rng(0), rows=2)
    >>> simulated_bench.capture(instrument, simulated_bench.lines(50), rng=np.random.default_rng(1)).save("capture.h5")
    >>> open_capture("capture.h5").intensity.shape
    (4, 50)
    """
    is_folder = isinstance(path, str | Path) and Path(path).is_dir()
    capture = MonochromaticCapture(**read_irca_folder(path)) if is_folder else MonochromaticCapture.load(path)
    capture.check_not_exchanged(("data", "norm") if is_folder else NAMES)
    return capture


def describe(path: Path) -> dict[str, Any] | None:
    """What ``hsi info`` says of a capture; None when the path is something else."""
    if not (is_irca_folder(path) if path.is_dir() else declared_format(path) == FORMAT):
        return None
    capture = open_capture(path)
    used = capture.intensity[capture.mask]
    return {
        "kind": "monochromatic capture",
        "name": capture.name,
        "n_interferometers": capture.n_interferometers,
        "n_lines": capture.n_lines,
        "band_nm": [round(value, 3) for value in capture.band_nm],
        "line_spacing_per_um": float(np.diff(capture.wavenumber).mean()),
        "opd_limit_um": capture.opd_limit_um,
        "opd_step_um": capture.opd_step_um,
        "linewidth_nm": None if capture.linewidth_nm is None else float(np.median(capture.linewidth_nm)),
        "intensity_range": [float(used.min()), float(used.max())] if used.size else None,
        "masked_samples": int((~capture.mask).sum()),
        "negative_samples": int((used < 0).sum()),
        "dark_interferometers": int(capture.dark.sum()),
        "grid": None if capture.layout is None else list(capture.layout.grid),
        "source": capture.made_from or capture.source,
    }
