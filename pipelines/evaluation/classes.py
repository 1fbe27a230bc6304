"""classes: the classes that signals are compared with, by words or by training pictures.

Axes: K classes, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipelines.evaluation.embedding import class_embeddings, labelled, unit
from pipelines.evaluation.result import ClassesBy
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import targets_file
from pipelines.targets.stored import decode_targets
from vitlens_core.errors import ConfigError
from vitlens_core.foundation.base import Foundation
from vitlens_core.prototypes import Prototypes


@dataclass(frozen=True)
class Classes:
    """The classes that samples are compared with."""

    names: list[str]
    embeddings: np.ndarray  # [K, E]
    by: ClassesBy = "words"


def classes_of(
    encoder: Foundation,
    prototypes: Prototypes | None,
    names: list[str],
    templates: tuple[str, ...],
) -> Classes:
    """Embed classes with their prompts, or take their prototypes if the foundation has no words.

    Raises:
        ConfigError: there are neither words nor a prototype for a class.
    """
    if encoder.has_text:
        return Classes(names, class_embeddings(encoder, names, templates))
    if prototypes is None:
        raise ConfigError(
            f"foundation {encoder.spec} has no text tower, and there are no prototypes of classes: "
            "nothing stands for a class"
        )
    return Classes(names, prototypes.of(names).numpy(), "prototypes")


def prototypes_of(targets: Artifact) -> Prototypes:
    """Average the image targets of the training samples of each class, of which each counts once.

    Raises:
        ConfigError: no training sample has both a label and a picture.
    """
    sums: dict[str, np.ndarray] = {}
    image = targets_file("image")
    for path in targets.shards("train"):
        for sample, info in labelled(targets.read(path, only=("json", image))):
            own = decode_targets(sample[image])
            if len(own):
                label = info.label or ""
                sums[label] = sums.get(label, 0) + unit(own.mean(0).astype(np.float64))
    if not sums:
        raise ConfigError(
            "the foundation has no text tower, and no training sample has a label and a picture: "
            "nothing stands for a class. Choose a foundation with words (CLIP, SigLIP, OWL-ViT or "
            "OWLv2), or label training samples that have pictures"
        )
    names: Sequence[str] = sorted(sums)
    means = unit(np.stack([sums[name] for name in names])).astype(np.float32)
    return Prototypes(tuple(names), torch.from_numpy(means))
