"""metadata: what Dagster's UI shows for an artifact, a registered version and a gate."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

from pipelines.evaluation import presenter
from pipelines.evaluation.result import EvaluationResult, EvaluationSummary, read_result
from pipelines.lens.curves import TrainingCurves, read_curves
from pipelines.registry.gates.base import GateResult, summed_up
from pipelines.registry.tracking import user
from pipelines.registry.version import ModelVersion
from pipelines.report import confusion_picture
from pipelines.report.content import PAGE_FILE
from pipelines.report.curves import picture as curves_picture
from pipelines.source.step import STEP as SOURCE
from pipelines.store.artifacts import Artifact, Quarantined
from vitlens_core.errors import VitlensError
from workflows.artifact_io import FOLDER, LEFT_OUT
from workflows.workplace import Workplace

Metadata = dict[str, dg.MetadataValue | str | float | bool]
_SHOWN_QUARANTINED = 200  # Dagster stores metadata in its event log; `quarantine.jsonl` lists all


def of_artifact(artifact: Artifact) -> Metadata:
    """Return an artifact's counts, quarantined samples with reasons, and folder."""
    manifest = artifact.manifest
    entries = _seen_first(artifact)
    entries |= {
        FOLDER: dg.MetadataValue.path(str(artifact.folder)),
        "fingerprint": artifact.fingerprint,
        "reused": artifact.reused,
        "seconds": manifest.seconds,
        "size [MB]": round(sum(f.size_bytes for f in manifest.files) / 1e6, 2),
        "quarantined": manifest.quarantined,
        **manifest.counts,
    }
    if manifest.quarantined:
        entries["quarantined samples"] = _quarantined(artifact.quarantined())
    return entries


def _seen_first(artifact: Artifact) -> Metadata:
    """Return the results of a lens or an evaluation, which Dagster shows above the rest."""
    if artifact.manifest.step == "evaluation":
        return _results(read_result(artifact))
    if artifact.manifest.step == "lens":
        return _course(read_curves(artifact))
    return {}


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
        # Numbers, so that Dagster draws them over the versions.
        "top-1": round(result.zero_shot.top1.value, 4),
        "times chance": round(result.times_chance, 2),
        "results": dg.MetadataValue.md(results_table(result)),
        "confusion": _shown(confusion_picture.picture(result), "which classes are confused"),
    }


def _shown(svg: str, alt: str) -> dg.MetadataValue:
    """Return a picture as Dagster's pages show it."""
    encoded = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/svg+xml;base64,{encoded})")


def _course(curves: TrainingCurves) -> Metadata:
    """Return a training's last loss, its best validation, and the curve as picture and table."""
    entries: Metadata = {"course": _shown(curves_picture(curves), "loss and validation by step")}
    if curves.train:
        entries["loss"] = round(float(curves.train[-1]["loss"]), 4)
    if curves.val:
        entries["best validation R@1"] = round(max(point.r1 for point in curves.val), 4)
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


def of_version(pages: Mapping[str, str], model: ModelVersion, report: Path) -> Metadata:
    """Return what is known of a registered version.

    Args:
        pages: as `Registry.pages`.
    """
    return {
        "model": model.name,
        "version": model.version,
        "aliases": ", ".join(model.aliases),
        "report": dg.MetadataValue.path(report / "report.html"),
        "gates": summed_up(model.gates),
        "registered by": user(),
        **{f"MLflow {what}": dg.MetadataValue.url(address) for what, address in pages.items()},
    }


def of_gate(result: GateResult) -> Metadata:
    entries: Metadata = {"tier": result.tier, "outcome": result.outcome, "why": result.reason}
    if result.skipped:
        return entries  # nothing was measured: a plot would show zeros
    measured: Metadata = {"value": round(result.value, 4), "threshold": result.threshold}
    return entries | {"metric": result.metric} | measured


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
