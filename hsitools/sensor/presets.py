"""Sensors by name: what is published of an instrument, where it stands, and what had to be assumed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import FormatError, InputError, require_type
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.lookup import lookup
from hsitools.sensor.bands import GaussianResponse, TableResponse, box_response
from hsitools.sensor.detector import Detector, electrons_for_snr
from hsitools.sensor.distortion import Distortion
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.multispectral import BAND_TABLES
from hsitools.sensor.pattern import Defects, Stripes
from hsitools.sensor.sensor import Sensor
from hsitools.sensor.spectral import FabryPerotResponse

Array = NDArray[np.float64]

#: Solar irradiance at the top of the atmosphere as a black body: temperature (K), Sun's radius over distance.
SUN_KELVIN, SUN_RATIO = 5772.0, 4.654e-3
#: h (J s), c (m/s), k (J/K), e (C): exact in the SI since 2019.
PLANCK, LIGHT, BOLTZMANN, CHARGE = 6.62607015e-34, 2.99792458e8, 1.380649e-23, 1.602176634e-19


def _snr_noise(
    wavelength: Array, points: dict[float, float], level: float, read: float, bits: int, ceiling: float
) -> Detector:
    """Detector whose SNR at ``level`` goes through published points; it clips at the value ``ceiling``."""
    snr = np.interp(wavelength, list(points), list(points.values()))
    # the converter's steps are noise too, and their size follows from the brightest band
    step = 0.0
    for _ in range(20):
        electrons = electrons_for_snr(snr, level, np.sqrt(read**2 + step**2 / 12))
        step = float(ceiling * electrons.max()) / 2**bits
    # one well and one converter for all bands: the brightest band fills it at the ceiling
    return Detector(
        electrons_per_unit=electrons, read_noise=np.full(len(wavelength), read), bits=bits,
        full_well=float(ceiling * electrons.max()),
    )  # fmt: skip


def prisma() -> Sensor:
    """PRISMA: 234 bands 400 to 2505 nm and PAN, ratio 6."""
    vnir = np.linspace(402, 973, 63)
    swir = np.linspace(977, 2497, 171)
    wavelength = np.concatenate([vnir, swir])
    noise = _snr_noise(
        wavelength, {400: 200, 650: 600, 1000: 200, 1550: 400, 1750: 200, 1950: 100, 2100: 200, 2350: 100, 2505: 60},
        0.3, 100.0, 12, 1.2,
    )  # fmt: skip
    return Sensor(
        name="PRISMA", units="1", ratio=6,
        response=GaussianResponse(centre_nm=wavelength, width_nm=np.full(len(wavelength), 11.5)),
        mtf=np.full(len(wavelength), 0.30), noise=noise,
        pan=box_response(400, 700), pan_mtf=0.2,
        pan_noise=Detector(
            electrons_per_unit=electrons_for_snr(np.array(240.0), 0.3, 100.0), read_noise=100.0, bits=12,
            full_well=float(1.2 * electrons_for_snr(np.array(240.0), 0.3, 100.0)),
        ),
        source="ASI, PRISMA products specification; S. Cogliati et al., Remote Sens. Environ. 262, 112499, 2021; "
        "MTF .30 as in M. Ciotola et al., arXiv 2407.01355",
        assumptions=(
            "bands evenly spaced: a product's own wavelengths are in its file",
            "SNR of the specification reached at reflectance 0.3, read noise 100 electrons",
            "PAN response flat from 400 to 700 nm, MTF at its Nyquist frequency .20",
        ),
    )  # fmt: skip


def enmap() -> Sensor:
    """EnMAP: 224 bands 418 to 2446 nm, 30 m."""
    vnir, swir = np.linspace(418.2, 993.3, 91), np.linspace(1000.0, 2445.5, 133)
    wavelength = np.concatenate([vnir, swir])
    width = np.concatenate([np.interp(vnir, [418, 993], [6.5, 9.0]), np.interp(swir, [1000, 2446], [11.5, 8.0])])
    mtf = np.broadcast_to([0.16, 0.25], (len(wavelength), 2)).copy()
    snr: dict[float, float] = {420: 400.0, 495: 500.0, 1000: 300.0, 1600: 250.0, 2200: 150.0, 2446: 80.0}
    return Sensor(
        name="EnMAP", units="1", ratio=1, response=GaussianResponse(centre_nm=wavelength, width_nm=width), mtf=mtf,
        noise=_snr_noise(wavelength, snr, 0.3, 150.0, 14, 1.5),
        distortion=Distortion(smile_bands=0.2, keystone_pixels=0.2),
        source="EnMAP HSI instrument specification (DLR): MTF at 60 m .16 along and .25 across track, SNR 500 at 495 "
        "nm and 150 at 2200 nm for albedo 0.3, 14 bits, smile and keystone below 0.2 pixels; L. Guanter et al., Remote "
        "Sens. 7(7), 2015",
        assumptions=(
            "bands evenly spaced in each detector, widths 6.5 to 11.5 nm",
            "SNR between the two stated wavelengths interpolated, read noise 150 electrons",
            "the sensor is shown scenes of its own pixel size (30 m)",
        ),
    )  # fmt: skip


def hyperion_ali() -> Sensor:
    """Hyperion (198 calibrated bands, 427 to 2395 nm) with ALI's panchromatic image, ratio 3."""
    vnir, swir = np.linspace(427, 925, 50), np.linspace(933, 2395, 148)
    wavelength = np.concatenate([vnir, swir])
    return Sensor(
        name="Hyperion+ALI", units="1", ratio=3,
        response=GaussianResponse(centre_nm=wavelength, width_nm=np.full(len(wavelength), 10.8)),
        mtf=np.full(len(wavelength), 0.25),
        noise=_snr_noise(wavelength, {427: 140, 550: 190, 700: 140, 925: 90, 1225: 110, 1650: 90, 2125: 40, 2395: 25},
                         0.3, 60.0, 12, 1.2),
        stripes=Stripes(gain=0.01, offset=0.001, source="assumed"),
        pan=box_response(480, 690), pan_mtf=0.15,
        pan_noise=Detector(
            electrons_per_unit=electrons_for_snr(np.array(220.0), 0.3, 60.0), read_noise=60.0, bits=12,
            full_well=float(1.2 * electrons_for_snr(np.array(220.0), 0.3, 60.0)),
        ),
        source="P. Barry, EO-1/Hyperion Science Data User's Guide, TRW, 2001; J. S. Pearlman et al., IEEE TGRS 41(6), "
        "2003; D. Lencioni et al. (ALI), SPIE 3750, 1999",
        assumptions=(
            "bands evenly spaced in each detector",
            "SNR of the guide's model reached at reflectance 0.3, read noise 60 electrons",
            "MTF .25 for all bands, PAN .15; stripes of 1 % in gain",
        ),
    )  # fmt: skip


def finch() -> Sensor:
    """FINCH: SWIR grating spectrometer on a cubesat, 513 bands 900 to 1700 nm."""
    wavelength = np.arange(900, 1700.0, 1.56)
    quantum = np.interp(wavelength, [901, 950, 1100, 1350, 1500, 1600, 1650, 1699],
                        [0.03, 0.80, 0.84, 0.84, 0.79, 0.75, 0.69, 0.50])  # fmt: skip
    grating = np.interp(wavelength, [901, 1650], [0.05, 0.84])
    pixel, focal, aperture, seconds, well, bits = 15e-6, 0.2, 0.033, 0.1667, 19_000.0, 14
    metres = wavelength * 1e-9
    planck = 2 * PLANCK * LIGHT**2 / metres**5 / np.expm1(PLANCK * LIGHT / (metres * BOLTZMANN * SUN_KELVIN))
    # irradiance π·B·(R/d)², reflected by a white Lambertian scene into radiance E/π
    radiance = planck * SUN_RATIO**2
    etendue = pixel**2 * np.pi / 4 * (aperture / focal) ** 2
    photons = radiance * etendue * 1.56e-9 * seconds * metres / (PLANCK * LIGHT)
    electrons = photons * quantum * grating
    # the published well holds far less than this light: some stop or transmission is not published
    electrons = electrons * 0.95 * well / electrons.max()
    dark = 10e-9 * 1e4 * pixel**2 * seconds / CHARGE
    return Sensor(
        name="FINCH", units="1", ratio=1,
        response=GaussianResponse(centre_nm=wavelength, width_nm=np.full(len(wavelength), 1.56)),
        mtf=np.full(len(wavelength), 0.25),
        noise=Detector(
            electrons_per_unit=electrons, dark_electrons=dark, read_noise=500.0, full_well=well + dark,
            bits=bits,
        ),
        stripes=Stripes(gain=0.05, columns=0.4, source="error budget: striping 5 %, flat field 5 %"),
        defects=Defects(dead=0.01, hot=0.01),
        distortion=Distortion(smile_bands=0.01 * len(wavelength) / 100, keystone_pixels=0.01 * 6.4),
        source="University of Toronto Aerospace Team, public parameters of FINCH (I. Vyse et al., arXiv 2406.10724)",
        assumptions=(
            "shape of the signal: Sun as a black body of 5772 K, no atmosphere, no loss but in detector and grating",
            "level of the signal: a white scene fills 95 % of the full well in the brightest band",
            "the well is stated for the signal: the published dark current alone (23 400 electrons) would fill it",
            "width of a band is its spacing; MTF .25",
            "2 % bad pixels half dead, half hot; smile and keystone of 1 % taken of a hundred bands and of 640 pixels",
        ),
    )  # fmt: skip


def imspoc_uv_2(characterization: str | Path | None = None) -> Sensor:
    """ImSPOC-UV-2 as characterized: pass the file that ``hsi calibrate`` wrote."""
    if characterization is None:
        raise InputError("imspoc-uv-2: characterization: missing, expected the file that hsi calibrate wrote")
    sensor = from_characterization(characterization)
    return sensor.replace(
        name="ImSPOC-UV-2",
        source=f"{sensor.source}; captures: D. Picone et al., Optics Express 31(14), 23066, 2023",
    )


def from_characterization(path: str | Path) -> Sensor:
    """A sensor from a characterized Fabry-Perot instrument (its response and its layout of sub-images).

    Raises
    ------
    FormatError
        When the file is missing or is no characterization.
    """
    import json

    try:
        with open_hdf5(Path(path)) as file:
            if file.attrs.get("format") != "hsitools-characterization" or "response" not in file:
                raise FormatError(
                    f"{path}: format: found {file.attrs.get('format')!r}, expected 'hsitools-characterization'"
                )
            response = FabryPerotResponse.read(file["response"])
            layout = file.attrs.get("layout")
            name = str(file.attrs.get("name", Path(path).stem))
    except FileNotFoundError:
        raise FormatError(f"{path}: found no such file, expected a characterization") from None
    except KeyError as error:
        raise FormatError(f"{path}: expected a characterization; {error.args[0]}") from None
    except OSError as error:
        raise FormatError(f"{path}: expected a characterization (HDF5); {' '.join(str(error).split())}") from None
    return fabry_perot_sensor(
        response, SubImageLayout.from_dict(json.loads(layout), f"{path}: layout") if layout else None, name=name,
        source=f"characterization {Path(path).name}",
    )  # fmt: skip


def fabry_perot_sensor(
    response: FabryPerotResponse, layout: SubImageLayout | None = None, *, name: str, source: str
) -> Sensor:
    """A sensor of characterized interferometers; those that could not be fitted see nothing, and that is said.

    Raises
    ------
    InputError
        When none could be fitted.
    """
    lost = np.flatnonzero(~np.isfinite(response.theta).all(axis=1) | ~np.isfinite(response.gain_scale))
    if len(lost) == response.n_bands:
        raise InputError(f"{name}: theta: found no interferometer that could be fitted, expected some")
    assumptions = ["no spatial blur, no noise: not characterized"]
    if lost.size:
        theta, gain = response.theta.copy(), response.gain_scale.copy()
        theta[lost], gain[lost] = 0.0, 0.0
        response = dataclasses.replace(response, theta=theta, gain_scale=gain)
        assumptions.append("interferometers that could not be fitted see nothing: " + ", ".join(map(str, lost)))
    return Sensor(
        response=response, layout=layout, name=name, source=source, units="intensity of the capture",
        assumptions=tuple(assumptions),
    )  # fmt: skip


def from_table(path: str | Path) -> Sensor:
    """A sensor from measured response curves.

    Parameters
    ----------
    path : path
        CSV whose first column is the wavelength (nm, or in the unit that its heading names), one further column a band,
        with or without a heading; or HDF5 with ``wavelength_nm`` (sample,) and ``response`` (band, sample).

    Raises
    ------
    FormatError
        When the file is missing or no such table.
    """
    from hsitools.io.labels import is_hdf5, text
    from hsitools.io.tables import read_table, wavelengths

    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: found no such file, expected a table of responses")
    if is_hdf5(path):
        try:
            with open_hdf5(path) as file:
                for name in ("wavelength_nm", "response"):
                    if name not in file:
                        raise FormatError(
                            f"{path}: {name}: missing, expected wavelength_nm and response (band, sample)"
                        )
                unit = text(file["wavelength_nm"].attrs.get("units", "nm"))
                table = wavelengths(file["wavelength_nm"][()], unit, f"{path}: table")
                response = np.asarray(file["response"][()])
        except OSError as error:
            raise FormatError(f"{path}: expected a table of responses; {' '.join(str(error).split())}") from None
    else:
        columns = read_table(path, "table")
        table, response = columns.wavelength_nm, columns.values.T
    if (np.diff(table) < 0).all() and response.ndim == 2:
        table, response = table[::-1], response[:, ::-1]
    try:
        curves = TableResponse(table_nm=table, response=response)
    except InputError as error:
        raise FormatError(f"{path}: {error}") from None
    return Sensor(
        response=curves, name=path.stem, units="", source=f"measured responses {path.name}",
        assumptions=("no spatial blur, no noise: not in the table",),
    )  # fmt: skip


PRESETS: dict[str, Callable[..., Sensor]] = {
    "prisma": prisma, "enmap": enmap, "hyperion-ali": hyperion_ali, "finch": finch, "imspoc-uv-2": imspoc_uv_2,
    **{name: table.sensor for name, table in BAND_TABLES.items()},
}  # fmt: skip


def preset(name: str, **settings: Any) -> Sensor:
    """A sensor by name; raises `InputError` with the nearest name when there is none.

    Examples
    --------
    >>> sensor = preset("enmap")
    >>> sensor.name, sensor.response.n_bands
    ('EnMAP', 224)
    """
    require_type(name, str, "preset", "a name")
    key = name.lower().replace("_", "-").replace("+", "-")
    return lookup(key, PRESETS, "preset")(**settings)


def open_sensor(text: str | Path) -> Sensor:
    """The sensor in a file, or the preset of that name.

    Raises
    ------
    FormatError
        When neither is there.

    Examples
    --------
    >>> open_sensor("prisma").name
    'PRISMA'
    """
    path = Path(text)
    # a folder of results may bear a preset's name
    if path.is_file() or path.suffix or (path.is_dir() and str(text).lower() not in PRESETS):
        return Sensor.load(path)
    lookup(str(text), PRESETS, "sensor: found no such file; preset")
    return preset(str(text))
