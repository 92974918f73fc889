"""Hashes of files."""

import hashlib

import numpy as np
import pytest

from hsitools import Cube, save_cube
from hsitools.io.hashes import content_hash, file_sha256
from hsitools.process import Plan, Process


def test_a_file_s_hash_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    # FIPS 180-4, example of one block
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(b"abd")
    assert file_sha256(path) == hashlib.sha256(b"abd").hexdigest()
    with pytest.raises(FileNotFoundError):
        file_sha256(tmp_path / "none")


def test_benchmarks_name_files_as_before(tmp_path):
    """By the digests of all files of a folder, in order: folders of 0.1.0 go on."""
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(name.encode())
    whole = hashlib.sha256(hashlib.sha256(b"a").digest() + hashlib.sha256(b"b").digest()).hexdigest()[:16]
    assert content_hash(tmp_path) == whole


@pytest.mark.parametrize("data", ["a[1].img", "a[1]"])
@pytest.mark.parametrize("opened", ["a[1].hdr", "data"])
def test_envi_s_numbers_count_by_either_name(tmp_path, data, opened):
    save_cube(Cube(data=np.ones((2, 3, 4))), tmp_path / "a[1].hdr")
    (tmp_path / "a[1].img").rename(tmp_path / data)
    path = tmp_path / (data if opened == "data" else opened)
    before = content_hash(path)
    (tmp_path / "a[1].txt").write_text("notes of the field")
    assert content_hash(path) == before
    save_cube(Cube(data=np.full((2, 3, 4), 2.0)), tmp_path / "b.hdr")
    (tmp_path / "b.img").replace(tmp_path / data)
    assert content_hash(path) != before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tfw", "2\n0\n0\n-2\n1\n1\n"),
        ("a.tif.aux.xml", "<PAMDataset><Metadata><MDI key='units'>1</MDI></Metadata></PAMDataset>"),
        ("a.json", '{"stac_version": "1.0.0"}'),
        ("a.hdr", "ENVI\nbands = 2\n"),
    ],
)
def test_what_is_told_beside_an_image_counts(tmp_path, name, content):
    pytest.importorskip("rasterio")
    path = tmp_path / "a.tif"
    save_cube(Cube(data=np.ones((2, 3, 4))), path)
    # as 0.1.0: of the one file that there is
    before = content_hash(path)
    assert before == hashlib.sha256(hashlib.sha256(path.read_bytes()).digest()).hexdigest()[:16]
    (tmp_path / name).write_text(content)
    assert content_hash(path) != before


def test_a_run_sees_that_an_envi_file_s_numbers_have_changed(tmp_path):
    """PAN flipped upside down, and the fusion of before was kept."""
    path, values = tmp_path / "pan.hdr", np.arange(12.0).reshape(1, 3, 4)
    save_cube(Cube(data=values), path)
    run = Process(plan=Plan(bench=tmp_path, scene=tmp_path, out=tmp_path))
    before = run.hash(path)
    save_cube(Cube(data=values[:, ::-1]), path)
    assert run.hash(path) != before
    save_cube(Cube(data=values), path)
    assert run.hash(path) == before
