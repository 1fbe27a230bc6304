"""A finished run of the flow with made-up figures: what registry and report read.

Nothing is rendered or trained: clouds and views are drawn by numpy, figures are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import JsonValue
from safetensors.numpy import save as save_tensors
from upath import UPath

from pipelines.benchmarks.table import Row, Table
from pipelines.evaluation.result import (
    EvaluationResult,
    Prediction,
    Predictions,
    Recalls,
    Scores,
    Supervision,
    read_result,
)
from pipelines.lens.curves import TrainingCurves, ValidationPoint
from pipelines.registry.gates.base import GateResult
from pipelines.registry.gates.threshold import Threshold
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.files import write_atomic
from pipelines.store.shards import Sample, encode_array, encode_model, encode_png
from tests.pipelines.shard_bytes import encode_shard
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.lens_header import FORMAT
from vitlens_core.metrics import Interval
from vitlens_core.models.tower_settings import TowerSettings

CONFIG: dict[str, JsonValue] = {
    "lens": {"train": {"steps": 4}, "tokenizer": {"points_seen": 64}},
    "objects": {"count": None},
}
FOUNDATION = FoundationInfo(spec="lit:a+b", embed_dim=8, image_size_px=28, digest="0" * 64)
SUPERVISION = {"image": 1.0, "text": 1.0}
TOWER = TowerSettings(modality="point_cloud", tokenizer={"points_seen": 64, "groups": 4})


def sample(key: str, label: str, size_px: int = 24) -> Sample:
    """A cloud on a sphere and one view, both in a colour of the object's own."""
    rng = np.random.default_rng(int.from_bytes(key.encode(), "big"))
    xyz = rng.normal(size=(200, 3))
    xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
    rgb = np.tile(rng.uniform(size=3), (200, 1))
    view = np.zeros((size_px, size_px, 4), np.uint8)
    view[4:-4, 4:-4] = [*(rgb[0] * 255), 255]
    return {
        "__key__": key,
        "json": SampleInfo(name=f"A <b>{key}</b>", label=label, group=key, split="test").encode(),
        "points.npy": encode_array(np.concatenate([xyz, rgb], 1).astype(np.float16)),
        "view00.png": encode_png(view),
    }


def samples(count: int = 12, classes: int = 3) -> list[Sample]:
    return [sample(f"object{i:02d}", f"class {i % classes}") for i in range(count)]


def predictions(objects: Sequence[Sample], right: float) -> list[Prediction]:
    """The first share `right` of the objects hit with every rank, the others miss with all."""
    keys = [s["__key__"] for s in objects]
    infos = [SampleInfo.of(s) for s in objects]
    labels = [info.label or "" for info in infos]
    classes = sorted(set(labels))
    result = []
    for i, (key, label) in enumerate(zip(keys, labels, strict=True)):
        hit = i < right * len(keys)
        wrong = [c for c in classes if c != label]
        others = [k for k, other in zip(keys, labels, strict=True) if other != label]
        result.append(
            Prediction(
                key=key,
                group=key,
                correct=hit,
                label=label,
                name=infos[i].name,
                predicted=tuple([label, *wrong] if hit else [*wrong, label])[:5],
                scores=(0.5, 0.4, 0.3, 0.2, 0.1)[: len(classes)],
                neighbours=tuple([key, *others] if hit else others)[:5],
            )
        )
    return result


def around(value: float) -> Interval:
    return Interval(value, max(0, value - 0.1), min(1, value + 0.1))


def zero_shot(top1: float, classes: int, n: int) -> Scores:
    return Scores(
        top1=around(top1),
        top3=around(top1**0.5),
        top5=around(top1**0.25),
        class_mean=around(top1),
        chance=1 / classes,
        n=n,
        groups=n,
    )


def evaluation(
    found: Sequence[Prediction],
    supervision: Mapping[str, float] = SUPERVISION,
    ceiling: float = 0.8,
) -> EvaluationResult:
    """What an evaluation with these predictions states."""
    classes = sorted({p.label for p in found})
    confusion = np.zeros((len(classes), len(classes)), int)
    for p in found:
        confusion[classes.index(p.label), classes.index(p.predicted[0])] += 1
    top1 = float(confusion.trace() / len(found))
    recalls = Recalls(r1=around(0.3), r5=around(0.6), r10=around(0.8))
    return EvaluationResult(
        modality="point_cloud",
        split="test",
        classes=tuple(classes),
        zero_shot=zero_shot(top1, len(classes), len(found)),
        times_chance=top1 * len(classes),
        retrieval={"point_to_text": recalls, "point_to_image": recalls},
        supervision=Supervision.model_validate(supervision),
        emergent="text" not in supervision,
        foundation_image_zero_shot=zero_shot(ceiling, len(classes), len(found)),
        ratio_to_foundation=top1 / ceiling,
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def curves(steps: int = 4) -> TrainingCurves:
    train = [
        {"step": s, "loss": 6 / s, "loss_image": 3 / s, "loss_text": 3 / s, "lr": 1e-3 / s}
        for s in range(1, steps + 1)
    ]
    val = [ValidationPoint(step=s, loss=7 / s, r1=1 - 1 / s) for s in range(2, steps + 1, 2)]
    return TrainingCurves(train=tuple(train), val=tuple(val), validated_against="image")


def lens_file(settings: TowerSettings = TOWER, spec: str = "lit:a+b") -> bytes:
    """A checkpoint whose settings can be read and whose weights are none."""
    header = {"format": FORMAT, "settings": settings.model_dump_json()}
    return save_tensors({}, {**header, "foundation": spec, "foundation_digest": "0" * 64})


def finished_run(
    home: Path,
    objects: Sequence[Sample] | None = None,
    right: float = 0.5,
    quarantined: Sequence[Quarantined] = (),
    files: dict[str, bytes] | None = None,
    supervision: Mapping[str, float] = SUPERVISION,
    ceiling: float = 0.8,
) -> dict[str, Artifact]:
    """Every step's artifact under `home`, by step. `files` replaces foundation's and lens's."""
    objects = samples() if objects is None else objects
    found = predictions(objects, right)
    shard = {"test-00000.tar": encode_shard(objects)}
    contents: dict[str, dict[str, bytes]] = {
        "objects": {},
        "renders": {},
        "shards": shard,
        "foundation": {"foundation.json": encode_model(FOUNDATION), "projections.safetensors": b""},
        "targets": {},
        "lens": {"lens.safetensors": lens_file(), "curves.json": encode_model(curves())},
        "evaluation": {
            "metrics.json": encode_model(evaluation(found, supervision, ceiling)),
            "predictions.json": encode_model(Predictions(tuple(found))),
        },
    }
    store = Store(UPath(home / "artifacts"))
    artifacts: dict[str, Artifact] = {}
    for step, content in contents.items():
        content |= {name: data for name, data in (files or {}).items() if name in content}
        build = store.begin(step, 1, {"right": right}, artifacts)
        entries = [write_atomic(build.folder / name, data) for name, data in content.items()]
        dropped = [q for q in quarantined if q.step == step]
        artifacts[step] = build.commit(entries, {"samples": len(objects)}, dropped)
    return artifacts


def gate_results(artifacts: dict[str, Artifact], at_least: float = 0.1) -> list[GateResult]:
    gate = Threshold(name="top1", metric="zero_shot.top1", min=at_least)
    return [gate.compare(read_result(artifacts["evaluation"]).figures())]


def benchmarked(home: Path, seen: int | None) -> Artifact:
    """Figures of one public data set, `seen` of whose 1,000 recordings were trained on."""
    row = Row(
        benchmark="modelnet40",
        title="ModelNet40 <b>",
        modality="point_cloud",
        kind="zero-shot",
        protocol="OpenShape's",
        licence="research",
        metric="top1",
        value=0.71,
        ci95=(0.61, 0.81),
        n=1000,
        chance=0.025,
        published={"ViT-Lens-G": 0.876},
        notes=("as published",),
        seen=seen,
        recordings=1000,
    )
    table = Table(modalities=("point_cloud",), rows=(row,), failed=(), skipped=())
    build = Store(UPath(home / "artifacts")).begin("benchmarks", 1, {"seen": seen}, {})
    entry = write_atomic(build.folder / "benchmarks.json", encode_model(table))
    return build.commit([entry], {"rows": 1})
