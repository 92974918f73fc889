"""Denoisers, one file each (and the peer of `denoise.comparison.peers`); importing this package registers them."""

import denoise.comparison.peers
import denoise.methods.column_median
import denoise.methods.diffusion
import denoise.methods.lowrank
import denoise.methods.total_variation  # noqa: F401
