"""Fusion on a real scene in the published toolbox's conventions, its rows beside; then noise, and a wrong sensor."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import torch

from benchmarks.captures import shared_folder
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.comparison.judging import judge
from pansharpen.in_memory import fuse_case
from pansharpen.pair.case_files import convention, read_case
from pansharpen.registry import METHODS, names

TOOLBOX = convention("toolbox")
#: Ratio, method: ERGAS, SAM (degrees) and Q2n that the published toolbox reaches (peers.md).
PUBLISHED = {
    6: {
        "EXP": (5.6519, 10.6527, 0.71996), "GSA": (4.2922, 9.7548, 0.83901), "BT-H": (9.5055, 13.1874, 0.62786),
        "BDSD-PC": (4.3050, 12.7957, 0.84179), "PRACS": (5.2124, 10.3207, 0.75589), "AWLP": (8.5813, 13.1662, 0.65585),
        "MTF-GLP-FS": (4.2849, 9.6997, 0.84594), "MTF-GLP-HPM": (11.4851, 14.8192, 0.56541),
        "MTF-GLP-HPM-R": (4.4712, 9.6825, 0.84256), "MF": (9.0898, 11.0317, 0.69610),
        "SR-D": (5.9053, 14.3477, 0.63476), "TV": (4.9541, 9.8473, 0.78203), "HySURE": (6.9627, 13.0253, 0.66950),
    },
    4: {
        "EXP": (6.9549, 7.9652, 0.81644), "GSA": (5.1943, 7.3073, 0.89383), "BT-H": (10.8063, 8.9399, 0.70916),
        "AWLP": (10.9376, 10.0884, 0.70408), "MTF-GLP-FS": (5.1930, 7.2975, 0.89403),
        "MTF-GLP-HPM-R": (5.3975, 7.2907, 0.89228), "MF": (10.4312, 8.0719, 0.74789),
    },
}  # fmt: skip
INDICES = ("ERGAS", "SAM", "Q2n")
#: Signal-to-noise ratio of the noisy observations, at each band's mean.
SNR = 50.0


def methods():
    """All that need neither training nor minutes."""
    return [name for name in names() if not METHODS[name].trained and METHODS[name].family != "zero-shot net"]


def scores(case, method):
    """ERGAS, SAM, Q2n."""
    found = judge(case, fuse_case(method, case), TOOLBOX, INDICES)
    return np.array([found[name].value for name in INDICES])


def observed(case, *, gain=1.0, shift=0.0, bell=False, noise=False, seed=0):
    """The case's scene observed anew: another MTF, a displaced cube, another PAN response, noise.

    The case's optics stay as declared; of the noise they know the variance.
    """
    truth, optics = case.reference.double(), case.optics
    down = mtf_decimate(
        (truth.shape[-2], truth.shape[-1]), gain * optics.mtf, optics.ratio, optics.offset, shift=(shift, shift)
    )
    response = optics.pan_response
    if bell:
        # a bell around 600 nm that reaches the near infrared, where the declared one is flat from 400 to 700 nm
        response = np.exp(-0.5 * ((optics.wavelength_nm - 600) / 90) ** 2) * (optics.wavelength_nm < 800)
    pan = torch.einsum("k,nkyx->nyx", torch.as_tensor(response / response.sum()), truth)[:, None]
    coarse = down(truth)
    if noise:
        rng = torch.Generator().manual_seed(seed)
        deviation, pan_deviation = coarse.mean((0, 2, 3)).abs() / SNR, float(pan.mean()) / SNR
        coarse = coarse + deviation[:, None, None] * torch.randn(coarse.shape, generator=rng, dtype=coarse.dtype)
        pan = pan + pan_deviation * torch.randn(pan.shape, generator=rng, dtype=pan.dtype)
        variance = (deviation**2).numpy()
        optics = dataclasses.replace(optics, noise_variance=variance, pan_variance=pan_deviation**2)
    return case.replace(coarse=coarse.float(), pan=pan.float(), optics=optics, expanded=None)


def main() -> dict[str, float]:
    """Print and return what `physics` gains on the best of component substitution and multiresolution, in percent."""
    cases = {ratio: read_case(shared_folder() / "golden" / f"jasper159_r{ratio}.npz", TOOLBOX) for ratio in (6, 4)}
    out = {}
    print("jasper159, 159 bands, in the toolbox's conventions: ERGAS, SAM (degrees), Q2n; seconds")
    print(f"  {'':14} {'ratio 6, ours':^28} {'published':^22}   {'ratio 4, ours':^28} {'published':^22}")
    table = {}
    for name in methods():
        line = f"  {name:14}"
        for ratio, case in cases.items():
            began = time.perf_counter()
            fuse_case(name, case)
            seconds = time.perf_counter() - began
            table[name, ratio] = scores(case, name)
            line += "{:7.3f}{:7.2f}{:7.4f}".format(*table[name, ratio]) + f"{seconds:6.2f} s "
            peer = PUBLISHED[ratio].get(name)
            line += ("{:7.3f}{:7.2f}{:7.4f}".format(*peer) if peer else f"{'–':^21}") + "   "
        print(line.rstrip())
    for ratio in cases:
        for families in (("component substitution", "multiresolution"), ("model-based",)):
            best = min(table[name, ratio][0] for name in methods() if METHODS[name].family in families)
            gain = 100 * (1 - table["physics", ratio][0] / best)
            print(f"  ratio {ratio}: ERGAS of physics is {gain:.1f} % below the best of {' and '.join(families)}")
            out[f"{ratio} {families[0]}"] = gain
    print()
    print(f"The same scene observed anew; declared: MTF .2825, no shift, PAN flat 400–700 nm. Noise: SNR {SNR:g}")
    print(f"  {'':40} {'MTF-GLP-FS':^21}   {'best other than physics (ERGAS)':^36}   {'physics':^21}")
    wrong = (
        ("as declared", {}), ("as declared, noise", {"noise": True}), ("MTF × 1.3", {"gain": 1.3}),
        ("MTF × 0.7", {"gain": 0.7}), ("shift ½ PAN pixel", {"shift": 0.5}), ("PAN response a bell", {"bell": True}),
        ("MTF × 1.3, shift, bell", {"gain": 1.3, "shift": 0.5, "bell": True}),
        ("MTF × 0.7, shift, bell", {"gain": 0.7, "shift": 0.5, "bell": True}),
        ("MTF × 0.7, shift, bell, noise", {"gain": 0.7, "shift": 0.5, "bell": True, "noise": True}),
    )  # fmt: skip
    for ratio, case in cases.items():
        for label, changes in wrong:
            seen = observed(case, **changes)
            found = {name: scores(seen, name) for name in methods()}
            best = min((name for name in found if name != "physics"), key=lambda name: found[name][0])
            texts = ["{:7.3f}{:7.2f}{:7.4f}".format(*found[name]) for name in ("MTF-GLP-FS", best, "physics")]
            print(f"  ratio {ratio}, {label:<30} {texts[0]}   {best:>14} {texts[1]}   {texts[2]}")
            out[f"{ratio} {label}"] = 100 * (1 - found["physics"][0] / found[best][0])
    return out


if __name__ == "__main__":
    main()
