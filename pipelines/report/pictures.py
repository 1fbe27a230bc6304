"""pictures: draws signals and views as small images inside the page.

A modality states how its signals are drawn: as projected points, or by their shape.
"""

from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from pipelines.store.shards import decode_array
from vitlens_core import modalities
from vitlens_core.rendering import RenderSettings

_OVERSAMPLED = 2  # drawn larger, then reduced, for smooth edges
_MARGIN = 0.06  # around the content, as a share of the picture's side
_CLOSED = 1.4  # radius of a disc in mean distances of points, so that surfaces look closed
_CHANNELS_SHOWN = 8  # most channels of a series
_SERIES_RATIO = 3  # an array this much wider than high is drawn as a series of channels
_SHADE = 0.35  # how much darker the farthest point is than the nearest


def signal_file(modality: str) -> str:
    """The extension under which shards hold a modality's signal."""
    return modalities.load_lensed(modality).signal_file


def draw_signal(modality: str, data: bytes, size_px: int) -> Image.Image:
    """Draw a stored signal as an RGBA picture with a transparent background."""
    if modalities.load_lensed(modality).drawn_as == "points":
        return _draw_cloud(data, size_px)
    return _draw_array(decode_array(data), size_px)


def data_uri(image: Image.Image) -> str:
    """Encode an image as the `src` of an `img`, so that the page needs no request for it."""
    buffer = io.BytesIO()
    image.save(buffer, format="webp", quality=80, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _draw_cloud(data: bytes, size_px: int) -> Image.Image:
    """Draw points [N, 6] as discs in their own colours, seen by the camera of the first view."""
    points = decode_array(data).astype(np.float32)
    side_px = size_px * _OVERSAMPLED
    pixels, depth_m = _project(points[:, :3], side_px)
    # From far to near: where discs overlap, the one written last stays.
    order = np.argsort(-depth_m)
    nearness = 1 - (depth_m - depth_m.min()) / max(np.ptp(depth_m), 1e-6)
    shade = 1 - _SHADE * (1 - nearness)
    colours = np.clip(points[:, 3:] * shade[:, None] * 255, 0, 255).astype(np.uint8)
    radius_px = min(_CLOSED * side_px / len(points) ** 0.5, _MARGIN / 2 * side_px)
    rows, columns, points_of = _discs(pixels[order], radius_px)
    image = np.zeros((side_px, side_px, 4), np.uint8)
    image[rows, columns, :3] = colours[order][points_of]
    image[rows, columns, 3] = 255
    return Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BOX)


def _project(xyz: np.ndarray, side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, 2] (row, column) that fill the picture, and depth [N] of points [N, 3]."""
    camera = RenderSettings(polar_deg=(60.0,), azimuths=1).cameras()
    in_camera = xyz @ camera.world_to_cam[0, :3, :3].T + camera.world_to_cam[0, :3, 3]
    flat = in_camera[:, 1::-1] / in_camera[:, 2:]
    low, high = flat.min(0), flat.max(0)
    scale = side_px * (1 - 2 * _MARGIN) / max((high - low).max(), 1e-6)
    return (flat - (low + high) / 2) * scale + side_px / 2, in_camera[:, 2]


def _discs(centres: np.ndarray, radius_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and point of every pixel of every disc, disc after disc."""
    reach = int(radius_px)
    grid = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1).T
    offsets = grid[(grid**2).sum(1) <= radius_px**2]
    covered = centres.astype(np.int64)[:, None] + offsets
    points_of = np.repeat(np.arange(len(centres)), len(offsets))
    return covered[..., 0].ravel(), covered[..., 1].ravel(), points_of


def _draw_series(series: np.ndarray, size_px: int) -> Image.Image:
    """Channels [C, time] as lines, one below the other."""
    figure = Figure(figsize=(2.56, 2.56), dpi=size_px / 2.56)
    axes = figure.add_axes((0, 0, 1, 1))
    shown = series[np.linspace(0, len(series) - 1, min(len(series), _CHANNELS_SHOWN)).astype(int)]
    spread = max(float(np.abs(shown - shown.mean(1, keepdims=True)).max()), 1e-9)
    for row, channel in enumerate(shown):
        axes.plot((channel - channel.mean()) / spread / 2 - row, linewidth=1)
    axes.axis("off")
    return _rendered(figure)


def _draw_map(values: np.ndarray) -> Image.Image:
    """Numbers [H, W] as a heat map, from their 1st to their 99th percentile."""
    low, high = np.percentile(values, [1, 99])
    return Image.fromarray(
        colormaps["magma"](np.clip((values - low) / max(high - low, 1e-9), 0, 1), bytes=True)
    )


def _rendered(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", transparent=True)
    return Image.open(buffer)


def _draw_array(signal: np.ndarray, size_px: int) -> Image.Image:
    """Draw any other signal by its shape: a picture, a map (of the first clip), or a series."""
    if signal.dtype == np.uint8 and signal.ndim > 2 and signal.shape[-1] == 3:
        drawn = Image.fromarray(signal.reshape(-1, *signal.shape[-3:])[0]).convert("RGBA")
    else:
        grid = np.atleast_2d(signal.astype(np.float32))
        values = grid.reshape(-1, *grid.shape[-2:])[0]
        if values.shape[1] > _SERIES_RATIO * values.shape[0]:
            return _draw_series(values, size_px)
        drawn = _draw_map(values if grid.ndim == 2 else values.T[::-1])
    return drawn.resize((size_px, size_px), Image.Resampling.BICUBIC)
