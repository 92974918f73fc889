"""``hsi calibrate``, ``hsi capture`` and ``hsi demo``."""
