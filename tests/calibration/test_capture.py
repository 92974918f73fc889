"""Captures: readers, validation, round trips."""

import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibration.captures import capture as module
from calibration.captures.capture import MonochromaticCapture, describe, open_capture
from calibration.captures.checks import check_wavenumber
from calibration.pipeline import characterize
from hsitools.errors import FormatError, InputError
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.transmittance import TransmittanceModel

ROWS, LINES = 3, 6
WAVENUMBER = np.linspace(1.0, 2.0, LINES)
LAYOUT = SubImageLayout(frame_shape=(40, 60), grid=(2, 3), pitch=(20.0, 20.0), origin=(10.0, 10.0), order="row")


def samples(rows=ROWS, lines=LINES):
    return np.arange(1.0, rows * lines + 1).reshape(rows, lines)


def make(**changes):
    values = {"intensity": samples(), "flat": 2 * samples(), "wavenumber": WAVENUMBER, "name": "bench"}
    return MonochromaticCapture(**(values | changes))


def assert_same(one, two):
    for name in module.NOTES:
        left, right = getattr(one, name), getattr(two, name)
        assert (left is None) == (right is None), name
        if left is not None:
            np.testing.assert_array_equal(left, right, strict=True)
    assert (one.name, one.opd_step_um, one.layout) == (two.name, two.opd_step_um, two.layout)


@pytest.fixture
def folder(tmp_path):
    """A valid capture folder."""
    path = tmp_path / "instrument_7"
    path.mkdir()
    write(path, data=samples(), mean=3 * samples(), norm=2 * samples(), central_wavenumbers=WAVENUMBER)
    (path / "options.json").write_text(json.dumps({"opd_step": 0.25, "is_normalized": False, "device_id": "seven"}))
    return path


def write(folder, **arrays):
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)


def refused(kind, *words):
    """Context: an error of ``kind`` on one line that holds all ``words``."""

    def check(error):
        text = str(error)
        return "\n" not in text and all(str(word) in text for word in words)

    return pytest.raises(kind, check=check)


class TestObject:
    def test_derived(self):
        capture = make()
        assert (capture.n_interferometers, capture.n_lines) == (ROWS, LINES)
        assert capture.band_nm == (500.0, 1000.0)
        assert capture.opd_limit_um == pytest.approx(0.5 / 0.2)
        np.testing.assert_allclose(capture.wavelength_nm * capture.wavenumber, 1000)
        np.testing.assert_array_equal(capture.index, [0, 1, 2])
        assert capture.mask.all()

    def test_input_is_not_changed(self):
        intensity = samples()
        intensity[0, 0] = np.nan
        before = intensity.copy()
        capture = make(intensity=intensity)
        np.testing.assert_array_equal(intensity, before)
        assert not np.shares_memory(capture.intensity, intensity)

    def test_select(self):
        capture = make(neighbourhood=5 * samples(), saturated=samples() > 7)
        part = capture.select(rows=np.array([2, 0]), wavelengths_nm=(1000 / 1.25, 500))
        np.testing.assert_array_equal(part.index, [2, 0])
        np.testing.assert_allclose(part.wavenumber, [1.4, 1.6, 1.8, 2.0])
        np.testing.assert_array_equal(part.intensity, samples()[[2, 0], 2:])
        np.testing.assert_array_equal(part.neighbourhood, 5 * part.intensity)
        np.testing.assert_array_equal(part.saturated, part.intensity > 7)
        assert_same(capture, capture.select())
        with refused(InputError, "bench: wavelengths: found 2 lines in 500 to 600 nm", "500.0 to 1000.0 nm"):
            capture.select(wavelengths_nm=(500, 600))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("field", ["intensity", "flat"])
    def test_samples_that_are_not_finite_are_masked(self, field, bad, caplog):
        values = samples()
        values[1, 2] = values[2, 4] = bad
        capture = make(**{field: values})
        assert sorted(zip(*np.nonzero(~capture.mask), strict=True)) == [(1, 2), (2, 4)]
        assert "2 samples left out" in caplog.text
        assert (capture.intensity[~capture.mask] == 0).all()
        assert (capture.flat[~capture.mask] == 1).all()

    def test_a_column_of_nan(self):
        values = samples()
        values[:, 3] = np.nan
        assert not make(intensity=values).mask[:, 3].any()

    @pytest.mark.parametrize("bad", [0.0, -1.0])
    def test_flat_that_is_not_positive_is_masked(self, bad):
        flat = samples()
        flat[0, 1] = bad
        assert np.argwhere(~make(flat=flat).mask).tolist() == [[0, 1]]

    def test_negative_samples_stay(self):
        values = samples()
        values[0, 0] = -0.5
        capture = make(intensity=values)
        assert capture.mask.all()
        assert capture.intensity[0, 0] == -0.5

    @pytest.mark.parametrize("dark", [np.zeros(LINES), [-3, 1, 0, 0, 1, 1], np.full(LINES, np.nan)])
    def test_dark_interferometers_are_masked(self, dark, caplog):
        values = samples()
        values[1] = dark
        capture = make(intensity=values)
        np.testing.assert_array_equal(capture.dark, [False, True, False])
        assert not capture.mask[1].any()
        assert (capture.intensity[1] == 0).all()
        assert "left out" in caplog.text

    @given(
        intensity=hnp.arrays(np.float64, (ROWS, LINES), elements=st.floats(width=32)),
        flat=hnp.arrays(np.float64, (ROWS, LINES), elements=st.floats(width=32)),
        mask=hnp.arrays(bool, (ROWS, LINES)),
    )
    def test_never_a_nan(self, intensity, flat, mask):
        assume(not mask.any() or (mask & (flat > 0)).any())
        capture = make(intensity=intensity, flat=flat, mask=mask)
        assert np.isfinite(capture.intensity).all()
        assert np.isfinite(capture.flat).all()
        assert (capture.flat > 0).all()
        assert not (capture.mask & ~mask).any()

    def test_unknown_neighbourhood_is_said(self, caplog):
        values = samples()
        values[0, 0] = np.nan
        assert make(neighbourhood=values).mask.all()
        assert "missing (not finite) at 1 usable sample" in caplog.text

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"intensity": samples()[0]}, ["intensity", "(6,)", "(interferometer, 6)"]),
            ({"intensity": samples().T}, ["intensity", "(6, 3)"]),
            ({"intensity": np.empty((0, LINES))}, ["intensity", "(0, 6)"]),
            ({"intensity": samples().astype(complex)}, ["intensity", "complex128", "real numbers"]),
            ({"intensity": samples().astype(str)}, ["intensity", "<U"]),
            ({"intensity": samples().astype(object)}, ["intensity", "object"]),
            ({"flat": samples()[:2]}, ["flat", "(2, 6)", "(3, 6)"]),
            ({"flat": np.full((ROWS, LINES), "1")}, ["flat", "<U1", "real numbers"]),
            ({"mask": np.ones(LINES, bool)}, ["mask", "(6,)"]),
            ({"mask": np.full((ROWS, LINES), np.nan)}, ["mask", "float64", "true or false"]),
            ({"neighbourhood": samples()[:, :5]}, ["neighbourhood", "(3, 5)"]),
            ({"saturated": samples()}, ["saturated", "float64"]),
            ({"index": np.array([0, 1])}, ["index", "3 distinct whole numbers"]),
            ({"index": np.array([0, 1, 1])}, ["index"]),
            ({"index": np.array([0, -1, 1])}, ["index"]),
            ({"index": np.array([0.0, 1.0, 2.0])}, ["index"]),
            ({"opd_step_um": np.nan}, ["opd_step_um", "nan", "µm"]),
            ({"opd_step_um": 0.0}, ["opd_step_um", "0.0"]),
            ({"layout": LAYOUT, "index": np.array([0, 1, 6])}, ["layout", "6 sub-images", "7"]),
        ],
    )
    def test_refused(self, changes, words):
        with refused(InputError, "bench: ", *words):
            make(**changes)


class TestWavenumber:
    @given(order=st.permutations(range(LINES)))
    def test_only_one_order_is_right(self, order):
        assume(list(order) != sorted(order))
        with refused(InputError, "where: found", "expected ascending wavenumbers"):
            check_wavenumber(WAVENUMBER[list(order)], "where")

    @given(place=st.integers(0, LINES - 1), other=st.integers(0, LINES - 1))
    def test_duplicates_are_named_by_their_places(self, place, other):
        assume(place != other)
        values = WAVENUMBER.copy()
        values[other] = values[place]
        with refused(InputError, f"{values[place]:g} twice (at {min(place, other)} and {max(place, other)})"):
            check_wavenumber(values, "where")

    @given(low=st.floats(200, 2000), span=st.floats(10, 2000), descending=st.booleans())
    @example(low=350, span=650, descending=True)
    def test_nanometres_are_recognised(self, low, span, descending):
        values = np.linspace(low, low + span, 50)
        with refused(InputError, "looks like nm", "1000 / wavelength in nm", "µm⁻¹"):
            check_wavenumber(values[::-1] if descending else values, "where")

    @given(st.floats(0.03, 8), st.floats(0.01, 2), st.integers(4, 60))
    def test_any_band_is_accepted(self, low, span, lines):
        values = low + span * np.linspace(0, 1, lines) ** 1.5  # unevenly spaced
        np.testing.assert_array_equal(check_wavenumber(values, "where"), values)

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ([1, 2, 3], ["3 lines", "at least 4"]),
            ([], ["0 lines"]),
            ([[1, 2, 3, 4]], ["(1, 4)"]),
            ([1, 2, np.nan, 4], ["1 value not finite", "first at 2"]),
            ([1, 2, 3, np.inf], ["not finite", "first at 3"]),
            ([0, 1, 2, 3], ["found 0 at 0", "positive"]),
            ([-1, 1, 2, 3], ["found -1 at 0"]),
            (["1", "2", "3", "4"], ["<U1"]),
            ([1j, 2, 3, 4], ["complex128"]),
            ([True, False, True, False], ["bool"]),
        ],
    )
    def test_refused(self, values, words):
        with refused(InputError, "where: ", *words):
            check_wavenumber(values, "where")


class TestFile:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"index": np.array([4, 0, 5]), "layout": LAYOUT, "opd_step_um": 0.1},
            {"neighbourhood": 3 * samples(), "saturated": samples() > 17, "mask": samples() < 18},
        ],
    )
    def test_round_trip(self, tmp_path, changes):
        capture = make(**changes)
        capture.save(tmp_path / "capture.h5")
        loaded = open_capture(tmp_path / "capture.h5")
        assert_same(capture, loaded)
        assert loaded.source == str(tmp_path / "capture.h5")

    @given(hnp.arrays(np.float64, (ROWS, LINES), elements=st.floats(-1e300, 1e300) | st.just(np.nan)))
    def test_round_trip_is_exact(self, intensity):
        capture = make(intensity=intensity)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "capture.h5"
            capture.save(path)
            assert_same(capture, MonochromaticCapture.load(path))

    def test_lines_told_in_ascending_nanometres(self, tmp_path):
        """Whole columns are reversed, as a monochromator's scan from blue to red is in wavenumbers."""
        widths = np.linspace(0.4, 0.6, LINES)
        capture = make(neighbourhood=3 * samples(), saturated=samples() > 17, mask=samples() < 18, linewidth_nm=widths)
        path = tmp_path / "capture.h5"
        capture.save(path)
        with h5py.File(path, "r+") as file:
            for name in set(file) - {"index"}:
                file[name][...] = file[name][()][..., ::-1]
            file["wavenumber"][...] = 1000 / file["wavenumber"][()]
            file["wavenumber"].attrs["units"] = "nm"
        loaded = open_capture(path)
        np.testing.assert_allclose(loaded.wavenumber, capture.wavenumber, rtol=1e-14)
        assert_same(replace(loaded, wavenumber=capture.wavenumber), capture)

    def test_self_describing(self, tmp_path):
        make(neighbourhood=samples(), saturated=samples() > 3, linewidth_nm=0.5).save(tmp_path / "capture.h5")
        with h5py.File(tmp_path / "capture.h5") as file:
            assert (file.attrs["format"], file.attrs["version"]) == ("hsitools-capture", 1)
            assert set(file) == set(module.NOTES)
            for dataset in file.values():
                assert dataset.attrs["units"]
                assert dataset.attrs["long_name"]

    def test_failed_save_leaves_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setitem(module.NOTES, "intensity", (object(), "no HDF5 attribute"))
        with pytest.raises(TypeError):
            make().save(tmp_path / "capture.h5")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda file: file.attrs.__delitem__("format"), ["format: found none"]),
            (lambda file: file.attrs.modify("version", 99), ["version: found 99, expected 1"]),
            (lambda file: file.__delitem__("flat"), ["flat: missing"]),
            (lambda file: (file.__delitem__("wavenumber"), file.create_group("wavenumber")), ["wavenumber: missing"]),
            (lambda file: file.attrs.create("opd_step_um", "wide"), ["opd_step_um", "wide"]),
            (lambda file: file.attrs.create("layout", "{"), ["layout"]),
            (lambda file: file.attrs.create("layout", "{}"), ["layout", "frame_shape"]),
            (lambda file: file["wavenumber"].write_direct(1000 / WAVENUMBER), ["wavenumber", "looks like nm"]),
        ],
    )
    def test_broken_files_are_refused(self, tmp_path, change, words):
        path = tmp_path / "capture.h5"
        make().save(path)
        with h5py.File(path, "r+") as file:
            change(file)
        with refused(InputError, path, *words):
            open_capture(path)

    @pytest.mark.parametrize("keep", [0, 100, 3000])
    def test_truncated(self, tmp_path, keep):
        path = tmp_path / "capture.h5"
        make().save(path)
        path.write_bytes(path.read_bytes()[:keep])
        with refused(FormatError, path, "expected a capture"):
            open_capture(path)

    def test_intensity_and_flat_exchanged(self, tmp_path):
        """Fringes in the flat field were fitted all the same, R² .99, and nothing was flagged."""
        wavenumber, opd = np.linspace(1.0, 2.5, 40), np.arange(2.0, 8.0)[:, None]
        flat = np.linspace(1, 2, 40) * (1 + 0.1 * np.arange(6))[:, None]
        fringes = flat * (1 + 0.4 * np.cos(2 * np.pi * wavenumber * opd))
        make(wavenumber=wavenumber, intensity=fringes, flat=flat).save(tmp_path / "right.h5")
        np.testing.assert_array_equal(open_capture(tmp_path / "right.h5").flat, flat)
        make(wavenumber=wavenumber, intensity=flat, flat=fringes).save(tmp_path / "wrong.h5")
        with pytest.raises(
            InputError, match=r"flat: found rows that differ .* in intensity, .*: are the two exchanged?"
        ):
            open_capture(tmp_path / "wrong.h5")
        # divided already, and without a file: the same
        exchanged = make(wavenumber=wavenumber, intensity=np.ones_like(flat), flat=fringes)
        with pytest.raises(InputError, match="are the two exchanged"):
            characterize(exchanged, TransmittanceModel())

    def test_masked_samples_exchange_nothing(self):
        """Of flat fields that are alike, some saturated in half of the lines."""
        flat = np.full((6, 40), 5000.0) * np.linspace(1, 3, 40)
        mask = np.ones(flat.shape, bool)
        mask[::2, 20:] = False
        make(wavenumber=np.linspace(1.0, 2.5, 40), intensity=flat, flat=flat, mask=mask).check_not_exchanged()

    def test_a_flat_without_light(self):
        with refused(InputError, "flat: found no positive number"):
            make(flat=np.zeros((ROWS, LINES)))
        # nothing is usable, and nothing is asked of the flat field
        make(flat=np.zeros((ROWS, LINES)), mask=np.zeros((ROWS, LINES), bool))

    def test_what_a_file_was_made_from(self, tmp_path):
        """`hsi capture extract` named its own output as the source."""
        path = tmp_path / "capture.h5"
        make(source="frames.h5").save(path)
        assert describe(path)["source"] == "frames.h5"
        capture = open_capture(path)
        assert (capture.source, capture.made_from) == (str(path), "frames.h5")
        assert capture.provenance == f"{path}, made from frames.h5"
        capture.save(path)
        assert open_capture(path).made_from == "frames.h5"

    def test_missing(self, tmp_path):
        with refused(FormatError, tmp_path / "none.h5", "found no such file or folder"):
            open_capture(tmp_path / "none.h5")


class TestFolder:
    def test_reads(self, folder):
        capture = open_capture(folder)
        np.testing.assert_array_equal(capture.intensity, samples())
        np.testing.assert_array_equal(capture.flat, 2 * samples())
        np.testing.assert_array_equal(capture.neighbourhood, 3 * samples())
        assert (capture.name, capture.opd_step_um, capture.layout) == ("seven", 0.25, None)
        assert capture.source == str(folder)

    def test_layout_from_the_device_file(self, folder):
        (folder / "device.json").write_text(json.dumps(LAYOUT.to_dict()))
        assert open_capture(folder).layout == LAYOUT
        (folder / "device.json").write_text("[]")
        with refused(InputError, folder / "device.json"):
            open_capture(folder)

    def test_descending_is_reversed(self, folder, caplog):
        expected = open_capture(folder)
        flipped = {"data": samples(), "mean": 3 * samples(), "norm": 2 * samples()}
        write(folder, central_wavenumbers=WAVENUMBER[::-1], **{k: v[:, ::-1] for k, v in flipped.items()})
        with caplog.at_level(logging.INFO):
            assert_same(open_capture(folder), expected)
        assert "reversed" in caplog.text

    def test_optional_files(self, folder):
        for name in ("mean.npy", "norm.npy"):
            (folder / name).unlink()
        with refused(FormatError, folder / "norm.npy", "missing"):
            open_capture(folder)
        (folder / "options.json").write_text('{"is_normalized": true}')
        capture = open_capture(folder)
        assert (capture.flat == 1).all()
        assert capture.neighbourhood is None
        assert (capture.name, capture.opd_step_um) == ("instrument_7", None)

    @pytest.mark.parametrize("name", ["data", "central_wavenumbers"])
    def test_missing_arrays(self, folder, name):
        (folder / f"{name}.npy").unlink()
        with refused(FormatError, folder / f"{name}.npy", "missing"):
            open_capture(folder)

    @pytest.mark.parametrize("share", [0.0, 0.02, 0.7])
    def test_arrays_that_were_not_copied_whole(self, folder, share):
        path = folder / "data.npy"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with refused(FormatError, path, "found a file that ends early"):
            open_capture(folder)

    def test_empty_folder(self, tmp_path):
        with refused(FormatError, tmp_path, "missing, expected in a capture folder"):
            open_capture(tmp_path)

    def test_a_folder_of_captures(self, folder):
        with refused(FormatError, folder.parent, f"found a folder of {folder.name}/; name one of them"):
            open_capture(folder.parent)

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"data": samples().T}, ["data.npy", "(6, 3)", "(interferometer, 6)"]),
            ({"data": samples()[0]}, ["data.npy", "(6,)"]),
            ({"norm": samples()[:, :5]}, ["norm.npy", "(3, 5)"]),
            ({"norm": samples()[:2]}, ["flat", "(2, 6)", "(3, 6)"]),
            ({"mean": samples()[None]}, ["mean.npy", "(1, 3, 6)"]),
            ({"data": samples().astype(complex)}, ["data.npy", "complex128"]),
            ({"data": samples().astype(object)}, ["data.npy", "NumPy array of numbers"]),
            ({"central_wavenumbers": 1000 / WAVENUMBER}, ["central_wavenumbers.npy", "looks like nm"]),
            ({"central_wavenumbers": 1000 / WAVENUMBER[::-1]}, ["central_wavenumbers.npy", "looks like nm"]),
            ({"central_wavenumbers": WAVENUMBER[[0, 2, 1, 3, 4, 5]]}, ["central_wavenumbers.npy", "at 2", "ascending"]),
            ({"central_wavenumbers": WAVENUMBER[[0, 1, 1, 3, 4, 5]]}, ["central_wavenumbers.npy", "at 1 and 2"]),
            ({"central_wavenumbers": WAVENUMBER[None]}, ["central_wavenumbers.npy", "(1, 6)"]),
            ({"central_wavenumbers": np.float64(1)}, ["central_wavenumbers.npy", "()"]),
        ],
    )
    def test_wrong_arrays(self, folder, arrays, words):
        write(folder, **arrays)
        with refused(InputError, folder, *words):
            open_capture(folder)

    def test_files_of_another_kind(self, folder):
        (folder / "data.npy").write_bytes(b"not an array\nat all")
        with refused(FormatError, folder / "data.npy"):
            open_capture(folder)
        (folder / "data.npy").write_bytes(b"")
        with refused(FormatError, folder / "data.npy"):
            open_capture(folder)
        with (folder / "data.npy").open("wb") as file:
            np.savez(file, samples())
        with refused(FormatError, folder / "data.npy", "archive"):
            open_capture(folder)

    @pytest.mark.parametrize(
        ("text", "words"),
        [("{", ["JSON"]), ("[1]", ["list"]), ('{"opd_step": "wide"}', ["opd_step", "'wide'", "µm"])],
    )
    def test_wrong_options(self, folder, text, words):
        (folder / "options.json").write_text(text)
        with refused(InputError, folder / "options.json", *words):
            open_capture(folder)


class TestDescribe:
    def test_counts(self, tmp_path):
        intensity = samples()
        intensity[0, :3] = [-1, np.nan, -2]
        intensity[2] = 0
        make(intensity=intensity, opd_step_um=0.2, layout=LAYOUT).save(tmp_path / "capture.h5")
        document = describe(tmp_path / "capture.h5")
        assert document is not None
        expected = {
            "kind": "monochromatic capture", "n_interferometers": 3, "n_lines": 6, "band_nm": [500.0, 1000.0],
            "opd_limit_um": pytest.approx(2.5), "line_spacing_per_um": pytest.approx(0.2), "opd_step_um": 0.2,
            "masked_samples": 7, "negative_samples": 2, "dark_interferometers": 1, "intensity_range": [-2.0, 12.0],
            "grid": [2, 3],
        }  # fmt: skip
        assert {name: document[name] for name in expected} == expected

    def test_everything_dark(self, tmp_path):
        make(intensity=np.zeros((ROWS, LINES))).save(tmp_path / "capture.h5")
        document = describe(tmp_path / "capture.h5")
        assert document is not None
        assert (document["intensity_range"], document["dark_interferometers"]) == (None, ROWS)

    def test_other_files_are_not_ours(self, tmp_path):
        (tmp_path / "text").write_text("text")
        with h5py.File(tmp_path / "other.h5", "w") as file:
            file.attrs["format"] = "other"
        for name in ("none", "text", "other.h5", "."):
            assert describe(tmp_path / name) is None


@pytest.mark.parametrize(
    ("name", "shape", "step", "negative"),
    [
        ("imspoc_uv_1", (216, 101), 0.2, 2),
        ("imspoc_uv_2", (319, 451), 0.175, 1308),
        ("wfai_1", (672, 551), 0.175, 5276),
    ],
)
def test_real_captures(captures_dir, tmp_path, name, shape, step, negative):
    capture = open_capture(captures_dir / name)
    assert capture.intensity.shape == shape
    assert capture.name == name
    assert capture.opd_step_um == pytest.approx(step)
    document = describe(captures_dir / name)
    assert document is not None
    assert (document["negative_samples"], document["masked_samples"]) == (negative, 0)
    capture.save(tmp_path / "capture.h5")
    assert_same(capture, open_capture(tmp_path / "capture.h5"))


def test_wavenumbers_are_read_in_the_unit_that_the_file_tells(tmp_path):
    path = tmp_path / "c.h5"
    make().save(path)
    with h5py.File(path, "r+") as file:
        file["wavenumber"][...] = 1e4 * WAVENUMBER
        file["wavenumber"].attrs["units"] = "cm-1"
    np.testing.assert_allclose(MonochromaticCapture.load(path).wavenumber, WAVENUMBER)


def test_rows_of_noise_about_zero_are_dark_whatever_their_sum():
    rng = np.random.default_rng(0)
    intensity = 100 + 30 * rng.standard_normal((30, 50))
    intensity[::3] = 2 * rng.standard_normal((10, 50))
    # half of them have a positive sum by chance
    assert 0 < (intensity[::3].sum(axis=1) > 0).sum() < 10
    # a dim one whose light is certain stays
    intensity[1] /= 1e6
    capture = make(intensity=intensity, flat=np.ones_like(intensity), wavenumber=np.linspace(1, 2, 50))
    assert np.flatnonzero(capture.dark).tolist() == list(range(0, 30, 3))
