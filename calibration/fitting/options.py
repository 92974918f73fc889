"""How to fit a capture, and a model with what all rows share in one line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hsitools.errors import InputError
from hsitools.sensor.transmittance import TransmittanceModel


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to fit; what to fit is the `TransmittanceModel`.

    Parameters
    ----------
    prior : bool
        Population prior (see `population`); False fits each row by itself, as the published method does.
    loss : str
        ``"linear"`` or ``"huber"``.
    shared_curve : bool
        One smooth gain-correction curve common to all rows (a drift of the lamp's reference, for example).
    shared_shift : bool
        One smooth error of the wavelength scale common to all rows (the monochromator's).
    estimate_linewidth : bool
        Estimate the width of the monochromator's line instead of taking the capture's.
    start : str
        ``"periodogram"`` or ``"exhaustive"``.
    engine : str
        ``"batched"`` or ``"lmfit"`` (one `lmfit.Model` fit per row; slow, for checking and for confidence intervals).
    set_aside : bool
        Leave wild samples out of fits by linear loss (`calibration.fitting.wild_samples`); False fits what there is.
    """

    prior: bool = True
    loss: str = "linear"
    shared_curve: bool = False
    shared_shift: bool = False
    estimate_linewidth: bool = False
    start: str = "periodogram"
    engine: str = "batched"
    set_aside: bool = True

    def __post_init__(self) -> None:
        for field, choices in (
            ("loss", ("linear", "huber")),
            ("start", ("periodogram", "exhaustive")),
            ("engine", ("batched", "lmfit")),
        ):
            if getattr(self, field) not in choices:
                raise InputError(f"{field}: found {getattr(self, field)!r}, expected one of {', '.join(choices)}")
        if self.engine == "lmfit" and self.loss != "linear":
            raise InputError(
                f"loss: found {self.loss!r} with engine 'lmfit', expected 'linear' (its fits are least squares)"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


#: What all rows may share, as tables name it.
SHARED = {"shared_curve": "shared gain curve", "shared_shift": "shared shift"}


def label(model: TransmittanceModel, **shared: bool) -> str:
    """A model in one line, what is shared by all rows (`SHARED`) included."""
    return ", ".join([model.label, *(name for option, name in SHARED.items() if shared.get(option))])
