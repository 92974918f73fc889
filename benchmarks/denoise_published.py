"""Published rows of the golden denoising cases, to print beside ours."""

from __future__ import annotations

#: SHA-256, its first digits, of the cases that `PUBLISHED` was measured on; other draws have other numbers.
GOLDEN = "7fc006c7f89515a0"

#: Mean PSNR (dB) of libraries at their defaults on the golden cases, one draw: method → case → value (peers.md, 3).
PUBLISHED: dict[str, dict[str, float]] = {
    name: {case: value for case, value in zip("abcdefg", values, strict=True) if value is not None}
    for name, values in {
        "noisy": (20.00, 17.88, 17.62, 17.70, 15.08, 14.36, 37.71),
        "whitened SVD + NLM": (37.86, 37.66, 37.23, 35.42, 30.68, 28.07, 40.70),
        "whitened SVD + BM3D": (38.37, 38.19, 37.32, 35.34, 31.00, 26.86, 39.95),
        "destripe + whitened SVD + BM3D": (37.19, 37.24, 37.23, 36.07, 30.52, 29.50, 43.56),
        "FastHyDe (iid)": (37.08, 35.12, 34.95, 33.98, 28.91, 26.24, 39.61),
        "L1HyMixDe": (36.91, 35.35, 34.99, None, 26.62, 27.45, 41.77),
        "BM4D": (36.82, 34.86, None, None, None, None, 38.90),
        "WSRRR": (35.42, 34.45, 33.93, 33.24, 28.88, 26.83, 39.77),
        "HyMiNoR": (32.83, 32.02, 32.50, 31.84, 30.99, 30.55, 42.28),
        "FORPDN": (33.62, 30.72, 30.42, 30.34, 28.57, 27.96, 41.52),
        "HyRes": (32.19, 29.62, 31.50, 29.81, 27.83, 26.61, 41.92),
        "OTVCA": (31.24, 29.77, 29.68, 29.40, 24.72, 24.61, 32.52),
    }.items()
}
#: What the truth of mask, σ and calibration would give with a plain smoother; no method, a mark to measure by.
WITH_TRUTH = {"b": 37.67, "c": 37.50, "d": 37.19, "e": 37.08, "f": 36.34, "g": 46.15}


def best_published(case: str) -> float:
    """Largest mean PSNR (dB) of a published row on a golden case."""
    return max(row[case] for row in PUBLISHED.values() if case in row)
