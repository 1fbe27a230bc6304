"""facts: the content of `report.json`, which the page shows too."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from pipelines.registry.gates.base import GateResult
from pipelines.registry.models import ModelVersion
from pipelines.report import curves
from pipelines.store.artifacts import Artifact
from vitlens_core.model_files import FOUNDATION_FILE


@dataclass(frozen=True)
class Run:
    """What there is to report: `artifacts` by step, up to `evaluation`."""

    config: BaseModel | Mapping[str, Any]
    artifacts: Mapping[str, Artifact]
    gates: Sequence[GateResult]
    model: ModelVersion | None
    profile: str | None

    def read(self, step: str, name: str) -> Any:
        return self.artifacts[step].read_json(name)


def collect(run: Run) -> dict[str, Any]:
    """`report.json`: the evaluation's figures and everything around them.

    The confusion matrix stays in the evaluation's `metrics.json`: it grows with the square
    of the classes. A figure that is not finite becomes null.
    """
    metrics = run.read("evaluation", "metrics.json")
    quarantined = [q for artifact in run.artifacts.values() for q in artifact.manifest.quarantined]
    settings = (
        run.config.model_dump(mode="json") if isinstance(run.config, BaseModel) else run.config
    )
    facts = {
        **{key: value for key, value in metrics.items() if key != "confusion"},
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "profile": run.profile,
        "samples_are": _samples_are(run),
        "is_generated": _is_generated(run),
        "objects": {
            "ok": run.artifacts["shards"].manifest.counts["samples"],
            "quarantined": len(quarantined),
        },
        "quarantined": [q.model_dump() for q in quarantined],
        "gates": [{**gate.model_dump(), "outcome": gate.outcome} for gate in run.gates],
        "model": _model(run.model),
        "seconds": {step: artifact.manifest.seconds for step, artifact in run.artifacts.items()},
        "reused": [step for step, artifact in run.artifacts.items() if artifact.reused],
        "training": curves.summary(run.read("lens", "curves.json")),
        "foundation": run.read("foundation", FOUNDATION_FILE),
        "fingerprints": {step: a.fingerprint for step, a in run.artifacts.items()},
        "config": settings,
    }
    return _finite(facts)


def _samples_are(run: Run) -> str:
    """What a sample is: an object or one view of it, or whatever the data set holds."""
    if "objects" not in run.artifacts:
        return "samples"
    made, shown = (run.artifacts[step].manifest.counts["samples"] for step in ("renders", "shards"))
    return "objects" if made == shown else "views"


def _is_generated(run: Run) -> bool:
    """Whether the recordings are made up, which every figure must say."""
    source = run.artifacts.get("source")
    return source is not None and source.manifest.config["generated"]


def _model(model: ModelVersion | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return {"name": model.name, "version": model.version, "aliases": list(model.aliases)}


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
