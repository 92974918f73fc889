"""Damaged and hostile files: an error with the file's name, or a cube that reads; nothing else, and no large memory."""

import contextlib
import shutil
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.products import (
    copy_product,
    write_desis,
    write_emit,
    write_enmap,
    write_hyperion,
    write_hypso,
    write_matlab_73,
    write_neon,
    write_pace_l1b,
    write_prisma,
)
from hsitools.cube import Cube
from hsitools.errors import HsiError
from hsitools.file_kinds import describe
from hsitools.io import open_cube, save_cube

#: A few of each kind; `python -m benchmarks fuzz` runs thousands.
FUZZ = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
#: What an example of a few kilobytes may take, bytes.
MEMORY = 200e6


def build(folder: Path) -> dict[str, Path]:
    """One good file of each format."""
    rng = np.random.default_rng(0)
    cube = Cube(data=rng.random((6, 9, 8)).astype(np.float32), wavelength_nm=np.linspace(400, 900, 6), crs="EPSG:32633",
                transform=(1, 0, 0, 0, -1, 0), nodata=-1.0)  # fmt: skip
    files = {name: folder / name for name in ("ours.h5", "envi.hdr", "plain.tif")}
    for path in files.values():
        save_cube(cube, path)
    files["envi.img"] = folder / "envi.img"
    files["prisma.he5"] = folder / "prisma.he5"
    write_prisma(files["prisma.he5"], rows=6, columns=5, n_vnir=9, n_swir=11)
    files["emit.nc"] = folder / "emit.nc"
    write_emit(files["emit.nc"])
    given_ = write_enmap(folder / "enmap")
    files["enmap.xml"] = folder / "enmap" / f"{given_['stem']}METADATA.XML"
    files["v5.mat"], files["v73.mat"] = folder / "v5.mat", folder / "v73.mat"
    variables = {"cube": rng.random((9, 8, 6)), "wavelength": np.linspace(400, 900, 6)}
    scipy.io.savemat(files["v5.mat"], variables, do_compression=True)
    write_matlab_73(files["v73.mat"], variables)
    for name, write in (("pace.nc", write_pace_l1b), ("neon.h5", write_neon), ("hypso.nc", write_hypso)):
        files[name] = folder / name
        write(files[name])
    given_ = write_desis(folder / "desis")
    files["desis.xml"] = folder / "desis" / f"{given_['stem']}METADATA.xml"
    write_hyperion(folder / "hyperion", bands=(8, 77))
    files["hyperion.txt"] = folder / "hyperion" / "EO1H0140352016290110K7_MTL_L1T.TXT"
    files["classic.nc"] = folder / "classic.nc"
    with scipy.io.netcdf_file(files["classic.nc"], "w") as file:
        for dim, size in (("band", 6), ("y", 9), ("x", 8)):
            file.createDimension(dim, size)
        file.createVariable("reflectance", "f4", ("band", "y", "x"))[:] = rng.random((6, 9, 8))
        file.createVariable("wavelength", "f4", ("band",))[:] = np.linspace(400, 900, 6)
    files["esri.hdr"] = folder / "esri.hdr"
    files["esri.hdr"].write_text(
        "LAYOUT BIL\nNROWS 9\nNCOLS 8\nNBANDS 6\nNBITS 16\nWAVELENGTHS\n1 2 4 5 6 7\nWAVELENGTHS_END\n"
    )
    (folder / "esri.bil").write_bytes(bytes(2 * 6 * 9 * 8))
    files["npz.npz"] = folder / "npz.npz"
    np.savez_compressed(files["npz.npz"], cube=rng.random((6, 9, 8)), wavelength_nm=np.linspace(400, 900, 6))
    return files


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return build(tmp_path_factory.mktemp("good"))


FORMATS = (
    "ours.h5", "envi.hdr", "plain.tif", "envi.img", "prisma.he5", "emit.nc", "enmap.xml", "v5.mat", "v73.mat",
    "npz.npz", "pace.nc", "neon.h5", "hypso.nc", "desis.xml", "hyperion.txt", "classic.nc", "esri.hdr",
)  # fmt: skip


@contextlib.contextmanager
def copied(path: Path, folder: Path):
    """A copy of the file, with what lies beside it, to be damaged."""
    target = folder / "copy"
    shutil.rmtree(target, ignore_errors=True)
    yield copy_product(path, target)


def survives(path: Path) -> None:
    """Open, describe and read a window: a cube, or an error that names the file."""
    tracemalloc.start()
    said = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cube = open_cube(path)
            cube.describe()
            _, height, width = cube.shape
            part = cube.select(window=(0, min(4, height), 0, min(4, width)))
            if part.nbytes < MEMORY / 4:
                part.read()
            if cube.pan is not None:
                cube.pan.select(window=(0, 1, 0, 1)).read()
            describe(path)
    except HsiError as error:
        said = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY
    assert said is None or (path.stem.split(".")[0] in said and "\n" not in said), said


@pytest.mark.parametrize("name", FORMATS)
def test_the_good_ones_read(good, name):
    assert open_cube(good[name]).read().size


@pytest.mark.parametrize("name", FORMATS)
@given(share=st.floats(0, 1, exclude_max=True))
@FUZZ
def test_truncated(good, name, tmp_path, share):
    with copied(good[name], tmp_path) as path:
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        survives(path)


# rasterio's own logger stumbles over tags that are no text
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["envi.hdr", "envi.img", "enmap.xml", "npz.npz", "v5.mat", "plain.tif"])
@given(places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8))
@FUZZ
def test_flipped_bytes(good, name, tmp_path, places):
    with copied(good[name], tmp_path) as path:
        content = bytearray(path.read_bytes())
        for share, value in places:
            content[int(share * len(content))] = value
        path.write_bytes(bytes(content))
        survives(path)


VALUES = st.sampled_from([
    np.nan, -1.0, 0, "text", b"\xff\xfe", np.zeros(3), np.full(6, np.nan), np.full(6, -5.0),
    np.array(["a"] * 6, dtype="S1"),     np.zeros((6, 2)), np.full(9, 2.0), 10**9,
])  # fmt: skip


@pytest.mark.parametrize("name", ["ours.h5", "prisma.he5", "emit.nc", "v73.mat"])
@given(data=st.data())
@FUZZ
def test_wrong_members(good, name, tmp_path, data):
    """Attributes and datasets that are missing, or of another kind, shape or value."""
    with copied(good[name], tmp_path) as path:
        with h5py.File(path, "r+") as file:
            members: list[tuple[str, str | None]] = [("/", key) for key in file.attrs]

            def collect(place, item):
                members.append((place, None))
                members.extend((place, key) for key in item.attrs)

            file.visititems(collect)
            for place, key in data.draw(st.lists(st.sampled_from(members), min_size=1, max_size=3, unique=True)):
                value, remove = data.draw(VALUES), data.draw(st.booleans())
                if place not in file:
                    continue
                if key is not None:
                    if remove:
                        file[place].attrs.pop(key, None)
                    else:
                        file[place].attrs[key] = value
                elif place != "/":
                    del file[place]
                    if not remove:
                        file[place] = value
        survives(path)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_shuffled_axes_are_found(tmp_path, order):
    """The band axis is the one as long as the wavelengths, wherever it is."""
    values = np.random.default_rng(0).random((6, 9, 8))
    turned = values.transpose(order)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cube"], file["wavelength_nm"] = turned, np.linspace(400, 900, 6)
    cube = open_cube(tmp_path / "x.h5")
    np.testing.assert_array_equal(cube.read(), np.moveaxis(turned, order.index(0), 0))
    names = ("band", "y", "x")
    with h5py.File(tmp_path / "said.h5", "w") as file:
        file["cube"], file["wavelength_nm"] = turned, np.linspace(400, 900, 6)
        file.attrs["axes"] = ",".join(names[axis] for axis in order)
    np.testing.assert_array_equal(open_cube(tmp_path / "said.h5").read(), values)


HEADERS = {
    "samples": ["-3", "0", "99999999999999999999", "8e3", "eight", "", "{8}", "2147483647"],
    "lines": ["-1", "0", "1" * 400, "nan"],
    "bands": ["0", "1000000000", "-6", "6.0", "\x00"],
    "data type": ["6", "9", "0", "-4", "four", "99"],
    "interleave": ["bsx", "", "../../etc/passwd", "BIL"],
    "byte order": ["2", "-1", "big"],
    "header offset": ["-5", "1e400", "99999999999"],
    "wavelength": ["{1, 2}", "{nan, nan, nan, nan, nan, nan}", "{a}", "{400, 500", "{-1,-2,-3,-4,-5,-6}", "{1e400}"],
    "wavelength units": ["parsec", "Wavenumber", "", "µm"],
    "fwhm": ["{0,0,0,0,0,0}", "{1}"],
    "bbl": ["{2}", "{yes}"],
    "map info": ["{UTM, 1}", "{UTM, a, b, c, d, e, f}", "{Arbitrary, 1, 1, 0, 0, 1e999, 1}"],
    "data ignore value": ["none", "{}", "1e999"],
    "data gain values": ["{1,2}", "{x}"],
    "reflectance scale factor": ["0", "nan", "ten"],
    "description": ["{ never closed", "}" * 50, "$(rm -rf /)"],
    "data file": ["/etc/passwd"],
}


@given(
    changes=st.lists(st.sampled_from([(k, v) for k, values in HEADERS.items() for v in values]), min_size=1, max_size=3)
)
@settings(FUZZ, max_examples=60)
def test_hostile_envi_headers(good, tmp_path, changes):
    with copied(good["envi.hdr"], tmp_path) as path:
        lines = path.read_text().splitlines()
        for name, value in changes:
            lines = [line for line in lines if not line.startswith(f"{name} =")]
            lines.append(f"{name} = {value}")
        path.write_text("\n".join(lines))
        survives(path)


@given(text=st.binary(max_size=300))
@FUZZ
def test_random_headers(tmp_path, text):
    (tmp_path / "x.img").write_bytes(b"\0" * 100)
    (tmp_path / "x.hdr").write_bytes(b"ENVI\n" + text)
    survives(tmp_path / "x.hdr")


@given(text=st.text(max_size=200))
@FUZZ
def test_random_xml(good, tmp_path, text):
    with copied(good["enmap.xml"], tmp_path) as path:
        path.write_text(f'<?xml version="1.0"?><a>{text}</a>', encoding="utf-8", errors="replace")
        survives(path.parent)


def test_xml_bomb(good, tmp_path):
    with copied(good["enmap.xml"], tmp_path) as path:
        entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
        path.write_text(f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><x>&a11;</x>')
        survives(path)


@pytest.mark.parametrize("kind", ["pickle", "huge", "short", "two axes", "text", "no cube"])
def test_hostile_npz(tmp_path, kind):
    path = tmp_path / "x.npz"
    if kind == "pickle":
        np.savez(path, cube=np.array([[[{"a": 1}]]], dtype=object))
    elif kind == "two axes":
        np.savez(path, cube=np.ones((3, 4)))
    elif kind == "text":
        np.savez(path, cube=np.array([[["a"]]]))
    elif kind == "no cube":
        np.savez(path, other=np.ones((3, 4, 5)))
    else:
        shape = (10**6, 10**6, 10**6) if kind == "huge" else (3, 4, 5)
        with zipfile.ZipFile(path, "w") as archive, archive.open("cube.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": shape})
            member.write(b"\0" * 64)
    with pytest.raises(HsiError, match=r"x\.npz"):
        open_cube(path)


def test_matlab_header_that_lies(tmp_path):
    """A v5 variable that claims more than its file could hold is refused before it is allocated."""
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, {"cube": np.ones((7, 11, 13), np.uint8)})
    content = path.read_bytes()
    honest, lie = (np.array(shape, dtype="<i4").tobytes() for shape in ((7, 11, 13), (70_000, 11_000, 13_000)))
    assert honest in content
    path.write_bytes(content.replace(honest, lie))
    survives(path)
    with pytest.raises(HsiError, match="more than a file of this size can hold"):
        open_cube(path)


def test_links_lead_nowhere(tmp_path):
    """A link out of the file is no crash."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cube"] = h5py.ExternalLink("/etc/passwd", "/cube")
        file["wavelength_nm"] = h5py.SoftLink("/nowhere")
    survives(tmp_path / "x.h5")


def test_folder_is_no_cube(tmp_path):
    with pytest.raises(HsiError, match="format: found nothing known"):
        open_cube(tmp_path)
