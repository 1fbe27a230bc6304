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
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from pipelines import benchmarks, gates, noninferiority, registry, sanity
from pipelines.artifacts import Artifact, digest
from pipelines.gates import GateConfig, GateResult
from pipelines.noninferiority import NonInferiorityConfig
from pipelines.registry import CHAMPION, ModelVersion
from pipelines.runtime import Runtime
from pipelines.sanity import SanityConfig

if TYPE_CHECKING:
    from pipelines.config import RunConfig


class StagingConfig(BaseModel):
    """What is asked beside the thresholds; a tier that is null is switched off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sanity: SanityConfig | None = SanityConfig()
    non_inferiority: NonInferiorityConfig | None = NonInferiorityConfig()


def stage(
    runtime: Runtime,
    home: Path,
    config: RunConfig,
    artifacts: Mapping[str, Artifact],
    model: ModelVersion,
) -> ModelVersion:
    """Hold every gate against a version, and tag it with what was found.

    Args:
        artifacts: by step, those the version was registered with.

    Raises:
        ConfigError: a gate names a figure that does not exist.
    """
    champion = registry.champion(home, config.modality)
    settings = settings_digest(config, artifacts["benchmarks"])
    if is_current(model, settings, champion):
        return model
    results = list(_hold(runtime, home, config, artifacts, model, champion))
    against = f"{settings}/{champion.version if champion else 0}"
    return registry.state_gates(home, model, results, against)


def settings_digest(config: RunConfig, measured: Artifact) -> str:
    """Identity of what the gates are told, and of the benchmarks they see.

    By content: a data set that failed and was mended leaves the fingerprint as it was.
    """
    told = {name: gate.model_dump() for name, gate in config.gates.items()}
    table = measured.read_json(benchmarks.TABLE)
    return digest([told, config.staging.model_dump(), table])[:16]


def names(gate_names: list[str]) -> list[str]:
    """The gates of a workflow in the order they are held, given those of its YAML."""
    return [sanity.NAME, *gate_names, noninferiority.NAME, benchmarks.STEP]


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
    config: RunConfig,
    artifacts: Mapping[str, Artifact],
    model: ModelVersion,
    champion: ModelVersion | None,
) -> Iterator[GateResult]:
    if config.staging.sanity:
        yield sanity.hold(registry.download(model.uri, home), config.staging.sanity)
    else:
        yield sanity.skipped()
    evaluation = artifacts["evaluation"]
    asked = [*config.gates.values()]
    measured = artifacts["benchmarks"].read_json(benchmarks.TABLE)
    yield from _thresholds(evaluation, [gate for gate in asked if not gate.on_benchmark])
    if config.staging.non_inferiority is None:
        yield noninferiority.skipped("switched off: staging.non_inferiority is null")
    elif champion is None or champion.version == model.version:
        yield noninferiority.skipped("there is no other champion to compare with")
    else:
        yield noninferiority.hold(
            runtime,
            config.staging.non_inferiority,
            config.evaluation,
            artifacts["targets"],
            evaluation,
            registry.download(champion.uri, home),
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
            [held] = gates.evaluate({benchmarks.STEP: figures}, [gate])
            yield held.model_copy(update={"tier": "benchmarks"})
        elif name in failed:
            yield _benchmark_result(gate.name, False, f"{name}: {failed[name]}")
        else:
            yield _benchmark_result(gate.name, True, f"{name} is not mounted", skipped=True)


def _benchmarks(measured: Mapping[str, Any]) -> GateResult:
    """Whether every data set that is mounted could be measured."""
    if failed := [f"{item['benchmark']}: {item['reason']}" for item in measured["failed"]]:
        return _benchmark_result(benchmarks.STEP, False, "; ".join(failed))
    names = sorted({row["benchmark"] for row in measured["rows"]})
    if not names:
        others = ", ".join(item["benchmark"] for item in measured["skipped"])
        reason = (
            f"no data set is mounted ({others})" if others else "there is none of this modality"
        )
        return _benchmark_result(benchmarks.STEP, True, reason, skipped=True)
    reason = f"{len(measured['rows'])} figures of {', '.join(names)}"
    return _benchmark_result(benchmarks.STEP, True, reason)


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
