"""Supervised nets: shapes, laws, bands, weights and their cards."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube
from hsitools.learning.weights import save
from hsitools.sensor import preset
from pansharpen.case import FusionCase, Tile
from pansharpen.comparison.judging import judge
from pansharpen.families.nets import NETS, fuse_by, measure
from pansharpen.families.prior import with_prior
from pansharpen.in_memory import fuse_case
from pansharpen.learning.fusion_card import WEIGHTS, FusionCard, load_net
from pansharpen.optics import Optics
from pansharpen.pair.wald import simulated_case
from pansharpen.registry import METHODS

NAMES = ("HyperPNN", "HSpeNet", "Hyper-DSNet", "DIP-HyperKite", "DHP-DARN")
TILED = ("HyperPNN", "HSpeNet", "Hyper-DSNet")


@pytest.fixture(autouse=True)
def _short_prior(monkeypatch):
    monkeypatch.setattr("pansharpen.families.prior.STEPS", 3)


def make_case(n_bands=5, ratio=3, size=(6, 8), batch=1, seed=0, **optics):
    draw = torch.Generator().manual_seed(seed)
    fine = [side * ratio for side in size]
    return FusionCase(
        coarse=torch.rand((batch, n_bands, *size), generator=draw) + 0.1,
        pan=torch.rand((batch, 1, *fine), generator=draw) + 0.1,
        optics=Optics(ratio=ratio, wavelength_nm=np.linspace(450, 850, n_bands), **optics),
    )


def make_card(name, case, **changes):
    card = FusionCard(
        method=name, wavelength_nm=tuple(case.optics.wavelength_nm), fwhm_nm=(10.0,) * case.n_bands,
        ratio=case.optics.ratio, sensor="test", sensor_hash="0", data=("noise",), seed=0, epochs=1, steps=1,
    )  # fmt: skip
    return dataclasses.replace(card, **changes)


def random_net(name, n_bands, seed=0):
    """As after training: the last layer does not make zeros."""
    torch.manual_seed(seed)
    net = NETS[name](n_bands)
    torch.nn.init.normal_(net.last.weight, std=0.1)
    return net.eval()


def test_all_are_registered():
    assert set(NETS) == set(NAMES)
    for name in NAMES:
        entry = METHODS[name]
        assert entry.trained
        assert entry.family == "supervised net"
        assert entry.tiled == (name in TILED)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n_bands", "ratio"), [(1, 2), (3, 5), (10, 4)])
def test_any_band_count_and_ratio(name, n_bands, ratio):
    case = make_case(n_bands, ratio, (4, 5), batch=2)
    before = case.coarse.clone()
    fused = fuse_by(random_net(name, n_bands), make_card(name, case), case)
    assert fused.shape == (2, n_bands, 4 * ratio, 5 * ratio)
    assert fused.dtype == torch.float32
    assert torch.isfinite(fused).all()
    assert torch.equal(case.coarse, before)


@pytest.mark.parametrize("name", TILED)
def test_untrained_is_interpolation(name):
    case = make_case()
    fused = fuse_by(NETS[name](5), make_card(name, case), case)
    torch.testing.assert_close(fused, fuse_case("EXP", case))


@pytest.mark.parametrize("name", NAMES)
def test_constant_stays_constant(name):
    case = make_case(4)
    level = torch.tensor([0.1, 0.0, 0.7, 1000.0])[:, None, None]
    flat = case.replace(coarse=torch.ones_like(case.coarse) * level, pan=torch.full_like(case.pan, 0.3))
    fused = fuse_by(random_net(name, 4), make_card(name, case), flat)
    torch.testing.assert_close(fused, (torch.ones_like(fused) * level))


@pytest.mark.parametrize("name", NAMES)
def test_batch_is_loop(name):
    case, net = make_case(batch=2), random_net(name, 5)
    card = make_card(name, case)
    together = fuse_by(net, card, case)
    alone = torch.cat([fuse_by(net, card, single) for single in case.singles()])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TILED)
def test_units_do_not_matter(name):
    case, net = make_case(), random_net(name, 5)
    card = make_card(name, case)
    scaled = case.replace(coarse=case.coarse * 5000, pan=case.pan * 40)
    torch.testing.assert_close(fuse_by(net, card, scaled) / 5000, fuse_by(net, card, case), rtol=1e-3, atol=1e-4)


class Halves:
    """A scene in two tiles with the surroundings that the registry promises."""

    def __init__(self, case, cut, halo):
        height = case.coarse.shape[-2]
        self.optics, self.n_bands, self.case = case.optics, case.n_bands, case
        self.parts = [(0, cut, 0, min(halo, height - cut)), (cut, height, min(halo, cut), 0)]

    def tiles(self):
        r = self.optics.ratio
        for start, stop, above, below in self.parts:
            rows, fine = slice(start - above, stop + below), slice(r * (start - above), r * (stop + below))
            yield Tile(self.case.coarse[..., rows, :], self.case.pan[..., fine, :], self.optics,
                       margin=(above, below, 0, 0))  # fmt: skip

    def sum(self, function):
        first, second = (function(tile) for tile in self.tiles())
        return type(first)(*(a + b for a, b in zip(first, second, strict=True)))

    def map(self, function):
        return torch.cat([function(tile) for tile in self.tiles()], -2)


@pytest.mark.parametrize("name", TILED)
def test_tiles_are_the_whole(name):
    case, net = make_case(3, 2, (40, 6)), random_net(name, 3)
    card = make_card(name, case)
    whole, tiled = (fuse_by(net, card, scene) for scene in (case, Halves(case, 17, METHODS[name].halo)))
    torch.testing.assert_close(tiled, whole, rtol=1e-5, atol=1e-5)


def test_kite_in_blocks_is_the_whole(monkeypatch):
    net = random_net("DIP-HyperKite", 3)
    base, pan = torch.randn(1, 3, 16, 20), torch.randn(1, 1, 16, 20)
    with torch.no_grad():
        whole = net(base, pan, torch.ones(1, 3))
        monkeypatch.setattr(type(net), "BLOCK", 12)
        torch.testing.assert_close(net(base, pan, torch.ones(1, 3)), whole, rtol=1e-4, atol=1e-5)


def test_scale_counts_valid_pixels_only():
    case = make_case()
    hidden = torch.ones(1, 1, 6, 8, dtype=torch.bool)
    hidden[..., :2, :] = False
    spoilt = case.coarse.clone()
    spoilt[..., :2, :] = 1e6
    found = measure(case.replace(coarse=spoilt, valid=hidden))
    expected = case.coarse[..., 2:, :].double()
    torch.testing.assert_close(found.mean, expected.mean((2, 3)))
    torch.testing.assert_close(found.std, expected.std((2, 3), correction=0))
    assert (found.correlation.abs() <= 1).all()


# ---- prior -----------------------------------------------------------------------------------------------------


def test_prior_explains_pan(shared):
    from pansharpen.pair.case_files import convention, read_case

    rules = convention("toolbox")
    case = read_case(shared / "golden" / "jasper159_r6.npz", rules)
    seen = []
    made = with_prior(case, seed=1, steps=15, pan_weight=0.6, progress=lambda *at: seen.append(at))
    assert seen[-1] == (15, 15)
    found, plain = (judge(case, cube, rules, ("ERGAS",))["ERGAS"].value for cube in (made.expanded, case.expanded))
    assert found < plain


def test_prior_repeats():
    case = make_case(batch=2)
    first, second, other = (with_prior(case, seed=seed, steps=3).expanded for seed in (1, 1, 2))
    # a few steps of gradient descent in single precision
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)
    assert (first - other).abs().max() > 1e-2


# ---- bands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TILED)
def test_some_of_the_bands_will_do(name):
    case = make_case(6)
    some = case.replace(coarse=case.coarse[:, 1:4], optics=case.optics.select(np.arange(1, 4)))
    fused = fuse_by(random_net(name, 6), make_card(name, case), some)
    assert fused.shape[1] == 3


def test_bands_of_another_sensor_are_refused():
    case = make_case()
    card = make_card("HyperPNN", case)
    with pytest.raises(InputError, match=r"HyperPNN: wavelength_nm: found 900\.0 nm.*hsi pansharpen train HyperPNN"):
        card.match(Optics(ratio=3, wavelength_nm=np.array([450.0, 900.0])), 2)
    with pytest.raises(InputError, match="HyperPNN: ratio: found 4, expected 3"):
        card.match(Optics(ratio=4), 5)
    with pytest.raises(InputError, match="HyperPNN: bands: found 7"):
        card.match(Optics(ratio=3), 7)
    into, back = card.match(Optics(ratio=3), 5)
    assert into.tolist() == back.tolist() == list(range(5))


# ---- weights ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    case, net = make_case(), random_net("HSpeNet", 5)
    return tmp_path, case, net, save(net, make_card("HSpeNet", case), tmp_path)


def test_weights_come_back(stored):
    folder, case, net, card = stored
    assert WEIGHTS.read_card(folder / "HSpeNet.json") == card
    for place in (folder, folder / "HSpeNet.safetensors"):
        fused = fuse_case("HSpeNet", case, weights=place)
        # half precision
        torch.testing.assert_close(fused, fuse_by(net, card, case), rtol=0, atol=5e-3)
    assert sorted(path.name for path in folder.iterdir()) == ["HSpeNet.json", "HSpeNet.safetensors"]


def test_product_on_disk(stored):
    from hsitools.cube import Cube
    from pansharpen.tiled import fuse_cube

    folder, case, *_ = stored
    pan = Cube(data=case.pan[0].numpy())
    cube = Cube(data=case.coarse[0].numpy(), wavelength_nm=case.optics.wavelength_nm, pan=pan)
    whole = fuse_case("HSpeNet", case, weights=folder)[0].numpy()
    np.testing.assert_allclose(fuse_cube(cube, "HSpeNet", weights=folder).load().data, whole, rtol=1e-5, atol=1e-5)


def load(folder, name="HSpeNet"):
    return load_net(NETS[name], name, folder)


def test_weights_changed_or_missing(stored):
    folder = stored[0]
    file = folder / "HSpeNet.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    with pytest.raises(FormatError, match="sha256: found"):
        load(folder)
    file.unlink()
    with pytest.raises(FormatError, match="no such file, expected the weights of HSpeNet"):
        load(folder)
    file.write_bytes(content)
    (folder / "HSpeNet.json").unlink()
    with pytest.raises(FormatError, match=r"HSpeNet\.json: found no such file, expected the card"):
        load(file)


def test_weights_of_another_method(stored):
    with pytest.raises(InputError, match="method: found weights of HSpeNet, expected HyperPNN"):
        load(stored[0] / "HSpeNet.safetensors", "HyperPNN")


@pytest.mark.parametrize("content", [b"", b"no tensors at all", b"\xff" * 64])
def test_weights_that_are_none(stored, content):
    import hashlib

    folder = stored[0]
    (folder / "HSpeNet.safetensors").write_bytes(content)
    card = json.loads((folder / "HSpeNet.json").read_text())
    (folder / "HSpeNet.json").write_text(json.dumps(card | {"sha256": hashlib.sha256(content).hexdigest()}))
    with pytest.raises(FormatError, match="expected weights of HSpeNet"):
        load(folder)


def test_weights_of_other_bands(stored):
    folder = stored[0]
    card = json.loads((folder / "HSpeNet.json").read_text())
    card |= {"wavelength_nm": card["wavelength_nm"][:3], "fwhm_nm": card["fwhm_nm"][:3]}
    (folder / "HSpeNet.json").write_text(json.dumps(card))
    with pytest.raises(FormatError, match="size mismatch"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "format: expected"),
        ({"seed": None, "extra": 1}, "extra: unknown"),
        ({"wavelength_nm": 3}, "wavelength_nm: found int"),
        ({"fwhm_nm": [1.0]}, "fwhm_nm: found 1"),
    ],
)
def test_cards_that_are_none(stored, change, said):
    file = stored[0] / "HSpeNet.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(FormatError, match=said):
        WEIGHTS.read_card(file)


def test_cards_that_are_no_json(tmp_path):
    file = tmp_path / "HSpeNet.json"
    file.write_text("{")
    with pytest.raises(FormatError, match="expected a card"):
        WEIGHTS.read_card(file)


def test_without_weights_it_says_what_to_do(monkeypatch, tmp_path):
    registry = dataclasses.replace(WEIGHTS, pretrained=tmp_path)
    monkeypatch.setattr("pansharpen.learning.fusion_card.WEIGHTS", registry)
    with pytest.raises(
        InputError, match="HyperPNN: weights: found none, needs training on your sensor: hsi pansharpen"
    ):
        fuse_case("HyperPNN", make_case())


@pytest.mark.parametrize("name", sorted(path.stem for path in WEIGHTS.pretrained.glob("*.json")))
def test_shipped_weights_beat_interpolation(name, shared, monkeypatch):
    monkeypatch.setattr("pansharpen.families.prior.STEPS", 25)
    scene = open_cube(shared / "data" / "scenes" / "jasper_ridge.h5").select(window=(0, 48, 52, 100))
    case = simulated_case(scene, preset("prisma"))
    indices = ("ERGAS", "Q2n")
    found, plain = (judge(case, fuse_case(which, case), metrics=indices) for which in (name, "EXP"))
    assert found["ERGAS"].value < plain["ERGAS"].value
    assert found["Q2n"].value > plain["Q2n"].value
    assert (WEIGHTS.pretrained / f"{name}.safetensors").stat().st_size < 3e6
    assert not any("jasper" in data for data in WEIGHTS.read_card(WEIGHTS.pretrained / f"{name}.json").data)
