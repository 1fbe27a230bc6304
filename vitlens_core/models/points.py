"""Neighbourhoods of point clouds: sampling, nearest neighbours, balls, gathering.

The functions read coordinates [B, N, 3] in any unit and return indices into N. They are batched,
compute no gradient, and run on the device of their input. Distances are summed coordinate by
coordinate: this takes the memory of one distance matrix and, unlike |a|² − 2ab + |b|², loses no
digits by cancellation, so that a point's neighbours do not depend on where the cloud lies.

Axes: B batch, N points, G groups (centres), K neighbours, C channels.
"""

import torch
from torch import Tensor

from vitlens_core.errors import InputError
from vitlens_core.models.knn_kernel import fused_knn

_DISTANCES = 2**23  # held at a time: 32 MB of fp32, which the last level of a cache may hold


@torch.no_grad()
def farthest_point_sample(xyz: Tensor, count: int, *, start: int | None = 0) -> Tensor:
    """Choose `count` points, each as far as possible from those chosen before it.

    Args:
        xyz: [B, N, 3].
        count: G, at most N.
        start: index of the first point; None draws one per cloud from torch's generator.

    Returns:
        Indices [B, G], the start first. Any prefix is itself a farthest point sample.

    Raises:
        InputError: the shape is not [B, N, 3], or N is below `count`.
    """
    _check_cloud(xyz, at_least=count)
    batch, num_points, _ = xyz.shape
    # One contiguous row per coordinate: the loop below is bound by memory traffic.
    # fp32 whatever comes in: squares of fp16 run out of digits and range.
    coordinates = xyz.float().permute(2, 0, 1).contiguous()
    nearest = torch.full((batch, num_points), torch.inf, device=xyz.device)
    current = (
        torch.randint(num_points, (batch, 1), device=xyz.device)
        if start is None
        else torch.full((batch, 1), start, device=xyz.device)
    )
    chosen = torch.empty(batch, count, dtype=torch.long, device=xyz.device)
    for i in range(count):
        chosen[:, i : i + 1] = current
        centre = coordinates.gather(2, current.expand(3, -1, -1))
        torch.minimum(nearest, (coordinates - centre).square_().sum(0), out=nearest)
        current = nearest.argmax(dim=1, keepdim=True)
    return chosen


@torch.no_grad()
def squared_distances(centres: Tensor, xyz: Tensor) -> Tensor:
    """Compute squared distances [B, G, N] of centres [B, G, 3] to xyz [B, N, 3], in fp32."""
    centres, xyz = centres.float(), xyz.float()
    total = (centres[:, :, None, 0] - xyz[:, None, :, 0]).square_()
    for axis in (1, 2):
        offset = centres[:, :, None, axis] - xyz[:, None, :, axis]
        total.addcmul_(offset, offset)
    return total


@torch.no_grad()
def knn(xyz: Tensor, centres: Tensor, k: int) -> Tensor:
    """Find the K points of `xyz` nearest to each centre: indices [B, G, K] in no set order.

    Raises:
        InputError: `xyz` is not [B, N, 3], or N is below `k`.
    """
    _check_cloud(xyz, at_least=k)
    if xyz.is_cuda:
        nearest = fused_knn(xyz, centres, k)
        if nearest is not None:
            return nearest
    # A few centres at a time: all distances of 64 clouds would take a gigabyte.
    # An export has no sizes to divide by.
    parts = (
        (centres,)
        if torch.compiler.is_exporting()
        else centres.split(max(1, _DISTANCES // (len(xyz) * xyz.shape[1])), dim=1)
    )
    # Unsorted is cheaper; the tokenizers take a maximum over the group.
    found = [
        squared_distances(part, xyz).topk(k, dim=-1, largest=False, sorted=False).indices
        for part in parts
    ]
    return found[0] if len(found) == 1 else torch.cat(found, dim=1)


@torch.no_grad()
def ball_query(xyz: Tensor, centres: Tensor, radius: float, k: int) -> Tensor:
    """Find the first K points, in stored order, within `radius` of each centre: [B, G, K].

    A ball with fewer points repeats its first one, as PointNet++ (arXiv 1706.02413) does.
    `radius` has the unit of `xyz`. Centres must be points of the cloud, so that no ball is empty.

    Raises:
        InputError: `xyz` is not [B, N, 3], or N is below `k`.
    """
    _check_cloud(xyz, at_least=k)
    num_points = xyz.shape[1]
    outside = squared_distances(centres, xyz) > radius**2
    # int32 halves the memory of [B, G, N]. Points outside get the index N, and so come last.
    order = torch.arange(num_points, dtype=torch.int32, device=xyz.device).expand(outside.shape)
    inside = order.masked_fill(outside, num_points)
    first = inside.topk(k, dim=-1, largest=False, sorted=True).values.long()
    return torch.where(first == num_points, first[..., :1], first)


def gather_points(points: Tensor, index: Tensor) -> Tensor:
    """Gather from points [B, N, C] those at each cloud's indices [B, …]: [B, …, C]."""
    flat = index.flatten(1)[..., None].expand(-1, -1, points.shape[-1])
    return points.gather(1, flat).unflatten(1, index.shape[1:])


def _check_cloud(xyz: Tensor, *, at_least: int) -> None:
    if xyz.ndim != 3 or xyz.shape[-1] != 3:
        raise InputError(f"expected coordinates of shape [B, N, 3], found {list(xyz.shape)}")
    if xyz.shape[1] < at_least:
        raise InputError(
            f"expected at least {at_least} points per cloud, found {xyz.shape[1]}; "
            "sample the cloud more densely or ask for fewer groups or neighbours"
        )
