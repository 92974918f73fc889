"""What is contrast, and what the rounding of float32."""

from __future__ import annotations

import torch


def above_rounding(variance: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """The variance, or zero where float32 data of that mean could not hold it: an image that is flat."""
    return torch.where(variance > (torch.finfo(torch.float32).eps * mean) ** 2, variance, 0)
