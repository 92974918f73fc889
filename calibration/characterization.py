"""The result of a calibration: parameters of every interferometer, how sure they are, and what to be wary of."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.opd_law import OpdLaw
from calibration.fitting.options import SHARED, label
from calibration.transmittance_errors import LineErrors, transmittance_stderr
from hsitools.errors import InputError
from hsitools.io.atomic import atomic_path
from hsitools.io.outputs import check_suffix
from hsitools.io.own_file import declared_format, new_own, open_own
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.spectral import FabryPerotResponse
from hsitools.sensor.transmittance import TransmittanceModel

if TYPE_CHECKING:
    from hsitools.sensor.sensor import Sensor

Array = NDArray[np.float64]
#: What the file says it is.
FORMAT, VERSION = "hsitools-characterization", 1

#: Flags in words, for reports; in the order in which they are listed.
FLAG_MEANING = {
    "dark": "no positive signal: not fitted",
    "few_samples": "fewer usable samples than parameters: not fitted",
    "saturated": "some samples reach the detector's full scale (left out of the fit)",
    "low_contrast": "fringes no stronger than what noise alone would give",
    "not_converged": "the refinement stopped before its tolerance",
    "off_law": "OPD off the median of its nine neighbours by more than one fringe over the band",
    "unidentified": "OPD uncertain by more than half a fringe over the band (95 %)",
    "wild": "more than a fifth of the samples far off the fit: the fit is wrong, or they are; all were kept",
    "poor_fit": "residuals of more than three times the usual interferometer's, relative to the intensity; "
    "of peaks narrower than the lines resolve, of more than twice the best quarter's",
    "undersampled": "OPD may be the alias of another: beyond what the lines sample, or turns over a gap not told",
}
#: Flags of rows that no headline is a mean over.
WITHOUT_FRINGES = ("dark", "low_contrast")
#: Columns of the table and data sets of the file, with their units.
UNITS = {
    "opd_um": "um", "opd_stderr_um": "um", "phase_rad": "rad", "phase_stderr_rad": "rad", "fringes": "1",
    "reflectivity": "1", "reflectivity_stderr": "1", "gain": "1", "gain_stderr": "1", "finesse": "1", "contrast": "1",
    "rmse": "fraction of the mean intensity", "r2": "1", "rmse_cv": "fraction of the mean intensity",
}  # fmt: skip
#: Numbers of the OPD law that the file holds.
LAW = ("offset_um", "step_um", "offset_stderr_um", "step_stderr_um", "scatter_um")


@dataclass(frozen=True, kw_only=True)
class Characterization:
    """Characterized interferometers.

    Arrays are ``(interferometer,)``; an interferometer that could not be fitted holds NaN and carries the flag that
    says why (`FLAG_MEANING`). Standard errors are of the posterior.

    Attributes
    ----------
    name, source : str
    response : FabryPerotResponse
        Model, coefficients and flat field: what the sensor model needs.
    covariance : array, shape (interferometer, parameter, parameter)
        At the fringe that was taken; `covariance_with_aliases` allows for another.
    index : array of int
        Place in the device's order.
    opd_um, opd_stderr_um : array
        Optical path difference (mean slope of the phase over the band) and its standard error, µm.
    phase_rad, phase_stderr_rad : array
        Constant term of the phase, rad.
    reflectivity, reflectivity_stderr, gain, gain_stderr : array
        Band means; the gain is relative to the flat field.
    finesse, contrast : array
        Derived from the reflectivity, band means.
    fringes : array
        Fringes in the band: OPD × band width.
    rmse, r2 : array
        Root mean square residual over the mean intensity, and share of variance explained, in sample.
    rmse_cv : array or None
        The same RMSE on held-out lines.
    flags : dict of str to array of bool
    law : OpdLaw
    layout : SubImageLayout or None
    lines : LineErrors or None
        Noise, shared shift and doubt about the model at each line; None in files of 0.1.
    selection : list of dict
        Models tried by ``--model auto``.
    settings : dict
        How it was fitted.
    seconds : float

    Examples
    --------
    >>> import numpy as np
    >>> from calibration import characterize, simulated_bench
    >>> from hsitools.sensor.transmittance import TransmittanceModel
    >>> rng = np.random.default_rng(0)
    >>> instrument = simulated_bench.simulate_instrument(12, rng=rng, rows=4)
    >>> capture = simulated_bench.capture(instrument, simulated_bench.lines(121), rng=rng, noise=0.02)
    >>> characterize(capture, TransmittanceModel()).save("characterization.h5")
    >>> result = Characterization.load("characterization.h5")
    >>> result.opd_um.shape, result.sensor().response.n_bands
    ((12,), 12)
    """

    name: str
    source: str
    response: FabryPerotResponse
    covariance: Array
    index: NDArray[np.int64]
    opd_um: Array
    opd_stderr_um: Array
    phase_rad: Array
    phase_stderr_rad: Array
    reflectivity: Array
    reflectivity_stderr: Array
    gain: Array
    gain_stderr: Array
    finesse: Array
    contrast: Array
    fringes: Array
    rmse: Array
    r2: Array
    rmse_cv: Array | None
    flags: dict[str, NDArray[np.bool_]]
    law: OpdLaw
    layout: SubImageLayout | None = None
    lines: LineErrors | None = None
    selection: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def model(self) -> TransmittanceModel:
        """Which transmittance model was fitted."""
        return self.response.model

    @property
    def label(self) -> str:
        """The model in one line, what all rows share included."""
        return label(self.model, **{name: bool(self.settings.get(name)) for name in SHARED})

    @property
    def wavenumber(self) -> Array:
        """Calibrated lines, µm⁻¹."""
        return self.response.wavenumber

    @property
    def flagged(self) -> NDArray[np.bool_]:
        """Interferometers with any flag."""
        return np.any(list(self.flags.values()), axis=0)

    @property
    def covariance_with_aliases(self) -> Array:
        """The covariance as wide as `opd_stderr_um`, which holds how far off the OPD's alias is where `undersampled`.

        The OPD's rows and columns are scaled, so that correlations stay. The transmittance and the inversion go by
        `covariance`: at the lines a fringe and its alias are one, and derivatives do not reach from one to the other.
        """
        covariance, slope = self.covariance.copy(), self.model.opd_column
        own = np.sqrt(covariance[:, slope, slope]) * self.response.band.opd_per_radian
        wider = np.ones(len(own))
        np.divide(self.opd_stderr_um, own, out=wider, where=self.flags["undersampled"] & (own > 0))
        covariance[:, slope, :] *= wider[:, None]
        covariance[:, :, slope] *= wider[:, None]
        return covariance

    def transmittance(self, wavelength_nm: Array) -> Array:
        """Transmittance relative to the flat field, ``(interferometer, wavelength)``; errors outside the band."""
        return self.response.transmittance(wavelength_nm)

    def transmittance_stderr(self, wavelength_nm: Array) -> Array:
        """Its standard error, ``(interferometer, wavelength)``: the parameters' covariance and the spread of models.

        Of files written before there was a spread, the covariance alone.
        """
        spread = None if self.lines is None else self.lines.model_spread
        return transmittance_stderr(self.response, self.covariance, wavelength_nm, spread)

    def measurement_stderr(self, wavelength_nm: Array) -> Array:
        """Standard error of one measured line's intensity over its flat field, ``(interferometer, wavelength)``.

        The transmittance's own and the noise of a measurement like those of the calibration; infinite where the flat
        field is zero.

        Raises
        ------
        InputError
            When a wavelength lies outside the calibrated band, or the file was written before noise was kept.
        """
        if self.lines is None:
            raise InputError(
                f"{self.name}: lines: found no noise in this characterization, expected one written by 0.2"
            )
        wavenumber = 1000 / np.atleast_1d(np.asarray(wavelength_nm, dtype=float))
        flat = np.stack([np.interp(wavenumber, self.wavenumber, row) for row in self.response.flat])
        with np.errstate(divide="ignore"):
            noise = self.lines.noise(wavenumber, self.wavenumber) / flat
        return np.asarray(np.hypot(self.transmittance_stderr(wavelength_nm), noise))

    def transmittance_band(
        self, wavelength_nm: Array, *, coverage: float = 0.95, measured: bool = False
    ) -> tuple[Array, Array]:
        """Lower and upper edge of the transmittance's band, ``(interferometer, wavelength)`` each.

        Parameters
        ----------
        wavelength_nm : array, shape (wavelength,)
            True wavelengths; of lines as the monochromator calls them, `true_wavelength_nm`.
        coverage : float
            Share of the values that the band is to hold, 0 to 1.
        measured : bool
            The band of measured intensity over flat field, noise included, instead of the transmittance's own.

        Raises
        ------
        InputError
            When the coverage is no share, or as `transmittance_stderr` and `measurement_stderr`.
        """
        if not 0 < coverage < 1:
            raise InputError(f"coverage: found {coverage!r}, expected between 0 and 1")
        middle = self.transmittance(wavelength_nm)
        stderr = (self.measurement_stderr if measured else self.transmittance_stderr)(wavelength_nm)
        half = NormalDist().inv_cdf(0.5 + 0.5 * coverage) * stderr
        return middle - half, middle + half

    def true_wavelength_nm(self, nominal_nm: Array) -> Array:
        """Wavelengths (nm) of lines that the monochromator calls ``nominal_nm``, kept inside the calibrated band."""
        wavenumber = 1000 / np.atleast_1d(np.asarray(nominal_nm, dtype=float))
        if self.lines is not None:
            wavenumber = wavenumber + np.interp(wavenumber, self.wavenumber, self.lines.shift)
        return 1000 / np.clip(wavenumber, self.response.band.low, self.response.band.high)

    def reflectivity_curve(self, wavelength_nm: Array) -> Array:
        """Reflectivity ``(interferometer, wavelength)``."""
        return self.response.sampled(wavelength_nm).reflectivity(self.response.theta)

    def gain_curve(self, wavelength_nm: Array) -> Array:
        """Gain relative to the flat field ``(interferometer, wavelength)``, the shared correction left out."""
        sampled = self.response.sampled(wavelength_nm)
        return self.response.gain_scale[:, None] * sampled.series(self.response.theta, "gain")

    def phase_curve(self, wavelength_nm: Array) -> Array:
        """Phase ``(interferometer, wavelength)``, rad: ``2π·σ·OPD − φ(σ)``, unwrapped, dispersion included."""
        sampled = self.response.sampled(wavelength_nm)
        linear = 2 * np.pi * sampled.wavenumber * self.opd_um[:, None]
        constant = self.response.theta[:, self.model.slices["phase"].start]
        # whole turns, which make the constant that of `phase_rad`
        turns = self.phase_rad - (2 * np.pi * self.response.band.centre * self.opd_um - constant)
        return linear - sampled.series(self.response.theta, "phase") + turns[:, None]

    def sensor(self) -> Sensor:
        """The sensor that these interferometers make, with their layout; what it does to one spectrum: `response`."""
        from hsitools.sensor.presets import fabry_perot_sensor

        return fabry_perot_sensor(
            self.response, self.layout, name=self.name or "instrument", source=f"characterization of {self.source}"
        )

    def summary(self) -> dict[str, Any]:
        """Headline numbers and the OPDs, as plain data (the document of ``hsi calibrate --json``)."""
        fitted = np.isfinite(self.rmse)
        listed = [None if not np.isfinite(v) else float(v) for v in self.opd_um]
        errors = [None if not np.isfinite(v) else float(v) for v in self.opd_stderr_um]
        # what shows no fringes says nothing of how well fringes are fitted
        shown = fitted.copy()
        for name in WITHOUT_FRINGES:
            # files of before hold fewer flags
            shown &= ~self.flags.get(name, ~fitted)
        shown = shown if shown.any() else fitted
        rows, held = self.rmse[shown], None if self.rmse_cv is None else self.rmse_cv[shown]
        return {
            "name": self.name,
            "source": self.source,
            "model": self.model.name,
            "model_label": self.label,
            "degree": self.model.degree_reflectivity,
            "degrees": {
                "gain": self.model.degree_gain,
                "reflectivity": self.model.degree_reflectivity,
                "phase": self.model.degree_phase,
            },
            "etalons_um": list(self.model.etalons_um),
            "rmse_mean": float(rows.mean()),
            "rmse_median": float(np.median(rows)),
            "rmse_p90": float(np.percentile(rows, 90)),
            "rmse_cv_mean": None if held is None else float(np.nanmean(held)),
            "rmse_cv_median": None if held is None else float(np.nanmedian(held)),
            "r2_median": float(np.median(self.r2[shown])),
            "seconds": self.seconds,
            "n_interferometers": len(self.opd_um),
            "n_lines": len(self.wavenumber),
            "n_flagged": int(self.flagged.sum()),
            "flags": {name: [int(i) for i in self.index[rows_]] for name, rows_ in self.flags.items() if rows_.any()},
            "opd_law": {
                "text": self.law.text,
                **{name: getattr(self.law, name) for name in LAW},
                "nominal_step_um": self.law.nominal_step_um,
                "outliers": [int(i) for i in self.index[self.law.outliers]],
            },
            "opd_um": listed,
            "opd_stderr_um": errors,
            "settings": self.settings,
            "selection": self.selection,
        }

    def to_csv(self, path: str | Path) -> None:
        """Write one row per interferometer; columns carry their unit in the name."""
        check_suffix(path, "table")
        columns = [name for name in UNITS if getattr(self, name) is not None]
        with atomic_path(Path(path)) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["index", *columns, "flags"])
            for row, index in enumerate(self.index):
                values = [getattr(self, name)[row] for name in columns]
                names = [name for name, rows in self.flags.items() if rows[row]]
                cells = [f"{value:.8g}" if np.isfinite(value) else "" for value in values]
                writer.writerow([int(index), *cells, " ".join(names)])

    def save(self, path: str | Path) -> None:
        """Write to HDF5, self-describing, every data set with its unit."""
        with new_own(path) as file:
            file.attrs.update(
                format=FORMAT, version=VERSION, name=self.name, source=self.source, seconds=self.seconds,
                selection=json.dumps(self.selection), settings=json.dumps(self.settings),
                layout=json.dumps(self.layout.to_dict()) if self.layout is not None else "",
            )  # fmt: skip
            self.response.write(file.create_group("response"))
            if self.lines is not None:
                self.lines.write(file.create_group("lines"))
            file.create_dataset("index", data=self.index)
            file.create_dataset("covariance", data=self.covariance, compression="gzip", shuffle=True)
            file["covariance"].attrs["units"] = "product of the units of response/theta"
            for name, unit in UNITS.items():
                value = getattr(self, name)
                if value is not None:
                    file.create_dataset(name, data=value).attrs["units"] = unit
            flags = file.create_group("flags")
            for name, rows in self.flags.items():
                flags.create_dataset(name, data=rows).attrs["meaning"] = FLAG_MEANING[name]
            law = file.create_group("opd_law")
            for name in LAW:
                law.attrs[name] = getattr(self.law, name)
            if self.law.nominal_step_um is not None:
                law.attrs["nominal_step_um"] = self.law.nominal_step_um
            law.create_dataset("outliers", data=self.law.outliers)

    @classmethod
    def load(cls, path: str | Path) -> Characterization:
        """Read what `save` wrote.

        Raises
        ------
        FormatError
            When the file is missing, is no characterization, or lacks a member.
        """
        with open_own(path, FORMAT, VERSION, "a characterization") as file:
            columns = {name: file[name][()] for name in UNITS if name != "rmse_cv"}
            law, layout = file["opd_law"].attrs, file.attrs["layout"]
            return cls(
                name=file.attrs["name"],
                source=file.attrs["source"],
                response=FabryPerotResponse.read(file["response"]),
                lines=LineErrors.read(file["lines"]) if "lines" in file else None,
                covariance=file["covariance"][()],
                index=file["index"][()],
                **columns,
                rmse_cv=file["rmse_cv"][()] if "rmse_cv" in file else None,
                flags={name: data[()].astype(bool) for name, data in file["flags"].items()},
                law=OpdLaw(
                    **{name: float(law[name]) for name in LAW},
                    nominal_step_um=float(law["nominal_step_um"]) if "nominal_step_um" in law else None,
                    outliers=file["opd_law/outliers"][()].astype(bool),
                ),
                layout=SubImageLayout.from_dict(json.loads(layout)) if layout else None,
                selection=json.loads(file.attrs["selection"]),
                settings=json.loads(file.attrs["settings"]),
                seconds=float(file.attrs["seconds"]),
            )


def describe(path: Path) -> dict[str, Any] | None:
    """What ``hsi info`` says of a characterization file; None when the file is something else."""
    if declared_format(path) != FORMAT:
        return None
    summary = Characterization.load(path).summary()
    for name in ("opd_um", "opd_stderr_um", "selection", "settings"):
        summary.pop(name)
    return {"kind": "characterization", **summary}
