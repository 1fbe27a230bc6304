"""tracking: one evaluated lens as one MLflow run.

Reads     the artifacts of a run of the flow.
Writes    an MLflow run: params (the config), figures, training curves, tags (fingerprints,
          foundation, code revision), and the loadable lens as its logged model.
Promises  MLflow's global state is never touched: two homes can be used from one process.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

import vitlens_core
from pipelines.registry.gates.threshold import figures
from pipelines.store.artifacts import Artifact
from vitlens_core.model_files import FOUNDATION_FILE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Metric

EVALUATION_TAG = "vitlens.evaluation"
FINGERPRINT_TAG = "vitlens.fingerprint."  # and a step's name
_BATCH_METRICS, _BATCH_PARAMS, _MAX_PARAM = 1000, 100, 6000  # limits of MLflow's log_batch


@dataclass(frozen=True)
class EvaluatedLens:
    """What there is to record: `artifacts` by step, with lens, evaluation and foundation."""

    modality: str
    config: BaseModel | Mapping[str, Any]
    artifacts: Mapping[str, Artifact]

    @property
    def fingerprint(self) -> str:
        """Identity of the evaluation, and so of the run."""
        return self.artifacts["evaluation"].fingerprint


def record(client: MlflowClient, experiment_id: str, evaluated: EvaluatedLens) -> LoggedModel:
    """Log everything; the logged model names its run and where its files lie.

    Runs that a killed or failed registration of the same evaluation left are deleted.
    """
    same = f"tags.`{EVALUATION_TAG}` = '{evaluated.fingerprint}'"
    for leftover in client.search_runs([experiment_id], same):
        client.delete_run(leftover.info.run_id)
    name = f"{evaluated.modality}-{evaluated.fingerprint[:8]}"
    run_id = client.create_run(experiment_id, run_name=name, tags=tags(evaluated)).info.run_id
    status = "FAILED"
    try:
        log_params(client, run_id, evaluated.config)
        log_figures(client, run_id, evaluated.artifacts)
        model = _log_model(client, experiment_id, run_id, evaluated)
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)
    return model


def tags(evaluated: EvaluatedLens) -> dict[str, str]:
    """Lineage, as a run carries it."""
    foundation = evaluated.artifacts["foundation"].read_json(FOUNDATION_FILE)
    revision = code_revision()
    steps = {FINGERPRINT_TAG + s: a.fingerprint for s, a in evaluated.artifacts.items()}
    return {
        "vitlens.modality": evaluated.modality,
        EVALUATION_TAG: evaluated.fingerprint,
        **steps,
        "vitlens.foundation.spec": foundation["spec"],
        "vitlens.foundation.digest": foundation["digest"],
        **({"vitlens.code_revision": revision} if revision else {}),
    }


def code_revision() -> str | None:
    """Commit of the checkout this code runs from, `-dirty` if changed; None outside of git."""
    root = Path(vitlens_core.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # no git here, or nothing committed yet
        return None
    return described.stdout.strip()


def flatten(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Settings by dotted path; a list is one value."""
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from flatten(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, str(config)


def log_params(client: MlflowClient, run_id: str, config: BaseModel | Mapping[str, Any]) -> None:
    """Every setting by dotted path."""
    from mlflow.entities import Param

    settings = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
    params = [Param(key, value[:_MAX_PARAM]) for key, value in flatten(settings)]
    for start in range(0, len(params), _BATCH_PARAMS):
        client.log_batch(run_id, params=params[start : start + _BATCH_PARAMS])


def log_figures(client: MlflowClient, run_id: str, artifacts: Mapping[str, Artifact]) -> None:
    """The evaluation's figures, the training curves by step, and seconds per step of the flow."""
    from mlflow.entities import Metric

    now_ms = int(time.time() * 1000)
    curves: dict[str, list[dict[str, float]]] = artifacts["lens"].read_json("curves.json")
    logged: list[Metric] = [
        Metric(f"{part}.{name}", value, now_ms, int(point["step"]))
        for part, points in curves.items()
        for point in points
        for name, value in point.items()
        if name != "step"
    ]
    final = figures(artifacts["evaluation"].read_json("metrics.json"))
    final |= {f"seconds.{step}": a.manifest.seconds for step, a in artifacts.items()}
    logged += [Metric(name, value, now_ms, 0) for name, value in final.items()]
    for start in range(0, len(logged), _BATCH_METRICS):
        client.log_batch(run_id, metrics=logged[start : start + _BATCH_METRICS])


def _log_model(
    client: MlflowClient, experiment_id: str, run_id: str, evaluated: EvaluatedLens
) -> LoggedModel:
    from mlflow.entities import LoggedModelOutput

    # Late: it needs torch, which takes seconds to import, and asking for versions does not.
    from pipelines.registry.package import save_model

    model = client.create_logged_model(
        experiment_id, name=f"vitlens-{evaluated.modality}", source_run_id=run_id
    )
    with tempfile.TemporaryDirectory(prefix="vitlens-model-") as folder:
        save_model(Path(folder, "model"), evaluated.artifacts, run_id, model.model_id)
        client.log_model_artifacts(model.model_id, str(Path(folder, "model")))
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    return client.finalize_logged_model(model.model_id, "READY")
