"""Acceptance through the real registry: every tier on a real tiny lens, a rejected challenger."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.benchmarks import job as benchmarks
from pipelines.benchmarks.step import STEP as BENCHMARKS
from pipelines.benchmarks.step import TABLE, BenchmarksConfig
from pipelines.benchmarks.table import Row, Table, Unscored
from pipelines.config import RunConfig, load_run_config
from pipelines.evaluation.result import Predictions, read_predictions, read_result
from pipelines.evaluation.step import STEP as EVALUATION
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.registry import acceptance, gates, models, promotion
from pipelines.registry.gates.base import TIERS, GateContext
from pipelines.registry.gates.benchmarks import Benchmarks
from pipelines.registry.gates.sanity import Sanity
from pipelines.registry.gates.threshold import Threshold
from pipelines.registry.registry import Registry
from pipelines.registry.settings import AcceptanceConfig
from pipelines.registry.version import ModelVersion
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_model
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.errors import ConfigError

ROW = Row(
    benchmark="modelnet40",
    title="ModelNet40",
    modality="point_cloud",
    kind="zero-shot",
    protocol="",
    licence="",
    metric="top1",
    value=0.7,
    ci95=(0.6, 0.8),
    n=10,
    chance=0.025,
    published={},
    notes=(),
    recordings=100,
)
MODALITY, NAME = "point_cloud", "vitlens-point_cloud"
MODEL = ModelVersion(NAME, 1, (), "run", "evaluation", (), "", datetime.now(UTC))
Flow = dict[str, Artifact]


@pytest.fixture
def flow(
    flow_runtime: Runtime,
    shards_artifact: Artifact,
    foundation_artifact: Artifact,
    targets_artifact: Artifact,
    lens_artifact: Artifact,
    evaluation_artifact: Artifact,
) -> Flow:
    return {
        "benchmarks": benchmarks.run(
            flow_runtime,
            BenchmarksConfig(),
            targets_artifact,
            foundation_artifact,
            lens_artifact,
            evaluation_artifact,
        ),
        "shards": shards_artifact,
        "foundation": foundation_artifact,
        "targets": targets_artifact,
        "lens": lens_artifact,
        "evaluation": evaluation_artifact,
    }


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    return quiet_runtime(tmp_path)


def config(at_least: float = 0, **tiers: Any) -> RunConfig:
    return RunConfig(
        modality=MODALITY,
        gates={"top1": Threshold(name="top1", metric="zero_shot.top1", min=at_least)},
        acceptance=AcceptanceConfig.model_validate({"sanity": None, "held_out": None, **tiers}),
    )


def checked(
    home: Path, runtime: Runtime, flow: Flow, told: RunConfig, registry: Registry | None = None
) -> ModelVersion:
    model = models.register_challenger(home, MODALITY, told, flow)
    return acceptance.check_gates(runtime, registry or Registry(home), told, flow, model)


def worse(runtime: Runtime, flow: Flow) -> Flow:
    """The same lens on the same samples, stated to get none of them right."""
    found = read_predictions(flow["evaluation"])
    build = runtime.store.begin(EVALUATION.name, 0, {"worse": True}, flow)
    wrong = Predictions(tuple(p.model_copy(update={"correct": False}) for p in found))
    contents = {"predictions.json": wrong, "metrics.json": read_result(flow["evaluation"])}
    files = [write_atomic(build.folder / n, encode_model(c)) for n, c in contents.items()]
    return {**flow, "evaluation": build.commit(files, {"samples": len(found)})}


def outcomes(model: ModelVersion) -> dict[str, str]:
    return {gate.name: gate.outcome for gate in model.gates}


def test_a_first_lens_passes_every_tier_there_is_something_to_check(
    home: Path, runtime: Runtime, flow: Flow
) -> None:
    told = config(sanity={"timeout_s": 240})
    model = checked(home, runtime, flow, told)
    assert model.gates_passed, model.gates
    assert outcomes(model) == {
        "sanity": "passed",
        "top1": "passed",
        "held_out": "skipped",
        "non_inferiority": "skipped",
        "benchmarks": "skipped",
    }
    assert "no data set is mounted (modelnet40" in model.gates[-1].reason
    assert "in a fresh process; embeddings finite" in model.gates[0].reason
    tags = models.connect(home).get_model_version(NAME, "1").tags
    assert tags["vitlens.tier.sanity"] == tags["vitlens.tier.thresholds"] == "passed"
    assert tags["vitlens.tier.non_inferiority"] == tags["vitlens.tier.benchmarks"] == "skipped"
    assert {gate.tier for gate in model.gates} <= set(TIERS)


def test_a_challenger_that_is_worse_is_rejected_and_the_champion_stays(
    home: Path, runtime: Runtime, flow: Flow
) -> None:
    first = checked(home, runtime, flow, config())
    promotion.promote(home, NAME, first.version)
    rejected = checked(home, runtime, worse(runtime, flow), config())
    held = {gate.name: gate for gate in rejected.gates}["non_inferiority"]
    hits = [prediction.correct for prediction in read_predictions(flow["evaluation"])]
    assert any(hits)
    assert not held.passed
    assert f"top-1 0.000 against {np.mean(hits):.3f} of version 1 on the same" in held.reason
    with pytest.raises(ConfigError, match="version 2 stays challenger: non_inferiority: top-1"):
        promotion.promote(home, NAME, rejected.version)
    versions = {v.version: v.aliases for v in models.versions(home, MODALITY)}
    assert versions == {1: ("champion",), 2: ("challenger",)}


def test_a_wide_margin_lets_it_pass_and_a_rollback_undoes_it(
    home: Path, runtime: Runtime, flow: Flow
) -> None:
    promotion.promote(home, NAME, checked(home, runtime, flow, config()).version)
    told = config(non_inferiority={"margin": 1})
    second = checked(home, runtime, worse(runtime, flow), told)
    promotion.promote(home, NAME, second.version, "a wide margin")
    promotion.rollback(home, NAME, "it was too wide")
    assert [(m.action, m.version) for m in promotion.history(home, NAME)] == [
        ("promote", 1),
        ("promote", 2),
        ("rollback", 1),
    ]


def test_an_equal_challenger_is_not_inferior(home: Path, runtime: Runtime, flow: Flow) -> None:
    promotion.promote(home, NAME, checked(home, runtime, flow, config()).version)
    again = runtime.store.begin(EVALUATION.name, 0, {"again": True}, flow)
    files = [
        write_atomic(again.folder / name, flow["evaluation"].path(name).read_bytes())
        for name in ("predictions.json", "metrics.json")
    ]
    same = {**flow, "evaluation": again.commit(files, {})}
    model = checked(home, runtime, same, config(non_inferiority={"margin": 0}))
    held = {gate.name: gate for gate in model.gates}["non_inferiority"]
    assert held.passed
    assert held.value == 0


def test_a_champion_that_cannot_be_shown_the_samples_fails_the_gate(
    home: Path, runtime: Runtime, flow: Flow
) -> None:
    promotion.promote(home, NAME, checked(home, runtime, flow, config()).version)
    package = models.download(f"models:/{NAME}@champion", home)
    (package / "artifacts" / "foundation.json").unlink()
    model = checked(home, runtime, worse(runtime, flow), config())
    assert outcomes(model)["non_inferiority"] == "failed"
    held = {gate.name: gate for gate in model.gates}["non_inferiority"]
    assert "version 1 cannot embed these samples: " in held.reason


def test_what_was_checked_is_not_checked_again_unless_told_otherwise(
    home: Path, runtime: Runtime, flow: Flow
) -> None:
    model = checked(home, runtime, flow, config())
    promotion.promote(home, NAME, model.version)
    assert checked(home, runtime, flow, config(), StatedOnce(home)).gates == model.gates
    assert not checked(home, runtime, flow, config(at_least=1.1)).gates_passed


class StatedOnce(Registry):
    def state_gates(self, model, results, settings) -> ModelVersion:
        raise AssertionError("checked again")


def measured(runtime: Runtime, flow: Flow, table: Table) -> Flow:
    """The flow with these benchmarks."""
    build = runtime.store.begin(BENCHMARKS.name, 0, table, {})
    file = write_atomic(build.folder / TABLE, encode_model(table))
    return {**flow, "benchmarks": build.commit([file], {})}


@pytest.mark.parametrize(
    ("name", "at_least", "outcome"),
    [
        ("modelnet40", 0.5, "passed"),
        ("modelnet40", 0.9, "failed"),
        ("scanobjectnn", 0.5, "failed"),  # its files are broken
        ("objaverse_lvis", 0.5, "skipped"),  # not mounted
    ],
)
def test_a_gate_on_a_benchmark(
    runtime: Runtime, flow: Flow, name: str, at_least: float, outcome: str
) -> None:
    broken = {"benchmark": "scanobjectnn", "title": "", "protocol": "", "reason": "no labels"}
    table = Table(
        modalities=(MODALITY,),
        rows=(ROW,),
        failed=(Unscored.model_validate(broken),),
        skipped=(),
    )
    given = measured(runtime, flow, table)
    gate = Threshold(name="public", metric=f"benchmarks.{name}.zero-shot.top1", min=at_least)
    context = GateContext(runtime, Path(), given, EvaluationConfig(), MODEL, None)
    assert gate.check(context).outcome == outcome
    held = Benchmarks(name="benchmarks").check(context)
    assert (held.outcome, held.reason) == ("failed", "scanobjectnn: no labels")


GATE = """
from typing import Literal
from pipelines.registry.gates.base import Gate, GateContext, GateResult, Tier

class Steps(Gate):
    kind: Literal["steps"] = "steps"
    least: int

    @property
    def tier(self) -> Tier:
        return "thresholds"

    def check(self, context: GateContext) -> GateResult:
        steps = context.artifacts["lens"].manifest.counts["steps"]
        said = f"trained for {steps} steps, version {context.challenger.version}"
        said += f" after {context.champion.version}" if context.champion else ""
        enough = steps >= self.least
        return self.result(enough, said, metric="steps", value=steps, threshold=self.least)
"""


def test_a_gate_of_ones_own_is_a_file_and_an_entry_of_the_yaml(
    home: Path, runtime: Runtime, flow: Flow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by its module's name, told its settings, shown the run and the champion."""
    (tmp_path / "steps.py").write_text(GATE)
    monkeypatch.setattr(gates, "__path__", [*gates.__path__, str(tmp_path)])
    promotion.promote(home, NAME, checked(home, runtime, flow, config()).version)
    base = {"gates": {"long": {"kind": "steps", "least": 3}, "top1": {"metric": "zero_shot.top1"}}}
    asked = ["gates.top1.min=0"]
    asked += [f"acceptance.{name}=null" for name in ("sanity", "held_out", "non_inferiority")]
    told = load_run_config(MODALITY, base, {}, asked)
    model = checked(home, runtime, worse(runtime, flow), told)
    assert [gate.name for gate in model.gates] == [
        *("sanity", "long", "top1", "held_out", "non_inferiority", "benchmarks")
    ]
    assert model.gates[1].reason == "trained for 6 steps, version 2 after 1"
    longer = load_run_config(MODALITY, base, {}, [*asked, "gates.long.least=7"])
    assert not checked(home, runtime, worse(runtime, flow), longer).gates_passed
    with pytest.raises(ConfigError, match=r"gates\.long\.most: unknown key.*there are: kind"):
        load_run_config(MODALITY, base, {}, [*asked, "gates.long.most=7"])
    with pytest.raises(ConfigError, match=r"gates\.long\.kind: unknown gate 'step'.*mean steps"):
        load_run_config(MODALITY, base, {}, [*asked, "gates.long.kind=step"])


def test_a_model_that_does_not_load_says_why(home: Path, runtime: Runtime, flow: Flow) -> None:
    models.register_challenger(home, MODALITY, config(), flow)
    package = models.download(f"models:/{NAME}@challenger", home)
    (package / "artifacts" / "lens.safetensors").write_bytes(b"no lens")
    held = Sanity(name="sanity", timeout_s=240).check_package(package)
    assert not held.passed
    assert "does not load in a fresh process: vitlens_core.errors.IntegrityError" in held.reason
