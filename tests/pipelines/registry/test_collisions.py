"""Two homes that write one row of a registry at the same moment: both go on, nothing is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from pipelines.registry import models, moves, promotion, writes
from pipelines.registry.version import CHALLENGER, CHAMPION, PREVIOUS
from tests.pipelines.registered import NAME, register
from tests.pipelines.registry.server import mlflow_server
from vitlens_core.errors import TransientError


@contextmanager
def overtaken(home: Path, table: str, times: int = 1) -> Generator[list[str]]:
    """Write the row of the next inserts into a table just before each, as another home would.

    Yields:
        The statements that were overtaken.
    """
    hit: list[str] = []

    def insert_first(
        _connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, many: bool
    ) -> None:
        if not statement.startswith(f"INSERT INTO {table} ") or len(hit) == times:
            return
        # Inside a transaction that has written already, nobody can overtake.
        with suppress(sqlite3.OperationalError):
            with closing(sqlite3.connect(home / "mlflow.db", timeout=0)) as other, other:
                (other.executemany if many else other.execute)(statement, values)
            hit.append(statement)

    event.listen(Engine, "before_cursor_execute", insert_first)
    try:
        yield hit
    finally:
        event.remove(Engine, "before_cursor_execute", insert_first)


@pytest.fixture
def two(home: Path) -> Path:
    """A home whose first version is champion and whose second passed its gates."""
    register(home, 0.5)
    promotion.promote(home, NAME, 1)
    model = register(home, 0.75)
    models.state_gates(home, model, model.gates, "settings")
    return home


@pytest.mark.parametrize("table", ["model_version_tags", "registered_model_aliases"])
def test_a_promotion_goes_on_after_another_home_wrote_the_same_row(two: Path, table: str) -> None:
    with overtaken(two, table) as hit:
        promotion.promote(two, NAME, 2)
    assert len(hit) == 1
    held = models.aliases(models.connect(two), NAME)
    assert (held[CHAMPION], held[PREVIOUS]) == (2, 1)
    assert CHALLENGER not in held
    assert all(entry.done for entry in moves.read(models.connect(two), NAME))


def test_the_first_promotion_goes_on_if_another_home_begins_the_log(home: Path) -> None:
    register(home, 0.5)
    with overtaken(home, "registered_models") as hit:
        promotion.promote(home, NAME, 1)
    assert len(hit) == 1
    assert [move.version for move in promotion.history(home, NAME)] == [1]


@pytest.mark.parametrize(
    "table", ["registered_models", "model_versions", "model_version_tags", "tags", "latest_metrics"]
)
def test_a_registration_goes_on_after_another_home_wrote_the_same_row(
    home: Path, table: str
) -> None:
    with overtaken(home, table):
        model = register(home, 0.5)
    assert model.gates_passed
    assert models.aliases(models.connect(home), NAME) == {CHALLENGER: model.version}


def test_results_of_gates_are_stated_twice_at_once(two: Path) -> None:
    [model, *_] = models.versions(two, "point_cloud")
    client = models.connect(two)
    for key in client.get_model_version(NAME, "2").tags:
        if key.startswith("vitlens.gate"):
            client.delete_model_version_tag(NAME, "2", key)
    with overtaken(two, "model_version_tags", times=4) as hit:
        stated = models.state_gates(two, model, model.gates, "settings")
    assert len(hit) == 4
    assert stated.gates == model.gates


def test_the_last_writer_of_a_tag_stands(two: Path) -> None:
    client = models.connect(two)

    def first(*_: Any) -> None:
        with closing(sqlite3.connect(two / "mlflow.db")) as other, other:
            columns = "workspace, name, version, key, value"
            other.execute(
                f"INSERT OR IGNORE INTO model_version_tags ({columns}) "
                "VALUES ('default', ?, 2, 'x', 'theirs')",
                (NAME,),
            )

    event.listen(Engine, "before_cursor_execute", first)
    try:
        writes.set_version_tag(client, NAME, "2", "x", "ours")
    finally:
        event.remove(Engine, "before_cursor_execute", first)
    assert client.get_model_version(NAME, "2").tags["x"] == "ours"


REFUSED = """
CREATE TRIGGER taken BEFORE INSERT ON model_version_tags WHEN NEW.key = 'x'
BEGIN SELECT RAISE(ABORT, 'UNIQUE constraint failed: model_version_tags.key'); END
"""


@pytest.mark.parametrize(
    "served",
    [
        pytest.param(False, id="database"),
        pytest.param(True, id="server", marks=pytest.mark.nightly),
    ],
)
def test_a_row_that_is_always_taken_is_given_up_with_a_reason(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: bool
) -> None:
    """A server hands on the error of its database in words only."""
    with closing(sqlite3.connect(two / "mlflow.db")) as tables, tables:
        tables.execute(REFUSED)
    if not served:
        with pytest.raises(TransientError, match="others write it all the time"):
            writes.set_version_tag(models.connect(two), NAME, "2", "x", "y")
        return
    with mlflow_server(models.tracking_uri(two), tmp_path / "files") as uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        client = models.connect(two)
        with pytest.raises(TransientError, match="others write it all the time"):
            writes.set_version_tag(client, NAME, "2", "x", "y")


class Failing:
    """A client whose first calls fail with some words, as those of a server do."""

    def __init__(self, words: str, times: int) -> None:
        self.words, self.times, self.asked = words, times, 0

    def create_model_version(self, *_: Any, **__: Any) -> str:
        from mlflow.exceptions import MlflowException

        self.asked += 1
        if self.asked <= self.times:
            raise MlflowException(self.words)
        return "made"


@pytest.mark.parametrize(
    "words",
    [
        "(sqlite3.IntegrityError) UNIQUE constraint failed: model_version_tags.key",
        "(psycopg2.errors.UniqueViolation) duplicate key value violates unique constraint",
        "(pymysql.err.IntegrityError) (1062, \"Duplicate entry 'a' for key 'PRIMARY'\")",
        "(psycopg2.errors.DeadlockDetected) deadlock detected",
        "UPDATE statement on table 'x' expected to update 1 row(s); 0 were matched.",
        "(sqlite3.OperationalError) database is locked",
        "Model Version creation error (name=x). Giving up after 3 attempts.",
    ],
)
def test_what_databases_say_of_a_collision_is_known(words: str) -> None:
    client: Any = Failing(words, 5)
    assert writes.make_version(client, "x", {}) == "made"
    assert client.asked == 6


@pytest.mark.parametrize("words", ["Model Version (name=x) not found", "permission denied", ""])
def test_another_failure_is_not_tried_again(words: str) -> None:
    from mlflow.exceptions import MlflowException

    client: Any = Failing(words, 5)
    with pytest.raises(MlflowException):
        writes.make_version(client, "x", {})
    assert client.asked == 1
