"""promotion: makes versions champion, and records who did so.

Reads     a version's gates, as stored by `acceptance`.
Writes    the aliases `champion` and `previous`, and one entry of history per move (`moves`):
          what, from which version, who, when and why.
Promises  a version whose gates failed, were never checked, or are not known to be its own, is
          promoted only by force, and the entry says so; there is exactly one champion at any
          time, the one last promoted, also if several homes of one server promote at once, or
          one is killed; the next promotion completes a killed one, and so does `reconcile`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.registry import moves, notify, own_store, signing, writes
from pipelines.registry.models import aliases, connect, download, get
from pipelines.registry.moves import Move
from pipelines.registry.notices.base import Notice, Receiver
from pipelines.registry.tracking import user
from pipelines.registry.version import CHALLENGER, CHAMPION, PREVIOUS, ModelVersion
from pipelines.store.text import redacted
from vitlens_core.errors import ConfigError, IntegrityError, TransientError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ATTEMPTS = 50  # of a move that others come before
_TOLD = {"action", "version", "before", "who", "why"}
_CALLED = {"promote": "promotion", "rollback": "rollback"}
_WAIT_S = 60.0  # for another promotion of the same home


class _BusyError(TransientError):
    """Another promotion of this home runs."""


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

    def choose(client: MlflowClient) -> Move | int:
        model, champion = get(client, name, version), aliases(client, name).get(CHAMPION)
        if not force:
            _refuse_failed(home, model, champion)
        forced = force and not (model.gates_passed and not _doubt(home, model))
        if champion == version:
            return version
        return Move(
            action="promote", version=version, before=champion,
            who=user(), at=datetime.now(UTC), why=why, forced=forced,
        )  # fmt: skip

    with _alone(home):
        return _move(home, name, choose)


def rollback(home: Path, name: str, why: str = "") -> ModelVersion:
    """Make `previous` the champion again, and the champion `previous`.

    Raises:
        ConfigError: there is no previous champion.
    """

    def choose(client: MlflowClient) -> Move | int:
        held = aliases(client, name)
        if PREVIOUS not in held:
            raise ConfigError(
                f"{name} has no previous champion to go back to; `vitlens history` shows its moves"
            )
        if held[PREVIOUS] == held.get(CHAMPION):
            return held[PREVIOUS]
        return Move(
            action="rollback", version=held[PREVIOUS], before=held.get(CHAMPION),
            who=user(), at=datetime.now(UTC), why=why,
        )  # fmt: skip

    with _alone(home):
        return _move(home, name, choose)


def history(home: Path, name: str) -> list[Move]:
    """Return every promotion and rollback of a model, oldest first."""
    return [entry.move for entry in moves.read(connect(home), name)]


def replaced(home: Path, name: str, version: int) -> Move | None:
    """Return the move by which a version ceased to be champion; None if it is, or never was.

    A run must not promote such a version again: a person rolled it back, or another version has
    come after it. Else the schedules of two users would make their champions in turn, for ever.
    """
    of_version = [m for m in history(home, name) if version in (m.version, m.before)]
    last = of_version[-1] if of_version else None
    return last if last and last.version != version else None


def reconcile(home: Path, name: str) -> str:
    """Bring the aliases of a model up to its log, if whoever made the last move was killed.

    A champion that was chosen past the log, as on MLflow's pages, is told about and left: somebody
    wanted it so.

    Returns:
        What was found and done, as a sentence; empty if the aliases are those of the log.

    Raises:
        ConfigError: a move is to be told to receivers whose settings are wrong.
    """
    if own_store.is_own(home) and not own_store.exists(home):
        return ""  # connecting would create the database
    client = connect(home)
    last = _last_of_existing(client, name)
    if last is None:
        return ""
    held, version = aliases(client, name), last.move.version
    if last.done and held.get(CHAMPION) != version:
        return _past_the_log(name, held, version)
    if last.done and held.get(CHALLENGER) != version:
        return ""
    from mlflow.exceptions import MlflowException  # late: MLflow takes seconds

    move = f"the {_CALLED[last.move.action]} of version {version} by {last.move.who}"
    killed = f"{name}: {move} was killed before all aliases were set"
    try:
        with suppress(_BusyError), _alone(home, wait_s=0.0):
            if not last.done:
                _settle(client, name, notify.receivers(home))
            _drop_challenger(client, name, aliases(client, name).get(CHAMPION, 0))
            return f"{killed}; they are set now"
    except MlflowException as error:  # such as of a server where this user may only read
        return f"{killed}, and they cannot be set from here: {redacted(str(error))}"
    return ""  # it is still at it


def _past_the_log(name: str, held: Mapping[str, int], version: int) -> str:
    champion = f"version {held[CHAMPION]}" if CHAMPION in held else "no version"
    return (
        f"{name}: {champion} is champion, but the last move of its history made version "
        f"{version} so; it was set elsewhere, and `vitlens promote` sets it with a record"
    )


def _refuse_failed(home: Path, model: ModelVersion, champion: int | None) -> None:
    if not model.gates:
        raise ConfigError(
            f"no gate of {model.name} version {model.version} was checked; run its workflow "
            "again, or use --force"
        )
    if failed := [f"{gate.name}: {gate.reason}" for gate in model.gates if not gate.passed]:
        raise ConfigError(
            f"{model.name} version {model.version} stays challenger: {'; '.join(failed)}"
        )
    if doubt := _doubt(home, model):
        raise ConfigError(
            f"{model.name} version {model.version} has results of gates that prove nothing: "
            f"{doubt}; run its workflow again, or use --force"
        )
    _, _, against = model.gate_settings.partition("/")
    if against not in ("", str(champion or 0)) and champion != model.version:
        raise ConfigError(
            f"{model.name} version {model.version} was compared with version {against}, but "
            f"version {champion} is champion now; run its workflow again, or use --force"
        )


def _doubt(home: Path, model: ModelVersion) -> str:
    """Say why the stated results need not be those of the version's files; empty if they are."""
    statement = model.gates_statement(model.gates, model.gate_settings)
    if doubt := signing.distrust(home, model.gate_signature, statement):
        return doubt
    try:
        download(model.uri, home)  # which computes the digest of the files anew
    except IntegrityError as error:
        return str(error)
    return ""


def _move(home: Path, name: str, choose: Callable[[MlflowClient], Move | int]) -> ModelVersion:
    """Add the move that `choose` makes of the present state to the log, and set the aliases.

    `choose` is asked again when another move came first; a number is a version that is champion.
    """
    told = notify.receivers(home)  # first: a mistake there is found before anything moves
    client = connect(home)
    for _ in range(_ATTEMPTS):
        entries = moves.read(client, name)
        _finish_killed(client, name, entries, told)
        chosen = choose(client)
        if isinstance(chosen, int):
            _drop_challenger(client, name, chosen)
            return get(client, name, chosen)
        last = entries[-1].number if entries else 0
        if moves.append(client, name, chosen.model_copy(update={"after": last})) is not None:
            _settle(client, name, told)
            _drop_challenger(client, name, chosen.version)
            return get(client, name, chosen.version)
    raise TransientError(f"{name}: others move it all the time; try again later")


def _finish_killed(
    client: MlflowClient, name: str, entries: list[moves.Entry], told: Sequence[Receiver]
) -> None:
    """Complete a move that was killed between its entry and its last alias."""
    if entries and not entries[-1].done:
        _settle(client, name, told)


def _settle(client: MlflowClient, name: str, told: Sequence[Receiver]) -> None:
    """Set the aliases of the last entry, until no other entry has come meanwhile."""
    settled = 0
    while (last := _last_of_existing(client, name)) and last.number != settled:
        # `champion` last: there is one all the time.
        if last.move.before is not None:
            writes.set_alias(client, name, PREVIOUS, last.move.before)
        writes.set_alias(client, name, CHAMPION, last.move.version)
        # Before it is marked: a move that is killed here is told again, by the same id.
        notify.send(told, _notice(name, last))
        moves.mark_done(client, name, last.number)
        settled = last.number


def _notice(name: str, entry: moves.Entry) -> Notice:
    move = entry.move
    former = f"version {move.before}" if move.before else "none"
    forced = " by force, although a gate failed" if move.forced else ""
    return Notice(
        event="champion_changed",
        id=f"{moves.log_name(name)}/{entry.number}",
        title=f"{name}: version {move.version} is champion",
        text=f"{move.who}: {move.action}{forced}; before: {former}. {move.why}".rstrip(),
        facts={"model": name, **move.model_dump(mode="json", include=_TOLD)},
    )


def _last_of_existing(client: MlflowClient, name: str) -> moves.Entry | None:
    """Return the last entry whose version was not deleted meanwhile."""
    known = {int(v.version) for v in client.search_model_versions(f"name = '{name}'")}
    valid = [entry for entry in moves.read(client, name) if entry.move.version in known]
    return valid[-1] if valid else None


def _drop_challenger(client: MlflowClient, name: str, version: int) -> None:
    if aliases(client, name).get(CHALLENGER) == version:
        writes.delete_alias(client, name, CHALLENGER)


@contextmanager
def _alone(home: Path, wait_s: float = _WAIT_S) -> Generator[None]:
    """Allow one promotion of a home at a time, so that they need not try again."""
    from filelock import FileLock, Timeout

    lock = FileLock(home / "registry.lock")
    try:
        with lock.acquire(timeout=wait_s):
            yield
    except Timeout as error:
        raise _BusyError(
            f"another promotion has locked {lock.lock_file} for {wait_s:.0f} s; try again later"
        ) from error
