"""How many workers train one tower: replicas or shards of it, and checkpoints of either.

Promises  a checkpoint of n workers is read by m: torch.distributed.checkpoint cuts tensors anew.
          The gradient on every worker is that of one large batch, replicated or sharded alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.nn.functional import all_gather
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from pipelines.execution.runtime import Resources
from vitlens_core.models.lens import PerceiverLens
from vitlens_core.models.tower import Tower


def parallelize(tower: Tower, resources: Resources) -> nn.Module:
    """The tower as this worker runs it, in place where it can be: wrapped, sharded, compiled."""
    for block in _blocks(tower):
        if resources.compile:  # blocks are alike: one compilation serves all of them
            block.forward = torch.compile(block.forward)
        if resources.activation_checkpointing:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if _world_size() == 1:
        return tower
    device = tower.log_scale.device
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(tower)
    if resources.sharding == "fsdp":
        mesh = init_device_mesh(device.type, (_world_size(),))
        for block in _blocks(tower):
            fully_shard(block, mesh=mesh)
        # A scalar cannot be sharded; every worker computes its whole gradient as it is. The root
        # would stay whole after a forward pass without a backward, as validation's is, and what
        # is whole has no moments and no average.
        fully_shard(tower, mesh=mesh, ignored_params={tower.log_scale}, reshard_after_forward=True)
        return tower
    return DistributedDataParallel(tower, device_ids=[device] if device.type == "cuda" else None)


def sync_gradients(model: nn.Module, *, now: bool) -> None:
    """Whether the next backward exchanges gradients: of several, only the last one must."""
    if isinstance(model, DistributedDataParallel):
        model.require_backward_grad_sync = now
    elif isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(now)


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> float:
    """Scale gradients down to a norm of `largest` over all of them, shards included.

    Returns the norm that they had.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = [_whole(g.norm().square()) for g in gradients]
    norm = torch.stack(squares).sum().sqrt()
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor)
    return norm.item()


def gather_rows(tensor: Tensor) -> Tensor:
    """Rows of all workers in rank order [workers·B, …], differentiable; itself on one worker.

    Every worker then computes the same global loss; the backward of the gather sums over
    workers what DDP's averaging divides again, so gradients equal those of one large batch.
    """
    if _world_size() == 1:
        return tensor
    return torch.cat(all_gather(tensor.contiguous()), dim=0)


def gather_objects(own: list[Any]) -> list[Any]:
    """The lists of all workers as one; all workers must call it."""
    if _world_size() == 1:
        return own
    found: list[list[Any]] = [[] for _ in range(_world_size())]
    dist.all_gather_object(found, own)
    return [item for items in found for item in items]


def whole_state(tower: Tower) -> dict[str, Tensor]:
    """A copy of the trained tensors, whole on every worker; all workers must call it."""
    return {name: _whole(tensor).clone() for name, tensor in tower.trained_state().items()}


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """This worker's part of a checkpoint; all workers must call it, each with its own folder."""
    dcp.save(state, checkpoint_id=folder, no_dist=_world_size() == 1)


def load_state(folder: Path, state: dict[str, Any]) -> None:
    """Take over a checkpoint of any number of workers, tensor by tensor in place."""
    dcp.load(state, checkpoint_id=folder, no_dist=_world_size() == 1)


def moments(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.AdamW
) -> dict[str, dict[str, Tensor]]:
    """The optimizer's state by name: the position of a parameter means nothing elsewhere."""
    for parameter in parameters.values():
        if parameter not in optimizer.state:  # before the first step
            optimizer.state[parameter] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(parameter.detach()),
                "exp_avg_sq": torch.zeros_like(parameter.detach()),
            }
    return {name: optimizer.state[parameter] for name, parameter in parameters.items()}


def _blocks(tower: Tower) -> Iterator[nn.Module]:
    """The parts that are gathered, compiled or computed again one at a time; each once."""
    blocks = list(tower.trunk.blocks)
    if isinstance(tower.lens, PerceiverLens):
        blocks += [part for layer in tower.lens.layers for part in layer.children()]
    seen: set[int] = set()
    for block in blocks:
        if id(block) not in seen and any(True for _ in block.parameters()):
            yield block
        seen.add(id(block))


def _whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


class WeightAverage:
    """An exponential moving average of a tower's trained weights, whole or sharded as they are.

    torch's AveragedModel copies the module, which FSDP2 refuses, with all that is frozen.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self.parameters = parameters
        self.weights = {name: p.detach().clone() for name, p in parameters.items()}
        self._average = get_ema_multi_avg_fn(decay)

    def update(self) -> None:
        now = [parameter.detach() for parameter in self.parameters.values()]
        self._average([*self.weights.values()], now, 0)

    @torch.no_grad()
    def with_averaged_weights(self, use: Callable[[], Any]) -> Any:
        """What `use` returns while the tower has the averaged weights."""
        own = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._set(self.weights)
        try:
            return use()
        finally:
            self._set(own)

    def _set(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])
