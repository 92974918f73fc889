"""No error bars of a former run stay beside an output that another run wrote; nothing else is touched."""

import click
import numpy as np
import pytest

from hsitools.commands.outputs import OutputFile, spare_inputs
from hsitools.cube import Cube
from hsitools.io import save_cube

CSV = "wavelength_nm,factor_0\n500,1\n"


def cube(size=3, **meta):
    return Cube(data=np.ones((2, size, size), np.float32), meta=meta)


@pytest.fixture
def run(tmp_path, capsys):
    @click.command()
    @click.argument("path", type=click.Path())
    @click.option("-o", "--out", type=OutputFile("cube", "_std"))
    @click.option("--std", is_flag=True)
    def command(path, out, std):
        save_cube(cube(denoised_by="b"), out)
        if std:
            save_cube(cube(), out.with_name(f"{out.stem}_std{out.suffix}"))

    def call(path, out, *flags):
        spare_inputs(command).main([str(path), "-o", str(out), *flags], standalone_mode=False)
        return capsys.readouterr().err

    return call


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".h5", ".hdr"])
def test_side_files_of_a_former_run_go(run, tmp_path, suffix):
    out = tmp_path / f"o{suffix}"
    save_cube(cube(denoised_by="a"), out)
    for part in ("_std", "_mask"):
        save_cube(cube(), tmp_path / f"o{part}{suffix}")
    (tmp_path / "o_common.csv").write_text(CSV)
    save_cube(cube(), tmp_path / f"other_std{suffix}")
    said = run("scene", out, "--std")
    assert said.count("removed, it was of the cube that was written over\n") == 2
    data = {".img"} if suffix == ".hdr" else set()
    assert names(tmp_path) == {f"{stem}{end}" for stem in ("o", "o_std", "other_std") for end in {suffix} | data}
    assert run("scene", out).count("o_std") == 1
    assert f"o_std{suffix}" not in names(tmp_path)


def test_what_may_be_a_users_own_stays_and_is_named(run, tmp_path):
    """Beside a cube that no method of ours made, of another size, of another kind, or an input of the run."""
    out = tmp_path / "o.h5"
    files = [tmp_path / f"o{part}" for part in ("_std.h5", "_mask.h5", "_structure.h5", "_common.csv")]
    save_cube(cube(denoised_by="a"), out)
    save_cube(cube(4), files[0])
    save_cube(cube(), files[1])
    files[2].write_text("notes")
    files[3].write_text("my,table\n")
    said = run(files[1], out)
    assert all(file.exists() for file in files)
    assert [str(file) in said for file in files] == [True, False, True, True]
    assert "removed" not in said
    save_cube(cube(), out)
    save_cube(cube(), files[0])
    assert f"{files[0]}: was there before, and is not of this run" in run("scene", out)
    assert files[0].exists()


def test_a_run_that_fails_removes_nothing(tmp_path):
    @click.command()
    @click.option("-o", "--out", type=OutputFile("cube", "_std"))
    def command(out):
        raise click.UsageError("no")

    save_cube(cube(denoised_by="a"), tmp_path / "o.h5")
    save_cube(cube(), tmp_path / "o_std.h5")
    with pytest.raises(click.UsageError):
        spare_inputs(command).main(["-o", str(tmp_path / "o.h5")], standalone_mode=False)
    assert names(tmp_path) == {"o.h5", "o_std.h5"}
