"""Readings of lines, the cosine transform and the help of neighbours, beside loops and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from calibration.inversion import registry
from calibration.inversion.lines import Fold, corrected, find_peaks, read, summary
from calibration.inversion.methods.cosine import transform
from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.spatial import choose

N = 40


def test_readings_of_triangles_are_theirs() -> None:
    """Lines as triangles of 8 nm: half as wide at half their height; their energy is that inside the window."""
    grid = np.linspace(500.0, 600.0, 101)
    tops, heights = np.array([520.0, 550.0, 580.0, 600.0]), np.array([1.0, 2.0, 3.0, 4.0])
    lines = heights * np.maximum(1 - np.abs(grid[:, None] - tops) / 8, 0)
    lines[10, 1], lines[70, 2] = -0.9, 1.5
    values = np.zeros((N, 1, 4))
    case = Interferograms(matrix=np.ones((N, 101)), values=values, noise_std=np.ones(N), wavelength_nm=grid)
    fold = Fold(
        case=case, wavelength_nm=tops, resolution_nm=np.full(4, 4.0), spacing_nm=np.full(4, 2.0),
        held_out=np.array([True, True, True, False]), weight=np.full(101, 0.01),
    )  # fmt: skip
    spectra = Spectra(wavelength_nm=grid, estimate=lines[:, None], std=None, mask=np.ones((1, 4), dtype=bool))
    # the last lies at the end of the grid: half of it is there
    assert_allclose(find_peaks(spectra).fwhm_nm, [8, 8, 8, 4])
    readings = read(fold, spectra)
    assert_allclose(readings["position_nm"], tops[:3])
    assert_allclose(readings["energy_window"], [0.08, 0.16, 0.24 + 0.015 * (580 - 570 <= 12)])
    assert_allclose(readings["sidelobe"], [0, 0.45, 0])
    assert all(len(column) == 3 for column in readings.values())


def test_corrections_of_readings_are_medians_of_the_nearest_lines() -> None:
    rng = np.random.default_rng(0)
    place = rng.permutation(np.linspace(400.0, 800.0, 120))
    learned = {
        "wavelength_nm": place, "position_nm": place + 0.2 + 0.1 * rng.standard_normal(120),
        "energy_window": 0.8 + 0.05 * rng.standard_normal(120), "resolution_nm": np.full(120, 2.0),
    }  # fmt: skip
    # more than three resolution elements off: it says nothing of others
    learned["position_nm"][:5] += 7
    at = np.array([410.0, 603.0, 790.0])
    readings = {
        "wavelength_nm": at + 0.3, "position_nm": at, "energy_window": np.array([0.8, 0.4, 1.2]),
        "spacing_nm": np.full(3, 1.0), "resolution_nm": np.full(3, 2.0), "sidelobe": np.zeros(3), "fwhm_nm": np.ones(3),
    }  # fmt: skip
    made = corrected(readings, learned)
    right = np.abs(learned["position_nm"] - place) <= 6
    for number, position in enumerate(at):
        nearest = sorted(np.flatnonzero(right), key=lambda line: abs(place[line] - position))[:41]
        errors = (learned["position_nm"] - place)[nearest]
        shares = learned["energy_window"][nearest]
        assert made["error_nm"][number] == pytest.approx(-0.3 - np.median(errors))
        assert made["energy"][number] == pytest.approx(readings["energy_window"][number] / np.median(shares))
        off, scatter = np.abs(errors - np.median(errors)), np.abs(shares / np.median(shares) - 1)
        assert made["position_std_nm"][number] == pytest.approx(np.percentile(off, 95) / 1.96)
        assert made["energy_std"][number] == pytest.approx(np.percentile(scatter, 95) / 1.96)
        assert made["exact"][number] == (abs(made["error_nm"][number]) <= 0.5)


def test_errors_that_grow_towards_the_ends_of_the_band_are_taken_off_there() -> None:
    rng = np.random.default_rng(1)
    place = np.linspace(500.0, 1000.0, 100)

    def errors(at: np.ndarray) -> np.ndarray:
        return 1.5 * np.maximum(620 - at, 0) / 120 - 0.02 * np.maximum(at - 900, 0)

    def learned(scatter: float, count: int) -> dict[str, np.ndarray]:
        chosen = place[:: len(place) // count]
        read = chosen + errors(chosen) + scatter * rng.standard_normal(len(chosen))
        return {
            "wavelength_nm": chosen, "position_nm": read,
            "energy_window": np.ones(len(chosen)), "resolution_nm": np.full(len(chosen), 4.0),
        }  # fmt: skip

    true = np.array([500.0, 505.0, 995.0, 1000.0])
    readings = {
        "wavelength_nm": true, "position_nm": true + errors(true), "energy_window": np.ones(4),
        "spacing_nm": np.full(4, 2.5), "resolution_nm": np.full(4, 4.0), "sidelobe": np.zeros(4), "fwhm_nm": np.ones(4),
    }  # fmt: skip
    # the medians of 41 neighbours would leave .7 nm at the one end and 1.6 at the other
    made = corrected(readings, learned(0.1, 100))
    assert np.abs(made["error_nm"]).max() < 0.25
    assert made["exact"].all()
    # scatter that hides the slope, or few lines, tell none: what is left is the median's
    for some in (learned(2.0, 100), learned(0.0, 5)):
        right = np.abs(some["position_nm"] - some["wavelength_nm"]) <= 12
        place_of, error = some["wavelength_nm"][right], (some["position_nm"] - some["wavelength_nm"])[right]
        near = np.argsort(np.abs(place_of - readings["position_nm"][1]))[:41]
        told = corrected(readings, some)["error_nm"][1]
        assert told == pytest.approx(readings["position_nm"][1] - np.median(error[near]) - true[1])


def test_a_summary_of_ten_lines() -> None:
    n = 10
    readings = {
        "error_nm": np.array([0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.7, -6.1, 9.0, 5.9]), "resolution_nm": np.full(n, 2.0),
        "position_std_nm": np.array([0.3] * 8 + [1.1, 0.9]), "sidelobe": np.array([0.1] * 9 + [0.6]),
        "exact": np.array([1.0] * 4 + [0.0] * 6), "fwhm_nm": np.arange(1.0, 11) ** 2,
        "energy": np.r_[np.linspace(0.9, 1.3, 9), 3.0],
        "energy_window": np.r_[np.linspace(0.5, 0.9, 9), 3.0], "energy_std": np.full(n, 0.1),
    }  # fmt: skip
    told = summary(readings)
    expected = {
        "lines": 10, "exact_percent": 40, "position_nm_median": 0.55, "gross_percent": 20,
        # of both gross ones one is flagged as unsure; the last, which is right, for its sidelobe
        "gross_unflagged_percent": 10, "flagged_percent": 20, "fwhm_nm": 30.5, "energy": 1.125, "energy_window": 0.725,
        "sidelobe": 0.1, "position_nm_p90": np.percentile(np.abs(readings["error_nm"]), 90),
        # within 1.96 standard deviations: energies up to 1.15 (at 1.2 no more), errors up to .5
        "coverage95_energy": 0.6, "coverage95_position": 0.5,
    }  # fmt: skip
    assert told == pytest.approx(expected)


def test_a_cosine_transform_is_a_sum_over_steps() -> None:
    """Of each path difference the step that it stands for, apodised by a triangle that ends a step beyond the last."""
    opd = np.array([2.0, 0.5, 3.0, 1.0])
    steps = {0.5: 0.5, 1.0: 0.75, 2.0: 1.0, 3.0: 1.0}
    values = np.array([[1.0, 4.0], [2.0, 0.0], [0.5, 1.0], [3.0, 2.0]])
    wavenumber = np.array([1.1, 1.6, 2.3])
    made = transform(values, opd, wavenumber)
    for pixel in range(2):
        mean = values[:, pixel].sum() / 4
        for place, sigma in enumerate(wavenumber):
            total = sum(
                steps[path] * (1 - path / 4) * (value - mean) * np.cos(2 * np.pi * sigma * path)
                for path, value in zip(opd, values[:, pixel], strict=True)
            )
            assert made[place, pixel] == pytest.approx(4 * total)


def test_the_gain_of_the_cosine_transform_is_least_squares() -> None:
    rng = np.random.default_rng(0)
    grid, opd = np.linspace(450.0, 900.0, 30), 1 + 0.2 * np.arange(N)
    matrix = (1 + 0.5 * np.cos(2 * np.pi * 1000 / grid * opd[:, None])) * rng.uniform(0.5, 2, (N, 1))
    values = (matrix @ (1 + rng.random((30, 4)))).reshape(N, 2, 2)
    # an interferometer that sees nothing says nothing
    matrix[7], values[7] = 0, 3.0
    case = Interferograms(matrix=matrix, values=values, noise_std=np.ones(N), wavelength_nm=grid, opd_um=opd)
    result = registry.get("cosine")(case)
    live = np.arange(N) != 7
    level = matrix[live].sum(axis=1, keepdims=True)
    seen, pixels = matrix[live] / level, values[live].reshape(N - 1, 4) / level
    # per wavelength: λ = 1000/σ
    shape = transform(pixels, opd[live], 1000 / grid) * 1000 / grid[:, None] ** 2
    predicted = seen @ shape
    predicted -= predicted.mean(axis=0)
    gain = np.linalg.lstsq(predicted.reshape(-1, 1), (pixels - pixels.mean(axis=0)).ravel(), rcond=None)[0][0]
    assert_allclose(result.estimate.reshape(30, 4), gain * shape, rtol=1e-8)
    assert result.parameters["gain"] == pytest.approx(gain)


def test_neighbours_help_where_there_is_structure_and_the_error_is_told() -> None:
    """Fields are smoothed within their edges, what differs from pixel to pixel stays; error bars are the errors."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:48, :64]
    fields = np.stack([
        np.where(y < 20, -1.0, 1.0) * np.where(x < 30, 1.2, 0.8), np.where(x + y < 55, 0.9, -1.1),
        rng.standard_normal(y.shape),
    ])  # fmt: skip
    measured = np.hypot(y - 10, x - 50) > 5
    signal, importance = np.array([40.0, 10.0, 2.0]), np.array([9.0, 4.0, 1.0])
    truth = fields[:, measured]
    data = truth + rng.standard_normal(truth.shape) / np.sqrt(signal)[:, None]
    made = choose(data, signal, importance, measured)
    z, std = made(data, measured)
    error = ((z - truth) ** 2).mean(axis=1)
    alone = 1 / (1 + signal)
    assert (error[:2] < 0.4 * alone[:2]).all()
    # three thousand pixels tell a mean of squares to a fortieth of the noise's
    assert_allclose(made.risk.numpy(), error * signal, rtol=0.1, atol=0.05)
    assert_allclose((std**2).mean(axis=1) * signal, error * signal, rtol=0.1, atol=0.05)
    # of the last no neighbour tells anything: a pixel by itself, in closed form
    assert float(made.smoothness[-1][2]) == 0
    assert_allclose(z[2], data[2] * signal[2] * alone[2], rtol=1e-5, atol=1e-6)
    assert_allclose(std[2], np.sqrt(alone[2]), rtol=0.05)
    # beside the edge there are fewer neighbours
    beside, within = ((y >= 19) & (y <= 20))[measured], ((y > 30) & (x > 40))[measured]
    assert std[0, beside].mean() > 1.05 * std[0, within].mean()
    # rows and columns are alike
    turn = np.zeros_like(fields)
    turn[:, measured] = data
    again, spread = made(turn.transpose(0, 2, 1)[:, measured.T], measured.T)
    turned = np.zeros((2, *fields.shape))
    turned[0][:, measured], turned[1][:, measured] = z, std
    assert_allclose(again, turned[0].transpose(0, 2, 1)[:, measured.T], rtol=0, atol=1e-4)
    assert_allclose(spread, turned[1].transpose(0, 2, 1)[:, measured.T], rtol=1e-4)


def test_the_error_of_components_far_below_the_noise_is_told_by_their_size() -> None:
    """A mean of squares over the pixels is a hundred times less sure than what is looked for."""
    rng = np.random.default_rng(1)
    signal = np.full(100, 0.003)
    truth = rng.standard_normal((100, 1600))
    data = truth + rng.standard_normal(truth.shape) / np.sqrt(signal[0])
    measured = np.ones((40, 40), dtype=bool)
    z, std = choose(data, signal, np.ones(100), measured)(data, measured)
    assert (std**2).mean() == pytest.approx(((z - truth) ** 2).mean(), rel=0.3)
    # what the image shows counts where it shows it: twice the size that the population says
    loud = 2 * truth[:1] + rng.standard_normal((1, 1600))
    made = choose(loud, np.ones(1), np.ones(1), measured)
    error = (made(loud, measured)[0] - 2 * truth[:1]) ** 2
    assert float(made.risk[0]) == pytest.approx(error.mean(), rel=0.1)
