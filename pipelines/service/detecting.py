"""detecting: answers /detect, with a detector or by windows of the picture.

Axes: H height, W width, Q queries, N boxes or crops, E embedding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from threading import Event

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines.service.companions import StoppedError
from pipelines.service.config import WINDOWS
from pipelines.service.engine import Engine
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import Item
from pipelines.service.verb_schemas import Box, Detected, DetectQuestion
from pipelines.service.verbs import answers_by, check_most
from pipelines.service.versions import Loaded
from vitlens_core.errors import InputError
from vitlens_core.plugins.detect import windows
from vitlens_core.plugins.detect.detections import Detections
from vitlens_core.plugins.detect.owl import LEAST_SCORE

_CROPS = 16  # embedded at a time; between two times it is asked whether anybody waits


async def detected(engine: Engine, loaded: Loaded, question: DetectQuestion) -> Detected:
    by = answers_by(loaded, "detect", "a service with a detector (--detect)")
    limits, (picture,) = engine.config.limits, question.picture
    check_most("count", question.count, limits.neighbours)
    if picture.modality != "image" or picture.path is None:
        kind = "item of the index" if picture.entry else picture.modality[:40]
        found = f"a picture as {kind!r}"
        raise RefusedError(422, "modality", found, "picture.image")
    _check_queries(loaded, question.queries)
    budget = engine.decoders.budget()
    vectors = await engine.embed(loaded, question.queries, budget)
    whole = await engine.reader.picture(picture, budget)
    height, width = whole.shape[:2]
    seen = await asyncio.to_thread(_reduced, whole, limits.picture_px)
    try:
        found = await engine.on_companions(
            partial(_looked, loaded, seen, torch.from_numpy(vectors), question.least)
        )
    except InputError as error:
        raise RefusedError(422, "input", f"picture: {error}", "another picture") from error
    best = found.best_of_each(question.count)
    scaled = best.boxes * torch.tensor([width / seen.shape[1], height / seen.shape[0]] * 2)
    return Detected(
        model=list(loaded.versions),
        by=by,
        width=width,
        height=height,
        boxes=_boxes(replace(best, boxes=scaled), question.queries),
    )


def _check_queries(loaded: Loaded, queries: Sequence[Item]) -> None:
    """Refuse queries whose towers were not compared with the detector's."""
    if loaded.companions.detector == WINDOWS:
        return
    compared = [*loaded.model.token_modalities, "text"]
    if other := next((q.modality for q in queries if q.modality not in compared), None):
        raise RefusedError(422, "modality", f"a query of {other[:40]!r}", ", ".join(compared))


def _boxes(found: Detections, queries: Sequence[Item]) -> list[Box]:
    boxes = []
    for query, score, box in zip(
        found.queries.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
    ):
        item = queries[query]
        name = item.name or item.text or ""
        boxes.append(Box(query=query, modality=item.modality, name=name, score=score, box=box))
    return boxes


def _looked(
    loaded: Loaded, seen: np.ndarray, vectors: Tensor, least: float | None, is_over: Event
) -> Detections:
    """Find queries [Q, E] in a picture [H, W, 3]; StoppedError between crops if nobody waits."""
    detector = loaded.companions.detector
    if detector is not None and not isinstance(detector, str):
        return detector.detect(seen, vectors, LEAST_SCORE if least is None else least)
    preparation = loaded.model.preparation("image")

    def embed(crops: Sequence[np.ndarray]) -> Tensor:
        rows = []
        for start in range(0, len(crops), _CROPS):
            if is_over.is_set():
                raise StoppedError
            stored = [preparation.store(crop) for crop in crops[start : start + _CROPS]]
            rows.append(loaded.model.embed("image", stored))
        return torch.cat(rows)

    found = windows.detect(seen, vectors, embed)
    return found if least is None else found.best(len(found.scores), least)


def _reduced(picture: np.ndarray, most_px: int) -> np.ndarray:
    """Reduce a picture so that its longer side has `most_px`: OWLv2 pads pictures to squares."""
    height, width = picture.shape[:2]
    scale = most_px / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
