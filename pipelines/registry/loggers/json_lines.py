"""json_lines: writes the figures of a training as lines of JSON to `curves/` of the home.

{"step": 3, "train.loss": 1.5, "at": 1764370000.1}
{"event": "ended", "error": null, "at": 1764370090.4}
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pipelines.execution.logger import Point, Training, TrainingLogger
from pipelines.registry.loggers.base import LoggerConfig
from pipelines.store.home import Home


class JsonLines(LoggerConfig):
    """Settings of a logger that writes a file per lens."""

    kind: Literal["json_lines"] = "json_lines"

    def open(self, home: Home) -> TrainingLogger:
        return JsonLinesLogger(home)


class JsonLinesLogger:
    """Appends to the file of a lens, `<modality>-<fingerprint>.jsonl`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def start(self, training: Training) -> Mapping[str, int]:
        folder = self._home.curves()
        self.path = folder / f"{training.modality}-{training.fingerprint[:8]}.jsonl"
        last: dict[str, int] = {}
        for point in _points(self.path):
            last.update(dict.fromkeys(point.keys() - {"step", "at"}, int(point["step"])))
        started = {"modality": training.modality, "lens": training.fingerprint}
        self._append([{"event": "started", **started, "at": time.time()}])
        return last

    def log(self, points: Sequence[Point]) -> None:
        self._append([{"step": p.step, **p.figures, "at": p.at} for p in points])

    def finish(self, error: BaseException | None) -> None:
        message = f"{type(error).__name__}: {error}" if error else None
        self._append([{"event": "ended", "error": message, "at": time.time()}])

    def _append(self, lines: Sequence[Mapping[str, object]]) -> None:
        with self.path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def _points(path: Path) -> list[dict[str, float]]:
    """Read the points of a file, and cut off a last line that a kill left half written."""
    if not path.exists():
        return []
    whole, _, half = path.read_text().rpartition("\n")
    if half:
        path.write_text(f"{whole}\n" if whole else "")
    lines = map(json.loads, whole.splitlines())
    return [line for line in lines if "step" in line]
