"""A guide that shows the scene in part."""

import dataclasses

import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from hsitools.estimation.edge_aware import edge_weights
from hsitools.estimation.links import NEIGHBOURS, neighbours_at
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen.case import FusionCase
from pansharpen.guide import Guide, own_size
from pansharpen.in_memory import fuse_case, prepared, select_bands
from pansharpen.methods.physics import learn
from pansharpen.pair.guide_files import PlacedGuide
from pansharpen.pair.wald import simulated_case
from pansharpen.physics.channels import EDGE, NO_EDGE
from pansharpen.physics.relation import related
from pansharpen.registry import get
from pansharpen.tiled import LargeScene, fuse_pair

SIZE, HALF = 48, 24


@pytest.fixture(scope="module")
def alone() -> FusionCase:
    """A pair of 12×12 coarse pixels, without a guide."""
    made = simulated_case(scene((SIZE, SIZE), seed=3), preset("prisma"), ratio=4, noise=False)
    return select_bands(made, torch.arange(0, made.n_bands, 24))


def guide_of(case, ratio=1):
    """Three of the bands, sharp, of which the right half was not measured."""
    image = case.reference[:, 1:8:3, ratio // 2 :: ratio, ratio // 2 :: ratio].clone()
    image = image[..., : own_size(SIZE, ratio), : own_size(SIZE, ratio)]
    image[..., HALF // ratio :] = torch.nan
    return Guide(image=image, ratio=ratio, name="half")


def error(case, fused, part):
    return float((fused - case.reference)[..., part].square().mean().sqrt())


@pytest.mark.parametrize("method", ["TV", "HySURE", "CNMF", "FUSE", "GLP-HS", "SFIM-HS"])
def test_where_a_guide_ends_the_result_is_as_without_it(alone, method):
    """By the nearest pixels that it holds it was up to twice as bad as PAN alone."""
    case = alone.replace(guides=(guide_of(alone),), findings={})
    with_guide, without = fuse_case(method, case), fuse_case(method, alone)
    shown, rest = slice(0, HALF), slice(HALF, SIZE)
    assert error(alone, with_guide, rest) < 1.05 * error(alone, without, rest)
    assert error(alone, with_guide, shown) < 0.6 * error(alone, without, shown)
    assert case.findings["unseen_by_guides"] == {"half": 0.5}


def test_beside_a_guide_pan_is_as_good_as_alone(alone):
    """Where the guide ends, and where it shows nothing of the scene: what stood for it made edges, PAN was doubted."""
    without = fuse_case("physics", alone)
    half = fuse_case("physics", alone.replace(guides=(guide_of(alone),), findings={}))
    shown, rest, whole = slice(0, HALF), slice(HALF, SIZE), slice(None)
    assert error(alone, half, rest) < 1.1 * error(alone, without, rest)
    assert error(alone, half, shown) < 0.5 * error(alone, without, shown)
    noise = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    idle = fuse_case("physics", alone.replace(guides=(Guide(image=noise, name="noise"),), findings={}))
    assert error(alone, idle, whole) < 1.1 * error(alone, without, whole)


def test_a_channel_that_shows_nothing_is_not_compared():
    generator = torch.Generator().manual_seed(1)
    z, sharp = (torch.rand(1, n, 12, 10, generator=generator) for n in (2, 1))
    other = torch.where(torch.arange(10) < 4, torch.rand(1, 1, 12, 10, generator=generator), torch.nan)
    contrast = torch.tensor([0.8, 0.6])
    alone, beside = (
        related(edge_weights(one, 0.01), z, z, one, contrast, 2.0) for one in (sharp, torch.cat([sharp, other], 1))
    )
    for number, offset in enumerate(NEIGHBOURS):
        _, second = neighbours_at(z.shape, offset)
        blind = torch.isnan(other)[second][0, 0]
        assert blind.any()
        torch.testing.assert_close(beside[0][number][0, 0][blind], alone[0][number][0, 0][blind])
    # one that shows nothing anywhere changes no link
    nothing = related(edge_weights(sharp, 0.01), z, z, torch.cat([sharp, torch.nan * sharp], 1), contrast, 2.0)
    for one, same in zip(nothing[1].weights, alone[1].weights, strict=True):
        torch.testing.assert_close(one, same)


def test_pan_is_believed_as_alone_where_no_guide_shows_anything(alone):
    noise = Guide(image=torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)), name="noise")
    seen = {}
    for name, guides in (("none", ()), ("half", (guide_of(alone),)), ("noise", (noise,))):
        ready = prepared(alone.replace(guides=guides, findings={}))
        with torch.no_grad():
            model = learn(ready)
            terms = model.channels.terms(ready.tile, model.space.components(model.coarse(ready.tile)))
        seen[name] = terms[0].precision.expand(1, 1, SIZE, SIZE)[0, 0]
    torch.testing.assert_close(seen["noise"], seen["none"], rtol=1e-3, atol=0)
    torch.testing.assert_close(seen["half"][:, HALF:], seen["none"][:, HALF:], rtol=1e-3, atol=0)
    assert (seen["half"][:, :HALF] < 0.5 * seen["none"][:, :HALF]).all()
    # its steps are no edges
    assert model.channels.parts[1].edge == pytest.approx(NO_EDGE * EDGE**2 * float(noise.image.var()), rel=1e-2)


@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("method", ["GLP-HS", "SFIM-HS"])
def test_by_tiles_it_is_the_same(alone, method, ratio):
    guides = (guide_of(alone, ratio),)
    whole = fuse_case(method, alone.replace(guides=guides, findings={}))
    cube = Cube(data=alone.coarse[0].numpy(), pan=Cube(data=alone.pan[0].numpy()))
    template = dataclasses.replace(guides[0], image=torch.zeros(1, 3, 0, 0))
    placed = PlacedGuide(cube=Cube(data=guides[0].image[0].numpy()), template=template, origin=(0.0, 0.0))
    tiles = LargeScene(cube, optics=alone.optics, halo=8, side=4, guides=(placed,))
    made = get(method).function(tiles)
    values = made.read(np.arange(alone.n_bands), slice(0, SIZE), slice(0, SIZE))
    np.testing.assert_allclose(values, whole[0].numpy(), atol=2e-3 * float(alone.reference.max()))
    assert set(tiles.findings["unseen_by_guides"]) == {"half"}


def test_it_is_said_and_a_whole_guide_is_not(alone, caplog):
    cube = Cube(data=alone.coarse[0].numpy(), pan=Cube(data=alone.pan[0].numpy()))
    part = guide_of(alone).image[0].numpy()
    said = fuse_pair(cube, "GLP-HS", guides=[Cube(data=part, source="half.h5")]).estimate
    assert said.meta["unseen_by_guides"] == {"half.h5": 0.5}
    assert "half.h5: found 50 % of its pixels on the scene without a measurement" in caplog.text
    whole = fuse_pair(cube, "GLP-HS", guides=[Cube(data=alone.reference[0, :3].numpy())]).estimate
    assert "unseen_by_guides" not in whole.meta
