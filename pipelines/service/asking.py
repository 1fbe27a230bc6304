"""asking: answers /ask, with a question model or by zero-shot classification."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

import torch

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
from vitlens_core.plugins.ask.base import TowerModel


async def asked(engine: Engine, loaded: Loaded, question: AskQuestion) -> Asked:
    by = answers_by(loaded, "ask", "a service with words, or with a question model (--ask)")
    limits, model = engine.config.limits, loaded.companions.question_model
    check_most("max_tokens", question.max_tokens, limits.answer_tokens)
    check_most("characters of the question", len(question.question), limits.text_characters)
    if question.together:
        check_distinct(question.inputs)
    if model is None:
        said = await _chosen(engine, loaded, question)
    else:
        said = await _answered(engine, loaded, model, question)
    return Asked(model=list(loaded.versions), by=by, answers=said)


async def _chosen(engine: Engine, loaded: Loaded, question: AskQuestion) -> list[Said]:
    """Choose the nearest answer for each input, as zero-shot classification does."""
    names = answers.class_names(engine, loaded, question.answers, "answers")
    vectors = torch.from_numpy(await engine.embed(loaded, question.inputs))
    items = question.inputs
    if question.together:
        embedded = {str(number): vector[None] for number, vector in enumerate(vectors)}
        vectors, items = fused(loaded, embedded, None), items[:1]
    said = []
    for item, vector in zip(items, vectors, strict=True):
        classes = await engine.classes(loaded, item.modality, names)
        best = answers.classified(loaded, item, vector.numpy(), names, classes).classes[0]
        said.append(_said(item, best.name, best.probability))
    return said


async def _answered(
    engine: Engine, loaded: Loaded, by: TowerModel, question: AskQuestion
) -> list[Said]:
    seen = loaded.model.token_modalities
    if other := next((i.modality for i in question.inputs if i.modality not in seen), None):
        raise RefusedError(422, "modality", f"a question about {other[:40]!r}", ", ".join(seen))
    if any(item.entry is not None for item in question.inputs):
        found = "an item of the index, of which an embedding is stored"
        raise RefusedError(422, "input", found, "its file: a question model reads tokens")
    read = await engine.prepared(loaded, question.inputs)
    stored = [each for each in read if each is not None]
    texts: dict[int, str] = {}
    for numbers in _groups(question):
        told = await _generated(engine, loaded, by, question, numbers, stored)
        texts |= dict(zip(numbers, told, strict=False))
    return [_said(question.inputs[number], texts[number]) for number in sorted(texts)]


def _groups(question: AskQuestion) -> list[list[int]]:
    """Return the numbers of inputs that are answered in one batch, or together."""
    if question.together:
        return [list(range(len(question.inputs)))]
    groups: dict[str, list[int]] = {}
    for number, item in enumerate(question.inputs):
        groups.setdefault(item.modality, []).append(number)
    return list(groups.values())


async def _generated(
    engine: Engine,
    loaded: Loaded,
    by: TowerModel,
    question: AskQuestion,
    numbers: Sequence[int],
    stored: Sequence[Stored],
) -> list[str]:
    """Answer about inputs of one modality, B texts, or about all together, one text."""
    given: dict[str, list[Stored]] = {}
    for number in numbers:
        given.setdefault(question.inputs[number].modality, []).append(stored[number])
    count = 1 if question.together else len(numbers)

    def answer(is_over: Event) -> list[str]:
        with stopping(by.model.get_output_embeddings(), is_over):
            words = [question.question] * count
            return by.answer(parts, words, max_new_tokens=question.max_tokens)

    try:
        parts = await engine.on_towers(lambda: question_parts(loaded.model, by, given))
        return await engine.on_companions(answer)
    except (ConfigError, InputError) as error:
        raise RefusedError(422, "input", str(error), "a question it can answer") from error


def _said(item: Item, text: str, probability: float | None = None) -> Said:
    return Said(modality=item.modality, name=item.name, text=text, probability=probability)
