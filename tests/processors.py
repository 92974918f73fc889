"""Run tests as on other processors: ``python tests/processors.py [arguments of pytest]``.

NumPy, BLAS and torch choose their loops by what the processor can do, and sum in another order with other numbers of
threads; results differ in their last bits. Each *machine* below tells them to choose as another one would. Without
arguments the tests marked ``portable`` are run, which takes a few seconds a machine; with any, what these say (the
whole suite by ``python tests/processors.py -q tests``). Machines whose instructions this processor lacks are named and
left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from numpy._core._multiarray_umath import __cpu_baseline__, __cpu_dispatch__, __cpu_features__

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Machine(NamedTuple):
    """A name, what its processor must have beyond this one's least, and the environment that stands for it."""

    name: str
    needs: tuple[str, ...]
    environment: dict[str, str]


def threads(count: int) -> dict[str, str]:
    """NumPy's, BLAS's and torch's threads; they sleep while they wait: on cores that others use they would spin."""
    return {**dict.fromkeys(THREADS, str(count)), "OMP_WAIT_POLICY": "passive", "OPENBLAS_THREAD_TIMEOUT": "4"}


def without(*beginnings: str) -> dict[str, str]:
    """NumPy without the loops for features of such names, of those that it would use here; "" is all of them."""
    optional = [name for name in __cpu_dispatch__ if __cpu_features__.get(name) and name not in __cpu_baseline__]
    left_out = [name for name in optional if name.startswith(beginnings)]
    return {"NPY_DISABLE_CPU_FEATURES": " ".join(left_out)} if left_out else {}


MACHINES = (
    Machine("this processor, two threads", (), threads(2)),
    Machine(
        "AVX2, no AVX-512 (Haswell, Zen 2)", ("avx2",),
        {**threads(1), **without("AVX512", "X86_V4"), "OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2",
         "MKL_CBWR": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    ),
    Machine(
        "no AVX2, no FMA (Prescott)", (),
        {**threads(1), **without(""), "OPENBLAS_CORETYPE": "Prescott", "ATEN_CPU_CAPABILITY": "default",
         "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41",
         "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F"},
    ),
    Machine(
        "AVX-512 (Skylake-X), two threads", ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
        {**threads(2), "OPENBLAS_CORETYPE": "SkylakeX", "ATEN_CPU_CAPABILITY": "avx512"},
    ),
)  # fmt: skip


def flags() -> set[str]:
    """What this processor can do, as Linux tells it; nothing where it is not told."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def main(arguments: list[str]) -> int:
    """Exit code: 1 when the tests failed on any machine."""
    root, able = Path(__file__).resolve().parent.parent, flags()
    # pytest would import all files to find the marks
    marked = [
        str(path) for path in sorted(root.glob("tests/**/test_*.py")) if "mark.portable" in path.read_text("utf-8")
    ]
    command = [sys.executable, "-m", "pytest", *(arguments or ["-q", "-m", "portable", *marked])]

    def passes(machine: Machine) -> bool:
        """What pytest says is said at its end: two machines are run beside one another."""
        lacking = [name for name in machine.needs if name not in able]
        if lacking:
            print(f"{machine.name}: left out, this processor has no {', '.join(lacking)}", flush=True)
            return True
        began, environment = time.monotonic(), {**os.environ, **machine.environment}
        done = subprocess.run(command, cwd=root, env=environment, check=False, stdout=subprocess.PIPE, text=True)
        verdict = "passed" if done.returncode == 0 else "FAILED"
        print(f"{done.stdout}{machine.name}: {verdict} in {time.monotonic() - began:.0f} s", flush=True)
        return done.returncode == 0

    with ThreadPoolExecutor(2) as pool:
        return 0 if all(list(pool.map(passes, MACHINES))) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
