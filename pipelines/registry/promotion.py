"""promotion: makes versions champion, and records who did so.

Reads     a version's gates, as stored by `acceptance`.
Writes    the aliases `champion` and `previous`, and one entry of history per move, stored with
          the registered model: what, from which version, who, when and why.
Promises  a version whose gates failed, or were never checked, is promoted only by force, and
          the entry says so; there is exactly one champion at any time, also if promotions run
          concurrently or one is killed; the next promotion completes a killed one.
"""

from __future__ import annotations

import getpass
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from pipelines.registry.models import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    ModelVersion,
    aliases,
    connect,
    get,
)
from vitlens_core.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_HISTORY = "vitlens.history."
_WAIT_S = 60.0  # for another promotion of the same home


class Move(BaseModel):
    """One entry of a model's history.

    Attributes:
        before: the champion before the move; None if there was none.
        who: $VITLENS_USER, or the user of the operating system.
    """

    model_config = ConfigDict(frozen=True)

    action: Literal["promote", "rollback"]
    version: int
    before: int | None
    who: str
    at: datetime
    why: str
    forced: bool = False


def promote(
    home: Path, name: str, version: int, why: str = "", *, force: bool = False
) -> ModelVersion:
    """Make a version `champion` and the former champion `previous`.

    A version that becomes champion loses the alias `challenger`. Promoting the present champion
    changes nothing and adds no entry to the history.

    Args:
        force: promote the version although its gates failed or were never checked.

    Raises:
        ConfigError: a gate failed (with the reasons), none was checked, or no such version.
    """
    client = connect(home)
    with _alone(home):
        _finish_killed(client, name)
        model = get(client, name, version)
        if not force:
            _refuse_failed(model, aliases(client, name).get(CHAMPION))
        forced = force and not model.gates_passed
        return _move(client, model, "promote", why, forced)


def rollback(home: Path, name: str, why: str = "") -> ModelVersion:
    """Make `previous` the champion again, and the champion `previous`.

    Raises:
        ConfigError: there is no previous champion.
    """
    client = connect(home)
    with _alone(home):
        _finish_killed(client, name)
        previous = aliases(client, name).get(PREVIOUS)
        if previous is None:
            raise ConfigError(
                f"{name} has no previous champion to go back to; `vitlens history` shows its moves"
            )
        return _move(client, get(client, name, previous), "rollback", why, forced=False)


def history(home: Path, name: str) -> list[Move]:
    """Return every promotion and rollback of a model, oldest first."""
    return _history(connect(home), name)


def _history(client: MlflowClient, name: str) -> list[Move]:
    tags = {
        key: value
        for model in client.search_registered_models(f"name = '{name}'")
        for key, value in model.tags.items()
        if key.startswith(_HISTORY)
    }
    return [Move.model_validate_json(tags[key]) for key in sorted(tags)]


def rolled_back(home: Path, name: str, version: int) -> Move | None:
    """Return the last move of a version if it was rolled back by it.

    A run must not promote such a version again, since a person decided against it.
    """
    moves = [m for m in history(home, name) if version in (m.version, m.before)]
    last = moves[-1] if moves else None
    return last if last and last.action == "rollback" and last.before == version else None


def _refuse_failed(model: ModelVersion, champion: int | None) -> None:
    if not model.gates:
        raise ConfigError(
            f"no gate of {model.name} version {model.version} was checked; run its workflow "
            "again, or use --force"
        )
    if failed := [f"{gate.name}: {gate.reason}" for gate in model.gates if not gate.passed]:
        raise ConfigError(
            f"{model.name} version {model.version} stays challenger: {'; '.join(failed)}"
        )
    _, _, against = model.gate_settings.partition("/")
    if against not in ("", str(champion or 0)) and champion != model.version:
        raise ConfigError(
            f"{model.name} version {model.version} was compared with version {against}, but "
            f"version {champion} is champion now; run its workflow again, or use --force"
        )


def _move(
    client: MlflowClient,
    model: ModelVersion,
    action: Literal["promote", "rollback"],
    why: str,
    forced: bool,
) -> ModelVersion:
    by_alias = aliases(client, model.name)
    champion = by_alias.get(CHAMPION)
    if champion != model.version:
        # History first, then the aliases: a kill in between leaves the old champion, and the next
        # move finds the entry and completes it.
        move = Move(
            action=action,
            version=model.version,
            before=champion,
            who=os.environ.get("VITLENS_USER") or getpass.getuser(),
            at=datetime.now(UTC),
            why=why,
            forced=forced,
        )
        _remember(client, model.name, move)
        _set_aliases(client, model.name, move)
    if by_alias.get(CHALLENGER) == model.version:
        client.delete_registered_model_alias(model.name, CHALLENGER)
    return get(client, model.name, model.version)


def _finish_killed(client: MlflowClient, name: str) -> None:
    """Complete a move that was killed between its entry of history and its last alias."""
    moves, champion = _history(client, name), aliases(client, name).get(CHAMPION)
    if moves and champion == moves[-1].before and champion != moves[-1].version:
        _set_aliases(client, name, moves[-1])


def _set_aliases(client: MlflowClient, name: str, move: Move) -> None:
    # `champion` last: by it `_finish_killed` tells whether a move is complete.
    if move.before is not None:
        client.set_registered_model_alias(name, PREVIOUS, str(move.before))
    client.set_registered_model_alias(name, CHAMPION, str(move.version))


def _remember(client: MlflowClient, name: str, move: Move) -> None:
    """Store an entry in a tag of its own: concurrent entries do not overwrite each other."""
    key = f"{_HISTORY}{move.at:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:8]}"
    client.set_registered_model_tag(name, key, move.model_dump_json())


@contextmanager
def _alone(home: Path) -> Generator[None]:
    """Allow one promotion of a home at a time.

    Homes that share a server have different locks. An alias still names one version only; but
    `previous` may then be the one that the other promotion set.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(home / "registry.lock")
    try:
        with lock.acquire(timeout=_WAIT_S):
            yield
    except Timeout as error:
        raise TransientError(
            f"another promotion has locked {lock.lock_file} for {_WAIT_S:.0f} s; try again later"
        ) from error
