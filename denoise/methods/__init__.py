"""Denoisers, one file each; importing this package registers them."""

import denoise.methods.column_median
import denoise.methods.lowrank
import denoise.methods.total_variation  # noqa: F401
