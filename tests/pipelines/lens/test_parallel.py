"""Several workers train the lens that one would: gradients, curves, checkpoints cut anew.

The tower is an IMU's: it has no batch norm, whose statistics are those of one worker's rows.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch._dynamo.utils import counters
from upath import UPath

from pipelines.execution.runtime import Resources
from pipelines.lens import parallel
from pipelines.lens.negatives.bank import Bank
from pipelines.lens.negatives.base import BatchRows
from pipelines.lens.not_finite import LossError
from pipelines.lens.settings import TrainConfig
from pipelines.lens.train_job import TrainJob
from pipelines.lens.training import Trainer
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from tests.pipelines import synthetic, together

TRAIN: dict[str, Any] = {"steps": 8, "batch_size": 6, "warmup_steps": 2, "learning_rate": 3e-3}
TRAIN |= {"validate_every": 4, "checkpoint_every": 4, "precision": "fp32"}
DROPPING: dict[str, Any] = {"token_dropout": 0.5, "drop_path": 0.4}
BANK: dict[str, Any] = {"negatives": {"kind": "bank", "size": 9}}
ALL: dict[str, Any] = {"loss": {"kind": "decoupled", "positives": "all"}}
ALL_SIGMOID: dict[str, Any] = {"loss": {"kind": "sigmoid", "positives": "all"}}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(UPath(tmp_path_factory.mktemp("parallel")))


@pytest.fixture(scope="module")
def targets(store: Store) -> Artifact:
    return synthetic.targets(store, {"train": (7, 5), "val": (5,)}, synthetic.uneven)


@pytest.fixture(scope="module")
def foundation(store: Store, tiny_lit: str) -> Artifact:
    return synthetic.foundation(store, tiny_lit)


@pytest.fixture
def job(targets: Artifact, foundation: Artifact):
    def make(resources: dict[str, Any] | None = None, **train: Any) -> TrainJob:
        tower = synthetic.trained_tower("imu", trunk={})
        config = TrainConfig.model_validate(TRAIN | train)
        return TrainJob(tower, config, targets, foundation, Resources(**(resources or {})))

    return make


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[together.Pair]:
    with together.pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


def _assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Within 1e-5: float32 sums in another order."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=0, msg=name)


# --- gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"label_positives": True},
        {"loss": "sigmoid"},
        DROPPING,
        ALL,
        ALL | {"label_positives": True},
        ALL_SIGMOID,
    ],
)
@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_two_workers_find_the_gradients_of_one_large_batch(
    job, pair: together.Pair, tmp_path: Path, sharding: str, train: dict[str, Any]
) -> None:
    whole = job(**train)
    expected = together.alone(together.differentiate, whole, tmp_path)
    assert max(g.abs().max() for g in expected.gradients.values()) > 1e-3
    assert ("loss.bias" in expected.gradients) == (whole.train.loss.kind == "sigmoid")
    parted = job({"sharding": sharding}, **train)
    for found in pair(together.differentiate, parted, tmp_path):
        assert found.losses == pytest.approx(expected.losses, abs=1e-5)
        _assert_close(found.gradients, expected.gradients)


@pytest.mark.parametrize(
    ("workers", "sharding", "division", "train"),
    [
        (1, "ddp", {"micro_batch": 4}, {}),
        (1, "ddp", {"micro_batch": 1}, DROPPING),
        (1, "ddp", {"accumulation": 3}, DROPPING),
        (1, "ddp", {"micro_batch": 4}, {"loss": "sigmoid"}),
        (1, "ddp", {"micro_batch": 4}, ALL),
        (2, "ddp", {"accumulation": 2}, {}),
        (2, "ddp", {"accumulation": 2}, ALL),
        (2, "fsdp", {"micro_batch": 2}, {"loss": "sigmoid"} | DROPPING),
    ],
)
def test_rows_taken_in_parts_leave_the_gradients_of_all(
    job,
    pair: together.Pair,
    tmp_path: Path,
    workers: int,
    sharding: str,
    division: dict[str, int],
    train: dict[str, Any],
) -> None:
    work = together.differentiate
    expected = together.alone(work, job(**BANK, **train), tmp_path)
    parts = job({"sharding": sharding, "train_workers": workers}, **BANK, **train, **division)
    for found in (
        [together.alone(work, parts, tmp_path)] if workers == 1 else pair(work, parts, tmp_path)
    ):
        assert found.losses == pytest.approx(expected.losses, abs=1e-5)
        _assert_close(found.gradients, expected.gradients)


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_in_bf16_two_workers_find_what_one_finds(
    job, pair: together.Pair, tmp_path: Path, sharding: str
) -> None:
    """Frozen weights are stored or sent in bf16; sums of residuals and gradients are fp32.

    Within 3 % of a tensor's largest entry: bf16 has 8 bits, and rows are summed in another order.
    """
    half = {"precision": "bf16"}
    expected = together.alone(together.differentiate, job(**half), tmp_path)
    exact = together.alone(together.differentiate, job(), tmp_path)
    assert expected.losses != exact.losses
    for found in pair(together.differentiate, job({"sharding": sharding}, **half), tmp_path):
        assert found.losses == pytest.approx(expected.losses, abs=2e-2)
        for name, tensor in expected.gradients.items():
            assert found.gradients[name].dtype == torch.float32
            largest = tensor.abs().max()
            assert (found.gradients[name] - tensor).abs().max() <= 0.03 * largest, name


def test_frozen_matrices_are_halved_and_what_is_computed_stays(job, tmp_path: Path) -> None:
    """What autocast would cast in every pass, so that not a bit differs."""
    trainer = Trainer(job(precision="bf16"), together.Together(tmp_path, 0, 1))
    halved = {n for n, p in trainer.tower.named_parameters() if p.dtype == torch.bfloat16}
    assert {n for n in halved if n.startswith("trunk.blocks")}
    assert all(p.dtype == torch.float32 for p in trainer.parameters.values())
    _, signals = next(trainer.batches())
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = trainer.tower(signals)
        expected = trainer.tower.float()(signals)
    assert torch.equal(found, expected)


def test_one_worker_gathers_its_own_rows() -> None:
    rows = torch.randn(3, 2)
    assert parallel.gather_rows(rows) is rows


def test_a_worker_that_is_left_alone_sees_no_more_rows_at_a_time(job, tmp_path: Path) -> None:
    expected = together.alone(together.differentiate, job(), tmp_path)
    trainer = Trainer(job({"train_workers": 2}), together.Together(tmp_path, 0, 1))
    seen: list[int] = []
    trainer.model.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    found = together.differentiate(trainer)
    assert seen == [3, 3, 3, 3]  # two halves of the batch, once without a graph and once with
    _assert_close(found.gradients, expected.gradients)


def test_a_gradient_that_is_not_finite_changes_no_weight(job, tmp_path: Path) -> None:
    trainer = Trainer(job(), together.Together(tmp_path, 0, 1))
    before = parallel.whole_state(trainer.tower)
    trainer.tower.log_scale.register_hook(lambda slope: slope * float("inf"))
    with pytest.raises(
        LossError, match=r"norm of the gradient is inf at step 0.*samples were train"
    ):
        trainer.run()
    for name, tensor in parallel.whole_state(trainer.tower).items():
        assert tensor.equal(before[name]), name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("train", [{}, DROPPING])
def test_recomputed_activations_leave_the_same_gradients(
    job, tmp_path: Path, train: dict[str, Any]
) -> None:
    expected = together.alone(together.differentiate, job(**train), tmp_path)
    again = job({"activation_checkpointing": True}, **train)
    found = together.alone(together.differentiate, again, tmp_path)
    _assert_close(found.gradients, expected.gradients)


@pytest.mark.nightly
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(
    ("workers", "more"),
    [
        (1, {}),
        (1, {"activation_checkpointing": True}),
        (2, {"sharding": "ddp"}),
        (2, {"sharding": "fsdp"}),
    ],
)
def test_compiled_blocks_leave_the_same_gradients(
    job, pair: together.Pair, tmp_path: Path, workers: int, more: dict[str, Any]
) -> None:
    work = together.differentiate
    expected = together.alone(work, job(**DROPPING), tmp_path)
    compiled = job({"compile": True, **more}, **DROPPING)
    if workers == 1:
        torch._dynamo.reset()
        counters.clear()
        all_found = [together.alone(work, compiled, tmp_path)]
        assert counters["stats"]["calls_captured"], "nothing was compiled"
    else:
        all_found = pair(work, compiled, tmp_path)
    for found in all_found:
        _assert_close(found.gradients, expected.gradients)


def test_tokenizer_and_blocks_are_compiled_once_each(
    job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[str] = []

    def compile_nothing(forward: Any) -> Any:
        compiled.append(type(forward.__self__).__name__)
        return forward

    monkeypatch.setattr(torch, "compile", compile_nothing)
    trainer = Trainer(job({"compile": True}), together.Together(tmp_path, 0, 1))
    blocks = [type(block).__name__ for block in parallel._blocks(trainer.tower)]
    assert compiled == [*blocks, type(trainer.tower.tokenizer).__name__]
    compiled.clear()
    Trainer(job(), together.Together(tmp_path, 0, 1))
    assert compiled == []


# --- checkpoints of any number of workers ------------------------------------------------------


@pytest.mark.parametrize(("sharding", "loss"), [("ddp", "info_nce"), ("fsdp", "sigmoid")])
def test_training_goes_on_with_other_numbers_of_workers(
    job, pair: together.Pair, tmp_path: Path, sharding: str, loss: str
) -> None:
    """2 → 1 → 2 workers: the curve of one that was never stopped, within 1e-4.

    What the loss trains itself (the bias of `sigmoid`) is kept like the tower's weights.
    Each checkpoint follows upon a validation, which leaves FSDP's shards as it finds them.
    """
    work = together.run
    settings = {"validate_every": 2, "checkpoint_every": 2, "ema_decay": 0.5, "loss": loss}
    straight = together.alone(work, job(**settings), tmp_path / "straight")
    parted, folder = job({"sharding": sharding}, **settings), tmp_path / "moved"
    pair(work, parted, folder, killed_after=4)
    together.alone(work, parted, folder, killed_after=6)
    for found in pair(work, parted, folder):
        assert found.losses == pytest.approx(straight.losses, abs=1e-4)
        assert found.validated[-1] == pytest.approx(straight.validated[-1], abs=1e-4)
        for name, tensor in straight.weights.items():
            torch.testing.assert_close(found.weights[name], tensor, atol=1e-4, rtol=0, msg=name)


# --- the moving average and negatives ------------------------------------------------------------


def test_the_average_of_the_weights_is_what_is_kept(job, tmp_path: Path) -> None:
    last = together.alone(together.run, job(ema_decay=0.9), tmp_path / "average")
    kept = load_file(tmp_path / "average" / "step-008" / "lens.safetensors")
    moved = {n for n in kept if not torch.equal(kept[n], last.weights[n])}
    assert {n for n in kept if n.endswith("weight")} <= moved
    plain = together.alone(together.run, job(), tmp_path / "plain")
    torch.testing.assert_close(plain.losses, last.losses)  # training itself does not see it


def test_a_bank_holds_other_samples_targets(targets: Artifact) -> None:
    bank = Bank(size=9).open(targets, ["image", "text"], seed=0, device=torch.device("cpu"))
    assert {kind: tuple(rows.shape) for kind, rows in bank.targets.items()} == {
        "image": (9, synthetic.EMBED_DIM),
        "text": (9, synthetic.EMBED_DIM),
    }
    targets_of_three = bank.targets["image"][:3, None].float()
    label_ids = bank.label_ids[:3]
    rows = BatchRows("image", targets_of_three, bank.sample_ids[:3], label_ids, False)
    assert bank.sample(rows).excluded[:, :3].equal(torch.eye(3, dtype=torch.bool))
    strangers = replace(rows, sample_ids=torch.tensor([1, 2, 3]))
    # Its own target under another name is no negative either.
    assert bank.sample(strangers).excluded.diagonal().all()
    # Of several, any one of them.
    several = replace(strangers, targets=targets_of_three[[2, 0, 1, 0, 1, 2]].view(3, 2, -1))
    expected = [[True, False, True], [True, True, False], [False, True, True]]
    assert bank.sample(several).excluded[:, :3].tolist() == expected
    labelled = bank.sample(replace(strangers, label_positives=True)).excluded
    assert labelled.sum(1).tolist() == [3, 3, 3]


def test_a_bank_makes_the_task_harder_and_batches_alone_do_not_see_it(job, tmp_path: Path) -> None:
    alone = together.alone(together.differentiate, job(), tmp_path)
    many = {"kind": "bank", "size": 100}
    helped = together.alone(together.differentiate, job(negatives=many), tmp_path)
    assert all(more > less for more, less in zip(helped.losses, alone.losses, strict=True))
