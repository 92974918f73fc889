"""The latent flow: a 3D U-Net that predicts clean latents, and the rectified flow that draws samples with it.

The latent's axes are spectral component, y and x (`autoencoder`). Convolutions see the neighbours in space,
attention joins all components of a place and, at the coarsest level, all places of a component: so the component axis
may have any length and order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from denoise.latent.autoencoder import to_blocks

#: Latent channels (Haar coefficients), strongest components shown to all as a guide, numbers that describe a component.
CHANNELS, GUIDES, FEATURES = 4, 3, 8
#: Number of the feature that is one for atoms, zero for components of the subspace.
ATOM = 2
#: Standard deviation of the flow's start, units of the noise: about that of the residuals that it ends in.
START = 0.4
#: Variance of the net's own error, units of the noise.
OWN_ERROR = 0.02
#: Units of the noise by which a residual may be larger than what is seen of it: of what the net predicts, one in ten
#: thousand is beyond one, and of samples beyond three.
BEYOND_SEEN = 2.0
#: Share of a component that was measured, at least.
LEAST_SHARE = 0.05
#: Scores of pairs of places in memory at a time.
SCORES = 2**25
#: Pixels of the coarsest level.
MULTIPLE = 8


class Evidence(NamedTuple):
    """What the observation tells of the residuals of n components, units of the noise; images are ``(n, y, x)``.

    Attributes
    ----------
    observed : tensor
        Scores of the observation less the classical estimate's: residual plus noise.
    best, single, joint : tensor
        The classical estimate of the scores and the two non-local means behind it; zero for atoms.
    spread, share : tensor
        Standard deviation of the noise, and the share of it that comes from voxels that were measured.
    features : tensor, shape (n, FEATURES)
    """

    observed: torch.Tensor
    best: torch.Tensor
    single: torch.Tensor
    joint: torch.Tensor
    spread: torch.Tensor
    share: torch.Tensor
    features: torch.Tensor


class Condition(NamedTuple):
    """`Evidence` as the net takes it: channels ``(n, c, y/2, x/2)`` and features ``(n, FEATURES)``."""

    observed: torch.Tensor
    context: torch.Tensor
    features: torch.Tensor

    def without_observation(self) -> Condition:
        """The same with what the observation says of the residual left out: of the classical estimate only."""
        context = self.context.clone()
        context[:, : 2 * CHANNELS] = 0
        return Condition(torch.zeros_like(self.observed), context, self.features)


def channels_of(evidence: Evidence) -> Condition:
    """Channels of the evidence; sizes are multiples of `MULTIPLE`."""
    n = len(evidence.best)
    size = evidence.best.std(dim=(1, 2), keepdim=True)
    plain = (evidence.best - evidence.best.mean(dim=(1, 2), keepdim=True)) / (size + 1)
    guides = plain[:GUIDES]
    guides = torch.cat([guides, guides.new_zeros(GUIDES - len(guides), *guides.shape[1:])])
    shared = to_blocks(guides).movedim(0, 1).flatten(0, 1).expand(n, -1, -1, -1)

    def blocks(images: torch.Tensor) -> torch.Tensor:
        return to_blocks(images).movedim(0, 1)

    pooled = functional.avg_pool2d(torch.stack([evidence.spread, evidence.share], dim=1), 2)
    observed = blocks(evidence.observed)
    single, joint = (torch.asinh(blocks(image - evidence.best)) for image in (evidence.single, evidence.joint))
    context = torch.cat([single, joint, blocks(plain), shared, pooled], dim=1)
    return Condition(observed, context, evidence.features)


CONTEXT = 3 * CHANNELS + GUIDES * CHANNELS + 2


class FlowNet(nn.Module):
    """Clean latents from noisy ones at any time of the flow; at time 0 it gives the posterior mean.

    Parameters
    ----------
    width : int
        Channels of the finest level.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        first, second, third = width, 2 * width, 3 * width
        embedding = 4 * width
        # named as in the files of weights
        self.known = nn.Sequential(
            nn.Linear(FEATURES + 17, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.enter = nn.Conv2d(2 * CHANNELS + CONTEXT, first, 3, padding=1)
        self.down1 = nn.ModuleList([Block(first, embedding), Block(first, embedding)])
        self.to2 = nn.Conv2d(first, second, 2, stride=2)
        self.down2 = nn.ModuleList([Block(second, embedding), Block(second, embedding)])
        self.mix2 = Attention(second)
        self.to3 = nn.Conv2d(second, third, 2, stride=2)
        self.middle = nn.ModuleList([Block(third, embedding), Block(third, embedding)])
        self.mix3, self.across3 = Attention(third), Attention(third)
        self.from3 = nn.ConvTranspose2d(third, second, 2, stride=2)
        self.up2 = nn.ModuleList([Block(second, embedding), Block(second, embedding)])
        self.mix_up2 = Attention(second)
        self.from2 = nn.ConvTranspose2d(second, first, 2, stride=2)
        self.up1 = nn.ModuleList([Block(first, embedding), Block(first, embedding)])
        self.leave = nn.Conv2d(first, 2 * CHANNELS, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        with torch.no_grad():
            # before training it predicts the classical estimate: no residual, and hardly any trust in the observation
            self.leave.bias.copy_(torch.cat([torch.zeros(CHANNELS), torch.full((CHANNELS,), -4.0)]))

    def forward(self, noisy: torch.Tensor, time: torch.Tensor, condition: Condition, items: int = 1) -> torch.Tensor:
        """Predicted clean latents.

        Parameters
        ----------
        noisy : tensor, shape (items · n, CHANNELS, h, w)
            Latents at ``time``; ignored at time 0, where they are pure noise.
        time : tensor, shape (items,)
            0 (noise) to 1 (clean).
        condition : Condition
            Of all items, one after another.
        items : int
            Cubes, of n components each.
        """
        n = len(noisy) // items
        time = time.repeat_interleave(n)
        waves = time[:, None] * (torch.pi * 2.0 ** torch.arange(-1, 7, device=time.device))
        embedding = self.known(torch.cat([condition.features, time[:, None], waves.sin(), waves.cos()], dim=1))
        noisy = noisy * (time > 0)[:, None, None, None]
        x = self.enter(torch.cat([noisy / START, torch.asinh(condition.observed), condition.context], dim=1))
        for block in self.down1:
            x = block(x, embedding)
        fine = x
        x = self.to2(x)
        for block in self.down2:
            x = block(x, embedding)
        x = self.mix2.components(x, items)
        middle = x
        x = self.to3(x)
        x = self.across3.places(self.mix3.components(self.middle[0](x, embedding), items))
        x = self.from3(self.middle[1](x, embedding)) + middle
        for block in self.up2:
            x = block(x, embedding)
        x = self.from2(self.mix_up2.components(x, items)) + fine
        for block in self.up1:
            x = block(x, embedding)
        residual, trust = self.leave(functional.silu(x)).chunk(2, dim=1)
        return START * residual + torch.sigmoid(trust) * condition.observed


class Block(nn.Module):
    """Two convolutions; in between, scale and shift by what describes the component.

    Norms are of a place's channels only, so that a tile's result does not depend on the rest of the scene.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.scale = nn.Linear(embedding, 2 * width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Images ``(n, width, h, w)`` of components that ``(n, embedding)`` describes."""
        scale, shift = self.scale(embedding)[..., None, None].chunk(2, dim=1)
        inner = normed(self.first(functional.silu(normed(x)))) * (1 + scale) + shift
        return x + self.second(functional.silu(inner))


def normed(x: torch.Tensor) -> torch.Tensor:
    """Each place's channels with a mean square of one."""
    return x * torch.rsqrt((x * x).mean(dim=1, keepdim=True) + 1e-4)


class Attention(nn.Module):
    """Self-attention among the components of a place, or among the places of a component."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.ask = nn.Conv2d(width, 3 * width, 1)
        self.answer = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.answer.weight)

    def components(self, x: torch.Tensor, items: int) -> torch.Tensor:
        """Among the components of each place of each item."""
        count, width, height, across = x.shape
        n = count // items
        asked = self.ask(normed(x)).reshape(items, n, 3, self.heads, width // self.heads, height * across)
        q, k, v = asked.permute(2, 0, 5, 3, 1, 4).flatten(1, 2)
        attended = functional.scaled_dot_product_attention(q, k, v)
        attended = attended.reshape(items, height * across, self.heads, n, -1).permute(0, 3, 2, 4, 1)
        return x + self.answer(attended.reshape(x.shape))

    def places(self, x: torch.Tensor) -> torch.Tensor:
        """Among the places of each component."""
        count, width, height, across = x.shape
        asked = self.ask(normed(x)).reshape(count, 3, self.heads, width // self.heads, height * across)
        q, k, v = asked.permute(1, 0, 2, 4, 3)
        some = max(1, SCORES // (self.heads * (height * across) ** 2))
        parts = zip(*(item.split(some) for item in (q, k, v)), strict=True)
        attended = torch.cat([functional.scaled_dot_product_attention(*part) for part in parts])
        return x + self.answer(attended.transpose(-1, -2).reshape(x.shape))


def predicted_mean(net: FlowNet, condition: Condition) -> torch.Tensor:
    """Latents ``(n, CHANNELS, h, w)``: at its start the flow's velocity points at the mean of all ends."""
    start = torch.zeros_like(condition.observed)
    return net(start, start.new_zeros(1), condition)


def towards_data(clean: torch.Tensor, condition: Condition) -> torch.Tensor:
    """Clean latents as the net and the measurement together have them.

    The net's prediction counts with the variance `OWN_ERROR` of scenes unlike those that it learned from, the
    measurement with that of its noise (photon and read noise, gains and mask are in ``spread`` and ``share``). Atoms
    stay as predicted: most of them hold nothing but noise.

    What contradicts the measurement (a residual of many times what is seen) comes of a scene that the net knows nothing
    of, as a thin line hundreds of times brighter than noise: there its prediction fades to none.
    """
    spread, share = condition.context[:, -2:].split(1, dim=1)
    bound = (condition.observed.abs() + BEYOND_SEEN) / share.clamp(min=LEAST_SHARE)
    clean = clean * (2 - clean.abs() / bound).clamp(0, 1)
    atom = condition.features[:, ATOM, None, None, None]
    weight = (1 - atom) * share * OWN_ERROR / (OWN_ERROR + spread.square())
    return clean + weight * (condition.observed - clean)


def posterior_mean(net: FlowNet, condition: Condition) -> torch.Tensor:
    """Latents ``(n, CHANNELS, h, w)``, consistent with the data."""
    return towards_data(predicted_mean(net, condition), condition)


def sample(net: FlowNet, condition: Condition, steps: int, generator: torch.Generator) -> torch.Tensor:
    """Latents drawn from the posterior: the rectified flow from noise, in ``steps`` Euler steps, each consistent with
    the data.

    X. Liu, C. Gong, Q. Liu, Flow straight and fast, ICLR 2023.

    Parameters
    ----------
    net : FlowNet
    condition : Condition
    steps : int
    generator : torch.Generator
    """
    start = torch.randn(condition.observed.shape, generator=generator).to(condition.observed)
    now = START * start
    for step in range(steps):
        time = step / steps
        clean = towards_data(net(now, now.new_full((1,), time), condition), condition)
        now = now + (clean - now) / (steps - step)
    return now
