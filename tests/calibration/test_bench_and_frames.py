"""The simulated bench, raw frames, the grid found in them, and extraction."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import simulated_bench as bench
from calibration.captures.extract import dark_frame, extract
from calibration.captures.frames import FrameStack, describe
from calibration.captures.sub_images import find_layout, layout_figure
from hsitools.commands.root import main
from hsitools.errors import FormatError, InputError
from hsitools.sensor.layout import ORDERS, SubImageLayout

LINES = bench.lines(40)


@pytest.fixture(scope="module")
def device():
    return bench.simulate_instrument(24, rng=np.random.default_rng(1), rows=4, pitch=28)


@pytest.fixture(scope="module")
def frames_path(device, tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "frames.h5"
    bench.write_frames(path, device, LINES, rng=np.random.default_rng(2), hot_share=0.002)
    return path


class TestBench:
    def test_same_seed_same_frames(self, tmp_path):
        for name in ("a.h5", "b.h5"):
            rng = np.random.default_rng(3)
            instrument = bench.simulate_instrument(6, rng=rng, rows=2, pitch=16)
            bench.write_frames(tmp_path / name, instrument, LINES[:5], rng=rng)
        with h5py.File(tmp_path / "a.h5") as one, h5py.File(tmp_path / "b.h5") as other:
            for member in ("frames", "flat", "dark"):
                # digital numbers: rounding may tip a few from one to the next
                apart = np.abs(one[member][()].astype(float) - other[member][()])
                assert (apart > 0).mean() < 1e-3

    def test_mean_over_a_fringe_is_the_gain(self):
        rng = np.random.default_rng(4)
        instrument = bench.simulate_instrument(5, rng=rng, opd_offset_um=40.0, dispersion_rad=0.0)
        sigma = np.linspace(2.0, 2.0 + 20 / instrument.opd_um[0], 20001)[:-1]
        ratio = instrument.transmittance(sigma)[0] / instrument.gain_at(sigma)[0]
        assert ratio.mean() == pytest.approx(1, abs=0.01)

    def test_a_broad_line_washes_fringes_out(self):
        """First harmonic under a Gaussian line falls by exp(−2(π·OPD·σ_line)²), larger OPDs more."""
        rng = np.random.default_rng(5)
        instrument = bench.simulate_instrument(1, rng=rng, opd_offset_um=30.0)
        instrument = replace(instrument, reflectivity=np.array([[0.02]]))
        sigma = np.linspace(1.9, 2.1, 2000)
        width_nm = 3.0
        sharp, broad = (bench.expectation(instrument, sigma, w) / instrument.flat(sigma) for w in (0.0, width_nm))
        gain = instrument.gain_at(sigma)
        fall = np.std(broad / gain) / np.std(sharp / gain)
        sigma_line = width_nm / 2.3548 * 4 / 1000
        assert fall == pytest.approx(np.exp(-2 * (np.pi * instrument.opd_um[0] * sigma_line) ** 2), rel=0.1)

    def test_noise_is_as_told(self, device):
        wavenumber = bench.lines(400)
        mean = bench.expectation(device, wavenumber)
        measured = bench.capture(device, wavenumber, rng=np.random.default_rng(6), linewidth_nm=0.0).intensity
        relative = np.sqrt(((measured - mean) ** 2).mean(axis=1)) / mean.mean(axis=1)
        assert relative.mean() == pytest.approx(0.095, rel=0.03)

    def test_faults(self, device):
        rng = np.random.default_rng(7)
        spoiled = bench.capture(device, LINES, rng=rng, saturation=0.9, hot_share=0.02, drift=0.05)
        assert spoiled.saturated.any()
        assert not spoiled.mask[spoiled.saturated].any()
        assert spoiled.intensity.max() <= 0.9


class TestLayout:
    def test_published_device_file(self, captures_dir):
        layout = SubImageLayout.from_device_json(captures_dir / "imspoc_uv_2" / "device.json")
        assert layout.grid == (11, 29)
        assert layout.n_sub_images == 319
        assert layout.order == "column-snake"
        np.testing.assert_allclose(layout.centres()[:2], [[71, 40], [167, 40]])

    @given(rows=st.integers(1, 7), columns=st.integers(1, 7), order=st.sampled_from(ORDERS))
    def test_every_sub_image_once(self, rows, columns, order):
        layout = SubImageLayout(
            frame_shape=(100, 100), grid=(rows, columns), pitch=(10.0, 10.0), origin=(5.0, 5.0), order=order
        )
        position = layout.grid_position()
        assert len(np.unique(position, axis=0)) == rows * columns
        steps = np.abs(np.diff(position, axis=0)).sum(axis=1)
        if "snake" in order:
            assert (steps == 1).all()
        assert SubImageLayout.from_dict(layout.to_dict()) == layout

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"order": "spiral"}, "order: found 'spiral'"),
            ({"origin": (5.0, 95.0)}, "x: found centres from 95 to 115, expected inside the frame"),
            ({"grid": (0, 3)}, "expected positive"),
        ],
    )
    def test_wrong(self, change, message):
        fields = {
            "frame_shape": (100, 100),
            "grid": (3, 3),
            "pitch": (10.0, 10.0),
            "origin": (5.0, 5.0),
            "order": "row",
        }
        with pytest.raises(InputError, match=message):
            SubImageLayout(**{**fields, **change})

    def test_device_file_errors(self, tmp_path):
        path = tmp_path / "d.json"
        with pytest.raises(FormatError, match="device"):
            SubImageLayout.from_device_json(path)
        path.write_text("{")
        with pytest.raises(FormatError, match="expected JSON"):
            SubImageLayout.from_device_json(path)
        path.write_text(json.dumps({"image_size": [10, 10]}))
        with pytest.raises(InputError, match="subimage_amount: missing"):
            SubImageLayout.from_device_json(path)


class TestGeometry:
    @pytest.mark.parametrize(("rows", "pitch"), [(4, 28), (5, 20), (3, 41), (8, 32)])
    def test_grid_is_found(self, tmp_path, rows, pitch):
        rng = np.random.default_rng(pitch)
        truth = bench.simulate_instrument(rows * 6, rng=rng, rows=rows, pitch=pitch)
        bench.write_frames(tmp_path / "f.h5", truth, LINES[::8], rng=rng)
        stack = FrameStack(tmp_path / "f.h5")
        layout = find_layout(stack.mean() - dark_frame(stack)[0])
        assert layout.grid == truth.layout.grid
        assert np.abs(layout.centres() - truth.layout.centres()).max() < 1.0

    def test_no_grid(self):
        frame = np.random.default_rng(0).normal(100, 1, (120, 160))
        with pytest.raises(InputError, match="grid along y: found no period"):
            find_layout(frame)

    def test_figure(self, device):
        frame = np.ones(device.layout.frame_shape)
        assert layout_figure(frame, device.layout).axes[0].get_xlabel() == "x / pixel"


class TestExtract:
    def test_transmittance_is_recovered(self, device, frames_path):
        capture = extract(FrameStack(frames_path), device.layout)
        ratio = capture.intensity / capture.flat
        truth = device.transmittance(capture.wavenumber)
        error = (ratio - truth)[capture.mask]
        assert np.median(np.abs(error)) < 0.02
        assert capture.mask.mean() > 0.97

    def test_hot_pixels_do_not_show(self, device, frames_path):
        stack = FrameStack(frames_path)
        assert dark_frame(stack)[1].mean() == pytest.approx(0.002, rel=0.5)
        with h5py.File(frames_path) as file:
            assert file["frames"].shape[0] == stack.n_lines
        capture = extract(stack, device.layout)
        noise = np.abs(capture.intensity / capture.flat - device.transmittance(capture.wavenumber))
        assert noise[capture.mask].max() < 0.3

    def test_saturation_is_masked(self, device, tmp_path):
        bench.write_frames(tmp_path / "f.h5", device, LINES[:8], rng=np.random.default_rng(8), signal=20000.0)
        capture = extract(FrameStack(tmp_path / "f.h5"), device.layout)
        assert capture.saturated.any()
        assert not (capture.mask & capture.saturated).any()

    def test_percentile(self, device, frames_path):
        low, high = (extract(FrameStack(frames_path), device.layout, percentile=p) for p in (50, 98))
        assert (high.intensity >= low.intensity).mean() > 0.95

    def test_order_of_acquisition_does_not_matter(self, device, frames_path, tmp_path):
        shuffle = np.random.default_rng(9).permutation(len(LINES))
        with h5py.File(frames_path) as old, h5py.File(tmp_path / "f.h5", "w") as new:
            new["frames"], new["flat"] = old["frames"][()][shuffle], old["flat"][()][shuffle]
            new["dark"], new["wavelength_nm"] = old["dark"][()], 1000 / LINES[shuffle]
        one, other = (extract(FrameStack(p), device.layout) for p in (frames_path, tmp_path / "f.h5"))
        np.testing.assert_allclose(one.intensity, other.intensity, rtol=1e-9)

    def test_wrong_arguments(self, device, frames_path):
        stack = FrameStack(frames_path)
        with pytest.raises(InputError, match="window: found 4, expected an odd"):
            extract(stack, device.layout, window=4)
        with pytest.raises(InputError, match="percentile: found 101"):
            extract(stack, device.layout, percentile=101)
        other = replace(device.layout, frame_shape=(500, 500))
        with pytest.raises(InputError, match=r"frames: found \d+×\d+ pixels, expected 500×500"):
            extract(stack, other)


class TestFrames:
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda f: f.__delitem__("frames"), "frames: missing"),
            (lambda f: f.__delitem__("wavenumber"), "wavenumber: missing"),
            (lambda f: (f.__delitem__("dark"), f.create_dataset("dark", data=np.ones((3, 4)))), "dark: found shape"),
            (lambda f: (f.__delitem__("wavenumber"), f.create_dataset("wavenumber", data=[1, 2])), "wavenumber: found"),
            (lambda f: (f.__delitem__("frames"), f.create_dataset("frames", data=np.ones(5))), "frames: found float64"),
        ],
    )
    def test_wrong_files(self, frames_path, tmp_path, spoil, message):
        path = tmp_path / "f.h5"
        path.write_bytes(frames_path.read_bytes())
        with h5py.File(path, "a") as file:
            spoil(file)
        with pytest.raises(InputError, match=message):
            FrameStack(path)

    def test_not_there(self, tmp_path):
        with pytest.raises(FormatError, match="found no such file"):
            FrameStack(tmp_path / "none.h5")

    def test_describe(self, frames_path, tmp_path):
        assert describe(frames_path)["n_lines"] == len(LINES)
        assert describe(tmp_path) is None


class TestCommandLine:
    def run(self, *arguments):
        with pytest.raises(SystemExit) as done:
            main([str(argument) for argument in arguments])
        return done.value.code

    def test_frames_to_capture(self, capsys, tmp_path):
        assert self.run("capture", "simulate", "--frames", "--n", 16, "--lines", 12, "--out", tmp_path / "f.h5") == 0
        code = self.run(
            "capture", "extract", tmp_path / "f.h5", "--device", tmp_path / "f.device.json", "--out", tmp_path / "c.h5",
            "--figure", tmp_path / "grid.png", "--json",
        )  # fmt: skip
        captured = capsys.readouterr()
        assert code == 0, captured.err
        assert '"n_interferometers": 16' in captured.out  # no place of the grid is empty
        assert f'"source": "{tmp_path / "f.h5"}"' in captured.out
        assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")

    def test_device_of_another_camera(self, capsys, frames_path, captures_dir, tmp_path):
        device = captures_dir / "imspoc_uv_2" / "device.json"
        assert self.run("capture", "extract", frames_path, "--device", device, "--out", tmp_path / "c.h5") == 2
        assert "expected 1096×2808 as the device file says" in capsys.readouterr().err
        assert not (tmp_path / "c.h5").exists()

    def test_simulated_capture(self, capsys, tmp_path):
        assert self.run("capture", "simulate", "--n", 9, "--lines", 30, "--out", tmp_path / "c.h5", "--json") == 0
        assert self.run("capture", "simulate", "--n", 0, "--out", tmp_path / "c.h5") == 2
        assert "found 0 interferometers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "values", "units"),
    [
        ("wavelength_nm", [500.0, 600.0, 700.0, 800.0], None),
        ("wavelength_um", [0.5, 0.6, 0.7, 0.8], None),
        ("wavelength", [0.5, 0.6, 0.7, 0.8], "um"),
        ("wavelength", [500.0, 600.0, 700.0, 800.0], "nm"),
        ("wavelengths", [5000.0, 6000.0, 7000.0, 8000.0], "Angstroms"),
        ("wavenumber", [2.0, 1000 / 600, 1000 / 700, 1.25], "um-1"),
        ("wavenumber", [2.0, 1000 / 600, 1000 / 700, 1.25], None),
        ("wavenumber", [20000.0, 1e7 / 600, 1e7 / 700, 12500.0], "cm-1"),
        ("wavenumber", [0.002, 1 / 600, 1 / 700, 0.00125], "nm-1"),
    ],
)
def test_lines_in_any_usual_unit(tmp_path, field, values, units):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["frames"] = np.ones((4, 8, 8), np.uint16)
        file[field] = values
        if units:
            file[field].attrs["units"] = units
    np.testing.assert_allclose(1000 / FrameStack(tmp_path / "x.h5").wavenumber, [800, 700, 600, 500])


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        ("wavelength_nm", [500.0, -600.0, 700.0], r"x\.h5: wavelength_nm: found numbers that are not positive"),
        ("wavenumber", [0.002, 0.0016, 0.0014], r"x\.h5: wavenumber: found 3 lines"),
        ("wavelength_nm", [1.0, 2.0, 3.0], r"x\.h5: wavelength_nm: found nm, expected wavelengths"),
        ("wavelength", [500.0, 600.0], r"x\.h5: wavelength: found shape \(2,\), expected \(3,\), one a frame"),
        ("other", [1.0, 2.0, 3.0], r"x\.h5: wavenumber: missing, expected one of wavenumber, wavelength_nm"),
    ],
)
def test_messages_name_the_field_that_the_file_has(tmp_path, field, values, said):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["frames"] = np.ones((3, 8, 8), np.uint16)
        file[field] = values
    with pytest.raises(InputError, match=said):
        FrameStack(tmp_path / "x.h5")


def test_wavenumbers_in_another_unit_are_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["frames"], file["wavenumber"] = np.ones((4, 8, 8), np.uint16), [0.001, 0.0014, 0.0016, 0.002]
    with pytest.raises(InputError, match=r"x\.h5: wavenumber: found 0\.001 to 0\.002, which looks like nm⁻¹"):
        FrameStack(tmp_path / "x.h5")


def test_dark_frames_of_another_exposure_are_refused(device, frames_path, tmp_path):
    path = tmp_path / "frames.h5"
    path.write_bytes(frames_path.read_bytes())
    with h5py.File(path, "r+") as file:
        dark = file["dark"][()] + 6000
        del file["dark"]
        file["dark"] = dark
    with pytest.raises(InputError, match=r"frames\.h5: dark: found brighter than the frames at \d+ % of the samples"):
        extract(FrameStack(path), device.layout)


def test_dark_frames_are_held_against_what_lies_between_sub_images(device, frames_path, tmp_path, caplog):
    """Twice the dark level left all samples positive: gains were off by as much, and nothing was said."""
    extract(FrameStack(frames_path), device.layout)
    assert "where no light falls" not in caplog.text
    path = tmp_path / "frames.h5"
    path.write_bytes(frames_path.read_bytes())
    with h5py.File(path, "r+") as file:
        light = float(file["frames"][()].mean()) - float(np.median(file["dark"]))
        file["dark"][...] = file["dark"][()] + np.uint16(0.04 * light)
    extract(FrameStack(path), device.layout)
    assert "frames.h5: dark: found" in caplog.text
    assert "above the frames where no light falls" in caplog.text
    with h5py.File(path, "r+") as file:
        file["dark"][...] = file["dark"][()] + np.uint16(0.3 * light)
    with pytest.raises(InputError, match=r"frames\.h5: dark: found [\d.]+ above the frames where no light falls"):
        extract(FrameStack(path), device.layout)


def test_frames_that_lie_elsewhere_than_the_layout_says(device, frames_path):
    layout = replace(device.layout, origin=tuple(place - 4 for place in device.layout.origin))
    with pytest.raises(InputError, match=r"frames: found the sub-images 4 pixels beyond their places along y"):
        extract(FrameStack(frames_path), layout)


def test_frames_that_repeat_another_lines_are_said(device, frames_path, tmp_path, caplog):
    """A scan that wrote one frame twice: two lines with the same light, and the same noise."""
    with h5py.File(frames_path) as old, h5py.File(tmp_path / "f.h5", "w") as new:
        for name, data in old.items():
            new[name] = data[()]
        new["frames"][7] = new["frames"][3]
    extract(FrameStack(frames_path), device.layout)
    assert "number by number" not in caplog.text
    extract(FrameStack(tmp_path / "f.h5"), device.layout)
    assert "found 1 frame to repeat that of another line number by number" in caplog.text


def test_pixels_without_a_number_are_left_out(device, frames_path, tmp_path):
    path = tmp_path / "frames.h5"
    path.write_bytes(frames_path.read_bytes())
    # a pixel beside every third centre
    centres = np.rint(device.layout.centres()).astype(int)[::3]
    with h5py.File(path, "r+") as file:
        for name in ("frames", "flat", "dark"):
            values = file[name][()].astype(np.float32)
            del file[name]
            if name != "flat":
                values[:, centres[:, 0] + 1, centres[:, 1]] = np.nan
            file[name] = values
    whole, part = (extract(FrameStack(one), device.layout) for one in (frames_path, path))
    np.testing.assert_array_equal(part.mask, whole.mask)
    others = np.setdiff1d(np.arange(24), np.arange(0, 24, 3))
    np.testing.assert_array_equal(part.intensity[others], whole.intensity[others])
    np.testing.assert_allclose(part.intensity, whole.intensity, rtol=0.1, atol=30)


def test_frames_that_lie_in_another_file_are_refused(tmp_path):
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["frames"] = np.ones((3, 8, 8), np.uint16)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["frames"], file["wavelength_nm"] = h5py.ExternalLink("y.h5", "/frames"), [500.0, 600.0, 700.0]
    with pytest.raises(InputError, match="link to another file"):
        FrameStack(tmp_path / "x.h5")


def test_quiet_darks_of_whole_numbers_make_no_pixel_hot(tmp_path):
    """Medians of a few darks are mostly one number: their robust spread is zero, and pixels off by one are not hot."""
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["frames"] = np.full((4, 40, 50), 900, np.uint16)
        file["wavelength_nm"] = [500.0, 600.0, 700.0, 800.0]
        dark = np.rint(100 + 0.4 * rng.standard_normal((8, 40, 50)))
        dark[:, 3, 4] += 60
        file["dark"] = dark.astype(np.uint16)
    _, hot = dark_frame(FrameStack(tmp_path / "x.h5"))
    assert np.argwhere(hot).tolist() == [[3, 4]]


def test_info_tells_frames_of_a_scene(tmp_path):
    """They have no wavelengths, which is no fault of theirs."""
    with h5py.File(tmp_path / "scene.h5", "w") as file:
        file["frames"], file["dark"] = np.ones((2, 4, 5), np.uint16), np.ones((4, 5), np.uint16)
        file.attrs["full_scale"] = 4095
    told = describe(tmp_path / "scene.h5")
    assert told["kind"].startswith("raw frames without wavelengths")
    assert (told["shape"], told["dark_frames"], told["full_scale"]) == ([2, 4, 5], 1, 4095)
