"""``make dist``: build sdist and wheel, install each in a fresh environment, and use it there.

Nothing is downloaded: the dependencies are those of the environment that runs this.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What a user does first, in an empty folder: arguments of ``hsi``.
SMOKE = (
    ("--version",),
    ("formats",),
    ("sensor", "make", "--preset", "prisma", "-o", "prisma.h5"),
    ("simulate", "--sensor", "prisma.h5", "--size", "48x48", "--seed", "1", "-o", "seen.h5"),
    ("info", "seen.h5"),
    ("pansharpen", "run", "MTF-GLP-FS", "seen.h5", "--sensor", "prisma", "-o", "fused.h5"),
    ("convert", "fused.h5", "few.h5", "--bands", "450:700"),
    ("denoise", "run", "few.h5", "-o", "clean.h5"),
)
#: Public names, types and weights are part of what is installed, and come from there.
INSIDE = """
import importlib, pathlib, sys
import pansharpen.learning, denoise.learning
from importlib.metadata import entry_points
for name in ("hsitools", "calibration", "pansharpen", "denoise"):
    package = importlib.import_module(name)
    folder = pathlib.Path(package.__file__).parent
    assert folder.is_relative_to(sys.prefix), folder
    assert (folder / "py.typed").is_file(), folder
    for public in package.__all__:
        getattr(package, public)
for group in ("hsitools.commands", "hsitools.formats", "hsitools.demo"):
    for point in entry_points(group=group):
        point.load()
print("four packages, their public names, types and entry points")
"""


def say_and_run(*command: str, cwd: Path) -> None:
    """Run a command, or stop with what it said."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    lines = (done.stdout if done.returncode == 0 else done.stdout + done.stderr).strip().splitlines()
    print("   $", " ".join(Path(part).name if part == command[0] else part for part in command if len(part) < 90))
    if done.returncode:
        sys.exit("\n".join(lines))
    if lines:
        print("    ", lines[0])


def use(wheel: Path, folder: Path) -> None:
    """Install a wheel in a fresh environment and do there what a user does first."""
    say_and_run(sys.executable, "-m", "venv", str(folder / "fresh"), cwd=folder)
    bin_folder = folder / "fresh" / ("Scripts" if os.name == "nt" else "bin")
    python = str(bin_folder / "python")
    say_and_run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel), cwd=folder)
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True,
        check=True,
    ).stdout.strip()  # fmt: skip
    # the dependencies, behind what was installed; an editable install among them is not followed
    here = [sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))]
    Path(site, "dependencies.pth").write_text("\n".join(dict.fromkeys(here)) + "\n")
    for command in SMOKE:
        say_and_run(str(bin_folder / "hsi"), *command, cwd=folder)
    say_and_run(python, "-c", INSIDE, cwd=folder)


def main() -> None:
    """Build, install and use both."""
    target = ROOT / "dist"
    for old in target.glob("hsitools-*"):
        old.unlink()
    say_and_run(sys.executable, "-m", "hatchling", "build", "-d", str(target), cwd=ROOT)
    for built in sorted(target.glob("hsitools-*")):
        print(f"{built.name}, {built.stat().st_size / 2**20:.1f} MiB")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            wheel = built
            if built.name.endswith(".tar.gz"):
                say_and_run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
                            "--no-build-isolation", "-w", str(folder), str(built), cwd=folder)  # fmt: skip
                (wheel,) = folder.glob("*.whl")
            use(wheel, folder)


if __name__ == "__main__":
    main()
