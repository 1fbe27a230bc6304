"""The weights that ship in registry packages: complete, and computing what they should."""

from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto, helper

from vitlens_core.errors import ConfigError
from vitlens_core.foundation import packaged
from vitlens_core.foundation.lit import SentenceEncoder


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return packaged.dinov2_small_state()


def test_every_tensor_of_the_trunk_is_there(state: dict[str, torch.Tensor]) -> None:
    vit: Any = timm.create_model(packaged.TRUNK_MODEL, num_classes=0)
    vit.load_state_dict(state, strict=True)
    assert len(state) == 174
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_the_trunk_computes_as_the_network_it_was_read_from(
    state: dict[str, torch.Tensor],
) -> None:
    """The exported backbone's normed tokens at 224 px, as onnxruntime computes them.

    Correlation rather than equality: the export resamples the positional table with its own
    bicubic kernel.
    """
    runtime = pytest.importorskip("onnxruntime")
    model = onnx.load(str(packaged.trunk_file()))
    name = "/backbone/layernorm/Add_1_output_0"
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(model.SerializeToString(), options)
    images = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    (expected,) = session.run([name], {"input_image": images})
    vit: Any = timm.create_model(packaged.TRUNK_MODEL, num_classes=0)
    vit.load_state_dict(state)
    vit.set_input_size(img_size=224)
    with torch.inference_mode():
        features = vit.eval().forward_features(torch.from_numpy(images)).numpy()
    assert features.shape == expected.shape
    assert np.corrcoef(features.ravel(), expected.ravel())[0, 1] > 0.999


def test_the_sentence_encoder_knows_what_is_alike() -> None:
    encoder = SentenceEncoder(packaged.minilm_folder()).eval()
    with torch.inference_mode():
        chair, armchair, oven = encoder(["a chair", "an armchair", "an oven"])
    assert chair @ armchair > chair @ oven + 0.1


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(ConfigError, match="'no-such-weights' is not installed: run `make setup`"):
        packaged.package_folder("no_such_weights", "no-such-weights")
