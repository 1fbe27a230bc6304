"""The adapters on models of the published sizes, built on the meta device: shapes only."""

from typing import Any

import pytest
import torch
import transformers as hf

from tests import tiny_hf
from vitlens_core.models.tower import build_tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.network_settings import LensSettings
from vitlens_core.plugins.ask import ADAPTERS
from vitlens_core.plugins.ask.base import QuestionModel
from vitlens_core.plugins.ask.blip import Blip2, InstructBlip
from vitlens_core.plugins.ask.llava import Llava
from vitlens_core.plugins.ask.qwen import Qwen2Vl, Qwen3Vl

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


def _qwen25() -> Any:
    text = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28}
    text |= {"num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064}
    places = {"rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}
    vision = {"out_hidden_size": 3584, "hidden_size": 1280, "intermediate_size": 3420}
    config = hf.Qwen2_5_VLConfig(text_config=text | places, vision_config=vision)
    return hf.Qwen2_5_VLForConditionalGeneration(config)


def _qwen3() -> Any:
    text = {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36}
    text |= {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 151936}
    rope = {"rope_type": "default", "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    config = hf.Qwen3VLConfig(
        text_config=text | {"head_dim": 128, "rope_scaling": rope},
        vision_config={"out_hidden_size": 4096},
    )
    return hf.Qwen3VLForConditionalGeneration(config)


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
    found = model.model.visual(tokens[0].movedim(0, 1), torch.tensor([[1, 16, 16]]))
    if isinstance(found, tuple):
        found, deep = found
        assert [one.shape for one in deep] == [found.shape] * 3
    return found


@pytest.mark.parametrize(
    ("build", "adapter", "latents", "tokens", "seen", "project"),
    [
        (_instructblip, InstructBlip, 256, (1, 1, 257, 1408), (1, 32, 4096), _former),
        (_blip2, Blip2, 256, (1, 1, 257, 1408), (1, 32, 2560), _former),
        (_llava, Llava, 576, (1, 1, 577, 1024), (576, 4096), _projected),
        (_qwen, Qwen2Vl, 256, (1, 1, 256, 1280), (64, 3584), _merged),
        (_qwen25, Qwen2Vl, 256, (1, 1, 256, 1280), (64, 3584), _merged),
        (_qwen3, Qwen3Vl, 256, (1, 4, 256, 1152), (64, 4096), _merged),
    ],
    ids=[
        "instructblip-vicuna-7b",
        "blip2-opt-2.7b",
        "llava-1.5-7b",
        "qwen2-vl-7b",
        "qwen2.5-vl-7b",
        "qwen3-vl-8b",
    ],
)
def test_a_lens_of_the_published_size_reaches_the_language_model(
    tmp_path, build, adapter, latents, tokens, seen, project
):
    # InstructBLIP's Q-Former has a tokenizer of its own, in the model's folder.
    tiny_hf.tokenizer().save_pretrained(tmp_path / "qformer_tokenizer")
    with torch.device("meta"):
        by = adapter(str(tmp_path), build().eval(), tiny_hf.tokenizer())
        assert adapter.__name__ == ADAPTERS[by.model.config.model_type][-1], "as it is opened"
        settings = TowerSettings.of("point_cloud", lens=LensSettings(latents=latents))
        tower = build_tower(settings, by.tower.trunk)
        fed = torch.empty(1, latents, by.tower.trunk.width)
        # Qwen's attention reads where a sequence ends: no values here.
        states = fed.unsqueeze(1).expand(-1, len(by.taps), -1, -1)
        if not issubclass(adapter, Qwen2Vl):
            states = torch.stack(tower.trunk.states([fed], by.taps), dim=1)
    assert states.shape == tokens
    assert project(by, states).shape == seen
