"""notify: who is told, signed, once each; a receiver that is away holds up nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from email import message_from_bytes
from pathlib import Path

import pytest
import yaml

from pipelines.registry import notify
from pipelines.registry.notices.base import Notice
from pipelines.registry.notices.webhook import signature
from tests.receivers import receiving, taking_mail
from vitlens_core.errors import ConfigError

NOTICE = Notice(
    event="champion_changed",
    id="vitlens-depth.moves/3",
    title="vitlens-depth: version 7 is champion",
    text="alice: promote; before: version 5",
    facts={"version": 7, "before": 5},
)


def named(folder: Path, *receivers: dict[str, object]) -> Path:
    """A home whose settings name these receivers; secrets lie beside them."""
    (folder / "secret").write_text("a-shared-secret\n")
    (folder / "notices.yaml").write_text(yaml.safe_dump(list(receivers)))
    return folder


def webhook(folder: Path, url: str, **more: object) -> dict[str, object]:
    return {"kind": "webhook", "url": url, "secret_file": str(folder / "secret"), **more}


def test_a_webhook_is_signed_and_its_receiver_can_tell(tmp_path: Path) -> None:
    with receiving() as receiver:
        home = named(tmp_path, webhook(tmp_path, receiver.url))
        assert notify.send(notify.receivers(home), NOTICE) == 1
    [(headers, body)] = receiver.taken
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body.decode()}"
    expected = hmac.new(b"a-shared-secret", content.encode(), hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert headers["webhook-id"] == NOTICE.id
    told = json.loads(body)
    assert told["type"] == "champion_changed"
    assert told["data"]["version"] == 7
    assert b"a-shared-secret" not in body


def test_a_signature_is_of_one_secret_id_time_and_body() -> None:
    others = [
        signature("secret", "3", 1764370000, b"{}"),
        signature("other", "3", 1764370000, b"{}"),
        signature("secret", "4", 1764370000, b"{}"),
        signature("secret", "3", 1764370001, b"{}"),
        signature("secret", "3", 1764370000, b"{ }"),
    ]
    assert len(set(others)) == len(others)


def test_slack_gets_text_that_cannot_ping_a_channel(tmp_path: Path) -> None:
    with receiving() as receiver:
        (tmp_path / "address").write_text(f"{receiver.url}/services/T0/B0/a-secret-part")
        home = named(tmp_path, {"kind": "slack", "url_file": str(tmp_path / "address")})
        notify.send(notify.receivers(home), NOTICE.model_copy(update={"text": "<!channel> & you"}))
    [(_, body)] = receiver.taken
    assert json.loads(body)["text"].endswith("&lt;!channel&gt; &amp; you")


def test_mail_names_who_gets_it_and_what_happened(tmp_path: Path) -> None:
    with taking_mail() as (port, mails):
        home = named(
            tmp_path,
            {"kind": "mail", "host": "127.0.0.1", "port": port, "security": "none",
             "sender": "vitlens@example.com", "to": ["team@example.com", "lead@example.com"]},
        )  # fmt: skip
        assert notify.send(notify.receivers(home), NOTICE) == 1
    mail = message_from_bytes(mails[0])
    assert mail["Subject"] == NOTICE.title
    assert mail["To"] == "team@example.com, lead@example.com"
    assert "alice" in str(mail.get_payload())


def test_a_receiver_is_told_only_what_it_asked_for(tmp_path: Path) -> None:
    with receiving() as receiver:
        home = named(tmp_path, webhook(tmp_path, receiver.url, events=["run_failed"]))
        assert notify.send(notify.receivers(home), NOTICE) == 0
    assert not receiver.taken


@pytest.mark.parametrize("status", [302, 500])
def test_a_receiver_that_fails_is_tried_twice_and_holds_up_no_other(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(status) as broken, receiving() as works:
        home = named(tmp_path, webhook(tmp_path, broken.url), webhook(tmp_path, works.url))
        with caplog.at_level(logging.WARNING):
            assert notify.send(notify.receivers(home), NOTICE) == 1
    assert len(broken.taken) == 2
    assert len({headers["webhook-id"] for headers, _ in broken.taken}) == 1
    assert len(works.taken) == 1
    assert str(status) in caplog.text
    assert broken.url not in caplog.text


def test_secrets_of_a_text_are_not_told(tmp_path: Path) -> None:
    with receiving() as receiver:
        home = named(tmp_path, webhook(tmp_path, receiver.url))
        text = "cannot reach https://user:a-password@example.com/?token=abcdef"
        notify.send(notify.receivers(home), NOTICE.model_copy(update={"text": text}))
    [(_, body)] = receiver.taken
    assert b"a-password" not in body
    assert b"abcdef" not in body


def test_without_settings_nobody_is_told(tmp_path: Path) -> None:
    assert notify.receivers(tmp_path) == ()


WRONG = {
    "an unknown kind": ([{"kind": "pager"}], "unknown receiver 'pager'"),
    "http to another machine": (
        [{"kind": "webhook", "url": "http://example.com", "secret_file": "secret"}],
        "https",
    ),
    "a secret in the settings": (
        [{"kind": "webhook", "url": "https://example.com", "secret": "a-shared-secret"}],
        "secret",
    ),
    "an event that does not exist": (
        [{"kind": "slack", "url_file": "secret", "events": ["lunch"]}],
        "run_failed",
    ),
    "mail over an open line": (
        [{"kind": "mail", "host": "mail.example.com", "security": "none", "sender": "a@b.c",
          "to": ["a@b.c"]}],
        "without TLS",
    ),
    "a secret that is not there": (
        [{"kind": "webhook", "url": "https://example.com", "secret_file": "/nowhere/secret"}],
        "/nowhere/secret",
    ),
    "no list": ("a word", "list of receivers"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "says"), WRONG.values(), ids=WRONG)
def test_wrong_settings_are_refused_and_hold_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: object, says: str
) -> None:
    path = tmp_path / "notices.yaml"
    path.write_text(yaml.safe_dump(settings))
    monkeypatch.setenv(notify.FILE, str(path))
    with pytest.raises(ConfigError, match=says) as error:
        notify.receivers(tmp_path / "home")
    assert "a-shared-secret" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_named_and_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(notify.FILE, str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="name a readable file"):
        notify.receivers(tmp_path)
