"""picture_features: a picture is encoded once, whoever asks for its features, and only that one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines.execution.runtime import Runtime
from pipelines.foundation import job as foundation
from pipelines.foundation.step import FoundationConfig
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import FEATURES, Artifact
from pipelines.store.shards import Sample, encode_png, write_shard
from pipelines.targets import job as targets
from pipelines.targets.step import TargetsConfig
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.foundation.settings import FitSettings

pytestmark = pytest.mark.slow

OBJECTS, VIEWS = {"train": 4, "test": 2}, 3
PICTURES = VIEWS * sum(OBJECTS.values())


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the frozen tower encoded."""
    calls: list[int] = []
    plain = LitFoundation.image_features

    def counted(self: LitFoundation, images: Tensor) -> Tensor:
        calls.append(len(images))
        return plain(self, images)

    monkeypatch.setattr(LitFoundation, "image_features", counted)
    return calls


def shards_of(runtime: Runtime, *, by_view: bool = False, views: int = VIEWS) -> Artifact:
    """Shards of the same renders: a sample per object, or per view of it."""
    renders = runtime.store.begin("renders", 1, {}, {}).commit([], {})
    settings = {"by_view": by_view, "views": views}
    build = runtime.store.begin("shards", 1, settings, {"renders": renders})
    entries = []
    for split, count in OBJECTS.items():
        samples: list[Sample] = []
        for number in range(count):
            rng = np.random.default_rng([number, split == "train"])
            pictures = [
                encode_png(rng.integers(256, size=(32, 32, 4), dtype=np.uint8))
                for _ in range(VIEWS)
            ][:views]
            each = [[picture] for picture in pictures] if by_view else [pictures]
            samples += [_sample(f"{split}{number}-{i}", split, own) for i, own in enumerate(each)]
        entries.append(write_shard(build.folder / f"{split}-00000.tar", samples)[0])
        record = f'{{"file": {entries[-1].model_dump_json()}, "samples": {len(samples)}}}'
        (build.folder / f"{split}-00000.record.json").write_text(record)
    return build.commit(entries, {})


def _sample(key: str, split: str, pictures: list[bytes]) -> Sample:
    described = {"name": key, "label": "chair", "group": key, "split": split}
    info = SampleInfo.model_validate(described | {"captions": ("a red chair",)})
    views = {f"view{i:02d}.png": picture for i, picture in enumerate(pictures)}
    return {"__key__": key, "json": info.encode(), **views}


def fitted(runtime: Runtime, spec: str, shards: Artifact, /, **changes: object) -> Artifact:
    given = {"spec": spec, "embed_dim": 8, "image_size_px": 32, "fit": FitSettings(steps=2)}
    config = FoundationConfig.model_validate(given | changes)
    return foundation.run(runtime, config, {}, shards)


def embeddings(made: Artifact) -> dict[str, bytes]:
    samples = [sample for path in made.shards() for sample in made.read(path)]
    return {sample["__key__"]: bytes(sample["image_targets.npy"]) for sample in samples}


def test_fit_and_targets_encode_each_picture_once(
    runtime: Runtime, tiny_lit: str, encoded: list[int]
) -> None:
    shards = shards_of(runtime)
    targets.run(runtime, TargetsConfig(), shards, fitted(runtime, tiny_lit, shards))
    assert sum(encoded) == PICTURES


def test_another_fit_encodes_no_picture_and_gives_what_it_gives_alone(
    runtime: Runtime, tiny_lit: str, encoded: list[int], tmp_path: Path
) -> None:
    alone = quiet_runtime(tmp_path / "alone")
    found = {}
    for there in (runtime, alone):
        shards = shards_of(there)
        if there is runtime:
            targets.run(there, TargetsConfig(), shards, fitted(there, tiny_lit, shards))
            encoded.clear()
        other = fitted(there, tiny_lit, shards, fit=FitSettings(steps=3))
        made = targets.run(there, TargetsConfig(), shards, other)
        if there is runtime:
            assert encoded == []
        found[there.home] = embeddings(made)
    assert found[runtime.home] == found[alone.home]


@pytest.mark.parametrize("views", [VIEWS, 2])
def test_a_workflow_of_the_same_renders_finds_their_pictures(
    runtime: Runtime, tiny_lit: str, encoded: list[int], views: int
) -> None:
    """As depth does, whose samples are views of the point clouds' objects."""
    shards = shards_of(runtime)
    shared = fitted(runtime, tiny_lit, shards)
    targets.run(runtime, TargetsConfig(), shards, shared)
    encoded.clear()
    made = targets.run(
        runtime, TargetsConfig(), shards_of(runtime, by_view=True, views=views), shared
    )
    assert encoded == []
    assert len(embeddings(made)) == views * sum(OBJECTS.values())


def test_pictures_are_added_to_those_that_are_known(
    runtime: Runtime, tiny_lit: str, encoded: list[int]
) -> None:
    few = shards_of(runtime, by_view=True, views=1)
    shared = fitted(runtime, tiny_lit, few)
    targets.run(runtime, TargetsConfig(), few, shared)
    targets.run(runtime, TargetsConfig(), shards_of(runtime, by_view=True), shared)
    assert sum(encoded) == PICTURES


@pytest.mark.parametrize("change", ["background", "image_size_px", "weights"])
def test_other_towers_sizes_and_backgrounds_have_features_of_their_own(
    runtime: Runtime, tiny_lit: str, encoded: list[int], change: str, tmp_path: Path
) -> None:
    shards = shards_of(runtime)
    fitted(runtime, tiny_lit, shards)
    encoded.clear()
    changed: dict[str, dict[str, object]] = {
        "background": {"background": 0},
        "image_size_px": {"image_size_px": 48},
        "weights": {"spec": _with_other_weights(tiny_lit, tmp_path / "other.safetensors")},
    }
    fitted(runtime, tiny_lit, shards, **changed[change])
    assert sum(encoded) == VIEWS * OBJECTS["train"]


def _with_other_weights(spec: str, path: Path) -> str:
    before = spec.partition(".")[2].partition("+")[0]
    state = load_file(before)
    save_file(state | {"patch_embed.proj.bias": state["patch_embed.proj.bias"] + 1}, path)
    return spec.replace(before, str(path))


@pytest.mark.parametrize("damage", ["cut", "flipped", "no sums", "gone"])
def test_damaged_features_are_computed_again(
    runtime: Runtime, tiny_lit: str, encoded: list[int], damage: str
) -> None:
    shards = shards_of(runtime)
    whole = embeddings(
        targets.run(runtime, TargetsConfig(), shards, fitted(runtime, tiny_lit, shards))
    )
    for path in (runtime.store.root / FEATURES).glob("*/*/test-00000.tar"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        if damage == "gone":
            path.unlink()
        elif damage == "no sums":
            path.with_suffix(".sums").unlink()
        else:
            path.write_bytes(bytes(data) if damage == "flipped" else bytes(data[:700]))
    encoded.clear()
    other = fitted(runtime, tiny_lit, shards, embed_dim=8, fit=FitSettings(steps=2, seed=1))
    assert encoded == []
    targets.run(runtime, TargetsConfig(), shards, other)
    assert sum(encoded) == VIEWS * OBJECTS["test"]
    assert set(whole) == set(embeddings(targets.run(runtime, TargetsConfig(), shards, other)))


def test_they_are_no_artifact(runtime: Runtime, tiny_lit: str) -> None:
    shards = shards_of(runtime)
    fitted(runtime, tiny_lit, shards)
    assert list((runtime.store.root / FEATURES).glob("*/*/*.tar"))
    assert {folder.parent.name for folder in runtime.store.folders()} == {
        "renders",
        "shards",
        "foundation",
    }
