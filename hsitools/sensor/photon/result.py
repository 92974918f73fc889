"""What dark and flat frames tell of a detector, and its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.io.own_file import declared_format, new_own, open_own
from hsitools.io.records import read_record, write_record
from hsitools.sensor.calibration import Calibration
from hsitools.sensor.detector import Detector
from hsitools.sensor.pattern import Defects, Stripes

Array = NDArray[np.float64]
#: What the file says it is. The version grows when an older release could not read it rightly.
FORMAT, VERSION = "hsitools-photon-transfer", 1
#: A pixel that responds less than this share of its neighbourhood, or more than its inverse, is a defect.
DEAD_RESPONSE = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotonTransfer:
    """What dark and flat frames tell of a detector.

    Attributes
    ----------
    gain, gain_stderr : float
        Electrons per digital number.
    read_noise, read_noise_stderr : float
        Electrons, quantisation removed.
    dark_level, dark_spread : float
        Mean of the dark frames and its standard deviation over pixels (DSNU), digital numbers; noise and what changes
        slowly over the detector removed.
    prnu : float
        Standard deviation over pixels of the relative response; noise and slow illumination removed.
    full_scale : float
        Digital number at which pixels clip, as found or, where none do, as declared; infinite when not known.
    signal, variance, variance_stderr : array, shape (point,)
        The photon-transfer curve, digital numbers.
    response : array, shape (y, x)
        Relative response of each pixel (PRNU map); 1 where undetermined, 0 where there is none.
    dark : array, shape (y, x)
    defects : array of bool, shape (y, x)
    undetermined : array of bool, shape (y, x)
        Pixels between or at the edges of sub-images, whose response no light tells. None in files of 0.1.0.
    step : float
        Step between stored values, digital numbers; 0 when they are not quantised. 0.1.0 took it for one.
    prnu_stderr, dark_spread_stderr : float or None
    dark_current, dark_current_stderr : float or None
        Electrons per second, from dark frames of several known exposures.
    dark_charge : float
        Electrons that the mean dark frame holds, where its exposures tell; 0 elsewhere.
    line_noise : float
        Electrons by which whole rows and columns move from frame to frame, beside the read noise.
    chi2, degrees_of_freedom : float, int
        Of the curve about its straight line.
    clipped_levels : tuple of int
        Levels with saturated pixels, counted from 0.
    notes : tuple of str
        What a user should know of these frames, a sentence each.
    """

    gain: float
    gain_stderr: float
    read_noise: float
    read_noise_stderr: float
    dark_level: float
    dark_spread: float
    prnu: float
    full_scale: float
    signal: Array
    variance: Array
    variance_stderr: Array
    response: Array
    dark: Array
    defects: NDArray[np.bool_]
    undetermined: NDArray[np.bool_] | None = None
    step: float = 1.0
    prnu_stderr: float | None = None
    dark_spread_stderr: float | None = None
    dark_current: float | None = None
    dark_current_stderr: float | None = None
    dark_charge: float = 0.0
    line_noise: float = 0.0
    chi2: float | None = None
    degrees_of_freedom: int | None = None
    clipped_levels: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def detector(self) -> Detector:
        """The detector for cubes in digital numbers with the dark level subtracted.

        A full scale that a converter's last code gives is the converter's; any other one is the well's.
        """
        zero = self.dark_level - self.dark_charge / self.gain
        finite, full_well, bits = np.isfinite(self.full_scale), float("inf"), 0
        counted = self.step > 0 and zero >= 0
        if finite and counted:
            codes = self.full_scale / self.step + 1
            # 4096 codes in steps of 16 are declared as 65535, which is less than a step above the last one
            bits = int(np.rint(np.log2(codes)))
            finite = abs(2**bits - codes) > 1
            if finite:
                bits = int(np.ceil(np.log2(codes)))
        if finite:
            full_well = float(self.gain * (self.full_scale - zero))
        return Detector(
            electrons_per_unit=self.gain, dark_electrons=self.dark_charge, read_noise=self.read_noise,
            full_well=full_well, bits=bits, electrons_per_dn=self.gain * self.step if self.step > 0 else None,
            bias=float(zero / self.step) if counted else None,
        )  # fmt: skip

    def pattern(self) -> tuple[Stripes, Defects]:
        """PRNU and defects as a pushbroom shows them, whose elements (band, column) are the pixels measured here."""
        dead = self.defects & (self.response < DEAD_RESPONSE)
        return (
            Stripes(gain=self.prnu, source="PRNU by photon transfer"),
            Defects(dead=float(dead.mean()), hot=float((self.defects & ~dead).mean())),
        )

    def calibration(self) -> Calibration:
        """Gain and offset of each element of a pushbroom, whose (band, column) are the pixels measured here.

        For cubes in digital numbers with `dark_level` subtracted, as `detector`. Gains are relative to a pixel's
        surroundings: what changes slowly over the detector cannot be told from the light that it was shown.
        """
        return Calibration(
            gain=self.response, offset=self.dark - self.dark_level, dead=self.defects, source="photon transfer"
        )  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """Headline numbers with their units in the names."""
        undetermined = None if self.undetermined is None else int(self.undetermined.sum())
        return {
            "kind": "photon transfer",
            "gain_electrons_per_dn": self.gain,
            "gain_stderr": self.gain_stderr,
            "read_noise_electrons": self.read_noise,
            "read_noise_stderr": self.read_noise_stderr,
            "line_noise_electrons": self.line_noise,
            "dark_level_dn": self.dark_level,
            "dark_spread_dn": self.dark_spread,
            "dark_current_electrons_per_s": self.dark_current,
            "dark_current_stderr": self.dark_current_stderr,
            "prnu_percent": 100 * self.prnu,
            "prnu_stderr_percent": None if self.prnu_stderr is None else 100 * self.prnu_stderr,
            "full_scale_dn": self.full_scale,
            "clipped_levels": list(self.clipped_levels),
            "step_dn": self.step,
            "chi2": self.chi2,
            "degrees_of_freedom": self.degrees_of_freedom,
            "defects": int(self.defects.sum()),
            "defects_percent": 100 * float(self.defects.mean()),
            "undetermined": undetermined,
            "frame_shape": list(self.dark.shape),
            "notes": list(self.notes),
        }

    def save(self, path: str | Path) -> None:
        """Write one HDF5 file, whole or not at all."""
        with new_own(path) as file:
            file.attrs.update(format=FORMAT, version=VERSION)
            write_record(file, self)

    @classmethod
    def load(cls, path: str | Path) -> PhotonTransfer:
        """Read what `save` wrote; raises `FormatError` for anything else."""
        with open_own(path, FORMAT, VERSION, "a detector's noise") as file:
            loaded: PhotonTransfer = read_record(file, {"PhotonTransfer": cls}, str(path))
            return loaded


def describe(path: Path) -> dict[str, Any] | None:
    """What ``hsi info`` says of the file; None when it is something else."""
    return PhotonTransfer.load(path).summary() if declared_format(path) == FORMAT else None
