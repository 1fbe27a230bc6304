# ruff: noqa: E501  one case a line
"""Hostile requests: each is answered rightly or refused with a sentence, and the next is answered.

A fault of ours would be a 500.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

TEXT = {"modality": "text", "text": "a chair"}
_JSON = {"content-type": "application/json"}


def body(**fields: Any) -> bytes:
    return json.dumps({"inputs": [TEXT], **fields}).encode()


def item(**fields: Any) -> bytes:
    return json.dumps({"inputs": [{**TEXT, **fields}]}).encode()


# What /embed is asked with → the status.
BODIES: dict[str, tuple[int, bytes]] = {
    "nothing": (422, b""),
    "a word": (422, b"chair"),
    "null": (422, b"null"),
    "a number": (422, b"1"),
    "a list": (422, b"[]"),
    "no end": (422, b'{"inputs": ['),
    "two documents": (422, body() + body()),
    "a comment": (422, b'{"inputs": [] /* */}'),
    "keys twice": (200, b'{"inputs": 3, "inputs": [{"modality": "text", "text": "a"}]}'),
    "no UTF-8": (422, b'{"inputs": [{"modality": "text", "text": "\xff\xfe"}]}'),
    "UTF-16": (422, body().decode().encode("utf-16")),
    "a mark of UTF-8": (422, b"\xef\xbb\xbf" + body()),
    "lone surrogates": (422, b'{"inputs": [{"modality": "text", "text": "\\ud800"}]}'),
    "NUL": (200, item(text="a\0b")),
    "deep lists": (413, b'{"inputs": ' + b"[" * 50_000),
    "deep objects": (413, b'{"a": ' * 50_000),
    "a number of many digits": (422, b'{"inputs": [], "count": ' + b"9" * 6000 + b"}"),
    "a number beyond": (422, b'{"inputs": 1e999999}'),
    "NaN": (422, b'{"inputs": NaN}'),
    "another field": (422, body(__class__="x")),
    "another field of an item": (422, item(path="/etc/passwd")),
    "a file beside a text": (422, item(base64="AAAA")),
    "no content": (422, json.dumps({"inputs": [{"modality": "text"}]}).encode()),
    "no input": (422, body(inputs=[])),
    "a modality of no kind": (422, item(modality="smell")),
    "a modality of a path": (422, item(modality="../text")),
    "a modality of a list": (422, item(modality=["text"])),
    "base64 of no kind": (422, json.dumps({"inputs": [{"modality": "image", "base64": "!!!!"}]}).encode()),
    "base64 of nothing": (422, json.dumps({"inputs": [{"modality": "image", "base64": ""}]}).encode()),
    "base64 of a page": (422, json.dumps({"inputs": [{"modality": "image", "base64": "PGh0bWw+"}]}).encode()),
    "a name of a path": (422, json.dumps({"inputs": [{"modality": "image", "name": "../../../owned.png", "base64": "AAAA"}]}).encode()),
    "a name of a million": (422, json.dumps({"inputs": [{"modality": "image", "name": "x" * 1_000_000, "base64": "AAAA"}]}).encode()),
    "a text too long": (413, item(text="x" * 100_000)),
    "too many inputs": (413, body(inputs=[TEXT] * 9)),
    "options of a list": (422, item(reader_options=[1])),
    "options of a function": (422, json.dumps({"inputs": [{"modality": "image", "base64": "iVBORw0KGgo=", "reader_options": {"__init__": 1}}]}).encode()),
    "an option of a path": (422, json.dumps({"inputs": [{"modality": "image", "base64": "iVBORw0KGgo=", "reader_options": {"path": "/etc/passwd"}}]}).encode()),
}  # fmt: skip


def alive(client: TestClient) -> None:
    assert client.post("/embed", content=body(), headers=_JSON).status_code == 200


@pytest.mark.parametrize("name", BODIES)
def test_bodies(client: TestClient, name: str) -> None:
    status, content = BODIES[name]
    answer = client.post("/embed", content=content, headers=_JSON)
    assert answer.status_code == status, answer.text[:300]
    assert len(answer.content) < 100_000
    if status != 200:
        assert set(answer.json()) == {"error", "expected"}
    assert "passwd" not in answer.text or "no file" not in answer.text
    alive(client)


HEADERS: dict[str, tuple[int, dict[str, str]]] = {
    "no type": (415, {"content-type": ""}),
    "a type of no kind": (415, {"content-type": "application/x-python-pickle"}),
    "XML": (415, {"content-type": "application/xml"}),
    "a form without a boundary": (400, {"content-type": "multipart/form-data"}),
    "a form with a long boundary": (400, {"content-type": "multipart/form-data; boundary=" + "x" * 4000}),
    "a form with another boundary": (400, {"content-type": "multipart/form-data; boundary=x"}),
    "JSON of a strange set": (200, {"content-type": "application/json; charset=utf-7"}),
    "packed": (422, {"content-type": "application/json", "content-encoding": "gzip"}),
    "a method within": (200, {"content-type": "application/json", "x-http-method-override": "DELETE"}),
    "a path within": (200, {"content-type": "application/json", "x-original-url": "/metrics"}),
    "a forged sender": (200, {"content-type": "application/json", "x-forwarded-for": "127.0.0.1, evil"}),
    "a forged host": (200, {"content-type": "application/json", "x-forwarded-host": "evil.example"}),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_headers(client: TestClient, name: str) -> None:
    status, headers = HEADERS[name]
    content = b"\x1f\x8b" + bytes(30) if name == "packed" else body()
    answer = client.post("/embed", content=content, headers=headers)
    assert answer.status_code == status, answer.text[:300]
    assert answer.status_code != 500
    alive(client)


FIELDS: dict[str, list[tuple[str, Any]]] = {
    "a field of no kind": [("evil", (None, "x"))],
    "a field of ours": [("__class__.text", (None, "x"))],
    "a field of a million": [("x" * 100_000, (None, "x"))],
    "options of no JSON": [("text", (None, "a")), ("reader_options", (None, "{"))],
    "deep options": [("text", (None, "a")), ("reader_options", (None, "[" * 50_000))],
    "options as a file": [("text", (None, "a")), ("reader_options", ("x", b"{}"))],
    "options of many digits": [("text", (None, "a")), ("reader_options", (None, "9" * 6000))],
    "a file of nothing": [("image", ("a.png", b""))],
    "a file without a name": [("image", ("", b"\x89PNG"))],
    "a file named above": [("image", ("../../../owned.png", b"\x89PNG"))],
    "a file with a NUL": [("image", ("a\0.png", b"\x89PNG"))],
    "a text as a picture": [("image", (None, "words"))],
    "a setting as a file": [("text", (None, "a")), ("count", ("x", b"1"))],
    "too many files": [("image", ("a.png", b"x"))] * 40,
    "a program as a cloud": [("point_cloud", ("a.glb", b"\x7fELF" + bytes(100)))],
    "a page as a cloud": [("point_cloud", ("a.ply", b"<html>"))],
    "a pickle as a cloud": [("point_cloud", ("a.npy", b"\x80\x04cposix\nsystem\n."))],
}


@pytest.mark.parametrize("name", FIELDS)
def test_forms(client: TestClient, name: str) -> None:
    answer = client.post("/embed", files=FIELDS[name])
    assert answer.status_code in (400, 413, 422), answer.text[:300]
    assert len(answer.content) < 10_000
    alive(client)


PLACES = (
    "/thumbnails/x/1", "/thumbnails/../0", "/thumbnails/%2e%2e/0", "/thumbnails/x/-1",
    "/thumbnails/x/" + "9" * 5000, "/thumbnails/x/1e3", "/thumbnails/x/%00", "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/explorer.js/../../app.py", "/docs/../app.py",
    "/static/..%2f..%2fapp.py", "/" + "a" * 10_000, "/embed/", "/%ff", "/openapi.json/x",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_places(client: TestClient, place: str) -> None:
    answer = client.get(place)
    assert answer.status_code in (307, 400, 403, 404, 405, 422), answer.text[:300]
    assert "root:" not in answer.text
    assert "import" not in answer.text


METHODS = ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "X" * 500)
PLACES_OF_METHODS = ("/embed", "/model", "/")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", PLACES_OF_METHODS)
def test_methods(client: TestClient, method: str, place: str) -> None:
    assert client.request(method, place).status_code in (400, 403, 404, 405)


QUESTIONS: dict[str, tuple[str, bytes]] = {
    "a count of nothing": ("/search", body(count=0)),
    "a count below nothing": ("/search", body(count=-1)),
    "a count beyond": ("/search", body(count=10**9)),
    "a count of a text": ("/search", body(count="many")),
    "vectors of no kind": ("/search", body(vectors="../signal")),
    "classes of numbers": ("/zero_shot", body(classes=[1])),
    "a class of nothing": ("/zero_shot", body(classes=["", " "])),
    "classes without end": ("/zero_shot", body(classes=["a"] * 5000)),
    "a class of a million": ("/zero_shot", body(classes=["a" * 1_000_000])),
    "a question of nothing": ("/ask", body(question="")),
    "a question of a list": ("/ask", body(question=["a"])),
    "a question of a million": ("/ask", body(question="a" * 1_000_000)),
    "an answer without end": ("/ask", body(question="a", max_tokens=10**9)),
    "answers of numbers": ("/ask", body(question="a", answers=[1])),
    "a picture of no kind": ("/detect", body()),
    "pictures of many": (
        "/detect",
        json.dumps({"picture": [TEXT] * 2, "queries": [TEXT]}).encode(),
    ),
    "a score of no number": ("/detect", b'{"picture": [], "queries": [], "least": NaN}'),
    "weights of nothing": ("/imagine", body(weights=["a"])),
    "weights of many": ("/imagine", body(weights=[1] * 2000)),
    "a weight beyond": (
        "/imagine",
        b'{"inputs": [{"modality": "text", "text": "a"}], "weights": [1e999]}',
    ),
    "a seed of many digits": ("/imagine", b'{"inputs": [], "seed": ' + b"9" * 6000 + b"}"),
    "steps without end": ("/imagine", body(steps=10**9)),
    "a shape of words": ("/shape", body()),
    "a shape of nothing": ("/shape", b'{"inputs": []}'),
    "shapes of many": ("/shape", body(inputs=[TEXT] * 2)),
    "a shape of a page": ("/shape", item(modality="point_cloud", text=None, base64="PGh0bWw+")),
    "half a pair": ("/similarity", json.dumps({"a": [TEXT]}).encode()),
    "a pair of nothing": ("/similarity", json.dumps({"a": [], "b": []}).encode()),
    "a pair of many": ("/similarity", json.dumps({"a": [TEXT] * 9, "b": [TEXT] * 9}).encode()),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions(client: TestClient, name: str) -> None:
    place, content = QUESTIONS[name]
    answer = client.post(place, content=content, headers=_JSON)
    assert answer.status_code in (413, 422), answer.text[:300]
    assert set(answer.json()) == {"error", "expected"}
    assert len(answer.content) < 10_000
