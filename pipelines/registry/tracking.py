"""tracking: logs an evaluated lens as one MLflow run, which may begin with its training.

Reads     the artifacts of a run of the flow.
Writes    an MLflow run: params (the config), figures, training curves, tags (fingerprints,
          foundation, code revision), and the loadable lens as its logged model.
Promises  MLflow's global state is never touched: two homes can be used from one process.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

import vitlens_core
from pipelines.execution.logger import Training
from pipelines.foundation.info import read_info
from pipelines.registry import writes
from pipelines.registry.figures import log_figures
from pipelines.registry.package import save_model
from pipelines.registry.server import EXPERIMENT
from pipelines.store.artifacts import Artifact
from pipelines.store.text import redacted
from vitlens_core.model_files import CARD_FILE
from vitlens_core.scratch import Scratch

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run

EVALUATION_TAG = "vitlens.evaluation"
FINGERPRINT_TAG = "vitlens.fingerprint."  # followed by the name of a step
FAILURE_TAG = "vitlens.failure"
DIGEST_TAG = "vitlens.digest"  # of the files of a version
_OWNER_TAG = "vitlens.home"  # public key of the home that registers or registered
USER, _ACCOUNT = "VITLENS_USER", "MLFLOW_TRACKING_USERNAME"
REVISION = "VITLENS_CODE_REVISION"  # set by the image, which holds no git
MODALITY_TAG, _REVISION_TAG = "vitlens.modality", "vitlens.code_revision"
_LENS_TAG = f"{FINGERPRINT_TAG}lens"
# MLflow's own tags, which its pages show.
NOTE_TAG, _USER_TAG = "mlflow.note.content", "mlflow.user"
_SOURCE_TAG, _COMMIT_TAG = "mlflow.source.name", "mlflow.source.git.commit"
MAX_TAG = 5000  # limit of MLflow's tags, in characters
_BATCH_PARAMS, _MAX_PARAM = 100, 6000  # limits of MLflow's log_batch


@dataclass(frozen=True)
class EvaluatedLens:
    """A lens to record: `artifacts` by step, with lens, evaluation and foundation."""

    modality: str
    config: BaseModel | Mapping[str, object]
    artifacts: Mapping[str, Artifact]

    @property
    def fingerprint(self) -> str:
        """The identity of the evaluation, and so of the run."""
        return self.artifacts["evaluation"].fingerprint


def record(
    client: MlflowClient, experiment_id: str, evaluated: EvaluatedLens, owner: str
) -> tuple[LoggedModel, str]:
    """Log everything, and return the logged model and the digest of its files.

    The run is that of the lens's training, unless another evaluation of the lens has taken it.
    Runs that a killed or failed registration of the same evaluation by the same home left are
    deleted; another home may be registering it at this moment.

    Args:
        owner: public key of the home, which registers one evaluation at a time.
    """
    same = f"tags.`{EVALUATION_TAG}` = '{evaluated.fingerprint}'"
    same += f" and tags.`{_OWNER_TAG}` = '{owner}'"
    for leftover in client.search_runs([experiment_id], same):
        client.delete_run(leftover.info.run_id)
    name = f"{evaluated.modality}-{evaluated.fingerprint[:8]}"
    run_tags = {**tags(evaluated), _OWNER_TAG: owner}
    if begun := _run_of_training(client, experiment_id, run_tags[_LENS_TAG]):
        run_id = begun.info.run_id
        client.update_run(run_id, status="RUNNING", name=name)
        for key, value in run_tags.items():
            writes.set_run_tag(client, run_id, key, value)
    else:
        # The run began with its first step, long before it is registered.
        took_s = sum(artifact.manifest.seconds for artifact in evaluated.artifacts.values())
        run = client.create_run(
            experiment_id,
            start_time=int((time.time() - took_s) * 1000),
            run_name=name,
            tags=run_tags,
        )
        run_id = run.info.run_id
    status = "FAILED"
    try:
        log_params(client, run_id, evaluated.config)
        log_figures(client, run_id, evaluated.artifacts)
        logged = _log_model(client, experiment_id, run_id, evaluated)
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)
    return logged


def start_training(client: MlflowClient, experiment_id: str, training: Training) -> str:
    """Return the id of the run for a lens's training: a new run, or that of a killed training."""
    if begun := _run_of_training(client, experiment_id, training.fingerprint):
        client.update_run(begun.info.run_id, status="RUNNING")
        if FAILURE_TAG in begun.data.tags:
            client.delete_tag(begun.info.run_id, FAILURE_TAG)
        return begun.info.run_id
    revision = code_revision()
    run_tags = {MODALITY_TAG: training.modality, _LENS_TAG: training.fingerprint}
    run_tags |= _origin(training.modality, revision)
    name = f"{training.modality}-lens-{training.fingerprint[:8]}"
    run_id = client.create_run(experiment_id, run_name=name, tags=run_tags).info.run_id
    log_params(client, run_id, training.config)
    return run_id


def end_training(client: MlflowClient, run_id: str, error: BaseException | None) -> None:
    """Close the run of a training; registering the lens opens it again."""
    if error is None:
        client.set_terminated(run_id, "FINISHED")
        return
    writes.set_run_tag(
        client, run_id, FAILURE_TAG, redacted(f"{type(error).__name__}: {error}")[:MAX_TAG]
    )
    client.set_terminated(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")


def _run_of_training(client: MlflowClient, experiment_id: str, lens: str) -> Run | None:
    """Return the run of a lens's training, unless an evaluation has taken it."""
    runs = client.search_runs([experiment_id], f"tags.`{_LENS_TAG}` = '{lens}'")
    return next((run for run in runs if EVALUATION_TAG not in run.data.tags), None)


def run_of_lens(client: MlflowClient, lens: str) -> Run | None:
    """Return the latest run of a lens, evaluated or not; None if there is none."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return None
    same = f"tags.`{_LENS_TAG}` = '{lens}'"
    return next(iter(client.search_runs([experiment.experiment_id], same, max_results=1)), None)


def tags(evaluated: EvaluatedLens) -> dict[str, str]:
    """Return the lineage as tags of a run."""
    foundation = read_info(evaluated.artifacts["foundation"])
    revision = code_revision()
    steps = {FINGERPRINT_TAG + s: a.fingerprint for s, a in evaluated.artifacts.items()}
    return {
        MODALITY_TAG: evaluated.modality,
        EVALUATION_TAG: evaluated.fingerprint,
        **steps,
        "vitlens.foundation.spec": foundation.spec,
        "vitlens.foundation.digest": foundation.digest,
        **_origin(evaluated.modality, revision),
    }


def _origin(modality: str, revision: str | None) -> dict[str, str]:
    """Return the tags that say who made a run, with what."""
    origin = {_USER_TAG: user(), _SOURCE_TAG: f"vitlens run {modality}"}
    origin |= {"mlflow.source.type": "LOCAL"}
    return origin | ({_REVISION_TAG: revision, _COMMIT_TAG: revision} if revision else {})


def user() -> str:
    """Return who acts: $VITLENS_USER, or else the account of the tracking server or the login.

    The account comes second: several people and all runs of a server may share one.
    """
    if stated := os.environ.get(USER) or os.environ.get(_ACCOUNT):
        return stated
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return f"user {os.getuid()}"


@contextmanager
def acting(name: str) -> Generator[None]:
    """Let `user` name somebody in the block, also in processes that it starts."""
    before = os.environ.get(USER)
    os.environ[USER] = name
    try:
        yield
    finally:
        os.environ.pop(USER)
        if before is not None:
            os.environ[USER] = before


def code_revision() -> str | None:
    """Return the commit of this checkout, with `-dirty` if changed.

    Outside of git it is that of the image ($VITLENS_CODE_REVISION), or None.
    """
    root = Path(vitlens_core.__file__).parents[1]
    if not (root / ".git").exists():
        return os.environ.get(REVISION) or None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git here, or nothing committed yet
        return None
    return described.stdout.strip()


def flatten(config: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield settings by dotted path; a list is one value."""
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from flatten(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, redacted(str(config))


def log_params(client: MlflowClient, run_id: str, config: BaseModel | Mapping[str, object]) -> None:
    """Log every setting by dotted path."""
    from mlflow.entities import Param

    settings = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
    params = [Param(key, value[:_MAX_PARAM]) for key, value in flatten(settings)]
    for start in range(0, len(params), _BATCH_PARAMS):
        client.log_batch(run_id, params=params[start : start + _BATCH_PARAMS])


def description(card: Path) -> str:
    """Return a model card without its metadata, as MLflow's pages show it."""
    text = card.read_text()
    body = text.split("---\n", 2)[-1] if text.startswith("---\n") else text
    return body.strip()[:MAX_TAG]


def _log_model(
    client: MlflowClient, experiment_id: str, run_id: str, evaluated: EvaluatedLens
) -> tuple[LoggedModel, str]:
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(
        experiment_id, name=f"vitlens-{evaluated.modality}", source_run_id=run_id
    )
    with Scratch("model") as folder:
        digest = save_model(Path(folder, "model"), evaluated.artifacts, run_id, model.model_id)
        client.log_model_artifacts(model.model_id, str(Path(folder, "model")))
        described = description(Path(folder, "model", "artifacts", CARD_FILE))
    writes.set_run_tag(client, run_id, NOTE_TAG, described)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, "READY"), digest
