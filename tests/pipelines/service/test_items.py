"""Items of the corpus as questions: examples, what an entry finds, and how the page shows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from pipelines.index.catalogue import Catalogue
from pipelines.service.engine import Engine
from pipelines.store.artifacts import Artifact
from tests.pipelines.service.browser import DONE, Browser, needs_browser

CARDS = "[...document.querySelectorAll('#cards li')]"
TRIES = "[...document.querySelectorAll('#strip button')]"
TOLERANCE = 2e-3  # the index stores fp16


def asked(client: TestClient, route: str, entry: str, **settings: object) -> Any:
    body = {"inputs": [{"modality": "point_cloud", "entry": entry}], **settings}
    answer = client.post(route, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def near(client: TestClient, entry: str) -> list[dict[str, Any]]:
    """What a search by an entry finds but the entry itself, nearest first."""
    (found,) = asked(client, "/search", entry, count=10)["results"]
    return [item for item in found["items"] if item["entry"] != entry]


def names(page: Browser) -> list[str]:
    """The names on the cards, in their order."""
    return page.run(f"{CARDS}.map((c) => c.querySelector('b').textContent)")


@pytest.fixture(scope="module")
def examples(client: TestClient) -> list[dict[str, Any]]:
    answer = client.get("/examples").json()
    assert answer["modality"] == "point_cloud"
    return answer["items"]


def test_examples_are_held_out_and_of_every_class(
    client: TestClient, engine: Engine, examples: list[dict[str, Any]]
) -> None:
    catalogue = engine.current.catalogue
    assert catalogue is not None
    held_out = [item for item in map(catalogue.item, range(len(catalogue))) if item.split == "test"]
    assert {item["split"] for item in examples} == {"test"}
    assert {item["label"] for item in examples} == {item.label for item in held_out}
    assert len({item["key"] for item in examples}) == len(examples)
    assert all(client.get(item["thumbnail"]).status_code == 200 for item in examples)
    assert client.get("/examples").json()["items"] == examples


def test_an_entry_is_its_objects_embedding(
    client: TestClient, flow: dict[str, Artifact], examples: list[dict[str, Any]]
) -> None:
    """As its stored cloud is, sent as a file."""
    stored = {
        s["__key__"]: s for path in flow["targets"].shards() for s in flow["targets"].read(path)
    }
    for item in examples:
        cloud = ("cloud.npy", bytes(stored[item["key"]]["points.npy"]))
        sent = client.post("/embed", files={"point_cloud": cloud}).json()
        found = asked(client, "/embed", item["entry"])
        own, embedded = (np.array(each["embeddings"][0]["embedding"]) for each in (found, sent))
        np.testing.assert_allclose(own, embedded, atol=TOLERANCE)
        assert np.linalg.norm(own) == pytest.approx(1)


def test_an_entry_finds_its_neighbours_and_classes(
    client: TestClient, examples: list[dict[str, Any]]
) -> None:
    entry = examples[0]["entry"]
    (result,) = asked(client, "/search", entry, count=3)["results"]
    assert result["vectors"] == "signal"
    assert result["items"][0]["entry"] == entry
    assert result["items"][0]["score"] == pytest.approx(1, abs=TOLERANCE)
    assert len({item["entry"] for item in result["items"]}) == 3
    (classified,) = asked(client, "/zero_shot", entry)["results"]
    assert sum(each["probability"] for each in classified["classes"]) == pytest.approx(1)


def test_entries_and_files_can_be_asked_together(
    client: TestClient, examples: list[dict[str, Any]]
) -> None:
    text = {"modality": "text", "text": "a chair"}
    entries = [{"modality": "point_cloud", "entry": item["entry"]} for item in examples[:2]]
    mixed = client.post("/embed", json={"inputs": [entries[0], text, entries[1]]}).json()
    vectors = [each["embedding"] for each in mixed["embeddings"]]
    alone = [asked(client, "/embed", item["entry"]) for item in examples[:2]]
    assert [vectors[0], vectors[2]] == [each["embeddings"][0]["embedding"] for each in alone]


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"entry": "0123456789abcdef/0"}, 404, "in the index that is open"),
        ({"entry": "{index}/999999"}, 404, "in the index that is open"),
        ({"modality": "image"}, 404, "no image"),
        ({"modality": "smell"}, 422, "smell"),
        ({"entry": "{index}/-1"}, 422, "entry"),
        ({"entry": "../0"}, 422, "entry"),
        ({"entry": "{index}/" + "9" * 5000}, 422, "entry"),
        ({"base64": "QQ=="}, 422, "2 contents"),
        ({"reader_options": {"rate_hz": 1}}, 422, "reader_options"),
    ],
)
def test_an_entry_that_is_none_is_refused(
    client: TestClient, engine: Engine, change: dict[str, Any], status: int, reason: str
) -> None:
    assert engine.current.catalogue is not None
    name = engine.current.catalogue.name
    item = {"modality": "point_cloud", "entry": "{index}/0", **change}
    item["entry"] = item["entry"].replace("{index}", name)
    answer = client.post("/search", json={"inputs": [item], "count": 1})
    assert (answer.status_code, set(answer.json())) == (status, {"error", "expected"})
    assert reason in answer.json()["error"]


@needs_browser
def test_a_click_on_an_example_shows_what_is_near_it(
    page: Browser, client: TestClient, examples: list[dict[str, Any]]
) -> None:
    page.wait(f"{TRIES}.length === {len(examples)}")
    page.wait(f"{TRIES}.every((b) => b.querySelector('img').naturalWidth > 0)")
    assert page.run(f"{TRIES}.map((b) => b.textContent)") == [
        item["label"].replace("_", " ") for item in examples
    ]
    page.run(f"{TRIES}[1].click()")
    page.wait(DONE)
    assert names(page) == [item["name"] for item in near(client, examples[1]["entry"])]
    assert page.run("document.querySelectorAll('#bars li').length") == 3
    hint = page.run("document.getElementById('drop-hint').textContent")
    assert hint.startswith(examples[1]["name"])
    assert "CC" in hint
    assert page.run("window.refused") == []


@needs_browser
def test_a_card_opens_and_finds_what_is_similar(
    page: Browser, client: TestClient, examples: list[dict[str, Any]]
) -> None:
    page.wait(f"{TRIES}.length > 0")
    page.run(f"{TRIES}[0].click()")
    page.wait(DONE)
    page.run("document.getElementById('about').click()")
    facts = "document.getElementById('opened-facts').textContent"
    assert page.run("document.getElementById('opened').open")
    assert page.run("document.getElementById('opened-name').textContent") == examples[0]["name"]
    assert all(word in page.run(facts) for word in ("Class", "Licence", "Creator", "held out"))
    assert "Cosine" not in page.run(facts)
    page.run("document.getElementById('close').click()")
    page.run(f"{CARDS}[0].querySelector('.open').click()")
    assert "Cosine" in page.run(facts)
    wanted = near(client, examples[0]["entry"])[0]
    assert page.run("document.getElementById('opened-name').textContent") == wanted["name"]
    page.run("document.getElementById('similar').click()")
    page.wait(DONE)
    assert page.run("document.getElementById('drop-hint').textContent").startswith(wanted["name"])
    # By what the service finds and not by name: several objects are called "Chair".
    assert names(page) == [item["name"] for item in near(client, wanted["entry"])]
    page.run("document.getElementById('words').focus()")
    page.type("a chair")
    assert page.run(
        "document.getElementById('about').hidden && document.getElementById('preview').hidden"
    )


@needs_browser
def test_an_example_of_a_replaced_index_is_explained(page: Browser) -> None:
    page.wait(f"{TRIES}.length > 0")
    page.run(
        "chooseItem({ entry: '0123456789abcdef/0', name: 'gone', label: null, thumbnail: null })"
    )
    page.wait("document.getElementById('error').textContent.includes('Another version')")
    assert page.run("document.getElementById('nearest').hidden")


@needs_browser
@pytest.mark.parametrize("width", [360, 1100])
def test_the_examples_fit_the_page(page: Browser, url: str, width: int) -> None:
    page.open(url, width=width)
    page.wait(f"{TRIES}.length > 0")
    assert page.run("document.documentElement.scrollWidth") <= width


def test_a_corpus_without_held_out_items_has_no_examples(
    index_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = Catalogue(index_artifact)
    trained = catalogue.item(0).model_copy(update={"split": "train"})
    monkeypatch.setattr(catalogue, "item", lambda number: trained)
    assert catalogue.examples == []
