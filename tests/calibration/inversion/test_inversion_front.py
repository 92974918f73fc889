"""Inversion as users meet it: labels, units, curves, what is refused, scenes and lines, the commands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.testing import assert_allclose

from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import Characterization
from calibration.commands.invert import invert as group
from calibration.commands.invert import parse_grid
from calibration.inversion import scenes
from calibration.inversion.curves import on_grid
from calibration.inversion.filters import NOISE_ALONE
from calibration.inversion.invert import Inversion, invert
from calibration.inversion.kept import Kept, capture_name, instrument_name
from calibration.inversion.lines import corrected, find_peaks, summary
from calibration.inversion.measurement import check_file, frames, open_measurement
from calibration.inversion.problem import Spectra
from calibration.inversion.scenes import scene_on_lines, spectra_on
from calibration.processing import _spectra_figure, error_budget, larger_than_signal
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import open_cube, save_cube
from hsitools.sensor.layout import SubImageLayout


def test_front_labels_units_and_lamp(instrument: Characterization, tmp_path: Path) -> None:
    low, high = instrument.response.band_nm
    grid = np.linspace(low + 20, high - 20, 60)
    truth = np.ones((60, 4, 4))
    values = np.tensordot(instrument.response.matrix(grid), truth, axes=1)
    plain = invert(values, instrument, "ridge", grid=grid)
    assert plain.cube.units == "calibration lamp"
    assert plain.std is not None
    assert plain.cube.shape == plain.std.shape == (60, 4, 4)
    lamp = (np.array([low, high]), np.array([2.0, 2.0]))
    bright = invert(values, instrument, "ridge", grid=grid, lamp=lamp)
    assert bright.cube.units == "radiance"
    assert_allclose(bright.spectra.estimate, 2 * plain.spectra.estimate, rtol=1e-9)
    # a table finer than the grid, with a slope: its value at each wavelength, at the outermost, too
    fine = np.linspace(low, high, 2001)
    table = tmp_path / "lamp.csv"
    rows = "\n".join(f"{place},{value}" for place, value in zip(fine, fine / 100, strict=True))
    table.write_text("# our lamp\nnm, radiance (W m-2 sr-1 nm-1)\n" + rows)
    sloped = invert(values, instrument, "ridge", grid=grid, lamp=table)
    assert sloped.cube.units == sloped.spectra.units == "W m-2 sr-1 nm-1"
    assert_allclose(sloped.spectra.estimate, plain.spectra.estimate * grid[:, None, None] / 100, rtol=1e-9)
    assert invert(values, instrument, "ridge", grid=grid, lamp=table, lamp_units="mW").cube.units == "mW"
    with pytest.raises(InputError, match="lamp_units: found 'mW' without a lamp"):
        invert(values, instrument, lamp_units="mW")


def test_bad_input_is_one_line(instrument: Characterization) -> None:
    band = instrument.response.band_nm
    with pytest.raises(InputError, match="interferometers: found 59, expected 60"):
        invert(np.ones((59, 4, 4)), instrument)
    other = Cube(data=np.ones((60, 4, 4)), meta={"opd_um": list(instrument.opd_um * 1.3)}, name="frames of uv_1")
    with pytest.raises(InputError, match="another instrument"):
        invert(other, instrument)
    with pytest.raises(InputError, match="illumination: found 500 to 600 nm, expected to cover"):
        invert(np.ones((60, 4, 4)), instrument, illumination=(np.array([500.0, 600.0]), np.ones(2)))
    with pytest.raises(InputError, match="calibrated band"):
        invert(np.ones((60, 4, 4)), instrument, "ridge", grid=np.linspace(band[0] - 50, band[1], 30))
    with pytest.raises(InputError, match="did you mean 'ridge'"):
        invert(np.ones((60, 4, 4)), instrument, "ridg")
    layout = SubImageLayout(frame_shape=(120, 60), grid=(10, 6), pitch=(10, 10), origin=(5, 5))
    device = replace(instrument, layout=layout)
    frame = np.full((120, 60), 100.0)
    with pytest.raises(InputError, match="dark: missing"):
        frames(frame, None, device)
    with pytest.raises(InputError, match=r"full scale 100, expected a shorter exposure"):
        frames(frame, 0 * frame, device, full_scale=100)
    with pytest.raises(InputError, match=r"frames: found shape \(60, 60\)"):
        frames(frame[:60], 0 * frame, device)
    cut = frames(np.stack([frame, frame + 2]), 0 * frame + 1, device)
    assert cut.values.shape == (60, 9, 9)
    assert_allclose(cut.values, 100)
    assert cut.noise_std is not None
    assert_allclose(cut.noise_std, 1)


def test_a_grid_beyond_memory_is_refused_before_anything_is_read(instrument: Characterization) -> None:
    """After 24 s of work 1.8 TiB could not be had: an internal error."""
    low, high = instrument.response.band_nm
    with pytest.raises(InputError, match=r"grid: memory: 500000 wavelengths .*; choose a larger step"):
        parse_grid("400:900:0.001")
    with pytest.raises(InputError, match="grid: found a step too small"):
        parse_grid("400:900:1e-320")
    with pytest.raises(InputError, match="--grid: found '400:inf:1'"):
        parse_grid("400:inf:1")
    assert len(parse_grid("400:900:0.5")) == 1001
    with pytest.raises(InputError, match="grid: memory: 500000 wavelengths"):
        invert(Path("is never opened"), instrument, grid=np.linspace(low, high, 500_000))


def test_frames_of_a_monochromator_are_no_scene(instrument: Characterization, tmp_path: Path) -> None:
    layout = SubImageLayout(frame_shape=(120, 60), grid=(10, 6), pitch=(10, 10), origin=(5, 5))
    device = replace(instrument, layout=layout)
    frame = np.full((2, 120, 60), 100.0)
    for name, line in (("lines", [1.5, 1.6]), ("laser", [1.5, 1.5])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["frames"], file["dark"], file["wavenumber"] = frame, 0 * frame[0], line
    with pytest.raises(InputError, match="wavenumber: found 2 lines of a monochromator, one a frame"):
        open_measurement(tmp_path / "lines.h5", device)
    with pytest.raises(InputError, match="wavenumber: found 2 lines of a monochromator, one a frame"):
        check_file(tmp_path / "lines.h5", (120, 60), 60)
    # repeated frames of one line are a scene: a laser's light
    assert open_measurement(tmp_path / "laser.h5", device).shape == (60, 9, 9)


def test_the_budget_names_no_prior_of_a_filter_and_says_when_it_exceeds_the_signal() -> None:
    cube = Cube(data=np.ones((1, 2, 2)))
    std = np.full((3, 2, 2), 0.5)

    def inversion(**more: Any) -> Inversion:
        spectra = Spectra(wavelength_nm=np.arange(3.0), estimate=2 * std, std=std, mask=np.ones((2, 2), bool), **more)
        return Inversion(cube=cube, std=cube, mask=cube, spectra=spectra)

    def budget(**more: Any) -> dict[str, np.ndarray]:
        return error_budget(inversion(**more))

    def drawn(**more: Any) -> list[str]:
        figure = _spectra_figure(inversion(**more), budget(**more))
        return [str(line.get_label()) for line in figure.axes[2].lines]

    filtered = budget(parameters={"std": NOISE_ALONE})
    assert sorted(filtered) == ["all", "noise"]
    assert_allclose(filtered["noise"], 0.5)
    assert sorted(budget()) == ["all", "noise and prior"]
    assert sorted(budget(noise_std=0.6 * std)) == ["all", "noise", "prior"]
    assert_allclose(budget(noise_std=0.6 * std)["prior"], 0.4)
    # a single part is the whole: one line
    assert drawn() == ["all: noise and prior"]
    assert drawn(noise_std=0.6 * std) == ["noise", "prior", "all"]
    # one pixel that nothing was told of, among four, is not all that the budget tells
    std[:, 1, 1] = 50
    assert_allclose(budget()["all"], 0.5)
    assert larger_than_signal(filtered, 1.0) == ""
    assert larger_than_signal(filtered, 0.25).startswith("the standard deviation is 200 % of the signal")


def test_curves_must_be_positive_and_cover() -> None:
    grid = np.linspace(500, 600, 11)
    with pytest.raises(InputError, match="positive"):
        on_grid(grid, np.linspace(-1, 1, 11), grid, "lamp")
    assert_allclose(on_grid(np.array([400.0, 700.0]), np.array([1.0, 4.0]), grid, "lamp"), 1 + (grid - 400) / 100)


def test_a_single_wrong_entry_is_not_averaged_away() -> None:
    """A code for a missing value among many, and a wavelength that was measured twice."""
    grid, fine = np.linspace(500, 600, 11), np.linspace(490, 610, 121)
    negative = np.where(fine == 555, -0.5, 1.0)
    with pytest.raises(InputError, match=r"lamp: found -0.5 at 555 nm, expected positive"):
        on_grid(fine, negative, grid, "lamp")
    # beyond the band nothing is asked of it
    assert_allclose(on_grid(fine, np.where(fine < 495, -1.0, 1.0), grid, "lamp"), 1)
    again = np.insert(fine, 60, fine[60])
    assert_allclose(on_grid(again, np.ones(122), grid, "lamp"), 1)
    with pytest.raises(InputError, match=r"lamp: found 5 and 1 at 550 nm, expected one value"):
        on_grid(again, np.insert(np.ones(121), 60, 5.0), grid, "lamp")
    # but for the nearest one, from which a line leads into it
    coarse = np.array([480.0, 498.0, 502.0, 598.0, 602.0])
    for place, wavelength in ((1, 498), (4, 602)):
        with pytest.raises(InputError, match=rf"lamp: found -0.2 at {wavelength} nm, expected positive"):
            on_grid(coarse, np.where(np.arange(5) == place, -0.2, 1.0), grid, "lamp")
        with pytest.raises(InputError, match=rf"lamp: found 1 and 7 at {wavelength} nm, expected one value"):
            on_grid(np.insert(coarse, place, coarse[place]), np.insert(np.ones(5), place + 1, 7.0), grid, "lamp")
    assert_allclose(on_grid(coarse, np.array([-1.0, 1, 1, 1, 1]), grid, "lamp"), 1)


def test_curves_finer_than_the_grid_are_averaged_over_its_samples() -> None:
    grid = np.array([500.0, 510.0, 530.0, 540.0])
    fine = np.linspace(495, 545, 501)
    assert_allclose(on_grid(fine, np.full(501, 3.0), grid, "lamp"), 3)
    # over a hat of unequal sides the mean of a straight line is the line at the hat's centre of gravity
    assert_allclose(on_grid(fine, fine, grid, "lamp"), [500 + 10 / 3, 510 + 10 / 3, 530 - 10 / 3, 540 - 10 / 3])
    # the value at the sample is another matter
    assert_allclose(on_grid(fine, fine, grid, "lamp", centred=True), grid)
    # what is averaged is what the grid's samples together hold: power is kept
    lines = 1 + 50 * np.exp(-0.5 * ((fine - 517) / 0.5) ** 2)
    weight = np.array([5.0, 15.0, 15.0, 5.0])
    inner = np.linspace(500, 540, 100001)
    whole = np.interp(inner, fine, lines).mean() * 40
    assert float(on_grid(fine, lines, grid, "lamp") @ weight) == pytest.approx(whole, rel=1e-4)


def test_spectra_on_a_grid_are_straight_between_bands() -> None:
    cube = Cube(data=np.array([4.0, 2.0, 2.0])[:, None, None], wavelength_nm=np.array([700.0, 500.0, 600.0]))
    assert_allclose(spectra_on(cube, np.array([500.0, 650.0, 700.0]))[:, 0, 0], np.array([2.0, 3.0, 4.0]) / 3)


@pytest.mark.parametrize("kind", ["bad", "nan", "nodata"])
def test_bands_of_a_scene_that_were_not_measured_are_no_truth(instrument: Characterization, kind: str) -> None:
    wavelength = np.array([500.0, 550.0, 600.0, 700.0, 900.0])
    light = np.array([2.0, 9.0, 2.0, 4.0, 9.0])[:, None, None] * np.ones((2, 2))
    wrong = np.array([False, True, False, False, True])
    light[wrong] = {"bad": 9, "nan": np.nan, "nodata": -9999}[kind]
    good = ~wrong if kind == "bad" else np.ones(5, dtype=bool)
    cube = Cube(data=light, wavelength_nm=wavelength, good=good, nodata=-9999.0 if kind == "nodata" else None)
    expected = np.array([2.0, 2.0, 3.0, 4.0]) * 4 / 11
    assert_allclose(spectra_on(cube, np.array([500.0, 550.0, 650.0, 700.0]))[:, 0, 0], expected)
    assert scene_on_lines(instrument, cube)[0].max() <= 700
    with pytest.raises(InputError, match="found no band that was measured"):
        spectra_on(cube.replace(data=np.full_like(light, np.nan)), wavelength)


def test_readings_of_lines_are_corrected_by_calibration_lines() -> None:
    rng = np.random.default_rng(0)
    place = np.linspace(400, 800, 400)

    def readings(wavelength: np.ndarray) -> dict[str, np.ndarray]:
        # a scale that is .3 nm off, and a window that holds four fifths of the energy
        n = len(wavelength)
        return {
            "wavelength_nm": wavelength, "position_nm": wavelength + 0.3 + 0.05 * rng.standard_normal(n),
            "energy_window": 0.8 * (1 + 0.02 * rng.standard_normal(n)), "resolution_nm": np.full(n, 2.0),
            "fwhm_nm": np.full(n, 2.0), "sidelobe": np.zeros(n), "spacing_nm": np.full(n, 1.0),
        }  # fmt: skip

    record = summary(corrected(readings(rng.uniform(410, 790, 300)), readings(place)))
    assert record["position_nm_median"] < 0.05
    assert record["energy"] == pytest.approx(1, abs=0.01)
    assert record["gross_percent"] == 0
    assert 0.9 < record["coverage95_energy"] < 0.99
    assert 0.9 < record["coverage95_position"] < 0.99
    held = readings(rng.uniform(410, 790, 300))
    # of these another peak is as high as the one that was taken, which is the wrong one of two
    held["sidelobe"][:6] = 1.0
    held["position_nm"][:3] += 100.0
    doubtful = summary(corrected(held, readings(place)))
    assert doubtful["gross_percent"] == pytest.approx(1)
    assert doubtful["flagged_percent"] == pytest.approx(2)
    assert doubtful["gross_unflagged_percent"] == 0


def test_a_line_between_two_samples_lies_at_their_centre_of_gravity() -> None:
    grid = np.linspace(500, 600, 101)
    line = np.zeros(101)
    line[40], line[41] = 0.7, 0.3
    spectra = Spectra(wavelength_nm=grid, estimate=line[:, None, None], std=None, mask=np.ones((1, 1), dtype=bool))
    assert find_peaks(spectra).position_nm[0] == pytest.approx(540.3, abs=1e-9)


def test_peaks_lie_where_they_are_and_are_as_wide() -> None:
    grid = np.linspace(500, 600, 101)
    line = np.exp(-0.5 * ((grid - 540.3) / 4) ** 2)
    spectra = Spectra(wavelength_nm=grid, estimate=line[:, None, None], std=None, mask=np.ones((1, 1), dtype=bool))
    peaks = find_peaks(spectra)
    assert peaks.position_nm[0] == pytest.approx(540.3, abs=0.01)
    assert peaks.fwhm_nm[0] == pytest.approx(2.3548 * 4, rel=0.01)


def test_commands_run_list_and_compare(instrument: Characterization, tmp_path: Path) -> None:
    low, high = instrument.response.band_nm
    instrument.save(tmp_path / "device.h5")
    grid = np.linspace(low, high, 40)
    values = np.tensordot(instrument.response.matrix(grid), np.ones((40, 6, 6)), axes=1)
    values += 1e-3 * values.mean() * np.random.default_rng(0).standard_normal(values.shape)
    save_cube(Cube(data=values, meta={"opd_um": [float(v) for v in instrument.opd_um]}), tmp_path / "frames.h5")
    arguments = ["run", str(tmp_path / "frames.h5"), "--instrument", str(tmp_path / "device.h5"), "--json"]
    done = CliRunner().invoke(
        group,
        [*arguments, "-o", str(tmp_path / "out.h5"), "--grid", "400:900:10", "--report", str(tmp_path / "report")],
    )
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["units"] == "calibration lamp"
    cube, std, mask = (open_cube(tmp_path / f"out{suffix}.h5") for suffix in ("", "_std", "_mask"))
    assert cube.shape == std.shape == (51, 6, 6)
    assert mask.read().all()
    assert (tmp_path / "report" / "report.html").is_file()
    # light of one in units of the lamp, within its error bars
    assert (np.abs(cube.read() - 1) <= 4 * std.read()).mean() > 0.95
    lines = CliRunner().invoke(group, ["methods", "--json"])
    assert {"ridge", "gp", "joint"} <= {row["name"] for row in json.loads(lines.output)}
    with open(tmp_path / "lamp.csv", "w") as file:
        file.write("nm,radiance\n500,1\n600,1\n")
    wrong = CliRunner().invoke(
        group, [*arguments, "-o", str(tmp_path / "no.h5"), "--illumination", str(tmp_path / "lamp.csv")]
    )
    assert wrong.exit_code != 0
    assert not list(tmp_path.glob("no*"))
    slope = np.broadcast_to(np.linspace(1, 2, 9)[:, None, None], (9, 5, 5)).copy()
    save_cube(Cube(data=slope, wavelength_nm=np.linspace(400, 900, 9)), tmp_path / "scene.h5")
    asked = [
        "benchmark", "--scenes", str(tmp_path / "scene.h5"), "--instrument", str(tmp_path / "device.h5"),
        "--snr", "100", "300", "--methods", "ridge,gp", "--out", str(tmp_path / "kept.jsonl"), "--json",
    ]  # fmt: skip
    records = json.loads(CliRunner().invoke(group, asked).output)
    assert [(record["snr"], record["method"]) for record in records] == [
        (100, "ridge"), (100, "gp"), (300, "ridge"), (300, "gp"),
    ]  # fmt: skip
    # a killed run's last line is cut; what is whole is not computed again, to the same seconds
    whole = (tmp_path / "kept.jsonl").read_text()
    (tmp_path / "kept.jsonl").write_text(whole[: whole.rstrip("\n").rfind("\n") + 9])
    again = json.loads(CliRunner().invoke(group, asked).output)
    assert again[:3] == records[:3]
    assert {**again[3], "seconds": 0} == {**records[3], "seconds": 0}
    assert {"nrmse", "sam_deg", "coverage95", "seconds"} <= set(records[0])
    assert records[1]["nrmse"] < records[0]["nrmse"]


def test_results_kept_are_of_all_that_decides_them(
    instrument: Characterization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a capture with another flat field, of an instrument less sure of itself, of lines dealt of another capture."""
    rng = np.random.default_rng(0)
    ones = np.ones((6, 30))
    intensity = 1 + 0.1 * rng.random(ones.shape)
    capture = MonochromaticCapture(intensity=intensity, flat=ones, wavenumber=np.linspace(1, 2, 30))
    flat = replace(capture, flat=ones + 0.1 * rng.random(ones.shape))
    for other in (flat, replace(capture, linewidth_nm=2.0), replace(capture, index=np.arange(1, 7))):
        assert capture_name(other) != capture_name(capture)
    assert capture_name(replace(capture, name="b", source="b.h5")) == capture_name(capture)
    unsure = replace(instrument, covariance=2 * instrument.covariance)
    brighter = replace(instrument, response=replace(instrument.response, flat=2 * instrument.response.flat))
    assert len({instrument_name(one) for one in (instrument, unsure, brighter)}) == 3
    assert instrument_name(replace(instrument, name="b", seconds=9.0)) == instrument_name(instrument)
    grid = np.linspace(400, 900, 9)
    cube = Cube(data=np.broadcast_to(np.linspace(1, 2, 9)[:, None, None], (9, 5, 5)).copy(), wavelength_nm=grid)
    done: list[str] = []
    monkeypatch.setattr(scenes, "_record", lambda entry, *_: {"method": done.append(entry.name)})
    kept = Kept()
    for device in (instrument, instrument, unsure):
        scenes.compare(cube, device, ["ridge"], snrs=[100.0], kept=kept)
    for one in (capture, flat):
        scenes.compare(cube, instrument, ["ridge"], snrs=[100.0], kept_lines=0.5, capture=one, kept=kept)
    assert len(done) == 4


def test_a_scene_is_read_once_and_wrong_numbers_are_told(instrument: Characterization, tmp_path: Path) -> None:
    read: list[str] = []

    grid = np.linspace(400, 900, 9)
    values = np.broadcast_to(np.linspace(1, 2, 9)[:, None, None], (9, 5, 5)).copy()
    cube = Cube(data=values, wavelength_nm=grid)
    counted = SimpleNamespace(**{name: getattr(cube, name) for name in ("wavelength_nm", "good", "who")})
    counted.physical = lambda: SimpleNamespace(read=lambda: read.append("read") or values)
    lines, truth = scenes.scene_on_lines(instrument, counted)  # type: ignore[arg-type]
    assert read == ["read"]
    assert_allclose(truth, spectra_on(cube, lines))
    with pytest.raises(InputError, match=r"kept-lines: found 0.01, 2 of 151 lines, which characterize nothing"):
        scenes.fewer_lines(instrument, 0.01, 0)
    asked = ["benchmark", "--scenes", str(tmp_path), "--instrument", str(tmp_path), "--snr", "inf"]
    assert "--snr: found inf, expected positive numbers" in str(CliRunner().invoke(group, asked).exception)


def test_spectra_lie_where_their_interferograms_do(instrument: Characterization) -> None:
    values = np.tensordot(instrument.response.matrix(np.linspace(400, 900, 40)), np.ones((40, 3, 4)), axes=1)
    image = Cube(data=values, crs="EPSG:32633", transform=(30.0, 0.0, 5e5, 0.0, -30.0, 4e6))
    result = invert(image, instrument, "gp")
    assert result.std is not None
    for cube in (result.cube, result.std, result.mask):
        assert (cube.crs, cube.transform) == (image.crs, image.transform)


def test_a_device_that_is_none_is_told_whatever_the_method():
    """Also to methods that need none, and before anything is read."""
    with pytest.raises(InputError, match="device: found 'gpu'"):
        invert(np.ones((2, 1, 1)), "none.h5", "ridge", device="gpu")
