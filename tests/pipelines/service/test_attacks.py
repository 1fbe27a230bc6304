"""What strangers and other sites send to a service, without Ray."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message

from pipelines.service.bodies import Bodies
from pipelines.service.config import Limits, ServiceConfig
from pipelines.service.guard import Guard
from pipelines.service.metrics import Metrics
from pipelines.service.refusal import RefusedError

TEXT = {"inputs": [{"modality": "text", "text": "a chair"}]}
ASKED = [{"json": TEXT}, {"files": {"text": (None, "a chair")}}]


# --- finding 18: names that point here, and other sites' forms -----------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[evil.example]",
        "",
        "a" * 5000,
    ],
)
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/ready", "/model", "/docs"):
        answer = client.get(path, headers={"host": host})
        assert (answer.status_code, set(answer.json())) == (403, {"error", "expected"})
    assert client.post("/embed", json=TEXT, headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:9", "[::1]:8000"])
def test_addresses_and_localhost_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/ready", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://evil.example",
        "null",
        "http://127.0.0.1:3000",
        "http://127.0.0.1.evil.example",
        "file://",
        "http://localhost",
    ],
)
def test_a_page_of_another_site_is_refused(
    client: TestClient, origin: str, asked: dict[str, Any]
) -> None:
    answer = client.post("/embed", headers={"origin": origin}, **asked)
    assert answer.status_code == 403
    assert client.get("/model", headers={"origin": origin}).status_code == 403


@pytest.mark.parametrize("asked", ASKED)
def test_its_own_page_is_answered(client: TestClient, asked: dict[str, Any]) -> None:
    assert client.post("/embed", headers={"origin": "http://127.0.0.1"}, **asked).status_code == 200


# --- findings 8 and 9: bodies ---------------------------------------------------------------------

MEASURED = """
import json, re, tempfile
from pathlib import Path
from pipelines.service.config import Limits
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import EmbedQuestion
from pipelines.service.uploads import _from_json
item = '{"modality":"text","text":"a"},'
body = ('{"inputs":[' + item * 1_300_000 + item[:-1] + "]}").encode()
def peak_kb():  # getrusage would count the parent's too
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak_kb()
try:
    _from_json(body, EmbedQuestion, Limits(), Path(tempfile.mkdtemp()))
except RefusedError as error:
    status = error.status
after = peak_kb()
print(json.dumps([status, len(body), (after - before) * 1024]))
"""


def test_a_million_items_cost_no_memory_before_they_are_refused() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True)
    status, size, grown = json.loads(done.stdout)
    assert (status, size > 38e6) == (413, True)
    assert grown < size  # it was 1.2 GB


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [' + b"[" * 100_000,
        b'{"inputs": [{"modality":"text","text":"a","reader_options":{' + b'"a":1,' * 50_000,
        b'{"inputs": [' + b"1," * 500_000 + b"1]}",
        b'{"a": {"a": ' * 20_000,
    ],
)
def test_bodies_of_very_many_values_are_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/embed", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (413, 422), answer.text[:100]


class Line:
    """A client's connection to an ASGI app: what it has sent so far, and what it got."""

    def __init__(self, app: ASGIApp, client: str, path: str = "/") -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue()
        self.got: list[Message] = []
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
            "query_string": b"", "headers": [(b"host", b"127.0.0.1")], "client": (client, 1),
            "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80),
        }  # fmt: skip

        async def send(message: Message) -> None:
            self.got.append(message)

        self.task = asyncio.create_task(app(scope, self.sent.get, send))  # ty: ignore[invalid-argument-type]

    def says(self, data: bytes, *, more: bool = True) -> Line:
        self.sent.put_nowait({"type": "http.request", "body": data, "more_body": more})
        return self

    @property
    def status(self) -> int | None:
        return self.got[0]["status"] if self.got else None


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def guarded(limits: Limits, held: asyncio.Event | None = None) -> Guard:
    """A guard before a route that reads the body, and answers once `held` is set."""

    async def read(request: Request) -> Response:
        try:
            size = len(await request.body())
        except RefusedError as error:
            return JSONResponse({"error": error.error}, error.status)
        if held:
            await held.wait()
        return JSONResponse({"size": size})

    config = ServiceConfig(sources=("x",), limits=limits)
    app = Starlette(routes=[Route("/", read, methods=["POST"])])
    return Guard(app, config, Metrics(), lambda: "x")


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(bounded())


def test_slow_uploads_keep_nobody_out() -> None:
    async def test() -> None:
        app = guarded(Limits(waiting=64))
        slow = [Line(app, "10.0.0.1").says(b"x") for _ in range(64)]
        await settled()
        for client in ("10.0.0.2", "10.0.0.1"):
            quick = Line(app, client).says(b"whole", more=False)
            await quick.task
            assert quick.status == 200
        assert {line.status for line in slow} == {None}  # they may still come

    run(test)


def test_one_client_cannot_take_all_places() -> None:
    async def test() -> None:
        held = asyncio.Event()
        app = guarded(Limits(waiting=8), held)
        greedy = [Line(app, "10.0.0.1").says(b"x", more=False) for _ in range(20)]
        await settled()
        assert [line.status for line in greedy].count(429) == 16
        other = [Line(app, "10.0.0.2").says(b"x", more=False) for _ in range(4)]
        await settled()
        assert {line.status for line in other} == {None}
        late = Line(app, "10.0.0.3").says(b"x", more=False)
        await settled()
        assert late.status == 429  # eight are under way
        held.set()
        await asyncio.gather(*(line.task for line in other))
        assert {line.status for line in other} == {200}

    run(test)


def test_too_many_uploads_end_the_greediest_clients_oldest() -> None:
    async def test() -> None:
        app = guarded(Limits(uploads=10))
        slow = [Line(app, "10.0.0.1").says(b"x") for _ in range(10)]
        await settled()
        other = Line(app, "10.0.0.2").says(b"a")
        await settled()
        assert [line.status for line in slow] == [429] + [None] * 9
        other.says(b"b", more=False)
        await other.task
        assert other.status == 200

    run(test)


def test_all_bodies_together_keep_within_their_bytes() -> None:
    """64 bodies of 57 MB were allowed at once."""

    async def test() -> None:
        bodies = Bodies(limits=Limits(bodies_mb=4, body_mb=2, uploads=256))
        most = 0

        async def app(scope: Any, receive: Any, send: Any) -> None:
            nonlocal most
            while (await receive())["more_body"]:
                most = max(most, bodies.bytes)
            await JSONResponse({})(scope, receive, send)

        bodies._app = app
        lines = [Line(bodies, f"10.0.0.{n % 4}") for n in range(64)]
        for _ in range(16):
            for line in lines:
                if not line.task.done():
                    line.says(bytes(2**17))
            await settled()
        assert most <= 4 * 2**20
        assert sum(line.status == 429 for line in lines) >= 30
        honest = Line(bodies, "10.0.0.9").says(bytes(2**17), more=False)
        await honest.task
        assert honest.status == 200

    run(test)


@pytest.mark.parametrize("declared", ["9" * 5000, "99999999999", "-1", "1e9", "0x10"])
def test_a_declared_length_is_checked_as_text(client: TestClient, declared: str) -> None:
    headers = {
        "content-type": "application/json",
        "content-length": declared.encode().decode("latin-1"),
    }
    answer = client.post("/embed", content=b"{}", headers=headers)
    assert answer.status_code in (400, 413)


# --- finding 21: the page of the interface ------------------------------------------------


def test_the_page_of_the_interface_loads_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/docs").text
    for place in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert place.startswith("/"), place
        answer = client.get(place)
        assert (answer.status_code, len(answer.content) > 1000) == (200, True)
    assert "://" not in page.replace("http://127.0.0.1", "")
