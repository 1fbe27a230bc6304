"""The groups of the optimizer, their rates and their decay, and the rate of every step."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipelines.lens.optimizer import (
    build_optimizer,
    learning_rate,
    rate_factor,
    set_rates,
    trained_parameters,
)
from pipelines.lens.settings import TrainConfig
from tests.tiny_models import TinyFoundation, tiny_tower


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


def test_the_staircase_is_that_of_torch() -> None:
    """OpenShape's schedule: StepLR over 10,000 steps, × .95."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=5e-4)
    theirs = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.95)
    config = TrainConfig(
        learning_rate=5e-4, warmup_steps=0, schedule="staircase", staircase_steps=7
    )
    for step in range(30):
        assert learning_rate(step, config) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    constant = config.model_copy(update={"schedule": "constant"})
    assert learning_rate(9_000, constant) == 5e-4


def test_only_matrices_decay_and_only_what_is_trained_moves() -> None:
    model = nn.ModuleDict(
        {"tokenizer": nn.Linear(3, 2), "lens": nn.LayerNorm(2), "trunk": nn.Linear(3, 2)}
    )
    model["trunk"].requires_grad_(False)
    trained = trained_parameters(model)
    decayed, plain = build_optimizer(trained, TrainConfig(weight_decay=0.3)).param_groups
    assert [id(p) for p in decayed["params"]] == [id(model["tokenizer"].weight)]
    assert decayed["weight_decay"] == 0.3
    norm = model["lens"]
    of_plain = {id(model["tokenizer"].bias), id(norm.weight), id(norm.bias)}
    assert {id(p) for p in plain["params"]} == of_plain
    assert plain["weight_decay"] == 0.0


def test_every_part_and_every_block_has_its_own_rate() -> None:
    tower = tiny_tower(TinyFoundation(), trunk={"unlock_first": 3, "unlock_cls": True})
    config = TrainConfig(
        learning_rate=2.0,
        warmup_steps=0,
        layer_decay=0.5,
        rate_factors={"tokenizer": 0.1, "trunk": 0.25, "scale": 0},
    )
    parameters = trained_parameters(tower)
    optimizer = build_optimizer(parameters, config, blocks=len(tower.trunk.blocks))
    set_rates(optimizer, learning_rate(0, config))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    found = {name: rates[id(p)] for name, p in parameters.items()}
    assert {r for n, r in found.items() if n.startswith("tokenizer.")} == {2.0 * 0.1}
    assert {r for n, r in found.items() if n.startswith("lens.")} == {2.0}
    # The last of three blocks has the decay once, and CLS lies one below the first.
    for block, factor in enumerate((0.125, 0.25, 0.5)):
        of_block = {r for n, r in found.items() if n.startswith(f"trunk.blocks.{block}.")}
        assert of_block == {2.0 * 0.25 * factor}
    assert found["trunk.cls_token"] == 2.0 * 0.25 * 0.0625
    assert found["log_scale"] == 0


def test_a_loss_s_own_parameter_has_the_rate_of_the_loss() -> None:
    config = TrainConfig(rate_factors={"loss": 3})
    assert rate_factor("loss.bias", config, 12) == 3
