"""Made-up benchmarks and models whose embeddings are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.benchmarks.base import Example
from vitlens_core.api.encoders import Encoder, Preparation, SignalTower, signal_encoder
from vitlens_core.api.model import Model
from vitlens_core.modalities.base import SignalConfig, TokenizerConfig
from vitlens_core.models.tower import mean_of_clips


def listed(counts: Mapping[str, int], read: Callable[[], Any] = dict) -> list[Example]:
    """So many examples of each class."""
    return [
        Example(f"{name}-{i}", read, (), labels=(name,))
        for name, count in counts.items()
        for i in range(count)
    ]


class AsIs(Preparation):
    """Stores a raw input as it is."""

    def store(self, raw: Any) -> Any:
        return raw


def model_of(
    signal: SignalConfig,
    tokenizer: TokenizerConfig[Any],
    name: str,
    tower: Callable[[Tensor], Tensor],
    words: Mapping[str, Sequence[float]],
    temperature: float = 0.1,
    **others: Encoder,
) -> Model:
    """A model whose lens is `tower` and whose texts are the vector of the word they hold.

    Of a modality in clips `tower` embeds one clip: their mean is taken before normalising.
    """

    def whole(signals: Tensor) -> Tensor:
        return mean_of_clips(tower, signals) if signal.in_clips else tower(signals)

    def texts(stored: Sequence[str]) -> Tensor:
        rows = [next(v for word, v in words.items() if word in text) for text in stored]
        return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=-1)

    own = signal_encoder(name, SignalTower(signal, tokenizer, whole), temperature)
    encoders = {name: own, "text": Encoder(AsIs("text"), texts, temperature), **others}
    return Model(encoders, torch.device("cpu"), "fp32")


def vectors(embed: Callable[[Any], Sequence[float]]) -> Encoder:
    """An encoder of raw inputs by a function."""

    def rows(stored: Sequence[Any]) -> Tensor:
        found = torch.tensor([list(embed(raw)) for raw in stored], dtype=torch.float32)
        return torch.nn.functional.normalize(found, dim=-1)

    return Encoder(AsIs("text"), rows, 0.1)


def file_in(folder: Path, name: str, content: bytes = b"x") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(content)
    return path


def point(*values: float) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)
