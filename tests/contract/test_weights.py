"""Weights that come with the packages: small, whole, and with cards that say what they were learned from."""

import pytest

from denoise.learning.denoiser_card import WEIGHTS as DENOISER
from hsitools.io.hashes import file_sha256
from pansharpen.learning.fusion_card import WEIGHTS as FUSION

SHIPPED = [
    (registry, path) for registry in (FUSION, DENOISER) for path in sorted(registry.pretrained.glob("*.safetensors"))
]


def test_all_have_cards():
    for registry in (FUSION, DENOISER):
        names = [{path.stem for path in registry.pretrained.glob(f"*.{kind}")} for kind in ("safetensors", "json")]
        assert names[0] == names[1] != set()


@pytest.mark.parametrize(("registry", "path"), SHIPPED, ids=lambda value: getattr(value, "stem", ""))
def test_shipped_cards(registry, path):
    card = registry.read_card(path.with_suffix(".json"))
    assert card.method == path.stem
    assert card.sha256 == file_sha256(path)
    assert 0 < len(card.held_out) < len(card.data)
    assert set(card.held_out) < set(card.data)
    assert card.command
    assert card.metrics
    assert card.steps > 0
