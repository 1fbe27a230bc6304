"""Lenses that teach: found in the registry, carried with its foundation, and learnt from."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.execution.shard_tasks import ShardTask
from pipelines.foundation import job as foundation_step
from pipelines.foundation.info import read_info
from pipelines.foundation.opening import open_foundation, open_lens
from pipelines.foundation.step import FoundationConfig
from pipelines.foundation.teachers import find_teachers, lens_file
from pipelines.lens import job as lens
from pipelines.lens.curves import read_curves
from pipelines.lens.settings import TrainConfig
from pipelines.registry import models
from pipelines.shards import job as shards
from pipelines.shards.recorded import RecordedPairs
from pipelines.shards.rendered import RenderedPairs
from pipelines.shards.step import ShardsConfig, StoredSignal
from pipelines.source import job as source
from pipelines.source.datasets.manifest import Manifest
from pipelines.source.job import tasks_of_source
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import decode_array, encode_array
from pipelines.targets.encoder import TargetEncoder
from pipelines.targets.step import TargetsConfig
from tests.contracts.examples import example, tower_settings
from tests.pipelines import synthetic
from tests.pipelines.quiet import quiet_runtime
from tests.pipelines.shard_bytes import encode_shard
from tests.pipelines.synthetic import trained_tower
from vitlens_core import modalities
from vitlens_core.checkpoint import encode_lens
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.modalities.audio import AudioSignal
from vitlens_core.modalities.depth import DepthSignal
from vitlens_core.modalities.point_cloud import PointCloudSignal
from vitlens_core.modalities.thermal import ThermalSignal
from vitlens_core.model_files import LENS_FILE
from vitlens_core.models.tower import build_tower

pytestmark = pytest.mark.slow

SPEC = "models:/vitlens-depth@champion"
NEAR = {"near": SPEC}
NEAR_SIGNAL, NEAR_TARGETS = "teacher_near.npy", "teacher_near_targets.npy"
ANY = FoundationConfig()
DEPTH = tower_settings("depth", lens=example("point_cloud").lens, trunk={})
CLOUDS = tower_settings("point_cloud")
MAPS = StoredSignal("depth", DepthSignal(side_px=16))
POINTS = StoredSignal("point_cloud", PointCloudSignal(points=64))


@pytest.fixture
def plain(tmp_path: Path, tiny_lit: str) -> Artifact:
    return synthetic.foundation(quiet_runtime(tmp_path / "plain").store, tiny_lit)


@pytest.fixture
def registered(tmp_path: Path, plain: Artifact, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a registered depth lens, as the registry hands it out."""
    folder = tmp_path / "model" / "artifacts"
    folder.mkdir(parents=True)
    for name in ("foundation.json", "projections.safetensors"):
        (folder / name).write_bytes(plain.path(name).read_bytes())
    _write_lens(folder, plain, seed=0)
    monkeypatch.setattr(models, "download", lambda spec: folder.parent)
    return folder


def _write_lens(folder: Path, plain: Artifact, seed: int) -> None:
    foundation = open_foundation(plain)
    torch.manual_seed(seed)
    tower = build_tower(DEPTH, foundation.trunk)
    (folder / LENS_FILE).write_bytes(
        encode_lens(tower.trained_state(), DEPTH, foundation.spec, foundation.digest())
    )


def test_teachers_are_found_by_name(registered: Path) -> None:
    assert find_teachers({}, ANY) == {}
    assert find_teachers(NEAR, ANY)["near"].settings == DEPTH


def test_a_model_without_its_foundation_cannot_teach(registered: Path) -> None:
    (registered / "foundation.json").unlink()
    with pytest.raises(CheckpointError, match=r"lacks foundation\.json"):
        find_teachers(NEAR, ANY)


def test_the_teachers_foundation_is_the_runs(
    tmp_path: Path, registered: Path, plain: Artifact
) -> None:
    runtime = quiet_runtime(tmp_path)
    made = foundation_step.run(runtime, ANY, NEAR, plain, shared=plain)
    made.verify()
    opened = open_foundation(made)
    assert opened.digest() == open_foundation(plain).digest()
    _, settings = open_lens(made, lens_file("near"), opened)
    assert settings == DEPTH
    assert read_info(made) == read_info(plain).model_copy(update={"teachers": {"near": "depth"}})
    # The alias stands still and the champion behind it changes: that is another foundation.
    _write_lens(registered, plain, seed=1)
    assert foundation_step.run(runtime, ANY, NEAR, plain) != made


def test_teachers_of_two_spaces_are_refused(
    tmp_path: Path, registered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "artifacts"
    shutil.copytree(registered, other)
    info = FoundationInfo.model_validate_json((other / "foundation.json").read_bytes())
    moved = info.model_copy(update={"digest": "f" * 64})
    (other / "foundation.json").write_text(moved.model_dump_json())
    folders = {SPEC: registered.parent, "models:/far/1": other.parent}
    monkeypatch.setattr(models, "download", folders.__getitem__)
    with pytest.raises(
        ConfigError, match=r"different embedding spaces \(near: .*; far: lit:.*f{12}"
    ):
        find_teachers({**NEAR, "far": "models:/far/1"}, ANY)


@pytest.mark.parametrize(
    ("stated", "refused"),
    [
        ({"fit": {"steps": 3}}, False),
        ({"embed_dim": 99}, True),
        ({"spec": "open_clip:ViT-B-16/openai"}, True),
    ],
)
def test_a_stated_foundation_must_be_the_teachers(
    registered: Path, stated: dict, refused: bool
) -> None:
    """A profile's foundation may stand where it is the same."""
    info = FoundationInfo.model_validate_json((registered / "foundation.json").read_bytes())
    same = {} if "spec" in stated else {"image_size_px": info.image_size_px}
    config = FoundationConfig.model_validate({**same, **stated})
    if refused:
        with pytest.raises(
            ConfigError, match=rf"foundation\.{next(iter(stated))}: .*teachers\.near"
        ):
            find_teachers(NEAR, config)
    else:
        find_teachers(NEAR, config)


def test_a_shared_foundation_is_handed_on(tmp_path: Path, plain: Artifact) -> None:
    runtime = quiet_runtime(tmp_path)
    assert foundation_step.run(runtime, ANY, {}, plain, shared=plain) is plain


# --- what the teacher is shown ---------------------------------------------------------------


def test_a_cloud_comes_with_the_depth_map_of_every_view(renders_artifact: Artifact) -> None:
    stage = RenderedPairs(ShardsConfig(), POINTS, renders_artifact, {"near": MAPS})
    alone = RenderedPairs(ShardsConfig(), POINTS, renders_artifact)
    maps = RenderedPairs(ShardsConfig(), MAPS, renders_artifact)
    task = ShardTask("train-00000")
    by_view = {s["__key__"]: s[MAPS.file] for s in maps.samples(task) if isinstance(s, dict)}
    for taught, untaught in zip(stage.samples(task), alone.samples(task), strict=True):
        assert isinstance(taught, dict)
        shown = decode_array(taught.pop(NEAR_SIGNAL))
        assert taught == untaught
        for number, depth in enumerate(shown):
            expected = decode_array(by_view[f"{taught['__key__']}-view{number:02d}"])
            np.testing.assert_array_equal(depth, expected)
        assert len(shown) == 4


def test_a_depth_map_comes_with_the_whole_cloud(renders_artifact: Artifact) -> None:
    stage = RenderedPairs(ShardsConfig(), MAPS, renders_artifact, {"near": POINTS})
    for sample in stage.samples(ShardTask("train-00000")):
        assert isinstance(sample, dict)
        assert decode_array(sample[NEAR_SIGNAL]).shape == (1, 64, 6)


def test_a_lens_for_what_is_not_rendered_cannot_teach(
    tmp_path: Path, renders_artifact: Artifact
) -> None:
    sound, runtime = StoredSignal("audio", AudioSignal()), quiet_runtime(tmp_path)
    with pytest.raises(ConfigError, match="a lens for audio cannot teach with rendered objects"):
        shards.run(runtime, ShardsConfig(), POINTS, None, {"near": sound}, renders=renders_artifact)


def test_a_manifest_names_what_the_teacher_is_shown(tmp_path: Path) -> None:
    """No image, no text: a thermal picture and the depth map that goes with it."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 255, (20, 20), np.uint8)).save(tmp_path / f"{name}.png")
    np.save(tmp_path / "a.npy", rng.uniform(0.1, 1, (20, 20)).astype(np.float32))
    (tmp_path / "manifest.csv").write_text(
        "signal,teacher.near,label,split\na.png,a.npy,x,train\nb.png,,y,test\n"
    )
    settings = Manifest(root=str(tmp_path))
    made = source.run(quiet_runtime(tmp_path), settings, "thermal")
    warmth = StoredSignal("thermal", ThermalSignal(side_px=16))
    stage = RecordedPairs(ShardsConfig(), warmth, settings, made, {"near": MAPS})
    found = [sample for task in tasks_of_source(made) for sample in stage.samples(task)]
    shown = {s["__key__"]: s for s in found if isinstance(s, dict)}
    raw = modalities.load("depth").read(tmp_path / "a.npy")
    np.testing.assert_allclose(
        decode_array(shown["a"][NEAR_SIGNAL])[0], MAPS.config.store(raw), atol=1e-3
    )
    (dropped,) = [s for s in found if not isinstance(s, dict)]
    assert dropped.key == "b"
    assert dropped.reason == "the pair has no depth for the teacher near"


# --- what it teaches --------------------------------------------------------------------------


def test_its_embeddings_are_targets(
    tmp_path: Path, registered: Path, plain: Artifact, renders_artifact: Artifact
) -> None:
    runtime = quiet_runtime(tmp_path)
    taught = foundation_step.run(runtime, ANY, NEAR, plain)
    pairs = RenderedPairs(ShardsConfig(), POINTS, renders_artifact, {"near": MAPS})
    samples = [s for s in pairs.samples(ShardTask("train-00000")) if isinstance(s, dict)]
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "train-00000.tar").write_bytes(encode_shard(samples))
    stored = dataclasses.replace(renders_artifact, folder=folder)
    processor = TargetEncoder(TargetsConfig(), stored, taught, device="cpu")
    tower, settings = open_lens(taught, lens_file("near"), open_foundation(taught))
    for before, after in zip(samples, processor.samples(ShardTask("train-00000")), strict=True):
        assert NEAR_SIGNAL not in after
        shown = torch.from_numpy(decode_array(before[NEAR_SIGNAL]))
        with torch.inference_mode():
            seen = settings.tokenizer_config.prepare(shown, settings.signal_config)
            expected = tower(seen).numpy()
        found = decode_array(after[NEAR_TARGETS]).astype(np.float32)
        np.testing.assert_allclose(found, expected, atol=2e-3)
        np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=2e-3)


def test_each_of_two_teachers_has_its_signals_and_targets(
    tmp_path: Path, registered: Path, plain: Artifact, renders_artifact: Artifact
) -> None:
    both = {"near": SPEC, "far": SPEC}
    taught = foundation_step.run(quiet_runtime(tmp_path), ANY, both, plain)
    taught.verify()
    assert read_info(taught).teachers == {"near": "depth", "far": "depth"}
    pairs = RenderedPairs(ShardsConfig(), POINTS, renders_artifact, {"near": MAPS, "far": MAPS})
    samples = [s for s in pairs.samples(ShardTask("train-00000")) if isinstance(s, dict)]
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "train-00000.tar").write_bytes(encode_shard(samples))
    stored = dataclasses.replace(renders_artifact, folder=folder)
    processor = TargetEncoder(TargetsConfig(), stored, taught, device="cpu")
    encoded = list(processor.samples(ShardTask("train-00000")))
    assert encoded
    for sample in encoded:
        files = {name for name in sample if name.startswith("teacher_")}
        assert files == {"teacher_near_targets.npy", "teacher_far_targets.npy"}


def test_a_source_without_files_for_a_teacher_is_refused_before_any_work(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("L", (20, 20)).save(tmp_path / f"{name}.png")
    (tmp_path / "manifest.csv").write_text("signal,label,split\na.png,x,train\nb.png,x,test\n")
    settings, runtime = Manifest(root=str(tmp_path)), quiet_runtime(tmp_path)
    made = source.run(runtime, settings, "thermal")
    warmth = StoredSignal("thermal", ThermalSignal(side_px=16))
    with pytest.raises(ConfigError, match=r"teachers\.near: no pair .* column teacher\.near"):
        shards.run(runtime, ShardsConfig(), warmth, settings, {"near": MAPS}, source=made)


def test_a_teacher_is_taken_to_the_stages_device(
    tmp_path: Path, registered: Path, plain: Artifact, renders_artifact: Artifact
) -> None:
    taught = foundation_step.run(quiet_runtime(tmp_path), ANY, NEAR, plain)
    gpu = "meta"  # stands for one
    processor = TargetEncoder(TargetsConfig(), renders_artifact, taught, device=gpu)
    assert processor.teachers
    tensors = [
        *processor.foundation.state_dict().values(),
        *processor.teachers["near"][0].state_dict().values(),
    ]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_a_lens_learns_from_the_teacher_alone(
    tmp_path: Path,
    registered: Path,
    plain: Artifact,
    local_ray: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = synthetic.sample

    def with_teacher(number: int, split: str) -> dict:
        made = whole(number, split)
        nothing = encode_array(np.zeros((0, synthetic.EMBED_DIM), np.float16))
        return made | {
            NEAR_TARGETS: made["image_targets.npy"],
            "image_targets.npy": nothing,
            "text_targets.npy": nothing,
        }

    monkeypatch.setattr(synthetic, "sample", with_teacher)
    runtime = quiet_runtime(tmp_path, train_workers=0)
    data = synthetic.targets(runtime.store, {"train": (6,), "val": (3,)})
    taught = foundation_step.run(runtime, ANY, NEAR, plain)
    train = {"steps": 2, "batch_size": 6, "warmup_steps": 1, "precision": "fp32"}
    train |= {"image_weight": 0, "text_weight": 0}
    config, tower = TrainConfig.model_validate(train), trained_tower()
    made = lens.run(runtime, config, tower, data, taught)
    curves = read_curves(made)
    assert set(curves.train[0]) == {"step", "loss", "loss_teacher_near", "lr"}
    assert curves.validated_against == "teacher_near"
    with pytest.raises(ConfigError, match="nothing to train against"):
        lens.run(runtime, config, tower, data, plain)


def test_of_text_and_teacher_validation_is_against_the_text(
    tmp_path: Path,
    registered: Path,
    plain: Artifact,
    local_ray: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Validation samples have no targets of the teacher: it could not be against those."""
    whole = synthetic.sample

    def with_teacher(number: int, split: str) -> dict:
        made = whole(number, split)
        taught = {NEAR_TARGETS: made["image_targets.npy"]}
        return made | (taught if split == "train" else {})

    monkeypatch.setattr(synthetic, "sample", with_teacher)
    runtime = quiet_runtime(tmp_path, train_workers=0)
    data = synthetic.targets(runtime.store, {"train": (6,), "val": (3,)})
    taught = foundation_step.run(runtime, ANY, NEAR, plain)
    train = {"steps": 2, "batch_size": 6, "warmup_steps": 1, "precision": "fp32", "image_weight": 0}
    config = TrainConfig.model_validate(train)
    curves = read_curves(lens.run(runtime, config, trained_tower(), data, taught))
    assert set(curves.train[0]) == {"step", "loss", "loss_text", "loss_teacher_near", "lr"}
    assert [point.step for point in curves.val] == [2]
    assert curves.validated_against == "text"
