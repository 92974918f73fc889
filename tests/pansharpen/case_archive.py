"""A published case as a file, which tests of the benchmark write."""

import numpy as np


def write_case(path, *, gt=True, bands=8, size=6, ratio=2, seed=0):
    rng = np.random.default_rng(seed)
    truth = 100 + 50 * rng.random((bands, size * ratio, size * ratio)).astype(np.float32)
    coarse = truth.reshape(bands, size, ratio, size, ratio).mean((2, 4))
    given = {"ms_lr": coarse, "pan": truth.mean(0, keepdims=True), "ratio": ratio, "overlap": bands}
    np.savez(path, **given, **({"gt": truth} if gt else {}))
    return path
