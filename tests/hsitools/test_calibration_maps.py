"""Gain and offset of each detector element: in the sensor, its file, its simulation and the command."""

import json

import h5py
import numpy as np
import pytest

from hsitools.commands.root import main
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import save_cube
from hsitools.scenes import scene
from hsitools.sensor import (
    EMIT_DRIFT,
    Calibration,
    Defects,
    GaussianResponse,
    Sensor,
    Stripes,
    open_calibration,
    preset,
)
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.photon.transfer import photon_transfer

BANDS, COLUMNS = 9, 24
CENTRE = np.linspace(500.0, 900.0, BANDS)


def maps(seed=0, shape=(BANDS, COLUMNS)):
    rng = np.random.default_rng(seed)
    dead = np.zeros(shape, dtype=bool)
    dead[2, 5] = dead[4, 7:9] = True
    return {
        "gain": 1 + 0.05 * rng.standard_normal(shape), "offset": 0.01 * rng.standard_normal(shape), "dead": dead,
    }  # fmt: skip


def instrument(**parts):
    return Sensor(response=GaussianResponse(centre_nm=CENTRE, width_nm=np.full(BANDS, 20.0)), **parts)


def view(width=COLUMNS):
    return scene((40, width), seed=2).load()


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """The command in a folder of its own: what it prints, or says where it fails."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        with pytest.raises(SystemExit) as done:
            main([str(argument) for argument in arguments])
        assert (done.value.code or 0) == code
        said = capsys.readouterr()
        return said.err if code else said.out

    return call


def write(path, group=None, **datasets):
    with h5py.File(path, "w") as file:
        place = file if group is None else file.create_group(group)
        for name, value in datasets.items():
            place[name] = value
    return path


# ---- the record ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"offset": np.zeros((BANDS, COLUMNS + 1))}, "offset: found shape"),
        ({"gain": np.ones(BANDS)}, "gain: found shape"),
        ({"dead": np.zeros((COLUMNS, BANDS), dtype=bool)}, "dead: found shape"),
        ({"dead": np.full((BANDS, COLUMNS), 2)}, "dead: found other values"),
        ({"gain": np.zeros((BANDS, COLUMNS))}, "gain: found 0"),
        ({"gain": np.full((BANDS, COLUMNS), -0.5)}, "gain: found -0.5"),
        ({"gain": np.full((BANDS, COLUMNS), np.nan)}, "gain: found 213 elements not finite"),
        ({"offset": np.full((BANDS, COLUMNS), np.inf)}, "offset: found 213 elements not finite"),
        ({"gain": np.full((BANDS, COLUMNS), "a")}, "gain: found <U1"),
    ],
)
def test_impossible_maps(change, wrong):
    with pytest.raises(InputError, match=wrong):
        Calibration(**maps() | change)


def test_what_dead_elements_say_does_not_matter():
    found = maps()
    found["gain"][found["dead"]] = np.nan
    found["offset"][2, 5] = np.inf
    found["gain"][4, 7] = -3
    calibration = Calibration(**found)
    assert calibration.gain[2, 5] == 1
    assert calibration.offset[2, 5] == 0
    assert calibration.gain[4, 7] == -3


# ---- the sensor ------------------------------------------------------------------------------------------------


def test_observes_with_it():
    known = maps()
    sensor = instrument(calibration=Calibration(**known), stripes=Stripes(gain=0.3), defects=Defects(dead=0.5, hot=0.2))
    clean = sensor.forward(view()).data
    seen = sensor.observe(view(), np.random.default_rng(0)).data
    expected = known["gain"][:, None] * clean + known["offset"][:, None]
    expected[np.broadcast_to(known["dead"][:, None], expected.shape)] = 0
    np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_lost_lines_remain():
    sensor = instrument(calibration=Calibration(**maps()), defects=Defects(lost_lines=0.2))
    pattern = sensor.pattern((BANDS, 200, COLUMNS), np.random.default_rng(0))
    assert 0.1 < pattern.lost.mean() < 0.3
    assert np.array_equal(pattern.dead, maps()["dead"])


def test_other_widths_and_bands():
    sensor = instrument(calibration=Calibration(**maps()))
    with pytest.raises(InputError, match=r"calibration: found \(9, 24\) \(band, column\), expected \(9, 30\)"):
        sensor.observe(view(30))
    with pytest.raises(InputError, match="calibration: found 5 bands, expected 9"):
        instrument(calibration=Calibration(**maps(shape=(5, COLUMNS))))


def test_not_for_sub_images():
    layout = SubImageLayout(frame_shape=(24, 24), grid=(3, 3), pitch=(8.0, 8.0), origin=(4.0, 4.0))
    with pytest.raises(InputError, match="calibration: found maps"):
        instrument(calibration=Calibration(**maps()), layout=layout)


@pytest.mark.parametrize("bands", [slice(2, 6), np.array([0, 4, 8]), np.arange(BANDS) % 2 == 0])
def test_follows_its_bands(bands):
    sensor = instrument(calibration=Calibration(**maps(), source="bench")).select(bands)
    for name, value in maps().items():
        np.testing.assert_array_equal(getattr(sensor.calibration, name), value[bands])
    assert sensor.calibration.source == "bench"


def test_follows_what_wavelengths_cover():
    sensor = instrument(calibration=Calibration(**maps()))
    covered = sensor.within(np.linspace(640, 1000, 50))
    assert covered.n_bands == 6
    np.testing.assert_array_equal(covered.calibration.gain, maps()["gain"][3:])


def test_file(tmp_path):
    sensor = instrument(calibration=Calibration(**maps(), source="bench"))
    sensor.save(tmp_path / "sensor.h5")
    again = Sensor.load(tmp_path / "sensor.h5")
    for name, value in maps().items():
        np.testing.assert_array_equal(getattr(again.calibration, name), value)
    assert again.calibration.dead.dtype == bool
    assert again.fingerprint() == sensor.fingerprint()
    instrument().save(tmp_path / "plain.h5")
    with h5py.File(tmp_path / "plain.h5") as file:
        assert "calibration" not in file
    assert Sensor.load(tmp_path / "plain.h5").calibration is None


def test_fingerprints():
    one, two = (instrument(calibration=Calibration(**maps(seed))) for seed in (0, 1))
    assert len({instrument().fingerprint(), one.fingerprint(), two.fingerprint()}) == 3


def test_described():
    said = instrument(calibration=Calibration(**maps(), source="bench")).describe()["calibration"]
    assert said.startswith("24 columns, gain 1")
    assert said.endswith("3 dead elements, bench")
    nothing = Calibration(**maps() | {"dead": np.ones((BANDS, COLUMNS), dtype=bool)})
    assert nothing.summary() == "24 columns, 216 dead elements"


# ---- files and the command -------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [None, "g_truth"])
def test_make(run, tmp_path, group):
    sensor = tmp_path / "plain.h5"
    write(tmp_path / "maps.h5", group, **maps())
    save_cube(instrument().forward(view()), tmp_path / "cube.h5")
    run("sensor", "make", "--like", "cube.h5", "--calibration", "maps.h5", "-o", sensor)
    made = Sensor.load(sensor)
    np.testing.assert_allclose(made.response.centre_nm, CENTRE)
    np.testing.assert_allclose(made.response.width_nm, 20)
    for name, value in maps().items():
        np.testing.assert_array_equal(getattr(made.calibration, name), value)
    assert made.calibration.source == ("maps.h5" if group is None else "maps.h5 (g_truth)")
    assert "24 columns" in json.loads(run("sensor", "show", sensor, "--json"))["calibration"]
    assert "3 dead elements" in run("sensor", "show", sensor)
    # a sensor's own file holds its calibration
    np.testing.assert_array_equal(open_calibration(sensor)[0].gain, maps()["gain"])


def test_known_stripes_are_not_drawn(run, tmp_path):
    finch = preset("finch")
    assert finch.stripes is not None
    write(tmp_path / "maps.h5", **maps(shape=(finch.n_bands, 30)))
    command = ("sensor", "make", "--preset", "finch", "--calibration", "maps.h5", "-o", "a.h5")
    assert "expected either --stripes" in run(*command, "--stripes", "emit-drift", code=2)
    run(*command)
    made = Sensor.load(tmp_path / "a.h5")
    assert made.stripes is None
    assert made.calibration.n_columns == 30


@pytest.mark.parametrize(
    ("datasets", "wrong"),
    [
        ({"gain": np.ones((BANDS, 4)), "offset": np.zeros((BANDS, 4))}, "dead: missing"),
        ({"cube": np.ones((BANDS, 4, 4))}, "gain, offset, dead: missing"),
        (maps() | {"offset": np.zeros((2, 2))}, "offset: found shape (2, 2)"),
        (maps(shape=(5, COLUMNS)), "calibration: found 5 bands, expected 9"),
    ],
)
def test_wrong_files(run, tmp_path, datasets, wrong):
    write(tmp_path / "maps.h5", **datasets)
    save_cube(instrument().forward(view()), tmp_path / "cube.h5")
    text = run("sensor", "make", "--like", "cube.h5", "--calibration", "maps.h5", "-o", "out.h5", code=2)
    assert text.count("\n") == 1
    assert wrong in text
    assert not (tmp_path / "out.h5").exists()


def test_no_file_no_hdf5_and_two_groups(tmp_path):
    with pytest.raises(FormatError, match="found no such file, expected a calibration"):
        open_calibration(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("gain")
    with pytest.raises(FormatError, match="expected a calibration"):
        open_calibration(tmp_path / "text.h5")
    write(tmp_path / "two.h5", "a", **maps())
    with h5py.File(tmp_path / "two.h5", "a") as file:
        for name, value in maps().items():
            file[f"b/{name}"] = value
    with pytest.raises(FormatError, match="found calibrations in /a, /b"):
        open_calibration(tmp_path / "two.h5")


def test_from_photon_transfer(run, tmp_path):
    """Frames of a detector whose gain and dark level are known per element give these back."""
    rng = np.random.default_rng(1)
    shape = (BANDS, COLUMNS)
    gain, dark = 1 + 0.03 * rng.standard_normal(shape), 100 + 5 * rng.standard_normal(shape)
    gain[3, 3] = 0.1

    def expose(level):
        return rng.poisson(level * 2 * gain) / 2 + dark + rng.standard_normal(shape)

    found = photon_transfer(
        [expose(0) for _ in range(60)], [[expose(level) for _ in range(40)] for level in (2e4, 3e4)]
    )
    calibration = found.calibration()
    assert calibration.dead[3, 3]
    works = ~calibration.dead
    assert works.mean() > 0.95
    relative = gain / np.median(gain)
    np.testing.assert_allclose((calibration.gain / np.median(calibration.gain))[works], relative[works], atol=0.01)
    np.testing.assert_allclose(calibration.offset[works], (dark - np.median(dark))[works], atol=0.8)

    found.save(tmp_path / "noise.h5")
    save_cube(instrument().forward(view()), tmp_path / "cube.h5")
    command = ("sensor", "make", "--like", "cube.h5", "--calibration", "noise.h5", "-o", "sensor.h5")
    assert "offset: found DN, expected '1'" in run(*command, code=2)
    run(*command, "--noise", "noise.h5")
    made = Sensor.load(tmp_path / "sensor.h5")
    assert made.units == "DN"
    assert made.stripes is None
    np.testing.assert_array_equal(made.calibration.gain, calibration.gain)


# ---- a sensor of a cube's bands --------------------------------------------------------------------------------


def blank(**labels):
    return Cube(data=np.ones((BANDS, 4, 4), dtype=np.float32), name="blank", **labels)


def test_like_a_cube_of_unknown_widths():
    made = Sensor.like(blank(wavelength_nm=np.array([400, 410, 420, 440, 460, 480, 500, 500, 530.0]), units="DN"))
    np.testing.assert_allclose(made.response.width_nm, [10, 10, 10, 20, 20, 20, 20, 20, 30])
    assert made.units == "DN"
    assert any("9 bands as wide" in text for text in made.assumptions)


def test_bands_of_two_detectors_that_overlap_are_as_wide_as_the_others():
    """One detector from 400 to 500 nm, the other from 491 on: bands 1 nm apart are not 1 nm wide."""
    centre = np.sort(np.r_[np.arange(400.0, 501, 10), np.arange(491.0, 600, 10)])
    made = Sensor.like(Cube(data=np.ones((len(centre), 2, 2)), wavelength_nm=centre))
    np.testing.assert_allclose(made.response.width_nm, 10, atol=1.01)


def test_like_keeps_known_widths():
    fwhm = np.full(BANDS, 12.0)
    fwhm[4] = np.nan
    made = Sensor.like(blank(wavelength_nm=CENTRE, fwhm_nm=fwhm))
    np.testing.assert_allclose(made.response.width_nm, np.where(np.arange(BANDS) == 4, 50, 12))


@pytest.mark.parametrize(
    ("cube", "wrong"),
    [
        (blank(), "blank: wavelength_nm: found none"),
        (blank(wavelength_nm=np.where(np.arange(BANDS) < 2, np.nan, CENTRE)), "found 2 bands without"),
        (blank(wavelength_nm=CENTRE).select(bands=[3]), "fwhm_nm: found none"),
    ],
)
def test_like_needs_wavelengths(cube, wrong):
    with pytest.raises(InputError, match=wrong):
        Sensor.like(cube)


def test_drawn_statistics_make_a_calibration():
    """A detector drawn once can be kept: what it does to a scene is then the same for any generator."""
    drawn = EMIT_DRIFT.draw((BANDS, 1, COLUMNS), np.random.default_rng(0))
    sensor = instrument(calibration=Calibration(gain=drawn.gain, offset=drawn.offset, dead=drawn.dead))
    one, two = (sensor.observe(view(), np.random.default_rng(seed)).data for seed in (0, 1))
    np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-7)
