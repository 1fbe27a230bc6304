"""Models small enough for a test: real architectures of open_clip, timm and transformers.

Weights are random. Files are written once and read back the way published weights are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
from open_clip.transformer import VisionTransformer
from safetensors.torch import save_file
from torch import Tensor, nn

from vitlens_core.checkpoint import encode_lens
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.base import Foundation
from vitlens_core.models.tower import Tower, build_tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.models.wrapped_trunks import open_clip_trunk

WORDS = (
    "a an of the photo picture model 3d object chair lamp car red blue big small . , point cloud"
)
SIGNAL = {"points": 40}
TOKENIZER = {"points_seen": 32, "groups": 6, "group_size": 5, "encoder_dim": 12, "width": 10}
LENS = {"latents": 4, "depth": 1, "latent_heads": 2, "latent_dim_head": 4, "cross_dim_head": 4}


def shaken(module: nn.Module, seed: int = 0) -> Any:
    """In evaluation mode; norms and biases moved off 0 and 1, where mistakes do not show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.1, generator=generator)
    return module.eval()


def clip_vit(**overrides: Any) -> VisionTransformer:
    """CLIP's vision tower: 4 × 4 patches, 3 blocks of width 24, embeddings of 10."""
    sizes: dict[str, Any] = {"image_size": 16, "patch_size": 4, "width": 24, "layers": 3}
    sizes |= {"heads": 2, "mlp_ratio": 2.0, "output_dim": 10}
    return shaken(VisionTransformer(**(sizes | overrides)))


class TinyFoundation(Foundation):
    """`clip_vit` as image tower; a text is the mean of its letters' embeddings."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        self.spec = f"tiny:{seed}"
        self.embed_dim, self.image_size_px = 10, 16
        self.visual = shaken(clip_vit(), seed)
        self.letters = nn.Embedding(256, self.embed_dim)
        shaken(self.letters, seed)
        self.trunk = open_clip_trunk(self.visual)
        self.freeze()

    @property
    def logit_scale(self) -> float:
        return 10.0

    def image_tokens(self, pixels: Tensor) -> Tensor:
        return self.visual.conv1(pixels).flatten(2).mT

    def text_embeddings(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self.letters(torch.tensor(list(t.encode()))).mean(0) for t in texts])


def tower_settings(**overrides: Any) -> TowerSettings:
    """A point-cloud tower for `TinyFoundation`: 32 of 40 points, 6 groups, 4 latents."""
    settings = {"modality": "point_cloud", "signal": SIGNAL, "tokenizer": TOKENIZER, "lens": LENS}
    return TowerSettings.model_validate(settings | overrides)


def tiny_tower(foundation: Foundation, seed: int = 0, **overrides: Any) -> Tower:
    torch.manual_seed(seed)
    return build_tower(tower_settings(**overrides), foundation.trunk)


def write_lens(folder: Path, spec: str, settings: TowerSettings | None = None) -> Path:
    """Write a tiny lens on a foundation, by default of point clouds; its file."""
    foundation, settings = load_foundation(spec), settings or tower_settings()
    torch.manual_seed(0)
    state = build_tower(settings, foundation.trunk).trained_state()
    folder.mkdir(exist_ok=True)
    path = folder / "lens.safetensors"
    path.write_bytes(encode_lens(state, settings, spec, foundation.digest()))
    return path


def stored_clouds(count: int, points: int = 40, seed: int = 0) -> Tensor:
    """fp16 clouds [count, points, 6]: xyz around the origin, rgb in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    xyz = torch.randn(count, points, 3, generator=generator) * 0.3
    return torch.cat([xyz, torch.rand(count, points, 3, generator=generator)], -1).half()


def write_lit(folder: Path) -> str:
    """Write a tiny timm ViT and a tiny BERT; the spec of the `lit` foundation they make."""
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(vit.state_dict(), folder / "vit.safetensors")
    write_sentence_encoder(folder / "sentences")
    return f"lit:vit_tiny_patch16_224.{folder / 'vit.safetensors'}+{folder / 'sentences'}"


def write_open_clip(folder: Path) -> str:
    """Make a tiny model known to open_clip and write its weights; the foundation's spec."""
    vision = {"image_size": 32, "layers": 2, "width": 24, "head_width": 12, "patch_size": 8}
    text = {"context_length": 16, "width": 16, "heads": 2, "layers": 2}
    config = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": text}
    (folder / "vitlens-tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    torch.save(open_clip.create_model("vitlens-tiny").state_dict(), folder / "weights.pt")
    return f"open_clip:vitlens-tiny/{folder / 'weights.pt'}"


def write_sentence_encoder(folder: Path) -> None:
    """One BERT block of width 16 over a vocabulary of some twenty words."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(vocab_size=len(vocabulary), intermediate_size=32, **sizes)
    shaken(BertModel(config)).save_pretrained(folder)
