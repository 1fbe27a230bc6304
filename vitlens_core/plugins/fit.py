"""Whether a lens was trained into the very vision tower that a foreign model has."""

from __future__ import annotations

import torch
from torch import Tensor

from vitlens_core.errors import CheckpointError
from vitlens_core.foundation import load_foundation
from vitlens_core.models.trunk import Trunk


def check_trunk(lens: Trunk, own: Trunk, what: str, whose: str) -> None:
    """Compare the frozen blocks of a lens's trunk with the last blocks of a model's own.

    Args:
        what: the lens, and `whose` the model, as a message names them.

    Raises:
        CheckpointError: widths or weights differ, or no frozen block is left to compare.
    """
    count = len(lens.blocks)
    if lens.width != own.width or count > len(own.blocks):
        found = f"{count} blocks of width {lens.width}"
        expected = f"{len(own.blocks)} of width {own.width}"
        raise _other(what, whose, f"the lens's trunk has {found}, the model's {expected}")
    theirs = dict(_tensors(own, len(own.blocks) - count))
    mine = dict(_tensors(lens, 0))
    if mine.keys() != theirs.keys():
        raise _other(what, whose, "their weights have other names")
    trained = {n for n, p in lens.blocks.named_parameters() if p.requires_grad}
    compared = [name for name in mine if name not in trained]
    if not compared:
        raise _other(what, whose, "all of its blocks were trained")
    for name in compared:
        if not _same(mine[name], theirs[name]):
            raise _other(what, whose, f"{name} differs")


def check_source(lens: Trunk, source: str, what: str) -> None:
    """Compare a lens's trunk with the vision tower of a model of which nothing else is loaded.

    Raises:
        ConfigError: the model cannot be had.
        CheckpointError: as `check_trunk`.
    """
    source = source.removeprefix("hf:")
    check_trunk(lens, load_foundation(f"hf:{source}#vision").trunk, what, source)


def _tensors(trunk: Trunk, first: int) -> dict[str, Tensor]:
    """Return the tensors of the blocks from `first` on, numbered from 0."""
    blocks = torch.nn.ModuleList(list(trunk.blocks)[first:])
    return blocks.state_dict()


def _same(a: Tensor, b: Tensor) -> bool:
    # One may be published, or opened, in half precision: compared as the coarser of the two.
    kind = min((a.dtype, b.dtype), key=lambda dtype: torch.finfo(dtype).bits)
    return a.shape == b.shape and torch.equal(a.cpu().to(kind), b.cpu().to(kind))


def _other(what: str, whose: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{what} was trained into another vision tower than that of {whose} ({reason}): train it "
        f"with the foundation hf:{whose}"
    )
