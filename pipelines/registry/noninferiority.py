"""noninferiority: whether a challenger may replace the champion (tier 2 of staging).

Reads     the challenger's predictions, and the champion's package, which is shown the same
          held-out samples.
Promises  both are compared sample by sample; the challenger passes if its top-1 is, with the
          confidence stated, no more than the margin below the champion's (paired bootstrap
          over whole objects or subjects). A champion that cannot be shown these samples fails
          the gate and says why: then a person decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.evaluation.result import read_predictions
from pipelines.execution.runtime import Runtime
from pipelines.registry.gates import GateResult
from pipelines.registry.settings import NonInferiorityConfig
from pipelines.store.artifacts import Artifact
from vitlens_core import metrics, modalities
from vitlens_core.errors import CheckpointError, ConfigError, InputError
from vitlens_core.metrics import Bootstrap

if TYPE_CHECKING:
    from pipelines.evaluation.step import EvaluationConfig


NAME = "non_inferiority"


_METRIC = "top-1 less the champion's, lower bound"


def hold(
    runtime: Runtime,
    config: NonInferiorityConfig,
    split: EvaluationConfig,
    targets: Artifact,
    evaluation: Artifact,
    champion: Path,
    title: str,
) -> GateResult:
    """Compare an evaluated lens with the champion in `champion`, an MLflow model's folder.

    Args:
        targets: what the challenger was evaluated on, in the way `split` says.
        title: of the champion, for the reason.
    """
    found = {prediction.key: prediction for prediction in read_predictions(evaluation)}
    try:
        keys, theirs = _champion_hits(runtime, split, targets, champion)
    except (InputError, CheckpointError, ConfigError) as error:
        return _result(config, float("nan"), f"{title} cannot be shown these samples: {error}")
    ours = np.array([found[key].correct for key in keys])
    groups = [found[key].group for key in keys]
    bootstrap = Bootstrap(config.resamples, config.seed, groups)
    difference, bound = metrics.paired_difference(ours, theirs, config.confidence, bootstrap)
    return _result(
        config,
        bound,
        f"top-1 {ours.mean():.3f} against {theirs.mean():.3f} of {title} on the same "
        f"{len(keys)} samples: {difference:+.3f}, with {config.confidence:.0%} confidence at "
        f"least {bound:+.3f}; the margin is {-config.margin:+.3f}",
    )


def skipped(reason: str) -> GateResult:
    """The gate where there is nothing to compare with."""
    return GateResult(
        name=NAME,
        tier="non_inferiority",
        metric=_METRIC,
        threshold=0,
        value=0,
        passed=True,
        skipped=True,
        reason=reason,
    )


def _result(config: NonInferiorityConfig, bound: float, reason: str) -> GateResult:
    return GateResult(
        name=NAME,
        tier="non_inferiority",
        metric=_METRIC,
        threshold=-config.margin,
        value=bound,
        passed=bool(bound >= -config.margin),  # NaN is not
        reason=reason,
    )


def _champion_hits(
    runtime: Runtime, split: EvaluationConfig, targets: Artifact, folder: Path
) -> tuple[list[str], np.ndarray]:
    """Keys of the held-out samples, and bool [B] what the champion gets right of them."""
    # Late: they need torch, and what the gates are called is asked without it.
    from pipelines.evaluation.embedding import class_embeddings, embed_split
    from pipelines.evaluation.scoring import Classes, hits
    from vitlens_core.api.lenses import open_foundation
    from vitlens_core.api.sources import locate
    from vitlens_core.checkpoint import load_lens

    lens = locate(folder)
    foundation = open_foundation(lens.parent)
    tower, settings = load_lens(lens, foundation)
    embedded = embed_split(runtime, split, targets, tower, settings)
    names, templates = embedded.class_names, modalities.load(settings.modality).templates
    classes = Classes(names, class_embeddings(foundation, names, templates))
    return embedded.keys, hits(embedded, classes)
