"""A causal language model behind a connector: it reads one soft token for each signal.

Parts meet as embeddings: their sum, of unit norm, makes the soft token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vitlens_core.errors import CheckpointError
from vitlens_core.foundation.base import Foundation
from vitlens_core.plugins.ask.base import Fusion, QuestionModel
from vitlens_core.plugins.ask.connector import Connector, ConnectorInfo, load_connector
from vitlens_core.plugins.ask.language import LanguageModel


def check_language_model(info: ConnectorInfo, language: LanguageModel, path: str | Path) -> None:
    """Raise CheckpointError unless a connector's file was trained for this language model."""
    if info.language_model_digest != language.digest:
        raise CheckpointError(
            f"{path} was trained for the language model {info.language_model} (digest "
            f"{info.language_model_digest[:12]}…), not for {language.source} (digest "
            f"{language.digest[:12]}…): name that model, or train a connector for this one "
            "with `vitlens connector`"
        )


def check_foundation(info: ConnectorInfo, foundation: Foundation | None) -> None:
    """Raise CheckpointError unless a connector takes embeddings of this foundation.

    Args:
        foundation: in whose space a model embeds; None of a published checkpoint.
    """
    digest = foundation.digest() if foundation else None
    if digest != info.foundation_digest:
        found = "a published checkpoint"
        if foundation and digest:
            found = f"{foundation.spec} (digest {digest[:12]}…)"
        raise CheckpointError(
            f"this connector takes embeddings of the foundation {info.foundation} "
            f"(digest {info.foundation_digest[:12]}…), the model's are of {found}: train "
            "a connector on the model's own foundation with `vitlens connector`"
        )


class ConnectedModel(QuestionModel):
    """Answers about embeddings [B, E] of the space that its connector was trained in."""

    fusions: ClassVar[tuple[Fusion, ...]] = ("embedding",)

    def __init__(self, language: LanguageModel, connector: Connector, info: ConnectorInfo) -> None:
        super().__init__(language.source, language.model, language.words)
        self.language, self.info = language, info
        self.connector = connector.to(language.model.device)

    @classmethod
    def open(cls, language: LanguageModel, path: Path) -> ConnectedModel:
        """Put a connector's file before a language model.

        Raises:
            CheckpointError: it is no connector, or was trained for another language model.
        """
        connector, info = load_connector(path)
        check_language_model(info, language, path)
        return cls(language, connector, info)

    def inputs(
        self, parts: Sequence[Tensor], questions: Sequence[str], fusion: Fusion
    ) -> dict[str, Any]:
        (embeddings,) = parts
        soft = self.connector(embeddings.float())
        rows = [self.language.asked(q, one) for q, one in zip(questions, soft, strict=True)]
        masks = [torch.ones(len(row), dtype=torch.long) for row in rows]
        return {
            "inputs_embeds": pad_sequence(rows, batch_first=True, padding_side="left"),
            "attention_mask": pad_sequence(masks, batch_first=True, padding_side="left"),
        }

    def _options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        found = super()._options(options)
        if not self.words.chat_template:
            # A base model knows no end of an answer, and goes on with questions of its own.
            known = found.get("stopping_criteria", ())
            found["stopping_criteria"] = [*known, partial(_line_is_over, self.words)]
        return found

    def _decoded(self, ids: Tensor, inputs: Mapping[str, Tensor]) -> list[str]:
        texts = super()._decoded(ids, inputs)
        return texts if self.words.chat_template else [_first_line(text) for text in texts]


def _first_line(text: str) -> str:
    """Return the first line that is not empty."""
    return text.strip().partition("\n")[0]


def _line_is_over(words: Any, ids: Tensor, *_: object) -> Tensor:
    """Tell transformers' `generate` of each of B answers [B, T] whether its line has ended: [B]."""
    texts = words.batch_decode(ids, skip_special_tokens=True)
    return torch.tensor(["\n" in text.lstrip() for text in texts], device=ids.device)
