"""Figures of a training, told to loggers while it goes on.

Promises  a training neither waits for a logger nor ends of one: each is called in a thread of its
          own, in batches, and let go with one warning when it fails. Figures that a restarted
          training computes again are told once.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

logger = logging.getLogger(__name__)

_PAUSE_S = 2.0  # between two batches of a logger
_PATIENCE_S = 60.0  # with a logger that is still busy when training has ended
_MOST_WAITING = 100_000  # points; what a logger that hangs does not take is dropped


@dataclass(frozen=True)
class Training:
    """What is trained, for loggers.

    Attributes:
        fingerprint: of the lens.
        steps: how many there will be.
        config: how it is trained, by section, as the settings of the run have it.
    """

    modality: str
    fingerprint: str
    steps: int
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """Figures of one step, as `train.loss`; `at` is when they were measured [s since 1970]."""

    step: int
    figures: Mapping[str, float]
    at: float = field(default_factory=time.time)


Report = Callable[[Sequence[Point]], None]


class TrainingLogger(Protocol):
    """Where figures go. All methods are called from one thread, in this order."""

    def start(self, training: Training) -> Mapping[str, int]:
        """Begin, or go on with a training that was killed.

        Returns the last step of every figure that is there already.
        """
        ...

    def log(self, points: Sequence[Point]) -> None:
        """Take further points, in the order of their steps."""
        ...

    def finish(self, error: BaseException | None) -> None:
        """The training has ended; `error` is why, if it failed or was stopped."""
        ...


def points_of(part: str, entries: Iterable[Mapping[str, float]]) -> list[Point]:
    """Entries of a curve as points: `{"step": 3, "loss": 1.5}` of `train` has `train.loss`."""
    return [
        Point(int(entry["step"]), {f"{part}.{n}": v for n, v in entry.items() if n != "step"})
        for entry in entries
    ]


@contextmanager
def report_to(loggers: Iterable[TrainingLogger], training: Training) -> Generator[Report]:
    """A function that takes points and hands them to every logger, until the block is left."""
    with ExitStack() as stack:
        threads = [stack.enter_context(_told(one, training)) for one in loggers]

        def report(points: Sequence[Point]) -> None:
            for thread in threads:
                thread.tell(points)

        yield report


@contextmanager
def _told(one: TrainingLogger, training: Training) -> Generator[_LoggerThread]:
    thread = _LoggerThread(one, training)
    thread.start()
    try:
        yield thread
    except BaseException as error:
        thread.end(error)
        raise
    thread.end(None)


@dataclass(frozen=True)
class _End:
    error: BaseException | None


class _LoggerThread(threading.Thread):
    """Calls one logger. A daemon: one that hangs must not keep the process alive."""

    def __init__(self, one: TrainingLogger, training: Training) -> None:
        super().__init__(name=f"logger {type(one).__name__}", daemon=True)
        self.one, self.training = one, training
        self.waiting: queue.Queue[Point | _End] = queue.Queue(_MOST_WAITING)
        self.ending, self.given_up = threading.Event(), False

    def tell(self, points: Sequence[Point]) -> None:
        """Put points where the thread finds them; one that failed or hangs gets none."""
        with suppress(queue.Full):
            for point in points if self.is_alive() else ():
                self.waiting.put_nowait(point)

    def end(self, error: BaseException | None) -> None:
        """Let it take what is waiting, as long as there is patience."""
        self.ending.set()
        deadline = time.monotonic() + _PATIENCE_S
        with suppress(queue.Full):
            self.waiting.put(_End(error), timeout=_PATIENCE_S if self.is_alive() else 0)
        self.join(max(0.0, deadline - time.monotonic()))
        self.given_up = self.is_alive()
        if self.given_up:
            logger.warning("%s did not take the last figures in %.0f s", self.name, _PATIENCE_S)

    def run(self) -> None:
        try:
            last = dict(self.one.start(self.training))
            end = None
            while end is None:
                points, end = self._next_batch()
                if self.given_up:
                    return
                if fresh := [point for point in map(_unseen(last), points) if point.figures]:
                    self.one.log(fresh)
            self.one.finish(end.error)
        except Exception as error:  # of whatever library: training goes on without it
            logger.warning("%s takes no more figures of this training: %s", self.name, error)

    def _next_batch(self) -> tuple[list[Point], _End | None]:
        """What waits, and what else comes within a pause; the end, if it has come."""
        items = [self.waiting.get()]
        self.ending.wait(_PAUSE_S)
        while not self.waiting.empty():
            items.append(self.waiting.get_nowait())
        ends = [item for item in items if isinstance(item, _End)]
        return [item for item in items if isinstance(item, Point)], ends[0] if ends else None


def _unseen(last: dict[str, int]) -> Callable[[Point], Point]:
    """Of a point, the figures that are of a later step than all before; `last` is kept up."""

    def unseen(point: Point) -> Point:
        fresh = {n: v for n, v in point.figures.items() if point.step > last.get(n, -1)}
        last.update(dict.fromkeys(fresh, point.step))
        return Point(point.step, fresh, point.at)

    return unseen
