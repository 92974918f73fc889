"""Spectral responses and resampling."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube
from hsitools.sensor import GaussianResponse, TableResponse, box_response, resample
from hsitools.sensor.presets import from_table

WAVELENGTH = np.linspace(400, 1000, 601)


@pytest.fixture(params=["gaussian", "table", "box", "narrow"])
def response(request):
    if request.param == "gaussian":
        return GaussianResponse(centre_nm=np.linspace(420, 980, 40), width_nm=np.linspace(5, 30, 40))
    if request.param == "narrow":
        return GaussianResponse(centre_nm=np.array([500.3, 700.7]), width_nm=np.array([0.01, 0.01]))
    if request.param == "box":
        return box_response(450, 700)
    table = np.linspace(380, 1020, 200)
    peaks = np.exp(-0.5 * ((table - np.array([[450], [640], [900]])) / np.array([[10], [25], [40]])) ** 2)
    return TableResponse(table_nm=table, response=7.0 * peaks)


def test_rows_are_weighted_means(response):
    matrix = response.matrix(WAVELENGTH)
    assert matrix.shape == (response.n_bands, 601)
    np.testing.assert_allclose(matrix.sum(1), 1)
    assert (matrix >= -1e-15).all()
    # a straight spectrum is seen at the response's centroid
    whole = response.coverage(WAVELENGTH) > 0.9999
    assert whole.sum() >= response.n_bands - 3
    seen, expected = matrix @ (2 * WAVELENGTH + 3), 2 * response.wavelength_nm + 3
    np.testing.assert_allclose(seen[whole], expected[whole], rtol=2e-4)


def test_adjoint(response):
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((4, 601)), rng.standard_normal((4, response.n_bands))
    left, right = (response.forward(x, WAVELENGTH) * z).sum(), (x * response.adjoint(z, WAVELENGTH)).sum()
    assert left == pytest.approx(right, rel=1e-10)


def test_against_fine_quadrature():
    centre, width = np.array([555.0]), np.array([20.0])
    spectrum = lambda at: 1 + np.sin(at / 15)  # noqa: E731
    fine = np.linspace(400, 1000, 200_001)
    weight = np.exp(-4 * np.log(2) * ((fine - 555) / 20) ** 2)
    expected = (weight * spectrum(fine)).sum() / weight.sum()
    matrix = GaussianResponse(centre_nm=centre, width_nm=width).matrix(WAVELENGTH)
    # the spectrum is straight between its samples: h²/8 of its curvature
    assert (matrix @ spectrum(WAVELENGTH))[0] == pytest.approx(expected, abs=1 / 8 / 15**2)


@given(st.permutations(range(30)))
def test_order_of_wavelengths_does_not_matter(order):
    """AVIRIS's wavelengths do not ascend."""
    order = np.array(order)
    nodes = np.linspace(400, 1000, 30)
    response = GaussianResponse(centre_nm=np.array([500.0, 800.0]), width_nm=np.array([30.0, 50.0]))
    np.testing.assert_allclose(response.matrix(nodes[order]), response.matrix(nodes)[:, order], atol=1e-12)


def test_coverage():
    response = GaussianResponse(centre_nm=np.array([380.0, 400.0, 700.0]), width_nm=np.array([20.0, 20.0, 20.0]))
    np.testing.assert_allclose(response.coverage(WAVELENGTH), [0.009, 0.5, 1], atol=0.01)
    with pytest.raises(InputError, match="1 of 3 lie outside"):
        response.matrix(WAVELENGTH)


def test_what_lies_in_a_gap_is_not_covered():
    """Water vapour that a scene leaves out is no scene; a few bands that lack are bridged."""
    centre = np.array([1000.0, 1325.0, 1390.0, 1455.0, 2000.0])
    response = GaussianResponse(centre_nm=centre, width_nm=np.full(5, 10.0))
    nodes = np.concatenate([np.arange(420, 1321, 10.0), np.arange(1461, 2450, 10.0)])
    np.testing.assert_array_equal(response.coverage(nodes) > 0.49, [True, False, False, False, True])
    four = np.delete(np.arange(420, 2450, 10.0), [95, 96, 97])
    # sparse samples are no gaps, nor is where a detector of other spacing begins
    two = np.concatenate([np.arange(400, 1000, 2.0), np.arange(1004, 2450, 12.0)])
    for nodes in (four, np.linspace(900, 2100, 9), np.array([900.0, 2100.0]), two):
        np.testing.assert_allclose(response.coverage(nodes), 1, atol=1e-6)
    # of a wide band the part in the gap counts as none
    wide = GaussianResponse(centre_nm=np.array([1400.0]), width_nm=np.array([400.0]))
    nodes = np.concatenate([np.arange(420, 1321, 10.0), np.arange(1480, 2450, 10.0)])
    assert wide.coverage(nodes)[0] == pytest.approx(1 - 0.362, abs=0.01)


def test_resample_keeps_labels_and_uses_good_bands():
    rng = np.random.default_rng(0)
    data = rng.random((60, 5, 6)).astype(np.float32)
    good = np.ones(60, dtype=bool)
    good[20:25] = False
    data[20:25] = 1e6
    cube = Cube(data=data, wavelength_nm=np.linspace(400, 1000, 60), good=good, crs="EPSG:32633", name="x",
                transform=(30, 0, 0, 0, -30, 0), units="1")  # fmt: skip
    response = GaussianResponse(centre_nm=np.linspace(450, 950, 11), width_nm=np.full(11, 25.0))
    seen = resample(cube, response)
    assert seen.crs == cube.crs
    assert seen.transform == cube.transform
    np.testing.assert_array_equal(seen.wavelength_nm, response.centre_nm)
    assert np.abs(seen.read()).max() < 2
    window = seen.select(bands=[3, 1], window=(1, 4, 2, 5)).read()
    # a product's rounding depends on its shape
    np.testing.assert_allclose(window, seen.read()[[3, 1], 1:4, 2:5], rtol=1e-6)


def test_resample_marks_nodata():
    data = np.full((30, 3, 3), 100, dtype=np.int16)
    data[:, 0, 0] = -32768
    cube = Cube(data=data, wavelength_nm=np.linspace(400, 1000, 30), nodata=-32768, scale_factor=1e-4)
    seen = resample(cube, GaussianResponse(centre_nm=np.array([600.0]), width_nm=np.array([20.0]))).read()
    assert np.isnan(seen[0, 0, 0])
    np.testing.assert_allclose(seen[0, 1:], 0.01, rtol=1e-6)


def test_real_filter_curves(shared, tmp_path):
    """Measured Fabry-Perot filters of a mosaic camera see a real scene."""
    with h5py.File(shared / "data" / "instruments" / "calib_lab_cameras.h5") as file:
        curves = file["imec_4x4_response"][()]
    response = TableResponse(table_nm=np.linspace(400, 1000, 601), response=curves)
    scene = open_cube(shared / "data" / "scenes" / "jasper_ridge.h5")
    seen = resample(scene, response).read()
    assert seen.shape == (16, 100, 100)
    raw = scene.select(wavelength=(400, 1000)).read().astype(float)
    assert raw.min() <= seen.min() <= seen.max() <= raw.max()
    table = np.column_stack([np.linspace(400, 1000, 601), curves.T])
    np.savetxt(
        tmp_path / "filters.csv", table, delimiter=",", header="nm," + ",".join(map(str, range(16))), comments=""
    )
    np.testing.assert_allclose(from_table(tmp_path / "filters.csv").response.response, response.response, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: GaussianResponse(centre_nm=np.array([500.0]), width_nm=np.array([0.0])),
            "width_nm: expected positive",
        ),
        (lambda: GaussianResponse(centre_nm=np.array([500.0]), width_nm=np.array([1.0, 2])), "width_nm: found 2"),
        (
            lambda: TableResponse(table_nm=np.arange(3.0), response=np.ones((2, 3))),
            "table_nm: found 0, expected positive",
        ),
        (lambda: TableResponse(table_nm=np.arange(1.0, 4), response=np.ones((2, 4))), "response: found shape"),
        (lambda: TableResponse(table_nm=np.arange(1.0, 4), response=-np.ones((1, 3))), "no positive value"),
        (lambda: TableResponse(table_nm=np.arange(1.0, 4), response=np.full((1, 3), np.nan)), "not finite"),
        (lambda: resample(Cube(data=np.ones((2, 3, 3))), box_response(400, 700)), "wavelength_nm: not known"),
        (lambda: from_table("/nowhere.csv"), "/nowhere.csv: found no such file"),
    ],
)
def test_errors_say_what(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_bad_table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("one\ntwo\n")
    with pytest.raises(FormatError, match=r"table\.csv"):
        from_table(path)


@pytest.mark.parametrize("order", [1, -1])
def test_a_sample_missing_in_a_pixel_is_as_a_band_missing_in_all(order):
    """A spectrum is straight across it. The mean over what is known was .6 % off where the spectrum only slopes."""
    rng = np.random.default_rng(0)
    wavelength = np.sort(rng.uniform(400, 1000, 60))[::order]
    spectra = (np.sin(wavelength / 40) + 2)[:, None, None] * rng.uniform(1, 2, (1, 3, 4))
    response = GaussianResponse(centre_nm=np.array([700.0, 500, 640, 900]), width_nm=np.array([60.0, 40, 90, 60]))
    for lost in ([30], [28, 29, 30], [10, 40], [0, 1, 59]):
        missing = np.ones(60, dtype=bool)
        missing[lost] = False
        expected = resample(Cube(data=spectra, wavelength_nm=wavelength, good=missing), response).read()
        holed = spectra.copy()
        holed[lost, 1, 2] = np.nan
        found = resample(Cube(data=holed, wavelength_nm=wavelength), response).read()
        inner = [0, 1, 2] if 0 in lost else slice(None)
        np.testing.assert_allclose(found[inner, 1, 2], expected[inner, 1, 2], rtol=1e-6)
        whole = resample(Cube(data=spectra, wavelength_nm=wavelength), response).read()
        np.testing.assert_allclose(found[:, 0], whole[:, 0], rtol=1e-9)
    # most of a band missing: no value
    holed[:] = spectra
    holed[np.abs(wavelength - 500) < 40, 1, 2] = np.nan
    found = resample(Cube(data=holed, wavelength_nm=wavelength), response).read()
    assert np.isnan(found[1, 1, 2])
    assert np.isfinite(found[[0, 2, 3], 1, 2]).all()


def test_bands_between_samples_far_apart_are_said(caplog):
    """Narrow bands of a scene of a few wide ones, or across water vapour that was taken away, are straight lines."""
    wavelength = np.r_[np.arange(1000.0, 1350, 10), np.arange(1450.0, 1600, 10)]
    cube = Cube(data=np.ones((len(wavelength), 2, 2)), wavelength_nm=wavelength, name="scene")
    narrow = GaussianResponse(centre_nm=np.array([1200.0, 1400.0, 1500.0]), width_nm=np.full(3, 12.0))
    resample(cube, narrow)
    assert "scene: found 1 band between samples up to 110 nm apart" in caplog.text
    assert "first: 1400.0 nm" in caplog.text
    caplog.clear()
    # a wide band sees both sides, one at a sample that sample
    resample(cube, GaussianResponse(centre_nm=np.array([1400.0, 1341.0]), width_nm=np.array([60.0, 12.0])))
    assert not caplog.text
