"""Who may import whom, and what must not be loaded."""

import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

PACKAGES = ("hsitools", "calibration", "pansharpen", "denoise")
HEAVY = {"torch", "matplotlib", "numpy", "scipy", "h5py", "lmfit", "skimage", "tqdm"}
LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages in memory after importing ``modules`` in a new interpreter."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_hsitools_is_light():
    loaded = loaded_by("hsitools")
    assert not loaded & HEAVY
    assert not loaded & {"calibration", "pansharpen", "denoise"}


def test_root_command_is_light():
    loaded = loaded_by("hsitools.commands.root")
    assert not loaded & HEAVY
    assert not loaded & {"calibration", "pansharpen", "denoise"}


def test_command_modules_are_light():
    modules = sorted({point.module for point in entry_points(group="hsitools.commands")})
    assert not loaded_by(*modules) & HEAVY


@pytest.mark.parametrize("module", ["hsitools.io", "hsitools.sensor", "calibration.pipeline", "denoise.methods"])
def test_torch_is_loaded_where_it_computes_only(module):
    """It takes seconds, which opening a file, a calibration and ``hsi denoise list`` do without."""
    assert "torch" not in loaded_by(module)


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_layers(root):
    done = lint(root)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("place", "wrong"), [("hsitools/errors.py", "calibration"), ("pansharpen/__init__.py", "denoise")]
)
def test_layers_have_teeth(root, tmp_path, place, wrong):
    for package in PACKAGES:
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    with (tmp_path / place).open("a") as file:
        file.write(f"\nimport {wrong}\n")
    done = lint(tmp_path)
    assert done.returncode != 0
    assert "BROKEN" in done.stdout
