"""notify: who is told, signed, once each; a receiver that is away holds up nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path

import pytest
import yaml

from pipelines.registry import notify
from pipelines.registry.notices.base import Notice, is_loopback
from pipelines.registry.notices.webhook import signature
from tests.receivers import SECRET, certified, receiving, taking_mail, talking
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
    (folder / "secret").write_text(f"{SECRET}\n")
    (folder / "notices.yaml").write_text(yaml.safe_dump(list(receivers)))
    return folder


def webhook(folder: Path, url: str, **more: object) -> dict[str, object]:
    return {"kind": "webhook", "url": url, "secret_file": str(folder / "secret"), **more}


def slack(folder: Path, url: str) -> dict[str, object]:
    (folder / "address").write_text(f"{url}/services/T0/B0/a-secret-part")
    return {"kind": "slack", "url_file": str(folder / "address")}


def mail(port: int, **more: object) -> dict[str, object]:
    people = {"sender": "vitlens@example.com", "to": ["team@example.com", "lead@example.com"]}
    return {
        "kind": "mail", "host": "127.0.0.1", "port": port, "security": "none", **people, **more
    }  # fmt: skip


@pytest.fixture
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second attempt comes at once."""
    monkeypatch.setattr(notify, "_PAUSE_S", 0.01)


def test_a_webhook_is_signed_as_the_specification_has_it(tmp_path: Path) -> None:
    with receiving() as receiver:
        home = named(tmp_path, webhook(tmp_path, receiver.url))
        assert notify.send(notify.receivers(home), NOTICE) == 1
    [(headers, body)] = receiver.taken
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body.decode()}"
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = hmac.new(key, content.encode(), hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert "." not in headers["webhook-id"]  # the content would have two meanings
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    told = json.loads(body)
    assert told["type"] == "champion_changed"
    assert told["data"]["version"] == 7
    assert SECRET.encode() not in body


def test_the_signature_of_the_specification() -> None:
    """An example that the libraries of Standard Webhooks are tested by."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_signature_is_of_one_key_id_time_and_body() -> None:
    others = [
        signature(b"secret", "3", 1764370000, b"{}"),
        signature(b"other", "3", 1764370000, b"{}"),
        signature(b"secret", "4", 1764370000, b"{}"),
        signature(b"secret", "3", 1764370001, b"{}"),
        signature(b"secret", "3", 1764370000, b"{ }"),
    ]
    assert len(set(others)) == len(others)


NO_KEYS = {
    "a word": "a-shared-secret",
    "no prefix": SECRET.removeprefix("whsec_"),
    "the prefix alone": "whsec_",
    "another prefix": SECRET.replace("whsec_", "whsk_"),
    "no base64": "whsec_" + "a-shared-secret!" * 3,
    "base64 that is cut": SECRET[:-1],
    "too short": "whsec_" + base64.b64encode(b"x" * 23).decode(),
    "too long": "whsec_" + base64.b64encode(b"x" * 65).decode(),
    "other letters": "whsec_" + "ä" * 32,
}


@pytest.mark.parametrize("secret", NO_KEYS.values(), ids=NO_KEYS)
def test_a_secret_that_is_no_key_is_refused_with_how_to_make_one(
    tmp_path: Path, secret: str
) -> None:
    home = named(tmp_path, webhook(tmp_path, "https://example.com"))
    (tmp_path / "secret").write_text(secret)
    with pytest.raises(ConfigError, match="openssl rand -base64 32") as error:
        notify.receivers(home)
    assert str(tmp_path / "secret") in str(error.value)
    assert secret == "whsec_" or secret not in str(error.value)


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\x00"], ids=["none", "blank", "bytes"])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    home = named(tmp_path, webhook(tmp_path, "https://example.com"))
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigError, match="write the secret into it"):
        notify.receivers(home)


def test_slack_gets_text_that_cannot_ping_link_or_format(tmp_path: Path) -> None:
    text = "<!channel> & <https://evil.example|our page> @channel @Here @everyone ada@example.org"
    with receiving() as receiver:
        home = named(tmp_path, slack(tmp_path, receiver.url))
        notify.send(notify.receivers(home), NOTICE.model_copy(update={"text": text}))
    [(_, body)] = receiver.taken
    told = json.loads(body)
    assert told["mrkdwn"] is False
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|our page&gt;" in told["text"]
    assert not {"<", ">"} & set(told["text"])
    for mention in ("@channel", "@Here", "@everyone"):
        assert mention not in told["text"]
    assert told["text"].endswith("ada@example.org")


def test_mail_names_who_gets_it_and_what_happened(tmp_path: Path) -> None:
    with taking_mail() as box:
        home = named(tmp_path, mail(box.port))
        assert notify.send(notify.receivers(home), NOTICE) == 1
    taken = message_from_bytes(box.mails[0], policy=policy.default)
    assert taken["Subject"] == NOTICE.title
    assert taken["To"] == "team@example.com, lead@example.com"
    assert taken["Auto-Submitted"] == "auto-generated"
    assert taken["Date"].datetime == NOTICE.at.replace(microsecond=0)
    assert "alice" in taken.get_content()


def test_a_notice_adds_no_header_to_a_mail(tmp_path: Path) -> None:
    ends = "a\r\nBcc: eve@example.com\r\n\r\nb\x0b\x85\u2028c"
    hostile = NOTICE.model_copy(update={"title": ends, "id": f"run/{ends}> <", "text": ends})
    with taking_mail() as box:
        home = named(tmp_path, mail(box.port))
        assert notify.send(notify.receivers(home), hostile) == 1
    taken = message_from_bytes(box.mails[0], policy=policy.default)
    assert "Bcc" not in taken
    assert taken["Subject"] == "a Bcc: eve@example.com b c"
    assert not any(b"eve" in line for line in box.commands)
    assert "Bcc: eve@example.com" in taken.get_content()


def test_an_address_that_is_refused_is_logged_and_the_others_get_one_mail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with taking_mail(refused=b"lead@") as box:
        home = named(tmp_path, mail(box.port))
        assert notify.send(notify.receivers(home), NOTICE) == 0
    assert len(box.mails) == 1
    assert "refused 1 of 2 addresses" in caplog.text


NO_ADDRESSES = [
    "",
    "team",
    "a@b.c, d@e.f",
    "a@b.c\nBcc: eve@example.com",
    "<>",
    "a@",
    "@b.c",
    "a b@c",
]


@pytest.mark.parametrize("address", NO_ADDRESSES)
@pytest.mark.parametrize("of", ["sender", "to"])
def test_what_is_no_address_of_mail_is_refused(tmp_path: Path, address: str, of: str) -> None:
    given = {"sender": address} if of == "sender" else {"to": ["team@example.com", address]}
    with pytest.raises(ConfigError, match="is no address of mail"):
        notify.receivers(named(tmp_path, mail(25, **given)))


def test_an_address_may_have_a_name(tmp_path: Path) -> None:
    people = {"sender": "vitlens <vitlens@example.com>", "to": ['"Team, all" <team@localhost>']}
    assert notify.receivers(named(tmp_path, mail(25, **people)))


def test_a_receiver_is_told_only_what_it_asked_for(tmp_path: Path) -> None:
    with receiving() as receiver:
        home = named(tmp_path, webhook(tmp_path, receiver.url, events=["run_failed"]))
        assert notify.send(notify.receivers(home), NOTICE) == 0
    assert not receiver.taken


STATUSES = [301, 302, 303, 307, 308, 304, 400, 401, 404, 410, 429, 500, 503]


@pytest.mark.usefixtures("in_haste")
@pytest.mark.parametrize("kind", [webhook, slack])
@pytest.mark.parametrize("status", STATUSES)
def test_a_receiver_that_refuses_is_tried_twice_and_holds_up_no_other(
    tmp_path: Path, status: int, kind: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(status) as broken, receiving() as works:
        home = named(tmp_path, kind(tmp_path, broken.url), webhook(tmp_path, works.url))
        assert notify.send(notify.receivers(home), NOTICE) == 1
    # Twice by its own address: a redirect is not followed, not even to the same host.
    assert len(broken.taken) == 2
    if kind is webhook:
        assert len({headers["webhook-id"] for headers, _ in broken.taken}) == 1
    assert len(works.taken) == 1
    [warning] = caplog.messages
    assert warning.startswith("receiver 1 (")
    assert str(status) in warning
    for secret in (broken.url, "a-secret-part", SECRET):
        assert secret not in caplog.text


def dripping(start: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return talk


def silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def hanging_up(connection: socket.socket) -> None:
    connection.close()


def hanging_up_later(connection: socket.socket) -> None:
    connection.recv(65536)


# Whoever connects is treated so; sooner or later a receiver of each kind comes to it.
MISBEHAVIOURS: dict[str, Callable[[socket.socket], None]] = {
    "hangs up": hanging_up,
    "hangs up after the request": hanging_up_later,
    "answers nothing": silent,
    "answers garbage": lambda connection: connection.sendall(b"\x00\xffgarbage\r\n\r\n"),
    "answers garbage without end": dripping(b"", b"\x00\xffgarbage"),
    "answers an endless line": lambda connection: connection.sendall(b"a" * 2**20),
    "answers HTTP without a status": lambda connection: connection.sendall(b"HTTP/1.1 \r\n\r\n"),
    "answers a status that is none": lambda connection: connection.sendall(b"HTTP/1.1 x\r\n\r\n"),
    "goes on without end": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "answers headers without end": dripping(b"HTTP/1.1 200 OK\r\nx: ", b"a"),
    "redirects to nowhere": lambda connection: connection.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: \r\nContent-Length: 0\r\n\r\n"
    ),
    "greets without end": dripping(b"", b"220-well\r\n"),
    "greets and garbles": lambda connection: connection.sendall(b"220 ready\r\n\xff\xff\xff\r\n"),
    "is not there for mail": lambda connection: connection.sendall(b"421 later\r\n"),
    "greets and refuses": dripping(b"220 ready\r\n", b"550 no\r\n"),
}  # fmt: skip
KINDS: dict[str, Callable[[Path, int], dict[str, object]]] = {
    "webhook": lambda folder, port: webhook(folder, f"http://127.0.0.1:{port}"),
    "slack": lambda folder, port: slack(folder, f"http://127.0.0.1:{port}"),
    "mail": lambda _, port: mail(port),
}


@pytest.mark.slow
@pytest.mark.usefixtures("in_haste")
@pytest.mark.parametrize("misbehaviour", MISBEHAVIOURS)
def test_whatever_receivers_do_the_others_are_told_and_nobody_waits(
    tmp_path: Path,
    misbehaviour: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(notify, "_DEADLINE_S", 3.0)  # those that never end are waited for so long
    with talking(MISBEHAVIOURS[misbehaviour]) as port, receiving() as works:
        bad = [kind(tmp_path, port) for kind in KINDS.values()]
        home = named(tmp_path, *bad * 2, webhook(tmp_path, works.url))
        assert notify.send(notify.receivers(home), NOTICE) == 1
    assert len(works.taken) == 1
    told = dict(enumerate([*KINDS, *KINDS], 1))
    assert {message.partition(" was not told")[0] for message in caplog.messages} == {
        f"receiver {number} ({kind})" for number, kind in told.items()
    }
    for message in caplog.messages:
        for secret in (str(port), "a-secret-part", SECRET):
            assert secret not in message


def test_a_mistake_of_ours_in_a_receiver_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notify, "_PAUSE_S", 0.0)
    with receiving() as works:
        home = named(tmp_path, slack(tmp_path, works.url), webhook(tmp_path, works.url))
        to = notify.receivers(home)

        def broken(_: object, notice: Notice) -> None:
            raise LookupError("a-secret-part")

        monkeypatch.setattr(type(to[0]), "send", broken)
        assert notify.send(to, NOTICE) == 1
    assert "LookupError" in caplog.text
    assert "a-secret-part" not in caplog.text


@dataclass
class Secured:
    """A receiver behind TLS, and what it has seen of us."""

    settings: dict[str, object]
    seen: list[object] = field(default_factory=list)


@contextmanager
def secured(kind: str, folder: Path, address: str) -> Generator[tuple[Secured, Path]]:
    context, file = certified(folder, address)
    (folder / "password").write_text("a-password")
    account = {"user": "vitlens", "password_file": str(folder / "password")}
    if kind in ("webhook", "slack"):
        with receiving(tls=context) as receiver:
            made = {"webhook": webhook, "slack": slack}[kind](folder, receiver.url)
            found = Secured(made)
            yield found, file
            found.seen += receiver.taken
    else:
        with taking_mail(context, starttls=kind == "starttls") as box:
            settings = mail(box.port, security=kind, **account)
            found = Secured(settings)
            yield found, file
            found.seen += [each for each in box.commands if b"AUTH" in each] + box.mails


SECURED = ["webhook", "slack", "tls", "starttls"]


@pytest.mark.usefixtures("in_haste")
@pytest.mark.parametrize("kind", SECURED)
@pytest.mark.parametrize("why", ["nobody vouches for", "of another host"])
def test_a_server_that_is_not_the_one_named_sees_no_notice_and_no_password(
    tmp_path: Path,
    kind: str,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with secured(kind, tmp_path, "127.0.0.1" if why.startswith("nobody") else "127.0.0.2") as (
        receiver,
        file,
    ):
        if why == "of another host":
            monkeypatch.setenv("SSL_CERT_FILE", str(file))
        home = named(tmp_path, receiver.settings)
        assert notify.send(notify.receivers(home), NOTICE) == 0
    assert receiver.seen == []
    assert "SSLCertVerificationError" in caplog.text


@pytest.mark.parametrize("kind", SECURED)
def test_a_server_that_is_vouched_for_is_told(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with secured(kind, tmp_path, "127.0.0.1") as (receiver, file):
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        home = named(tmp_path, receiver.settings)
        assert notify.send(notify.receivers(home), NOTICE) == 1
    assert len(receiver.seen) == (1 if kind in ("webhook", "slack") else 2)


@pytest.mark.usefixtures("in_haste")
def test_a_server_of_mail_that_offers_no_tls_sees_no_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("a-password")
    account = {"user": "vitlens", "password_file": str(tmp_path / "password")}
    with taking_mail() as box:
        home = named(tmp_path, mail(box.port, security="starttls", **account))
        assert notify.send(notify.receivers(home), NOTICE) == 0
    assert not box.mails
    assert not any(b"AUTH" in each for each in box.commands)


@pytest.mark.parametrize("kind", [webhook, slack])
def test_what_stays_on_this_machine_goes_by_no_proxy(
    tmp_path: Path, kind: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        home = named(tmp_path, kind(tmp_path, receiver.url))
        assert notify.send(notify.receivers(home), NOTICE) == 1
    assert len(receiver.taken) == 1
    assert not proxy.taken


URL = "https://user:a-password@example.com/?token=abcdef"


@pytest.mark.parametrize("where", ["title", "text", "facts"])
def test_secrets_are_told_nowhere(tmp_path: Path, where: str) -> None:
    # Long, so that it is cut: in the middle of an address, for one of the lengths.
    for before in ("", *("x" * (limit - 20) for limit in (200, 1000, 4000))):
        given = f"{before} {URL}"
        told = {"why": given} if where == "facts" else given
        with receiving() as receiver:
            home = named(tmp_path, webhook(tmp_path, receiver.url))
            notify.send(notify.receivers(home), NOTICE.model_copy(update={where: told}))
        [(_, body)] = receiver.taken
        for secret in (b"a-pass", b"abcdef"):
            assert secret not in body


@pytest.mark.slow
def test_a_notice_does_not_grow_with_what_it_tells_of(tmp_path: Path) -> None:
    long = NOTICE.model_copy(
        update={"title": "x" * 10**6, "text": "x" * 10**6, "facts": {"why": "x" * 10**6}}
    )
    with receiving() as receiver, taking_mail() as box:
        home = named(
            tmp_path,
            webhook(tmp_path, receiver.url),
            slack(tmp_path, receiver.url),
            mail(box.port),
        )
        assert notify.send(notify.receivers(home), long) == 3
    # The specification of webhooks asks for less than 20 kB.
    for message in (*(body for _, body in receiver.taken), *box.mails):
        assert len(message) < 10_000


def test_without_settings_nobody_is_told(tmp_path: Path) -> None:
    assert notify.receivers(tmp_path) == ()


def to(url: str) -> list[dict[str, str]]:
    """Settings of a webhook to an address."""
    return [{"kind": "webhook", "url": url, "secret_file": "secret"}]


WRONG = {
    "an unknown kind": ([{"kind": "pager"}], "unknown receiver 'pager'"),
    "http to another machine": (to("http://example.com"), "https"),
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
    "a user in an address": (to("https://ada:a-shared-secret@example.com"), "user or password"),
    "an address without a host": (to("https://"), "https"),
    "a port that is none": (to("https://example.com:99999"), "host or port"),
    "an address that is none": (to("https://[::1"), "host or port"),
    "a file of this machine": (to("file:///etc/passwd"), "https"),
    "what clouds tell their machines": (to("http://169.254.169.254/"), "https"),
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


def test_settings_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notices.yaml").write_bytes(b"\xff\xfe\x00garbage\xff")
    with pytest.raises(ConfigError, match="it is no YAML"):
        notify.receivers(tmp_path)


@pytest.mark.parametrize(
    ("host", "is_this_machine"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("", False),
     ("127.0.0.1.example.com", False), ("localhost.example.com", False), ("0.0.0.0", False),
     ("::", False), ("169.254.169.254", False), ("fd00:ec2::254", False), ("10.0.0.1", False)],
)  # fmt: skip
def test_which_host_is_this_machine(host: str, is_this_machine: bool) -> None:
    assert is_loopback(host) is is_this_machine
