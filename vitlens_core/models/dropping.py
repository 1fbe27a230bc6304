"""Dropping: what a training step leaves out of the trunk: tokens, and branches of its blocks.

Every draw is a function of a row's seed, computed by a counter-based generator on the row's own
device. So a row loses the same on whichever worker it is, in both passes of a divided batch, when
its activations are recomputed, and after a resumed run.

Axes: B batch, S clips, T tokens, K kept tokens.
Source: stochastic depth (arXiv 1603.09382), rates rising linearly with depth; patch dropout
(FLIP, arXiv 2212.00794).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vitlens_core.errors import ConfigError
from vitlens_core.row_generator import GAMMA, mixed

# The modules at the ends of a block's two branches: open_clip's names, then timm's.
_BRANCHES = (("ls_1", "ls_2"), ("drop_path1", "drop_path2"))
_MARK = "drops_branches"
_TOKENS, _PATHS, _CLIPS = 1, 2, 3  # streams of the generator


@dataclass(frozen=True)
class Dropping:
    """What is left out of each row of a batch.

    Attributes:
        seeds: [B] int64, one of each row.
        tokens: share of the trunk's input tokens that is left out, in [0, 1).
        path: share of rows for which a branch of the last block is left out, in [0, 1).
    """

    seeds: Tensor
    tokens: float = 0.0
    path: float = 0.0

    def repeated(self, clips: int) -> Dropping:
        """Return that of every clip, [B·S]."""
        counts = torch.arange(clips, device=self.seeds.device)
        seeds = _mixed(self.seeds[:, None] + _CLIPS, counts)
        return replace(self, seeds=seeds.flatten())

    def kept_tokens(self, tokens: int) -> Tensor | None:
        """Return the indices [B, K] of the tokens of each row that stay, in order; None: all."""
        if not self.tokens:
            return None
        kept = max(1, round(tokens * (1 - self.tokens)))
        counts = torch.arange(tokens, device=self.seeds.device)
        scores = _uniform(self.seeds[:, None] + _TOKENS, counts)
        return scores.topk(kept, dim=1).indices.sort(dim=1).values

    def paths(self, blocks: int) -> Tensor | None:
        """Return the factors [blocks, 2, B] of the blocks' branches: 0, or 1 / the share kept."""
        if not self.path:
            return None
        rates = torch.linspace(0, self.path, blocks, device=self.seeds.device)
        counts = torch.arange(2 * blocks, device=self.seeds.device).view(blocks, 2, 1)
        drawn = _uniform(self.seeds + _PATHS, counts)
        keep = (1 - rates)[:, None, None]
        return (drawn < keep) / keep


def drop_branches(blocks: Sequence[nn.Module] | nn.ModuleList, factors: Tensor | None) -> None:
    """Let the blocks multiply the outputs of their branches by `factors` [blocks, 2, B]; None: 1.

    The factors stay until the next call, so that a block whose activations are recomputed in the
    backward pass has those of its forward pass.

    Raises:
        ConfigError: the blocks' branches end in no module that is known.
    """
    for number, block in enumerate(blocks):
        if factors is None and not hasattr(block, _MARK):
            continue
        for side, branch in enumerate(_branches(block)):
            # A plain attribute: a buffer would be part of states and digests.
            branch.__dict__["kept_path"] = None if factors is None else factors[number, side]
            if not hasattr(block, _MARK):
                branch.register_forward_hook(_scaled)
        setattr(block, _MARK, True)


def _branches(block: nn.Module) -> tuple[nn.Module, nn.Module]:
    for first, second in _BRANCHES:
        if hasattr(block, first) and hasattr(block, second):
            return getattr(block, first), getattr(block, second)
    raise ConfigError(
        f"a block of {type(block).__name__} has no branches that can be left out; set "
        "lens.train.drop_path=0"
    )


def _scaled(branch: nn.Module, _: object, output: Tensor) -> Tensor:
    """Multiply a branch's output [B, T, W] by the factor of each row: a forward hook."""
    factor = branch.__dict__["kept_path"]
    if factor is None:
        return output
    return output * factor.to(output.dtype)[:, None, None]


def _uniform(seeds: Tensor, counts: Tensor) -> Tensor:
    """Return numbers in [0, 1) of the broadcast seeds and counts."""
    return ((_mixed(seeds, counts) >> 40) & 0xFFFFFF).float() / (1 << 24)


def _mixed(seeds: Tensor, counts: Tensor) -> Tensor:
    """Mix seeds and counts into int64 by two rounds of SplitMix64's finaliser."""
    state = seeds
    for step in (counts, counts + 1):
        state = mixed(state + step * GAMMA)
    return state
