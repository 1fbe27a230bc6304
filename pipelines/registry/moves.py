"""moves: the log of a model's promotions and rollbacks, in the order that the server gives them.

Reads and
writes    versions of the registered model `<name>.moves`, one per entry, in their tags.
Promises  the server numbers the entries, so no clock decides their order. An entry states after
          which one it was made; if another came between them, it is void and whoever made it
          tries again. So of two that move a model at once, in whatever homes, one comes after the
          other.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.registry import writes

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)
_MOVE, _DONE = "vitlens.move", "vitlens.done"


class Move(BaseModel):
    """One entry of a model's history."""

    model_config = ConfigDict(frozen=True)

    action: Literal["promote", "rollback"]
    version: int = Field(ge=1, description="the champion from then on")
    before: int | None = Field(description="the champion before; none if there was none")
    who: str = Field(
        description="who made it, as `tracking.user` names people, or what: a schedule"
    )
    at: datetime = Field(description="by the clock of whoever made it; it decides nothing")
    why: str
    forced: bool = False
    after: int = Field(0, ge=0, description="number of the last entry that its maker had seen")


class Entry(BaseModel):
    """A move with its number, and whether its aliases were set."""

    model_config = ConfigDict(frozen=True)

    number: int
    move: Move
    done: bool


def read(client: MlflowClient, name: str) -> list[Entry]:
    """Return the valid entries, oldest first; those that cannot be read are named and left out."""
    valid: list[Entry] = []
    found = client.search_model_versions(f"name = '{log_name(name)}'")
    for version in sorted(found, key=lambda each: int(each.version)):
        number = int(version.version)
        try:
            move = Move.model_validate_json(version.tags.get(_MOVE, ""))
        except ValidationError as error:
            logger.warning(
                "%s: entry %d is left out, it is no move: %s",
                log_name(name),
                number,
                error.errors()[0]["msg"],
            )
            continue
        if not valid or valid[-1].number <= move.after:
            valid.append(Entry(number=number, move=move, done=_DONE in version.tags))
    return valid


def append(client: MlflowClient, name: str, move: Move) -> int | None:
    """Add an entry, and return its number; None if another one came before it."""
    log = log_name(name)
    writes.make_model(client, log, f"Promotions of {name}; do not edit.")
    made = writes.make_version(
        client,
        log,
        {_MOVE: move.model_dump_json()},
        source=f"models:/{name}/{move.version}",  # a server takes no entry without files
    )
    number = int(made.version)
    return number if any(entry.number == number for entry in read(client, name)) else None


def mark_done(client: MlflowClient, name: str, number: int) -> None:
    """State that the aliases of an entry were set."""
    writes.set_version_tag(client, log_name(name), str(number), _DONE, "true")


def log_name(name: str) -> str:
    return f"{name}.moves"
