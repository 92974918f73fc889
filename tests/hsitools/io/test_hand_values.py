"""Numbers of files by hand: codes of UTM zones, corners, scales, offsets, ranges, STAC, several detectors."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from hsitools.cube import Cube
from hsitools.cube.sources import ArraySource
from hsitools.io import open_cube, save_cube
from hsitools.io.detectors import Detector, Refilled, joined
from hsitools.io.grid import from_coordinates
from hsitools.io.map_info import GEOGRAPHIC, UTM, grid_of, map_info_of
from hsitools.io.scales import physical
from hsitools.io.stac import labels
from hsitools.io.valid_range import only_valid

ALL = (slice(0, 1), slice(0, 4))


@pytest.mark.parametrize("datum", UTM)
def test_zones_are_those_of_the_datum_and_the_half_of_the_earth(datum):
    rasterio_crs = pytest.importorskip("rasterio.crs")
    zone = next(
        (zone for part, zone in (("SIRGAS", 21), ("GDA", 55), ("GEOCENTRIC", 55), ("E", 32)) if datum.startswith(part)),
        18,
    )
    for south, first in enumerate(UTM[datum]):
        if first is None:
            continue
        info = f"UTM, 1, 1, 0, 0, 1, 1, {zone}, {'South' if south else 'North'}, {datum}, units=Meters"
        code = grid_of({"map info": info}, Path("x.hdr"))[1]
        name = rasterio_crs.CRS.from_user_input(code).to_wkt().split('"')[1].upper()
        assert name.endswith((f"ZONE {zone}{'S' if south else 'N'}", f"ZONE {zone}")), name
        # the same datum as that of the geographic coordinates of its name
        known = rasterio_crs.CRS.from_epsg(GEOGRAPHIC[datum]).to_wkt().split('"')[1] if datum in GEOGRAPHIC else ""
        assert name.startswith(known.upper()), (name, known)


def test_a_turned_grid_is_written_and_read_alike():
    turned = (3 * np.cos(0.3), 3 * np.sin(0.3), 500.0, 3 * np.sin(0.3), -3 * np.cos(0.3), 900.0)
    oblong = (4.0, 0.0, 500.0, 0.0, -7.0, 900.0)
    for transform in (turned, oblong):
        text = map_info_of(Cube(data=np.zeros((1, 2, 2)), transform=transform, crs="EPSG:32719"), Path("x"))
        found, crs = grid_of({"map info": text}, Path("x.hdr"))
        np.testing.assert_allclose(found, transform, atol=1e-9)
        assert crs == "EPSG:32719"
    # the reference pixel, counted from 1, has its corner at the place that is told
    a, b, c, d, e, f = grid_of({"map info": "Arbitrary, 3, 2, 70, 90, 5, 4, rotation=30"}, Path("x.hdr"))[0]
    np.testing.assert_allclose((2 * a + b + c, 2 * d + e + f), (70, 90))


def test_seconds_and_minutes_of_an_arc():
    for unit, size in (("Minutes", 60), ("Seconds", 3600)):
        info = f"Geographic Lat/Lon, 1, 1, {13 * size}, {52 * size}, {size}, {size}, WGS-84, units={unit}"
        np.testing.assert_allclose(grid_of({"map info": info}, Path("x.hdr"))[0], (1, 0, 13, 0, -1, 52), atol=1e-12)


@pytest.mark.parametrize("step", [2.0, -2.0])
def test_corners_lie_half_a_pixel_before_centres(step):
    assert from_coordinates(np.array([10.0, 13, 16]), 50 + step * np.arange(4)) == (3, 0, 8.5, 0, step, 50 - step / 2)


def test_values_and_offsets_of_products():
    source = ArraySource(np.array([[[1, 4]], [[-1, 2]]], np.int16))
    found = physical(source, [2.0, 3.0], [10.0, 20.0], -1, "x").read(np.arange(2), slice(0, 1), slice(0, 2))
    np.testing.assert_array_equal(found, [[[12, 18]], [[np.nan, 26]]])


def test_a_physical_range_of_packed_numbers():
    """0.5 to 1.5 at a scale of 0.1 and an offset of -0.5 are the numbers from 10 to 20."""
    source = ArraySource(np.array([[[9, 10, 20, 21]]], np.int16))
    own = {"valid_range": np.array([0.5, 1.5])}
    clean, nodata = only_valid(source, own, np.array([0.1]), np.array([-0.5]), None, "x")
    assert clean.read(np.arange(1), *ALL).ravel().tolist() == [nodata, 10, 20, nodata]


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.25, 0.0), (0.5, -3.0), (1.0, 7.0)])
@pytest.mark.parametrize("suffix", [".h5", ".hdr", ".tif", ".zarr", ".nc"])
def test_one_scale_and_offset_in_every_format(tmp_path, suffix, scale, offset):
    from hsitools.cube.sources import ScaledSource

    numbers = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    cube = Cube(data=ScaledSource(ArraySource(numbers), scale, offset))
    save_cube(cube, tmp_path / f"x{suffix}")
    again = open_cube(tmp_path / f"x{suffix}")
    np.testing.assert_allclose(again.physical().read(), offset + scale * numbers, rtol=1e-6)
    stored = again.stored()
    assert (stored.dtype, stored.scale[1], stored.offset[1]) == (np.int16, scale, offset)


def test_a_stac_item_without_some_facts(tmp_path):
    """Bands without an offset have none; widths are micrometres, with centres and without."""
    bands = [{"eo:full_width_half_max": 0.01, "raster:scale": 2}, {"eo:full_width_half_max": 0.02, "raster:offset": 3}]
    item = {"stac_version": "1.1.0", "properties": {"bands": bands}}
    (tmp_path / "x.json").write_text(json.dumps(item))
    told = labels(tmp_path / "x.tif", 2)
    np.testing.assert_allclose(told["fwhm_nm"], [10, 20])
    assert (told["scales"].tolist(), told["offsets"].tolist()) == ([2, 1], [0, 3])


def test_bands_of_two_detectors_stay_with_their_labels():
    """The second, whose bands descend, begins below the end of the first."""
    values = np.arange(5.0)[:, None, None]
    first = Detector(name="a", source=ArraySource(values[:3]), wavelength_nm=np.array([400.0, 500, 600]),
                     fwhm_nm=np.array([1.0, 2, 3]))  # fmt: skip
    second = Detector(name="b", source=ArraySource(values[3:]), wavelength_nm=np.array([700.0, 550]),
                      fwhm_nm=np.array([4.0, 5]))  # fmt: skip
    cube = Cube(**joined([first, second], "x"))
    assert cube.wavelength_nm.tolist() == [400, 500, 550, 600, 700]
    assert cube.fwhm_nm.tolist() == [1, 2, 5, 3, 4]
    assert cube.good.tolist() == [True, True, False, True, True]
    assert cube.read().ravel().tolist() == [0, 1, 4, 2, 3]
    refilled = Refilled(ArraySource(np.array([[[0, 7, -1, 2]]], np.int16)), 7, -1)
    assert refilled.read(np.arange(1), *ALL).ravel().tolist() == [0, -1, -1, 2]


@pytest.mark.parametrize(("name", "good"), [("bad_bands", [False, True, True]), ("good_bands", [True, False, False])])
def test_marks_of_bands_by_their_sense(tmp_path, name, good):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["cube"] = np.zeros((3, 4, 5))
        file["cube"].dims[0].label, file["cube"].dims[1].label, file["cube"].dims[2].label = "band", "y", "x"
        file[name] = [1, 0, 0]
    assert open_cube(tmp_path / "x.h5").good.tolist() == good
