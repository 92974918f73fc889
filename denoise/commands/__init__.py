"""``hsi denoise``."""
