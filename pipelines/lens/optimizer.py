"""optimizer: the trained parameters of a tower, their groups, optimizer and learning rate.

Every group has the factor of its rate beside it (`rate_factor`): the factor of its part of the
tower, and for the trunk's blocks that of the layer decay.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import get_args

import torch
from torch import nn

from pipelines.lens.settings import Part, TrainConfig

_BLOCK = re.compile(r"trunk\.blocks\.(\d+)\.")
_PARTS: dict[str, Part] = {"log_scale": "scale", **{part: part for part in get_args(Part)}}
_BEFORE_BLOCKS = ("trunk.cls_token", "trunk.positions", "trunk.norm_pre.")


def trained_parameters(tower: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are not frozen, by name."""
    return {name: p for name, p in tower.named_parameters() if p.requires_grad}


def build_optimizer(
    parameters: Mapping[str, nn.Parameter], config: TrainConfig, blocks: int = 0
) -> torch.optim.AdamW:
    """Build AdamW, without weight decay on parameters of one axis or none.

    These are what the papers leave out of it: norms, biases, the CLS token, the logit scale.

    Args:
        parameters: by name, as in the tower; those of the loss begin with `loss.`.
        blocks: the trunk's number of blocks, for the layer decay.
    """
    grouped: dict[tuple[float, int], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        # Scalars are a group of their own: they are not sharded, and one update cannot mix them
        # with sharded parameters.
        axes = min(parameter.ndim, 2)
        grouped.setdefault((rate_factor(name, config, blocks), axes), []).append(parameter)
    groups = [
        {
            "params": chosen,
            "weight_decay": config.weight_decay if axes == 2 else 0.0,
            "rate_factor": factor,
        }
        for (factor, axes), chosen in sorted(
            grouped.items(), key=lambda item: item[0], reverse=True
        )
    ]
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=config.betas, eps=config.epsilon
    )


def set_rates(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of a step's rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]


def rate_factor(name: str, config: TrainConfig, blocks: int) -> float:
    """Return the factor of a parameter's rate.

    Block i of n has `layer_decay` to the power of n − i, and what lies before the first block one
    more (BEiT, arXiv 2106.08254, and after it EVA and Uni3D).
    """
    factor = config.rate_factors.get(part_of(name), 1.0)
    if block := _BLOCK.match(name):
        return factor * config.layer_decay ** (blocks - int(block[1]))
    if name.startswith(_BEFORE_BLOCKS):
        return factor * config.layer_decay ** (blocks + 1)
    return factor


def part_of(name: str) -> Part:
    """Return the part that a parameter belongs to, by its name."""
    return _PARTS[name.partition(".")[0]]


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate of a step: linear warm-up, then as the schedule says.

    The cosine is zero at the last step. The staircase counts from step 0, with the warm-up in it.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "staircase":
        return config.learning_rate * config.staircase_factor ** (step // config.staircase_steps)
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2
