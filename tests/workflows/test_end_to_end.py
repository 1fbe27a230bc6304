"""A miniature run of the whole flow with the real components: Ray, the renderer, the embedded
foundation, Ray Train, MLflow, Dagster. A dozen objects; the lens learns nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from upath import UPath

from pipelines import registry
from pipelines.artifacts import Store
from workflows.spec import load_workflow

STEP_NAMES = load_workflow("point_cloud").step_names
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(home: Path) -> subprocess.CompletedProcess[str]:
    vitlens = Path(sys.executable).with_name("vitlens")
    command = [str(vitlens), "run", "point_cloud", "--profile", "tiny"]
    environment = {**os.environ, "VITLENS_HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(home: Path) -> subprocess.CompletedProcess[str]:
    return run(home)


def test_a_run_ends_with_a_champion(home: Path, first: subprocess.CompletedProcess[str]) -> None:
    assert first.returncode == 0, first.stderr
    assert "Traceback" not in first.stderr
    [version] = registry.versions(home, "point_cloud")
    assert version.aliases == ("champion",)
    assert version.gates_passed


def test_every_step_left_one_whole_artifact(
    home: Path, first: subprocess.CompletedProcess[str]
) -> None:
    artifacts = Store(UPath(home / "artifacts")).artifacts()

    assert sorted(a.manifest.step for a in artifacts) == sorted(STEP_NAMES)
    for artifact in artifacts:
        artifact.verify()


def test_the_report_states_what_was_found(
    home: Path, first: subprocess.CompletedProcess[str]
) -> None:
    report = json.loads((home / "latest" / "report.json").read_text())

    scores = report["zero_shot"]
    assert {"top1", "top3", "top5", "class_mean", "chance", "ci95", "n"} <= set(scores)
    assert scores["chance"] == pytest.approx(1 / 3)
    assert set(report["retrieval"]) == {"point_to_text", "point_to_image"}
    assert report["objects"] == {"ok": 12, "quarantined": 0}
    assert report["model"] == {
        "name": "vitlens-point_cloud",
        "version": 1,
        "aliases": ["champion"],
    }
    assert {gate["name"] for gate in report["gates"]} == {"times_chance", "ratio_to_foundation"}
    assert set(STEP_NAMES) <= set(report["seconds"])
    assert (home / "latest" / "report.html").stat().st_size > 0


def test_a_second_run_reuses_everything_and_says_so(
    home: Path, first: subprocess.CompletedProcess[str]
) -> None:
    second = run(home)

    assert second.returncode == 0, second.stderr
    said = [line.split() for line in second.stderr.splitlines()]
    for step in STEP_NAMES:
        assert [step, "reused"] in said
    assert len(registry.versions(home, "point_cloud")) == 1
