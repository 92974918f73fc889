"""How files say the same thing in different words: scales, nodata, wavelengths, widths, coordinate systems, grids.

GDAL and xarray are the reference wherever they know the words.
"""

import asyncio
import json
import logging
import os
import signal
import struct
import threading
import time
import warnings

import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import xarray
from zarr.storage import LocalStore

from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import describe, open_cube, save_cube
from hsitools.io.projections import identified
from hsitools.io.tables import read_table
from hsitools.io.wavelengths import Conversion, to_nm, width_to_nm
from hsitools.process import read_plan

WAVES = np.array([400.0, 450, 550, 650, 850, 900])
NUMBERS = np.arange(120, dtype="i2").reshape(6, 4, 5)
ENVI = (
    "ENVI\nsamples = 5\nlines = 4\nbands = 6\nheader offset = 0\nfile type = ENVI Standard\ndata type = 2\n"
    "interleave = bsq\nbyte order = 0\n"
)
UTM33 = rasterio.crs.CRS.from_epsg(32633)


def netcdf(folder, attributes=None, coords=None, data=NUMBERS, dims=("wavelength", "y", "x"), extra=None, **of_file):
    dataset = xarray.Dataset(
        {"reflectance": (dims, data, attributes or {}), **(extra or {})},
        {"wavelength": WAVES, **(coords or {})},
        of_file,
    )
    dataset.to_netcdf(folder / "x.nc", engine="h5netcdf")
    return folder / "x.nc"


def envi(folder, extra):
    (folder / "x.img").write_bytes(NUMBERS.tobytes())
    (folder / "x.hdr").write_text(ENVI + extra)
    return folder / "x.hdr"


def geotiff(path, data=NUMBERS, tags=None, bands=None, descriptions=None, **profile):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "w", driver="GTiff", count=len(data), height=data.shape[1], width=data.shape[2],
                           dtype=data.dtype.name, **profile) as file:  # fmt: skip
            file.write(data)
            file.update_tags(**(tags or {}))
            for number, text in enumerate(descriptions or [], 1):
                file.set_band_description(number, text)
            for number in range(1, len(data) + 1):
                file.update_tags(number, **{key: values[number - 1] for key, values in (bands or {}).items()})
    return path


# ---- scales and nodata ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attributes",
    [{"scale_factor": 1e-3}, {"scale_factor": "0.001"}, {"Scale_Factor": 1e-3}, {"Scale_Factor": 1000.0},
     {"slope": 1e-3, "intercept": 0.0}, {"scales": "0.001 0.001 0.001 0.001 0.001 0.001"},
     {"scale_factor": np.full(6, 1e-3)}],
)  # fmt: skip
def test_scales_in_any_spelling(tmp_path, attributes):
    cube = open_cube(netcdf(tmp_path, attributes))
    np.testing.assert_allclose(cube.physical().read(), NUMBERS * 1e-3, rtol=1e-6)


@pytest.mark.parametrize(
    "attributes",
    [{"_FillValue": np.int16(0), "missing_value": np.int16(7)}, {"missing_value": np.array([0, 7], dtype="i2")}],
)
def test_several_values_of_no_measurement(tmp_path, attributes):
    path = netcdf(tmp_path)
    with h5py.File(path, "r+") as file:
        file["reflectance"].attrs.update(attributes)
    cube = open_cube(path)
    expected = np.where(np.isin(NUMBERS, [0, 7]), np.nan, NUMBERS)
    np.testing.assert_array_equal(cube.physical().read(), expected)
    np.testing.assert_array_equal(cube.statistics()["n_valid"], np.isfinite(expected).sum(axis=(1, 2)))
    assert cube.dtype == np.int16
    save_cube(cube, tmp_path / "y.tif")
    np.testing.assert_array_equal(open_cube(tmp_path / "y.tif").physical().read(), expected)


@pytest.mark.parametrize("stored", ["i2", "u2", "f4"])
@pytest.mark.parametrize(
    "attributes",
    [{"valid_range": np.array([5, 60], dtype="i2")}, {"valid_min": 5, "valid_max": 60},
     {"valid_range": "5, 60", "scale_factor": 1e-3}, {"valid_min": np.int16(5), "valid_max": np.int16(60),
      "scale_factor": 1e-3, "add_offset": 0.5}],
)  # fmt: skip
def test_values_outside_the_valid_range_are_no_measurement(tmp_path, attributes, stored):
    """In the units of the packed numbers; what lies on a bound is valid."""
    path = netcdf(tmp_path, attributes, data=NUMBERS.astype(stored))
    physical = NUMBERS * attributes.get("scale_factor", 1.0) + attributes.get("add_offset", 0.0)
    expected = np.where((NUMBERS < 5) | (NUMBERS > 60), np.nan, physical)
    cube = open_cube(path)
    np.testing.assert_allclose(cube.physical().read(), expected, rtol=1e-6)
    assert cube.nodata is not None
    np.testing.assert_array_equal(cube.statistics()["n_valid"], np.isfinite(expected).sum(axis=(1, 2)))
    with xarray.open_dataset(path, engine="h5netcdf") as decoded:
        # xarray unpacks and leaves the range as the file has it
        np.testing.assert_allclose(Cube.from_xarray(decoded).physical().read(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "valid", [{"valid_range": np.array([0.005, 0.06])}, {"valid_min": 0.005, "valid_max": np.float32(0.06)}]
)
def test_a_valid_range_of_the_scales_own_type_is_in_physical_units(tmp_path, valid):
    """As the NetCDF users' guide reads it; both bounds are multiples of the scale and stay in."""
    path = netcdf(tmp_path, {"scale_factor": 1e-3, **valid})
    expected = np.where((NUMBERS < 5) | (NUMBERS > 60), np.nan, NUMBERS * 1e-3)
    np.testing.assert_allclose(open_cube(path).physical().read(), expected, rtol=1e-6)
    with xarray.open_dataset(path, engine="h5netcdf") as decoded:
        np.testing.assert_allclose(Cube.from_xarray(decoded).physical().read(), expected, rtol=1e-6)


def test_a_valid_range_that_is_none_is_said(tmp_path, caplog):
    cube = open_cube(netcdf(tmp_path, {"valid_range": np.array([60, 5])}))
    np.testing.assert_array_equal(cube.read(), NUMBERS)
    assert "valid_range: found 60 5, expected two ascending numbers" in caplog.text


def test_valid_range_of_unsigned_numbers_stored_as_signed(tmp_path):
    numbers = NUMBERS.astype("u1") + 100
    data = (("wavelength", "y", "x"), numbers.view("i1"),
            {"_Unsigned": "true", "valid_range": np.array([110, 200], dtype="u1").view("i1")})  # fmt: skip
    xarray.Dataset({"reflectance": data}, {"wavelength": WAVES}).to_netcdf(
        tmp_path / "x.nc", engine="scipy", format="NETCDF3_64BIT"
    )
    expected = np.where((numbers < 110) | (numbers > 200), np.nan, numbers)
    np.testing.assert_array_equal(open_cube(tmp_path / "x.nc").physical().read(), expected)


def test_fill_value_of_unsigned_numbers_stored_as_signed(tmp_path):
    numbers = np.where(NUMBERS == 3, 255, NUMBERS).astype("u1")
    data = (("wavelength", "y", "x"), numbers.view("i1"), {"_Unsigned": "true", "_FillValue": np.int8(-1)})
    xarray.Dataset({"reflectance": data}, {"wavelength": WAVES}).to_netcdf(
        tmp_path / "x.nc", engine="scipy", format="NETCDF3_64BIT"
    )
    cube = open_cube(tmp_path / "x.nc")
    with xarray.open_dataset(tmp_path / "x.nc", engine="scipy") as theirs:
        np.testing.assert_array_equal(cube.physical().read(), theirs["reflectance"].values)
    assert cube.nodata == 255


@pytest.mark.parametrize(
    ("extra", "factor"),
    [
        ("reflectance scale factor = 1e4\ndata gain values = {1,1,1,1,1,1}\ndata offset values = {0}\n", 1e-4),
        ("reflectance scale factor = 10000\ndata gain values = {1e-4,1e-4,1e-4,1e-4,1e-4,1e-4}\n", 1e-4),
        ("data gain values = {2}\n", 2),
        ("data gain values = {2,2,2,2,2,2}\nreflectance scale factor = 10000\n", 2),
    ],
)  # fmt: skip
def test_envi_gains_beside_a_reflectance_scale_factor(tmp_path, extra, factor, caplog):
    with caplog.at_level(logging.WARNING):
        cube = open_cube(envi(tmp_path, extra))
    np.testing.assert_allclose(cube.physical().read(), NUMBERS * factor, rtol=1e-6)
    assert ("different things" in caplog.text) == (factor == 2 and "10000" in extra)


@pytest.mark.parametrize("dtype", ["i2", "f4"])
def test_reflectance_scale_factor_divides_numbers_of_any_type(tmp_path, dtype):
    """ENVI: "the value that, when divided into your data, would scale it from 0 to 1 reflectance"."""
    numbers = (NUMBERS * 80).astype(dtype)
    (tmp_path / "x.img").write_bytes(numbers.tobytes())
    header = ENVI.replace("data type = 2", f"data type = {2 if dtype == 'i2' else 4}")
    (tmp_path / "x.hdr").write_text(header + "reflectance scale factor = 10000\n")
    tagged = geotiff(tmp_path / "tagged.tif", numbers, tags={"reflectance_scale_factor": "10000"})
    beside = geotiff(tmp_path / "beside.tif", numbers)
    (tmp_path / "beside.hdr").write_text(header + "reflectance scale factor = 10000\n")
    for path in (tmp_path / "x.hdr", tagged, beside):
        np.testing.assert_allclose(open_cube(path).physical().read(), NUMBERS * 80e-4, rtol=1e-6, err_msg=str(path))


def test_envi_no_number_as_windows_writes_it(tmp_path):
    assert np.isnan(open_cube(envi(tmp_path, "data ignore value = -1.#IND\n")).nodata)


def test_geotiff_scales_in_tags(tmp_path):
    """GDAL copies such tags and leaves the numbers: those of integers are applied, of floats said."""
    for name, tags in (
        ("a", {"tags": {"scale_factor": "0.0001", "add_offset": "-0.1"}}),
        ("b", {"bands": {"scale_factor": ["1e-4"] * 6, "add_offset": ["-0.1"] * 6}}),
    ):
        cube = open_cube(geotiff(tmp_path / f"{name}.tif", **tags))
        np.testing.assert_allclose(cube.physical().read(), NUMBERS * 1e-4 - 0.1, atol=1e-7)
    cube = open_cube(geotiff(tmp_path / "c.tif", data=NUMBERS.astype("f4"), tags={"scale_factor": "0.0001"}))
    np.testing.assert_array_equal(cube.physical().read(), NUMBERS)


def test_bytes_of_few_bands_are_no_picture_to_gdal(tmp_path):
    """GDAL takes the fourth band of bytes for transparency unless told otherwise."""
    data = np.zeros((4, 3, 5), dtype="u1")
    data[:, 1] = 9
    save_cube(Cube(data=data, crs="EPSG:32633", transform=(1, 0, 0, 0, -1, 0)), tmp_path / "x.tif")
    with rasterio.open(tmp_path / "x.tif") as file:
        assert file.read_masks().all()
        assert {colour.name for colour in file.colorinterp} <= {"gray", "undefined"}
    assert "note" not in open_cube(tmp_path / "x.tif").describe()


def test_a_nodata_of_more_digits_than_gdal_reads_back_is_said(tmp_path, caplog):
    cube = Cube(data=NUMBERS.astype("i8"), nodata=-(2.0**63), crs="EPSG:32633", transform=(1, 0, 0, 0, -1, 0))
    with caplog.at_level(logging.WARNING):
        save_cube(cube, tmp_path / "x.tif")
    assert "cannot stand in a GeoTIFF" in caplog.text
    assert open_cube(tmp_path / "x.tif").nodata is None


# ---- wavelengths and widths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "unit"),
    [([450, 850], "Nanometers (nm)"), ([450, 850], "[nm]"), ([0.45, 0.85], "micrometers (µm)"), ([450, 850], "1e-9 m"),
     ([0.45, 0.85], "{um}"), ([450, 850], "nm."), ([1e7 / 450, 1e7 / 850], "Wavenumber (cm-1)"),
     ([450, 850], "Nano meters"),
     ([4500, 8500], "ANGSTROMS"), ([0.45, 0.85], "Micro-meters")],
)  # fmt: skip
def test_units_in_any_spelling(values, unit):
    np.testing.assert_allclose(to_nm(values, unit, "x"), [450, 850])


@pytest.mark.parametrize(
    ("widths", "unit", "wavelengths", "of_wavelengths"),
    [([8, 8], None, [0.45, 0.85], "um"), ([0.008, 0.008], None, [450, 850], "nm"),
     ([0.008, 0.008], "um", [450, 850], "nm"),
     ([0.008, 0.008], "nm", [0.45, 0.85], "um"), ([8e7 / 450**2, 8e7 / 850**2], "cm-1", [450, 850], "nm"),
     ([8, 8], "um", [450, 850], "nm")],
)  # fmt: skip
def test_widths_in_another_unit_than_their_wavelengths(widths, unit, wavelengths, of_wavelengths):
    conversion = Conversion.of(wavelengths, of_wavelengths, "x")
    np.testing.assert_allclose(width_to_nm(widths, unit, conversion, wavelengths, "x"), [8, 8])


@pytest.mark.parametrize(
    "stored", [[str(w) for w in WAVES], [f"{w} nm" for w in WAVES], [str(w).encode() for w in WAVES]]
)
def test_wavelengths_stored_as_text(tmp_path, stored):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cube"] = NUMBERS
        file["wavelength"] = stored
    np.testing.assert_array_equal(open_cube(tmp_path / "x.h5").wavelength_nm, WAVES)
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["cube"] = NUMBERS
        file["cube"].attrs["wavelengths"] = str(WAVES.tolist())
    np.testing.assert_array_equal(open_cube(tmp_path / "y.h5").wavelength_nm, WAVES)


def test_units_attributes_in_any_case_and_wavenumbers_by_name(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cube"], file["wavelength"] = NUMBERS, 1e7 / WAVES
        file["wavelength"].attrs["Units"] = "cm-1"
    np.testing.assert_allclose(open_cube(tmp_path / "x.h5").wavelength_nm, WAVES)
    path = netcdf(tmp_path, dims=("wavenumber", "y", "x"), coords={"wavenumber": 1e7 / WAVES, "wavelength": 0})
    np.testing.assert_allclose(open_cube(path).wavelength_nm, WAVES)


def test_geotiff_lists_and_tags_as_tools_leave_them(tmp_path, caplog):
    brackets = {"wavelengths": "[400; 450; 550; 650; 850; 900]", "fwhm": "[8, 8, 8, 8, 8, 8]"}
    np.testing.assert_array_equal(open_cube(geotiff(tmp_path / "a.tif", tags=brackets)).wavelength_nm, WAVES)
    commas = {"wavelength": [str(w).replace(".", ",") for w in WAVES]}
    np.testing.assert_array_equal(open_cube(geotiff(tmp_path / "b.tif", bands=commas)).wavelength_nm, WAVES)
    # gdal_translate -b keeps the whole file's list
    with caplog.at_level(logging.WARNING):
        assert open_cube(geotiff(tmp_path / "c.tif", tags={"wavelength": "400,450"})).wavelength_nm is None
    assert "found 2 values, expected 6" in caplog.text
    assert open_cube(geotiff(tmp_path / "d.tif", bands={"wavelength": ["red"] * 6})).wavelength_nm is None
    widths = {"wavelength": [f"{w} nm" for w in WAVES], "fwhm": ["0.008"] * 6, "fwhm_units": ["um"] * 6}
    np.testing.assert_allclose(open_cube(geotiff(tmp_path / "e.tif", bands=widths)).fwhm_nm, 8)


def test_envi_units_within_the_list(tmp_path):
    words = ", ".join(f"{w} nm" for w in WAVES)
    np.testing.assert_array_equal(open_cube(envi(tmp_path, f"wavelength = {{{words}}}\n")).wavelength_nm, WAVES)


@pytest.mark.parametrize("mark", ['"', "'"])
def test_envi_numbers_in_quotation_marks(tmp_path, mark):
    words = ", ".join(f"{mark}{w}{mark}" for w in WAVES)
    header = f"wavelength = {{{words}}}\nwavelength units = {mark}nm{mark}\n"
    np.testing.assert_array_equal(open_cube(envi(tmp_path, header)).wavelength_nm, WAVES)


@pytest.mark.parametrize("text", ['{"stac_version": "1.0.0", "assets": [1], "properties": 3}', "[" * 100_000])
def test_a_strange_json_beside_an_image_does_no_harm(tmp_path, text):
    geotiff(tmp_path / "x.tif")
    (tmp_path / "x.json").write_text(text)
    np.testing.assert_array_equal(open_cube(tmp_path / "x.tif").read(), NUMBERS)


def test_stac_asset_wide_fields_and_impossible_units(tmp_path):
    geotiff(tmp_path / "x.tif")
    asset = {"href": "x.tif", "nodata": 7, "raster:scale": 1e-4, "bands": [{"eo:center_wavelength": w} for w in WAVES]}
    (tmp_path / "x.json").write_text(json.dumps({"stac_version": "1.1.0", "properties": {}, "assets": {"a": asset}}))
    cube = open_cube(tmp_path / "x.tif")
    np.testing.assert_allclose(cube.physical().read(), np.where(NUMBERS == 7, np.nan, NUMBERS * 1e-4), rtol=1e-6)
    np.testing.assert_array_equal(cube.wavelength_nm, WAVES)


# ---- coordinate systems and grids ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["EPSG:32633", "epsg:32633", "32633", "urn:ogc:def:crs:EPSG::32633", "http://www.opengis.net/def/crs/EPSG/0/32633",
     "+proj=utm +zone=33 +datum=WGS84 +units=m +no_defs", UTM33.to_wkt(), UTM33.to_wkt(version="WKT2_2019"),
     UTM33.to_wkt(version=rasterio.enums.WktVersion.WKT1_ESRI),
     rasterio.crs.CRS.from_string("+proj=utm +zone=33 +datum=WGS84").to_wkt()],
)  # fmt: skip
def test_a_coordinate_system_in_any_words(text):
    assert identified(text, "x") == "EPSG:32633"


def test_what_is_no_coordinate_system_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        cube = open_cube(envi(tmp_path, "coordinate system string = {rubbish}\nmap info = "
                              "{UTM, 1, 1, 500000, 4600000, 30, 30, 33, North, WGS-84}\n"))  # fmt: skip
    assert cube.crs == "EPSG:32633"
    assert "found 'rubbish', expected a coordinate system" in caplog.text


@pytest.mark.parametrize(
    ("mapping", "crs"),
    [
        ({"EPSG_CODE": "32633"}, "EPSG:32633"),
        ({"proj_string": "+proj=utm +zone=33 +datum=WGS84"}, "EPSG:32633"),
        ({"grid_mapping_name": "lambert_azimuthal_equal_area", "latitude_of_projection_origin": 52.0,
          "longitude_of_projection_origin": 10.0, "false_easting": 4321000.0, "false_northing": 3210000.0,
          "semi_major_axis": 6378137.0, "inverse_flattening": 298.257222101}, "EPSG:3035"),
        ({"grid_mapping_name": "polar_stereographic", "straight_vertical_longitude_from_pole": 0.0,
          "latitude_of_projection_origin": -90.0, "standard_parallel": -71.0, "false_easting": 0.0,
          "false_northing": 0.0}, "EPSG:3031"),
        ({"grid_mapping_name": "latitude_longitude", "horizontal_datum_name": "ETRS89"}, "EPSG:4258"),
        ({"grid_mapping_name": "transverse_mercator", "longitude_of_central_meridian": -117.0,
          "scale_factor_at_central_meridian": 0.9996, "false_easting": 500000.0, "false_northing": 0.0,
          "latitude_of_projection_origin": 0.0, "horizontal_datum_name": "NAD83"}, "EPSG:26911"),
    ],
)  # fmt: skip
def test_grid_mappings(tmp_path, mapping, crs):
    coords = {"y": 4e6 - 30 * np.arange(4.0), "x": 5e5 + 30 * np.arange(5.0)}
    extra = {"mapping": ((), 0, mapping)}
    cube = open_cube(netcdf(tmp_path, {"grid_mapping": "mapping"}, coords, extra=extra))
    assert cube.crs == crs
    assert cube.transform == (30, 0, 499985, 0, -30, 4000015)


def test_a_conic_projection_from_its_parameters(tmp_path):
    mapping = {"grid_mapping_name": "albers_conical_equal_area", "standard_parallel": [29.5, 45.5],
               "latitude_of_projection_origin": 23.0, "longitude_of_central_meridian": -96.0, "false_easting": 0.0,
               "false_northing": 0.0, "semi_major_axis": 6378137.0, "inverse_flattening": 298.257222101,
               "horizontal_datum_name": "NAD83"}  # fmt: skip
    cube = open_cube(netcdf(tmp_path, {"grid_mapping": "mapping"}, extra={"mapping": ((), 0, mapping)}))
    assert cube.crs == "EPSG:5070"


def test_coordinate_system_of_the_whole_file_and_geographic_units(tmp_path):
    coords = {"y": 4e6 - 30 * np.arange(4.0), "x": 5e5 + 30 * np.arange(5.0)}
    assert open_cube(netcdf(tmp_path, coords=coords, crs="EPSG:32633")).crs == "EPSG:32633"
    degrees = {"y": ("y", 4.0 - np.arange(4), {"units": "degrees_north"}),
               "x": ("x", 1.0 + np.arange(5), {"units": "degrees_east"})}  # fmt: skip
    assert open_cube(netcdf(tmp_path, coords=degrees)).crs == "EPSG:4326"


def test_numbers_of_pixels_are_no_map(tmp_path):
    counts = {"y": np.arange(4), "x": np.arange(5)}
    assert open_cube(netcdf(tmp_path, coords=counts)).transform is None
    stated = {"mapping": ((), 0, {"spatial_ref": "EPSG:32633", "GeoTransform": "500000 20 10 4000000 10 -20"})}
    cube = open_cube(netcdf(tmp_path, {"grid_mapping": "mapping"}, counts, extra=stated))
    assert cube.transform == (20, 10, 500000, 10, -20, 4000000)


@pytest.mark.parametrize(
    "info",
    [
        "UTM, 1, 1, 500000, 4600000, 30, 30, 33, North, WGS-84, units=Meters",
        "UTM, 3, 2, 500000, 4600000, 30, 20, 33, South, WGS-84, units=Meters",
        "UTM, 1.5, 1.5, 500000, 4600000, 30, 30, 33, North, WGS-84, units=Meters",
        "UTM, 1, 1, 500000, 4600000, 30, 30, 33, North, WGS-84, units=Meters, rotation=30",
        "UTM, 1, 1, 500000, 4600000, 30, 30, 33, North, WGS-84, units=Meters, rotation=-120.5",
        "UTM, 1, 1, 500000, 4600000, 30, 30, 33, North, WGS-84, units=Meters, rotation=180",
        "UTM, 1, 1, 500000, 4600000, 30, -30, 33, North, WGS-84, units=Meters",
        "UTM, 1, 1, 500000, 4600000, -30, 30, 33, North, WGS-84, units=Meters",
        "UTM, 1, 1, 500, 4600, 0.03, 0.03, 33, North, WGS-84, units=km",
        "Geographic Lat/Lon, 1, 1, 46800, 189000, 1, 1, WGS-84, units=Seconds",
        "State Plane (NAD 83), 1, 1, 0, 0, 1, 1, 405, units=Meters",
        "State Plane (NAD 83), 1, 1, 0, 0, 1, 1, 3401, units=Feet",
        "State Plane (NAD 27), 1, 1, 0, 0, 1, 1, 405, units=Feet",
        "Albers Conical Equal Area, 1, 1, 0, 0, 30, 30, North America 1983, units=Meters}\nprojection info = {9, "
        "6378137.0, 6356752.314140356, 23.0, -96.0, 0.0, 0.0, 29.5, 45.5, North America 1983, Albers, units=Meters",
    ],
)  # fmt: skip
def test_map_info_as_gdal_reads_it(tmp_path, info):
    cube = open_cube(envi(tmp_path, f"map info = {{{info}}}\n"))
    with rasterio.open(tmp_path / "x.img") as theirs:
        np.testing.assert_allclose(cube.transform, tuple(theirs.transform)[:6], rtol=1e-12, atol=1e-9)
        assert rasterio.crs.CRS.from_user_input(cube.crs) == theirs.crs


def test_map_info_where_gdal_is_wrong(tmp_path):
    """GDAL leaves the rotation out of the origin when the tie point is not the first pixel."""
    info = "UTM, 3, 2, 500000, 4600000, 30, 30, 33, North, WGS-84, rotation=30"
    a, b, c, d, e, f = open_cube(envi(tmp_path, f"map info = {{{info}}}\n")).transform
    np.testing.assert_allclose((a * 2 + b * 1 + c, d * 2 + e * 1 + f), (500000, 4600000))


def test_a_missing_datum_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        cube = open_cube(envi(tmp_path, "map info = {UTM, 1, 1, 500000, 4600000, 30, 30, 33N}\n"))
    assert cube.crs == "EPSG:32633"
    assert "no datum stated" in caplog.text


@pytest.mark.parametrize("transform", [(-30, 0, 5e5, 0, 30, 4e6), (26.0, 10.0, 5e5, 15.0, -52 / 3, 4e6)])
def test_grids_that_gdal_would_misread_are_not_written(tmp_path, transform):
    with pytest.raises(InputError, match=r"turned by half|oblong pixels"):
        save_cube(Cube(data=NUMBERS, transform=transform, crs="EPSG:32633"), tmp_path / "x.hdr")
    assert not list(tmp_path.iterdir())


def test_ground_control_points_are_said(tmp_path):
    points = [rasterio.control.GroundControlPoint(*p) for p in ((0, 0, 13, 52), (0, 5, 13.1, 52), (4, 0, 13, 51.9))]
    geotiff(tmp_path / "x.tif")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(tmp_path / "x.tif", "r+") as file:
            file.gcps = points, rasterio.crs.CRS.from_epsg(4326)
    assert open_cube(tmp_path / "x.tif").describe()["geometry"].startswith("3 ground control points")


# ---- which array, and what is none ---------------------------------------------------------------------------------


def test_masks_darks_and_lists_of_bad_bands_beside_a_cube(tmp_path, caplog):
    scipy.io.savemat(tmp_path / "x.mat", {"X": NUMBERS.transpose(1, 2, 0), "known": np.ones((4, 5, 6), bool),
                                          "wavelength": WAVES})  # fmt: skip
    np.testing.assert_array_equal(open_cube(tmp_path / "x.mat").read(), NUMBERS)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["run/raw"], file["run/dark"], file["run/wavelengths"] = NUMBERS, NUMBERS[:, :1], WAVES
        file["run/bad_bands"] = [2, 4]
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(open_cube(tmp_path / "x.h5").read(), NUMBERS)
    assert "bad_bands: found 2 values, expected 6" in caplog.text


def test_matlab_facts_in_variables_of_one_number(tmp_path):
    facts = {"scale_factor": 1e-3, "nodata": 7, "wavelength_units": "Nanometers"}
    scipy.io.savemat(tmp_path / "x.mat", {"data": NUMBERS.transpose(1, 2, 0), "wl": WAVES, **facts})
    cube = open_cube(tmp_path / "x.mat")
    np.testing.assert_allclose(cube.physical().read(), np.where(NUMBERS == 7, np.nan, NUMBERS * 1e-3), rtol=1e-6)


def test_what_is_no_cube_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    np.save(tmp_path / "c.npy", NUMBERS)
    (tmp_path / "d.pdf").write_bytes(b"%PDF-1.4")
    kinds = {"a.png": "a PNG picture", "b.jpg": "a JPEG picture", "c.npy": "a single NumPy array without",
             "d.pdf": "a PDF document"}  # fmt: skip
    for name, said in kinds.items():
        with pytest.raises(FormatError, match=rf"{name}: found {said}"):
            open_cube(tmp_path / name)
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["frames"] = NUMBERS
    with pytest.raises(FormatError, match="frames of a bench, no cube; inside: frames 6×4×5"):
        open_cube(tmp_path / "e.h5")
    geotiff(tmp_path / "dem.tif", data=NUMBERS[:1].astype("f4"))
    assert "an elevation model" in describe(tmp_path / "dem.tif")["note"]


def test_a_file_of_very_many_variables_is_refused_soon(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w", libver="latest") as file:
        space = h5py.h5s.create_simple((1,))
        for number in range(5100):
            h5py.h5d.create(file.id, f"v{number}".encode(), h5py.h5t.NATIVE_INT8, space)
        file["cube"] = NUMBERS
    with pytest.raises(FormatError, match="members: found more than 5000"):
        open_cube(tmp_path / "x.h5")


# ---- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.h5", "x.nc", "x.zarr", "x.hdr", "x.tif"])
def test_interrupted_writing_leaves_what_was_there(tmp_path, name):
    old, new = (Cube(data=np.full((3, 70, 70), value, "f4"), crs="EPSG:32633", transform=(1, 0, 0, 0, -1, 0))
                for value in (1, 2))  # fmt: skip
    save_cube(old, tmp_path / name)
    before = sorted(os.listdir(tmp_path))

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_cube(new, tmp_path / name, interrupt)
    assert sorted(os.listdir(tmp_path)) == before
    np.testing.assert_array_equal(open_cube(tmp_path / name).read(), old.data)
    # a cube may be written over the very file that it is read from
    again = open_cube(tmp_path / name)
    save_cube(again.select(window=(0, 3, 0, 2)), tmp_path / name)
    assert open_cube(tmp_path / name).shape == (3, 3, 2)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_store_is_cleared_away_after_what_was_being_written(tmp_path, monkeypatch):
    """zarr's threads went on writing below a folder that was being removed, and left it there."""
    begun, write = threading.Event(), LocalStore.set

    async def slow(store, key, value):
        if "/c/" in key:
            begun.set()
            await asyncio.sleep(0.3)
        await write(store, key, value)

    def interrupted(*_):
        raise KeyboardInterrupt

    def ring():
        begun.wait(20)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)

    monkeypatch.setattr(LocalStore, "set", slow)
    before, ringing = signal.signal(signal.SIGALRM, interrupted), threading.Thread(target=ring)
    ringing.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            save_cube(Cube(data=np.ones((3, 70, 70), "f4")), tmp_path / "x.zarr")
        time.sleep(0.4)
        assert not os.listdir(tmp_path)
    finally:
        ringing.join()
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", ["x.h5", "x.zarr", "x.hdr", "x.tif"])
def test_where_nothing_can_be_written(tmp_path, name):
    with pytest.raises(InputError, match="output: cannot write there"):
        save_cube(Cube(data=NUMBERS), tmp_path / "no such folder" / name)


@pytest.mark.parametrize("internal", [True, False])
def test_a_mask_of_a_geotiff_leaves_pixels_out(tmp_path, internal):
    """In the file, or in ``.msk`` beside it; whatever numbers stand there."""
    path = geotiff(tmp_path / "x.tif", crs=UTM33)
    mask = np.full((4, 5), 255, np.uint8)
    mask[1, 2] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path, "r+") as file:
            file.write_mask(mask)
    assert (tmp_path / "x.tif.msk").exists() is not internal
    expected = np.where(mask > 0, NUMBERS, np.nan)
    cube = open_cube(path)
    np.testing.assert_array_equal(cube.read(), expected)
    np.testing.assert_array_equal(cube.select(window=(1, 3, 2, 5)).read(), expected[:, 1:3, 2:5])
    save_cube(cube, tmp_path / "y.h5")
    np.testing.assert_array_equal(open_cube(tmp_path / "y.h5").read(), expected)


def test_a_band_marked_as_transparency_stays_a_band(tmp_path, caplog):
    """GDAL marks the fourth of four bands of bytes, as near infrared often is."""
    path = geotiff(tmp_path / "x.tif", NUMBERS[:4].astype("u1"), photometric="RGB", alpha="yes")
    cube = open_cube(path)
    assert cube.n_bands == 4
    np.testing.assert_array_equal(cube.read(), NUMBERS[:4])
    assert "band 3: marked as transparency" in caplog.text


def _laid_out(folder, kind, dims, arrays):
    """A file of one kind with arrays, and the names of their dimensions where it has such."""
    path = folder / {"npz": "x.npz", "mat": "x.mat", "h5": "x.h5", "nc": "x.nc", "nc3": "x3.nc", "zarr": "x.zarr"}[kind]
    if kind == "npz":
        np.savez(path, **arrays)
    elif kind == "mat":
        scipy.io.savemat(path, arrays)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file[f"group/{name}"] = values
    else:
        data = xarray.Dataset({name: (dims[name], values) for name, values in arrays.items()})
        if kind == "zarr":
            data.to_zarr(path, consolidated=False)
        else:
            data.to_netcdf(path, **({} if kind == "nc" else {"format": "NETCDF3_CLASSIC", "engine": "scipy"}))
    return path


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (1, 0, 2)])
@pytest.mark.parametrize("kind", ["npz", "mat", "h5", "nc", "nc3", "zarr"])
def test_bands_lie_where_wavelengths_or_maps_say(tmp_path, kind, order):
    """One rule for every file: by a vector of any name, or by what else shows the same pixels."""
    cube, names = NUMBERS.transpose(order).copy(), tuple("uvw"[axis] for axis in order)
    for other, values in (("centers", WAVES), ("gt", np.ones(NUMBERS.shape[1:], "u1"))):
        folder = tmp_path / other
        folder.mkdir()
        dims = {"cube": names, other: ("u",) if values.ndim == 1 else ("v", "w")}
        found = open_cube(_laid_out(folder, kind, dims, {"cube": cube, other: values}))
        np.testing.assert_array_equal(found.read(), NUMBERS)
        assert (found.wavelength_nm is not None) == (other == "centers")


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (1, 0, 2)])
@pytest.mark.parametrize("kind", ["nc", "nc3", "zarr", "xarray"])
def test_of_axes_of_one_length_that_of_the_wavelengths_holds_the_bands(tmp_path, kind, order):
    """Our own layout was assumed where lengths leave all open, though dimensions tell."""
    values = np.arange(125, dtype="f4").reshape(5, 5, 5)
    arrays = {"cube": values.transpose(order).copy(), "centers": WAVES[:5]}
    dims = {"cube": tuple("uvw"[axis] for axis in order), "centers": ("u",)}
    if kind == "xarray":
        found = Cube.from_xarray(xarray.Dataset({name: (dims[name], values) for name, values in arrays.items()}))
    else:
        found = open_cube(_laid_out(tmp_path, kind, dims, arrays))
    np.testing.assert_array_equal(found.read(), values)
    np.testing.assert_allclose(found.wavelength_nm, WAVES[:5])


def test_npz_of_others(tmp_path):
    """Wavelengths by other names, windows in any order of axes, Fortran's too, as scipy.io.loadmat gives arrays."""
    np.savez(tmp_path / "a.npz", cube=NUMBERS, wavelengths=WAVES / 1e3, bands=np.array([{"a": 1}], dtype=object))
    np.testing.assert_allclose(open_cube(tmp_path / "a.npz").wavelength_nm, WAVES)
    for save in (np.ascontiguousarray, np.asfortranarray):
        np.savez_compressed(tmp_path / "b.npz", cube=save(NUMBERS.transpose(1, 2, 0)), wavelength=WAVES)
        cube = open_cube(tmp_path / "b.npz")
        np.testing.assert_array_equal(cube.read([4, 1], slice(1, 3), slice(2, 4)), NUMBERS[[4, 1], 1:3, 2:4])
    np.savez(tmp_path / "c.npz", cube=NUMBERS.transpose(1, 2, 0).copy())
    np.testing.assert_array_equal(open_cube(tmp_path / "c.npz", axes="y,x,band").read(), NUMBERS)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"])
def test_texts_of_any_encoding(tmp_path, encoding):
    """Headers, tables and plans as editors save them: a header of UTF-16 was nothing known, a table of Latin-1 none."""
    header = ENVI + "description = {Größe}\nwavelength units = µm\nwavelength = {.4, .45, .55, .65, .85, .9}\n"
    (tmp_path / "x.hdr").write_bytes(header.encode(encoding))
    (tmp_path / "x.img").write_bytes(NUMBERS.tobytes())
    for name in ("x.hdr", "x.img"):
        cube = open_cube(tmp_path / name)
        assert cube.name == "Größe"
        np.testing.assert_allclose(cube.wavelength_nm, WAVES)
    (tmp_path / "x.csv").write_bytes("wavelength (µm),value\n0.4,1\n0.5,2\n".encode(encoding))
    np.testing.assert_allclose(read_table(tmp_path / "x.csv", "light").wavelength_nm, [400, 500])
    (tmp_path / "plan.toml").write_bytes('# Größe\ncube = "x.h5"\nout = "result"\n'.encode(encoding))
    assert read_plan(tmp_path / "plan.toml")["out"] == tmp_path / "result"


@pytest.mark.parametrize("order", ["<", ">"])
def test_matlab_version_4(tmp_path, order):
    """Matrices only: of pixels, with their rows and columns; another machine's order of bytes too."""
    pixels = NUMBERS.transpose(0, 2, 1).reshape(6, 20).astype("f8")
    with open(tmp_path / "x.mat", "wb") as file:
        for name, values in (("Y", pixels), ("nRow", np.full((1, 1), 4.0)), ("nCol", np.full((1, 1), 5.0))):
            file.write(struct.pack(f"{order}5i", 1000 * (order == ">"), *values.shape, 0, len(name) + 1))
            file.write(name.encode() + b"\0" + values.astype(f"{order}f8").tobytes(order="F"))
    np.testing.assert_array_equal(open_cube(tmp_path / "x.mat").read(), NUMBERS)
    scipy.io.savemat(tmp_path / "y.mat", {"Y": pixels}, format="4")
    with pytest.raises(FormatError, match=r"cube: missing, expected numbers .* found Y 6×20"):
        open_cube(tmp_path / "y.mat")
