"""Point clouds: xyz + rgb of an object's surface.

Raw: points [N, 3] or [N, 6] in any order and unit, y up, sRGB in 0..1.
Stored signal: fp16 [N, 6] in farthest-point order (any prefix covers the object evenly),
y up, stage metres, sRGB in 0..1. The tower sees clouds centred in the unit sphere.
Augmentation and tokenizers follow ViT-Lens (arXiv 2311.16081) and OpenShape (2305.10764).

Axes: B batch, N points.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vitlens_core.captions import POINT_CLOUD_TEMPLATES
from vitlens_core.errors import InputError
from vitlens_core.models.tokenizers import PointBertTokenizer, SetAbstractionTokenizer
from vitlens_core.readers.clouds import read_cloud
from vitlens_core.readers.files import optional
from vitlens_core.rendering.points import farthest_point_order
from vitlens_core.signals.checks import batch_of_numbers, raw_numbers
from vitlens_core.signals.settings import SignalSettings

NAME = "point_cloud"
WORD = "point"  # in metric names: point_to_text
SIGNAL = "points.npy"
ENCODER = "lens"
TEMPLATES = POINT_CLOUD_TEMPLATES
LENS = {"depth": 4}
TRUNK: dict[str, object] = {}

# Colour of a cloud that has none (OpenShape's evaluation protocol).
GREY = 0.4


def read(path: str | Path, *, points: int = 10_000, seed: int = 0) -> np.ndarray:
    """[N, 3] or [N, 6] of a .npy, .npz, .ply, or of the surface of a .glb.

    Args:
        points, seed: how many points a GLB's surface is sampled with, and by which draw.

    Raises:
        InputError: unreadable, no vertices, or a surface without area.
    """
    return read_cloud(path, points, seed)


class Tokenizer(SignalSettings):
    """Groups of neighbouring points, each made a token by a small shared network."""

    raw_shape: ClassVar[tuple[int, ...]] = (-1, 6)

    kind: Literal["point_bert", "set_abstraction"] = Field(
        "point_bert", description="nearest neighbours and mini-PointNet, or balls and PointNet++"
    )
    points: int = Field(8192, ge=16, description="points of a cloud that the tower sees")
    groups: int = Field(512, ge=1, description="groups, so tokens, per cloud")
    group_size: int = Field(32, ge=1, description="neighbours per group")
    radius: float = Field(0.2, gt=0, description="of a ball of `set_abstraction`, unit sphere")
    encoder_dim: int = Field(256, ge=1, description="width of the group encoder's output")
    width: int = Field(384, ge=1, description="width of a token")
    colour: bool = Field(True, description="whether rgb is seen beside xyz")
    up: Literal["y", "z"] = Field("y", description="axis that points up in what the tower sees")

    def build(self) -> PointBertTokenizer | SetAbstractionTokenizer:
        sizes: dict[str, Any] = {
            "num_groups": self.groups,
            "group_size": self.group_size,
            "encoder_dim": self.encoder_dim,
            "width": self.width,
            "in_channels": 6 if self.colour else 3,
            "presorted": True,
        }
        if self.kind == "set_abstraction":
            return SetAbstractionTokenizer(radius=self.radius, **sizes)
        return PointBertTokenizer(**sizes)

    def example(self) -> np.ndarray:
        """A grey sphere of `points` points."""
        height = np.linspace(1, -1, self.points)
        turn = np.arange(self.points) * np.pi * (3 - 5**0.5)  # golden angle: evenly spread
        ring = np.sqrt(1 - height**2)
        xyz = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], axis=1)
        return np.concatenate([xyz, np.full_like(xyz, GREY)], axis=1).astype(np.float32)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """Points [N, 3] or [N, 6] → the first `points` in farthest-point order, [points, 6].

        Raises:
            InputError: another shape, fewer than `points`, not finite, rgb outside 0..1, or all
                points in one place.
        """
        coloured = np.shape(raw)[-1:] == (6,)
        cloud = raw_numbers(raw, "a point cloud", "N", 6 if coloured else 3)
        if len(cloud) < self.points:
            raise InputError(
                f"expected a point cloud of at least {self.points} points, found {len(cloud)}; "
                "sample the surface more densely"
            )
        if not np.ptp(cloud[:, :3], axis=0).any():
            raise InputError("expected a point cloud with an extent, found all points in one place")
        if not coloured:
            cloud = np.concatenate([cloud, np.full_like(cloud, GREY)], axis=1)
        if cloud[:, 3:].min() < 0 or cloud[:, 3:].max() > 1:
            raise InputError(
                f"expected rgb in 0..1, found {cloud[:, 3:].min()}..{cloud[:, 3:].max()}; "
                "divide 8-bit colours by 255"
            )
        optional("fpsample")
        return cloud[farthest_point_order(cloud, self.points)]

    def prepare(self, signals: Tensor) -> Tensor:
        """Stored clouds [B, N, 6] → what the tower sees: their first points, normalised."""
        return self._seen(_in_unit_sphere(_checked(signals, self.points)[:, : self.points]))

    def augment(self, signals: Tensor, generator: torch.Generator) -> Tensor:
        """Stored clouds [B, N, 6] → one random variant each, normalised."""
        clouds = _checked(signals, self.points)
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
        if self.up == "z":
            clouds = clouds[..., [0, 2, 1, 3, 4, 5]]
        return clouds if self.colour else clouds[..., :3]


ULIP = Tokenizer(points=8192, colour=False)
"""ULIP's protocol, which ViT-Lens-L follows: 8192 points, xyz only, y up."""

OPENSHAPE = Tokenizer(
    kind="set_abstraction", points=10_000, group_size=64, radius=0.2, width=256, up="z"
)
"""OpenShape's protocol, which ViT-Lens-G follows: 10,000 points, xyz + rgb, y and z swapped."""


def _checked(clouds: Tensor, at_least: int) -> Tensor:
    clouds = batch_of_numbers(clouds, "clouds of xyz + rgb", "N", 6)
    if clouds.shape[1] < at_least:
        raise InputError(
            f"expected clouds [B, N ≥ {at_least}, 6] of xyz + rgb, got {list(clouds.shape)}"
        )
    return clouds


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
