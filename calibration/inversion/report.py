"""The report of an inversion: one HTML page with its figures in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.invert import Inversion
from hsitools.plot import draw_image, legend_below, new_figure, png_bytes, show_field, with_unit
from hsitools.report import Picture, Report, Section, Table, report_folder
from hsitools.text import counted

#: Spectra drawn: pixels at these quantiles of brightness.
QUANTILES = (0.05, 0.5, 0.95)


def write_report(result: Inversion, document: dict[str, Any], folder: str | Path) -> Path:
    """Write ``report.html`` into a folder (made if need be); return the page's path.

    Raises
    ------
    InputError
        When the folder cannot be made.
    """
    folder = report_folder(folder)
    pictures = [
        Picture(png=png_bytes(figure), caption=caption) for figure, caption in (_spectra(result), _image(result))
    ]
    rows = [
        [str(key), str(value)] for key, value in {**document, **document["parameters"]}.items() if key != "parameters"
    ]
    page = folder / "report.html"
    Report(
        title=f"Spectra by {document['method']}",
        headlines=[(f"{document['seconds']:.1f} s", "time")],
        lead=f"{counted(document['pixels'], 'pixel')}, in units of {document['units']}",
        sections=[
            Section(title="Spectra", blocks=pictures),
            Section(title="Settings", blocks=[Table(columns=["", "value"], rows=rows)]),
        ],
    ).write(page)
    return page


def _brightness(result: Inversion) -> NDArray[Any]:
    spectra = result.spectra
    # other pixels hold no value
    return np.where(spectra.mask, np.where(spectra.mask, spectra.estimate, 0).mean(axis=0), np.nan)


def _spectra(result: Inversion) -> tuple[Any, str]:
    spectra = result.spectra
    figure, axes = new_figure(7, 3.8)
    bright = _brightness(result)
    order = np.argsort(np.where(np.isfinite(bright), bright, np.inf), axis=None)[: int(spectra.mask.sum())]
    for quantile in QUANTILES:
        y, x = np.unravel_index(order[int(quantile * (len(order) - 1))], bright.shape)
        line = spectra.estimate[:, y, x]
        (drawn,) = axes.plot(spectra.wavelength_nm, line, label=f"pixel {y}, {x}")
        if spectra.std is not None:
            half = 1.96 * spectra.std[:, y, x]
            axes.fill_between(spectra.wavelength_nm, line - half, line + half, alpha=0.25, color=drawn.get_color())
    axes.set_xlabel("wavelength / nm")
    axes.set_ylabel(with_unit("spectrum", spectra.units))
    legend_below(axes, 3)
    return figure, "A dark, a middling and a bright pixel with their 95 % intervals."


def _image(result: Inversion) -> tuple[Any, str]:
    maps = {"mean over the band": _brightness(result)}
    if result.spectra.std is not None:
        with np.errstate(invalid="ignore"):
            maps["standard deviation, rms over the band"] = np.sqrt((result.spectra.std**2).mean(axis=0))
    figure, places = new_figure(7, 3.2, ncols=len(maps), squeeze=False)
    for axes, (title, values) in zip(places[0], maps.items(), strict=True):
        draw_image(axes, values, title, with_unit(title.split(",")[0], result.spectra.units), cmap="viridis")
        show_field(axes, result.spectra.mask)
    return figure, "The image, and how sure it is."
