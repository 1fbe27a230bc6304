"""base: a gate: its settings, its tier, and a check that gives the reason of its result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipelines.benchmarks.step import STEP as BENCHMARKS
from pipelines.benchmarks.table import Table, read_table
from pipelines.evaluation.result import EvaluationResult, read_result
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.store.artifacts import Artifact
from pipelines.store.text import printable, redacted
from vitlens_core.kinds import OneOf

if TYPE_CHECKING:  # `version` imports this module, so importing it back would be a circle
    from pipelines.registry.version import ModelVersion

Tier = Literal["sanity", "thresholds", "non_inferiority", "benchmarks"]
# In the order in which they are shown.
TIERS: tuple[Tier, ...] = ("sanity", "thresholds", "non_inferiority", "benchmarks")


class GateResult(BaseModel):
    """The result of a gate.

    Attributes:
        skipped: whether there was nothing to check, as `reason` says; counts as passed.
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

    @field_validator("reason")
    @classmethod
    def _fit_for_show(cls, reason: str) -> str:
        """Tags hold it, terminals and reports show it: no secrets, no control characters."""
        return printable(redacted(reason), lines=True)

    @property
    def outcome(self) -> Literal["passed", "failed", "skipped"]:
        if self.skipped:
            return "skipped"
        return "passed" if self.passed else "failed"


@dataclass(frozen=True)
class GateContext:
    """What a gate can read.

    Attributes:
        home: home of the registry.
        artifacts: the artifacts that the challenger was registered with, by step.
        split: settings of the challenger's evaluation.
        challenger, champion: versions of the registered model; None before the first champion.
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
        """The result of the evaluation; `figures()` gives its figures by dotted path."""
        return read_result(self.evaluation)

    @cached_property
    def benchmarks(self) -> Table:
        """The table of public data sets."""
        return read_table(self.artifacts[BENCHMARKS.name])


class Gate(BaseModel, ABC):
    """A gate and its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str = Field(description="a module of pipelines.registry.gates")
    # Dagster's checks and MLflow's tags both allow these names.
    name: str = Field(pattern=r"^\w+$", description="letters, digits and underscores")

    @property
    @abstractmethod
    def tier(self) -> Tier:
        """The tier of the gate, which is also the tag of the version that it counts for."""

    @abstractmethod
    def check(self, context: GateContext) -> GateResult:
        """Check the challenger.

        Raises:
            ConfigError: the gate names a figure or data set that does not exist.
        """

    def result(
        self, passed: bool, reason: str, *, metric: str, value: float, threshold: float
    ) -> GateResult:
        """Build a result that passed or failed; `reason` says why, in a sentence."""
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
        """Build a result for a gate with nothing to check; it counts as passed."""
        return skipped(self.name, self.tier, reason)


GATES = OneOf(Gate, "gate", __package__ or "", default="threshold")
AnyGate = Annotated[Gate, GATES]


def skipped(name: str, tier: Tier, reason: str) -> GateResult:
    """Build the result of a gate that had nothing to check."""
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


def summed_up(results: Sequence[GateResult]) -> str:
    """`passed`, `failed`, or `passed, skipped: sanity, benchmarks`."""
    skipped = [result.name for result in results if result.skipped]
    verdict = "passed" if all_passed(results) else "failed"
    return f"{verdict}, skipped: {', '.join(skipped)}" if skipped else verdict


def tier_outcomes(results: Sequence[GateResult]) -> dict[Tier, str]:
    """Return the outcome of each checked tier; a tier failed if one of its gates failed."""
    order = ("failed", "passed", "skipped")
    by_tier = {tier: [r.outcome for r in results if r.tier == tier] for tier in TIERS}
    return {tier: min(outcomes, key=order.index) for tier, outcomes in by_tier.items() if outcomes}
