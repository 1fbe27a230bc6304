"""Cameras as settings describe them, and the way back from depth to points."""

from typing import Any

import numpy as np

from vitlens_core.rendering import Cameras, RenderSettings


def orbit(**changed: Any) -> Cameras:
    """The default cameras but for `changed`."""
    return RenderSettings(**changed).cameras()


def unproject(cameras: Cameras, depth_m: np.ndarray) -> np.ndarray:
    """Stage points [V, H, W, 3] float64 of planar depth [V, H, W]; depth 0 gives NaN."""
    rows, columns = np.mgrid[: cameras.size_px, : cameras.size_px] + 0.5
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    rays = pixels @ np.linalg.inv(cameras.intrinsics).T
    seen_m = np.where(depth_m > 0, depth_m, np.nan).astype(np.float64)
    points = rays * seen_m[..., None]
    rotation = cameras.cam_to_world[:, None, :3, :3]
    return np.einsum("vhij,vhwj->vhwi", rotation, points) + cameras.positions[:, None, None]
