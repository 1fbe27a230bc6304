"""Point-cloud tokenizers: points [B, N, C] in, one token per group of neighbours out.

Both choose T centres by farthest point sampling, gather the points around each, encode the
group with a shared network and a maximum (so that the order within a group is irrelevant),
and add the position of the centre. They differ in the neighbourhood and the network.

Axes: B batch, N points, C channels (xyz first, then others such as rgb), T tokens (groups),
K group size, E code of a group, D width.
Source: ViT-Lens (arXiv 2311.16081) §3.2; Point-BERT (arXiv 2111.14819) §3.1; PointNet++
(arXiv 1706.02413) §3.2 as OpenShape (arXiv 2305.10764) uses it.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import ConfigError, InputError
from vitlens_core.models.points import ball_query, farthest_point_sample, gather_points, knn


class PointTokenizer(nn.Module):
    """Base of both tokenizers: checks the cloud and chooses its centres.

    Args:
        num_groups: T.
        in_channels: C: 3 for xyz, 6 for xyz + rgb.
        presorted: clouds are in farthest-point order, so that their first T points are the
            centres and none are sampled. Otherwise sampling starts at a random point in training
            and at point 0 in evaluation.

    Raises:
        ConfigError: fewer than 3 channels.
    """

    def __init__(self, num_groups: int, in_channels: int, *, presorted: bool) -> None:
        super().__init__()
        if in_channels < 3:
            raise ConfigError(f"a point needs at least xyz: in_channels ≥ 3, found {in_channels}")
        self.num_groups = num_groups
        self.in_channels = in_channels
        self.presorted = presorted

    def choose_centres(self, points: Tensor) -> Tensor:
        """Choose centres [B, T, 3] of [B, N, C]. Raises InputError: wrong C or too few points."""
        if points.ndim != 3 or points.shape[-1] != self.in_channels:
            raise InputError(
                f"expected points of shape [B, N, {self.in_channels}], found {list(points.shape)}"
            )
        xyz = points[..., :3]
        # A random start in training varies the groups; in evaluation a cloud has one embedding.
        if not self.presorted:
            start = None if self.training else 0
            return gather_points(xyz, farthest_point_sample(xyz, self.num_groups, start=start))
        if xyz.shape[1] < self.num_groups:
            raise InputError(
                f"expected at least {self.num_groups} points per cloud, found {xyz.shape[1]}"
            )
        return xyz[:, : self.num_groups]


class PointwiseConv(nn.Conv1d):
    """Convolution of size 1 in its published shape, computed as a matrix product. [M, C] → [M, D].

    On a CPU this takes half the time of `nn.Conv1d` over [groups, C, K].
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight[..., 0], self.bias)


class BesideMaximum(nn.Conv1d):
    """Linear layer over each point's features, concatenated with their maximum over the group.

    [G, K, C] → [G·K, D]. K points share the maximum, so its half of the product is computed once
    per group, and the concatenation is not built.
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(2 * channels, out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        of_maximum, of_points = self.weight[..., 0].chunk(2, dim=1)
        shared = F.linear(input.amax(dim=1, keepdim=True), of_maximum, self.bias)
        return (F.linear(input, of_points) + shared).flatten(0, 1)


class GroupEncoder(nn.Module):
    """Mini-PointNet: a group of points to one code. [B, T, K, C] → [B, T, E]."""

    def __init__(self, in_channels: int, encoder_dim: int) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(
            PointwiseConv(in_channels, 128),
            nn.BatchNorm1d(128),
            nn.ReLU(inplace=True),
            PointwiseConv(128, 256),
        )
        self.second_conv = nn.Sequential(
            BesideMaximum(256, 512),
            nn.BatchNorm1d(512),
            nn.ReLU(inplace=True),
            PointwiseConv(512, encoder_dim),
        )

    def forward(self, groups: Tensor) -> Tensor:
        # Points of all groups are rows of one matrix; groups are told apart for the maximum only.
        points = self.first_conv(groups.flatten(0, 2)).unflatten(0, (-1, groups.shape[2]))
        return self.second_conv(points).unflatten(0, groups.shape[:3]).amax(dim=2)


class PointBertTokenizer(PointTokenizer):
    """Nearest neighbours and a mini-PointNet, plus an embedding of the centre.

    Coordinates are made relative to the centre; other channels stay as they are.

    Args:
        group_size: K.
        encoder_dim: E.
        width: D.
        num_groups, in_channels, presorted: see `PointTokenizer`.
    """

    def __init__(
        self,
        *,
        num_groups: int,
        group_size: int,
        encoder_dim: int,
        width: int,
        in_channels: int = 3,
        presorted: bool = False,
    ) -> None:
        super().__init__(num_groups, in_channels, presorted=presorted)
        self.group_size = group_size
        self.encoder = GroupEncoder(in_channels, encoder_dim)
        self.reduce_dim = nn.Linear(encoder_dim, width)
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))

    def forward(self, points: Tensor) -> Tensor:
        """[B, N, C] → [B, T, D]. Raises InputError on another C or on too few points."""
        centres = self.choose_centres(points)
        groups = gather_points(points, knn(points[..., :3], centres, self.group_size))
        relative = groups[..., :3] - centres[:, :, None]
        codes = self.encoder(torch.cat([relative, groups[..., 3:]], dim=-1))
        return self.reduce_dim(codes) + self.pos_embed(centres)


class SetAbstraction(nn.Module):
    """Shared three-layer network over a group, then its maximum. [B, T, K, C] → [B, T, E]."""

    def __init__(self, in_channels: int, encoder_dim: int) -> None:
        super().__init__()
        widths = (in_channels, 64, 64, encoder_dim)
        self.mlp_convs = nn.ModuleList(
            nn.Conv2d(narrow, wide, 1) for narrow, wide in pairwise(widths)
        )
        self.mlp_bns = nn.ModuleList(nn.BatchNorm2d(wide) for wide in widths[1:])

    def forward(self, groups: Tensor) -> Tensor:
        features = groups.permute(0, 3, 1, 2)
        for conv, norm in zip(self.mlp_convs, self.mlp_bns, strict=True):
            features = F.relu(norm(conv(features)))
        return features.amax(dim=3).transpose(1, 2)


class ChannelsLast(nn.Module):
    """[B, D, T] → [B, T, D]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class SetAbstractionTokenizer(PointTokenizer):
    """Balls of a fixed radius and PointNet++'s set abstraction (OpenShape triplets).

    The network sees each point relative to the centre together with the point as given (absolute
    xyz, rgb); the centre's coordinates are joined to the code before it is lifted to D.

    Args:
        radius: radius of the balls, in the unit of the coordinates (clouds fill the unit sphere).
        group_size: K; a ball keeps its first K points in stored order.
        encoder_dim: E.
        width: D.
        num_groups, in_channels, presorted: see `PointTokenizer`.
    """

    def __init__(
        self,
        *,
        num_groups: int,
        group_size: int,
        radius: float,
        encoder_dim: int,
        width: int,
        in_channels: int = 6,
        presorted: bool = False,
    ) -> None:
        super().__init__(num_groups, in_channels, presorted=presorted)
        self.group_size = group_size
        self.radius = radius
        # 3 for the coordinates relative to the centre.
        self.sa = SetAbstraction(3 + in_channels, encoder_dim)
        self.lift = nn.Sequential(
            nn.Conv1d(3 + encoder_dim, width, 1), ChannelsLast(), nn.LayerNorm(width)
        )

    def forward(self, points: Tensor) -> Tensor:
        """[B, N, C] → [B, T, D]. Raises InputError on another C or on too few points."""
        centres = self.choose_centres(points)
        index = ball_query(points[..., :3], centres, self.radius, self.group_size)
        groups = gather_points(points, index)
        relative = groups[..., :3] - centres[:, :, None]
        codes = self.sa(torch.cat([relative, groups], dim=-1))
        return self.lift(torch.cat([centres, codes], dim=-1).transpose(1, 2))
