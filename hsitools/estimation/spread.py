"""Spread of numbers among which some are wild."""

from __future__ import annotations

#: Standard deviation of normal numbers over the median of their distances from the middle: 1/Φ⁻¹(¾).
NORMAL = 1.482602218505602
