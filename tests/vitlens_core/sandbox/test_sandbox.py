"""Whatever a file does to its child, it is refused with a reason and the next one is read."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vitlens_core.errors import BadSampleError, ConfigError, InputError, VitlensError
from vitlens_core.sandbox import Limits, Pool, Sandbox

MISBEHAVING = "tests.vitlens_core.sandbox.handlers:open_misbehaving"
ROOT = Path(__file__).parents[3]
LIMITS = Limits(time_s=3, memory_mb=512, output_mb=1)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(MISBEHAVING, {}, LIMITS) as sandbox:
        yield sandbox


def message(fields: object, arrays: object, after: bytes = b"") -> str:
    header = json.dumps({"fields": fields, "arrays": arrays}).encode()
    return (struct.pack("<Q", len(header)) + header + after).hex()


@pytest.mark.parametrize(
    ("asked", "error", "reason", "lost"),
    [
        ({"how": "sleep"}, BadSampleError, "exceeded 3 s", True),
        ({"how": "spin"}, BadSampleError, "exceeded 3 s|SIGXCPU", True),
        ({"how": "abort"}, BadSampleError, "crashed the process.*SIGABRT", True),
        ({"how": "leave"}, BadSampleError, "crashed the process.*exit status 3", True),
        ({"how": "hoard"}, BadSampleError, "needs more than 512 MB", False),
        ({"how": "leak"}, BadSampleError, "broken", True),
        ({"how": "fail"}, BadSampleError, "KeyError: 'unforeseen'", False),
        ({"how": "bad sample"}, BadSampleError, "^broken$", False),
        ({"how": "input"}, InputError, "^of another shape$", False),
        ({"how": "config"}, ConfigError, "^an option it lacks$", False),
        ({"how": "large", "bytes": 2**21}, BadSampleError, "2,097,152 bytes; 1,048,576", True),
    ],
)
def test_a_file_is_refused_and_the_next_is_read(
    sandbox: Sandbox, asked: dict, error: type[VitlensError], reason: str, lost: bool
) -> None:
    sandbox.start()
    before = sandbox.pid
    with pytest.raises(error, match=reason):
        sandbox.ask(asked)
    assert (sandbox.pid is None) == lost
    after = sandbox.ask({"how": "nothing"}).fields["pid"]
    assert (after != before) == lost


def test_a_graphics_driver_may_reserve_addresses_but_not_take_memory(sandbox: Sandbox) -> None:
    """NVIDIA's drivers reserve far more addresses than the machine has memory."""
    with pytest.raises(BadSampleError, match="needs more than 512 MB"):
        sandbox.ask({"how": "reserve"})
    with Sandbox(MISBEHAVING, {}, LIMITS, devices=True) as with_devices:
        assert with_devices.ask({"how": "reserve"}).fields["pid"] == with_devices.pid
        with pytest.raises(BadSampleError, match="needs more than 512 MB"):
            with_devices.ask({"how": "hoard"})
        assert with_devices.ask({"how": "nothing"}).fields["pid"]


@pytest.mark.parametrize(
    "sent",
    [
        "00",  # a part of a length, and then nothing
        struct.pack("<Q", 2**40).hex(),
        struct.pack("<Q", 3).hex() + b"[1]".hex(),
        struct.pack("<Q", 200_000).hex() + (b"[" * 200_000).hex(),
        message([], {}),
        message({}, {}),
        message({"answer": 1}, {}),
        message({"answer": {}}, {"a": ["object", [1]]}, bytes(8)),
        message({"answer": {}}, {"a": ["O", [1]]}, bytes(8)),
        message({"answer": {}}, {"a": ["float64", [2**40, 2**40]]}),
        message({"answer": {}}, {"a": ["float64", [-1]]}),
        message({"answer": {}}, {"a": ["float64", [1.5]]}),
        message({"answer": {}}, {"a": ["float64", [True]]}, bytes(8)),
        message({"answer": {}}, {"a": ["float64", "12"]}),
        message({"answer": {}}, {"a": ["uint8", [10]]}, b"short"),
        message({"answer": {}}, {str(n): ["uint8", [0]] for n in range(70_000)}),
    ],
)
def test_a_hostile_answer_is_refused_in_time(sandbox: Sandbox, sent: str) -> None:
    with pytest.raises(BadSampleError):
        sandbox.ask({"how": "raw", "hex": sent}, time_s=1)
    assert sandbox.pid is None
    assert sandbox.ask({"how": "nothing"}).fields


def test_an_error_of_an_unknown_class_is_a_bad_sample(sandbox: Sandbox) -> None:
    sent = message({"error": "SystemExit", "reason": "x"}, {})
    with pytest.raises(BadSampleError, match=r"^x$"):
        sandbox.ask({"how": "raw", "hex": sent})
    sandbox.close()


def test_a_long_log_fills_no_memory(sandbox: Sandbox) -> None:
    with pytest.raises(BadSampleError, match="cannot be read: OSError"):
        sandbox.ask({"how": "log"})


def test_a_child_that_cannot_open_says_why() -> None:
    opener = "tests.vitlens_core.sandbox.handlers:open_nothing"
    with pytest.raises(ConfigError, match="this machine lacks it"), Sandbox(opener, {}) as sandbox:
        sandbox.start()


def test_a_child_is_recycled() -> None:
    with Sandbox(MISBEHAVING, {}, Limits(recycle_after=2)) as sandbox:
        pids = [sandbox.ask({"how": "nothing"}).fields["pid"] for _ in range(3)]
    assert pids[0] == pids[1] != pids[2]


def test_a_child_survives_the_thread_that_started_it() -> None:
    with Sandbox(MISBEHAVING, {}, LIMITS) as sandbox:
        starter = threading.Thread(target=sandbox.start)
        starter.start()
        starter.join()
        time.sleep(0.2)
        assert sandbox.ask({"how": "nothing"}).fields["pid"] == sandbox.pid


@pytest.mark.parametrize("how", ["nothing", "sleep", "spin"])
def test_a_child_ends_with_its_parent_whatever_it_does(how: str) -> None:
    script = f"""
        import threading, time
        from vitlens_core.sandbox import Sandbox
        sandbox = Sandbox("{MISBEHAVING}", {{}})
        sandbox.start()
        threading.Thread(target=sandbox.ask, args=({{"how": "{how}"}},), daemon=True).start()
        time.sleep(0.5)
        print(sandbox.pid, flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    # The folder that holds `tests`: a child of `python -c` cannot know the empty entry of its path.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
        parent.wait()
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running()


def test_closing_leaves_no_process_and_no_folder() -> None:
    with Sandbox(MISBEHAVING, {}) as sandbox:
        pid = sandbox.ask({"how": "nothing"}).fields["pid"]
        inbox = sandbox.inbox
        assert inbox.stat().st_mode & 0o777 == 0o700
    assert not psutil.pid_exists(pid)
    assert not inbox.exists()


def test_a_pool_replaces_lost_children_only() -> None:
    pool = Pool(2, lambda: Sandbox(MISBEHAVING, {}, LIMITS))
    try:
        pool.wait()
        before = pool.pids
        assert len(before) == 2
        with pytest.raises(BadSampleError):
            pool.ask(lambda sandbox: sandbox.ask({"how": "fail"}))
        assert pool.pids == before
        with pytest.raises(BadSampleError):
            pool.ask(lambda sandbox: sandbox.ask({"how": "abort"}))
        for _ in range(4):
            assert pool.ask(lambda sandbox: sandbox.ask({"how": "nothing"})).fields
        assert len(set(pool.pids) & set(before)) == 1
        assert pool.active == {"files": True, "calls": True}
    finally:
        pool.close()
    assert not any(psutil.pid_exists(pid) for pid in before)


def test_a_stopped_child_is_ended_in_time(sandbox: Sandbox) -> None:
    sandbox.start()
    assert sandbox.pid is not None
    os.kill(sandbox.pid, signal.SIGSTOP)
    with pytest.raises(BadSampleError, match="exceeded"):
        sandbox.ask({"how": "nothing"}, time_s=1)


def test_a_lent_file_has_no_path_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with Sandbox(MISBEHAVING, {}) as sandbox, sandbox.lent(tmp_path / "x", "../../y.png") as lent:
        assert lent.parent == sandbox.inbox
