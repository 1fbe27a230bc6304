"""state_files: the tensors of a training's checkpoint, in safetensors files, one per worker.

Writes    `state-<rank>-of-<workers>.safetensors`: a worker's tensors by name, and for each where it
          lies in the whole tensor. What all workers hold is written by the first alone.
Reads     such files of any number of workers; nothing in them is code.
Promises  a tensor that is missing, or whose parts do not cover it, is refused by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from vitlens_core.errors import CheckpointError

_PATTERN = "state-*-of-*.safetensors"
_PLACED = "placed"  # key of the file's metadata
_SEPARATOR = "/"


@dataclass(frozen=True)
class _Part:
    """The rows, columns, … of a whole tensor that one worker holds."""

    local: Tensor
    shape: tuple[int, ...]
    offset: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        return tuple(self.local.shape) == self.shape


@dataclass(frozen=True)
class Snapshot:
    """A copy of one worker's tensors by name, and where each lies in the whole tensor."""

    file: str
    tensors: Mapping[str, Tensor]
    placed: Mapping[str, Mapping[str, tuple[int, ...]]]

    def write(self, folder: Path) -> None:
        """Write the file."""
        save_file(dict(self.tensors), folder / self.file, {_PLACED: json.dumps(self.placed)})


def snapshot(state: Mapping[str, object], rank: int, world_size: int) -> Snapshot:
    """Copy this worker's tensors of a nested `state` to the CPU; every worker must call it."""
    parts = {name: _part(tensor) for name, tensor in _flat(state)}
    own = {n: p for n, p in parts.items() if p.local.numel() and (rank == 0 or not p.is_whole)}
    return Snapshot(
        f"state-{rank:05d}-of-{world_size:05d}.safetensors",
        {n: p.local.detach().cpu().contiguous().clone() for n, p in own.items()},
        {n: {"shape": p.shape, "offset": p.offset} for n, p in own.items()},
    )


def load(folder: Path, state: Mapping[str, object]) -> None:
    """Read a checkpoint of any number of workers into the tensors of a nested `state`, in place.

    Raises:
        CheckpointError: a file is damaged, or the tensors are others than those of `state`.
    """
    wanted = {name: _part(tensor) for name, tensor in _flat(state)}
    filled = dict.fromkeys(wanted, 0)
    try:
        for path in sorted(folder.glob(_PATTERN)):
            _read(path, wanted, filled)
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"the training's checkpoint in {folder} is damaged: {error}; delete it to go on from "
            "the one before"
        ) from error
    lacking = [name for name, part in wanted.items() if filled[name] != part.local.numel()]
    if lacking:
        raise CheckpointError(
            f"the training's checkpoint in {folder} lacks {len(lacking)} of {len(wanted)} tensors, "
            f"such as {lacking[0]}; delete it to go on from the one before"
        )


@torch.no_grad()
def _read(path: Path, wanted: Mapping[str, _Part], filled: dict[str, int]) -> None:
    """Copy what a file holds of the wanted parts, and count the numbers copied."""
    with safe_open(path, framework="pt") as file:
        placed = json.loads((file.metadata() or {})[_PLACED])
        for name in file.keys():  # noqa: SIM118  (safe_open is no mapping)
            if name not in wanted:
                raise ValueError(f"{path.name} holds {name}, which this training does not have")
            part, stored = wanted[name], file.get_slice(name)
            shape, offset = placed[name]["shape"], placed[name]["offset"]
            if tuple(shape) != part.shape:
                raise ValueError(f"{name} has shape {shape}, expected {list(part.shape)}")
            if not part.shape:
                part.local.copy_(file.get_tensor(name))
                filled[name] += 1
            elif box := _overlap(part, offset, stored.get_shape()):
                here, there = box
                part.local[here].copy_(stored[there])
                filled[name] += math.prod(s.stop - s.start for s in here)


def _overlap(
    part: _Part, offset: list[int], sizes: list[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """Return the region that two parts share, in the coordinates of each; None if there is none."""
    here, there = [], []
    for own, own_size, other, other_size in zip(
        part.offset, part.local.shape, offset, sizes, strict=True
    ):
        first, end = max(own, other), min(own + own_size, other + other_size)
        if first >= end:
            return None
        here.append(slice(first - own, end - own))
        there.append(slice(first - other, end - other))
    return tuple(here), tuple(there)


def _part(tensor: Tensor) -> _Part:
    if not isinstance(tensor, DTensor):
        return _Part(tensor, tuple(tensor.shape), (0,) * tensor.ndim)
    (placement,) = tensor.placements  # workers are a list, no grid
    offset = [0] * tensor.ndim
    if isinstance(placement, Shard):
        size, workers = tensor.shape[placement.dim], tensor.device_mesh.size()
        rows = -(-size // workers)  # as torch.chunk divides
        offset[placement.dim] = min(tensor.device_mesh.get_local_rank() * rows, size)
    return _Part(tensor.to_local(), tuple(tensor.shape), tuple(offset))


def _flat(state: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in state.items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        else:
            assert isinstance(value, Mapping), f"{prefix}{name} is no tensor"
            yield from _flat(value, f"{prefix}{name}{_SEPARATOR}")
