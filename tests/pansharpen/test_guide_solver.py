"""The system that `physics` solves with guides: its preconditioner and its solution."""

import dataclasses

import torch

from hsitools.estimation.edge_aware import DataTerms, Sharp, edge_weights
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.guide import own_size


def system(seed=0, m=3, k=4, size=(6, 6), ratio=3):
    """A system with channels on the fine grid, some pixels of them lost, and others on a coarser one."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    down = mtf_decimate(size, 0.3, ratio)
    coarser = mtf_decimate(size, 0.2, 2)
    own = tuple(own_size(n, 2) for n in size)
    lost = torch.rand((1, 1, *size), generator=draw, dtype=torch.float64) > 0.3
    fine = Sharp(
        image=normal(1, m, *size), response=normal(m, k),
        precision=torch.tensor([50.0, 3.0, 400.0], dtype=torch.float64)[:, None, None] * lost,
    )  # fmt: skip
    wider = Sharp(image=normal(1, 2, *own), response=normal(2, k), precision=20.0, down=coarser)
    precision = torch.linspace(5, 900, k, dtype=torch.float64)[:, None, None]
    terms = DataTerms(down=down, precision=precision, sharp=[fine, wider])
    return terms, edge_weights(normal(1, 1, *size), 1.0), normal(1, k, *size)


def test_the_preconditioner_is_the_inverse_of_a_bound():
    terms, weights, like = system()
    made = terms.system(weights, like)
    n = like.numel()

    def matrix(function):
        return torch.stack([function(column.view_as(like)).flatten() for column in torch.eye(n).double()], 1)

    plain, inverse = matrix(made.apply), matrix(lambda x: made.precondition(x.clone()))
    torch.testing.assert_close(plain, plain.T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(inverse, inverse.T, rtol=1e-9, atol=1e-12)
    values = torch.linalg.eigvals(inverse @ plain).real
    assert values.min() > 0
    # below one, and close to it: a looser bound would only cost steps
    assert 0.5 < values.max() <= 1 + 1e-9


def test_the_solver_solves():
    terms, weights, like = system()
    data = terms.down(like)
    terms = dataclasses.replace(terms, condition=300.0)
    z = torch.zeros_like(like)
    for _ in range(6):
        z = terms.solve(data, weights, z)
    made = terms.system(weights, like)
    assert made.residual(data, z).norm() < 1e-4 * made.residual(data, torch.zeros_like(like)).norm()
