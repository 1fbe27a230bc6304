"""What two gloo processes compute of one batch, for comparison with one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vitlens_core.losses import gather_rows, info_nce

ROWS, WIDTH, EMBED_DIM = 6, 5, 4


class Scaled(nn.Module):
    """A linear encoder that owns a logit scale, which only the loss uses (as a tower does)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(WIDTH, EMBED_DIM)
        self.log_scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.linear(x), dim=-1)


def rows() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, targets and groups of the whole batch."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(ROWS, WIDTH, generator=generator)
    targets = F.normalize(torch.randn(ROWS, EMBED_DIM, generator=generator), dim=-1)
    return inputs, targets, torch.tensor([0, 1, 0, 2, 1, 3])


def gradients(encoder: nn.Module, model: Scaled, share: slice) -> dict[str, Any]:
    """Loss over all workers' rows and the gradients it leaves, given one worker's share."""
    inputs, targets, groups = rows()
    losses = []
    for known in (None, gather_rows(groups[share])):
        embedded, paired = gather_rows(encoder(inputs[share])), gather_rows(targets[share])
        losses.append(info_nce(embedded, paired, model.log_scale.exp(), known))
    torch.stack(losses).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters()}
    return {"losses": [loss.item() for loss in losses], **found}


def work(rank: int, folder: str) -> None:
    """One of two processes; writes what it found to `<folder>/<rank>.pt`."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(Path(folder, "meet")), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    model = Scaled()
    half = ROWS // 2
    share = slice(rank * half, (rank + 1) * half)
    torch.save(gradients(DistributedDataParallel(model), model, share), Path(folder, f"{rank}.pt"))
    dist.destroy_process_group()
