"""job: trains one connector a seed, on the foundation's image embeddings alone.

Reads     targets and foundation of a version; a language model, whose digest is part of the
          fingerprint. Nothing of a lens.
Writes    connector-<seed>.safetensors   a `Connector`
          training.json                  how each was chosen (`TrainingRecord`)
"""

from __future__ import annotations

from pipelines.connector.figures import TRAINING_FILE, SeedRecord, TrainingRecord
from pipelines.connector.objects import read_objects
from pipelines.connector.settings import STEP_NAME, VERSION, ConnectorConfig
from pipelines.connector.training import Trained, Trainer
from pipelines.execution.runtime import Runtime
from pipelines.foundation.info import read_info
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_model
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.plugins.ask.connector import ConnectorInfo, encode_connector
from vitlens_core.plugins.ask.language import LanguageModel


def run(
    runtime: Runtime,
    config: ConnectorConfig,
    language: LanguageModel,
    targets: Artifact,
    foundation: Artifact,
) -> Artifact:
    """Train the connectors of all seeds.

    Raises:
        ConfigError: training or validation objects have no labels or no images.
    """
    inputs = {"targets": targets, "foundation": foundation}
    build = runtime.store.begin(STEP_NAME, VERSION, config, inputs, language.digest)
    if build.existing:
        return build.existing
    train, val = read_objects(targets, "train"), read_objects(targets, "val")
    trainer = Trainer(config, language, train, val)
    about = read_info(foundation)
    records, files = [], []
    with runtime.progress(STEP_NAME, config.seeds * config.steps, "steps") as bar:
        for seed in range(config.seeds):
            trained, name = trainer.run(seed, bar.advance), f"connector-{seed}.safetensors"
            records.append(
                SeedRecord(seed=seed, file=name, step=trained.step, naming=trained.naming)
            )
            data = encode_connector(trained.connector, _info(about, language, trained, config))
            files.append(write_atomic(build.folder / name, data))
    record = TrainingRecord(ridge=trainer.ridge, seeds=tuple(records))
    files.append(write_atomic(build.folder / TRAINING_FILE, encode_model(record)))
    return build.commit(files, {"samples": len(train.names), "seeds": config.seeds})


def _info(
    about: FoundationInfo, language: LanguageModel, trained: Trained, config: ConnectorConfig
) -> ConnectorInfo:
    linear = trained.connector.linear
    return ConnectorInfo(
        foundation=about.spec,
        foundation_digest=about.digest,
        language_model=language.source,
        language_model_digest=language.digest,
        embed_dim=linear.in_features,
        width=linear.out_features,
        hidden=config.hidden,
    )
