"""Sweeps with made-up figures: nothing is rendered or trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upath import UPath

from pipelines.config import RunConfig, load_run_config
from pipelines.lens.curves import TrainingCurves, ValidationPoint, validation_kind
from pipelines.lens.settings import TrainConfig
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import encode_model
from pipelines.sweep import Sweep, SweepPoint
from tests.pipelines import synthetic
from tests.pipelines.finished_run import finished_run

TRAINED, VALIDATED = 12, 4


def config(**train: Any) -> RunConfig:
    return load_run_config("point_cloud", {}, {"lens": {"train": {"steps": 6, **train}}})


def artifacts(
    home: Path,
    top1: float,
    r1: float | None,
    train_config: TrainConfig,
    teachers: Sequence[str] = (),
) -> dict[str, Artifact]:
    """Of a run with that held-out top-1 and, at its last step, that validation R@1."""
    weights = train_config.weights(teachers)
    train = [{"step": step, "loss": 3.0 / step, "lr": 1e-3} for step in (1, 2)]
    val = [] if r1 is None else [(1, 2.0, 1.0), (2, 1.0, r1)]
    curves = TrainingCurves(
        train=tuple(train),
        val=tuple(ValidationPoint(step=s, loss=loss, r1=found) for s, loss, found in val),
        validated_against=validation_kind(weights) if val else None,
    )
    files = {"curves.json": encode_model(curves)}
    run = finished_run(home, right=top1, files=files, supervision=weights)
    store = Store(UPath(home / "artifacts"))
    return run | {"targets": synthetic.targets(store, {"train": (7, 5), "val": (VALIDATED,)})}


def point(
    home: Path,
    label: str,
    top1: float,
    r1: float | None,
    teachers: Sequence[str] = (),
    **train: Any,
) -> SweepPoint:
    """A point that was made.

    Args:
        teachers: names of the lenses that teach it.
        train: its training settings.
    """
    made = artifacts(home / label, top1, r1, TrainConfig.model_validate(train), teachers)
    return SweepPoint(label, (f"lens.x={label}",), config(**train), label == "a", made)


def failed(label: str, reason: str) -> SweepPoint:
    return SweepPoint(label, (), config(), False, {}, reason)


def sweep(*points: SweepPoint, **changes: Any) -> Sweep:
    stated: dict[str, Any] = {"modality": "point_cloud", "axis": "head", "varied": "the head"}
    stated |= {"profile": "demo", "overrides": ("evaluation.seed=3",), **changes}
    return Sweep(**stated, points=points)
