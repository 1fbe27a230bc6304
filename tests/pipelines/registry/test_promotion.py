"""Promotion: who is champion, who made it so, and what happens when two try at once."""

import json
import multiprocessing
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipelines.registry import models, moves, notify, promotion, writes
from pipelines.registry.version import CHALLENGER, CHAMPION, PREVIOUS
from tests.pipelines.finished_run import finished_run
from tests.pipelines.registered import NAME, aliases, challenge, champions, register
from tests.pipelines.registry.racing import promote_and_die, promote_often
from tests.receivers import SECRET, receiving, talking
from vitlens_core.errors import ConfigError


def test_promotion_moves_champion_and_previous(home: Path) -> None:
    champions(home, 0.25, 0.5, 0.75)
    assert aliases(home) == {3: ("champion",), 2: ("previous",), 1: ()}


def test_promoting_the_champion_again_changes_nothing(home: Path) -> None:
    champions(home, 0.25, 0.5)
    before = aliases(home), promotion.history(home, NAME)
    assert promotion.promote(home, NAME, 2, "again").aliases == ("champion",)
    assert (aliases(home), promotion.history(home, NAME)) == before


def test_a_champion_registered_again_is_no_challenger(home: Path) -> None:
    champions(home, 0.5)
    assert register(home).aliases == ("champion",)


def test_a_failed_gate_keeps_the_champion(home: Path) -> None:
    champions(home, 0.5)
    worse = register(home, 0.25, at_least=0.4)
    with pytest.raises(ConfigError, match=r"top1: zero_shot\.top1 is 0\.25, but must be at least"):
        promotion.promote(home, NAME, worse.version)
    assert aliases(home) == {2: ("challenger",), 1: ("champion",)}


def test_a_version_whose_gates_were_never_checked_is_refused(home: Path) -> None:
    model = challenge(home, finished_run(home))
    with pytest.raises(ConfigError, match=r"no gate of .* was checked"):
        promotion.promote(home, NAME, model.version)
    assert aliases(home) == {1: ("challenger",)}


def test_a_forced_promotion_says_so_for_ever(home: Path) -> None:
    worse = register(home, 0.25, at_least=0.4)
    promotion.promote(home, NAME, worse.version, "the gate is wrong", force=True)
    [move] = promotion.history(home, NAME)
    assert (move.forced, move.why) == (True, "the gate is wrong")
    assert aliases(home) == {1: ("champion",)}


def test_force_is_not_noted_where_nothing_was_forced(home: Path) -> None:
    promotion.promote(home, NAME, register(home).version, force=True)
    assert not promotion.history(home, NAME)[0].forced


def test_rollback_and_back_again(home: Path) -> None:
    champions(home, 0.25, 0.5)
    assert promotion.rollback(home, NAME, "worse in the field").version == 1
    assert aliases(home) == {2: ("previous",), 1: ("champion",)}
    promotion.rollback(home, NAME)
    assert aliases(home) == {2: ("champion",), 1: ("previous",)}


def test_who_was_champion_and_is_not_was_replaced(home: Path) -> None:
    """So that a run does not promote it again."""
    for right in (0.25, 0.5):
        register(home, right)
    promotion.promote(home, NAME, 1)
    assert promotion.replaced(home, NAME, 1) is None
    assert promotion.replaced(home, NAME, 2) is None
    promotion.promote(home, NAME, 2)
    by_promotion = promotion.replaced(home, NAME, 1)
    assert by_promotion is not None
    assert (by_promotion.action, by_promotion.version) == ("promote", 2)
    promotion.rollback(home, NAME)
    assert promotion.replaced(home, NAME, 1) is None
    by_rollback = promotion.replaced(home, NAME, 2)
    assert by_rollback is not None
    assert by_rollback.action == "rollback"


def test_without_a_previous_champion_there_is_nothing_to_go_back_to(home: Path) -> None:
    champions(home, 0.5)
    with pytest.raises(ConfigError, match="no previous champion"):
        promotion.rollback(home, NAME)


def test_history_tells_what_who_when_and_why(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITLENS_USER", "ada")
    champions(home, 0.25, 0.5)
    promotion.rollback(home, NAME, "worse in the field")
    log = promotion.history(home, NAME)
    assert [(m.action, m.before, m.version, m.why) for m in log] == [
        ("promote", None, 1, "reached 0.25"),
        ("promote", 1, 2, "reached 0.5"),
        ("rollback", 2, 1, "worse in the field"),
    ]
    assert {m.who for m in log} == {"ada"}
    assert sorted(log, key=lambda m: m.at) == log


@pytest.mark.parametrize("move", ["promote", "rollback"])
def test_a_move_that_was_killed_half_way_is_ended_by_the_next(
    home: Path, monkeypatch: pytest.MonkeyPatch, move: str
) -> None:
    champions(home, 0.25, 0.5)
    third = register(home, 0.75)
    by_name = {
        "promote": partial(promotion.promote, home, NAME, third.version),
        "rollback": partial(promotion.rollback, home, NAME),
    }
    client = models.connect(home)
    set_alias = type(client).set_registered_model_alias

    def killed(self, name: str, alias: str, version: str) -> None:
        if alias == CHAMPION:
            raise KeyboardInterrupt
        set_alias(self, name, alias, version)

    with monkeypatch.context() as broken:
        broken.setattr(type(client), "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            by_name[move]()
    held = models.aliases(client, NAME)
    assert held[CHAMPION] == held[PREVIOUS] == 2  # one champion all the time
    promotion.rollback(home, NAME, "after the kill")
    moved = {"promote": 3, "rollback": 1}[move]
    assert models.aliases(client, NAME) == {CHAMPION: 2, PREVIOUS: moved, CHALLENGER: 3}


WRITES: dict[str, Callable[..., bool]] = {
    "previous": lambda write, *a: write == "set_alias" and PREVIOUS in a,
    "champion": lambda write, *a: write == "set_alias" and CHAMPION in a,
    "done": lambda write, *a: write == "set_version_tag" and moves.log_name(NAME) in a,
    "challenger": lambda write, *a: write == "delete_alias" and CHALLENGER in a,
}


def kill_before(monkeypatch: pytest.MonkeyPatch, is_it: Callable[..., bool]) -> None:
    """Have a process end before the write that `is_it` knows by its name and arguments."""

    def of(name: str, original: Callable[..., None]) -> Callable[..., None]:
        def write(*arguments: object) -> None:
            if is_it(name, *arguments):
                raise KeyboardInterrupt
            original(*arguments)

        return write

    for name in ("set_alias", "set_version_tag", "delete_alias"):
        monkeypatch.setattr(writes, name, of(name, getattr(writes, name)))


@pytest.mark.parametrize("before", WRITES)
def test_a_killed_promotion_is_completed_and_told_of_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    champions(home, 0.25)
    second = register(home, 0.5)
    with monkeypatch.context() as broken:
        kill_before(broken, WRITES[before])
        with pytest.raises(KeyboardInterrupt):
            promotion.promote(home, NAME, second.version)
    assert "the promotion of version 2 by" in (found := promotion.reconcile(home, NAME))
    assert "they are set now" in found
    assert aliases(home) == {2: ("champion",), 1: ("previous",)}
    assert promotion.reconcile(home, NAME) == ""
    assert len(promotion.history(home, NAME)) == 2


@pytest.mark.slow
def test_the_champion_catches_up_with_the_log_after_a_process_was_killed(home: Path) -> None:
    champions(home, 0.25)
    second = register(home, 0.5)
    process = multiprocessing.get_context("spawn").Process(
        target=promote_and_die, args=(home, NAME, second.version)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert promotion.history(home, NAME)[-1].version == 2
    assert models.aliases(models.connect(home), NAME)[CHAMPION] == 1
    assert "they are set now" in promotion.reconcile(home, NAME)
    assert aliases(home) == {2: ("champion",), 1: ("previous",)}


def test_there_is_nothing_to_complete(home: Path, tmp_path: Path) -> None:
    champions(home, 0.25, 0.5)
    before = aliases(home)
    assert promotion.reconcile(home, NAME) == ""
    assert promotion.reconcile(home, "vitlens-imu") == ""
    assert promotion.reconcile(tmp_path / "empty", NAME) == ""
    assert not (tmp_path / "empty").exists()
    assert aliases(home) == before


def test_a_promotion_that_still_runs_is_left_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champions(home, 0.25)
    second = register(home, 0.5)
    found = []

    def look(client: MlflowClient, name: str, alias: str, version: int) -> None:
        # In another thread: a process may take its own lock again.
        with ThreadPoolExecutor(1) as other:
            found.append(other.submit(promotion.reconcile, home, NAME).result())
        set_alias(client, name, alias, version)

    set_alias = writes.set_alias
    monkeypatch.setattr(writes, "set_alias", look)
    promotion.promote(home, NAME, second.version)
    assert found == ["", ""]


def test_a_champion_that_was_chosen_elsewhere_is_told_of_and_left(home: Path) -> None:
    champions(home, 0.25, 0.5)
    client = models.connect(home)
    client.set_registered_model_alias(NAME, CHAMPION, "1")
    assert "version 1 is champion, but the last move" in promotion.reconcile(home, NAME)
    client.set_registered_model_alias(NAME, CHALLENGER, "2")  # as a run that is repeated does
    assert "version 1 is champion, but the last move" in promotion.reconcile(home, NAME)
    assert models.aliases(client, NAME)[CHAMPION] == 1


def test_where_one_may_only_read_it_is_told_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    champions(home, 0.25)
    second = register(home, 0.5)
    with monkeypatch.context() as broken:
        kill_before(broken, WRITES["champion"])
        with pytest.raises(KeyboardInterrupt):
            promotion.promote(home, NAME, second.version)

    def refused(*_: object) -> None:
        raise MlflowException("403: https://ada:secret@server may only be read")

    monkeypatch.setattr(writes, "set_alias", refused)
    found = promotion.reconcile(home, NAME)
    assert "they cannot be set from here: 403" in found
    assert "secret" not in found


def told(home: Path, url: str) -> None:
    """Name a webhook that is told of the home's champions."""
    (home / "secret").write_text(SECRET)
    hook = {"kind": "webhook", "url": url, "secret_file": str(home / "secret")}
    (home / "notices.yaml").write_text(yaml.safe_dump([hook]))


def test_every_change_of_champion_is_told_once_and_nothing_else(home: Path) -> None:
    with receiving() as receiver:
        told(home, receiver.url)
        champions(home, 0.25, 0.5)
        promotion.promote(home, NAME, 2, "it is champion already")
        promotion.rollback(home, NAME, "worse in the field")
    data = [json.loads(body)["data"] for _, body in receiver.taken]
    assert [(each["action"], each["version"], each["before"]) for each in data] == [
        ("promote", 1, None),
        ("promote", 2, 1),
        ("rollback", 1, 2),
    ]
    assert len({headers["webhook-id"] for headers, _ in receiver.taken}) == 3


def test_a_receiver_that_is_away_does_not_stop_a_promotion(home: Path) -> None:
    with receiving(500) as receiver:
        told(home, receiver.url)
        champions(home, 0.5)
    assert aliases(home) == {1: ("champion",)}


@pytest.mark.slow
@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"HTTP/1.1 x\r\n\r\n", b"", None])
def test_whatever_a_receiver_answers_a_move_is_done_and_told_of_once(
    home: Path, answer: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None: it does not answer."""
    monkeypatch.setattr(notify, "_PAUSE_S", 0.01)
    monkeypatch.setattr(notify, "_DEADLINE_S", 1.0)
    asked: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        if answer is not None:
            connection.sendall(answer)
        while answer is None and connection.recv(65536):
            pass

    with talking(talk) as port:
        told(home, f"http://127.0.0.1:{port}")
        champions(home, 0.5)
        assert aliases(home) == {1: ("champion",)}
        of_the_move = len(asked)
        assert of_the_move >= 1
        assert promotion.reconcile(home, NAME) == ""  # nothing is left to be completed
        promotion.promote(home, NAME, 1, "it is champion already")
        assert len(asked) == of_the_move


def test_wrong_settings_of_receivers_stop_a_promotion_before_it_moves_anything(home: Path) -> None:
    (home / "notices.yaml").write_text("[{kind: pager}]")
    with pytest.raises(ConfigError, match="unknown receiver"):
        champions(home, 0.5)
    assert aliases(home) == {1: ("challenger",)}
    assert not promotion.history(home, NAME)


def test_a_version_that_does_not_exist_is_refused(home: Path) -> None:
    register(home)
    with pytest.raises(ConfigError, match="no version 7"):
        promotion.promote(home, NAME, 7)


@pytest.mark.nightly
def test_two_promotions_at_once_leave_one_champion_and_the_other_previous(home: Path) -> None:
    champions(home, 0.25)
    rivals = [register(home, right).version for right in (0.5, 0.75)]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(rivals))
    processes = [
        context.Process(target=promote_often, args=(home, NAME, version, barrier))
        for version in rivals
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    held = models.aliases(models.connect(home), NAME)
    assert {held[CHAMPION], held[PREVIOUS]} == set(rivals)
    log = promotion.history(home, NAME)
    # Each move starts where the one before it ended: none was lost, none overtook another.
    assert [m.before for m in log] == [None, *(m.version for m in log[:-1])]
    assert log[-1].version == held[CHAMPION]
