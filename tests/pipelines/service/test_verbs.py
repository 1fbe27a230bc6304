"""/detect and /imagine, and what is offered: answers, refusals and limits; without Ray."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from pipelines.service.companions import (
    Companions,
    StoppedError,
    check_kinds,
    open_companions,
    stopping,
)
from pipelines.service.config import CompanionSettings
from pipelines.service.versions import Models, resolve
from tests.pipelines.service.browser import Browser, browser, needs_browser, serving
from tests.pipelines.service.companions import SCENE, Made, Served, cloud, npy, png, sent_cloud
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.plugins.detect.owl import OwlDetector
from vitlens_core.plugins.imagine import Decoder, ImageStatistics

# --- /detect --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["owlvit", "owlv2"])
def test_a_detector_finds_as_the_python_interface_does(
    made: Made, served: Served, kind: str
) -> None:
    fields = [("picture.image", ("scene.png", png(SCENE))), sent_cloud(0, "queries.point_cloud"),
              ("queries.text", (None, "a lamp"))]  # fmt: skip
    asked = {"least": "0", "count": "3"}
    answer = served(kind).post("/detect", files=fields, data=asked)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["by"], found["width"], found["height"]) == (f"{kind}-0", 60, 40)
    loaded = made.opened(kind)
    detector = loaded.companions.detector
    assert isinstance(detector, OwlDetector)
    queries = {"point_cloud": [cloud(0)], "text": ["a lamp"]}
    expected = loaded.model.detect(SCENE, queries, by=detector, least=0.0).best_of_each(3)
    assert [box["query"] for box in found["boxes"]] == expected.queries.tolist()
    boxes = torch.tensor([box["box"] for box in found["boxes"]])
    # The picture is drawn from the same bytes; the order of sums differs.
    torch.testing.assert_close(boxes, expected.boxes, atol=1e-3, rtol=1e-4)
    scores = [box["score"] for box in found["boxes"]]
    assert scores == pytest.approx(expected.scores.tolist(), abs=1e-5)
    assert {box["name"] for box in found["boxes"]} <= {"cloud0.npy", "a lamp"}


@pytest.fixture(scope="module")
def windows(made: Made) -> TestClient:
    """A lens with words, and windows in place of a detector."""
    return made.client(replace(made.opened("owlvit"), companions=Companions(detector="windows")))


def test_windows_find_where_no_detector_is(made: Made, windows: TestClient) -> None:
    scene = np.full((80, 120, 3), 255, np.uint8)
    scene[20:60, 30:70] = (200, 30, 30)
    fields = [("picture.image", ("s.png", png(scene))), ("queries.text", (None, "a chair"))]
    found = windows.post("/detect", files=fields).json()
    assert found["by"] == "windows"
    expected = made.opened("owlvit").model.detect(scene, {"text": ["a chair"]}).best_of_each(1)
    assert [box["box"] for box in found["boxes"]] == expected.boxes.tolist()
    assert found["boxes"][0]["score"] == pytest.approx(expected.scores[0].item(), abs=1e-5)
    none = windows.post("/detect", files=fields, data={"least": "1"}).json()
    assert none["boxes"] == []


def test_boxes_of_a_reduced_picture_are_those_of_the_whole(made: Made) -> None:
    loaded = replace(made.opened("owlvit"), companions=Companions(detector="windows"))
    small = made.client(loaded, made.limits.model_copy(update={"picture_px": 100}))
    scene = np.full((400, 800, 3), 255, np.uint8)
    scene[160:320, 400:640] = (200, 30, 30)
    fields = [("picture.image", ("s.png", png(scene))), ("queries.text", (None, "a chair"))]
    found = small.post("/detect", files=fields).json()
    assert (found["width"], found["height"]) == (800, 400)
    # One pixel of the reduced picture is 8 of the whole.
    np.testing.assert_allclose(found["boxes"][0]["box"], [400, 160, 640, 320], atol=16)


@pytest.mark.parametrize("kind", ["owlvit", "owlv2"])
@pytest.mark.parametrize("shape", [(1, 9000), (9000, 1), (1, 1), (3, 50), (90, 9000), (4, 4)])
def test_pictures_of_strange_shapes_are_answered_or_refused(
    served: Served, kind: str, shape: tuple[int, int]
) -> None:
    """OWLv2 pads a picture to a square, which would be 81 million pixels here."""
    fields = [("picture.image", ("s.png", png(np.zeros((*shape, 3), np.uint8)))),
              ("queries.text", (None, "a chair"))]  # fmt: skip
    answer = served(kind).post("/detect", files=fields, data={"least": "0"})
    if min(shape) < 4:
        assert (answer.status_code, "4 pixels or more" in answer.text) == (422, True), answer.text
        return
    assert answer.status_code == 200, answer.text
    assert (answer.json()["height"], answer.json()["width"]) == shape


def test_what_cannot_be_looked_for_is_refused(served: Served, client: TestClient) -> None:
    picture = ("picture.image", ("s.png", png(SCENE)))
    words = ("queries.text", (None, "a chair"))
    film = ("queries.video", ("a.mp4", b"x"))
    cases: list[tuple[list[Any], str]] = [
        ([picture], "queries"),
        ([words], "picture"),
        ([picture, picture, words], "picture"),
        ([("picture.text", (None, "a room")), words], "a picture as 'text'"),
        ([("picture.image", ("s.png", b"<html>")), words], "found HTML: s.png"),
        ([picture, words, ("count", (None, "11"))], "10 or fewer"),
        ([picture, words, ("least", (None, "nan"))], "least"),
        ([picture, film], "a query of 'video'"),
    ]
    for fields, part in cases:
        answer = served("owlvit").post("/detect", files=fields)
        assert (answer.status_code, part in answer.text) == (422, True), answer.text
    off = client.post("/detect", files=[picture, words])
    assert (off.status_code, "--detect" in off.json()["expected"]) == (404, True)


# --- /imagine -------------------------------------------------------------------------------------


def test_a_decoder_draws_as_the_python_interface_does(made: Made, served: Served) -> None:
    fields = [sent_cloud(0), ("image", ("scene.png", png(SCENE)))]
    asked: dict[str, Any] = {"weights": ["1", "0.5"], "steps": "1", "seed": "3"}
    answer = served("unclip").post("/imagine", files=fields, data=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    loaded = made.opened("unclip")
    by, statistics = loaded.companions.decoder, loaded.companions.statistics
    assert isinstance(by, Decoder)
    assert isinstance(statistics, ImageStatistics)
    (expected,) = loaded.model.imagine(
        {"point_cloud": cloud(0), "image": SCENE}, by=by, statistics=statistics,
        weights={"point_cloud": 1.0, "image": 0.5}, seed=3, steps=1,
    )  # fmt: skip
    drawn = np.asarray(Image.open(io.BytesIO(answer.content))).astype(int)
    # Embedded in other batches: the order of sums differs, by a grey level.
    assert np.abs(drawn - np.asarray(expected)).max() <= 1
    other = served("unclip").post("/imagine", files=fields, data={**asked, "seed": "4"})
    assert other.content != answer.content
    is_over = threading.Event()
    is_over.set()
    with stopping(by.pipe.unet, is_over), pytest.raises(StoppedError):
        loaded.model.imagine({"image": SCENE}, by=by, statistics=statistics, steps=1)


def test_without_a_decoder_the_nearest_pictures_of_the_index_are_found(
    client: TestClient, glbs: list[Path]
) -> None:
    form: list[Any] = [("point_cloud", ("x.glb", glbs[0].read_bytes()))]
    found = client.post("/imagine", files=form, data={"count": "3"}).json()
    asked = {"count": "3", "vectors": "image"}
    (expected,) = client.post("/search", files=form, data=asked).json()["results"]
    assert (found["by"], found["items"]) == ("retrieval", expected["items"])
    both = [*form, ("text", (None, "a lamp"))]
    mixed = client.post("/imagine", files=both, data={"weights": ["0", "1"]}).json()["items"]
    text = {"vectors": "image", "count": "5"}
    alone = client.post("/search", files=both[1:], data=text).json()["results"][0]["items"]
    assert [item["number"] for item in mixed] == [item["number"] for item in alone]


def test_what_cannot_be_drawn_is_refused(served: Served) -> None:
    one = sent_cloud(0)
    cases: list[tuple[list[Any], str]] = [
        ([one, sent_cloud(1)], "two inputs of point_cloud"),
        ([one, ("weights", (None, "1")), ("weights", (None, "2"))], "2 weights of 1 inputs"),
        ([one, ("weights", (None, "0"))], "cancel out"),
        ([one, ("weights", (None, "nan"))], "weights"),
        ([one, ("weights", (None, "1e9"))], "weights"),
        ([one, ("steps", (None, "51"))], "50 or fewer"),
        ([one, ("seed", (None, "-1"))], "seed"),
        ([one, ("seed", (None, "9" * 40))], "seed"),
        ([("text", (None, "a chair"))], "'text'"),
    ]
    for fields, part in cases:
        answer = served("unclip").post("/imagine", files=fields)
        assert (answer.status_code, part in answer.text) == (422, True), answer.text


# --- what is offered ------------------------------------------------------------------------------


def test_model_tells_which_verbs_are_answered_and_by_what(
    served: Served, client: TestClient, windows: TestClient
) -> None:
    def verbs(of: TestClient) -> dict[str, str]:
        return of.get("/model").json()["verbs"]

    assert verbs(client) == {"ask": "zero-shot", "imagine": "retrieval"}
    assert verbs(served("llava")) == {"ask": "llava-0"}
    assert verbs(served("owlvit")) == {"ask": "zero-shot", "detect": "owlvit-0"}
    assert verbs(served("unclip")) == {"imagine": "unclip-0"}
    assert verbs(windows)["detect"] == "windows"
    refused = served("unclip").post("/ask", files=[sent_cloud(0)], data={"question": "a"})
    assert (refused.status_code, "--ask" in refused.json()["expected"]) == (404, True)


def test_the_verbs_are_documented_and_counted(served: Served) -> None:
    client = served("owlvit")
    paths = client.get("/openapi.json").json()["paths"]
    for route in ("/ask", "/detect", "/imagine"):
        content = paths[route]["post"]["requestBody"]["content"]
        assert content["application/json"]["example"]
        assert "multipart/form-data" in content
        assert {"404", "422", "429"} <= paths[route]["post"]["responses"].keys()
    assert "image/png" in paths["/imagine"]["post"]["responses"]["200"]["content"]
    assert client.post("/detect", json={}).status_code == 422
    counts = client.get("/metrics").text
    assert 'vitlens_requests_total{route="/detect",status="422"}' in counts


# --- what does not fit ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llava", "owlvit", "unclip"])
def test_another_tower_is_refused_before_it_is_served(made: Made, kind: str) -> None:
    loaded, (other, _) = made.opened(kind), made.settings(kind, seed=1)
    if kind == "unclip":
        mine = made.settings(kind)[0].statistics
        other = other.model_copy(update={"statistics": mine})
    with pytest.raises(CheckpointError, match="another vision tower than that of"):
        open_companions(other, loaded.model)


@pytest.mark.parametrize("kind", ["llava", "unclip"])
def test_a_later_version_that_they_do_not_fit_is_not_served(made: Made, kind: str) -> None:
    first, later = made.lens(kind), made.lens(kind, seed=1)
    models = Models(first, made.opened(kind).companions)
    assert models.open(resolve(first.sources)).companions is models.companions
    with pytest.raises(CheckpointError, match="another vision tower"):
        models.open(resolve(later.sources))


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ({"ask": "owlvit"}, "owlvit-0: unknown question model 'owlvit'"),
        ({"detect": "llava"}, "unknown detector 'llava'"),
        ({"imagine": "llava"}, "it is no pipeline of diffusers"),
        ({"imagine": "unclip"}, "no such file. `vitlens imagine"),
        ({"encoder": "llava"}, "--encoder belongs to a decoder"),
        ({"statistics": "llava"}, "--statistics belongs to a decoder"),
    ],
)
def test_another_kind_is_refused_before_anything_is_loaded(
    made: Made, named: dict[str, str], reason: str
) -> None:
    for kind in named.values():
        made.settings(kind)
    paths = {verb: str(made.folder / f"{kind}-0") for verb, kind in named.items()}
    with pytest.raises(ConfigError, match=reason):
        check_kinds(CompanionSettings(**paths))


WITHOUT = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("transformers", "diffusers"):
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

sys.meta_path.insert(0, Absent())
from pipelines.service.companions import check_kinds
from pipelines.service.config import CompanionSettings
from vitlens_core.errors import ConfigError
for verb in ("ask", "detect", "imagine"):
    try:
        check_kinds(CompanionSettings(**{verb: sys.argv[1]}))
    except ConfigError as error:
        print(error)
"""


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    run = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert [f"vitlens[{verb}]" in line for verb, line in zip(
        ("ask", "detect", "imagine"), lines, strict=True)] == [True] * 3  # fmt: skip


# --- the explorer ---------------------------------------------------------------------------------


def hidden(name: str) -> str:
    return f"document.getElementById({json.dumps(name)}).hidden"


@pytest.fixture
def page(made: Made, tmp_path: Path, windows: TestClient) -> Iterator[Browser]:
    """The explorer of a service that looks through windows, and has no question model."""
    app = windows.app
    with serving(app) as url, browser(tmp_path) as tab:
        assert httpx.get(f"{url}model").json()["verbs"]["detect"] == "windows"
        tab.open(url)
        tab.wait("served !== null")
        yield tab


@needs_browser
def test_a_question_and_boxes_in_the_explorer(page: Browser) -> None:
    assert page.run(hidden("asking"))
    assert page.run(hidden("looking"))
    page.run("document.getElementById('classes').value = 'chair\\nlamp'")
    scene = np.full((80, 120, 3), 255, np.uint8)
    scene[20:60, 30:90] = (200, 30, 30)
    page.drop("scene.png", png(scene), "image/png")
    page.wait(f"!{hidden('asking')} && !{hidden('looking')}")
    page.run("document.querySelector('#asking-form button').click()")
    page.wait("document.getElementById('said').textContent.includes('no question model')")
    assert page.run("/^(chair|lamp) /.test(document.getElementById('said').textContent)")
    page.run("document.getElementById('sought').value = 'a chair'")
    page.run("document.querySelector('#looking-form button').click()")
    page.wait("document.querySelectorAll('.box').length === 1")
    # The box lies over the red block: a quarter from the left, half as wide as the picture.
    left, width = page.run(
        "(() => { const box = document.querySelector('.box').getBoundingClientRect();"
        "const of = document.getElementById('scene').getBoundingClientRect();"
        "return [(box.left - of.left) / of.width, box.width / of.width]; })()"
    )
    assert (left, width) == (pytest.approx(0.25, abs=0.03), pytest.approx(0.5, abs=0.03))
    page.drop("cloud.npy", npy(cloud(0)))
    page.wait(hidden("looking"))
    assert page.run("document.querySelectorAll('.box').length") == 0
    assert not page.run(hidden("asking"))


@needs_browser
def test_the_explorer_offers_only_what_the_service_does(
    made: Made, served: Served, tmp_path: Path
) -> None:
    app = served("unclip").app
    with serving(app) as url, browser(tmp_path) as tab:
        tab.open(url)
        tab.wait("served !== null")
        tab.run("document.getElementById('classes').value = ''")
        tab.drop("scene.png", png(SCENE), "image/png")
        tab.wait("verbsFile !== null")
        assert tab.run(hidden("asking"))
        assert tab.run(hidden("looking"))
