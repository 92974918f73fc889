"""``hsi pansharpen``."""
