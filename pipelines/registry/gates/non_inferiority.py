"""non_inferiority: whether a challenger may replace the champion.

Reads     the challenger's predictions, and the champion's package, which is shown the same
          held-out samples.
Promises  both are compared sample by sample; the challenger passes if its top-1 is, with the
          confidence stated, no more than the margin below the champion's (paired bootstrap
          over whole objects or subjects). A champion that cannot be shown these samples fails
          the gate and says why: then a person decides.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from pipelines.evaluation.result import read_predictions
from pipelines.registry import models
from pipelines.registry.gates.base import Gate, GateContext, GateResult, Tier
from pipelines.registry.settings import NonInferiorityConfig
from vitlens_core import metrics
from vitlens_core.errors import CheckpointError, ConfigError, InputError
from vitlens_core.metrics import Bootstrap


class NonInferiority(NonInferiorityConfig, Gate):
    """Compares the challenger with the champion on the very same samples."""

    kind: Literal["non_inferiority"] = "non_inferiority"

    @property
    def tier(self) -> Tier:
        return "non_inferiority"

    def check(self, context: GateContext) -> GateResult:
        champion = context.champion
        if champion is None or champion.version == context.challenger.version:
            return self.skip("there is no other champion to compare with")
        title = f"version {champion.version}"
        found = {prediction.key: prediction for prediction in read_predictions(context.evaluation)}
        try:
            # Late: it needs torch, and a gate's settings are checked without it.
            from pipelines.evaluation.other_lens import hits_of

            folder = models.download(champion.uri, context.home)
            targets = context.artifacts["targets"]
            keys, theirs = hits_of(folder, context.runtime, context.split, targets)
        except (InputError, CheckpointError, ConfigError) as error:
            return self._result(math.nan, f"{title} cannot be shown these samples: {error}")
        ours = np.array([found[key].correct for key in keys])
        bootstrap = Bootstrap(self.resamples, self.seed, [found[key].group for key in keys])
        difference, bound = metrics.paired_difference(ours, theirs, self.confidence, bootstrap)
        return self._result(
            bound,
            f"top-1 {ours.mean():.3f} against {theirs.mean():.3f} of {title} on the same "
            f"{len(keys)} samples: {difference:+.3f}, with {self.confidence:.0%} confidence at "
            f"least {bound:+.3f}; the margin is {-self.margin:+.3f}",
        )

    def _result(self, bound: float, reason: str) -> GateResult:
        return self.result(
            bool(bound >= -self.margin),  # NaN is not
            reason,
            metric="top-1 less the champion's, lower bound",
            value=bound,
            threshold=-self.margin,
        )
