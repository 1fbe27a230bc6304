"""Reads published weights and loads them into modules, strictly.

Nothing is loaded in part: a tensor that is missing, unexpected or of another shape is an error
whose message names it. Pickled files are opened with `weights_only`, so that no code runs.
"""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vitlens_core.errors import CheckpointError

Weights = str | Path | Mapping[str, Tensor]

LISTED_NAMES = 20  # in a message; a wrong config misses hundreds


def read_weights(source: Weights) -> Mapping[str, Tensor]:
    """Read tensors by name from a mapping or from a .safetensors or .pt/.pth file.

    A pickled file is a state dictionary, or holds one under `state_dict`.

    Raises:
        CheckpointError: the file is missing, unreadable, or holds something else.
    """
    tensors = source if isinstance(source, Mapping) else _read_file(Path(source))
    not_tensors = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if not_tensors:
        raise CheckpointError(f"expected tensors only, found others: {_listing(not_tensors)}")
    return tensors


def _read_file(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Mapped: only the tensors that are used are read from the disk.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"cannot read weights from {path}: {error}. "
            "Expected .safetensors, or a .pt or .pth file of plain tensors"
        ) from error
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"expected a state dictionary in {path}, found {type(content).__name__}"
        )
    return content


def load_strictly(
    module: nn.Module, weights: Mapping[str, Tensor], *, recomputed: Collection[str] = ()
) -> nn.Module:
    """Copy `weights` into `module`; both must hold the same names and shapes.

    Args:
        module: may be on the meta device; memory is then allocated on the CPU.
        recomputed: names of buffers that the module does not have; they are ignored.

    Raises:
        CheckpointError: names or shapes differ; the message lists them.
    """
    expected = module.state_dict()
    tensors = {name: value for name, value in weights.items() if name not in recomputed}
    misshapen = [
        f"{name} (found {list(tensors[name].shape)}, expected {list(tensor.shape)})"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    faults = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - expected.keys()),
        "of another shape": misshapen,
    }
    if any(faults.values()):
        listed = "; ".join(f"{what}: {_listing(names)}" for what, names in faults.items() if names)
        raise CheckpointError(
            f"the weights do not fit the model. {listed}. Check that they are complete "
            "and that the config states their sizes"
        )
    # Memory is taken only now that names and shapes are known to fit.
    if any(tensor.is_meta for tensor in expected.values()):
        module.to_empty(device="cpu")
    module.load_state_dict(tensors)
    return module


def _listing(names: list[str]) -> str:
    more = len(names) - LISTED_NAMES
    return ", ".join(names[:LISTED_NAMES]) + (f" and {more} more" if more > 0 else "")


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of every tensor's name, shape, type and bytes."""
    sha = hashlib.sha256()
    # Sorted: the order in which modules are registered is no part of the identity.
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name}{list(tensor.shape)}{tensor.dtype}".encode())
        # As bytes, since numpy has no bfloat16; flat first, since a scalar has no byte view.
        sha.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
