"""optimizer: the trained parameters of a tower, their optimizer and learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from pipelines.lens.settings import TrainConfig


def trained_parameters(tower: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are not frozen, by name."""
    return {name: p for name, p in tower.named_parameters() if p.requires_grad}


def build_optimizer(parameters: Iterable[nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    """Build AdamW, without weight decay on parameters of one axis or none."""
    parameters = list(parameters)
    # Scalars are a group of their own: they are not sharded, and one update cannot mix them with
    # sharded parameters.
    kinds = (lambda n: n > 1, lambda n: n == 1, lambda n: n == 0)
    groups = [
        {"params": chosen, "weight_decay": decay}
        for has, decay in zip(kinds, (config.weight_decay, 0.0, 0.0), strict=True)
        if (chosen := [p for p in parameters if has(p.ndim)])
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=1e-6)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Return the rate of a step: linear warm-up, then a cosine to zero at the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2
