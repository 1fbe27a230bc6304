"""other_lens: classifies this run's held-out samples with a lens of another run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.evaluation.classes import classes_of
from pipelines.evaluation.embedding import embed_split
from pipelines.evaluation.scoring import hits
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.store.artifacts import Artifact
from vitlens_core import modalities
from vitlens_core.api.lenses import open_foundation
from vitlens_core.checkpoint import load_lens
from vitlens_core.model_files import PROTOTYPES_FILE
from vitlens_core.prototypes import load_prototypes
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
        ConfigError: its foundation has neither words nor prototypes for a class.
        InputError: the samples have signals that the lens does not take.
    """
    lens = locate(folder)
    foundation = open_foundation(lens.parent)
    tower, settings = load_lens(lens, foundation)
    embedded = embed_split(runtime, split, targets, tower, settings)
    beside = lens.with_name(PROTOTYPES_FILE)
    prototypes = load_prototypes(beside, foundation.embed_dim) if beside.is_file() else None
    templates = modalities.load(settings.modality).templates
    classes = classes_of(foundation, prototypes, embedded.class_names, templates)
    return embedded.keys, hits(embedded, classes)
