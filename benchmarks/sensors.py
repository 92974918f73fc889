"""Sensors against truth: photon transfer, stripe statistics of real flat fields, frames, a spatial index that tells."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.captures import load, shared_folder
from hsitools.cube import Cube
from hsitools.metrics import evaluate, evaluate_fusion
from hsitools.sensor import EMIT_DRIFT, MultiApertureCamera, stripe_statistics
from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.photon.transfer import photon_transfer
from hsitools.sensor.spatial import mtf_decimate

SHARED = shared_folder()
#: Simulated detectors: electrons per number, read noise (electrons), PRNU, bits.
DETECTORS = ((2.5, 8.0, 0.01, 12), (1.16, 40.0, 0.05, 14), (10.0, 30.0, 0.02, 12), (0.5, 3.0, 0.01, 14))


def simulated_stacks(gain, read, prnu, bits, rng, size=(128, 160), levels=8, frames=20):
    """Dark and flat frames of a detector with uneven light, dead and hot pixels."""
    height, width = size
    full = 2**bits - 1
    response = 1 + prnu * rng.standard_normal(size)
    dark = 50 + 10 * read / gain + 3 * rng.standard_normal(size)
    dead, hot = rng.random(size) < 0.002, rng.random(size) < 0.002
    response[dead] = 0
    dark[hot] += 500 + 20 * read / gain
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - 0.15 * (x**2 + y**2)

    def frame(level):
        electrons = rng.poisson(level * gain * light * np.maximum(response, 0)) + read * rng.standard_normal(size)
        return np.clip(np.rint(electrons / gain + dark), 0, full)

    top = full - dark.max()
    flats = [[frame(level) for _ in range(frames)] for level in np.linspace(0.1, 0.95, levels) * top]
    return [frame(0) for _ in range(30)], flats, full, dead | hot


def main() -> dict[str, float]:
    """Print and return the largest deviations."""
    worst = 0.0
    print("Photon transfer on simulated detectors: error in % (target ≤ 2)")
    print("  e⁻/DN   read e⁻   PRNU     gain   read noise   PRNU   defects found/true")
    for seed, (gain, read, prnu, bits) in enumerate(DETECTORS):
        dark, flats, full, bad = simulated_stacks(gain, read, prnu, bits, np.random.default_rng(seed))
        found = photon_transfer(dark, flats, full_scale=full)
        errors = [100 * (a / b - 1) for a, b in ((found.gain, gain), (found.read_noise, read), (found.prnu, prnu))]
        worst = max(worst, *(abs(error) for error in errors))
        both = int((found.defects & bad).sum())
        print(f"  {gain:5.2f}  {read:7.1f}  {prnu:6.3f}  {errors[0]:+7.2f}  {errors[1]:+9.2f}  {errors[2]:+7.2f}"
              f"   {both}/{int(bad.sum())}, {int((found.defects & ~bad).sum())} false")  # fmt: skip
    drift = stripes()
    frames = frame_check()
    spatial_index()
    return {"photon_transfer_percent": worst, "stripes_percent": drift, "frames": frames}


def stripes() -> float:
    """Statistics of the real change of EMIT's flat field, and of forty draws of the preset."""
    import h5py

    with h5py.File(SHARED / "data" / "instruments" / "calib_emit.h5") as file:
        old, new = (file[f"flat_field_{day}"][50:281].astype(float) for day in ("20220825", "20241024"))
    real = stripe_statistics(new / old)
    draws = [stripe_statistics(EMIT_DRIFT.draw((231, 10, 1280), np.random.default_rng(k)).gain) for k in range(40)]
    print(
        'Stripes "as EMIT drifted in two years": real flat fields, and the preset (mean of 40 detectors; target 10 %)'
    )
    worst = 0.0
    for name, value in real.items():
        mean = float(np.mean([draw[name] for draw in draws]))
        worst = max(worst, 100 * abs(mean / value - 1))
        print(f"  {name:<12} {value:.5f}   {mean:.5f}   {100 * (mean / value - 1):+.1f} %")
    with h5py.File(SHARED / "data" / "instruments" / "calib_hypso.h5") as file:
        gain = file["hypso1_destriping_nominal"][()].T
    hypso = ", ".join(f"{name} {value:.4f}" for name, value in stripe_statistics(gain).items())
    print(f"  HYPSO-1's destriping matrix, for comparison: {hypso}")
    return worst


def frame_check() -> float:
    """A characterized imspoc_uv_2 → frame of a scene → interferograms, against the direct product of each pixel."""
    from calibration.pipeline import characterize
    from hsitools.scenes import scene

    folder = SHARED / "data" / "captures" / "imspoc_uv_2"
    response = characterize(load("imspoc_uv_2")).response
    layout = SubImageLayout.from_device_json(folder / "device.json")
    camera = MultiApertureCamera(response=response, layout=layout, size=32, half_field_deg=6.0, vignetting=0.3)
    wavelength = np.linspace(360, 990, 120)
    view: Cube = scene((32, 32), wavelength_nm=wavelength)
    back = camera.interferogram_cube(camera.frame(view, noise=False)).read()
    light, cosine = view.read().astype(float), camera.field()[0]
    worst = 0.0
    for y, x in np.ndindex(32, 32):
        direct = response.off_axis(float(cosine[y, x])).matrix(wavelength) @ light[:, y, x]
        worst = max(worst, float(np.abs(back[:, y, x] / direct - 1).max()))
    print(
        f"imspoc_uv_2 → frame {layout.frame_shape} → interferograms: largest relative difference to the direct product"
    )
    print(f"  {worst:.1e}  (target 1e-6), {response.n_bands} interferometers × 32×32 pixels × {len(wavelength)} lines")
    return worst


def spatial_index() -> None:
    """D_sR and D_pan beside the true error, for fused cubes of known quality."""
    given = np.load(SHARED / "golden" / "jasper159_r6.npz")
    truth, pan, coarse = (torch.as_tensor(given[name]).double() for name in ("gt", "pan", "ms_lr"))
    ratio = int(given["ratio"])
    up, down = interpolate((16, 16), ratio, 3), mtf_decimate((96, 96), 0.3, ratio, 3)
    exp = up(coarse)
    design = torch.cat([coarse.flatten(1), torch.ones(1, 256)])
    weights = torch.linalg.lstsq(design.T, down(pan).flatten()[:, None], driver="gelsd").solution[:, 0]
    intensity = (torch.cat([exp.flatten(1), torch.ones(1, 96 * 96)]).T @ weights).reshape(1, 96, 96)
    centred = intensity - intensity.mean()
    gain = ((exp - exp.mean((1, 2), keepdim=True)) * centred).mean((1, 2), keepdim=True) / (centred**2).mean()
    print("Spatial indices of fused cubes on jasper159_r6 (159 bands)")
    print("  cube                     ERGAS    D_s    D_sR   D_pan")
    for name, cube in (
        ("truth", truth), ("GSA, details × 0.5", exp + 0.5 * gain * (pan - intensity)),
        ("GSA", exp + gain * (pan - intensity)), ("GSA, details × 2", exp + 2 * gain * (pan - intensity)),
        ("interpolation", exp),
    ):  # fmt: skip
        error = evaluate(cube, truth, ratio=ratio, border=ratio, metrics=["ERGAS"])["ERGAS"].value
        found = evaluate_fusion(cube, coarse, pan, offset=3, border=ratio, metrics=["D_s", "D_sR", "D_pan"])
        print(f"  {name:<22} {error:7.3f}" + "".join(f"{found[k].value:8.4f}" for k in ("D_s", "D_sR", "D_pan")))


if __name__ == "__main__":
    main()
