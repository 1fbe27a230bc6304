"""Point clouds: xyz + rgb of an object's surface.

Stored signal: fp16 [N, 6] in farthest-point order (any prefix covers the object evenly),
y up, stage metres, sRGB in 0..1. The tower sees clouds centred in the unit sphere.
Augmentation and tokenizer follow ViT-Lens (arXiv 2311.16081) and OpenShape (2305.10764).

Axes: B batch, N points.
"""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from vitlens_core.captions import POINT_CLOUD_TEMPLATES
from vitlens_core.errors import InputError
from vitlens_core.models.tokenizers import PointBertTokenizer

NAME = "point_cloud"
WORD = "point"  # in metric names: point_to_text
SIGNAL = "points.npy"
TEMPLATES = POINT_CLOUD_TEMPLATES

# Colour of a cloud that has none (OpenShape's evaluation protocol).
GREY = 0.4


class Tokenizer(BaseModel):
    """Groups of neighbouring points, each made a token by a mini-PointNet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: int = Field(8192, ge=16, description="points of a cloud that the tower sees")
    groups: int = Field(512, ge=1, description="groups, so tokens, per cloud")
    group_size: int = Field(32, ge=1, description="neighbours per group")
    encoder_dim: int = Field(256, ge=1, description="width of the group encoder's output")
    width: int = Field(384, ge=1, description="width of a token")
    colour: bool = Field(True, description="whether rgb is seen beside xyz")

    def build(self) -> PointBertTokenizer:
        return PointBertTokenizer(
            num_groups=self.groups,
            group_size=self.group_size,
            encoder_dim=self.encoder_dim,
            width=self.width,
            in_channels=6 if self.colour else 3,
            presorted=True,
        )

    def prepare(self, clouds: Tensor) -> Tensor:
        """Stored clouds [B, N, 6] → what the tower sees: their first points, normalised."""
        return self._seen(_in_unit_sphere(_checked(clouds, self.points)[:, : self.points]))

    def augment(self, clouds: Tensor, generator: torch.Generator) -> Tensor:
        """Stored clouds [B, N, 6] → one random variant each, normalised."""
        clouds = _checked(clouds, self.points)
        batch, count, _ = clouds.shape
        # A random subset in stored order: other points, still spread over the object.
        drawn = torch.rand(batch, count, generator=generator).topk(self.points).indices
        index = drawn.sort().values[..., None].expand(-1, -1, 6)
        xyz, rgb = _in_unit_sphere(clouds.gather(1, index)).split(3, dim=-1)
        xyz = xyz @ _yaw(batch, generator)
        xyz = xyz * torch.empty(batch, 1, 3).uniform_(0.8, 1.25, generator=generator)
        xyz = xyz + torch.empty(batch, 1, 3).uniform_(-0.1, 0.1, generator=generator)
        xyz = xyz + 0.005 * torch.randn(xyz.shape, generator=generator)
        colourless = torch.rand(batch, 1, 1, generator=generator) < 0.3
        rgb = torch.where(colourless, torch.full_like(rgb, GREY), rgb)
        return self._seen(torch.cat([xyz, rgb], dim=-1))

    def _seen(self, clouds: Tensor) -> Tensor:
        return clouds if self.colour else clouds[..., :3]


def _checked(clouds: Tensor, at_least: int) -> Tensor:
    if clouds.ndim != 3 or clouds.shape[-1] != 6 or clouds.shape[1] < at_least:
        raise InputError(
            f"expected clouds [B, N ≥ {at_least}, 6] of xyz + rgb, got {list(clouds.shape)}"
        )
    return clouds.float()


def _in_unit_sphere(clouds: Tensor) -> Tensor:
    """Centred at the mean of the points, the farthest one at distance 1."""
    xyz, rgb = clouds.split(3, dim=-1)
    xyz = xyz - xyz.mean(1, keepdim=True)
    radius = xyz.norm(dim=-1).amax(1).clamp_min(1e-6)
    return torch.cat([xyz / radius[:, None, None], rgb], dim=-1)


def _yaw(batch: int, generator: torch.Generator) -> Tensor:
    """Random rotations about the up axis y, [B, 3, 3]."""
    angle = torch.rand(batch, generator=generator) * 2 * math.pi
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros(batch), torch.ones(batch)
    return torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=-1).view(-1, 3, 3)
