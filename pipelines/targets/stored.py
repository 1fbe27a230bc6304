"""stored: targets as a sample holds them, in the float type of the settings, and read as fp32.

Axes: n targets of one kind, E embedding.
"""

from __future__ import annotations

import numpy as np

from pipelines.store.shards import decode_array, encode_array
from pipelines.targets.step import StoredAs
from vitlens_core.late import torch

_TYPES: dict[StoredAs, type[np.floating]] = {"fp16": np.float16, "fp32": np.float32}


def encode_targets(embeddings: torch.Tensor, stored_as: StoredAs) -> bytes:
    """Embeddings [n, E] as a `.npy` file."""
    return encode_array(embeddings.cpu().numpy().astype(_TYPES[stored_as]))


def decode_targets(data: bytes | memoryview) -> np.ndarray:
    """Targets of a `.npy` file as fp32 [n, E], whatever they are stored as."""
    return as_floats(decode_array(data)).numpy()


def as_floats(stored: np.ndarray) -> torch.Tensor:
    """Stored values as fp32, for readers of many files' values at a time."""
    # torch's conversion: numpy's of fp16 takes five times as long.
    return torch.tensor(stored).float()
