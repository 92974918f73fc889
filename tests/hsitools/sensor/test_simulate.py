"""What a sensor makes of a scene on disk: units, scales, what is missing."""

import numpy as np
import pytest
import torch

from hsitools.errors import InputError
from hsitools.io import open_cube
from hsitools.scenes import scene
from hsitools.sensor import (
    preset,
)
from hsitools.sensor.exposure import ROWS
from hsitools.sensor.simulate import as_reflectance, simulate


def same_draw(one, other):
    """Equal but for rounding; this may move a photon of a few samples in a thousand."""
    return np.isclose(one, other, rtol=1e-5, atol=1e-6).mean() > 0.999


@pytest.fixture(scope="module")
def view():
    return scene((72, 66), seed=3).load()


def test_long_scene_has_no_seams():
    """A scene of several blocks of rows is blurred as if it were one piece."""
    sensor = preset("prisma").select(np.arange(10, 14)).replace(noise=None, pan_noise=None)
    long = scene((6 * (2 * ROWS + 5), 30), seed=1).load()
    seen = sensor.forward(long)
    operator = sensor.on(long.wavelength_nm, long.shape[1:])
    np.testing.assert_allclose(seen.data, operator.forward(torch.as_tensor(long.data)), atol=2e-6)
    np.testing.assert_allclose(seen.pan.data, operator.pan_forward(torch.as_tensor(long.data)), atol=2e-6)


def test_nodata_stays_nodata(view):
    holed = view.read().copy()
    holed[:, 30:36, 6:12] = np.nan
    sensor = preset("enmap").within(view.wavelength_nm)
    seen = sensor.observe(view.replace(data=holed), np.random.default_rng(0))
    assert np.isnan(seen.data[:, 30:36, 6:12]).all()
    assert np.isfinite(seen.data[:, :20]).all()


def test_missing_data_does_not_spread(view):
    """Neither over PAN nor, where one band has no data, over the others."""
    sensor = preset("prisma").within(view.wavelength_nm)
    clean, holed = sensor.forward(view), view.read().copy()
    holed[:, 39:42, 39:42] = np.nan
    seen = sensor.forward(view.replace(data=holed))
    assert np.isfinite(seen.data).all()
    assert np.isnan(seen.pan.data[0, 39:42, 39:42]).sum() == np.isnan(seen.pan.data).sum() >= 5
    far = np.hypot(*np.ogrid[-40:32, -40:26]) > 8
    np.testing.assert_allclose(seen.pan.data[0][far], clean.pan.data[0][far], rtol=1e-5)
    holed = view.read().copy()
    holed[100] = np.nan
    seen = sensor.forward(view.replace(data=holed))
    lost = np.isnan(seen.data).any((1, 2))
    assert 1 <= lost.sum() <= 2
    near = np.abs(sensor.response.wavelength_nm - view.wavelength_nm[100]) < 25
    assert not (lost & ~near).any()
    np.testing.assert_allclose(seen.data[~near], clean.data[~near], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(seen.pan.data, clean.pan.data, rtol=1e-6)


def test_transform_of_the_coarse_pixels(view):
    mapped = view.replace(crs="EPSG:32633", transform=(5.0, 0, 1000.0, 0, -5.0, 2000.0))
    sensor = preset("prisma").select([20, 21])
    assert sensor.forward(mapped).transform == (30.0, 0, 1000.0, 0, -30.0, 2000.0)
    shifted = sensor.replace(offset=3.0).forward(mapped)
    # the first sample lies half a fine pixel further
    assert shifted.transform == (30.0, 0, 1002.5, 0, -30.0, 1997.5)
    assert shifted.crs == "EPSG:32633"


def test_simulate_real_scene(shared, tmp_path):
    source = open_cube(shared / "data" / "scenes" / "enmap_potsdam_b.h5")
    said = simulate(source, preset("prisma"), tmp_path / "seen.h5", seed=2)
    seen = open_cube(tmp_path / "seen.h5")
    assert seen.meta["sensor_hash"] == preset("prisma").fingerprint()
    assert seen.shape[1:] == (10, 16)
    assert seen.pan.shape == (1, 60, 96)
    assert np.isfinite(seen.read()).all()
    assert any("left out" in line for line in said)
    # the scene's own scale makes it reflectance
    assert 0.02 < np.median(seen.read()) < 0.5
    simulate(source, preset("prisma"), tmp_path / "again.h5", seed=2)
    assert same_draw(open_cube(tmp_path / "again.h5").read(), seen.read())


def test_nothing_known_is_said(tmp_path):
    view = scene((36, 36)).load()
    holed = view.data.copy()
    holed[:, :18] = np.nan
    said = simulate(view.replace(data=holed), preset("prisma"), tmp_path / "a.h5")
    assert any("50.0% of the values are NaN" in line for line in said)
    for wrong, message in (({"seed": -1}, "seed: found -1"), ({"scale": 0.0}, "scale: found 0")):
        with pytest.raises(InputError, match=message):
            simulate(view, preset("prisma"), tmp_path / "b.h5", **wrong)


def test_dn_scene_is_scaled_and_said(tmp_path):
    view = scene((36, 36)).load()
    numbers = view.replace(data=np.rint(view.data * 1e4).astype(np.int16))
    said = simulate(numbers, preset("prisma"), tmp_path / "a.h5", noise=False)
    assert any("reflectance × 10⁴" in line for line in said)
    simulate(view, preset("prisma"), tmp_path / "b.h5", noise=False)
    np.testing.assert_allclose(open_cube(tmp_path / "a.h5").read(), open_cube(tmp_path / "b.h5").read(), atol=1e-4)
    with pytest.raises(InputError, match="units: found values up to"):
        simulate(view.replace(data=view.data * 1e9), preset("prisma"), tmp_path / "c.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


@pytest.mark.parametrize(
    ("factor", "units", "scale", "said"),
    [
        (1, "1", None, None), (1, "", None, "taken as reflectance: the file tells no units"), (100, "%", 0.01, None),
        (1e4, "", 1e-4, "taken as reflectance × 10⁴: the file tells no units"),
    ],
)  # fmt: skip
def test_units_come_from_the_file(factor, units, scale, said):
    view = scene((24, 24), seed=1).load()
    found, notes = as_reflectance(view.replace(data=view.data * factor, units=units))
    assert found.scale_factor == scale
    np.testing.assert_allclose(found.physical().read(), view.data, rtol=1e-5)
    assert (notes == []) if said is None else (len(notes) == 1 and said in notes[0])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: data * 100, "found values up to .*: percent, counts, or reflectance × 10⁴"),
        (lambda data: np.where(data == data.max(), 6.6e7, data * 1e4), "found values up to 6.6e"),
        (lambda data: np.where(data == data.max(), -9999, data * 1e4), "down to -9999"),
    ],
)
def test_numbers_that_cannot_be_told_are_refused(change, error):
    view = scene((24, 24), seed=1).load()
    with pytest.raises(InputError, match=error) as raised:
        as_reflectance(view.replace(data=change(view.data), units=""))
    assert "--scale" in str(raised.value)
    with pytest.raises(InputError, match="units: found 'DN', expected reflectance"):
        as_reflectance(view.replace(units="DN"))


def test_values_off_the_centre_and_nodata_count_as_they_should():
    view = scene((200, 12), seed=1).load()
    data = view.data * 1e4
    data[:, :3] = -9999
    marked = view.replace(data=data, units="", nodata=-9999.0)
    found, notes = as_reflectance(marked)
    assert found.scale_factor == 1e-4
    assert len(notes) == 1
    # what is bright lies at the edge only
    edge = view.data.copy()
    edge[:, -2:] *= 1e4
    assert as_reflectance(view.replace(data=edge, units=""))[0].scale_factor == 1e-4
    with pytest.raises(InputError, match="found no measurement"):
        as_reflectance(view.replace(data=np.full_like(data, -9999), nodata=-9999.0))
