"""Work at Dask's workers: processes of their own, which die and are replaced; one cluster for all tests here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.products import write_prisma
from calibration.captures.pixel_stack import PixelStack
from calibration.inversion import tiles as tiles_of_inversion
from calibration.inversion.measurement import CubeMeasurement
from calibration.inversion.problem import Interferograms
from calibration.pixel_maps import MAPS, characterize_pixels
from denoise.case import Restoration
from denoise.strips import RestoredSource
from hsitools.comparison import two_sides
from hsitools.cube import Cube
from hsitools.cube import memory as memory_of
from hsitools.cube.memory import ALLOCATOR
from hsitools.cube.packed import packed
from hsitools.cube.windows import tiles, windows
from hsitools.errors import FormatError, HsiError, InputError
from hsitools.io import open_cube, save_cube
from hsitools.io.conventions import layout
from hsitools.io.formats import native
from hsitools.scale import cluster as clusters
from hsitools.scale.cluster import cluster, memory_of_task
from hsitools.scale.packed_tiles import (
    TellingFile,
    TilePacker,
    cuts_no_chunk,
    is_kept,
    next_turn,
    packed_chunks,
    place_file,
    put_in_place,
    tile_file,
    unfinished_file,
)
from hsitools.scale.pieces import key_of, save_by_workers
from hsitools.scale.sending import pack, unpack
from hsitools.scale.tasks import AHEAD, ordered
from hsitools.sensor.transmittance import TransmittanceModel
from pansharpen.tiled import fuse_cube
from tests.scale.computed_cube import VALUES, computed

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def client():
    with cluster(workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def one_worker(client):
    """The same cluster with one worker from here on: what loads much is loaded once."""
    client.cluster.scale(1)
    while len(client.nthreads()) > 1:
        time.sleep(0.02)
    return client


def worker_processes(client) -> list[int]:
    return list(client.run(os.getpid).values())


def kill_one(client) -> None:
    os.kill(worker_processes(client)[0], signal.SIGKILL)


# ---- tasks -------------------------------------------------------------------------------------------------------


def test_results_come_in_order_from_other_processes_and_few_at_a_time(client):
    told = []
    began: list[int] = []
    items = list(range(20))

    def late(item):
        time.sleep(0.05 * (item % 3 == 0))
        return item, os.getpid()

    for item, process in ordered(client, late, items, lambda *step: told.append(step)):
        assert process != os.getpid()
        began.append(item)
        # nothing is computed far ahead of what was taken
        assert told[-1][0] <= len(began) + 2 * AHEAD
    assert began == items
    assert told[-1] == (20, 20)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_a_task_raises_is_raised_here(client):
    def wrong(item):
        raise InputError(f"scene.h5: band {item}: found nothing, expected something")

    with pytest.raises(InputError, match=r"scene\.h5: band 0: found nothing"):
        list(ordered(client, wrong, [0, 0, 0]))
    assert list(ordered(client, lambda item: item + 1, [])) == []


def test_a_worker_that_is_killed_costs_its_task_only(client, tmp_path):
    def counted(item):
        time.sleep(0.15)
        with (tmp_path / f"{item}-{os.getpid()}-{time.monotonic()}").open("w"):
            pass
        return item**2

    killer = threading.Timer(0.4, kill_one, [client])
    killer.start()
    assert list(ordered(client, counted, range(12))) == [item**2 for item in range(12)]
    killer.join()
    # what was done but not yet fetched from the killed one is done again, nothing else
    assert len(list(tmp_path.iterdir())) <= 12 + AHEAD


def test_a_task_that_kills_every_worker_is_given_up(client, monkeypatch):
    client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
    try:
        with pytest.raises(HsiError, match="workers: 1 of them died at the same task") as caught:
            list(ordered(client, lambda _item: os.kill(os.getpid(), signal.SIGKILL), [1]))
        assert "\n" not in str(caught.value)
    finally:
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 10))


def test_workers_that_are_all_gone_are_said(monkeypatch):
    from hsitools.scale import tasks

    monkeypatch.setattr(tasks, "LOOK_S", 0.01)
    monkeypatch.setattr(tasks, "GONE_S", 0.05)

    class Nothing:
        def has_ready(self):
            return False

    class Gone:
        status = "running"

        def nthreads(self):
            return {}

    with pytest.raises(HsiError, match="workers: all are gone"):
        tasks._next(Nothing(), Gone())
    Gone.status = "closed"
    with pytest.raises(HsiError, match="their scheduler is gone"):
        tasks._next(Nothing(), Gone())


# ---- what travels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".h5", ".zarr", ".hdr", ".tif"])
def test_cubes_on_disk_travel_as_names(tmp_path, suffix, monkeypatch):
    save_cube(
        Cube(data=np.random.default_rng(1).random((6, 50, 70)).astype(np.float32), name="a"), tmp_path / f"a{suffix}"
    )
    monkeypatch.chdir(tmp_path)
    cube = open_cube(f"a{suffix}").select(window=(3, 40, 5, 60)).select(bands=[4, 1])
    packed, values = pack(cube), cube.read()
    assert len(packed) < 10_000
    # names are whole: workers may stand elsewhere
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(unpack(packed).read(), values)


def test_a_view_of_a_memmap_travels(tmp_path):
    whole = np.memmap(tmp_path / "raw", dtype="<i2", mode="w+", shape=(4, 30, 50), offset=6)
    whole[:] = np.arange(6000).reshape(4, 30, 50)
    whole.flush()
    part = whole[1:, 3:20:2, 7:][:, :, ::-1]
    np.testing.assert_array_equal(unpack(pack(part)), part)


def test_a_file_that_a_worker_does_not_see_is_named(tmp_path):
    save_cube(Cube(data=VALUES), tmp_path / "a.h5")
    packed = pack(open_cube(tmp_path / "a.h5"))
    (tmp_path / "a.h5").unlink()
    with pytest.raises(FormatError, match=r"a\.h5: found no such file at worker .*, expected a path that all"):
        unpack(packed)


# ---- cubes that workers write --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".zarr", ".h5", ".hdr"])
def test_a_cube_written_by_workers_is_the_same(client, tmp_path, suffix):
    cube, out = computed(VALUES), tmp_path / f"out{suffix}"
    told: list[tuple[int, int]] = []
    assert save_by_workers(cube, out, client, "key", lambda *step: told.append(step)) == 0
    written = open_cube(out)
    np.testing.assert_array_equal(written.read(), VALUES + 1)
    np.testing.assert_allclose(written.wavelength_nm, cube.wavelength_nm)
    assert (written.name, written.units) == ("computed", "1")
    assert told == [(done, 16) for done in range(17)]
    assert not Path(f"{out}.partial").exists()


@pytest.mark.parametrize(("size", "tile", "chunk"), [(600, 192, 96), (600, 384, 128), (600, 131, 131), (100, 192, 100)])
def test_no_two_tiles_share_a_chunk(client, tmp_path, size, tile, chunk):
    from hsitools.scale import pieces

    assert pieces._chunk(tile, size, 128) == chunk
    assert tile >= size or tile % chunk == 0


def test_tiles_are_packed_where_they_are_computed(tmp_path):
    import h5py

    values = np.random.default_rng(2).random((3, 150, 200)).astype(np.float32)
    cube = Cube(data=values)
    parts = list(tiles((150, 200), 64 * 128, (64, 128)))
    chunk = native.chunks_of(cube.shape)
    assert cuts_no_chunk((64, 128), (150, 200), chunk[1:])
    assert cuts_no_chunk((150, 200), (150, 200), chunk[1:])
    assert not cuts_no_chunk((64, 96), (150, 200), chunk[1:])
    stored = layout(cube, "a").stored
    packer = TilePacker(
        stored=stored, dtype=np.dtype(np.float32), chunk=chunk, folder=tmp_path, marks=tmp_path, parts=parts
    )  # fmt: skip
    for number in range(len(parts)):
        packer(number)
        assert (tmp_path / str(number)).exists()

    def stopped(numbers):
        for number in numbers:
            if number == 3:
                raise KeyboardInterrupt
            yield number

    def written(numbers):
        turn = next_turn(tmp_path)
        file = unfinished_file(tmp_path, turn)
        with TellingFile(file) as telling:
            native.write_there(
                cube, telling, "a.h5", lambda data, _: put_in_place(data, telling, tmp_path, turn, numbers)
            )
        return file

    # a command that is stopped, one that goes on, stopped too, and the one that ends
    for last in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            written(stopped([0, last, *range(3, len(parts))]))
    waiting = {path.stem for path in tmp_path.glob("*.chunks")}
    assert waiting == {str(number) for number in range(1, len(parts)) if number != 2}
    file = written(range(len(parts)))
    assert file.name == "3.h5"
    # where chunks are noted, HDF5 finds them
    with h5py.File(file) as whole:
        for number in range(len(parts)):
            for *place, size, address, turn in np.load(place_file(tmp_path, number)).tolist():
                found = whole["cube"].id.get_chunk_info_by_coord(tuple(place))
                assert (found.size, found.byte_offset, turn) == (size, address, 3)
    assert all(is_kept(tmp_path, number) for number in range(len(parts)))
    assert not list(tmp_path.glob("*.chunks"))
    # files that are no longer needed are written over, by tiles of any size
    free = len(list(tmp_path.glob("*.free")))
    with h5py.File(file) as whole:
        for number in (len(parts) - 1, 0):
            packer(number)
            for place, data in packed_chunks(tmp_path, number):
                assert whole["cube"].id.read_direct_chunk(place)[1] == data
            assert (
                tile_file(tmp_path, number).stat().st_size
                < sum(len(data) for _, data in packed_chunks(tmp_path, number)) + 4096
            )
    assert len(list(tmp_path.glob("*.free"))) == free - 2
    for number in (len(parts) - 1, 0):
        tile_file(tmp_path, number).unlink()
    file.rename(tmp_path / "a.h5")
    # the output may be somebody's already: a command killed after that begins anew
    assert not any(is_kept(tmp_path, number) for number in range(len(parts)))
    np.testing.assert_array_equal(open_cube(tmp_path / "a.h5").read(), values)
    # as one process writes it, byte for byte of the data
    save_cube(cube, tmp_path / "b.h5")
    with h5py.File(tmp_path / "a.h5") as one, h5py.File(tmp_path / "b.h5") as two:
        assert one["cube"].id.get_storage_size() == two["cube"].id.get_storage_size()


def test_integers_with_a_scale_are_written_as_such(one_worker, tmp_path):
    cube = packed(computed(VALUES), scale=1e-4)
    save_by_workers(cube, tmp_path / "out.nc", one_worker, "key")
    written = open_cube(tmp_path / "out.nc")
    assert written.stored().dtype == np.int16
    np.testing.assert_array_equal(written.physical().read(), cube.read())


def test_finished_tiles_of_the_same_run_are_kept(client, tmp_path):
    out = tmp_path / "out.h5"
    seen: list[int] = []

    def stop(done: int, _total: int) -> None:
        seen.append(done)
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_by_workers(computed(VALUES), out, client, "run", stop)
    assert not out.exists()
    # what workers had begun is done: it must not come after what they begin now
    for future in [client.submit(int, pure=False, workers=[worker]) for worker in client.nthreads()]:
        future.result()
    parts_of_run, copy = tmp_path / "out.h5.partial", tmp_path / "copy"
    shutil.copytree(parts_of_run, copy)
    # the same run takes what is there: it would be other values now
    kept = save_by_workers(computed(VALUES + 10), out, client, "run")
    assert kept >= 5
    values = open_cube(out).read()
    old = np.isclose(values, VALUES + 1).all(0)
    parts = list(tiles((30, 40), 96, (8, 12)))
    assert sum(bool(old[part].all()) for part in parts) == kept
    np.testing.assert_allclose(values[:, ~old], (VALUES + 11)[:, ~old])
    # another one begins anew
    copy.rename(parts_of_run)
    assert save_by_workers(computed(VALUES), out, client, "another") == 0
    np.testing.assert_array_equal(open_cube(out).read(), VALUES + 1)


CLIENT = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.scale.computed_cube import VALUES, computed
from hsitools.scale.cluster import cluster
from hsitools.scale.pieces import save_by_workers
if __name__ == "__main__":
    with cluster(scheduler={address!r}) as client:
        # sixteen tiles by two workers: seconds in which the second is seen, on a busy machine too
        save_by_workers(computed(VALUES, 0.6), Path({out!r}), client, "run")
"""


def test_a_client_that_is_killed_loses_nothing(client, tmp_path, root):
    out, marks = tmp_path / "out.h5", tmp_path / "out.h5.partial" / "done"
    (tmp_path / "run.py").write_text(CLIENT.format(root=str(root), out=str(out), address=client.scheduler.address))
    process = subprocess.Popen([sys.executable, str(tmp_path / "run.py")], cwd=tmp_path)
    while len(list(marks.glob("*"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not out.exists()
    done = len(list(marks.glob("*")))
    assert 2 <= done < 16
    assert save_by_workers(computed(VALUES), out, client, "run") >= done
    assert {path.name for path in tmp_path.iterdir()} == {"out.h5", "run.py"}
    np.testing.assert_array_equal(open_cube(out).read(), VALUES + 1)


def test_something_else_in_the_place_of_parts_stays(client, tmp_path):
    (tmp_path / "out.h5.partial").mkdir()
    (tmp_path / "out.h5.partial" / "thesis.txt").touch()
    with pytest.raises(InputError, match="found something else"):
        save_by_workers(computed(VALUES), tmp_path / "out.h5", client, "key")
    with pytest.raises(InputError, match=r"output: found suffix '\.png'"):
        save_by_workers(computed(VALUES), tmp_path / "out.png", client, "key")
    with pytest.raises(InputError, match="cannot write there"):
        save_by_workers(computed(VALUES), tmp_path / "no" / "out.h5", client, "key")
    assert (tmp_path / "out.h5.partial" / "thesis.txt").exists()


def test_a_run_is_named_by_what_decides_it(tmp_path):
    (tmp_path / "a").write_text("1")
    key = key_of({"method": "GSA"}, [tmp_path / "a", None, "prisma"])
    assert key == key_of({"method": "GSA"}, [tmp_path / "a", None, "prisma"])
    assert key != key_of({"method": "EXP"}, [tmp_path / "a", None, "prisma"])
    (tmp_path / "a").write_text("12")
    assert key != key_of({"method": "GSA"}, [tmp_path / "a", None, "prisma"])


@pytest.mark.parametrize("suffix", [".hdr", ".zarr"])
def test_files_that_a_cube_opens_besides_name_a_run_too(tmp_path, suffix):
    """The header stays the same, byte by byte and of the same time; the numbers beside it do not."""
    path = tmp_path / f"a{suffix}"
    save_cube(Cube(data=np.arange(24.0).reshape(2, 3, 4).astype(np.float32)), path)
    key = key_of({}, [path])
    assert key == key_of({}, [path])
    inside = [path.with_suffix(".img")] if suffix == ".hdr" else (path / "cube" / "c").rglob("*")
    numbers = next(file for file in inside if file.is_file())
    numbers.write_bytes(numbers.read_bytes() + b" ")
    assert key != key_of({}, [path])


# ---- the rooms -----------------------------------------------------------------------------------------------------


def test_strips_by_workers_are_the_same_and_kept(client, tmp_path):
    cube = Cube(data=np.random.default_rng(3).random((4, 20, 150)).astype(np.float32))

    def restored(values, columns):
        low = values.mean(axis=2, keepdims=True) + 0 * values
        return Restoration(estimate=low, std=low, mask=values > 0.9, structure=values[0] > 0.95)

    alone = RestoredSource(cube, restored, (20, 40), True, None)
    told: list[tuple[int, int]] = []
    shared = RestoredSource(cube, restored, (20, 40), True, lambda *step: told.append(step), client, tmp_path)
    bands, rows, columns = np.arange(4), slice(0, 20), slice(0, 150)
    np.testing.assert_array_equal(shared.read(bands, rows, slice(0, 10)), alone.read(bands, rows, slice(0, 10)))
    assert told[-1] == (4, 4)
    np.testing.assert_array_equal(shared.read(bands, rows, columns), alone.read(bands, rows, columns))
    for name in ("std", "mask", "structure"):
        np.testing.assert_array_equal(getattr(shared, name), getattr(alone, name))

    def never(values, columns):
        raise AssertionError

    again = RestoredSource(cube, never, (20, 40), True, None, client, tmp_path)
    np.testing.assert_array_equal(again.read(bands, rows, columns), alone.read(bands, rows, columns))


def test_cells_of_a_benchmark_are_done_by_workers(client, monkeypatch):
    monkeypatch.setattr(two_sides, "isolated", lambda job: {"key": job["key"], "process": os.getpid()})
    records = list(two_sides.by_workers(client)([{"key": number} for number in range(8)]))
    assert sorted(record["key"] for record in records) == list(range(8))
    assert os.getpid() not in {record["process"] for record in records}


# ---- memory, and what is said --------------------------------------------------------------------------------------


def test_one_limit_of_memory_is_divided(client, monkeypatch):
    limit = memory_of_task(client)
    assert limit is not None
    whole = memory_of.memory_limit()
    assert whole is not None
    assert 2 * limit <= 1.5 * whole
    told = list(ordered(client, lambda _item: memory_of.memory_limit(), [0, 1, 2]))
    assert set(told) == {limit}
    monkeypatch.setattr(memory_of, "_LIMIT", [])
    memory_of.limit_memory(2**20)
    with pytest.raises(InputError, match=r"a\.h5: memory: 0\.0 GiB needed"):
        memory_of.require_memory(2**20 + 1, "a.h5")
    memory_of.require_memory(2**20, "a.h5")


def test_errors_are_one_line(client, monkeypatch, tmp_path):
    monkeypatch.setattr(clusters, "PATIENCE_S", 0.3)
    with (
        pytest.raises(InputError, match=r"--scheduler: tcp://127\.0\.0\.1:9: cannot be reached; [^\n]*$"),
        cluster(scheduler="tcp://127.0.0.1:9"),
    ):
        pass
    with pytest.raises(InputError, match="--workers: found beside --scheduler"), cluster(2, "tcp://a:1"):
        pass
    with cluster(scheduler=client.scheduler.address, files=[tmp_path]) as other:
        assert worker_processes(other) == worker_processes(client)
    # what the client sees and a worker does not
    (tmp_path / "here").touch()
    monkeypatch.setattr(clusters, "_survey", lambda: lambda paths, modules: (clusters.__version__, paths))
    with pytest.raises(InputError, match=r"here: found no such file at worker tcp:.*, expected a path that all share"):
        clusters.check_workers(client, [tmp_path / "here", None, "prisma"])
    monkeypatch.setattr(clusters, "_survey", lambda: lambda paths, modules: (None, []))
    with pytest.raises(InputError, match="hsitools: found none, expected"):
        clusters.check_workers(client)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"dask: not installed, expected `pip install hsitools\[scale\]`"), cluster(1):
        pass


def test_where_no_fork_is_safe_workers_are_started_anew(monkeypatch):
    began = []
    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", lambda: began.append(dict(os.environ)))
    monkeypatch.setattr("multiprocessing.forkserver.set_forkserver_preload", lambda modules: None)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = dict(os.environ)
    if sys.platform == "linux":
        clusters.begin(10_000, ["torch"])
        # the server's environment is that of workers, this process keeps its own
        assert began[0] == before | ALLOCATOR | {
            name: "1" for name in ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
            if name not in before
        }  # fmt: skip
        assert dict(os.environ) == before
    began.clear()
    clusters.begin(None, ["torch"])
    for system in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", system)
        clusters.begin(2, ["torch"])
        assert clusters._started_by() == "spawn"
    assert began == []


def test_nothing_is_asked_nothing_is_loaded():
    code = (
        "import sys\nfrom hsitools.scale.cluster import cluster\nwith cluster() as c: print(c, 'dask' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]


# ---- by one worker: fusion, inversion, per-pixel maps --------------------------------------------------------------


def test_maps_by_workers_are_the_same_byte_for_byte(one_worker, tmp_path):
    import h5py

    wavenumber = np.linspace(1 / 0.9, 1 / 0.5, 60)
    opd = 20 + np.arange(3)[:, None, None, None] + 0.01 * np.arange(24).reshape(4, 6)
    pixels = 1 + 0.5 * np.cos(2 * np.pi * opd * wavenumber[:, None, None])
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["pixels"], file["wavenumber"] = pixels.astype("f4"), wavenumber
        file.attrs["opd_step_um"] = 1.0
    model = TransmittanceModel(waves=2.0, degree_reflectivity=1, degree_gain=1)
    results = [
        characterize_pixels(PixelStack(tmp_path / "stack.h5"), tmp_path / f"{name}.h5", model, client=who)
        for name, who in (("alone", None), ("shared", one_worker))
    ]
    assert results[0]["n_pixels"] == results[1]["n_pixels"] == 72
    with h5py.File(tmp_path / "alone.h5") as one, h5py.File(tmp_path / "shared.h5") as two:
        for name in MAPS:
            np.testing.assert_array_equal(one[name][()], two[name][()])


def test_inversion_by_workers_is_the_same(one_worker, tmp_path):
    save_cube(Cube(data=VALUES), tmp_path / "a.h5")
    measured = CubeMeasurement(cube=open_cube(tmp_path / "a.h5"), source="a.h5")
    case = Interferograms(
        matrix=np.eye(3), values=VALUES.astype(float), noise_std=np.ones(3), wavelength_nm=np.array([500, 600, 700.0])
    )

    def learned(part, inside):
        estimate = (part.values + np.roll(part.values, 2, axis=2))[:, *inside]
        return part.inside(inside).spectra(estimate.reshape(3, -1), None)

    results = [
        tiles_of_inversion.invert_tiles(
            measured, np.arange(3), case, learned, windows((30, 40), (8, 16), 4), lambda spectra: spectra,
            tiles_of_inversion.Kept(tmp_path / name, "key"), client=who,
        )
        for name, who in (("alone", None), ("shared", one_worker))
    ]  # fmt: skip
    np.testing.assert_array_equal(results[1].estimate, results[0].estimate)
    np.testing.assert_array_equal(results[1].mask, results[0].mask)
    assert results[1].parameters == results[0].parameters


def test_fusion_by_workers_is_the_same(one_worker, tmp_path):
    client = one_worker
    write_prisma(tmp_path / "pair.he5", rows=40, columns=70, n_vnir=6, n_swir=5)
    pair = open_cube(tmp_path / "pair.he5")
    alone = fuse_cube(pair, "GSA").read()
    by_all = fuse_cube(pair, "GSA", client=client)
    assert len(by_all.data.scene.windows) == 2
    # a store that workers fill, and a file whose chunks they pack
    for suffix in (".zarr", ".h5"):
        out = tmp_path / f"fused{suffix}"
        save_by_workers(by_all, out, client, "key")
        np.testing.assert_allclose(open_cube(out).read(), alone, atol=1e-5 * np.nanmax(alone))


# ---- arrays of Dask ------------------------------------------------------------------------------------------------


def test_cubes_are_dask_arrays_that_workers_read(one_worker, tmp_path):
    save_cube(Cube(data=VALUES, wavelength_nm=np.array([450, 550, 650.0]), name="a"), tmp_path / "a.h5")
    cube = open_cube(tmp_path / "a.h5")
    array = cube.to_dask((3, 16, 16))
    assert array.chunksize == (3, 16, 16)
    assert cube.to_dask().chunksize == VALUES.shape
    np.testing.assert_allclose(
        one_worker.compute(array.mean(axis=(1, 2))).result(), VALUES.mean(axis=(1, 2)), rtol=1e-5
    )
    np.testing.assert_array_equal(
        one_worker.compute(array[2:0:-1, 5:30:2, 3:20:4]).result(), VALUES[2:0:-1, 5:30:2, 3:20:4]
    )
    labelled = cube.to_xarray(dask=True)
    assert labelled.chunks is not None
    np.testing.assert_array_equal(labelled.wavelength_nm, [450, 550, 650])
    # and back: what Dask holds is a cube's data
    np.testing.assert_array_equal(Cube.from_xarray(labelled).read(rows=slice(4, 9)), VALUES[:, 4:9])
