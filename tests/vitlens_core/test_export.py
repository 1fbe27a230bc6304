"""ONNX export: every tower agrees with PyTorch to 1e-4, whatever the batch."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from tests.contracts.examples import example, raws, tower_settings
from tests.tiny_models import TinyFoundation
from vitlens_core import modalities
from vitlens_core.errors import InputError, VitlensError
from vitlens_core.export import TOLERANCE, export_onnx
from vitlens_core.models.tower import Tower, build_tower

# One block of three: they are alike, and the export takes as long as the graph has nodes.
TRUNK = {"skip_first": 2}


def _tower(name: str, head: str = "frozen", **tokenizer: object) -> tuple[Tower, torch.Tensor]:
    """A tiny tower and four prepared signals."""
    torch.manual_seed(0)
    sizes = example(name).tokenizer | tokenizer
    settings = tower_settings(name, tokenizer=sizes, trunk=TRUNK, head=head)
    signal = settings.signal_config
    stored = torch.from_numpy(np.stack([signal.store(raw) for raw in raws(name, 4)]))
    tower = build_tower(settings, TinyFoundation().trunk)
    return tower, settings.tokenizer_config.prepare(stored, signal)


def _run(path, signals: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"signal": signals.numpy()})[0])


# Each takes ten seconds and more.
@pytest.mark.parametrize(
    "name",
    [
        name if name == "audio" else pytest.param(name, marks=pytest.mark.nightly)
        for name in modalities.lensed()
    ],
)
def test_every_tower_agrees_with_pytorch_in_batches_it_was_not_exported_with(name, tmp_path):
    tower, signals = _tower(name)
    assert export_onnx(tower, signals[:2], tmp_path / "tower.onnx") <= TOLERANCE
    with torch.no_grad():
        expected = tower.eval()(signals)
    found = _run(tmp_path / "tower.onnx", signals)
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.nightly
def test_set_abstraction_is_exported_too(tmp_path):
    tower, signals = _tower("point_cloud", kind="set_abstraction", radius=0.5)
    assert export_onnx(tower, signals, tmp_path / "tower.onnx") <= TOLERANCE


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_trained_head_is_exported_too(head, tmp_path):
    tower, signals = _tower("thermal", head)
    assert export_onnx(tower, signals, tmp_path / "tower.onnx") <= TOLERANCE


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored(training, tmp_path):
    layer = nn.Sequential(nn.Linear(3, 2), nn.Dropout()).train(training)
    export_onnx(layer, torch.ones(2, 3), tmp_path / "layer.onnx")
    assert layer[1].training is training


def test_a_file_that_does_not_agree_is_not_written(tmp_path):
    with pytest.raises(VitlensError, match="differ by"):
        export_onnx(nn.Linear(3, 2), torch.ones(2, 3), tmp_path / "tower.onnx", tolerance=-1.0)
    assert list(tmp_path.iterdir()) == []


def test_weights_beyond_protobufs_limit_lie_beside_the_file(tmp_path):
    layer, signals = nn.Linear(64, 32), torch.randn(2, 64)
    export_onnx(layer, signals, tmp_path / "tower.onnx", largest_file_bytes=16)
    assert {file.name for file in tmp_path.iterdir()} == {"tower.onnx", "tower.onnx.data"}
    with torch.no_grad():
        torch.testing.assert_close(_run(tmp_path / "tower.onnx", signals), layer(signals))


def test_one_signal_cannot_show_a_free_batch(tmp_path):
    with pytest.raises(InputError, match="two or more signals"):
        export_onnx(nn.Linear(3, 2), torch.ones(1, 3), tmp_path / "tower.onnx")
