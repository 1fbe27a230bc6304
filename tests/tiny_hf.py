"""Tiny models of transformers in the very format in which the large ones are published.

Every weight is random: InstructBLIP's own initial weights are some 1e-10 and its query tokens 0,
so that a fresh model gives the same whatever it is fed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer

IMAGE = "<image>"
QWEN_TOKENS = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
SPECIAL = ("<s>", "</s>", "<pad>", IMAGE, "<|im_start|>", "<|im_end|>", *QWEN_TOKENS)
VISION = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3}
VISION |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 4}
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 2, "max_position_embeddings": 77}
LANGUAGE = {"hidden_size": 20, "intermediate_size": 32, "num_hidden_layers": 2}
LANGUAGE |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512}
FORMER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
FORMER |= {"num_attention_heads": 2, "encoder_hidden_size": 24, "cross_attention_frequency": 1}


def randomised(model: Any, seed: int = 0) -> Any:
    """Every parameter is drawn, wide enough that one image gives something else than another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model.eval()


def tokenizer(ends: bool = False) -> hf.PreTrainedTokenizerFast:
    """Byte pairs over a few words; `ends` closes every text, as CLIP's tokenizer does."""
    made = Tokenizer(models.BPE(unk_token="</s>"))
    made.normalizer = normalizers.Lowercase() if ends else None
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=300,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["what is it used for? a chair, a lamp"], trainer)
    if ends:
        pair = [("<s>", 0), ("</s>", 1)]
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=pair
        )
    made.decoder = decoders.ByteLevel()
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        additional_special_tokens=list(SPECIAL[3:]), model_max_length=77 if ends else 512,
    )  # fmt: skip


def _words(count: int = 0) -> dict[str, int]:
    return {"vocab_size": count or len(tokenizer()), "bos_token_id": 0, "eos_token_id": 1,
            "pad_token_id": 2}  # fmt: skip


def clip() -> tuple[Any, Any]:
    text = TEXT | _words()
    config = hf.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=10)
    return hf.CLIPModel(config), tokenizer(ends=True)


def clip_vision() -> tuple[Any, Any]:
    config = hf.CLIPVisionConfig(**VISION, projection_dim=10)
    return hf.CLIPVisionModelWithProjection(config), None


def siglip() -> tuple[Any, Any]:
    text = TEXT | _words() | {"max_position_embeddings": 64, "projection_size": 24}
    config = hf.SiglipConfig(text_config=text, vision_config=VISION)
    return hf.SiglipModel(config), tokenizer()


def owlvit() -> tuple[Any, Any]:
    text = TEXT | _words() | {"max_position_embeddings": 16}
    config = hf.OwlViTConfig(text_config=text, vision_config=VISION, projection_dim=16)
    return hf.OwlViTForObjectDetection(config), tokenizer(ends=True)


def owlv2() -> tuple[Any, Any]:
    text = TEXT | _words() | {"max_position_embeddings": 16}
    config = hf.Owlv2Config(text_config=text, vision_config=VISION, projection_dim=16)
    return hf.Owlv2ForObjectDetection(config), tokenizer(ends=True)


def _language() -> dict[str, Any]:
    return {"model_type": "llama", **LANGUAGE, **_words()}


def blip2() -> tuple[Any, Any]:
    config = hf.Blip2Config(
        vision_config=VISION, qformer_config=FORMER, text_config=_language(),
        num_query_tokens=5, image_token_index=SPECIAL.index(IMAGE),
    )  # fmt: skip
    return hf.Blip2ForConditionalGeneration(config), tokenizer()


def instructblip() -> tuple[Any, Any]:
    config = hf.InstructBlipConfig(
        vision_config=VISION, qformer_config=FORMER | _words(), text_config=_language(),
        num_query_tokens=5, image_token_index=SPECIAL.index(IMAGE),
    )  # fmt: skip
    return hf.InstructBlipForConditionalGeneration(config), tokenizer()


def llava() -> tuple[Any, Any]:
    config = hf.LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **VISION}, text_config=_language(),
        image_token_index=SPECIAL.index(IMAGE), vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )  # fmt: skip
    return hf.LlavaForConditionalGeneration(config), tokenizer()


_QWEN = {"depth": 3, "num_heads": 2, "patch_size": 4, "spatial_merge_size": 2}
_MROPE = {"type": "mrope", "mrope_section": [1, 2, 2]}


def _qwen(config: Any, vision: dict[str, Any], **text: Any) -> Any:
    start, pad, end, video = map(SPECIAL.index, QWEN_TOKENS)
    return config(
        text_config=LANGUAGE | _words() | {"rope_scaling": _MROPE} | text,
        vision_config=_QWEN | vision, video_token_id=video,
        vision_start_token_id=start, image_token_id=pad, vision_end_token_id=end,
    )  # fmt: skip


def qwen2_vl() -> tuple[Any, Any]:
    vision = {"embed_dim": 24, "hidden_size": 20, "mlp_ratio": 2}
    config = _qwen(hf.Qwen2VLConfig, vision)
    return hf.Qwen2VLForConditionalGeneration(config), tokenizer()


def qwen2_5_vl() -> tuple[Any, Any]:
    """Windows of 3 × 3 merged units, which an image's 8 × 8 do not divide into."""
    vision: dict[str, Any] = {"hidden_size": 24, "out_hidden_size": 20, "intermediate_size": 32}
    vision |= {"window_size": 24, "fullatt_block_indexes": [1]}
    config = _qwen(hf.Qwen2_5_VLConfig, vision)
    return hf.Qwen2_5_VLForConditionalGeneration(config), tokenizer()


def qwen3_vl() -> tuple[Any, Any]:
    vision: dict[str, Any] = {"hidden_size": 24, "out_hidden_size": 20, "intermediate_size": 32}
    vision |= {"num_position_embeddings": 36, "deepstack_visual_indexes": [0, 1]}
    rope = {"rope_type": "default", "mrope_section": [1, 2, 2], "mrope_interleaved": True}
    config = _qwen(hf.Qwen3VLConfig, vision, head_dim=10, rope_scaling=rope)
    return hf.Qwen3VLForConditionalGeneration(config), tokenizer()


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "clip": clip,
    "clip_vision_model": clip_vision,
    "siglip": siglip,
    "owlvit": owlvit,
    "owlv2": owlv2,
    "blip-2": blip2,
    "instructblip": instructblip,
    "llava": llava,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
}


OWL = {"owlvit": "OwlViTImageProcessor", "owlv2": "Owlv2ImageProcessor"}


def write(kind: str, folder: Path, seed: int = 0) -> Path:
    """Write one of `MODELS` as a folder: config, safetensors, tokenizers, preprocessing."""
    model, words = MODELS[kind]()
    randomised(model, seed).save_pretrained(folder)
    if words is not None:
        words.save_pretrained(folder)
    if kind == "instructblip":
        tokenizer().save_pretrained(folder / "qformer_tokenizer")
    pixels: dict[str, Any] = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    if kind in OWL:
        pixels |= {"image_processor_type": OWL[kind], "size": {"height": 16, "width": 16}}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    return folder


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    """uint8 [count, 16, 16, 3], which needs no resizing by a tiny model."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 16, 16, 3), generator=generator, dtype=torch.uint8)
