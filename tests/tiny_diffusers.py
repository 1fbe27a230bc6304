"""Tiny pipelines of diffusers in the very format in which the large ones are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers as published
import torch
import transformers as hf
from safetensors.torch import save_file

from tests import tiny_hf

# Its own types name stand-ins for what is not installed.
diffusers: Any = published
EMBED_DIM = 10  # of `tiny_hf.clip_vision`


def _words(folder: Path) -> hf.CLIPTokenizer:
    """CLIP's tokenizer over single letters."""
    letters = [chr(code) for code in range(33, 127)]
    names = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {name: number for number, name in enumerate([*names, "<|startoftext|>",
                                                              "<|endoftext|>"])}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return hf.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"),
                            model_max_length=77)  # fmt: skip


def _text_encoder(words: hf.CLIPTokenizer) -> Any:
    sizes = tiny_hf.TEXT | {"vocab_size": len(words), "bos_token_id": 188, "eos_token_id": 189}
    return hf.CLIPTextModel(hf.CLIPTextConfig(**sizes)).eval()


def _vae() -> Any:
    return diffusers.AutoencoderKL(block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4,
                                   down_block_types=("DownEncoderBlock2D",) * 2,
                                   up_block_types=("UpDecoderBlock2D",) * 2)  # fmt: skip


def _unet(**further: Any) -> Any:
    return diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), block_out_channels=(8, 16),
        attention_head_dim=4, cross_attention_dim=16, **further,
    )  # fmt: skip


def _encoder(folder: Path, seed: int) -> Any:
    tiny_hf.write("clip_vision_model", folder / "image_encoder", seed)
    kind = hf.CLIPVisionModelWithProjection
    return kind.from_pretrained(folder / "image_encoder")


def write_unclip(folder: Path, seed: int = 0) -> Path:
    """Stable unCLIP, with its image encoder beside it."""
    torch.manual_seed(seed)
    words = _words(folder / "words")
    pipe = diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=hf.CLIPImageProcessor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        image_encoder=_encoder(folder, seed),
        image_normalizer=diffusers.pipelines.stable_diffusion.StableUnCLIPImageNormalizer(
            EMBED_DIM
        ),
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        tokenizer=words,
        text_encoder=_text_encoder(words),
        unet=_unet(
            class_embed_type="projection", projection_class_embeddings_input_dim=2 * EMBED_DIM
        ),
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        vae=_vae(),
    )
    return _saved(pipe, folder)


def write_kandinsky(folder: Path) -> Path:
    """The decoder of Kandinsky 2.2, which has no image encoder."""
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        in_channels=4, out_channels=8, sample_size=8, layers_per_block=1, norm_num_groups=4,
        addition_embed_type="image", encoder_hid_dim_type="image_proj", encoder_hid_dim=EMBED_DIM,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", block_out_channels=(8, 16),
        cross_attention_dim=16, attention_head_dim=4, resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    movq = diffusers.VQModel(
        block_out_channels=[32, 64], down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2, latent_channels=4, norm_num_groups=4,
        norm_type="spatial", num_vq_embeddings=12, vq_embed_dim=4,
    )  # fmt: skip
    pipe = diffusers.KandinskyV22Pipeline(unet=unet, scheduler=diffusers.DDPMScheduler(), movq=movq)
    return _saved(pipe, folder)


def write_stable_diffusion(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Stable Diffusion and an IP-Adapter for it: the pipeline's folder, and the adapter's file."""
    torch.manual_seed(0)
    words = _words(folder / "words")
    pipe = diffusers.StableDiffusionPipeline(
        tokenizer=words, text_encoder=_text_encoder(words), unet=_unet(), vae=_vae(),
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None, feature_extractor=None,
        image_encoder=_encoder(folder, seed), requires_safety_checker=False,
    )  # fmt: skip
    path = folder / "ip-adapter.safetensors"
    save_file(_adapter(pipe.unet), path)
    return _saved(pipe, folder), path


def _adapter(unet: Any) -> dict[str, torch.Tensor]:
    """One projection of 4 tokens, and keys and values of every cross-attention, as published."""
    width = unet.config.cross_attention_dim
    state = {
        "image_proj.proj.weight": torch.randn(4 * width, EMBED_DIM),
        "image_proj.proj.bias": torch.randn(4 * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    number = 1
    for name in unet.attn_processors:
        if not name.endswith("attn2.processor"):
            continue
        inner = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
        state[f"ip_adapter.{number}.to_k_ip.weight"] = torch.randn(inner, width)
        state[f"ip_adapter.{number}.to_v_ip.weight"] = torch.randn(inner, width)
        number += 2
    return state


def _saved(pipe: Any, folder: Path) -> Path:
    pipe.save_pretrained(folder)
    return folder
