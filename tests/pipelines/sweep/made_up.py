"""Sweeps with made-up figures: nothing is rendered or trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from upath import UPath

from pipelines.config import RunConfig, load_run_config
from pipelines.lens.settings import TrainConfig
from pipelines.store.artifacts import Artifact, Store
from pipelines.store.shards import encode_json
from pipelines.sweep import Outcome, Sweep
from tests.pipelines import synthetic
from tests.pipelines.finished_run import finished_run

TRAINED, VALIDATED = 12, 4


def config(**train: Any) -> RunConfig:
    return load_run_config("point_cloud", {}, {"lens": {"train": {"steps": 6, **train}}})


def artifacts(
    home: Path, top1: float, r1: float | None, train_config: TrainConfig
) -> dict[str, Artifact]:
    """Of a run with that held-out top-1 and, at its last step, that validation R@1."""
    train = [{"step": step, "loss": 3.0 / step, "lr": 1e-3} for step in (1, 2)]
    val = [] if r1 is None else [{"step": 1, "loss": 2, "r1": 1}, {"step": 2, "loss": 1, "r1": r1}]
    curves = encode_json({"train": train, "val": val})
    run = finished_run(
        home,
        right=top1,
        files={"curves.json": curves},
        supervision=train_config.weights(taught=False),
    )
    store = Store(UPath(home / "artifacts"))
    return run | {"targets": synthetic.targets(store, {"train": (7, 5), "val": (VALIDATED,)})}


def point(home: Path, label: str, top1: float, r1: float | None, **train: Any) -> Outcome:
    made = artifacts(home / label, top1, r1, TrainConfig.model_validate(train))
    return Outcome(label, (f"lens.x={label}",), config(**train), label == "a", made)


def failed(label: str, reason: str) -> Outcome:
    return Outcome(label, (), config(), False, {}, reason)


def sweep(*points: Outcome, **changes: Any) -> Sweep:
    stated: dict[str, Any] = {"modality": "point_cloud", "axis": "head", "varied": "the head"}
    stated |= {"profile": "demo", "overrides": ("evaluation.seed=3",), **changes}
    return Sweep(**stated, points=points)
