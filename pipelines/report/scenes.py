"""scenes: pictures composed of rendered held-out objects, and how well their clouds find them.

Reads     the shards that a registered version was trained on: views and signals of its test split.
Promises  what is drawn depends on the seed alone; no object of the training split is seen.

Axes: N objects, Q queries, E embedding, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample, decode_png, view_names
from vitlens_core.errors import ConfigError
from vitlens_core.plugins.detect import windows
from vitlens_core.plugins.detect.detections import Detections, average_precision, overlap

SIDE_PX = 448
OBJECTS = 4  # one in each quarter, so that none hides another
OBJECT_PX = (110, 190)  # longest side, drawn evenly
HIT = 0.5  # intersection over union from which a box counts


@dataclass(frozen=True)
class Scene:
    """A composed picture.

    Attributes:
        picture: uint8 RGB [H, W, 3].
        boxes: [N, 4] of its objects, in pixels.
        objects: their numbers in the list that it was composed of.
    """

    picture: np.ndarray
    boxes: Tensor
    objects: tuple[int, ...]


@dataclass(frozen=True)
class Precision:
    """Average precision at an overlap of .5, of queries by three kinds of signal.

    Attributes:
        own: the signal of the object that is to be found.
        same_class: that of another object of its class.
        other_class: a control, that of an object whose class is not in the scene.
        queries: number of queries of each kind.
    """

    own: float
    same_class: float
    other_class: float
    queries: int


def held_out(shards: Artifact) -> list[Sample]:
    """Return the test samples that have a label and views. Raises ConfigError if there is none."""
    samples = [
        sample
        for path in shards.shards("test")
        for sample in shards.read(path)
        if view_names(sample) and SampleInfo.of(sample).label
    ]
    if len({SampleInfo.of(sample).label for sample in samples}) <= OBJECTS:
        raise ConfigError(
            f"scenes need held-out rendered objects of more than {OBJECTS} classes; found "
            f"{len(samples)} objects"
        )
    return samples


def labels_of(samples: Sequence[Sample]) -> list[str]:
    """Return the label of each sample."""
    return [SampleInfo.of(sample).label or "" for sample in samples]


def compose(samples: Sequence[Sample], count: int, seed: int = 0) -> list[Scene]:
    """Compose scenes of four objects of different classes, each in a quarter, on white."""
    rng = np.random.default_rng(seed)
    labels = labels_of(samples)
    scenes = []
    for _ in range(count):
        chosen: list[int] = []
        for index in rng.permutation(len(samples)).tolist():
            if labels[index] not in {labels[other] for other in chosen}:
                chosen.append(index)
            if len(chosen) == OBJECTS:
                break
        scenes.append(_composed(samples, tuple(chosen), rng))
    return scenes


def _composed(
    samples: Sequence[Sample], objects: tuple[int, ...], rng: np.random.Generator
) -> Scene:
    canvas = Image.new("RGB", (SIDE_PX, SIDE_PX), "white")
    boxes, cell = [], SIDE_PX // 2
    for place, index in enumerate(objects):
        thing = _cut_out(samples[index], rng)
        column, row = place % 2, place // 2
        left = column * cell + int(rng.integers(0, cell - thing.width + 1))
        top = row * cell + int(rng.integers(0, cell - thing.height + 1))
        canvas.paste(thing, (left, top), thing)
        boxes.append([left, top, left + thing.width, top + thing.height])
    return Scene(np.asarray(canvas).copy(), torch.tensor(boxes).float(), objects)


def _cut_out(sample: Sample, rng: np.random.Generator) -> Image.Image:
    """Return one view of an object, cut to what is seen of it, in a drawn size."""
    names = view_names(sample)
    view = Image.fromarray(decode_png(sample[names[int(rng.integers(len(names)))]])).convert("RGBA")
    seen = view.crop(view.getchannel("A").getbbox())
    scale = int(rng.integers(*OBJECT_PX)) / max(seen.size)
    size = (max(8, round(seen.width * scale)), max(8, round(seen.height * scale)))
    return seen.resize(size, Image.Resampling.LANCZOS)


def measure(
    scenes: Sequence[Scene],
    labels: Sequence[str],
    queries: Tensor,
    embed: Callable[[Sequence[np.ndarray]], Tensor],
    advance: Callable[[], None] = lambda: None,
    seed: int = 0,
) -> Precision:
    """Measure how well signals find their objects in scenes, by `windows`.

    Args:
        labels: of all N objects.
        queries: [N, E], the embedding of each object's signal.
        embed: uint8 RGB pictures → unit norm [Q, E].
    """
    rng = np.random.default_rng(seed)
    ranked: dict[str, list[tuple[Detections, Tensor]]] = {"own": [], "same": [], "other": []}
    for scene in scenes:
        drawn = {
            "own": list(scene.objects),
            "same": [_another(labels, index, rng) for index in scene.objects],
            "other": [_foreign(labels, scene.objects, rng) for _ in scene.objects],
        }
        asked = torch.cat([queries[indices] for indices in drawn.values()])
        found = windows.detect(scene.picture, asked, embed)
        for kind, start in zip(drawn, range(0, len(asked), OBJECTS), strict=True):
            for place in range(OBJECTS):
                mine = found.queries == start + place
                one = Detections(found.boxes[mine], found.scores[mine], found.queries[mine])
                ranked[kind].append((one, scene.boxes[place]))
        advance()
    figures = {kind: _precision(pairs) for kind, pairs in ranked.items()}
    return Precision(figures["own"], figures["same"], figures["other"], len(ranked["own"]))


def _precision(pairs: Sequence[tuple[Detections, Tensor]]) -> float:
    scores, right = [], []
    for found, box in pairs:
        hits = overlap(found.boxes, box[None])[:, 0] >= HIT
        first = torch.zeros_like(hits)
        if hits.any():
            # Detections come best first: only the best hit counts, a second one is a mistake.
            first[int(hits.int().argmax())] = True
        scores.append(found.scores)
        right.append(first)
    return average_precision(torch.cat(scores), torch.cat(right), len(pairs))


def _another(labels: Sequence[str], index: int, rng: np.random.Generator) -> int:
    """Draw another object of the same class; itself where it is the only one."""
    same = [i for i, label in enumerate(labels) if label == labels[index] and i != index]
    return int(rng.choice(same)) if same else index


def _foreign(labels: Sequence[str], present: Sequence[int], rng: np.random.Generator) -> int:
    shown = {labels[index] for index in present}
    return int(rng.choice([i for i, label in enumerate(labels) if label not in shown]))
