"""`vitlens sweep`: its points, what they share, what fails, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dagster import DagsterInstance

from tests.workflows.stage import Stage
from vitlens_core.errors import TransientError
from workflows.cli import main
from workflows.exit_codes import FAILED, INTERRUPTED, MISTAKE
from workflows.spec import load_workflow

_ALL = [name for name in load_workflow("point_cloud").step_names if name != "source"]
STEPS = _ALL[: _ALL.index("evaluation") + 1]  # a point is evaluated, and nothing more


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path))
    return tmp_path


def sweep(stage: Stage | None, axis: str, *options: str, modality: str = "point_cloud") -> Result:
    command = ["sweep", modality, "--profile", "tiny", "--axis", axis, *options]
    return stage.vitlens(*command) if stage else CliRunner().invoke(main, command)


def written(home: Path) -> dict:
    [page] = (home / "sweeps").glob("*/sweep.json")
    return json.loads(page.read_text())


def test_every_point_runs_up_to_its_evaluation_and_registers_nothing(stage: Stage) -> None:
    result = sweep(stage, "head", "--values", "frozen,mlp")

    assert result.exit_code == 0, result.output
    assert stage.asked == STEPS + STEPS
    assert stage.versions == []
    assert stage.reports == []
    assert "sweep.html" in result.output
    found = written(stage.home)
    assert [p["label"] for p in found["points"]] == ["frozen", "mlp"]
    assert [p["is_profile"] for p in found["points"]] == [True, False]
    shared, trained = (p["fingerprints"] for p in found["points"])
    assert {step for step in STEPS if shared[step] != trained[step]} == {"lens", "evaluation"}
    with DagsterInstance.from_config(str(stage.home / "dagster")) as instance:
        tags = [run.tags["vitlens/sweep"] for run in instance.get_runs()]
    assert sorted(tags) == ["head: frozen", "head: mlp"]


def test_points_and_the_users_own_settings_are_both_applied(stage: Stage) -> None:
    sweep(stage, "supervision", "--values", "image,text", "--set", "lens.train.steps=5")

    points = written(stage.home)["points"]
    assert [(p["label"], p["emergent"]) for p in points] == [
        ("image", True),
        ("text", False),
    ]
    assert {p["training"]["steps"] for p in points} == {5}


def test_a_point_that_fails_is_told_and_the_others_are_run(stage: Stage) -> None:
    errors: Iterator[Exception | None] = iter([TransientError("no [disk] left"), None])

    def perhaps_fail() -> None:
        if error := next(errors):
            raise error

    stage.meanwhile["lens"] = perhaps_fail
    result = sweep(stage, "head", "--values", "linear,mlp")

    assert result.exit_code == FAILED
    assert "linear: no [disk] left" in result.output
    assert "Traceback" not in result.output
    failures = [p["failure"] for p in written(stage.home)["points"]]
    assert failures == ["no [disk] left", None]


def test_an_error_that_is_no_message_of_ours_points_to_the_log(stage: Stage) -> None:
    stage.failure = ("lens", ZeroDivisionError("of none"))
    result = sweep(stage, "augmentation")

    assert result.exit_code == FAILED
    reasons = {p["failure"] for p in written(stage.home)["points"]}
    [reason] = reasons
    assert reason.startswith("ZeroDivisionError: of none")
    log = Path(reason.rpartition(" ")[2])
    assert "Traceback" in log.read_text()


def test_a_sweep_that_was_stopped_goes_on(stage: Stage) -> None:
    stage.failure = ("evaluation", KeyboardInterrupt())
    assert sweep(stage, "augmentation").exit_code == INTERRUPTED
    assert not (stage.home / "sweeps").exists()
    lenses = set((stage.home / "artifacts" / "lens").iterdir())
    stage.failure = None
    assert sweep(stage, "augmentation").exit_code == 0
    assert lenses < set((stage.home / "artifacts" / "lens").iterdir())


@pytest.mark.parametrize(
    ("modality", "axis", "options", "expected"),
    [
        ("point_clod", "head", (), ("unknown modality 'point_clod'",)),
        ("point_cloud", "hed", (), ("unknown axis 'hed'; did you mean head?", "temperature")),
        ("point_cloud", "head", ("--values", "linear,conv"), ("'conv'", "frozen, linear, mlp")),
        ("point_cloud", "head", ("--values", ""), ("2 or more points", "frozen, linear, mlp")),
        ("point_cloud", "head", ("--set", "lens.hed=mlp"), ("did you mean head?",)),
        (
            "point_cloud",
            "batch",
            ("--values", "8,1"),
            ("point 1: lens.train.batch_size", "found 1"),
        ),
        (
            "point_cloud",
            "trunk",
            ("--values", "whole,unlok=1"),
            ("point unlok=1: lens.trunk.unlok",),
        ),
        (
            "point_cloud",
            "foundation",
            ("--values", "8,clip:x"),
            ("point clip:x", "open_clip:<model>"),
        ),
        ("imu", "foundation", (), ("imu has no axis foundation", "sweep point_cloud")),
        ("imu", "supervision", (), ("imu has no axis supervision", "image_weight")),
    ],
)
def test_a_mistake_is_explained_before_anything_is_made(
    home: Path, modality: str, axis: str, options: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    result = sweep(None, axis, *options, modality=modality)

    assert result.exit_code == MISTAKE, result.output
    assert "Traceback" not in result.output
    for words in expected:
        assert words in result.output
    assert not any(home.iterdir())
