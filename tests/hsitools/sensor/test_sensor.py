"""The sensor as a whole: presets, observation, operator, file; the multi-aperture camera."""

import dataclasses

import h5py
import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube
from hsitools.scenes import scene
from hsitools.sensor import (
    EMIT_DRIFT,
    PRESETS,
    Defects,
    DetectorNoise,
    FabryPerotResponse,
    GaussianResponse,
    MultiApertureCamera,
    Sensor,
    SubImageLayout,
    from_characterization,
    preset,
)
from hsitools.sensor.camera_operator import CameraOperator
from hsitools.sensor.polynomial import Band
from hsitools.sensor.presets import fabry_perot_sensor
from hsitools.sensor.simulate import simulate
from hsitools.sensor.transmittance import TransmittanceModel

PLAIN = [name for name in PRESETS if name != "imspoc-uv-2"]


def same_draw(one, other):
    """Equal but for rounding; this may move a photon of a few samples in a thousand."""
    return np.isclose(one, other, rtol=1e-5, atol=1e-6).mean() > 0.999


@pytest.fixture(scope="module")
def view():
    return scene((72, 66), seed=3).load()


def interferometers(n=12):
    """A Fabry-Perot response without a capture behind it."""
    model = TransmittanceModel(degree_gain=1, degree_reflectivity=1)
    band = Band(low=1.0, high=2.5)
    theta = np.zeros((n, model.n_parameters))
    theta[:, 0] = 0.8
    theta[:, model.slices["reflectivity"].start] = 0.35
    phase = model.slices["phase"].start
    opd = 1.0 + 0.7 * np.arange(n)
    theta[:, phase], theta[:, phase + 1] = 2 * np.pi * opd * band.centre, 2 * np.pi * opd * band.half_width
    line = np.linspace(1.0, 2.5, 40)
    return FabryPerotResponse(
        model=model, band=band, theta=theta, gain_scale=np.full(n, 1.1), wavenumber=line,
        flat=np.abs(np.sin(np.arange(n)))[:, None] + 0.5 + 0.2 * line, curve=np.ones(40),
    )  # fmt: skip


@pytest.mark.parametrize("name", PLAIN)
def test_preset_observes(name, view):
    sensor = preset(name).within(view.wavelength_nm)
    seen = sensor.observe(view, np.random.default_rng(0))
    assert seen.shape == (sensor.n_bands, 72 // sensor.ratio, 66 // sensor.ratio)
    np.testing.assert_array_equal(seen.wavelength_nm, sensor.response.wavelength_nm)
    assert np.isfinite(seen.data).all()
    assert (seen.pan is not None) == (sensor.pan is not None)
    if seen.pan is not None:
        assert seen.pan.shape == (1, 72, 66)
        assert seen.ratio == sensor.ratio
    clean = sensor.forward(view)
    expected = np.sqrt(sensor.variance(clean.data))
    difference = seen.data - clean.data
    if sensor.stripes is None and sensor.defects is None:
        assert np.sqrt(np.mean((difference / expected) ** 2)) == pytest.approx(1, abs=0.03)
    else:
        assert np.median(np.abs(difference / expected)) > 0.6


@pytest.mark.parametrize("name", PLAIN)
def test_preset_says_where_it_comes_from(name):
    sensor = preset(name)
    assert len(sensor.source) > 20
    assert sensor.assumptions
    assert sensor.describe()["hash"] == sensor.fingerprint()


def test_prisma_reaches_its_specification():
    sensor = preset("prisma")
    snr = 0.3 / np.sqrt(sensor.variance(np.full((sensor.n_bands, 1, 1), 0.3)).ravel())
    centre = sensor.response.wavelength_nm
    for wavelength, stated in ((650, 600), (1550, 400), (2100, 200)):
        assert snr[np.argmin(np.abs(centre - wavelength))] == pytest.approx(stated, rel=0.08)


@pytest.mark.parametrize("name", PLAIN)
def test_operator_adjoint_and_forward(name, view):
    sensor = preset(name).within(view.wavelength_nm)
    shape = (72, 66)
    operator = sensor.on(view.wavelength_nm, shape)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(view.n_bands, *shape, dtype=torch.float64, generator=generator)
    y = operator.forward(x)
    z = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    assert abs(float((y * z).sum() - (x * operator.adjoint(z)).sum())) < 1e-10 * float(y.norm() * z.norm())
    np.testing.assert_allclose(sensor.adjoint(z, view.wavelength_nm, shape), operator.adjoint(z))
    light = torch.as_tensor(view.data).double()
    np.testing.assert_allclose(operator.forward(light), sensor.forward(view).data, atol=2e-6)
    if sensor.pan is not None:
        y = operator.pan_forward(x)
        z = torch.randn(y.shape, dtype=torch.float64, generator=generator)
        assert abs(float((y * z).sum() - (x * operator.pan_adjoint(z)).sum())) < 1e-10 * float(y.norm() * z.norm())
        np.testing.assert_allclose(operator.pan_forward(light), sensor.forward(view).pan.data, atol=1e-6)
    else:
        with pytest.raises(InputError, match="pan: missing"):
            operator.pan_forward(x)


@pytest.mark.portable
def test_same_seed_same_draw_and_in_pieces(view):
    sensor = (
        preset("hyperion-ali").within(view.wavelength_nm).replace(defects=Defects(dead=0.01, hot=0.01, impulse=0.01))
    )
    first, second = (sensor.observe(view, np.random.default_rng(5)) for _ in range(2))
    assert same_draw(first.data, second.data)
    assert same_draw(first.pan.data, second.pan.data)
    other = sensor.observe(view, np.random.default_rng(6))
    assert not same_draw(first.data, other.data)


@pytest.mark.parametrize("name", PLAIN)
def test_file_keeps_everything(name, tmp_path, view):
    sensor = preset(name).replace(stripes=EMIT_DRIFT, offset=1.0 if preset(name).ratio > 1 else None)
    sensor.save(tmp_path / "sensor.h5")
    again = Sensor.load(tmp_path / "sensor.h5")
    assert again.fingerprint() == sensor.fingerprint()
    assert again.describe() == sensor.describe()
    for field in dataclasses.fields(Sensor):
        assert (getattr(again, field.name) is None) == (getattr(sensor, field.name) is None), field.name
    a, b = (s.within(view.wavelength_nm).observe(view, np.random.default_rng(0)) for s in (sensor, again))
    assert same_draw(a.data, b.data)


def test_fabry_perot_sensor_file(tmp_path):
    response = interferometers()
    layout = SubImageLayout(
        frame_shape=(100, 130), grid=(3, 4), pitch=(30.0, 30.0), origin=(18.0, 20.0), order="row-snake"
    )
    sensor = Sensor(response=response, layout=layout, name="bench", units="counts")
    sensor.save(tmp_path / "fp.h5")
    again = Sensor.load(tmp_path / "fp.h5")
    assert again.layout == layout
    wavelength = np.linspace(420, 980, 30)
    np.testing.assert_allclose(again.response.matrix(wavelength), response.matrix(wavelength), rtol=1e-12)
    view = scene((9, 8), wavelength_nm=wavelength)
    np.testing.assert_allclose(
        again.forward(view).data, np.einsum("kw,wyx->kyx", response.matrix(wavelength), view.read()), rtol=1e-5
    )


@pytest.mark.parametrize("half_field", [0.0, 7.0])
def test_frame_and_back(half_field):
    response = interferometers()
    layout = SubImageLayout(
        frame_shape=(100, 130), grid=(3, 4), pitch=(30.5, 30.2), origin=(18.3, 20.1), order="column"
    )
    camera = MultiApertureCamera(response=response, layout=layout, size=25, half_field_deg=half_field, vignetting=0.4)
    view = scene((25, 25), wavelength_nm=np.linspace(420, 980, 50), seed=1)
    frame = camera.frame(view, noise=False)
    assert frame.shape == (100, 130)
    back = camera.interferogram_cube(frame)
    light, cosine = view.read().astype(float), camera.field()[0]
    # each pixel's spectrum is straight between its samples: the band's mean, on a fine grid
    fine = np.linspace(420, 980, 8001)
    r = response.sampled(fine).reflectivity(response.theta)
    assert np.ptp(r) < 1e-9
    flat = np.stack([np.interp(1000 / fine, response.wavenumber, row) for row in response.flat])
    for y, x in ((0, 0), (3, 20), (12, 12), (24, 11)):
        delta = 2 * np.pi * (1000 / fine) * response.opd_um[:, None] * cosine[y, x]
        airy = (1 - r**2) / ((1 - r) ** 2 + 4 * r * np.sin(delta / 2) ** 2)
        seen = np.interp(fine, view.wavelength_nm, light[:, y, x]) * flat * 1.1 * 0.8 * airy
        np.testing.assert_allclose(back.read()[:, y, x], np.trapezoid(seen, fine) / 600, rtol=1e-5)
    on_axis = np.einsum("kw,wyx->kyx", response.matrix(view.wavelength_nm), light)
    assert (np.abs(back.read() / on_axis - 1).max() > 1e-3) == bool(half_field)
    assert (frame == 0).any()


def test_many_angles_are_interpolated():
    """Rings far more than angles at which the response is computed: still each pixel's own response."""
    layout = SubImageLayout(frame_shape=(200, 260), grid=(3, 4), pitch=(62.0, 62.0), origin=(32.0, 32.0))
    camera = MultiApertureCamera(response=interferometers(), layout=layout, size=60, half_field_deg=6.0)
    rng, wavelength = np.random.default_rng(0), np.linspace(420, 980, 30)
    light = rng.random((30, 60, 60))
    seen = camera.interferograms(Cube(data=light, wavelength_nm=wavelength))
    for y, x in ((0, 0), (11, 50), (30, 29), (7, 31)):
        response = camera.response.off_axis(float(camera.field()[0][y, x]))
        np.testing.assert_allclose(seen[:, y, x], response.matrix(wavelength) @ light[:, y, x], rtol=1e-6)
    image = rng.standard_normal(seen.shape)
    frame = camera.frame(Cube(data=light, wavelength_nm=wavelength), noise=False) * 0
    rows, columns = camera._places()
    frame[rows, columns] = image
    back = camera.adjoint(frame, wavelength)
    assert float((seen * image).sum()) == pytest.approx(float((light * back).sum()), rel=1e-9)


def test_camera_operator_is_the_camera_in_batches():
    layout = SubImageLayout(frame_shape=(100, 130), grid=(3, 4), pitch=(30.0, 30.0), origin=(18.0, 20.0))
    camera = MultiApertureCamera(response=interferometers(), layout=layout, size=7, half_field_deg=6.0, vignetting=0.4)
    rng, wavelength = np.random.default_rng(0), np.linspace(420, 980, 20)
    light = torch.as_tensor(rng.random((2, 20, 7, 7)))
    whole = np.stack([camera.interferograms(Cube(data=part.numpy(), wavelength_nm=wavelength)) for part in light])
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        operator = CameraOperator(camera, wavelength, dtype=dtype)
        seen = operator.forward(light)
        assert seen.dtype == dtype
        np.testing.assert_allclose(seen.numpy(), whole, rtol=0, atol=tolerance * whole.max())
    operator = camera.on(wavelength)
    image = torch.as_tensor(rng.standard_normal(whole.shape))
    inner = float((operator.forward(light) * image).sum())
    assert inner == pytest.approx(float((light * operator.adjoint(image)).sum()), rel=1e-10)
    with pytest.raises(InputError, match=r"wavelengths: found shape \(2, 19, 7, 7\), expected"):
        operator.forward(light[:, 1:])
    with pytest.raises(InputError, match="device: found 'nowhere'"):
        camera.on(wavelength, "nowhere")


@pytest.mark.parametrize("size", [8, 25])
def test_frame_adjoint(size):
    layout = SubImageLayout(frame_shape=(100, 130), grid=(3, 4), pitch=(30.5, 30.2), origin=(18.3, 20.1))
    camera = MultiApertureCamera(
        response=interferometers(), layout=layout, size=size, half_field_deg=6.0, vignetting=0.4
    )
    rng, wavelength = np.random.default_rng(0), np.linspace(420, 980, 30)
    x, z = rng.standard_normal((30, size, size)), rng.standard_normal(layout.frame_shape)
    y = camera.frame(Cube(data=x, wavelength_nm=wavelength), noise=False)
    inner = float((y * z).sum() - (x * camera.adjoint(z, wavelength)).sum())
    assert abs(inner) < 1e-10 * float(np.linalg.norm(y) * np.linalg.norm(z))
    with pytest.raises(InputError, match="frame: found shape"):
        camera.adjoint(z[1:], wavelength)


def test_frame_noise_and_vignetting():
    layout = SubImageLayout(frame_shape=(100, 130), grid=(3, 4), pitch=(30.0, 30.0), origin=(18.0, 20.0))
    noise = DetectorNoise(electrons_per_unit=100.0, read_noise=10.0)
    camera = MultiApertureCamera(response=interferometers(), layout=layout, size=20, vignetting=0.3, noise=noise)
    view = scene((20, 20), wavelength_nm=np.linspace(420, 980, 50))
    clean, noisy = camera.frame(view, noise=False), camera.frame(view, np.random.default_rng(0))
    dark = clean == 0
    assert np.std(noisy[dark]) == pytest.approx(0.1, rel=0.05)
    pull = (noisy - clean)[~dark] / np.sqrt(noise.variance(clean[~dark]))
    assert np.std(pull) == pytest.approx(1, abs=0.05)
    assert not camera.expose(view, np.random.default_rng(0))[1].any()
    full = np.quantile(clean, 0.95)
    low = dataclasses.replace(camera, noise=DetectorNoise(electrons_per_unit=1e6, full_well=1e6 * full))
    frame, saturated = low.expose(view, np.random.default_rng(0))
    assert saturated.mean() == pytest.approx(0.05, abs=0.01)
    np.testing.assert_allclose(frame[saturated], full, rtol=1e-6)
    with pytest.raises(InputError, match="read_noise: found 2 values, expected one for all of the frame"):
        dataclasses.replace(camera, noise=DetectorNoise(electrons_per_unit=1.0, read_noise=[1.0, 2.0]))
    plain = camera.interferogram_cube(clean, flatten=False).read()
    np.testing.assert_allclose(plain, camera.interferogram_cube(clean).read() * camera.field()[1], rtol=1e-12)


def test_real_instrument_round_trip(shared, tmp_path):
    """Captures of imspoc_uv_2 → characterization → sensor → frame → interferograms = the direct product."""
    from calibration.captures.capture import open_capture
    from calibration.pipeline import characterize

    folder = shared / "data" / "captures" / "imspoc_uv_2"
    capture = open_capture(folder)
    result = characterize(capture, TransmittanceModel(degree_gain=3, degree_reflectivity=3))
    result.save(tmp_path / "uv2.h5")
    sensor = from_characterization(tmp_path / "uv2.h5")
    assert sensor.layout is not None
    assert preset("imspoc-uv-2", characterization=tmp_path / "uv2.h5").name == "ImSPOC-UV-2"
    assert result.sensor().layout == sensor.layout
    camera = MultiApertureCamera.of(sensor, size=16, half_field_deg=5.0, vignetting=0.2)
    wavelength = np.linspace(360, 990, 60)
    view = scene((16, 16), wavelength_nm=wavelength)
    back = camera.interferogram_cube(camera.frame(view, noise=False)).read()
    light, cosine = view.read().astype(float), camera.field()[0]
    for y, x in ((0, 0), (7, 8), (15, 3)):
        direct = result.response.off_axis(float(cosine[y, x])).matrix(wavelength) @ light[:, y, x]
        np.testing.assert_allclose(back[:, y, x], direct, rtol=1e-6)


def test_lost_interferometers_see_nothing():
    response = interferometers()
    theta = response.theta.copy()
    theta[3] = np.nan
    sensor = fabry_perot_sensor(dataclasses.replace(response, theta=theta), name="x", source="test")
    assert any("see nothing: 3" in text for text in sensor.assumptions)
    matrix = sensor.response.matrix(np.linspace(420, 980, 20))
    assert (matrix[3] == 0).all()
    assert (matrix[4] > 0).all()
    with pytest.raises(InputError, match="no interferometer"):
        fabry_perot_sensor(dataclasses.replace(response, theta=theta * np.nan), name="x", source="test")


GOOD = {"response": GaussianResponse(centre_nm=np.array([500.0, 600]), width_nm=np.array([10.0, 10.0]))}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Sensor(response=3), "response: found int"),
        (lambda: Sensor(**GOOD, ratio=0), "ratio: found 0"),
        (lambda: Sensor(**GOOD, ratio=2), "mtf: missing"),
        (lambda: Sensor(**GOOD, mtf=[0.2, 1.3]), "mtf: found shape"),
        (lambda: Sensor(**GOOD, mtf=[0.2, 0.3, 0.4]), "mtf: found shape"),
        (lambda: Sensor(**GOOD, pan=GOOD["response"]), "pan: found 2 bands"),
        (lambda: Sensor(**GOOD, noise=DetectorNoise(electrons_per_unit=np.ones(3))), "electrons_per_unit: found 3"),
        (lambda: Sensor(**GOOD).within(np.linspace(900, 950, 9)), "wavelength_nm: found 900"),
        (lambda: Sensor(**GOOD).variance(np.ones((2, 1, 1))), "noise: missing"),
        (lambda: preset("prisma").observe(Cube(data=np.ones((9, 3, 3)))), "expected at least 6"),
        (lambda: preset("enmap").observe(Cube(data=np.ones((9, 8, 8)))), "wavelength_nm: not known"),
        (lambda: preset("prisme"), "did you mean 'prisma'"),
        (lambda: preset("imspoc-uv-2"), "characterization: missing"),
        (lambda: from_characterization("/nowhere.h5"), "/nowhere.h5: found no such file"),
        (lambda: Sensor.load("/nowhere.h5"), "/nowhere.h5: found no such file"),
        (lambda: MultiApertureCamera.of(Sensor(**GOOD)), "expected a multi-aperture instrument"),
        (
            lambda: MultiApertureCamera(
                response=interferometers(), size=40,
                layout=SubImageLayout(frame_shape=(100, 130), grid=(3, 4), pitch=(30, 30), origin=(18, 20)),
            ),
            "size: found 40 pixels, expected 1 to 30",
        ),
        (
            lambda: MultiApertureCamera(
                response=interferometers(), size=4,
                layout=SubImageLayout(frame_shape=(100, 130), grid=(3, 3), pitch=(30, 30), origin=(18, 20)),
            ),
            "layout: found 9 sub-images, expected at least 12",
        ),
    ],
)  # fmt: skip
def test_errors_say_what(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("damage", ["format", "version", "type", "response", "cut"])
def test_damaged_file(damage, tmp_path):
    path = tmp_path / "sensor.h5"
    preset("enmap").save(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:700])
    else:
        with h5py.File(path, "r+") as file:
            if damage == "response":
                del file["response"]
            elif damage == "version":
                file.attrs["version"] = 99
            else:
                file.attrs[damage] = "nothing"
    with pytest.raises(FormatError, match=r"sensor\.h5"):
        Sensor.load(path)


def test_measured_noise_needs_digital_numbers(tmp_path):
    """A sensor whose noise is stated in digital numbers gives no reflectance drowned in it."""
    view = scene((36, 36)).load()
    noise = DetectorNoise(electrons_per_unit=2.0, read_noise=8.0, full_well=8000.0, bits=12)
    sensor = preset("prisma").replace(noise=noise, pan_noise=None, units="DN")
    with pytest.raises(InputError, match="units: found '1', expected 'DN'"):
        simulate(view, sensor, tmp_path / "a.h5")
    with pytest.raises(InputError, match="units: found '1', expected 'DN'"):
        simulate(view, Sensor(response=interferometers(), noise=noise, units="DN"), tmp_path / "a.h5")
    assert "snr_at_0.3" not in sensor.describe()
    simulate(view, sensor, tmp_path / "a.h5", scale=3000)
    seen = open_cube(tmp_path / "a.h5")
    clean = sensor.forward(view.replace(scale_factor=3000)).data
    assert seen.units == "DN"
    assert np.std((seen.read() - clean) / np.sqrt(sensor.variance(clean))) == pytest.approx(1, abs=0.05)
