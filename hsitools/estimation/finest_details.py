"""The finest details of an image: its second differences, scaled so that white noise keeps its variance."""

from __future__ import annotations

import torch

#: Weights by steps (y, x): of second differences along both axes, and along each.
Kernel = dict[tuple[int, int], float]
LAPLACIAN: Kernel = {(0, 0): 4 / 20**0.5} | dict.fromkeys([(0, 1), (1, 0), (0, -1), (-1, 0)], -1 / 20**0.5)
ALONG: tuple[Kernel, ...] = tuple(
    {(0, 0): 2 / 6**0.5} | dict.fromkeys([(y, x), (-y, -x)], -1 / 6**0.5) for y, x in ((1, 0), (0, 1))
)


def _doubled(kernel: Kernel) -> Kernel:
    """The same of an image of pixels twice as large, at every pixel: steps of two, of means over three by three."""
    out: Kernel = {}
    for (y, x), weight in kernel.items():
        for place in ((2 * y + i, 2 * x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
            out[place] = out.get(place, 0.0) + weight
    norm = sum(weight**2 for weight in out.values()) ** 0.5
    return {place: weight / norm for place, weight in out.items()}


#: `LAPLACIAN` of details twice as large.
DOUBLED = _doubled(LAPLACIAN)


def finest_details(
    cube: torch.Tensor, valid: torch.Tensor | None, kernel: Kernel
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Second differences of an image, in whose units white noise keeps its variance, and where all of it was measured.

    Parameters
    ----------
    cube : Tensor, shape (batch, band, y, x)
    valid : Tensor of bool, shape (batch, 1, y, x), or None
    kernel : dict
        Weights by steps (y, x), of squares that add up to one.

    Returns
    -------
    Tensor of float64, shape (batch, band, y, x)
    Tensor of bool, shape (batch, 1, y, x)
        False along the border.

    Examples
    --------
    >>> import torch
    >>> image = torch.zeros(1, 1, 3, 4)
    >>> image[0, 0, 1, 1] = 20**0.5
    >>> details, whole = finest_details(image, None, LAPLACIAN)
    >>> details[0, 0, 1].round().tolist(), whole[0, 0, 1].tolist()
    ([0.0, 4.0, -1.0, 0.0], [False, True, True, False])
    """
    reach = max(abs(step) for place in kernel for step in place)
    rows, columns = (slice(reach, max(size - reach, reach)) for size in cube.shape[-2:])
    inner = (..., rows, columns)
    exact = cube.double()
    details, whole = torch.zeros_like(cube, dtype=torch.float64), torch.zeros_like(cube[:, :1], dtype=torch.bool)
    whole[inner] = True
    for (y, x), weight in kernel.items():
        part = (..., slice(rows.start + y, rows.stop + y), slice(columns.start + x, columns.stop + x))
        details[inner].add_(exact[part], alpha=weight)
        if valid is not None:
            whole[inner] &= valid[part]
    return details, whole
