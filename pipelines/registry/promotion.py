"""promotion: which version is champion, and who made it so.

Reads     a version's gates, as acceptance stated them.
Writes    the aliases `champion` and `previous`, and one entry of history per move, kept with
          the registered model: what, from which version, who, when and why.
Promises  a version whose gates failed, or were never checked, is promoted only when forced, and
          the entry says so; there is exactly one champion at any time, even when promotions
          run concurrently or one is killed; the next promotion completes it.
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
_WAIT_S = 60.0


class Move(BaseModel):
    """One entry of a model's history.

    Attributes:
        before: the champion until then; None for a first one.
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

    The alias `challenger` is taken off a version that becomes champion. Promoting the
    present champion changes nothing, and is no entry of history.

    Args:
        force: promote it although its gates failed or were never checked.

    Raises:
        ConfigError: a gate failed (with each reason), none was checked, or no such version.
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
                f"{name} has no previous champion to go back to; `vitlens history` tells its past"
            )
        return _move(client, get(client, name, previous), "rollback", why, forced=False)


def history(home: Path, name: str) -> list[Move]:
    """Every promotion and rollback of a model, oldest first."""
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
    """The rollback that took a version back, if that is the last that happened to it.

    What starts by itself must not promote it again: a person decided.
    """
    own = [m for m in history(home, name) if version in (m.version, m.before)]
    return own[-1] if own and own[-1].action == "rollback" and own[-1].before == version else None


def _refuse_failed(model: ModelVersion, champion: int | None) -> None:
    if not model.gates:
        raise ConfigError(
            f"{model.name} version {model.version} has no gate that was checked; run its workflow "
            "again, or force it (--force)"
        )
    if failed := [f"{gate.name}: {gate.reason}" for gate in model.gates if not gate.passed]:
        raise ConfigError(
            f"{model.name} version {model.version} stays challenger; {'; '.join(failed)}"
        )
    _, _, against = model.gate_settings.partition("/")
    if against not in ("", str(champion or 0)) and champion != model.version:
        raise ConfigError(
            f"{model.name} version {model.version} was compared with version {against}, and "
            f"version {champion} is champion now; run its workflow again, or force it (--force)"
        )


def _move(
    client: MlflowClient,
    model: ModelVersion,
    action: Literal["promote", "rollback"],
    why: str,
    forced: bool,
) -> ModelVersion:
    held = aliases(client, model.name)
    champion = held.get(CHAMPION)
    if champion != model.version:
        # In this order a kill in between leaves one champion, and the next move ends this one.
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
    if held.get(CHALLENGER) == model.version:
        client.delete_registered_model_alias(model.name, CHALLENGER)
    return get(client, model.name, model.version)


def _finish_killed(client: MlflowClient, name: str) -> None:
    """End a move that was killed after its entry of history, before its last alias."""
    moves, champion = _history(client, name), aliases(client, name).get(CHAMPION)
    if moves and champion == moves[-1].before and champion != moves[-1].version:
        _set_aliases(client, name, moves[-1])


def _set_aliases(client: MlflowClient, name: str, move: Move) -> None:
    if move.before is not None:
        client.set_registered_model_alias(name, PREVIOUS, str(move.before))
    client.set_registered_model_alias(name, CHAMPION, str(move.version))


def _remember(client: MlflowClient, name: str, move: Move) -> None:
    """One tag an entry: two that are written at once do not overwrite one another."""
    key = f"{_HISTORY}{move.at:%Y%m%dT%H%M%S.%fZ}-{uuid.uuid4().hex[:8]}"
    client.set_registered_model_tag(name, key, move.model_dump_json())


@contextmanager
def _alone(home: Path) -> Generator[None]:
    """One promotion at a time of a home.

    Homes that share a server do not see each other's lock: an alias names one version all the
    same, so that only `previous` can be that of the other promotion.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(home / "registry.lock")
    try:
        with lock.acquire(timeout=_WAIT_S):
            yield
    except Timeout as error:
        raise TransientError(
            f"another promotion has held {lock.lock_file} for {_WAIT_S:.0f} s; try again later"
        ) from error
