"""`hf:<model or folder>#<part>`: towers of a Hugging Face model as a foundation.

A lens trained into such a foundation fits the model it came from: its tokens can be asked about,
its embeddings detect and draw (`vitlens_core.plugins`).

| model                          | vision | text | width of the space               |
|--------------------------------|--------|------|----------------------------------|
| CLIP, OWL-ViT, OWLv2, SigLIP   | yes    | yes  | that of its projections          |
| CLIP's vision tower alone      | yes    |      | that of its projection           |
| BLIP-2, InstructBLIP, LLaVA    | yes    |      | that of the vision tower         |
| Qwen2-VL, Qwen2.5-VL, Qwen3-VL | yes    |      | that of the vision tower         |

`#vision` takes the vision tower alone, `#both` the text tower too; without a part it is `both`
where the model has a text tower in the same space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitlens_core import caps
from vitlens_core.errors import CheckpointError, ConfigError, unknown
from vitlens_core.extras import require
from vitlens_core.foundation.base import Foundation
from vitlens_core.foundation.hf_files import ModelFiles
from vitlens_core.models.hf_trunks import (
    VisionTower,
    clip_tower,
    eva_tower,
    siglip_tower,
)
from vitlens_core.models.qwen_trunks import qwen_tower
from vitlens_core.models.sizes import only_sizes
from vitlens_core.models.trunk import Trunk

_PARTS = ("vision", "both")
# The side of Qwen's images, which may have any size: 16 × 16 patches.
_QWEN_PATCHES = 16


@dataclass(frozen=True)
class Family:
    """Where a type of model holds its towers.

    Attributes:
        module: class of transformers that holds the towers alone.
        prefixes: what stands before their names in the model's weights.
        sub_config: name of the module's config within the model's; empty for the whole.
        take: takes the vision tower apart.
        words: tokens that every text is padded to, and None if it has no text tower.
    """

    module: str
    prefixes: tuple[str, ...]
    sub_config: str
    take: Callable[[Any], VisionTower]
    words: int | None = None


def _of_clip(model: Any) -> VisionTower:
    return clip_tower(model.vision_model, model.visual_projection)


def _of_siglip(model: Any) -> VisionTower:
    return siglip_tower(model.vision_model)


def _of_llava(model: Any) -> VisionTower:
    return clip_tower(model.vision_model, None)


def _qwen(module: str) -> Family:
    # Two names, as LLaVA's.
    return Family(f"models.{module}", ("visual.", "model.visual."), "vision_config", qwen_tower)


FAMILIES = {
    "clip": Family("CLIPModel", ("",), "", _of_clip, 77),
    # The image encoder of a diffusion pipeline.
    "clip_vision_model": Family("CLIPVisionModelWithProjection", ("",), "", _of_clip),
    "siglip": Family("SiglipModel", ("",), "", _of_siglip, 64),
    "owlvit": Family("OwlViTModel", ("owlvit.",), "", _of_clip, 16),
    "owlv2": Family("Owlv2Model", ("owlv2.",), "", _of_clip, 16),
    "blip-2": Family("Blip2VisionModel", ("vision_model.",), "vision_config", eva_tower),
    "instructblip": Family(
        "InstructBlipVisionModel", ("vision_model.",), "vision_config", eva_tower
    ),
    # Two names each: as published, and as newer releases of transformers save it.
    "llava": Family(
        "CLIPVisionModel", ("vision_tower.", "model.vision_tower."), "vision_config", _of_llava
    ),
    "qwen2_vl": _qwen("qwen2_vl.modeling_qwen2_vl.Qwen2VisionTransformerPretrainedModel"),
    "qwen2_5_vl": _qwen("qwen2_5_vl.modeling_qwen2_5_vl.Qwen2_5_VisionTransformerPretrainedModel"),
    "qwen3_vl": _qwen("qwen3_vl.modeling_qwen3_vl.Qwen3VLVisionModel"),
}


class HfFoundation(Foundation):
    """A vision tower of Hugging Face, and the text tower beside it if there is one."""

    def __init__(
        self,
        spec: str,
        tower: VisionTower,
        image_size_px: int,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__(mean, std)
        self.spec = spec
        self.embed_dim = tower.embed_dim
        self.image_size_px = image_size_px
        self.patches = tower.patches
        self.trunk = tower.trunk
        self.texts: Texts | None = None
        self.scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    @property
    def has_text(self) -> bool:
        return self.texts is not None

    @property
    def logit_scale(self) -> float:
        return self.scale.exp().item()

    def image_tokens(self, pixels: Tensor) -> Tensor:
        return self.patches(pixels)

    def text_embeddings(self, texts: Sequence[str]) -> Tensor:
        if self.texts is None:
            raise ConfigError(
                f"{self.spec} has no text tower: compare with images, or choose a foundation of "
                "CLIP, SigLIP, OWL-ViT or OWLv2"
            )
        return self.texts(texts)


class Texts(nn.Module):
    """The text tower of a dual encoder with its tokenizer: texts → [B, E], not normalised."""

    def __init__(self, model: Any, tokenizer: Any, words: int) -> None:
        super().__init__()
        self.text_model = model.text_model
        # SigLIP's text tower ends in its own projection.
        self.projection = getattr(model, "text_projection", nn.Identity())
        self.tokenizer = tokenizer
        self.words = words

    def forward(self, texts: Sequence[str]) -> Tensor:
        batch = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.words,
            return_tensors="pt",
        )
        device = next(self.text_model.parameters()).device
        ids = batch["input_ids"].to(device)
        # SigLIP sees its padding; CLIP and OWL look back from the end of the text only.
        return self.projection(self.text_model(input_ids=ids).pooler_output)


def parse(spec: str) -> tuple[str, str | None]:
    """Split `hf:<model or folder>#<part>`, and check a folder's type of model.

    Raises:
        ConfigError: the form or part is unknown, the folder is no model, or transformers is not
            installed.
    """
    require("transformers", "ask", "a foundation hf:…")
    source, _, part = spec.removeprefix("hf:").partition("#")
    if not source or part not in ("", *_PARTS):
        raise ConfigError(
            f"foundation {spec!r}: expected hf:<model or folder>, then nothing, #vision or #both"
        )
    if Path(source).is_dir():
        family_of(ModelFiles(source).config(), spec)
    elif source.count("/") != 1:
        raise ConfigError(
            f"foundation {spec!r}: no folder {source!r}; a model of the hub is named owner/name"
        )
    return source, part or None


def family_of(config: dict[str, Any], spec: str) -> Family:
    """Return the family of a model by its config. Raises ConfigError with those that exist."""
    kind = config["model_type"]
    if kind not in FAMILIES:
        raise ConfigError(f"{spec}: {unknown('type of model', str(kind), FAMILIES)}")
    return FAMILIES[kind]


def has_text(spec: str) -> bool:
    """Whether a spec names a text tower too; its config is read. Errors: `parse`."""
    source, part = parse(spec)
    family = family_of(ModelFiles(source).config(), spec)
    return family.words is not None and part != "vision"


def patches(spec: str, image_size_px: int | None) -> int | None:
    """Return the number of patches of an image, as a folder's config states it; else None.

    Errors: `parse`.
    """
    source, _ = parse(spec)
    if not Path(source).is_dir():
        return None  # a name on the hub: its config would have to be downloaded
    config = ModelFiles(source).config()
    vision = config.get("vision_config", config)
    if "image_size" not in vision or "patch_size" not in vision:
        return None  # a config states what differs from its type's defaults
    return (int(vision["image_size"]) // int(vision["patch_size"])) ** 2


def load(spec: str, **sizes: int) -> HfFoundation:
    """Build the foundation of an `hf:` spec (see `parse`); weights load strictly.

    Raises:
        ConfigError: sizes are given, the model cannot be had, or it has no text tower although
            `#both` asks for one.
        CheckpointError: its weights do not fit its config.
    """
    if sizes:
        raise ConfigError(f"{spec} brings its own {' and '.join(sizes)}: leave them unset")
    source, part = parse(spec)
    files = ModelFiles(source)
    config = files.config()
    family = family_of(config, spec)
    if part == "both" and family.words is None:
        raise ConfigError(f"{spec}: {config['model_type']} has no text tower; ask for #vision")
    model = _towers(files, config, family, spec)
    tower = family.take(model)
    mean, std = _preprocessing(files)
    foundation = HfFoundation(spec, tower, _image_size(config, tower), mean, std)
    if family.words is not None and part != "vision":
        tokenizer = _tokenizer(files, spec)
        foundation.texts = Texts(model, tokenizer, family.words)
    if (scale := dict(model.named_parameters()).get("logit_scale")) is not None:
        foundation.scale = nn.Parameter(scale.detach().reshape(()).clone())
    return foundation


def trunk_sizes(spec: str) -> Trunk:
    """Build the trunk of an `hf:` spec without values; of the model, only its config is read.

    Raises:
        ConfigError: as `load`.
    """
    config = ModelFiles(parse(spec)[0]).config()
    family = family_of(config, spec)
    with only_sizes():
        return family.take(_without_weights(config, family, spec)).trunk


def _towers(files: ModelFiles, config: dict[str, Any], family: Family, spec: str) -> nn.Module:
    """Build the part of the model that holds its towers, in fp32, with its weights."""
    model = _without_weights(config, family, spec)
    state = {n: t.float() for n, t in files.tensors(family.prefixes).items()}
    # Counters that old releases saved; they are computed now.
    state = {n: t for n, t in state.items() if not n.endswith("position_ids")}
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{spec}: its weights do not fit its config: {error}") from error
    return model.eval()


def _without_weights(config: dict[str, Any], family: Family, spec: str) -> nn.Module:
    transformers = require("transformers", "ask", "a foundation hf:…")
    whole = transformers.AutoConfig.for_model(**config)
    wanted = getattr(whole, family.sub_config) if family.sub_config else whole
    if family.take is _of_llava and wanted.model_type != "clip_vision_model":
        raise ConfigError(f"{spec}: its vision tower is {wanted.model_type}; expected CLIP's")
    owner: Any = transformers
    for name in family.module.split("."):
        owner = getattr(owner, name)
    return owner(wanted)


def _tokenizer(files: ModelFiles, spec: str) -> Any:
    transformers = require("transformers", "ask", "a foundation hf:…")
    try:
        return transformers.AutoTokenizer.from_pretrained(files.source, trust_remote_code=False)
    except (AttributeError, ImportError, OSError, TypeError, ValueError) as error:
        # The first and fourth: what transformers gives where a tokenizer's files are missing.
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"{spec}: its tokenizer cannot be opened: {reason}") from error


def _preprocessing(files: ModelFiles) -> tuple[Sequence[float], Sequence[float]]:
    """Read mean and deviation of the pixels. Raises ConfigError where the model states none."""
    path = files.find("preprocessor_config.json")
    try:
        stated = caps.parse_json(path.read_bytes()) if path else {}
        return stated["image_mean"], stated["image_std"]
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"hf:{files.source}: expected image_mean and image_std in preprocessor_config.json, "
            "as the model was published with them"
        ) from error


def _image_size(config: dict[str, Any], tower: VisionTower) -> int:
    size = config.get("vision_config", config).get("image_size")
    if size is None:
        # A config states what differs from its type's defaults.
        side = (
            round(tower.trunk.input_tokens**0.5)
            if tower.trunk.cls_token is not None
            else _QWEN_PATCHES
        )
        return side * tower.patch_px
    return int(size)
