"""What a cube says of itself, and its grid in other words, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsitools.cube import Cube
from hsitools.cube.agreement import require_same_bands, require_same_place
from hsitools.cube.geometry import moved, refined, side_of_pixel
from hsitools.cube.packed import packed
from hsitools.cube.sources import ArraySource, MaskedSource, ScaledSource, StackedSource, ViewSource
from hsitools.cube.statistics import BandStatistics
from hsitools.cube.stored import stored_numbers
from hsitools.cube.units import powers
from hsitools.errors import InputError
from hsitools.io.valid_range import packed_range, unpacked_range

TURNED = (4.0, 1.0, 100.0, -2.0, -3.0, 50.0)


def place(transform, row, column):
    a, b, c, d, e, f = transform
    return a * column + b * row + c, d * column + e * row + f


def test_a_point_stays_where_it_is():
    """In a part of an image, in finer pixels, and in both with the panchromatic image."""
    assert place(moved(TURNED, 2, 5), 1, 3) == place(TURNED, 3, 8)
    assert place(refined(TURNED, 4), 8, 12) == place(TURNED, 2, 3)
    assert side_of_pixel((4, 0, 7, 0, -9, 1)) == 6
    pan = np.arange(8 * 18.0).reshape(1, 8, 18)
    cube = Cube(data=np.zeros((1, 4, 6)), pan=Cube(data=pan, transform=refined(TURNED, 2)), transform=TURNED)
    part = cube.select(window=(1, 3, 2, 4))
    np.testing.assert_array_equal(part.pan.read(), pan[:, 2:6, 6:12])
    assert part.transform == moved(TURNED, 1, 2)


def test_places_differ_by_their_farthest_corner():
    """Pixels a fiftieth longer: ten of them are a fifth of a pixel off, forty four fifths."""
    for width, same in ((10, True), (40, False)):
        one, other = (
            Cube(data=np.zeros((1, 5, width)), transform=(size, 0, 7, 0, -10, 9), name="a") for size in (10.0, 10.2)
        )
        if same:
            require_same_place(one, other)
        else:
            with pytest.raises(InputError, match=r"a place 0\.784 pixels off"):
                require_same_place(one, other)


@pytest.mark.parametrize(
    ("step", "pixels"), [((5.0, 0.0), 0.5), ((0.0, 0.5), 0.5), ((0.0, 1.5), 1.5), ((8.0, 0.3), 0.8)]
)
@pytest.mark.parametrize("turn", [0.0, 0.6])
def test_places_of_long_pixels(step, pixels, turn):
    """Ten times as wide as high, turned or not: off by so many of their own columns or rows."""
    c, s = np.cos(turn), np.sin(turn)
    corner = c * step[0] - s * step[1], s * step[0] + c * step[1]
    image = Cube(data=np.ones((1, 4, 5)), transform=(10 * c, -s, 0.0, 10 * s, c, 0.0))
    other = image.replace(transform=(10 * c, -s, corner[0], 10 * s, c, corner[1]))
    if pixels <= 0.5:
        require_same_place(other, image)
        return
    with pytest.raises(InputError, match=f"a place {pixels:g} pixels off"):
        require_same_place(other, image)


def test_bands_are_the_same_within_half_of_their_distance():
    cube = Cube(data=np.zeros((3, 1, 1)), wavelength_nm=[500, 510, 520])
    require_same_bands(cube, cube.replace(wavelength_nm=[504, 514, 524]))
    with pytest.raises(InputError, match=r"band 1: found 510\.00, expected 517\.00"):
        require_same_bands(cube, cube.replace(wavelength_nm=[502, 517, 522]))


@pytest.mark.parametrize("factor", [-0.5, 2.0])
def test_statistics_are_of_the_scaled_values(factor):
    values = np.array([[[1.0, 2, 3, 10]]])
    told = Cube(data=values, scale_factor=factor).statistics()
    scaled = factor * values
    for name in ("min", "max", "mean", "std"):
        assert told[name][0] == pytest.approx(getattr(np, name)(scaled), rel=1e-12)


def test_what_a_cube_is_described_by():
    told = Cube(
        data=np.zeros((3, 1024, 1024), np.int16), wavelength_nm=[500, np.nan, 400], fwhm_nm=[9, np.nan, 7],
        transform=(4, 0, 0, 0, -3, 0), good=[1, 0, 1], pan=Cube(data=np.zeros((1, 3072, 3072), np.uint8)),
    ).describe()  # fmt: skip
    assert told["wavelength_nm"] == [400, 500]
    assert told["fwhm_nm"] == [7, 9]
    assert told["pixel_size"] == [4, 3]
    assert told["memory_mib"] == 6
    assert told["bad_bands"] == [1]
    assert told["pan"] == {"shape": [1, 3072, 3072], "ratio": 3}


def test_stored_numbers_of_a_scaled_cube():
    """A factor multiplies the offset too."""
    source = ScaledSource(ArraySource(np.array([[[1, 4]], [[-1, 2]]], np.int16)), [2.0, 3.0], [10.0, 20.0], -1)
    cube = Cube(data=source, scale_factor=0.5, nodata=np.nan)
    stored = cube.select(bands=[1]).stored()
    assert (stored.scale.tolist(), stored.offset.tolist(), stored.nodata) == ([1.5], [10.0], -1)
    np.testing.assert_array_equal(cube.physical().read(), [[[6, 9]], [[np.nan, 13]]])


def test_sixteen_bits_hold_a_result_that_leaves_the_range_of_its_origin():
    """By half of the range on both sides, at a step of the whole over 65534; and half a step is the error."""
    origin = Cube(data=np.array([[[0.0, 10.0]]]))
    result = packed(Cube(data=np.array([[[-4.99, 14.99, 0.123]]])), like=origin)
    np.testing.assert_allclose(result.read(), [[[-4.99, 14.99, 0.123]]], atol=1.01 * 10 / 65534)
    assert result.meta["rounding_error"] == pytest.approx(20 / 65534 / 2, rel=0.01)


def test_valid_ranges_in_other_numbers():
    """Physical values of 5 to 25 at a scale of -2 and an offset of 45 are the numbers from 10 to 20."""
    assert packed_range((5, 25), -2.0, 45.0) == (9.5, 20.5)
    assert unpacked_range((10, 20), -2.0, 45.0, physical=False) == (4, 26)
    assert unpacked_range((5, 25), -2.0, 45.0, physical=True) == (4, 26)


def test_valid_range_of_values_that_xarray_has_decoded():
    import xarray

    array = xarray.DataArray(np.array([[[4.0, 5, 15, 25, 26.5]]]), dims=("band", "y", "x"), name="cube")
    array.attrs["valid_range"] = np.array([10, 20], np.int16)
    array.encoding = {"scale_factor": -2.0, "add_offset": 45.0, "dtype": np.dtype(np.int16)}
    cube = Cube.from_xarray(array)
    np.testing.assert_array_equal(cube.valid(cube.read()), [[[True, True, True, True, False]]])


def test_coordinates_are_those_of_centres():
    cube = Cube(data=np.zeros((1, 2, 3)), transform=(10, 0, 100, 0, -20, 500))
    array = cube.to_xarray()
    assert array.x.values.tolist() == [105, 115, 125]
    assert array.y.values.tolist() == [490, 470]
    assert Cube.from_xarray(array).transform == cube.transform
    turned = cube.replace(transform=TURNED)
    assert Cube.from_xarray(turned.to_xarray()).transform == TURNED


@pytest.mark.parametrize(
    ("text", "exponents"),
    [
        ("W/m2/sr/nm", {"w": 1, "m": -2, "sr": -1, "nm": -1}), ("W / m-2", {"w": 1, "m": -2}),
        ("uW cm-2 / (sr nm-1)", {"uw": 1, "cm": -2, "sr": -1, "nm": -1}), ("m m", {"m": 2}), ("Percent", {"%": 1}),
    ],
)  # fmt: skip
def test_exponents_of_units(text, exponents):
    assert powers(text) == exponents


@given(st.integers(0, 10**6))
def test_sources_in_one_another_read_what_arrays_would(seed):
    """Windows, bands in any order, scales, holes and stacks, one upon the other as they come."""
    rng = np.random.default_rng(seed)
    array = rng.integers(-5, 6, (4, 9, 11)).astype(np.int16)
    source, expected = ArraySource(array), array.astype(float)
    for step in rng.permutation(["scale", "view", "mask", "stack", "view", "view"]):
        bands, height, width = source.shape
        if step == "view":
            chosen = rng.integers(0, bands, rng.integers(1, 6))
            top, left = rng.integers(0, height), rng.integers(0, width)
            rows = slice(int(top), int(rng.integers(top, height) + 1))
            columns = slice(int(left), int(rng.integers(left, width) + 1))
            source, expected = ViewSource(source, chosen, rows, columns), expected[chosen][:, rows, columns]
        elif step == "scale":
            scale, offset = rng.uniform(0.5, 2, bands), rng.uniform(-3, 3, bands)
            source = ScaledSource(source, scale, offset, nodata=2)
            holes = expected == 2
            expected = np.where(holes, np.nan, expected * scale[:, None, None] + offset[:, None, None])
        elif step == "mask":
            gone = rng.random(bands) < 0.3
            source = MaskedSource(source, gone)
            expected = np.where(gone[:, None, None], np.nan, expected)
        else:
            source = StackedSource([source, ArraySource(expected + 1)])
            expected = np.concatenate([expected, expected + 1])
    bands, height, width = source.shape
    assert expected.shape == source.shape
    chosen = rng.integers(0, bands, 5)
    rows, columns = slice(height // 2, height), slice(0, width - width // 3)
    np.testing.assert_allclose(
        source.read(chosen, rows, columns), expected[chosen][:, rows, columns], rtol=1e-5, atol=1e-5
    )


@given(st.integers(0, 10**6))
def test_numbers_as_a_file_holds_them_are_the_values(seed):
    """Of parts of parts, in the order of their bands, times the cube's own factor; holes stay holes."""
    rng = np.random.default_rng(seed)
    array = rng.integers(-5, 6, (4, 9, 11)).astype(np.int16)
    scale, offset = rng.uniform(0.5, 2, 4), rng.uniform(-3, 3, 4)
    source = ScaledSource(ArraySource(array), scale, offset, nodata=-5)
    for _ in range(2):
        chosen = rng.integers(0, source.shape[0], 3)
        source = ViewSource(source, chosen, slice(1, source.shape[1]), slice(0, source.shape[2] - 1))
    stored = stored_numbers(source, 0.1, None)
    numbers = np.concatenate([part for *_, part in stored.blocks(2)], axis=1)
    assert numbers.dtype == np.int16
    values = np.where(
        numbers == stored.nodata, np.nan, stored.offset[:, None, None] + stored.scale[:, None, None] * numbers
    )
    np.testing.assert_allclose(values, 0.1 * source.read(np.arange(3), slice(0, 7), slice(0, 9)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [0.5, -2.0])
def test_statistics_of_blocks_are_those_of_all_values(factor):
    """Far from zero, in blocks of any size, some without any valid value, one band without any at all."""
    rng = np.random.default_rng(3)
    values = (1e6 + rng.standard_normal((3, 40, 30)) * [[[1]], [[30]], [[1]]]).astype(np.float32)
    valid = rng.random(values.shape) < 0.7
    valid[0, :10], valid[2] = False, False
    told = BandStatistics(3)
    for rows in (slice(0, 7), slice(7, 8), slice(8, 40)):
        told.add(values[:, rows], valid[:, rows])
    found = told.scaled(factor)
    assert found["n_valid"].tolist() == valid.sum((1, 2)).tolist()
    for band in (0, 1):
        own = factor * values[band][valid[band]].astype(float)
        for name, wanted in (("min", own.min()), ("max", own.max()), ("mean", own.mean()), ("std", own.std())):
            assert found[name][band] == pytest.approx(wanted, rel=1e-9 if name != "std" else 1e-6)
    assert all(np.isnan(found[name][2]) for name in ("min", "max", "mean", "std"))
