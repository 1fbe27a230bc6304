"""Cameras on an orbit around the stage.

Stage frame: right-handed, y up, origin at the object's centre. Camera frame (OpenCV): x right,
y down, z forward. Pixel (row i, column j) has its centre at x = j + 0.5, y = i + 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vitlens_core.errors import ConfigError


@dataclass(frozen=True, eq=False)
class Cameras:
    """V cameras with common intrinsics and square images.

    Attributes:
        intrinsics: [3, 3] float64 in pixels.
        cam_to_world: [V, 4, 4] float64.
        size_px: side of the images.
    """

    intrinsics: np.ndarray
    cam_to_world: np.ndarray
    size_px: int

    def __len__(self) -> int:
        return len(self.cam_to_world)

    @property
    def positions(self) -> np.ndarray:
        """Camera centres [V, 3] in the stage frame."""
        return self.cam_to_world[:, :3, 3]

    @property
    def world_to_cam(self) -> np.ndarray:
        """The inverse of `cam_to_world`, [V, 4, 4]."""
        # Transposed instead of inverted: exact, since the poses are rigid motions.
        inverse = np.tile(np.eye(4), (len(self), 1, 1))
        rotation = self.cam_to_world[:, :3, :3].transpose(0, 2, 1)
        inverse[:, :3, :3] = rotation
        inverse[:, :3, 3] = -np.einsum("vij,vj->vi", rotation, self.positions)
        return inverse


def orbit(
    polar_deg: Sequence[float],
    azimuths: int,
    distance_m: float,
    fov_deg: float,
    size_px: int,
) -> Cameras:
    """Place rings of cameras that look at the origin; view v is azimuth v % azimuths of its ring.

    Polar angles are measured from straight up; azimuth 0 sees the +z side (a glTF's front).
    Each ring starts a fraction of a step further, so that no two views share an azimuth.

    Raises:
        ConfigError: an angle, count or distance is out of range.
    """
    if not polar_deg or not all(0 < angle < 180 for angle in polar_deg):
        raise ConfigError(f"polar_deg {tuple(polar_deg)}: expected angles between 0 and 180")
    if azimuths < 1 or distance_m <= 0 or not 0 < fov_deg < 180 or size_px < 1:
        raise ConfigError(
            f"azimuths {azimuths}, distance_m {distance_m}, fov_deg {fov_deg}, size_px {size_px}: "
            "expected at least 1, above 0, between 0 and 180, at least 1"
        )
    step = 2 * np.pi / azimuths
    poses = [
        _look_at_origin(np.radians(polar), step * (k + ring / len(polar_deg)), distance_m)
        for ring, polar in enumerate(polar_deg)
        for k in range(azimuths)
    ]
    focal_px = size_px / 2 / np.tan(np.radians(fov_deg) / 2)
    centre_px = size_px / 2
    intrinsics = np.array([[focal_px, 0, centre_px], [0, focal_px, centre_px], [0, 0, 1]])
    return Cameras(intrinsics, np.stack(poses), size_px)


def _look_at_origin(polar: float, azimuth: float, distance_m: float) -> np.ndarray:
    """Compute the upright camera-to-world matrix [4, 4] at spherical coordinates (radians)."""
    outward = np.array(
        [np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)]
    )
    # From the azimuth, not from a cross product with y, which fails near the poles.
    right = np.array([np.cos(azimuth), 0.0, -np.sin(azimuth)])
    down = np.cross(-outward, right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, down, -outward], axis=1)
    pose[:3, 3] = outward * distance_m
    return pose
