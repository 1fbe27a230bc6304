"""500 files from strangers: none ends the job, hangs it or opens a file.

A corpus of hand-made attacks (`HOSTILE`) and of mutations of the shipped objects, the same every
time: bytes flipped, cut, zeroed and repeated, and numbers, names and parts of the glTF document
replaced by what nobody expects.
"""

from __future__ import annotations

import json
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.objects.mirror import EMBEDDED
from tests.vitlens_core.rendering.glb_builder import pack
from tests.vitlens_core.rendering.test_glb import HOSTILE
from vitlens_core.errors import BadSampleError
from vitlens_core.rendering import RenderSettings, RenderWorker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FILES = 500
LARGEST_BYTES = 60_000  # of a shipped object that is mutated: the small ones, for speed
SETTINGS = RenderSettings(
    size_px=32,
    polar_deg=(90.0,),
    azimuths=1,
    points=32,
    time_limit_s=15,
    memory_limit_mb=1024,
    recycle_after=2 * FILES,  # a fresh child opens GL again
)
EXTREMES = (-1, 0, 1, 255, 65_536, 2**31 - 1, 2**31, 2**53, 2**63, -(2**31), 1e308, -1e-308, 0.5)
STRANGE = ("", "../../../etc/passwd", "/dev/zero", "file:///etc/passwd", "http://127.0.0.1/x")
STRANGE += ("data:application/octet-stream;base64,AAAA", "VEC4", "\u0000", "a" * 100_000)


def flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 4, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def zero(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randrange(1, 4096))
    return data[:start] + bytes(end - start) + data[end:]


def repeat(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[max(0, start - 999) : start] * 9 + data[start:]


def claim(rng: random.Random, data: bytes) -> bytes:
    """Other lengths in the header and the chunks' headers."""
    changed = bytearray(data)
    struct.pack_into("<I", changed, rng.choice((4, 8, 12)), rng.choice((0, 1, 2**31, 2**32 - 1)))
    return bytes(changed)


def scramble(rng: random.Random, data: bytes) -> bytes:
    """The document as it was, over other bytes."""
    document, binary = parts(data)
    return pack(json.dumps(document).encode(), rng.randbytes(len(binary)))


def rewrite(rng: random.Random, data: bytes) -> bytes:
    """Values of the document replaced, removed, repeated or nested."""
    document, binary = parts(data)
    for _ in range(rng.choice((1, 2, 5))):
        holder, key = rng.choice(list(places(document)))
        change = rng.randrange(5)
        if change == 0:
            holder[key] = rng.choice(EXTREMES)
        elif change == 1:
            holder[key] = rng.choice(STRANGE)
        elif change == 2:
            holder[key] = [holder[key]] * rng.choice((0, 2, 1000))
        elif change == 3:
            holder[key] = {"extras": holder[key]}
        elif isinstance(holder, dict):
            del holder[key]
    return pack(json.dumps(document).encode(), binary)


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a document where something stands, as its holder and key."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


MUTATIONS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "flip": flip,
    "cut": cut,
    "zero": zero,
    "repeat": repeat,
    "claim": claim,
    "scramble": scramble,
    "rewrite": rewrite,
}
_WEIGHTS = (1, 1, 1, 1, 1, 1, 4)


def corpus() -> Iterator[tuple[str, bytes]]:
    """Names and contents of `FILES` files."""
    yield from ((name, data) for name, (data, _) in HOSTILE.items())
    shipped = sorted(EMBEDDED.rglob("*.glb"))
    small = [path for path in shipped if path.stat().st_size <= LARGEST_BYTES]
    for number in range(FILES - len(HOSTILE)):
        rng = random.Random(f"fuzz/{number}")
        (kind,) = rng.choices(list(MUTATIONS), _WEIGHTS)
        path = rng.choice(small)
        yield f"{number}-{kind}-{path.stem[:8]}", MUTATIONS[kind](rng, path.read_bytes())


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to which the render child writes each path it opens, once it has objects to read."""
    log = tmp_path / "opened.log"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"log = os.open({str(log)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "def watch(event, args):\n"
        "    if event in ('open', 'socket.connect', 'subprocess.Popen', 'os.system'):\n"
        "        os.write(log, f'{event} {args[0]}\\n'.encode())\n"
        "sys.addaudithook(watch)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return log


def _end(worker: RenderWorker, data: bytes) -> str:
    try:
        rendered = worker.render(data, seed=0)
    except BadSampleError as error:
        return "crashed" if "crashed" in str(error) else "refused"
    return "rendered" if rendered.points.shape == (32, 6) else "wrong"


@pytest.mark.nightly
def test_500_hostile_files_are_rendered_or_refused(
    opened: Path, record_property: Callable[[str, object], None]
) -> None:
    ends: Counter[str] = Counter()
    slowest_s = 0.0
    with RenderWorker(SETTINGS) as worker:
        worker.render(next(iter(sorted(EMBEDDED.rglob("*.glb")))).read_bytes(), seed=0)
        opened.write_bytes(b"")  # what opening GL and a first picture took
        for _, data in corpus():
            started = time.monotonic()
            ends[_end(worker, data)] += 1
            slowest_s = max(slowest_s, time.monotonic() - started)
    record_property("ends", dict(ends))
    record_property("slowest_s", round(slowest_s, 1))
    assert (ends.total(), ends["wrong"]) == (FILES, 0)
    assert ends["refused"] > FILES / 4
    assert ends["rendered"] > FILES / 20  # a corpus that is all noise tests the first check only
    assert not strangers(opened.read_text())


def strangers(log: str) -> list[str]:
    """What was opened beside the interpreter's own modules.

    A number is a descriptor that is open already, as where Python writes a module's bytecode. The
    child looks at its own size, after which it is replaced.
    """
    modules = tuple(f"open {path}/" for path in sys.path if path)
    return [
        line
        for line in set(log.splitlines())
        if line not in ("", "open /proc/self/statm")
        and not line.startswith(modules)
        and not line.removeprefix("open ").isdecimal()
    ]
