"""What a tile takes, by torch's own count of what is allocated and freed, against what methods say of themselves."""

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from hsitools.cube import Cube
from hsitools.estimation.links import neighbours_at
from pansharpen.optics import Optics
from pansharpen.physics import posterior
from pansharpen.physics.relation import offsets
from pansharpen.registry import get
from pansharpen.tiled import fuse_pair

RATIO, SIDE, BANDS = 4, 16, 120


def peak_bytes(work) -> int:
    """Most bytes of tensors at any time that ``work`` allocates, those within single operations too."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    steps = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(steps).max())


def pair(*, holes: bool, guides: bool) -> tuple[Cube, list[Cube]]:
    """Smooth spectra mixed in a textured scene; PAN, or channels of a guide."""
    rng = np.random.default_rng(0)
    spectra = np.cumsum(rng.standard_normal((6, BANDS)), 1).astype(np.float32)
    scene = rng.random((6, RATIO * SIDE, RATIO * SIDE)).astype(np.float32)
    coarse = scene.reshape(6, SIDE, RATIO, SIDE, RATIO).mean((2, 4))
    cube = 40 + np.einsum("kb,kyx->byx", spectra, coarse) + 0.1 * rng.standard_normal((BANDS, SIDE, SIDE))
    cube, sharp = cube.astype(np.float32), 40 + np.einsum("kb,kyx->byx", spectra[:, 5::40], scene)
    if holes:
        cube[3:50, 4:7, 5:9] = np.nan
        sharp[:, 40:48, 30:37] = np.nan
    wavelength = np.linspace(450, 900, BANDS)
    if guides:
        return Cube(data=cube, wavelength_nm=wavelength), [Cube(data=sharp, wavelength_nm=wavelength[5::40])]
    return Cube(data=cube, wavelength_nm=wavelength, pan=Cube(data=sharp.mean(0, keepdims=True))), []


@pytest.fixture
def usual_parts(monkeypatch):
    """Parts of an image that are gone through at a time, as small against it as they are against usual tiles."""
    monkeypatch.setattr("pansharpen.families.statistics.BLOCK_BYTES", 1)
    monkeypatch.setattr(posterior, "PERIOD", 16)
    posterior._pattern.cache_clear()
    yield
    posterior._pattern.cache_clear()


@pytest.mark.parametrize(
    ("name", "holes", "guides"),
    [("GSA", True, False), ("MTF-GLP-FS", True, False), ("PRACS", True, False), ("physics", False, True)],
)
def test_a_tile_takes_no_more_than_is_planned(name, holes, guides, usual_parts):
    entry = get(name)
    cube, images = pair(holes=holes, guides=guides)
    optics = Optics(ratio=RATIO, mtf=np.linspace(0.25, 0.35, BANDS), wavelength_nm=cube.wavelength_nm)

    def fuse():
        estimate = fuse_pair(cube, name, optics=optics, guides=images).estimate
        assert len(estimate.data.scene.windows) == 1
        estimate.data.ahead(*(slice(0, size) for size in estimate.shape[1:]))
        estimate.data.read(np.arange(BANDS), slice(0, 16), slice(0, 16))

    planned = entry.held * BANDS + entry.images
    taken = peak_bytes(fuse) / (4 * (RATIO * SIDE) ** 2)
    # nor is so much planned that tiles are far smaller than they could be
    assert planned / 4 <= taken <= planned


def test_noise_of_far_links_is_drawn_for_one_of_them_at_a_time(usual_parts):
    like, far = torch.zeros(1, 4, 60, 60), offsets(14, 12.0)
    shapes = [like[neighbours_at(like.shape, offset)[0]].shape[2:] for offset in far]
    weights = [torch.ones(1, 1, *shape) for shape in shapes]
    push, whole = torch.zeros_like(like), torch.zeros_like(like)

    def draw():
        turns = posterior.signs_in_turn((3, 5), like, 4, 2, len(far))
        posterior._push_apart(push, weights, far, turns)

    assert len(far) > 40
    assert peak_bytes(draw) < 10 * like.nbytes
    signs = posterior.signs_at((3, 5), like, 4 * len(far), 2).split(4, 1)
    posterior._push_apart(whole, weights, far, signs)
    torch.testing.assert_close(push, whole, rtol=0, atol=0)
