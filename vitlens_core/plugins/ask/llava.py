"""LLaVA: its projector reads the trunk's tokens of the last block but one, without CLS.

Parts meet in the language model: every token has a place of its own in the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vitlens_core.errors import ConfigError
from vitlens_core.models.hf_trunks import VisionTower, clip_tower
from vitlens_core.plugins.ask.base import Fusion, TowerModel

_PROMPT = "USER: {}\n{} ASSISTANT:"


class _GivenTokens(nn.Module):
    """Stands for the vision tower: its pixels are the tapped blocks' tokens [B, K, N, W]."""

    def __init__(self, taps: tuple[int, ...]) -> None:
        super().__init__()
        self.taps = taps

    def forward(self, pixel_values: Tensor, **_: object) -> SimpleNamespace:
        return SimpleNamespace(
            hidden_states=dict(zip(self.taps, pixel_values.unbind(1), strict=True))
        )


class Llava(TowerModel):
    """LLaVA 1.5 and its like, with CLIP's vision tower."""

    fusions: ClassVar[tuple[Fusion, ...]] = ("language",)

    def _take(self) -> VisionTower:
        config, vision = self.model.config, self.model.model.vision_tower
        if config.vision_config.model_type != "clip_vision_model":
            raise ConfigError(
                f"{self.source}: its vision tower is {config.vision_config.model_type}; expected "
                "CLIP's"
            )
        layer, blocks = config.vision_feature_layer, config.vision_config.num_hidden_layers
        layers = [layer] if isinstance(layer, int) else list(layer)
        # Positive numbers count the embeddings as 0; the replacement answers to those as they are.
        self.taps = tuple(tap if tap < 0 else tap - blocks - 1 for tap in layers)
        tower = clip_tower(vision.vision_model, None)
        replaced = _GivenTokens(tuple(layers))
        self.model.model.vision_tower = replaced
        return tower

    def inputs(
        self, parts: Sequence[Tensor], questions: Sequence[str], fusion: Fusion
    ) -> dict[str, Any]:
        first, *others = parts
        # Only the first CLS token is taken off by the model itself.
        pixels = torch.cat([first, *(part[:, :, 1:] for part in others)], dim=2)
        config = self.model.config
        drops_cls = config.vision_feature_select_strategy == "default"
        places = pixels.shape[2] - (1 if drops_cls else 0)
        image = self.words.convert_ids_to_tokens(config.image_token_index) * places
        texts = [self._prompt(image, question) for question in questions]
        batch = self.words(texts, padding=True, return_tensors="pt")
        return {
            "pixel_values": pixels,
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
        }

    def _prompt(self, image: str, question: str) -> str:
        if not self.words.chat_template:
            return _PROMPT.format(image, question)
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = self.words.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        one = self.words.convert_ids_to_tokens(self.model.config.image_token_index)
        return text.replace(one, image, 1)
