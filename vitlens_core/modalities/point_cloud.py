"""Point clouds: xyz + rgb of an object's surface.

Raw: points [N, 3] or [N, 6] in any order and unit, y up, sRGB in 0..1.
Stored signal: fp16 [N, 6] in farthest-point order (any prefix covers the object evenly),
y up, stage metres, sRGB in 0..1. The tower sees clouds centred in the unit sphere.
Augmentation and tokenizers follow ViT-Lens (arXiv 2311.16081) and OpenShape (2305.10764).

Axes: B batch, N points.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from vitlens_core.captions import POINT_CLOUD_TEMPLATES
from vitlens_core.errors import BadSampleError, ConfigError, InputError
from vitlens_core.late import tokenizers, torch
from vitlens_core.modalities.base import LensedModality, Rendered, SignalConfig, TokenizerConfig
from vitlens_core.network_settings import LensSettings
from vitlens_core.readers.clouds import read_cloud
from vitlens_core.readers.files import optional
from vitlens_core.readers.formats import CLOUDS
from vitlens_core.rendering.mesh import STAGE_SIDE_M
from vitlens_core.rendering.points import farthest_point_order
from vitlens_core.row_generator import RowGenerator
from vitlens_core.signals.checks import batch_of_numbers, raw_numbers
from vitlens_core.signals.clouds import GREY, PointAugmentation, varied

if TYPE_CHECKING:
    from vitlens_core.rendering import RenderSettings

# Longest sides that are stored as they are: fp16 has 10 bits for them.
_SMALLEST, _LARGEST = 1e-2, 1e4
_FARTHEST = 4  # distance from the origin in longest sides, which costs 2 of these bits


class PointCloudSignal(SignalConfig):
    """The first points of a cloud in farthest-point order."""

    raw_shape: ClassVar[tuple[int, ...]] = (-1, 6)

    points: int = Field(10_000, ge=16, description="points stored per cloud")

    def example(self) -> np.ndarray:
        """Return a grey sphere of `points` points."""
        height = np.linspace(1, -1, self.points)
        turn = np.arange(self.points) * np.pi * (3 - 5**0.5)  # golden angle: evenly spread
        ring = np.sqrt(1 - height**2)
        xyz = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], axis=1)
        return np.concatenate([xyz, np.full_like(xyz, GREY)], axis=1).astype(np.float32)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """Keep the first `points` of [N, 3] or [N, 6] in farthest-point order, [points, 6].

        Raises:
            InputError: another shape, fewer than `points`, not finite, rgb outside 0..1, or all
                points in one place.
        """
        coloured = np.shape(raw)[-1:] == (6,)
        cloud = raw_numbers(_in_reach(raw), "a point cloud", "N", 6 if coloured else 3)
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
        optional("fpsample")  # names the extra to install; the import below would not
        return cloud[farthest_point_order(cloud, self.points)]


def _in_reach(raw: np.ndarray) -> np.ndarray:
    """Move and scale points that fp16 would not keep apart: far from the origin, tiny or huge.

    The tower sees every cloud in the unit sphere, so that place and scale do not matter to it.
    """
    if not isinstance(raw, np.ndarray) or raw.ndim != 2 or raw.dtype.kind not in "iuf":
        return raw
    if not raw.size or not np.isfinite(raw).all():
        return raw
    xyz = raw[:, :3].astype(np.float64)
    low, high = xyz.min(axis=0), xyz.max(axis=0)
    longest = (high - low).max()
    if _SMALLEST <= longest <= _LARGEST and np.abs(xyz).max() <= _FARTHEST * longest:
        return raw
    # Subtracted in float64: float32 has 7 digits for a place in a country's coordinates.
    xyz = (xyz - (low + high) / 2) * (STAGE_SIDE_M / longest if longest else 1.0)
    return np.concatenate([xyz, raw[:, 3:]], axis=1)


class PointCloudTokenizer(TokenizerConfig[PointCloudSignal]):
    """Groups of neighbouring points, which a small shared network turns into tokens."""

    kind: Literal["point_bert", "set_abstraction"] = Field(
        "point_bert", description="nearest neighbours and mini-PointNet, or balls and PointNet++"
    )
    points_seen: int = Field(8192, ge=16, description="points of a cloud that the tower sees")
    groups: int = Field(512, ge=1, description="groups per cloud; each is a token")
    group_size: int = Field(32, ge=1, description="neighbours per group")
    radius: float = Field(
        0.2, gt=0, description="radius of a ball of `set_abstraction`, in the unit sphere"
    )
    encoder_dim: int = Field(256, ge=1, description="width of the group encoder's output")
    width: int = Field(384, ge=1, description="width of a token")
    colour: bool = Field(True, description="whether rgb is seen beside xyz")
    up: Literal["y", "z"] = Field("y", description="axis that points up in the tower's input")
    augmentation: PointAugmentation = Field(
        PointAugmentation(), description="how training varies a cloud"
    )

    @property
    def groups_seen(self) -> int:
        return self.groups

    def check(self, signal: PointCloudSignal) -> None:
        if self.points_seen > signal.points:
            raise ConfigError(
                f"tokenizer.points_seen: the tower would see {self.points_seen} points, but only "
                f"{signal.points} are stored (signal.points)"
            )

    def signal_needed(self, signal: PointCloudSignal) -> PointCloudSignal:
        """Return a signal of the points seen: any prefix in farthest-point order is a sample."""
        return signal.model_copy(update={"points": self.points_seen})

    def build(
        self, signal: PointCloudSignal
    ) -> tokenizers.PointBertTokenizer | tokenizers.SetAbstractionTokenizer:
        in_channels = 6 if self.colour else 3
        if self.kind == "set_abstraction":
            return tokenizers.SetAbstractionTokenizer(
                num_groups=self.groups,
                group_size=self.group_size,
                radius=self.radius,
                encoder_dim=self.encoder_dim,
                width=self.width,
                in_channels=in_channels,
                presorted=True,
            )
        return tokenizers.PointBertTokenizer(
            num_groups=self.groups,
            group_size=self.group_size,
            encoder_dim=self.encoder_dim,
            width=self.width,
            in_channels=in_channels,
            presorted=True,
        )

    def prepare(self, signals: torch.Tensor, signal: PointCloudSignal) -> torch.Tensor:
        """Turn stored clouds [B, N, 6] into the tower's input: their first points, normalised."""
        clouds = _checked(signals, self.points_seen)
        return self._as_input(_in_unit_sphere(clouds[:, : self.points_seen]))

    def augment(
        self, signals: torch.Tensor, signal: PointCloudSignal, generator: RowGenerator
    ) -> torch.Tensor:
        """Turn stored clouds [B, N, 6] into one random variant each, normalised."""
        clouds = _checked(signals, self.points_seen)
        batch, count, _ = clouds.shape
        # A random subset, in stored order so that its first points still spread over the object:
        # the tokenizers take them as the centres of their groups.
        drawn = generator.subset(batch, self.points_seen, count)
        index = drawn[..., None].expand(-1, -1, 6)
        xyz, rgb = _in_unit_sphere(clouds.gather(1, index)).split(3, dim=-1)
        return self._as_input(varied(xyz, rgb, self.augmentation, generator))

    def _as_input(self, clouds: torch.Tensor) -> torch.Tensor:
        """Take the axes and channels that the tower sees."""
        # y and z are swapped, as OpenShape does: a mirror image, not a rotation.
        if self.up == "z":
            clouds = clouds[..., [0, 2, 1, 3, 4, 5]]
        return clouds if self.colour else clouds[..., :3]


ULIP = PointCloudTokenizer(points_seen=8192, colour=False)
"""ULIP's protocol, which ViT-Lens-L follows: 8192 points, xyz only, y up."""

OPENSHAPE = PointCloudTokenizer(
    kind="set_abstraction", points_seen=10_000, group_size=64, radius=0.2, width=256, up="z"
)
"""OpenShape's protocol, which ViT-Lens-G follows: 10,000 points, xyz + rgb, y and z swapped."""


class PointCloud(LensedModality[PointCloudSignal]):
    """Point clouds: xyz + rgb of an object's surface."""

    name = "point_cloud"
    metric_prefix = "point"
    templates = POINT_CLOUD_TEMPLATES
    signal_file = "points.npy"
    takes = CLOUDS
    Signal = PointCloudSignal
    Tokenizer = PointCloudTokenizer
    lens = LensSettings(depth=4)
    renders_as = "object"
    drawn_as = "points"

    def read(self, path: str | Path, *, points: int = 10_000, seed: int = 0) -> np.ndarray:
        """Read points [N, 3] or [N, 6], or draw them on the surface of a mesh.

        Args:
            points, seed: number of points drawn on a surface, and the seed of the draw.

        Raises:
            InputError: the file cannot be read, has no vertices, or its surface has no area.
        """
        return read_cloud(path, points, seed)

    def from_render(self, signal: PointCloudSignal, rendered: Rendered) -> np.ndarray:
        """Take the object's first points, which are in farthest-point order: [1, points, 6]."""
        if len(rendered.points) < signal.points:
            raise BadSampleError(
                f"expected {signal.points} rendered points, found {len(rendered.points)}"
            )
        return rendered.points[None, : signal.points]

    def check_renders(self, signal: PointCloudSignal, settings: RenderSettings) -> None:
        if settings.points < signal.points:
            raise ConfigError(
                f"signal.points: {signal.points} points of an object are to be stored, but only "
                f"{settings.points} are sampled (renders.points)"
            )


def _checked(clouds: torch.Tensor, at_least: int) -> torch.Tensor:
    clouds = batch_of_numbers(clouds, "clouds of xyz + rgb", "N", 6)
    if clouds.shape[1] < at_least:
        raise InputError(
            f"expected clouds [B, N ≥ {at_least}, 6] of xyz + rgb, found {list(clouds.shape)}"
        )
    return clouds


def _in_unit_sphere(clouds: torch.Tensor) -> torch.Tensor:
    """Centre clouds at the mean of their points, and scale the farthest point to distance 1."""
    xyz, rgb = clouds.split(3, dim=-1)
    xyz = xyz - xyz.mean(1, keepdim=True)
    # The points seen may all coincide; the bound avoids a division by 0.
    radius = xyz.norm(dim=-1).amax(1).clamp_min(1e-6)
    return torch.cat([xyz / radius[:, None, None], rgb], dim=-1)


MODALITY = PointCloud()
