"""Nearest neighbours in one Triton kernel: distances by tiles, the nearest kept, no matrix stored.

A GPU otherwise writes and reads the distance matrix [B, G, N] several times. A neighbour is a
64-bit key: the bits of its squared distance (which order as the number does, as it is no less than
0) above its index. So equal distances are told apart by the index, the same on every run.

Axes: B batch, N points, G centres, K neighbours.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

_CENTRES, _POINTS = 16, 128  # of one tile
_MOST_NEIGHBOURS = 128


def fused_knn(xyz: Tensor, centres: Tensor, k: int) -> Tensor | None:
    """Return the indices [B, G, K], nearest first, or None where there is no Triton.

    Args:
        xyz: [B, N, 3]; N is at least `k`.
        centres: [B, G, 3].
    """
    kernel = _kernel()
    if kernel is None or k > _MOST_NEIGHBOURS:
        return None
    batch, groups, count = len(xyz), centres.shape[1], xyz.shape[1]
    xyz, centres = xyz.float().contiguous(), centres.float().contiguous()
    kept = max(2, 1 << (k - 1).bit_length())
    found = torch.empty(batch, groups, kept, dtype=torch.int64, device=xyz.device)
    grid = (batch, -(-groups // _CENTRES))
    kernel[grid](xyz, centres, found, count, groups, kept, _CENTRES, max(_POINTS, kept))
    return found[..., :k]


@cache
def _kernel() -> Any | None:
    """Compile-time imports: a machine without a GPU needs no Triton."""
    try:
        from vitlens_core.models._knn_triton import nearest
    except ImportError:
        return None
    return nearest
