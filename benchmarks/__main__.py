"""Print every table: ``make bench``; or only those named: ``python -m benchmarks indices cubes``.

``python -m benchmarks --write docs/results.md indices cubes`` puts what they print into that file.
"""

import subprocess
import sys
from pathlib import Path

NAMES = (
    "house", "captures", "calibration", "speed", "truth", "maps", "photon_transfer", "instrument", "indices", "cubes",
    "sensors", "formats", "pansharpen_golden", "pansharpen_speed", "pansharpen_sparse", "fusion", "denoise_golden",
)  # fmt: skip
#: Minutes each: only when named.
LONG = (
    "calibration_coverage", "calibration_constants", "denoise_ablation", "denoise_scenes", "denoise_memory",
    "denoise_right", "fusion_ablation", "fusion_noisy", "fusion_std",
    "pansharpen_scenes", "ranked", "pansharpen_memory", "pansharpen_zero_shot", "fusion_pairs", "honesty", "fuzz",
    "compression", "inversion", "inversion_limits", "writing", "gpu", "scale", "guide",
)  # fmt: skip


def run(names: list[str]) -> None:
    """Print the tables."""
    from importlib import import_module

    wrong = [name for name in names if name not in NAMES + LONG]
    if wrong:
        sys.exit(f"benchmarks: found {wrong[0]!r}, expected some of {', '.join(NAMES + LONG)}")
    chosen = None
    for number, name in enumerate(names):
        if number:
            print()
        module = import_module(f"benchmarks.{name}")
        if name == "captures":
            results = module.main()
            chosen = {device: (r["auto"].model, r["auto"].settings) for device, r in results.items()}
        elif name == "speed" and chosen is not None:
            module.main(chosen)
        else:
            module.main()


def write(document: Path, names: list[str]) -> None:
    """Put what each benchmark prints into the block below its command in a document."""
    for name in names:
        mark = f"<!-- python -m benchmarks {name} -->"
        before, found, rest = document.read_text(encoding="utf-8").partition(mark)
        if not found:
            sys.exit(f"{document}: found no line {mark!r}")
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "benchmarks", name], capture_output=True, text=True, check=True
        )  # fmt: skip
        _, _, after = rest.partition("```\n")[2].partition("```\n")
        lines = "\n".join(line.rstrip() for line in done.stdout.splitlines())
        document.write_text(f"{before}{mark}\n```\n{lines}\n```\n{after}", encoding="utf-8")


if sys.argv[1:2] == ["--write"]:
    write(Path(sys.argv[2]), sys.argv[3:] or list(NAMES))
else:
    run(sys.argv[1:] or list(NAMES))
