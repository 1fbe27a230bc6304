"""staging: what a registered challenger must pass before it may become champion.

    sanity ─▶ thresholds ─▶ non-inferiority ─▶ benchmarks
    (loads    (held-out     (to the champion,   (of the modality, where
    anywhere)  figures)      same samples)       their data are mounted)

Reads     the registered version, its evaluation and benchmarks, the champion.
Writes    one tag a tier and a gate on the version and its run.
Promises  every gate is held whatever the others say; what was held with the same settings
          against the same champion is not held again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from pipelines.benchmarks.step import STEP, TABLE
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.registry import gates, models, noninferiority, sanity
from pipelines.registry.gates import GateConfig, GateResult
from pipelines.registry.models import CHAMPION, ModelVersion
from pipelines.registry.settings import AcceptanceConfig
from pipelines.store.artifacts import Artifact, digest


class Asked(Protocol):
    """What is asked of a challenger; the settings of a run (`pipelines.config`) have it."""

    @property
    def modality(self) -> str: ...
    @property
    def gates(self) -> Mapping[str, GateConfig]: ...
    @property
    def acceptance(self) -> AcceptanceConfig: ...
    @property
    def evaluation(self) -> EvaluationConfig: ...


def stage(
    runtime: Runtime,
    home: Path,
    config: Asked,
    artifacts: Mapping[str, Artifact],
    model: ModelVersion,
) -> ModelVersion:
    """Hold every gate against a version, and tag it with what was found.

    Args:
        artifacts: by step, those the version was registered with.

    Raises:
        ConfigError: a gate names a figure that does not exist.
    """
    champion = models.champion(home, config.modality)
    settings = settings_digest(config, artifacts["benchmarks"])
    if is_current(model, settings, champion):
        return model
    results = list(_hold(runtime, home, config, artifacts, model, champion))
    against = f"{settings}/{champion.version if champion else 0}"
    return models.state_gates(home, model, results, against)


def settings_digest(config: Asked, measured: Artifact) -> str:
    """Identity of what the gates are told, and of the benchmarks they see.

    By content: a data set that failed and was mended leaves the fingerprint as it was.
    """
    told = {name: gate.model_dump() for name, gate in config.gates.items()}
    table = measured.read_json(TABLE)
    return digest([told, config.acceptance.model_dump(), table])[:16]


def names(gate_names: list[str]) -> list[str]:
    """The gates of a workflow in the order they are held, given those of its YAML."""
    return [sanity.NAME, *gate_names, noninferiority.NAME, STEP.name]


def is_current(model: ModelVersion, settings: str, champion: ModelVersion | None) -> bool:
    """Whether it was held so already; a champion need not be held against itself."""
    if not model.gates:
        return False
    told, _, against = model.gate_settings.partition("/")
    same_champion = against == str(champion.version if champion else 0)
    return told == settings and (same_champion or CHAMPION in model.aliases)


def _hold(
    runtime: Runtime,
    home: Path,
    config: Asked,
    artifacts: Mapping[str, Artifact],
    model: ModelVersion,
    champion: ModelVersion | None,
) -> Iterator[GateResult]:
    if config.acceptance.sanity:
        yield sanity.hold(models.download(model.uri, home), config.acceptance.sanity)
    else:
        yield sanity.skipped()
    evaluation = artifacts["evaluation"]
    asked = [*config.gates.values()]
    measured = artifacts["benchmarks"].read_json(TABLE)
    yield from _thresholds(evaluation, [gate for gate in asked if not gate.on_benchmark])
    if config.acceptance.non_inferiority is None:
        yield noninferiority.skipped("switched off: acceptance.non_inferiority is null")
    elif champion is None or champion.version == model.version:
        yield noninferiority.skipped("there is no other champion to compare with")
    else:
        yield noninferiority.hold(
            runtime,
            config.acceptance.non_inferiority,
            config.evaluation,
            artifacts["targets"],
            evaluation,
            models.download(champion.uri, home),
            f"version {champion.version}",
        )

    yield from _benchmark_gates(measured, [gate for gate in asked if gate.on_benchmark])
    yield _benchmarks(measured)


def _thresholds(evaluation: Artifact, asked: list[GateConfig]) -> list[GateResult]:
    return gates.evaluate(evaluation.read_json("metrics.json"), asked)


def _benchmark_gates(measured: Mapping[str, Any], asked: list[GateConfig]) -> Iterator[GateResult]:
    """Gates on benchmarks; one whose data set is not mounted is skipped."""
    figures: dict[str, dict[str, float]] = {}
    for row in measured["rows"]:
        figures.setdefault(row["benchmark"], {})[f"{row['kind']}.{row['metric']}"] = row["value"]
    failed = {item["benchmark"]: item["reason"] for item in measured["failed"]}
    for gate in asked:
        _, name, *_ = gate.metric.split(".")
        if name in figures:
            [held] = gates.evaluate({STEP.name: figures}, [gate])
            yield held.model_copy(update={"tier": "benchmarks"})
        elif name in failed:
            yield _benchmark_result(gate.name, False, f"{name}: {failed[name]}")
        else:
            yield _benchmark_result(gate.name, True, f"{name} is not mounted", skipped=True)


def _benchmarks(measured: Mapping[str, Any]) -> GateResult:
    """Whether every data set that is mounted could be measured."""
    if failed := [f"{item['benchmark']}: {item['reason']}" for item in measured["failed"]]:
        return _benchmark_result(STEP.name, False, "; ".join(failed))
    names = sorted({row["benchmark"] for row in measured["rows"]})
    if not names:
        others = ", ".join(item["benchmark"] for item in measured["skipped"])
        reason = (
            f"no data set is mounted ({others})" if others else "there is none of this modality"
        )
        return _benchmark_result(STEP.name, True, reason, skipped=True)
    reason = f"{len(measured['rows'])} figures of {', '.join(names)}"
    return _benchmark_result(STEP.name, True, reason)


def _benchmark_result(name: str, passed: bool, reason: str, *, skipped: bool = False) -> GateResult:
    return GateResult(
        name=name,
        tier="benchmarks",
        metric="data sets that failed",
        threshold=0,
        value=0 if passed else 1,
        passed=passed,
        skipped=skipped,
        reason=reason,
    )
