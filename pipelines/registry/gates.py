"""gates: the thresholds a lens must hold before it may become champion (tier 1 of staging).

Reads     an evaluation's `metrics.json` and the gates of the modality's YAML.
Promises  a gate on a figure that does not exist is refused, a figure that is not finite
          fails, and every result says in a sentence why it passed or failed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vitlens_core.errors import ConfigError, unknown


class GateConfig(BaseModel):
    """One threshold on one figure. Both sides of a figure are two gates."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # The names Dagster's checks and MLflow's tags allow.
    name: str = Field(pattern=r"^\w+$", description="letters, digits and underscores")
    metric: str = Field(description="dotted path into metrics.json, such as `zero_shot.top1`")
    min: float | None = Field(None, description="the figure must reach this")
    max: float | None = Field(None, description="the figure must not exceed this")

    @property
    def on_benchmark(self) -> bool:
        """Whether it is on a public data set's figure: `benchmarks.esc50.zero-shot.top1`."""
        return self.metric.startswith("benchmarks.")

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if (self.min is None) == (self.max is None):
            raise ValueError(f"gate {self.name!r}: give either `min` or `max`")
        return self


Tier = Literal["sanity", "thresholds", "non_inferiority", "benchmarks"]
# What is asked of a challenger, in this order.
TIERS: tuple[Tier, ...] = ("sanity", "thresholds", "non_inferiority", "benchmarks")


class GateResult(BaseModel):
    """A gate held against an evaluation.

    Attributes:
        skipped: there was nothing to hold it against, as `reason` says; counts as passed.
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


def all_passed(results: Sequence[GateResult]) -> bool:
    return all(result.passed for result in results)


def tier_outcomes(results: Sequence[GateResult]) -> dict[Tier, str]:
    """Each tier that was held, in a word: failed if a gate of it failed."""
    order = ("failed", "passed", "skipped")
    held = {tier: [r.outcome for r in results if r.tier == tier] for tier in TIERS}
    return {tier: min(found, key=order.index) for tier, found in held.items() if found}


def evaluate(metrics: Mapping[str, Any], gates: Sequence[GateConfig]) -> list[GateResult]:
    """Hold every gate against the figures of an evaluation, in the order given.

    Raises:
        ConfigError: a gate names a figure that does not exist; the message lists those there are.
    """
    available = figures(metrics)
    return [_hold(gate, available) for gate in gates]


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Every number of `metrics.json` by dotted path; an interval gives `….low` and `….high`.

    Texts, lists of labels and the confusion matrix are no figures.
    """
    return dict(_leaves(metrics, ""))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif _is_number(value):
        yield path, float(value)
    elif ".ci95." in f".{path}" and isinstance(value, Sequence) and all(map(_is_number, value)):
        low, high = value
        yield from ((f"{path}.low", float(low)), (f"{path}.high", float(high)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _hold(gate: GateConfig, available: Mapping[str, float]) -> GateResult:
    if gate.metric not in available:
        choices = unknown("figure", gate.metric, sorted(available))
        raise ConfigError(f"gate {gate.name!r}: {choices}")
    value = available[gate.metric]
    if gate.min is not None:
        threshold, bound, passed = gate.min, "at least", value >= gate.min
    else:
        assert gate.max is not None
        threshold, bound, passed = gate.max, "at most", value <= gate.max
    passed = passed and math.isfinite(value)
    limit = f"{bound} {threshold:.6g}"
    verdict = f"{limit} as asked" if passed else f"but must be {limit}"
    return GateResult(
        name=gate.name,
        metric=gate.metric,
        threshold=threshold,
        value=value,
        passed=passed,
        reason=f"{gate.metric} is {value:.6g}, {verdict}",
    )
