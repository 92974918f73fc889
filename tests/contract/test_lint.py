"""``make lint`` as tests: style, format, types; and the types that a user's script sees."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("ruff", "check", "--quiet", "--output-format=concise", "."), id="ruff-check"),
        pytest.param(("ruff", "format", "--check", "--quiet", "."), id="ruff-format"),
        pytest.param(("mypy",), id="mypy"),
    ],
)
def test_lint(root, command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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
    """A user's script: real types, no Any, and unknown names are errors. After `test_lint`, whose cache it shares."""
    lines = ["import calibration, denoise, hsitools, hsitools.sensor, pansharpen", "path = 'scene.h5'"]
    lines += [f"reveal_type({expression})" for expression in REVEALED]
    script = tmp_path / "script.py"
    script.write_text("\n".join([*lines, "hsitools.no_such_name", ""]))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", str(script)], cwd=root, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    said = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    notes = [line for line in said if line.startswith("note: Revealed type is ")]
    assert len(notes) == len(REVEALED), done.stdout + done.stderr
    for note, (expression, expected) in zip(notes, REVEALED.items(), strict=True):
        assert expected in note, f"{expression}: {note}"
    errors = [line for line in said if line.startswith("error")]
    assert len(errors) == 1, errors
    assert "no_such_name" in errors[0]
