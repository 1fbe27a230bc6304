"""The report: complete as JSON, self-contained as a page, deterministic in what it shows."""

import base64
import io
import json
import math
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from upath import UPath

from pipelines import report
from pipelines.connector.figures import ConnectorFigures, InputFigures
from pipelines.registry import card
from pipelines.registry.gates.base import skipped
from pipelines.registry.version import ModelVersion
from pipelines.report import confusion, gallery, pictures
from pipelines.report.content import Report, Run, encode_readable
from pipelines.report.page import duration
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.shards import encode_array
from tests.pipelines.finished_run import (
    CONFIG,
    around,
    benchmarked,
    finished_run,
    gate_results,
    predictions,
    sample,
    samples,
)
from tests.pipelines.service.browser import browser, needs_browser
from tests.pipelines.shard_bytes import encode_shard

pytestmark = pytest.mark.slow

MODEL = ModelVersion("vitlens-point_cloud", 2, ("champion",), "run", "e", (), "", datetime.now(UTC))
BAD = Quarantined(key="broken", step="renders", reason="not a GLB: it starts with <!DOCTYPE html>")


def write(home: Path, artifacts: dict[str, Artifact], model: ModelVersion | None = MODEL) -> Path:
    return report.write(home, CONFIG, artifacts, gate_results(artifacts), model, "demo")


def read(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())


class Page(HTMLParser):
    """Every address a page names, the images it holds, and its open elements."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        sources = ("src", "href", "xlink:href", "action", "data", "srcset")
        self.addresses += [value or "" for name, value in attrs if name in sources]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(write(tmp_path, finished_run(tmp_path, quarantined=[BAD])) / "report.html")


def test_the_json_holds_what_programs_read(tmp_path: Path) -> None:
    artifacts = finished_run(tmp_path, quarantined=[BAD])
    found = read(write(tmp_path, artifacts))
    assert found["modality"] == "point_cloud"
    assert found["profile"] == "demo"
    assert found["zero_shot"]["top1"] == 0.5
    assert found["zero_shot"].keys() >= {"top3", "top5", "class_mean", "chance", "ci95", "n"}
    assert found["foundation_image_zero_shot"]["top1"] == 0.8
    assert found["retrieval"]["point_to_image"]["r10"] == 0.8
    assert found["objects"] == {"ok": 12, "quarantined": 1}
    assert found["quarantined"] == [BAD.model_dump()]
    assert found["gates"][0].items() >= {"name": "top1", "threshold": 0.1, "passed": True}.items()
    assert found["model"] == {"name": MODEL.name, "version": 2, "aliases": ["champion"]}
    assert found["seconds"].keys() == artifacts.keys()
    assert found["fingerprints"]["lens"] == artifacts["lens"].fingerprint
    assert found["foundation"]["spec"] == "lit:a+b"
    assert found["training"]["steps"] == 4


def test_the_json_comes_back_as_the_report_it_was(tmp_path: Path) -> None:
    artifacts = finished_run(tmp_path, quarantined=[BAD])
    folder = write(tmp_path, artifacts)
    found = Report.read(folder)
    again = Report.of(Run(CONFIG, artifacts, gate_results(artifacts), MODEL, "demo"))
    assert again.model_copy(update={"written_at": found.written_at}) == found
    assert (folder / "report.json").read_bytes() == encode_readable(found)
    assert found.training.validated_against == "image"


def connector(ranked: float, language_model: str = "hf:<b>small</b>") -> ConnectorFigures:
    figures = dict.fromkeys(("ranked", "greedy", "shuffled", "zero_shot"), around(ranked))
    return ConnectorFigures(
        language_model=language_model,
        foundation="lit:a+b",
        modality="point_cloud",
        classes=3,
        samples=12,
        groups=12,
        seeds=2,
        chosen_seed=0,
        validation=(0.5, 0.25),
        chance=1 / 3,
        inputs=(InputFigures(input="point_cloud", **figures),),
        name_in_prompt=around(0.9),
    )


def test_a_connector_measured_later_is_added_and_kept(tmp_path: Path) -> None:
    artifacts = finished_run(tmp_path)
    folder = write(tmp_path, artifacts)
    assert "Named in words" not in (folder / "report.html").read_text()
    for measured in (connector(0.25), connector(0.5, "hf:other"), connector(0.75)):
        report.add_connector(folder, artifacts, measured)
    stated = Report.read(folder).connectors
    assert stated == (connector(0.5, "hf:other"), connector(0.75))
    assert write(tmp_path, artifacts) == folder  # as a second run does
    assert Report.read(folder).connectors == stated
    page = Page(folder / "report.html")
    assert "hf:&lt;b&gt;small&lt;/b&gt;" in page.text
    assert "75.0\u00a0%" in page.text
    assert "25.0\u00a0%" not in page.text
    assert "The name itself in the prompt" in page.text


@pytest.mark.parametrize(
    ("seen", "said"), [(None, "not known"), (0, "none of 1,000"), (7, "7 of 1,000")]
)
def test_public_benchmarks_state_what_was_seen_in_training(tmp_path, seen, said) -> None:
    artifacts = finished_run(tmp_path)
    assert "Public benchmarks" not in Page(write(tmp_path, artifacts) / "report.html").text
    artifacts["benchmarks"] = benchmarked(tmp_path, seen)
    folder = write(tmp_path, artifacts)
    (row,) = read(folder)["benchmarks"]
    assert (row["seen"], row["recordings"]) == (seen, 1000)
    page = Page(folder / "report.html")
    for text in ("ModelNet40 &lt;b&gt;", "0.710 (0.610–0.810)", "ViT-Lens-G 0.876", said):
        assert text in page.text
    line = "zero-shot top-1 | 0.710 (0.610–0.810) | 1,000 | 0.025 | ViT-Lens-G 0.876 |"
    assert f" | {line} {said} |\n" in card.write(artifacts)


def test_an_earlier_report_that_cannot_be_read_has_no_connectors(tmp_path: Path) -> None:
    artifacts = finished_run(tmp_path)
    folder = write(tmp_path, artifacts)
    (folder / "report.json").write_text('{"written by": "another release"}')
    assert write(tmp_path, artifacts) == folder
    assert Report.read(folder).connectors == ()


def test_a_run_without_a_version_is_reported_too(tmp_path: Path) -> None:
    folder = write(tmp_path, finished_run(tmp_path), model=None)
    assert read(folder)["model"] is None
    assert "not registered" in (folder / "report.html").read_text()


def test_a_figure_that_is_not_finite_is_null(tmp_path: Path) -> None:
    artifacts = finished_run(tmp_path)
    gates = [g.model_copy(update={"value": math.nan}) for g in gate_results(artifacts)]
    folder = report.write(tmp_path, CONFIG, artifacts, gates, MODEL)
    assert read(folder)["gates"][0]["value"] is None


def test_latest_leads_to_the_newest_report(tmp_path: Path) -> None:
    first = write(tmp_path, finished_run(tmp_path, right=0.25))
    second = write(tmp_path, finished_run(tmp_path, right=0.75))
    assert first != second
    assert (tmp_path / "latest").resolve() == second
    write(tmp_path, finished_run(tmp_path, right=0.25))
    assert (tmp_path / "latest").resolve() == first
    assert {p.name for p in tmp_path.iterdir()} == {"artifacts", "reports", "latest"}


def test_a_home_can_be_moved(tmp_path: Path) -> None:
    write(tmp_path / "home", finished_run(tmp_path / "home"))
    (tmp_path / "home").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "latest" / "report.html").exists()


def test_the_page_asks_nothing_of_the_network(page: Page) -> None:
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    # Namespaces name, they are not fetched.
    named = re.findall(r'(?<!xmlns=")(?<!xmlns:xlink=")https?://', page.text)
    assert not named
    assert not re.search(r"@import|url\((?!#)", page.text)


def test_the_page_links_to_the_version_and_its_run(tmp_path: Path) -> None:
    artifacts = finished_run(tmp_path)
    base = "http://127.0.0.1:5000/#/"
    pages = {"version": f"{base}models/x", "run": f"{base}runs/y", "report": f"{base}report"}
    folder = report.write(tmp_path, CONFIG, artifacts, [], MODEL, "demo", pages)
    page = Page(folder / "report.html")
    linked = [address for address in page.addresses if not address.startswith(("data:", "#"))]
    assert linked == [pages["version"], pages["run"]]
    assert page.tags.count("a") == len(linked)  # they are followed, never fetched
    assert "vitlens lineage point_cloud 2" in page.text
    assert read(folder)["pages"] == pages


class Shown(HTMLParser):
    """What a page shows: its text without style, code and drawings, and its tables' cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            self.cells.append("")
        if tag in ("style", "code", "pre", "svg", "table"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._inside and self._inside[-1] != "table":
            return
        self.words.append(data)
        if self._inside:
            self.cells[-1:] = [self.cells[-1] + data] if self.cells else []


def too_precise(text: str) -> list[str]:
    """Numbers with more than four digits behind the point, or five significant ones with it."""
    numbers = re.findall(r"\d+\.\d+", text)
    return [
        n for n in numbers if len(n.split(".")[1]) > 4 or len(n.replace(".", "").lstrip("0")) > 5
    ]


def unbalanced(text: str) -> bool:
    depth = 0
    for bracket in re.findall(r"[()]", text):
        depth += 1 if bracket == "(" else -1
        if depth < 0:
            return True
    return depth != 0


# Shares that no decimal ends: of 19 objects, and of 7 classes.
@pytest.mark.parametrize("right", [2 / 19, 16 / 19, 1.0])
@pytest.mark.parametrize("classes", [3, 7])
def test_numbers_are_short_and_brackets_close(tmp_path: Path, right: float, classes: int) -> None:
    artifacts = finished_run(tmp_path, samples(19, classes), right, ceiling=10 / 19)
    gates = gate_results(artifacts) + gate_results(artifacts, at_least=10 / 19)
    folder = report.write(tmp_path, CONFIG, artifacts, gates, MODEL, "demo")
    shown = Shown((folder / "report.html").read_text())
    tables, text = " | ".join(shown.cells), " ".join("".join(shown.words).split())
    assert re.search(r"\d\.\d", tables), "a page without figures would pass"
    assert too_precise(text) == []
    assert too_precise(tables) == []
    assert not unbalanced(text)
    assert not re.search(r"\(\s|\s\)", text), "a figure that was padded"


def test_what_is_too_long_or_open_is_found() -> None:
    assert too_precise("10.5263 × and 0.842105, but 42.1 % and 0.3158") == ["10.5263", "0.842105"]
    assert [unbalanced(text) for text in ("(a) (b (c))", "(a", "a)", ")(")] == [
        False,
        True,
        True,
        True,
    ]


def test_every_picture_decodes_and_shows_something(page: Page) -> None:
    uris = [address for address in page.addresses if address.startswith("data:")]
    assert len(uris) == 8 * (1 + 5)
    for uri in uris:
        image = Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))
        assert np.asarray(image.convert("RGBA"))[..., 3].max() == 255


def test_names_from_outside_are_escaped(page: Page) -> None:
    assert "<!DOCTYPE html>" not in page.text
    assert "not a GLB: it starts with &lt;!DOCTYPE html&gt;" in page.text
    assert "A &lt;b&gt;object" in page.text
    assert "A <b>object" not in page.text


def test_the_page_states_gates_and_drawings(page: Page) -> None:
    assert "1 gate passed" in page.text
    assert "skipped</span>" not in page.text
    assert page.tags.count("svg") == 2
    assert "#00000" not in page.text


def test_skipped_gates_are_counted_beside_those_that_passed(tmp_path: Path) -> None:
    artifacts = finished_run(tmp_path)
    gates = [*gate_results(artifacts, 0.1), *(skipped(n, "sanity", "off") for n in ("a", "b"))]
    text = (report.write(tmp_path, CONFIG, artifacts, gates, MODEL) / "report.html").read_text()
    assert ">1 gate passed</span>" in text
    assert ">2 skipped</span>" in text


def test_a_failed_gate_is_told_with_its_reason(tmp_path: Path) -> None:
    artifacts = finished_run(tmp_path)
    failed = gate_results(artifacts, at_least=0.9)
    text = (report.write(tmp_path, CONFIG, artifacts, failed, MODEL) / "report.html").read_text()
    assert "1 of 1 gates failed" in text
    assert failed[0].reason in text


@given(right=st.floats(0, 1), count=st.integers(1, 12), data=st.data())
def test_examples_are_half_hits_and_do_not_depend_on_the_order(
    right: float, count: int, data: st.DataObject
) -> None:
    found = predictions(samples(), right)
    chosen = gallery.choose(found, count)
    shuffled = data.draw(st.permutations(found))
    assert [p.key for p in gallery.choose(shuffled, count)] == [p.key for p in chosen]
    assert len(chosen) == count == len({p.key for p in chosen})
    hits = sum(p.predicted[0] == p.label for p in found)
    chosen_hits = sum(p.predicted[0] == p.label for p in chosen)
    fair = max(count - count // 2, count - (len(found) - hits))
    assert chosen_hits == min(hits, fair)


def test_examples_show_every_class_before_one_twice() -> None:
    chosen = gallery.choose(predictions(samples(12, classes=3), right=1), 3)
    assert {p.label for p in chosen} == {"class 0", "class 1", "class 2"}


def test_only_the_wanted_members_are_read(tmp_path: Path) -> None:
    paths = [UPath(tmp_path / f"test-{i}.tar") for i in range(2)]
    for i, path in enumerate(paths):
        path.write_bytes(encode_shard([sample(f"{i}{k}", "chair") for k in "ab"]))
    found = gallery.read_members(paths, {"0b": {"view00.png"}, "1a": {"points.npy", "json"}})
    assert {key: set(files) for key, files in found.items()} == {
        "0b": {"view00.png"},
        "1a": {"points.npy", "json"},
    }
    assert found["0b"]["view00.png"] == sample("0b", "chair")["view00.png"]


@pytest.mark.parametrize("scale", [1e-3, 1.0])
@pytest.mark.parametrize("count", [1, 50, 10_000])
def test_a_cloud_fills_its_picture_and_keeps_off_the_edge(count: int, scale: float) -> None:
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-0.4, 0.4, (count, 3)) * scale
    points = np.concatenate([xyz, rng.uniform(size=(count, 3))], axis=1).astype(np.float16)
    image = pictures.draw_signal("point_cloud", encode_array(points), 64)
    alpha = np.asarray(image)[..., 3]
    assert alpha.max() == 255
    edge = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
    assert not edge.any()


def test_the_nearest_point_hides_the_others() -> None:
    """Along the first camera's axis (polar 60°, azimuth 0), red in front of blue."""
    toward = np.array([0, 0.5, 3**0.5 / 2])
    behind = [[*(toward * 0.3), 1, 0, 0], [*(toward * -0.3), 0, 0, 1]]
    beside = [[0.4, 0, 0, 0, 1, 0], [-0.4, 0, 0, 0, 1, 0]]
    for rows in (behind + beside, behind[::-1] + beside):
        data = encode_array(np.array(rows, np.float16))
        image = np.asarray(pictures.draw_signal("point_cloud", data, 64))
        red, _, blue, alpha = image[32, 32]
        assert alpha == 255
        assert red > blue


@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    kind=st.sampled_from([np.float16, np.uint8]),
)
def test_a_signal_of_any_shape_is_drawn(shape: list[int], kind: type) -> None:
    signal = np.random.default_rng(0).integers(255, size=shape).astype(kind)
    assert pictures.draw_signal("eeg", encode_array(signal), 24).size == (24, 24)


def test_a_small_matrix_is_whole() -> None:
    shown = confusion.matrix(["a", "b"], [[3, 1], [0, 2]])
    assert (shown.labels, shown.counts, shown.totals) == (["a", "b"], [[3, 1], [0, 2]], [4, 2])


def test_a_large_matrix_keeps_the_classes_with_most_confusions() -> None:
    size = 3 * confusion.LEGIBLE
    counts = np.eye(size, dtype=int) * 5
    counts[100, 7], counts[7, 3] = 4, 2
    names = [f"class {i:03d}" for i in range(size)]
    shown = confusion.matrix(names, counts.tolist())
    assert {"class 003", "class 007", "class 100"} < set(shown.labels)
    assert shown.labels == sorted(shown.labels)
    assert len(shown.labels) == len(shown.counts) == confusion.LEGIBLE
    pairs = confusion.most_frequent(names, counts.tolist())
    assert [(p.true, p.predicted, p.count, p.total) for p in pairs] == [
        ("class 100", "class 007", 4, 9),
        ("class 007", "class 003", 2, 7),
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.42, "0.4 s"),
        (48.2, "48 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == said


def test_objects_are_shown_as_they_were_read(tmp_path: Path, renders_artifact: Artifact) -> None:
    """So that a person sees an object that lies on its side."""
    artifacts = finished_run(tmp_path) | {"renders": renders_artifact}
    page = Page(write(tmp_path, artifacts) / "report.html")
    section = page.text.split("Objects as read")[1].split("</section>")[0]
    names = [
        json.loads(sample["json"])["name"]
        for sample in renders_artifact.read(renders_artifact.shards("train")[0])
    ]
    assert names
    assert section.count("data:image/webp") == min(8, len(names))
    assert "objects.up" in section


@needs_browser
def test_a_phone_shows_the_page_without_scrolling_sideways(
    tmp_path: Path, renders_artifact: Artifact
) -> None:
    artifacts = finished_run(tmp_path) | {"renders": renders_artifact}
    path = write(tmp_path, artifacts) / "report.html"
    with browser(tmp_path / "browser") as tab:
        tab.open(path.as_uri(), width=360)
        assert tab.run("document.documentElement.scrollWidth") <= 360
