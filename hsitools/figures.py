"""Figures of cubes and sensors: the quicklook, what a sensor does, a photon-transfer curve."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.plot import COLOURS, MISSING, new_figure, show_missing
from hsitools.text import counted, readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hsitools.sensor.photon.result import PhotonTransfer
    from hsitools.sensor.sensor import Sensor

#: Red, green and blue, nm; false colours for cubes that do not see these.
RGB_NM, FALSE_NM = (640.0, 550.0, 460.0), (2200.0, 1650.0, 1050.0)
#: Farthest from a band, or from the next one, that a wavelength may be to name it, nm.
FAR_NM = 20.0
#: Longest side of a quicklook, pixels; smaller ones are enlarged to about MIN_SIDE.
MAX_SIDE, MIN_SIDE = 2000, 400
#: Responses of a sensor that are drawn, spread over its bands.
SHOWN_BANDS = 40


def rgb_bands(cube: Cube) -> tuple[int, int, int]:
    """Bands nearest to red, green and blue among the good ones; spread evenly where wavelengths are not known.

    Outside the visible: 2200, 1650, 1050 nm where the cube has these, else the ends and the middle of its range.
    """
    good = np.flatnonzero(cube.good)
    if good.size == 0:
        raise InputError(f"{cube.who}: good: found no good band")
    placed = good if cube.wavelength_nm is None else good[np.isfinite(cube.wavelength_nm[good])]
    if cube.wavelength_nm is None or placed.size == 0:
        spread = good[np.linspace(len(good) - 1, 0, 5).astype(int)]
        return int(spread[1]), int(spread[2]), int(spread[3])
    centre = cube.wavelength_nm[placed]
    for targets in (RGB_NM, FALSE_NM):
        near = [int(np.argmin(np.abs(centre - target))) for target in targets]
        if all(abs(centre[place] - target) < 60 for place, target in zip(near, targets, strict=True)):
            break
    else:
        near = [int(np.argmin(np.abs(centre - t))) for t in np.linspace(centre.max(), centre.min(), 5)[1:4]]
    return int(placed[near[0]]), int(placed[near[1]]), int(placed[near[2]])


def bands_named(cube: Cube, text: str) -> tuple[int, int, int]:
    """Bands of ``"650,550,450"``: the nearest to these wavelengths (nm), or these numbers where a cube has none.

    Raises `InputError` where these are not one or three numbers of the cube's range.
    """
    try:
        wanted = [float(part) for part in text.split(",")]
    except ValueError:
        wanted = []
    if len(wanted) not in (1, 3) or not np.isfinite(wanted).all():
        raise InputError(f"--bands: found {text!r}, expected one or three numbers, as 650,550,450")
    centre = np.arange(cube.n_bands, dtype=float)
    unit, near = "from 0 on", 0.0
    if cube.wavelength_nm is not None and np.isfinite(cube.wavelength_nm).any():
        centre, unit = cube.wavelength_nm, "nm"
        near = max(FAR_NM, float(np.nanmax(np.abs(np.diff(centre)), initial=0)))
    chosen = [int(np.nanargmin(np.abs(centre - value))) for value in wanted]
    for band, value in zip(chosen, wanted, strict=True):
        if not abs(centre[band] - value) <= near:
            low, high = np.nanmin(centre), np.nanmax(centre)
            raise InputError(f"--bands: found {value:g}, expected bands of {low:g} to {high:g} ({unit})")
    first, second, third = chosen if len(chosen) == 3 else chosen * 3
    return first, second, third


def quicklook(cube: Cube, bands: tuple[int, int, int] | None = None, percentile: float = 2.0) -> NDArray[np.uint8]:
    """An RGB image ``(y, x, 3)``: bands stretched between percentiles, pixels without a measurement `MISSING`."""
    return stretched(cube, rgb_bands(cube) if bands is None else bands, percentile)[0]


def stretched(
    cube: Cube, bands: tuple[int, int, int], percentile: float = 2.0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """`quicklook` of some bands, and which of the cube's pixels (of a large one, of those shown) hold a measurement."""
    step = max(1, -(-max(cube.shape[1:]) // MAX_SIDE))
    parts = []
    for rows, columns in cube.select(bands=bands).tiles():
        first = slice(-rows.start % step, None, step), slice(-columns.start % step, None, step)
        block = cube.read(bands=bands, rows=rows, columns=columns)
        # a copy: a view of every second pixel would keep the whole block in memory
        parts.append((rows, block[(slice(None), *first)].copy()))
    lines: dict[int, list[NDArray[Any]]] = {}
    for rows, part in parts:
        lines.setdefault(rows.start, []).append(part)
    values = np.concatenate([np.concatenate(row, axis=2) for row in lines.values()], axis=1)
    valid = np.asarray(cube.valid(values).all(axis=0))
    out = np.empty((*values.shape[1:], 3), dtype=np.uint8)
    # nothing that is shown through: on a white page a hole would be as bright as a cloud
    out[:] = MISSING
    if valid.any():
        for channel, band in enumerate(values.astype(float)):
            low, high = np.percentile(band[valid], [percentile, 100 - percentile])
            out[valid, channel] = np.rint(255 * np.clip((band[valid] - low) / (high - low if high > low else 1), 0, 1))
    enlarge = max(1, round(MIN_SIDE / max(out.shape[:2])))
    return out.repeat(enlarge, axis=0).repeat(enlarge, axis=1), valid


def sensor_figure(sensor: Sensor) -> Figure:
    """What a sensor does: spectral response, noise, PSF with its MTF, PAN."""
    panels = [_response_axes]
    panels += [] if sensor.noise is None else [_snr_axes]
    panels += [] if sensor.mtf is None else [_mtf_axes]
    lines = [f"{key}: {readable(value)}" for key, value in sensor.describe().items() if value not in (None, "")]
    # in words beside an odd number of panels, or under them all
    beside = len(panels) % 2 == 1
    words = [part for line in lines for part in wrap(line, 78 if beside else 160, subsequent_indent="   ")]
    heights = [3.6] * ((len(panels) + 1) // 2) + ([] if beside else [0.15 * len(words)])
    figure, axes = new_figure(
        10.5, sum(heights), nrows=len(heights), ncols=2, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    places = list(axes.ravel())
    for panel, ax in zip(panels, places, strict=False):
        panel(ax, sensor)
    for ax in places[len(panels) :]:
        ax.axis("off")
    text = places[len(panels)]
    # its width is that of the page, not of a column
    text.text(0, 1, "\n".join(words), va="top", fontsize=6.8, transform=text.transAxes).set_in_layout(beside)
    figure.suptitle(sensor.name)
    return figure


def _response_axes(ax: Any, sensor: Sensor) -> None:
    response = sensor.response
    if response.wavelength_nm is None:
        low, high = 1000 / response.band.high, 1000 / response.band.low
        grid = np.linspace(low, high, 1500)
        for number, row in enumerate(np.linspace(0, response.n_bands - 1, 4).astype(int)):
            curve = response.monochromatic(grid)[row]
            ax.plot(grid, curve / curve.max(), color=COLOURS[number], lw=1, label=f"OPD {response.opd_um[row]:.1f} µm")
        ax.set(title="Response of four interferometers", ylabel="response / its maximum", ylim=(0, 1.3))
        ax.legend(ncols=2, loc="upper right")
    else:
        centre, width = response.wavelength_nm, response.fwhm_nm
        grid = np.linspace(centre.min() - 2 * width.max(), centre.max() + 2 * width.max(), 4000)
        # of hundreds beside one another nothing but a filled box would be seen
        shown = np.unique(np.linspace(0, response.n_bands - 1, SHOWN_BANDS).round().astype(int))
        curves = response.curve(grid)[shown]
        curves = curves / curves.max(axis=1, keepdims=True)
        # as one line with gaps: many lines are slow to draw
        parts = [(np.append(grid[on], np.nan), np.append(row[on], np.nan)) for row in curves for on in [row > 1e-3]]
        ax.plot(*np.concatenate(parts, axis=1), color=COLOURS[0], lw=0.8)
        if sensor.pan is not None:
            curve = sensor.pan.curve(grid)[0]
            ax.fill_between(grid, curve / curve.max(), color=COLOURS[4], alpha=0.35, lw=0, label="PAN")
            ax.legend(loc="upper right")
        some = "" if len(shown) == response.n_bands else f"{len(shown)} of "
        ax.set(title=f"Response of {some}{counted(response.n_bands, 'band')}", ylabel="response / its maximum")
    ax.set(xlabel="wavelength / nm")


def _snr_axes(ax: Any, sensor: Sensor) -> None:
    noise = sensor.noise
    assert noise is not None  # or the panel would not be drawn
    place = np.arange(sensor.n_bands) if sensor.response.wavelength_nm is None else sensor.response.wavelength_nm
    order = np.argsort(place)
    unit = "" if sensor.units == "1" else f" {sensor.units}"
    full = np.broadcast_to(noise.saturation, (sensor.n_bands,))
    # reflectances; of other units nothing is known but where they saturate
    top = full.min() if sensor.units != "1" and np.isfinite(full).all() else 1.0
    for number, level in enumerate((0.05 * top, 0.3 * top, 0.6 * top)):
        variance = noise.variance(np.full((sensor.n_bands, 1, 1), level)).reshape(-1)
        snr = np.where(level < full, level / np.sqrt(variance), np.nan)
        ax.plot(place[order], snr[order], color=COLOURS[number], label=f"signal {level:.3g}{unit}")
    ax.set(title="Signal-to-noise ratio (gaps: saturated)", ylabel="SNR", yscale="log")
    ax.set_xlabel("interferometer" if sensor.response.wavelength_nm is None else "wavelength / nm")
    ax.legend(loc="best")


def _mtf_axes(ax: Any, sensor: Sensor) -> None:
    from hsitools.sensor.spatial import mtf_sigma

    gains = sensor.mtf if sensor.mtf.ndim == 2 else np.stack([sensor.mtf, sensor.mtf], axis=1)
    ratio = sensor.ratio
    # on the scene's grid, which ends at its own Nyquist frequency
    frequency, place = np.linspace(0, min(1, ratio / 2), 200), np.arange(-8 * ratio, 8 * ratio + 1)
    waves = np.cos(2 * np.pi * frequency[:, None] * place / ratio)
    for number, (axis, name) in enumerate(((1, "across track"), (0, "along track"))):
        gain = float(np.median(gains[:, axis]))
        kernel = np.exp(-0.5 * (place / mtf_sigma(gain, ratio)[0]) ** 2)
        curve = waves @ kernel / kernel.sum()
        ax.plot(frequency, curve, color=COLOURS[number], ls=("-", "--")[number], label=f"{name}: {gain:.2f} at Nyquist")
    ax.axvline(0.5, color="0.5", lw=0.8)
    ax.set(title="MTF (median band, Gaussian)", xlabel="cycles / pixel of the sensor", ylabel="gain", ylim=(0, 1.02))
    ax.legend(loc="upper right")


def photon_transfer_figure(noise: PhotonTransfer) -> Figure:
    """The photon-transfer curve with its line, and the map of relative response."""
    figure, axes = new_figure(10.5, 4.2, ncols=2)
    ax = axes[0]
    ax.errorbar(noise.signal, noise.variance, noise.variance_stderr, fmt="o", ms=3, color=COLOURS[0], label="measured")
    line = (noise.read_noise / noise.gain) ** 2 + noise.step**2 / 12 + noise.signal / noise.gain
    ax.plot(noise.signal, line, color=COLOURS[1],
            label=f"{noise.gain:.4g} ± {noise.gain_stderr:.1g} e⁻/DN, read {noise.read_noise:.3g} e⁻")  # fmt: skip
    ax.set(title="Photon transfer", xlabel="signal / DN", ylabel="temporal variance / DN²")
    ax.legend(loc="upper left")
    good = noise.response[~noise.defects]
    low, high = np.percentile(good, [1, 99])
    image = axes[1].imshow(np.where(noise.defects, np.nan, noise.response), vmin=low, vmax=high, cmap="viridis")
    show_missing(axes[1])
    axes[1].set(title=f"Relative response: PRNU {100 * noise.prnu:.2f} %, {int(noise.defects.sum())} defects hatched",
                xlabel="x / pixel", ylabel="y / pixel")  # fmt: skip
    axes[1].grid(False)
    figure.colorbar(image, ax=axes[1], label="response / illumination")
    return figure
