"""The rules that readers share, each by itself: scales, no measurement, ranges, grids, labels of bands, wavelengths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsitools.cube import Cube
from hsitools.cube.packed import packed
from hsitools.cube.sources import ArraySource
from hsitools.cube.windows import tiles, window_slices
from hsitools.errors import FormatError, InputError
from hsitools.io.band_labels import band_labels, is_wavelength, own_list
from hsitools.io.grid import agree, from_coordinates
from hsitools.io.grid import grid_of as grid_of_variables
from hsitools.io.map_info import exponent, grid_of, map_info_of
from hsitools.io.scales import decoded, fits, scaled, stated_nodata, units_of, with_reflectance_factor
from hsitools.io.valid_range import InRange, only_valid, stated_range
from hsitools.io.variable import Variable
from hsitools.io.wavelengths import Conversion, from_names, to_nm, width_to_nm

WHOLE = (slice(0, 1), slice(0, 6))


def source(values=(1, 2, 3, 4, 5, 6), dtype=np.int16, bands=1):
    return ArraySource(np.array([[list(values)]] * bands, dtype))


def numbers(of):
    return of.read(np.arange(of.shape[0]), *WHOLE)


# ---- scales and values of no measurement -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "nodata", "others"),
    [
        ([{}], None, []), ([{"nodata": -1}, {"_FillValue": 3}], -1, []), ([{}, {"_FillValue": 3}], 3, []),
        ([{"_FillValue": [3, 5, 3], "missing_value": 7}], 3, [5, 7]), ([{"missing_value": "nan", "nodata": 4}], 4, []),
        ([{"_FillValue": np.nan}], np.nan, []), ([{"_FillValue": np.nan}, {"nodata": 9}], 9, []),
        ([{"_FillValue": "none"}], None, []),
    ],
)  # fmt: skip
def test_the_nearest_value_of_no_measurement_counts(attributes, nodata, others):
    found = stated_nodata(*attributes)
    np.testing.assert_equal(found[0], nodata)
    assert found[1] == others


@pytest.mark.parametrize(
    ("attributes", "physical", "factor"),
    [
        ({}, [1, 2, 3, 4, 5, 6], None), ({"scale_factor": 0.5}, [0.5, 1, 1.5, 2, 2.5, 3], 0.5),
        ({"scale_factor": 0.5, "add_offset": -1}, [-0.5, 0, 0.5, 1, 1.5, 2], None),
        ({"scale_factor": 2, "_FillValue": 3, "missing_value": [5, 9.5]}, [2, 4, np.nan, 8, np.nan, 12], 2.0),
        ({"Scale_Factor": 4.0}, [0.25, 0.5, 0.75, 1, 1.25, 1.5], 0.25), ({"slope": 4.0}, [4, 8, 12, 16, 20, 24], 4.0),
        # a value that such numbers cannot hold is none of them
        ({"_FillValue": 1e6, "missing_value": 2}, [1, np.nan, 3, 4, 5, 6], None),
        ({"_FillValue": [2, 4], "valid_range": [2, 5]}, [np.nan, np.nan, 3, np.nan, 5, np.nan], None),
    ],
)  # fmt: skip
def test_stored_numbers_become_physical_values(attributes, physical, factor):
    data, scale, nodata = decoded(source(), attributes, {}, "x")
    assert scale == factor
    cube = Cube(data=data, scale_factor=scale, nodata=nodata)
    np.testing.assert_allclose(cube.physical().read()[0, 0], physical)


def test_scales_of_the_file_count_by_their_first_name_only():
    cube = decoded(source(), {}, {"scale_factor": 0.5, "scales": 9, "offset": 8}, "x")
    assert cube[1] == 0.5
    assert decoded(source(), {"slope": 3.0}, {"scale_factor": 0.5}, "x")[1] == 0.5
    assert decoded(source(), {}, {"scale": 9}, "x")[1] is None
    both = decoded(source(bands=2), {"scale_factor": [0.5, 3], "add_offset": 1}, {}, "x")[0]
    np.testing.assert_allclose(numbers(both)[:, 0, 1], [2, 7])
    for wrong, said, error in (([1, 2, 3], "found 3 values", InputError), ("much", "found 'much'", FormatError)):
        with pytest.raises(error, match=f"x: scale_factor: {said}, expected"):
            decoded(source(bands=2), {"scale_factor": wrong}, {}, "x")
    for scale, offset, said in ((0, 0, "scale: found 0"), (1, np.inf, "offset: found inf"), (np.nan, 0, "scale: fou")):
        with pytest.raises(InputError, match=said):
            scaled(source(), scale, offset, None, "x")


def test_what_numbers_of_a_type_hold():
    assert fits(255, np.dtype(np.uint8))
    assert fits(0, np.dtype(np.uint8))
    assert fits(-32768, np.dtype(np.int16))
    assert not fits(256, np.dtype(np.uint8))
    assert not fits(-1, np.dtype(np.uint8))
    assert not fits(1.5, np.dtype(np.int16))
    assert fits(1.5, np.dtype(np.float32))


@pytest.mark.parametrize(
    ("gain", "factor", "found"),
    [
        (None, None, None), (None, 1, None), (None, 0, None), (None, 1e4, [1e-4] * 2), (np.ones(2), 1e4, [1e-4] * 2),
        (np.full(2, 1e-4), 1e4, [1e-4] * 2), (np.array([0.5, 2]), 1e4, [0.5, 2]), (np.array([0.5, 2]), None, [0.5, 2]),
    ],
)  # fmt: skip
def test_a_reflectance_scale_factor_divides_once(gain, factor, found, caplog):
    out = with_reflectance_factor(gain, factor, 2, "x")
    np.testing.assert_allclose(np.array(out, float), np.array(found, float))
    assert (out is None) == (found is None)
    assert ("different things" in caplog.text) == (factor == 1e4 and found == [0.5, 2])


@pytest.mark.parametrize(
    ("unit", "found"), [("Unitless", "1"), ("reflectance", "1"), ("", ""), (" W m-2 ", "W m-2"), (b"none", "1")]
)
def test_units_that_are_none(unit, found):
    assert units_of({"Units": unit}) == found
    assert units_of({}) == ""


# ---- valid ranges ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "dtype", "nodata", "valid", "nothing"),
    [
        # integers without a stated value of no measurement: the lowest number, or the highest where that is valid
        ({"valid_range": [2, 5]}, np.int16, None, [2, 3, 4, 5], -32768),
        ({"valid_max": 4}, np.uint8, None, [1, 2, 3, 4], 255), ({"valid_min": 3}, np.uint8, None, [3, 4, 5, 6], 0),
        ({"valid_range": [2, 5]}, np.int16, 6, [2, 3, 4, 5], 6),
        ({"valid_range": [2, 5]}, np.uint8, -9999, [2, 3, 4, 5], 0),
        ({"valid_range": [2, 5]}, np.float32, None, [2, 3, 4, 5], np.nan),
        ({"valid_range": [2, 5]}, np.float32, -1, [2, 3, 4, 5], -1),
        ({"valid_range": [-40000, 40000]}, np.int16, None, [1, 2, 3, 4, 5, 6], None),
        ({"valid_range": [0, 254]}, np.uint8, None, [1, 2, 3, 4, 5, 6], 255),
        ({"valid_range": [5, 2]}, np.int16, None, [1, 2, 3, 4, 5, 6], None),
    ],
)  # fmt: skip
def test_what_is_outside_the_range_is_no_measurement(own, dtype, nodata, valid, nothing):
    found, told = only_valid(source(dtype=dtype), own, None, None, nodata, "x")
    np.testing.assert_equal(told, nothing)
    expected = [value if value in valid else nothing for value in range(1, 7)]
    np.testing.assert_array_equal(numbers(found)[0, 0], np.array(expected, float).astype(dtype))


def test_ranges_as_they_are_stated(caplog):
    assert stated_range({}, "x") is None
    assert stated_range({"Valid_Range": "2, 5"}, "x") == (2, 5)
    assert stated_range({"valid_min": 2}, "x") == (2, np.inf)
    assert stated_range({"valid_max": 5}, "x") == (-np.inf, 5)
    assert stated_range({"valid_range": [2, 2]}, "x") == (2, 2)
    assert stated_range({"valid_min": 5, "valid_max": 2}, "x") is None
    assert stated_range({"valid_range": [1, 2, 3], "valid_min": 4}, "x") is None
    assert caplog.text.count("left out") == 2
    # physical values beside scales of each band say nothing of the numbers
    kept, nodata = only_valid(source(bands=2), {"valid_range": np.array([0.5, 1])}, np.array([1.0, 2]), None, None, "x")
    assert nodata is None
    assert not isinstance(kept, InRange)
    # of packed numbers: integers are numbers, floating-point ones physical values, halves of a step are rounded
    for bounds, scale, offset, valid in (([2, 5], 0.1, 0.0, "2345"), ([0.2, 0.5], 0.1, None, "2345"),
                                         ([0.2, 0.5], None, 0.0, "1"), ([-5.0, -2], -1.0, 0.0, "2345"),
                                         ([12.0, 13], None, 10.0, "23")):  # fmt: skip
        own = {"valid_range": np.array(bounds)}
        found, nodata = only_valid(source(), own, scale, offset, None, "x")
        assert "".join(str(value) for value in numbers(found).ravel() if value != nodata) == valid


# ---- grids -----------------------------------------------------------------------------------------------------


def test_coordinates_and_what_they_may_miss():
    x, y = 100 + 3.0 * np.arange(5), np.array([7.0])
    assert from_coordinates(x, y) is None
    assert from_coordinates(x, y, (9, 0, 0, 0, -2.0, 0)) == (3, 0, 98.5, 0, -2, 8)
    assert from_coordinates(np.array([4.0]), x, (9, 0, 0, 0, -2.0, 0)) == (9, 0, -0.5, 0, 3, 98.5)
    assert from_coordinates(x, np.array([1.0, 2, 3.1])) is None
    assert from_coordinates(x, np.array([5.0, 5, 5])) is None
    assert from_coordinates(x, np.array([1.0, 2, 3.001])) == (3, 0, 98.5, 0, 1.0005, pytest.approx(0.49975))
    # as far as float32 tells them
    for far in (4e6, -4e6):
        assert from_coordinates((far + 0.3 * np.arange(4)).astype(np.float32), x) is not None


def test_transforms_agree_within_a_hundredth_of_a_pixel():
    one = (10.0, 0.0, 5000.0, 0.0, -10.0, 9000.0)
    for place, slight, much in ((2, 0.09, 0.12), (5, -0.09, -0.12), (0, 0.009, 0.012), (4, 0.004, 0.006),
                                (1, 0.004, 0.006), (3, -0.009, 0.012)):  # fmt: skip
        for change, same in ((slight, True), (much, False)):
            other = list(one)
            other[place] += change
            assert agree(one, tuple(other), (20, 10)) is same


def grid(coords, mapping=None, attributes=None, dims=("y", "x"), units=None, shape=(1, 3, 4)):
    chosen = Variable(name="cube", data=np.zeros(shape), dims=("band", *dims), attributes=attributes or {})
    variables = [chosen]
    for name, values in coords.items():
        said = {} if units is None else {"units": units}
        variables.append(Variable(name=name, data=np.asarray(values, float), dims=(name,), attributes=said))
    if mapping is not None:
        variables.append(Variable(name="crs", data=np.zeros(()), attributes=mapping))
    return grid_of_variables(chosen, dims, variables, {}, "x")


X, Y = [10.0, 12, 14, 16], [90.0, 87, 84]


@pytest.mark.parametrize(
    ("coords", "more", "transform"),
    [
        ({"x": X, "y": Y}, {}, (2, 0, 9, 0, -3, 91.5)), ({"x": X}, {}, None),
        ({"x": X, "y": Y}, {"units": "km"}, (2000, 0, 9000, 0, -3000, 91500)),
        ({"x": [0, 1, 2, 3], "y": [0, 1, 2]}, {}, None), ({"x": [1, 2, 3, 4], "y": [0, 1, 2]}, {}, None),
        ({"x": [0, 1, 2, 3], "y": Y}, {}, (1, 0, -0.5, 0, -3, 91.5)), ({"x": [*X, 18], "y": Y}, {}, None),
        ({"x": [10, 12, 14, 19], "y": Y}, {}, None), ({"x": [10, 12, np.nan, 16], "y": Y}, {}, None),
        ({}, {"mapping": {"GeoTransform": "5 2 0 9 0 -3"}}, (2, 0, 5, 0, -3, 9)),
        ({}, {"attributes": {"GeoTransform": [5, 2, 0.5, 9, 0.25, -3]}}, (2, 0.5, 5, 0.25, -3, 9)),
        # coordinates beat what contradicts them; what agrees, or what has no other, is taken as stated
        ({"x": X, "y": Y}, {"mapping": {"GeoTransform": "5 2 0 9 0 -3"}}, (2, 0, 9, 0, -3, 91.5)),
        ({"x": X, "y": Y}, {"mapping": {"GeoTransform": "9.001 2 0 91.5 0 -3"}}, (2, 0, 9.001, 0, -3, 91.5)),
        ({"x": [0] * 4, "y": [0] * 3}, {"mapping": {"GeoTransform": "5 2 0 9 0 -3"}}, (2, 0, 5, 0, -3, 9)),
        ({"x": [10, 12, 14, 19], "y": Y}, {"mapping": {"GeoTransform": "5 2 0 9 0 -3"}}, None),
    ],
)  # fmt: skip
def test_where_a_variable_lies(coords, more, transform):
    found = grid(coords, **more)
    assert found[0] is None
    assert found[1] == (None if transform is None else pytest.approx(transform))


def test_latitudes_are_degrees_of_the_usual_system():
    for dims, units in ((("lat", "lon"), None), (("y", "x"), "degrees_north")):
        found = grid(dict(zip(dims, (Y, X), strict=True)), dims=dims, units=units)
        assert found == ("EPSG:4326", (2, 0, 9, 0, -3, 91.5))
    # pixels of a degree may count from nought
    found = grid({"lat": [0, 1, 2], "lon": [0, 1, 2, 3]}, dims=("lat", "lon"))
    assert found == ("EPSG:4326", (1, 0, -0.5, 0, 1, -0.5))
    with pytest.raises(FormatError, match="GeoTransform: found '5 2 0', expected six numbers"):
        grid({}, mapping={"GeoTransform": "5 2 0"})


@pytest.mark.parametrize(
    ("info", "transform", "crs"),
    [
        ("UTM, 1, 1, 5, 9, 2, 3, 33, North, WGS-84, units=Meters", (2, 0, 5, 0, -3, 9), "EPSG:32633"),
        ("UTM, 1.5, 2, 5, 9, 2, 3, 33, South, WGS-84", (2, 0, 4, 0, -3, 12), "EPSG:32733"),
        ("UTM, 1, 1, 5, 9, 2, 3, 33N, WGS-84", (2, 0, 5, 0, -3, 9), "EPSG:32633"),
        ("UTM, 1, 1, 5D2, 9d0, 2, 3, 33, North", (2, 0, 500, 0, -3, 9), "EPSG:32633"),
        ("Geographic Lat/Lon, 1, 1, 5, 9, 2, 3, NAD-27, units=Degrees", (2, 0, 5, 0, -3, 9), "EPSG:4267"),
        ("Geographic Lat/Lon, 1, 1, 5, 9, 2, 3", (2, 0, 5, 0, -3, 9), "EPSG:4326"),
        ("Geographic Lat/Lon, 1, 1, 0.1, 0.2, 0.01, 0.02, WGS-84, units=Radians",
         (0.18 / np.pi * 10, 0, 18 / np.pi, 0, -3.6 / np.pi, 36 / np.pi), "EPSG:4326"),
        ("Arbitrary, 1, 1, 5, 9, 2, 3, rotation=180", (2, 0, 5, 0, 3, 9), None),
        ("Arbitrary, 1, 1, 5, 9, 2, 2, rotation=90", (0, 2, 5, 2, 0, 9), None), ("UTM, 1, 1, 5", None, None),
    ],
)  # fmt: skip
def test_map_info_in_a_header_s_words(info, transform, crs):
    found = grid_of({"map info": info}, Path("x.hdr"))
    assert found[1] == crs
    assert found[0] == (None if transform is None else pytest.approx(transform, abs=1e-9))


def test_map_info_that_is_written_and_what_cannot_be():
    assert exponent("1.5D-3") == "1.5e-3"
    assert exponent("WGS-84D") == "WGS-84D"

    def written(transform, crs=None):
        return map_info_of(Cube(data=np.zeros((1, 2, 2)), transform=transform, crs=crs), Path("x"))

    north = (2.0, 0.0, 5.0, 0.0, -3.0, 9.0)
    assert written(north, "EPSG:32603") == "UTM, 1, 1, 5.0, 9.0, 2.0, 3.0, 3, North, WGS-84, units=Meters"
    assert written(north, "EPSG:4326").startswith("Geographic Lat/Lon, 1, 1, 5.0, 9.0, 2.0, 3.0, WGS-84, units=Degrees")
    assert written(north, "EPSG:25833") == "Arbitrary, 1, 1, 5.0, 9.0, 2.0, 3.0"
    assert written((0.0, 2.0, 5.0, 2.0, 0.0, 9.0)) == "Arbitrary, 1, 1, 5.0, 9.0, 2.0, 2.0, rotation=90.0"
    for transform, wrong in (
        ((2.0, 0.0, 5.0, 0.0, 3.0, 9.0), "mirrored"), ((2.0, 1.0, 5.0, 0.0, -3.0, 9.0), "skewed"),
        ((-2.0, 0.0, 5.0, 0.0, 3.0, 9.0), "turned by half"), ((0.0, 3.0, 5.0, 2.0, 0.0, 9.0), "oblong"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=wrong):
            written(transform)


# ---- bands -----------------------------------------------------------------------------------------------------


def labelled(vectors, own=None, of_file=None, dim="band", count=3, name="cube"):
    chosen = Variable(name=name, data=np.zeros((count, 2, 2)), attributes=own or {})
    items = {
        key: Variable(name=key, data=np.asarray(values, float), attributes=said)
        for key, (values, said) in vectors.items()
    }
    return band_labels(chosen, dim, count, items, of_file or {}, "x")


NM, UM = [500.0, 600, 700], [0.5, 0.6, 0.7]


@pytest.mark.parametrize(
    ("given", "wavelength"),
    [
        ({"vectors": {"wavelength": (UM, {"units": "um"})}}, NM), ({"vectors": {"wl_nm": (NM, {})}}, NM),
        ({"vectors": {"wavelength_nm": (NM, {"units": "um"})}}, NM),
        ({"vectors": {"wavenumber": ([20000, 1e7 / 600, 1e7 / 700], {})}}, NM),
        # the band dimension's own coordinate, then the nearest by group, then by the order of names
        ({"vectors": {"wave": (NM, {}), "wavelength": ([1000, 1100, 1200], {})}, "dim": "wave"}, NM),
        ({"vectors": {"a/wavelength": ([1000, 1100, 1200], {}), "b/wl": (NM, {})}, "name": "b/cube"}, NM),
        ({"vectors": {"wavelength": (NM, {}), "wl": ([1000, 1100, 1200], {})}}, NM),
        ({"vectors": {}, "own": {"wavelength": UM, "wavelength_units": "micrometers"}}, NM),
        ({"vectors": {}, "of_file": {"wavelength": "0.5, 0.6, 0.7", "wavelength_units": "um"}}, NM),
        # of any name, where it can be nothing else
        ({"vectors": {"lmbd": (NM, {})}}, NM), ({"vectors": {"lmbd": (NM[::-1], {})}}, NM[::-1]),
        ({"vectors": {"lmbd": (UM, {})}}, NM), ({"vectors": {"lmbd": ([500, 600, 600], {})}}, None),
        ({"vectors": {"lmbd": ([5, 6, 7], {})}}, None), ({"vectors": {"lmbd": ([50, 60, 70], {})}}, None),
        ({"vectors": {"lmbd": (NM, {}), "other": (NM, {})}}, None), ({"vectors": {"x": (NM, {})}}, None),
        ({"vectors": {"lmbd": ([*NM, 800], {})}}, None), ({"vectors": {"lmbd": ([500, 600, 3e4], {})}}, None),
    ],
)  # fmt: skip
def test_wavelengths_among_a_file_s_vectors(given, wavelength):
    found = labelled(**given).get("wavelength_nm")
    assert (None if found is None else found.tolist()) == (None if wavelength is None else pytest.approx(wavelength))


def test_marks_and_widths_of_bands():
    found = labelled({"wavelength": ([0.5, 0, 0.7], {"units": "um"}), "fwhm": ([10, 11, 12], {"units": "nm"}),
                      "good": ([1, 1, 0], {})})  # fmt: skip
    assert found["fwhm_nm"].tolist() == [10, 11, 12]
    # a wavelength of zero is no band; what is marked bad by either word is bad
    assert found["good"].tolist() == [True, False, False]
    assert labelled({"bad_bands": ([0, 1, 0], {})})["good"].tolist() == [True, False, True]
    both = labelled({"bad_bands": ([0, 1, 0], {}), "bbl": ([1, 1, 0], {})})["good"]
    assert both.tolist() == [True, False, False]
    # numbers of bad bands are not one a band
    assert labelled({"bad_bands": ([1, 2], {})})["good"].all()
    assert labelled({"wavelength": ([0, 0, 0], {"units": "nm"})})["good"].all()
    with pytest.raises(InputError, match="x: wavelength: found 4 values, expected 3, one a band of cube"):
        labelled({"wavelength": ([*NM, 800], {})})
    assert is_wavelength(Variable(name="a/WL", data=np.zeros((1, 3))))
    assert is_wavelength(Variable(name="q", data=np.zeros(3), attributes={"standard_name": "radiation_wavelength"}))
    assert not is_wavelength(Variable(name="wl", data=np.zeros((2, 3))))
    assert not is_wavelength(Variable(name="wl", data=np.zeros(())))
    assert not is_wavelength(Variable(name="other", data=np.zeros(3)))
    assert own_list(Variable(name="c", data=np.zeros(3), attributes={"WL": "1 2"}), ("wl",)).tolist() == [1, 2]
    assert own_list(Variable(name="c", data=np.zeros(3), attributes={"wl": np.array([5.0])}), ("wl",)) is None


@pytest.mark.parametrize(
    ("names", "wavelength"),
    [
        (["Band 1 (450.5 Nanometers)", "b 0.5 um", None], [450.5, 500, np.nan]),
        (["5,5e2nm", "x 6000 angstroms"], [550, 600]),
        (["450", "460.5", "470"], [450, 460.5, 470]), (["0.45", "0.46"], [450, 460]), (["470", "460.5"], [470, 460.5]),
        (["101", "102", "103"], None), (["1", "2", "3"], None), (["450", "450"], None), (["450", "b"], None),
        (["red", "green"], None), (["5 nm", "6 nm"], None), (["450"], None), (["0.02", "0.03"], None),
        (["450nmx", "2"], None), (["0", "450"], None),
    ],
)  # fmt: skip
def test_wavelengths_that_stand_in_names(names, wavelength):
    found = from_names(names)
    if wavelength is None:
        assert found is None
    else:
        np.testing.assert_allclose(found, wavelength)


@pytest.mark.parametrize(
    ("values", "unit", "found"),
    [
        ([0.5, 0.6], None, [500, 600]), ([500, 600], "unknown", [500, 600]), ([5e-7, 6e-7], "", [500, 600]),
        ([1, 2, 3], None, None), ([0, 1, 2], None, None), ([1, 2, 3], "nm", None),
        ([1, 2, 3.5], None, [1000, 2000, 3500]),
        ([500, 600], "um", [500, 600]), ([0.5, 0.6], "nm", [500, 600]), ([500, -1], "nm", [500, np.nan]),
        ([500, 0], "Nanometers (nm)", [500, np.nan]), ([0.5, np.inf], "[um]", [500, np.nan]), ([0.5], "10^-6 m", [500]),
        ([500], "bands", None), ([500], "kg", None), ([0, 0], "um", [np.nan, np.nan]),
    ],
)  # fmt: skip
def test_wavelengths_by_their_unit_or_else_by_what_they_can_be(values, unit, found):
    told = to_nm(values, unit, "x")
    assert (told is None) == (found is None)
    if found is not None:
        np.testing.assert_allclose(told, found)


def test_wavelengths_that_cannot_be_are_refused_and_widths_that_cannot_be_are_read_again(caplog):
    for unit in (None, "nm"):
        with pytest.raises(FormatError, match=r"found 5e\+06 to 6e\+06"):
            to_nm([5e6, 6e6], unit, "x")
    centres = np.array([0.5, 0.6])
    of_um = Conversion(1e3)
    for widths, unit, nm in (([0.01, 0.02], "um", [10, 20]), ([0.01, 0.02], None, [10, 20]), ([10, 20], None, [10, 20]),
                             ([10, 20], "um", [10, 20]), ([0.01, 0.02], "nm", [10, 20]), ([10, -1], "nm", [10, np.nan]),
                             ([10, 0], None, [10, np.nan]), ([2, 3], "nm", [2, 3])):  # fmt: skip
        np.testing.assert_allclose(width_to_nm(widths, unit, of_um, centres, "x"), nm)
    assert caplog.text.count("taken in") == 4


# ---- windows and packed numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "pixels", "chunk"), [((50, 30), 120, (1, 1)), ((50, 30), 200, (8, 7)),
                                                        ((9, 300), 64, (4, 10)), ((5, 5), 10**6, (2, 2))])  # fmt: skip
def test_tiles_cover_an_image_in_whole_chunks(shape, pixels, chunk):
    """About as large as is asked for, or as one chunk; rows whole where a row of chunks is small enough."""
    times = np.zeros(shape, int)
    for rows, columns in tiles(shape, pixels, chunk):
        times[rows, columns] += 1
        size = (rows.stop - rows.start) * (columns.stop - columns.start)
        assert size <= max(pixels, chunk[0] * chunk[1])
        for part, side, step in ((rows, shape[0], chunk[0]), (columns, shape[1], chunk[1])):
            assert part.start % step == 0
            assert part.stop % step == 0 or part.stop == side
        if chunk[0] * shape[1] <= pixels:
            assert (columns.start, columns.stop) == (0, shape[1])
        assert (
            size > pixels / 3 or rows.stop == shape[0] or columns.stop == shape[1] or pixels < 3 * chunk[0] * chunk[1]
        )
    assert (times == 1).all()


def test_windows_by_their_ends():
    assert window_slices(None, (5, 7), "x") == (slice(0, 5), slice(0, 7))
    assert window_slices((1, -1, -3, None), (5, 7), "x") == (slice(1, 4), slice(4, 7))
    assert window_slices((slice(None, 5), slice(6, 7)), (5, 7), "x") == (slice(0, 5), slice(6, 7))
    for wrong in ((2, 2, 0, 1), (0, 6, 0, 1), (0, 1, -8, 3), (slice(0, 4, 2), slice(0, 1))):
        with pytest.raises(InputError, match="x: window: found"):
            window_slices(wrong, (5, 7), "x")


@pytest.mark.parametrize("scale", [None, 0.01])
def test_sixteen_bits_err_by_half_a_step(scale):
    values = np.random.default_rng(0).uniform(-3, 250, (2, 30, 40)).astype(np.float32)
    values[0, 3, 4] = np.nan
    values[1, 5, 6] = -9999
    small = packed(Cube(data=values, nodata=-9999), scale=scale)
    good = np.isfinite(values) & (values != -9999)
    error = np.abs(small.read() - values)[good].max()
    step = 253 / 65534 if scale is None else scale
    assert 0.4 * step < error <= small.meta["rounding_error"] <= 0.51 * step + 3e-5
    assert np.isnan(small.read()[~good]).all()
    stored = small.stored()
    assert (stored.dtype, stored.nodata) == (np.int16, -32768)
    assert (stored.read(slice(0, 30), slice(0, 40))[~good] == -32768).all()
    with pytest.raises(InputError, match=r"int16: found the value .*; choose float32, or a scale of 0\.0039 or more"):
        packed(Cube(data=values, nodata=-9999), scale=0.001).read()
