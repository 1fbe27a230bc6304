"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: a merger reads the last block's tokens, four at a time.

Qwen3-VL's language model also reads tokens of earlier blocks, each through a merger of its own.
Parts meet in the language model, as images of one conversation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vitlens_core.models.hf_trunks import VisionTower
from vitlens_core.models.qwen_trunks import qwen_tower
from vitlens_core.plugins.ask.base import Fusion, TowerModel

_PROMPT = "<|im_start|>user\n{}{}<|im_end|>\n<|im_start|>assistant\n"


class _GivenTokens(nn.Module):
    """Stands for the vision tower: its pixels are the tapped blocks' tokens, [sum of N, K, W]."""

    def __init__(self, visual: Any) -> None:
        super().__init__()
        self.merger = visual.merger
        self.spatial_merge_size = visual.spatial_merge_size

    @property
    def dtype(self) -> torch.dtype:
        return next(self.merger.parameters()).dtype

    def forward(self, tokens: Tensor, grid_thw: Tensor) -> Any:
        return self.merger(tokens[:, -1])


class _GivenDeepTokens(_GivenTokens):
    """The same for Qwen3-VL."""

    def __init__(self, visual: Any) -> None:
        super().__init__(visual)
        self.deepstack_merger_list = visual.deepstack_merger_list

    def forward(self, tokens: Tensor, grid_thw: Tensor) -> Any:
        *earlier, last = (one.contiguous() for one in tokens.unbind(1))
        mergers = self.deepstack_merger_list
        deep = [merger(one) for merger, one in zip(mergers, earlier, strict=True)]
        return self.merger(last), deep


class Qwen2Vl(TowerModel):
    """Qwen2-VL and Qwen2.5-VL."""

    fusions: ClassVar[tuple[Fusion, ...]] = ("language",)

    def _take(self) -> VisionTower:
        visual = self.model.model.visual
        tower = qwen_tower(visual)
        self.model.model.visual = self._given(visual)
        return tower

    def _given(self, visual: Any) -> nn.Module:
        return _GivenTokens(visual)

    def _allowed_fusions(self) -> tuple[Fusion, ...]:
        # Rotary positions are those of one square image, whatever the number of tokens.
        return self.fusions

    def inputs(
        self, parts: Sequence[Tensor], questions: Sequence[str], fusion: Fusion
    ) -> dict[str, Any]:
        sides = [math.isqrt(part.shape[2]) for part in parts]
        # In the order of the prompts: the parts of the first question, then those of the next.
        rows = [part[index].movedim(0, 1) for index in range(len(questions)) for part in parts]
        grid = torch.tensor([[1, side, side] for _ in questions for side in sides])
        tokens = [self.words.convert_ids_to_tokens(i) for i in self._places()]
        start, pad, end = tokens
        merge = self.model.config.vision_config.spatial_merge_size**2
        images = "".join(f"{start}{pad * (part.shape[2] // merge)}{end}" for part in parts)
        texts = [_PROMPT.format(images, question) for question in questions]
        batch = self.words(texts, padding=True, return_tensors="pt")
        return {
            "pixel_values": torch.cat(rows),
            "image_grid_thw": grid,
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
        }

    def _places(self) -> tuple[int, int, int]:
        config = self.model.config
        return config.vision_start_token_id, config.image_token_id, config.vision_end_token_id


class Qwen3Vl(Qwen2Vl):
    """Qwen3-VL."""

    def _given(self, visual: Any) -> nn.Module:
        depth = len(visual.blocks)
        self.taps = (*(index - depth for index in visual.deepstack_visual_indexes), -1)
        return _GivenDeepTokens(visual)
