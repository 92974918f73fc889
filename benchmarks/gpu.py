"""What a GPU does: fusion, indices, denoising, maps, beside the floor that memory sets, in five minutes; or why not.

Without a GPU the same script runs on the processor with tiny sizes, so that it is known to work when one is at hand.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hsitools.metrics import evaluate
from pansharpen.case import FusionCase
from pansharpen.in_memory import fuse_case
from pansharpen.optics import Optics
from pansharpen.registry import METHODS

#: Milliseconds wanted on one H200 for 239 bands of 600×600 at ratio 6 (0.1.0 there: /shared/peers.md, section 5).
WANTED = {"physics": 15, "TV": 20, "HySURE": 20, "BDSD-PC": 15, "SR-D": 15}
FAMILIES = ("baseline", "component substitution", "multiresolution", "model-based", "ours")
REPEATS = 5


def clock(function: Callable[[], Any], device: torch.device, repeats: int) -> float:
    """Milliseconds of a call, the least of some, after one that warms up."""
    function()
    best = float("inf")
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, 1e3 * (time.perf_counter() - began))
    return best


def bandwidth(device: torch.device, size: int) -> float:
    """Bytes a millisecond that a copy moves."""
    source = torch.ones(size, device=device)
    target = torch.empty_like(source)
    return 8 * size / clock(lambda: target.copy_(source), device, 3)


def pair(bands: int, side: int, ratio: int) -> FusionCase:
    """A smooth random cube and PAN of the given coarse size."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, bands, side, side, generator=draw).cumsum(1)
    pan = torch.nn.functional.interpolate(coarse.mean(1, keepdim=True), scale_factor=ratio, mode="bilinear")
    return FusionCase(coarse=coarse, pan=pan + 0.1 * torch.rand(pan.shape, generator=draw), optics=Optics(ratio=ratio))


def fusion(device: torch.device, tiny: bool) -> dict[str, float]:
    """Each method that goes by tiles: milliseconds, the floor of writing the result once, and how far from the CPU."""
    bands, side, ratio = (12, 12, 3) if tiny else (239, 100, 6)
    case = pair(bands, side, ratio)
    there = case.to(device)
    floor = 4 * bands * (side * ratio) ** 2 / bandwidth(device, 10**6 if tiny else 10**8)
    print(
        f"  fusion of {bands} bands, {side * ratio}×{side * ratio} fine pixels; writing the result once {floor:.3g} ms"
    )
    print(f"  {'':<14} {'ms':>8} {'wanted':>7} {'floors':>7}   |result − CPU's| / range")
    out = {}
    for name, entry in METHODS.items():
        if entry.family not in FAMILIES:
            continue
        fused = fuse_case(name, there).cpu()
        whole = fuse_case(name, case)
        difference = float((fused - whole).abs().max() / (whole.max() - whole.min()))
        milliseconds = clock(lambda name=name: fuse_case(name, there), device, 1 if tiny else REPEATS)  # type: ignore[misc]
        out[name] = milliseconds
        wanted = f"{WANTED.get(name, '')!s:>7} {milliseconds / floor:7.0f}"
        print(f"  {name:<14} {milliseconds:8.1f} {wanted}   {difference:.1e}", flush=True)
    return out


def indices(device: torch.device, tiny: bool) -> dict[str, float]:
    """Q2n and the other indices."""
    shape = (8, 64, 64) if tiny else (159, 600, 600)
    draw = torch.Generator().manual_seed(0)
    truth = torch.rand(shape, generator=draw).to(device)
    estimate = truth + 0.01
    # both cubes are read once
    floor = 2 * truth.numel() * 4 / bandwidth(device, 10**6 if tiny else 10**8)
    out = {}
    for name in ("Q2n", "SAM", "ERGAS", "SSIM"):
        out[name] = clock(lambda name=name: evaluate(estimate, truth, ratio=6, metrics=[name]), device, 3)  # type: ignore[misc]
    print(f"  indices of {shape}, ms: " + ", ".join(f"{name} {value:.1f}" for name, value in out.items())
          + f"  (Q2n wanted ≤ 50; reading both cubes once {floor:.2g})", flush=True)  # fmt: skip
    return out


def denoiser(device: torch.device, tiny: bool) -> dict[str, float]:
    """`diffusion` end to end: its nets on the device, the separation before them on the processor."""
    from denoise.restore import restore

    bands, height, width = (8, 24, 24) if tiny else (120, 102, 104)
    rng = np.random.default_rng(0)
    spectra, maps_of = rng.random((bands, 4)), rng.random((4, height, width)).cumsum(1).cumsum(2) / (height * width)
    noisy = (np.tensordot(spectra, maps_of, 1) + 0.01 * rng.standard_normal((bands, height, width))).astype(np.float32)
    out = {}
    place = str(device)
    for samples in (0, 6):
        milliseconds = clock(lambda n=samples: restore(noisy, samples=n, device=place), device, 1)  # type: ignore[misc]
        out[f"diffusion, {samples} samples"] = milliseconds / 1e3
    floor = 2 * noisy.nbytes / bandwidth(device, 10**6 if tiny else 10**8)
    said = ", ".join(f"{name} {value:.2f}" for name, value in out.items())
    print(f"  denoiser, {height}×{width}×{bands}, s: {said}  (wanted ≤ 0.5; reading and writing the cube "
          f"once {floor / 1e3:.1g})", flush=True)  # fmt: skip
    return out


def maps(device: torch.device, tiny: bool) -> dict[str, float]:
    """Per-pixel fits of transmittance, a second; a fit is some 110 kFLOP (15 GFLOP for 131 072 of them)."""
    import h5py

    from calibration import simulated_bench as bench
    from calibration.pixel_maps import PixelStack, characterize_pixels
    from hsitools.sensor.transmittance import TransmittanceModel

    size, rows = (8, 4) if tiny else (64, 32)
    rng = np.random.default_rng(0)
    instrument = bench.simulate_instrument(rows, rng=rng, opd_offset_um=4.0, opd_step_um=0.5, dispersion_rad=0.0)
    wavenumber = bench.lines(91)
    model = TransmittanceModel(degree_gain=2, degree_reflectivity=2)
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "stack.h5", Path(folder) / "maps.h5"
        with h5py.File(path, "w") as file:
            file["pixels"] = bench.pixel_stack(instrument, wavenumber, size=size, rng=rng)
            file["wavenumber"] = wavenumber
        stack = PixelStack(path)
        milliseconds = clock(lambda: characterize_pixels(stack, out, model, device=device), device, 1)
        floor = path.stat().st_size / bandwidth(device, 10**6 if tiny else 10**8)
    rate = size * size * rows / milliseconds * 1e3
    print(f"  maps: {rate:.0f} fits/s  (wanted ≥ 1 000 000; here {milliseconds:.0f} ms; "
          f"reading the stack once {floor:.2g} ms, 15 GFLOP are 0.3 ms at 50 TFLOP/s)", flush=True)  # fmt: skip
    return {"fits/s": rate}


def main() -> dict[str, Any]:
    """Print and return the figures."""
    tiny = not torch.cuda.is_available()
    device = torch.device("cpu" if tiny else "cuda")
    if tiny:
        print("  no GPU here (torch.cuda.is_available() is False): tiny sizes on the processor, to try the script only")
    else:
        print(f"  {torch.cuda.get_device_name()}")
    out: dict[str, Any] = {}
    for part in (fusion, indices, denoiser, maps):
        out |= part(device, tiny)
    return out


if __name__ == "__main__":
    main()
