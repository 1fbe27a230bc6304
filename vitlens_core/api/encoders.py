"""One modality's way from raw input to unit-norm embeddings.

Axes: B batch, S side of a picture, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core import modalities
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import Foundation
from vitlens_core.modalities import image, text, video
from vitlens_core.readers.files import as_file
from vitlens_core.signals.pictures import normalised
from vitlens_core.signals.settings import SignalSettings

Embed = Callable[[Tensor], Tensor]

_CLIP_VOCABULARY = 49408


@dataclass(frozen=True)
class Encoder:
    """How one modality is encoded.

    Attributes:
        store: one raw input → what is batched; raises InputError.
        embed: a batch of those → unit-norm embeddings [B, E].
        temperature: that its similarities to the other modalities are divided by.
        settings, tower: how a signal is prepared, and what it then passes; of a lens only.
    """

    store: Callable[[Any], Any]
    embed: Callable[[Sequence[Any]], Tensor]
    temperature: float
    settings: SignalSettings | None = None
    tower: Embed | None = None


@dataclass(frozen=True)
class Preparation:
    """From a raw input, or its file, to what a tower batches: no weights, and picklable.

    Attributes:
        modality: whose inputs these are.
        store: as an encoder's.
    """

    modality: str
    store: Callable[[Any], Any]

    def __call__(self, item: Any, options: Mapping[str, Any]) -> Any:
        """A path or file's bytes read; anything made what is batched (`InputError`)."""
        if isinstance(item, bytes):
            with as_file(item) as path:
                return self(path, options)
        is_path = isinstance(item, Path) or (isinstance(item, str) and self.modality != text.NAME)
        raw = modalities.load(self.modality).read(item, **options) if is_path else item
        return self.store(raw)


def signal_encoder(settings: SignalSettings, tower: Embed, temperature: float) -> Encoder:
    """Through a tower, which takes prepared signals [B, …] from the CPU."""

    def embed(stored: Sequence[np.ndarray]) -> Tensor:
        return encode(settings.prepare(torch.from_numpy(np.stack(stored))))

    encode = unit_norm(tower)
    return Encoder(settings.store, embed, temperature, settings, tower)


def picture_encoders(
    encoder: image.ImageEncoder, side_px: int, temperature: float
) -> dict[str, Encoder]:
    """Images and videos through one image tower of `side_px` pixels a side."""
    return {
        module.NAME: Encoder(
            partial(module.store, side_px=side_px), partial(module.embed, encoder), temperature
        )
        for module in (image, video)
    }


def text_encoder(encoder: text.TextEncoder, temperature: float) -> Encoder:
    return Encoder(text.store, partial(text.embed, encoder), temperature)


def foundation_encoders(foundation: Foundation) -> dict[str, Encoder]:
    """Image, video and text: the foundation's own."""
    temperature = 1 / foundation.logit_scale
    pictures = picture_encoders(foundation, foundation.image_size_px, temperature)
    return {**pictures, text.NAME: text_encoder(foundation, temperature)}


class ClipImages:
    """A published image tower, fed as CLIP's: pixels normalised by its mean and deviation."""

    def __init__(self, tower: Embed) -> None:
        self._embed = unit_norm(tower)

    def encode_image(self, images: Tensor) -> Tensor:
        """uint8 RGB [B, S, S, 3] → unit-norm embeddings [B, E]."""
        return self._embed(normalised(images))


class ClipTexts:
    """A published text tower of token ids [B, context_length], in CLIP's byte-pair encoding.

    Raises:
        ConfigError: the tower has another vocabulary.
    """

    def __init__(self, tower: Embed, context_length: int, vocab_size: int) -> None:
        if vocab_size != _CLIP_VOCABULARY:
            raise ConfigError(
                f"text is tokenized with CLIP's vocabulary of {_CLIP_VOCABULARY}; the config "
                f"states {vocab_size}. Choose the other modalities: modalities=[…]"
            )
        self._embed = unit_norm(tower)
        from open_clip.tokenizer import SimpleTokenizer

        self._tokenizer = SimpleTokenizer(context_length=context_length)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Texts → unit-norm embeddings [B, E]."""
        return self._embed(self._tokenizer(list(texts)))


def on_device(tower: nn.Module, device: torch.device) -> Embed:
    """The tower moved to a device, taking signals from the CPU."""
    tower.to(device)
    return lambda signals: tower(signals.to(device))


def unit_norm(embed: Embed) -> Embed:
    """`embed` with its result normalised, in fp32."""
    return lambda signals: F.normalize(embed(signals).float(), dim=-1)
