"""benchmarks: whether every public data set that is mounted could be measured."""

from __future__ import annotations

from typing import Literal

from pipelines.registry.gates.base import Gate, GateContext, GateResult, Tier


class Benchmarks(Gate):
    """Fails if a mounted data set could not be measured; bounds on figures are thresholds."""

    kind: Literal["benchmarks"] = "benchmarks"

    @property
    def tier(self) -> Tier:
        return "benchmarks"

    def check(self, context: GateContext) -> GateResult:
        table = context.benchmarks
        failed = [f"{item.benchmark}: {item.reason}" for item in table.failed]
        names = sorted({row.benchmark for row in table.rows})
        if not failed and not names:
            others = ", ".join(item.benchmark for item in table.skipped)
            return self.skip(
                f"no data set is mounted ({others})"
                if others
                else "there is no data set of this modality"
            )
        reason = "; ".join(failed) or f"{len(table.rows)} figures of {', '.join(names)}"
        return self.result(
            not failed, reason, metric="data sets that failed", value=len(failed), threshold=0
        )
