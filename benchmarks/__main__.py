"""Print every table: ``make bench``; or only those named: ``python -m benchmarks indices cubes``."""

import sys

NAMES = (
    "captures", "speed", "truth", "maps", "indices", "cubes", "sensors", "formats", "pansharpen_golden",
    "pansharpen_speed", "pansharpen_sparse", "denoise_golden",
)  # fmt: skip
#: Minutes each: only when named.
LONG = (
    "denoise_ablation", "denoise_scenes", "denoise_memory", "pansharpen_scenes", "pansharpen_memory",
    "pansharpen_zero_shot", "fuzz", "compression",
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


run(sys.argv[1:] or list(NAMES))
