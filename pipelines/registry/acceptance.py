"""acceptance: checks the gates that a challenger must pass before it can become champion.

    sanity ─▶ thresholds ─▶ non-inferiority ─▶ benchmarks
    (loads    (held-out     (to the champion,   (of the modality, where
    anywhere)  figures)      same samples)       their data are mounted)

Reads     the registered version, its evaluation and benchmarks, the champion.
Writes    one tag per tier and per gate on the version and its run.
Promises  every gate is checked, also if another failed; a version that was checked with the same
          settings against the same champion is not checked again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from pipelines.benchmarks.table import read_table
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.registry.gates.base import TIERS, Gate, GateContext, GateResult, skipped
from pipelines.registry.gates.benchmarks import Benchmarks
from pipelines.registry.gates.held_out import HeldOut
from pipelines.registry.gates.non_inferiority import NonInferiority
from pipelines.registry.gates.sanity import Sanity
from pipelines.registry.registry import Registry
from pipelines.registry.settings import AcceptanceConfig
from pipelines.registry.version import CHAMPION, ModelVersion
from pipelines.store.artifacts import Artifact, digest

# Gates of every modality, each the last of its tier.
STANDING = ("sanity", "held_out", "non_inferiority", "benchmarks")


class Asked(Protocol):
    """The settings that decide what a challenger must pass; `pipelines.config` has them."""

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
    """Check every gate of a version, and tag the version with the results.

    Args:
        registry: the registry that holds the version.
        artifacts: the artifacts that the version was registered with, by step.

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
    """Return a digest of the gates' settings and of the benchmarks' results."""
    gates = {name: gate.model_dump() for name, gate in config.gates.items()}
    # The table itself: when a data set that failed is repaired, the fingerprint stays the same.
    table = read_table(measured).model_dump(mode="json")
    return digest([gates, config.acceptance.model_dump(), table])[:16]


def names(gate_names: Iterable[str]) -> list[str]:
    """Return the names of a workflow's gates in order, given those of its YAML."""
    return [STANDING[0], *gate_names, *STANDING[1:]]


def is_current(model: ModelVersion, settings: str, champion: ModelVersion | None) -> bool:
    """Whether a version was checked with these settings against this champion.

    A champion need not be compared with itself.
    """
    if not model.gates:
        return False
    checked_with, _, against = model.gate_settings.partition("/")
    same_champion = against == str(champion.version if champion else 0)
    return checked_with == settings and (same_champion or CHAMPION in model.aliases)


def _results(config: Asked, context: GateContext) -> Iterable[GateResult]:
    for gate in config.gates.values():
        yield gate.check(context)
    asked = config.acceptance
    if asked.sanity:
        yield Sanity(name="sanity", **asked.sanity.model_dump()).check(context)
    else:
        yield skipped("sanity", "sanity", "switched off: acceptance.sanity is null")
    if asked.held_out:
        yield HeldOut(name="held_out", **asked.held_out.model_dump()).check(context)
    else:
        yield skipped("held_out", "thresholds", "switched off: acceptance.held_out is null")
    if asked.non_inferiority:
        settings = asked.non_inferiority.model_dump()
        yield NonInferiority(name="non_inferiority", **settings).check(context)
    else:
        reason = "switched off: acceptance.non_inferiority is null"
        yield skipped("non_inferiority", "non_inferiority", reason)
    yield Benchmarks(name="benchmarks").check(context)


def _in_order(results: Iterable[GateResult]) -> list[GateResult]:
    """Sort results by tier; within a tier the gates of the YAML come first."""
    return sorted(results, key=lambda result: TIERS.index(result.tier))
