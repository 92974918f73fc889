"""What commands write: looked at before the work, over no input, whole or not there."""

import asyncio
import errno
import os
import resource
import time
from types import SimpleNamespace

import click
import numpy as np
import pytest

from calibration import MonochromaticCapture, pixel_maps
from calibration.captures.frames import FrameWriter
from hsitools.commands.outputs import OutputFile, OutputFolder
from hsitools.commands.root import main
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube, save_cube
from hsitools.io.atomic import atomic_path
from hsitools.io.outputs import SUFFIXES, made_folder, refuse_inputs, suffixes_of
from hsitools.sensor import Sensor, TableResponse

#: Names of parameters that say what is written.
OUTPUTS = {"out", "report", "figure", "plot", "csv_path"}


@pytest.fixture
def hsi(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as done:
            main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return done.value.code, captured.out, captured.err

    return call


def test_every_output_says_that_it_is_one(commands):
    names = set()
    for name, command in commands:
        for parameter in command.params:
            if parameter.name in OUTPUTS and isinstance(parameter.type, click.Path):
                assert isinstance(parameter.type, OutputFile | OutputFolder), f"{name} {parameter.name}"
                names.add(name)
    assert len(names) > 15


def test_every_output_is_looked_at_before_the_work(hsi, commands, tmp_path, monkeypatch):
    """Beside no folder (``none/../x``), and where a file stands in a folder's place."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for name, command in commands:
        for parameter in command.params:
            if not isinstance(parameter.type, OutputFile | OutputFolder):
                continue
            suffix = suffixes_of(parameter.type.kind)[0] if isinstance(parameter.type, OutputFile) else ""
            bad = f"none/../x{suffix}" if suffix else "file/x"
            # other parameters name files that are not there: the output is looked at first
            words = [word for other in command.params for word in required(other, parameter, bad)]
            code, out, err = hsi(*name.split(), *words)
            assert (code, out) == (2, ""), f"{name} {parameter.name}: {err}"
            assert err.count("\n") == 1, err
            assert ("found no folder none/.." if suffix else "cannot make the folder (file is a file)") in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_command_knows_what_its_files_may_end_in(hsi, commands, tmp_path, monkeypatch):
    """Before anything is read: a characterization of hours was HDF5 in a file that says text."""
    monkeypatch.chdir(tmp_path)
    seen = set()
    for name, command in commands:
        for parameter in (item for item in command.params if isinstance(item.type, OutputFile)):
            words = [word for other in command.params for word in required(other, parameter, "x.txt")]
            code, _, err = hsi(*name.split(), *words)
            assert code == 2, name
            assert err.startswith("hsi: error: x.txt: output: found suffix '.txt', expected "), err
            assert err.rstrip().endswith(", ".join(suffixes_of(parameter.type.kind))), err
            seen.add(parameter.type.kind)
    assert seen == {"cube", *SUFFIXES}


def test_from_python_a_file_says_what_is_in_it_too(tmp_path):
    table = TableResponse(table_nm=np.linspace(400, 900, 100), response=np.ones((2, 100)))
    wavenumber = np.linspace(1, 2, 6)
    for write in (
        Sensor(response=table).save,
        MonochromaticCapture(wavenumber=wavenumber, intensity=np.ones((2, 6)), flat=np.ones((2, 6))).save,
        lambda path: FrameWriter(path, (4, 4), wavenumber, full_scale=4095),
    ):
        with pytest.raises(InputError, match=r"x\.txt: output: found suffix '\.txt', expected one of \.h5, \.hdf5"):
            write(tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == []


def required(parameter, tested, bad):
    """Words of a command line for a parameter that has to be there."""
    value = bad if parameter is tested else "absent.h5"
    if parameter is not tested and not parameter.required:
        return []
    if isinstance(parameter, click.Argument):
        return [value]
    return [parameter.opts[-1], "1" if parameter.name == "stage" else value]


def test_names_beside_an_output_spare_inputs_too(hsi, tmp_path):
    save_cube(Cube(data=np.ones((3, 8, 8), np.float32)), tmp_path / "a_std.h5")
    before = (tmp_path / "a_std.h5").read_bytes()
    code, _, err = hsi("denoise", "run", tmp_path / "a_std.h5", "--method", "lowrank", "-o", tmp_path / "a.h5")
    assert code == 2
    assert "a_std.h5: --out: found the input itself" in err
    assert (tmp_path / "a_std.h5").read_bytes() == before
    with pytest.raises(InputError, match=r"--csv: found the file of --out"):
        refuse_inputs({"--out": [tmp_path / "c"], "--csv": [tmp_path / "c"]}, [])


def test_an_envi_header_is_spared_with_its_data(hsi, tmp_path):
    """The data file was named ``.dat``; a new header of its name would describe other numbers."""
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    save_cube(Cube(data=values), tmp_path / "a.hdr")
    (tmp_path / "a.img").rename(tmp_path / "a.dat")
    before = (tmp_path / "a.hdr").read_bytes()
    for source in ("a.dat", "a.hdr"):
        code, _, err = hsi("convert", tmp_path / source, tmp_path / "a.hdr", "--window", "0:2,0:2")
        assert code == 2
        assert "found the input itself" in err
    assert (tmp_path / "a.hdr").read_bytes() == before
    # another file of that stem is no part of it
    save_cube(Cube(data=values), tmp_path / "b.h5")
    assert hsi("convert", tmp_path / "b.h5", tmp_path / "b.hdr")[0] == 0
    np.testing.assert_array_equal(open_cube(tmp_path / "b.hdr").read(), values)


@pytest.fixture
def small_disk():
    """No file may become larger than this many bytes: what a disk that is full says, too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize(
    ("suffix", "settings"), [(".h5", {}), (".nc", {}), (".hdr", {}), (".tif", {}), (".tif", {"cog": True})]
)
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, capfd, suffix, settings):
    values = np.random.default_rng(0).standard_normal((4, 60, 60)).astype(np.float32)
    with pytest.raises(InputError, match=r"x\..*: output: cannot be written \((File too large|No space left)"):
        save_cube(Cube(data=values), tmp_path / f"x{suffix}", **settings)
    assert list(tmp_path.iterdir()) == []
    # libtiff says it on standard error, once a block
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_does_not_end_the_process(tmp_path):
    """HDF5 by itself does, once it has something left to write: files of ours are made in memory."""
    wavenumber = np.linspace(1, 2, 60)
    intensity = 1 + 0.1 * np.random.default_rng(0).standard_normal((60, 60))
    capture = MonochromaticCapture(wavenumber=wavenumber, intensity=intensity, flat=np.ones_like(intensity))
    table = TableResponse(
        table_nm=np.linspace(400, 900, 100), response=np.random.default_rng(0).uniform(size=(60, 100))
    )
    for thing in (capture, Sensor(response=table)):
        with pytest.raises(InputError, match=r"x\.h5: output: cannot be written \((File too large|No space left)"):
            thing.save(tmp_path / "x.h5")
        assert list(tmp_path.iterdir()) == []


def test_frames_and_maps_ask_for_room_first(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=3 * 2**20))
    FrameWriter(tmp_path / "f.h5", (512, 256), np.linspace(1, 2, 6), full_scale=4095)
    with pytest.raises(InputError, match=r"f\.h5: output: found 3\.00 MiB free on the disk, expected .* 3\.50 MiB"):
        FrameWriter(tmp_path / "f.h5", (512, 256), np.linspace(1, 2, 7), full_scale=4095)
    stack = SimpleNamespace(shape=(2, 512, 256), path=tmp_path)
    with pytest.raises(InputError, match=r"m\.h5: output: found 3\.00 MiB free on the disk, expected at least"):
        pixel_maps._open_partial(tmp_path / "m.h5", "key", stack, SimpleNamespace(label="two-wave"))
    assert list(tmp_path.iterdir()) == []


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(OSError, match="no such thing"), atomic_path(tmp_path / "x"):
        raise OSError(errno.EIO, "no such thing")
    with pytest.raises(InputError, match=os.strerror(errno.ENOSPC)), atomic_path(tmp_path / "x"):
        raise RuntimeError(f"Can't close file ({os.strerror(errno.ENOSPC)})")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_work_that_was_stopped_at_once_is_gone(tmp_path):
    def work(folder, file):
        with made_folder(folder):
            if file:
                (folder / file).touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "out", "")
    assert not (tmp_path / "out").exists()
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "out", "a.txt")
    assert (tmp_path / "out" / "a.txt").exists()
    # one that was there before stays
    (tmp_path / "own").mkdir()
    with pytest.raises(KeyboardInterrupt):
        work(tmp_path / "own", "")
    assert (tmp_path / "own").exists()


def test_an_empty_name_is_no_folder(hsi, tmp_path, monkeypatch):
    """What a shell makes of a variable that is not set: all files went into the folder where the command was typed."""
    monkeypatch.chdir(tmp_path)
    for asked in (("process", "bench", "--scene", "s.h5", "-o", ""), ("demo", "--out", "")):
        code, _, err = hsi(*asked)
        assert code == 2
        assert "found '', expected a name" in err
    assert not list(tmp_path.iterdir())


def test_a_store_that_cannot_be_whole_leaves_nothing_that_threads_still_write(tmp_path, monkeypatch):
    storage = pytest.importorskip("zarr.storage")
    whole, chunks = storage.LocalStore.set, []

    async def one_fails(self, key, value, **options):
        if key.startswith("cube/c/"):
            chunks.append(key)
            if len(chunks) == 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            await asyncio.sleep(0.2)
        await whole(self, key, value, **options)

    monkeypatch.setattr(storage.LocalStore, "set", one_fails)
    with pytest.raises(FormatError, match="cannot be written; No space left"):
        save_cube(Cube(data=np.ones((80, 4, 4), np.float32)), tmp_path / "a.zarr")
    assert len(chunks) == 3
    time.sleep(0.3)
    assert list(tmp_path.iterdir()) == []
