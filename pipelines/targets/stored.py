"""stored: stores targets in the float type of the settings, and reads them as fp32.

Axes: n targets of one kind, E embedding.
"""

from __future__ import annotations

import numpy as np

from pipelines.store.shards import decode_array, encode_array
from pipelines.targets.step import StoredAs
from vitlens_core.late import torch

_TYPES: dict[StoredAs, type[np.floating]] = {"fp16": np.float16, "fp32": np.float32}


def bytes_per_value(stored_as: StoredAs) -> int:
    """Return the bytes that one value of an embedding takes."""
    return np.dtype(_TYPES[stored_as]).itemsize


def encode_targets(embeddings: torch.Tensor, stored_as: StoredAs) -> bytes:
    """Encode embeddings [n, E] as a `.npy` file."""
    return encode_array(embeddings.cpu().numpy().astype(_TYPES[stored_as]))


def decode_targets(data: bytes | memoryview) -> np.ndarray:
    """Decode the targets of a `.npy` file to fp32 [n, E], from any stored type."""
    return as_floats(decode_array(data)).numpy()


def as_floats(stored: np.ndarray) -> torch.Tensor:
    """Convert stored values, of one or many files, to fp32."""
    # With torch: numpy's conversion of fp16 takes five times as long.
    return torch.tensor(stored).float()
