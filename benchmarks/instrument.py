"""The instrument's numbers: one quadrature for spectra of any sampling, one detector for all who simulate one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.captures import shared_folder
from calibration import simulated_bench as bench
from calibration.pipeline import characterize
from denoise.comparison.simulate import ELECTRONS, READ_NOISE
from denoise.comparison.simulate import simulate as noise_case
from hsitools.cube import Cube
from hsitools.io import open_cube
from hsitools.sensor import Calibration, Detector, FabryPerotResponse, GaussianResponse, Sensor, preset
from hsitools.sensor.photon.transfer import photon_transfer
from hsitools.sensor.presets import fabry_perot_sensor
from hsitools.sensor.simulate import simulate
from hsitools.sensor.transmittance import TransmittanceModel

FLAT = shared_folder() / "cases" / "inversion"


def main() -> dict[str, float]:
    """Print the tables and return what they come to."""
    response = _instrument()
    worst = {"flat_percent": flat_spectrum(response), "laws_percent": laws(response)}
    worst["simulate_percent"] = simulated_files(response)
    detector()
    return worst | {"simulators_percent": simulators()}


def _instrument() -> FabryPerotResponse:
    rng = np.random.default_rng(0)
    instrument = bench.simulate_instrument(80, rng=rng)
    capture = bench.capture(instrument, bench.lines(181), rng=rng)
    return characterize(capture, TransmittanceModel(degree_gain=3, degree_reflectivity=3)).response


def flat_spectrum(response: FabryPerotResponse) -> float:
    """Interferogram of a flat spectrum of .3 by the number of its samples; interferometer 40."""
    low, high = response.band_nm
    # 0.1.0: printed by shared/cases/numbers/fabry_perot_sampling.py
    before = {50: 9.3, 100: 18.4, 200: 36.9, 400: 73.9}
    now = {n: response.forward(np.full(n, 0.3), np.linspace(low, high, n)) for n in before}
    print("A flat spectrum of .3 seen by interferometer 40 of the bench (sum of samples, now mean over the band)")
    print("  samples    0.1.0      now")
    for n, value in before.items():
        print(f"  {n:7d}  {value:7.1f}  {now[n][40]:7.5f}")
    worst = 100 * max(float(np.abs(observed / now[400] - 1).max()) for observed in now.values())
    print(f"  all interferometers, largest difference between the rows: {worst:.1e} %  (target .1)")
    return worst


def laws(response: FabryPerotResponse) -> float:
    """A smooth spectrum, evenly in nm, evenly in wavenumber, unevenly, against 20 000 samples."""
    low, high = response.band_nm

    def sample_of_line(wavelength: np.ndarray) -> np.ndarray:
        spectrum = 1 + 0.4 * np.sin(wavelength / 60) + wavelength / 2000
        return np.asarray(response.forward(spectrum, wavelength))

    truth, rng, worst = sample_of_line(np.linspace(low, high, 20_000)), np.random.default_rng(0), 0.0
    print("A smooth spectrum: largest difference of any interferogram from that of 20 000 samples, %  (target .1)")
    print("  samples   even in nm   even in wavenumber   uneven (steps × .3 to 1.7)")
    for n in (131, 260, 651):
        step = np.cumsum(rng.uniform(0.3, 1.7, n))
        uneven = low + (high - low) * (step - step[0]) / (step[-1] - step[0])
        grids = np.linspace(low, high, n), 1000 / np.linspace(response.band.low, response.band.high, n), uneven
        errors = [100 * float(np.abs(sample_of_line(grid) / truth - 1).max()) for grid in grids]
        worst = max(worst, *errors)
        print(f"  {n:7d}   {errors[0]:10.1e}   {errors[1]:18.1e}   {errors[2]:10.1e}")
    return worst


def simulated_files(response: FabryPerotResponse) -> float:
    """`hsi simulate` of one flat scene at 131 and 651 wavelengths, and of a scene that is not flat."""
    sensor = fabry_perot_sensor(response, name="bench", source="benchmarks.instrument")
    detector = Detector(electrons_per_unit=2.6e4, read_noise=40.0, electrons_per_dn=20.0, bits=9, bias=30.0)
    clean, noise, full = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("flat", "smooth"):
            for n in (131, 651):
                scene = open_cube(FLAT / f"flat_{n}.h5").select(window=(0, 64, 0, 64))
                if name == "smooth":
                    shape = 0.7 + 0.5 * np.sin(np.asarray(scene.wavelength_nm) / 60)
                    scene = scene.replace(data=(scene.read() * shape[:, None, None]).astype(np.float32))
                simulate(scene, sensor, Path(folder) / "a.h5", noise=False)
                clean[name, n] = open_cube(Path(folder) / "a.h5").read()
                simulate(scene, sensor.replace(noise=detector), Path(folder) / "a.h5", seed=n)
                noisy = open_cube(Path(folder) / "a.h5")
                noise[name, n], full[name, n] = noisy.read().std((1, 2)).mean(), noisy.meta["saturated"]
    print("`hsi simulate` of one scene at 131 and at 651 wavelengths (0.1.0: 5 × apart)")
    print("  scene    interferograms differ by   noise 131 / 651   saturated 131 / 651")
    worst = 0.0
    for name in ("flat", "smooth"):
        error = 100 * float(np.abs(clean[name, 131] / clean[name, 651] - 1).max())
        worst = max(worst, error)
        print(f"  {name:<7}  {error:18.1e} %  (.1)   {noise[name, 131]:.5f} / {noise[name, 651]:.5f}"
              f"   {full[name, 131]} / {full[name, 651]}")  # fmt: skip
    return worst


def detector() -> None:
    """Where each effect acts."""
    response = GaussianResponse(centre_nm=[500.0, 600.0], width_nm=[10.0, 10.0])
    offset = np.array([[-10.0, -5.0, 5.0, 10.0]] * 2)
    camera = Sensor(
        response=response, units="DN", noise=Detector(electrons_per_unit=2.0, read_noise=1.0),
        calibration=Calibration(gain=np.ones((2, 4)), offset=offset, dead=np.zeros((2, 4), dtype=bool)),
    )  # fmt: skip
    dark = Cube(data=np.zeros((3, 2000, 4), np.float32), wavelength_nm=[450.0, 550.0, 650.0], units="DN")
    observed = camera.observe(dark, np.random.default_rng(0)).data[0]
    finch = preset("finch")
    wavelength = np.linspace(880, 1720, 400)
    bright = Cube(data=np.full((400, 4, 400), 5.0, np.float32), wavelength_nm=wavelength, units="1")
    light = finch.observe(bright, np.random.default_rng(0)).data[250]
    pattern = finch.pattern((finch.n_bands, 4, 400), np.random.default_rng(0).spawn(2)[0])
    works = ~(pattern.dead | pattern.hot)[250]
    code = Detector(electrons_per_unit=1.0, full_well=4096, bits=12).sample(
        np.full((1, 1, 1), 1e6), np.random.default_rng(0)
    )
    print("The detector")
    print("                                                          0.1.0      now      due")
    # 0.1.0: printed by shared/cases/numbers/detector_offsets.py and photon_transfer.py
    for name, before, now, due in (
        ("offset of −10 DN on a dark scene, mean", "0.00", observed[:, 0].mean(), "−10"),
        ("offset of +10 DN on a dark scene, std", "2.26", observed[:, 3].std(), ".5"),
        ("FINCH's band 250, a saturated pixel", "1.12", np.median(light[:, works]), ""),
        ("FINCH's band 250, a hot element", "2.49", np.median(light[:, pattern.hot[250]]), "as above"),
        ("last code of 12 bits", "4096", code[0].max(), "4095"),
        ("photon transfer, 12 bits, dark level 1000: clips at", "4096", _photon_transfer_clips(), "3095"),
    ):
        print(f"  {name:<52}  {before:>7}  {now:7.2f}  {due:>8}")


def _photon_transfer_clips() -> float:
    """Value above dark at which a detector found by photon transfer clips, digital numbers."""
    rng = np.random.default_rng(1)

    def frame(light: float) -> np.ndarray:
        electrons = rng.poisson(2 * light, (64, 80)) + 10 * rng.standard_normal((64, 80))
        return np.clip(np.rint(electrons / 2 + 1000), 0, 4095)

    levels = [[frame(light) for _ in range(6)] for light in np.linspace(200, 2500, 8)]
    result = photon_transfer([frame(0) for _ in range(16)], levels, full_scale=4095)
    return float(result.detector().sample(np.full((1, 1, 1), 1e5), rng)[0].max())


def simulators() -> float:
    """`Sensor.observe` against the denoiser's pushbroom (case g), element by element."""
    height = 4000
    clean = np.broadcast_to(np.array([0.05, 0.5])[:, None, None], (2, height, 64)).astype(np.float32)
    noisy, truth = noise_case(clean, "g", 5)
    sensor = Sensor(
        response=GaussianResponse(centre_nm=[500.0, 600.0], width_nm=[0.01, 0.01]), units="1",
        noise=Detector(electrons_per_unit=ELECTRONS, read_noise=READ_NOISE),
        calibration=Calibration(gain=truth.gain, offset=truth.offset, dead=truth.dead),
    )  # fmt: skip
    observed = sensor.observe(Cube(data=clean, wavelength_nm=[500.0, 600.0], units="1"), np.random.default_rng(1)).data
    works = ~truth.dead
    std = noisy.std(1)[works]
    mean = (noisy.mean(1) - observed.mean(1))[works] / std * np.sqrt(height / 2)
    ratio = (noisy.std(1) / observed.std(1))[works]
    print("`Sensor.observe` against the denoiser's pushbroom of the same light, pattern and detector")
    print(f"  means differ by {mean.std():.2f} standard errors rms (1 is due); standard deviations: ratio "
          f"{ratio.mean():.4f} ± {ratio.std():.4f}")  # fmt: skip
    return 100 * float(abs(ratio.mean() - 1))


if __name__ == "__main__":
    main()
