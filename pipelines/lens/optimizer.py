"""What is trained of a tower, and by which optimizer."""

from __future__ import annotations

import math

import torch
from torch import nn

from pipelines.lens.settings import TrainConfig


def trainable(tower: nn.Module) -> list[nn.Parameter]:
    return [p for p in tower.parameters() if p.requires_grad]


def build_optimizer(tower: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; no weight decay on parameters of one axis or none.

    Scalars are a group of their own: shards of larger ones cannot be updated together with them.
    """
    parameters = trainable(tower)
    kinds = (lambda n: n > 1, lambda n: n == 1, lambda n: n == 0)
    groups = [
        {"params": chosen, "weight_decay": decay}
        for has, decay in zip(kinds, (config.weight_decay, 0.0, 0.0), strict=True)
        if (chosen := [p for p in parameters if has(p.ndim)])
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=1e-6)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then cosine to zero at the last step."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * (1 + math.cos(math.pi * done)) / 2
