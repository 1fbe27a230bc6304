"""logs: a record is one line that says what it is of, without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from upath import UPath

from pipelines.execution import logs
from pipelines.execution.bulk import build_shards
from pipelines.execution.runtime import Resources, Runtime
from pipelines.execution.shard_tasks import ShardTask
from pipelines.store.artifact_store import Store
from pipelines.store.home import Home
from pipelines.store.shards import Sample
from vitlens_core.errors import ConfigError


class Lines(logging.Handler):
    """Keeps what a formatter makes of the records."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    monkeypatch.setenv(logs.FORMAT, "json")
    handler, logger = Lines(), logging.getLogger("pipelines")
    handler.setFormatter(logs.formatter())
    logger.addHandler(handler)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(before)
    logger.removeHandler(handler)


class _OneSample:
    def samples(self, task: ShardTask) -> list[Sample]:
        return [{"__key__": f"{task.name}-0", "bin": b"abc"}]


def test_every_shard_is_a_line_with_its_run_step_and_figures(lines: Lines, tmp_path: Path) -> None:
    home, store = Home(tmp_path), Store(UPath(tmp_path / "artifacts"))
    runtime = Runtime(store, Resources(render_workers=0), Console(quiet=True), home)
    tasks = [ShardTask("train-00000"), ShardTask("train-00001")]
    with logs.where(run="5c0e"), logs.where(step="renders"):
        build_shards(runtime, store.begin("renders", 1, {}, {}), tasks, _OneSample)
    told = [json.loads(line) for line in lines.lines]
    assert [line["shard"] for line in told] == ["train-00000", "train-00001"]
    for line in told:
        assert (line["run"], line["step"], line["samples"]) == ("5c0e", "renders", 1)
        assert (line["quarantined"], line["message"]) == (0, "made")
        assert line["bytes"] > 0
        assert line["seconds"] >= 0


def test_a_record_is_one_line_without_secrets(lines: Lines) -> None:
    logger = logging.getLogger("pipelines.test")
    try:
        raise OSError("https://user:a-password@example.com\nis away")
    except OSError:
        logger.exception("cannot fetch\n%s", "s3://b/k?token=abcdef")
    [line] = lines.lines
    assert "\n" not in line
    assert "a-password" not in line
    assert "abcdef" not in line
    assert json.loads(line)["level"] == "ERROR"
    assert "is away" in json.loads(line)["error"]


def test_what_records_are_of_ends_with_the_block(lines: Lines) -> None:
    with logs.where(step="lens"):
        assert logs.place() == {"step": "lens"}
    logging.getLogger("pipelines.test").info("later")
    assert "step" not in json.loads(lines.lines[0])


def test_text_says_the_same_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(logs.FORMAT, raising=False)
    record = logging.makeLogRecord({"msg": "made", "name": "n", **logs.facts(samples=3)})
    with logs.where(step="renders", shard="train-00000"):
        shown = logs.formatter().format(record)
    assert shown.endswith("made step=renders shard=train-00000 samples=3")


def test_an_unknown_form_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.FORMAT, "xml")
    with pytest.raises(ConfigError, match="there are: text, json"):
        logs.formatter()
