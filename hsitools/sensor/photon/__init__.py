"""Photon transfer: from dark and flat frames to gain, noise, full well and defects (EMVA 1288)."""
