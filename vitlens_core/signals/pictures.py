"""Prepares pictures for a tower: one size for all, crops, rotations.

Axes: B batch, C channels, H height, W width, S side of a square.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from vitlens_core.late import F, torch
from vitlens_core.row_generator import RowGenerator

# CLIP's published mean and deviation of the RGB channels in 0..1.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def square_rgb(picture: np.ndarray, side_px: int) -> np.ndarray:
    """Resize the short side of uint8 [H, W, 3] (bicubic, as CLIP does) and cut [S, S, 3]."""
    # `int` for the size and `round` for the place, as torchvision's Resize and CenterCrop do.
    short = min(picture.shape[:2])
    height, width = (int(side_px * size / short) for size in picture.shape[:2])
    resized = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - side_px) / 2), round((height - side_px) / 2)
    return np.array(resized.crop((left, top, left + side_px, top + side_px)))


def square_map(values: np.ndarray, side_px: int) -> np.ndarray:
    """Cut the middle square of float [H, W] and resize it (antialiased) to [S, S]."""
    side = min(values.shape)
    top, left = ((size - side) // 2 for size in values.shape)
    square = torch.from_numpy(values[top : top + side, left : left + side])[None, None]
    size = (side_px, side_px)
    # Bilinear stays within the range of the values; bicubic would exceed it.
    return F.interpolate(square, size=size, mode="bilinear", antialias=True)[0, 0].numpy()


def normalised(
    pixels: torch.Tensor, mean: tuple[float, ...] = CLIP_MEAN, std: tuple[float, ...] = CLIP_STD
) -> torch.Tensor:
    """Normalise uint8 [B, H, W, C] by mean and deviation per channel: float [B, C, H, W]."""
    scaled = pixels.permute(0, 3, 1, 2).float() / 255
    centre, spread = (torch.tensor(of, device=pixels.device).view(-1, 1, 1) for of in (mean, std))
    return (scaled - centre) / spread


def random_crops(pictures: torch.Tensor, side_px: int, generator: RowGenerator) -> torch.Tensor:
    """Crop [B, H, W, C] to [B, S, S, C], each picture at another place."""
    batch, height, width, _ = pictures.shape
    side = torch.arange(side_px, device=pictures.device)
    rows = generator.randint(0, height - side_px + 1, batch, 1) + side
    columns = generator.randint(0, width - side_px + 1, batch, 1) + side
    picture = torch.arange(batch, device=pictures.device)[:, None, None]
    return pictures[picture, rows[:, :, None], columns[:, None, :]]


def random_turns(pictures: torch.Tensor, generator: RowGenerator) -> torch.Tensor:
    """Rotate [B, C, S, S] by any angle and mirror half of them; edges are repeated outwards."""
    batch = len(pictures)
    angle = generator.rand(batch) * 2 * math.pi
    mirror = torch.where(generator.rand(batch) < 0.5, -1.0, 1.0)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack([mirror * cos, -sin, zero, mirror * sin, cos, zero], dim=1)
    grid = F.affine_grid(matrix.view(batch, 2, 3), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
