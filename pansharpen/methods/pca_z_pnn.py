"""PCA-Z-PNN: one net a spectral block, on its principal components."""

from __future__ import annotations

import torch

from hsitools.progress import Progress
from pansharpen.case import FusionCase
from pansharpen.families.statistics import mix, moments
from pansharpen.families.zero_shot import (
    STRUCTURE,
    VISIBLE_NM,
    DetailNet,
    LocalCorrelation,
    Steps,
    adapt,
    scaled,
    share_of,
    spectral_loss,
    structural_loss,
    whole_windows,
    window_of,
)  # fmt: skip
from pansharpen.registry import method

#: Principal components that are sharpened, and steps on each set of them.
COMPONENTS, STEPS = 4, 1000
#: Components below this share of the first one's deviation are given to the net no further magnified.
SMALLEST = 1e-3


@method(
    "PCA-Z-PNN", family="zero-shot net", tiled=False, batched=False,
    paper="M. Ciotola, G. Guarino, G. Vivone et al., Hyperspectral pansharpening: critical review, tools and future "
    "perspectives, 2024 (arXiv 2407.01355)",
)  # fmt: skip
def pca_z_pnn(
    scene: FusionCase, *, seed: int = 0, progress: Progress | None = None, effort: float = 1.0
) -> torch.Tensor:
    """Nets that learn on the scene itself, on the principal components of the bands inside and outside PAN's range.

    Parameters
    ----------
    scene : FusionCase
        Of one cube.
    seed : int
        Of the first weights.
    progress : callable, optional
        Called with (steps done, steps in all).
    effort : float
        Share of the full schedule.
    """
    tile, size = scene.tile, window_of(scene)
    groups = blocks(scene)
    steps = share_of(STEPS, effort)
    counter = Steps(steps * len(groups), progress)
    with torch.inference_mode(False), torch.enable_grad():
        images = scaled(scene)
        out = tile.expanded.clone()
        of_fused, of_coarse = LocalCorrelation(images.pan, size), LocalCorrelation(images.pan_low, size)
        windows = whole_windows(tile.valid, size)

        def details(bands: torch.Tensor) -> torch.Tensor:
            coarse, expanded = images.coarse[:, bands], images.expanded[:, bands]
            forward, back, share = components(coarse, images.pan_coarse, tile.coarse_valid)
            start = mix(forward, expanded)
            limit, operator = of_coarse(start), tile.down(scene.optics.select(bands.numpy()).mtf)
            net = DetailNet(start.shape[1], seed).to(out.device)
            prepared = net.prepare(start, images.pan)

            def loss() -> torch.Tensor:
                added = net(prepared)
                spectral = spectral_loss(expanded + mix(back, added), coarse, operator, tile.coarse_valid)
                structure = structural_loss(of_fused(start + added), limit, windows)
                return spectral + STRUCTURE[0] * (share * structure).sum()

            adapt(net, loss, steps, counter)
            return mix(back, net(prepared)).detach()

        for bands in groups:
            out[:, bands] += images.spread[:, bands] * details(bands)
    return out


def blocks(scene: FusionCase) -> list[torch.Tensor]:
    """Numbers of the bands below the end of PAN's range and above it; halves when no wavelengths are known."""
    wavelength = scene.optics.wavelength_nm
    numbers = torch.arange(scene.n_bands)
    below = numbers < scene.n_bands / 2 if wavelength is None else torch.as_tensor(wavelength) < VISIBLE_NM
    return [group for group in (numbers[below], numbers[~below]) if len(group)]


def components(
    coarse: torch.Tensor, pan: torch.Tensor, valid: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Leading principal components with deviation one, rising with PAN.

    Parameters
    ----------
    coarse : Tensor, shape (1, band, y, x)
        With mean zero.
    pan : Tensor, shape (1, 1, y, x)
    valid : Tensor of bool, shape (1, 1, y, x), or None

    Returns
    -------
    forward, back : Tensor, shapes (1, component, band) and (1, band, component)
        Bands to components and back.
    share : Tensor, shape (1, component)
        Of the sum of their deviations.
    """
    values, vectors = torch.linalg.eigh(moments(coarse, valid=valid).covariance)
    rank = min(COMPONENTS, coarse.shape[1])
    deviation = values[:, -rank:].flip(-1).clamp(min=0).sqrt()
    # a block without contrast has no scale
    first = torch.where(deviation[:, :1] > 0, deviation[:, :1], 1)
    deviation = torch.maximum(deviation, SMALLEST * first)
    vectors = vectors[:, :, -rank:].flip(-1)
    joint = moments(mix(vectors.mT, coarse), pan, valid).covariance.mT
    vectors = vectors * torch.where(joint < 0, -1, 1)
    forward, back = vectors.mT / deviation[..., None], vectors * deviation[:, None]
    share = deviation / deviation.sum(-1, keepdim=True)
    return forward.to(coarse.dtype), back.to(coarse.dtype), share.to(coarse.dtype)
