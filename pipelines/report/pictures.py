"""pictures: signals and views as small images that travel inside the page.

One function per stored signal draws it; a new modality adds its own to `_DRAWN`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from pipelines.shard_io import decode_array
from vitlens_core import modalities
from vitlens_core.rendering import Cameras, orbit

_OVERSAMPLED = 2  # drawn larger, then reduced: smooth edges
_SHADE = 0.35  # how much darker the farthest point is than the nearest


def signal_file(modality: str) -> str:
    """The extension under which shards hold a modality's signal."""
    return modalities.load(modality).SIGNAL


def draw_signal(modality: str, data: bytes, size_px: int) -> Image.Image:
    """A stored signal as an RGBA picture, transparent where there is nothing."""
    return _DRAWN[signal_file(modality)](data, size_px)


def thumbnail(png: bytes, size_px: int) -> Image.Image:
    """A view at the size it is shown."""
    return Image.open(io.BytesIO(png)).resize((size_px, size_px), Image.Resampling.LANCZOS)


def data_uri(image: Image.Image) -> str:
    """An image as the `src` of an `img` that needs no request."""
    buffer = io.BytesIO()
    image.save(buffer, format="webp", quality=80, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _draw_cloud(data: bytes, size_px: int) -> Image.Image:
    """Points [N, 6] as discs in their own colours, seen from where the first view looks."""
    points = decode_array(data).astype(np.float32)
    side_px = size_px * _OVERSAMPLED
    camera = orbit((60.0,), azimuths=1, size_px=side_px)
    pixels, depth_m = _project(points[:, :3], camera)
    nearness = 1 - (depth_m - depth_m.min()) / max(np.ptp(depth_m), 1e-6)
    shade = 1 - _SHADE * (1 - nearness)
    colours = np.clip(points[:, 3:] * shade[:, None] * 255, 0, 255).astype(np.uint8)
    image = np.zeros((side_px, side_px, 4), np.uint8)
    rows, columns, owners = _discs(pixels, radius_px=max(2, round(side_px / 100)))
    inside = (rows >= 0) & (rows < side_px) & (columns >= 0) & (columns < side_px)
    rows, columns, owners = rows[inside], columns[inside], owners[inside]
    # Far to near: where discs overlap, the last one written stays.
    order = np.argsort(-depth_m[owners], kind="stable")
    rows, columns, owners = rows[order], columns[order], owners[order]
    image[rows, columns, :3] = colours[owners]
    image[rows, columns, 3] = 255
    return Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BOX)


def _project(xyz: np.ndarray, camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Pixel positions [N, 2] (row, column) and planar depth [N] of stage points [N, 3]."""
    rotation, offset = camera.world_to_cam[0, :3, :3], camera.world_to_cam[0, :3, 3]
    seen = xyz @ rotation.T + offset
    pixels = seen @ camera.intrinsics.T
    return (pixels[:, :2] / pixels[:, 2:])[:, ::-1], seen[:, 2]


def _discs(pixels: np.ndarray, radius_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and owning point of every pixel of every point's disc."""
    grid = np.mgrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1].reshape(2, -1).T
    offsets = grid[(grid**2).sum(1) <= radius_px**2]
    covered = pixels.astype(np.int64)[:, None] + offsets
    owners = np.repeat(np.arange(len(pixels)), len(offsets))
    return covered[..., 0].ravel(), covered[..., 1].ravel(), owners


# The picture of each stored signal.
_DRAWN: dict[str, Callable[[bytes, int], Image.Image]] = {"points.npy": _draw_cloud}
