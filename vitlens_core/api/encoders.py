"""One modality's way from raw input to unit-norm embeddings.

Axes: B batch, S side of a picture, E embedding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core import modalities
from vitlens_core.api.tokens import TokenSource, image_tokens, lens_tokens
from vitlens_core.errors import ConfigError
from vitlens_core.foundation.base import Foundation
from vitlens_core.modalities.base import AnyTokenizer, FoundationModality, SignalConfig
from vitlens_core.modalities.image import MODALITY as IMAGE
from vitlens_core.modalities.image import ImageEncoder
from vitlens_core.modalities.text import MODALITY as TEXT
from vitlens_core.modalities.text import TextEncoder
from vitlens_core.modalities.video import MODALITY as VIDEO
from vitlens_core.models.tower import Tower
from vitlens_core.prototypes import Prototypes
from vitlens_core.readers.files import as_file
from vitlens_core.signals.checks import finite
from vitlens_core.signals.pictures import normalised

if TYPE_CHECKING:
    from PIL import Image

Embed = Callable[[Tensor], Tensor]
Stored = np.ndarray | str

# The vocabulary of open_clip's tokenizer, the one that published text towers were trained with.
_CLIP_VOCABULARY = 49408


@dataclass(frozen=True)
class SignalTower:
    """A tower with the settings that turn a raw recording into its input.

    Attributes:
        signal: how a raw recording becomes a stored signal.
        tokenizer: how stored signals become the tower's input.
        tower: prepared signals [B, …] from the CPU → embeddings [B, E].
    """

    signal: SignalConfig
    tokenizer: AnyTokenizer
    tower: Embed

    def embed(self, stored: Sequence[np.ndarray]) -> Tensor:
        """Prepare stored signals and embed them: unit norm, [B, E]."""
        signals = torch.from_numpy(np.stack(stored))
        return unit_norm(self.tower)(self.tokenizer.prepare(signals, self.signal))

    def settings(self) -> dict[str, object]:
        """Return all settings of signal and tokenizer by name; they have no name in common."""
        return self.signal.model_dump() | self.tokenizer.model_dump()

    def adjusted(self, **changes: object) -> SignalTower:
        """Return a copy with other settings of the signal or of the preparation.

        Raises:
            ValidationError: a setting that does not exist, or a value that it refuses.
            ConfigError: the tower would see more than is stored.
        """
        of_signal = {n: v for n, v in changes.items() if n in type(self.signal).model_fields}
        # An unknown name goes to the tokenizer, whose schema refuses it.
        of_tokenizer = {n: v for n, v in changes.items() if n not in of_signal}
        # Validated anew: pydantic's `model_copy` takes any value unchecked.
        signal = type(self.signal).model_validate(self.signal.model_dump() | of_signal)
        tokenizer_values = self.tokenizer.model_dump() | of_tokenizer
        tokenizer = type(self.tokenizer).model_validate(tokenizer_values)
        tokenizer.check(signal)
        return SignalTower(signal, tokenizer, self.tower)


@dataclass(frozen=True)
class Preparation:
    """Turns a raw input, or its file, into its stored form; holds no weights.

    It is plain data, so that it can be written as JSON and read in another process.

    Attributes:
        modality: name of the inputs' modality.
        signal: how a raw recording becomes a stored signal; None if the foundation encodes it.
        side_px: side of stored pictures, of image and video.
        reader_options: options of the modality's reader, where a call states none.
    """

    modality: str
    signal: SignalConfig | None = None
    side_px: int | None = None
    reader_options: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, item: object, options: Mapping[str, object]) -> Stored:
        """Read `item` if it is a path, the bytes of a file or a picture of Pillow, then store it.

        Raises:
            InputError: it cannot be read, or does not fit the modality.
        """
        if is_picture(item):
            item = _file_of(item)
        if isinstance(item, torch.Tensor):
            item = item.numpy(force=True)
        if isinstance(item, bytes):
            with as_file(item) as path:
                return self(path, options)
        # A string is a path, except for text, where it is the input itself.
        is_path = isinstance(item, Path) or (isinstance(item, str) and self.modality != TEXT.name)
        raw: Any = item
        if is_path:
            raw = modalities.load(self.modality).read(item, **{**self.reader_options, **options})
        return self.store(raw)

    def store(self, raw: Any) -> Stored:
        """Turn one raw input into its stored form. Raises InputError."""
        if self.signal is not None:
            # Finite numbers may be too large to compute with.
            return finite(self.signal.store(raw), f"a signal for {self.modality}")
        modality = modalities.load(self.modality)
        assert isinstance(modality, FoundationModality)
        return modality.store(raw, self.side_px or 0)

    def described(self) -> dict[str, object]:
        """Return it as JSON-able values, for `from_description`."""
        signal = None if self.signal is None else self.signal.model_dump(mode="json")
        return {
            "modality": self.modality,
            "signal": signal,
            "side_px": self.side_px,
            "reader_options": dict(self.reader_options),
        }

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Preparation:
        name, values = described["modality"], described["signal"]
        signal = None
        if values is not None:
            signal = modalities.load_lensed(name).Signal.model_validate(values)
        return cls(name, signal, described["side_px"], described["reader_options"])


def is_picture(item: object) -> TypeGuard[Image.Image]:
    """Whether an input is a picture of Pillow; it is not imported for this."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(item, pillow.Image)


def _file_of(picture: Image.Image) -> bytes:
    """Write a picture without loss, so that the modality's own reader decides what it means."""
    file = BytesIO()
    try:
        picture.save(file, "PNG", exif=picture.getexif())
    except OSError:  # floats and CMYK
        file = BytesIO()
        picture.save(file, "TIFF", exif=picture.getexif())
    return file.getvalue()


@dataclass(frozen=True)
class Encoder:
    """How one modality is encoded.

    Attributes:
        preparation: reads one input and stores it, in a form that can be batched.
        embed: a batch of stored inputs → unit-norm embeddings [B, E].
        temperature: divides the modality's similarities to other modalities into logits.
        tower: the tower of a lens; None for modalities that the foundation encodes itself.
        is_fitted: whether the temperature was fitted on validation samples.
        tokens: what it gives to the trunk; None for text, video and towers of other makers.
        prototypes: of the classes of its training samples, where the foundation has no words.
    """

    preparation: Preparation
    embed: Callable[[Sequence[Any]], Tensor]
    temperature: float
    tower: SignalTower | None = None
    is_fitted: bool = False
    tokens: TokenSource | None = None
    prototypes: Prototypes | None = None


def signal_encoder(
    modality: str, tower: SignalTower, temperature: float, *, is_fitted: bool = False
) -> Encoder:
    """Build the encoder of a modality that has a tower of its own."""
    preparation = Preparation(modality, tower.signal)
    tokens = None
    if isinstance(tower.tower, OnDevice) and isinstance(tower.tower.module, Tower):
        prepare = partial(tower.tokenizer.prepare, signal=tower.signal)
        tokens = lens_tokens(tower.tower.module, prepare)
    return Encoder(preparation, tower.embed, temperature, tower, is_fitted, tokens)


def picture_encoders(encoder: ImageEncoder, side_px: int, temperature: float) -> dict[str, Encoder]:
    """Build the encoders of images and videos on one image tower for squares of `side_px`."""
    return {
        modality.name: Encoder(
            Preparation(modality.name, side_px=side_px),
            partial(modality.embed, encoder),
            temperature,
        )
        for modality in (IMAGE, VIDEO)
    }


def text_encoder(encoder: TextEncoder, temperature: float) -> Encoder:
    """Build the encoder of text on a text tower."""
    return Encoder(Preparation(TEXT.name), partial(TEXT.embed, encoder), temperature)


def foundation_encoders(foundation: Foundation) -> dict[str, Encoder]:
    """Build the encoders of image, video and, if it has a text tower, text."""
    temperature = 1 / foundation.logit_scale
    pictures = picture_encoders(foundation, foundation.image_size_px, temperature)
    seen = replace(pictures[IMAGE.name], tokens=image_tokens(foundation))
    pictures[IMAGE.name] = seen
    if not foundation.has_text:
        return pictures
    return {**pictures, TEXT.name: text_encoder(foundation, temperature)}


class ClipImages:
    """A published image tower that takes pixels normalised by CLIP's mean and deviation."""

    def __init__(self, tower: Embed) -> None:
        self._embed = unit_norm(tower)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed uint8 RGB images [B, S, S, 3]: unit norm, [B, E]."""
        return self._embed(normalised(images))


class ClipTexts:
    """A published text tower that takes token ids [B, context_length] of CLIP's byte-pair encoding.

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
        # Imported here: open_clip takes seconds, and a model without text does not need it.
        from open_clip.tokenizer import SimpleTokenizer

        self._tokenizer = SimpleTokenizer(context_length=context_length)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: unit norm, [B, E]."""
        return self._embed(self._tokenizer(list(texts)))


@dataclass(frozen=True)
class OnDevice:
    """A tower on its device, which takes signals from the CPU."""

    module: nn.Module
    device: torch.device

    def __call__(self, signals: Tensor) -> Tensor:
        return self.module(signals.to(self.device))


def on_device(tower: nn.Module, device: torch.device) -> OnDevice:
    """Move a tower to a device."""
    return OnDevice(tower.to(device), device)


def unit_norm(embed: Embed) -> Embed:
    """Wrap `embed` so that its result is normalised, in fp32."""
    # fp32 first: bf16 would round each entry to 8 bits, and the length would not be 1.
    return lambda signals: F.normalize(embed(signals).float(), dim=-1)
