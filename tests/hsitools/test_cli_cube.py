"""``hsi info / convert / quicklook / metrics`` as a user types them."""

import json
import logging

import h5py
import matplotlib.image
import numpy as np
import pytest

from benchmarks.products import write_prisma
from benchmarks.sensors import simulated_stacks
from hsitools.commands.root import Once, main
from hsitools.cube import Cube
from hsitools.figures import photon_transfer_figure, quicklook, rgb_bands, sensor_figure
from hsitools.io import open_cube, save_cube
from hsitools.metrics import names
from hsitools.plot import MISSING
from hsitools.scenes import scene
from hsitools.sensor import Sensor, photon_transfer, preset


@pytest.fixture
def hsi(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as done:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return done.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A PRISMA product, a scene and a fused cube with its reference."""
    path = tmp_path_factory.mktemp("cubes")
    write_prisma(path / "scene.he5", rows=24, columns=18)
    reference = scene((48, 42), seed=1, wavelength_nm=np.linspace(450, 950, 20)).load()
    save_cube(reference, path / "reference.h5")
    noise = 0.01 * np.random.default_rng(0).standard_normal(reference.shape).astype(np.float32)
    save_cube(reference.replace(data=reference.data + noise), path / "fused.h5")
    save_cube(reference.replace(data=np.full_like(noise, np.nan)), path / "empty.h5")
    save_cube(reference.replace(data=reference.data[:, ::2, ::2]), path / "coarse.h5")
    preset("enmap").save(path / "sensor.h5")
    return path


def test_info(hsi, folder):
    code, out, _ = hsi("info", folder / "scene.he5", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["kind"] == "cube"
    assert found["format"] == "prisma"
    assert found["shape"] == [234, 24, 18]
    assert found["pan"] == {"shape": [1, 144, 108], "ratio": 6}
    assert found["crs"] == "EPSG:32633"
    assert found["bad_bands"]
    assert found["memory_mib"] == pytest.approx(234 * 24 * 18 * 4 / 2**20)


def test_convert(hsi, folder, tmp_path):
    out = tmp_path / "scene.h5"
    code, said, _ = hsi(
        "convert", folder / "scene.he5", out, "--bands", "400:1000", "--window", "0:12,6:18", "--drop-bad"
    )
    assert code == 0
    assert "12×12" in said
    part, whole = open_cube(out), open_cube(folder / "scene.he5").drop_bad().select(wavelength=(400, 1000))
    np.testing.assert_array_equal(part.read(), whole.read()[:, :12, 6:18])
    assert part.pan.shape == (1, 72, 72)
    assert part.transform[2] == whole.transform[2] + 6 * 30
    for suffix in ("tif", "hdr"):
        assert hsi("convert", out, tmp_path / f"x.{suffix}")[0] == 0
        np.testing.assert_allclose(open_cube(tmp_path / f"x.{suffix}").wavelength_nm, part.wavelength_nm)


def test_quicklook(hsi, folder, tmp_path):
    assert hsi("quicklook", folder / "reference.h5", "-o", tmp_path / "rgb.png")[0] == 0
    image = matplotlib.image.imread(tmp_path / "rgb.png")
    assert image.shape[2] == 4
    assert max(image.shape) >= 300
    assert image[..., :3].std() > 0.1
    _, out, _ = hsi("quicklook", folder / "reference.h5", "-o", tmp_path / "grey.png", "--bands", "550")
    assert out.count("nm") == 3
    for wrong, said in (("5000", "expected bands of"), ("red", "one or three numbers"), ("1,2", "one or three")):
        assert said in hsi("quicklook", folder / "reference.h5", "-o", tmp_path / "x.png", "--bands", wrong)[2]
    assert hsi("quicklook", folder / "scene.he5", "--pan", "-o", tmp_path / "pan.png")[0] == 0


def test_quicklook_of_large_and_odd_cubes():
    wide = Cube(data=np.random.default_rng(1).random((3, 20, 4001)), wavelength_nm=np.array([450.0, 550, 650]))
    assert quicklook(wide, bands=(2, 1, 0)).shape == (7, 1334, 3)
    bare = Cube(data=np.random.default_rng(0).random((30, 8, 9)))
    assert len(set(rgb_bands(bare))) == 3
    infrared = Cube(data=np.zeros((40, 4, 4)), wavelength_nm=np.linspace(900, 1700, 40))
    assert len(set(rgb_bands(infrared))) == 3
    holed = np.ones((3, 5, 5))
    holed[:, 0, 0] = np.nan
    # told from the brightest one, whatever the page that shows it
    assert tuple(quicklook(Cube(data=holed))[0, 0]) == MISSING
    assert (quicklook(Cube(data=np.full((3, 4, 4), np.nan))) == MISSING).all()
    # the units do not matter to a picture; an even band is black
    values = np.random.default_rng(2).random((3, 20, 20)).astype(np.float32)
    for unit in (1e-13, 1e13):
        difference = quicklook(Cube(data=unit * values)).astype(int) - quicklook(Cube(data=values))
        assert np.abs(difference).max() <= 1
    assert (quicklook(Cube(data=np.full((3, 4, 4), 7.0)))[..., :3] == 0).all()


def test_metrics_table_and_json(hsi, folder):
    code, out, err = hsi("metrics", folder / "fused.h5", folder / "reference.h5", "--ratio", 6)
    assert code == 0, err
    assert [line.split()[0] for line in out.splitlines()] == names("full reference")
    code, out, _ = hsi("metrics", folder / "fused.h5", folder / "reference.h5", "--ratio", 6, "--json", "--per-band")
    found = json.loads(out)
    assert set(names("full reference")) <= set(found)
    assert found["SAM"]["unit"] == "degree"
    assert found["ERGAS"]["unit"] == "%"
    assert len(found["RMSE"]["per_band"]) == 20
    assert found["RMSE"]["value"] == pytest.approx(0.01, rel=0.02)
    assert found["Q2n"]["excluded"] == {}


def test_metrics_per_band_table(hsi, folder):
    _, out, _ = hsi("metrics", folder / "fused.h5", folder / "reference.h5", "--per-band", "--metric", "rmse")
    assert len(out.splitlines()) == 1 + 2 + 20
    _, out, _ = hsi("metrics", folder / "fused.h5", folder / "reference.h5", "--per-band", "--metric", "sam")
    assert out.splitlines()[1:] == ["SAM has no value per band: whole spectra or all bands together are compared"]


def test_wrong_files_are_told_the_way_on(hsi, folder, tmp_path):
    save_cube(open_cube(folder / "reference.h5").select(window=(0, 4, 0, 4)), tmp_path / "coarse.h5")
    code, _, err = hsi("metrics", folder / "fused.h5", tmp_path / "coarse.h5")
    assert code == 2
    assert "expected 4×4 as in" in err
    assert "a cube before fusion goes with --coarse" in err
    with h5py.File(tmp_path / "device.h5", "w") as file:
        file.attrs["format"] = "hsitools-characterization"
    code, _, err = hsi("simulate", "--sensor", tmp_path / "device.h5", "-o", tmp_path / "x.h5")
    assert "expected 'hsitools-sensor' (hsi sensor from makes one of it)" in err
    assert "found nothing known (a folder)" in hsi("convert", tmp_path, tmp_path / "x.h5")[2]


def test_metrics_without_ratio_says_so(hsi, folder):
    _, out, err = hsi("metrics", folder / "fused.h5", folder / "reference.h5")
    assert "ERGAS needs --ratio" in err
    assert "ERGAS" not in out


def test_metrics_says_that_it_guessed_the_range(hsi, folder):
    _, out, err = hsi("metrics", folder / "fused.h5", folder / "reference.h5", "--json")
    assert "PSNR" in err
    assert "--data-range was not given" in err
    assert json.loads(out)["PSNR"]["data_range_guessed"] is True
    _, out, err = hsi("metrics", folder / "fused.h5", folder / "reference.h5", "--data-range", 1, "--json")
    assert "--data-range" not in err
    assert json.loads(out)["PSNR"]["data_range"] == 1


def test_metrics_takes_the_offset_of_the_maps(hsi, tmp_path):
    rng = np.random.default_rng(0)
    fine = Cube(data=rng.random((4, 24, 24)).astype(np.float32), transform=(10, 0, 500, 0, -10, 900))
    pan = Cube(data=fine.read()[:1], transform=fine.transform)
    save_cube(fine, tmp_path / "fine.h5")
    low = fine.read().reshape(4, 6, 4, 6, 4).mean((2, 4))
    for name, transform, expected in (
        ("centred", (40, 0, 500, 0, -40, 900), 1.5), ("literature", (40, 0, 505, 0, -40, 895), 2.0),
        ("none", None, 1.5),
    ):  # fmt: skip
        save_cube(Cube(data=low, transform=transform, pan=pan), tmp_path / f"{name}.h5")
        code, out, err = hsi("metrics", tmp_path / "fine.h5", "--coarse", tmp_path / f"{name}.h5", "--json")
        assert code == 0, err
        assert json.loads(out)["settings"]["offset"] == expected
    save_cube(Cube(data=low, transform=(40, 0, 700, 0, -40, 900), pan=pan), tmp_path / "away.h5")
    code, _, err = hsi("metrics", tmp_path / "fine.h5", "--coarse", tmp_path / "away.h5")
    assert code != 0
    assert "transform: found the first pixel" in err


def test_metrics_alone_and_fusion(hsi, folder, tmp_path):
    _, out, _ = hsi("metrics", folder / "fused.h5", "--json")
    assert json.loads(out)["noise"]["value"] == pytest.approx(0.01, rel=0.25)
    view = scene((96, 96), seed=1)
    sensor = preset("prisma").within(view.wavelength_nm).select(np.arange(0, 200, 10))
    seen = sensor.forward(view)
    save_cube(seen, tmp_path / "seen.h5")
    fine = sensor.replace(ratio=1, mtf=np.full(20, 0.9), pan=None, noise=None).forward(view)
    save_cube(fine, tmp_path / "fine.h5")
    code, out, err = hsi("metrics", tmp_path / "fine.h5", "--coarse", tmp_path / "seen.h5", "--offset", 2.5, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["D_lambda"]["value"] < 0.02
    assert set(names("full resolution")) <= set(found)


def test_metrics_reports_what_is_left_out(hsi, tmp_path):
    rng = np.random.default_rng(0)
    reference = rng.random((5, 40, 40)).astype(np.float32)
    good = np.array([1, 1, 0, 1, 1], bool)
    holed = reference.copy()
    holed[:, 0, :4] = -1
    save_cube(Cube(data=reference, good=good), tmp_path / "a.h5")
    save_cube(Cube(data=holed, nodata=-1.0), tmp_path / "b.h5")
    _, out, _ = hsi("metrics", tmp_path / "b.h5", tmp_path / "a.h5", "--json")
    found = json.loads(out)
    assert found["settings"]["bad_bands_left_out"] == 1
    assert found["RMSE"]["value"] == 0
    assert found["RMSE"]["excluded"] == {"invalid_voxels": 16}
    assert found["PSNR"]["value"] is None
    assert "infinite" in found["PSNR"]["note"]


def test_values_are_short(hsi, tmp_path):
    hsi("sensor", "make", "--preset", "prisma", "-o", tmp_path / "p.h5")
    assert "[62.0645, 599.244]" in hsi("sensor", "show", tmp_path / "p.h5")[1]


def test_figures_have_units():
    figure = sensor_figure(preset("prisma"))
    labels = [ax.get_xlabel() for ax in figure.axes if ax.axison]
    assert "wavelength / nm" in labels
    assert "cycles / pixel of the sensor" in labels
    dark, flats, full, _ = simulated_stacks(2.0, 10.0, 0.01, 12, np.random.default_rng(0), (60, 70), 4, 8)
    drawn = photon_transfer_figure(photon_transfer(dark, flats, full_scale=full))
    assert drawn.axes[0].get_ylabel() == "temporal variance / DN²"
    assert drawn.axes[0].containers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("convert", "nowhere.h5", "x.h5"), "nowhere.h5: found no such file"),
        (("convert", "{f}/fused.h5", "x.foo"), "output: found suffix '.foo'"),
        (("convert", "{f}/fused.h5", "x.h5", "--bands", "9:1"), "expected LOW below HIGH"),
        (("convert", "{f}/fused.h5", "x.h5", "--bands", "red"), "expected LOW:HIGH"),
        (("convert", "{f}/fused.h5", "x.h5", "--window", "3"), "expected Y0:Y1,X0:X1"),
        (("convert", "{f}/fused.h5", "x.h5", "--window", "0:99,0:9"), "window: found y 0:99"),
        (("convert", "{f}/fused.h5", "no/such/folder/x.h5"), "output: cannot write there"),
        (("convert", "{f}/fused.h5", "{f}/fused.h5/x.h5"), "fused.h5 is a file, expected a folder)"),
        (("info", "{f}"), "name one of them, expected one of"),
        (("denoise", "run", "{f}/fused.h5", "--method", "lowrank", "--seed", "-1", "-o", "x.h5"), ": seed: found -1, "),
        (("denoise", "figures", "{f}/fused.h5", "--bands", "400:500", "-o", "x"), "bands: found 400, expected numbers"),
        (("convert", "{f}/fused.h5", "x.h5", "--scale", "1e-4"), "--scale goes with --dtype"),
        (("metrics", "{f}/fused.h5", "{f}/reference.h5", "--mtf", "0.2"), "--mtf has no effect beside"),
        (("metrics", "{f}/fused.h5", "--data-range", "2"), "--data-range has no effect beside"),
        (("simulate", "{f}/fused.h5", "--sensor", "{f}/sensor.h5", "-o", "x.h5", "--size", "9x9"), "--size has no eff"),
        (("capture", "simulate", "--frames", "--noise", "1", "--out", "x.h5"), "--noise has no effect beside --frames"),
        (("quicklook", "{f}/fused.h5", "-o", "x.jpg"), "expected .png"),
        (("quicklook", "{f}/fused.h5", "--pan", "-o", "x.png"), "pan: missing"),
        (("metrics", "{f}/fused.h5", "{f}/scene.he5"), "found 48×42 pixels, expected 24×18"),
        (("metrics", "{f}/fused.h5", "{f}/reference.h5", "--metric", "Q2m"), "did you mean 'Q2n'"),
        (("metrics", "{f}/fused.h5", "{f}/reference.h5", "--ratio", "0"), "ratio: found 0.0, expected a positive"),
        (("quicklook", "{f}/empty.h5", "-o", "x.png"), "data: found no pixel valid"),
        (("sensor", "show", "{f}/sensor.h5", "--plot", "x.jpg"), "expected .png"),
        (("simulate", "--sensor", "{f}/sensor.h5", "-o", "x.h5", "--seed", "-1"), "seed: found -1"),
        (("metrics", "{f}/fused.h5", "{f}/reference.h5", "--border", "30"), "border: found 30"),
        (("metrics", "{f}/fused.h5", "--coarse", "{f}/coarse.h5", "--metric", "D_s"), "pan: missing, exp"),
        (("metrics", "{f}/fused.h5", "--coarse", "{f}/reference.h5"), "fused.h5: found 48×42 pixels, expected a mult"),
        (("simulate", "--sensor", "nope", "-o", "x.h5"), "sensor: found no such file; preset: found 'nope', expected"),
        (("simulate", "--sensor", "{f}/sensor.h5", "-o", "x.h5", "--size", "0x5"), "--size: found '0x5', expected YxX"),
        (("sensor", "make", "-o", "x.h5"), "expected either --preset or --table"),
        (("sensor", "make", "--preset", "prism", "-o", "x.h5"), "did you mean 'prisma'"),
        (("sensor", "make", "--preset", "imspoc-uv-2", "-o", "x.h5"), "characterization: missing"),
        (("sensor", "make", "--preset", "enmap", "--characterization", "x", "-o", "x.h5"), "expected none"),
        (("sensor", "make", "--preset", "enmap", "--stripes", "zebra", "-o", "x.h5"), "stripes: found 'zebra'"),
        (("sensor", "show", "{f}/fused.h5"), "fused.h5: format: found 'hsitools-cube', expected 'hsitools-sensor'"),
        (("sensor", "from", "{f}/fused.h5", "-o", "x.h5"), "expected 'hsitools-characterization'"),
        (("sensor", "noise", "--dark", "a", "--flat", "b", "-o", "x.h5"), "a: found no such file"),
        (("simulate", "{f}/fused.h5", "--sensor", "nowhere.h5", "-o", "x.h5"), "nowhere.h5: found no such file"),
        (("simulate", "--sensor", "nowhere.h5", "-o", "x.h5", "--size", "9"), "nowhere.h5: found no such file"),
    ],
)  # fmt: skip
def test_errors_are_one_line(hsi, folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = hsi(*(str(argument).format(f=folder) for argument in arguments))
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_wrong_wavelengths_are_refused(hsi, folder, tmp_path):
    cube = open_cube(folder / "fused.h5")
    save_cube(cube.replace(wavelength_nm=cube.wavelength_nm + 40), tmp_path / "x.h5")
    code, _, err = hsi("metrics", tmp_path / "x.h5", folder / "reference.h5")
    assert code == 2
    assert "wavelength_nm: band" in err


def test_no_command_writes_over_its_input(hsi, tmp_path):
    path = tmp_path / "cube.h5"
    save_cube(Cube(data=np.ones((4, 9, 9), dtype=np.float32)), path)
    before = path.read_bytes()
    for words in (("convert", path, path), ("denoise", "run", path, "--method", "lowrank", "-o", path),
                  ("pansharpen", "run", "EXP", path, "-o", path), ("simulate", path, "--sensor", path, "-o", path),
                  ("invert", "run", path, "--instrument", path, "-o", path),
                  ("calibrate", path, "--out", path)):  # fmt: skip
        code, _, err = hsi(*words)
        assert code == 2
        assert "found the input itself, expected another file" in err
    assert path.read_bytes() == before


def test_what_a_ratio_drops_and_a_constant_reference_spans_is_said(hsi, tmp_path):
    save_cube(scene((12, 12), seed=0), tmp_path / "like.h5")
    sensor = Sensor.like(open_cube(tmp_path / "like.h5"))
    sensor = sensor.replace(ratio=6, mtf=np.full(sensor.n_bands, 0.3))
    sensor.save(tmp_path / "sensor.h5")
    expected = "rows and columns of the scene beyond 6×6 are not seen: pixels are 6×6 of its 7×7"
    _, out, _ = hsi("simulate", "--sensor", tmp_path / "sensor.h5", "--size", "7x7", "-o", tmp_path / "x.h5")
    assert expected in out
    save_cube(scene((7, 7), seed=0), tmp_path / "scene.h5")
    _, out, _ = hsi("simulate", tmp_path / "scene.h5", "--sensor", tmp_path / "sensor.h5", "-o", tmp_path / "y.h5")
    assert expected in out
    save_cube(Cube(data=np.ones((2, 16, 16))), tmp_path / "flat.h5")
    fused = Cube(data=np.full((2, 16, 16), 1.1), meta={"pansharpened_by": "GSA", "ratio": 2})
    save_cube(fused, tmp_path / "fused.h5")
    _, out, err = hsi("metrics", tmp_path / "fused.h5", tmp_path / "flat.h5", "--metric", "PSNR", "--metric", "ERGAS")
    assert "took 1, the size of the largest value of the reference, whose bands are constant" in err
    # an error of a tenth of the mean, of a fused cube that says its ratio
    assert "ERGAS ↓ 5 " in out


def test_folders_and_archives_say_what_is_in_them(hsi, tmp_path):
    np.savez(tmp_path / "tiles.npz", images=np.zeros((4, 3, 8, 8), "u2"), names=np.array(["a", "bc"]))
    (tmp_path / "more").mkdir()
    assert "an empty folder" in hsi("info", tmp_path / "more")[2]
    assert "found a folder of more/, tiles.npz; name one of them" in hsi("info", tmp_path)[2]
    assert "found a NumPy archive of images 4×3×8×8 uint16, names 2 <U2;" in hsi("info", tmp_path / "tiles.npz")[2]


def test_a_line_is_said_once():
    once = Once()
    records = [logging.LogRecord("x", level, "", 0, "%s: found", (name,), None) for level, name in (
        (30, "a"), (30, "b"), (30, "a"), (20, "a"),
    )]  # fmt: skip
    assert [once.filter(record) for record in records] == [True, True, False, True]
