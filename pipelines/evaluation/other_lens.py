"""other_lens: classifies this run's held-out samples with a lens of another run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.evaluation.embedding import class_embeddings, embed_split
from pipelines.evaluation.scoring import Classes, hits
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.store.artifacts import Artifact
from vitlens_core import modalities
from vitlens_core.api.lenses import open_foundation
from vitlens_core.checkpoint import load_lens
from vitlens_core.sources import locate


def hits_of(
    folder: Path, runtime: Runtime, split: EvaluationConfig, targets: Artifact
) -> tuple[list[str], np.ndarray]:
    """Return the keys of the samples, and bool [B]: whether the lens predicts each one's class.

    Args:
        folder: folder of a registered model.
        split: which samples of the targets are used, and how they are embedded.

    Raises:
        CheckpointError: the folder has no lens, or not its foundation.
        InputError: the samples have signals that the lens does not take.
    """
    lens = locate(folder)
    foundation = open_foundation(lens.parent)
    tower, settings = load_lens(lens, foundation)
    embedded = embed_split(runtime, split, targets, tower, settings)
    names, templates = embedded.class_names, modalities.load(settings.modality).templates
    classes = Classes(names, class_embeddings(foundation, names, templates))
    return embedded.keys, hits(embedded, classes)
