"""Where cases come from: files, simulated and real pairs; the conventions; judging."""

import numpy as np
import pytest
import torch

from benchmarks.products import write_prisma
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube, save_cube
from hsitools.scenes import scene
from hsitools.sensor import Detector, preset
from pansharpen.case import FusionCase
from pansharpen.comparison.judging import FULL, judge
from pansharpen.in_memory import fuse_case
from pansharpen.optics import Optics
from pansharpen.pair.case_files import CONVENTIONS, convention, open_pair, read_case
from pansharpen.pair.from_sensor import noise_at, pan_weights, require_fit, with_sensor
from pansharpen.pair.wald import cube_optics, degraded, real_case, simulated_case
from pansharpen.tiled import fuse_cube


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "ms_lr": rng.uniform(1, 2, (8, 6, 5)).astype(np.float32), "pan": rng.uniform(1, 2, (1, 12, 10)), "ratio": 2,
        "wavelengths": np.linspace(450, 800, 8), "overlap": 5,
    }  # fmt: skip


def written(folder, arrays):
    np.savez(folder / "case.npz", **arrays)
    return folder / "case.npz"


def test_case_file(tmp_path, arrays):
    path = written(tmp_path, arrays | {"gt": np.ones((8, 12, 10)), "ms": np.ones((8, 12, 10))})
    plain, toolbox = read_case(path), read_case(path, convention("toolbox"))
    assert plain.optics.offset == 0.5
    flat = read_case(written(tmp_path, arrays | {"pan": arrays["pan"][0]}))
    assert torch.equal(flat.pan, plain.pan)
    assert plain.expanded is None
    assert toolbox.optics.offset == 1
    assert toolbox.optics.mtf == 0.2825
    assert torch.equal(toolbox.tile.expanded, torch.ones(1, 8, 12, 10))
    np.testing.assert_allclose(plain.optics.pan_response, [0.2] * 5 + [0] * 3)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"ms_lr": None}, "ms_lr: missing"),
        ({"pan": np.ones((1, 12, 11))}, r"pan: found shape \(1, 1, 12, 11\), expected \(1, 1, 12, 10\)"),
        ({"pan": np.ones(12)}, r"pan: found float64 of shape \(12,\)"),
        ({"ratio": 2.5}, "ratio: found 2.5"),
        ({"ratio": "x"}, "ratio: found"),
        ({"overlap": 9}, "overlap: found 9, expected 1 to 8"),
        ({"wavelengths": np.ones(7)}, r"wavelengths: found shape \(7,\)"),
        ({"gt": np.ones((7, 12, 10))}, "reference: found shape"),
    ],
)
def test_case_file_errors(tmp_path, arrays, change, error):
    given = {name: value for name, value in (arrays | change).items() if value is not None}
    with pytest.raises(InputError, match=error):
        read_case(written(tmp_path, given))


def test_case_file_that_is_none(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        read_case(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(FormatError, match="expected a case"):
        read_case(tmp_path / "text.npz")
    with pytest.raises(InputError, match="convention: found 'matlab', expected one of hsitools, toolbox"):
        convention("matlab")


def test_simulated_case_has_what_the_sensor_says():
    sensor = preset("prisma")
    case = simulated_case(scene((60, 36), seed=1), sensor, ratio=4, seed=3)
    assert case.optics.ratio == 4
    assert case.coarse.shape[-2:] == (15, 9)
    assert case.reference.shape == (1, case.n_bands, 60, 36)
    # the reference through the optics is the cube, but for noise of the variance that it tells
    seen = case.tile.down()(case.reference)
    error = (seen - case.coarse)[0, :, 2:-2, 2:-2].double()
    ratio = error.square().mean((1, 2)) / torch.as_tensor(case.optics.noise_variance)
    assert 0.7 < float(ratio.median()) < 1.4
    assert abs(float(case.optics.pan_response.sum()) - 1) < 1e-9
    clean = simulated_case(scene((60, 36), seed=1), sensor, ratio=4, noise=False)
    assert (clean.tile.down()(clean.reference) - clean.coarse)[..., 2:-2, 2:-2].abs().max() < 1e-5
    again = simulated_case(scene((60, 36), seed=1), sensor, ratio=4, seed=3)
    assert torch.equal(again.coarse, case.coarse)


def test_bands_without_light_are_left_out():
    view = scene((24, 24), seed=1).load()
    dark = view.data.copy()
    dark[(view.wavelength_nm > 1340) & (view.wavelength_nm < 1450)] = 0
    lit = simulated_case(view.with_data(dark), preset("prisma"), ratio=2)
    whole = simulated_case(view, preset("prisma"), ratio=2)
    gone = np.setdiff1d(whole.optics.wavelength_nm, lit.optics.wavelength_nm)
    assert gone.size
    assert gone.min() > 1335
    assert gone.max() < 1455


def test_unfit_scenes():
    with pytest.raises(InputError, match="pan: missing, expected a sensor with a panchromatic response"):
        simulated_case(scene((24, 24)), preset("enmap"), ratio=2)
    with pytest.raises(InputError, match="wavelength_nm"):
        simulated_case(scene((24, 24), wavelength_nm=[900, 950, 1000]), preset("prisma"))
    with pytest.raises(InputError, match="expected at least 6"):
        simulated_case(scene((5, 24)), preset("prisma"))


def test_real_product(tmp_path):
    write_prisma(tmp_path / "scene.he5", rows=24, columns=18)
    cube = open_cube(tmp_path / "scene.he5")
    case = real_case(cube)
    assert case.optics.ratio == 6
    assert case.n_bands == int(cube.good.sum())
    assert case.reference is None
    small = real_case(cube, reduced=True)
    assert small.reference.shape == (1, case.n_bands, 24, 18)
    assert small.coarse.shape[-2:] == (4, 3)
    with pytest.raises(InputError, match="pan: missing"):
        real_case(cube.replace(pan=None))
    # its map tells what a smaller PAN covers; without one, sizes must fit
    smaller = cube.pan.select(window=(0, 143, 0, 108))
    assert real_case(cube.replace(pan=smaller)).coarse.shape[-2:] == (23, 18)
    with pytest.raises(InputError, match="pan: found 143×108 pixels, expected a whole multiple"):
        real_case(cube.replace(pan=smaller.replace(transform=None)))


def test_two_files(tmp_path, arrays):
    low = Cube(data=arrays["ms_lr"], wavelength_nm=arrays["wavelengths"])
    np.savez(tmp_path / "low.npz", cube=low.data, wavelength_nm=low.wavelength_nm)
    np.savez(tmp_path / "pan.npz", cube=arrays["pan"])
    cube, optics = open_pair(tmp_path / "low.npz", tmp_path / "pan.npz")
    assert cube.ratio == 2
    assert optics is None
    cube, optics = open_pair(written(tmp_path, arrays))
    assert cube.shape == (8, 6, 5)
    assert optics.ratio == 2


def test_degraded_keeps_the_response():
    case = simulated_case(scene((72, 72), seed=1), preset("prisma"), ratio=3, noise=False)
    small = degraded(case.replace(reference=None))
    assert torch.equal(small.reference, case.coarse)
    assert small.pan.shape[-2:] == (24, 24)
    # PAN is made of the bands at both scales
    response = torch.as_tensor(case.optics.pan_response, dtype=torch.float32)
    for pair in (case, small):
        made = torch.einsum("k,nkyx->nyx", response, pair.reference)
        inner = np.s_[:, 3:-3, 3:-3]
        assert torch.corrcoef(torch.stack([made[inner].flatten(), pair.pan[:, 0][inner].flatten()]))[0, 1] > 0.98


def test_sensor_of_other_bands():
    optics = Optics(ratio=6, wavelength_nm=np.array([500.0, 600.0, 3000.0]))
    with pytest.raises(InputError, match=r"band 2 at 3000.0 nm, expected a band of PRISMA \(the nearest is at 2497"):
        with_sensor(optics, preset("prisma"), 3, "cube")
    with pytest.raises(InputError, match="bands: found 3, expected 234"):
        with_sensor(Optics(ratio=6), preset("prisma"), 3, "cube")
    assert pan_weights(preset("prisma"), np.array([2000.0, 2100.0])) is None
    with pytest.raises(InputError, match="offset: found 5\\.5, expected 0 to 5"):
        Optics(ratio=6, offset=5.5)


def test_a_preset_is_that_of_the_cube_or_refused():
    """By bands and ratio: other bands that happen to lie within a width of the sensor's are not its own."""
    sensor = preset("prisma")
    centre = sensor.response.wavelength_nm

    def pair(wavelength, ratio=6):
        pan = Cube(data=np.ones((1, 4 * ratio, 4 * ratio)))
        return Cube(data=np.ones((len(wavelength), 4, 4)), wavelength_nm=wavelength, pan=pan, name="pair")

    even = np.linspace(427, 925, 50)
    for cube in (pair(centre), pair(centre + 4), pair(centre[3::5] + 1), pair(even).replace(wavelength_nm=None)):
        require_fit(cube, sensor)
    with pytest.raises(
        InputError, match=r"pair: bands: found 50, one at .* expected the 234 of PRISMA or some of them"
    ):
        require_fit(pair(even), sensor)
    with pytest.raises(
        InputError, match="pair: pan: found 3 of its pixels to one of the cube, expected 6 as of PRISMA"
    ):
        fuse_cube(pair(centre, 3), "EXP", sensor)
    require_fit(pair(centre, 3), preset("prisma").replace(pan=None, pan_noise=None))


@pytest.fixture(scope="module")
def seen_by_prisma():
    sensor = preset("prisma")
    return sensor, simulated_case(scene((60, 48), seed=5), sensor, ratio=6, noise=True, seed=2)


@pytest.mark.parametrize("name", ["GSA", "TV", "physics"])
def test_run_and_benchmark_know_the_same_sensor(seen_by_prisma, tmp_path, name):
    sensor, case = seen_by_prisma
    pan = Cube(data=case.pan[0].numpy(), units="1")
    cube = Cube(data=case.coarse[0].numpy(), wavelength_nm=case.optics.wavelength_nm, units="1", pan=pan)
    save_cube(cube, tmp_path / "pair.h5")
    pair = open_cube(tmp_path / "pair.h5")
    told = cube_optics(pair, sensor)[0]
    np.testing.assert_allclose(told.noise_variance, case.optics.noise_variance, rtol=1e-6)
    assert told.pan_variance == pytest.approx(case.optics.pan_variance)
    np.testing.assert_allclose(told.pan_response, case.optics.pan_response)
    fused = fuse_cube(pair, name, sensor)
    expected = fuse_case(name, case)[0].numpy()
    assert np.abs(fused.read() - expected).max() < 1e-5 * np.abs(expected).max()
    assert fused.meta["sensor_noise"] == "the sensor's"


def test_each_band_is_told_its_own_mtf():
    sensor = preset("prisma")
    centre = sensor.response.wavelength_nm
    rising = np.linspace(0.1, 0.5, sensor.n_bands)
    sensor = sensor.replace(mtf=np.stack([rising, rising[::-1]], axis=1))
    chosen = [3, 70, 41, 200]
    told = with_sensor(Optics(ratio=6, wavelength_nm=centre[chosen]), sensor, 4, "cube")
    np.testing.assert_allclose(told.mtf, sensor.mtf[chosen], rtol=1e-12)


def test_noise_is_told_as_a_variance_of_bands_and_pan():
    """At half of the light: 500 electrons and a read-out of 10, (500 + 10²)/1000² units²."""
    detector = Detector(electrons_per_unit=1000.0, read_noise=10.0)
    told = noise_at(detector, detector, np.array([0.5, 0.5]), np.array([0.5]))
    np.testing.assert_allclose(told["noise_variance"], 6e-4, rtol=1e-9)
    assert told["pan_variance"] == pytest.approx(6e-4, rel=1e-9)


def test_noise_in_other_units_is_not_told(tmp_path):
    sensor = preset("prisma")
    seen = sensor.observe(scene((24, 24), seed=1), noise=False)
    for units in ("", "DN", "W m-2 sr-1 um-1"):
        other = seen.replace(units=units, data=np.asarray(seen.data) * 1e4)
        assert cube_optics(other, sensor)[0].noise_variance is None
        said = fuse_cube(other, "GSA", sensor).meta["sensor_noise"]
        assert said == f"estimated: the sensor's is for values in '1', the cube's are in {units or 'unknown'!r}"
    # a stored scale is applied first
    stored = seen.replace(data=np.asarray(seen.data) * 1e4, scale_factor=1e-4)
    np.testing.assert_allclose(
        cube_optics(stored, sensor)[0].noise_variance, cube_optics(seen, sensor)[0].noise_variance, rtol=1e-4
    )


def test_noise_of_case_files(tmp_path):
    sensor = preset("prisma")
    case = simulated_case(scene((24, 24), seed=1), sensor, seed=0)
    arrays = {
        "ms_lr": case.coarse[0].numpy(), "pan": case.pan[0].numpy(), "ratio": 6,
        "wavelengths": case.optics.wavelength_nm,
    }  # fmt: skip
    assert read_case(written(tmp_path, arrays), sensor=sensor).optics.noise_variance is None
    told = read_case(written(tmp_path, arrays | {"units": "1"}), sensor=sensor).optics
    np.testing.assert_allclose(told.noise_variance, case.optics.noise_variance, rtol=1e-6)
    # `run` takes the sensor for such files too
    _, optics = open_pair(tmp_path / "case.npz", sensor=sensor)
    np.testing.assert_allclose(optics.noise_variance, told.noise_variance)


def test_a_guess_is_noted():
    view = scene((24, 24), seed=1).load()
    numbers = view.replace(data=view.data * 1e4, units="")
    case = simulated_case(numbers, preset("prisma"))
    assert len(case.notes) == 1
    assert "taken as reflectance × 10⁴: the file tells no units" in case.notes[0]
    assert simulated_case(view, preset("prisma")).notes == ()
    assert simulated_case(numbers, preset("prisma"), scale=1e-4).notes == ()


def test_judging_conventions():
    truth = torch.rand((1, 4, 48, 48), generator=torch.Generator().manual_seed(0)) + 1
    case = FusionCase(coarse=truth[..., ::4, ::4], pan=truth[:, :1], optics=Optics(ratio=4), reference=truth)
    spoiled = truth.clone()
    spoiled[..., :4, :] = 70_000
    assert judge(case, spoiled)["ERGAS"].value == 0
    spoiled[..., 5, :] = -1
    assert judge(case, spoiled)["ERGAS"].value > 0
    toolbox = CONVENTIONS["toolbox"]
    assert judge(case, spoiled, toolbox)["ERGAS"].value == 0
    full = judge(case.replace(reference=None), truth)
    assert set(full) == set(FULL)
