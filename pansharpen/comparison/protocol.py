"""Where cases come from (Wald's protocol, full resolution, published case files) and how results are judged."""

from __future__ import annotations

import dataclasses
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube
from hsitools.metrics import Evaluation, evaluate, evaluate_fusion
from hsitools.sensor import Sensor
from hsitools.sensor.bands import known_bands, resample
from hsitools.sensor.simulate import as_reflectance
from hsitools.sensor.spatial import mean_of_known, mtf_decimate
from pansharpen.case import USUAL_MTF, FusionCase, Optics
from pansharpen.pair.alignment import paired, placement
from pansharpen.pair.from_sensor import averaged_noise, mean_level, noise_at, pan_weights, with_sensor

Array = NDArray[np.float64]
REDUCED = ("ERGAS", "SAM", "Q2n", "PSNR")
#: A band of less than this share of the median band's mean (water vapour) says nothing, and would rule ERGAS.
MIN_LEVEL = 0.01
FULL = ("D_lambda", "D_s", "D_pan", "HQNR", "ERGAS_est")


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What a published benchmark takes for granted, so that its numbers can be compared.

    Attributes
    ----------
    name : str
    mtf : float
        Gain at Nyquist of the kernels that its cases were really made with.
    whole_offset : bool
        Coarse pixels lie at fine pixel ratio // 2 instead of at the centre.
    own_interpolation : bool
        Take the interpolated cube that the case file brings.
    border : (int, int)
        Fine pixels left out of every index at the start and at the end of each axis; None: one coarse pixel.
    clip : (float, float) or None
        Range to which results are clipped first.
    """

    name: str
    mtf: float = USUAL_MTF
    whole_offset: bool = False
    own_interpolation: bool = False
    border: tuple[int, int] | None = None
    clip: tuple[float, float] | None = None


CONVENTIONS = {
    "hsitools": Convention(name="hsitools"),
    # its kernels declare 0.30 and have 0.2825: a Gaussian cut to 41 taps and shaped by a Kaiser window
    "toolbox": Convention(
        name="toolbox", mtf=0.2825, whole_offset=True, own_interpolation=True, border=(10, 11), clip=(0.0, 65536.0)
    ),
}


def convention(name: str) -> Convention:
    """The convention of that name, or an `InputError`."""
    if name not in CONVENTIONS:
        raise InputError(f"convention: found {name!r}, expected one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


# ---- case files ------------------------------------------------------------------------------------------------


def read_case(
    path: str | Path, rules: Convention = CONVENTIONS["hsitools"], sensor: Sensor | None = None
) -> FusionCase:
    """A case from an ``.npz`` archive: ``ms_lr``, ``pan``, ``ratio``; optionally ``gt`` and others.

    Parameters
    ----------
    path : path
        ``ms_lr`` (band, y, x) is the coarse cube, ``pan`` (1, ratio·y, ratio·x), ``gt`` the truth, ``ms`` the
        interpolated cube, ``wavelengths`` (band,) in nm, ``overlap`` how many first bands make up PAN.
    rules : Convention
    sensor : Sensor, optional
        Its MTF, PAN response and, where the archive says that its ``units`` are the sensor's, noise; it must have the
        bands of the case.

    Raises
    ------
    FormatError
        When the file is missing, is no such archive or lacks an array.
    InputError
        When shapes or values do not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: found no such file, expected a case (.npz)")
    try:
        with np.load(path, allow_pickle=False) as archive:
            given = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(f"{path}: expected a case (.npz); {' '.join(str(error).split())}") from None
    lacking = [name for name in ("ms_lr", "pan", "ratio") if name not in given]
    if lacking:
        raise FormatError(f"{path}: {lacking[0]}: missing, expected ms_lr, pan and ratio; found {', '.join(given)}")
    for name in ("ms_lr", "pan", "gt", "ms"):
        if name in given and (given[name].ndim != 3 or given[name].dtype.kind not in "uif"):
            raise InputError(
                f"{path}: {name}: found {given[name].dtype} of shape {given[name].shape}, expected numbers (band, y, x)"
            )
    if np.size(given["ratio"]) != 1 or np.asarray(given["ratio"]).dtype.kind not in "uif":
        raise InputError(f"{path}: ratio: found shape {np.shape(given['ratio'])}, expected one whole number")
    ratio: Any = float(np.ravel(given["ratio"])[0])
    n_bands = len(given["ms_lr"])
    wavelength = given.get("wavelengths")
    if wavelength is not None and np.shape(wavelength) != (n_bands,):
        raise InputError(f"{path}: wavelengths: found shape {np.shape(wavelength)}, expected ({n_bands},)")
    response = None
    if "overlap" in given:
        overlap = int(np.ravel(given["overlap"])[0])
        if not 0 < overlap <= n_bands:
            raise InputError(f"{path}: overlap: found {overlap}, expected 1 to {n_bands} bands")
        response = np.where(np.arange(n_bands) < overlap, 1 / overlap, 0.0)
    try:
        optics = Optics(
            ratio=ratio, mtf=rules.mtf, wavelength_nm=None if wavelength is None else wavelength.astype(float),
            pan_response=response, offset=float(ratio // 2) if rules.whole_offset else None,
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if sensor is not None:
        units = str(given.get("units", ""))
        cube = Cube(data=given["ms_lr"], units=units, pan=Cube(data=given["pan"], units=units), source=str(path))
        optics = with_sensor(optics, sensor, n_bands, str(path), cube)
    return FusionCase(
        coarse=_tensor(given["ms_lr"]), pan=_tensor(given["pan"]), optics=optics,
        reference=_tensor(given["gt"]) if "gt" in given else None,
        expanded=_tensor(given["ms"]) if "ms" in given and rules.own_interpolation else None, name=path.stem,
    )  # fmt: skip


def open_pair(
    path: str | Path, pan: str | Path | None = None, rules: Convention = CONVENTIONS["hsitools"],
    sensor: Sensor | None = None,
) -> tuple[Cube, Optics | None]:  # fmt: skip
    """A cube with its panchromatic image, from a product, two files, or a case (``.npz``, which also tells its optics,
    those of a sensor where one is given: see `read_case`).

    Raises
    ------
    FormatError, InputError
        When a file is missing or unknown, or there is no PAN.
    """
    path = Path(path)
    if _is_case(path):
        case = read_case(path, rules, sensor)
        image = Cube(data=case.pan[0].numpy(), name="panchromatic", source=f"{path}: pan")
        cube = Cube(
            data=case.coarse[0].numpy(), wavelength_nm=case.optics.wavelength_nm, pan=image, name=case.name,
            source=str(path),
        )  # fmt: skip
        return cube, case.optics
    cube = open_cube(path)
    return (cube if pan is None else cube.replace(pan=open_cube(pan))), None


def _is_case(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "ms_lr.npy" in archive.namelist()


def _tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values, dtype=np.float32))


# ---- simulated and real pairs ----------------------------------------------------------------------------------


def simulated_case(
    scene: Cube, sensor: Sensor, *, ratio: int | None = None, noise: bool = True, seed: int = 0,
    scale: float | None = None,
) -> FusionCase:  # fmt: skip
    """What the sensor makes of a scene whose pixels are taken as PAN's, with the scene in its bands as reference.

    Parameters
    ----------
    scene : Cube
        Its bad bands are not used; it is cut to whole coarse pixels.
    sensor : Sensor
        With PAN. Bands that the scene does not cover, or in which it is dark (`MIN_LEVEL`), are left out.
    ratio : int, optional
        Instead of the sensor's own; the gain at Nyquist stays.
    noise : bool
    seed : int
    scale : float, optional
        Turns the scene's numbers into the sensor's units, instead of what its file says.

    Raises
    ------
    InputError
        When the sensor has no PAN, or the scene's wavelengths reach neither its bands nor its PAN.
    """
    if sensor.pan is None:
        raise InputError(f"{sensor.name}: pan: missing, expected a sensor with a panchromatic response")
    sensor = sensor if ratio is None else sensor.replace(ratio=ratio, offset=None)
    scene = scene.drop_bad() if not scene.good.all() else scene
    seen = sensor.within(np.asarray(scene.wavelength_nm)[known_bands(scene)])
    notes: list[str] = []
    if scale is not None:
        scene = scene.rescaled(scale)
    elif sensor.units == "1":
        scene, notes = as_reflectance(scene)
    r = int(seen.ratio)
    height, width = (size // r * r for size in scene.shape[1:])
    if min(height, width) < 1:
        raise InputError(f"{scene.name}: found {scene.shape[1]}×{scene.shape[2]} pixels, expected at least {r}")
    scene = scene.select(window=(0, height, 0, width)).physical()
    truth = resample(scene, seen.response).read()
    level = np.abs(np.nanmean(truth, axis=(1, 2)))
    lit = np.flatnonzero(level > MIN_LEVEL * np.median(level))
    seen, truth = seen.select(lit), truth[lit]
    observed = seen.observe(scene, np.random.default_rng(seed), noise=noise)
    assert observed.pan is not None
    wavelength = seen.response.wavelength_nm
    told = {}
    if noise:
        told = noise_at(seen.noise, seen.pan_noise, mean_level(observed), mean_level(observed.pan))
    optics = Optics(
        ratio=r, offset=seen.offset, mtf=seen.mtf, wavelength_nm=wavelength, pan_mtf=seen.pan_mtf,
        pan_response=pan_weights(seen, wavelength), **told,
    )  # fmt: skip
    return FusionCase(
        coarse=_tensor(observed.data), pan=_tensor(observed.pan.data), optics=optics, reference=_tensor(truth),
        name=scene.name or "scene", notes=tuple(notes),
    )  # fmt: skip


def real_case(cube: Cube, sensor: Sensor | None = None, *, reduced: bool = False) -> FusionCase:
    """A cube with its panchromatic image, as it is (full resolution) or degraded once more after Wald.

    Parameters
    ----------
    cube : Cube
        With ``pan``; bad bands are not used.
    sensor : Sensor, optional
        Its MTF, PAN response and noise; default the usual gain, an unknown response and noise.
    reduced : bool
        Degrade both by their ratio, so that the cube itself is the reference.

    Raises
    ------
    InputError
        When there is no PAN, or sizes are no whole multiple of one another.
    """
    optics, cube = cube_optics(cube, sensor)
    assert cube.pan is not None
    coarse, pan = _tensor(cube.physical().read())[None], _tensor(cube.pan.physical().read())[None]
    case = FusionCase(coarse=coarse, pan=pan, optics=optics, name=cube.name or Path(cube.source).stem or "scene")
    return degraded(case) if reduced else case


def cube_optics(cube: Cube, sensor: Sensor | None) -> tuple[Optics, Cube]:
    """Optics of a cube with PAN, and the cube without its bad bands, cropped to what it shares with PAN.

    Nothing is read, unless the sensor's noise is to be told at the cube's levels. Maps, where both have one, say where
    the cube's pixels lie; else the sensor's offset does.
    """
    who = cube.source or cube.name
    if cube.pan is None:
        raise InputError(f"{who}: pan: missing, expected a panchromatic image beside the cube")
    cube = paired(cube if cube.good.all() else cube.drop_bad())
    assert cube.pan is not None
    ratio, _, shift = placement(cube)
    optics = Optics(ratio=ratio, wavelength_nm=cube.wavelength_nm, shift=shift)
    if sensor is not None:
        mapped = cube.transform is not None and cube.pan.transform is not None
        if not mapped and sensor.offset is not None:
            optics = dataclasses.replace(optics, offset=sensor.offset)
        optics = with_sensor(optics, sensor, cube.n_bands, who, cube)
    return optics, cube


def degraded(case: FusionCase) -> FusionCase:
    """Wald's protocol: cube and PAN through the MTF and decimated by the ratio; the cube becomes the reference."""
    optics = case.optics
    r = optics.ratio
    height, width = (size // r * r for size in case.coarse.shape[-2:])
    if min(height, width) < r:
        raise InputError(f"{case.name}: found {tuple(case.coarse.shape[-2:])} pixels, expected at least {r}×{r}")
    truth, pan = case.coarse[..., :height, :width], case.pan[..., : height * r, : width * r]
    cube_down = mtf_decimate((height, width), optics.mtf, r, optics.offset)
    pan_down = mtf_decimate((height * r, width * r), optics.mean_gains(), r, optics.offset, shift=optics.shift)
    return FusionCase(
        coarse=mean_of_known(cube_down, truth), pan=mean_of_known(pan_down, pan), reference=truth,
        optics=dataclasses.replace(optics, shift=(0.0, 0.0), **averaged_noise(optics)), name=f"{case.name}, reduced",
        notes=case.notes,
    )  # fmt: skip


# ---- judging ---------------------------------------------------------------------------------------------------


def judge(
    case: FusionCase, fused: torch.Tensor, rules: Convention = CONVENTIONS["hsitools"], metrics: Any = None
) -> dict[str, Evaluation]:
    """Indices of a fused cube: against the reference where there is one, else of consistency.

    ``fused`` is ``(1, band, y, x)``; ``metrics`` defaults to `REDUCED` or `FULL`.
    """
    if rules.clip is not None:
        fused = fused.clamp(*rules.clip)
    r = case.optics.ratio
    if case.reference is not None:
        start, stop = rules.border or (r, r)
        inner = (..., slice(start, case.pan.shape[-2] - stop), slice(start, case.pan.shape[-1] - stop))
        return evaluate(fused[inner][0], case.reference[inner][0], ratio=r, metrics=metrics or REDUCED)
    mtf = case.optics.mtf
    return evaluate_fusion(
        fused[0], case.coarse[0], case.pan[0], ratio=r, mtf=mtf, pan_mtf=case.optics.mean_mtf(),
        offset=case.optics.offset, border=r, registered=True, pan_own_mtf=case.optics.pan_mtf,
        noise_variance=case.optics.noise_variance, metrics=metrics or FULL,
    )  # fmt: skip
