"""metadata: what Dagster's UI shows of an artifact, a registered version and a gate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from pipelines.registry.gates.base import GateResult
from pipelines.registry.models import ModelVersion
from pipelines.store.artifacts import Artifact, Quarantined
from workflows.artifact_io import FOLDER

_SHOWN_QUARANTINED = 200


def of_artifact(artifact: Artifact) -> dict[str, Any]:
    """Counts, quarantined samples with reasons, and where it lies."""
    manifest = artifact.manifest
    shown = {
        FOLDER: dg.MetadataValue.path(str(artifact.folder)),
        "fingerprint": artifact.fingerprint,
        "reused": artifact.reused,
        "seconds": manifest.seconds,
        "size [MB]": round(sum(f.size_bytes for f in manifest.files) / 1e6, 2),
        "quarantined": len(manifest.quarantined),
        **manifest.counts,
    }
    if manifest.quarantined:
        shown["quarantined samples"] = _quarantined(manifest.quarantined)
    if manifest.step == "evaluation":
        shown["results"] = dg.MetadataValue.md(results_table(artifact.read_json("metrics.json")))
    return shown


def of_version(model: ModelVersion, report: Path) -> dict[str, Any]:
    return {
        "model": model.name,
        "version": model.version,
        "aliases": ", ".join(model.aliases),
        "report": dg.MetadataValue.path(report / "report.html"),
    }


def of_gate(result: GateResult) -> dict[str, Any]:
    return {
        "tier": result.tier,
        "outcome": result.outcome,
        "metric": result.metric,
        "value": result.value,
        "threshold": result.threshold,
        "why": result.reason,
    }


def results_table(metrics: Mapping[str, Any]) -> str:
    """The figures of an evaluation with their 95 % intervals, as a markdown table."""
    rows = ["| | top-1 | top-3 | top-5 | class mean | n |", "|---|---|---|---|---|---|"]
    for title, key in (("lens", "zero_shot"), ("foundation", "foundation_image_zero_shot")):
        if key not in metrics:  # recordings without images have no ceiling
            continue
        scores = metrics[key]
        cells = [_with_interval(scores, name) for name in ("top1", "top3", "top5", "class_mean")]
        rows.append(f"| {title} | {' | '.join(cells)} | {scores['n']} |")
    rows += ["", f"Chance {metrics['zero_shot']['chance']:.3f}.", ""]
    rows += ["| retrieval | R@1 | R@5 | R@10 |", "|---|---|---|---|"]
    for name, recalls in metrics["retrieval"].items():
        cells = [_with_interval(recalls, rank) for rank in ("r1", "r5", "r10")]
        rows.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _with_interval(scores: Mapping[str, Any], name: str) -> str:
    interval = scores["ci95"].get(name)
    bounds = f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else ""
    return f"{scores[name]:.3f}{bounds}"


def _quarantined(items: Sequence[Quarantined]) -> dg.MetadataValue:
    records = [
        dg.TableRecord({"key": q.key, "step": q.step, "reason": q.reason})
        for q in items[:_SHOWN_QUARANTINED]
    ]
    return dg.MetadataValue.table(records)
