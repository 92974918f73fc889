"""The report of a characterization: one HTML page, its figures beside it."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np

from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import FLAG_MEANING, Characterization
from calibration.figures import all_figures
from calibration.fitting.pedestal import pedestal_text
from calibration.held_out import ROWS
from calibration.model_choice import BETTER, FOLDS
from calibration.physical_parameters import set_aside_text
from hsitools.io.atomic import atomic_path
from hsitools.plot import png_bytes
from hsitools.report import Picture, Report, Section, Table, report_folder
from hsitools.text import counted

#: The method in a paragraph, at the end of the report.
METHOD = (
    "Each interferometer's intensity is modelled as flat field × gain × fringe, the fringe being that of a Fabry-Perot "
    "cavity of unit mean, with gain, reflectivity and phase polynomial in wavenumber (IRCA: Picone et al., "
    "Optics Express 31(14) 23066, 2023). OPDs start from least-squares periodograms joined along the device, and all "
    "parameters are refined by a batched Levenberg-Marquardt fit. "
    "The interferometers' reflectivity, gain and dispersion are taken as "
    "draws from one population, learned from the data, which steadies rows of few fringes. Standard errors are of that "
    "posterior. Held-out errors come from folds of lines that the fit had not seen."
)


def _number(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}g}" if np.isfinite(value) else "–"


def write_report(
    ch: Characterization,
    capture: MonochromaticCapture,
    folder: str | Path,
    *,
    command: str = "",
    show: list[int] | None = None,
) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into a folder (made if need be); return the page's path.

    ``show`` are the interferometers whose fits are drawn, by default a spread of them.

    Raises
    ------
    InputError
        When the folder cannot be made, or nothing could be fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from calibration import characterize, simulated_bench
    >>> from hsitools.sensor.transmittance import TransmittanceModel
    >>> rng = np.random.default_rng(1)
    >>> instrument = simulated_bench.simulate_instrument(16, rng=rng, rows=4)
    >>> capture = simulated_bench.capture(instrument, simulated_bench.lines(121), rng=rng, noise=0.02)
    >>> write_report(characterize(capture, TransmittanceModel()), capture, "report").name
    'report.html'
    """
    folder = report_folder(folder)
    # all is drawn before anything is written: an interrupted report leaves no figures without their page
    figures = all_figures(ch, capture, show).items()
    pictures = {name: Picture(png=png_bytes(figure), caption=caption) for name, (figure, caption) in figures}
    page = _report(ch, capture, pictures, command)
    (folder / "figures").mkdir(exist_ok=True)
    for name, picture in pictures.items():
        with atomic_path(folder / "figures" / f"{name}.png") as temporary:
            temporary.write_bytes(picture.png)
    page.write(folder / "report.html")
    return folder / "report.html"


def _report(ch: Characterization, capture: MonochromaticCapture, pictures: dict[str, Picture], command: str) -> Report:
    s = ch.summary()
    law = ch.law
    headlines = [
        (f"{s['rmse_mean']:.4f}", "RMSE / mean intensity, in sample, mean over interferometers"),
        (f"{s['r2_median']:.4f}", "R², median"),
        (f"{1000 * np.nanmedian(ch.opd_stderr_um):.1f} nm", "standard error of the OPD, median"),
        (f"{law.step_um:.5f} ± {law.step_stderr_um:.5f} µm" if law.found else "–", "OPD step"),
        (f"{s['n_flagged']} of {s['n_interferometers']}", "interferometers flagged"),
    ]
    if s["rmse_cv_mean"] is not None:
        headlines.insert(0, (f"{s['rmse_cv_mean']:.4f}", "held-out RMSE / mean intensity, mean over interferometers"))
    sections = [
        Section(
            title="What was measured",
            blocks=[
                f"{counted(capture.n_interferometers, 'interferometer')} under {counted(capture.n_lines, 'line')} of a "
                "monochromator from "
                f"{capture.band_nm[0]:.1f} to {capture.band_nm[1]:.1f} nm. The lines sample OPDs up to "
                f"{capture.opd_limit_um:.1f} µm. {counted(int((~capture.mask).sum()), 'sample')} not usable, left out; "
                f"{int(((capture.intensity < 0) & capture.mask).sum())} are negative (noise about zero) and kept."
                + (f" {set_aside}." if (set_aside := set_aside_text(ch.settings)) else "")
            ],
        ),
        _model_section(ch, pictures),
        Section(title="Fits", blocks=[pictures["fit"], pictures["residual"], pictures["rmse"]]),
        Section(title="Optical path differences", blocks=[_law_text(ch), pictures["opd_law"], pictures["uncertainty"]]),
        Section(title="Reflectivity and gain", blocks=[_gain_text(ch), pictures["parameters"]]),
        Section(title="Flagged interferometers", blocks=_flag_blocks(ch)),
        Section(title="All interferometers", blocks=[_table(ch)]),
        Section(title="Method", blocks=[METHOD]),
    ]
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Report(
        title=f"Characterization of {ch.name}",
        lead=f"{ch.label}; {counted(capture.n_interferometers, 'interferometer')} × {counted(capture.n_lines, 'line')}",
        headlines=headlines,
        sections=sections,
        provenance=[("source", ch.source), ("command", command), ("made", now), ("settings", str(ch.settings))],
    )


def _model_section(ch: Characterization, pictures: dict[str, Picture]) -> Section:
    blocks: list[Any] = [f"Fitted model: {ch.label}."]
    if ch.selection:
        blocks.append(
            "It was chosen by held-out error among the models below, each kept only when it beat the simpler one by "
            f"more than {BETTER:g} standard errors of their paired difference. Errors here are of that comparison, "
            f"with {FOLDS} folds of the lines and a spread of at most {ROWS} interferometers: the chosen one's are not "
            "quite those at the head of this page, which are of all interferometers and of the final fit."
        )
        rows = [
            [r["label"], f"{r['rmse_cv_mean']:.4f}", f"{r.get('rmse_mean', float('nan')):.4f}"] for r in ch.selection
        ]
        chosen = frozenset(i for i, r in enumerate(ch.selection) if r["chosen"])
        blocks += [
            Table(
                columns=["model", "held-out RMSE / mean", "in-sample RMSE / mean"],
                rows=rows,
                marked=chosen,
            ),
            pictures["selection"],
        ]
    return Section(title="Model", blocks=blocks)


def _law_text(ch: Characterization) -> str:
    law = ch.law
    nominal = "" if law.nominal_step_um is None else f" (nominal step {law.nominal_step_um:g} µm)"
    names = ", ".join(str(i) for i in ch.index[law.outliers]) or "none"
    return (
        f"OPD of the device: {law.text}{nominal}. Interferometers more than one fringe over the band off the median of "
        f"their nine neighbours: {names}."
    )


def _gain_text(ch: Characterization) -> str:
    text = "Gain is relative to the flat field: what changed between the two, slowly over the lines, is part of it."
    found = pedestal_text(ch.settings)
    return text + (f" A constant in all intensities (dark signal that was left): {found}." if found else "")


def _flag_blocks(ch: Characterization) -> list[str | Table]:
    rows = [
        [name.replace("_", " "), FLAG_MEANING[name], str(int(where.sum())), ", ".join(str(i) for i in ch.index[where])]
        for name, where in ch.flags.items()
        if where.any()
    ]
    if not rows:
        return ["None."]
    return [Table(columns=["flag", "meaning", "count", "interferometers"], rows=rows)]


def _table(ch: Characterization) -> Table:
    columns = [
        "index", "OPD / µm", "± / µm", "phase / rad", "reflectivity", "±", "gain", "finesse", "contrast", "RMSE / mean",
        "R²", "held-out RMSE / mean", "flags",
    ]  # fmt: skip
    rows = []
    for i in range(len(ch.index)):
        held = np.nan if ch.rmse_cv is None else ch.rmse_cv[i]
        row = [str(ch.index[i]), f"{ch.opd_um[i]:.4f}" if np.isfinite(ch.opd_um[i]) else "–"]
        row += [_number(v[i], 3) for v in (ch.opd_stderr_um, ch.phase_rad, ch.reflectivity, ch.reflectivity_stderr)]
        row += [_number(v[i], 3) for v in (ch.gain, ch.finesse, ch.contrast)]
        row += [_number(v) for v in (ch.rmse[i], ch.r2[i], held)]
        rows.append([*row, ", ".join(name for name, where in ch.flags.items() if where[i])])
    return Table(columns=columns, rows=rows)
