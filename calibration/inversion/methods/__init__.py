"""Inversion methods, one file each; importing this registers them all."""

from calibration.inversion.methods import (  # noqa: F401
    cosine,
    gp,
    joint,
    loris_verhoeven,
    nonnegative,
    pseudo_inverse,
    ridge,
    sparse,
    truncated_svd,
)
