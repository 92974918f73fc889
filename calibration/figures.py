"""Figures of a characterization; each returns a matplotlib ``Figure`` with units on its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import Characterization
from calibration.fitting.line_width import LineWidth
from calibration.fitting.opd_law import running_median
from hsitools.plot import COLOURS, limit_to_most, new_figure, plain_log_ticks, robust_range, show_missing
from hsitools.sensor.line_shape import LineShape
from hsitools.sensor.transmittance import SampledModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
#: Points of a drawn fringe: straight lines between them look like a curve.
SAMPLES_PER_FRINGE = 16
#: Rows to a column of sub-images, or columns to a row, beyond which they are no squares; so few have a tick each.
LONG, FEW = 6, 3
#: Which interferometers the fits are drawn of, for the caption.
SPREAD = "interferometers spread over the OPDs, and the one of largest residual. "


def fitted(ch: Characterization, capture: MonochromaticCapture) -> Array:
    """Fitted intensity at the capture's own lines, through the monochromator's line, ``(interferometer, line)``."""
    response = ch.response
    flat = np.where(capture.mask, response.flat * response.curve * response.gain_scale[:, None], 0)
    return _sampled(ch, capture, capture.wavenumber).values(response.theta, flat)


def fitted_between(ch: Characterization, capture: MonochromaticCapture, row: int) -> tuple[Array, Array]:
    """Wavelengths (nm) dense enough for a smooth curve, and the fitted intensity of one interferometer there.

    At large OPDs the lines are few a fringe, and a curve through them alone would be jagged.
    """
    response, lines, good = ch.response, capture.wavenumber, capture.mask[row]
    count = max(4 * len(lines), int(SAMPLES_PER_FRINGE * ch.fringes[row]))
    wavenumber = np.linspace(lines[0], lines[-1], count)
    flat = np.interp(wavenumber, lines[good], (response.flat[row] * response.curve)[good]) * response.gain_scale[row]
    return 1000 / wavenumber, _sampled(ch, capture, wavenumber).values(response.theta[[row]], flat[None])[0]


def _sampled(ch: Characterization, capture: MonochromaticCapture, wavenumber: Array) -> SampledModel:
    """The model at nominal wavenumbers: at what they truly are, through the line that the fit assumed or estimated."""
    estimate = ch.settings.get("linewidth_estimate")
    line = None
    if estimate is not None:
        line = LineWidth.from_dict(estimate).line(wavenumber)
    elif capture.line is not None:
        widths = np.interp(wavenumber, capture.wavenumber, capture.linewidth_nm)
        line = LineShape.of_wavelength(widths, wavenumber, capture.line_shape)
    true = wavenumber
    if ch.lines is not None:
        true = wavenumber + np.interp(wavenumber, capture.wavenumber, ch.lines.shift)
    return SampledModel(ch.response.model, ch.response.band, true, line=line)


def counted_samples(ch: Characterization, capture: MonochromaticCapture) -> NDArray[np.bool_]:
    """Samples ``(interferometer, line)`` that the fit was made of: usable, and neither wild nor near a ceiling."""
    residual = None if ch.lines is None else ch.lines.residual
    return capture.mask if residual is None else capture.mask & (residual != 0)


def telling_rows(ch: Characterization, count: int = 6) -> NDArray[np.intp]:
    """Rows worth seeing: spread over the OPDs, and the worst residual."""
    finite = np.flatnonzero(np.isfinite(ch.rmse))
    by_opd = finite[np.argsort(ch.opd_um[finite])]
    places = np.linspace(0, len(by_opd) - 1, min(count - 1, len(by_opd))).round().astype(int)
    worst = finite[np.argmax(ch.rmse[finite])]
    return np.unique(np.append(by_opd[places], worst))


def fit_figure(ch: Characterization, capture: MonochromaticCapture, rows: NDArray[np.intp] | None = None) -> Figure:
    """Fit over the samples, residual below, for chosen rows; intensities relative to each row's mean."""
    picked = telling_rows(ch) if rows is None else np.asarray(rows)
    model, counted = fitted(ch, capture), counted_samples(ch, capture)
    columns = min(3, len(picked))
    lines = -(-len(picked) // columns)
    heights = [3, 1] * lines
    figure, grid = new_figure(
        4.2 * columns, 3.4 * lines, nrows=2 * lines, ncols=columns, squeeze=False, sharex=True,
        gridspec_kw={"height_ratios": heights},
    )  # fmt: skip
    x = capture.wavelength_nm
    for place, row in enumerate(picked):
        top, bottom = grid[2 * (place // columns), place % columns], grid[2 * (place // columns) + 1, place % columns]
        good, aside = counted[row], capture.mask[row] & ~counted[row]
        level = capture.intensity[row, good].mean()
        measured = capture.intensity[row] / level
        top.plot(x[good], measured[good], ".", ms=2.5, color="0.45", label="measured")
        at, curve = fitted_between(ch, capture, int(row))
        top.plot(at, curve / level, color=COLOURS[1], lw=1.1, label="fit")
        # where no samples are, a fit may be of any size, and so may be what was set aside
        low, high = float(measured[good].min()), float(measured[good].max())
        top_edge = min(max(high, float(np.max(curve)) / level), 2 * high - low)
        margin = 0.05 * (top_edge - low)
        top.set_ylim(low - margin, top_edge + margin)
        top.plot(
            x[aside], np.clip(measured[aside], low, top_edge), "x", ms=7, mew=1.6, color=COLOURS[2], label="set aside"
        )
        unusable = ~capture.mask[row]
        top.plot(x[unusable], np.full(unusable.sum(), low), "|", ms=5, color=COLOURS[3], label="not usable")
        top.set_title(
            f"#{ch.index[row]}: OPD {ch.opd_um[row]:.4f} µm ± {1000 * ch.opd_stderr_um[row]:.2g} nm, "
            f"RMSE {ch.rmse[row]:.3f}",
            fontsize=9,
        )
        residual = (capture.intensity[row] - model[row])[good] / level
        bottom.axhspan(-ch.rmse[row], ch.rmse[row], color=COLOURS[0], alpha=0.15)
        bottom.plot(x[good], residual, ".", ms=2, color="0.35")
        bottom.set_ylim(-4 * ch.rmse[row], 4 * ch.rmse[row])
        if place % columns == 0:
            top.set_ylabel("intensity / mean")
            bottom.set_ylabel("residual")
    drawn = {line.get_label(): line for axes in grid[::2].ravel() for line in axes.lines if len(line.get_xdata())}
    figure.legend(drawn.values(), drawn.keys(), loc="outside upper center", ncols=len(drawn))
    for place in range(len(picked), columns * lines):
        grid[2 * (place // columns), place % columns].set_axis_off()
        grid[2 * (place // columns) + 1, place % columns].set_axis_off()
    for axes in grid[-1]:
        axes.set_xlabel("wavelength / nm")
    return figure


def opd_law_figure(ch: Characterization) -> Figure:
    """OPD against index with the device's law; below, what is left of it, with 95 % intervals and outliers named."""
    figure, (top, bottom) = new_figure(8.5, 6, nrows=2, sharex=True, gridspec_kw={"height_ratios": [2, 1.3]})
    finite = np.isfinite(ch.opd_um)
    index, opd = ch.index[finite], ch.opd_um[finite]
    law = ch.law
    top.plot(index, opd, ".", ms=4, label="OPD")
    # without a law OPDs are shown about their mean
    straight = law.predict(index) if law.found else np.full(len(opd), opd.mean() if len(opd) else 0.0)
    top.plot(index, straight, color=COLOURS[1], label=law.text)
    nominal = "" if law.nominal_step_um is None else f"; nominal step {law.nominal_step_um:g} µm"
    top.set(ylabel="OPD / µm", title=f"OPD law of the device{nominal}")
    top.legend(loc="upper left")
    away = opd - straight
    told = "law" if law.found else "mean"
    half = 1.96 * ch.opd_stderr_um[finite]
    bottom.errorbar(index, away, half, fmt=".", ms=3, lw=0.8, color=COLOURS[0], label=f"OPD − {told}, 95 %")
    if len(opd) >= 9:
        order = np.argsort(index)
        middle = running_median(opd, index) - straight
        bottom.plot(index[order], middle[order], color="0.4", lw=0.9, label="median of nine neighbours")
    outliers = law.outliers[finite]
    if outliers.any():
        bottom.plot(
            index[outliers], away[outliers], "o", mfc="none", ms=8, color=COLOURS[1], label="off its neighbours"
        )
    for place in np.flatnonzero(outliers)[:25]:
        bottom.annotate(
            str(index[place]), (index[place], away[place]), xytext=(3, 5), textcoords="offset points", fontsize=7
        )
    bottom.set(xlabel="interferometer", ylabel=f"(OPD − {told}) / µm")
    limit_to_most(bottom.yaxis, away - half, away + half, index)
    limit_to_most(top.yaxis, opd, opd, index)
    # room for the legend above the points
    low, high = bottom.get_ylim()
    bottom.set_ylim(low, high + 0.3 * (high - low))
    bottom.legend(loc="upper center", ncols=3)
    return figure


def parameter_figure(ch: Characterization) -> Figure:
    """Reflectivity and gain over the band: median, 10–90 % and 2–98 % of the interferometers; and their means."""
    figure, grid = new_figure(9.5, 6, nrows=2, ncols=2, gridspec_kw={"width_ratios": [1.4, 1]})
    x = np.sort(1000 / ch.wavenumber)
    finite = np.isfinite(ch.rmse)
    curves = (
        ("reflectivity", ch.reflectivity_curve(x)[finite], ch.reflectivity, ch.reflectivity_stderr),
        ("gain relative to the flat", ch.gain_curve(x)[finite], ch.gain, ch.gain_stderr),
    )
    for (left, right), (name, curve, mean, stderr) in zip(grid, curves, strict=True):
        low2, low, middle, high, high2 = np.percentile(curve, [2, 10, 50, 90, 98], axis=0)
        left.fill_between(x, low2, high2, color=COLOURS[0], alpha=0.13, lw=0, label="2–98 % of interferometers")
        left.fill_between(x, low, high, color=COLOURS[0], alpha=0.25, lw=0, label="10–90 %")
        left.plot(x, middle, color=COLOURS[0], label="median")
        left.set(ylabel=name)
        value, half = mean[finite], 1.96 * stderr[finite]
        right.errorbar(ch.index[finite], value, half, fmt=".", ms=3, lw=0.7, color=COLOURS[2])
        limit_to_most(right.yaxis, value - half, value + half, ch.index[finite])
        right.set(ylabel="band mean, 95 %")
    grid[0, 0].legend(loc="best")
    grid[1, 0].set_xlabel("wavelength / nm")
    grid[1, 1].set_xlabel("interferometer")
    return figure


def rmse_map_figure(ch: Characterization) -> Figure:
    """RMSE over the grid of sub-images (against index when no layout is known); flagged interferometers marked."""
    flagged = ch.flagged
    if ch.layout is None:
        figure, axes = new_figure(8.5, 3.6)
        axes.plot(ch.index, ch.rmse, ".", ms=4, label="in sample")
        if ch.rmse_cv is not None:
            axes.plot(ch.index, ch.rmse_cv, ".", ms=4, color=COLOURS[1], label="held out")
        axes.plot(ch.index[flagged], ch.rmse[flagged], "o", mfc="none", ms=8, color="k", label="flagged")
        axes.set(xlabel="interferometer", ylabel="RMSE / mean intensity", ylim=(0, None))
        limit_to_most(axes.yaxis, 0 * ch.rmse, ch.rmse, ch.index)
        axes.legend()
        return figure
    rows, columns = ch.layout.grid
    image = np.full((rows, columns), np.nan)
    position = ch.layout.grid_position()[ch.index]
    image[position[:, 0], position[:, 1]] = ch.rmse
    # long devices of a single row or column, too
    shape = rows / columns
    figure, axes = new_figure(float(np.clip(1.9 + 6.6 / shape, 4.0, 8.5)), float(np.clip(1.0 + 6.6 * shape, 2.0, 7.6)))
    _, top, beyond = robust_range(image.ravel())
    aspect = "equal" if LONG > shape > 1 / LONG else "auto"
    drawn = axes.imshow(image, cmap="viridis", aspect=aspect, vmax=top)
    show_missing(axes)
    for axis, count in ((axes.yaxis, rows), (axes.xaxis, columns)):
        if count <= FEW:
            axis.set_ticks(range(count))
    axes.grid(False)
    axes.plot(position[flagged, 1], position[flagged, 0], "rx", ms=6, label="flagged")
    figure.colorbar(
        drawn,
        ax=axes,
        label="RMSE / mean intensity",
        shrink=0.9,
        aspect=12,
        extend="max" if beyond.any() else "neither",
    )
    axes.set(xlabel="sub-image column", ylabel="sub-image row")
    if flagged.any():
        axes.legend(loc="upper right")
    return figure


def residual_figure(ch: Characterization, capture: MonochromaticCapture) -> Figure:
    """Residuals of all interferometers at all lines, and their rms by line: where structure is left, it shows."""
    figure, (top, bottom) = new_figure(9, 6.5, nrows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    counted = counted_samples(ch, capture)
    good = counted & np.isfinite(ch.rmse)[:, None]
    level = (capture.intensity * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    residual = np.where(
        good, (capture.intensity - fitted(ch, capture)) / np.where(level > 0, level, 1)[:, None], np.nan
    )
    limit = float(np.nanpercentile(np.abs(residual), 99))
    x = capture.wavelength_nm
    edges = np.concatenate([[x[0] - (x[1] - x[0]) / 2], (x[1:] + x[:-1]) / 2, [x[-1] + (x[-1] - x[-2]) / 2]])
    order = np.argsort(ch.index)
    drawn = top.pcolormesh(
        edges, np.arange(len(residual) + 1), residual[order], cmap="RdBu_r", vmin=-limit, vmax=limit, rasterized=True
    )
    show_missing(top)
    top.grid(False)
    top.set(ylabel="interferometer (in order)")
    figure.colorbar(drawn, ax=top, label="residual / mean intensity")
    count = np.where(good.any(axis=0), good.sum(axis=0), np.nan)
    for values, colour, name in (
        (np.sqrt(np.nansum(residual**2, axis=0) / count), COLOURS[0], "rms over interferometers"),
        (np.nansum(residual, axis=0) / count, COLOURS[1], "mean"),
    ):
        bottom.plot(x, values, color=colour, lw=1, label=name)
    bottom.set(xlabel="wavelength / nm", ylabel="residual")
    bottom.legend(ncols=2)
    return figure


def uncertainty_figure(ch: Characterization) -> Figure:
    """Standard error of the OPD against the number of fringes in the band."""
    figure, axes = new_figure(8, 3.8)
    axes.semilogy(ch.fringes, 1000 * ch.opd_stderr_um, ".", ms=5, label="interferometer")
    for number, name in enumerate(name for name, rows in ch.flags.items() if rows.any()):
        rows = ch.flags[name]
        axes.plot(
            ch.fringes[rows], 1000 * ch.opd_stderr_um[rows], "o", mfc="none", ms=7 + 2 * number,
            color=COLOURS[1 + number % 5], label=name.replace("_", " "),
        )  # fmt: skip
    plain_log_ticks(axes.yaxis)
    axes.set(xlabel="fringes in the band (OPD × band width)", ylabel="standard error of the OPD / nm")
    limit_to_most(axes.xaxis, ch.fringes, ch.fringes, ch.index)
    axes.legend(ncols=2)
    return figure


def selection_figure(ch: Characterization) -> Figure:
    """Held-out and in-sample RMSE of the models tried."""
    figure, axes = new_figure(9, 0.8 + 0.33 * len(ch.selection))
    y = np.arange(len(ch.selection))
    held = np.array([row["rmse_cv_mean"] for row in ch.selection])
    # trials written since 0.2 have none in sample: they are judged on held-out lines alone
    inside = np.array([row.get("rmse_mean", row["rmse_cv_mean"]) for row in ch.selection])
    axes.hlines(y, inside, held, color="0.75", lw=3, zorder=1)
    axes.plot(inside, y, "o", ms=5, color=COLOURS[5], label="in sample")
    axes.plot(held, y, "o", ms=6, color=COLOURS[1], label="held out")
    labels = [("► " if row["chosen"] else "") + row["label"] for row in ch.selection]
    axes.set_yticks(y, labels, fontsize=8)
    axes.invert_yaxis()
    largest = max(1.6 * held.min(), np.sort(held)[len(held) // 2] * 1.1)
    axes.set(xlabel="RMSE / mean intensity", xlim=(0.95 * inside.min(), largest))
    for place in np.flatnonzero(np.minimum(inside, held) > largest):
        # neither mark is in the picture: say where they are
        axes.annotate(
            f"{held[place]:.3g} →", (1, place), xycoords=("axes fraction", "data"), xytext=(-4, 0),
            textcoords="offset points", ha="right", va="center", fontsize=8, color=COLOURS[1],
        )  # fmt: skip
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def all_figures(
    ch: Characterization, capture: MonochromaticCapture, show: list[int] | None = None
) -> dict[str, tuple[Any, str]]:
    """Every figure by name, with its caption; ``show`` are the interferometers whose fits are drawn."""
    rows = None if show is None else np.flatnonzero(np.isin(ch.index, show))
    figures = {
        "fit": (
            fit_figure(ch, capture, rows),
            (
                "Fit over the samples of "
                + ("chosen interferometers. " if show else SPREAD)
                + "Below each, the residual and its ±1 RMSE band."
            ),
        ),
        "opd_law": (opd_law_figure(ch), "OPD of every interferometer, the device's law, and the departures from it."),
        "parameters": (parameter_figure(ch), "Reflectivity and gain: spread over the interferometers, and band means."),
        "rmse": (
            rmse_map_figure(ch),
            "RMSE of every interferometer, "
            + ("in their order." if ch.layout is None else "where it lies on the detector."),
        ),
        "residual": (
            residual_figure(ch, capture),
            "Residuals; vertical structure: lines, horizontal: interferometers. Hatched: samples that did not count.",
        ),
        "uncertainty": (uncertainty_figure(ch), "How well the OPDs are known."),
    }
    if ch.selection:
        figures["selection"] = (selection_figure(ch), "Models tried; ► is the chosen one. Clipped on the right.")
    return figures
