"""A made-up Touch and Go: ten materials as relief under a gel, and as a coloured surface.

Writes    the folders and lists of `touch_and_go`, the same bytes every time.
Promises  gel picture and video frame show one height map; every touch has its own patch, turn,
          scale and colour; the frames of a touch press harder one after the other.
Axes: H height, W width of a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipelines.source.datasets.touch_and_go import LISTS, MATERIALS
from pipelines.store.splits import Split

WIDTH, HEIGHT = 160, 120
TOUCHES: dict[Split, int] = {"train": 8, "test": 4}
"""Touches of each material; the videos hold one touch of every material each."""
FRAMES_PER_TOUCH = 3

Patch = tuple[np.ndarray, np.ndarray]
"""Places of a patch's pixels on the material, turned and scaled: x and y [H, W]."""


def write(folder: Path, touches_of: Mapping[Split, int] = TOUCHES) -> None:
    """By default 240 frames for training and 120 for the test, with the two lists."""
    video = 0
    for side, touches in touches_of.items():
        lines = []
        for _ in range(touches):
            lines += _write_video(folder / "dataset", video)
            video += 1
        (folder / LISTS[side]).write_text("\n".join(lines))


def _write_video(folder: Path, video: int) -> list[str]:
    """One touch of every material; returns the lines of its list."""
    name = f"20220501_10{video:02d}00"
    for kind in ("gelsight_frame", "video_frame"):
        (folder / name / kind).mkdir(parents=True)
    lines = []
    for place, (material, surface) in enumerate(SURFACES.items()):
        rng = np.random.default_rng([video, place])
        heights = surface.relief(_patch(rng), rng)
        seen = _in_the_sun(heights, surface.colour + rng.normal(0, 14, 3), rng)
        centre = rng.uniform(0.4, 0.6, 2)
        for step in range(FRAMES_PER_TOUCH):
            frame = f"{100 * (place + 1) + step:010d}.jpg"
            gel = _gel(heights * surface.depth_px, centre, 0.55 + 0.12 * step)
            _save(gel + rng.normal(0, 3, gel.shape), folder / name / "gelsight_frame" / frame)
            _save(seen + rng.normal(0, 4, seen.shape), folder / name / "video_frame" / frame)
            lines.append(f"{name}/{frame},{MATERIALS.index(material)}")
    return lines


def _patch(rng: np.random.Generator) -> Patch:
    angle, scale = rng.uniform(-0.35, 0.35), rng.uniform(0.85, 1.2)
    y, x = np.mgrid[:HEIGHT, :WIDTH] / scale
    shift_x, shift_y = rng.uniform(0, 200, 2)
    turned_x = x * np.cos(angle) - y * np.sin(angle) + shift_x
    return turned_x, x * np.sin(angle) + y * np.cos(angle) + shift_y


def _brick(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    x, y = patch
    course = np.floor(y / 34)
    in_joint = ((y % 34) < 6) | (((x + 35 * (course % 2)) % 70) < 6)
    return np.where(in_joint, 0.15, 0.8) + 0.15 * _grain(rng, 2, 8)


def _tile(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    x, y = patch
    return np.where((x % 58 < 4) | (y % 58 < 4), 0.1, 0.9)


def _wood(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    x, y = patch
    rings = np.sin(y / 2.4 + 5 * np.sin(x / 60 + y / 90) + 2 * _grain(rng, 30, 90))
    return 0.5 + 0.35 * rings + 0.1 * _grain(rng, 2, 4)


def _metal(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    rows = np.floor(patch[1] * 1.5).astype(int)
    return 0.45 + 0.2 * rng.random(rows.max() + 1)[rows]


def _fabric(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    x, y = patch
    over = (np.floor(x / 7) + np.floor(y / 7)) % 2 == 0
    return np.where(over, np.sin(np.pi * (x % 7) / 7), np.sin(np.pi * (y % 7) / 7))


def _leather(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    nearest, second = _distances(patch, 11, rng)
    return np.clip((second - nearest) / 4, 0, 1) * 0.7 + 0.1 * _grain(rng, 2, 5)


def _gravel(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    nearest, _ = _distances(patch, 30, rng)
    return np.sqrt(np.clip(1 - (nearest / 19) ** 2, 0, 1))


def _sand(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    return 0.5 + 0.35 * _grain(rng, 2, 4)


def _concrete(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    pits = _grain(rng, 6, 14)
    return 0.7 + 0.08 * _grain(rng, 2, 4) - 0.5 * (pits > 1.3) + 0.1 * _grain(rng, 40, 90)


def _grass(patch: Patch, rng: np.random.Generator) -> np.ndarray:
    blades = Image.new("F", (WIDTH, HEIGHT))
    pen = ImageDraw.Draw(blades)
    for _ in range(220):
        x, y = rng.uniform(-10, WIDTH + 10), rng.uniform(0, HEIGHT + 50)
        lean, length = rng.normal(0, 14), rng.uniform(30, 60)
        ends = (x, y, x + lean, y - length)
        pen.line(ends, fill=float(rng.uniform(0.3, 1)), width=int(rng.integers(2, 5)))
    return np.asarray(blades).astype(np.float64)


@dataclass(frozen=True)
class Surface:
    """A material: its relief in 0..1 on a patch, how deep that is in pixels, its colour."""

    relief: Callable[[Patch, np.random.Generator], np.ndarray]
    depth_px: float
    colour: tuple[int, int, int]


SURFACES = {
    "brick": Surface(_brick, 6, (156, 78, 60)),
    "concrete": Surface(_concrete, 5, (150, 150, 146)),
    "grass": Surface(_grass, 6, (84, 138, 56)),
    "gravel": Surface(_gravel, 9, (120, 112, 104)),
    "leather": Surface(_leather, 4, (92, 58, 40)),
    "metal": Surface(_metal, 2, (182, 188, 196)),
    "sand": Surface(_sand, 4, (206, 180, 130)),
    "synthetic fabric": Surface(_fabric, 4, (70, 76, 150)),
    "tile": Surface(_tile, 4, (224, 230, 232)),
    "wood": Surface(_wood, 4, (160, 116, 70)),
}


def _grain(rng: np.random.Generator, finest_px: float, coarsest_px: float) -> np.ndarray:
    """Random heights [H, W] between two sizes, of mean 0 and deviation 1."""
    waves = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    band = (waves >= 1 / coarsest_px) & (waves <= 1 / finest_px)
    spectrum = np.fft.rfft2(rng.normal(size=(HEIGHT, WIDTH))) * band
    heights = np.fft.irfft2(spectrum, (HEIGHT, WIDTH))
    return heights / heights.std()


def _distances(patch: Patch, cell_px: float, rng: np.random.Generator) -> Patch:
    """Distance of each pixel to the nearest and the second nearest of scattered points."""
    x, y = patch
    across, down = (np.arange(v.min() - cell_px, v.max() + cell_px, cell_px) for v in (x, y))
    grid: np.ndarray = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2)
    points = grid + rng.uniform(-0.4, 0.4, grid.shape) * cell_px
    nearest, second = np.full((2, HEIGHT, WIDTH), np.inf)
    for point_x, point_y in points:
        distance = np.hypot(x - point_x, y - point_y)
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    return nearest, second


def _in_the_sun(heights: np.ndarray, colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The surface in the sun, float [H, W, 3] in 0..255: hollows darker, slopes shaded."""
    down, across = np.gradient(heights)
    shade = 0.72 + 0.35 * heights + 0.5 * (across + down)
    light = rng.uniform(0.75, 1.1) * (1 + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, WIDTH))
    return colour * (shade * light)[..., None]


def _gel(relief_px: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """The gel from inside, float [H, W, 3]: three coloured lights on what presses into it."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    away = np.hypot(x / WIDTH - centre[0], (y / HEIGHT - centre[1]) * HEIGHT / WIDTH)
    contact = 1 / (1 + np.exp((away - radius / 2) * 40))
    down, across = np.gradient(contact * (relief_px + 6))
    steepness = np.sqrt(1 + across**2 + down**2)
    angles = np.deg2rad([0, 120, 240])
    slopes = across[..., None] * np.cos(angles) + down[..., None] * np.sin(angles)
    return 110 + 120 * slopes / steepness[..., None]


def _save(levels: np.ndarray, path: Path) -> None:
    Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(path, quality=90)
