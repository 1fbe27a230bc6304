"""Every tensor of the published checkpoints has its place, with its shape; none is invented."""

import json

import pytest
import torch

from vitlens_core.models.imagebind import RECOMPUTED_BUFFERS
from vitlens_core.models.reference import (
    IMAGEBIND_HUGE,
    VITLENS_L,
    build_imagebind,
    build_openshape_tower,
    build_towers,
)


def _published(path):
    return {name: tuple(shape) for name, shape in json.loads(path.read_text()).items()}


def _own(module):
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def test_vitlens_l(data):
    with torch.device("meta"):
        towers = build_towers(VITLENS_L)
    own = {f"vitlens.{t}.{n}": s for t, module in towers.items() for n, s in _own(module).items()}
    published = _published(data / "vitlensL_names.json")
    assert len(published) == 2185
    assert own == published


def test_imagebind_huge(data):
    with torch.device("meta"):
        own = _own(build_imagebind(IMAGEBIND_HUGE))
    published = _published(data / "imagebind_huge_names.json")
    assert len(published) == 1311
    assert RECOMPUTED_BUFFERS == ("modality_preprocessors.text.mask",)
    # The causal mask is a flag of the attention call, not a tensor.
    assert published.pop("modality_preprocessors.text.mask") == (77, 77)
    assert own == published


@pytest.mark.parametrize(
    ("config", "weights", "build"),
    [
        ("config", "weights", lambda c: {f"vitlens.{t}": m for t, m in build_towers(c).items()}),
        ("pnsa_config", "pnsa_weights", lambda c: {"": build_openshape_tower(c)}),
    ],
)
def test_tiny_names_are_complete(tiny, read_tiny, config, weights, build):
    with torch.device("meta"):
        parts = build(tiny / f"{config}.json")
    own = {f"{p}.{n}".strip("."): s for p, m in parts.items() for n, s in _own(m).items()}
    assert own == {name: tuple(t.shape) for name, t in read_tiny(weights).items()}
