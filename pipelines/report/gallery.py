"""gallery: shows held-out objects with the nearest objects that the lens finds.

Reads     predictions and, only for the shown objects, members of the shards' tars.
Promises  the choice of objects depends on their keys and results only, never on how they look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from upath import UPath

from pipelines.evaluation.result import Prediction
from pipelines.renders.thumbnails import thumbnail
from pipelines.report.pictures import data_uri, draw_signal, signal_file
from pipelines.store.shards import read_shard

_QUERY_PX, _NEIGHBOUR_PX = 256, 160
_VIEW = "view00.png"

Files = dict[str, dict[str, bytes]]  # key → extension → bytes


@dataclass(frozen=True)
class Neighbour:
    """One object found, with its picture as a data URI."""

    picture: str
    label: str
    name: str
    is_same_class: bool
    is_same_object: bool


@dataclass(frozen=True)
class Example:
    """One held-out object as a query, and its nearest objects, best first."""

    picture: str
    label: str
    name: str
    predicted: str
    neighbours: tuple[Neighbour, ...]

    @property
    def is_recognised(self) -> bool:
        return self.predicted == self.label


def examples(
    modality: str, shards: Iterable[UPath], predictions: Sequence[Prediction], count: int = 8
) -> list[Example]:
    """Return up to `count` queries with the pictures of their nearest objects."""
    chosen = choose(predictions, count)
    signal = signal_file(modality)
    wanted: dict[str, set[str]] = {}
    for prediction in chosen:
        wanted.setdefault(prediction.key, set()).add(signal)
        for key in prediction.neighbours:
            wanted.setdefault(key, set()).update((_VIEW, signal))
    files = read_members(shards, wanted)
    by_key = {p.key: p for p in predictions}
    return [_example(modality, p, by_key, files) for p in chosen]


def choose(predictions: Sequence[Prediction], count: int) -> list[Prediction]:
    """Choose examples, half of them recognised if possible, in each half by hash of the key.

    Classes that are not shown yet come first, so that the examples are not all chairs. Hits and
    misses alternate.
    """
    ordered = sorted(predictions, key=lambda p: hashlib.sha256(p.key.encode()).digest())
    hits = _varied([p for p in ordered if p.predicted[0] == p.label])
    misses = _varied([p for p in ordered if p.predicted[0] != p.label])
    taken_hits = min(len(hits), max(count - count // 2, count - len(misses)))
    taken_misses = min(len(misses), count - taken_hits)
    ranked = [*enumerate(hits[:taken_hits]), *enumerate(misses[:taken_misses])]
    return [p for _, p in sorted(ranked, key=lambda item: item[0])]


def read_members(shards: Iterable[UPath], wanted: Mapping[str, set[str]]) -> Files:
    """Read the wanted files of the wanted samples; all others are skipped unread."""
    extensions = set().union(*wanted.values())
    files: Files = {}
    for path in shards:
        for sample in read_shard(path, only=extensions):
            key = sample["__key__"]
            if key in wanted:
                files[key] = {name: sample[name] for name in wanted[key] & sample.keys()}
            if len(files) == len(wanted):
                return files
    return files


def _varied(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Reorder so that the n-th of any class comes after the (n−1)-th of every class."""
    before: dict[str, int] = {}
    turns = []
    for prediction in predictions:
        turns.append(before.get(prediction.label, 0))
        before[prediction.label] = turns[-1] + 1
    order = sorted(range(len(predictions)), key=lambda i: turns[i])
    return [predictions[i] for i in order]


def _picture(modality: str, files: Mapping[str, bytes]) -> Image.Image:
    """Return a sample's first image, or a drawing of its signal if it has none."""
    if _VIEW in files:
        return thumbnail(files[_VIEW], _NEIGHBOUR_PX)
    return draw_signal(modality, files[signal_file(modality)], _NEIGHBOUR_PX)


def _example(
    modality: str, query: Prediction, by_key: Mapping[str, Prediction], files: Files
) -> Example:
    signal = files[query.key][signal_file(modality)]
    return Example(
        picture=data_uri(draw_signal(modality, signal, _QUERY_PX)),
        label=query.label,
        name=query.name,
        predicted=query.predicted[0],
        neighbours=tuple(
            Neighbour(
                picture=data_uri(_picture(modality, files[key])),
                label=by_key[key].label,
                name=by_key[key].name,
                is_same_class=by_key[key].label == query.label,
                is_same_object=key == query.key,
            )
            for key in query.neighbours
        ),
    )
