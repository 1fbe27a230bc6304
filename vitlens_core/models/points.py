"""Neighbourhoods of point clouds: sampling, nearest neighbours, balls, gathering.

Reads coordinates [B, N, 3] in any unit and returns indices into N. Everything is batched,
takes no gradient, and runs where its input lies. Distances are summed coordinate by
coordinate, which costs the memory of one distance matrix and, unlike |a|² − 2ab + |b|²,
cancels nothing: a point's neighbours do not depend on where the cloud sits.

Axes: B batch, N points, G groups (centres), K neighbours, C channels.
"""

import torch
from torch import Tensor

from vitlens_core.errors import InputError


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
    """centres [B, G, 3], xyz [B, N, 3] → squared distances [B, G, N], fp32."""
    centres, xyz = centres.float(), xyz.float()
    total = (centres[:, :, None, 0] - xyz[:, None, :, 0]).square_()
    for axis in (1, 2):
        offset = centres[:, :, None, axis] - xyz[:, None, :, axis]
        total.addcmul_(offset, offset)
    return total


@torch.no_grad()
def knn(xyz: Tensor, centres: Tensor, k: int) -> Tensor:
    """Indices [B, G, K] of the K points of `xyz` nearest to each centre, in no set order.

    Raises:
        InputError: `xyz` is not [B, N, 3], or N is below `k`.
    """
    _check_cloud(xyz, at_least=k)
    return squared_distances(centres, xyz).topk(k, dim=-1, largest=False, sorted=False).indices


@torch.no_grad()
def ball_query(xyz: Tensor, centres: Tensor, radius: float, k: int) -> Tensor:
    """Indices [B, G, K] of the first K points, in stored order, within `radius` of each centre.

    A ball with fewer points repeats its first one, as PointNet++ (arXiv 1706.02413) does.
    `radius` has the unit of `xyz`. Centres are points of the cloud, so that no ball is empty.

    Raises:
        InputError: `xyz` is not [B, N, 3], or N is below `k`.
    """
    _check_cloud(xyz, at_least=k)
    num_points = xyz.shape[1]
    outside = squared_distances(centres, xyz) > radius**2
    order = torch.arange(num_points, dtype=torch.int32, device=xyz.device).expand(outside.shape)
    inside = order.masked_fill(outside, num_points)
    first = inside.topk(k, dim=-1, largest=False, sorted=True).values.long()
    return torch.where(first == num_points, first[..., :1], first)


def gather_points(points: Tensor, index: Tensor) -> Tensor:
    """points [B, N, C], index [B, …] → [B, …, C]: each cloud's points at its own indices."""
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
