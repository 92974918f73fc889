"""Sharp bands of another sensor in place of PAN, or beside it."""

import dataclasses

import numpy as np
import pytest
import torch

import pansharpen.in_memory
from hsitools.errors import InputError
from hsitools.estimation.edge_aware import DataTerms, Sharp, edge_weights
from hsitools.scenes import scene
from hsitools.sensor import preset
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.case import FusionCase, guided
from pansharpen.comparison.judging import judge
from pansharpen.guide import Guide, own_size
from pansharpen.in_memory import fuse_case
from pansharpen.optics import Optics
from pansharpen.pair.wald import simulated_case
from pansharpen.registry import METHODS, names


@pytest.fixture(scope="module")
def wide() -> FusionCase:
    """Every sixth band of a PRISMA-like pair of 16×16 coarse pixels at ratio 3."""
    made = simulated_case(scene((48, 48), seed=7), preset("prisma"), ratio=3, noise=False)
    few = pansharpen.in_memory.select_bands(made, torch.arange(0, made.n_bands, 6))
    # PAN is made up of the bands that are left, and sharp
    response = few.optics.pan_response / few.optics.pan_response.sum()
    pan = (torch.as_tensor(response).float() @ few.reference[0].flatten(1)).view_as(few.pan)
    return few.replace(pan=pan, optics=dataclasses.replace(few.optics, pan_response=response, pan_mtf=None))


def bells(case, centres, width=60.0):
    """Responses ``(channel, band)`` of bell-shaped bands, nm."""
    weights = np.exp(-0.5 * ((case.optics.wavelength_nm - np.array(centres)[:, None]) / width) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


def seen(case, responses, **changes):
    """What bands of these responses see of a case's truth."""
    image = (torch.as_tensor(responses).float() @ case.reference[0].flatten(1)).unflatten(-1, case.pan.shape[-2:])
    return Guide(image=image[None], response=responses, **changes)


def with_guides(case, *guides):
    return guided(case.coarse, guides, dataclasses.replace(case.optics, pan_response=None), reference=case.reference)


def ergas(case, name="physics"):
    return judge(case, fuse_case(name, case), metrics=("ERGAS",))["ERGAS"].value


CENTRES = (480, 560, 660, 850, 1600, 2200)


@pytest.fixture(scope="module")
def case(wide) -> FusionCase:
    return with_guides(wide, seen(wide, bells(wide, CENTRES)))


def system(seed=0, m=3, k=5, size=(9, 6), ratio=3):
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


def test_one_channel_is_pan(wide):
    response = wide.optics.pan_response
    guide = Guide(image=wide.pan, response=response[None])
    alone = with_guides(wide, guide)
    torch.testing.assert_close(alone.pan, wide.pan)
    unknown = wide.replace(optics=dataclasses.replace(wide.optics, pan_response=None))
    nothing = with_guides(unknown, dataclasses.replace(guide, response=None))
    torch.testing.assert_close(fuse_case("physics", nothing), fuse_case("physics", unknown), rtol=1e-4, atol=1e-5)
    # a known response does so too, whatever its scale
    assert ergas(alone) == pytest.approx(ergas(wide), rel=0.02)


def test_more_bands_recover_more(wide, case):
    with_pan, with_bands = ergas(wide), ergas(case)
    both = case.replace(pan=wide.pan, pan_made=False, optics=wide.optics)
    assert with_bands < 0.6 * with_pan
    assert ergas(both) < 1.03 * with_bands


def test_gain_and_offset_of_a_channel_do_not_matter(wide, case):
    guide = case.guides[0]
    gain, offset = torch.tensor([0.2, 3.0, 1.0, 40.0, 1.0, 7.0]), torch.tensor([5.0, -1.0, 0.0, 2.0, 0.3, 0.0])
    other = dataclasses.replace(guide, image=guide.image * gain[:, None, None] + offset[:, None, None])
    one, two = (fuse_case("physics", with_guides(wide, part)) for part in (guide, other))
    spread = case.reference.std()
    assert (one - two).abs().max() < 2e-3 * spread


def test_bands_of_a_coarser_grid_count(wide):
    """10 m bands that see no shortwave infrared, and 20 m bands that do; 30 m pixels are no multiple of 20 m."""
    fine = seen(wide, bells(wide, (480, 560, 660, 850)))
    wider = seen(wide, bells(wide, (1600, 2200)))
    size = tuple(wide.pan.shape[-2:])
    coarser = dataclasses.replace(wider, image=mtf_decimate(size, 0.3, 2)(wider.image), ratio=2, mtf=0.3)
    without, both, sharper = (ergas(with_guides(wide, fine, *more)) for more in ((), (coarser,), (wider,)))
    assert sharper < both < 0.95 * without


@pytest.mark.parametrize("name", [name for name in names() if not METHODS[name].trained
                                  and METHODS[name].family != "zero-shot net"])  # fmt: skip
def test_every_method_takes_a_guide(name, case):
    fused = fuse_case(name, case)
    assert fused.shape == case.reference.shape
    assert torch.isfinite(fused).all()


def test_pan_of_guides_is_their_mean_by_bands():
    """Two bands of the cube lie nearest to the first channel, one to the second."""
    response = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    image = torch.stack([torch.full((6, 6), 1.0), torch.full((6, 6), 5.0)])
    fine = Guide(image=image, response=response)
    made = guided(torch.ones(1, 4, 2, 2), [fine], Optics(ratio=3))
    torch.testing.assert_close(made.pan, torch.full((1, 1, 6, 6), (2 * 1 + 2 * 5) / 4))
    unknown = guided(torch.ones(1, 4, 2, 2), [dataclasses.replace(fine, response=None)], Optics(ratio=3))
    torch.testing.assert_close(unknown.pan, torch.full((1, 1, 6, 6), 3.0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ratio": 2}, "found ratios 2, expected at least one guide on the fine grid"),
        ({"image": torch.ones(1, 6, 9, 9)}, "found shape (1, 6, 9, 9), expected (1, 6, 48, 48)"),
        ({"response": np.ones((6, 3))}, "response: found 3 bands, expected 39"),
        ({"response": np.ones((5, 3))}, "response: found 5 rows, expected 6"),
        ({"image": torch.ones(6)}, "found shape (6,)"),
    ],
)
def test_errors_name_what_is_wrong(case, changes, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(").replace(")", r"\)")):
        with_guides(case, dataclasses.replace(case.guides[0], **changes))
