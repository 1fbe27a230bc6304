"""asking: answers /ask, with a question model or by zero-shot classification.

Axes: B inputs, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Event

import torch
from torch import Tensor

from pipelines.service import answers
from pipelines.service.companions import stopping
from pipelines.service.engine import Engine
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import Item
from pipelines.service.verb_schemas import Asked, AskQuestion, Said
from pipelines.service.verbs import answers_by, check_distinct, check_most, fused
from pipelines.service.versions import Loaded
from vitlens_core.api.asking import question_parts
from vitlens_core.api.encoders import Stored
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.plugins.ask.base import QuestionModel, TowerModel

# Is told the number of an answer, and the next of its words; on another thread.
Told = Callable[[int, str], None]


@dataclass(frozen=True)
class _Batch:
    """Inputs that pass the question model together, or one question about several inputs.

    Attributes:
        numbers: of the inputs that are answered, B.
        parts: what the question model reads of them, [B, …] each.
    """

    numbers: list[int]
    parts: list[Tensor]


async def asked(
    engine: Engine, loaded: Loaded, question: AskQuestion, told: Told | None = None
) -> Asked:
    """Answer a question.

    Args:
        told: hears the words of a question model as they come, of one answer after the other.
    """
    by = answers_by(loaded, "ask", "a service with words, or with a question model (--ask)")
    limits, model = engine.config.limits, loaded.companions.question_model
    check_most("max_tokens", question.max_tokens, limits.answer_tokens)
    check_most("characters of the question", len(question.question), limits.text_characters)
    if question.together:
        check_distinct(question.inputs)
    if model is None:
        said = await _chosen(engine, loaded, question)
    else:
        said = await _answered(engine, loaded, model, question, told)
    return Asked(model=list(loaded.versions), by=by, answers=said)


async def _chosen(engine: Engine, loaded: Loaded, question: AskQuestion) -> list[Said]:
    """Choose the nearest answer for each input, as zero-shot classification does."""
    names = answers.class_names(engine, loaded, question.answers, "answers")
    vectors = await _vectors(engine, loaded, question)
    said = []
    for item, vector in zip(question.inputs[: len(vectors)], vectors, strict=True):
        classes = await engine.classes(loaded, item.modality, names)
        best = answers.classified(loaded, item, vector.numpy(), names, classes).classes[0]
        said.append(_said(item, best.name, best.probability))
    return said


async def _vectors(engine: Engine, loaded: Loaded, question: AskQuestion) -> Tensor:
    """Embed inputs, [B, E], or the sum of those that belong together, [1, E]."""
    vectors = torch.from_numpy(await engine.embed(loaded, question.inputs))
    if not question.together:
        return vectors
    return fused(loaded, {str(number): one[None] for number, one in enumerate(vectors)}, None)


async def _answered(
    engine: Engine, loaded: Loaded, by: QuestionModel, question: AskQuestion, told: Told | None
) -> list[Said]:
    try:
        if isinstance(by, TowerModel):
            batches = await _of_tokens(engine, loaded, by, question)
        else:
            vectors = await _vectors(engine, loaded, question)
            batches = [_Batch(list(range(len(vectors))), [vectors])]
        texts: dict[int, str] = {}
        for batch in batches:
            work = partial(_generated, by, question, batch, told)
            texts |= await engine.on_companions(work)
    except (ConfigError, InputError) as error:
        raise RefusedError(422, "input", str(error), "a question it can answer") from error
    return [_said(question.inputs[number], texts[number]) for number in sorted(texts)]


async def _of_tokens(
    engine: Engine, loaded: Loaded, by: TowerModel, question: AskQuestion
) -> list[_Batch]:
    """Read inputs, and run their trunks: inputs of one modality pass together, or all are one."""
    seen = loaded.model.token_modalities
    if other := next((i.modality for i in question.inputs if i.modality not in seen), None):
        raise RefusedError(422, "modality", f"a question about {other[:40]!r}", ", ".join(seen))
    if any(item.entry is not None for item in question.inputs):
        found = "an item of the index, of which an embedding is stored"
        raise RefusedError(422, "input", found, "its file: a question model reads tokens")
    read = await engine.prepared(loaded, question.inputs)
    numbers: dict[str, list[int]] = {}
    stored: dict[str, list[Stored]] = {}
    for number, (item, each) in enumerate(zip(question.inputs, read, strict=True)):
        assert each is not None, "there is no item of the index among them"
        numbers.setdefault(item.modality, []).append(number)
        stored.setdefault(item.modality, []).append(each)
    parts = partial(question_parts, loaded.model, by)
    if question.together:
        return [_Batch([0], await engine.on_towers(lambda: parts(stored)))]
    return [
        _Batch(numbers[name], await engine.on_towers(lambda one=one, name=name: parts({name: one})))
        for name, one in stored.items()
    ]


def _generated(
    by: QuestionModel, question: AskQuestion, batch: _Batch, told: Told | None, is_over: Event
) -> dict[int, str]:
    """Answer about a batch, or about its inputs one by one if somebody hears the words."""
    words, most = question.question, question.max_tokens
    with stopping(by.model.get_output_embeddings(), is_over):
        if told is None:
            texts = by.answer(batch.parts, [words] * len(batch.numbers), max_new_tokens=most)
            return dict(zip(batch.numbers, texts, strict=True))
        texts: dict[int, str] = {}
        for row, number in enumerate(batch.numbers):
            pieces = []
            for piece in by.stream(
                [p[row : row + 1] for p in batch.parts], words, max_new_tokens=most
            ):
                told(number, piece)
                pieces.append(piece)
            texts[number] = "".join(pieces).strip()
        return texts


def _said(item: Item, text: str, probability: float | None = None) -> Said:
    return Said(modality=item.modality, name=item.name, text=text, probability=probability)
