"""asking: what an answer is, and how signals become the parts of a question.

Axes: B inputs, K tapped blocks, N tokens of the trunk, W width, E embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from vitlens_core.api.classes import class_embeddings
from vitlens_core.api.encoders import Stored
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.plugins.ask import open_question_model
from vitlens_core.plugins.ask.connected import check_foundation

if TYPE_CHECKING:
    from vitlens_core.api.model import Model
    from vitlens_core.plugins.ask.base import Fusion, QuestionModel, TowerModel
    from vitlens_core.plugins.ask.connected import ConnectedModel

WITHOUT_MODEL = "zero-shot"


class Answer(NamedTuple):
    """An answer, and what gave it.

    Attributes:
        text: the answer.
        by: the question model, or `zero-shot`: then `text` is the nearest of given answers.
        probability: calibrated, of a zero-shot answer; a question model states none.
    """

    text: str
    by: str
    probability: float | None = None


def by_modality(model: Model, signal: object) -> dict[str, object]:
    """Return a signal as inputs by modality. Raises InputError if there is none."""
    given = signal if isinstance(signal, Mapping) else {model.modalities[0]: signal}
    if not given:
        raise InputError("expected a signal to ask about, found none")
    return {str(name): one for name, one in given.items()}


@torch.inference_mode()
def question_parts(
    model: Model,
    by: TowerModel,
    stored: Mapping[str, Sequence[Stored]],
    fusion: Fusion | None = None,
) -> list[Tensor]:
    """Return the tokens [B, K, N, W] of every part of B questions, for `TowerModel.answer`.

    Args:
        stored: inputs of each modality as `Model.stored` gives them; those of one index belong to
            one question.

    Raises:
        ConfigError: a modality has no tokens, or the model cannot fuse there.
        InputError: the numbers of inputs differ.
    """
    sources = {name: model.token_source(name) for name in stored}
    where = by.fusion(fusion)
    counts = {name: len(items) for name, items in stored.items()}
    if len(set(counts.values())) > 1:
        raise InputError(f"expected as many inputs of every modality, found {counts}")
    if where != "vit":
        return [sources[name].states(items, by.taps) for name, items in stored.items()]
    fed = [sources[name].inputs(items) for name, items in stored.items()]
    # A lens may have trained parts of its trunk; images take the trunk of any lens.
    names = sorted(sources, key=lambda name: name == "image")
    return [torch.stack(sources[names[0]].trunk.states(fed, by.taps), dim=1)]


def embedded_part(
    model: Model, by: ConnectedModel, given: Mapping[str, object], *, trusted: bool
) -> list[Tensor]:
    """Return the embeddings [B, E] of the questions' signals, summed over modalities.

    Raises:
        CheckpointError: the connector was trained on another foundation.
        InputError: an input cannot be read.
    """
    # Before anything is read: embeddings of another space would be answered about all the same.
    check_foundation(by.info, model.foundation)
    return [model.fuse(model.encode(given, trusted=trusted))]


def zero_shot(
    model: Model, given: Mapping[str, object], answers: Sequence[str], *, trusted: bool
) -> list[Answer]:
    """Take the nearest of `answers` for each input.

    Raises:
        ConfigError: there are none, or neither words nor a prototype stand for one.
    """
    if not answers:
        raise ConfigError(
            "no question model is given: name one (by=…), or the answers to choose among "
            "(answers=[…]), of which zero-shot classification then takes the nearest"
        )
    first = next(iter(given))
    classes = class_embeddings(model, answers, first)
    embedded = model.encode(given, trusted=trusted)
    similarities = model.similarity(model.fuse(embedded), classes)
    best = model.calibrated(similarities, first).probabilities.max(dim=-1)
    return [
        Answer(answers[int(index)], WITHOUT_MODEL, float(value))
        for value, index in zip(best.values, best.indices, strict=True)
    ]


def opened_question_model(by: QuestionModel | str | Path) -> QuestionModel:
    """Return a question model, opened if it is named. Errors: `open_question_model`."""
    # transformers is imported by this only; most models answer no questions.
    return open_question_model(by) if isinstance(by, str | Path) else by
