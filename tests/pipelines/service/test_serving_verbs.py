"""A question model behind the service as it is deployed: Ray Serve and a real port."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import vitlens_core
from pipelines.service.config import CompanionSettings, Limits, ServiceConfig
from pipelines.service.streaming import EVENTS
from tests import tiny_hf, tiny_language
from tests.pipelines.service.companions import cloud, sent_cloud
from tests.tiny_models import write_lens
from vitlens_core.plugins.ask import open_question_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # Its Serve lives in the Ray that other tests share.
    pytest.mark.xdist_group("local_ray"),
]

QUESTION = "what is it used for?"
FOR_EVER = "1000000"
LIMITS = Limits(answer_tokens=int(FOR_EVER), request_s=500)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> ServiceConfig:
    """A lens, and a language model behind a connector that never ends a text by itself."""
    folder = tmp_path_factory.mktemp("asked")
    spec = f"hf:{tiny_hf.write('clip', folder / 'clip')}"
    language = tiny_language.write("llama", folder / "language")
    for name in ("generation_config.json", "config.json"):
        stated = json.loads((language / name).read_text())
        (language / name).write_text(json.dumps(stated | {"eos_token_id": None}))
    connector = tiny_language.write_connector(folder / "connector.safetensors", language, spec)
    return ServiceConfig(
        sources=(str(write_lens(folder / "lens", spec)),),
        index="none",
        limits=LIMITS,
        companions=CompanionSettings(ask=str(language), connector=str(connector)),
        decoders=1,
    )


@pytest.fixture(scope="module")
def url(named: ServiceConfig, local_ray: None) -> Iterator[str]:
    """A running service of one replica."""
    from pipelines.service import deployment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with deployment.running(named, "127.0.0.1", port, replicas=1):
        yield f"http://127.0.0.1:{port}"


def test_it_answers_at_once_and_word_by_word(url: str, named: ServiceConfig) -> None:
    asked = {"question": QUESTION, "max_tokens": "8"}
    files = [sent_cloud(0)]
    answer = httpx.post(f"{url}/ask", files=files, data=asked, timeout=60)
    assert answer.status_code == 200, answer.text
    model = vitlens_core.load(named.sources[0])
    by = open_question_model(named.companions.ask, connector=named.companions.connector)
    (expected,) = model.ask(cloud(0), QUESTION, by=by, max_new_tokens=8)
    (said,) = answer.json()["answers"]
    assert (said["text"], answer.json()["by"]) == (expected.text, "language")
    streamed = httpx.post(
        f"{url}/ask", files=files, data=asked, timeout=60, headers={"accept": EVENTS}
    )
    *_, last, rest = streamed.text.split("\n\n")
    assert (json.loads(last.removeprefix("event: answer\ndata: ")), rest) == (answer.json(), "")


@pytest.mark.parametrize("headers", [{}, {"accept": EVENTS}], ids=["whole", "streamed"])
def test_generation_ends_when_the_client_goes(url: str, headers: dict[str, str]) -> None:
    """A million tokens would keep the thread for an hour."""
    asked = {"question": QUESTION, "max_tokens": FOR_EVER}
    sent: dict[str, Any] = {"files": [sent_cloud(0)], "data": asked, "headers": headers}
    # A whole answer does not come within 3 s, nor do words of one without blanks.
    with (
        contextlib.suppress(httpx.ReadTimeout),
        httpx.stream("POST", f"{url}/ask", **sent, timeout=3) as response,
    ):
        assert next(response.iter_raw()).startswith(b"event: words")
    begun = time.monotonic()
    short = {"question": QUESTION, "max_tokens": "1"}
    answer = httpx.post(f"{url}/ask", files=[sent_cloud(0)], data=short, timeout=60)
    assert answer.status_code == 200, answer.text
    assert time.monotonic() - begun < 30
