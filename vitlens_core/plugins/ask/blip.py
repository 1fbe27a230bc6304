"""BLIP-2 and InstructBLIP: the Q-Former reads the trunk's tokens after the final norm.

Parts meet before the Q-Former, which attends to any number of tokens, or before the language
model, where every part has its own query tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vitlens_core.errors import ConfigError, InputError
from vitlens_core.extras import require
from vitlens_core.models.hf_trunks import VisionTower, eva_tower
from vitlens_core.plugins.ask.base import Fusion, TowerModel


class _GivenTokens(nn.Module):
    """Stands for the vision model: its `pixel_values` are the last block's tokens [B, 1, N, W]."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, pixel_values: Tensor, **_: object) -> object:
        outputs = require("transformers.modeling_outputs", "ask", "BLIP-2")
        normed = self.norm(pixel_values[:, 0])
        return outputs.BaseModelOutputWithPooling(
            last_hidden_state=normed, pooler_output=self.norm(normed[:, 0])
        )


class Blip2(TowerModel):
    """BLIP-2."""

    fusions: ClassVar[tuple[Fusion, ...]] = ("former", "language")
    prompt: ClassVar[str] = "Question: {} Answer:"

    def _take(self) -> VisionTower:
        if self.model.config.image_token_index is None:
            raise ConfigError(
                f"{self.source}: its config names no image_token_index, as models converted "
                "before transformers 4.46 do not; fetch its present revision"
            )
        tower = eva_tower(self.model.vision_model)
        self.model.vision_model = _GivenTokens(self.model.vision_model.post_layernorm)
        return tower

    def inputs(
        self, parts: Sequence[Tensor], questions: Sequence[str], fusion: Fusion
    ) -> dict[str, Any]:
        pixels = _together(parts, fusion)
        copies = len(pixels) // len(questions)
        config = self.model.config
        places = [config.image_token_index] * config.num_query_tokens * copies
        texts = [self.prompt.format(question) for question in questions]
        return {"pixel_values": pixels, **self._ids(places, texts)}


class InstructBlip(Blip2):
    """InstructBLIP, whose Q-Former reads the question too."""

    prompt: ClassVar[str] = "{}"

    def __init__(self, source: str, model: Any, words: Any) -> None:
        super().__init__(source, model, words)
        transformers = require("transformers", "ask", "InstructBLIP")
        self.former_words = transformers.AutoTokenizer.from_pretrained(
            source, subfolder="qformer_tokenizer", trust_remote_code=False
        )

    def inputs(
        self, parts: Sequence[Tensor], questions: Sequence[str], fusion: Fusion
    ) -> dict[str, Any]:
        inputs = super().inputs(parts, questions, fusion)
        copies = len(inputs["pixel_values"]) // len(questions)
        asked = self.former_words(list(questions), padding=True, return_tensors="pt")
        return inputs | {
            f"qformer_{name}": asked[name].repeat_interleave(copies, dim=0)
            for name in ("input_ids", "attention_mask")
        }


def _together(parts: Sequence[Tensor], fusion: Fusion) -> Tensor:
    """Join parts [B, 1, N, W]: tokens after each other, or rows of one question together."""
    if fusion == "former":
        return torch.cat(list(parts), dim=2)
    if len({part.shape for part in parts}) > 1:
        raise InputError("parts of different numbers of tokens meet at the Q-Former: fuse 'former'")
    return torch.stack(list(parts), dim=1).flatten(0, 1)
