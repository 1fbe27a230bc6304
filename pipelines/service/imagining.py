"""imagining: answers /imagine, with a decoder or from the index."""

from __future__ import annotations

import io
from threading import Event

import torch
from torch import Tensor

from pipelines.service import answers
from pipelines.service.companions import stopping
from pipelines.service.engine import Engine
from pipelines.service.refusal import RefusedError
from pipelines.service.verb_schemas import Imagined, ImagineQuestion
from pipelines.service.verbs import PICTURES, answers_by, check_distinct, check_most, fused
from pipelines.service.versions import Loaded
from vitlens_core.errors import InputError


async def imagined(engine: Engine, loaded: Loaded, question: ImagineQuestion) -> bytes | Imagined:
    """Return a PNG, or without a decoder the nearest items of the index."""
    expected = "a service with a decoder (--imagine), or with an index of pictures"
    answers_by(loaded, "imagine", expected)
    limits = engine.config.limits
    check_most("steps", question.steps, limits.steps)
    check_most("count", question.count, limits.neighbours)
    check_distinct(question.inputs)
    weights = question.weights or [1.0] * len(question.inputs)
    if len(weights) != len(question.inputs):
        found = f"{len(weights)} weights of {len(question.inputs)} inputs"
        raise RefusedError(422, "input", found, "one for each input")
    vectors = torch.from_numpy(await engine.embed(loaded, question.inputs))
    names = [item.modality for item in question.inputs]
    embedded = {name: vector[None] for name, vector in zip(names, vectors, strict=True)}
    of_names = dict(zip(names, weights, strict=True))
    if loaded.companions.decoder is None:
        vector = fused(loaded, embedded, of_names)[0].numpy()
        nearest = await answers.nearest(loaded, vector, PICTURES, question.count)
        return Imagined(model=list(loaded.versions), items=nearest)
    return await engine.on_companions(
        lambda is_over: _drawn(loaded, embedded, of_names, question, is_over)
    )


def _drawn(
    loaded: Loaded,
    embedded: dict[str, Tensor],
    weights: dict[str, float],
    question: ImagineQuestion,
    is_over: Event,
) -> bytes:
    by, statistics = loaded.companions.decoder, loaded.companions.statistics
    assert by is not None
    assert statistics is not None
    with stopping(by.pipe.unet, is_over):
        try:
            drawn = loaded.model.draw(
                embedded,
                by=by,
                statistics=statistics,
                weights=weights,
                seed=question.seed,
                steps=question.steps,
            )
        except InputError as error:
            raise RefusedError(422, "input", str(error), "inputs that can be drawn") from error
    file = io.BytesIO()
    drawn[0].save(file, "PNG")
    return file.getvalue()
