"""non_inferiority: checks that a challenger is not worse than the champion.

Reads     the challenger's predictions, and the champion's package, which embeds the same held-out
          samples.
Promises  a challenger that was evaluated on other classes is not compared: the gate fails and asks;
          both are compared sample by sample; the challenger passes if its top-1 is, with the
          stated confidence, at most the margin below the champion's (paired bootstrap over whole
          objects or subjects). If the champion cannot embed these samples, the gate fails and
          says why, so that a person decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pipelines.evaluation.result import read_predictions
from pipelines.registry import models
from pipelines.registry.gates.base import Gate, GateContext, GateResult, Tier
from pipelines.registry.settings import NonInferiorityConfig
from pipelines.registry.version import ModelVersion
from vitlens_core import metrics
from vitlens_core.errors import CheckpointError, ConfigError, InputError, IntegrityError
from vitlens_core.metrics import Bootstrap

_SHOWN = 5  # classes that a message names


class NonInferiority(NonInferiorityConfig, Gate):
    """Compares the challenger with the champion on the same samples."""

    kind: Literal["non_inferiority"] = "non_inferiority"

    @property
    def tier(self) -> Tier:
        return "non_inferiority"

    def check(self, context: GateContext) -> GateResult:
        champion = context.champion
        if champion is None or champion.version == context.challenger.version:
            return self.skip("there is no other champion to compare with")
        title = f"version {champion.version}"
        if self.other_classes == "ask" and (asked := _other_classes(context, champion)):
            return self._result(math.nan, asked)
        predictions = {
            prediction.key: prediction for prediction in read_predictions(context.evaluation)
        }
        try:
            # Late: it needs torch, and a gate's settings are checked without it.
            from pipelines.evaluation.other_lens import hits_of

            folder = models.download(champion.uri, context.home)
            targets = context.artifacts["targets"]
            keys, theirs = hits_of(folder, context.runtime, context.split, targets)
        except (InputError, CheckpointError, ConfigError, IntegrityError) as error:
            return self._result(math.nan, f"{title} cannot embed these samples: {error}")
        ours = np.array([predictions[key].correct for key in keys])
        bootstrap = Bootstrap(self.resamples, self.seed, [predictions[key].group for key in keys])
        difference, bound = metrics.paired_difference(ours, theirs, self.confidence, bootstrap)
        return self._result(
            bound,
            f"top-1 {ours.mean():.3f} against {theirs.mean():.3f} of {title} on the same "
            f"{len(keys)} samples: {difference:+.3f}, with {self.confidence:.0%} confidence at "
            f"least {bound:+.3f}; the margin is {-self.margin:+.3f}",
        )

    def _result(self, bound: float, reason: str) -> GateResult:
        return self.result(
            bool(bound >= -self.margin),  # False for NaN: a comparison that failed fails the gate
            reason,
            metric="top-1 less the champion's, lower bound",
            value=bound,
            threshold=-self.margin,
        )


def _other_classes(context: GateContext, champion: ModelVersion) -> str:
    """Ask about classes that are not the champion's; empty where they are the same."""
    theirs, ours = champion.classes, context.challenger.classes
    if not theirs or theirs == ours:
        return ""
    return (
        f"evaluated on other classes than version {champion.version}: {_shown(ours)} instead of "
        f"{_shown(theirs)}, so that top-1 is no comparison. Are the new classes meant? Then set "
        "acceptance.non_inferiority.other_classes=accept, or promote it with --force"
    )


def _shown(classes: Sequence[str]) -> str:
    more = ", …" if len(classes) > _SHOWN else ""
    return f"{len(classes)} ({', '.join(classes[:_SHOWN])}{more})"
