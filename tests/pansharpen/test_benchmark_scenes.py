"""A benchmark's cases: scenes that a sensor sees, and products without a truth."""

import numpy as np

from hsitools.cube import Cube
from hsitools.io import save_cube
from pansharpen.comparison.benchmark import Benchmark
from tests.pansharpen.case_archive import write_case


def scene(path, bands=40, size=24, known=True, pan=False):
    rng = np.random.default_rng(3)
    wavelength = np.linspace(400, 900, bands) if known else None
    data = 0.2 + 0.1 * rng.random((bands, size, size)).astype(np.float32)
    image = Cube(data=data[:1].repeat(2, 1).repeat(2, 2)) if pan else None
    save_cube(Cube(data=data, wavelength_nm=wavelength, units="1", pan=image), path)
    return path


def test_scenes_are_seen_by_the_sensor(tmp_path):
    folder = tmp_path / "scenes"
    folder.mkdir()
    scene(folder / "town.h5")
    scene(folder / "unknown.h5", known=False)
    scene(folder / "pair.h5", pan=True)
    (folder / "notes.txt").write_text("no cube")
    made = Benchmark.create(tmp_path / "out", scenes=[folder], methods=["EXP"], ratios=[3, 4], noises=[True, False])
    made.run()
    rows = made.rows()
    assert [row["case"] for row in rows] == ["pair"] + ["town"] * 4 + ["unknown"] * 4
    assert (rows[0]["ratio"], rows[0]["noise"], rows[0]["status"]) == (2, None, "ok")
    assert [(row["ratio"], row["noise"]) for row in rows[1:5]] == [(3, True), (3, False), (4, True), (4, False)]
    assert {row["status"] for row in rows[1:5]} == {"ok"}
    assert rows[1]["ERGAS"] > 0
    assert all(row["status"].startswith("unusable: ") and "wavelength" in row["status"] for row in rows[5:])
    assert made.header["settings"]["sensor_name"] == "PRISMA"


def test_full_resolution_where_there_is_no_truth(tmp_path):
    paths = [write_case(tmp_path / "with.npz", size=16), write_case(tmp_path / "without.npz", gt=False, size=16)]
    made = Benchmark.create(tmp_path / "auto", cases=paths, methods=["EXP"])
    made.run()
    with_truth, without = made.rows()
    assert (with_truth["protocol"], without["protocol"]) == ("reduced", "full")
    assert with_truth["ERGAS"] > 0
    assert with_truth["HQNR"] is None
    assert without["ERGAS"] is None
    assert 0 < without["HQNR"] <= 1
    both = Benchmark.create(tmp_path / "both", cases=paths, methods=["EXP"], protocols=["reduced", "full"])
    both.run()
    assert [row["protocol"] for row in both.rows()] == ["reduced", "full"] * 2
    assert {row["status"] for row in both.rows()} == {"ok"}
