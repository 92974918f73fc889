"""A reader is one file in a folder, or a plug-in: nothing else is edited."""

from __future__ import annotations

import json
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from hsitools.commands.root import main
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import known_formats, open_cube, products, readers, save_cube

READER = '''"""Numbers as text, a line a pixel: a format that only this test knows."""

import numpy as np

from hsitools.cube import Cube

SUFFIXES = (".pixels",)


def can_read(path):
    return path.suffix == ".pixels"


def read(path):
    values = np.loadtxt(path, ndmin=2)
    return Cube(data=values.T[:, None, :], name=path.stem, source=str(path))


def write(cube, path, progress):
    np.savetxt(path, cube.read()[:, 0, :].T)
    progress(1, 1)
'''


@pytest.fixture
def one_file(tmp_path, monkeypatch):
    folder = tmp_path / "readers"
    folder.mkdir()
    (folder / "pixels.py").write_text(READER)
    monkeypatch.setattr(products, "__path__", [*products.__path__, str(folder)])
    yield
    sys.modules.pop("hsitools.io.products.pixels", None)
    products.__dict__.pop("pixels", None)


def test_a_reader_in_one_file(one_file, tmp_path, capsys):
    cube = Cube(data=np.arange(12.0).reshape(3, 1, 4))
    told = []
    save_cube(cube, tmp_path / "own.pixels", lambda *step: told.append(step))
    assert told == [(1, 1)]
    np.testing.assert_array_equal(open_cube(tmp_path / "own.pixels").read(), cube.read())
    entry = next(entry for entry in known_formats() if entry["name"] == "pixels")
    assert entry["suffixes"] == [".pixels"]
    assert entry["reads"].startswith("Numbers as text")
    with pytest.raises(SystemExit, match="0"):
        main(["info", str(tmp_path / "own.pixels"), "--json"])
    assert json.loads(capsys.readouterr().out)["format"] == "pixels"


def test_products_are_asked_before_the_formats_that_contain_them():
    names = list(readers.all_readers())
    assert names[0] == "archive"
    assert names[-1] == "envi"
    for product, general in (("prisma", "hdf5"), ("emit", "native"), ("enmap", "geotiff"), ("matlab", "hdf5")):
        assert names.index(product) < names.index(general)
    assert "xml_bands" not in names
    assert "archive" not in readers.cube_formats()


def test_plug_ins_of_other_packages(tmp_path, monkeypatch, caplog):
    (tmp_path / "elsewhere.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    points = (
        EntryPoint("pixels", "elsewhere", readers.GROUP),
        EntryPoint("broken", "no_such_module", readers.GROUP),
        EntryPoint("envi", "elsewhere", readers.GROUP),
    )
    monkeypatch.setattr(readers, "_plug_ins", lambda: points)
    listed = readers.all_readers()
    assert listed["pixels"].__name__ == "elsewhere"
    assert listed["envi"].__name__ == "hsitools.io.formats.envi"  # ours are not taken over
    assert "broken" not in listed
    assert "reader broken: not available" in caplog.text
    (tmp_path / "own.pixels").write_text("1 2\n3 4\n")
    assert open_cube(tmp_path / "own.pixels").shape == (2, 1, 2)
    sys.modules.pop("elsewhere", None)


def test_only_geotiffs_are_cloud_optimised(tmp_path):
    cube = Cube(data=np.zeros((1, 2, 2), dtype=np.float32))
    with pytest.raises(InputError, match=r"--cog: found suffix '\.h5', expected \.tif"):
        save_cube(cube, tmp_path / "a.h5", cog=True)
    with pytest.raises(InputError, match=r"output: found suffix '\.doc', expected one of .*\.hdr"):
        save_cube(cube, tmp_path / "a.doc")
