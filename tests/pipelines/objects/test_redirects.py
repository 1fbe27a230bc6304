"""A mirror's redirects lead to public places only, and what it sends has an end."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from pipelines.objects import transfer
from pipelines.objects.mirror import _filesystem
from pipelines.objects.redirects import refusal
from pipelines.objects.transfer import FetchPolicy, fetch
from tests.pipelines.misbehaving_server import QUICK
from vitlens_core import caps
from vitlens_core.errors import BadSampleError, TransientError

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site(ThreadingHTTPServer):
    """Answers every path by a function."""

    daemon_threads = True

    def __init__(self, answers: dict[str, Answer]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                answers[self.path](self)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        site = self
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def body(data: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def redirect(target: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(bytes(2**16))
    except OSError:
        pass


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def inner() -> Iterator[Site]:
    """A service of this machine that no mirror should reach."""
    site = Site({"/secret": body(b"the secret")})
    yield site
    site.shutdown()
    site.server_close()


def fetched(site: Site, path: str, to: Path, size: int | None = None) -> bytes:
    filesystem, base = _filesystem(site.url, QUICK)
    # As it travels to a worker.
    filesystem = pickle.loads(pickle.dumps(filesystem))
    fetch(filesystem, f"{base}{path}", to / "got", size, FetchPolicy(attempts=1))
    return (to / "got").read_bytes()


def test_a_redirect_to_another_service_of_this_machine_is_refused(
    inner: Site, tmp_path: Path
) -> None:
    targets = {
        "/other-port": f"{inner.url}/secret",
        "/by-name": f"http://localhost:{inner.server_port}/secret",
        "/short": f"http://127.1:{inner.server_port}/secret",
        "/six": f"http://[::1]:{inner.server_port}/secret",
        "/mapped": f"http://[::ffff:127.0.0.1]:{inner.server_port}/secret",
        "/metadata": "http://169.254.169.254/latest/meta-data/",
        "/file": "file:///etc/passwd",
    }
    site = Site({path: redirect(target) for path, target in targets.items()})
    for path in targets:
        with pytest.raises((BadSampleError, TransientError)):
            fetched(site, path, tmp_path)
        assert not (tmp_path / "got").exists()
    assert not inner.asked
    site.shutdown()
    site.server_close()


def test_redirects_within_the_mirror_are_followed_up_to_a_number(tmp_path: Path) -> None:
    hops = {f"/{n}": redirect(f"/{n + 1}") for n in range(20)}
    site = Site({**hops, "/20": body(b"far"), "/a": redirect("/b"), "/b": body(b"near")})
    assert fetched(site, "/a", tmp_path) == b"near"
    with pytest.raises(BadSampleError, match="more than 5 times"):
        fetched(site, "/0", tmp_path)
    site.shutdown()
    site.server_close()


@pytest.mark.parametrize(
    ("origin", "target", "is_refused"),
    [
        ("https://hub.example/x", "https://cdn.example/y?signed", False),
        ("http://hub.example/x", "https://cdn.example/y", False),
        ("https://hub.example/x", "http://cdn.example/y", True),
        ("https://hub.example/x", "https://10.0.0.1/y", True),
        ("https://hub.example/x", "https://192.168.1.1/y", True),
        ("https://hub.example/x", "https://0.0.0.0/y", True),
        ("https://hub.example/x", "https://2130706433/y", True),
        ("https://hub.example/x", "https://0x7f000001/y", True),
        ("https://hub.example/x", "https://[fd00::1]/y", True),
        ("https://hub.example/x", "https://[fe80::1]/y", True),
        ("https://hub.example/x", "https://printer.local/y", True),
        ("https://hub.example/x", "ftp://cdn.example/y", True),
        ("http://10.0.0.5:80/x", "http://10.0.0.5/y", False),
        ("http://10.0.0.5/x", "http://10.0.0.5:81/y", True),
        ("http://10.0.0.5/x", "http://10.0.0.6/y", True),
    ],
)
def test_where_a_mirror_may_send_us(origin: str, target: str, is_refused: bool) -> None:
    assert bool(refusal(origin, target)) == is_refused


@pytest.mark.parametrize("size", [None, 1000])
def test_an_endless_body_is_cut(
    tmp_path: Path, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer.caps, "ANNOTATION_BYTES", 2**20)
    site = Site({"/x": endless})
    with pytest.raises((BadSampleError, TransientError), match="bytes"):
        fetched(site, "/x", tmp_path, size)
    assert not list(tmp_path.iterdir())
    site.shutdown()
    site.server_close()


def test_an_annotation_allows_no_endless_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caps, "OBJECT_BYTES", 2**20)
    site = Site({"/x": endless})
    with pytest.raises(BadSampleError, match="more than 1,048,576 bytes"):
        fetched(site, "/x", tmp_path, 2**40)
    site.shutdown()
    site.server_close()
