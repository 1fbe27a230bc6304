"""Loggers of the registry: one MLflow run from the first step to the registered version."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from pipelines.config import load_run_config
from pipelines.execution.logger import Point, Training, points_of, report_to
from pipelines.registry import lineage, models
from pipelines.registry.loggers.json_lines import JsonLines
from pipelines.registry.loggers.mlflow import Mlflow
from pipelines.store.artifacts import Artifact, load
from pipelines.store.home import Home
from tests.pipelines.finished_run import CONFIG, curves, finished_run
from tests.pipelines.registered import NAME, challenge, register
from vitlens_core.errors import ConfigError, VitlensError

Tell = Callable[..., None]


@pytest.fixture
def artifacts(home: Path) -> dict[str, Artifact]:
    return finished_run(home)


@pytest.fixture
def training(artifacts: dict[str, Artifact]) -> Training:
    lens = artifacts["lens"].fingerprint
    return Training("point_cloud", lens, 4, {"lens": CONFIG["lens"]})


@pytest.fixture
def train(home: Path, training: Training) -> Tell:
    """Tells MLflow the made-up run's curves, up to a step; may fail afterwards."""

    def tell(until: int = 4, error: BaseException | None = None) -> None:
        with report_to([Mlflow().open(Home(home))], training) as report:
            report([point for point in measured() if point.step <= until])
            if error:
                raise error

    return tell


def measured() -> list[Point]:
    """The made-up run's curves."""
    validated = [point.model_dump() for point in curves().val]
    return [*points_of("train", curves().train), *points_of("val", validated)]


def runs(home: Path) -> list[Run]:
    client = models.connect(home)
    return client.search_runs([models.experiment(client, home)])


def steps(home: Path, run: Run, name: str = "train/loss") -> list[int]:
    history = models.connect(home).get_metric_history(run.info.run_id, name)
    return [metric.step for metric in history]


def test_curves_are_there_while_training_goes_on(home: Path, training: Training) -> None:
    with report_to([Mlflow().open(Home(home))], training) as report:
        report(points_of("train", curves().train[:2]))
        until = time.monotonic() + 60
        while not (found := runs(home)) or not found[0].data.metrics:
            assert time.monotonic() < until, "nothing was logged"
            time.sleep(0.1)
        [run] = found
        assert run.info.status == "RUNNING"
        assert steps(home, run) == [1, 2]
        assert run.data.tags["vitlens.fingerprint.lens"] == training.fingerprint
        assert run.data.params["lens.train.steps"] == "4"
    [run] = runs(home)
    assert run.info.status == "FINISHED"


def test_registering_goes_on_with_the_run_of_the_training(
    home: Path, train: Tell, artifacts: dict[str, Artifact]
) -> None:
    train()
    [begun] = runs(home)
    model = challenge(home, artifacts)
    [run] = runs(home)
    assert run.info.run_id == begun.info.run_id == model.run_id
    assert run.info.status == "FINISHED"
    assert run.data.metrics["zero_shot/top1"] == 0.5
    assert run.data.tags["vitlens.evaluation"] == model.evaluation
    assert steps(home, run) == [1, 2, 3, 4]
    assert steps(home, run, "val/r1") == [2, 4]
    assert [e.fingerprint for e in lineage.lineage(home, NAME, 1).evaluations] == [model.evaluation]


def test_what_a_logger_could_not_tell_is_completed(
    home: Path, train: Tell, artifacts: dict[str, Artifact]
) -> None:
    train(until=3)
    model = challenge(home, artifacts)
    [run] = runs(home)
    assert sorted(steps(home, run)) == [1, 2, 3, 4]
    assert sorted(steps(home, run, "val/loss")) == [2, 4]
    assert run.info.run_id == model.run_id


def test_a_lens_that_is_not_evaluated_is_no_evaluation(home: Path, train: Tell) -> None:
    model = register(home, right=0.25)
    train()
    assert len(runs(home)) == 2
    assert len(lineage.lineage(home, NAME, model.version).evaluations) == 1


def test_another_evaluation_of_a_lens_has_a_run_of_its_own(home: Path, train: Tell) -> None:
    train()
    first = finished_run(home)
    one = challenge(home, first)
    second = finished_run(home, right=0.25)
    # It wrote the lens again, with tensors named in another order.
    other = challenge(home, second | {"lens": load(first["lens"].folder)})
    assert one.run_id != other.run_id
    for run in runs(home):
        assert steps(home, run) == [1, 2, 3, 4]
    assert len(lineage.lineage(home, NAME, other.version).evaluations) == 2


def test_a_killed_training_goes_on_in_its_run(home: Path, train: Tell) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(until=2, error=KeyboardInterrupt())
    assert [run.info.status for run in runs(home)] == ["KILLED"]
    train()
    [run] = runs(home)
    assert run.info.status == "FINISHED"
    assert steps(home, run) == [1, 2, 3, 4]
    assert "vitlens.failure" not in run.data.tags


def test_a_training_that_failed_says_why(home: Path, train: Tell) -> None:
    with pytest.raises(VitlensError):
        train(until=2, error=VitlensError("the loss is nan at step 3"))
    [run] = runs(home)
    assert run.info.status == "FAILED"
    assert run.data.tags["vitlens.failure"] == "VitlensError: the loss is nan at step 3"


def test_a_server_that_is_away_costs_a_warning(
    home: Path,
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    beside = JsonLines().open(Home(home))
    with (
        caplog.at_level(logging.WARNING, "pipelines.execution.logger"),
        report_to([Mlflow().open(Home(home)), beside], training) as report,
    ):
        report(points_of("train", curves().train))
    [record] = caplog.records
    assert "MlflowLogger takes no more figures" in record.getMessage()
    assert [line["step"] for line in lines(home, training) if "step" in line] == [1, 2, 3, 4]


# --- lines of JSON --------------------------------------------------------------------------


def lines(home: Path, training: Training) -> list[dict[str, Any]]:
    path = home / "curves" / f"point_cloud-{training.fingerprint[:8]}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_figures_are_lines_and_a_killed_training_goes_on_in_its_file(
    home: Path, training: Training
) -> None:
    def train_until_killed() -> None:
        with report_to([JsonLines().open(Home(home))], training) as report:
            report(points_of("train", curves().train[:2]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_until_killed()
    path = home / "curves" / f"point_cloud-{training.fingerprint[:8]}.jsonl"
    with path.open("a") as file:
        file.write('{"step": 3, "train.lo')  # the process died here
    with report_to([JsonLines().open(Home(home))], training) as report:
        report(measured())
    found = lines(home, training)
    assert [line.get("event", line.get("step")) for line in found] == [
        *("started", 1, 2, "ended", "started", 3, 4, 2, 4, "ended")
    ]
    assert found[1]["train.loss"] == 6.0
    assert [line["error"] for line in found if line.get("event") == "ended"] == [
        "KeyboardInterrupt: ",
        None,
    ]


# --- chosen in the settings -----------------------------------------------------------------


def test_loggers_are_chosen_by_name() -> None:
    def kinds(*overrides: str) -> list[str]:
        told = load_run_config("point_cloud", {}, {}, overrides).tracking
        return [logger.kind for logger in told.loggers]

    assert kinds() == ["mlflow"]
    assert kinds("tracking.loggers=[json_lines, {kind: mlflow}]") == ["json_lines", "mlflow"]
    assert kinds("tracking.loggers=[]") == []
    with pytest.raises(ConfigError, match=r"loggers\.0\.kind: unknown logger 'mlfow'.*mean mlflow"):
        kinds("tracking.loggers=[mlfow]")
