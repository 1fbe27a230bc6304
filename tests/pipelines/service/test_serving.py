"""The service as it is deployed: Ray Serve, a real port, strangers and a browser."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from pydantic import SecretStr

import vitlens_core
from pipelines.evaluation import job as evaluation
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.lens import job as lens
from pipelines.lens.settings import TrainConfig
from pipelines.registry import models
from pipelines.service.config import Limits, ServiceConfig
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import encode_array
from tests.chaos.test_fuzzed_glbs import corpus
from tests.pipelines.service.browser import DONE, browser, needs_browser
from tests.pipelines.service.conftest import SOURCE, make_index, register
from tests.sockets import listening, table
from vitlens_core.errors import InputError
from vitlens_core.models.tower_settings import TowerSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    # Its Serve lives in the Ray that other tests share.
    pytest.mark.xdist_group("local_ray"),
]

TOKEN = "a-token-of-24-characters"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
CONCURRENCY = 16
LIMITS = Limits(body_mb=1, inputs=8, classes=20, text_characters=300, decode_s=10, upload_s=2)


@dataclass(frozen=True)
class Case:
    """One request and what must come of it: an embedding, or a refusal."""

    name: str
    route: str
    sent: dict[str, Any]
    expected: np.ndarray | None = None


@pytest.fixture(scope="module")
def own_home(
    tmp_path_factory: pytest.TempPathFactory, home: Path
) -> Iterator[tuple[Path, pytest.MonkeyPatch]]:
    """A home of this file's own: its champion changes."""
    folder = tmp_path_factory.mktemp("serving") / "home"
    shutil.copytree(home, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITLENS_HOME", str(folder))
        yield folder, patch


@pytest.fixture(scope="module")
def url(
    own_home: tuple[Path, pytest.MonkeyPatch],
    local_ray: None,
    flow_runtime: Runtime,
    index_artifact: Artifact,
) -> Iterator[str]:
    """A running service of one replica."""
    from pipelines.service import deployment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = ServiceConfig(
        sources=(SOURCE,),
        store=str(flow_runtime.store.root),
        limits=LIMITS,
        token=SecretStr(TOKEN),
        decoders=1,
        poll_s=0.5,
    )
    with deployment.running(config, "127.0.0.1", port, replicas=1):
        yield f"http://127.0.0.1:{port}"


def replica_pids() -> set[int]:
    return {
        process.pid
        for process in psutil.process_iter()
        if any("ServeReplica:vitlens" in part for part in _cmdline(process))
    }


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def good(model: vitlens_core.Model, glbs: list[Path]) -> list[Case]:
    texts = ["a chair", "a red lamp", "a small table", "the big blue car"]
    embedded = model.encode({"text": texts, "point_cloud": glbs})
    cases = [
        Case(text, "/embed", {"json": {"inputs": [{"modality": "text", "text": text}]}}, e.numpy())
        for text, e in zip(texts, embedded["text"], strict=True)
    ]
    return cases + [
        Case(path.stem, "/embed", {"files": {"point_cloud": (path.name, path.read_bytes())}}, e)
        for path, e in zip(glbs, embedded["point_cloud"].numpy(), strict=True)
    ]


def bad() -> list[Case]:
    text = {"inputs": [{"modality": "text", "text": "a"}]}
    page = {"files": {"point_cloud": ("x.glb", b"<!doctype html><html></html>")}}
    return [
        Case("HTML", "/embed", page),
        Case("oversize", "/embed", {"files": {"image": ("x.png", bytes(2 * 2**20))}}),
        Case("no token", "/embed", {"json": text, "headers": {"authorization": "Bearer x"}}),
        Case("wrong JSON", "/search", {"json": {"inputs": "a"}}),
        Case("broken JSON", "/zero_shot", _raw(b'{"inputs": [')),
        Case("unknown modality", "/embed", {"files": {"smell": ("x", b"x")}}),
        Case("too many inputs", "/embed", {"json": {"inputs": text["inputs"] * 9}}),
        Case("another type", "/similarity", {"content": b"x"}),
        Case("NaN", "/embed", {"files": {"point_cloud": ("x.npy", _nan())}}),
        Case("no route", "/nothing", {"json": {}}),
    ]


def _raw(content: bytes) -> dict[str, Any]:
    return {"content": content, "headers": {**HEADERS, "content-type": "application/json"}}


def _nan() -> bytes:
    return encode_array(np.full((500, 6), np.nan, np.float32))


def fuzzed(model: vitlens_core.Model, folder: Path, every: int) -> list[Case]:
    """One in `every` of the fuzzed GLBs; this process's model says which are still good."""
    cases = []
    for number, (name, data) in enumerate(islice(corpus(), 0, None, every)):
        path = folder / f"{number}.glb"
        path.write_bytes(data)
        try:
            expected = model.encode({"point_cloud": [path]})["point_cloud"][0].numpy()
        except (InputError, MemoryError):
            expected = None
        sent = {"files": {"point_cloud": ("x.glb", data)}}
        cases.append(Case(f"fuzzed {name}", "/embed", sent, expected))
    return cases


async def all_asked(url: str, cases: list[Case]) -> list[httpx.Response]:
    """Answers in the cases' order; `CONCURRENCY` under way at a time."""
    room = asyncio.Semaphore(CONCURRENCY)
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=120) as client:

        async def asked(case: Case) -> httpx.Response:
            async with room:
                return await client.post(case.route, **case.sent)

        return await asyncio.gather(*map(asked, cases))


@pytest.mark.parametrize(
    ("requests", "every"), [(100, 20), pytest.param(1000, 7, marks=pytest.mark.nightly)]
)
def test_many_good_and_bad_requests(
    url: str,
    model: vitlens_core.Model,
    glbs: list[Path],
    tmp_path: Path,
    requests: int,
    every: int,
    record_property: Callable[[str, object], None],
) -> None:
    before = replica_pids()
    rng = random.Random(0)
    cases = fuzzed(model, tmp_path, every)
    cases += [
        rng.choice(good(model, glbs) if rng.random() < 0.6 else bad())
        for _ in range(requests - len(cases))
    ]
    rng.shuffle(cases)
    ends: Counter[str] = Counter()
    for case, answer in zip(cases, asyncio.run(all_asked(url, cases)), strict=True):
        if case.expected is None:
            ends["refused" if 400 <= answer.status_code < 500 else f"bad: {case.name}"] += 1
            assert set(answer.json()) == {"error", "expected"}, case.name
        elif answer.status_code != 200:
            ends[f"good: {case.name} {answer.status_code} {answer.text[:99]}"] += 1
        else:
            found = np.array(answer.json()["embeddings"][0]["embedding"])
            ends["right" if np.abs(found - case.expected).max() < 1e-5 else "wrong"] += 1
    record_property("ends", dict(ends))
    assert set(ends) == {"right", "refused"}
    assert ends.total() == requests
    assert min(ends.values()) > requests / 5
    assert replica_pids() == before
    assert len(before) == 1


def test_a_body_that_does_not_come_is_given_up(url: str) -> None:
    async def trickle() -> Any:
        yield b'{"inputs": '
        await asyncio.sleep(6)
        yield b"[]}"

    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=60) as client:
            sent = {"content-type": "application/json"}
            return await client.post("/embed", content=trickle(), headers=sent)

    answer = asyncio.run(asked())
    assert answer.status_code == 408
    assert answer.json()["expected"] == "within 2 s"


def test_the_service_listens_on_the_loopback_only(url: str) -> None:
    """Serve's replicas took pickles from anybody, on every interface."""
    found = listening(os.getpid())
    print(table(found))
    replica = [each for each in found if "ServeReplica:vitlens" in each.process]
    assert replica, "its own RPC port, which asks for Ray's token"
    assert not [each for each in found if not each.is_loopback]


def test_an_endless_head_hangs_nobody(url: str) -> None:
    """220 MB of it hung /health for 90 s, until Serve ended its proxy."""
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as flood:
        flood.sendall(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ")
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(220):
                sent += flood.send(bytes(2**20).replace(b"\0", b"a"))
                assert httpx.get(f"{url}/health", timeout=5).status_code == 200
        assert sent < 20 * 2**20, "it was read on and on"
    assert httpx.get(f"{url}/ready", timeout=5).status_code == 200


def test_a_head_that_does_not_come_is_given_up(url: str) -> None:
    port = int(url.rpartition(":")[2])
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for line in lines:
        line.sendall(b"GET /health HTTP/1.1\r\nhost: ")
    assert httpx.get(f"{url}/health", timeout=5).status_code == 200
    for line in lines:
        line.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            assert line.recv(100) == b""
        line.close()


def test_a_foreign_host_is_refused_before_all(url: str) -> None:
    assert httpx.get(f"{url}/health", headers={"host": "evil.example"}).status_code == 403


def test_answers_are_counted_over_all(url: str) -> None:
    text = httpx.get(f"{url}/metrics", headers=HEADERS).text
    assert 'vitlens_requests_total{route="/embed",status="200"}' in text
    assert "vitlens_batch_size_bucket" in text
    assert 'vitlens_rejected_total{reason="token"}' in text


@needs_browser
def test_the_explorer_in_a_browser(url: str, glbs: list[Path], tmp_path: Path) -> None:
    with browser(tmp_path) as page:
        page.open(f"{url}/")
        page.wait("!document.getElementById('token-field').hidden")
        assert page.run("document.getElementById('error').hidden")
        page.run("document.getElementById('token').focus()")
        page.type("a-token-of-others")
        page.press("Enter", 13, "\r")
        page.wait("document.getElementById('error').textContent.includes('another token')")
        page.run("document.getElementById('token').value = ''")
        page.type(TOKEN)
        page.press("Enter", 13, "\r")
        page.wait("document.getElementById('token-field').hidden")
        assert page.run("document.getElementById('error').hidden")
        page.drop("object.glb", glbs[0].read_bytes())
        page.wait(DONE)
        cards = "[...document.querySelectorAll('#cards li')]"
        assert page.run(f"{cards}.length") == 12
        page.wait(f"{cards}.every((c) => c.querySelector('img').naturalWidth > 0)")
        assert page.run(
            f"{cards}.every((c) => c.querySelector('small').textContent.includes('CC'))"
        )
        shares = page.run("[...document.querySelectorAll('#bars .value')].map(b => b.textContent)")
        assert len(shares) == 3
        assert sum(float(share.split()[0]) for share in shares) == pytest.approx(100, abs=0.3)

        page.run(f"{cards}[3].querySelector('.open').click()")
        assert page.run("document.getElementById('opened').open")
        assert "Licence" in page.run("document.getElementById('opened-facts').textContent")
        page.run("document.getElementById('similar').click()")
        page.wait("!document.getElementById('about').hidden")
        page.wait(DONE)
        assert not page.run("document.getElementById('opened').open")
        page.run("document.querySelector('#examples .chip').click()")
        page.wait(DONE)
        assert page.run("document.getElementById('words').value")

        page.drop("page.glb", b"<html></html>")
        page.wait("!document.getElementById('error').hidden")
        told = page.run("document.getElementById('error').textContent")
        assert "found HTML" in told
        assert page.run("document.getElementById('nearest').hidden")

        page.run("document.getElementById('words').focus()")  # by keyboard alone
        page.type("a chair")
        page.press("Enter", 13, "\r")
        page.wait(DONE)
        assert page.run("document.getElementById('error').hidden")
        assert "compared with their images" in page.run(
            "document.getElementById('nearest-note').textContent"
        )
        page.open(f"{url}/", width=360)
        assert page.run("document.documentElement.scrollWidth") <= 360


@pytest.fixture(scope="module")
def second(flow_runtime: Runtime, flow: dict[str, Artifact]) -> dict[str, Artifact]:
    """The flow with another lens, and its index."""
    trained = dict(flow["lens"].manifest.config)
    train = TrainConfig.model_validate(trained.pop("train"))
    config, tower = train.model_copy(update={"seed": train.seed + 1}), TowerSettings(**trained)
    other = lens.run(flow_runtime, config, tower, flow["targets"], flow["foundation"])
    scored = evaluation.run(
        flow_runtime,
        EvaluationConfig(),
        flow["targets"],
        flow["foundation"],
        other,
    )
    changed = {**flow, "lens": other, "evaluation": scored}
    make_index(flow_runtime, changed)
    return changed


def test_an_alias_that_moves_under_load_fails_no_request(
    url: str,
    own_home: tuple[Path, pytest.MonkeyPatch],
    second: dict[str, Artifact],
    model: vitlens_core.Model,
    glbs: list[Path],
) -> None:
    """Answers are those of the version they name, before, while and after it changes."""
    folder, _ = own_home
    cloud: Any = {"files": {"point_cloud": ("x.glb", glbs[0].read_bytes())}}
    before = model.encode({"point_cloud": [glbs[0]]})["point_cloud"][0].numpy()
    answers: list[httpx.Response] = []

    async def load() -> None:
        async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=60) as client:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and _served(answers) != "2":
                answers.extend(
                    await asyncio.gather(*(client.post("/embed", **cloud) for _ in range(4)))
                )

    async def moved() -> None:
        loading = asyncio.create_task(load())
        await asyncio.sleep(1)
        made = await asyncio.to_thread(register, folder, second)
        assert made.version == 2
        await loading

    asyncio.run(moved())
    after = vitlens_core.load(SOURCE).encode({"point_cloud": [glbs[0]]})["point_cloud"][0].numpy()
    assert np.abs(before - after).max() > 1e-3
    assert {answer.status_code for answer in answers} == {200}
    expected = {"1": before, "2": after}
    for answer in answers:
        body = answer.json()
        vector = np.array(body["embeddings"][0]["embedding"])
        assert np.abs(vector - expected[body["model"][0]["version"]]).max() < 1e-5
    assert {a.json()["model"][0]["version"] for a in answers} == {"1", "2"}
    ready = httpx.get(f"{url}/ready").json()
    assert (ready["search"], ready["reload"]) == ("ready", "current")


def _served(answers: list[httpx.Response]) -> str:
    return answers[-1].json()["model"][0]["version"] if answers else ""


def test_a_version_that_cannot_be_opened_leaves_the_present_one(
    url: str, own_home: tuple[Path, pytest.MonkeyPatch], flow: dict[str, Artifact]
) -> None:
    folder, _ = own_home
    client = models.connect(folder)
    gone = folder / "gone"
    made = client.create_model_version("vitlens-point_cloud", source=gone.as_uri())
    client.set_registered_model_alias("vitlens-point_cloud", "champion", made.version)
    deadline = time.monotonic() + 60
    while (ready := httpx.get(f"{url}/ready").json())["reload"] == "current":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "vitlens-point_cloud/3 cannot be opened" in ready["reload"]
    assert ready["model"][0]["version"] == "2"
    text = {"inputs": [{"modality": "text", "text": "a chair"}]}
    assert httpx.post(f"{url}/embed", json=text, headers=HEADERS).status_code == 200
