"""What a gate is: settings, a tier, and a check that says in a sentence why it passed or failed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.benchmarks.step import STEP as BENCHMARKS
from pipelines.benchmarks.step import TABLE
from pipelines.benchmarks.table import Table
from pipelines.evaluation.result import EvaluationResult, read_result
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.store.artifacts import Artifact
from vitlens_core.kinds import OneOf

if TYPE_CHECKING:  # the registry keeps results, and so imports this module
    from pipelines.registry.models import ModelVersion

Tier = Literal["sanity", "thresholds", "non_inferiority", "benchmarks"]
# What is asked of a challenger, in this order.
TIERS: tuple[Tier, ...] = ("sanity", "thresholds", "non_inferiority", "benchmarks")


class GateResult(BaseModel):
    """What a gate found.

    Attributes:
        skipped: there was nothing to check, as `reason` says; counts as passed.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    metric: str
    threshold: float
    value: float
    passed: bool
    reason: str
    tier: Tier = "thresholds"
    skipped: bool = False

    @property
    def outcome(self) -> Literal["passed", "failed", "skipped"]:
        if self.skipped:
            return "skipped"
        return "passed" if self.passed else "failed"


@dataclass(frozen=True)
class GateContext:
    """What a gate may look at.

    Attributes:
        home: of the registry.
        artifacts: by step, those the challenger was registered with.
        split: how the challenger was evaluated.
        challenger, champion: versions of the registered model; no champion before the first.
    """

    runtime: Runtime
    home: Path
    artifacts: Mapping[str, Artifact]
    split: EvaluationConfig
    challenger: ModelVersion
    champion: ModelVersion | None

    @property
    def evaluation(self) -> Artifact:
        return self.artifacts["evaluation"]

    @cached_property
    def result(self) -> EvaluationResult:
        """What the evaluation found; its `figures()` by dotted path."""
        return read_result(self.evaluation)

    @cached_property
    def benchmarks(self) -> Table:
        """The table of public data sets."""
        return self.artifacts[BENCHMARKS.name].read_model(TABLE, Table)


class Gate(BaseModel, ABC):
    """A gate and its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str = Field(description="a module of pipelines.registry.gates")
    # The names Dagster's checks and MLflow's tags allow.
    name: str = Field(pattern=r"^\w+$", description="letters, digits and underscores")

    @property
    @abstractmethod
    def tier(self) -> Tier:
        """When it is asked, and which tag of the version it counts for."""

    @abstractmethod
    def check(self, context: GateContext) -> GateResult:
        """What it finds of the challenger.

        Raises:
            ConfigError: it asks for what does not exist.
        """

    def result(
        self, passed: bool, reason: str, *, metric: str, value: float, threshold: float
    ) -> GateResult:
        """Passed or failed, and why, in a sentence."""
        return GateResult(
            name=self.name,
            tier=self.tier,
            metric=metric,
            value=value,
            threshold=threshold,
            passed=passed,
            reason=reason,
        )

    def skip(self, reason: str) -> GateResult:
        """There is nothing to check; counts as passed."""
        return skipped(self.name, self.tier, reason)


GATES = OneOf(Gate, "gate", __package__ or "", default="threshold")
AnyGate = Annotated[Gate, GATES]


def skipped(name: str, tier: Tier, reason: str) -> GateResult:
    """A gate that had nothing to check."""
    return GateResult(
        name=name,
        tier=tier,
        metric="nothing to check",
        threshold=0,
        value=0,
        passed=True,
        skipped=True,
        reason=reason,
    )


def all_passed(results: Sequence[GateResult]) -> bool:
    return all(result.passed for result in results)


def tier_outcomes(results: Sequence[GateResult]) -> dict[Tier, str]:
    """Each tier that was checked, in a word: failed if a gate of it failed."""
    order = ("failed", "passed", "skipped")
    found = {tier: [r.outcome for r in results if r.tier == tier] for tier in TIERS}
    return {tier: min(outcomes, key=order.index) for tier, outcomes in found.items() if outcomes}
