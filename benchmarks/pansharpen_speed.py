"""Classical pansharpening against plain scripts of the same methods: same run, same values.

The plain versions go band by band in float64, as a research script does: PAN is repeated for each band and filtered
there with a two-dimensional kernel, each band has its own least squares and its own statistics.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from scipy.ndimage import correlate, correlate1d
from scipy.optimize import lsq_linear

from benchmarks.captures import shared_folder
from hsitools.sensor.spatial import mtf_sigma
from pansharpen.in_memory import fuse_case
from pansharpen.pair.case_files import convention, read_case

# ---- what all of them do to an image -----------------------------------------------------------------------------


def images(case):
    """Expanded cube, coarse cube and PAN in float64."""
    return (image[0].double().numpy() for image in (case.tile.expanded, case.coarse, case.pan))


def gaussian(gain, ratio, reach=None):
    """Two-dimensional kernel of an MTF."""
    sigma = float(mtf_sigma(gain, ratio)[0])
    reach = int(np.ceil(6 * sigma)) if reach is None else reach
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.outer(taps, taps) / taps.sum() ** 2


def sampled(image, optics):
    """What the cube's optics see of a fine image; the offset is whole."""
    blurred = correlate(image, gaussian(optics.mean_mtf(), optics.ratio), mode="nearest")
    start = int(optics.offset)
    return blurred[start :: optics.ratio, start :: optics.ratio]


def expanded(image, optics):
    """Polynomial interpolation: zeros between the samples, then a filter along each axis."""
    r, start, around = optics.ratio, int(optics.offset), 7
    nodes = np.arange(12)
    taps = np.zeros(12 * r + 1)
    for phase in range(r):
        at = 5 + phase / r
        for node in nodes:
            others = nodes[nodes != node]
            taps[6 * r + r * (node - 5) - phase] = np.prod((at - others) / (node - others))
    padded = np.pad(image, around, mode="symmetric")
    sparse = np.zeros([r * size for size in padded.shape])
    sparse[start::r, start::r] = padded
    for axis in (0, 1):
        sparse = correlate1d(sparse, taps[::-1], axis=axis, mode="constant")
    return sparse[around * r : -around * r, around * r : -around * r]


def shrunk_gain(band, level, detail, matched):
    """Ratio of band to level at each pixel, held to the regression gain where it is uncertain."""
    centred = level - level.mean()
    gain = (centred * (band - band.mean())).mean() / (centred**2).mean()
    below, slope, part = level, 1.0, gain
    if matched:
        below, slope, part = gain * level + band.mean() - gain * level.mean(), gain, 1.0
    squares, powers = (band - part * below) ** 2, below**2
    growth = max(np.cov(squares.ravel(), powers.ravel(), bias=True)[0, 1] / powers.var(), 0.0)
    if growth == 0:
        return np.full(band.shape, gain)
    error = max(squares.mean() - growth * powers.mean(), growth * slope**2 * (detail**2).mean())
    return slope * (below * band + error / growth * part) / (powers + error / growth)


def intensity(bands, coarse, seen):
    """Regression of the coarse PAN on the coarse bands, applied to the expanded ones."""
    design = np.stack([*(band.ravel() for band in coarse), np.ones(seen.size)], 1)
    weights = np.linalg.lstsq(design, seen.ravel(), rcond=None)[0]
    return sum(weight * band for weight, band in zip(weights, bands, strict=False)) + weights[-1]


# ---- methods: a case to a cube (band, y, x) ----------------------------------------------------------------------


def plain_fs(case):
    """MTF-GLP-FS."""
    bands, _, pan = images(case)
    out = []
    for band, own in zip(bands, np.repeat(pan, len(bands), 0), strict=True):
        low = expanded(sampled(own, case.optics), case.optics)
        gain = np.cov(band.ravel(), own.ravel())[0, 1] / np.cov(low.ravel(), own.ravel())[0, 1]
        out.append(band + gain * (own - low))
    return np.array(out)


def plain_hpm(case, matched=False):
    """MTF-GLP-HPM."""
    bands, _, pan = images(case)
    out = []
    for band, own in zip(bands, np.repeat(pan, len(bands), 0), strict=True):
        low = expanded(sampled(own, case.optics), case.optics)
        out.append(band + shrunk_gain(band, low, own - low, matched) * (own - low))
    return np.array(out)


def plain_hpm_r(case):
    """MTF-GLP-HPM-R."""
    return plain_hpm(case, matched=True)


def plain_awlp(case):
    """AWLP."""
    bands, coarse, pan = images(case)
    luminance = intensity(bands, coarse, sampled(pan[0], case.optics))
    mean = np.full(case.optics.ratio, 1 / case.optics.ratio)
    taps = np.convolve(np.convolve(mean, mean), np.convolve(mean, mean))
    out = []
    for band, own in zip(bands, np.repeat(pan, len(bands), 0), strict=True):
        low = correlate(own, np.outer(taps, taps), mode="nearest")
        match = np.cov(luminance.ravel(), low.ravel(), bias=True)[0, 1] / low.var()
        detail = match * (own - low)
        out.append(band + shrunk_gain(band, luminance, detail, False) * detail)
    return np.array(out)


def plain_bdsd(case):
    """BDSD-PC."""
    bands, coarse, pan = images(case)
    kernel = gaussian(case.optics.mean_mtf(), case.optics.ratio, reach=12)
    blurred = np.array([correlate(band, kernel, mode="nearest") for band in coarse])
    n = len(bands)
    limits = (np.r_[np.full(n, -np.inf), 0.0], np.r_[np.zeros(n), np.inf])
    out = []
    for number, band in enumerate(bands):
        design = np.stack([*(image.ravel() for image in blurred), sampled(pan[0], case.optics).ravel()], 1)
        weights = lsq_linear(design, (coarse[number] - blurred[number]).ravel(), limits, tol=1e-14, max_iter=1000).x
        out.append(band + np.tensordot(weights, np.concatenate([bands, pan]), 1))
    return np.array(out)


def plain_pracs(case, beta=0.95):
    """PRACS."""
    bands, coarse, pan = images(case)
    seen = sampled(pan[0], case.optics)
    total = intensity(bands, coarse, seen)
    out = []
    for number, band in enumerate(bands):
        share = np.corrcoef(band.ravel(), total.ravel())[0, 1]
        slope = pan.std() / band.std()
        offset = pan.mean() - slope * band.mean()
        high = share * pan[0] + (1 - share) * (slope * band + offset)
        low = intensity(bands, coarse, share * seen + (1 - share) * (slope * coarse[number] + offset))
        likeness = np.corrcoef(low.ravel(), band.ravel())[0, 1]
        local = np.clip(1 - np.abs(1 - likeness * (slope * band + offset) / low), 0, 1)
        out.append(band + beta * likeness * band.std() / low.std() * local * (high - low))
    return np.array(out)


#: Name of each method: its plain version, and how many times faster ours is to be.
PLAIN = {
    "MTF-GLP-FS": (plain_fs, 100), "MTF-GLP-HPM": (plain_hpm, 100), "MTF-GLP-HPM-R": (plain_hpm_r, 100),
    "BDSD-PC": (plain_bdsd, 20), "PRACS": (plain_pracs, 10), "AWLP": (plain_awlp, 5),
}  # fmt: skip
REPEATS = 5


def compare(name, case):
    """CPU seconds of the plain version and of ours (best of a few), and their largest difference over the range."""
    plain, _ = PLAIN[name]
    began = time.process_time()
    expected = plain(case)
    plain_s = time.process_time() - began
    ours = fuse_case(name, case)[0].double().numpy()
    times = []
    for _ in range(REPEATS):
        # a fresh case: what a tile has once computed it keeps
        fresh = case.replace(name=case.name)
        began = time.process_time()
        fuse_case(name, fresh)
        times.append(time.process_time() - began)
    return plain_s, min(times), float(np.abs(ours - expected).max() / np.ptp(expected))


def main() -> dict[str, float]:
    """Print and return the ratios."""
    case = read_case(shared_folder() / "golden" / "jasper159_r6.npz", convention("toolbox"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"pansharpening, {case.n_bands} bands, 96×96, ratio 6, CPU seconds of one thread")
    print(f"  {'':14} {'plain':>8} {'ours':>8} {'ratio':>7} {'target':>7}   difference over range")
    ratios = {}
    for name, (_, target) in PLAIN.items():
        plain_s, ours_s, difference = compare(name, case)
        ratios[name] = plain_s / ours_s
        print(f"  {name:14} {plain_s:8.2f} {ours_s:8.4f} {ratios[name]:6.0f}× {target:6d}×   {difference:.1e}")
    torch.set_num_threads(threads)
    return ratios


if __name__ == "__main__":
    main()
