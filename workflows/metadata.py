"""metadata: what Dagster's UI shows for an artifact, a registered version and a gate."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from pipelines.evaluation import presenter
from pipelines.evaluation.result import EvaluationResult, EvaluationSummary, read_result
from pipelines.lens.curves import TrainingCurves, read_curves
from pipelines.registry.gates.base import GateResult, summed_up
from pipelines.registry.models import ModelVersion
from pipelines.registry.registry import Registry
from pipelines.registry.tracking import user
from pipelines.report import confusion_picture
from pipelines.report.content import PAGE_FILE
from pipelines.report.curves import picture as curves_picture
from pipelines.source.step import STEP as SOURCE
from pipelines.store.artifacts import Artifact, Quarantined
from vitlens_core.errors import VitlensError
from workflows.artifact_io import FOLDER, LEFT_OUT
from workflows.workplace import Workplace

Metadata = dict[str, dg.MetadataValue | str | float | bool]
_SHOWN_QUARANTINED = 200  # Dagster stores metadata in its event log; the manifest lists all


def of_artifact(artifact: Artifact) -> Metadata:
    """Return an artifact's counts, quarantined samples with reasons, and folder."""
    manifest = artifact.manifest
    entries: Metadata = {
        FOLDER: dg.MetadataValue.path(str(artifact.folder)),
        "fingerprint": artifact.fingerprint,
        "reused": artifact.reused,
        "seconds": manifest.seconds,
        "size [MB]": round(sum(f.size_bytes for f in manifest.files) / 1e6, 2),
        "quarantined": len(manifest.quarantined),
        **manifest.counts,
    }
    if manifest.quarantined:
        entries["quarantined samples"] = _quarantined(manifest.quarantined)
    if manifest.step == "evaluation":
        entries |= _results(read_result(artifact))
    if manifest.step == "lens":
        entries |= _course(read_curves(artifact))
    return entries


def of_run(workplace: Workplace, artifact: Artifact) -> Metadata:
    """Return where more is to be seen of a lens or its evaluation: MLflow's run, the report."""
    step, inputs = artifact.manifest.step, artifact.manifest.inputs
    entries: Metadata = {}
    if step == "evaluation":
        report = workplace.home.report_folder(artifact.fingerprint) / PAGE_FILE
        entries["report"] = dg.MetadataValue.path(report)
    if step in ("lens", "evaluation"):
        lens = artifact.fingerprint if step == "lens" else inputs["lens"]
        try:
            page = workplace.registry.page_of_training(lens)
        except VitlensError:  # a tracking server that is away fails no step
            page = None
        if page:
            entries["MLflow run"] = dg.MetadataValue.url(page)
    return entries


def _results(result: EvaluationResult) -> Metadata:
    return {
        "results": dg.MetadataValue.md(results_table(result)),
        "confusion": _shown(confusion_picture.picture(result), "which classes are confused"),
        # Numbers, so that Dagster draws them over the versions.
        "top-1": result.zero_shot.top1.value,
        "times chance": result.times_chance,
    }


def _shown(svg: str, alt: str) -> dg.MetadataValue:
    """Return a picture as Dagster's pages show it."""
    encoded = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/svg+xml;base64,{encoded})")


def _course(curves: TrainingCurves) -> Metadata:
    """Return a training's last loss, its best validation, and the curve as picture and table."""
    entries: Metadata = {"course": _shown(curves_picture(curves), "loss and validation by step")}
    if curves.train:
        entries["loss"] = float(curves.train[-1]["loss"])
    if curves.val:
        entries["best validation R@1"] = max(point.r1 for point in curves.val)
        entries["validation against"] = curves.validated_against or ""
        rows = [
            dg.TableRecord({"step": p.step, "loss": round(p.loss, 4), "R@1": round(p.r1, 4)})
            for p in curves.val
        ]
        entries["validation"] = dg.MetadataValue.table(rows)
    return entries


def of_left_out(step: str) -> Metadata:
    """Return why a run does without a step."""
    way = "rendered objects" if step == SOURCE.name else "a data set (source)"
    return {LEFT_OUT: f"this run reads {way}"}


def of_version(registry: Registry, model: ModelVersion, report: Path) -> Metadata:
    return {
        "model": model.name,
        "version": model.version,
        "aliases": ", ".join(model.aliases),
        "report": dg.MetadataValue.path(report / "report.html"),
        "gates": summed_up(model.gates),
        "registered by": user(),
        "MLflow run": dg.MetadataValue.url(registry.page_of_run(model.run_id)),
        "report in MLflow": dg.MetadataValue.url(
            registry.page_of_run(model.run_id, f"/artifacts/report/{PAGE_FILE}")
        ),
    }


def of_gate(result: GateResult) -> Metadata:
    return {
        "tier": result.tier,
        "outcome": result.outcome,
        "metric": result.metric,
        "value": result.value,
        "threshold": result.threshold,
        "why": result.reason,
    }


def results_table(summary: EvaluationSummary) -> str:
    """Return the figures of an evaluation with their 95 % intervals, as Markdown."""
    tables = (presenter.zero_shot_table(summary), presenter.retrieval_table(summary))
    scores = summary.zero_shot
    basis = f"{presenter.basis(scores)}, chance {presenter.fraction(scores.chance)}"
    parts = [presenter.markdown(table) for table in tables if table.rows]
    parts.append(f"{basis}; trained against {presenter.trained_against(summary)}.")
    return "\n\n".join(parts)


def _quarantined(items: Sequence[Quarantined]) -> dg.MetadataValue:
    records = [
        dg.TableRecord({"key": q.key, "step": q.step, "reason": q.reason})
        for q in items[:_SHOWN_QUARANTINED]
    ]
    return dg.MetadataValue.table(records)
