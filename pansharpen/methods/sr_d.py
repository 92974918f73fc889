"""SR-D: sparse representation of the injected details."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import avg_pool2d, conv_transpose2d, embedding_bag

from hsitools.sensor.separable import size_of
from hsitools.sensor.spatial import mtf_blur
from pansharpen.case import FusionCase
from pansharpen.families.statistics import band_sums, ratio_of
from pansharpen.registry import method

#: Most atoms; a dictionary of more keeps the strongest.
ATOMS = 128
#: Energy of details, in means over the scene, with which a patch's own gain weighs as much as the scene's.
LEANING = 2.0
#: An atom with less than this part of its length outside the span of those chosen says nothing new.
NEW = 0.05
#: Details of PAN below this part of its level are nothing but rounding.
FAINT = 1e-5
#: Coefficients that are held at once.
CHUNK = 1 << 18


def pursuit(
    signals: torch.Tensor, atoms: torch.Tensor, count: int, barred: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Orthogonal matching pursuit of all signals at once, by Gram-Schmidt.

    Parameters
    ----------
    signals : Tensor, shape (signal, m)
    atoms : Tensor, shape (atom, m)
        Of length one, or zero.
    count : int
        Atoms to a signal, at most m.
    barred : Tensor of bool, shape (signal, atom), optional
        Atoms that a signal may not use.

    Returns
    -------
    coefficients : Tensor, shape (signal, count)
        Zero for atoms that say nothing new.
    chosen : Tensor of int, shape (signal, count)
    """
    residual = signals
    basis: list[torch.Tensor] = []
    triangle: list[list[torch.Tensor]] = []
    weights, chosen = [], []
    for _ in range(count):
        match = (residual @ atoms.mT).abs_()
        best, index = (match if barred is None else match.masked_fill_(barred, -1)).max(1)
        new = atoms[index]
        column = []
        for known in basis:
            column.append((known * new).sum(1))
            new = new - column[-1][:, None] * known
        length = torch.linalg.vector_norm(new, dim=1)
        use = (length > NEW) & (best > 0)
        column.append(torch.where(use, length, 1))
        new = torch.where(use[:, None], new / column[-1][:, None], 0)
        weights.append((residual * new).sum(1))
        residual = residual - weights[-1][:, None] * new
        basis.append(new)
        triangle.append(column)
        chosen.append(index)
    coefficients: list[torch.Tensor] = []
    for row in reversed(range(count)):
        value = weights[row]
        for later, known in zip(range(count - 1, row, -1), coefficients, strict=True):
            value = value - triangle[later][row] * known
        # an atom without a part of its own has no weight in the basis, and must get none from later ones
        coefficients.append(torch.where(basis[row].any(1), value / triangle[row][row], 0))
    return torch.stack(coefficients[::-1], 1), torch.stack(chosen, 1)


def patches(images: torch.Tensor, size: int, step: int = 1) -> torch.Tensor:
    """All square patches ``(…, y, x, size, size)`` of images ``(…, y, x)``, every ``step`` pixels."""
    return images.unfold(-2, size, step).unfold(-2, size, step)


def transfer(atoms: torch.Tensor, fine: torch.Tensor, at: torch.Tensor, own: torch.Tensor, count: int) -> torch.Tensor:
    """What an atom from elsewhere tells of the fine details of a patch, from 0 to 1.

    Measured on PAN, of which both scales are known: its patches are represented by atoms that don't overlap them, and
    the fine details that follow are regressed on the true ones.
    """
    size, reach = math.isqrt(atoms.shape[1]), (at[:, None] - at).abs().amax(-1)
    coefficients, chosen = pursuit(own, atoms, count, barred=reach < size)
    dense = coefficients.new_zeros(len(own), len(atoms)).scatter_add_(1, chosen, coefficients)
    length = torch.linalg.vector_norm(own, dim=1)
    predicted, true = dense @ fine.flatten(1), fine.flatten(1) * length[:, None]
    return ratio_of((predicted * true).sum()[None], predicted.square().sum()[None]).clamp(0, 1)


def injected(
    coarse: torch.Tensor, pan: torch.Tensor, fine: torch.Tensor, gain: torch.Tensor, level: torch.Tensor, *, size: int,
    count: int,
) -> torch.Tensor:  # fmt: skip
    """Fine details ``(band, ratio·y, ratio·x)`` of the bands.

    Parameters
    ----------
    coarse : Tensor, shape (band, y, x)
        Details of the bands at the coarse scale.
    pan : Tensor, shape (y, x)
        Those of the coarse PAN.
    fine : Tensor, shape (ratio·y, ratio·x)
        Those of PAN.
    gain : Tensor, shape (band,)
        Of the whole scene.
    level : Tensor, shape ()
        Root mean square of PAN, not zero.
    size : int
        Of a patch, coarse pixels.
    count : int
        Atoms to a patch, its own included.
    """
    ratio = fine.shape[-1] // pan.shape[-1]
    own, fine_patches = patches(pan, size).flatten(-2), patches(fine, size * ratio, ratio)
    rows, columns = size_of(own[..., 0])
    taper = torch.hann_window(size * ratio + 2, periodic=False, dtype=fine.dtype, device=fine.device)[1:-1]
    window = taper[:, None] * taper

    # the patch's own details come first: its gain, drawn to the scene's where there is little to measure it by
    energy = own.square().sum(-1)
    faint = (size * FAINT) ** 2 * level**2
    lean = LEANING * energy.mean() + faint
    common = size**2 * avg_pool2d(coarse * pan, size, stride=1)
    local = (common + lean * gain[:, None, None]) / (energy + lean)
    weight = conv_transpose2d(torch.ones_like(own[None, None, ..., 0]), window[None, None], stride=ratio)[0, 0]
    out = fine * conv_transpose2d(local[:, None], window[None, None], stride=ratio)[:, 0]

    # then what the strongest patches of the scene explain of the rest
    length = energy.flatten().sqrt()
    kept = length.argsort(descending=True, stable=True)[:ATOMS]
    kept = kept[energy.flatten()[kept] > faint]
    if count < 2 or not len(kept):
        return out / weight
    y, x = kept // columns, kept % columns
    strong = own[y, x]
    atoms = strong / length[kept, None]
    fine_atoms = fine_patches[y, x] / length[kept, None, None]
    worth = transfer(atoms, fine_atoms, torch.stack([y, x], 1), strong, count - 1)
    fine_atoms = (worth * window * fine_atoms).flatten(1)
    blocks = out.unflatten(2, (-1, ratio)).unflatten(1, (-1, ratio))
    strip = max(1, CHUNK // (len(coarse) * columns * len(kept)))
    for first in range(0, rows, strip):
        part = slice(first, first + strip)
        signals = patches(coarse[:, first : first + strip + size - 1], size).flatten(-2)
        rest = signals - local[:, part, :, None] * own[part]
        coefficients, chosen = pursuit(rest.flatten(0, 2), atoms, count - 1)
        found = embedding_bag(chosen, fine_atoms, per_sample_weights=coefficients, mode="sum")
        found = found.unflatten(1, (size, ratio, size, ratio)).unflatten(0, rest.shape[:3])
        for i in range(size):
            for j in range(size):
                place = (slice(None), slice(first + i, first + i + found.shape[1]), slice(None), slice(j, j + columns))
                blocks[place] += found[:, :, :, i, :, j].transpose(2, 3)
    return out / weight


@method(
    "SR-D", family="model-based", tiled=False,
    paper="M. R. Vicinanza, R. Restaino, G. Vivone, M. Dalla Mura, J. Chanussot, A pansharpening method based on the "
    "sparse representation of injected details, IEEE GRSL 12(1), 2015",
)  # fmt: skip
def sr_d(case: FusionCase, *, patch: int = 3, atoms: int = 4) -> torch.Tensor:
    """Details of bands as sparse sums of PAN's coarse details; the same sums of its fine ones are injected.

    A patch's own atom comes first, as in the paper. The others, which lie elsewhere, weigh as much as they prove worth
    on PAN itself (`transfer`).
    """
    tile, optics = case.tile, case.optics
    blur = mtf_blur(size_of(case.coarse), optics.mtf, optics.ratio)
    blur_pan = mtf_blur(size_of(case.coarse), optics.mean_gains(), optics.ratio)
    coarse, pan = tile.coarse - blur(tile.coarse), tile.pan_coarse - blur_pan(tile.pan_coarse)
    low = band_sums(tile.pan_low, tile.pan, tile.measured).covariance
    gain = ratio_of(band_sums(tile.expanded, tile.pan, tile.measured).covariance, low).to(coarse.dtype)
    fine, size = tile.pan - tile.pan_low, min(patch, *size_of(case.coarse))
    level = tile.pan.square().mean((1, 2, 3)).sqrt()
    level = torch.where(level > 0, level, 1)
    items = zip(coarse, pan[:, 0], fine[:, 0], gain, level, strict=True)
    return tile.expanded + torch.stack([injected(*item, size=size, count=min(atoms, size * size)) for item in items])
