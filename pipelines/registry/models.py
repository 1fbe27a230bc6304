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
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from pipelines.evaluation.result import read_result
from pipelines.registry import links, own_store, signing, writes
from pipelines.registry.gates.base import GateResult, summed_up, tier_outcomes
from pipelines.registry.own_store import tracking_uri
from pipelines.registry.server import connect, experiment, is_served
from pipelines.registry.tracking import (
    DIGEST_TAG,
    EVALUATION_TAG,
    NOTE_TAG,
    EvaluatedLens,
    record,
)
from pipelines.registry.version import (
    CHALLENGER,
    CHAMPION,
    GATES_SIGNATURE_TAG,
    RESULTS_TAG,
    SETTINGS_TAG,
    SIGNATURE_TAG,
    ModelVersion,
    class_tags,
    stated_version,
)
from pipelines.store.artifacts import Artifact, digest
from pipelines.store.files import made_once
from pipelines.store.home import Home
from pipelines.store.locks import alone
from pipelines.store.text import redacted
from vitlens_core.digests import check_digests
from vitlens_core.errors import ConfigError, IntegrityError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

# Where the files of a server's models may lie; nowhere on this machine.
_REMOTE = ("mlflow-artifacts", "s3", "gs", "abfss", "wasbs", "hdfs")
_DESCRIPTION = """\
Lenses that let a frozen vision-language model perceive {0}. `champion` is the version that
consumers load:

    vitlens_core.load("models:/{1}@champion")
    mlflow.pyfunc.load_model("models:/{1}@champion")

Each version has its card; `vitlens lineage {0}` says what it was made of."""
_SOURCE = re.compile(
    # No quotes, since names stand in MLflow's queries.
    r"models:/+(?P<name>[^/@'\"`\\]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]{1,9}))"
)


logger = logging.getLogger(__name__)


def model_name(modality: str) -> str:
    return f"vitlens-{modality}"


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
    with alone(home, f"register-{name}", logger.warning):
        version = registered(client, name, evaluated.fingerprint)
        if version is None:
            version = _register(client, home, name, evaluated)
    if aliases(client, name).get(CHAMPION) != version:
        writes.set_alias(client, name, CHALLENGER, version)
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
        RESULTS_TAG: listed,
        GATES_SIGNATURE_TAG: signing.sign(home, model.gates_statement(results, settings)),
        SETTINGS_TAG: settings,  # last: a kill before it leaves the gates unchecked
    }
    before = client.get_model_version(model.name, version).tags
    for key in before.keys() - tags.keys():
        if key.startswith(("vitlens.gate.", "vitlens.tier.")):
            writes.delete_version_tag(client, model.name, version, key)
            client.delete_tag(model.run_id, key)
    for key, value in tags.items():
        writes.set_version_tag(client, model.name, version, key, value)
        writes.set_run_tag(client, model.run_id, key, value)
    return get(client, model.name, model.version)


def log_report(home: Path, model: ModelVersion, folder: Path) -> None:
    """Log `report.json` and `report.html` of `folder` to the version's run, and link to them."""
    client = connect(home)
    for name in ("report.json", "report.html"):
        client.log_artifact(model.run_id, str(folder / name), links.REPORT_FOLDER)
    links.write(client, model)


def versions(home: Path, modality: str) -> list[ModelVersion]:
    """Return every version of a modality's model, newest first; none before the first run."""
    if own_store.is_own(home) and not own_store.exists(home):
        return []  # connecting would create the database
    client, name = connect(home), model_name(modality)
    by_alias = aliases(client, name)
    known = [stated_version(v, by_alias) for v in client.search_model_versions(f"name = '{name}'")]
    return sorted(known, key=lambda version: version.version, reverse=True)


def by_modality(home: Path, modalities: Sequence[str]) -> dict[str, list[ModelVersion]]:
    """Return the versions of many modalities, newest first, by two questions to the registry."""
    found: dict[str, list[ModelVersion]] = {modality: [] for modality in modalities}
    if own_store.is_own(home) and not own_store.exists(home):
        return found
    client, ours = connect(home), f"name LIKE '{model_name('')}%'"
    held = {model.name: model.aliases for model in client.search_registered_models(ours)}
    modality_of = {model_name(modality): modality for modality in modalities}
    for version in client.search_model_versions(ours):
        if modality := modality_of.get(version.name):
            by_alias = {alias: int(each) for alias, each in held.get(version.name, {}).items()}
            found[modality].append(stated_version(version, by_alias))
    return {m: sorted(of, key=lambda v: v.version, reverse=True) for m, of in found.items()}


def find(source: str, home: Path | None = None) -> ModelVersion:
    """Return the version that a `models:/…` source names now; arguments, errors: `download`."""
    home = home or Home.from_environment().root
    version = _resolve(home, source)
    return stated_version(version, aliases(connect(home), version.name))


def download(source: str, home: Path | None = None) -> Path:
    """Return the local folder of a registered model, for `vitlens_core.load("models:/…")`.

    The registry is $MLFLOW_TRACKING_URI, or else that of `home` (by default $VITLENS_HOME). A
    model on this machine is not copied; a server's is fetched once per version to `models/`.

    Args:
        source: `models:/<name>@<alias>` or `models:/<name>/<version>`.

    Raises:
        ConfigError: a source of another form, or no such model, version or alias.
        IntegrityError: its files are not those that were registered, lie where a registry may not
            point, or (with VITLENS_TRUSTED_KEYS) are not signed by a trusted key.
    """
    home = home or Home.from_environment().root
    version = _resolve(home, source)
    stated = stated_version(version, {})
    folder = _local_folder(home, version)
    if not stated.digest:
        raise IntegrityError(
            f"{source} states no digest of its files; run its workflow again, which registers it"
        )
    check_digests(folder, stated.digest)
    if signing.trusted():
        signed = {"name": stated.name, "digest": stated.digest}
        if doubt := signing.distrust(home, stated.signature, signed):
            raise IntegrityError(f"{source} is refused: {doubt}")
    return folder


def _local_folder(home: Path, version: MlflowVersion) -> Path:
    """Return the files of a version on this machine; a server's are fetched once."""
    from mlflow import artifacts

    if own_store.is_own(home):
        return _in_home(home, version)
    place = str(version.source)
    scheme = place.partition(":")[0].lower() if ":" in place else ""
    if not is_served(home) and scheme in ("file", ""):
        return Path(artifacts.download_artifacts(artifact_uri=place))
    if scheme not in _REMOTE:
        raise IntegrityError(
            f"{version.name} version {version.version} lies at {redacted(place)[:200]}; expected "
            f"one of {', '.join(_REMOTE)}: a registry must not choose files of this machine"
        )
    uri = tracking_uri(home)
    # Hashed: what a registry says must not decide where files are written.
    identity = digest([redacted(uri), version.name, version.version, version.run_id, place])
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", version.name)[:60]
    kept = home / "models" / f"{readable}-{identity[:24]}"

    def fetched(scratch: Path) -> Path:
        path = artifacts.download_artifacts(
            artifact_uri=place, dst_path=str(scratch), tracking_uri=uri
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
    uri = redacted(tracking_uri(home))
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


def _register(client: MlflowClient, home: Path, name: str, evaluated: EvaluatedLens) -> int:
    owner = signing.public_key(home)
    model, files_digest = record(client, experiment(client, home), evaluated, owner)
    classes = read_result(evaluated.artifacts["evaluation"]).classes
    tags = {EVALUATION_TAG: evaluated.fingerprint, **class_tags(classes)}
    card = client.get_run(str(model.source_run_id)).data.tags.get(NOTE_TAG, "")
    return create_version(client, home, name, model, files_digest, tags, card)


def create_version(
    client: MlflowClient,
    home: Path,
    name: str,
    model: LoggedModel,
    files_digest: str,
    tags: Mapping[str, str],
    card: str,
) -> int:
    """Make a signed version of a logged model, and the registered model if it is the first one.

    Args:
        files_digest: of the model's files (`vitlens_core.digests`).
        tags: with the evaluation's fingerprint.
        card: the model card, which the page of the version shows.
    """
    modality = name.removeprefix("vitlens-")
    writes.make_model(client, name, _DESCRIPTION.format(modality, name))
    created = writes.make_version(
        client,
        name,
        {
            **tags,
            DIGEST_TAG: files_digest,
            SIGNATURE_TAG: signing.sign(home, {"name": name, "digest": files_digest}),
        },
        # Not models:/<id>, which a database store resolves with MLflow's *global* tracking URI.
        source=model.artifact_location,
        run_id=model.source_run_id,
        model_id=model.model_id,
        description=card,
    )
    first = registered(client, name, tags[EVALUATION_TAG]) or int(created.version)
    if first != int(created.version):  # another home registered the same evaluation meanwhile
        client.delete_model_version(name, created.version)
        client.delete_run(str(model.source_run_id))
    return first


def registered(client: MlflowClient, name: str, fingerprint: str) -> int | None:
    """Return the version of an evaluation that was registered before, if there is one."""
    query = f"name = '{name}' and tags.`{EVALUATION_TAG}` = '{fingerprint}'"
    found = [int(version.version) for version in client.search_model_versions(query)]
    return min(found, default=None)


def aliases(client: MlflowClient, name: str) -> dict[str, int]:
    """Return the version of each alias of a model; empty if the model does not exist."""
    models = client.search_registered_models(f"name = '{name}'")
    return {alias: int(version) for m in models for alias, version in m.aliases.items()}


def get(client: MlflowClient, name: str, version: int) -> ModelVersion:
    """Return a version with its present state (`ConfigError`: no such version)."""
    query = f"name = '{name}' and version_number = {version}"
    for match in client.search_model_versions(query):
        return stated_version(match, aliases(client, name))
    raise ConfigError(f"{name} has no version {version}; `vitlens status` lists the versions")
