"""A stage for the workflow: steps of a few bytes, a registry in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from click.testing import CliRunner, Result

from pipelines import sweep
from pipelines.benchmarks.table import Table
from pipelines.config import RunConfig
from pipelines.evaluation.result import EvaluationResult, Recalls, Scores, Supervision
from pipelines.execution.runtime import Runtime
from pipelines.execution.shard_tasks import ShardRecord
from pipelines.flow import FlowStep
from pipelines.lens.curves import TrainingCurves
from pipelines.registry import models
from pipelines.registry.registry import Registry
from pipelines.registry.version import ModelVersion
from pipelines.report.content import PAGE_FILE, REPORT_FILE, Report, Run, encode_readable
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.home import Home
from pipelines.store.pieces import Piece
from pipelines.store.shards import encode_model
from vitlens_core.errors import ConfigError
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.metrics import Interval
from workflows.cli import main
from workflows.runner import definitions
from workflows.settings import run_config
from workflows.workplace import Retries, Workplace

CHANCE = 0.25
# What reports read of some steps; here every step has them all.
FILES = {
    "foundation.json": FoundationInfo(
        spec="lit:a+b", embed_dim=8, image_size_px=28, digest="0" * 64
    ),
    "curves.json": TrainingCurves(train=({"step": 1, "loss": 1.0},), validated_against=None),
    "benchmarks.json": Table(modalities=("point_cloud",), rows=(), failed=(), skipped=()),
}
DEFINITIONS = definitions()


def evaluation(top1: float, supervision: Mapping[str, float]) -> EvaluationResult:
    same = Interval(top1, top1, top1)
    scores = Scores(top1=same, top3=same, top5=same, class_mean=same, chance=CHANCE, n=8, groups=8)
    return EvaluationResult(
        modality="point_cloud",
        split="test",
        classes=("a", "b", "c", "d"),
        zero_shot=scores,
        times_chance=top1 / CHANCE,
        retrieval={"point_to_text": Recalls(r1=same, r5=same, r10=same)},
        supervision=Supervision.model_validate(supervision),
        emergent="text" not in supervision,
        foundation_image_zero_shot=scores,
        ratio_to_foundation=1.0,
        confusion=((2, 0, 0, 0), (0, 2, 0, 0), (0, 0, 2, 0), (0, 0, 0, 2)),
    )


@dataclass
class MemoryRegistry(Registry):
    """A registry whose versions are forgotten with it; newest first."""

    known: list[ModelVersion] = field(default_factory=list)

    def register_challenger(self, modality, config, artifacts) -> ModelVersion:
        made = ModelVersion(
            name=models.model_name(modality),
            version=len(self.known) + 1,
            aliases=("challenger",),
            run_id="run",
            evaluation=artifacts["evaluation"].fingerprint,
            gates=(),
            gate_settings="",
            created_at=datetime.now(UTC),
        )
        self.known.insert(0, made)
        return made

    def state_gates(self, model, results, settings) -> ModelVersion:
        stated = replace(model, gates=tuple(results), gate_settings=settings)
        self.known = [stated if v.version == model.version else v for v in self.known]
        return stated

    def log_report(self, model, folder) -> None: ...

    def versions(self, modality) -> list[ModelVersion]:
        return self.known

    def promote(self, model, why) -> ModelVersion:
        if failed := [gate.reason for gate in model.gates if not gate.passed]:
            raise ConfigError("; ".join(failed))
        promoted = replace(model, aliases=("champion",))
        self.known = [
            promoted if v.version == model.version else replace(v, aliases=()) for v in self.known
        ]
        return promoted

    def settings(self, model) -> dict[str, str]:
        return {}

    def pages(self, model) -> dict[str, str]:
        run = f"http://mlflow/{model.run_id}"
        return {"run": run, "report": f"{run}/artifacts/report/report.html"}

    def page_of_training(self, lens) -> str:
        return f"http://mlflow/of/{lens}"

    def replaced(self, model) -> None:
        return None


@dataclass
class Stage:
    """What the stubbed run was asked for, and how it is to go."""

    home: Path
    top1: float = 1.0
    failure: tuple[str, BaseException] | None = None
    meanwhile: dict[str, Callable[[], object]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    received: dict[str, Mapping[str, Artifact]] = field(default_factory=dict)
    reports: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.registry = MemoryRegistry(self.home)
        home = Home(self.home)
        write_sweep = partial(sweep.write, record=lambda *_: "run")
        self.workplace = Workplace(
            home, self.registry, self.run_step, self.write_report, write_sweep, Retries(2, 0.01)
        )

    @property
    def versions(self) -> list[ModelVersion]:
        return self.registry.known

    def run_step(
        self,
        step: FlowStep,
        runtime: Runtime,
        config: RunConfig,
        inputs: Mapping[str, Artifact],
        piece: Piece | None = None,
    ) -> Artifact:
        self.asked.append(step.name)
        self.received[step.name] = inputs
        if happens := self.meanwhile.get(step.name):
            happens()
        if self.failure and self.failure[0] == step.name:
            raise self.failure[1]
        settings: dict[str, Any] = {"top1": self.top1, "objects": config.objects.count}
        if step.name == "lens":
            settings["lens"] = config.lens.model_dump(mode="json")
        supervision = config.lens.train.weights(())
        scored = evaluation(self.top1, supervision)
        part = piece is not None or any(artifact.is_part for artifact in inputs.values())
        build = runtime.store.begin(step.name, 1, settings, inputs, part=part)
        if build.existing:
            return build.existing
        files = [
            write_atomic(build.folder / name, encode_model(content))
            for name, content in {"metrics.json": scored, **FILES}.items()
        ]
        record = ShardRecord(file=files[0], samples=8)
        write_atomic(build.folder / "train-00000.record.json", record.model_dump_json().encode())
        files.append(write_atomic(build.folder / "train-00000.tar", b""))
        return build.commit(files, {"samples": 8})

    def write_report(self, home, config, artifacts, gates, model, profile, pages) -> Path:
        self.reports.append({"model": model, "gates": gates, "artifacts": artifacts})
        folder = Path(home, "latest")
        folder.mkdir(exist_ok=True)
        report = Report.of(Run(config, artifacts, gates, model, profile, pages))
        (folder / REPORT_FILE).write_bytes(encode_readable(report))
        (folder / PAGE_FILE).write_text("<html>")
        return folder

    def vitlens(self, *arguments: str) -> Result:
        """The command, on this stage."""
        return CliRunner().invoke(main, arguments, obj=self.workplace)

    def materialise(self, instance: dg.DagsterInstance, *names: str, sets: tuple[str, ...] = ()):
        """Run the job, or the named assets alone, as the UI does."""
        job = DEFINITIONS.resolve_job_def("point_cloud")
        selected = [dg.AssetKey(["point_cloud", name]) for name in names] or None
        with self.workplace.entered():
            return job.execute_in_process(
                run_config("point_cloud", "tiny", sets),
                instance,
                raise_on_error=False,
                asset_selection=selected,
            )
