"""mlflow: logs a training to a run of the registry's experiment, from its first step on.

Promises  an evaluated lens has one run: registering it continues the run of its training
          (`tracking.record`), and adds the points of the curves that a server missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pipelines.execution.logger import Point, Training, TrainingLogger
from pipelines.registry import figures, tracking
from pipelines.registry.loggers.base import LoggerConfig
from pipelines.registry.models import connect, experiment
from pipelines.store.home import Home


class Mlflow(LoggerConfig):
    """Settings of a logger that writes curves to MLflow while the lens is trained."""

    kind: Literal["mlflow"] = "mlflow"

    def open(self, home: Home) -> TrainingLogger:
        return MlflowLogger(home.root)


class MlflowLogger:
    """Logs to the tracking server, or to the home's own store."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def start(self, training: Training) -> Mapping[str, int]:
        self.client = connect(self._home)
        where = experiment(self.client, self._home)
        self.run_id = tracking.start_training(self.client, where, training)
        logged = figures.logged_steps(self.client, self.run_id)
        return {name: max(steps) for name, steps in logged.items()}

    def log(self, points: Sequence[Point]) -> None:
        figures.log_points(self.client, self.run_id, points)

    def finish(self, error: BaseException | None) -> None:
        tracking.end_training(self.client, self.run_id, error)
