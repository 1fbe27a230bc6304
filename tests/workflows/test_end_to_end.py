"""A miniature run of the whole flow with the real components: Ray, the renderer, the embedded
foundation, Ray Train, MLflow, Dagster. A dozen objects; the lens learns nothing.

The run is killed twice on its way, as a machine that goes down would, and started again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from upath import UPath

from pipelines.registry import models
from pipelines.store.artifact_store import Store
from workflows.spec import load_workflow

STEP_NAMES = [name for name in load_workflow("point_cloud").step_names if name != "source"]
DEADLINE_S = 400
pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]


def start(home: Path) -> subprocess.Popen[str]:
    vitlens = Path(sys.executable).with_name("vitlens")
    command = [str(vitlens), "run", "point_cloud", "--profile", "tiny"]
    # On Ray's workers, as larger runs are.
    command += ["--set", "resources.render_workers=1", "--set", "resources.train_workers=1"]
    command += ["--set", "resources.encode_workers=1"]
    environment = {**os.environ, "VITLENS_HOME": str(home)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=pipe, stderr=pipe, text=True
    )


def run(home: Path) -> subprocess.CompletedProcess[str]:
    process = start(home)
    output, error = process.communicate(timeout=DEADLINE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, output, error)


def kill_when(process: subprocess.Popen[str], seen: Callable[[], bool]) -> None:
    """Kill the run and everything it started."""
    until = time.monotonic() + DEADLINE_S
    while not seen():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "the run never came this far"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def manifests(home: Path) -> dict[str, int]:
    """Finished artifacts by folder, with the time their manifest was written."""
    found = (home / "artifacts").glob("*/*/manifest.json")
    return {str(path.parent.relative_to(home)): path.stat().st_mtime_ns for path in found}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def finished_before_kills(home: Path) -> list[dict[str, int]]:
    """What was finished when the run was killed amid the renders, and after the targets."""
    artifacts = home / "artifacts"
    kill_when(start(home), lambda: any((artifacts / "renders").glob("*/*.record.json")))
    amid_renders = manifests(home)
    kill_when(start(home), lambda: any((artifacts / "targets").glob("*/manifest.json")))
    return [amid_renders, manifests(home)]


@pytest.fixture(scope="module")
def first(
    home: Path, finished_before_kills: list[dict[str, int]]
) -> subprocess.CompletedProcess[str]:
    return run(home)


def test_a_killed_run_redoes_nothing_that_was_done(
    home: Path,
    finished_before_kills: list[dict[str, int]],
    first: subprocess.CompletedProcess[str],
) -> None:
    assert first.returncode == 0, first.stderr
    finished = manifests(home)
    for before in finished_before_kills:
        assert before.items() <= finished.items()
    assert len(finished_before_kills[0]) < len(finished_before_kills[1]) < len(finished)
    assert not [p for p in (home / "artifacts").rglob("*") if p.name.endswith((".tmp", ".part"))]


def test_a_run_ends_with_a_champion(home: Path, first: subprocess.CompletedProcess[str]) -> None:
    assert first.returncode == 0, first.stderr
    assert "Traceback" not in first.stderr
    [version] = models.versions(home, "point_cloud")
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
    assert {"top1", "class_mean", "chance", "ci95", "n"} <= set(scores)
    assert not {"top3", "top5"} & set(scores), "of three classes they say nothing"
    assert scores["chance"] == pytest.approx(1 / 3)
    assert set(report["retrieval"]) == {"point_to_text", "point_to_image"}
    assert report["objects"] == {"ok": 12, "quarantined": 0}
    assert report["model"] == {
        "name": "vitlens-point_cloud",
        "version": 1,
        "aliases": ["champion"],
    }
    assert [gate["name"] for gate in report["gates"]] == [
        *("sanity", "times_chance", "ratio_to_foundation"),
        *("held_out", "non_inferiority", "benchmarks"),
    ]
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
    assert len(models.versions(home, "point_cloud")) == 1
