"""acceptance: what a registered challenger must pass before it may become champion.

    sanity ─▶ thresholds ─▶ non-inferiority ─▶ benchmarks
    (loads    (held-out     (to the champion,   (of the modality, where
    anywhere)  figures)      same samples)       their data are mounted)

Reads     the registered version, its evaluation and benchmarks, the champion.
Writes    one tag a tier and a gate on the version and its run.
Promises  every gate is checked whatever the others say; what was checked with the same settings
          against the same champion is not checked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from pipelines.benchmarks.step import TABLE
from pipelines.benchmarks.table import Table
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.registry.gates.base import TIERS, Gate, GateContext, GateResult, Tier, skipped
from pipelines.registry.gates.benchmarks import Benchmarks
from pipelines.registry.gates.non_inferiority import NonInferiority
from pipelines.registry.gates.sanity import Sanity
from pipelines.registry.models import CHAMPION, ModelVersion
from pipelines.registry.registry import Registry
from pipelines.registry.settings import AcceptanceConfig
from pipelines.store.artifacts import Artifact, digest

# Checked of every modality, each the last of its tier; their names are their tiers'.
STANDING: tuple[Tier, ...] = ("sanity", "non_inferiority", "benchmarks")


class Asked(Protocol):
    """What is asked of a challenger; the settings of a run (`pipelines.config`) have it."""

    @property
    def modality(self) -> str: ...
    @property
    def gates(self) -> Mapping[str, Gate]: ...
    @property
    def acceptance(self) -> AcceptanceConfig: ...
    @property
    def evaluation(self) -> EvaluationConfig: ...


def check_gates(
    runtime: Runtime,
    registry: Registry,
    config: Asked,
    artifacts: Mapping[str, Artifact],
    model: ModelVersion,
) -> ModelVersion:
    """Check every gate of a version, and tag it with what was found.

    Args:
        registry: that the version is in.
        artifacts: by step, those the version was registered with.

    Raises:
        ConfigError: a gate names a figure that does not exist.
    """
    champion = registry.champion(config.modality)
    settings = settings_digest(config, artifacts["benchmarks"])
    if is_current(model, settings, champion):
        return model
    context = GateContext(runtime, registry.home, artifacts, config.evaluation, model, champion)
    results = _in_order(_results(config, context))
    against = f"{settings}/{champion.version if champion else 0}"
    return registry.state_gates(model, results, against)


def settings_digest(config: Asked, measured: Artifact) -> str:
    """Identity of what the gates are told, and of the benchmarks they see.

    By content: a data set that failed and was mended leaves the fingerprint as it was.
    """
    told = {name: gate.model_dump() for name, gate in config.gates.items()}
    table = measured.read_model(TABLE, Table).model_dump(mode="json")
    return digest([told, config.acceptance.model_dump(), table])[:16]


def names(gate_names: Iterable[str]) -> list[str]:
    """The gates of a workflow, given those of its YAML."""
    return [STANDING[0], *gate_names, *STANDING[1:]]


def is_current(model: ModelVersion, settings: str, champion: ModelVersion | None) -> bool:
    """Whether it was checked so already; a champion need not be compared with itself."""
    if not model.gates:
        return False
    told, _, against = model.gate_settings.partition("/")
    same_champion = against == str(champion.version if champion else 0)
    return told == settings and (same_champion or CHAMPION in model.aliases)


def _results(config: Asked, context: GateContext) -> Iterable[GateResult]:
    for gate in config.gates.values():
        yield gate.check(context)
    asked = config.acceptance
    if asked.sanity:
        yield Sanity(name="sanity", **asked.sanity.model_dump()).check(context)
    else:
        yield skipped("sanity", "sanity", "switched off: acceptance.sanity is null")
    if asked.non_inferiority:
        settings = asked.non_inferiority.model_dump()
        yield NonInferiority(name="non_inferiority", **settings).check(context)
    else:
        reason = "switched off: acceptance.non_inferiority is null"
        yield skipped("non_inferiority", "non_inferiority", reason)
    yield Benchmarks(name="benchmarks").check(context)


def _in_order(results: Iterable[GateResult]) -> list[GateResult]:
    """By tier; within a tier the gates of the YAML come first."""
    return sorted(results, key=lambda result: TIERS.index(result.tier))
