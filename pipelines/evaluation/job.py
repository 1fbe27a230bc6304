"""evaluation: embed the held-out split and score it; see `step`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.evaluation import calibration
from pipelines.evaluation.step import STEP, EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.foundation.opening import has_teacher, open_foundation, open_lens
from pipelines.lens.settings import TrainConfig
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import Sample, decode_array, encode_json, targets_file
from vitlens_core import metrics, modalities
from vitlens_core.captions import class_prompts
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.text import TextEncoder
from vitlens_core.model_files import CALIBRATION_FILE, LENS_FILE
from vitlens_core.models.tower import Tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.precision import autocast

_BLOCK = 1024  # samples that are compared with all others at a time


@dataclass(frozen=True)
class Evaluated:
    """The split's samples and embeddings. Axes: B samples, C captions in all, E embedding."""

    keys: list[str]
    names: list[str]
    labels: list[str]
    groups: list[str]
    embeddings: np.ndarray  # [B, E] of the modality
    images: np.ndarray | None  # [B, E] mean of the views' targets; None if any has none
    texts: np.ndarray | None  # [C, E] of the distinct captions; None if any sample has none
    described_by: list[list[int]]  # [B] which of the captions are each sample's
    taught: np.ndarray | None = None  # [B, E] mean of the teacher's targets, if one taught

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """int [B]: the place of each sample's label among the classes."""
        place = {name: number for number, name in enumerate(names)}
        return np.array([place[label] for label in self.labels])


def run(
    runtime: Runtime,
    config: EvaluationConfig,
    targets: Artifact,
    foundation: Artifact,
    lens: Artifact,
) -> Artifact:
    """Embed the split with the lens and score it.

    Raises:
        ConfigError: the split is empty.
    """
    inputs = {"targets": targets, "foundation": foundation, "lens": lens}
    build = STEP.begin(runtime, config, inputs)
    if build.existing:
        return build.existing
    encoder = open_foundation(foundation).to(runtime.resources.device)
    tower, settings = open_lens(lens, LENS_FILE, encoder)
    evaluated = perceive(runtime, config, targets, tower, settings)
    names = sorted(set(evaluated.labels))
    classes = class_embeddings(encoder, names, modalities.load(settings.modality).templates)
    supervision = TrainConfig.model_validate(lens.manifest.config["train"]).weights(
        taught=has_teacher(foundation)
    )
    scored = score(settings.modality, evaluated, names, classes, config)
    scored |= {"supervision": supervision, "emergent": "text" not in supervision}
    files = []
    if found := _calibration(runtime, config, targets, tower, settings, evaluated, classes):
        scored["calibration"] = found
        files.append(write_atomic(build.folder / CALIBRATION_FILE, encode_json(found)))
    files += [
        write_atomic(build.folder / "metrics.json", encode_json(scored)),
        write_atomic(
            build.folder / "predictions.json", encode_json(predictions(evaluated, names, classes))
        ),
    ]
    return build.commit(files, counts={"samples": len(evaluated.keys), "classes": len(names)})


def perceive(
    runtime: Runtime,
    config: EvaluationConfig,
    targets: Artifact,
    tower: Tower,
    settings: TowerSettings,
) -> Evaluated:
    """The split's labelled samples as a tower sees them (`ConfigError`: there are none)."""
    tower.to(runtime.resources.device)
    shards, found = targets.shards(config.split), _Perceived()
    with runtime.progress(STEP.name, len(shards), "shards") as bar:
        for path in shards:
            labelled = (s for s in targets.read(path) if json.loads(s["json"])["label"])
            while batch := list(islice(labelled, config.batch_size)):
                found.add(batch, embed(tower, settings, batch))
            bar.advance()
    if not found.keys:
        raise ConfigError(
            f"no labelled objects in the {config.split!r} split: select more objects per class, "
            "or see the quarantined ones"
        )
    return found.evaluated()


def _calibration(
    runtime: Runtime,
    config: EvaluationConfig,
    targets: Artifact,
    tower: Tower,
    settings: TowerSettings,
    evaluated: Evaluated,
    classes: np.ndarray,
) -> dict[str, Any] | None:
    """Fitted on the validation samples of the held-out classes, where there are enough."""
    names = sorted(set(evaluated.labels))
    if config.split == "val" or not any(_labels_of(targets, "val")):
        return None
    seen = perceive(runtime, config.model_copy(update={"split": "val"}), targets, tower, settings)
    known = np.array([label in names for label in seen.labels])
    labels = np.array([names.index(label) for label in seen.labels if label in names], dtype=int)
    return calibration.fit(
        (seen.embeddings[known] @ classes.T, labels),
        (
            evaluated.embeddings @ classes.T,
            evaluated.numbers(names),
        ),
        1 / tower.log_scale.exp().item(),
        {"resamples": config.resamples, "seed": config.seed, "groups": evaluated.groups},
    )


def hits(evaluated: Evaluated, names: list[str], classes: np.ndarray) -> np.ndarray:
    """bool [B]: whether a sample's nearest class [K, E] is its own."""
    return metrics.ranks(evaluated.embeddings, classes, evaluated.numbers(names)) == 0


def class_embeddings(
    encoder: TextEncoder, names: Sequence[str], templates: tuple[str, ...]
) -> np.ndarray:
    """[K, E]: per class the mean over prompts, normalised before and after."""
    prompts = [encoder.encode_text(class_prompts(name, templates)) for name in names]
    return metrics.class_embeddings(torch.stack(prompts).cpu().numpy())


def score(
    modality: str,
    evaluated: Evaluated,
    names: list[str],
    classes: np.ndarray,
    config: EvaluationConfig,
) -> dict[str, Any]:
    """Everything in `metrics.json`."""
    labels = evaluated.numbers(names)
    sure = {"groups": evaluated.groups, "resamples": config.resamples, "seed": config.seed}
    own = metrics.zero_shot(evaluated.embeddings, classes, labels, **sure)
    scored = {
        "modality": modality,
        "split": config.split,
        "zero_shot": own.as_dict(),
        "times_chance": own.top1.value / own.chance,
        "retrieval": _retrieval(modalities.load(modality).metric_prefix, evaluated, sure),
        "classes": names,
        "confusion": own.confusion.tolist(),
    }
    if evaluated.taught is not None:
        teacher = metrics.zero_shot(evaluated.taught, classes, labels, **sure)
        scored["teacher_zero_shot"] = teacher.as_dict()
    if evaluated.images is None:
        return scored
    ceiling = metrics.zero_shot(evaluated.images, classes, labels, **sure)
    # A foundation below chance is no ceiling: nothing would pass a gate more easily.
    ratio = own.top1.value / max(ceiling.top1.value, own.chance)
    return scored | {
        "foundation_image_zero_shot": ceiling.as_dict(),
        "ratio_to_foundation": ratio,
    }


def _retrieval(word: str, evaluated: Evaluated, sure: dict) -> dict[str, Any]:
    """Recalls of the sample's own captions and of its own image, where there are any."""
    count, found = len(evaluated.keys), {}
    if evaluated.texts is not None:
        own = evaluated.described_by
        found[f"{word}_to_text"] = _recalls(evaluated.embeddings, evaluated.texts, own, sure)
    if evaluated.images is not None:
        own = [[number] for number in range(count)]
        found[f"{word}_to_image"] = _recalls(evaluated.embeddings, evaluated.images, own, sure)
    return found


def predictions(evaluated: Evaluated, names: list[str], classes: np.ndarray) -> list[dict]:
    """Per sample: its five best classes, and the five samples whose images lie nearest.

    Without images nearness is that of the modality's own embeddings.
    """
    scores = evaluated.embeddings @ classes.T
    gallery = evaluated.embeddings if evaluated.images is None else evaluated.images
    nearest = _nearest(evaluated.embeddings, gallery)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    right = hits(evaluated, names, classes)
    return [
        {
            "key": key,
            "group": evaluated.groups[i],
            "name": evaluated.names[i],
            "label": label,
            "correct": bool(right[i]),
            "predicted": [names[k] for k in best[i]],
            "scores": [round(float(scores[i, k]), 4) for k in best[i]],
            "neighbours": [evaluated.keys[k] for k in nearest[i]],
        }
        for i, (key, label) in enumerate(zip(evaluated.keys, evaluated.labels, strict=True))
    ]


def _nearest(embeddings: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """[B, 5]: the numbers of the nearest items, in blocks that fit into memory."""
    most, found = min(5, len(gallery)), []
    for start in range(0, len(embeddings), _BLOCK):
        distances = -embeddings[start : start + _BLOCK] @ gallery.T
        some = np.argpartition(distances, most - 1, axis=1)[:, :most]
        order = np.argsort(np.take_along_axis(distances, some, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(some, order, axis=1))
    return np.concatenate(found)


def _labels_of(targets: Artifact, split: str) -> Iterator[str | None]:
    for path in targets.shards(split):
        for sample in targets.read(path, only=("json",)):
            yield json.loads(sample["json"])["label"]


@torch.inference_mode()
def embed(tower: Tower, settings: TowerSettings, samples: list[Sample]) -> np.ndarray:
    """Unit-norm embeddings [B, E] of the samples' signals, on the tower's device."""
    device = next(tower.parameters()).device
    file = modalities.load_lensed(settings.modality).signal_file
    signal, tokenizer = settings.signal_config, settings.tokenizer_config
    stored = torch.from_numpy(np.stack([decode_array(s[file]) for s in samples]))
    with autocast("auto", device):
        embedded = tower(tokenizer.prepare(stored, signal).to(device))
    return F.normalize(embedded.float(), dim=-1).cpu().numpy()


class _Perceived:
    """What is kept of every sample once it was embedded: a few vectors, and not its signal."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.described: list[dict[str, Any]] = []
        self.embeddings: list[np.ndarray] = []
        self.images: list[np.ndarray] = []
        self.taught: list[np.ndarray] = []
        # Views of one object share its captions: a caption is one item of the gallery.
        self.texts: dict[str, np.ndarray] = {}

    def add(self, samples: list[Sample], embeddings: np.ndarray) -> None:
        self.embeddings.append(embeddings)
        for sample in samples:
            described = json.loads(sample["json"])
            self.keys.append(sample["__key__"])
            self.described.append(described)
            for kind, means in (("image", self.images), ("teacher", self.taught)):
                file = targets_file(kind)
                if file in sample and len(found := _decoded(sample[file])):
                    means.append(unit(found.mean(0)))
            texts = _decoded(sample[targets_file("text")])
            self.texts.update(zip(described["captions"], texts, strict=True))

    def evaluated(self) -> Evaluated:
        number = {caption: place for place, caption in enumerate(self.texts)}
        captions = [one["captions"] for one in self.described]
        return Evaluated(
            keys=self.keys,
            names=[one["name"] for one in self.described],
            labels=[one["label"] for one in self.described],
            groups=[one["group"] for one in self.described],
            embeddings=np.concatenate(self.embeddings),
            images=self._of_all(self.images),
            taught=self._of_all(self.taught),
            texts=np.stack(list(self.texts.values())) if all(captions) else None,
            described_by=[[number[caption] for caption in dict.fromkeys(own)] for own in captions],
        )

    def _of_all(self, means: list[np.ndarray]) -> np.ndarray | None:
        """[B, E], or None if a sample has none."""
        return np.stack(means) if len(means) == len(self.keys) else None


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., E] at unit norm."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _decoded(data: bytes) -> np.ndarray:
    return decode_array(data).astype(np.float32)


def _recalls(
    queries: np.ndarray, gallery: np.ndarray, relevant: list[list[int]], sure: dict
) -> dict:
    found = metrics.retrieval(queries, gallery, relevant, **sure)
    values = {name: interval.value for name, interval in found.items()}
    return {**values, "ci95": {n: [i.low, i.high] for n, i in found.items()}}
