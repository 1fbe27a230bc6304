"""The auxiliary loss of tokens: its value, its gradient, and that nothing changes without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from upath import UPath

from pipelines.execution.runtime import Runtime
from pipelines.foundation import job as foundation_job
from pipelines.foundation.features import composite_views
from pipelines.foundation.opening import open_foundation
from pipelines.foundation.step import FoundationConfig
from pipelines.lens.settings import TrainConfig
from pipelines.lens.token_loss import check_tokens, token_loss
from pipelines.lens.train_job import TrainJob
from pipelines.lens.training import Trainer
from pipelines.lens.workers import InProcess
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample, decode_array, encode_array
from pipelines.targets import job as targets_job
from pipelines.targets.encoder import evenly
from pipelines.targets.step import TargetsConfig
from tests import tiny_hf
from tests.pipelines import synthetic
from tests.tiny_models import TinyFoundation, tiny_tower
from vitlens_core.errors import ConfigError
from vitlens_core.model_files import LENS_FILE
from vitlens_core.models.dropping import Dropping

pytestmark = pytest.mark.slow

TRAIN: dict[str, Any] = {"steps": 3, "batch_size": 6, "warmup_steps": 1, "precision": "fp32"}
TRAIN |= {"validate_every": 3, "checkpoint_every": 3, "seed": 1}
SHAPE = (5, 192)  # of the tiny trunk: CLS and 2 × 2 patches


def with_tokens(number: int, split: str) -> Sample:
    rng = np.random.default_rng(number)
    tokens = rng.normal(size=(2, *SHAPE)).astype(np.float16)
    return synthetic.moving(number, split) | {"tokens_targets.npy": encode_array(tokens)}


@pytest.fixture(scope="module")
def foundation(tmp_path_factory: pytest.TempPathFactory, tiny_lit: str) -> Artifact:
    return synthetic.foundation(Store(UPath(tmp_path_factory.mktemp("foundation"))), tiny_lit)


def trained(
    folder: Path, foundation: Artifact, modality: str = "point_cloud", *, tokens: bool = True,
    **train: Any,
) -> Trainer:  # fmt: skip
    store = Store(UPath(folder / "store"))
    make = with_tokens if tokens else synthetic.moving
    targets = synthetic.targets(store, {"train": (7, 5), "val": (3,)}, make)
    config = TrainConfig.model_validate(TRAIN | train)
    tower = synthetic.trained_tower(modality)
    made = Trainer(
        TrainJob(tower, config, targets, foundation), InProcess(folder / "kept", lambda _: None)
    )
    made.run()
    return made


def lens_of(made: Trainer) -> dict[str, torch.Tensor]:
    with made.worker.latest() as folder:
        assert folder is not None
        return load_file(folder / LENS_FILE)


def test_the_value_is_one_minus_the_cosine_of_each_token_with_its_own() -> None:
    targets = torch.eye(4)[None, :3].repeat(2, 1, 1)  # two rows of three tokens
    tokens = 7 * targets.clone()
    assert token_loss(tokens, targets).item() == pytest.approx(0, abs=1e-6)
    tokens[0, 1] = torch.tensor([1.0, 0, 0, 0])  # orthogonal
    tokens[1, 2] = -targets[1, 2]  # opposite
    assert token_loss(tokens, targets).item() == pytest.approx((1 + 2) / 6)
    assert token_loss(tokens.flip(1), targets) > token_loss(tokens, targets), "places matter"


def test_its_gradient_is_that_of_finite_differences_and_of_its_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens, targets = (
        torch.randn(4, 3, 5, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    tokens.requires_grad_()
    assert torch.autograd.gradcheck(lambda given: token_loss(given, targets), (tokens,))
    (whole,) = torch.autograd.grad(token_loss(tokens, targets), tokens)
    halves = [token_loss(tokens[i : i + 2], targets[i : i + 2]) / 2 for i in (0, 2)]
    (parted,) = torch.autograd.grad(torch.stack(halves).sum(), tokens)
    torch.testing.assert_close(parted, whole)


def test_a_tower_gives_its_tokens_beside_the_same_embedding() -> None:
    tower = tiny_tower(TinyFoundation()).eval()
    signal = torch.rand(3, 32, 6)
    embedded, tokens = tower(signal, with_tokens=True)
    assert torch.equal(embedded, tower(signal))
    expected = tower.trunk.readout.final_norm(tower.states(signal)[:, 0])
    torch.testing.assert_close(tokens, expected)
    dropping = Dropping(torch.arange(3), 0.0, 0.9)
    left_out = tower(signal, dropping, with_tokens=True)[0]
    torch.testing.assert_close(left_out, tower(signal, dropping))


def test_off_nothing_changes_to_the_bit(foundation: Artifact, tmp_path: Path) -> None:
    """Neither the settings' identity, nor the weights, whatever is stored."""
    assert "token_weight" not in TrainConfig().model_dump()
    assert "token_views" not in TargetsConfig().model_dump()
    stored = lens_of(trained(tmp_path / "stored", foundation))
    bare = lens_of(trained(tmp_path / "bare", foundation, tokens=False, token_weight=0))
    assert stored.keys() == bare.keys()
    assert all(torch.equal(stored[name], bare[name]) for name in bare)


def test_on_it_is_trained_and_told(foundation: Artifact, tmp_path: Path) -> None:
    off = lens_of(trained(tmp_path / "off", foundation))
    made = trained(tmp_path / "on", foundation, token_weight=2.0, steps=30, learning_rate=3e-3)
    curve = [entry["loss_tokens"] for entry in made.curves.train]
    assert np.mean(curve[-5:]) < np.mean(curve[:5])
    for entry in made.curves.train:
        total = entry["loss_image"] + entry["loss_text"] + 2 * entry["loss_tokens"]
        assert entry["loss"] == pytest.approx(total, rel=1e-5)
    assert any(not torch.equal(off[name], tensor) for name, tensor in lens_of(made).items())


def test_in_parts_the_gradient_is_that_of_the_whole(foundation: Artifact, tmp_path: Path) -> None:
    """Of a series in motion, whose tokenizer has no batch norm."""
    settings: dict[str, Any] = {"token_weight": 3.0, "steps": 1, "gradient_clip": None}
    cases: dict[str, dict[str, Any]] = {
        "whole": {}, "parted": {"micro_batch": 4}, "without": {"token_weight": 0}
    }  # fmt: skip
    whole, parted, without = (
        trained(tmp_path / name, foundation, "imu", tokens=True, **(settings | more))
        for name, more in cases.items()
    )
    assert parted.curves.train[0] == pytest.approx(whole.curves.train[0], rel=1e-5)
    for name, parameter in whole.parameters.items():
        found, alone = parted.parameters[name].grad, without.parameters[name].grad
        assert parameter.grad is not None
        assert found is not None
        assert alone is not None
        # fp32: the order of sums differs.
        torch.testing.assert_close(found, parameter.grad, atol=1e-5, rtol=1e-3)
        if name.startswith("lens."):
            assert not torch.allclose(alone, parameter.grad), f"{name}: the tokens must matter"


@pytest.mark.parametrize(
    "wrong", [{"token_dropout": 0.5}, {"mix_up": 0.5}], ids=["token dropout", "mix-up"]
)
def test_what_leaves_no_token_at_its_place_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="token_weight compares every token"):
        TrainConfig.model_validate({"token_weight": 1} | wrong)


def test_tokens_that_cannot_be_compared_are_refused() -> None:
    base = TinyFoundation()
    with pytest.raises(ConfigError, match=r"gives 4 tokens .* set lens.lens.latents to 16"):
        check_tokens(tiny_tower(base), base.trunk)
    lens = {"latents": 16, "depth": 1, "latent_heads": 2, "latent_dim_head": 4}
    check_tokens(tiny_tower(base, lens=lens | {"cross_dim_head": 4}), base.trunk)


@pytest.mark.parametrize(("count", "wanted", "chosen"), [
    (12, 3, [0, 4, 8]), (2, 4, [0, 1]), (5, 1, [0]), (0, 3, []), (4, 0, []),
])  # fmt: skip
def test_views_are_chosen_evenly(count: int, wanted: int, chosen: list[int]) -> None:
    assert evenly(count, wanted) == chosen


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl"])
def test_the_stored_tokens_are_those_of_the_images_at_the_readout(
    kind: str, runtime: Runtime, shards_artifact: Artifact, tmp_path: Path
) -> None:
    config = FoundationConfig(spec=f"hf:{tiny_hf.write(kind, tmp_path / kind)}")
    base = foundation_job.run(runtime, config, {}, shards_artifact)
    made = targets_job.run(runtime, TargetsConfig(token_views=2), shards_artifact, base)
    opened = open_foundation(base)
    path = made.shards("train")[0]
    samples = {s["__key__"]: s for s in shards_artifact.read(path.name.removesuffix(".tar"))}
    for sample in made.read(path):
        views = composite_views(samples[sample["__key__"]], 255)
        chosen = views[evenly(len(views), 2)]
        tokens = opened.image_tokens(opened.preprocess(chosen))
        (states,) = opened.trunk.states([tokens])
        expected = opened.trunk.readout.final_norm(states)
        found = torch.from_numpy(decode_array(sample["tokens_targets.npy"]).copy()).float()
        torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-3)  # stored as fp16
    plain = targets_job.run(runtime, TargetsConfig(), shards_artifact, base)
    assert "tokens_targets.npy" not in next(iter(plain.read(plain.shards("train")[0])))
