"""Hashes of files."""

import hashlib

import pytest

from hsitools.io.hashes import content_hash, file_sha256


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
