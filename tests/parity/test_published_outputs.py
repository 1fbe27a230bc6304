"""Our towers compute what the published implementations compute.

Tolerance: 1e-5 absolute, none relative. Outputs are of order 1 (ImageBind's up to 20), so that
fp32 sums taken in another order differ by a few 1e-7 to 1e-6. Another GELU, norm, order of
tokens or pooling differs by more.
"""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from vitlens_core.errors import CheckpointError
from vitlens_core.models.reference import load_imagebind, load_openshape_tower, load_towers

ATOL = 1e-5
VITLENS_TOWERS = ("image", "text", "pc", "depth", "audio", "tactile", "eeg")
IMAGEBIND_TOWERS = ("vision", "text", "audio", "depth", "thermal", "imu")


@dataclass(frozen=True)
class Case:
    """One published tower, an input and the published output."""

    name: str
    module: nn.Module
    signal: Tensor
    expected: Tensor

    @torch.no_grad()
    def __call__(self, signal: Tensor) -> Tensor:
        if self.name in IMAGEBIND_TOWERS and hasattr(self.module, "modality_trunks"):
            return self.module({self.name: signal})[self.name]
        return self.module(signal)


def _vitlens_case(name, tiny, read_tiny):
    towers = load_towers(tiny / "weights.safetensors", tiny / "config.json")
    numbers = read_tiny("io")
    return Case(name, towers[name], numbers[f"input.{name}"], numbers[f"output.{name}"])


def _openshape_case(name, tiny, read_tiny):
    tower = load_openshape_tower(tiny / "pnsa_weights.safetensors", tiny / "pnsa_config.json")
    numbers = read_tiny("pnsa_io")
    signal = torch.cat([numbers["input.xyz"], numbers["input.rgb"]], dim=-1)
    return Case(name, tower, signal, numbers["output"])


def _imagebind_case(name, tiny, read_tiny):
    model = load_imagebind(tiny / "imagebind_weights.safetensors", tiny / "imagebind_config.json")
    numbers = read_tiny("imagebind_io")
    return Case(name, model, numbers[f"input.{name}"], numbers[f"output.{name}"])


CASES = {
    **{f"vitlens-{name}": _vitlens_case for name in VITLENS_TOWERS},
    "openshape-pc": _openshape_case,
    **{f"imagebind-{name}": _imagebind_case for name in IMAGEBIND_TOWERS},
}


@pytest.fixture(params=CASES, scope="module")
def case(request, tiny, read_tiny):
    return CASES[request.param](request.param.split("-")[1], tiny, read_tiny)


def test_output_equals_the_published_one(case, record_property):
    output = case(case.signal)
    record_property("max_abs_error", (output - case.expected).abs().max().item())
    torch.testing.assert_close(output, case.expected, atol=ATOL, rtol=0)


def test_the_comparison_can_fail(case):
    """The published output is neither empty nor constant, and follows from its input."""
    assert case.expected.numel() >= 32
    assert case.expected.std(dim=-1).min() > 100 * ATOL
    for one, other in pairwise(case.expected):
        assert (one - other).abs().max() > 100 * ATOL
    changed = case.signal.flip(1) if case.name == "text" else -case.signal
    assert (case(changed) - case.expected).abs().max() > 10 * ATOL


def test_a_sample_does_not_depend_on_its_batch(case):
    alone = torch.cat([case(sample) for sample in case.signal.split(1)])
    torch.testing.assert_close(alone, case(case.signal), atol=ATOL, rtol=0)


def _belongs_to(tensor: str, case: Case) -> bool:
    """ImageBind holds all modalities; `modality_trunks.audio.…` is audio's."""
    other_modality = tensor.startswith("modality_") and tensor.split(".")[1] != case.name
    return not other_modality and not tensor.endswith("num_batches_tracked")


def test_every_weight_matters(case):
    """A tensor that were loaded but never used would agree with any value."""
    generator = torch.Generator().manual_seed(0)
    without_effect = []
    for name, tensor in case.module.state_dict().items():
        if not _belongs_to(name, case):
            continue
        original = tensor.clone()
        tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
        if (case(case.signal[:1]) - case.expected[:1]).abs().max() <= ATOL:
            without_effect.append(name)
        tensor.copy_(original)
    assert without_effect == []


def test_the_loaders_read_what_they_are_given(tiny, read_tiny):
    weights = read_tiny("weights")
    weights["vitlens.pc.perceiver.latents"] *= 1.3
    tower = load_towers(weights, tiny / "config.json", only=["pc"])["pc"]
    numbers = read_tiny("io")
    with torch.no_grad():
        difference = tower(numbers["input.pc"]) - numbers["output.pc"]
    assert difference.abs().max() > ATOL


@pytest.mark.parametrize(
    ("load", "weights", "config", "name"),
    [
        (load_towers, "weights", "config", "vitlens.audio.visual_adapter.pos_emb"),
        (load_openshape_tower, "pnsa_weights", "pnsa_config", "visual_adapter.lift.2.bias"),
        (load_imagebind, "imagebind_weights", "imagebind_config", "modality_heads.imu.3.weight"),
    ],
)
class TestOtherNamesAreRefused:
    def test_missing(self, tiny, read_tiny, load, weights, config, name):
        tensors = read_tiny(weights)
        del tensors[name]
        with pytest.raises(CheckpointError, match=f"missing: {name}"):
            load(tensors, tiny / f"{config}.json")

    def test_unexpected(self, tiny, read_tiny, load, weights, config, name):
        tensors = read_tiny(weights) | {f"{name}_2": torch.zeros(1)}
        with pytest.raises(CheckpointError, match=f"unexpected: {name}_2"):
            load(tensors, tiny / f"{config}.json")

    def test_renamed(self, tiny, read_tiny, load, weights, config, name):
        tensors = read_tiny(weights)
        tensors[f"{name}_2"] = tensors.pop(name)
        with pytest.raises(CheckpointError, match=f"missing: {name}; unexpected: {name}_2"):
            load(tensors, tiny / f"{config}.json")

    def test_another_shape(self, tiny, read_tiny, load, weights, config, name):
        tensors = read_tiny(weights)
        tensors[name] = tensors[name][:-1]
        with pytest.raises(CheckpointError, match=f"of another shape: {name}"):
            load(tensors, tiny / f"{config}.json")
