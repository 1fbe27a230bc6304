"""`lit:<timm trunk>+<sentence encoder>`: locked image and locked text, tuned to each other.

Two linear projections and a logit scale connect a frozen timm ViT and a frozen sentence encoder;
they are the only trained parts (LiT, arXiv 2111.07991, with *both* towers locked).
`fit_projections` trains them on frozen features of the image–text pairs at hand.

Axes: B batch, P objects, V views, C captions, F feature width, E embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import CheckpointError
from vitlens_core.foundation.base import Foundation
from vitlens_core.foundation.settings import FitSettings
from vitlens_core.losses.base import MAX_LOG_SCALE, Pairs
from vitlens_core.losses.info_nce import info_nce
from vitlens_core.models.trunk import ProjectedReadout, TapFeatures
from vitlens_core.models.weights import digest_of_tensors
from vitlens_core.models.wrapped_trunks import timm_trunk

_TAPS = 2


class ProjectedFeatures(ProjectedReadout):
    """The trunk's readout: frozen tap features [B, F], then the trained projection to [B, E]."""

    def __init__(self, features: TapFeatures, projection: nn.Linear) -> None:
        super().__init__()
        self.features = features
        self.projection = projection
        self.taps = features.taps

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        return self.projection(F.normalize(self.features(hidden), dim=-1))

    @property
    def unprojected(self) -> TapFeatures:
        return self.features

    @property
    def sizes(self) -> tuple[int, int]:
        return self.projection.in_features, self.projection.out_features


class Projections(nn.Module):
    """The trained part: image [Fi → E], text [Ft → E] and the logarithm of the logit scale."""

    def __init__(self, image_features: int, text_features: int, embed_dim: int) -> None:
        super().__init__()
        self.image = nn.Linear(image_features, embed_dim)
        self.text = nn.Linear(text_features, embed_dim)
        self.log_scale = nn.Parameter(torch.empty(()))
        self.reset()

    def reset(self) -> None:
        """Set random weights, and the temperature that CLIP starts from."""
        self.image.reset_parameters()
        self.text.reset_parameters()
        nn.init.constant_(self.log_scale, math.log(1 / 0.07))


class SentenceEncoder(nn.Module):
    """A frozen sentence transformer: the mean of its last states, padding left out."""

    def __init__(self, folder: Path, max_tokens: int = 64) -> None:
        super().__init__()
        # Imported here: transformers belongs to the extra `lit`.
        from transformers import AutoModel, AutoTokenizer

        # The folder may be a stranger's: no code of its own, and no pickled weights.
        self.tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        self.model = AutoModel.from_pretrained(
            str(folder), attn_implementation="sdpa", trust_remote_code=False, use_safetensors=True
        )
        self.max_tokens = max_tokens

    @property
    def width(self) -> int:
        return self.model.config.hidden_size

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as unit-norm sentence features [B, Ft]."""
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
    """Two locked towers and their projections, which are random until they are fitted."""

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
        """Compute frozen features [B, Fi] of uint8 RGB [B, H, W, 3], before the projection."""
        tokens = self.image_tokens(self.preprocess(images))
        return F.normalize(self.trunk.with_readout(self.features)(tokens), dim=-1)

    @torch.inference_mode()
    def text_features(self, texts: Sequence[str]) -> Tensor:
        """Compute frozen features [B, Ft] of texts, before the projection."""
        return self.text(texts)

    @torch.inference_mode()
    def project_images(self, features: Tensor) -> Tensor:
        """Project image features [B, Fi] to unit-norm embeddings [B, E]."""
        return F.normalize(self.projections.image(features), dim=-1)

    @torch.inference_mode()
    def project_texts(self, features: Tensor) -> Tensor:
        """Project text features [C, Ft] to unit-norm embeddings [C, E]."""
        return F.normalize(self.projections.text(features), dim=-1)

    def image_digest(self) -> str:
        """Compute the identity of `image_features`: SHA-256 of the frozen image tower's weights."""
        frozen = nn.ModuleList((self.patch_embed, self.trunk.with_readout(self.features)))
        return digest_of_tensors(frozen.state_dict())

    def load_projections(self, state: Mapping[str, Tensor]) -> None:
        """Load fitted projections. Raises CheckpointError if names or shapes differ."""
        try:
            self.projections.load_state_dict(dict(state), strict=True)
        except RuntimeError as error:
            raise CheckpointError(f"projections do not fit {self.spec}: {error}") from error


def fit_projections(
    projections: Projections,
    image_features: Tensor,
    text_features: Tensor,
    text_owner: Tensor,
    settings: FitSettings,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Reset the projections and train them by symmetric InfoNCE over randomly drawn pairs.

    The result depends on the features and on `settings` alone, which include the seed.

    Args:
        image_features: [P, V, Fi] of P training objects.
        text_features: [C, Ft] of all their captions.
        text_owner: [C] index of the object each caption belongs to.
    """
    # The seed decides the initial weights too: from whatever state the process's generator had,
    # equal fingerprints gave foundations between .49 and .54 top-1. The fork leaves it untouched.
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
            # A caption is drawn, then a view of its object: all captions are equally frequent.
            captions = torch.randint(len(text_owner), (settings.batch_size,))
            objects = text_owner[captions]
            view = torch.randint(image_features.shape[1], (settings.batch_size,))
            image = F.dropout(image_features[objects, view], settings.dropout)
            text = F.dropout(text_features[captions], settings.dropout)
            pairs = Pairs(
                F.normalize(projections.image(image), dim=-1),
                F.normalize(projections.text(text), dim=-1),
            )
            loss = info_nce(pairs, projections.log_scale.exp())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            # CLIP's bound: beyond it training becomes unstable.
            projections.log_scale.data.clamp_(max=MAX_LOG_SCALE)
            on_step(step, loss.item())
