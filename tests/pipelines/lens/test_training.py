"""The training loop: what it records, and exact resuming.

The loop runs in this process, as with `resources.train_workers: 0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from upath import UPath

from pipelines.execution.logger import Point
from pipelines.foundation.opening import open_foundation
from pipelines.lens.checkpoints import Wait, Write
from pipelines.lens.not_finite import LossError
from pipelines.lens.optimizer import learning_rate
from pipelines.lens.settings import TrainConfig
from pipelines.lens.train_job import TrainJob
from pipelines.lens.training import Trainer
from pipelines.lens.workers import InProcess, remove
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import encode_array
from tests.pipelines import synthetic
from tests.tiny_models import tower_settings
from vitlens_core.checkpoint import load_lens
from vitlens_core.errors import ConfigError
from vitlens_core.losses.base import MAX_LOG_SCALE, Loss, Pairs
from vitlens_core.model_files import LENS_FILE
from vitlens_core.models.tower import Tower

TRAIN: dict[str, Any] = {"steps": 6, "batch_size": 6, "warmup_steps": 1, "learning_rate": 3e-3}
TRAIN |= {"validate_every": 2, "checkpoint_every": 3, "precision": "fp32"}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = Store(UPath(tmp_path_factory.mktemp("targets")))
    return synthetic.targets(store, {"train": (7, 5), "val": (3,)})


@pytest.fixture(scope="module")
def foundation(tmp_path_factory: pytest.TempPathFactory, tiny_lit: str) -> Artifact:
    return synthetic.foundation(Store(UPath(tmp_path_factory.mktemp("foundation"))), tiny_lit)


@dataclass(frozen=True)
class Watched(InProcess):
    """The worker in this process; says which steps it kept and can be told to kill the run."""

    kept: list[int] = field(default_factory=list)
    killed_after: int | None = None

    def keep(self, step: int, write: Write) -> Wait:
        stored = super().keep(step, write)
        self.kept.append(step)
        if step == self.killed_after:
            stored()
            raise KeyboardInterrupt
        return stored


Made = Callable[..., Trainer]


@pytest.fixture
def told() -> list[Point]:
    """What trainings reported."""
    return []


@pytest.fixture
def trainer(tmp_path: Path, told: list[Point], targets: Artifact, foundation: Artifact) -> Made:
    def make(data: Artifact = targets, killed_after: int | None = None, **train: Any) -> Trainer:
        tower = tower_settings(trunk={"skip_first": 10})
        config = TrainConfig.model_validate(TRAIN | train)
        worker = Watched(
            tmp_path / "checkpoints",
            told.extend,
            killed_after=killed_after,
        )
        return Trainer(TrainJob(tower, config, data, foundation), worker)

    return make


# --- the loop -------------------------------------------------------------------------------


def test_the_loop_records_validates_and_checkpoints_as_told(
    trainer: Made, tmp_path: Path, foundation: Artifact
) -> None:
    made = trainer(steps=7)
    made.run()
    assert [entry["step"] for entry in made.curves.train] == [1, 2, 3, 4, 5, 6, 7]
    assert [entry["step"] for entry in made.curves.val] == [2, 4, 6, 7]
    assert isinstance(made.worker, Watched)
    assert made.worker.kept == [3, 6, 7]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000007"]
    rates = [learning_rate(step, made.config) for step in range(7)]
    assert [entry["lr"] for entry in made.curves.train] == rates
    for entry in made.curves.train:
        assert entry["loss"] == pytest.approx(entry["loss_image"] + entry["loss_text"], rel=1e-6)
    clouds = torch.rand(2, 32, 6)
    torch.testing.assert_close(stored(made, foundation)(clouds), made.tower.eval()(clouds))


def test_figures_are_told_as_they_come_and_again_after_a_kill(
    trainer: Made, told: list[Point]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(killed_after=3).run()
    assert [(p.step, "val.r1" in p.figures) for p in told] == [
        *((1, False), (2, False), (2, True), (3, False))
    ]
    before = {(point.step, *point.figures.items()) for point in told}
    told.clear()
    resumed = trainer()
    resumed.run()
    assert before < {(point.step, *point.figures.items()) for point in told}
    losses = [p.figures["train.loss"] for p in told if "train.loss" in p.figures]
    assert losses == [entry["loss"] for entry in resumed.curves.train]


def stored(made: Trainer, foundation: Artifact) -> Tower:
    """The lens of a run's last checkpoint."""
    with made.worker.latest() as folder:
        assert folder is not None
        return load_lens(folder / LENS_FILE, open_foundation(foundation))[0]


def test_the_lens_learns_what_there_is_to_learn(trainer: Made) -> None:
    """Balls, poles and discs, validated on one of each."""
    made = trainer(steps=40, warmup_steps=5, label_positives=True)
    made.run()
    losses = [entry["loss"] for entry in made.curves.train]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    assert made.curves.val[-1]["r1"] == 1.0


def test_a_killed_run_ends_with_the_weights_of_one_undisturbed(
    trainer: Made, tmp_path: Path
) -> None:
    """To the bit: data order, augmentation and optimizer state are all restored."""
    with pytest.raises(KeyboardInterrupt):
        trainer(steps=8, killed_after=3).run()
    half_written = tmp_path / "checkpoints" / "step-00000006"
    half_written.mkdir()
    (half_written / LENS_FILE).write_bytes(b"the process died here")
    torch.manual_seed(99)
    resumed = trainer(steps=8)
    resumed.run()
    assert isinstance(resumed.worker, Watched)
    assert resumed.worker.kept == [6, 8]
    remove(tmp_path / "checkpoints")
    straight = trainer(steps=8)
    straight.run()
    assert resumed.curves == straight.curves
    for name, tensor in straight.tower.trained_state().items():
        assert torch.equal(resumed.tower.trained_state()[name], tensor), name


def test_training_leaves_the_trunk_and_the_scale_where_they_belong(
    trainer: Made,
) -> None:
    made = trainer(steps=3, learning_rate=1.0)
    before = {name: p.clone() for name, p in made.tower.trunk.named_parameters()}
    made.run()
    assert all(torch.equal(p, before[name]) for name, p in made.tower.trunk.named_parameters())
    assert made.tower.log_scale.item() <= MAX_LOG_SCALE + 1e-6
    with made.worker.latest() as folder:
        assert folder is not None
        assert not [n for n in load_file(folder / LENS_FILE) if n.startswith("trunk.")]


def test_a_loss_that_is_no_number_ends_the_run_naming_the_step_and_the_sample(
    trainer: Made, tmp_path: Path
) -> None:
    store = Store(UPath(tmp_path / "broken"))
    data = synthetic.targets(store, {"train": (6,)}, synthetic.one_broken)
    with pytest.raises(
        LossError, match=r"nan at step 0: the stored .* of train004 are not finite$"
    ):
        trainer(data).run()


def test_a_loss_that_diverged_names_the_embeddings(trainer: Made) -> None:
    made = trainer()
    next(p for p in made.tower.lens.parameters() if p.requires_grad).data.fill_(math.inf)
    with pytest.raises(
        LossError, match=r"at step 0: the embeddings of .* are not finite.*learning_rate"
    ):
        made.run()


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"batch_size": 1},
        {"learning_rate": 0},
        {"step": 1},
        {"loss": "info-nce"},
        {"loss": {"kind": "sigmoid", "initial_scale": 0}},
        {"negatives": {"kind": "bank", "size": 0}},
        {"schedule": "linear"},
        {"rate_factors": {"text": 1}},
        {"layer_decay": 0},
        {"token_dropout": 1},
        {"accumulation": 2, "micro_batch": 3},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainConfig.model_validate(wrong)


def test_a_fixed_temperature_stays_and_is_stored(trainer: Made, foundation: Artifact) -> None:
    made = trainer(steps=3, temperature=0.2, learning_rate=1.0)
    made.run()
    assert 1 / stored(made, foundation).log_scale.exp().item() == pytest.approx(0.2)


def test_a_loss_trains_what_is_its_own_and_starts_the_scale(trainer: Made) -> None:
    """SigLIP's bias; and the lens holds nothing of it."""
    made = trainer(steps=3, loss={"kind": "sigmoid", "initial_bias": -3, "initial_scale": 5})
    assert made.tower.log_scale.item() == pytest.approx(math.log(5))
    made.run()
    bias = made.objective.parameters["bias"].item()
    assert bias != -3
    with made.worker.latest() as folder:
        assert folder is not None
        assert not [name for name in load_file(folder / LENS_FILE) if name == "bias"]
    resumed = trainer(steps=4, loss={"kind": "sigmoid", "initial_bias": -3, "initial_scale": 5})
    resumed._resume()
    assert resumed.objective.parameters["bias"].item() == bias
    fixed = trainer(loss="sigmoid", temperature=0.2)
    assert fixed.tower.log_scale.exp().item() == pytest.approx(5)


class Hinge(Loss):
    """A loss of cosines alone."""

    takes_scale = False
    kind: str = "hinge"

    def __call__(self, pairs: Pairs, log_scale: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        others = (pairs.embeddings @ pairs.targets.T).masked_fill(pairs.positives(), -1)
        own = (pairs.embeddings * pairs.targets).sum(1)
        return (others.amax(1) - own + 0.5).relu().mean()


def test_a_loss_without_a_scale_leaves_it_and_its_gradient_is_there(trainer: Made) -> None:
    """Workers that train together wait for a gradient of every parameter."""
    made = trainer(steps=1, loss=Hinge())
    before = made.tower.log_scale.item()
    made.run()
    gradient = made.tower.log_scale.grad
    assert gradient is not None
    assert gradient.item() == 0
    assert made.tower.log_scale.item() == before


def test_without_augmentation_signals_are_seen_as_in_evaluation(
    trainer: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    varied, plain = trainer(steps=1), trainer(steps=1, augmentation=False)

    def refuse(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(plain.tokenizer), "augment", refuse)
    with pytest.raises(ZeroDivisionError):
        varied.run()
    plain.run()


def test_training_against_images_alone_needs_no_captions(
    trainer: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    with pytest.raises(ConfigError, match="image_weight or text_weight"):
        TrainConfig(image_weight=0, text_weight=0).weights(())


def test_any_sample_of_the_same_text_is_a_hit(
    trainer: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recordings whose only caption is their class."""
    whole = synthetic.sample

    def of_a_class(number: int, split: str) -> dict[str, Any]:
        text = np.eye(synthetic.EMBED_DIM, dtype=np.float16)[[number % len(synthetic.LABELS)]]
        return whole(number, split) | {"text_targets.npy": encode_array(text)}

    monkeypatch.setattr(synthetic, "sample", of_a_class)
    data = synthetic.targets(Store(UPath(tmp_path / "classes")), {"train": (6, 6), "val": (6,)})
    made = trainer(data, steps=40, warmup_steps=5, label_positives=True, image_weight=0)
    made.run()
    assert made.curves.val[-1]["r1"] == 1.0
