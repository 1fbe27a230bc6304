"""Two homes that write one row of a registry at the same moment: both go on, nothing is lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from pipelines.registry import models, moves, promotion, writes
from pipelines.registry.models import CHALLENGER, CHAMPION, PREVIOUS
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
        _connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, _many: bool
    ) -> None:
        if statement.startswith(f"INSERT INTO {table} ") and len(hit) < times:
            hit.append(statement)
            with closing(sqlite3.connect(home / "mlflow.db")) as other, other:
                other.execute(statement, values)

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


def test_a_number_that_was_given_to_others_is_asked_for_again(two: Path) -> None:
    """MLflow itself gives up after three numbers; entries of the others have no meaning here."""
    with overtaken(two, "model_versions", times=5) as hit:
        promotion.promote(two, NAME, 2)
    assert len(hit) == 5
    assert models.aliases(models.connect(two), NAME)[CHAMPION] == 2


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


@pytest.mark.parametrize("served", [False, True], ids=["database", "server"])
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


def test_another_failure_is_not_tried_again(two: Path) -> None:
    from mlflow.exceptions import MlflowException

    asked: list[str] = []

    def count(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        asked.extend([statement] * statement.startswith("SELECT"))

    event.listen(Engine, "before_cursor_execute", count)
    try:
        with pytest.raises(MlflowException, match="not found"):
            writes.set_version_tag(models.connect(two), NAME, "99", "x", "y")
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert len([s for s in asked if "FROM model_versions" in s]) == 1
