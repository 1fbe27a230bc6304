"""Loggers of a training: told everything once, in order, and never in its way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from pipelines.execution.logger import Point, Training, points_of, report_to

TRAINING = Training("imu", "f" * 64, 4, {})


@dataclass
class Listening:
    """Writes down what it is told; holds training up while `busy`, if it could."""

    known: Mapping[str, int] = field(default_factory=dict)
    fails: bool = False
    busy: threading.Event = field(default_factory=threading.Event)
    told: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    ended: list[BaseException | None] = field(default_factory=list)

    def start(self, training: Training) -> Mapping[str, int]:
        assert training is TRAINING
        return self.known

    def log(self, points: Sequence[Point]) -> None:
        if self.fails:
            raise OSError("the server is away")
        assert self.busy.wait(60)
        self.told += [(point.step, dict(point.figures)) for point in points]

    def finish(self, error: BaseException | None) -> None:
        self.ended.append(error)


def listening(**told: object) -> Listening:
    one = Listening(**told)  # ty: ignore[invalid-argument-type]
    one.busy.set()
    return one


def points(*steps: int) -> list[Point]:
    return points_of("train", [{"step": step, "loss": 1 / step} for step in steps])


def test_entries_of_a_curve_become_points() -> None:
    (point,) = points_of("val", [{"step": 3, "loss": 1.5, "r1": 0.5}])
    assert (point.step, point.figures) == (3, {"val.loss": 1.5, "val.r1": 0.5})


def test_every_logger_is_told_everything_in_order() -> None:
    one, other = listening(), listening()
    with report_to([one, other], TRAINING) as report:
        for step in range(1, 50):
            report(points(step))
    assert one.told == other.told == [(s, {"train.loss": 1 / s}) for s in range(1, 50)]
    assert one.ended == other.ended == [None]


def test_training_does_not_wait_for_a_logger() -> None:
    slow, quick = Listening(), listening()
    with report_to([slow, quick], TRAINING) as report:
        for step in range(1, 50):
            report(points(step))
        assert slow.told == []
        slow.busy.set()
    assert len(slow.told) == len(quick.told) == 49


def test_what_is_computed_again_is_told_once() -> None:
    """After a lost worker from the last checkpoint on; after a kill, what the logger has."""
    one, killed = listening(), listening(known={"train.loss": 4})
    with report_to([one, killed], TRAINING) as report:
        report(points(1, 2, 3, 4))
        report(points(3, 4, 5))
        report(points_of("val", [{"step": 4, "r1": 0.5}]))
    assert [step for step, _ in one.told] == [1, 2, 3, 4, 5, 4]
    assert killed.told == [(5, {"train.loss": 0.2}), (4, {"val.r1": 0.5})]


def test_a_logger_that_fails_is_let_go_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    broken, whole = listening(fails=True), listening()
    with caplog.at_level(logging.WARNING), report_to([broken, whole], TRAINING) as report:
        for step in range(1, 200):
            report(points(step))
    assert len(whole.told) == 199
    assert not broken.ended
    assert [record.getMessage() for record in caplog.records] == [
        "logger Listening takes no more figures of this training: the server is away"
    ]


def test_a_training_that_fails_says_so_to_its_loggers() -> None:
    one = listening()

    def train() -> None:
        with report_to([one], TRAINING) as report:
            report(points(1))
            raise ZeroDivisionError("of none")

    with pytest.raises(ZeroDivisionError, match="of none"):
        train()
    assert one.told == [(1, {"train.loss": 1.0})]
    assert [type(error) for error in one.ended] == [ZeroDivisionError]
