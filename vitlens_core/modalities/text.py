"""Text: encoded by the foundation itself.

Raw and stored: one string. The encoder's tokenizer cuts text that exceeds its context.

Axes: B batch, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from vitlens_core.errors import InputError
from vitlens_core.late import torch
from vitlens_core.modalities.base import FoundationModality
from vitlens_core.readers.files import unreadable
from vitlens_core.readers.formats import TEXT, existing


class TextEncoder(Protocol):
    """A foundation, or the text tower of a published checkpoint."""

    def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
        """Embed texts: unit norm, [B, E]."""
        ...


class Text(FoundationModality[TextEncoder, str]):
    """Text: encoded by the foundation itself."""

    name = "text"
    metric_prefix = "text"
    templates = ("{}",)
    takes = (TEXT,)

    def read(self, path: str | Path) -> str:
        """Read a UTF-8 .txt file, without the blanks around its text. Raises InputError."""
        path = existing(path, "a text file")
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise unreadable(path, "UTF-8 text", error) from error
        if "\0" in text:
            raise unreadable(path, "UTF-8 text", "it holds a zero byte")
        return text

    def store(self, raw: object, side_px: int = 0) -> str:
        """Check that `raw` is a string with something to read in it. Raises InputError if not."""
        if not isinstance(raw, str):
            raise InputError(f"expected text as a string, found {type(raw).__name__}")
        if not any(letter.isprintable() and not letter.isspace() for letter in raw):
            raise InputError(f"expected text with something to read in it, found {raw[:20]!r}")
        # A lone surrogate is a valid `str`, on which the tokenizers fail.
        try:
            raw.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"expected valid Unicode text, found {raw[:20]!r}: {error}") from error
        return raw

    def embed(self, encoder: TextEncoder, stored: Sequence[str]) -> torch.Tensor:
        """Embed texts: unit norm, [B, E]."""
        return encoder.encode_text(stored)


MODALITY = Text()
