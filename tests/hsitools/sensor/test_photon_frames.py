"""Frames of photon transfer: files, the command, frames that are not what they are taken for."""

import json
import tracemalloc

import h5py
import numpy as np
import pytest

from benchmarks.photon_transfer import (
    TOP,
    detector_frames,
)
from hsitools.commands.root import main
from hsitools.errors import InputError
from hsitools.sensor.flat_field import LocalSurface, relative_response
from hsitools.sensor.photon.curve import quantisation_step, without_rounding
from hsitools.sensor.photon.frames import level_statistics
from hsitools.sensor.photon.transfer import PhotonTransfer, photon_transfer


def test_a_local_surface_is_exact_for_quadratics_also_at_edges():
    y, x = np.mgrid[:40, :50] / 20
    image = 3 + y - 2 * x + 0.5 * y * x + x**2
    region = (y - 1) ** 2 + (x - 1.2) ** 2 < 0.8
    fit = LocalSurface(region, 5)
    leverage, surface = fit.leverage, fit(image)
    np.testing.assert_allclose(surface[region], image[region], rtol=2e-3)
    whole = LocalSurface(np.ones_like(region), 5)(image)
    np.testing.assert_allclose(whole[5:-5, 5:-5], image[5:-5, 5:-5], rtol=1e-9)
    v, u = (part.ravel() for part in np.mgrid[-5:6, -5:6])
    design = np.stack([np.ones(121), v, u, v * v, u * v, u * u], axis=1)
    np.testing.assert_allclose(leverage[20, 24], np.linalg.pinv(design)[0, 60], rtol=1e-9)


def test_relative_response_knows_nothing_in_the_dark():
    response, undetermined, _, _ = relative_response(np.zeros((20, 20)), np.ones((20, 20)), np.ones((20, 20), bool))
    assert undetermined.all()
    assert np.isnan(response).all()


@pytest.mark.parametrize(
    ("scale", "kind", "step"),
    [(1, np.uint16, 1), (16, np.uint16, 16), (1, float, 1), (1 / 65535, float, 1 / 65535),
     (1 / 65535, np.float32, 1 / 65535), (0.25, np.float32, 0.25), (2.44e-4, float, 2.44e-4)],
)  # fmt: skip
def test_step_of_stored_values(scale, kind, step):
    numbers = np.rint(np.random.default_rng(0).normal(3000, 40, 5000)) * scale
    assert quantisation_step(numbers.astype(kind)) == pytest.approx(step, rel=1e-3)


def test_computed_values_have_no_step():
    rng = np.random.default_rng(0)
    assert quantisation_step(rng.normal(500, 4, 3000)) == 0
    assert quantisation_step(rng.normal(500, 4, 3000).astype(np.float32)) < 1e-3


@pytest.mark.parametrize("noise", [0.15, 0.3, 0.5, 1.0, 4.0])
def test_rounding_is_removed(noise):
    """A twelfth where noise spans steps, less below."""
    rng = np.random.default_rng(1)
    place = rng.random((20000, 1)) + 100
    rounded = np.rint(place + noise * rng.standard_normal((20000, 30)))
    found, _ = without_rounding(rounded.var(axis=1, ddof=1).mean(), 1.0)
    assert float(found) ** 0.5 == pytest.approx(noise, rel=0.01)


def test_command_names_the_level(capsys, tmp_path):
    dark, flats = detector_frames(np.random.default_rng(19), levels=TOP, clip=57351)
    with h5py.File(tmp_path / "dark.h5", "w") as file:
        file["frames"] = np.array(dark).astype(np.uint16)
        file["exposure_s"] = np.ones(len(dark))
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["frames"] = np.array(flats).astype(np.uint16)

    def run(*more, code=0):
        arguments = ("sensor", "noise", "--dark", tmp_path / "dark.h5", "--flat", tmp_path / "flat.h5", "-o",
                     tmp_path / "noise.h5", *more)  # fmt: skip
        with pytest.raises(SystemExit) as done:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert (done.value.code or 0) == code, captured.err
        return captured

    document = json.loads(run("--json").out)
    assert document["clipped_levels"] == [6]
    assert document["full_scale_dn"] == 57351
    assert {"gain_electrons_per_dn", "read_noise_electrons", "prnu_percent", "defects_percent"} <= set(document)
    assert "note: flat level 6: " in run().out
    with h5py.File(tmp_path / "dark.h5", "a") as file:
        del file["exposure_s"]
        file["exposure_s"] = np.ones(3)
    assert "dark.h5: exposure_s: found shape (3,), expected (12,)" in run(code=2).err


def test_frames_of_other_units_or_exchanged_are_refused():
    """From them came a gain of 11.2 (true 6), and a read noise of 48.6 (true 18), without a word."""
    dark, flats = detector_frames(np.random.default_rng(29), shape=(24, 30), levels=(2e3, 8e3, 3e4))
    with pytest.raises(InputError, match=r"flat: found values in steps of 1.526e-05, expected 1 as the dark"):
        photon_transfer(np.rint(dark), [np.rint(level) / 65535 for level in flats])
    with pytest.raises(InputError, match=r"flat level 0: found it \d+.* DN below the dark frames"):
        photon_transfer([frame for level in flats for frame in level], [dark])
    with pytest.raises(InputError, match=r"flat level 0: found it \d+.* DN below the dark frames"):
        photon_transfer([frame + 5000 for frame in dark], flats)
    with pytest.raises(InputError, match="full_scale: found -5"):
        photon_transfer(dark, flats, full_scale=-5)


def test_one_level_says_that_nothing_checks_the_line(tmp_path, capsys):
    dark, flats = detector_frames(np.random.default_rng(30), shape=(24, 30), levels=(2e3, 8e3))
    for name, frames in (("dark", dark), ("one", flats[0]), ("untold", np.concatenate(flats))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["frames"] = np.rint(frames).astype(np.uint16)

    def notes(name):
        with pytest.raises(SystemExit) as done:
            main(["sensor", "noise", "--dark", str(tmp_path / "dark.h5"), "--flat", str(tmp_path / f"{name}.h5"),
                  "-o", str(tmp_path / "noise.h5")])  # fmt: skip
        assert not done.value.code
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]

    said = notes("one")
    assert len(said) == 1
    assert "one level of light and the dark (0 degrees of freedom)" in said[0]
    assert any("one level of light" in note for note in PhotonTransfer.load(tmp_path / "noise.h5").notes)
    said = notes("untold")
    assert len(said) == 2
    assert "several levels? say which frame is of which (level)" in said[0]
    assert photon_transfer(dark, flats).notes == ()


def test_memory_does_not_grow_with_the_frames():
    frame = np.zeros((300, 300))

    def peak(count):
        tracemalloc.start()
        level_statistics((frame + k for k in range(count)), "flat level 0")
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(40) < 1.1 * peak(5)


def _frames(electrons, count, seed):
    """Of a detector of 2 e⁻/DN, 8 e⁻ of read noise and a bias of 300 DN."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(electrons, (count, 40, 40)) + 8 * rng.standard_normal((count, 40, 40))
    return np.rint(counts / 2 + 300).astype(np.uint16)


def test_frames_that_are_stored_twice_are_refused():
    """Each copy takes half of the noise away: a gain of 4.4 for 2, and nothing else looked wrong."""
    dark, flats = _frames(0, 4, 0), [_frames(e, 3, e) for e in (2000, 9000, 30000)]
    assert photon_transfer(dark, flats).gain == pytest.approx(2, rel=0.1)
    with pytest.raises(InputError, match="dark: found frame 7 to be the one before it once more"):
        photon_transfer(dark.repeat(2, axis=0), flats)
    with pytest.raises(InputError, match="flat level 2: found frame 2 to be the one before"):
        photon_transfer(dark, [*flats[:2], flats[2][[0, 1, 1]]])
    # a noise that flips no pixel is no copy
    still = np.full((3, 40, 40), 300, np.uint16)
    still[2, 0, 0] = 301
    assert level_statistics(still, "dark").pairs == 2


def test_one_frame_at_full_scale_tells_full_scale():
    """The mean of that frame and the others, 23366 for 65535, is no number at which anything clips."""
    flats = [_frames(e, 5, e) for e in (2000, 9000, 30000)]
    flats[2][3] = 65535
    result = photon_transfer(_frames(0, 4, 0), flats)
    assert result.full_scale == 65535
    assert result.clipped_levels == (2,)
    assert result.gain == pytest.approx(2, rel=0.1)


def test_values_that_are_no_numbers_are_counted():
    flat = _frames(9000, 3, 1).astype(float)
    flat[1, 3, 4:6] = np.nan
    with pytest.raises(InputError, match="flat level 0: found 2 values not finite in frame 1"):
        photon_transfer(_frames(0, 4, 0), [flat])


def test_correlations_of_neighbours_whatever_the_size_of_frames():
    """Lines' means, which are taken off, take .13 of it along here."""
    white, crossed = [], []
    for seed in range(3):
        frames = np.random.default_rng(seed).standard_normal((100, 24, 40))
        white.append(level_statistics(frames, "dark").beside)
        # a tenth of each value is the neighbour's: on two sides .09 / .82
        crossed.append(level_statistics(0.9 * frames + 0.1 * np.roll(frames, 1, axis=2), "dark").beside)
    assert np.mean(white) == pytest.approx(0, abs=0.03)
    assert np.mean(crossed) == pytest.approx(0.22, abs=0.05)


def test_read_noise_that_neighbours_share_is_no_charge_that_crosses_over():
    rng = np.random.default_rng(0)

    def frames(electrons):
        read = 60 * rng.standard_normal((12, 64, 64))
        return np.rint((rng.poisson(electrons, read.shape) + (read + np.roll(read, 1, axis=2)) / 2) / 2 + 300)

    result = photon_transfer(frames(0), [frames(electrons) for electrons in (1000, 2500, 6000)])
    assert not any("share photons" in note for note in result.notes)
    assert result.gain == pytest.approx(2, rel=0.1)
