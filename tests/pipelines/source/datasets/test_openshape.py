"""OpenShape's triplets, from a small tree in exactly the published format to a trained lens."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.execution.runtime import Runtime
from pipelines.foundation import job as foundation
from pipelines.foundation.step import FoundationConfig
from pipelines.lens import job as lens
from pipelines.lens.batches import TrainingBatches
from pipelines.lens.settings import TrainConfig
from pipelines.shards import job as shards
from pipelines.shards.sample import SampleInfo
from pipelines.shards.step import ShardsConfig, StoredSignal
from pipelines.source import job as source
from pipelines.source.base import Pair
from pipelines.source.datasets.openshape import OpenShape, draw_weights
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample, read_shard
from pipelines.targets import job as targets
from pipelines.targets.step import TargetsConfig
from pipelines.targets.stored import decode_targets
from tests.pipelines.source.datasets.openshape_tree import (
    LABELS,
    POINTS,
    VIEWS,
    Embed,
    Tree,
    embed_by,
    whole,
)
from vitlens_core.errors import BadSampleError, ConfigError, InputError
from vitlens_core.foundation import load_foundation
from vitlens_core.modalities.point_cloud import PointCloudSignal
from vitlens_core.models.tower_settings import TowerSettings


def _by_key(config: OpenShape) -> dict[str, Pair]:
    return {pair.key: pair for pair in config.pairs()}


def _samples(artifact: Artifact, split: str | None = None) -> dict[str, Sample]:
    paths = artifact.shards(split)
    return {sample["__key__"]: sample for path in paths for sample in read_shard(path)}


def test_the_lists_become_pairs_with_lvis_held_out(tmp_path: Path) -> None:
    found = _by_key(whole(Tree(tmp_path)))
    sides = Counter(pair.split for pair in found.values())
    assert sides == {"train": 16, "test": 6}
    assert {p.label for p in found.values()} == {None, "bus (vehicle)", "chair"}
    assert {p.key for p in found.values() if p.split == "test"} == {
        f"{label[:3]}{n}" for label in LABELS for n in range(3)
    }
    assert found["ABO-abo-1"].signal == "ABO/abo/abo-1.npy"
    assert found["objaverse-0"].signal == "Objaverse/000-012/objaverse-0.npy"


def test_trained_on_all_a_part_of_all_is_held_out(tmp_path: Path) -> None:
    config = whole(Tree(tmp_path)).model_copy(update={"train": "all"})
    listing = source.listed(config, "point_cloud")
    sides = Counter(pair.split for pair in listing.pairs)
    assert sum(sides.values()) == 22
    assert min(sides["train"], sides["test"]) > 0


def test_only_the_asked_data_sets(tmp_path: Path) -> None:
    config = whole(Tree(tmp_path)).model_copy(update={"datasets": ("ABO",)})
    assert {key.partition("-")[0] for key in _by_key(config)} == {"ABO"}
    with pytest.raises(ConfigError, match=r"Shapenet.*did you mean ShapeNet"):
        list(config.model_copy(update={"datasets": ("Shapenet",)}).pairs())


def test_an_object_of_lvis_in_its_training_list_is_refused(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.add("Objaverse", "seen", "chair")
    tree.train["no_lvis"] = tree.train["all"]
    with pytest.raises(ConfigError, match=r"seen is in lvis.json too"):
        list(tree.write().pairs())


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"id": "a", "dataset": "Thingi10K", "data_path": "x"}, "Thingi10K"),
        ({"id": "a", "dataset": "ABO"}, "data_path"),
        ({"id": "a", "dataset": "ABO", "data_path": "/d/ShapeNet/a.npy"}, r"…/ABO/…/<id>.npy"),
        ({"id": "a", "dataset": "ABO", "data_path": "/d/ABO/../../a.npy"}, r"…/ABO/…/<id>.npy"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, entry: dict[str, str], told: str) -> None:
    tree = Tree(tmp_path)
    tree.add("ABO", "good")
    tree.train["no_lvis"].append(entry)
    with pytest.raises(ConfigError, match=told):
        list(tree.write().pairs())


def _texts(config: OpenShape, key: str) -> dict[str, float]:
    """Text and weight of an object; weights sum to 1."""
    ready = config.ready(_by_key(config)[key])
    weights = ready.weights["text"]
    assert sum(weights) == pytest.approx(1)
    return dict(zip(ready.captions, weights, strict=True))


def test_texts_are_drawn_as_the_authors_do(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.add("Objaverse", "o")
    tree.add("ABO", "a")
    config = tree.write()
    sixth, third = pytest.approx(1 / 6), pytest.approx(1 / 3)
    found = {f"found {n} ": sixth for n in range(2)}
    assert _texts(config, "o") == {
        "a o of Objaverse": third,  # the first of its names alone
        "blip sees o": sixth,
        "azure sees o": sixth,
        **{f"{text}o": weight for text, weight in found.items()},
    }
    assert _texts(config, "ABO-a") == {
        "a a of ABO": sixth,
        "a again": sixth,
        "blip sees a": sixth,
        "azure sees a": sixth,
        **{f"{text}a": weight for text, weight in found.items()},
    }


def test_a_filtered_name_is_left_out_of_objaverse_only(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.add("Objaverse", "o", blip_caption="", blip_caption_feat=None)
    tree.add("ABO", "a")
    for uid in ("o", "a"):
        tree.filter[uid] = {"flag": "N", "reason": "says nothing"}
    config = tree.write()
    # BLIP by lot: a retrieved text. Azure by lot: one of both kinds.
    quarter = pytest.approx(0.25)
    assert _texts(config, "o") == {
        "azure sees o": quarter,
        "found 0 o": pytest.approx(0.375),
        "found 1 o": pytest.approx(0.375),
    }
    assert "a a of ABO" in _texts(config, "ABO-a")
    unfiltered = config.model_copy(update={"filter_names": False})
    assert "a o of Objaverse" in _texts(unfiltered, "o")


def test_draw_weights_are_those_of_drawing() -> None:
    """Against the procedure itself, drawn many times."""
    rng = random.Random(0)
    cases = [(1, [True, False], 3), (2, [False, False], 1), (0, [True, True], 0)]
    for names, machines, retrieved in cases:
        count: Counter[str] = Counter()
        for _ in range(20_000):
            kinds = ["name"] * (names > 0) + ["found"] * (retrieved > 0)
            coin = rng.randrange(2)
            kinds += [f"machine {coin}"] * machines[coin]
            if kinds:
                count[rng.choice(kinds)] += 1
        weights = draw_weights(names, machines, retrieved)
        assert len(weights) == names + sum(machines) + retrieved
        total = sum(count.values())
        of_names = sum(weights[:names])
        assert of_names / sum(weights) == pytest.approx(count["name"] / total, abs=0.02)
        of_found = sum(weights[len(weights) - retrieved :]) if retrieved else 0
        assert of_found / sum(weights) == pytest.approx(count["found"] / total, abs=0.02)


def test_names_and_captions_have_the_mean_of_prompts_and_retrieved_texts_their_own(
    tmp_path: Path,
) -> None:
    tree = Tree(tmp_path)
    described = tree.add("Objaverse", "o")
    config = tree.write()
    ready = config.ready(_by_key(config)["o"])
    wanted = [described["text_feat"][0]["prompt_avg"]]
    wanted += [described[f"{name}_caption_feat"]["prompt_avg"] for name in ("blip", "msft")]
    wanted += [feature["original"] for feature in described["retrieval_text_feat"]]
    assert np.array_equal(ready.embeddings["text"], np.concatenate(wanted))


def test_the_thumbnail_is_drawn_half_of_the_time(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    described = tree.add("Objaverse", "o")
    tree.add("ShapeNet", "s")
    config = tree.write()
    ready = config.ready(_by_key(config)["o"])
    assert np.array_equal(ready.embeddings["image"][-1:], described["thumbnail_feat"])
    weights = np.array(ready.weights["image"])
    assert weights[-1] / weights.sum() == 0.5
    other = config.ready(_by_key(config)["ShapeNet-s"])
    assert len(other.embeddings["image"]) == VIEWS
    assert len(set(other.weights["image"])) == 1


def test_points_come_with_their_colours_and_y_up(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    described = tree.add("ABO", "a")
    config = tree.write()
    cloud = config.read(_by_key(config)["ABO-a"], None)  # ty: ignore[invalid-argument-type]
    assert np.allclose(cloud, np.concatenate([described["xyz"], described["rgb"]], axis=1))
    assert np.argmax(np.ptp(cloud[:, :3], axis=0)) == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"xyz": np.zeros((4, 2), np.float32)}, r"\[N, 3\]"),
        ({"rgb": np.full((POINTS, 3), 200, np.float32)}, r"0\.\.1"),
        ({"xyz": np.full((POINTS, 3), np.nan, np.float32)}, "finite"),
        ({"text_feat": []}, "2 of text, 0 embeddings"),
        ({"blip_caption_feat": {"original": np.zeros((1, 8), np.float32)}}, "prompt_avg"),
        ({"image_feat": None}, "image_feat"),
        ({"thumbnail_feat": np.zeros((1, 5), np.float32)}, "do not fit"),
    ],
)
def test_a_damaged_object_says_why(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    tree = Tree(tmp_path)
    tree.add("Objaverse", "o", **changed)
    config = tree.write()
    pair = _by_key(config)["o"]
    with pytest.raises(InputError, match=told):
        _read_all(config, pair)


def _read_all(config: OpenShape, pair: Pair) -> None:
    config.read(pair, None)  # ty: ignore[invalid-argument-type]
    config.ready(pair)


def test_an_object_without_a_text_is_left_out(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    nothing: dict[str, Any] = {"blip_caption": "", "msft_caption": "", "retrieval_text": []}
    tree.add("ABO", "a", **nothing, retrieval_text_feat=[], text=[], text_feat=[])
    config = tree.write()
    with pytest.raises(BadSampleError, match="no text"):
        config.ready(_by_key(config)["ABO-a"])


class _Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run by a pickle",)


def test_a_pickle_that_calls_functions_is_refused(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.add("ABO", "a", extra=_Attack())
    config = tree.write()
    with pytest.raises(InputError, match="only arrays"):
        config.ready(_by_key(config)["ABO-a"])


@pytest.fixture
def clip(tiny_open_clip: str) -> tuple[str, Embed]:
    """A small CLIP, and its embeddings of texts as the published files have them, [1, E]."""
    return tiny_open_clip, embed_by(tiny_open_clip)


def _to_targets(
    runtime: Runtime, config: OpenShape, spec: str
) -> tuple[Artifact, Artifact, Artifact]:
    """Run source, shards, foundation and targets; returns the last three."""
    listed = source.run(runtime, config, "point_cloud")
    signal = StoredSignal("point_cloud", PointCloudSignal(points=32))
    paired = shards.run(runtime, ShardsConfig(), signal, config, source=listed)
    frozen = foundation.run(runtime, FoundationConfig(spec=spec), {}, paired)
    return paired, frozen, targets.run(runtime, TargetsConfig(stored_as="fp32"), paired, frozen)


@pytest.mark.slow
def test_from_the_tree_to_a_lens(runtime: Runtime, tmp_path: Path, clip: tuple[str, Embed]) -> None:
    spec, embed = clip
    tree = Tree(tmp_path / "openshape", embed)
    config = whole(tree).model_copy(update={"clip": spec})
    no_text: dict[str, Any] = {"blip_caption": "", "msft_caption": "", "retrieval_text": []}
    empty = Tree(tmp_path / "other", embed)
    described = empty.add("ABO", "mute", **no_text, text=[], text_feat=[], retrieval_text_feat=[])
    np.save(config.place("ABO/abo/abo-3.npy"), np.array(described, dtype=object))

    paired, frozen, made = _to_targets(runtime, config, spec)
    assert [q.key for q in paired.quarantined()] == ["ABO-abo-3"]
    stored = _samples(made)
    assert len(stored) == 21
    sample = stored["objaverse-0"]
    told = SampleInfo.of(sample)
    assert len(told.captions) == len(decode_targets(sample["text_targets.npy"])) == 5
    assert len(decode_targets(sample["image_targets.npy"])) == VIEWS + 1
    assert "image_ready.npy" not in sample
    retrieved = decode_targets(sample["text_targets.npy"])[-1]
    assert retrieved == pytest.approx(embed("found 1 objaverse-0")[0], abs=2e-3)  # stored as fp16
    assert np.linalg.norm(retrieved) == pytest.approx(1, abs=1e-3)

    signal = StoredSignal("point_cloud", PointCloudSignal()).file
    batches = TrainingBatches(made, signal, ("image", "text"), 4, shuffle_buffer=4)
    counts: Counter[bool] = Counter()
    for batch in islice(batches.starting_at(0), 150):
        for key, drawn in zip(batch.keys, batch.targets["image"], strict=True):
            if key.startswith("objaverse"):
                thumbnail = torch.from_numpy(embed(f"thumbnail {key}")[0])
                counts[bool(torch.dist(drawn, thumbnail) < 1e-2)] += 1
    share = counts[True] / sum(counts.values())
    assert sum(counts.values()) > 100
    assert share == pytest.approx(0.5, abs=0.15)

    sizes = {"points_seen": 32, "groups": 6, "group_size": 4, "encoder_dim": 8, "width": 8}
    shape = {"latents": 4, "depth": 1, "latent_heads": 2, "latent_dim_head": 4, "cross_dim_head": 4}
    tower = TowerSettings.of(
        "point_cloud", signal={"points": 32}, tokenizer={**sizes, "up": "z"}, lens=shape
    )
    train = {"steps": 2, "batch_size": 4, "warmup_steps": 1, "precision": "fp32"}
    trained = lens.run(runtime, TrainConfig.model_validate(train), tower, made, frozen)
    assert trained.manifest.counts


@pytest.mark.slow
@pytest.mark.parametrize("stated", ["another", "wrong features", "digest"])
def test_a_foundation_of_another_clip_is_refused(
    runtime: Runtime, tmp_path: Path, clip: tuple[str, Embed], stated: str
) -> None:
    spec, embed = clip
    tree = Tree(tmp_path / "openshape", _of_width(embed) if stated == "wrong features" else embed)
    config = whole(tree)
    if stated == "another":
        with pytest.raises(ConfigError, match=r"of open_clip:ViT-bigG-14.*foundation is"):
            _to_targets(runtime, config, spec)
        return
    digest = load_foundation(spec, None, None).digest()
    config = config.model_copy(update={"clip": digest})
    if stated == "digest":
        assert _to_targets(runtime, config, spec)[2].manifest.counts["samples"] == 22
        return
    with pytest.raises(ConfigError, match="cosine"):
        _to_targets(runtime, config, spec)


def _of_width(embed: Embed) -> Embed:
    """Embeddings of the right width that mean nothing to this CLIP."""
    width = embed("a").shape[1]

    def other(text: str) -> np.ndarray:
        rng = np.random.default_rng(sum(map(ord, text)))
        vector = rng.normal(size=(1, width))
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    return other
