"""A causal language model behind a connector: it reads one soft token for each signal.

Parts meet as embeddings: their sum, of unit norm, makes the soft token.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vitlens_core.errors import CheckpointError
from vitlens_core.plugins.ask.base import Fusion, QuestionModel
from vitlens_core.plugins.ask.connector import Connector, ConnectorInfo, load_connector
from vitlens_core.plugins.ask.language import LanguageModel


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
        if info.language_model_digest != language.digest:
            raise CheckpointError(
                f"{path} was trained for the language model {info.language_model} (digest "
                f"{info.language_model_digest[:12]}…), not for {language.source} (digest "
                f"{language.digest[:12]}…): name that model, or train a connector for this one "
                "with `vitlens connector`"
            )
        return cls(language, connector, info)

    def check_foundation(self, digest: str | None, spec: str) -> None:
        """Raise CheckpointError unless the embeddings are of the connector's foundation.

        Args:
            digest: of the foundation whose embeddings are handed in; None if there is none.
        """
        if digest != self.info.foundation_digest:
            found = f"{spec} (digest {digest[:12]}…)" if digest else spec
            raise CheckpointError(
                f"this connector takes embeddings of the foundation {self.info.foundation} "
                f"(digest {self.info.foundation_digest[:12]}…), the model's are of {found}: train "
                "a connector on the model's own foundation with `vitlens connector`"
            )

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
