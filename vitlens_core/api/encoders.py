"""One modality's way from raw input to unit-norm embeddings.

Axes: B batch, S side of a picture, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import ConfigError
from vitlens_core.foundation import Foundation
from vitlens_core.modalities import image, text, video
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
    """

    store: Callable[[Any], Any]
    embed: Callable[[Sequence[Any]], Tensor]
    temperature: float


def signal_encoder(settings: SignalSettings, tower: Embed, temperature: float) -> Encoder:
    """Through a tower, which takes prepared signals [B, …] from the CPU."""

    def embed(stored: Sequence[np.ndarray]) -> Tensor:
        return encode(settings.prepare(torch.from_numpy(np.stack(stored))))

    encode = unit_norm(tower)
    return Encoder(settings.store, embed, temperature)


def picture_encoders(side_px: int, encode: Embed, temperature: float) -> dict[str, Encoder]:
    """Images and videos through one image tower.

    Args:
        encode: uint8 RGB [B, S, S, 3] → unit-norm embeddings [B, E].
    """

    def embed_images(stored: Sequence[np.ndarray]) -> Tensor:
        return encode(torch.from_numpy(np.stack(stored)))

    def embed_videos(stored: Sequence[np.ndarray]) -> Tensor:
        return video.mean_of_frames(encode, stored)

    return {
        "image": Encoder(partial(image.store, side_px=side_px), embed_images, temperature),
        "video": Encoder(
            partial(video.store, side_px=side_px),
            partial(video.mean_of_frames, encode),
            temperature,
        ),
    }


def clip_text_encoder(
    tower: Embed, context_length: int, vocab_size: int, temperature: float
) -> Encoder:
    """Through a tower of token ids [B, context_length], in CLIP's byte-pair encoding.

    Raises:
        ConfigError: the tower has another vocabulary.
    """
    if vocab_size != _CLIP_VOCABULARY:
        raise ConfigError(
            f"text is tokenized with CLIP's vocabulary of {_CLIP_VOCABULARY}; the config states "
            f"{vocab_size}. Choose the other modalities: modalities=[…]"
        )
    tokenizer = open_clip.SimpleTokenizer(context_length=context_length)
    encode = unit_norm(tower)
    return Encoder(text.store, lambda texts: encode(tokenizer(list(texts))), temperature)


def on_device(tower: nn.Module, device: torch.device) -> Embed:
    """The tower moved to a device, taking signals from the CPU."""
    tower.to(device)
    return lambda signals: tower(signals.to(device))


def unit_norm(embed: Embed) -> Embed:
    """`embed` with its result normalised, in fp32."""
    return lambda signals: F.normalize(embed(signals).float(), dim=-1)


def foundation_encoders(foundation: Foundation) -> dict[str, Encoder]:
    """Image, video and text: the foundation's own."""
    temperature = 1 / foundation.logit_scale
    pictures = picture_encoders(foundation.image_size_px, foundation.encode_image, temperature)
    return {**pictures, "text": Encoder(text.store, foundation.encode_text, temperature)}
