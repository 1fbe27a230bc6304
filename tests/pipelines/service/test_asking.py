"""/ask: what it answers, refuses and limits, at once or word by word; without Ray."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Scope

from pipelines.service.companions import (
    StoppedError,
    check,
    check_connector,
    check_kinds,
    open_companions,
    stopping,
)
from pipelines.service.engine import Engine
from pipelines.service.streaming import EVENTS
from tests.pipelines.service.browser import browser, needs_browser, serving
from tests.pipelines.service.companions import SCENE, Made, Served, cloud, npy, png, sent_cloud
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.plugins.ask import ADAPTERS
from vitlens_core.plugins.ask.base import QuestionModel

QUESTION = "what is it used for?"
CONNECTED = "llama"
KINDS = ["llava", CONNECTED]
STREAMED = {"accept": EVENTS}


def question_model(made: Made, kind: str) -> QuestionModel:
    model = made.opened(kind).companions.question_model
    assert model is not None
    return model


def events(text: str) -> list[tuple[str, Any]]:
    """The events of a stream, by name, with what they say."""
    whole, rest = text.split("\n\n")[:-1], text.rpartition("\n\n")[2]
    assert rest == "", "an event that is not whole"
    pairs = [event.removeprefix("event: ").split("\ndata: ") for event in whole]
    return [(name, json.loads(data)) for name, data in pairs]


@pytest.mark.parametrize("kind", KINDS)
def test_a_question_model_answers_as_the_python_interface_does(
    made: Made, served: Served, kind: str
) -> None:
    fields = [sent_cloud(0), ("image", ("scene.png", png(SCENE))), sent_cloud(1)]
    asked = {"question": QUESTION, "max_tokens": "6"}
    answer = served(kind).post("/ask", files=fields, data=asked)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["by"] == f"{kind}-0"
    names = [(one["modality"], one["name"]) for one in said["answers"]]
    assert names == [
        ("point_cloud", "cloud0.npy"), ("image", "scene.png"), ("point_cloud", "cloud1.npy")
    ]  # fmt: skip
    model, by = made.opened(kind).model, question_model(made, kind)
    clouds = model.ask([cloud(0), cloud(1)], QUESTION, by=by, max_new_tokens=6)
    (seen,) = model.ask({"image": SCENE}, QUESTION, by=by, max_new_tokens=6)
    expected = [clouds[0].text, seen.text, clouds[1].text]
    assert [one["text"] for one in said["answers"]] == expected
    assert {one["probability"] for one in said["answers"]} == {None}
    assert any(expected), "an answer of nothing shows nothing"


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_together_are_one_question(made: Made, served: Served, kind: str) -> None:
    fields = [("image", ("scene.png", png(SCENE))), sent_cloud(0)]
    asked = {"question": QUESTION, "together": "true", "max_tokens": "6"}
    answer = served(kind).post("/ask", files=fields, data=asked)
    assert answer.status_code == 200, answer.text
    both = {"image": SCENE, "point_cloud": cloud(0)}
    by = question_model(made, kind)
    (expected,) = made.opened(kind).model.ask(both, QUESTION, by=by, max_new_tokens=6)
    assert [one["text"] for one in answer.json()["answers"]] == [expected.text]
    twice = served(kind).post("/ask", files=[sent_cloud(0), sent_cloud(1)], data=asked)
    assert (twice.status_code, "two inputs of point_cloud" in twice.text) == (422, True)


def test_what_has_an_embedding_alone_is_asked_about_behind_a_connector(
    made: Made, served: Served
) -> None:
    """Tokens of a text, or of an item of the index, there are none."""
    words = {"inputs": [{"modality": "text", "text": "a chair"}], "question": QUESTION}
    answer = served(CONNECTED).post("/ask", json=words | {"max_tokens": 6})
    assert answer.status_code == 200, answer.text
    by = question_model(made, CONNECTED)
    model = made.opened(CONNECTED).model
    (expected,) = model.ask({"text": ["a chair"]}, QUESTION, by=by, max_new_tokens=6)
    assert answer.json()["answers"][0]["text"] == expected.text
    entry = {"modality": "point_cloud", "entry": "ab/0"}
    for kind, found in (
        ("llava", (422, "an item of the index")),
        (CONNECTED, (404, "in the index")),
    ):
        refused = served(kind).post("/ask", json={"inputs": [entry], "question": "a"})
        assert (refused.status_code, found[1] in refused.text) == (found[0], True), refused.text


def test_without_a_question_model_the_nearest_class_is_given_and_it_says_so(
    client: TestClient, glbs: list[Path]
) -> None:
    form: list[Any] = [("point_cloud", ("x.glb", glbs[0].read_bytes()))]
    classes = client.post("/zero_shot", files=form).json()["results"][0]["classes"]
    answer = client.post("/ask", files=form, data={"question": QUESTION})
    assert answer.status_code == 200, answer.text
    assert answer.json()["by"] == "zero-shot"
    (said,) = answer.json()["answers"]
    assert (said["text"], said["probability"]) == (
        classes[0]["name"], pytest.approx(classes[0]["probability"])
    )  # fmt: skip
    few = [("answers", (None, "a lamp")), ("answers", (None, "a car")), *form]
    named = client.post("/ask", files=few, data={"question": QUESTION}).json()["answers"][0]
    assert named["text"] in ("a lamp", "a car")
    assert 0.5 <= named["probability"] <= 1


REFUSED: dict[str, tuple[int, list[tuple[str, Any]], str]] = {
    "no question": (422, [sent_cloud(0)], "question"),
    "an empty question": (422, [sent_cloud(0), ("question", (None, ""))], "question"),
    "a long question": (422, [sent_cloud(0), ("question", (None, "x" * 301))], "300 or fewer"),
    "a mark": (422, [sent_cloud(0), ("question", (None, "a <image> b"))], "found <image>"),
    "too many tokens": (
        422, [sent_cloud(0), ("question", (None, "a")), ("max_tokens", (None, "257"))],
        "256 or fewer",
    ),
    "too many inputs": (400, [sent_cloud(0)] * 9 + [("question", (None, "a"))], "Too many files"),
    "no cloud": (422, [("point_cloud", ("a.ply", b"<html>")), ("question", (None, "a"))], "a.ply"),
    "no film": (422, [("video", ("a.mp4", b"x")), ("question", (None, "a"))], "video"),
}  # fmt: skip


@pytest.mark.parametrize("headers", [{}, STREAMED], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_asked_is_refused_with_a_sentence(
    served: Served, kind: str, name: str, headers: dict[str, str]
) -> None:
    status, fields, part = REFUSED[name]
    answer = served(kind).post("/ask", files=fields, headers=headers)
    assert (answer.status_code, part in answer.text) == (status, True), answer.text
    assert set(answer.json()) == {"error", "expected"}
    assert tempfile.gettempdir() not in answer.text
    good = served(kind).post("/ask", files=[sent_cloud(0)], data={"question": "a"})
    assert good.status_code == 200, good.text


@pytest.mark.parametrize("headers", [{}, STREAMED], ids=["whole", "streamed"])
def test_an_answer_that_takes_too_long_is_refused_and_the_next_is_given(
    made: Made, headers: dict[str, str]
) -> None:
    short = made.limits.model_copy(update={"request_s": 0.001})
    loaded, asked = made.opened("llava"), {"question": "a"}
    slow = made.client(loaded, short).post(
        "/ask", files=[sent_cloud(0)], data=asked, headers=headers
    )
    assert (slow.status_code, slow.json()["error"]) == (503, "no answer within 0.001 s")
    again = made.client(loaded).post("/ask", files=[sent_cloud(0)], data=asked)
    assert again.status_code == 200, again.text


def test_work_is_told_when_nobody_waits_for_it(engine: Engine) -> None:
    begun, told = threading.Event(), threading.Event()

    def work(is_over: threading.Event) -> None:
        begun.set()
        if is_over.wait(60):
            told.set()

    async def given_up() -> None:
        task = asyncio.create_task(engine.on_companions(work))
        await asyncio.to_thread(begun.wait, 60)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(given_up())
    assert told.wait(60)


@pytest.mark.parametrize("kind", [*sorted(ADAPTERS), CONNECTED])
def test_a_question_model_stops_at_the_next_token(made: Made, kind: str) -> None:
    loaded, is_over = made.opened(kind), threading.Event()
    by = question_model(made, kind)
    with stopping(by.model.get_output_embeddings(), is_over):
        loaded.model.ask(cloud(0), "a", by=by, max_new_tokens=2)
        is_over.set()
        with pytest.raises(StoppedError):
            loaded.model.ask(cloud(0), "a", by=by, max_new_tokens=2)
    loaded.model.ask(cloud(0), "a", by=by, max_new_tokens=2)


# --- word by word ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_words_come_one_by_one_and_then_the_whole_answer(served: Served, kind: str) -> None:
    sent: dict[str, Any] = {
        "files": [sent_cloud(0), ("image", ("scene.png", png(SCENE)))],
        "data": {"question": QUESTION, "max_tokens": "12"},
    }
    whole = served(kind).post("/ask", **sent).json()
    streamed = served(kind).post("/ask", **sent, headers=STREAMED)
    assert streamed.headers["content-type"].startswith(EVENTS)
    assert streamed.headers["x-vitlens-model"]
    *told, (name, answer) = events(streamed.text)
    assert (name, answer) == ("answer", whole)
    assert {name for name, _ in told} == {"words"}
    for number, said in enumerate(whole["answers"]):
        heard = "".join(one["text"] for _, one in told if one["answer"] == number)
        assert heard.strip() == said["text"]


def test_a_choice_among_answers_is_one_event(client: TestClient, glbs: list[Path]) -> None:
    form = [("point_cloud", ("x.glb", glbs[0].read_bytes()))]
    asked = {"question": QUESTION}
    whole = client.post("/ask", files=form, data=asked).json()
    streamed = client.post("/ask", files=form, data=asked, headers=STREAMED)
    assert events(streamed.text) == [("answer", whole)]


@pytest.fixture
def endless(made: Made, monkeypatch: pytest.MonkeyPatch) -> QuestionModel:
    """A question model that writes one word a token, and never comes to an end by itself."""
    by = question_model(made, CONNECTED)
    monkeypatch.setattr(by.model.generation_config, "eos_token_id", None)
    monkeypatch.setattr(by.words, "decode", lambda ids, **_: "word " * len(ids))
    return by


ENDLESS: dict[str, Any] = {"answer_tokens": 100_000, "request_s": 600}


def asked_for_ever(made: Made, is_told: asyncio.Event) -> tuple[ASGIApp, Scope, Receive]:
    """The app, the scope and the receive of a client that leaves once `is_told` is set."""
    loaded = made.opened(CONNECTED)
    client = made.client(loaded, made.limits.model_copy(update=ENDLESS))
    body = {"inputs": [{"modality": "text", "text": "a"}], "question": "a", "max_tokens": 90_000}
    data = [json.dumps(body).encode()]

    async def receive() -> Message:
        if data:
            return {"type": "http.request", "body": data.pop(), "more_body": False}
        await is_told.wait()
        return {"type": "http.disconnect"}

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": "POST", "path": "/ask", "query_string": b"",
        "http_version": "1.1",
        "headers": [*headers, (b"accept", EVENTS.encode())], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "scheme": "http", "asgi": {"version": "3.0"},
    }  # fmt: skip
    return client.app, scope, receive


def test_generation_ends_when_the_client_goes(made: Made, endless: QuestionModel) -> None:
    """Words come before the answer is whole, and nothing is generated for nobody."""
    passes: list[None] = []
    hook = endless.model.register_forward_pre_hook(lambda *_: passes.append(None))

    async def left() -> list[bytes]:
        is_told = asyncio.Event()
        app, scope, receive = asked_for_ever(made, is_told)
        sent: list[bytes] = []

        async def send(message: Message) -> None:
            sent.append(message.get("body", b""))
            if b"event: words" in sent[-1]:
                is_told.set()

        await asyncio.wait_for(app(scope, receive, send), 60)
        # The thread is free again: the next question is taken.
        await asyncio.wait_for(made.engine.on_companions(lambda _: None), 60)
        return sent

    try:
        sent = asyncio.run(left())
    finally:
        hook.remove()
    assert not any(b"event: answer" in part for part in sent)
    assert 1 <= len(passes) < 10_000


def test_a_loop_that_is_left_ends_generation(made: Made, endless: QuestionModel) -> None:
    """The Python interface: `break` is enough."""
    model, passes = made.opened(CONNECTED).model, []
    hook = endless.model.register_forward_pre_hook(lambda *_: passes.append(None))
    try:
        for piece in model.stream(cloud(0), "a", by=endless, max_new_tokens=90_000):
            assert piece.strip() == "word"
            break
        count = len(passes)
        assert 1 <= count < 10_000
        assert not [t for t in threading.enumerate() if t.name.endswith("(write)")]
    finally:
        hook.remove()
    assert len(passes) == count


def test_a_failure_on_the_way_is_an_event(
    made: Made, endless: QuestionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(ids: Any, **_: Any) -> str:
        if len(ids) > 2:
            raise OSError("the disk is gone")
        return "word " * len(ids)

    monkeypatch.setattr(endless.words, "decode", broken)
    client = made.client(made.opened(CONNECTED))
    streamed = client.post("/ask", files=[sent_cloud(0)], data={"question": "a"}, headers=STREAMED)
    assert streamed.status_code == 200
    *_, (name, told) = events(streamed.text)
    refused = {"error": "an internal error: OSError", "expected": "see log"}
    assert (name, told) == ("error", refused)


# --- a connector ----------------------------------------------------------------------------------


def test_a_connector_that_does_not_fit_is_refused_before_it_is_served(made: Made) -> None:
    mine, loaded = made.settings(CONNECTED)[0], made.opened(CONNECTED)
    other = made.settings(CONNECTED, seed=1)[0]
    with pytest.raises(CheckpointError, match="takes embeddings of the foundation"):
        check(other, loaded.model)
    mixed = mine.model_copy(update={"ask": other.ask})
    check(mixed, loaded.model)  # as far as the foundation goes
    for refused in (check_connector, lambda named: open_companions(named, loaded.model)):
        with pytest.raises(CheckpointError, match="was trained for the language model"):
            refused(mixed)
    check_connector(mine)


def test_what_is_no_connector_is_refused_before_anything_is_loaded(made: Made) -> None:
    mine = made.settings(CONNECTED)[0]
    made.settings("llava")
    cases: list[tuple[dict[str, str], type[Exception], str]] = [
        ({"ask": ""}, ConfigError, "stands before a language model: name it, --ask MODEL"),
        ({"ask": str(made.folder / "llava-0")}, ConfigError, "is no causal language model"),
        ({"connector": "/nowhere"}, CheckpointError, "is not a safetensors file"),
        ({"connector": f"{mine.ask}/model.safetensors"}, CheckpointError, "is no connector"),
        ({"connector": ""}, ConfigError, "it needs a connector"),
    ]
    for changed, kind, reason in cases:
        with pytest.raises(kind, match=reason):
            check_kinds(mine.model_copy(update=changed))
    check_kinds(mine)


@needs_browser
def test_words_appear_in_the_explorer_as_they_come(
    made: Made, endless: QuestionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(ids: Sequence[int], **_: object) -> str:
        time.sleep(0.02)  # as a large model: the page reads what came, one word or several
        return "word " * len(ids)

    monkeypatch.setattr(endless.words, "decode", slowly)
    client = made.client(made.opened(CONNECTED), made.limits.model_copy(update=ENDLESS))
    with serving(client.app) as url, browser(tmp_path) as tab:
        tab.open(url)
        tab.wait("served !== null")
        tab.run("document.getElementById('classes').value = 'chair\\nlamp'")
        tab.drop("cloud.npy", npy(cloud(0)))
        tab.wait("!document.getElementById('asking').hidden")
        tab.run(
            "window.seen = new Set();"
            "new MutationObserver(() => seen.add(document.getElementById('said').textContent))"
            ".observe(document.getElementById('said'), {childList: true, characterData: true})"
        )
        tab.run("document.querySelector('#asking-form button').click()")
        tab.wait("document.getElementById('said').textContent.trim().split(' ').length === 40")
        assert tab.run("[...seen].filter((words) => words.endsWith(' …')).length") > 1
