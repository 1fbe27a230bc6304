"""embedded: a benchmark's recordings and texts through a model, batch by batch.

Axes: B recordings, K classes, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipelines.benchmarks.base import Benchmark, Example
from pipelines.evaluation.embedding import class_embeddings
from pipelines.store.splits import ranked
from vitlens_core import modalities
from vitlens_core.api.model import Model
from vitlens_core.errors import InputError


@dataclass(frozen=True)
class Embedded:
    """Recordings with unit-norm embeddings [B, E]."""

    embeddings: np.ndarray
    labels: list[tuple[str, ...]]
    texts: list[tuple[str, ...]]
    groups: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Sequence[int]) -> Embedded:
        """Those at the places given, in their order."""
        return Embedded(
            self.embeddings[list(places)],
            [self.labels[i] for i in places],
            [self.texts[i] for i in places],
            [self.groups[i] for i in places],
        )

    def halves(self, seed: int) -> tuple[Embedded, Embedded]:
        """Two parts with every class in both where it has two groups; a group is in one."""
        first: set[str] = set()
        seen: set[str] = set()
        groups_of: dict[str, set[str]] = {}
        for labels, group in zip(self.labels, self.groups, strict=True):
            groups_of.setdefault(labels[0], set()).add(group)
        for label in sorted(groups_of):
            own = ranked(groups_of[label] - seen, seed, "half")
            first.update(own[: (len(own) + 1) // 2])
            seen |= groups_of[label]
        parts = [[i for i, g in enumerate(self.groups) if (g in first) == side] for side in (1, 0)]
        return self.take(parts[0]), self.take(parts[1])


class Texts:
    """A model as an encoder of text (`modalities.text.TextEncoder`)."""

    def __init__(self, model: Model, batch_size: int) -> None:
        self._model = model
        self._batch_size = batch_size

    def encode_text(self, texts: Sequence[str], /) -> Tensor:
        """Texts → unit-norm embeddings [B, E]."""
        return self._model.encode({"text": list(texts)}, batch_size=self._batch_size)["text"]


def prompted(model: Model, benchmark: Benchmark, names: Sequence[str], batch: int) -> np.ndarray:
    """[K, E]: per class the mean over the benchmark's prompts, as in the evaluation."""
    templates = benchmark.templates or modalities.load(benchmark.modality).templates
    return class_embeddings(Texts(model, batch), names, templates)


def prepared(model: Model, benchmark: Benchmark) -> Model:
    """The model with the preparation that the protocol fixes (`ConfigError` as `adjusted`)."""
    if not benchmark.preparation:
        return model
    return model.adjusted(benchmark.modality, **benchmark.preparation)


def deviations(model: Model, benchmark: Benchmark) -> list[str]:
    """What the lens sees otherwise than the protocol presumes."""
    settings = model.settings(benchmark.modality)
    return [
        f"{name}: {settings[name]} here, {value} in the protocol"
        for name, value in benchmark.expected.items()
        if settings.get(name, value) != value
    ]


def embed(
    model: Model, examples: Sequence[Example], batch: int, advance: Callable[[int], None]
) -> Embedded:
    """Every recording, read and embedded; of several modalities fused, all with weight 1.

    Raises:
        InputError: one that cannot be read or does not fit; the message has its key.
    """
    rows = []
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        rows.append(_fused(model, [_read(example) for example in part], batch))
        advance(len(part))
    return Embedded(
        torch.cat(rows).numpy(),
        [example.labels for example in examples],
        [example.texts for example in examples],
        [example.group or example.key for example in examples],
    )


def sampled(examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    """At most so many, of every class in turn, drawn by key; in their own order."""
    by_class: dict[tuple[str, ...], list[str]] = {}
    for example in examples:
        by_class.setdefault(example.labels, []).append(example.key)
    turns = [
        (turn, key)
        for labels, keys in by_class.items()
        for turn, key in enumerate(ranked(set(keys), seed, f"training {labels}"))
    ]
    kept = {key for _, key in sorted(turns)[:most]}
    return [example for example in examples if example.key in kept]


def of_classes(embedded: Embedded, classes: Sequence[str]) -> np.ndarray:
    """Each recording's one class as its place among `classes`, [B]."""
    places = {name: index for index, name in enumerate(classes)}
    return np.array([places[labels[0]] for labels in embedded.labels])


def _read(example: Example) -> Mapping[str, np.ndarray]:
    try:
        return example.read()
    except InputError as error:
        raise InputError(f"{example.key}: {error}") from error


def _fused(model: Model, raws: Sequence[Mapping[str, np.ndarray]], batch: int) -> Tensor:
    """[B, E], each of all modalities it was recorded in."""
    rows: list[Tensor] = [torch.empty(0)] * len(raws)
    for names, places in _by_modalities(raws):
        inputs = {name: [raws[i][name] for i in places] for name in names}
        encoded = model.encode(inputs, batch_size=batch)
        whole = Model.fuse(encoded) if len(names) > 1 else encoded[names[0]]
        for place, row in zip(places, whole, strict=True):
            rows[place] = row
    return torch.stack(rows)


def _by_modalities(
    raws: Sequence[Mapping[str, np.ndarray]],
) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """Places of those that were recorded in the same modalities."""
    found: dict[tuple[str, ...], list[int]] = {}
    for place, raw in enumerate(raws):
        found.setdefault(tuple(sorted(raw)), []).append(place)
    yield from found.items()
