"""Parts of `physics` and of the search for wild samples, by values worked out by hand."""

import numpy as np
import torch

from hsitools.cube import Cube
from hsitools.estimation.edge_aware import NEIGHBOURS, Pixels, neighbours_at
from pansharpen.case import FusionCase
from pansharpen.optics import Optics
from pansharpen.physics.held_out import counted
from pansharpen.physics.own_mtf import _untold_noise, everywhere
from pansharpen.physics.registration import SPOILED
from pansharpen.tiled import LargeScene


def test_noise_of_pan_is_told_by_its_own_variance():
    """Nothing but noise of variance 4; the quiet places that tell it are corrected for being the quietest."""
    rng = np.random.default_rng(0)
    pan = torch.as_tensor(10 + 2 * rng.standard_normal((1, 1, 240, 240)), dtype=torch.float32)
    case = FusionCase(coarse=torch.ones(1, 2, 60, 60), pan=pan, optics=Optics(ratio=4))
    assert 2 < _untold_noise(case, everywhere(case)) <= 4.4


def test_what_another_date_shows_spoils_its_surroundings():
    believed = torch.ones(1, 1, 13, 13)
    believed[..., 6, 6] = 0
    case = FusionCase(coarse=torch.ones(1, 2, 13, 13), pan=torch.ones(1, 1, 26, 26), optics=Optics(ratio=2))
    weight = counted(case.tile, believed)[0].numpy()
    rows, columns = np.indices(weight.shape)
    spoiled = np.maximum(abs(rows - 6), abs(columns - 6)) <= SPOILED
    assert np.array_equal(weight, np.where(spoiled, 0.0, 1.0))


def test_wild_samples_of_every_block_are_in_their_place():
    """Blocks are of 64 coarse pixels: here are six, and one wild pixel of PAN and one voxel in the last."""
    rng = np.random.default_rng(1)
    cube, pan = (1 + 0.002 * rng.standard_normal(shape) for shape in ((8, 140, 70), (1, 280, 140)))
    pan[0, 271, 137], cube[3, 131, 66] = 8, 9
    image = Cube(data=cube, pan=Cube(data=pan))
    wild = LargeScene(image, None, halo=24).wild
    assert wild.pixels.tolist() == [[271, 137]]
    assert wild.voxels.tolist() == [[3, 131, 66]]


def test_pixels_end_at_one_solution_wherever_they_start():
    """And that is the one of the normal equations, written out."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(1, 2, 4, 5, generator=generator, dtype=torch.float64)
    precision = torch.tensor([3.0, 0.5], dtype=torch.float64)[:, None, None]
    smoothness = torch.tensor([0.7, 2.0], dtype=torch.float64)[:, None, None]
    weights = [
        torch.rand(data[:, :1][neighbours_at(data.shape, offset)[0]].shape, generator=generator, dtype=torch.float64)
        for offset in NEIGHBOURS
    ]
    pixels = Pixels(precision=precision, smoothness=smoothness)
    number = torch.arange(20).reshape(1, 1, 4, 5)
    for start in (torch.zeros_like(data), 5 + 3 * torch.randn(data.shape, generator=generator, dtype=torch.float64)):
        solved = pixels.solve(data, weights, start)
        for part in range(2):
            kappa = float(smoothness[part])
            matrix = torch.eye(20, dtype=torch.float64) * (precision[part].item() + 1 / (1 + kappa))
            for weight, offset in zip(weights, NEIGHBOURS, strict=True):
                first, second = (number[place].ravel() for place in neighbours_at(data.shape, offset))
                for one, other, link in zip(first.tolist(), second.tolist(), weight.ravel().tolist(), strict=True):
                    for i, j in ((one, other), (other, one)):
                        matrix[i, i] += kappa * link
                        matrix[i, j] -= kappa * link
            expected = torch.linalg.solve(matrix, precision[part].item() * data[0, part].ravel())
            torch.testing.assert_close(solved[0, part].ravel(), expected, rtol=0, atol=2e-2)
