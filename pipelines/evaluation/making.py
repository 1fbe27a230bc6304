"""making: embeds the held-out split and scores it."""

from __future__ import annotations

import numpy as np

from pipelines.evaluation import calibration
from pipelines.evaluation.classes import Classes, classes_of, prototypes_of
from pipelines.evaluation.embedding import EmbeddedSplit, embed_split, has_labels
from pipelines.evaluation.result import (
    METRICS_FILE,
    PREDICTIONS_FILE,
    Calibration,
    Predictions,
    Supervision,
)
from pipelines.evaluation.scoring import bootstrap_of, predict, score
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import open_foundation, open_lens
from pipelines.lens.settings import TrainConfig
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_model
from vitlens_core import modalities
from vitlens_core.model_files import CALIBRATION_FILE, LENS_FILE, PROTOTYPES_FILE
from vitlens_core.models.tower import Tower
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.prototypes import encode_prototypes


def make(
    runtime: Runtime,
    build: Build,
    config: EvaluationConfig,
    targets: Artifact,
    foundation: Artifact,
    lens: Artifact,
) -> Artifact:
    """Embed the split with the lens and score it (errors: `job.run`)."""
    encoder = open_foundation(foundation).to(runtime.resources.device)
    tower, settings = open_lens(lens, LENS_FILE, encoder)
    teachers = read_info(foundation).teachers
    split = embed_split(runtime, config, targets, tower, settings, teachers)
    templates = modalities.load(settings.modality).templates
    prototypes = None if encoder.has_text else prototypes_of(targets)
    classes = classes_of(encoder, prototypes, split.class_names, templates)
    fitted = _calibration(runtime, config, targets, tower, settings, split, classes)
    supervision = _supervision(lens, foundation)
    result = score(settings.modality, config, split, classes, supervision, fitted)
    stated = {METRICS_FILE: result, PREDICTIONS_FILE: Predictions(predict(split, classes))}
    if fitted:
        stated[CALIBRATION_FILE] = fitted
    files = [write_atomic(build.folder / name, encode_model(m)) for name, m in stated.items()]
    if prototypes:
        data = encode_prototypes(prototypes)
        files.append(write_atomic(build.folder / PROTOTYPES_FILE, data))
    return build.commit(files, counts={"samples": len(split.keys), "classes": len(classes.names)})


def _supervision(lens: Artifact, foundation: Artifact) -> Supervision:
    """Return the weights of the targets that a lens was trained against."""
    train = TrainConfig.model_validate(lens.manifest.config["train"])
    return Supervision.model_validate(train.weights(read_info(foundation).teachers))


def _calibration(
    runtime: Runtime,
    config: EvaluationConfig,
    targets: Artifact,
    tower: Tower,
    settings: TowerSettings,
    held_out: EmbeddedSplit,
    classes: Classes,
) -> Calibration | None:
    """Fit a calibration on the validation samples of the held-out classes, if they suffice."""
    if config.split == "val" or not has_labels(targets, "val"):
        return None
    of_validation = config.model_copy(update={"split": "val"})
    validation = embed_split(runtime, of_validation, targets, tower, settings)
    known = np.array([label in classes.names for label in validation.labels])
    label_ids = [classes.names.index(label) for label in np.array(validation.labels)[known]]
    return calibration.fit(
        (validation.embeddings[known] @ classes.embeddings.T, np.array(label_ids, dtype=int)),
        (held_out.embeddings @ classes.embeddings.T, held_out.label_ids(classes.names)),
        1 / tower.log_scale.exp().item(),
        bootstrap_of(config, held_out),
    )
