"""threshold: a bound on one figure of the evaluation or of a public data set.

Promises  a gate is refused if its figure does not exist, fails if the figure is not finite, and
          is skipped if its data set is not mounted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.benchmarks.step import STEP as BENCHMARKS
from pipelines.benchmarks.table import Table
from pipelines.registry.gates.base import Gate, GateContext, GateResult, Tier
from vitlens_core.errors import ConfigError, unknown


def _shown(value: float, threshold: float) -> tuple[str, str]:
    """Return both numbers with as few digits as tell them apart, but four."""
    for digits in (4, 6, 9):
        texts = f"{value:.{digits}g}", f"{threshold:.{digits}g}"
        if value == threshold or texts[0] != texts[1]:
            return texts
    return repr(value), repr(threshold)


class Threshold(Gate):
    """One bound on one figure; a lower and an upper bound are two gates."""

    kind: Literal["threshold"] = "threshold"
    metric: str = Field(
        description="dotted path into metrics.json, as `zero_shot.top1`, or a public data set's "
        "figure, as `benchmarks.esc50.zero-shot.top1`"
    )
    min: float | None = Field(None, description="the figure must reach this")
    max: float | None = Field(None, description="the figure must not exceed this")

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if (self.min is None) == (self.max is None):
            raise ValueError(f"gate {self.name!r}: give either `min` or `max`")
        return self

    @property
    def benchmark(self) -> str | None:
        """The public data set of the figure, if it has one."""
        section, _, rest = self.metric.partition(".")
        return rest.partition(".")[0] if section == BENCHMARKS.name else None

    @property
    def tier(self) -> Tier:
        return "thresholds" if self.benchmark is None else "benchmarks"

    def check(self, context: GateContext) -> GateResult:
        if self.benchmark is None:
            return self.compare(context.result.figures())
        return self._check_benchmark(self.benchmark, context.benchmarks)

    def compare(self, available: Mapping[str, float]) -> GateResult:
        """Compare the gate's figure with its bound.

        Args:
            available: figures by dotted path.

        Raises:
            ConfigError: there is no such figure; the message lists the available ones.
        """
        if self.metric not in available:
            choices = unknown("figure", self.metric, sorted(available))
            raise ConfigError(f"gate {self.name!r}: {choices}")
        value = available[self.metric]
        if self.min is not None:
            threshold, bound, passed = self.min, "at least", value >= self.min
        else:
            assert self.max is not None
            threshold, bound, passed = self.max, "at most", value <= self.max
        passed = passed and math.isfinite(value)
        shown, of_bound = _shown(value, threshold)
        limit = f"{bound} {of_bound}"
        verdict = f"{limit} as asked" if passed else f"but must be {limit}"
        reason = f"{self.metric} is {shown}, {verdict}"
        return self.result(passed, reason, metric=self.metric, value=value, threshold=threshold)

    def _check_benchmark(self, name: str, table: Table) -> GateResult:
        if any(row.benchmark == name for row in table.rows):
            prefix = BENCHMARKS.name
            figures = {f"{prefix}.{r.benchmark}.{r.kind}.{r.metric}": r.value for r in table.rows}
            return self.compare(figures)
        for item in table.failed:
            if item.benchmark == name:
                reason = f"{name}: {item.reason}"
                failed = "data sets that failed"
                return self.result(False, reason, metric=failed, value=1, threshold=0)
        return self.skip(f"{name} is not mounted")
