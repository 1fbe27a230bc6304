"""source: pairs are listed, checked and divided before a file is opened."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.execution.runtime import Runtime
from pipelines.shards.recorded import RecordedPairs
from pipelines.shards.step import ShardsConfig, StoredSignal
from pipelines.source import job as source
from pipelines.source.base import Pair, SourceSettings
from pipelines.source.job import divide, listed, read_pairs, tasks_of_source
from pipelines.store.artifacts import Quarantined
from pipelines.store.shards import Sample, decode_array, view_names
from vitlens_core import modalities
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.thermal import ThermalSignal

pytestmark = pytest.mark.slow

CLASSES = ("cold", "warm", "hot")


class Pictures(SourceSettings):
    """`<label>-<n>.png` and, beside it, `<label>-<n>.jpg`: six of each class."""

    modalities: ClassVar[tuple[str, ...]] = ("thermal",)
    kind: Literal["pictures"] = "pictures"

    def pairs(self) -> Iterator[Pair]:
        for path in self.folder().glob("*.png"):
            label = path.stem.partition("-")[0]
            yield Pair(path.stem, path.name, images=(f"{path.stem}.jpg",), label=label)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for level, label in enumerate(CLASSES):
        for number in range(6):
            grey = rng.integers(80 * level, 80 * level + 60, size=(20, 30), dtype=np.uint8)
            Image.fromarray(grey).save(folder / f"{label}-{number}.png")
            colours = np.repeat(grey[..., None], 3, axis=-1)
            Image.fromarray(colours).save(folder / f"{label}-{number}.jpg")
    return folder


def _pictures(folder: Path, **given: Any) -> Pictures:
    return Pictures.model_validate({"root": str(folder), "pairs_per_shard": 4} | given)


def test_every_pair_stands_in_one_index_with_its_side(folder: Path, runtime: Runtime) -> None:
    made = source.run(runtime, _pictures(folder), "thermal")
    made.verify()
    names = [task.name for task in tasks_of_source(made)]
    pairs = {name: read_pairs(made, name) for name in names}
    assert {pair.key for found in pairs.values() for pair in found} == {
        f"{label}-{number}" for label in CLASSES for number in range(6)
    }
    for name, found in pairs.items():
        assert {pair.split for pair in found} == {name.partition("-")[0]}
        assert len(found) <= 4
    sides = Counter((p.split, p.label) for found in pairs.values() for p in found)
    assert set(sides) == {(side, label) for side in ("train", "val", "test") for label in CLASSES}


def test_texts_come_back_as_they_were(
    folder: Path, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ("two\nlines", "two\u2028lines", "next\x85line", "a\x0bb\x1cc", "ünïcode 🐕", "\u2029")
    _changed(monkeypatch, lambda pair: replace(pair, texts=texts))
    made = source.run(runtime, _pictures(folder), "thermal")
    pairs = [pair for task in tasks_of_source(made) for pair in read_pairs(made, task.name)]
    assert [pair.texts for pair in pairs] == [texts] * 18


def test_another_place_is_the_same_artifact_and_another_file_another(
    folder: Path, runtime: Runtime, tmp_path: Path
) -> None:
    first = source.run(runtime, _pictures(folder), "thermal")
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    again = source.run(runtime, _pictures(moved), "thermal")
    assert (again.reused, again.fingerprint) == (True, first.fingerprint)
    Image.fromarray(np.zeros((99, 99), np.uint8)).save(moved / "hot-0.png")
    assert source.run(runtime, _pictures(moved), "thermal").fingerprint != first.fingerprint


def test_missing_files_are_told_or_set_aside_as_asked(folder: Path, runtime: Runtime) -> None:
    (folder / "warm-3.jpg").unlink()
    with pytest.raises(ConfigError, match=r"1 of 18 pairs lack a file.*\n.*warm-3\.jpg"):
        source.run(runtime, _pictures(folder, most_missing=0), "thermal")
    assert runtime.store.artifacts() == []
    made = source.run(runtime, _pictures(folder), "thermal")
    (missing,) = made.quarantined()
    assert (missing.key, missing.step) == ("warm-3", "source")
    assert made.manifest.counts["samples"] == 17


def test_a_count_takes_every_class_alike(folder: Path) -> None:
    pairs = listed(_pictures(folder, count=9), "thermal").pairs
    assert Counter(pair.label for pair in pairs) == dict.fromkeys(CLASSES, 3)


def _changed(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    whole = Pictures.pairs
    monkeypatch.setattr(Pictures, "pairs", lambda self: map(change, whole(self)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: replace(p, key="same"), "1 keys occur twice"),
        (lambda p: replace(p, key=f"{p.key}/x"), "expected letters, digits"),
        (
            lambda p: replace(p, group="one", split="test" if "0" in p.key else "train"),
            "leaks between splits, such as the group 'one', which is in te.* and train",
        ),
        (
            lambda p: replace(p, signal="hot-0.png", split="test" if "0" in p.key else "train"),
            "such as the recording 'hot-0.png",
        ),
        (
            lambda p: replace(p, split="test" if "0" in p.key else None),
            "for 3 pairs and none for 15",
        ),
    ],
)
def test_lists_that_contradict_themselves_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Any, message: str
) -> None:
    _changed(monkeypatch, change)
    with pytest.raises(ConfigError, match=message):
        listed(_pictures(folder), "thermal")


def test_a_source_of_another_modality_is_refused(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match="'pictures' has recordings of thermal; audio needs another"
    ):
        listed(_pictures(folder), "audio")


@given(
    groups=st.lists(st.integers(0, 12), min_size=3, max_size=40),
    seed=st.integers(0, 9),
    stated=st.booleans(),
)
@settings(deadline=None)
def test_a_group_never_stands_on_two_sides(groups: list[int], seed: int, stated: bool) -> None:
    pairs = [
        Pair(
            f"k{i}",
            f"{i}.png",
            label=CLASSES[g % 3],
            group=f"g{g}",
            split=("train" if g % 2 else "test") if stated else None,
        )
        for i, g in enumerate(groups)
    ]
    config = Pictures(root="nowhere", seed=seed, validation_fraction=0.3)
    divided = divide(pairs, config)
    sides: dict[str, set[str | None]] = {}
    for pair in divided:
        sides.setdefault(pair.group, set()).add(pair.split)
    assert all(len(found) == 1 for found in sides.values())
    assert divide(pairs[::-1], config)[::-1] == divided
    if stated:
        assert {p.key for p in divided if p.split == "test"} == {
            p.key for p in pairs if p.split == "test"
        }


# --- and its shards --------------------------------------------------------------------------


WARMTH = StoredSignal("thermal", ThermalSignal(side_px=16))


def _samples(folder: Path, runtime: Runtime, **config: Any) -> list[Sample | Quarantined]:
    settings = _pictures(folder)
    made = source.run(runtime, settings, "thermal")
    stage = RecordedPairs(ShardsConfig(image_px=16, **config), WARMTH, settings, made)
    return [sample for task in tasks_of_source(made) for sample in stage.samples(task)]


def test_a_sample_holds_the_signal_the_image_and_prompts_of_its_class(
    folder: Path, runtime: Runtime
) -> None:
    for sample in _samples(folder, runtime):
        assert isinstance(sample, dict)
        described = json.loads(sample["json"])
        signal = decode_array(sample["thermal.npy"])
        raw = _pictures(folder).read(
            Pair("k", f"{sample['__key__']}.png"), modalities.load("thermal")
        )
        np.testing.assert_allclose(signal, WARMTH.config.store(raw), atol=1e-3)
        assert view_names(sample) == ["view00.png"]
        named = described["label"] in " ".join(described["captions"])
        assert named == (described["split"] != "test")
        assert described["group"] == sample["__key__"]


def test_captions_may_leave_the_class_out(folder: Path, runtime: Runtime) -> None:
    for sample in _samples(folder, runtime, label_captions=False):
        assert isinstance(sample, dict)
        assert json.loads(sample["json"])["captions"] == []


def test_a_recording_that_cannot_be_read_is_set_aside(folder: Path, runtime: Runtime) -> None:
    (folder / "cold-2.png").write_bytes(b"<html>404</html>")
    refused = [s for s in _samples(folder, runtime) if isinstance(s, Quarantined)]
    assert [(q.key, q.step) for q in refused] == [("cold-2", "shards")]
    assert "cold-2.png" in refused[0].reason
