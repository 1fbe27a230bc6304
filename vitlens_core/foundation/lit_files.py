"""Finds the files that a `lit:` spec names: of installed packages, of timm, or at a path.

It is a module apart from `lit`, because importing timm takes seconds and most processes never
load a tower.
"""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import timm
from safetensors import SafetensorError
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vitlens_core.errors import ConfigError
from vitlens_core.foundation import packaged
from vitlens_core.foundation.lit import LitFoundation, SentenceEncoder
from vitlens_core.foundation.lit_spec import LitSpec, parse
from vitlens_core.foundation.settings import EMBED_DIM, IMAGE_SIZE_PX


def load(
    spec: str, embed_dim: int = EMBED_DIM, image_size_px: int = IMAGE_SIZE_PX
) -> LitFoundation:
    """Build the foundation of a `lit:` spec (see `lit_spec`); its projections are still random."""
    parsed = parse(spec)
    vit = _load_vit(parsed, image_size_px)
    return LitFoundation(spec, vit, SentenceEncoder(parsed.text_folder), embed_dim, image_size_px)


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
    # Resamples the positional table to these images' grid of patches.
    vit.set_input_size(img_size=(image_size_px, image_size_px))
    return vit


def _read_vit(model: str, checkpoint: Path) -> nn.Module:
    try:
        return timm.create_model(model, num_classes=0, checkpoint_path=str(checkpoint))
    except (OSError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        # Cut to 300 characters: torch lists every tensor that does not fit.
        raise ConfigError(
            f"{checkpoint} does not hold the weights of timm's {model}: {error!s:.300}"
        ) from error


def _download_vit(name: str) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=True, num_classes=0)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"the weights of {name} could not be downloaded ({error}); without a connection, "
            "give a checkpoint file instead of the tag: lit:<timm model>./path/to/weights+…"
        ) from error
