"""Files as users have them: kinds of headers, labels and layouts, each with the right values.

The inputs of ``../shared/cases/files`` are samples of these kinds; they are tested where they are at hand, and the
kinds always, on files made here.
"""

import gzip
import json
import logging
import os
import warnings
import zipfile

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import spectral.io.envi
import xarray

from hsitools.commands.root import main
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube, save_cube
from hsitools.io.wavelengths import Conversion, from_names, to_nm

NM = np.array([450.0, 550.0, 650.0, 850.0])
BANDS, ROWS, COLUMNS = 4, 3, 5
VALUES = 100 + 10 * np.arange(BANDS * ROWS * COLUMNS).reshape(BANDS, ROWS, COLUMNS)


# ---- wavelengths ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "unit", "expected"),
    [
        ([450, 850], "Nanometers", [450, 850]),
        ([0.45, 0.85], "µm", [450, 850]),
        ([0.45, 0.85], "Micrometers", [450, 850]),
        ([4500, 8500], "Angstroms", [450, 850]),
        ([4.5e-7, 8.5e-7], "meters", [450, 850]),
        ([4.5e-4, 8.5e-4], "mm", [450, 850]),
        ([20000, 10000], "Wavenumber", [500, 1000]),
        ([2.0, 1.0], "um-1", [500, 1000]),
        ([599584.916, 299792.458], "GHz", [500, 1000]),
        ([599.584916, 299.792458], "THz", [500, 1000]),
        ([0.45, 0.85], "Unknown", [450, 850]),
        ([0.45, 0.85], None, [450, 850]),
        ([0, 550, 0, 850], "nm", [np.nan, 550, np.nan, 850]),
        ([1, 2, 3], "Index", None),
        ([1, 2, 3], None, None),
        ([0, 1, 2], None, None),
        ([1, 2, 3], "nm", None),
        ([450, 850], "bananas", None),
        ([1.0, 2.0, 3.0], "um", [1000, 2000, 3000]),
    ],
)
def test_units_of_wavelengths(values, unit, expected):
    found = to_nm(values, unit, "x")
    if expected is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(("values", "unit"), [([400, 900], "um"), ([0.4, 2.5], "nm"), ([400, 900], "Meters")])
def test_an_impossible_unit_is_said_aloud(values, unit, caplog):
    with caplog.at_level(logging.WARNING):
        found = to_nm(values, unit, "file: wavelength")
    assert "no optical instrument" in caplog.text
    assert 300 < found[0] < 500


def test_numbers_that_are_optical_in_no_unit_are_refused():
    with pytest.raises(FormatError, match="expected optical wavelengths"):
        to_nm([1e-3, 2e-3], "nm", "x")


def test_widths_follow_their_centres():
    conversion = Conversion.of([20000.0, 10000.0], "cm-1", "x")
    # 10 cm-1 at 500 nm is 0.25 nm, at 1000 nm 1 nm
    np.testing.assert_allclose(conversion.widths([10, 10], [20000, 10000]), [0.25, 1.0])
    assert np.isnan(Conversion.of([450.0], "nm", "x").widths([0], [450])).all()


@pytest.mark.parametrize(
    "name", ["Band 1 (450.0 Nanometers)", "band 1 (0.45 Micrometers)", "450 nm", "B1_450.0nm", "wl=4500 Angstroms"]
)
def test_wavelengths_in_names(name):
    np.testing.assert_allclose(from_names([name]), [450])


def test_names_without_wavelengths():
    assert from_names(["Band 1", "red", "b450"]) is None
    for numbers in (["1", "2", "3"], ["101", "102", "103"], ["450", "nothing"], ["450", "nan"]):
        assert from_names(numbers) is None
    np.testing.assert_allclose(from_names(["450.5", "460.25"]), [450.5, 460.25])
    np.testing.assert_allclose(from_names(["0.4505", "0.46"]), [450.5, 460])


# ---- ENVI ----------------------------------------------------------------------------------------------------------


def write_envi(folder, extra="", name="x.hdr", data="x.img", start="ENVI\n", keys=True, order="C", encoding="utf-8"):
    (folder / data).write_bytes(VALUES.astype("<i2").tobytes())
    basic = (
        f"samples = {COLUMNS}\nlines = {ROWS}\nbands = {BANDS}\nheader offset = 0\nfile type = ENVI Standard\n"
        "data type = 2\ninterleave = bsq\nbyte order = 0\n"
    )
    (folder / name).write_bytes((start + (basic if keys else "") + extra).encode(encoding))
    return folder / name


WAVELENGTHS = "wavelength = {450.0, 550.0, 650.0, 850.0}\n"


@pytest.mark.parametrize(
    ("extra", "encoding"),
    [
        ("wavelength units = µm\nwavelength = {0.45, 0.55, 0.65, 0.85}\n", "latin-1"),
        ("wavelength units = µm\nwavelength = {0.45, 0.55, 0.65, 0.85}\n", "utf-8"),
        ("wavelength_units = Nanometers\n" + WAVELENGTHS, "utf-8"),
        ("wavelength units =\nfwhm =\nbbl = {}\ndata ignore value =\nmap info = {}\n" + WAVELENGTHS, "utf-8"),
        ("wavelength = {\n450.0,\n; left out\n550.0,\n650.0,\n850.0\n}\n; note = {\n", "utf-8"),
        ("wavelength = {4.5D+02, 5.5d2, 6.5D+02, 8.5E2}\n", "utf-8"),
        ("wavelength =\n {450, 550,\n 650, 850}\n", "utf-8"),
        ("data ignore value = None\nbbl = None\n" + WAVELENGTHS, "utf-8"),
        ("band names = {Band 1 (450.0 Nanometers), Band 2 (550.0 Nanometers), 650 nm, x (0.85 um)}\n", "utf-8"),
        ("wavelength units = Wavenumber\nwavelength = {22222.2222222, 18181.8181818, 15384.6153846, 11764.7058824}\n",
         "utf-8"),
    ],
)  # fmt: skip
def test_envi_headers_as_instruments_write_them(tmp_path, extra, encoding):
    cube = open_cube(write_envi(tmp_path, extra, encoding=encoding))
    np.testing.assert_array_equal(cube.read(), VALUES)
    np.testing.assert_allclose(cube.wavelength_nm, NM)
    assert cube.nodata is None
    assert cube.good.all()


def test_envi_byte_order_mark_and_zero_labels(tmp_path):
    extra = "wavelength = {0, 550, 650, 850}\nwavelength units = nm\nfwhm = {0, 10, 0, 10}\n"
    cube = open_cube(write_envi(tmp_path, extra, start="\ufeffENVI\r\n"))
    np.testing.assert_array_equal(cube.wavelength_nm, [np.nan, 550, 650, 850])
    np.testing.assert_array_equal(cube.fwhm_nm, [np.nan, 10, np.nan, 10])
    np.testing.assert_array_equal(cube.good, [False, True, True, True])


@pytest.mark.parametrize(
    ("header", "data"),
    [("x.hdr", "x.hyspex"), ("x.hdr", "x.ref"), ("x.hdr", "x.L1R"), ("x.HDR", "x.DAT"), ("x.Hdr", "X.img"),
     ("x.bil.hdr", "x.bil"), ("x.img.HDR", "x.img"), ("x.hdr", "x"), ("scene.v2.hdr", "scene.v2")],
)  # fmt: skip
def test_envi_data_and_header_find_one_another(tmp_path, header, data):
    write_envi(tmp_path, WAVELENGTHS, name=header, data=data)
    for name in (header, data):
        np.testing.assert_array_equal(open_cube(tmp_path / name).read(), VALUES)


def test_envi_data_by_size_where_several_stand(tmp_path):
    path = write_envi(tmp_path, WAVELENGTHS, data="x.foo")
    (tmp_path / "x.log").write_text("a log")
    (tmp_path / "x.dat").write_bytes(b"too short")
    (tmp_path / "x.img").write_bytes(bytes(10 * VALUES.size))
    np.testing.assert_array_equal(open_cube(path).read(), VALUES)


def test_envi_never_leaves_its_folder(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.img").write_bytes(VALUES.astype("<i2").tobytes())
    header = write_envi(tmp_path / "inner", "data file = ../secret.img\n", data="y.img")
    with pytest.raises(FormatError, match="found no file beside it"):
        open_cube(header)


@pytest.mark.parametrize("word", ["Spectral Library", "Classification"])
def test_envi_files_that_are_no_cubes(tmp_path, word):
    header = write_envi(tmp_path)
    header.write_text(header.read_text().replace("ENVI Standard", f"ENVI {word}"))
    for path in (header, tmp_path / "x.img"):
        with pytest.raises(FormatError, match=f"a {word.lower()}"):
            open_cube(path)


def test_esri_header(tmp_path):
    text = (
        "BYTEORDER M\nLAYOUT BIL\nNROWS 3\nNCOLS 5\nNBANDS 4\nNBITS 16\nPIXELTYPE SIGNEDINT\nNODATA 7\nULXMAP 15\n"
        "ULYMAP 85\nXDIM 10\nYDIM 10\nWAVELENGTHS\n450\n550\n650\n850\nWAVELENGTHS_END\n"
    )
    (tmp_path / "x.bil.hdr").write_text(text)
    (tmp_path / "x.bil").write_bytes(VALUES.transpose(1, 0, 2).astype(">i2").tobytes())
    cube = open_cube(tmp_path / "x.bil")
    np.testing.assert_array_equal(cube.read(), VALUES)
    np.testing.assert_array_equal(cube.wavelength_nm, NM)
    assert (cube.nodata, cube.transform) == (7, (10.0, 0.0, 10.0, 0.0, -10.0, 90.0))


@pytest.mark.parametrize(
    ("info", "crs"),
    [
        ("Geographic Lat/Lon, 1, 1, 13, 52.5, 0.1, 0.1, WGS-84, units=Degrees", "EPSG:4326"),
        ("Geographic Lat/Lon, 1, 1, 13, 52.5, 0.1, 0.1, North America 1983, units=Degrees", "EPSG:4269"),
        ("UTM, 1, 1, 500000, 4600000, 30, 30, 33, North, WGS-84, units=Meters", "EPSG:32633"),
        ("UTM, 1, 1, 500000, 4600000, 30, 30, 19, South, WGS-84, units=Meters", "EPSG:32719"),
        ("UTM, 1, 1, 500000, 4600000, 30, 30, 11, North, North America 1983, units=Meters", "EPSG:26911"),
        ("UTM, 1, 1, 500000, 4600000, 30, 30, 11, North, NAD-27, units=Meters", "EPSG:26711"),
        ("UTM, 1, 1, 500000, 4600000, 30, 30, 32, North, ETRS89, units=Meters", "EPSG:25832"),
        ("UTM, 1, 1, 500000, 4600000, 30, 30, 55, South, GDA94, units=Meters", "EPSG:28355"),
        ("Arbitrary, 1, 1, 0, 0, 1, 1", None),
        ("State Plane (NAD 83), 1, 1, 0, 0, 1, 1, 405, units=Meters", "EPSG:26945"),
    ],
)
def test_coordinate_system_from_map_info(tmp_path, info, crs):
    cube = open_cube(write_envi(tmp_path, f"map info = {{{info}}}\n"))
    assert cube.crs == crs
    assert cube.transform is not None


def test_envi_esri_text_becomes_a_code(tmp_path):
    text = rasterio.crs.CRS.from_epsg(32633).to_wkt(version=rasterio.enums.WktVersion.WKT1_ESRI)
    assert "AUTHORITY" not in text
    cube = open_cube(write_envi(tmp_path, f"coordinate system string = {{{text}}}\n"))
    assert cube.crs == "EPSG:32633"


@pytest.mark.parametrize("rotation", [0.0, 30.0, -75.0])
def test_envi_rotated_grid_as_gdal_reads_it(tmp_path, rotation):
    c, s = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    transform = (30 * c, 30 * s, 5e5, 30 * s, -30 * c, 4.6e6)
    cube = Cube(data=VALUES.astype("i2"), transform=transform, crs="EPSG:32633")
    save_cube(cube, tmp_path / "x.hdr")
    np.testing.assert_allclose(open_cube(tmp_path / "x.hdr").transform, transform, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "transform", [(30, 0, 0, 0, 30, 0), (-30, 0, 0, 0, -30, 0), (30, 5, 0, 0, -30, 0)],
    ids=["south-up", "mirrored", "skewed"],
)  # fmt: skip
def test_grids_that_a_format_cannot_say(tmp_path, transform):
    cube = Cube(data=VALUES.astype("i2"), transform=transform, crs="EPSG:32633")
    with pytest.raises(InputError, match="transform: found"):
        save_cube(cube, tmp_path / "x.hdr")
    assert not list(tmp_path.iterdir())
    for name in ("x.tif", "x.h5"):
        save_cube(cube, tmp_path / name)
        assert open_cube(tmp_path / name).transform == transform
    with rasterio.open(tmp_path / "x.tif") as file:
        assert tuple(file.transform)[:6] == transform


# ---- scales and offsets --------------------------------------------------------------------------------------------

SCALE, OFFSET = np.array([1e-4, 2e-4, 1e-4, 4e-4]), np.array([0, -0.1, 0.5, 0.0])


def write_tif(path, scales=None, offsets=None, nodata=None, tags=None, descriptions=None, **profile):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="GTiff", count=BANDS, height=ROWS, width=COLUMNS, dtype="int16",
                           nodata=nodata, **profile) as file:  # fmt: skip
            file.write(VALUES.astype("i2"))
            if scales is not None:
                file.scales, file.offsets = scales, offsets
            for band in range(BANDS):
                if tags:
                    file.update_tags(band + 1, **{key: values[band] for key, values in tags.items()})
                if descriptions:
                    file.set_band_description(band + 1, descriptions[band])
    return path


def scaled_files(folder):
    """The same numbers with scales and offsets per band, as different formats say it."""
    yield write_tif(folder / "scaled.tif", SCALE.tolist(), OFFSET.tolist(), nodata=120)
    gains = ", ".join(map(str, SCALE)), ", ".join(map(str, OFFSET))
    yield write_envi(
        folder, f"data gain values = {{{gains[0]}}}\ndata offset values = {{{gains[1]}}}\ndata ignore value = 120\n"
    )
    with h5py.File(folder / "scaled.nc", "w") as file:
        data = file.create_dataset("reflectance", data=VALUES.astype("i2"))
        data.attrs.update(scales=SCALE, offsets=OFFSET, _FillValue=np.int16(120))
        file.create_dataset("wavelength", data=NM).attrs["units"] = "nm"
    yield folder / "scaled.nc"


PHYSICAL = np.where(VALUES == 120, np.nan, VALUES * SCALE[:, None, None] + OFFSET[:, None, None])


def test_scale_and_offset_per_band(tmp_path):
    for path in scaled_files(tmp_path):
        cube = open_cube(path)
        np.testing.assert_allclose(cube.physical().read(), PHYSICAL, rtol=1e-6, atol=1e-7)
        statistics = cube.statistics()
        np.testing.assert_allclose(statistics["mean"], np.nanmean(PHYSICAL, axis=(1, 2)), rtol=1e-6)
        np.testing.assert_array_equal(statistics["n_valid"], np.isfinite(PHYSICAL).sum(axis=(1, 2)))
        part = cube.select(bands=[3, 1], window=(1, 3, 2, 4))
        np.testing.assert_allclose(part.physical().read(), PHYSICAL[[3, 1], 1:3, 2:4], rtol=1e-6)


@pytest.mark.parametrize("suffix", [".tif", ".hdr", ".h5", ".zarr"])
def test_conversion_keeps_what_is_stored(tmp_path, suffix, caplog):
    """Stored numbers, scales, offsets and nodata survive, or what does not is said."""
    (tmp_path / "in").mkdir()
    for number, path in enumerate(scaled_files(tmp_path / "in")):
        cube = open_cube(path).select(bands=[3, 1])
        out = tmp_path / f"{number}{suffix}"
        with caplog.at_level(logging.WARNING):
            save_cube(cube, out)
        again = open_cube(out)
        np.testing.assert_allclose(again.physical().read(), PHYSICAL[[3, 1]], rtol=1e-6, atol=1e-7)
        stored = again.stored()
        if suffix in (".tif", ".hdr"):
            np.testing.assert_array_equal(stored.read(slice(0, ROWS), slice(0, COLUMNS)), VALUES[[3, 1]])
            assert stored.dtype == np.int16
            np.testing.assert_array_equal(stored.scale, SCALE[[3, 1]])
            np.testing.assert_array_equal(stored.offset, OFFSET[[3, 1]])
            assert stored.nodata == 120
        else:
            assert "scales differ from band to band" in caplog.text


def test_gdal_and_xarray_decode_what_we_write(tmp_path):
    cube = open_cube(write_tif(tmp_path / "in.tif", [1e-4] * 4, [-0.1] * 4, nodata=120))
    assert cube.physical().read()[0, 0, 0] == pytest.approx(100e-4 - 0.1, abs=1e-9)
    expected = np.where(VALUES == 120, np.nan, VALUES * 1e-4 - 0.1)
    for name in ("x.h5", "x.zarr", "x.tif"):
        save_cube(cube, tmp_path / name)
    with xarray.open_dataset(tmp_path / "x.h5", engine="h5netcdf") as found:
        np.testing.assert_allclose(found["cube"].values, expected, rtol=1e-5, atol=1e-7)
    with xarray.open_zarr(tmp_path / "x.zarr") as found:
        np.testing.assert_allclose(found["cube"].values, expected, rtol=1e-5, atol=1e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(tmp_path / "x.tif") as file:
            raw = file.read(masked=True)
            np.testing.assert_allclose(raw * 1e-4 - 0.1, np.ma.masked_invalid(expected), rtol=1e-6, atol=1e-9)
            assert (file.scales, file.offsets) == ((1e-4,) * 4, (-0.1,) * 4)
    again = open_cube(tmp_path / "x.h5").stored()
    assert (again.dtype, again.scale[0], again.offset[0], again.nodata) == (np.int16, 1e-4, -0.1, 120)


def test_odd_scale_survives_envi_exactly(tmp_path):
    scale = 1.2207e-5
    save_cube(Cube(data=VALUES.astype("u2"), scale_factor=scale), tmp_path / "x.hdr")
    assert open_cube(tmp_path / "x.hdr").stored().scale[0] == scale


def test_scale_of_zero_or_nan_is_refused(tmp_path):
    with pytest.raises(InputError, match="data gain values: scale: found"):
        open_cube(write_envi(tmp_path, "data gain values = {1, 0, 1, 1}\n"))


# ---- HDF5 and NetCDF -----------------------------------------------------------------------------------------------

WAVES = np.array([400.0, 450, 550, 650, 850, 900])
SCENE = (np.arange(120).reshape(6, 4, 5) / 1000).astype("f4")


def write_nc(
    path, dims, units="nm", name="reflectance", coordinate="wavelength", attributes=None, extra=None, **coords
):
    order = {"band": 0, "y": 1, "x": 2}
    kind = dict(zip(dims, coords.pop("kinds"), strict=True))
    data = SCENE.transpose([order[kind[dim]] for dim in dims])
    band = next(dim for dim in dims if kind[dim] == "band")
    wave = xarray.Variable((band,), WAVES, {"units": units} if units else {})
    dataset = xarray.Dataset({name: (dims, data, attributes or {})}, {coordinate: wave, **coords})
    dataset.update(extra or {})
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize(
    ("dims", "kinds"),
    [
        (("downtrack", "crosstrack", "bands"), ("y", "x", "band")),
        (("y", "x", "wavelength"), ("y", "x", "band")),
        (("x", "y", "wavelength"), ("x", "y", "band")),
        (("wavelength", "x", "y"), ("band", "x", "y")),
        (("lat", "lon", "channel"), ("y", "x", "band")),
        (("number_of_lines", "pixels_per_line", "wavelength_3d"), ("y", "x", "band")),
        (("samples", "lines", "bands"), ("x", "y", "band")),
        (("band", "row", "col"), ("band", "y", "x")),
    ],
)
def test_axes_by_name(tmp_path, dims, kinds):
    cube = open_cube(write_nc(tmp_path / "x.nc", dims, kinds=kinds))
    np.testing.assert_array_equal(cube.read(), SCENE)
    np.testing.assert_array_equal(cube.wavelength_nm, WAVES)


def test_axes_of_equal_length_by_name(tmp_path):
    data = np.arange(216).reshape(6, 6, 6).astype("f4")
    dataset = xarray.Dataset({"reflectance": (("y", "x", "wavelength"), data)}, {"wavelength": WAVES})
    dataset.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    np.testing.assert_array_equal(open_cube(tmp_path / "x.nc").read(), data.transpose(2, 0, 1))


def test_axes_by_cf_attributes(tmp_path):
    coords = {
        "u": ("u", np.arange(4.0), {"axis": "Y"}), "v": ("v", np.arange(5.0), {"standard_name": "longitude"}),
        "w": ("w", WAVES, {"standard_name": "radiation_wavelength", "units": "nm"}),
    }  # fmt: skip
    dataset = xarray.Dataset({"anything": (("v", "w", "u"), SCENE.transpose(2, 0, 1))}, coords)
    dataset.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    cube = open_cube(tmp_path / "x.nc")
    np.testing.assert_array_equal(cube.read(), SCENE)
    np.testing.assert_array_equal(cube.wavelength_nm, WAVES)


def test_ambiguous_axes_are_refused_and_chosen(tmp_path):
    data = np.arange(216).reshape(6, 6, 6).astype("f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["reflectance"] = data
        file["wavelength"] = WAVES
    with pytest.raises(InputError, match="choose with --axes"):
        open_cube(tmp_path / "x.h5")
    np.testing.assert_array_equal(open_cube(tmp_path / "x.h5", axes="y,x,band").read(), data.transpose(2, 0, 1))
    with pytest.raises(InputError, match="--axes: found 'y,x'"):
        open_cube(tmp_path / "x.h5", axes="y,x")


def test_two_equal_variables_are_named_and_chosen(tmp_path, capsys):
    other = {"Rw_unc": (("wavelength", "y", "x"), 2 * SCENE)}
    path = write_nc(tmp_path / "x.nc", ("wavelength", "y", "x"), kinds=("band", "y", "x"), name="Rw", extra=other)
    with pytest.raises(InputError, match="Rw, Rw_unc, any of which could be it; choose with --variable"):
        open_cube(path)
    np.testing.assert_array_equal(open_cube(path, variable="Rw_unc").read(), 2 * SCENE)
    with pytest.raises(InputError, match="--variable: found 'nothing', expected one of"):
        open_cube(path, variable="nothing")
    with pytest.raises(SystemExit, match="0"):
        main(["info", str(path), "--variable", "Rw", "--json"])
    assert json.loads(capsys.readouterr().out)["shape"] == [6, 4, 5]


def test_the_usual_name_beats_its_companions(tmp_path):
    other = {"reflectance_uncertainty": (("wavelength", "y", "x"), 2 * SCENE)}
    path = write_nc(tmp_path / "x.nc", ("wavelength", "y", "x"), kinds=("band", "y", "x"), extra=other)
    np.testing.assert_array_equal(open_cube(path).read(), SCENE)


def test_a_cube_in_a_group_and_what_else_is_inside(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a/b/reflectance"] = SCENE
        file["a/wavelengths"] = WAVES
        file["a/fwhm"] = np.full(6, 8.0)
    cube = open_cube(tmp_path / "x.h5")
    np.testing.assert_array_equal(cube.read(), SCENE)
    np.testing.assert_array_equal(cube.fwhm_nm, np.full(6, 8.0))
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["somewhere/thing"] = SCENE
    with pytest.raises(FormatError, match=r"nothing known \(inside: somewhere/thing 6×4×5; --variable chooses"):
        open_cube(tmp_path / "y.h5")
    np.testing.assert_array_equal(open_cube(tmp_path / "y.h5", variable="thing", axes="band,y,x").read(), SCENE)


@pytest.mark.parametrize("name", ["_FillValue", "missing_value", "nodata", "no_data_value", "Data_Ignore_Value"])
def test_nodata_by_any_name(tmp_path, name):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("reflectance", data=SCENE)
        data.attrs[name] = np.float32(-9999)
        file["wavelength"] = WAVES
    assert open_cube(tmp_path / "x.h5").nodata == -9999


def test_a_time_of_one(tmp_path):
    dataset = xarray.Dataset(
        {"reflectance": (("time", "band", "y", "x"), SCENE[None])}, {"wavelength": ("band", WAVES)}
    )
    dataset.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    cube = open_cube(tmp_path / "x.nc")
    np.testing.assert_array_equal(cube.read(), SCENE)
    np.testing.assert_array_equal(cube.select(bands=[2], window=(1, 3, 0, 2)).read(), SCENE[[2], 1:3, :2])


def test_netcdf_classic(tmp_path):
    dataset = xarray.Dataset(
        {"reflectance": (("y", "x", "wavelength"), SCENE.transpose(1, 2, 0), {"missing_value": np.float32(-1)})},
        {"wavelength": ("wavelength", WAVES, {"units": "nm"})},
    )
    dataset.to_netcdf(tmp_path / "x.nc", engine="scipy", format="NETCDF3_64BIT")
    cube = open_cube(tmp_path / "x.nc")
    np.testing.assert_array_equal(cube.read(), SCENE)
    np.testing.assert_array_equal(cube.wavelength_nm, WAVES)
    assert cube.nodata == -1


def test_netcdf_unsigned_and_kilometres(tmp_path):
    numbers = np.arange(120, dtype=np.uint8).reshape(6, 4, 5) + 100
    coords = {"y": ("y", 3800.0 - 0.01 * (np.arange(4) + 0.5), {"units": "km"}),
              "x": ("x", 400.0 + 0.01 * (np.arange(5) + 0.5), {"units": "km"}), "wavelength": WAVES}  # fmt: skip
    data = (("wavelength", "y", "x"), numbers.view(np.int8), {"_Unsigned": "true"})
    xarray.Dataset({"reflectance": data}, coords).to_netcdf(tmp_path / "x.nc", engine="scipy", format="NETCDF3_64BIT")
    cube = open_cube(tmp_path / "x.nc")
    np.testing.assert_array_equal(cube.read(), numbers)
    np.testing.assert_allclose(cube.transform, (10, 0, 400000, 0, -10, 3800000), atol=1e-6)


def grid_coords(x0=400000.0, y0=3800000.0, step=10.0):
    return {"y": y0 - step * (np.arange(4) + 0.5), "x": x0 + step * (np.arange(5) + 0.5)}


@pytest.mark.parametrize(
    ("mapping", "crs"),
    [
        ({"crs_wkt": rasterio.crs.CRS.from_epsg(32611).to_wkt()}, "EPSG:32611"),
        ({"spatial_ref": "EPSG:32611"}, "EPSG:32611"),
        ({"epsg_code": "EPSG:32611"}, "EPSG:32611"),
        ({"grid_mapping_name": "latitude_longitude"}, "EPSG:4326"),
        ({"grid_mapping_name": "transverse_mercator", "longitude_of_central_meridian": -117.0,
          "scale_factor_at_central_meridian": 0.9996, "false_easting": 500000.0, "false_northing": 0.0}, "EPSG:32611"),
    ],
)  # fmt: skip
def test_grid_from_coordinates_and_mapping(tmp_path, mapping, crs):
    extra = {"spatial_ref": ((), 0, mapping)}
    path = write_nc(tmp_path / "x.nc", ("wavelength", "y", "x"), kinds=("band", "y", "x"), extra=extra,
                    attributes={"grid_mapping": "spatial_ref"}, **grid_coords())  # fmt: skip
    cube = open_cube(path)
    assert cube.crs == crs
    assert cube.transform == (10.0, 0.0, 400000.0, 0.0, -10.0, 3800000.0)


def test_coordinates_beat_a_stale_geotransform(tmp_path, caplog):
    mapping = {"GeoTransform": "390000 10 0 3900000 0 -10", "spatial_ref": "EPSG:32611"}
    path = write_nc(tmp_path / "x.nc", ("wavelength", "y", "x"), kinds=("band", "y", "x"), **grid_coords(),
                    extra={"spatial_ref": ((), 0, mapping)}, attributes={"grid_mapping": "spatial_ref"})  # fmt: skip
    with caplog.at_level(logging.WARNING):
        assert open_cube(path).transform == (10.0, 0.0, 400000.0, 0.0, -10.0, 3800000.0)
    assert "contradicts the coordinates" in caplog.text


def test_uneven_coordinates_are_no_transform(tmp_path):
    coords = grid_coords() | {"y": np.array([5.0, 4, 2, 1])}
    path = write_nc(tmp_path / "x.nc", ("wavelength", "y", "x"), kinds=("band", "y", "x"), **coords)
    assert open_cube(path).transform is None


def test_files_that_point_out_of_themselves_are_refused(tmp_path):
    (tmp_path / "secret.bin").write_bytes(SCENE.tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["cube"] = SCENE
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["cube"] = h5py.ExternalLink("secret.h5", "/cube")
        file["reflectance"], file["wavelength"] = SCENE, WAVES
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("cube", shape=SCENE.shape, dtype="f4", external=[("secret.bin", 0, SCENE.nbytes)])
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout(shape=SCENE.shape, dtype="f4")
        layout[...] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "cube", shape=SCENE.shape)
        file.create_virtual_dataset("cube", layout)
    for name, said in (("link", "link to another file"), ("raw", "values in another file"), ("virtual", "virtual")):
        with pytest.raises(FormatError, match=said):
            open_cube(tmp_path / f"{name}.h5")


# ---- MATLAB --------------------------------------------------------------------------------------------------------


def matlab(path, **variables):
    scipy.io.savemat(path, variables)
    return path


IMAGE = SCENE.transpose(1, 2, 0)


@pytest.mark.parametrize(
    "variables",
    [
        {"data": IMAGE, "wavelength": WAVES, "rgb": np.zeros((40, 50, 3))},
        {"HSI": IMAGE, "picture": np.zeros((40, 50, 3), "u1"), "wavelengths_nm": WAVES},
        {"hsi": {"cube": IMAGE, "wavelength": WAVES}},
        {"scene": {"inner": {"data": IMAGE, "wl": WAVES}}},
        {"Y": SCENE.transpose(0, 2, 1).reshape(6, 20), "lines": 4, "cols": 5, "wavelength": WAVES},
        {"V": SCENE.transpose(0, 2, 1).reshape(6, 20).T, "nRow": 4, "nCol": 5, "lambda": WAVES,
         "A": np.zeros((3, 20)), "S_GT": np.zeros((4, 5, 3))},
        {"cube": IMAGE, "bands": WAVES},
    ],
)  # fmt: skip
def test_matlab_variables(tmp_path, variables):
    cube = open_cube(matlab(tmp_path / "x.mat", **variables))
    np.testing.assert_array_equal(cube.read(), SCENE)
    np.testing.assert_array_equal(cube.wavelength_nm, WAVES)
    np.testing.assert_array_equal(cube.select(bands=[1, 4], window=(1, 3, 2, 4)).read(), SCENE[[1, 4], 1:3, 2:4])


def test_matlab_labels_and_ambiguity(tmp_path):
    path = matlab(tmp_path / "x.mat", data=IMAGE, wavelength=WAVES, fwhm=np.full(6, 8.0), bbl=[1, 1, 1, 1, 0, 1])
    cube = open_cube(path)
    np.testing.assert_array_equal(cube.fwhm_nm, np.full(6, 8.0))
    np.testing.assert_array_equal(np.flatnonzero(~cube.good), [4])
    path = matlab(tmp_path / "y.mat", first=IMAGE, second=2 * IMAGE)
    with pytest.raises(FormatError, match=r"first, second.*--variable"):
        open_cube(path)
    np.testing.assert_array_equal(open_cube(path, variable="second").read(), 2 * SCENE)


# ---- GeoTIFF -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "descriptions"),
    [
        ({"wavelength": list(map(str, NM)), "wavelength_units": ["Nanometers"] * 4, "bbl": ["1", "0", "1", "1"]}, None),
        ({"WAVELENGTH": [f"{w} nm" for w in NM], "bad": ["0", "1", "0", "0"]}, None),
        ({"wavelength_nm": list(map(str, NM)), "good": ["1", "0", "1", "1"]}, None),
        ({"bbl": ["1", "0", "1", "1"]}, [f"band {k} ({w} Nanometers)" for k, w in enumerate(NM, 1)]),
    ],
)
def test_labels_of_bands(tmp_path, tags, descriptions):
    cube = open_cube(write_tif(tmp_path / "x.tif", tags=tags, descriptions=descriptions))
    np.testing.assert_allclose(cube.wavelength_nm, NM)
    np.testing.assert_array_equal(cube.good, [True, False, True, True])


def test_band_names_that_gdal_copied_from_an_envi_header(tmp_path):
    write_tif(tmp_path / "x.tif", crs="EPSG:32633", transform=rasterio.Affine(1, 0, 0, 0, -1, 0))
    with rasterio.open(tmp_path / "x.tif", "r+") as file:
        file.update_tags(**{f"Band_{k}": f"{w} Nanometers" for k, w in enumerate(NM, 1)})
    np.testing.assert_allclose(open_cube(tmp_path / "x.tif").wavelength_nm, NM)


def test_labels_from_stac_and_header_beside(tmp_path):
    write_tif(tmp_path / "a.tif")
    bands = [{"name": str(k), "center_wavelength": w / 1e3, "full_width_half_max": 0.01} for k, w in enumerate(NM)]
    raster = [{"nodata": -1, "scale": 1e-4, "offset": 0.5}] * 4
    item = {"stac_version": "1.0.0", "properties": {}, "assets": {"x": {"href": "./a.tif", "eo:bands": bands,
                                                                         "raster:bands": raster}}}  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(item))
    cube = open_cube(tmp_path / "a.tif")
    np.testing.assert_allclose(cube.wavelength_nm, NM)
    np.testing.assert_allclose(cube.fwhm_nm, 10)
    np.testing.assert_allclose(cube.physical().read(), VALUES * 1e-4 + 0.5, rtol=1e-6)
    assert cube.stored().nodata == -1
    write_tif(tmp_path / "b.tif")
    (tmp_path / "b.hdr").write_text(
        f"ENVI\nbands = 4\nwavelength units = um\nwavelength = {{{', '.join(map(str, NM / 1e3))}}}\n"
    )
    np.testing.assert_allclose(open_cube(tmp_path / "b.tif").wavelength_nm, NM)


def test_pictures_and_class_maps_are_said(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        profile = {"driver": "GTiff", "height": 3, "width": 5, "dtype": "uint8"}
        with rasterio.open(tmp_path / "rgb.tif", "w", count=3, photometric="RGB", **profile) as file:
            file.write(np.ones((3, 3, 5), "u1"))
        with rasterio.open(tmp_path / "classes.tif", "w", count=1, **profile) as file:
            file.write(np.ones((1, 3, 5), "u1"))
            file.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255)})
    assert "RGB picture" in open_cube(tmp_path / "rgb.tif").describe()["note"]
    assert "map of classes" in open_cube(tmp_path / "classes.tif").describe()["note"]


def test_cloud_optimised(tmp_path):
    cube = Cube(data=np.random.default_rng(0).integers(0, 9, (3, 1200, 700)).astype("i2"), wavelength_nm=NM[:3],
                scale_factor=1e-4, nodata=7.0, crs="EPSG:32633",
                transform=(30.0, 0.0, 5e5, 0.0, -30.0, 5e6))  # fmt: skip
    save_cube(cube, tmp_path / "x.tif", cog=True)
    again = open_cube(tmp_path / "x.tif")
    np.testing.assert_array_equal(again.read(), cube.data)
    np.testing.assert_allclose(again.wavelength_nm, NM[:3])
    with rasterio.open(tmp_path / "x.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1)
    assert sorted(os.listdir(tmp_path)) == ["x.tif"]
    with pytest.raises(InputError, match=r"--cog: found suffix '\.h5', expected \.tif"):
        save_cube(cube, tmp_path / "x.h5", cog=True)


# ---- elsewhere -----------------------------------------------------------------------------------------------------


def test_archives_are_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("x.tif", "x")
    with gzip.open(tmp_path / "b.img.gz", "wb") as file:
        file.write(b"x")
    for name, kind in (("a.zip", "zip"), ("b.img.gz", "gzip")):
        with pytest.raises(FormatError, match=rf"{kind} archive.*unpack it"):
            open_cube(tmp_path / name)


def test_spectral_python_reads_ours(tmp_path):
    cube = Cube(data=VALUES.astype("i2"), wavelength_nm=NM, fwhm_nm=np.full(4, 9.0), scale_factor=1e-4)
    save_cube(cube, tmp_path / "x.hdr")
    theirs = spectral.io.envi.open(str(tmp_path / "x.hdr"))
    np.testing.assert_allclose(np.asarray(theirs.load(dtype=np.float64)), (VALUES * 1e-4).transpose(1, 2, 0), rtol=1e-6)
    np.testing.assert_allclose(theirs.bands.centers, NM)
    np.testing.assert_allclose(theirs.bands.bandwidths, 9)


def test_zarr_round_trip(tmp_path):
    pan = Cube(data=np.ones((1, 8, 10), "f4"), units="1")
    cube = Cube(data=SCENE, wavelength_nm=WAVES, good=np.array([1, 1, 1, 1, 0, 1], bool), nodata=0.005, pan=pan,
                units="1", crs="EPSG:32633", transform=(30.0, 0.0, 5e5, 0.0, -30.0, 5e6), name="n",
                meta={"a": [1, 2]})  # fmt: skip
    save_cube(cube, tmp_path / "x.zarr")
    again = open_cube(tmp_path / "x.zarr")
    np.testing.assert_array_equal(again.read(), SCENE)
    np.testing.assert_array_equal(again.good, cube.good)
    np.testing.assert_array_equal(again.pan.read(), pan.data)
    for name in ("nodata", "units", "crs", "transform", "name", "meta"):
        assert getattr(again, name) == getattr(cube, name), name
    np.testing.assert_array_equal(again.select(bands=[4, 0], window=(1, 3, 2, 5)).read(), SCENE[[4, 0], 1:3, 2:5])
    (tmp_path / "y.zarr").write_text("precious")
    with pytest.raises(InputError, match="no Zarr store"):
        save_cube(cube, tmp_path / "y.zarr")
    assert (tmp_path / "y.zarr").read_text() == "precious"


def test_from_xarray_of_many_kinds():
    lat, lon = 35 - 0.01 * (np.arange(4) + 0.5), -118 + 0.01 * (np.arange(5) + 0.5)
    array = xarray.DataArray(
        IMAGE, dims=("latitude", "longitude", "wavelength"), attrs={"_FillValue": -9999.0, "units": "unitless"},
        coords={"latitude": lat, "longitude": lon, "wavelength": WAVES,
                "good_wavelengths": ("wavelength", [1, 1, 1, 1, 0, 1])},
    )  # fmt: skip
    for given in (array, xarray.Dataset({"reflectance": array})):
        cube = Cube.from_xarray(given)
        np.testing.assert_array_equal(cube.read(), SCENE)
        assert (cube.nodata, cube.crs, cube.units) == (-9999, "EPSG:4326", "1")
        np.testing.assert_allclose(cube.transform, (0.01, 0, -118, 0, -0.01, 35))
        np.testing.assert_array_equal(np.flatnonzero(~cube.good), [4])
    numbers = xarray.DataArray(
        VALUES.astype("i2"), dims=("band", "y", "x"), attrs={"scales": tuple(SCALE), "offsets": tuple(OFFSET)}
    )
    np.testing.assert_allclose(
        Cube.from_xarray(numbers).physical().read(), VALUES * SCALE[:, None, None] + OFFSET[:, None, None], rtol=1e-6
    )  # fmt: skip
    two = xarray.Dataset({"a": array, "b": array})
    with pytest.raises(InputError, match="a, b, any of which could be it"):
        Cube.from_xarray(two)


def test_quicklook_of_a_large_image_in_little_memory(tmp_path):
    """What is read is a block at a time; nothing of a block is kept but the pixels shown."""
    import tracemalloc

    from hsitools.figures import quicklook

    class Large:
        shape, dtype = (3, 20_000, 6_000), np.dtype("u2")

        def read(self, bands, rows, columns):
            return np.full((len(bands), rows.stop - rows.start, columns.stop - columns.start), 7, dtype="u2")

    tracemalloc.start()
    quicklook(Cube(data=Large()), (0, 1, 2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300 * 2**20


# ---- the cases that were reported ----------------------------------------------------------------------------------

ENVI_CASES = ("units_latin1_micro", "names_only", "resonon_esri.bil", "hyspex", "refl", "blank_values",
              "comments_in_list", "ignore_none", "fwhm_zero", "geo_latlon")  # fmt: skip
NC_CASES = ("xr_xyw", "xr_wxy", "xr_missing_value", "xr_stale_geotransform", "xr_xy_coords", "AV3_flat_RFL_ORT",
            "EMIT_L2A_RFL_crop", "AV320250123t000000_RFL_ORT", "xr_um_says_um_but_nm")  # fmt: skip
MAT_CASES = ("labels_v5", "rgb_bigger", "struct_v5", "wl_other_name")


def test_reported_envi(shared):
    folder = shared / "cases" / "files" / "envi"
    for name in ENVI_CASES:
        cube = open_cube(folder / f"{name}.hdr")
        np.testing.assert_array_equal(cube.read(), VALUES, err_msg=name)
        np.testing.assert_allclose(cube.wavelength_nm, NM, err_msg=name)
    for name in ("EO1H0280342016290110K7.hdr", "EO1H0280342016290110K7.L1R", "upper_ext.DAT", "upper_ext.HDR"):
        np.testing.assert_array_equal(open_cube(folder / name).read(), VALUES, err_msg=name)
    assert open_cube(folder / "wl_nounit_index.hdr").wavelength_nm is None
    assert open_cube(folder / "geo_latlon.hdr").crs == "EPSG:4326"
    np.testing.assert_array_equal(open_cube(folder / "fwhm_zero.hdr").fwhm_nm, [10, 10, np.nan, 10])
    with pytest.raises(FormatError, match="spectral library"):
        open_cube(folder / "speclib.sli")


def test_reported_netcdf(shared):
    folder = shared / "cases" / "files" / "nc"
    cubes = {name: open_cube(folder / f"{name}.nc") for name in NC_CASES}
    for name, cube in cubes.items():
        np.testing.assert_allclose(cube.physical().read(), SCENE, atol=1e-6, err_msg=name)
    assert cubes["xr_missing_value"].nodata == -9999
    assert cubes["xr_stale_geotransform"].transform == (30, 0, 501500, 0, -30, 4997000)
    for name in ("xr_xy_coords", "AV3_flat_RFL_ORT", "AV320250123t000000_RFL_ORT"):
        assert cubes[name].transform == (10, 0, 400000, 0, -10, 3800000), name
    aviris = cubes["AV320250123t000000_RFL_ORT"]
    assert aviris.crs == "EPSG:32611"
    np.testing.assert_array_equal(aviris.fwhm_nm, np.full(6, 8))
    np.testing.assert_array_equal(cubes["xr_um_says_um_but_nm"].wavelength_nm, WAVES)
    pace = open_cube(next(folder.glob("PACE*.nc")))
    with h5py.File(next(folder.glob("PACE*.nc"))) as file:
        raw = file["geophysical_data/Rrs"][()].transpose(2, 0, 1)
    np.testing.assert_allclose(
        pace.physical().read(), np.where(raw == -32767, np.nan, raw * 2e-6 + 0.05), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_array_equal(pace.wavelength_nm, WAVES)
    tanager = open_cube(next(folder.glob("2025*.h5")))
    np.testing.assert_array_equal(tanager.wavelength_nm, WAVES)
    np.testing.assert_array_equal(tanager.fwhm_nm, np.full(6, 5))
    cubic = open_cube(folder / "xr_yxw_cube6.nc")
    np.testing.assert_array_equal(cubic.read()[:, 0, 0], np.arange(6))
    with pytest.raises(InputError, match="Rw, Rw_unc"):
        open_cube(folder / "xr_two_vars.nc")


def test_reported_geotiff_and_products(shared):
    folder = shared / "cases" / "files"
    raw = open_cube(folder / "tif" / "scales_differ.tif").stored().read(slice(0, 8), slice(0, 9)).astype(float)
    scale = np.array([1, 2, 1, 1, 4])[:, None, None] * 1e-4
    np.testing.assert_allclose(
        open_cube(folder / "tif" / "scales_differ.tif").physical().read(), raw * scale, rtol=1e-6
    )
    assert open_cube(folder / "tif" / "offset_all.tif").physical().read()[0, 0, 0] == pytest.approx(0, abs=1e-9)
    assert list(np.flatnonzero(~open_cube(folder / "tif" / "bandlevel_default.tif").good)) == [4]
    centres = [401.25, 550, 650, 850, 999.5]
    np.testing.assert_allclose(open_cube(folder / "tif" / "descriptions_only.tif").wavelength_nm, centres)
    offset = np.array([0, 0, 0, 0.5, 0])[:, None, None]
    for path in (*sorted((folder / "tif" / "desis").iterdir()), folder / "tif" / "desis",
                 *sorted((folder / "tif" / "enmap_l1b").iterdir()), folder / "tif" / "enmap_l1b"):  # fmt: skip
        cube = open_cube(path)
        np.testing.assert_allclose(cube.wavelength_nm, centres, err_msg=str(path))
        np.testing.assert_allclose(cube.physical().read(), raw * scale + offset, rtol=1e-6, err_msg=str(path))
    with pytest.raises(FormatError, match="zip archive"):
        open_cube(folder / "tif" / "ENMAP01-____L2A.ZIP")
    np.testing.assert_allclose(open_cube(folder / "real" / "staclike.tif").wavelength_nm, [4000, 5000])
    cube = open_cube(folder / "prisma" / "PRS_L2D_centre.he5")
    assert cube.transform == (30, 0, 352725, 0, -30, 5987265)
    assert cube.pan.transform == (5, 0, 352725, 0, -5, 5987265)
    assert open_cube(folder / "prisma" / "PRS_L2B.he5").units == "W m-2 sr-1 um-1"


def test_reported_matlab(shared):
    folder = shared / "cases" / "files" / "mat"
    for name in MAT_CASES:
        np.testing.assert_allclose(open_cube(folder / f"{name}.mat").read(), SCENE, atol=1e-7, err_msg=name)
    np.testing.assert_array_equal(open_cube(folder / "labels_v5.mat").fwhm_nm, np.full(6, 8))
    np.testing.assert_array_equal(np.flatnonzero(~open_cube(folder / "labels_v5.mat").good), [4])
    np.testing.assert_array_equal(open_cube(folder / "ARAD_1K_0912.mat").wavelength_nm, np.arange(400, 701, 10))
    for name, matrix in (("unmixing_abundance", "Y"), ("samson_like", "V")):
        given = scipy.io.loadmat(folder / f"{name}.mat")[matrix]
        np.testing.assert_array_equal(
            open_cube(folder / f"{name}.mat").read(), given.reshape(6, 5, 4).transpose(0, 2, 1)
        )


def test_npz_whose_nanometres_are_micrometres(tmp_path, caplog):
    np.savez(tmp_path / "x.npz", cube=SCENE, wavelength_nm=WAVES / 1e3)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(open_cube(tmp_path / "x.npz").wavelength_nm, WAVES)
    assert "no optical instrument" in caplog.text
