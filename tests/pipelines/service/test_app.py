"""What the service answers, and how it refuses; without Ray."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import json
import re
import struct
import wave
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import SecretStr
from starlette.testclient import TestClient

import vitlens_core
from pipelines.evaluation.embedding import class_embeddings
from pipelines.service.app import create_app
from pipelines.service.config import ServiceConfig
from pipelines.service.engine import Engine
from pipelines.store.artifacts import Artifact
from tests.chaos.fuzzing import video
from vitlens_core.modalities import point_cloud


def embedding(answer: Any, number: int = 0) -> torch.Tensor:
    return torch.tensor(answer.json()["embeddings"][number]["embedding"])


def png(size: int = 40, colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "png")
    return buffer.getvalue()


def test_files_and_texts_are_embedded_as_the_model_does(
    client: TestClient, model: vitlens_core.Model, glbs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "red.png").write_bytes(png())
    files = [
        ("point_cloud", ("chair.glb", glbs[0].read_bytes())),
        ("image", ("red.png", png())),
        ("text", (None, "a lamp")),
        ("point_cloud", ("other.glb", glbs[1].read_bytes())),
    ]
    answer = client.post("/embed", files=files)
    assert answer.status_code == 200, answer.text
    found = answer.json()["embeddings"]
    # Equal up to the order of floating-point sums.
    expected = model.encode(
        {"point_cloud": glbs[:2], "image": [tmp_path / "red.png"], "text": ["a lamp"]}
    )
    pairs = [("point_cloud", 0), ("image", 0), ("text", 0), ("point_cloud", 1)]
    for number, (modality, row) in enumerate(pairs):
        assert found[number]["modality"] == modality
        torch.testing.assert_close(
            embedding(answer, number), expected[modality][row], atol=1e-5, rtol=0
        )
    assert [f["name"] for f in found] == ["chair.glb", "red.png", "", "other.glb"]


def test_json_and_forms_say_the_same(client: TestClient, glbs: list[Path]) -> None:
    data = base64.b64encode(glbs[0].read_bytes()).decode()
    item = {"modality": "point_cloud", "name": "x.glb", "base64": data}
    as_json = client.post("/embed", json={"inputs": [item]})
    as_form = client.post("/embed", files={"point_cloud": ("x.glb", glbs[0].read_bytes())})
    assert as_json.json() == as_form.json()


def test_every_answer_names_the_model(client: TestClient) -> None:
    for answer in (
        client.post("/embed", json={"inputs": [{"modality": "text", "text": "a"}]}),
        client.get("/ready"),
        client.get("/model"),
    ):
        (version,) = answer.json()["model"]
        assert (version["name"], version["version"]) == ("vitlens-point_cloud", "1")
        assert answer.headers["x-vitlens-model"] == "vitlens-point_cloud/1"
    assert client.get("/nothing").headers["x-vitlens-model"] == "vitlens-point_cloud/1"


def test_an_answer_names_the_model_it_met_though_another_came_meanwhile(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = copy.copy(engine)
    first, embed = engine.current, engine.embed
    later = (first.versions[0].model_copy(update={"version": "2"}),)

    async def slow(*args: Any) -> np.ndarray:
        engine.current = dataclasses.replace(first, versions=later)
        return await embed(*args)

    monkeypatch.setattr(engine, "embed", slow)
    answer = TestClient(create_app(engine), "http://127.0.0.1").post(
        "/embed", files={"text": (None, "a lamp")}
    )
    assert answer.json()["model"][0]["version"] == "1"
    assert answer.headers["x-vitlens-model"] == "vitlens-point_cloud/1"


def test_similarities_are_cosines(client: TestClient, model: vitlens_core.Model) -> None:
    texts = ["a chair", "a lamp", "a red car"]
    a = [{"modality": "text", "text": t} for t in texts[:1]]
    b = [{"modality": "text", "text": t} for t in texts]
    found = client.post("/similarity", json={"a": a, "b": b}).json()["similarities"]
    embedded = model.encode({"text": texts})["text"]
    torch.testing.assert_close(torch.tensor(found), embedded[:1] @ embedded.T, atol=1e-5, rtol=0)
    form = [("a.text", (None, texts[0]))] + [("b.text", (None, t)) for t in texts]
    assert client.post("/similarity", files=form).json()["similarities"] == found


def test_classes_have_the_models_calibrated_probabilities(
    client: TestClient, model: vitlens_core.Model, glbs: list[Path]
) -> None:
    names = ["chair", "lamp", "car"]
    form: list[Any] = [("classes", (None, name)) for name in names]
    form.append(("point_cloud", ("x.glb", glbs[0].read_bytes())))
    (result,) = client.post("/zero_shot", files=form).json()["results"]

    class Texts:
        def encode_text(self, texts: Sequence[str], /) -> torch.Tensor:
            return model.encode({"text": list(texts)})["text"]

    classes = torch.from_numpy(class_embeddings(Texts(), names, point_cloud.MODALITY.templates))
    cosines = model.similarity(model.encode({"point_cloud": [glbs[0]]})["point_cloud"], classes)
    probabilities, temperature = model.calibrated(cosines, "point_cloud")
    expected = dict(zip(names, probabilities[0].tolist(), strict=True))
    found = {c["name"]: c["probability"] for c in result["classes"]}
    assert found == pytest.approx(expected, abs=1e-4)
    assert result["temperature"] == pytest.approx(temperature)
    assert sum(found.values()) == pytest.approx(1)
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_classes_are_the_corpuss_where_none_are_given(client: TestClient) -> None:
    body = {"inputs": [{"modality": "text", "text": "a chair"}]}
    (result,) = client.post("/zero_shot", json=body).json()["results"]
    labels = client.get("/model").json()["labels"]
    assert sorted(c["name"] for c in result["classes"]) == labels
    assert len(labels) == 3


def test_an_object_of_the_corpus_finds_itself(
    client: TestClient, flow: dict[str, Artifact], index_artifact: Artifact
) -> None:
    """By its own stored cloud, sent as an array.

    Among ten: the index is in bf16 where that is fast, and vectors of a lens this small lie close.
    """
    samples = [s for path in flow["targets"].shards() for s in flow["targets"].read(path)]
    for sample in samples[:3]:
        sent = ("cloud.npy", bytes(sample["points.npy"]))
        form = [("point_cloud", sent), ("count", (None, "10"))]
        (result,) = client.post("/search", files=form).json()["results"]
        assert result["vectors"] == "signal"
        assert len(result["items"]) == 10
        best = result["items"][0]
        assert best["score"] > 0.99
        described = json.loads(sample["json"])
        assert sample["__key__"] in [i["key"] for i in result["items"] if i["score"] > 0.99]
        assert best["licence"]
        assert best["creator"]
        picture = client.get(best["thumbnail"])
        assert picture.headers["content-type"] == "image/webp"
        assert Image.open(io.BytesIO(picture.content)).size == (32, 32)
        assert described["name"]


def test_texts_are_compared_with_images_unless_told(client: TestClient) -> None:
    body = {"inputs": [{"modality": "text", "text": "a chair"}], "count": 2}
    kinds = [
        client.post("/search", json={**body, **more}).json()["results"][0]["vectors"]
        for more in ({}, {"vectors": "text"})
    ]
    assert kinds == ["image", "text"]


def npz_bomb() -> bytes:
    """An array whose header says 2e11 numbers."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 6), }"
    header = header.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def pixel_bomb() -> bytes:
    """A small PNG of 20000² pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    row = zlib.compress(bytes(20001), 9)
    size = struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


def array(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def tone() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(8000))
    return buffer.getvalue()


CLOUD = np.random.default_rng(0).uniform(size=(200, 6))
BAD_FILES: dict[str, tuple[str, str, bytes, str]] = {
    "HTML as GLB": ("point_cloud", "x.glb", b"<html>not found</html>", "found HTML"),
    "truncated GLB": ("point_cloud", "x.glb", b"glTF" + struct.pack("<II", 2, 999), "truncated"),
    "empty": ("point_cloud", "x.glb", b"", "an empty file"),
    "no ending": ("point_cloud", "x", b"glTF", "truncated GLB"),
    "strange ending": ("point_cloud", "../../x.glb/..", b"glTF", "truncated GLB"),
    "NaN": ("point_cloud", "x.npy", array(np.full((200, 6), np.nan)), "finite"),
    "huge declared": ("point_cloud", "x.npy", npz_bomb(), "cannot be read|needs more"),
    "too few points": ("point_cloud", "x.npy", array(CLOUD[:9]), "at least 128 points"),
    "normals as colours": ("point_cloud", "x.npy", array(CLOUD - 0.5), "4 to 6 are no colours"),
    "pickle": ("point_cloud", "x.npy", b"\x80\x04N.", "begins with"),
    "pixel bomb": ("image", "x.png", pixel_bomb(), "cannot be read"),
    "text as image": ("image", "x.png", b"hello", "begins with b'hello'"),
    "truncated image": ("image", "x.png", png(300)[:80], "cannot be read"),
    "sound as image": ("image", "x.wav", tone(), "expected a picture"),
    "sound as video": ("video", "x.mp4", tone(), "found WAV"),
    "not UTF-8": ("text", "x.txt", b"\xff\xfe\x00", "not UTF-8"),
    "blank text": ("text", "x.txt", b"  ", "something to read"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_its_reason(client: TestClient, name: str) -> None:
    modality, file, data, reason = BAD_FILES[name]
    answer = client.post("/embed", files={modality: (file, data)})
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "expected"}
    assert re.search(reason, answer.json()["error"]), answer.json()
    assert "/tmp" not in answer.json()["error"]


TEXT = {"modality": "text", "text": "a chair"}
BAD_QUESTIONS: dict[str, tuple[str, Any, int, str]] = {
    "not JSON": ("/embed", b"{", 422, "body"),
    "another shape": ("/embed", [1], 422, "body"),
    "deep JSON": ("/embed", b'{"inputs":' + b"[" * 50_000, 413, "values"),
    "nested JSON": ("/embed", b'{"inputs":' + b"[" * 1_000, 422, "body"),
    "no inputs": ("/embed", {"inputs": []}, 422, "inputs"),
    "unknown key": ("/embed", {"inputs": [TEXT], "x": 1}, 422, "x"),
    "a path": ("/embed", {"inputs": [{"modality": "image", "path": "/etc/passwd"}]}, 422, "path"),
    "a hidden path": ("/embed", {"inputs": [{**TEXT, "_path": "/etc/passwd"}]}, 422, "_path"),
    "no content": ("/embed", {"inputs": [{"modality": "image"}]}, 422, "0 contents"),
    "text as image": ("/embed", {"inputs": [{**TEXT, "modality": "image"}]}, 422, "a text as"),
    "two contents": ("/embed", {"inputs": [{**TEXT, "base64": "QQ=="}]}, 422, "2 contents"),
    "not base64": ("/embed", {"inputs": [{"modality": "image", "base64": "#"}]}, 422, "inputs 0"),
    "unknown modality": ("/embed", {"inputs": [{**TEXT, "modality": "smell"}]}, 422, "smell"),
    "a modality not loaded": (
        "/embed",
        {"inputs": [{"modality": "audio", "name": "x.wav", "base64": "QQ=="}]},
        422,
        "'audio'",
    ),
    "unknown option": (
        "/embed",
        {"inputs": [{**TEXT, "reader_options": {"rate_hz": 1}}]},
        422,
        "rate_hz",
    ),
    "an option out of bounds": (
        "/embed",
        {"inputs": [{"modality": "video", "base64": "QQ==", "reader_options": {"frames": 10**12}}]},
        422,
        "out of bounds",
    ),
    "too many inputs": ("/embed", {"inputs": [TEXT] * 9}, 413, "9 inputs"),
    "a long text": ("/embed", {"inputs": [{**TEXT, "text": "a" * 301}]}, 413, "301 characters"),
    "a long text in a file": (
        "/embed",
        {"inputs": [{"modality": "text", "name": "a.txt", "base64": "YWFh" * 200}]},
        413,
        "600 characters",
    ),
    "a far too long text in a file": (
        "/embed",
        {"inputs": [{"modality": "text", "name": "a.txt", "base64": "YWFh" * 1000}]},
        413,
        "too long",
    ),
    "many classes": (
        "/zero_shot",
        {"inputs": [TEXT], "classes": list(map(str, range(21)))},
        413,
        "21",
    ),
    "blank class": ("/zero_shot", {"inputs": [TEXT], "classes": ["_"]}, 422, "class"),
    "a long class": ("/zero_shot", {"inputs": [TEXT], "classes": ["a" * 301]}, 413, "301"),
    "many neighbours": ("/search", {"inputs": [TEXT], "count": 11}, 422, "count 11"),
    "no neighbours": ("/search", {"inputs": [TEXT], "count": 0}, 422, "count"),
    "unknown vectors": ("/search", {"inputs": [TEXT], "vectors": "smell"}, 422, "vectors"),
    "no b": ("/similarity", {"a": [TEXT]}, 422, "b"),
}


@pytest.mark.parametrize("name", BAD_QUESTIONS)
def test_a_bad_question_is_refused_with_its_reason(client: TestClient, name: str) -> None:
    route, body, status, reason = BAD_QUESTIONS[name]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post(route, content=data, headers={"content-type": "application/json"})
    assert (answer.status_code, set(answer.json())) == (status, {"error", "expected"})
    assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"smell": ("x.png", b"x")}, "smell"),
        ({"image": ("x.png", b"x"), "reader_options": (None, "{")}, "reader_options"),
        ({"image": ("x.png", b"x"), "reader_options": (None, "[]")}, "reader_options"),
        ({"c.image": ("x.png", b"x")}, "c.image"),
        ({"image": (None, "a text")}, "a text as image"),
    ],
)
def test_a_bad_form_is_refused_with_its_reason(client: TestClient, files: Any, reason: str) -> None:
    answer = client.post("/embed", files=files)
    assert answer.status_code == 422
    assert reason in answer.json()["error"]


def test_a_body_beyond_its_limit_is_refused_declared_or_not(client: TestClient) -> None:
    data = bytes(3 * 2**20)
    declared = client.post("/embed", files={"image": ("x.png", data)})
    streamed = client.post(
        "/embed",
        content=(data[i : i + 2**16] for i in range(0, len(data), 2**16)),
        headers={"content-type": "application/json"},
    )
    assert (declared.status_code, streamed.status_code) == (413, 413)
    assert streamed.json()["expected"] == "2 MB or less"


def test_other_types_methods_and_routes_are_refused(client: TestClient) -> None:
    assert client.post("/embed", content=b"x").status_code == 415
    assert client.get("/embed").status_code == 405
    assert client.get("/thumbnails/other/0").status_code == 404
    assert client.get("/thumbnails/x/y").status_code == 422
    assert client.get("/../etc/passwd").status_code == 404


def test_a_request_leaves_no_file(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glbs: list[Path]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for data in (glbs[0].read_bytes(), b"<html>"):
        client.post("/embed", files={"point_cloud": ("x.glb", data)})
    assert list(tmp_path.iterdir()) == []


def test_a_token_is_asked_for(engine: Engine, config: ServiceConfig) -> None:
    guarded = copy.copy(engine)
    guarded.config = config.model_copy(update={"token": SecretStr("a-token-of-24-characters")})
    client = TestClient(create_app(guarded), "http://127.0.0.1")
    body = {"inputs": [TEXT]}
    assert client.post("/embed", json=body).status_code == 401
    for given in ("Bearer wrong", "Basic a-token-of-24-characters", "Bearer", "Bearer é"):
        sent = {"authorization": given.encode("latin-1")}
        answer = client.post("/embed", json=body, headers=sent)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    right = {"authorization": "Bearer a-token-of-24-characters"}
    assert client.post("/embed", json=body, headers=right).status_code == 200
    assert engine.current.catalogue is not None
    picture = f"/thumbnails/{engine.current.catalogue.name}/0"
    for closed in ("/model", "/examples", "/metrics", picture):
        assert client.get(closed).status_code == 401
        assert client.get(closed, headers=right).status_code == 200
    for opened in ("/", "/explorer.js", "/explorer.css", "/health", "/ready"):
        assert client.get(opened).status_code == 200


def test_everything_is_counted(client: TestClient) -> None:
    def counted() -> dict[str, float]:
        lines = client.get("/metrics").text.splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name: float(value) for name, value in pairs}

    before = counted()
    client.post("/embed", json={"inputs": [TEXT, TEXT]})
    client.post("/embed", json={"inputs": [{"modality": "smell", "base64": "QQ=="}]})
    client.get("/made-up-by-a-stranger")
    client.get("/thumbnails/other/0")
    after = counted()

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more('vitlens_requests_total{route="/embed",status="200"}') == 1
    assert more('vitlens_requests_total{route="/embed",status="422"}') == 1
    assert more('vitlens_requests_total{route="other",status="404"}') == 1
    assert more('vitlens_requests_total{route="/thumbnails/{index}/{number}",status="404"}') == 1
    assert more('vitlens_request_seconds_count{route="/embed"}') == 2
    assert more('vitlens_batch_size_sum{modality="text"}') == 2
    assert more('vitlens_rejected_total{reason="modality"}') == 1
    assert "made-up" not in client.get("/metrics").text


def test_health_readiness_and_what_is_served(client: TestClient) -> None:
    assert client.get("/health").json() == {"alive": True}
    ready = client.get("/ready").json()
    assert (ready["ready"], ready["search"], ready["reload"]) == (True, "ready", "current")
    served = client.get("/model").json()
    assert served["modalities"] == ["point_cloud", "image", "video", "text"]
    assert served["lensed"] == ["point_cloud"]
    assert served["vectors"] == ["signal", "image", "text"]
    assert served["items"] == 12


def test_the_documents_show_examples(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for route in ("/embed", "/similarity", "/zero_shot", "/search"):
        content = paths[route]["post"]["requestBody"]["content"]
        assert content["application/json"]["example"]
        assert "multipart/form-data" in content
        assert paths[route]["post"]["responses"]["422"]


def test_the_documents_name_every_field_of_a_form(client: TestClient) -> None:
    """What they name is taken, and what is taken is named."""
    paths = client.get("/openapi.json").json()["paths"]

    def fields(route: str) -> dict[str, Any]:
        content = paths[route]["post"]["requestBody"]["content"]
        return content["multipart/form-data"]["schema"]["properties"]

    assert {"point_cloud", "image", "text", "reader_options", "classes"} <= fields(
        "/zero_shot"
    ).keys()
    pairs = fields("/similarity")
    assert {"a.text", "b.text", "a.point_cloud", "b.image"} <= pairs.keys()
    assert "text" not in pairs
    sent = {"a.text": ["a chair"], "b.text": ["a lamp", "a car"]}
    form = [(name, (None, text)) for name, texts in sent.items() for text in texts]
    answer = client.post("/similarity", files=form)
    assert answer.status_code == 200, answer.text
    [row] = answer.json()["similarities"]
    assert len(row) == 2


def test_the_page_asks_nobody_else(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for part in (page, client.get("/explorer.css"), client.get("/explorer.js")):
        assert part.status_code == 200
        assert "http://" not in part.text.replace("http://www.w3.org", "")
        assert "https://" not in part.text


def test_the_frames_of_a_video_are_bounded(client: TestClient) -> None:
    content = video("mp4", "mpeg4", frames=70)
    options = {"reader_options": json.dumps({"video": {"frames": 70}})}
    many = client.post("/embed", files={"video": ("x.mp4", content)}, data=options)
    assert (many.status_code, "70 frames" in many.json()["error"]) == (413, True)
    assert client.post("/embed", files={"video": ("x.mp4", content)}).status_code == 200
