"""The command that users type: its seconds, what it says of unseen lines, and how far its model moves between folds.

Lines are dealt to five folds. Each fold's capture is what a monochromator would have given that never stopped at the
fold's lines: the model is chosen and fitted on it (``--model auto``), then predicts them. Nothing is shared between
folds, so this is the honest error of the whole procedure, choice included.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.captures import DEVICES, load, shared_folder
from calibration.captures.capture import MonochromaticCapture
from calibration.held_out import deal
from calibration.pipeline import characterize

#: Figures of 0.1.0: seconds as stated in issue 11; the others measured on 0.1.0 by the loop of `folds` below.
BEFORE: dict[str, tuple[float, ...]] = {
    "seconds": (6.9, 17.2, 24.4),
    "held_out": (0.1490, 0.1193, 0.1922),
    "moves": (0.108, 0.088, 0.150),
    "moves_p90": (1.175, 0.134, 0.239),
}
#: The published code's one model, of one choice, on the same machine (issue 11); what is wanted of the command.
PUBLISHED_SECONDS, WANTED_SECONDS = (7.0, 3.3, 21.2), (2, 3, 10)
FOLDS, SEED = 5, 1


def seconds(device: str, repeats: int = 3) -> float:
    """CPU seconds, user and system, all threads, of ``hsi calibrate CAPTURE`` in a process of its own; the least."""
    command = [str(Path(sys.executable).parent / "hsi"), "calibrate", str(shared_folder() / "data/captures" / device)]
    # as after an installation: compiled modules are kept
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    used = []
    for _ in range(repeats + 1):
        before = os.times()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        after = os.times()
        used.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(used)


def without_lines(capture: MonochromaticCapture, lines: Any) -> MonochromaticCapture:
    """The capture of a monochromator that never stopped at these lines."""
    kept = np.setdiff1d(np.arange(capture.n_lines), lines)
    optional = {name: getattr(capture, name) for name in ("neighbourhood", "saturated")}
    return replace(
        capture, intensity=capture.intensity[:, kept], flat=capture.flat[:, kept], mask=capture.mask[:, kept],
        wavenumber=capture.wavenumber[kept],
        linewidth_nm=None if capture.linewidth_nm is None else capture.linewidth_nm[kept],
        **{name: None if array is None else array[:, kept] for name, array in optional.items()},
    )  # fmt: skip


def folds(capture: MonochromaticCapture) -> dict[str, Any]:
    """Held-out RMSE of the whole procedure, how far the transmittance moves between folds, what its bands hold."""
    n = capture.n_lines
    level = (capture.intensity * capture.mask).sum(axis=1) / np.maximum(capture.mask.sum(axis=1), 1)
    shape = (FOLDS, *capture.intensity.shape)
    curves, stderr = np.empty(shape), np.empty(shape)
    error, covered, labels = np.full(shape[1:], np.nan), np.full(shape[1:], np.nan), []
    for number, lines in enumerate(deal(n, FOLDS, SEED)):
        inner = lines[(lines > 0) & (lines < n - 1)]  # the band's ends stay, or the others would lie outside
        result = characterize(without_lines(capture, inner))
        labels.append(result.label)
        at = result.true_wavelength_nm(capture.wavelength_nm)
        curves[number], stderr[number] = result.transmittance(at), result.transmittance_stderr(at)
        with np.errstate(invalid="ignore"):
            miss = np.where(capture.mask, capture.intensity, np.nan) / capture.flat - curves[number]
            covered[:, inner] = (np.abs(miss) <= 1.96 * result.measurement_stderr(at))[:, inner]
        covered[:, inner] = np.where(np.isfinite(miss[:, inner]), covered[:, inner], np.nan)
        error[:, inner] = (miss * capture.flat / level[:, None])[:, inner]
    rows = np.isfinite(curves).all(axis=(0, 2))
    # two folds differ by √2 times their deviation from the mean of all
    moves = np.sqrt(2 * curves.var(axis=0, ddof=1).mean(axis=1)) / curves.mean(axis=0).std(axis=1)
    # folds share three quarters of their lines: a difference has the variance 2·(1 − 3/4) of one fold's band, at least
    expected = np.sqrt(2 * 0.25 * (stderr**2).mean(axis=(0, 2))) / curves.mean(axis=0).std(axis=1)
    return {
        "held_out": float(np.sqrt(np.nanmean(error**2, axis=1))[rows].mean()),
        "moves": float(np.median(moves[rows])),
        "moves_p90": float(np.percentile(moves[rows], 90)),
        "expected": float(np.median(expected[rows])),
        "covered": float(np.nanmean(covered[rows])),
        "labels": labels,
    }


def main(devices: tuple[str, ...] = DEVICES) -> dict[str, dict[str, Any]]:
    """Print the tables and return their figures by device."""
    results = {device: {"seconds": seconds(device), **folds(load(device))} for device in devices}
    each = [results[device] for device in devices]
    places = [DEVICES.index(device) for device in devices]

    def row(name: str, values: Any, form: str) -> None:
        print(f"  {name:<66}" + "".join(f"{format(value, form):>13}" for value in values))

    print("hsi calibrate CAPTURE, --model auto: whole command, imports and choice of the model included, no figures")
    print(f"  {'':<66}" + "".join(f"{device:>13}" for device in devices))
    row("CPU seconds (user + system), 0.1.0 (issue 11)", [BEFORE["seconds"][k] for k in places], ".1f")
    row("CPU seconds, published code, one model (issue 11)", [PUBLISHED_SECONDS[k] for k in places], ".1f")
    row("CPU seconds, wanted at most", [WANTED_SECONDS[k] for k in places], ".1f")
    row("CPU seconds, now, this machine", [r["seconds"] for r in each], ".2f")
    print("Five folds, model chosen and fitted anew without each fold's lines")
    row("held-out RMSE, 0.1.0", [BEFORE["held_out"][k] for k in places], ".4f")
    row("held-out RMSE, now", [r["held_out"] for r in each], ".4f")
    row("transmittance, two folds apart / its modulation, median, 0.1.0", [BEFORE["moves"][k] for k in places], ".3f")
    row("the same, now", [r["moves"] for r in each], ".3f")
    row("the same, worst tenth of interferometers, 0.1.0", [BEFORE["moves_p90"][k] for k in places], ".3f")
    row("the same, now", [r["moves_p90"] for r in each], ".3f")
    row("what its standard error leads to expect of the median, now", [r["expected"] for r in each], ".3f")
    row("share of held-out lines within the 95 % band with noise, now", [r["covered"] for r in each], ".3f")
    for device, r in zip(devices, each, strict=True):
        for name in r["labels"]:
            print(f"  {device}: {name}")
    return results


if __name__ == "__main__":
    main()
