"""Detector noise, fixed patterns, distortion, photon transfer."""

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sensors import DETECTORS, simulated_stacks
from hsitools.errors import FormatError, InputError
from hsitools.sensor import EMIT_DRIFT, Defects, DetectorNoise, Distortion, Stripes, stripe_statistics
from hsitools.sensor.detector import electrons_for_snr
from hsitools.sensor.photon.transfer import PhotonTransfer, photon_transfer, read_stacks

NOISE = DetectorNoise(
    electrons_per_unit=np.array([2e3, 5e4, 1e5]), dark_electrons=300.0, read_noise=np.array([20.0, 80.0, 40.0]),
    full_well=2e5, bits=12,
)  # fmt: skip


def test_variance_is_that_of_samples():
    signal = np.broadcast_to(np.array([0.5, 0.2, 0.9])[:, None, None], (3, 300, 300))
    values, saturated = NOISE.sample(signal, np.random.default_rng(0))
    assert not saturated.any()
    np.testing.assert_allclose(values.mean((1, 2)), [0.5, 0.2, 0.9], rtol=2e-3)
    np.testing.assert_allclose(values.var((1, 2)), NOISE.variance(signal)[:, 0, 0], rtol=0.02)
    tensor = NOISE.variance(torch.as_tensor(signal.copy()))
    np.testing.assert_allclose(tensor, NOISE.variance(signal), rtol=1e-12)


def test_saturation_and_steps():
    values, saturated = NOISE.sample(np.full((3, 50, 50), 3.0), np.random.default_rng(0))
    assert saturated[2].all()
    assert not saturated[0].any()
    # the last code is 2^12 − 1; read-out noise comes after the well and may take a few codes off
    assert values[2].max() == pytest.approx((4095 * NOISE.step - 300) / 1e5, rel=1e-6)
    assert values[2].max() == pytest.approx(float(NOISE.saturation[2]), rel=1e-6)
    np.testing.assert_allclose(values[2], values[2].max(), atol=6 * 40 / 1e5)
    numbers = (values[1].astype(float) * 5e4 + 300) / NOISE.step
    np.testing.assert_allclose(numbers, np.rint(numbers), atol=2e-3)


@given(st.floats(5, 2000), st.floats(0.01, 2), st.floats(0, 500))
def test_electrons_give_the_snr(snr, level, read):
    electrons = float(electrons_for_snr(np.array(snr), level, read))
    noise = DetectorNoise(electrons_per_unit=electrons, read_noise=read)
    assert level / float(noise.variance(np.full((1, 1, 1), level))[0, 0, 0]) ** 0.5 == pytest.approx(snr, rel=1e-9)


@pytest.mark.portable
def test_same_seed_same_draw():
    signal = np.random.default_rng(1).random((3, 20, 20))
    first, second = (NOISE.sample(signal, np.random.default_rng(7))[0] for _ in range(2))
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_emit_preset_has_the_real_statistics(shared):
    with h5py.File(shared / "data" / "instruments" / "calib_emit.h5") as file:
        old, new = (file[f"flat_field_{day}"][50:281].astype(float) for day in ("20220825", "20241024"))
    real = stripe_statistics(new / old)
    draws = [stripe_statistics(EMIT_DRIFT.draw((231, 4, 1280), np.random.default_rng(k)).gain) for k in range(20)]
    for name, value in real.items():
        assert np.mean([draw[name] for draw in draws]) == pytest.approx(value, rel=0.10), name


@given(
    st.floats(0.05, 1), st.floats(0.05, 1), st.integers(0, 4), st.integers(0, 4), st.floats(0, 0.99),
    st.floats(0, 0.99), st.integers(0, 99),
)  # fmt: skip
def test_stripes_have_the_stated_power(columns, bands, clusters, runs, across, along, seed):
    stripes = Stripes(gain=0.02, columns=columns, bands=bands, clusters=clusters, band_runs=runs,
                      column_correlation=across, band_correlation=along, band_noise=0.3)  # fmt: skip
    pattern = stripes.draw((30, 8, 90), np.random.default_rng(seed))
    deviation = pattern.gain - 1
    touched = deviation != 0
    assert touched.any(0).sum() == round(columns * 90)
    assert touched.any(1).sum() == round(bands * 30)
    if clusters and 0 < round(columns * 90) < 90:
        groups = np.count_nonzero(np.diff(np.concatenate([[0], touched.any(0).astype(int)])) == 1)
        assert groups <= clusters
    # the slow and the fast part are independent, but few values may look alike by chance
    assert np.sqrt(np.mean(deviation[touched] ** 2)) == pytest.approx(0.02, rel=1.0)


def test_fragments_and_drift():
    pattern = Stripes(offset=1.0, fragments=0.25).draw((2, 40, 30), np.random.default_rng(0))
    out = pattern.apply(np.zeros((2, 40, 30)), slice(0, 40))
    np.testing.assert_array_equal((out != 0).sum(1), 10)
    drifting = Stripes(drift=0.1).draw((1, 200, 500), np.random.default_rng(0))
    seen = drifting.apply(np.ones((1, 200, 500)), slice(0, 200)) - 1
    assert np.sqrt(np.mean(seen**2)) == pytest.approx(0.1, rel=0.05)
    # in pieces it is the same
    pieces = np.concatenate(
        [drifting.apply(np.ones((1, 50, 500)), slice(a, a + 50)) for a in range(0, 200, 50)], axis=1
    )
    np.testing.assert_allclose(pieces, seen + 1, rtol=1e-12)


def test_defects():
    plain = Stripes().draw((50, 100, 200), np.random.default_rng(0))
    found = Defects(dead=0.02, hot=0.01, dead_columns=0.02, lost_lines=0.05).draw(plain, np.random.default_rng(1))
    assert found.hot.mean() == pytest.approx(0.01, rel=0.2)
    assert found.dead.all(0).mean() == pytest.approx(0.02, abs=0.02)
    assert found.lost.mean() == pytest.approx(0.05, abs=0.04)
    assert not (found.dead & found.hot).any()
    broken = found.broken(slice(10, 20))
    assert broken.shape == (50, 10, 200)
    np.testing.assert_array_equal(broken[:, 3], (found.dead | found.hot) | found.lost[13])


@pytest.mark.parametrize("bands", [1, 5])
@pytest.mark.parametrize(("smile", "keystone"), [(0.7, 0.0), (0.0, 1.3), (-1.4, 0.4)])
def test_distortion_adjoint(smile, keystone, bands):
    distortion = Distortion(smile_bands=smile, keystone_pixels=keystone)
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(2, bands, 7, 9, dtype=torch.float64, generator=generator) for _ in range(2))
    inner = float((distortion.forward(x) * z).sum() - (x * distortion.adjoint(z)).sum())
    assert abs(inner) < 1e-10 * float(x.norm() * z.norm())
    np.testing.assert_allclose(distortion.forward(torch.ones_like(x)), 1, atol=1e-12)


def test_smile_and_keystone_shift():
    bands = torch.arange(20.0, dtype=torch.float64)[:, None, None].expand(20, 3, 11)
    smiled = Distortion(smile_bands=0.5).forward(bands)
    np.testing.assert_allclose(smiled[5, 0], 5 + 0.5 * np.linspace(-1, 1, 11) ** 2)
    columns = torch.arange(40.0, dtype=torch.float64).expand(5, 3, 40)
    keyed = Distortion(keystone_pixels=2.0).forward(columns)
    np.testing.assert_allclose(keyed[:, 0, 20] - 20, np.linspace(-1, 1, 5), atol=1e-12)


@pytest.mark.parametrize("number", range(len(DETECTORS)))
def test_photon_transfer_finds_the_truth(number):
    gain, read, prnu, bits = DETECTORS[number]
    dark, flats, full, bad = simulated_stacks(gain, read, prnu, bits, np.random.default_rng(number), frames=12)
    found = photon_transfer(dark, flats, full_scale=full)
    assert found.gain == pytest.approx(gain, rel=0.02)
    assert found.read_noise == pytest.approx(read, rel=0.02)
    assert found.prnu == pytest.approx(prnu, rel=0.02)
    assert abs(found.gain - gain) < 4 * found.gain_stderr
    assert (found.defects & bad).sum() >= 0.95 * bad.sum()
    assert (found.defects & ~bad).sum() <= 3
    detector = found.detector()
    assert float(detector.electrons_per_unit) == found.gain
    assert detector.step == pytest.approx(found.gain, rel=0.01)


def test_photon_transfer_file(tmp_path):
    dark, flats, full, _ = simulated_stacks(2.0, 10.0, 0.01, 12, np.random.default_rng(0), (40, 50), 3, 6)
    with h5py.File(tmp_path / "dark.h5", "w") as file:
        file["frames"] = np.array(dark).astype(np.uint16)
        file.attrs["full_scale"] = full
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["frames"] = np.array(flats).astype(np.uint16)
    with h5py.File(tmp_path / "listed.h5", "w") as file:
        file["frames"], file["level"] = np.array(flats).astype(np.uint16).reshape(-1, 40, 50), np.repeat([1, 2, 3], 6)
    found = photon_transfer(*read_stacks(tmp_path / "dark.h5", tmp_path / "flat.h5")[:2], full_scale=full)
    listed_dark, listed, scale = read_stacks(tmp_path / "dark.h5", tmp_path / "listed.h5")
    assert scale == full
    assert photon_transfer(listed_dark, listed, full_scale=scale).gain == found.gain
    found.save(tmp_path / "noise.h5")
    again = PhotonTransfer.load(tmp_path / "noise.h5")
    assert again.summary() == found.summary()
    np.testing.assert_array_equal(again.defects, found.defects)


@pytest.mark.parametrize(
    ("dark", "flat", "message"),
    [
        ([np.ones((20, 20))], [[np.ones((20, 20))] * 2], "dark: found 1, expected at least two frames"),
        ([np.zeros((20, 20))] * 3, [[np.ones((20, 20))] * 2], "dark: found 100% of the pixels reaching zero"),
        ([np.ones((20, 20))] * 3, [[np.ones((20, 21))] * 2], r"flat: found frames of \(20, 21\)"),
        ([np.ones((20, 20))] * 3, [[np.ones((20, 20))]], "flat level 0: found 1, expected at least two frames"),
        ([np.ones((20, 20))] * 3, [], "flat: found no frames"),
        ([np.full((20, 20), np.nan)] * 3, [], "dark: found 400 values not finite in frame 0"),
        ([np.ones((3, 20, 20))] * 3, [], r"dark: found a frame of shape \(3, 20, 20\), expected \(y, x\)"),
    ],
)
def test_photon_transfer_errors(dark, flat, message):
    with pytest.raises(InputError, match=message):
        photon_transfer(dark, flat)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DetectorNoise(electrons_per_unit=0.0), "electrons_per_unit: found"),
        (lambda: DetectorNoise(electrons_per_unit=1.0, read_noise=-1.0), "read_noise: found"),
        (lambda: DetectorNoise(electrons_per_unit=1.0, bits=12), "bits: found 12"),
        (lambda: Stripes(columns=1.2), "columns: found 1.2"),
        (lambda: Stripes(gain=-1), "negative deviation"),
        (lambda: Defects(dead=-0.1), "dead: found -0.1"),
        (lambda: Distortion(smile_bands=float("nan")), "not finite"),
        (lambda: stripe_statistics(np.zeros((3, 3))), "gain: found shape"),
        (lambda: read_stacks("/nowhere.h5", "/nowhere.h5"), "/nowhere.h5: found no such file"),
    ],
)
def test_errors_say_what(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_wrong_file(tmp_path):
    (tmp_path / "x.h5").write_text("no HDF5")
    with pytest.raises(FormatError, match=r"x\.h5"):
        PhotonTransfer.load(tmp_path / "x.h5")


def test_a_full_well_is_told_whatever_the_read_noise():
    """Three standard deviations below what it holds, less the dark current's: (10⁴ − 100 − 60) / 2."""
    detector = DetectorNoise(electrons_per_unit=2.0, dark_electrons=100.0, read_noise=20.0, full_well=1e4)
    assert float(detector.full_from) == pytest.approx(4920)
    values, _ = detector.sample(np.full((1, 100, 100), 1e5), np.random.default_rng(0))
    assert (values >= detector.full_from).mean() > 0.995
