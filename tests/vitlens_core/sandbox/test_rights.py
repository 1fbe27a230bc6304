"""From inside a child: secrets, files, network and other processes are out of reach."""

from __future__ import annotations

import os
import platform
import re
import socket
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.vitlens_core.sandbox.handlers import ATTEMPTS
from vitlens_core.sandbox import Sandbox, landlock, protections, seccomp

SECRET = "VITLENS_TEST_SECRET"
pytestmark = pytest.mark.skipif(
    any(state.startswith("missing") for state in protections().values()),
    reason=f"this kernel lacks a protection: {protections()}",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    (folder / "secret").write_text("the secret")
    return folder


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


_KINDS = {"reader": {}, "renderer": {"devices": True}, "writer": {"scratch": True}}


@pytest.fixture(scope="module", params=list(_KINDS.values()), ids=list(_KINDS))
def child(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    os.environ[SECRET] = "the secret"
    opener = "tests.vitlens_core.sandbox.handlers:open_attempts"
    try:
        with Sandbox(opener, {}, **request.param) as sandbox:
            sandbox.start()
            yield sandbox
    finally:
        del os.environ[SECRET]


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_child_is_refused(child: Sandbox, place: Path, port: int, attempt: str) -> None:
    on: object = str(place / "secret")
    if attempt in ("list a folder", "make a file", "make a folder"):
        on = str(place)
    on = {"connect": port, "read the environment": SECRET}.get(attempt, on)
    answered = child.ask({"attempt": attempt, "on": on}).fields
    if attempt == "become root" and os.getuid() == 0:
        assert "done" not in answered or psutil.Process(child.pid).uids().effective == 0
    else:
        assert "refused" in answered, answered
    assert (place / "secret").read_text() == "the secret"
    assert [path.name for path in place.iterdir()] == ["secret"]


def test_a_child_has_no_capability_and_no_secret(child: Sandbox) -> None:
    status = Path(f"/proc/{child.pid}/status").read_text()
    for line in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert f"{line}:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert b"secret" not in Path(f"/proc/{child.pid}/environ").read_bytes()
    assert child.active == {"files": True, "calls": True}


def test_a_child_can_do_what_decoders_need(tmp_path: Path) -> None:
    (tmp_path / "shown").write_text("shown")
    with Sandbox("tests.vitlens_core.sandbox.handlers:open_needed", {}) as sandbox:
        with sandbox.lent(tmp_path / "shown", "input.txt") as lent:
            answer = sandbox.ask({"path": str(lent)}, one=np.arange(3.0))
            assert answer.fields == {"read": "shown", "random": 8}
            np.testing.assert_array_equal(answer.arrays["twice"], [0, 2, 4])
        assert not list(sandbox.inbox.iterdir())


def test_a_child_with_scratch_writes_there_and_it_is_emptied() -> None:
    """And only files: no folder, no link."""
    with Sandbox("tests.vitlens_core.sandbox.handlers:open_scratch", {}, scratch=True) as sandbox:
        answer = sandbox.ask({}).fields
        place = Path(answer["place"])
        assert answer == {"place": str(place), "read": "written", "left": ["kept"], "refused": 2}
        assert place.is_dir()
    assert not place.exists()


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setattr(platform, "machine", lambda: "s390x")
    found = protections()
    assert found["files"].startswith("missing")
    assert found["calls"].startswith("missing")


@pytest.mark.parametrize(
    ("header", "column", "prefix"),
    [
        ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", 0, "__NR_"),
        ("/usr/include/asm-generic/unistd.h", 1, "__NR(?:3264)?_"),
    ],
)
def test_numbers_of_system_calls_are_those_of_the_headers(
    header: str, column: int, prefix: str
) -> None:
    if not Path(header).exists():
        pytest.skip("the kernel's headers are not installed")
    lines = re.findall(rf"#define {prefix}(\w+) (\d+)", Path(header).read_text())
    known = {name: int(number) for name, number in lines}
    known.setdefault("newfstatat", known.get("fstatat", -1))
    lists = (seccomp.ALLOWED, seccomp.CHECKED, seccomp.UNKNOWN, seccomp.OF_SCRATCH)
    for name, numbers in chain.from_iterable(one.items() for one in lists):
        assert numbers[column] == known.get(name, -1), name


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("devices", [False, True])
def test_a_filter_decides_every_call(machine: str, devices: bool) -> None:
    """Interpret the filter: no jump leaves it, and dangerous calls are refused."""
    code = seccomp.program(machine, 1234, devices=devices)
    column, architecture = (0, 0xC000003E) if machine == "x86_64" else (1, 0xC00000B7)
    listed = seccomp.ALLOWED | seccomp.CHECKED | seccomp.UNKNOWN
    numbers = {pair[column] for pair in listed.values()} - {-1}
    for number in range(600):
        action = _run(code, architecture, number, [0] * 6)
        assert action in (0x7FFF0000, 0x80000000) or action & 0xFFFF0000 == 0x00050000
        if number not in numbers:
            assert action == 0x00050001
    assert _run(code, 0x40000003, 1, [0] * 6) == 0x80000000
    clone = seccomp.CHECKED["clone"][column]
    assert _run(code, architecture, clone, [0x11, 0, 0, 0, 0, 0]) == 0x00050001
    assert _run(code, architecture, clone, [0x3D0F00, 0, 0, 0, 0, 0]) == 0x7FFF0000
    tgkill = seccomp.CHECKED["tgkill"][column]
    assert _run(code, architecture, tgkill, [1234, 1, 6, 0, 0, 0]) == 0x7FFF0000
    assert _run(code, architecture, tgkill, [1, 1, 6, 0, 0, 0]) == 0x00050001


def _run(code: list[seccomp.Instruction], architecture: int, number: int, args: list[int]) -> int:
    word, place = 0, 0
    while True:
        kind, if_true, if_false, k = code[place]
        place += 1
        match kind:
            case 0x20:
                word = {0: number, 4: architecture}.get(k, args[(k - 16) // 8] if k >= 16 else 0)
            case 0x15:
                place += if_true if word == k else if_false
            case 0x45:
                place += if_true if word & k else if_false
            case 0x06:
                return k
            case _:
                raise AssertionError(kind)


def test_the_attempts_succeed_without_a_sandbox(place: Path, port: int, tmp_path: Path) -> None:
    """Else a refusal above would show nothing."""
    (tmp_path / "written").write_text("before")
    attempts: dict[str, object] = {
        "read a file": place / "secret",
        "read a file through /proc": place / "secret",
        "list a folder": place,
        "make a file": tmp_path,
        "make a folder": tmp_path,
        "write a file": tmp_path / "written",
        "append to a file": tmp_path / "written",
        "link a file": tmp_path / "written",
        "change a mode": tmp_path / "written",
        "rename a file": tmp_path / "written",
        "open a socket": None,
        "open a local socket": None,
        "make a pair of sockets": None,
        "connect": port,
        "start a program": None,
    }
    for attempt, on in attempts.items():
        if attempt == "make a folder":
            (tmp_path / "new").unlink()
        ATTEMPTS[attempt](on)
