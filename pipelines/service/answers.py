"""answers: makes the answer to a question from its items."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import numpy as np
import torch

from pipelines.index.catalogue import Catalogue
from pipelines.index.items import IndexItem, VectorKind
from pipelines.service.engine import Engine
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import (
    Classified,
    ClassScore,
    Described,
    Embedded,
    Embedding,
    EmbedQuestion,
    Examples,
    Item,
    Listed,
    Neighbour,
    Neighbours,
    Search,
    SearchQuestion,
    ShapeQuestion,
    Similarities,
    SimilarityQuestion,
    ZeroShot,
    ZeroShotQuestion,
)
from pipelines.service.versions import Loaded
from vitlens_core import modalities
from vitlens_core.errors import IntegrityError
from vitlens_core.modalities.point_cloud import MODALITY as POINT_CLOUD
from vitlens_core.readers.formats import endings

LOG = logging.getLogger("vitlens.service")


async def embedded(engine: Engine, loaded: Loaded, question: EmbedQuestion) -> Embedded:
    vectors = await engine.embed(loaded, question.inputs)
    embeddings = [
        Embedding(modality=item.modality, name=item.name, embedding=vector.tolist())
        for item, vector in zip(question.inputs, vectors, strict=True)
    ]
    return Embedded(model=list(loaded.versions), embed_dim=vectors.shape[1], embeddings=embeddings)


async def similarities(
    engine: Engine, loaded: Loaded, question: SimilarityQuestion
) -> Similarities:
    both = await engine.embed(loaded, [*question.a, *question.b])
    a, b = torch.from_numpy(both).split([len(question.a), len(question.b)])
    cosines = loaded.model.similarity(a, b)
    return Similarities(model=list(loaded.versions), similarities=cosines.tolist())


async def zero_shot(engine: Engine, loaded: Loaded, question: ZeroShotQuestion) -> ZeroShot:
    names = class_names(engine, loaded, question.classes)
    vectors = await engine.embed(loaded, question.inputs)
    results = []
    for item, vector in zip(question.inputs, vectors, strict=True):
        classes = await engine.classes(loaded, item.modality, names)
        results.append(classified(loaded, item, vector, names, classes))
    return ZeroShot(model=list(loaded.versions), results=results)


async def shape(engine: Engine, loaded: Loaded, question: ShapeQuestion) -> bytes:
    """Return a GLB of an object or a point cloud (`RefusedError`: it cannot be read as one)."""
    (item,) = question.inputs
    if item.modality != POINT_CLOUD.name or item.path is None:
        kind = "item of the index" if item.entry else item.modality[:40]
        raise RefusedError(
            422, "modality", f"an object as {kind!r}", f"a file as {POINT_CLOUD.name}"
        )
    return await engine.reader.glb(item, engine.decoders.budget())


def class_names(
    engine: Engine, loaded: Loaded, given: Sequence[str], field: str = "classes"
) -> list[str]:
    """Return the classes that are given, or else those of the corpus, without repeats.

    Raises:
        RefusedError: there are none, too many, or one is too long.
    """
    limits = engine.config.limits
    if not given and loaded.catalogue and loaded.catalogue.labels:
        return loaded.catalogue.labels
    names = list(dict.fromkeys(name.strip() for name in given))
    if not names:
        raise RefusedError(
            422, "input", "no classes, and no corpus with classes", f"names in `{field}`"
        )
    if len(names) > limits.classes:
        raise RefusedError(413, "inputs", f"{len(names)} classes", f"{limits.classes} or fewer")
    if too_long := [name for name in names if len(name) > limits.text_characters]:
        found = f"a class of {len(too_long[0]):,} characters"
        raise RefusedError(413, "inputs", found, f"{limits.text_characters:,} or fewer")
    return names


def classified(
    loaded: Loaded, item: Item, vector: np.ndarray, names: Sequence[str], classes: np.ndarray
) -> Classified:
    """Give every class [K, E] its calibrated probability for an input's embedding [E]."""
    cosines = loaded.model.similarity(torch.from_numpy(vector[None]), torch.from_numpy(classes))
    probabilities, temperature = loaded.model.calibrated(cosines, item.modality)
    scores = [
        ClassScore(name=name, probability=probability, similarity=cosine)
        for name, probability, cosine in zip(
            names, probabilities[0].tolist(), cosines[0].tolist(), strict=True
        )
    ]
    scores.sort(key=lambda score: -score.probability)
    return Classified(
        modality=item.modality, name=item.name, temperature=temperature, classes=scores
    )


async def search(engine: Engine, loaded: Loaded, question: SearchQuestion) -> Search:
    catalogue = _catalogue(loaded)
    most = engine.config.limits.neighbours
    if question.count > most:
        raise RefusedError(422, "input", f"count {question.count}", f"{most} or fewer")
    if question.vectors and question.vectors not in catalogue.kinds:
        known = ", ".join(catalogue.kinds)
        raise RefusedError(422, "input", f"no {question.vectors} vectors in this index", known)
    vectors = await engine.embed(loaded, question.inputs)
    results = []
    for item, vector in zip(question.inputs, vectors, strict=True):
        kind = question.vectors or catalogue.kind_for(item.modality)
        items = await nearest(loaded, vector, kind, question.count)
        results.append(
            Neighbours(modality=item.modality, name=item.name, vectors=kind, items=items)
        )
    return Search(model=list(loaded.versions), results=results)


async def nearest(
    loaded: Loaded, vector: np.ndarray, kind: VectorKind, count: int
) -> list[Neighbour]:
    """Find the items of the index nearest to an embedding [E] (`RefusedError`: no index)."""
    catalogue = _catalogue(loaded)
    nearest = (await asyncio.to_thread(catalogue.nearest, vector, kind, count))[0]
    return [
        Neighbour(**dict(_listed(catalogue, found.number, found.item)), score=found.score)
        for found in nearest
    ]


async def examples(loaded: Loaded) -> Examples:
    """Answer with some held-out items; none without an index."""
    catalogue = loaded.catalogue
    if catalogue is None:
        return Examples(model=list(loaded.versions), modality=None, items=[])
    numbers = await asyncio.to_thread(lambda: catalogue.examples)
    items = [_listed(catalogue, number, catalogue.item(number)) for number in numbers]
    return Examples(model=list(loaded.versions), modality=catalogue.modality, items=items)


def _listed(catalogue: Catalogue, number: int, item: IndexItem) -> Listed:
    # With the index's name, since another index has another object at this number.
    entry = f"{catalogue.name}/{number}"
    return Listed(
        number=number,
        entry=entry,
        key=item.key,
        name=item.name,
        label=item.label,
        split=item.split,
        licence=item.licence,
        creator=item.creator,
        thumbnail=f"thumbnails/{entry}" if item.thumbnail else None,
    )


def _catalogue(loaded: Loaded) -> Catalogue:
    if loaded.catalogue is None:
        raise RefusedError(404, "search", f"no search: {loaded.search}", "a service with an index")
    return loaded.catalogue


async def thumbnail(loaded: Loaded, index: str, number: int) -> bytes:
    """Return an item's picture as WebP.

    Raises:
        RefusedError: there is no such item, it has no picture, or another index is open.
    """
    catalogue = _catalogue(loaded)
    try:
        known = index == catalogue.name
        picture = await asyncio.to_thread(catalogue.thumbnail, number) if known else None
    except IndexError:
        picture = None
    except IntegrityError as error:
        LOG.warning("a thumbnail is left out: %s", error)
        picture = None
    if picture is None:
        raise RefusedError(404, "search", f"no picture of item {number}", "an item's `thumbnail`")
    return picture


def described(engine: Engine, verbs: dict[str, str]) -> Described:
    """Describe what is served now, with the verbs that are answered."""
    loaded = engine.current
    served, catalogue = loaded.model.modalities, loaded.catalogue
    return Described(
        model=list(loaded.versions),
        modalities=served,
        lensed=[name for name in served if name in modalities.lensed()],
        endings={name: list(endings(modalities.load(name).takes)) for name in served},
        labels=catalogue.labels if catalogue else [],
        items=len(catalogue) if catalogue else 0,
        corpus=catalogue.modality if catalogue else None,
        vectors=catalogue.kinds if catalogue else [],
        search=loaded.search,
        verbs=verbs,
        limits=engine.config.limits.model_dump(),
    )
