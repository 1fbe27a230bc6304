"""The adapters on models of the published sizes, built on the meta device: shapes only."""

from typing import Any

import pytest
import torch
import transformers as hf

from tests import tiny_hf
from vitlens_core.models.tower import build_tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.network_settings import LensSettings
from vitlens_core.plugins.ask.base import QuestionModel
from vitlens_core.plugins.ask.blip import Blip2
from vitlens_core.plugins.ask.llava import Llava
from vitlens_core.plugins.ask.qwen import Qwen2Vl

VICUNA_7B = {"model_type": "llama", "vocab_size": 32001, "hidden_size": 4096}
VICUNA_7B |= {"intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
CLIP_L_336 = {"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096}
CLIP_L_336 |= {"num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336}
CLIP_L_336 |= {"patch_size": 14, "projection_dim": 768}


def _instructblip() -> Any:
    return hf.InstructBlipForConditionalGeneration(
        hf.InstructBlipConfig(text_config=VICUNA_7B, image_token_index=32000)
    )


def _blip2() -> Any:
    opt = {"model_type": "opt", "hidden_size": 2560, "ffn_dim": 10240, "num_hidden_layers": 32}
    opt |= {"num_attention_heads": 32, "word_embed_proj_dim": 2560, "vocab_size": 50304}
    config = hf.Blip2Config(text_config=opt, image_token_index=50265)
    return hf.Blip2ForConditionalGeneration(config)


def _llava() -> Any:
    config = hf.LlavaConfig(vision_config=CLIP_L_336, text_config=VICUNA_7B)
    return hf.LlavaForConditionalGeneration(config)


def _qwen() -> Any:
    text = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
    text |= {"num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064}
    places = {"rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}
    config = hf.Qwen2VLConfig(text_config=text | places, vision_config={"hidden_size": 3584})
    return hf.Qwen2VLForConditionalGeneration(config)


def _former(by: QuestionModel, tokens: torch.Tensor) -> torch.Tensor:
    model: Any = by.model
    seen = model.vision_model(tokens).last_hidden_state
    words = {}
    if model.config.model_type == "instructblip":
        words = {"input_ids": torch.zeros(1, 7, dtype=torch.long, device="meta")}
    queries = model.query_tokens.expand(1, -1, -1)
    found = model.qformer(query_embeds=queries, encoder_hidden_states=seen, **words)[0]
    return model.language_projection(found[:, : queries.shape[1]])


def _projected(by: QuestionModel, tokens: torch.Tensor) -> torch.Tensor:
    model: Any = by.model
    return model.model.get_image_features(tokens, vision_feature_layer=-2)[0]


def _merged(by: QuestionModel, tokens: torch.Tensor) -> torch.Tensor:
    model: Any = by.model
    return model.model.visual(tokens[0, 0], torch.tensor([[1, 16, 16]]))


@pytest.mark.parametrize(
    ("build", "adapter", "latents", "tokens", "seen", "project"),
    [
        (_instructblip, Blip2, 256, (1, 1, 257, 1408), (1, 32, 4096), _former),
        (_blip2, Blip2, 256, (1, 1, 257, 1408), (1, 32, 2560), _former),
        (_llava, Llava, 576, (1, 1, 577, 1024), (576, 4096), _projected),
        (_qwen, Qwen2Vl, 256, (1, 1, 256, 1280), (64, 3584), _merged),
    ],
    ids=["instructblip-vicuna-7b", "blip2-opt-2.7b", "llava-1.5-7b", "qwen2-vl-7b"],
)
def test_a_lens_of_the_published_size_reaches_the_language_model(
    build, adapter, latents, tokens, seen, project
):
    with torch.device("meta"):
        by = adapter("published", build().eval(), tiny_hf.tokenizer())
        settings = TowerSettings.of("point_cloud", lens=LensSettings(latents=latents))
        tower = build_tower(settings, by.tower.trunk)
        fed = torch.empty(1, latents, by.tower.trunk.width)
        states = fed.unsqueeze(1)  # Qwen's attention reads where a sequence ends: no values here
        if build is not _qwen:
            states = torch.stack(tower.trunk.states([fed], by.taps), dim=1)
    assert states.shape == tokens
    assert project(by, states).shape == seen
