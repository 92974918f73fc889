"""`hsi denoise` as typed, and the cube that its tests restore."""

from __future__ import annotations

from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from denoise.commands.denoise import denoise as denoise_command

BANDS, HEIGHT, WIDTH = 18, 32, 40


def here(*arguments: Any, code: int = 0) -> Result:
    """As typed, in this process: quicker, errors of ours come as they are."""
    done = CliRunner().invoke(denoise_command, list(map(str, arguments)))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done


def three_materials() -> Any:
    """Three materials in smooth patches, (band, y, x), in [0, 1]."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:HEIGHT, :WIDTH] / 8
    shares = np.stack([np.sin(y + k) * np.cos(x * (1 + k / 3)) for k in range(3)])
    spectra = np.cumsum(rng.standard_normal((BANDS, 3)), axis=0)
    cube = np.tensordot(spectra, shares, 1)
    return np.clip(0.4 + 0.12 * cube / cube.std(), 0, 1).astype(np.float32)
