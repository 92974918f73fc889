"""Every format: right values, labels and windows; round trips; other software reads what we write."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import spectral.io.envi
import xarray

from benchmarks.products import write_emit, write_enmap, write_matlab_73, write_prisma
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube, save_cube

DTYPES = ("uint8", "int16", "uint16", "int32", "float32", "float64")


def example(dtype="float32", **changes):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 250, (7, 20, 30)).astype(dtype)
    data[:, 3, 4] = 7
    labels = {
        "wavelength_nm": np.linspace(410.5, 990.25, 7), "fwhm_nm": np.linspace(5, 9, 7),
        "good": np.array([1, 1, 0, 1, 1, 1, 0], bool), "nodata": 7.0, "units": "1", "scale_factor": 1e-4,
        "crs": "EPSG:32633", "transform": (30.0, 0.0, 500000.0, 0.0, -30.0, 4600000.0), "name": "a scene",
    }  # fmt: skip
    return Cube(data=data, **{**labels, **changes})


def check_window(cube):
    """A window of some bands, read from the file, is the same cut of the whole."""
    whole = cube.read()
    bands, height, width = cube.shape
    chosen = np.array([bands - 1, 0, bands // 2])
    top, left = height // 3, width // 3
    part = cube.select(bands=chosen, window=(top, height, left, width)).read()
    np.testing.assert_array_equal(part, whole[chosen, top:, left:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", [".h5", ".nc", ".hdr", ".tif"])
def test_round_trip(tmp_path, suffix, dtype):
    cube, path = example(dtype), tmp_path / f"scene{suffix}"
    save_cube(cube, path)
    again = open_cube(path)
    assert again.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(again.read(), cube.data)
    np.testing.assert_allclose(again.wavelength_nm, cube.wavelength_nm)
    np.testing.assert_allclose(again.fwhm_nm, cube.fwhm_nm)
    np.testing.assert_array_equal(again.good, cube.good)
    assert again.nodata == cube.nodata
    assert again.scale_factor == pytest.approx(1e-4)
    assert again.transform == pytest.approx(cube.transform)
    assert again.crs == cube.crs
    assert again.units == cube.units
    assert again.name == cube.name
    check_window(again)


@pytest.mark.parametrize("suffix", [".h5", ".nc", ".zarr", ".hdr", ".tif"])
def test_widths_survive_without_wavelengths(tmp_path, suffix):
    width = np.array([5.0, np.nan, 1 / 3, 5, 6, 7, 8])
    save_cube(example(wavelength_nm=None, fwhm_nm=width), tmp_path / f"x{suffix}")
    again = open_cube(tmp_path / f"x{suffix}")
    assert again.wavelength_nm is None
    np.testing.assert_allclose(again.fwhm_nm, width, rtol=1e-15)


@pytest.mark.parametrize(("unit", "width"), [("nm", [5, 6]), ("um", [5e3, 6e3]), ("", None), ("cm-1", None)])
def test_widths_alone_are_taken_in_their_stated_unit(tmp_path, unit, width):
    """Without wavelengths nothing else says in what they are; what is of another length is of something else."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cube"] = np.ones((2, 5, 6), dtype=np.float32)
        file["fwhm"] = np.array([5.0, 6.0])
        file["fwhm"].attrs["units"] = unit
        file["bandwidth"] = np.ones(9)
    found = open_cube(tmp_path / "x.h5", axes="band,y,x").fwhm_nm
    assert (None if found is None else found.tolist()) == width


@pytest.mark.parametrize("suffix", [".h5", ".zarr", ".hdr"])
def test_wavelengths_survive_to_the_last_bit(tmp_path, suffix):
    centre = 400 + np.cumsum(np.random.default_rng(0).uniform(1, 50, 7))
    save_cube(example(wavelength_nm=centre, fwhm_nm=centre / 70), tmp_path / f"x{suffix}")
    again = open_cube(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal([again.wavelength_nm, again.fwhm_nm], [centre, centre / 70])


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32733", "EPSG:3035"])
@pytest.mark.parametrize("transform", [(0.5, 0.0, 10.0, 0.0, -0.5, 50.0), None])
@pytest.mark.parametrize("suffix", [".h5", ".hdr", ".tif"])
def test_any_coordinate_system_survives(tmp_path, suffix, transform, crs):
    save_cube(example(crs=crs, transform=transform), tmp_path / f"x{suffix}")
    again = open_cube(tmp_path / f"x{suffix}")
    assert (again.crs, again.transform) == (crs, transform)
    if suffix == ".hdr" and transform is not None:
        with rasterio.open(tmp_path / "x.img") as found:
            assert found.crs.to_epsg() == int(crs[5:])


@pytest.mark.parametrize("suffix", [".h5", ".hdr", ".tif"])
def test_round_trip_without_labels(tmp_path, suffix):
    path = tmp_path / f"bare{suffix}"
    save_cube(Cube(data=np.arange(24, dtype=np.float32).reshape(2, 3, 4)), path)
    again = open_cube(path)
    assert (again.wavelength_nm, again.fwhm_nm, again.nodata, again.crs, again.transform) == (None,) * 5
    assert again.good.all()


@pytest.mark.parametrize("suffix", [".h5", ".hdr", ".tif"])
def test_nan_nodata_round_trip(tmp_path, suffix):
    data = np.ones((2, 5, 6), dtype=np.float32)
    data[:, 1, 2] = np.nan
    save_cube(Cube(data=data, nodata=float("nan")), tmp_path / f"x{suffix}")
    again = open_cube(tmp_path / f"x{suffix}")
    assert np.isnan(again.nodata)
    np.testing.assert_array_equal(again.read(), data)


@pytest.mark.parametrize("suffix", [".tif", ".hdr"])
def test_small_meta_survives_in_headers_and_tags(tmp_path, suffix, caplog):
    if suffix == ".tif":
        pytest.importorskip("rasterio")
    facts = {"sensor": "a {b} = c; ü", "nested": {"a": [1, 2]}}
    save_cube(example(meta=facts), tmp_path / f"x{suffix}")
    again = open_cube(tmp_path / f"x{suffix}").meta
    assert {key: again[key] for key in facts} == facts
    assert not caplog.messages
    save_cube(example(meta=facts | {"long": "x" * 20_000}), tmp_path / f"y{suffix}")
    assert "long" not in open_cube(tmp_path / f"y{suffix}").meta
    assert "meta: found 20" in caplog.text


def test_pan_and_meta_survive(tmp_path):
    pan = Cube(data=np.random.default_rng(1).random((1, 60, 90)).astype(np.float32), transform=(10, 0, 0, 0, -10, 0))
    save_cube(example(pan=pan, meta={"sensor": "X", "nested": {"a": [1, 2]}}), tmp_path / "x.h5")
    again = open_cube(tmp_path / "x.h5")
    assert again.meta["nested"] == {"a": [1, 2]}
    assert again.ratio == 3
    np.testing.assert_array_equal(again.pan.read(), pan.data)
    part = again.select(window=(2, 5, 4, 9))
    np.testing.assert_array_equal(part.pan.read(), pan.data[:, 6:15, 12:27])
    assert part.transform[2] == 500000 + 4 * 30


def test_large_cube_is_written_in_pieces(tmp_path, monkeypatch):
    from hsitools.cube import stored

    monkeypatch.setattr(stored, "BLOCK_BYTES", 50_000)
    data = np.random.default_rng(0).random((9, 150, 140)).astype(np.float32)
    steps = []
    save_cube(Cube(data=data), tmp_path / "x.h5", lambda done, total: steps.append((done, total)))
    assert len(steps) > 4
    assert steps[-1][0] == steps[-1][1]
    np.testing.assert_array_equal(open_cube(tmp_path / "x.h5").read(), data)


def test_xarray_reads_ours(tmp_path):
    cube = example("int16")
    save_cube(cube, tmp_path / "x.h5")
    with xarray.open_dataset(tmp_path / "x.h5", engine="h5netcdf") as found:
        assert found["cube"].dims == ("band", "y", "x")
        np.testing.assert_allclose(found["wavelength_nm"], cube.wavelength_nm)
        assert found["wavelength_nm"].attrs["units"] == "nm"
        assert found["wavelength_nm"].attrs["standard_name"] == "radiation_wavelength"
        np.testing.assert_array_equal(found["good"], cube.good)
        assert rasterio.CRS.from_wkt(found["spatial_ref"].attrs["crs_wkt"]).to_epsg() == 32633
        np.testing.assert_allclose(found["x"][:2], [500015, 500045])
        values = found["cube"].values
        # nodata is masked and the scale applied, as NetCDF says
        np.testing.assert_allclose(values, np.where(cube.data == 7, np.nan, cube.data * 1e-4), rtol=1e-6)


def test_netcdf4_reads_ours(tmp_path):
    netcdf = pytest.importorskip("netCDF4")
    save_cube(example("uint16"), tmp_path / "x.nc")
    with netcdf.Dataset(tmp_path / "x.nc") as found:
        assert found["cube"].shape == (7, 20, 30)
        assert found["wavelength_nm"].units == "nm"


def test_gdal_reads_ours(tmp_path):
    cube = example("int16")
    for name in ("x.tif", "x.hdr"):
        save_cube(cube, tmp_path / name)
    for name in ("x.tif", "x.img"):
        with rasterio.open(tmp_path / name) as found:
            np.testing.assert_array_equal(found.read(), cube.data)
            assert found.crs.to_epsg() == 32633
            assert tuple(found.transform)[:6] == cube.transform
            assert found.nodata == 7


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "uint16", "int64"])
def test_envi_against_spectral(tmp_path, interleave, order, dtype):
    data = np.random.default_rng(0).integers(0, 250, (20, 30, 7)).astype(dtype)
    spectral.io.envi.save_image(
        str(tmp_path / "x.hdr"), data, interleave=interleave, byteorder=order, dtype=dtype, ext=".img", force=True,
        metadata={"wavelength": list(np.linspace(0.4, 1, 7)), "wavelength units": "Micrometers", "bbl": [1] * 6 + [0]},
    )  # fmt: skip
    for name in ("x.hdr", "x.img"):
        cube = open_cube(tmp_path / name)
        np.testing.assert_array_equal(cube.read(), data.transpose(2, 0, 1))
        np.testing.assert_allclose(cube.wavelength_nm, np.linspace(400, 1000, 7))
        assert not cube.good[-1]
        check_window(cube)
    save_cube(cube, tmp_path / "ours.hdr")
    theirs = spectral.io.envi.open(str(tmp_path / "ours.hdr"))
    np.testing.assert_array_equal(np.asarray(theirs.load(dtype=np.float64)), data.astype(float))
    np.testing.assert_allclose(theirs.bands.centers, np.linspace(400, 1000, 7))


def test_envi_header_offset_and_gains(tmp_path):
    data = np.arange(24, dtype="<u2").reshape(2, 3, 4)
    (tmp_path / "x.dat").write_bytes(b"\0" * 100 + data.tobytes())
    (tmp_path / "x.hdr").write_text(
        "ENVI\ndescription = {two\n lines}\nsamples = 4\nlines = 3\nbands = 2\nheader offset = 100\ndata type = 12\n"
        "interleave = bsq\nbyte order = 0\n; a comment = 3\ndata gain values = {0.5, 2}\ndata offset values = {1, -1}\n"
        "data ignore value = 0\nfwhm = {10, 11}\nwavelength = {\n 500,\n 600 }\nwavelength units = nm\n"
    )
    cube = open_cube(tmp_path / "x.hdr")
    assert cube.name == "two lines"
    expected = data * np.array([0.5, 2])[:, None, None] + np.array([1, -1])[:, None, None]
    expected[data == 0] = np.nan
    np.testing.assert_allclose(cube.read(), expected)
    np.testing.assert_array_equal(cube.fwhm_nm, [10, 11])


@pytest.mark.parametrize("level", ["L2D", "L1"])
def test_prisma(tmp_path, level):
    given = write_prisma(tmp_path / "x.he5", level=level)
    cube = open_cube(tmp_path / "x.he5")
    attributes = given["attributes"]
    used = [attributes["List_Cw_Vnir"] > 0, attributes["List_Cw_Swir"] > 0]
    centres = np.concatenate([attributes["List_Cw_Vnir"][used[0]], attributes["List_Cw_Swir"][used[1]]])
    assert cube.n_bands == used[0].sum() + used[1].sum()
    assert np.all(np.diff(cube.wavelength_nm) > 0)
    np.testing.assert_allclose(cube.wavelength_nm, np.sort(centres))
    # every band has the values of the band that has its wavelength
    values = cube.read()
    last = attributes["List_Cw_Vnir"].max()
    for name, mask in (("Vnir", used[0]), ("Swir", used[1])):
        numbers = given[f"{name.upper()}_Cube"].astype(float)
        if level == "L2D":
            low, high = (float(attributes[f"L2Scale{name}{end}"]) for end in ("Min", "Max"))
            physical = low + numbers / 65535 * (high - low)
        else:
            physical = numbers / 100 - 0.5
        for band in np.flatnonzero(mask):
            centre = attributes[f"List_Cw_{name}"][band]
            place = int(np.argmin(np.abs(cube.wavelength_nm - centre)))
            np.testing.assert_allclose(values[place].ravel()[1:], physical[:, band].ravel()[1:], rtol=1e-5, atol=1e-6)
            # SWIR is marked bad where VNIR sees the same wavelengths
            assert cube.good[place] == (name == "Vnir" or centre > last)
    # off the swath: zero in every band
    assert np.isnan(values[:, 0, 0]).all()
    assert np.isfinite(values.reshape(cube.n_bands, -1)[:, 1:]).all()
    assert cube.crs == "EPSG:32633"
    assert cube.transform == (30.0, 0.0, 500000.0, 0.0, -30.0, 4600000.0)
    assert cube.pan.shape == (1, 72, 60)
    assert cube.ratio == 6
    assert "SWIR bands are marked bad" in cube.meta["overlap"]
    pan = given["pan"].astype(float)
    expected = pan / 65535 if level == "L2D" else pan / 100 - 0.5
    np.testing.assert_allclose(cube.pan.read()[0], expected, rtol=1e-5, atol=1e-6)
    check_window(cube)


@pytest.mark.parametrize("missing", ["List_Cw_Vnir", "L2ScaleSwirMax", "VNIR_Cube"])
def test_prisma_lacks_something(tmp_path, missing):
    write_prisma(tmp_path / "x.he5", leave_out=(missing,))
    with pytest.raises(FormatError, match=rf"x\.he5: {missing}: missing"):
        open_cube(tmp_path / "x.he5")


def test_prisma_without_what_is_optional(tmp_path):
    """Widths, the scale of PAN, the grid: left out where they are missing, never made up."""
    grid = ("Epsg_Code", "Product_ULcorner_easting")
    given = write_prisma(tmp_path / "x.he5", leave_out=("List_Fwhm_Vnir", "L2ScalePanMin", "L2ScalePanMax", *grid))
    cube = open_cube(tmp_path / "x.he5")
    assert np.isnan(cube.fwhm_nm[:20]).all()
    assert (cube.crs, cube.transform) == (None, None)
    assert cube.pan.units == "DN"
    np.testing.assert_array_equal(cube.pan.read()[0], given["pan"])


def test_enmap(tmp_path):
    given = write_enmap(tmp_path / "product")
    names = [tmp_path / "product", *sorted((tmp_path / "product").iterdir())]
    for path in names:
        cube = open_cube(path)
        expected = given["values"] * given["gain"][:, None, None] + given["offset"][:, None, None]
        expected[:, 0, 0] = np.nan
        np.testing.assert_allclose(cube.read(), expected, rtol=1e-5)
        np.testing.assert_allclose(cube.wavelength_nm, given["centre"])
        np.testing.assert_allclose(cube.fwhm_nm, given["width"])
        assert cube.crs == "EPSG:32633"
        assert cube.transform == (30.0, 0.0, 366000.0, 0.0, -30.0, 5810000.0)
        assert cube.units == "1"
        check_window(cube)
    metadata = tmp_path / "product" / f"{given['stem']}METADATA.XML"
    metadata.write_text(metadata.read_text().replace("FWHMOfBand", "Nothing"))
    with pytest.raises(FormatError, match="FWHMOfBand"):
        open_cube(tmp_path / "product")


def test_emit(tmp_path):
    given = write_emit(tmp_path / "x.nc")
    cube = open_cube(tmp_path / "x.nc")
    np.testing.assert_array_equal(cube.read(), given["values"].transpose(2, 0, 1))
    np.testing.assert_allclose(cube.wavelength_nm, given["centre"])
    np.testing.assert_allclose(cube.fwhm_nm, given["width"])
    np.testing.assert_array_equal(cube.good, given["good"] == 1)
    assert cube.nodata == -9999
    assert not cube.valid(cube.read())[:, 0, 0].any()
    assert cube.units == "1"
    # the swath is not on the map grid: no transform is claimed
    assert cube.transform is None
    assert cube.meta["glt_geotransform"][0] == 13.0
    check_window(cube)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab(tmp_path, version):
    values = np.random.default_rng(0).random((6, 9, 11))
    variables = {"Y": values, "wavelength": np.linspace(400, 900, 11)[None], "other": np.ones((3, 4))}
    path = tmp_path / "x.mat"
    if version == "5":
        scipy.io.savemat(path, variables, do_compression=True)
    else:
        write_matlab_73(path, variables)
    cube = open_cube(path)
    np.testing.assert_array_equal(cube.read(), values.transpose(2, 0, 1))
    np.testing.assert_allclose(cube.wavelength_nm, np.linspace(400, 900, 11))
    check_window(cube)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_matlab_band_axis_by_wavelengths(tmp_path, version):
    values = np.random.default_rng(0).random((11, 6, 9))
    variables = {"cube": values, "wl": np.linspace(0.4, 0.9, 11)}
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, variables) if version == "5" else write_matlab_73(path, variables)
    cube = open_cube(path)
    np.testing.assert_array_equal(cube.read(), values)
    # micrometres, the only optical reading
    np.testing.assert_allclose(cube.wavelength_nm, np.linspace(400, 900, 11))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    cube = np.random.default_rng(0).random((5, 8, 9)).astype(np.float32)
    save(tmp_path / "x.npz", cube=cube, wavelength_nm=np.linspace(400, 800, 5), good=np.array([1, 1, 0, 1, 1]))
    found = open_cube(tmp_path / "x.npz")
    np.testing.assert_array_equal(found.read(), cube)
    np.testing.assert_array_equal(found.good, [1, 1, 0, 1, 1])
    check_window(found)


def test_foreign_geotiff_tags(tmp_path):
    """Wavelengths as EnMAP-Box and ENVI users write them: lists in a domain, or a tag a band."""
    profile = {"driver": "GTiff", "count": 3, "height": 4, "width": 5, "dtype": "uint16"}
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(tmp_path / "a.tif", "w", **profile) as file:
            file.write(np.ones((3, 4, 5), np.uint16))
            file.update_tags(ns="ENVI", wavelength="{0.45, 0.55, 0.65}", wavelength_units="Micrometers", bbl="{1,0,1}")
        with rasterio.open(tmp_path / "b.tif", "w", **profile) as file:
            file.write(np.ones((3, 4, 5), np.uint16))
            for band, centre in enumerate((450, 550, 650), 1):
                file.update_tags(band, wavelength=centre, wavelength_units="Nanometers")
    for name in ("a.tif", "b.tif"):
        np.testing.assert_allclose(open_cube(tmp_path / name).wavelength_nm, [450, 550, 650])
    assert list(open_cube(tmp_path / "a.tif").good) == [True, False, True]


def test_real_scenes(shared):
    for path in sorted((shared / "data" / "scenes").glob("*.h5")):
        with h5py.File(path) as file:
            raw, wavelength = file["cube"], file["wavelength_nm"][()]
            cube = open_cube(path)
            assert cube.shape == raw.shape
            assert cube.dtype == raw.dtype
            if np.isnan(wavelength).all():
                assert cube.wavelength_nm is None
            else:
                np.testing.assert_array_equal(cube.wavelength_nm, wavelength)
            np.testing.assert_array_equal(cube.read(rows=slice(3, 20)), raw[:, 3:20])
            if "good_band" in file:
                np.testing.assert_array_equal(cube.good, file["good_band"][()] == 1)
            if "nodata" in file.attrs:
                assert cube.nodata == file.attrs["nodata"]


def test_calibration_products_are_no_cubes(shared):
    for path in sorted((shared / "data" / "instruments").glob("calib_*.h5")):
        with pytest.raises(FormatError, match="format: found nothing known"):
            open_cube(path)
    assert open_cube(shared / "data" / "instruments" / "fpi_house_raw.h5").wavelength_nm is None


@pytest.mark.parametrize("suffix", [".h5", ".hdr", ".tif"])
def test_failed_write_leaves_nothing(tmp_path, suffix):
    class Broken:
        shape, dtype = (3, 10, 10), np.dtype(np.float32)

        def read(self, bands, rows, columns):
            raise OSError("disk on fire")

    with pytest.raises(FormatError, match="disk on fire"):
        save_cube(Cube(data=Broken()), tmp_path / f"x{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_wrong_suffix_and_missing_file(tmp_path):
    with pytest.raises(InputError, match="output: found suffix"):
        save_cube(example(), tmp_path / "x.foo")
    with pytest.raises(FormatError, match="found no such file"):
        open_cube(tmp_path / "x.h5")
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(FormatError, match=r"x\.txt: format: found nothing known"):
        open_cube(tmp_path / "x.txt")


def test_geo_extra_is_named_when_missing(tmp_path):
    save_cube(example(), tmp_path / "x.tif")
    code = (
        "import sys; sys.modules['rasterio'] = None\nfrom hsitools.commands.root import main\n"
        f"main(['info', {str(tmp_path / 'x.tif')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install hsitools[geo]" in done.stderr


def test_an_envi_header_keeps_any_name(tmp_path):
    for name in ("n {a} = b", "two  spaces\nand a line", "plain"):
        save_cube(example(name=name), tmp_path / "x.hdr")
        assert open_cube(tmp_path / "x.hdr").name == name
