"""Detectors on randomised tiny weights in the published format, and detection by windows."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import nn

import vitlens_core
from tests import tiny_hf
from tests.tiny_models import tower_settings
from vitlens_core.checkpoint import encode_lens
from vitlens_core.errors import CheckpointError, ConfigError, InputError
from vitlens_core.foundation import load_foundation
from vitlens_core.models.tower import build_tower
from vitlens_core.plugins.detect import DETECTORS, open_detector, windows
from vitlens_core.plugins.detect.clip_vectors import ClipVectorClassifier, save_classifier
from vitlens_core.plugins.detect.detections import Detections, average_precision, overlap
from vitlens_core.plugins.detect.drawing import drawn
from vitlens_core.plugins.detect.owl import OwlDetector

KINDS = sorted(DETECTORS)
SCENE = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return cache(lambda kind: tiny_hf.write(kind, tmp_path_factory.mktemp("owl") / kind))


@pytest.fixture(scope="module")
def detector(folder: Folder) -> Callable[[str], OwlDetector]:
    return cache(lambda kind: open_detector(folder(kind)))


@pytest.fixture(scope="module")
def lens(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    @cache
    def write(kind: str) -> Path:
        base, settings = load_foundation(f"hf:{folder(kind)}"), tower_settings()
        torch.manual_seed(0)
        state = build_tower(settings, base.trunk).trained_state()
        path = tmp_path_factory.mktemp("lens") / "lens.safetensors"
        path.write_bytes(encode_lens(state, settings, base.spec, base.digest()))
        return path

    return write


def _cloud(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(50, 3)), rng.random((50, 3))], 1).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_words_as_queries_give_the_logits_and_boxes_of_the_model(kind, folder, detector):
    texts = ["a chair", "a lamp"]
    by, foundation = detector(kind), load_foundation(f"hf:{folder(kind)}")
    pixels = by.processor(images=SCENE, return_tensors="pt")["pixel_values"]
    logits, boxes = by.logits(pixels, foundation.encode_text(texts))
    published = getattr(transformers, DETECTORS[kind]).from_pretrained(folder(kind)).eval()
    words = transformers.AutoTokenizer.from_pretrained(folder(kind))
    batch = words(texts, padding="max_length", max_length=16, return_tensors="pt")
    # The first word must not have id 0, which OWL takes for an empty query.
    ids = torch.where(batch["input_ids"] == 0, 0, batch["input_ids"])
    expected = published(pixel_values=pixels, input_ids=ids, attention_mask=batch["attention_mask"])
    given = torch.ones(1, 2, dtype=torch.bool)
    patches = expected.image_embeds.flatten(1, 2)
    own, _ = published.class_predictor(patches, expected.text_embeds, given)
    torch.testing.assert_close(logits, own, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(boxes, expected.pred_boxes, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cloud_finds_boxes_and_another_cloud_other_scores(kind, lens, detector):
    model = vitlens_core.load(lens(kind))
    queries = {"point_cloud": [_cloud(0), _cloud(1)], "text": ["a lamp"]}
    found = model.detect(SCENE, queries, by=detector(kind), least=0.0)
    assert set(found.queries.tolist()) <= {0, 1, 2}
    assert found.boxes.shape == (len(found.scores), 4)
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    pixels = detector(kind).processor(images=SCENE, return_tensors="pt")["pixel_values"]
    clouds = model.encode({"point_cloud": queries["point_cloud"]})["point_cloud"]
    logits, _ = detector(kind).logits(pixels, clouds)
    assert not torch.equal(logits[..., 0], logits[..., 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_lens_of_other_towers_is_refused(kind, lens, tmp_path):
    other = open_detector(tiny_hf.write(kind, tmp_path / kind, seed=1))
    model = vitlens_core.load(lens(kind))
    with pytest.raises(CheckpointError, match="another vision tower"):
        model.detect(SCENE, {"point_cloud": _cloud(0)}, by=other)
    with pytest.raises(CheckpointError, match="another vision tower"):
        model.detect(SCENE, {"text": "a lamp"}, by=other)


def test_queries_of_another_width_and_other_models_are_refused(detector, tmp_path):
    with pytest.raises(InputError, match=r"takes queries \[Q, 16\], found \[2, 5\]"):
        detector("owlvit").detect(SCENE, torch.ones(2, 5))
    with pytest.raises(ConfigError, match="unknown detector 'clip'"):
        open_detector(tiny_hf.write("clip", tmp_path))


@pytest.fixture(scope="module")
def blocks() -> tuple[np.ndarray, list[list[int]]]:
    """A white picture with a red, a green and a blue block, and where they are."""
    scene = np.full((160, 200, 3), 255, np.uint8)
    boxes = [[10, 20, 60, 70], [120, 10, 180, 60], [80, 95, 130, 150]]
    for channel, (left, top, right, bottom) in enumerate(boxes):
        scene[top:bottom, left:right] = 0
        scene[top:bottom, left:right, channel] = 230
    return scene, boxes


def _mean_colours(crops: Sequence[np.ndarray]) -> torch.Tensor:
    means = torch.tensor(np.array([crop.reshape(-1, 3).mean(0) for crop in crops]))
    return nn.functional.normalize(means.float(), dim=-1)


def test_windows_find_what_a_query_means_and_where(blocks):
    scene, boxes = blocks
    found = windows.detect(scene, torch.eye(3), _mean_colours)
    for query, box in enumerate(boxes):
        own = found.queries == query
        best = found.boxes[own][found.scores[own].argmax()]
        assert overlap(best[None], torch.tensor([box]).float()).item() > 0.9


def test_an_empty_picture_is_one_window():
    assert windows.propose(np.full((50, 70, 3), 255, np.uint8)).tolist() == [[0, 0, 70, 50]]


def test_a_model_without_a_detector_looks_through_windows(tiny_open_clip, blocks, tmp_path):
    model = vitlens_core.load(foundation=tiny_open_clip)
    picture = tmp_path / "scene.png"
    Image.fromarray(blocks[0]).save(picture)
    found = model.detect(picture, {"text": ["a chair", "a lamp"]}, trusted=False)
    assert set(found.queries.tolist()) == {0, 1}
    assert len(model.detect(picture, {"text": "a chair"}, least=2.0).scores) == 0
    with pytest.raises(InputError, match="expected queries"):
        model.detect(picture, {})


def test_overlap_and_suppression_of_boxes():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30], [0, 0, 10, 9]]).float()
    assert overlap(boxes[:1], boxes).tolist()[0] == pytest.approx([1, 0.5, 0, 0.9])
    one = Detections(boxes, torch.tensor([0.5, 0.9, 0.1, 0.4]), torch.tensor([0, 1, 0, 0]))
    kept = one.without_overlaps()
    assert kept.scores.tolist() == pytest.approx([0.9, 0.5, 0.1])
    assert one.best_of_each(1).scores.tolist() == pytest.approx([0.9, 0.5])
    assert one.best_of_each(2).scores.tolist() == pytest.approx([0.9, 0.5, 0.4])
    assert kept.best(5, 0.3).scores.tolist() == pytest.approx([0.9, 0.5])


@pytest.mark.parametrize(
    ("right", "present", "expected"),
    [
        ([True, True], 2, 1.0),
        ([False, True], 1, 0.5),
        ([True, False, True], 2, (1 + 2 / 3) / 2),
        ([True], 2, 0.5),
        ([], 2, 0.0),
        ([False, False], 3, 0.0),
    ],
)
def test_average_precision_by_hand(right, present, expected):
    scores = torch.arange(len(right), 0, -1).float()
    found = average_precision(scores, torch.tensor(right, dtype=torch.bool), present)
    assert found == pytest.approx(expected)


def test_vectors_classify_regions_as_the_published_classifier_does(tmp_path):
    torch.manual_seed(0)
    projection, queries, regions = nn.Linear(6, 4), torch.randn(3, 4), torch.randn(5, 6)
    scores = ClipVectorClassifier(projection, queries)(regions)
    cosines = nn.functional.cosine_similarity(projection(regions)[:, None], queries[None], dim=-1)
    torch.testing.assert_close(scores[:, :3], 50 * cosines)
    assert (scores[:, 3] == 0).all()
    save_classifier(queries, tmp_path / "queries.npy", width=4)
    written = torch.from_numpy(np.load(tmp_path / "queries.npy"))
    torch.testing.assert_close(written, nn.functional.normalize(queries, dim=-1))
    with pytest.raises(InputError, match=r"takes vectors \[Q, 512\]"):
        save_classifier(queries, tmp_path / "queries.npy")


def test_boxes_are_drawn_where_they_are():
    scene = np.full((100, 100, 3), 255, np.uint8)
    one = Detections(torch.tensor([[20.0, 40, 60, 80]]), torch.tensor([0.5]), torch.tensor([0]))
    picture = np.asarray(drawn(scene, one, ["a lamp"]))
    assert (picture[60, 20] != 255).any()
    assert (picture[60, 40] == 255).all()
