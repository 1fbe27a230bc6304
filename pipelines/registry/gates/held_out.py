"""held_out: whether there are enough held-out samples, groups and classes for figures to mean
something."""

from __future__ import annotations

from typing import Literal

from pipelines.registry.gates.base import Gate, GateContext, GateResult, Tier
from pipelines.registry.settings import HeldOutConfig


class HeldOut(HeldOutConfig, Gate):
    """Fails where a figure could hardly have come out otherwise."""

    kind: Literal["held_out"] = "held_out"

    @property
    def tier(self) -> Tier:
        return "thresholds"

    def check(self, context: GateContext) -> GateResult:
        scores, classes = context.result.zero_shot, len(context.result.classes)
        lacking = [
            f"{found} {what}, but must be at least {least}"
            for what, found, least in (
                ("held-out samples", scores.n, self.min_samples),
                ("groups of held-out samples", scores.groups, self.min_groups),
                ("classes", classes, self.min_classes),
            )
            if found < least
        ]
        described = f"{scores.n} held-out samples of {scores.groups} groups and {classes} classes"
        return self.result(
            not lacking,
            "; ".join(lacking) or described,
            metric="held-out samples",
            value=scores.n,
            threshold=self.min_samples,
        )
