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
from vitlens_core.foundation.base import Foundation
from vitlens_core.modalities.base import AnyTokenizer, SignalConfig
from vitlens_core.modalities.image import MODALITY as IMAGE
from vitlens_core.modalities.image import ImageEncoder
from vitlens_core.modalities.text import MODALITY as TEXT
from vitlens_core.modalities.text import TextEncoder
from vitlens_core.modalities.video import MODALITY as VIDEO
from vitlens_core.readers.files import as_file
from vitlens_core.signals.pictures import normalised

Embed = Callable[[Tensor], Tensor]
Stored = np.ndarray | str

_CLIP_VOCABULARY = 49408


@dataclass(frozen=True)
class SignalTower:
    """A tower and what it is fed.

    Attributes:
        signal: what becomes of a raw recording.
        tokenizer: how the signal is prepared.
        tower: prepared signals [B, …] from the CPU → embeddings [B, E].
    """

    signal: SignalConfig
    tokenizer: AnyTokenizer
    tower: Embed

    def embed(self, stored: Sequence[np.ndarray]) -> Tensor:
        """Stored signals → unit-norm embeddings [B, E]."""
        signals = torch.from_numpy(np.stack(stored))
        return unit_norm(self.tower)(self.tokenizer.prepare(signals, self.signal))

    def settings(self) -> dict[str, object]:
        """Every setting of signal and tokenizer by name; no name is in both."""
        return self.signal.model_dump() | self.tokenizer.model_dump()

    def adjusted(self, **changes: object) -> SignalTower:
        """With other settings of the signal or the preparation (`ValidationError`)."""
        of_signal = {n: v for n, v in changes.items() if n in type(self.signal).model_fields}
        of_tokenizer = {n: v for n, v in changes.items() if n not in of_signal}
        signal = type(self.signal).model_validate(self.signal.model_dump() | of_signal)
        stated = self.tokenizer.model_dump() | of_tokenizer
        tokenizer = type(self.tokenizer).model_validate(stated)
        tokenizer.check(signal)
        return SignalTower(signal, tokenizer, self.tower)


@dataclass(frozen=True)
class Encoder:
    """How one modality is encoded.

    Attributes:
        store: one raw input → what is batched; raises InputError.
        embed: a batch of those → unit-norm embeddings [B, E].
        temperature: that its similarities to the other modalities are divided by.
        tower: of a lens; the foundation's own modalities have none.
    """

    store: Callable[[Any], Stored]
    embed: Callable[[Sequence[Any]], Tensor]
    temperature: float
    tower: SignalTower | None = None


@dataclass(frozen=True)
class Preparation:
    """From a raw input, or its file, to what a tower batches: no weights, and picklable.

    Attributes:
        modality: whose inputs these are.
        store: as an encoder's.
    """

    modality: str
    store: Callable[[Any], Stored]

    def __call__(self, item: object, options: Mapping[str, object]) -> Stored:
        """A path or file's bytes read; anything made what is batched (`InputError`)."""
        if isinstance(item, bytes):
            with as_file(item) as path:
                return self(path, options)
        is_path = isinstance(item, Path) or (isinstance(item, str) and self.modality != TEXT.name)
        raw = modalities.load(self.modality).read(item, **options) if is_path else item
        return self.store(raw)


def signal_encoder(tower: SignalTower, temperature: float) -> Encoder:
    """Through a tower of a modality's own."""
    return Encoder(tower.signal.store, tower.embed, temperature, tower)


def picture_encoders(encoder: ImageEncoder, side_px: int, temperature: float) -> dict[str, Encoder]:
    """Images and videos through one image tower of `side_px` pixels a side."""
    return {
        modality.name: Encoder(
            partial(modality.store, side_px=side_px), partial(modality.embed, encoder), temperature
        )
        for modality in (IMAGE, VIDEO)
    }


def text_encoder(encoder: TextEncoder, temperature: float) -> Encoder:
    return Encoder(TEXT.store, partial(TEXT.embed, encoder), temperature)


def foundation_encoders(foundation: Foundation) -> dict[str, Encoder]:
    """Image, video and text: the foundation's own."""
    temperature = 1 / foundation.logit_scale
    pictures = picture_encoders(foundation, foundation.image_size_px, temperature)
    return {**pictures, TEXT.name: text_encoder(foundation, temperature)}


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
        # Late: open_clip takes seconds to import, and a model without text needs none.
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
