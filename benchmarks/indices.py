"""Q2n against the plain recursion, MTF filtering against a depthwise convolution: same run, same values."""

from __future__ import annotations

import resource
import time

import numpy as np
import torch
import torch.nn.functional as functional

from hsitools.metrics import evaluate
from hsitools.metrics.q2n import q2n_map
from hsitools.sensor.spatial import mtf_blur, mtf_sigma


def conjugate(z):
    """Hypercomplex conjugate of ``(component, …)``."""
    return np.concatenate([z[:1], -z[1:]])


def product(first, second):
    """Hypercomplex product of ``(component, …)``, by the Cayley-Dickson recursion on halves."""
    size = len(first)
    if size == 1:
        return first * second
    half = size // 2
    a, b, c, d = first[:half], conjugate(first[half:]), second[:half], conjugate(second[half:])
    return np.concatenate([product(a, c) - product(d, conjugate(b)), product(conjugate(a), d) + product(c, b)])


def plain_q2n(estimate, reference, block=32):
    """Q2n block by block and product by product, as its paper states it."""
    bands, height, width = reference.shape
    size = 1 << (bands - 1).bit_length()
    pad = ((0, size - bands), (0, -height % block), (0, -width % block))
    padded = [
        np.pad(np.pad(image, ((0, 0), *pad[1:]), mode="symmetric"), (pad[0], (0, 0), (0, 0)))
        for image in (reference, estimate)
    ]
    scores = []
    for top in range(0, padded[0].shape[1], block):
        for left in range(0, padded[0].shape[2], block):
            y, x = (image[:, top : top + block, left : left + block].reshape(size, -1) for image in padded)
            mean, scale = y.mean(1, keepdims=True), y.std(1, ddof=1, keepdims=True)
            flat = scale == 0
            scale = np.where(flat, 1, scale)
            y, x = np.where(flat, 1, (y - mean) / scale + 1), np.where(flat, 1, (x - mean) / scale + 1)
            n = y.shape[1]
            m1, m2 = y.mean(1), x.mean(1)
            p1, p2 = np.linalg.norm(m1), np.linalg.norm(m2)
            spread = n / (n - 1) * ((y**2).sum(0).mean() + (x**2).sum(0).mean() - p1**2 - p2**2)
            cross = product(y, conjugate(x)).mean(1) - product(m1[:, None], conjugate(m2[:, None]))[:, 0]
            scores.append(np.linalg.norm(n / (n - 1) * cross) * 2 / spread * 2 * p1 * p2 / (p1**2 + p2**2))
    return float(np.mean(scores))


def main() -> dict[str, float]:
    """Print and return the ratios."""
    # CPU seconds of several threads count their waiting for one another: one thread for both, as for the published code
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 4096, (159, 75, 75)).astype(float)
    estimate = np.clip(np.rint(0.9 * reference + 100) + rng.integers(-200, 201, reference.shape), 0, 4095)
    began = time.process_time()
    plain = plain_q2n(estimate, reference)
    plain_s = time.process_time() - began
    evaluate(estimate, reference, metrics=["Q2n"])
    began = time.process_time()
    for _ in range(5):
        ours = evaluate(estimate, reference, metrics=["Q2n"])["Q2n"].value
    ours_s = (time.process_time() - began) / 5
    torch.set_num_threads(threads)
    print("Q2n, 159 bands, 75×75, CPU seconds of one thread")
    print(f"  recursion {plain_s:8.3f}   value {plain:.9f}")
    print(f"  ours      {ours_s:8.3f}   value {ours:.9f}   relative difference {abs(ours / plain - 1):.1e}")
    print(f"  ratio     {plain_s / ours_s:.0f}×  (target ≥ 50×)")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    large = torch.rand(1, 159, 600, 600, generator=torch.Generator().manual_seed(0))
    noisy = large + 0.05 * torch.randn(large.shape, generator=torch.Generator().manual_seed(1))
    began = time.perf_counter()
    value = float(q2n_map(noisy, large)[0].mean())
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"Q2n, 159 bands, 600×600: {seconds:.1f} s, {peak:.0f} MiB at most, both cubes and torch included ({value:.4f})"
    )
    print(f"  (target < 10 s and < 2 GB; {before:.0f} MiB before)")

    cube = torch.rand(103, 240, 168, generator=torch.Generator().manual_seed(0))
    ratio, gain = 6, 0.3
    reach = 20
    sigma = float(mtf_sigma(gain, ratio)[0])
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    taps = taps / taps.sum()
    kernel = (taps[:, None] * taps[None]).expand(103, 1, -1, -1).contiguous()
    began = time.perf_counter()
    padded = functional.pad(cube.double()[None], (reach,) * 4, mode="replicate")
    slow = functional.conv2d(padded, kernel, groups=103)[0]
    slow_s = time.perf_counter() - began
    operator = mtf_blur((240, 168), gain, ratio)
    operator(cube)
    began = time.perf_counter()
    for _ in range(10):
        fast = operator(cube)
    fast_s = (time.perf_counter() - began) / 10
    double = operator(cube.double())
    print("MTF filter, 103×240×168, seconds")
    print(f"  float64 depthwise convolution {slow_s:8.3f}")
    print(f"  ours, float32                 {fast_s:8.3f}   largest difference {float((fast - slow).abs().max()):.1e}")
    exact = float((double - slow).abs().max())
    print(f"  ratio {slow_s / fast_s:.0f}×  (target ≥ 50×); in float64 the difference is {exact:.1e}")
    return {"q2n": plain_s / ours_s, "mtf": slow_s / fast_s, "q2n_600_s": seconds, "q2n_600_mib": peak}


if __name__ == "__main__":
    main()
