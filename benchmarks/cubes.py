"""A PRISMA-size product (239×1000×1000 with PAN 6000×6000): time of ``hsi info``, memory of a windowed convert."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.measure import run
from benchmarks.products import write_prisma


def main() -> dict[str, float]:
    """Print and return the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        product = folder / "scene.he5"
        write_prisma(product, rows=1000, columns=1000, compression=None)
        print(f"PRISMA-size product, {product.stat().st_size / 2**20:.0f} MiB")
        out: dict[str, float] = {}
        window = str(folder / "window.h5")
        for label, *command in (
            ("hsi info", "info", str(product)),
            ("convert 400:1000 nm, 512×512", "convert", str(product), window, "--bands", "400:1000",
             "--window", "0:512,0:512"),
            ("convert everything", "convert", str(product), str(folder / "all.h5")),
            ("quicklook", "quicklook", str(product), "-o", str(folder / "rgb.png")),
        ):  # fmt: skip
            seconds, peak, _ = run(*command)
            print(f"  {label:<30} {seconds:7.2f} s   {peak:6.0f} MiB at most")
            out[label] = seconds
            out[f"{label} MiB"] = peak
        print("  (targets: info < 1 s, windowed convert < 1 GB)")
    return out


if __name__ == "__main__":
    main()
