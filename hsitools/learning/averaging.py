"""Averaged weights: they judge better than those of the last step, which depend on its few examples."""

from __future__ import annotations

import copy

import torch
from torch import nn


class Ema(nn.Module):
    """Exponential moving average of a net's parameters and buffers; in a checkpoint it is a module like others.

    Attributes
    ----------
    module : nn.Module
        The averaged copy, for use without gradients.
    updates : Tensor
        How many there were. The first ones weigh more: the decay is at most (1 + updates) / (10 + updates).
    """

    updates: torch.Tensor

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.module = copy.deepcopy(net).eval().requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take in the net's present weights; what is no floating number is copied."""
        done = int(self.updates)
        share = 1 - min(self.decay, (1 + done) / (10 + done))
        now = net.state_dict()
        for name, mean in self.module.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(now[name].to(mean), share)
            else:
                mean.copy_(now[name])
        self.updates += 1
