"""Varies point clouds in the unit sphere: turned, scaled, moved, tilted, thinned, without colour.

Axes: B batch, N points.
Source: ViT-Lens (arXiv 2311.16081) and OpenShape (arXiv 2305.10764), whose code agrees.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, field_validator

from vitlens_core.late import torch
from vitlens_core.row_generator import RowGenerator

# Colour given to a cloud that has none (OpenShape's evaluation protocol).
GREY = 0.4


class PointAugmentation(BaseModel):
    """How training varies a cloud, in the unit sphere: turned, scaled, moved, thinned, grey."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="largest share of points that are left out, in [0, 1); the share is drawn",
    )
    scale: tuple[PositiveFloat, PositiveFloat] = Field(
        (0.8, 1.25), description="least and largest factor of the coordinates"
    )
    isotropic: bool = Field(False, description="scale all axes by one factor")
    shift: float = Field(0.1, ge=0, description="farthest that a cloud is moved along each axis")
    tilt_rad: float = Field(
        0.0, ge=0, description="deviation of a small rotation about each axis, cut at three of them"
    )
    noise: float = Field(0.005, ge=0, description="deviation of each coordinate's noise")
    # Clouds without colours are stored grey, so that the tower must know grey clouds.
    grey: float = Field(0.3, ge=0, le=1, description="share of clouds whose rgb becomes grey (0.4)")

    @field_validator("scale")
    @classmethod
    def _check_order(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError(f"expected the least factor first, found {scale[0]} > {scale[1]}")
        return scale


def varied(
    xyz: torch.Tensor, rgb: torch.Tensor, vary: PointAugmentation, generator: RowGenerator
) -> torch.Tensor:
    """Vary clouds in the unit sphere, xyz and rgb [B, N, 3] each: [B, N, 6]."""
    batch, axes = len(xyz), 1 if vary.isotropic else 3
    # About the up axis only, since objects stand upright; then scale, shift and noise.
    xyz = xyz @ _yaw(batch, generator)
    xyz = xyz * generator.uniform(*vary.scale, batch, 1, axes)
    xyz = xyz + generator.uniform(-vary.shift, vary.shift, batch, 1, 3)
    xyz = xyz + vary.noise * generator.randn(*xyz.shape)
    colourless = generator.rand(batch, 1, 1) < vary.grey
    rgb = torch.where(colourless, torch.full_like(rgb, GREY), rgb)
    if vary.tilt_rad:
        xyz = xyz @ _tilt(batch, vary.tilt_rad, generator)
    clouds = torch.cat([xyz, rgb], dim=-1)
    return _thinned(clouds, vary.dropout, generator) if vary.dropout else clouds


def _thinned(clouds: torch.Tensor, most: float, generator: RowGenerator) -> torch.Tensor:
    """Let a random share of each cloud's points, up to `most`, coincide with its first that stays.

    The others come first, in their order: the tokenizers take the first points as centres.
    """
    batch, count, _ = clouds.shape
    share = generator.rand(batch, 1) * most
    lost = generator.rand(batch, count) < share
    order = lost.to(torch.uint8).sort(dim=1, stable=True).indices
    kept = (~lost).sum(1, keepdim=True)
    order = torch.where(torch.arange(count, device=kept.device) < kept, order, order[:, :1])
    return clouds.gather(1, order[..., None].expand_as(clouds))


def _tilt(batch: int, deviation_rad: float, generator: RowGenerator) -> torch.Tensor:
    """Draw small random rotations about all axes, [B, 3, 3]."""
    angles = deviation_rad * generator.randn(batch, 3).clamp(-3, 3)
    x, y, z = angles.unbind(1)
    generators = torch.zeros(batch, 3, 3, device=angles.device)
    generators[:, 1, 2], generators[:, 2, 1] = -x, x
    generators[:, 0, 2], generators[:, 2, 0] = y, -y
    generators[:, 0, 1], generators[:, 1, 0] = -z, z
    return torch.linalg.matrix_exp(generators)


def _yaw(batch: int, generator: RowGenerator) -> torch.Tensor:
    """Draw random rotations about the up axis y, [B, 3, 3]."""
    angle = generator.rand(batch) * 2 * math.pi
    cos, sin = angle.cos(), angle.sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    return torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=-1).view(-1, 3, 3)
