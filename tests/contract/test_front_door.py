"""Public names: there, lazy, typed, and never in the place of a module."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("hsitools", "hsitools.sensor", "calibration", "pansharpen", "denoise")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'no_such_name'"):
        module.no_such_name  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_are_told_of_the_same_names(package):
    """The imports below ``if TYPE_CHECKING`` are those that happen, each as a public name."""
    module = importlib.import_module(package)
    told = {}
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                for alias in line.names:
                    assert alias.asname == alias.name, "only `import x as x` is public to type checkers"
                    told[alias.name] = line.module
    assert set(told) == set(module.__all__)
    for name, home in told.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_a_module(package):
    """Importing a sub-module puts it into its package, in the place of a function of that name."""
    module = importlib.import_module(package)
    inside = {info.name for info in pkgutil.iter_modules(module.__path__)}
    assert not inside & set(module.__all__)


@pytest.mark.parametrize("package", ["hsitools", "calibration", "pansharpen", "denoise"])
def test_type_information_is_part_of_the_package(root, package):
    assert (root / package / "py.typed").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_nothing_heavy(package):
    code = f"import sys, {package}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "matplotlib", "numpy", "scipy", "h5py", "lmfit", "skimage"} & set(done.stdout.split())


#: What a user's script asks for, and what mypy must answer.
REVEALED = {
    "hsitools.preset": "def (name: str, **settings: Any) -> hsitools.sensor.sensor.Sensor",
    "hsitools.open_cube(path)": "hsitools.cube.cube.Cube",
    "hsitools.Sensor.observe": "-> hsitools.cube.cube.Cube",
    "hsitools.evaluate(1, 2)": "dict[str, hsitools.metrics.Evaluation]",
    "hsitools.scene((8, 8))": "hsitools.cube.cube.Cube",
    "hsitools.sensor.Sensor": "hsitools.sensor.sensor.Sensor",
    "hsitools.sensor.Detector": "hsitools.sensor.detector.Detector",
    "hsitools.sensor.photon_transfer": "PhotonTransfer",
    "calibration.characterize": "-> calibration.characterization.Characterization",
    "calibration.open_capture(path).band_nm": "tuple[float, float]",
    "pansharpen.fuse": "-> hsitools.cube.cube.Cube",
    "pansharpen.list_methods()[0].name": "str",
    "denoise.denoise": "-> hsitools.cube.cube.Cube",
    "denoise.restore_cube(hsitools.open_cube(path)).std": "hsitools.cube.cube.Cube | None",
}


def test_type_checkers_see_real_types(root, tmp_path):
    """A user's script, checked strictly: real types, no Any, and unknown names are errors."""
    lines = ["import calibration, denoise, hsitools, hsitools.sensor, pansharpen", "path = 'scene.h5'"]
    lines += [f"reveal_type({expression})" for expression in REVEALED]
    script = tmp_path / "script.py"
    script.write_text("\n".join([*lines, "hsitools.no_such_name", ""]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "--hide-error-context",
         "--ignore-missing-imports", "--no-error-summary", f"--cache-dir={tmp_path / 'cache'}", str(script)],
        cwd=root, capture_output=True, text=True, check=False, env={"MYPYPATH": str(root), "PATH": ""},
    )  # fmt: skip
    said = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    notes = [line for line in said if line.startswith("note: Revealed type is ")]
    assert len(notes) == len(REVEALED), done.stdout + done.stderr
    for note, (expression, expected) in zip(notes, REVEALED.items(), strict=True):
        assert expected in note, f"{expression}: {note}"
    errors = [line for line in said if line.startswith("error")]
    assert len(errors) == 1, errors
    assert "no_such_name" in errors[0]
