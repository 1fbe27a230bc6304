"""logger: reports the figures of a training to loggers while it runs.

Promises  a training neither waits for a logger nor fails because of one: each is called in a
          thread of its own, in batches, and dropped with one warning if it fails. Figures that a
          restarted training computes again are reported once.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

logger = logging.getLogger(__name__)

_PAUSE_S = 2.0  # between two batches of a logger
_PATIENCE_S = 60.0  # for a logger that is still busy when training has ended
_MOST_WAITING = 100_000  # points in the queue of a logger that hangs; further ones are dropped


@dataclass(frozen=True)
class Training:
    """What is trained, for loggers.

    Attributes:
        fingerprint: fingerprint of the lens.
        steps: number of steps of the whole training.
        config: settings of the training, by section as in the settings of the run.
    """

    modality: str
    fingerprint: str
    steps: int
    config: Mapping[str, object]


@dataclass(frozen=True)
class Point:
    """Figures of one step, such as `train.loss`, and when they were measured [s since 1970]."""

    step: int
    figures: Mapping[str, float]
    at: float = field(default_factory=time.time)


Report = Callable[[Sequence[Point]], None]


class TrainingLogger(Protocol):
    """A receiver of figures. All methods are called from one thread, in this order."""

    def start(self, training: Training) -> Mapping[str, int]:
        """Begin, or continue with a training that was killed.

        Returns the last step of every figure that was logged before.
        """
        ...

    def log(self, points: Sequence[Point]) -> None:
        """Take further points, in the order of their steps."""
        ...

    def finish(self, error: BaseException | None) -> None:
        """The training has ended; `error` is why, if it failed or was stopped."""
        ...


def points_of(part: str, entries: Iterable[Mapping[str, float]]) -> list[Point]:
    """Turn entries of a curve into points: `{"step": 3, "loss": 1.5}` → `train.loss` at 3."""
    return [
        Point(int(entry["step"]), {f"{part}.{n}": v for n, v in entry.items() if n != "step"})
        for entry in entries
    ]


@contextmanager
def report_to(loggers: Iterable[TrainingLogger], training: Training) -> Generator[Report]:
    """Give the block a function that passes points to every logger."""
    with ExitStack() as stack:
        threads = [stack.enter_context(_logger_thread(each, training)) for each in loggers]

        def report(points: Sequence[Point]) -> None:
            for thread in threads:
                thread.tell(points)

        yield report


@contextmanager
def _logger_thread(target: TrainingLogger, training: Training) -> Generator[_LoggerThread]:
    thread = _LoggerThread(target, training)
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
    """Calls one logger. It is a daemon: a logger that hangs must not keep the process alive."""

    def __init__(self, target: TrainingLogger, training: Training) -> None:
        super().__init__(name=f"logger {type(target).__name__}", daemon=True)
        self.target, self.training = target, training
        self.waiting: queue.Queue[Point | _End] = queue.Queue(_MOST_WAITING)
        self.ending, self.given_up = threading.Event(), False

    def tell(self, points: Sequence[Point]) -> None:
        """Queue points for the thread; a logger that failed or hangs gets none."""
        with suppress(queue.Full):
            for point in points if self.is_alive() else ():
                self.waiting.put_nowait(point)

    def end(self, error: BaseException | None) -> None:
        """Let the logger take what is queued, within `_PATIENCE_S`."""
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
            last = dict(self.target.start(self.training))
            end = None
            while end is None:
                points, end = self._next_batch()
                if self.given_up:
                    return
                if fresh := [point for point in map(_unseen(last), points) if point.figures]:
                    self.target.log(fresh)
            self.target.finish(end.error)
        except Exception as error:  # any error of any library: training goes on without the logger
            logger.warning("%s takes no more figures of this training: %s", self.name, error)

    def _next_batch(self) -> tuple[list[Point], _End | None]:
        """Return the points that come until the next pause ends, and the end if it has come."""
        items = [self.waiting.get()]
        self.ending.wait(_PAUSE_S)
        while not self.waiting.empty():
            items.append(self.waiting.get_nowait())
        ends = [item for item in items if isinstance(item, _End)]
        return [item for item in items if isinstance(item, Point)], ends[0] if ends else None


def _unseen(last: dict[str, int]) -> Callable[[Point], Point]:
    """Make a filter that drops figures of steps not later than `last`, and updates `last`."""

    def unseen(point: Point) -> Point:
        fresh = {n: v for n, v in point.figures.items() if point.step > last.get(n, -1)}
        last.update(dict.fromkeys(fresh, point.step))
        return Point(point.step, fresh, point.at)

    return unseen
