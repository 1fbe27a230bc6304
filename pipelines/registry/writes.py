"""writes: changes of a registry that other homes change at the same moment.

MLflow looks whether a row is there and then inserts it, so of two that write one tag or alias at
once, the second gets the database's own error. Here it is asked again: by then the row is there
and is changed.

Promises  whoever writes last is what stands; a collision never reaches the caller. Order between
          homes is not decided here but by `moves`.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from vitlens_core.errors import TransientError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

_Made = TypeVar("_Made")
_ATTEMPTS, _PAUSE_S = 20, 0.05
# A server hands on the words of its database: those of SQLite, PostgreSQL and MySQL, and of
# SQLAlchemy for a row that went away. The last one is MLflow's own, of a number given twice.
_COLLISIONS = re.compile(
    r"UNIQUE constraint failed|UniqueViolation|duplicate key value|Duplicate entry"
    r"|StaleDataError|were matched|database is locked|deadlock|could not serialize|Giving up after",
    re.IGNORECASE,
)


def set_version_tag(client: MlflowClient, name: str, version: str, key: str, value: str) -> None:
    """Set a tag of a version."""
    _again(lambda: client.set_model_version_tag(name, version, key, value), f"{name} {key}")


def delete_version_tag(client: MlflowClient, name: str, version: str, key: str) -> None:
    """Delete a tag of a version, if it is there."""
    _again(lambda: client.delete_model_version_tag(name, version, key), f"{name} {key}")


def describe_version(client: MlflowClient, name: str, version: str, text: str) -> None:
    """Set the description of a version."""
    _again(lambda: client.update_model_version(name, version, text), f"{name} version {version}")


def set_run_tag(client: MlflowClient, run_id: str, key: str, value: str) -> None:
    """Set a tag of a run."""
    _again(lambda: client.set_tag(run_id, key, value), f"run {run_id} {key}")


def set_alias(client: MlflowClient, name: str, alias: str, version: int) -> None:
    """Let an alias point at a version."""
    _again(lambda: client.set_registered_model_alias(name, alias, str(version)), f"{name}@{alias}")


def delete_alias(client: MlflowClient, name: str, alias: str) -> None:
    """Delete an alias, if it is there."""
    _again(lambda: client.delete_registered_model_alias(name, alias), f"{name}@{alias}")


def make_model(client: MlflowClient, name: str, description: str) -> None:
    """Make a registered model, unless it is there or another home makes it meanwhile."""
    from mlflow.exceptions import MlflowException  # late: MLflow takes seconds

    if client.search_registered_models(f"name = '{name}'"):
        return
    try:
        _again(lambda: client.create_registered_model(name, description=description), name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def make_version(
    client: MlflowClient, name: str, tags: Mapping[str, str], **options: Any
) -> MlflowVersion:
    """Make a version, which gets the next number; `options` are MLflow's."""
    return _again(lambda: client.create_model_version(name, tags=dict(tags), **options), name)


def _again(write: Callable[[], _Made], what: str) -> _Made:
    """Write, again if another home wrote the same row first.

    Raises:
        TransientError: it collided every time.
        MlflowException: it failed for another reason.
    """
    from mlflow.exceptions import MlflowException  # late: MLflow takes seconds

    for _ in range(_ATTEMPTS):
        try:
            return write()
        except MlflowException as error:
            if not _COLLISIONS.search(str(error)):
                raise
            last = error
            time.sleep(random.uniform(0, _PAUSE_S))  # noqa: S311  that two do not meet again
    raise TransientError(f"{what}: others write it all the time; try again later") from last
