"""Denoisers, one file each (and the peer of `denoise.peers`); importing this package registers them."""

import denoise.methods.column_median
import denoise.methods.diffusion
import denoise.methods.lowrank
import denoise.methods.total_variation
import denoise.peers  # noqa: F401
