"""models: registers evaluated lenses as versions of a model, with their lineage.

Reads     finished artifacts and the results of their gates.
Writes    MLflow: per evaluated lens one run (params, figures, curves, lineage, report) and
          one version of `vitlens-<modality>`, tagged with each tier and gate; by default in
          `<home>/mlflow.db` and `<home>/mlartifacts`, with MLFLOW_TRACKING_URI on that server.
Promises  an evaluation is registered once; aliases are the only state of a version:
          challenger  the latest registered lens, until it is promoted or replaced
          champion    the lens that consumers load
          previous    the champion before the present one
          `promotion` moves the last two.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from pipelines.evaluation.result import read_result
from pipelines.registry import own_store, server
from pipelines.registry.gates.base import GateResult, all_passed, summed_up, tier_outcomes
from pipelines.registry.tracking import EVALUATION_TAG, MAX_TAG, EvaluatedLens, record
from pipelines.store.artifacts import Artifact
from pipelines.store.files import made_once
from pipelines.store.home import Home
from vitlens_core.errors import ConfigError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
EXPERIMENT = "vitlens"
CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
_RESULTS_TAG, _SETTINGS_TAG = "vitlens.gates.results", "vitlens.gates.settings"
_CLASSES_TAG = "vitlens.classes."
_SOURCE = re.compile(r"models:/+(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model, with its present state in the registry."""

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    evaluation: str  # fingerprint of the evaluation that was registered
    gates: tuple[GateResult, ...]  # results; empty before the gates are checked
    gate_settings: str  # digest of the gates' settings, `/`, and the champion compared with
    created_at: datetime
    classes: tuple[str, ...] = ()  # that it was evaluated on, sorted

    @property
    def gates_passed(self) -> bool:
        """Whether its gates were checked and none failed."""
        return bool(self.gates) and all_passed(self.gates)

    @property
    def uri(self) -> str:
        """The URI for `mlflow.pyfunc.load_model`."""
        return f"models:/{self.name}/{self.version}"


def model_name(modality: str) -> str:
    return f"vitlens-{modality}"


def connect(home: Path) -> MlflowClient:
    """Return a client of the tracking server, or of `home`'s own store, which is made if needed."""
    # Before the import: MLflow reads these variables while it is imported.
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    address = own_store.tracking_uri(home)
    if not own_store.is_own(home):
        server.require_answer(address)
        return mlflow.MlflowClient(tracking_uri=address)
    with own_store.opening(home):
        client = mlflow.MlflowClient(tracking_uri=address)
        client.search_registered_models(max_results=1)  # MLflow makes the tables at a first use
    return client


def experiment(client: MlflowClient, home: Path, name: str = EXPERIMENT) -> str:
    """Return the id of an experiment, which is created if needed."""
    from mlflow.exceptions import MlflowException

    if existing := client.get_experiment_by_name(name):
        return existing.experiment_id
    served = own_store.tracking_uri(home).startswith(("http://", "https://"))
    # Without a server MLflow would write files to ./mlruns of the working directory.
    location = None if served else own_store.files_uri(home)
    try:
        return client.create_experiment(name, artifact_location=location)
    except MlflowException:
        if existing := client.get_experiment_by_name(name):  # another process was faster
            return existing.experiment_id
        raise


def register_challenger(
    home: Path,
    modality: str,
    config: BaseModel | Mapping[str, object],
    artifacts: Mapping[str, Artifact],
) -> ModelVersion:
    """Log an evaluated lens as a run, register it, and give it the alias `challenger`.

    An evaluation that was registered before keeps its version. A version that is champion does
    not become challenger again.

    Args:
        config: all settings of the run; they become the run's params.
        artifacts: by step, with foundation, lens and evaluation; they are the lineage.
    """
    client, name = connect(home), model_name(modality)
    evaluated = EvaluatedLens(modality, config, artifacts)
    version = registered(client, name, evaluated.fingerprint)
    if version is None:
        version = _register(client, experiment(client, home), name, evaluated)
    if aliases(client, name).get(CHAMPION) != version:
        client.set_registered_model_alias(name, CHALLENGER, str(version))
    return get(client, name, version)


def state_gates(
    home: Path, model: ModelVersion, results: Sequence[GateResult], settings: str
) -> ModelVersion:
    """Tag a version and its run with the results of its gates; they replace earlier results.

    Args:
        settings: digest of the gates' settings, by which outdated results are recognised.
    """
    client, version = connect(home), str(model.version)
    listed = json.dumps([result.model_dump() for result in results])
    tags = {
        "vitlens.gates": summed_up(results),
        **{f"vitlens.tier.{tier}": outcome for tier, outcome in tier_outcomes(results).items()},
        **{f"vitlens.gate.{r.name}": f"{r.outcome}: {r.reason}" for r in results},
        _RESULTS_TAG: listed,
        _SETTINGS_TAG: settings,  # last: a kill before it leaves the gates unchecked
    }
    before = client.get_model_version(model.name, version).tags
    for key in before.keys() - tags.keys():
        if key.startswith(("vitlens.gate.", "vitlens.tier.")):
            client.delete_model_version_tag(model.name, version, key)
            client.delete_tag(model.run_id, key)
    for key, value in tags.items():
        client.set_model_version_tag(model.name, version, key, value)
        client.set_tag(model.run_id, key, value)
    return get(client, model.name, model.version)


def log_report(home: Path, model: ModelVersion, folder: Path) -> None:
    """Log `report.json` and `report.html` of `folder` to the version's run."""
    client = connect(home)
    for name in ("report.json", "report.html"):
        client.log_artifact(model.run_id, str(folder / name), "report")


def versions(home: Path, modality: str) -> list[ModelVersion]:
    """Return every version of a modality's model, newest first; none before the first run."""
    if own_store.is_own(home) and not own_store.exists(home):
        return []  # connecting would create the database
    client, name = connect(home), model_name(modality)
    by_alias = aliases(client, name)
    known = [_stated(v, by_alias) for v in client.search_model_versions(f"name = '{name}'")]
    return sorted(known, key=lambda version: version.version, reverse=True)


def find(source: str, home: Path | None = None) -> ModelVersion:
    """Return the version that a `models:/…` source names now; arguments, errors: `download`."""
    home = home or Home.from_environment().root
    version = _resolve(home, source)
    return _stated(version, aliases(connect(home), version.name))


def download(source: str, home: Path | None = None) -> Path:
    """Return the local folder of a registered model, for `vitlens_core.load("models:/…")`.

    The registry is $MLFLOW_TRACKING_URI, or else that of `home` (by default $VITLENS_HOME). A
    model on this machine is not copied; a server's is fetched once per version to `models/`.

    Args:
        source: `models:/<name>@<alias>` or `models:/<name>/<version>`.

    Raises:
        ConfigError: a source of another form, or no such model, version or alias.
    """
    from mlflow import artifacts

    home = home or Home.from_environment().root
    version = _resolve(home, source)
    if own_store.is_own(home):
        return _in_home(home, version)
    if str(version.source).startswith(("file:", "/")):
        return Path(artifacts.download_artifacts(artifact_uri=version.source))
    kept = home / "models" / version.name / f"{version.version}-{version.run_id}"

    def fetched(scratch: Path) -> Path:
        path = artifacts.download_artifacts(
            artifact_uri=version.source,
            dst_path=str(scratch),
            tracking_uri=own_store.tracking_uri(home),
        )
        return Path(path)

    return made_once(kept, fetched)


def _in_home(home: Path, version: MlflowVersion) -> Path:
    """Return the folder of a model of the home's own registry."""
    folder = own_store.place(home, str(version.source))
    if folder.is_dir():
        return folder
    raise ConfigError(
        f"the registry of {home} lists {version.name} version {version.version}, but its files are "
        f"not at {folder}; a home is moved or copied as a whole, with its {own_store.FILES}/"
    )


def _resolve(home: Path, source: str) -> MlflowVersion:
    """Return the version that a `models:/…` source names now."""
    parts = _SOURCE.fullmatch(source)
    if parts is None:
        raise ConfigError(
            f"expected models:/<name>@<alias> or models:/<name>/<version>, found {source!r}"
        )
    uri = own_store.tracking_uri(home)
    if own_store.is_own(home) and not own_store.exists(home):
        raise ConfigError(
            f"{source}: no registry at {uri}; set MLFLOW_TRACKING_URI, or VITLENS_HOME to the "
            "folder of a finished run"
        )
    client, name = connect(home), parts["name"]
    by_number = {int(v.version): v for v in client.search_model_versions(f"name = '{name}'")}
    by_alias = aliases(client, name)
    version = by_alias.get(parts["alias"]) if parts["alias"] else int(parts["version"])
    if version not in by_number:
        known = [f"/{number}" for number in sorted(by_number)]
        known += [f"@{alias}" for alias in by_alias]
        raise ConfigError(
            f"{source} is not in the registry at {uri}; "
            + (f"{name} has {', '.join(known)}" if by_number else f"there is no {name}")
        )
    return by_number[version]


def _register(client: MlflowClient, experiment_id: str, name: str, evaluated: EvaluatedLens) -> int:
    model = record(client, experiment_id, evaluated)
    classes = read_result(evaluated.artifacts["evaluation"]).classes
    tags = {EVALUATION_TAG: evaluated.fingerprint, **_class_tags(classes)}
    return create_version(client, name, model, tags)


def create_version(
    client: MlflowClient, name: str, model: LoggedModel, tags: Mapping[str, str]
) -> int:
    """Make a version of a logged model, and the registered model if it is the first one."""
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    created = client.create_model_version(
        name,
        # Not models:/<id>, which a database store resolves with MLflow's *global* tracking URI.
        source=model.artifact_location,
        run_id=model.source_run_id,
        model_id=model.model_id,
        tags=dict(tags),
    )
    return int(created.version)


def registered(client: MlflowClient, name: str, fingerprint: str) -> int | None:
    """Return the version of an evaluation that was registered before, if there is one."""
    query = f"name = '{name}' and tags.`{EVALUATION_TAG}` = '{fingerprint}'"
    versions = client.search_model_versions(query)
    return int(versions[0].version) if versions else None


def aliases(client: MlflowClient, name: str) -> dict[str, int]:
    """Return the version of each alias of a model; empty if the model does not exist."""
    models = client.search_registered_models(f"name = '{name}'")
    return {alias: int(version) for m in models for alias, version in m.aliases.items()}


def get(client: MlflowClient, name: str, version: int) -> ModelVersion:
    """Return a version with its present state (`ConfigError`: no such version)."""
    query = f"name = '{name}' and version_number = {version}"
    for match in client.search_model_versions(query):
        return _stated(match, aliases(client, name))
    raise ConfigError(f"{name} has no version {version}; `vitlens status` lists the versions")


def _class_tags(classes: Sequence[str]) -> dict[str, str]:
    """Return tags with the sorted names of classes, as many as MLflow lets a tag hold in each."""
    tags: dict[str, str] = {}
    lines = ""
    for name in sorted(classes):
        if len(lines) + len(name) >= MAX_TAG:
            tags[f"{_CLASSES_TAG}{len(tags):04d}"], lines = lines, ""
        lines += f"{name}\n"
    return tags | {f"{_CLASSES_TAG}{len(tags):04d}": lines}


def _classes(tags: Mapping[str, str]) -> tuple[str, ...]:
    parts = sorted(key for key in tags if key.startswith(_CLASSES_TAG))
    return tuple("".join(tags[key] for key in parts).splitlines())


def _stated(source: MlflowVersion, by_alias: Mapping[str, int]) -> ModelVersion:
    version = int(source.version)
    return ModelVersion(
        name=source.name,
        version=version,
        aliases=tuple(sorted(alias for alias, holder in by_alias.items() if holder == version)),
        run_id=source.run_id or "",
        evaluation=source.tags.get(EVALUATION_TAG, ""),
        gates=tuple(GateResult(**r) for r in json.loads(source.tags.get(_RESULTS_TAG, "[]"))),
        gate_settings=source.tags.get(_SETTINGS_TAG, ""),
        created_at=datetime.fromtimestamp(source.creation_timestamp / 1000, UTC),
        classes=_classes(source.tags),
    )
