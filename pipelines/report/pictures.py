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
from vitlens_core.rendering import orbit

_OVERSAMPLED = 2  # drawn larger, then reduced: smooth edges
_MARGIN = 0.06  # of a picture's side, around what it shows
_CLOSED = 1.4  # radius of a disc, in mean distances of points: surfaces look closed
_SHADE = 0.35  # how much darker the farthest point is than the nearest


def signal_file(modality: str) -> str:
    """The extension under which shards hold a modality's signal."""
    return modalities.load(modality).SIGNAL


def draw_signal(modality: str, data: bytes, size_px: int) -> Image.Image:
    """A stored signal as an RGBA picture, transparent where there is nothing."""
    return _DRAWN[signal_file(modality)](data, size_px)


def thumbnail(png: bytes, size_px: int) -> Image.Image:
    """A view, cut to the square around what is not transparent."""
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    left, top, right, bottom = image.getchannel("A").getbbox() or (0, 0, *image.size)
    half = max(right - left, bottom - top) / 2 / (1 - 2 * _MARGIN)
    x, y = (left + right) / 2, (top + bottom) / 2
    square = image.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return square.resize((size_px, size_px), Image.Resampling.LANCZOS)


def data_uri(image: Image.Image) -> str:
    """An image as the `src` of an `img` that needs no request."""
    buffer = io.BytesIO()
    image.save(buffer, format="webp", quality=80, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _draw_cloud(data: bytes, size_px: int) -> Image.Image:
    """Points [N, 6] as discs in their own colours, seen from where the first view looks."""
    points = decode_array(data).astype(np.float32)
    side_px = size_px * _OVERSAMPLED
    pixels, depth_m = _project(points[:, :3], side_px)
    # Far to near: where discs overlap, the last one written stays.
    order = np.argsort(-depth_m)
    nearness = 1 - (depth_m - depth_m.min()) / max(np.ptp(depth_m), 1e-6)
    shade = 1 - _SHADE * (1 - nearness)
    colours = np.clip(points[:, 3:] * shade[:, None] * 255, 0, 255).astype(np.uint8)
    radius_px = min(_CLOSED * side_px / len(points) ** 0.5, _MARGIN / 2 * side_px)
    rows, columns, owners = _discs(pixels[order], radius_px)
    image = np.zeros((side_px, side_px, 4), np.uint8)
    image[rows, columns, :3] = colours[order][owners]
    image[rows, columns, 3] = 255
    return Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BOX)


def _project(xyz: np.ndarray, side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, 2] (row, column) that fill the picture, and depth [N] of points [N, 3]."""
    camera = orbit((60.0,), azimuths=1)
    seen = xyz @ camera.world_to_cam[0, :3, :3].T + camera.world_to_cam[0, :3, 3]
    flat = seen[:, 1::-1] / seen[:, 2:]
    low, high = flat.min(0), flat.max(0)
    scale = side_px * (1 - 2 * _MARGIN) / max((high - low).max(), 1e-6)
    return (flat - (low + high) / 2) * scale + side_px / 2, seen[:, 2]


def _discs(centres: np.ndarray, radius_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and owner of every pixel of every disc, disc after disc."""
    reach = int(radius_px)
    grid = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    offsets = grid[(grid**2).sum(1) <= radius_px**2]
    covered = centres.astype(np.int64)[:, None] + offsets
    owners = np.repeat(np.arange(len(centres)), len(offsets))
    return covered[..., 0].ravel(), covered[..., 1].ravel(), owners


# The picture of each stored signal.
_DRAWN: dict[str, Callable[[bytes, int], Image.Image]] = {"points.npy": _draw_cloud}
