"""The reference of files and JSON keys says what commands really write."""

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from hsitools import Cube, preset, save_cube
from hsitools.commands.root import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: Groups whose members are listed by a rule, not one by one.
BY_RULE = re.compile(r"^(flags|lines)/")


def sections(page: str) -> dict[str, str]:
    """Text of each section of a page, by its title."""
    parts = re.split(r"^##+ (.+)$", (DOCS / "reference" / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def members(path: Path) -> set[str]:
    """Data sets of a file, and attributes of its root (as ``@name``)."""
    with h5py.File(path) as file:
        names: set[str] = {f"@{name}" for name in file.attrs}
        file.visititems(lambda name, item: names.add(name) if isinstance(item, h5py.Dataset) else None)
    return names


def undocumented(path: Path, section: str) -> list[str]:
    told = set(re.findall(r"`([^`]+)`", sections("files.md")[section]))
    return sorted(name for name in members(path) if not BY_RULE.search(name) and name.lstrip("@") not in told)


def hsi(*words: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0, words


@pytest.fixture(scope="module")
def capture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "capture.h5"
    hsi("capture", "simulate", "--n", 12, "--lines", 81, "--noise", 0.05, "--out", path)
    return path


@pytest.fixture(scope="module")
def characterization(capture) -> Path:
    path = capture.with_name("device.h5")
    hsi("calibrate", capture, "--model", "airy", "--degree", 2, "--cv", 3, "--out", path)
    return path


def test_capture_and_characterization(capture, characterization):
    assert undocumented(capture, "Capture") == []
    assert undocumented(characterization, "Characterization") == []


def test_cube(tmp_path):
    cube = Cube(
        data=np.ones((3, 4, 5), "i2"), wavelength_nm=[400, 500, 600], fwhm_nm=[1, 1, 1], nodata=-1, scale_factor=0.1,
        units="1", crs="EPSG:32633", transform=(1, 0, 0, 0, -1, 0), source="a test",
        pan=Cube(data=np.ones((1, 8, 10), "f4")),
    )  # fmt: skip
    save_cube(cube, tmp_path / "cube.h5")
    told = undocumented(tmp_path / "cube.h5", "Cube")
    # the panchromatic image is of the same layout
    assert [name for name in told if not name.startswith("pan/")] == []


def test_sensor(tmp_path):
    sensor = preset("prisma")
    sensor.save(tmp_path / "sensor.h5")
    assert undocumented(tmp_path / "sensor.h5", "Sensor") == []


def test_a_missing_name_would_be_seen(characterization):
    assert "opd_um" in undocumented(characterization, "Cube")


def test_json_keys(characterization, capsys):
    hsi("calibrate", characterization.with_name("capture.h5"), "--model", "airy", "--degree", 2, "--json")
    document = json.loads(capsys.readouterr().out)
    told = set(re.findall(r"`([^`]+)`", sections("json.md")["hsi calibrate"]))
    assert set(document) - {"written"} <= told
    assert {"rmse_cv_mean", "opd_law", "flags"} <= set(document)
    flags = set(re.findall(r"^\| `(\w+)`", sections("json.md")["Flags"], re.MULTILINE))
    with h5py.File(characterization) as file:
        assert flags == set(file["flags"])


def test_photon_transfer_keys():
    from hsitools.sensor.photon.transfer import photon_transfer

    rng = np.random.default_rng(0)
    dark = 100 + 3 * rng.standard_normal((8, 24, 24))
    flats = [100 + rng.poisson(level, (6, 24, 24)) / 2 for level in (2000, 6000, 10000)]
    summary = photon_transfer(dark, flats).summary()
    told = set(re.findall(r"`([^`]+)`", sections("json.md")["hsi sensor noise"]))
    assert set(summary) - {"kind"} <= told
