"""The workflow with its steps and its registry replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.defs_state.base import set_defs_state_storage

from pipelines import report
from pipelines.flow import FlowStep
from pipelines.registry import models, promotion
from pipelines.registry.gates.non_inferiority import NonInferiority
from tests.workflows.stage import Stage


@pytest.fixture(autouse=True)
def own_context() -> Iterator[None]:
    """Dagster keeps the last instance in a context variable, which outlives it in some tests."""
    with set_defs_state_storage(None):
        yield


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path))
    stage = Stage(tmp_path)
    monkeypatch.setattr(FlowStep, "run", lambda step, *given: stage.run_step(step, *given))
    monkeypatch.setattr(models, "register_challenger", stage.register)
    monkeypatch.setattr(models, "state_gates", stage.state_gates)
    monkeypatch.setattr(promotion, "promote", stage.promote)
    monkeypatch.setattr(models, "versions", lambda home, modality: stage.versions)
    monkeypatch.setattr(models, "download", lambda source, home: Path("nowhere"))
    alike = "lenses of this stage are all alike"
    monkeypatch.setattr(NonInferiority, "check", lambda gate, _: gate.skip(alike))
    monkeypatch.setattr(models, "log_report", lambda home, model, folder: None)
    monkeypatch.setattr(report, "write", stage.write_report)
    return stage


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
