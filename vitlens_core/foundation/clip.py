"""`open_clip:<model>/<tag or checkpoint path>`: any CLIP of open_clip whose vision tower is a ViT.

A tag is downloaded once into open_clip's cache; a checkpoint file is read where it lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError

import open_clip
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation.base import Foundation
from vitlens_core.models.trunk import ProjectedReadout
from vitlens_core.models.wrapped_trunks import open_clip_trunk


class OpenClipFoundation(Foundation):
    """open_clip's image and text towers behind the foundation's interface."""

    def __init__(
        self, spec: str, clip: open_clip.CLIP, tokenizer: Callable[[list[str]], Tensor]
    ) -> None:
        visual = clip.visual
        super().__init__(visual.preprocess_cfg["mean"], visual.preprocess_cfg["std"])
        self.spec = spec
        self.image_size_px = visual.preprocess_cfg["size"][0]
        self.clip = clip
        self.tokenizer = tokenizer
        self.trunk = open_clip_trunk(visual)
        assert isinstance(self.trunk.readout, ProjectedReadout)
        self.embed_dim = self.trunk.readout.sizes[1]

    @property
    def logit_scale(self) -> float:
        return self.clip.logit_scale.exp().item()

    def image_tokens(self, pixels: Tensor) -> Tensor:
        visual = self.clip.visual
        if hasattr(visual, "conv1"):
            return visual.conv1(pixels).flatten(2).transpose(1, 2)
        return visual.trunk.patch_embed(pixels)  # of timm: SigLIP, EVA

    def text_embeddings(self, texts: Sequence[str]) -> Tensor:
        return self.clip.encode_text(self.tokenizer(list(texts)).to(self.mean.device))


def parse(spec: str) -> tuple[str, str]:
    """Check `open_clip:<model>/<tag or checkpoint path>` without loading it.

    Raises:
        ConfigError: the model, tag or file is unknown; the message lists those that exist.
    """
    # At the first slash only: an absolute path follows it with a second one.
    name, slash, source = spec.removeprefix("open_clip:").partition("/")
    if not slash or name not in open_clip.list_models():
        # Five characters tell the family: ViT-B, ViT-L, EVA02.
        near = [m for m in open_clip.list_models() if m.startswith(name[:5])][:12]
        raise ConfigError(
            f"foundation {spec!r}: expected open_clip:<model>/<tag or checkpoint path>; "
            f"models like it: {', '.join(near) or 'ViT-B-16, ViT-L-14, ViT-bigG-14'}"
        )
    tags = open_clip.list_pretrained_tags_by_model(name)
    if source not in tags and not Path(source).is_file():
        raise ConfigError(
            f"foundation {spec!r}: {source!r} is neither a file nor a tag of {name}; "
            f"its tags: {', '.join(tags) or 'none'}"
        )
    return name, source


def patches(spec: str, image_size_px: int | None) -> int | None:
    """Return the number of patches of an image; None for trunks of timm. Errors: `parse`."""
    vision = (open_clip.get_model_config(parse(spec)[0]) or {})["vision_cfg"]
    if "timm_model_name" in vision or "patch_size" not in vision:
        return None
    return (vision["image_size"] // vision["patch_size"]) ** 2


def load(spec: str, **sizes: int) -> OpenClipFoundation:
    """Build the foundation of an `open_clip:` spec (see `parse`).

    Raises:
        ConfigError: sizes are given, although the model has its own; or the weights can be
            neither found nor downloaded.
    """
    if sizes:
        raise ConfigError(f"{spec} brings its own {' and '.join(sizes)}: leave them unset")
    name, source = parse(spec)
    try:
        clip, _, _ = open_clip.create_model_and_transforms(name, pretrained=source)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise ConfigError(
            f"foundation {spec!r}: its weights could not be loaded ({error}). Without a "
            "connection, give a checkpoint file: open_clip:<model>//path/to/weights.safetensors"
        ) from error
    return OpenClipFoundation(spec, clip, open_clip.get_tokenizer(name))


def load_weights(spec: str, weights: Path) -> OpenClipFoundation:
    """Build the foundation of a spec with the weights of a file, as `clip.state_dict` has them.

    Neither a hub nor the path that the spec may name is asked for weights; a tag decides the
    activations and the preprocessing all the same.

    Raises:
        CheckpointError: the file does not hold the weights of this model.
    """
    name, _, source = spec.removeprefix("open_clip:").partition("/")
    is_tag = source in open_clip.list_pretrained_tags_by_model(name)
    clip, _, _ = open_clip.create_model_and_transforms(
        name, pretrained=source if is_tag else None, load_weights=False, pretrained_text=False
    )
    try:
        clip.load_state_dict(load_file(weights), strict=True)
    except (RuntimeError, OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{weights} does not hold the weights of {spec}: {error!s:.300}"
        ) from error
    clip.eval()
    return OpenClipFoundation(spec, clip, open_clip.get_tokenizer(name))
