"""parallel: trains one tower on several workers, replicated or sharded, with checkpoints.

Promises  m workers can read a checkpoint of n: `state_files` divides tensors anew.
          The gradient on every worker is that of one large batch, replicated or sharded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.nn.functional import all_gather
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.checkpoint import checkpoint

from pipelines.execution.runtime import Resources
from pipelines.lens import state_files
from vitlens_core.models.lens import PerceiverLens
from vitlens_core.models.tower import Tower
from vitlens_core.precision import halve_frozen

Gathered = TypeVar("Gathered")
Used = TypeVar("Used")


def parallelize(tower: Tower, resources: Resources, *, bf16: bool = False) -> nn.Module:
    """Prepare the tower for this worker: compile, wrap or shard it, in place where possible.

    Args:
        bf16: whether the tower runs under an autocast to bf16.
    """
    # FSDP sends parameters as they are stored, so that frozen ones travel in half the bytes. Its
    # own policy would also send the norms in bf16, and those of the CPU refuse such weights.
    if bf16:
        halve_frozen(tower)
    for block in _blocks(tower):
        if resources.compile:  # blocks are alike, so one compilation serves all of them
            block.forward = torch.compile(block.forward)
        # Around the compiled forward: compiling around a checkpoint silently compiled nothing.
        if resources.activation_checkpointing:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    if resources.compile:  # its batch norm, ReLU and maximum are one pass over memory then
        tower.tokenizer.forward = torch.compile(tower.tokenizer.forward)
    is_sharded = resources.sharding == "fsdp" and dist.is_initialized()
    if _world_size() == 1 and not is_sharded:
        return tower
    device = tower.log_scale.device
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(tower)
    if is_sharded:
        mesh = init_device_mesh(device.type, (_world_size(),))
        for block in _blocks(tower):
            fully_shard(block, mesh=mesh)
        # A scalar cannot be sharded; every worker computes its whole gradient anyway. By default
        # the root stays whole after a forward pass; after validation, which has no backward pass,
        # a checkpoint would then meet parameters that optimizer and average do not know.
        fully_shard(tower, mesh=mesh, ignored_params={tower.log_scale}, reshard_after_forward=True)
        return tower
    return DistributedDataParallel(tower, device_ids=[device] if device.type == "cuda" else None)


def sync_gradients(model: nn.Module, *, now: bool) -> None:
    """Set whether the next backward pass exchanges gradients; of several, only the last must."""
    if isinstance(model, DistributedDataParallel):
        model.require_backward_grad_sync = now
    elif isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(now)


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float | None) -> float:
    """Scale all gradients, shards included, to a total norm of `largest` at most; None: any.

    Returns the norm before.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    shards = [g.to_local() for g in gradients if isinstance(g, DTensor)]
    whole = [g for g in gradients if not isinstance(g, DTensor)]
    # All tensors in one call, and one exchange: one by one, hundreds of small kernels would queue.
    square = get_total_norm(shards, foreach=True).square()
    if shards:
        dist.all_reduce(square)
    norm = (square + get_total_norm(whole, foreach=True).square()).sqrt()
    if largest is not None:
        factor = (largest / (norm + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(shards + whole, factor)
    return norm.item()


def gather_rows(tensor: Tensor) -> Tensor:
    """Gather the rows of all workers in rank order [workers·B, …], differentiably.

    Every worker then computes the loss of its own rows against all. The backward pass of the gather
    sums over workers, and DDP's averaging divides by their number; so gradients equal those of one
    large batch. A single worker gets its tensor back.
    """
    if _world_size() == 1:
        return tensor
    return torch.cat(all_gather(tensor.contiguous()), dim=0)


def shared(parameter: Tensor) -> Tensor:
    """Return a parameter that all workers hold whole, whose gradient is the mean over workers.

    Every worker computes the loss of its own rows, hence a part of this gradient only, and FSDP
    leaves such parameters alone.
    """
    return parameter if _world_size() == 1 else _Shared.apply(parameter)


def mean_over_workers(values: Tensor) -> Tensor:
    """Return the mean of every worker's values, without a gradient; all workers must call it."""
    values = values.detach().clone()
    if _world_size() > 1:
        dist.all_reduce(values)
        values /= _world_size()
    return values


class _Shared(torch.autograd.Function):
    """The identity, whose backward pass averages over workers."""

    @staticmethod
    def forward(ctx: object, parameter: Tensor) -> Tensor:
        return parameter.view_as(parameter)

    @staticmethod
    def backward(ctx: object, *slopes: Tensor) -> Tensor:
        return mean_over_workers(slopes[0])


def gather_objects(own: list[Gathered]) -> list[Gathered]:
    """Concatenate the lists of all workers; all workers must call it."""
    if _world_size() == 1:
        return own
    by_rank: list[list[Gathered]] = [[] for _ in range(_world_size())]
    dist.all_gather_object(by_rank, own)
    return [item for items in by_rank for item in items]


def whole_state(tower: Tower) -> dict[str, Tensor]:
    """Copy the trained tensors, whole on every worker; all workers must call it."""
    return {name: _whole(tensor).clone() for name, tensor in tower.trained_state().items()}


def snapshot(state: dict[str, object]) -> state_files.Snapshot:
    """Copy this worker's part of a checkpoint; all workers must call it."""
    rank = dist.get_rank() if dist.is_initialized() else 0
    return state_files.snapshot(state, rank, _world_size())


def load_state(folder: Path, state: dict[str, object]) -> None:
    """Load a checkpoint of any number of workers into the tensors of `state`, in place."""
    state_files.load(folder, state)


def moments(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.AdamW
) -> dict[str, dict[str, Tensor]]:
    """Return the optimizer's state by name; torch's own keys are positions, which may change."""
    for parameter in parameters.values():
        if parameter not in optimizer.state:  # AdamW creates them at its first step only
            optimizer.state[parameter] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(parameter.detach()),
                "exp_avg_sq": torch.zeros_like(parameter.detach()),
            }
    return {name: optimizer.state[parameter] for name, parameter in parameters.items()}


def _blocks(tower: Tower) -> Iterator[nn.Module]:
    """Yield the blocks that are sharded, compiled or recomputed one at a time, without repeats."""
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
    """An exponential moving average of a tower's trained weights, whole or sharded like them.

    torch's AveragedModel is no choice: it copies the whole module with everything that is frozen,
    and FSDP2 refuses to be copied.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self.parameters = parameters
        self.weights = {name: p.detach().clone() for name, p in parameters.items()}
        self._average = get_ema_multi_avg_fn(decay)

    def update(self) -> None:
        now = [parameter.detach() for parameter in self.parameters.values()]
        self._average([*self.weights.values()], now, 0)

    @torch.no_grad()
    def with_averaged_weights(self, use: Callable[[], Used]) -> Used:
        """Call `use` while the tower has the averaged weights, and return its result."""
        trained = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._set(self.weights)
        try:
            return use()
        finally:
            self._set(trained)

    def _set(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])
