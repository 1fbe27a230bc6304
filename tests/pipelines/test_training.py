"""The training loop: schedule, optimizer, gradients over workers, and exact resuming.

The loop runs in this process, with Ray Train's context replaced by one worker's.
"""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray.train.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn
from upath import UPath

from pipelines.artifacts import Artifact, Store
from pipelines.foundation import open_foundation
from pipelines.shard_io import encode_array
from pipelines.train_config import TrainConfig, learning_rate
from pipelines.training import LENS_FILE, Trainer, TrainJob, build_optimizer
from tests.pipelines import synthetic, two_workers
from tests.tiny_models import tower_settings
from vitlens_core.checkpoint import load_lens
from vitlens_core.errors import ConfigError, VitlensError
from vitlens_core.losses import MAX_LOG_SCALE

TRAIN: dict[str, Any] = {"steps": 6, "batch_size": 6, "warmup_steps": 1, "learning_rate": 3e-3}
TRAIN |= {"validate_every": 2, "checkpoint_every": 3, "precision": "fp32"}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = Store(UPath(tmp_path_factory.mktemp("targets")))
    return synthetic.targets(store, {"train": (7, 5), "val": (3,)})


@pytest.fixture(scope="module")
def foundation(tmp_path_factory: pytest.TempPathFactory, tiny_lit: str) -> Artifact:
    return synthetic.foundation(Store(UPath(tmp_path_factory.mktemp("foundation"))), tiny_lit)


class OneWorker:
    """Ray Train as one worker sees it; keeps the checkpoints that are reported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reported: list[Path] = []

    def report(self, metrics: dict[str, Any], checkpoint: ray.train.Checkpoint) -> None:
        with checkpoint.as_directory() as folder:
            kept = self.folder / f"step{metrics['step']}"
            shutil.copytree(folder, kept, dirs_exist_ok=True)
        self.reported.append(kept)


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OneWorker:
    worker = OneWorker(tmp_path)
    context = SimpleNamespace(get_world_rank=lambda: 0, get_world_size=lambda: 1)
    monkeypatch.setattr(ray.train, "get_context", lambda: context)
    monkeypatch.setattr(ray.train.torch, "get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(ray.train, "report", worker.report)
    monkeypatch.setattr(ray.train, "get_checkpoint", lambda: None)
    return worker


@pytest.fixture
def trainer(worker: OneWorker, targets: Artifact, foundation: Artifact) -> Callable[..., Trainer]:
    def make(data: Artifact = targets, **train: Any) -> Trainer:
        tower = tower_settings(trunk={"skip_first": 10})
        config = TrainConfig.model_validate(TRAIN | train)
        return Trainer(TrainJob(tower, config, data, foundation, threads=1))

    return make


# --- schedule and optimizer -----------------------------------------------------------------


@given(steps=st.integers(1, 400), warmup=st.integers(0, 100))
@settings(deadline=None, max_examples=40)
def test_the_rate_rises_to_its_height_and_falls_to_nothing(steps: int, warmup: int) -> None:
    config = TrainConfig(steps=steps, warmup_steps=warmup, learning_rate=2.0)
    rates = [learning_rate(step, config) for step in range(steps)]
    assert all(0 < rate <= 2 for rate in rates)
    rising, falling = rates[:warmup], rates[warmup:]
    assert all(one < other for one, other in itertools.pairwise(rising))
    assert all(one > other for one, other in itertools.pairwise(falling))
    if warmup < steps:
        assert rates[warmup] == 2.0
        assert learning_rate(steps, config) == pytest.approx(0, abs=1e-12)


def test_the_rate_is_a_cosine_after_warm_up() -> None:
    config = TrainConfig(steps=110, warmup_steps=10, learning_rate=1.0)
    assert [learning_rate(step, config) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert learning_rate(60, config) == pytest.approx(0.5)
    assert learning_rate(35, config) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_only_matrices_decay_and_only_what_is_trained_moves() -> None:
    model = nn.ModuleDict(
        {"a": nn.Linear(3, 2), "norm": nn.LayerNorm(2), "frozen": nn.Linear(3, 2)}
    )
    model["frozen"].requires_grad_(False)
    decayed, plain = build_optimizer(model, TrainConfig(weight_decay=0.3)).param_groups
    assert [id(p) for p in decayed["params"]] == [id(model["a"].weight)]
    assert decayed["weight_decay"] == 0.3
    norm = model["norm"]
    assert {id(p) for p in plain["params"]} == {id(model["a"].bias), id(norm.weight), id(norm.bias)}
    assert plain["weight_decay"] == 0.0


# --- gradients over workers -----------------------------------------------------------------


def test_two_workers_find_the_gradients_of_one_large_batch(tmp_path: Path) -> None:
    """Within 1e-5: float32 sums in another order."""
    torch.multiprocessing.spawn(two_workers.work, args=(str(tmp_path),), nprocs=2)
    model = two_workers.Scaled()
    expected = two_workers.gradients(model, model, slice(None))
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0, msg=name)
        assert found["linear.weight"].abs().max() > 1e-3


# --- the loop -------------------------------------------------------------------------------


def test_the_loop_records_validates_and_checkpoints_as_told(
    worker: OneWorker, trainer: Callable[..., Trainer], foundation: Artifact
) -> None:
    made = trainer(steps=7)
    made.run()
    assert [entry["step"] for entry in made.curves.train] == [1, 2, 3, 4, 5, 6, 7]
    assert [entry["step"] for entry in made.curves.val] == [2, 4, 6, 7]
    assert [path.name for path in worker.reported] == ["step3", "step6", "step7"]
    rates = [learning_rate(step, made.config) for step in range(7)]
    assert [entry["lr"] for entry in made.curves.train] == rates
    for entry in made.curves.train:
        assert entry["loss"] == pytest.approx(entry["loss_image"] + entry["loss_text"], rel=1e-6)
    tower, _ = load_lens(worker.reported[-1] / LENS_FILE, open_foundation(foundation))
    clouds = torch.rand(2, 32, 6)
    torch.testing.assert_close(tower(clouds), made.tower.eval()(clouds))


def test_the_lens_learns_what_there_is_to_learn(trainer: Callable[..., Trainer]) -> None:
    """Balls, poles and discs, validated on one of each."""
    made = trainer(steps=40, warmup_steps=5, label_positives=True)
    made.run()
    losses = [entry["loss"] for entry in made.curves.train]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    assert made.curves.val[-1]["r1"] == 1.0


def test_a_resumed_run_ends_with_the_weights_of_one_undisturbed(
    worker: OneWorker, trainer: Callable[..., Trainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: data order, augmentation and optimizer state are all restored."""
    straight = trainer(steps=8)
    straight.run()
    checkpoint = ray.train.Checkpoint.from_directory(worker.folder / "step3")
    monkeypatch.setattr(ray.train, "get_checkpoint", lambda: checkpoint)
    torch.manual_seed(99)
    resumed = trainer(steps=8)
    resumed.run()
    assert resumed.curves == straight.curves
    for name, tensor in straight.tower.trained_state().items():
        assert torch.equal(resumed.tower.trained_state()[name], tensor), name


def test_training_leaves_the_trunk_and_the_scale_where_they_belong(
    worker: OneWorker, trainer: Callable[..., Trainer], foundation: Artifact
) -> None:
    made = trainer(steps=3, learning_rate=1.0)
    before = {name: p.clone() for name, p in made.tower.trunk.named_parameters()}
    made.run()
    assert all(torch.equal(p, before[name]) for name, p in made.tower.trunk.named_parameters())
    assert made.tower.log_scale.item() <= MAX_LOG_SCALE + 1e-6
    assert not [n for n in load_file(worker.reported[-1] / LENS_FILE) if n.startswith("trunk.")]


def test_a_loss_that_is_no_number_ends_the_run_naming_the_step_and_the_samples(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = synthetic.sample

    def broken(number: int, split: str) -> dict[str, Any]:
        made = whole(number, split)
        nothing = np.full((3, synthetic.EMBED_DIM), np.nan, np.float16)
        return made | ({"image_targets.npy": encode_array(nothing)} if number == 4 else {})

    monkeypatch.setattr(synthetic, "sample", broken)
    data = synthetic.targets(Store(UPath(tmp_path / "broken")), {"train": (6,)})
    with pytest.raises(VitlensError, match=r"loss is nan at step 0, on worker 0, samples .*train"):
        trainer(data).run()


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch_size": 1}, {"learning_rate": 0}, {"step": 1}]
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig.model_validate(wrong)


def test_a_fixed_temperature_stays_and_is_stored(
    worker: OneWorker, trainer: Callable[..., Trainer], foundation: Artifact
) -> None:
    trainer(steps=3, temperature=0.2, learning_rate=1.0).run()
    tower, _ = load_lens(worker.reported[-1] / LENS_FILE, open_foundation(foundation))
    assert 1 / tower.log_scale.exp().item() == pytest.approx(0.2)


def test_training_against_images_alone_needs_no_captions(
    trainer: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = synthetic.sample

    def captionless(number: int, split: str) -> dict[str, Any]:
        nothing = np.zeros((0, synthetic.EMBED_DIM), np.float16)
        return whole(number, split) | {"text_targets.npy": encode_array(nothing)}

    monkeypatch.setattr(synthetic, "sample", captionless)
    data = synthetic.targets(Store(UPath(tmp_path / "captionless")), {"train": (6,), "val": (3,)})
    with pytest.raises(ConfigError, match=r"train\d+ has no text .* lens\.train\.text_weight=0"):
        trainer(data).run()
    made = trainer(data, text_weight=0)
    made.run()
    assert made.curves.train[-1].keys() == {"step", "loss", "loss_image", "lr"}
    with pytest.raises(ValueError, match="image_weight or text_weight"):
        TrainConfig(image_weight=0, text_weight=0)
