"""A run names its teacher once, by version: the alias may move while the run goes on."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

from pipelines.registry import models
from workflows.settings import TEACHER_TAG, RunSettings
from workflows.spec import load_workflow

NAME = "vitlens-depth"
SPEC = f"models:/{NAME}@champion"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions of a registered lens, the first of them champion."""
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path))
    client = models.connect(tmp_path)
    client.create_registered_model(NAME)
    for _ in range(2):
        client.create_model_version(NAME, source=tmp_path.as_uri())
    client.set_registered_model_alias(NAME, "champion", "1")
    return tmp_path


def settings(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunSettings:
    """As a process that carries out a step of the run gets them."""
    told = RunSettings(modality="point_cloud", profile="tiny", overrides=[f"teachers.near={SPEC}"])
    context = dg.build_init_resource_context(instance=instance)
    told.setup_for_execution(context)
    told._instance, told._run_id = instance, run.run_id
    return told


def test_a_teacher_stays_the_version_it_was_when_the_run_asked(home: Path) -> None:
    workflow = load_workflow("point_cloud")
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(_nothing)
        first = settings(instance, run).config(workflow)
        models.connect(home).set_registered_model_alias(NAME, "champion", "2")
        second = settings(instance, run).config(workflow)
        other = settings(instance, instance.create_run_for_job(_nothing)).config(workflow)
        again = instance.get_run_by_id(run.run_id)
    assert first.teachers == second.teachers == {"near": f"models:/{NAME}/1"}
    assert other.teachers == {"near": f"models:/{NAME}/2"}
    assert again is not None
    assert again.tags[f"{TEACHER_TAG}point_cloud-near"] == f"models:/{NAME}/1"


@pytest.mark.parametrize(("address", "is_waited_for"), [("", True), ("10.0.0.1:6379", False)])
def test_runs_of_one_machine_go_one_by_one_and_those_of_a_cluster_side_by_side(
    home: Path, monkeypatch: pytest.MonkeyPatch, address: str, is_waited_for: bool
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with dg.DagsterInstance.ephemeral() as instance:
        told = settings(instance, instance.create_run_for_job(_nothing))
    held = FileLock(home / "run.lock", is_singleton=True, thread_local=False).is_locked
    told._lock.close()
    assert held == is_waited_for


@dg.job
def _nothing() -> None:
    """A job without a step."""
